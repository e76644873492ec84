"""The verb report."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k report workspace --out report.html"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument(
        "--out",
        type=Path,
        help="File to write (default: report.html in the workspace, or in the current folder if that is read-only).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.report.run import ReportConfig
    from ggt_tools.stages.report.run import run as run_report

    return finish(run_report(options.workspace, build(ReportConfig, vars(options)), events=Terminal("report")))
