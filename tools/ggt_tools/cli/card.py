from __future__ import annotations

import argparse

from ggt_format.schema import REPO_ID
from ggt_tools.cli.options import add_text
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k card ggt-100k --repo ORG/ggt-100k"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Folder of the release.")
    add_text(parser, "--repo", "Repository on the Hub that the release will be in", "ORG/ggt-100k", default=REPO_ID)
    add_text(parser, "--preview", "Repository of the preview, to link it", "ORG/ggt-100k-preview", shown="none")
    add_text(parser, "--gated-prompt", "What users must agree to before the Hub gives files", "TEXT", shown="none")
    add_text(parser, "--paperswithcode-id", "Identifier at Papers with Code", "ID", shown="none")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.card import run as stage

    return finish(stage.run(options.root, build(stage.CardConfig, options), events=Terminal("card")))
