"""The verb screen."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import add_executor, add_service, add_vlm, build
from ggt_tools.cli.show import Terminal, count, finish

EXAMPLE = "ggt100k screen workspace --vlm gemini --budget 10usd"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    add_vlm(parser, "that judges")
    parser.add_argument(
        "--votes",
        type=count,
        default=1,
        metavar="N",
        help="Number of opinions for each of the two orders of the images (default: 1).",
    )
    parser.add_argument(
        "--all",
        dest="include_rejected",
        action="store_true",
        help="Also judge candidates that the gate has rejected.",
    )
    add_service(parser)
    add_executor(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.executors import ExecutorConfig
    from ggt_tools.providers.service import ServiceConfig
    from ggt_tools.stages.screen.run import ScreenConfig
    from ggt_tools.stages.screen.run import run as run_screen

    values = vars(options)
    config = build(ScreenConfig, values, service=build(ServiceConfig, values))
    executor = build(ExecutorConfig, values, prefix="executor_")
    return finish(run_screen(options.workspace, config, executor=executor, events=Terminal("screen")))
