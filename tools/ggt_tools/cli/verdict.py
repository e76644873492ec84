from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_path
from ggt_tools.cli.shared import add_workspace, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k verdict workspace --gate fitted.toml"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    add_path(parser, "--gate", "Gate file, or a gate of the package: offline, full", "GATE", shown="offline")
    text = (
        "Change nothing, and show how this gate would change the verdicts of --gate or, without it, those in the "
        "workspace"
    )
    add_path(parser, "--what-if", text, "OTHER")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.verdict import compare
    from ggt_tools.stages.verdict import run as stage

    if options.what_if:
        print(compare.run(options.workspace, build(compare.CompareConfig, options)))
        return 0
    return finish(stage.run(options.workspace, build(stage.VerdictConfig, options), events=Terminal("verdict")))
