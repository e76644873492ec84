from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.options import add_number, add_path, seed
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k train-fidelity photographs fidelity.onnx"


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "Folders of clean photographs with sides of 352 px or more."
    parser.add_argument("photographs", type=Path, nargs="+", help=text)
    parser.add_argument("out", type=Path, help="ONNX file to write.")
    add_number(parser, "--samples", "Number of training pairs", default=6_800)
    add_number(parser, "--networks", "Networks that answer together", default=3)
    add_number(parser, "--epochs", "Passes over the pairs", default=6)
    add_number(parser, "--seed", "Seed", default=1, kind=seed)
    add_number(parser, "--workers", "Processes that make pairs, and threads that train", default=2)
    text = "Folder that keeps the pairs, so that a later call goes on"
    add_path(parser, "--keep", text, "FOLDER", shown="a folder beside OUT")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.training import fidelity_run

    config = build(fidelity_run.TrainFidelityConfig, options)
    return finish(fidelity_run.run(config, events=Terminal("train-fidelity")))
