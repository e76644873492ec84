"""The verb card."""

from __future__ import annotations

import argparse

from ggt_format.schema import REPO_ID
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k card ggt-100k --repo ORG/ggt-100k"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Folder of the release.")
    parser.add_argument(
        "--repo",
        default=REPO_ID,
        metavar="ORG/ggt-100k",
        help=f"Repository on the Hub that the release will be in (default: {REPO_ID}).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.card.run import CardConfig
    from ggt_tools.stages.card.run import run as run_card

    return finish(run_card(options.root, build(CardConfig, vars(options)), events=Terminal("card")))
