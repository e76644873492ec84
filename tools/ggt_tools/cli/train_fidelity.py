"""The verb train-fidelity."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from ggt_tools.cli.show import count

EXAMPLE = "ggt100k train-fidelity photographs fidelity.onnx"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "photographs", type=Path, nargs="+", help="Folders of clean photographs with sides of 352 px or more."
    )
    sub.add_argument("out", type=Path, help="ONNX file to write.")
    sub.add_argument("--samples", type=count, default=6_800, help="Number of training pairs (default: 6800).")
    sub.add_argument("--networks", type=count, default=3, help="Networks that answer together (default: 3).")
    sub.add_argument("--epochs", type=count, default=6, help="Passes over the pairs (default: 6).")
    sub.add_argument("--seed", type=int, default=1, help="Seed (default: 1).")
    sub.add_argument(
        "--workers", type=count, default=2, help="Processes that make pairs, and threads that train (default: 2)."
    )
    sub.add_argument(
        "--keep", type=Path, metavar="FOLDER",
        help="Folder that keeps the pairs, so that a later call goes on (default: a folder beside OUT).",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from ggt_tools.training import TrainConfig, train_fidelity
    from ggt_tools.training.samples import find_photographs

    samples = min(options.samples, options.limit or options.samples)
    config = TrainConfig(
        samples=samples, networks=options.networks, epochs=options.epochs, workers=options.workers, seed=options.seed
    )
    if options.dry_run:
        paths, _ = find_photographs(options.photographs)
        print(
            f"would make {config.samples} samples of {len(paths)} photographs and pass {config.networks} networks over "
            f"them {config.epochs} times"
        )
        return 0
    train_fidelity(options.photographs, options.out, config, print, kept=options.keep)
    digest = hashlib.sha256(options.out.read_bytes()).hexdigest()
    print(f"wrote {options.out}; fidelity.SHA256 = {digest}")
    return 0
