from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.options import add_pairs, add_path
from ggt_tools.cli.shared import add_limits, build
from ggt_tools.cli.show import Terminal, finish_result

EXAMPLE = "ggt100k study workspace --plan plan.toml --budget 100usd"


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "Folder of a workspace for the study alone: every model restores all its photographs."
    parser.add_argument("workspace", type=Path, help=text)
    text = "Plan: make what it asks for and is missing"
    add_path(parser, "--plan", text, "PLAN", shown="only show the result")
    add_path(parser, "--out", "Page to write; its table is written beside it as CSV", "HTML")
    text = "Address of another server for a provider; can be given several times"
    add_pairs(parser, "--server", text, "PROVIDER=URL", dest="servers")
    add_limits(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.study import run as stage

    return finish_result(stage.run(options.workspace, build(stage.StudyConfig, options), events=Terminal("study")))
