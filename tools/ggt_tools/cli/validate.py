"""The verb validate."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.shared import add_executor, build
from ggt_tools.cli.show import Terminal, finish, printable

EXAMPLE = "ggt100k validate ggt-100k --against workspace"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Release: a folder or an fsspec URL.")
    parser.add_argument(
        "--quick", action="store_true", help="Leave out checksums and pixels; check sizes, names and texts."
    )
    parser.add_argument(
        "--against", type=Path, metavar="WORKSPACE", help="Compare every fact with the ledger of this workspace."
    )
    parser.add_argument("--findings", type=Path, metavar="FILE", help="Write the findings to this file as JSON lines.")
    add_executor(parser)
    parser.add_argument(
        "--tasks",
        default="",
        metavar="FOLDER_OR_URL",
        help="Where tasks on a cluster leave their findings; every node must be able to write there "
        "(default: ROOT.tasks).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.executors import ExecutorConfig
    from ggt_tools.stages.validate.run import ValidateConfig
    from ggt_tools.stages.validate.run import run as run_validate

    values = vars(options)
    validation = run_validate(
        options.root,
        build(ValidateConfig, values),
        executor=build(ExecutorConfig, values, prefix="executor_"),
        events=Terminal("validate"),
        on_finding=lambda finding: print(f"{finding.reason}: {printable(str(finding))}"),
    )
    return finish(validation.summary)
