"""The verb export."""

from __future__ import annotations

import argparse
from pathlib import Path

import ggt_format
from ggt_tools.cli.show import Bar, complain, count, table

EXAMPLE = "ggt100k export ggt-100k --to basicsr --where degradation=rain,snow --out DIR"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("root", help="Release: a folder, a URL, or sample.")
    sub.add_argument("--to", required=True, help="Layout: basicsr, imagefolder, lmdb, pairs, parquet or webdataset.")
    sub.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="New folder, or one of an export that was interrupted."
    )
    sub.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="COLUMN=VALUE[,VALUE], COLUMN>=NUMBER or COLUMN<=NUMBER, for example degradation=rain,snow or "
        "scores.structure>=0.5; with several, all must hold.",
    )
    sub.add_argument(
        "--split",
        action="append",
        default=[],
        choices=(*ggt_format.SPLITS, ggt_format.PRIOR),
        help="Split to export; can be given several times (default: train and test).",
    )
    sub.add_argument(
        "--file-bytes",
        type=count,
        default=500_000_000,
        metavar="BYTES",
        help="Largest size of a tar or parquet file (default: 500000000).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.export import ExportConfig, export, parse_where, plan

    where = parse_where(options.where)
    config = ExportConfig(to=options.to, where=where, splits=tuple(options.split), file_bytes=options.file_bytes)
    folder = str(ggt_format.sample_folder() / "packed") if options.root == "sample" else options.root
    root = ggt_format.open_root(folder)
    sources = plan(root, config)
    pairs = sum(len(source.rows) for source in sources)
    if options.dry_run:
        size = sum(sum(row.sizes) for source in sources for row in source.rows)
        print(f"would export {pairs} pairs, {size / 1e6:.1f} MB of images, to {options.out} as {options.to}")
        return 0
    with Bar(pairs, "export") as bar:
        done = export(folder, options.out, config, progress=bar.update)
    if why := root.manifest.get("local_only"):
        complain("export", f"{options.out}: must stay on this machine too: {why}")
    table("export", done)
    return 0
