"""Hold a dataset folder, or the URL of one, against the format. It repairs nothing."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import ggt100k
from ggt_tools.cli.show import Bar, count, printable, table
from ggt_tools.errors import ConfigError


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("root", help="a folder or an fsspec URL")
    sub.add_argument("--quick", action="store_true", help="no checksum, no pixels: what sizes, names and texts tell")
    sub.add_argument("--against", type=Path, metavar="LEDGER", help="a workspace: hold every fact against its ledger")
    sub.add_argument("--findings", type=Path, metavar="FILE", help="write the findings here, a JSON object a line")
    sub.add_argument("--processes", type=count, default=0, help="default: as many as the cores and the size ask for")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.records import to_row
    from ggt_tools.validate import validate

    try:
        counts = {split: about["pairs"] for split, about in ggt100k.open_root(options.root).indices.items()}
    except ConfigError:  # validate says why, and whether that is a finding
        counts = {}
    lines, reasons = [], Counter[str]()
    with Bar(sum(counts.values()), "validate") as bar:
        for finding in validate(
            options.root, quick=options.quick, against=options.against, processes=options.processes,
            progress=bar.update,
        ):  # fmt: skip
            print(f"{finding.reason}: {printable(str(finding))}")
            lines.append(json.dumps(to_row(finding)) + "\n")
            reasons[finding.reason] += 1
    if options.findings:
        options.findings.write_text("".join(lines), encoding="utf-8")
    beside = {"priors": counts.pop(ggt100k.PRIOR)} if ggt100k.PRIOR in counts else {}
    table("validate", {"pairs": sum(counts.values()), **beside, "findings": reasons.total()}, found=reasons)
    if options.quick and not reasons:
        print("quick: no checksum and no pixel was looked at")
    return 1 if reasons else 0
