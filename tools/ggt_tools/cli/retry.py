from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_repeated
from ggt_tools.cli.shared import add_service, add_workspace, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k retry workspace --reason timeout"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    text = "Reason code to retry, as status shows it (timeout, refused, ...); can be given several times"
    add_repeated(parser, "--reason", text, "REASON", dest="reasons", required=True)
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.retry import run as stage

    return finish(stage.run(options.workspace, build(stage.RetryConfig, options), events=Terminal("retry")))
