"""The verb evaluate."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import ggt_format
from ggt_tools.cli.show import Bar, columns, complain, count, printable
from ggt_tools.errors import ConfigError
from ggt_tools.workspace.ledger import write_whole

EXAMPLE = "ggt100k evaluate ggt-100k --model outputs"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "root", nargs="?", help="Release: a folder, a URL, or sample (default: where load_dataset finds it)."
    )
    sub.add_argument(
        "--model", type=Path, required=True, metavar="OUTPUTS", help="Folder with the model's images, named by key."
    )
    sub.add_argument(
        "--split", default="test", choices=ggt_format.SPLITS, help="Split to compare with (default: test)."
    )
    sub.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help="Condition on the pairs, as for export."
    )
    sub.add_argument(
        "--metrics", default="", help="Names of pyiqa metrics, separated by commas (default: seven metrics)."
    )
    sub.add_argument("--out", type=Path, metavar="JSON", help="File to write (default: OUTPUTS.evaluation.json).")
    sub.add_argument(
        "--sheet", type=Path, metavar="PNG", help="Contact sheet to write (default: OUTPUTS.evaluation.png)."
    )
    sub.add_argument("--worst", type=count, default=12, help="Number of outputs on the contact sheet (default: 12).")
    sub.add_argument(
        "--device", default="auto", help="Device as torch names it (default: cuda if there is one, else cpu)."
    )
    sub.add_argument("--weights", type=Path, help="Folder with downloaded weights (default: torch's cache).")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.metrics.iqa import IqaConfig
    from ggt_tools.stages.evaluate import METRICS, EvaluateConfig, evaluate, lines, lower_better, sheet
    from ggt_tools.stages.export import parse_where

    named = tuple(name.strip() for name in options.metrics.split(",") if name.strip())
    config = EvaluateConfig(
        split=options.split,
        where=parse_where(options.where),
        metrics=named or METRICS,
        worst=options.worst,
        iqa=IqaConfig(device=options.device, weights=options.weights),
    )
    # by the folder's name: models that are compared lie side by side, and each keeps its own
    model = options.model.resolve()
    out = options.out or model.with_name(f"{model.name}.evaluation.json")
    shown = options.sheet or model.with_name(f"{model.name}.evaluation.png")
    for path in (out, shown):
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no such folder; make it first")
    sample = options.root == "sample"
    root = str(ggt_format.sample_folder() / "packed") if sample else ggt_format.locate(options.root).url
    total = len(ggt_format.index(root, options.split, where=config.where, columns=["key"]))
    with Bar(total, "evaluate") as bar:
        found = evaluate(root, options.model, config, progress=bar.update)
    for line in lines(found):
        complain("evaluate", line)
    first, *rows = found.table()
    columns(first, rows)
    reasons = Counter(reason for reason, _ in found.faults.values())
    said = "".join(f", {number} {reason}" for reason, number in sorted(reasons.items()))
    print(f"evaluate: {len(found.values)} of {found.pairs} measured{said}; in brackets what the photographs have")
    for name, less in (("more", False), ("less", True)):
        if some := [metric for metric in found.metrics if lower_better(metric) == less]:
            print(f"{name} is better: {', '.join(some)}")
    shown.unlink(missing_ok=True)  # one of an earlier run would show other outputs than the values beside it
    write_whole(out, (json.dumps(found.json(), indent=1) + "\n").encode())
    if found.worst:
        import io

        file = io.BytesIO()
        sheet(root, options.model, found).save(file, "PNG")
        write_whole(shown, file.getvalue())
        print(printable(f"{out}, and the worst by {found.metrics[0]}: {shown}"))
    return int(bool(found.faults) or bool(named and found.missing))
