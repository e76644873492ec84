from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_text
from ggt_tools.cli.shared import add_workspace, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = 'ggt100k yank workspace 0123456789abcdef --reason "the author asks for it"'


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    parser.add_argument("keys", nargs="+", metavar="KEY", help="Keys of the pairs, 16 hexadecimal digits each.")
    parser.add_argument("--reason", required=True, help="Reason in words, for example: the author asks for it.")
    add_text(parser, "--by", "Who withdraws them", shown="your login name")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.yank import run as stage

    return finish(stage.run(options.workspace, build(stage.YankConfig, options), events=Terminal("yank")))
