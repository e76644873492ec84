"""The verb demo."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.errors import ConfigError

EXAMPLE = "ggt100k demo demo"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("folder", type=Path, help="Folder to write the workspace, the release and the contact sheet to.")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.cli import main
    from ggt_tools.demo import demo

    def verb(*argv: str) -> None:
        print(f"\n$ ggt100k {' '.join(argv)}", flush=True)
        if main(argv) != 0:
            raise ConfigError(f"the demo stops here: ggt100k {argv[0]} did not end well")

    for line in demo(options.folder, verb):
        print(line, flush=True)
    return 0
