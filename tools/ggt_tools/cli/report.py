from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_path
from ggt_tools.cli.shared import add_workspace, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k report workspace --out report.html"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    shown = "report.html in the workspace, or in the current folder if that is read-only"
    add_path(parser, "--out", "File to write", "HTML", shown=shown)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.report import run as stage

    return finish(stage.run(options.workspace, build(stage.ReportConfig, options), events=Terminal("report")))
