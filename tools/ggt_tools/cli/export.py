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
    parser.add_argument(
        "--to",
        required=True,
        help="Layout: ai-toolkit, basicsr, diffsynth, diffusers, imagefolder, kohya, lmdb, musubi, pairs, parquet or "
        "webdataset.",
    )
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
    prompts = parser.add_argument_group("prompts", "of the layouts ai-toolkit, diffsynth, diffusers, kohya and musubi")
    prompts.add_argument(
        "--prompt",
        choices=("own", "fixed", "none"),
        default="own",
        help="Text of each pair: own for the prompt that its GT image was made with, fixed for one text for each class "
        "of degradation, none for no text (default: own).",
    )
    prompts.add_argument(
        "--prompt-texts",
        type=Path,
        metavar="FILE",
        help='TOML file with own fixed texts, for example a line rain = "Remove the rain." (default: the fixed texts '
        "of the verb prompt).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.export import ExportConfig, parse_where, read_prompt_texts
    from ggt_tools.stages.export.run import run as run_export

    texts = {} if options.prompt_texts is None else read_prompt_texts(options.prompt_texts)
    config = build(
        ExportConfig,
        vars(options),
        where=parse_where(options.where),
        splits=tuple(options.splits),
        prompt_texts=texts,
    )
    return finish(run_export(options.root, options.out, config, events=Terminal("export")))
