"""The verb card."""

from __future__ import annotations

import argparse
from pathlib import Path

import ggt_format
from ggt_tools.cli.show import printable
from ggt_tools.errors import ConfigError
from ggt_tools.workspace.ledger import write_whole

EXAMPLE = "ggt100k card ggt-100k --repo ORG/ggt-100k"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("root", help="Folder of the release.")
    sub.add_argument(
        "--repo",
        default=ggt_format.REPO_ID,
        metavar="ORG/ggt-100k",
        help=f"Repository on the Hub that the release will be in (default: {ggt_format.REPO_ID}).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.card import describe

    if "://" in options.root:
        raise ConfigError(f"{options.root}: a card is written into a folder; fetch the release first")
    changed = 0
    root = ggt_format.open_root(options.root)
    files = describe(root, options.repo)
    for name, data in files.items():
        path = Path(root.url) / name
        path.parent.mkdir(exist_ok=True)
        if not path.is_file() or path.read_bytes() != data:
            write_whole(path, data)
            changed += 1
    print(f"card: {printable(options.root)}: {', '.join(files)}; {changed} of {len(files)} changed")
    return 0
