"""The verb train-witness."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from ggt_tools.cli.show import count

EXAMPLE = "ggt100k train-witness photographs fidelity.onnx"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "photographs", type=Path, nargs="+", help="Folders of clean photographs with sides of 320 px or more."
    )
    sub.add_argument("out", type=Path, help="ONNX file to write.")
    sub.add_argument("--samples", type=count, default=48_000, help="Number of training pairs (default: 48000).")
    sub.add_argument("--networks", type=count, default=2, help="Networks for each folder (default: 2).")
    sub.add_argument("--epochs", type=count, default=7, help="Passes over the pairs (default: 7).")
    sub.add_argument(
        "--workers", type=count, default=2, help="Processes that make pairs, and threads that train (default: 2)."
    )
    sub.add_argument("--seed", type=int, default=0, help="Seed (default: 0).")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.train_witness import TrainConfig, read, train_witness

    samples = min(options.samples, options.limit or options.samples)
    config = TrainConfig(
        samples=samples, networks=options.networks, epochs=options.epochs, workers=options.workers, seed=options.seed
    )
    if options.dry_run:
        for folder in options.photographs:
            of = f"{config.samples} samples of {len(read(folder))} photographs"
            print(f"would make {of}, and pass {config.networks} networks over them {config.epochs} times")
        return 0
    train_witness(options.photographs, options.out, config, print)
    digest = hashlib.sha256(options.out.read_bytes()).hexdigest()
    print(f"wrote {options.out}; learned.SHA256 = {digest}")
    return 0
