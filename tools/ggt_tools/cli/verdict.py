"""The verb verdict."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k verdict workspace --gate fitted.toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument(
        "--gate", type=Path, help="Gate file, or a gate of the package: offline, full (default: offline)."
    )
    parser.add_argument(
        "--what-if",
        type=Path,
        metavar="OTHER",
        help="Change nothing, and show how this gate would change the verdicts of --gate or, without it, those in "
        "the workspace.",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.verdict import compare
    from ggt_tools.stages.verdict.run import VerdictConfig
    from ggt_tools.stages.verdict.run import run as run_verdict

    values = vars(options)
    if options.what_if:
        print(compare.run(options.workspace, build(compare.CompareConfig, values)))
        return 0
    return finish(run_verdict(options.workspace, build(VerdictConfig, values), events=Terminal("verdict")))
