from __future__ import annotations

import argparse

from ggt_tools.cli.options import add_flag, add_path, add_text
from ggt_tools.cli.shared import add_executor, build, executor_of
from ggt_tools.cli.show import Terminal, finish, printable

EXAMPLE = "ggt100k validate ggt-100k --against workspace"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Release: a folder or an fsspec URL.")
    add_flag(parser, "--quick", "Leave out checksums and pixels; check sizes, names and texts")
    add_path(parser, "--against", "Compare every fact with the ledger of this workspace", "WORKSPACE")
    add_path(parser, "--findings", "Write the findings to this file as JSON lines", "FILE")
    add_path(parser, "--preview", "Compare a preview with the release, row by row", "FOLDER")
    add_executor(parser)
    text = "Where tasks on a cluster leave their findings; every node must be able to write there"
    add_text(parser, "--tasks", text, "FOLDER_OR_URL", shown="ROOT.tasks")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.validate import run as stage

    validation = stage.run(
        options.root,
        build(stage.ValidateConfig, options),
        executor=executor_of(options),
        events=Terminal("validate"),
        on_finding=lambda finding: print(f"{finding.reason}: {printable(str(finding))}"),
    )
    return finish(validation.summary)
