"""Samples for the fidelity model: pairs with a synthetic fault or none, compared and measured, in files.

A job makes SCENES scenes of a few photographs, each with a number of CANDIDATES. It writes one file of arrays, which
depends only on the seed and the number of the job, so that more samples are more files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics.fidelity import CLASSES, TILE, prepare
from ggt_tools.training import synthetic_faults
from ggt_tools.training.chains import FREE, Chain, random_chain
from ggt_tools.training.faults import (
    FAULTS,
    GreyScene,
    TextScene,
    add_text_pair,
    copy_object,
    mirror_region,
    paste_object,
    random_fault,
    redraw_region,
)
from ggt_tools.training.restored import encode_reply, restore_faithfully
from ggt_tools.training.synthetic_degradations import to_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SIDE = 288  # side of a sample in pixels, as the network sees it
MARGIN = 32  # pixels that are cropped on each side, so that no border reveals a shift
MIN_SIDE = SIDE + 2 * MARGIN  # minimum shorter side of a photograph in pixels
MAX_SIDE = 1600  # px: photographs are reduced to this shorter side, because larger ones are soft at full size
PHOTOGRAPHS, SCENES, CANDIDATES = 12, 25, 8  # numbers of a job
IGNORE = 255  # a label that is not counted
TILES = SIDE // TILE
GLOBAL = ("restyled", "wrong photo", "another view", "reframed", "stretched")  # faults that change the whole image

Random = np.random.Generator
Compare = Callable[[npt.NDArray[np.float32], npt.NDArray[np.float32]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A pair and its labels, with classes in the order of fidelity.CLASSES."""

    lq: Image
    gt: Image
    tiles: npt.NDArray[np.uint8]  # (classes, TILES, TILES): 0, 1 or IGNORE
    whole: npt.NDArray[np.uint8]  # (classes,): 0, 1 or IGNORE
    weight: float
    fault: str  # name of the fault; "" for none
    strength: float
    kind: str  # kind of the degradation


