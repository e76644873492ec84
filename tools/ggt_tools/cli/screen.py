from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_flag, add_number
from ggt_tools.cli.shared import add_executor, add_service, add_vlm, add_workspace, build, executor_of
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k screen workspace --vlm gemini --budget 10usd"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    add_vlm(parser, "that judges")
    add_number(parser, "--votes", "Number of opinions for each of the two orders of the images", default=1)
    add_flag(parser, "--all", "Also judge candidates that the gate has rejected", dest="include_rejected")
    add_service(parser)
    add_executor(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.screen import run as stage

    config, events = build(stage.ScreenConfig, options), Terminal("screen")
    return finish(stage.run(options.workspace, config, executor=executor_of(options), events=events))
