from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.options import add_flag, add_number, names
from ggt_tools.cli.shared import add_executor, add_models, build, executor_of
from ggt_tools.cli.show import Terminal, finish
from ggt_tools.errors import ConfigError

EXAMPLE = "ggt100k score workspace --metrics core,regions"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, nargs="?", help="Folder of the workspace.")
    parser.add_argument(
        "--metrics",
        type=names,
        default=("core", "text"),
        help="Sets (core, regions, text, faces, weight-free, offline, default, full) or names of metrics, separated by "
        "commas; flags makes scores of the flags of photographs and replies (default: core,text).",
    )
    add_flag(parser, "--list", "List the metrics and what is missing here, and stop")
    models = parser.add_argument_group("metrics with models")
    add_models(models)
    add_number(models, "--batch", "Number of pairs in a batch on a GPU", default=8)
    add_executor(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.metrics.scorer import available, licence
    from ggt_tools.stages.score import run as stage

    if options.list:
        for name, is_available, why in available():
            print(f"{name:<18} {'runs here' if is_available else f'not here: {why}'}{licence(name)}")
        return 0
    if options.workspace is None:
        raise ConfigError("name a workspace, or give --list")
    config, events = build(stage.ScoreConfig, options), Terminal("score")
    return finish(stage.run(options.workspace, config, executor=executor_of(options), events=events))
