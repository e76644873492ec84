from __future__ import annotations

import argparse

from ggt_tools.cli.shared import add_workspace
from ggt_tools.cli.show import printable_lines

EXAMPLE = "ggt100k status workspace"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.status import run as run_status

    print(printable_lines(str(run_status(options.workspace))))
    return 0
