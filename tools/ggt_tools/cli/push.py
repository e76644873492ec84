from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ggt_tools.cli.options import add_flag, add_path, add_text
from ggt_tools.cli.shared import build
from ggt_tools.cli.show import Terminal, finish, printable

EXAMPLE = "ggt100k push ggt-100k --repo ORG/ggt-100k --tag v1.0.0"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="Folder of a release that validate has passed.")
    text = "Dataset repository; it is created if need be."
    parser.add_argument("--repo", required=True, metavar="ORG/ggt-100k", help=text)
    add_text(parser, "--tag", "Tag of the version, for example v1.1.0; it is never moved")
    add_flag(parser, "--pr", "Open a pull request, and leave main as it is", dest="pull_request")
    text = "Also publish a table of all pairs with small images in this repository, for the Hub's viewer"
    add_text(parser, "--preview", text, "ORG/ggt-100k-preview", shown="none")
    text = "Where the preview is written; a run that was killed continues there"
    add_path(parser, "--preview-folder", text, "FOLDER", shown="ROOT-preview")


def run(options: argparse.Namespace) -> int:
    from huggingface_hub.utils.tqdm import disable_progress_bars

    from ggt_tools.stages.push import PushConfig, PushPlan
    from ggt_tools.stages.push import run as stage

    def show(plan: PushPlan) -> None:
        print("\n".join(map(printable, stage.describe_plan(plan))), flush=True)

    if not sys.stderr.isatty():
        disable_progress_bars()  # those of the Hub's client, one for each file
    config = build(PushConfig, options)
    return finish(stage.run(options.root, config, events=Terminal("push"), on_plan=show))
