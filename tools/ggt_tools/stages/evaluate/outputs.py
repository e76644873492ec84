"""The outputs of a model: which file belongs to which pair, and its pixels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.folders import find_images, read_file
from ggt_tools.imaging import MAX_PIXELS, read_image

# Every position where a key may begin: a word before or after it may end or begin with hexadecimal letters (`pred`,
# `fake`), and only the keys of the split count; with a digit beside it, it would be another number.
KEY = re.compile(r"(?<![0-9])(?=([0-9a-f]{16})(?![0-9]))")
NAMING_RULE = "with no digit right before or after it"
Fault = tuple[str, str]  # stable reason (no_output, wrong_size, not_an_image, two_outputs), message


def find_outputs(outputs: Path, keys: Sequence[str]) -> tuple[dict[str, Path], dict[str, Fault], tuple[str, ...]]:
    """Find the output of each pair by its name.

    Returns:
        The file of each key that has one, the faults of the other keys, and the images that belong to no key.

    Raises:
        ConfigError: `outputs` is not a folder.
    """
    if not outputs.is_dir():
        raise ConfigError(f"{outputs}: is not a folder. Name the folder of the model's outputs, each named by its key.")
    all_keys, paths_by_key, unknown = set(keys), defaultdict(list), []
    for path in find_images(outputs).paths:
        in_name = {key for key in KEY.findall(path.stem.lower()) if key in all_keys}
        if len(in_name) == 1:
            paths_by_key[in_name.pop()].append(path)
        else:
            unknown.append(path.relative_to(outputs).as_posix())
    faults = {}
    for key in keys:
        paths = paths_by_key[key]
        if len(paths) > 1:
            names = ", ".join(path.relative_to(outputs).as_posix() for path in paths[:3])
            faults[key] = "two_outputs", f"{outputs}: key {key}: {names} may all be its output. Leave one of them."
        elif not paths:
            faults[key] = (
                "no_output",
                f"{outputs}: key {key}: no image has the key in its name, {NAMING_RULE}. Save the output as {key}.png.",
            )
    return {key: paths[0] for key, paths in paths_by_key.items() if len(paths) == 1}, faults, tuple(unknown)


def read_output(path: Path, shape: tuple[int, ...]) -> Image:
    pixels: Image = np.asarray(read_image(read_file(path, str(path)), str(path), MAX_PIXELS).image)
    if pixels.shape != shape:
        sizes = [f"{width} x {height}" for height, width, *_ in (pixels.shape, shape)]
        raise PairError(
            "wrong_size", f"{path}: has {sizes[0]} pixels, its ground truth {sizes[1]}. Write it in the same size."
        )
    return pixels
