"""The verb retry."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import add_service, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k retry workspace --reason timeout"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument(
        "--reason",
        dest="reasons",
        action="append",
        required=True,
        metavar="REASON",
        help="Reason code to retry, as status shows it (timeout, refused, ...); can be given several times.",
    )
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.providers.service import ServiceConfig
    from ggt_tools.stages.retry.run import RetryConfig
    from ggt_tools.stages.retry.run import run as run_retry

    values = vars(options)
    config = build(RetryConfig, values, reasons=tuple(options.reasons), service=build(ServiceConfig, values))
    return finish(run_retry(options.workspace, config, events=Terminal("retry")))
