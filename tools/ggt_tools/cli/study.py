"""The verb study."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import NameValue, add_service, build
from ggt_tools.cli.show import Terminal, printable_lines

EXAMPLE = "ggt100k study workspace --plan plan.toml --budget 100usd"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "workspace",
        type=Path,
        help="Folder of a workspace for the study alone: every model restores all its photographs.",
    )
    parser.add_argument(
        "--plan", type=Path, help="Plan: make what it asks for and is missing (default: only show the result)."
    )
    parser.add_argument(
        "--out", type=Path, metavar="HTML", help="Page to write; its table is written beside it as CSV."
    )
    parser.add_argument(
        "--server",
        dest="servers",
        action=NameValue,
        default={},
        metavar="PROVIDER=URL",
        help="Address of another server for a provider; can be given several times.",
    )
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.providers.service import ServiceConfig
    from ggt_tools.stages.study.run import StudyConfig
    from ggt_tools.stages.study.run import run as run_study

    values = vars(options)
    config = build(StudyConfig, values, service=build(ServiceConfig, values))
    report = run_study(options.workspace, config, events=Terminal("study"))
    print(printable_lines(str(report)))
    return int(report.summary.is_failed)
