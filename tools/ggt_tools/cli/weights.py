"""The verb weights."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build, names
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k weights --metrics full --folder WEIGHTS"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics",
        type=names,
        default=("full",),
        help="Sets or names of metrics, separated by commas, as for score (default: full).",
    )
    parser.add_argument("--folder", type=Path, help="Folder of weights to check or to fill (default: torch's cache).")
    parser.add_argument("--fetch", action="store_true", help="Download the files that are missing or damaged.")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.weights.run import WeightsConfig
    from ggt_tools.stages.weights.run import run as run_weights

    return finish(run_weights(build(WeightsConfig, vars(options)), events=Terminal("weights")))
