"""The verb train-classes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, count, finish

EXAMPLE = "ggt100k train-classes photographs head.npz --labelled degraded"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "photographs", type=Path, nargs="+", help="Folders of clean photographs with sides of 256 px or more."
    )
    parser.add_argument("out", type=Path, help="Head file to write (.npz).")
    parser.add_argument(
        "--labelled",
        type=Path,
        metavar="FOLDER",
        help="Folder of real degraded photographs, with a folder for each class (default: none).",
    )
    parser.add_argument("--samples", type=count, default=8, help="Degraded samples of each photograph (default: 8).")
    parser.add_argument("--workers", type=count, default=2, help="Processes that make samples (default: 2).")
    parser.add_argument("--seed", type=int, default=0, help="Seed (default: 0).")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.training.classes_run import TrainClassesConfig
    from ggt_tools.training.classes_run import run as run_training

    config = build(TrainClassesConfig, vars(options), photographs=tuple(options.photographs))
    return finish(run_training(config, events=Terminal("train-classes")))
