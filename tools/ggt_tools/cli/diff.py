"""The verb diff."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, count, printable_lines

EXAMPLE = "ggt100k diff ggt-100k ggt-100k-1.1 --changelog ggt-100k-1.1/CHANGELOG.md"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "before", metavar="A", help="The earlier version: a folder or URL, or with --repo a tag or commit."
    )
    parser.add_argument("after", metavar="B", help="The later version, named in the same way.")
    parser.add_argument(
        "--repo", default="", metavar="ORG/ggt-100k", help="Repository in which tags and commits are looked up."
    )
    parser.add_argument(
        "--changelog", type=Path, metavar="FILE", help="Add the entry to this file, e.g. B/CHANGELOG.md."
    )
    parser.add_argument("--sheet", type=Path, metavar="PNG", help="Write a contact sheet of the changed pairs.")
    parser.add_argument(
        "--max-pairs",
        type=count,
        default=24,
        metavar="N",
        help="Largest number of pairs on the contact sheet (default: 24).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.diff.run import DiffConfig
    from ggt_tools.stages.diff.run import run as run_diff

    config = build(DiffConfig, vars(options))
    result = run_diff(options.before, options.after, config, events=Terminal("diff"))
    print(printable_lines(str(result)))
    return int(result.summary.is_failed)
