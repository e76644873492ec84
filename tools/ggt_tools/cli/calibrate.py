from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_number, add_path
from ggt_tools.cli.shared import add_workspace, build
from ggt_tools.cli.show import finish

EXAMPLE = "ggt100k calibrate workspace --labels reviewed.csv --out fitted.toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    text = "CSV or JSON lines with the columns candidate or key, and decision (keep or reject)"
    add_path(parser, "--labels", text, "LABELS", required=True)
    add_path(parser, "--out", "Gate file to write; it must not exist yet", "OUT", required=True)
    text = "Gate to start from: a file, or one of the package: offline, full"
    add_path(parser, "--gate", text, "GATE", shown="offline")
    text = "Largest share of kept candidates that people reject"
    add_number(parser, "--false-accept", text, "SHARE", default=0.02, kind=float)
    text = "Plot of precision, recall, ROC and reliability to write"
    add_path(parser, "--plot", text, "PNG", shown="OUT with .png")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.calibrate import run as stage

    return finish(stage.run(options.workspace, build(stage.CalibrateConfig, options)).summary)
