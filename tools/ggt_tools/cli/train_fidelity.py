"""Train the fidelity model again, on synthetic degradations, restorations and faults of clean photographs."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

from ggt_tools.cli.show import count


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("photographs", type=Path, nargs="+", help="Folders of clean photographs, 352 px a side or more.")
    sub.add_argument("out", type=Path, help="The ONNX file to write.")
    training = sub.add_argument_group("training")
    training.add_argument(
        "--samples", type=count, default=10_000, help="Make this many pairs with a fault or none (default: 10000)."
    )
    training.add_argument("--networks", type=count, default=3, help="Average this many networks (default: 3).")
    training.add_argument("--epochs", type=count, default=7, help="Pass over the samples this often (default: 7).")
    training.add_argument("--seed", type=int, default=1, help="Draw everything random from this seed (default: 1).")
    execution = sub.add_argument_group("execution")
    execution.add_argument("--workers", type=count, default=2, help="Use this many processes and threads (default: 2).")
    execution.add_argument(
        "--keep", type=Path, metavar="FOLDER",
        help="Keep the samples in this folder, and use those that it holds (default: a folder beside OUT).",
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
