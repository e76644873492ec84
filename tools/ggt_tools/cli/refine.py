from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_flag, add_number, add_repeated, add_text
from ggt_tools.cli.shared import add_service, add_workspace, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k refine workspace --with gemini --rounds 2 --budget 20usd"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    text = (
        "Restorer as NAME or NAME:MODEL, in order of preference; the next one follows after two failed rounds "
        "(default: those that made the candidates)"
    )
    add_repeated(parser, "--with", text, "RESTORER", dest="restorers")
    add_number(parser, "--rounds", "Largest number of rounds after the first", default=3)
    add_flag(parser, "--unsure", "Also refine photographs that wait for review")
    text = "Prompts to start from after a restorer that reads none"
    add_text(parser, "--prompt", text, "STRATEGY", default=None, shown="the newest")
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.refine import run as stage

    return finish(stage.run(options.workspace, build(stage.RefineConfig, options), events=Terminal("refine")))
