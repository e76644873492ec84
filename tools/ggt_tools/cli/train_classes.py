from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.options import add_number, add_path, seed
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k train-classes photographs head.npz --labelled degraded"


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "Folders of clean photographs with sides of 256 px or more."
    parser.add_argument("photographs", type=Path, nargs="+", help=text)
    parser.add_argument("out", type=Path, help="Head file to write (.npz).")
    text = "Folder of real degraded photographs, with a folder for each class"
    add_path(parser, "--labelled", text, "FOLDER", shown="none")
    add_number(parser, "--samples", "Degraded samples of each photograph", default=8)
    add_number(parser, "--workers", "Processes that make samples", default=2)
    add_number(parser, "--seed", "Seed", default=0, kind=seed)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.training import classes_run

    return finish(classes_run.run(build(classes_run.TrainClassesConfig, options), events=Terminal("train-classes")))
