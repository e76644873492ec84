"""The verb export."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_format.schema import PRIOR, SPLITS
from ggt_tools.cli.shared import add_where, build
from ggt_tools.cli.show import Terminal, count, finish

EXAMPLE = "ggt100k export ggt-100k --to basicsr --where degradation=rain,snow --out DIR"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Release: a folder, a URL, or sample.")
    parser.add_argument("--to", required=True, help="Layout: basicsr, imagefolder, lmdb, pairs, parquet or webdataset.")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="New folder, or one of an export that was interrupted."
    )
    add_where(parser)
    parser.add_argument(
        "--split",
        dest="splits",
        action="append",
        default=[],
        choices=(*SPLITS, PRIOR),
        help="Split to export; can be given several times (default: train and test).",
    )
    parser.add_argument(
        "--file-bytes",
        type=count,
        default=500_000_000,
        metavar="BYTES",
        help="Largest size of a tar or parquet file (default: 500000000).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.export import ExportConfig, parse_where
    from ggt_tools.stages.export.run import run as run_export

    config = build(ExportConfig, vars(options), where=parse_where(options.where), splits=tuple(options.splits))
    return finish(run_export(options.root, options.out, config, events=Terminal("export")))
