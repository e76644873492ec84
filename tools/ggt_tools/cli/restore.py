from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_flag, add_number, add_repeated, add_text, positive, seed
from ggt_tools.cli.shared import add_executor, add_service, add_workspace, build, executor_of
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k restore workspace --with gemini --prompt vlm --budget 20usd"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    candidates = parser.add_argument_group("what is made")
    text = "Restorer as NAME or NAME:MODEL; can be given several times (default: classical)"
    add_repeated(candidates, "--with", text, "RESTORER", dest="restorers")
    text = "Prompts to use: fixed, measured or vlm"
    add_text(candidates, "--prompt", text, "STRATEGY", default=None, shown="the only ones written")
    text = "Number of candidates for each photograph, each with its own seed"
    add_number(candidates, "--n", text, default=1, dest="candidates_per_photo")
    add_number(candidates, "--seed", "Seed of the first candidate", default=0, kind=seed)
    add_flag(candidates, "--batch", "Use the provider's batch jobs: half the price, results within a day")
    text = "Seconds between two checks of batch jobs"
    add_number(candidates, "--poll", text, "SECONDS", default=60.0, shown="60", kind=positive, dest="poll_seconds")
    add_service(parser)
    add_executor(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.restore import run as stage

    config, events = build(stage.RestoreConfig, options), Terminal("restore")
    return finish(stage.run(options.workspace, config, executor=executor_of(options), events=events))
