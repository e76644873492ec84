"""The verb calibrate."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import finish

EXAMPLE = "ggt100k calibrate workspace --labels reviewed.csv --out fitted.toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument(
        "--labels",
        type=Path,
        required=True,
        help="CSV or JSON lines with the columns candidate or key, and decision (keep or reject).",
    )
    parser.add_argument("--out", type=Path, required=True, help="Gate file to write; it must not exist yet.")
    parser.add_argument(
        "--gate", type=Path, help="Gate to start from: a file, or one of the package: offline, full (default: offline)."
    )
    parser.add_argument(
        "--false-accept",
        type=float,
        default=0.02,
        metavar="SHARE",
        help="Largest share of kept candidates that people reject (default: 0.02).",
    )
    parser.add_argument(
        "--plot",
        type=Path,
        metavar="PNG",
        help="Plot of precision, recall, ROC and reliability to write (default: OUT with .png).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.calibrate.run import CalibrateConfig
    from ggt_tools.stages.calibrate.run import run as run_calibrate

    return finish(run_calibrate(options.workspace, build(CalibrateConfig, vars(options))).summary)
