from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ggt_format.schema import SPLITS
from ggt_tools.cli.options import add_choice, add_number, add_path, add_repeated, names
from ggt_tools.cli.shared import add_models, add_where, build
from ggt_tools.cli.show import Terminal, columns, finish, printable_lines

EXAMPLE = "ggt100k evaluate ggt-100k --model outputs"


def arguments(parser: argparse.ArgumentParser) -> None:
    text = "Release: a folder, a URL, or sample (default: where load_dataset finds it)."
    parser.add_argument("root", nargs="?", help=text)
    text = "Folder with the model's images, named by key; given again, each is compared with the first"
    add_repeated(parser, "--model", text, "OUTPUTS", dest="models", type=Path, required=True)
    add_choice(parser, "--split", "Split to compare with", SPLITS, "test")
    add_where(parser)
    parser.add_argument(
        "--metrics",
        type=names,
        default=(),
        help="Names of pyiqa metrics, or psnr_y and ssim_y for the Y channel, separated by commas (default: seven "
        "metrics).",
    )
    add_number(parser, "--crop-border", "Leave out this many pixels at each edge", "PIXELS", default=0, kind=int)
    text = "JSON, JSON lines or CSV file with the D and F that a vision-language model gave to each output"
    add_path(parser, "--df-scores", text, "FILE")
    text = "The same with the gain and LPIPS of RealIR-Bench, from which FS is computed"
    add_path(parser, "--fs-scores", text, "FILE")
    add_path(parser, "--table", "Table to write: Markdown (FILE.md) or LaTeX (FILE.tex)", "FILE")
    add_path(parser, "--out", "File to write", "JSON", shown="OUTPUTS.evaluation.json")
    add_path(parser, "--sheet", "Contact sheet to write", "PNG", shown="OUTPUTS.evaluation.png")
    add_path(parser, "--page", "Page to write that shows the worst outputs under sliders", "HTML")
    add_number(parser, "--worst", "Number of outputs on the contact sheet and the page", default=12)
    add_models(parser)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.evaluate import EvaluateConfig
    from ggt_tools.stages.evaluate import run as stage
    from ggt_tools.stages.export import parse_where

    config = build(EvaluateConfig, options, where=parse_where(options.where))
    events = Terminal("evaluate")
    if len(options.models) > 1:
        comparison = stage.run_comparison(options.root, options.models, config, events=events)
        for evaluation in comparison.evaluations.values():
            print(printable_lines(evaluation.model))
            _print_table(evaluation.table())
        _print_table(comparison.table())
        return finish(comparison.summary)
    result = stage.run(options.root, options.models[0], config, events=events)
    _print_table(result.evaluation.table())
    return finish(result.summary)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    columns(rows[0], rows[1:])
