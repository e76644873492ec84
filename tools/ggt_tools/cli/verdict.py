"""Judge every candidate by the gate: keep, reject or unsure."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from ggt_tools.cli.show import table
from ggt_tools.ledger import Ledger
from ggt_tools.records import IN_FLIGHT, Aligned, Candidate, Photo, Score, Verdict


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path)
    sub.add_argument("--gate", type=Path, help="a gate file; default: the package's gate.toml")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.verdict import DEFAULT_GATE, load_gate, verdict

    path = options.gate or DEFAULT_GATE
    gate = load_gate(path)
    with Ledger(options.workspace) as ledger:
        seen = {photo.key: photo.degradations for photo in ledger.all(Photo)}
        judged = {verdict.candidate for verdict in ledger.all(Verdict) if verdict.gate == gate.id}
        settled = [candidate for candidate in ledger.all(Candidate) if candidate.reason != IN_FLIGHT]
        candidates = sorted(settled, key=lambda candidate: candidate.id in judged)[: options.limit]
        astray = {aligned.candidate: aligned.reason for aligned in ledger.all(Aligned) if not aligned.image}
        verdicts = list(verdict(candidates, ledger.all(Score), seen, gate, astray=astray))
        if not options.dry_run:
            ledger.judge(gate.id, path.read_text(encoding="utf-8"), verdicts)
    table(
        "verdict",
        {"kept": sum(v.decision == "keep" for v in verdicts)},
        rejected=Counter(v.reason for v in verdicts if v.decision == "reject"),
        unsure=Counter(v.reason for v in verdicts if v.decision == "unsure"),
    )
    return 0
