"""The verb refine."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import add_service, build
from ggt_tools.cli.show import Terminal, count, finish

EXAMPLE = "ggt100k refine workspace --with gemini --rounds 2 --budget 20usd"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument(
        "--with",
        dest="restorers",
        action="append",
        metavar="RESTORER",
        help="Restorer as NAME or NAME:MODEL, in order of preference; the next one follows after two failed rounds "
        "(default: those that made the candidates).",
    )
    parser.add_argument(
        "--rounds", type=count, default=3, metavar="N", help="Largest number of rounds after the first (default: 3)."
    )
    parser.add_argument("--unsure", action="store_true", help="Also refine photographs that wait for review.")
    parser.add_argument(
        "--prompt",
        metavar="STRATEGY",
        help="Prompts to start from after a restorer that reads none (default: the newest).",
    )
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.providers.service import ServiceConfig
    from ggt_tools.stages.refine.run import RefineConfig
    from ggt_tools.stages.refine.run import run as run_refine

    values = vars(options)
    restorers = tuple(options.restorers or ())
    config = build(RefineConfig, values, restorers=restorers, service=build(ServiceConfig, values))
    return finish(run_refine(options.workspace, config, events=Terminal("refine")))
