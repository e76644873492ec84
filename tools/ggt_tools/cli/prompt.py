from __future__ import annotations

import argparse

from ggt_tools.choices import STRATEGIES
from ggt_tools.cli.options import add_choice
from ggt_tools.cli.shared import add_service, add_vlm, add_workspace, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k prompt workspace --strategy measured"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    text = "One text for each class, one sentence for each measured degradation, or one text by a vision model"
    add_choice(parser, "--strategy", text, STRATEGIES, "fixed")
    add_vlm(parser, "for --strategy vlm")
    add_service(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.prompt import run as stage

    return finish(stage.run(options.workspace, build(stage.PromptConfig, options), events=Terminal("prompt")))