def find_photographs(folders: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the photographs in some folders that are large enough to train on, and those that are not.

    Raises:
        ConfigError: Fewer than two photographs are large enough.
    """
    from PIL import Image as Pillow

    large: list[Path] = []
    small: list[Path] = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                with Pillow.open(path) as file:
                    (small if min(file.size) < MIN_SIDE else large).append(path)
    if len(large) < 2:
        names = ", ".join(str(folder) for folder in folders)
        raise ConfigError(
            f"{names}: {len(large)} photographs with sides of {MIN_SIDE} px or more were found. Add clean photographs."
        )
    return large, small


def read_photograph(path: Path) -> Image:
    """Read a photograph as uint8 RGB, reduced to MAX_SIDE px on its shorter side if it is larger."""
    from PIL import Image as Pillow

    with Pillow.open(path) as file:
        image = file.convert("RGB")
    if (more := min(image.size) / MAX_SIDE) > 1.0:
        image = image.resize((round(image.width / more), round(image.height / more)), Pillow.Resampling.BOX)
    return np.asarray(image)


def make_scene(photographs: Sequence[Image], side: int, random: Random) -> tuple[synthetic_faults.Scene, Chain]:
    """Return a good pair with another photograph, and the chain that degraded it.

    Args:
        photographs: uint8 RGB images.
        side: Side of the square images in px.
        random: Source of every random choice.
    """
    first, second = random.permutation(len(photographs))[:2]
    gt = change_light(draw_window(photographs[first], side, random), random)
    other = draw_window(photographs[second], side, random)
    if random.random() < 0.35:  # apparent faults that are in both images, so that only the comparison reveals real ones
        for _ in range(int(random.integers(1, 4))):
            puzzle = (paste_object, copy_object, redraw_region, mirror_region, synthetic_faults.replace_region)[
                random.integers(5)
            ]
            gt = puzzle(synthetic_faults.Scene(gt=gt, lq=gt, other=other), random.random(), random)
    rewritten = blank = gt
    has_text = random.random() < 0.18
    if has_text:
        gt, rewritten = add_text_pair(gt, random)
    chain = random_chain(random, other)
    if chain.kind == "old_photo_grey":
        grey = make_grey_print(gt)
        return GreyScene(gt=grey, lq=chain.apply(grey), other=other, colours=gt), chain
    lq = chain.apply(gt)
    if has_text:
        return TextScene(gt=gt, lq=lq, other=other, truth=gt, rewritten=rewritten, blank=blank), chain
    return synthetic_faults.Scene(gt=gt, lq=lq, other=other), chain


def make_grey_print(image: Image) -> Image:
    """Return the image as an ideal grey print."""
    grey = opencv().cvtColor(image, opencv().COLOR_RGB2GRAY)
    return np.repeat(grey[..., None], 3, axis=2)


def draw_window(photograph: Image, side: int, random: Random) -> Image:
    """Return a square of `side` px of a photograph, reduced at random between full size and its whole shorter side."""
    cv2 = opencv()
    short_side = min(photograph.shape[:2])
    min_shrink = 1.6 if short_side > 1100 else 1.0
    shrink = float(np.exp(random.uniform(np.log(min_shrink), np.log(max(short_side / side, min_shrink)) + 1e-6)))
    size = min(round(side * max(shrink, short_side / side if short_side < side else 1.0)), short_side)
    top, left = (int(random.integers(0, edge - size + 1)) for edge in photograph.shape[:2])
    part = np.ascontiguousarray(photograph[top : top + size, left : left + size])
    if random.random() < 0.5:
        part = np.ascontiguousarray(part[:, ::-1])
    return np.asarray(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA if size > side else cv2.INTER_CUBIC))


def change_light(image: Image, random: Random) -> Image:
    """Change hues, saturation and light in half of the cases, so that no colours of scenes are learnt."""
    if random.random() < 0.5:
        return image
    cv2 = opencv()
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(random.integers(256)) if random.random() < 0.3 else np.uint8(0)  # wraps at 256
    light = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    light = np.clip(grey + (light - grey) * random.uniform(0.1, 1.4), 0, 255) * np.exp(random.uniform(-0.15, 0.1, 3))
    return to_bytes(255.0 * np.clip(light / 255.0, 0, 1) ** random.uniform(0.75, 1.3))


def make_sample(scene: synthetic_faults.Scene, chain: Chain, inner: int, random: Random) -> Sample:
    """Return a candidate with a fault or none, cropped to `inner` px and labelled."""
    fault = random_fault(random) if random.random() < 0.55 else ""
    if isinstance(scene, GreyScene) and random.random() < 0.3:
        fault = "true colours"
    classical = not fault and random.random() < 0.06
    if classical:
        base = restore_classically(scene.lq)
    elif fault and random.random() < 0.25:
        base = scene.gt
    else:
        base = restore_faithfully(scene, random, gentle=bool(fault), free=chain.kind in FREE)
    mild = psnr(scene.lq, scene.gt) > 32.0
    whole = np.zeros(len(CLASSES), np.uint8)
    weight, strength = 1.0, 0.0
    image = base
    seen = np.zeros(base.shape[:2], np.bool_)
    certain = seen
    if mild or classical:
        whole[CLASSES.index("unrestored")] = IGNORE
    if fault:
        group, _, function = FAULTS[fault]
        strength = float(random.uniform(0.1, 1.0))
        base_scene = with_gt(scene, base)
        faulted = synthetic_faults.add_fault(function, base_scene, strength, random)
        image, seen = faulted.image, faulted.seen
        certain = seen
        number = CLASSES.index(group)
        weight = 0.4 + 0.6 * min(1.0, strength / 0.4)
        if group == "content":
            certain = shows_in_lq(base, image, chain, scene) & seen
            weight *= float(np.clip(certain.sum() / (0.3 * seen.sum() + 1.0), 0.25, 1.0))
        whole[number] = 1
        for name in ignored_classes(group, fault):
            whole[CLASSES.index(name)] = IGNORE
        if group == "unrestored" and mild:
            whole[:] = IGNORE
        if random.random() < 0.4:
            image = encode_reply(image, random)
    edge = (base.shape[0] - inner) // 2
    # on the grid of 8 px of JPEG blocks
    top, left = (8 * int(random.integers(max(edge // 8 - 1, 0), edge // 8 + 1)) for _ in range(2))
    box = slice(top, top + inner), slice(left, left + inner)
    tiles = np.zeros((len(CLASSES), TILES, TILES), np.uint8)
    if fault:
        share, sure = (tile_coverage(plane[box]) for plane in (seen, certain))
        number = CLASSES.index(FAULTS[fault][0])
        tiles[number] = np.where(share > 0.25, 1, np.where(share > 0.02, IGNORE, 0))
        if FAULTS[fault][0] == "content":
            tiles[number] = np.where((tiles[number] == 1) & (sure < 0.1), IGNORE, tiles[number])
        for name in ignored_classes(FAULTS[fault][0], fault):
            tiles[CLASSES.index(name)] = np.where(share > 0.02, IGNORE, 0)
        if not (tiles[number] == 1).any() and whole[number] == 1:
            whole[number] = IGNORE  # the fault hardly shows within the crop, so it is neither a good nor a bad example
    tiles[(whole == IGNORE) & ~(tiles == 1).any(axis=(1, 2))] = IGNORE
    return Sample(
        lq=np.ascontiguousarray(scene.lq[box]), gt=np.ascontiguousarray(image[box]), tiles=tiles, whole=whole,
        weight=weight, fault=fault, strength=strength, kind=chain.kind,
    )  # fmt: skip


def ignored_classes(group: str, fault: str) -> tuple[str, ...]:
    """Return the classes that a fault of one class may also be counted to."""
    if fault in GLOBAL:
        return ("colour", "detail", "artefact", "unrestored")
    return {
        "content": ("artefact",),
        "colour": (),
        "detail": ("artefact",),
        "artefact": ("detail",),
        "unrestored": ("detail", "artefact", "colour"),
    }[group]


def with_gt(scene: synthetic_faults.Scene, gt: Image) -> synthetic_faults.Scene:
    """Return the scene with another gt."""
    from dataclasses import replace

    return replace(scene, gt=gt)


def shows_in_lq(base: Image, image: Image, chain: Chain, scene: synthetic_faults.Scene) -> synthetic_faults.Mask:
    """Return the mask in which the photograph would have differed if the candidate had been the ground truth."""
    cv2 = opencv()
    first, second = (chain.apply(picture).astype(np.float32).mean(axis=2) for picture in (base, image))
    contrast = float(np.clip((scene.lq.std() + 2.0) / (scene.gt.std() + 2.0), 0.1, 1.0))
    difference = np.abs(cv2.blur(first - second, (5, 5)))
    return np.asarray(cv2.blur(difference, (9, 9)) > 0.6 * synthetic_faults.VISIBLE * contrast)


def restore_classically(lq: Image) -> Image:
    """Restore a photograph with the restorer `classical`; return it unchanged if it is too small."""
    from ggt_tools.restorers import restorer

    try:
        image = restorer("classical").restore(lq, "", seed=0).image
    except PairError:
        image = None
    return lq if image is None else image


def psnr(a: Image, b: Image) -> float:
    """Return the peak signal-to-noise ratio in dB, at most 99."""
    error = float(((a.astype(np.float32) - b) ** 2).mean())
    return 99.0 if error == 0.0 else 10.0 * float(np.log10(255.0**2 / error))


def tile_coverage(plane: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return which fraction of each tile a mask covers: float32 (TILES, TILES)."""
    cv2 = opencv()
    return np.asarray(cv2.resize(plane.astype(np.float32), (TILES, TILES), interpolation=cv2.INTER_AREA), np.float32)


def make_job(paths: Sequence[Path], compare: Compare, seed: int, number: int) -> dict[str, npt.NDArray[Any]]:
    """Make the samples of a job.

    Returns:
        Arrays by name: maps, cells, facts, tiles, whole, weight, fault, strength, kind.
    """
    opencv().setNumThreads(1)
    random = np.random.default_rng([3, seed, number])
    chosen = random.permutation(len(paths))[:PHOTOGRAPHS]
    photographs = [read_photograph(paths[int(index)]) for index in chosen]
    arrays: dict[str, list[Any]] = {
        name: [] for name in ("maps", "cells", "facts", "tiles", "whole", "weight", "fault", "strength", "kind")
    }
    for _ in range(SCENES):
        scale = 1.0 if random.random() < 0.4 else random.uniform(1.0, 1.5)
        inner = int(SIDE * scale) // 8 * 8
        scene, chain = make_scene(photographs, inner + 2 * MARGIN, random)
        samples = [make_sample(scene, chain, inner, random) for _ in range(CANDIDATES)]
        inputs = [prepare(sample.lq, sample.gt, (SIDE, SIDE)) for sample in samples]
        maps = compare(np.stack([item.lq for item in inputs]), np.stack([item.gt for item in inputs]))
        arrays["maps"].append(maps.astype(np.float16))
        arrays["cells"].append(np.stack([pool_cells(item.cells) for item in inputs]).astype(np.float16))
        arrays["facts"].append(np.stack([item.facts for item in inputs]))
        for name in ("tiles", "whole", "weight", "fault", "strength", "kind"):
            arrays[name].append(np.array([getattr(sample, name) for sample in samples]))
    return {name: np.concatenate(values) for name, values in arrays.items()}


def pool_cells(cells: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return means and maxima over 2 x 2 cells, as the network takes them."""
    count, height, width = cells.shape
    blocks = cells.reshape(count, height // 2, 2, width // 2, 2)
    return np.concatenate([blocks.mean(axis=(2, 4)), blocks.max(axis=(2, 4))])


@cache
def onnx_compare(path: Path) -> Compare:
    """Return a function that runs an exported comparison on one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda lq, gt: np.asarray(session.run(None, {"lq": lq, "gt": gt})[0])
