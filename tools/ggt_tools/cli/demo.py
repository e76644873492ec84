from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.show import Terminal, printable_lines

EXAMPLE = "ggt100k demo demo"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="Folder for the workspace, the release and the contact sheet.")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.demo import demo

    for text in demo(options.folder, events=Terminal("demo")):
        print(printable_lines(text), flush=True)
    return 0
