from __future__ import annotations

import argparse

from ggt_tools.cli.shared import add_workspace, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k align workspace"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    parser.add_argument(
        "--colour",
        action=argparse.BooleanOptionalAction,
        help="Undo small colour shifts by a linear map, for the classes mixed, rain, snow, raindrop, defocus_blur and "
        "motion_blur (default: no, and candidates aligned with it stay so).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.align import run as stage

    return finish(stage.run(options.workspace, build(stage.AlignConfig, options), events=Terminal("align")))
