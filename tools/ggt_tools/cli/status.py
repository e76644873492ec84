"""The verb status."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.show import printable_lines

EXAMPLE = "ggt100k status workspace"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.status import run as run_status

    print(printable_lines(str(run_status(options.workspace))))
    return 0
