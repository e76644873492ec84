from __future__ import annotations

import argparse

from ggt_format.schema import PRIOR, SPLITS
from ggt_tools.choices import EXPORTED_PROMPTS
from ggt_tools.cli.options import add_choice, add_number, add_path, add_repeated
from ggt_tools.cli.shared import add_where, build
from ggt_tools.cli.show import Terminal, finish

EXAMPLE = "ggt100k export ggt-100k --to basicsr --where degradation=rain,snow --out DIR"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", help="Release: a folder, a URL, or sample.")
    parser.add_argument(
        "--to",
        required=True,
        help="Layout: ai-toolkit, basicsr, diffsynth, diffusers, imagefolder, kohya, lmdb, musubi, pairs, parquet, "
        "preference or webdataset.",
    )
    add_path(parser, "--out", "New folder, or one of an export that was interrupted", "DIR", required=True)
    add_where(parser)
    text = "Split to export; can be given several times (default: train and test)"
    add_repeated(parser, "--split", text, None, dest="splits", choices=(*SPLITS, PRIOR))
    add_number(parser, "--file-bytes", "Largest size of a tar or parquet file", "BYTES", default=500_000_000)
    prompts = parser.add_argument_group("prompts", "of the layouts ai-toolkit, diffsynth, diffusers, kohya and musubi")
    text = (
        "Text of each pair: own for the prompt that its GT image was made with, fixed for one text for each class of "
        "degradation, none for no text"
    )
    add_choice(prompts, "--prompt", text, EXPORTED_PROMPTS, "own")
    text = 'TOML file with own fixed texts, for example a line rain = "Remove the rain."'
    add_path(prompts, "--prompt-texts", text, "FILE", shown="the fixed texts of the verb prompt")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.export import ExportConfig, parse_where, read_prompt_texts
    from ggt_tools.stages.export import run as stage

    texts = {} if options.prompt_texts is None else read_prompt_texts(options.prompt_texts)
    config = build(ExportConfig, options, where=parse_where(options.where), prompt_texts=texts)
    return finish(stage.run(options.root, options.out, config, events=Terminal("export")))
