"""The verb pack."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_format.schema import CODECS, NAME
from ggt_tools.cli.shared import add_executor, build
from ggt_tools.cli.show import Terminal, count, finish

EXAMPLE = "ggt100k pack workspace ggt-100k --version 1.1.0 --base ggt-100k"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")
    parser.add_argument(
        "out",
        type=Path,
        nargs="?",
        default=Path(NAME),
        help=f"Folder of the release (default: {NAME}).",
    )
    parser.add_argument("--version", default="1.0.0", help="Version of the dataset (default: 1.0.0).")
    parser.add_argument(
        "--base",
        default="",
        metavar="PREVIOUS",
        help="The previous release, a folder or URL, which may be OUT: shards whose pairs did not change are kept byte "
        "for byte.",
    )
    parser.add_argument(
        "--recompress",
        action="store_true",
        help="With --base: write PNG images of an older layout anew. Crops of them are then faster to read, the pixels "
        "stay, and shards that have the present layout are kept.",
    )
    parser.add_argument(
        "--test",
        type=float,
        help="Number of pairs in the test split, at most a tenth of all pairs; below 1, their share. It is drawn "
        "once for a workspace, from pairs that no earlier release contained (default: 500).",
    )
    parser.add_argument(
        "--forget-packed",
        action="store_true",
        help="Allow pairs of earlier releases without a test split in the test split; only if no model was trained on "
        "these releases.",
    )
    parser.add_argument(
        "--priors",
        action="store_true",
        help="Add outputs that were rejected for their frame alone, as visual priors in shards of their own; without "
        "this option, those of the base are removed.",
    )
    parser.add_argument(
        "--codec", default="png", choices=CODECS, help="Image format; jpeg has a third of the size (default: png)."
    )
    parser.add_argument(
        "--shard-bytes",
        type=count,
        default=500_000_000,
        metavar="BYTES",
        help="Largest size of a shard (default: 500000000).",
    )
    add_executor(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.executors import ExecutorConfig
    from ggt_tools.stages.pack import PackConfig
    from ggt_tools.stages.pack.run import run as run_pack

    values = vars(options)
    summary = run_pack(
        options.workspace,
        options.out,
        build(PackConfig, values),
        executor=build(ExecutorConfig, values, prefix="executor_"),
        events=Terminal("pack"),
    )
    return finish(summary)
