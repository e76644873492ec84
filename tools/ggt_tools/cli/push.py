"""The verb push."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish, printable

EXAMPLE = "ggt100k push ggt-100k --repo ORG/ggt-100k --tag v1.0.0"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="Folder of a release that validate has passed.")
    parser.add_argument(
        "--repo", required=True, metavar="ORG/ggt-100k", help="Dataset repository; it is created if need be."
    )
    parser.add_argument("--tag", default="", help="Tag of the version, for example v1.1.0; it is never moved.")
    parser.add_argument(
        "--pr", dest="pull_request", action="store_true", help="Open a pull request, and leave main as it is."
    )


def run(options: argparse.Namespace) -> int:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from ggt_tools.stages.push import PushConfig, PushPlan
    from ggt_tools.stages.push.run import describe_plan
    from ggt_tools.stages.push.run import run as run_push

    def show(plan: PushPlan) -> None:
        print("\n".join(map(printable, describe_plan(plan))), flush=True)

    if not sys.stderr.isatty():
        disable_progress_bars()  # those of the Hub's client, one for each file
    config = build(PushConfig, vars(options))
    return finish(run_push(options.root, config, events=Terminal("push"), on_plan=show))
