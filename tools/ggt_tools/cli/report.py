"""Write one HTML file on what the gate made of a workspace."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.show import now, printable
from ggt_tools.errors import ConfigError
from ggt_tools.ledger import Ledger, write_whole
from ggt_tools.records import Aligned, Candidate, Photo, Verdict


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path)
    sub.add_argument("--out", type=Path, help="the file; default: report.html in the workspace")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.gate import parse_gate
    from ggt_tools.report import Facts, report

    out = options.out or options.workspace / "report.html"
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no such folder; make it first")
    with Ledger(options.workspace) as ledger:
        verdicts = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
        gates = {verdict.gate for verdict in verdicts.values()}
        if not gates:
            raise ConfigError(f"{options.workspace}: nothing has been judged; run: ggt100k verdict {options.workspace}")
        if len(gates) > 1:
            raise ConfigError(f"{options.workspace}: judged by more than one gate; run verdict without --limit")
        (gate,) = gates
        facts = Facts(
            name=options.workspace.resolve().name,
            gate=parse_gate(options.workspace / f"gate {gate} of ledger.sqlite", ledger.gate_text(gate)),
            funnel=ledger.funnel(),
            photos={photo.key: photo for photo in ledger.all(Photo)},
            candidates=[candidate for candidate in ledger.all(Candidate) if candidate.id in verdicts],
            verdicts=verdicts,
            aligned={aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image},
            scores=ledger.scores(),
            image=ledger.image,
        )
        page = report(facts, created=now())
    write_whole(out, page.encode())
    print(f"report: {printable(str(out))}, {len(page) / 1e6:.1f} MB")
    return 0
