"""The verb train-fidelity."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, count, finish

EXAMPLE = "ggt100k train-fidelity photographs fidelity.onnx"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photographs", type=Path, nargs="+", help="Folders of clean photographs with sides of 352 px or more."
    )
    parser.add_argument("out", type=Path, help="ONNX file to write.")
    parser.add_argument("--samples", type=count, default=6_800, help="Number of training pairs (default: 6800).")
    parser.add_argument("--networks", type=count, default=3, help="Networks that answer together (default: 3).")
    parser.add_argument("--epochs", type=count, default=6, help="Passes over the pairs (default: 6).")
    parser.add_argument("--seed", type=int, default=1, help="Seed (default: 1).")
    parser.add_argument(
        "--workers", type=count, default=2, help="Processes that make pairs, and threads that train (default: 2)."
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER",
        help="Folder that keeps the pairs, so that a later call goes on (default: a folder beside OUT).",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from ggt_tools.training.fidelity_run import TrainFidelityConfig
    from ggt_tools.training.fidelity_run import run as run_training

    config = build(TrainFidelityConfig, vars(options), photographs=tuple(options.photographs))
    return finish(run_training(config, events=Terminal("train-fidelity")))
