"""The verb restore."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import add_executor, add_service, build
from ggt_tools.cli.show import Terminal, count, finish, seconds, seed

EXAMPLE = "ggt100k restore workspace --with gemini --prompt vlm --budget 20usd"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    candidates = parser.add_argument_group("what is made")
    candidates.add_argument(
        "--with",
        dest="restorers",
        action="append",
        metavar="RESTORER",
        help="Restorer as NAME or NAME:MODEL; can be given several times (default: classical).",
    )
    candidates.add_argument(
        "--prompt", metavar="STRATEGY", help="Prompts to use: fixed, measured or vlm (default: the only ones written)."
    )
    candidates.add_argument(
        "--n",
        dest="candidates_per_photo",
        type=count,
        default=1,
        metavar="N",
        help="Number of candidates for each photograph, each with its own seed (default: 1).",
    )
    candidates.add_argument("--seed", type=seed, default=0, help="Seed of the first candidate (default: 0).")
    candidates.add_argument(
        "--batch", action="store_true", help="Use the provider's batch jobs: half the price, results within a day."
    )
    candidates.add_argument(
        "--poll",
        dest="poll_seconds",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="Seconds between two checks of batch jobs (default: 60).",
    )
    add_service(parser)
    add_executor(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.executors import ExecutorConfig
    from ggt_tools.providers.service import ServiceConfig
    from ggt_tools.stages.restore.run import RestoreConfig
    from ggt_tools.stages.restore.run import run as run_restore

    values = vars(options)
    config = build(
        RestoreConfig,
        values,
        restorers=tuple(options.restorers or ("classical",)),
        service=build(ServiceConfig, values),
    )
    executor = build(ExecutorConfig, values, prefix="executor_")
    return finish(run_restore(options.workspace, config, executor=executor, events=Terminal("restore")))
