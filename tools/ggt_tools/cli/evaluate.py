"""The verb evaluate."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ggt_format.schema import SPLITS
from ggt_tools.cli.shared import add_where, build, names
from ggt_tools.cli.show import Terminal, columns, count, finish, printable_lines

EXAMPLE = "ggt100k evaluate ggt-100k --model outputs"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "root", nargs="?", help="Release: a folder, a URL, or sample (default: where load_dataset finds it)."
    )
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        type=Path,
        required=True,
        metavar="OUTPUTS",
        help="Folder with the model's images, named by key; given again, each is compared with the first.",
    )
    parser.add_argument("--split", default="test", choices=SPLITS, help="Split to compare with (default: test).")
    add_where(parser)
    parser.add_argument(
        "--metrics",
        type=names,
        default=(),
        help="Names of pyiqa metrics, or psnr_y and ssim_y for the Y channel, separated by commas (default: seven "
        "metrics).",
    )
    parser.add_argument(
        "--crop-border",
        type=int,
        default=0,
        metavar="PIXELS",
        help="Leave out this many pixels at each edge (default: 0).",
    )
    parser.add_argument(
        "--df-scores",
        type=Path,
        metavar="FILE",
        help="JSON, JSON lines or CSV file with the D and F that a vision-language model gave to each output.",
    )
    parser.add_argument(
        "--table", type=Path, metavar="FILE", help="Table to write: Markdown (FILE.md) or LaTeX (FILE.tex)."
    )
    parser.add_argument("--out", type=Path, metavar="JSON", help="File to write (default: OUTPUTS.evaluation.json).")
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="Contact sheet to write (default: OUTPUTS.evaluation.png)."
    )
    parser.add_argument("--worst", type=count, default=12, help="Number of outputs on the contact sheet (default: 12).")
    parser.add_argument(
        "--device", default="auto", help="Device as torch names it (default: cuda if there is one, else cpu)."
    )
    parser.add_argument("--weights", type=Path, help="Folder with downloaded weights (default: torch's cache).")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.stages.evaluate import EvaluateConfig
    from ggt_tools.stages.evaluate.run import run as run_evaluate
    from ggt_tools.stages.evaluate.run import run_comparison
    from ggt_tools.stages.export import parse_where

    config = build(EvaluateConfig, vars(options), where=parse_where(options.where))
    events = Terminal("evaluate")
    if len(options.models) > 1:
        comparison = run_comparison(options.root, options.models, config, events=events)
        for evaluation in comparison.evaluations.values():
            print(printable_lines(evaluation.model))
            _print_table(evaluation.table())
        _print_table(comparison.table())
        return finish(comparison.summary)
    result = run_evaluate(options.root, options.models[0], config, events=events)
    _print_table(result.evaluation.table())
    return finish(result.summary)


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    columns(rows[0], rows[1:])
