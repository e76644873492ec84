"""The verb score."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import add_executor, build, names
from ggt_tools.cli.show import Terminal, count, finish
from ggt_tools.errors import ConfigError

EXAMPLE = "ggt100k score workspace --metrics core,regions"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, nargs="?", help="Folder of the workspace.")
    parser.add_argument(
        "--metrics",
        type=names,
        default=("core", "text"),
        help="Sets (core, regions, text, faces, weight-free, offline, default, full) or names of metrics, separated by "
        "commas (default: core,text).",
    )
    parser.add_argument("--list", action="store_true", help="List the metrics and what is missing here, and stop.")
    models = parser.add_argument_group("metrics with models")
    models.add_argument(
        "--device", default="auto", help="Device as torch names it (default: cuda if there is one, else cpu)."
    )
    models.add_argument("--weights", type=Path, help="Folder with downloaded weights (default: torch's cache).")
    models.add_argument("--batch", type=count, default=8, help="Number of pairs in a batch on a GPU (default: 8).")
    add_executor(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.executors import ExecutorConfig
    from ggt_tools.metrics.scorer import available, licence
    from ggt_tools.stages.score.run import ScoreConfig
    from ggt_tools.stages.score.run import run as run_score

    if options.list:
        for name, is_available, why in available():
            print(f"{name:<18} {'runs here' if is_available else f'not here: {why}'}{licence(name)}")
        return 0
    if options.workspace is None:
        raise ConfigError("name a workspace, or give --list")
    values = vars(options)
    summary = run_score(
        options.workspace,
        build(ScoreConfig, values),
        executor=build(ExecutorConfig, values, prefix="executor_"),
        events=Terminal("score"),
    )
    return finish(summary)
