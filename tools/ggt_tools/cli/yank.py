"""The verb yank."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = 'ggt100k yank workspace 0123456789abcdef --reason "the author asks for it"'


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument("keys", nargs="+", metavar="KEY", help="Keys of the pairs, 16 hexadecimal digits each.")
    parser.add_argument("--reason", required=True, help="Reason in words, for example: the author asks for it.")
    parser.add_argument("--by", default="", help="Who withdraws them (default: your login name).")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.yank.run import YankConfig
    from ggt_tools.stages.yank.run import run as run_yank

    config = build(YankConfig, vars(options), keys=tuple(options.keys))
    return finish(run_yank(options.workspace, config, events=Terminal("yank")))
