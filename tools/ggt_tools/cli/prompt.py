"""The verb prompt."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import add_service, add_vlm, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k prompt workspace --strategy measured"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument(
        "--strategy",
        default="fixed",
        choices=("fixed", "measured", "vlm"),
        help="One text for each class, one sentence for each measured degradation, or one text by a vision model "
        "(default: fixed).",
    )
    add_vlm(parser, "for --strategy vlm")
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.providers.service import ServiceConfig
    from ggt_tools.stages.prompt.run import PromptConfig
    from ggt_tools.stages.prompt.run import run as run_prompt

    values = vars(options)
    config = build(PromptConfig, values, service=build(ServiceConfig, values))
    return finish(run_prompt(options.workspace, config, events=Terminal("prompt")))
