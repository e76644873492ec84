from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_flag, add_path, names
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k weights --metrics full --folder WEIGHTS"


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "Sets or names of metrics, separated by commas, as for score (default: full)."
    parser.add_argument("--metrics", type=names, default=("full",), help=text)
    add_path(parser, "--folder", "Folder of weights to check or to fill", "FOLDER", shown="torch's cache")
    add_flag(parser, "--fetch", "Download the files that are missing or damaged")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.weights import run as stage

    return finish(stage.run(build(stage.WeightsConfig, options), events=Terminal("weights")))
