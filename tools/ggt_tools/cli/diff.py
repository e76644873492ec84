from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_number, add_path, add_text
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish_result

EXAMPLE = "ggt100k diff ggt-100k ggt-100k-1.1 --changelog ggt-100k-1.1/CHANGELOG.md"


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "The earlier version: a folder or URL, or with --repo a tag or commit."
    parser.add_argument("before", metavar="A", help=text)
    parser.add_argument("after", metavar="B", help="The later version, named in the same way.")
    add_text(parser, "--repo", "Repository in which tags and commits are looked up", "ORG/ggt-100k")
    add_path(parser, "--changelog", "Add the entry to this file, e.g. B/CHANGELOG.md", "FILE")
    add_path(parser, "--sheet", "Write a contact sheet of the changed pairs", "PNG")
    add_number(parser, "--max-pairs", "Largest number of pairs on the contact sheet", default=24)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.diff import run as stage

    config = build(stage.DiffConfig, options)
    return finish_result(stage.run(options.before, options.after, config, events=Terminal("diff")))
