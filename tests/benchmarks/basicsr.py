"""256 crops for BasicSR: `GGTPairDataset` from the shards, against BasicSR's own dataset from a folder and from LMDB.

All three are read by PyTorch's DataLoader in one process, on one core, with the same options and the same files: the
folder and the LMDB are what `export` writes. BasicSR decodes with OpenCV. They take turns. Seconds are those of the
processor, so that other programs on the machine do not count, and a ratio is the median of those within each round.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import material
from .field import Options, figure, table
from .progress import PROGRESS

CROP = 256
BATCH = 6
TO_BE_REACHED = 6.0
READERS = ("GGTPairDataset", "PairedImageDataset, folder", "PairedImageDataset, LMDB")
# BasicSR's dataset and ours have two names for one option.
COMMON = {"phase": "train", "gt_size": CROP, "scale": 1, "use_hflip": True, "use_flip": True, "use_rot": True}


def bench(options: Options) -> str:
    """Returns the table, or a line that says what is not installed."""
    missing = [name for name in ("torch", "basicsr", "lmdb") if importlib.util.find_spec(name) is None]
    if missing:
        return f"against BasicSR: not measured, not installed: {', '.join(missing)}"
    with tempfile.TemporaryDirectory() as folder:
        PROGRESS.say("writes the pairs")
        material.make(Path(folder), options.pairs, ("png",))
        return report(measure(Path(folder), options), options.pairs)


def measure(folder: Path, options: Options) -> dict[str, list[float]]:
    """Returns the seconds of each round, by reader."""
    import cv2
    import torch

    from ggt_tools.stages.export import ExportConfig, export

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    for to in ("basicsr", "lmdb"):
        export(folder / "png", folder / to, ExportConfig(to=to))
    datasets = {name: make(folder) for name, make in zip(READERS, (_ours, _folder, _lmdb), strict=True)}
    seconds: dict[str, list[float]] = {name: [] for name in READERS}
    for number in range(-1, options.rounds):  # the first round warms caches, and does not count
        PROGRESS.say(f"round {number + 1}")
        for name, dataset in datasets.items():
            taken = _pass(dataset, options)
            if number >= 0:
                seconds[name].append(taken)
    return seconds


def _pass(dataset: Any, options: Options) -> float:
    """Returns the seconds of a pass over all pairs; a short one is repeated."""
    import torch
    from torch.utils.data import DataLoader

    loader = DataLoader(dataset, BATCH, shuffle=True, generator=torch.Generator().manual_seed(0))
    began, passes = time.process_time(), 0
    while not passes or time.process_time() - began < options.seconds:
        shapes = [tuple(batch[side].shape[1:]) for batch in loader for side in ("lq", "gt")]
        assert set(shapes) == {(3, CROP, CROP)} and len(shapes) == 2 * -(-options.pairs // BATCH)
        passes += 1
    return (time.process_time() - began) / passes


def _ours(folder: Path) -> Any:
    from ggt_format.basicsr import GGTPairDataset

    return GGTPairDataset({**COMMON, "dataroot": str(folder / "png"), "split": "train"})


def _folder(folder: Path) -> Any:
    return _theirs({"type": "disk"}, *_sides(folder / "basicsr", ""))


def _lmdb(folder: Path) -> Any:
    return _theirs({"type": "lmdb"}, *_sides(folder / "lmdb", ".lmdb"))


def _sides(folder: Path, suffix: str) -> tuple[str, str]:
    """Returns the folders of both sides of the split train, wherever `export` puts them."""
    found = {path.name.removesuffix(suffix): path for path in sorted(folder.rglob(f"*{suffix}")) if path.is_dir()}
    return str(found["gt"]), str(found["lq"])


def _theirs(backend: dict[str, str], gt: str, lq: str) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it greets
        module: Any = importlib.import_module("basicsr.data.paired_image_dataset")
    make: Callable[[dict[str, Any]], Any] = module.PairedImageDataset
    return make({**COMMON, "dataroot_gt": gt, "dataroot_lq": lq, "io_backend": backend})


def report(seconds: dict[str, list[float]], pairs: int) -> str:
    """Returns the table."""
    ours = seconds[READERS[0]]
    ratios = {
        name: statistics.median(theirs / own for theirs, own in zip(rounds, ours, strict=True))
        for name, rounds in seconds.items()
    }
    rows = [
        [name, figure(pairs / statistics.median(rounds)), "" if rounds is ours else figure(ratios[name])]
        for name, rounds in seconds.items()
    ]
    against = ratios[READERS[1]]
    return "\n".join(
        [
            table([f"{CROP} crops of 1024 x 1024 pairs, one core", "pairs a second", "ours is as fast, times"], rows),
            "",
            f"Against BasicSR's folder reader: {against:.1f} times (to be reached: {TO_BE_REACHED:g}).",
        ]
    )
