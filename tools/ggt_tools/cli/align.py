"""The verb align."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k align workspace"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument(
        "--colour",
        action=argparse.BooleanOptionalAction,
        help="Undo small colour shifts by a linear map, for the classes mixed, rain, snow, raindrop, defocus_blur and "
        "motion_blur (default: no, and candidates aligned with it stay so).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.align.run import AlignConfig
    from ggt_tools.stages.align.run import run as run_align

    config = build(AlignConfig, vars(options))
    return finish(run_align(options.workspace, config, events=Terminal("align")))
