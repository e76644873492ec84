"""The verb train-classes."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from ggt_tools.cli.show import count

EXAMPLE = "ggt100k train-classes photographs head.npz --labelled degraded"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "photographs", type=Path, nargs="+", help="Folders of clean photographs with sides of 256 px or more."
    )
    sub.add_argument("out", type=Path, help="Head file to write (.npz).")
    sub.add_argument(
        "--labelled",
        type=Path,
        metavar="FOLDER",
        help="Folder of real degraded photographs, with a folder for each class (default: none).",
    )
    sub.add_argument("--samples", type=count, default=8, help="Degraded samples of each photograph (default: 8).")
    sub.add_argument("--workers", type=count, default=2, help="Processes that make samples (default: 2).")
    sub.add_argument("--seed", type=int, default=0, help="Seed (default: 0).")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.training.photo_classifier import EXTRA, TrainConfig, find_photographs, train_classes

    config = TrainConfig(samples=options.samples, workers=options.workers, seed=options.seed)
    if options.dry_run:
        clean = len(find_photographs(options.photographs))
        sample_count = clean * (config.samples + len(EXTRA))
        print(f"would make {sample_count} samples of {clean} photographs, and fit to them")
        return 0
    train_classes(options.photographs, options.labelled, options.out, config, print)
    digest = hashlib.sha256(options.out.read_bytes()).hexdigest()
    print(f"wrote {options.out}; photo_classes.HEAD_SHA256 = {digest}")
    return 0
