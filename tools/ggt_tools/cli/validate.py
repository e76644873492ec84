"""Hold a dataset folder against the format."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import ggt100k
from ggt_tools.cli.show import Bar, printable, table


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("root")
    sub.add_argument("--json", type=Path, help="write the findings here, a JSON object a line")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.records import to_row
    from ggt_tools.validate import validate

    total = sum(about["pairs"] for about in ggt100k.open_root(options.root).manifest["splits"].values())
    lines, reasons = [], Counter[str]()
    with Bar(total, "validate") as bar:
        for finding in validate(options.root, progress=bar.update):
            print(f"{finding.reason}: {printable(str(finding))}")
            lines.append(json.dumps(to_row(finding)) + "\n")
            reasons[finding.reason] += 1
    if options.json:
        options.json.write_text("".join(lines), encoding="utf-8")
    table("validate", {"pairs": total, "findings": reasons.total()}, found=reasons)
    return 1 if reasons else 0
