"""The verb evaluate."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_format.schema import SPLITS
from ggt_tools.cli.shared import add_where, build, names
from ggt_tools.cli.show import Terminal, columns, count, finish

EXAMPLE = "ggt100k evaluate ggt-100k --model outputs"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "root", nargs="?", help="Release: a folder, a URL, or sample (default: where load_dataset finds it)."
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="OUTPUTS", help="Folder with the model's images, named by key."
    )
    parser.add_argument("--split", default="test", choices=SPLITS, help="Split to compare with (default: test).")
    add_where(parser)
    parser.add_argument(
        "--metrics",
        type=names,
        default=(),
        help="Names of pyiqa metrics, separated by commas (default: seven metrics).",
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
    from ggt_tools.stages.export import parse_where

    config = build(EvaluateConfig, vars(options), where=parse_where(options.where))
    result = run_evaluate(options.root, options.model, config, events=Terminal("evaluate"))
    heads, *rows = result.evaluation.table()
    columns(heads, rows)
    return finish(result.summary)
