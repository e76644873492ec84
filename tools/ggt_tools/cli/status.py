"""The verb status."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.show import columns, reasons
from ggt_tools.workspace.ledger import Ledger

EXAMPLE = "ggt100k status workspace"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")


def run(options: argparse.Namespace) -> int:
    with Ledger(options.workspace) as ledger:
        funnel, standing, outcomes = ledger.funnel(), ledger.standing(), ledger.outcomes()
        classes = ledger.classes()
    print(f"{'stage':<10}{'entered':>9}{'left':>7}   why the others did not")
    for stage in funnel:
        print(f"{stage.stage:<10}{stage.entered:>9}{stage.left:>7}   {reasons(stage.reasons)}")
    if classes:
        counts = ("photographs", "made", "kept", "rejected", "unsure")
        print()
        columns(("degradation", *counts), [(row[0], *map(str, row[1:])) for row in classes])
    if standing:
        names = ("candidates", "made", "failed", "in_flight", "kept", "rejected", "unsure")
        print()
        columns(
            ("restorer", "prompt", "degradation", *names, "usd"),
            [
                (s.restorer, s.strategy, s.degradation, *(str(getattr(s, name)) for name in names), f"{s.usd:.2f}")
                for s in standing
            ],
        )
    if outcomes:
        print()
        columns(
            ("calls of", "model", "outcome", "number", "usd"),
            [(stage, model, outcome, str(number), f"{usd:.2f}") for stage, model, outcome, number, usd in outcomes],
        )
    return 0
