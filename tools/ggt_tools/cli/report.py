"""The verb report."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from ggt_tools.cli.show import complain, now, printable
from ggt_tools.errors import ConfigError
from ggt_tools.records import Adopted, Aligned, Candidate, Photo, Verdict
from ggt_tools.workspace.ledger import Ledger, write_whole
from ggt_tools.workspace.locks import why_unwritable

EXAMPLE = "ggt100k report workspace --out report.html"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument(
        "--out",
        type=Path,
        help="File to write (default: report.html in the workspace, or in the current folder if that is read-only).",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.policy.gate import parse_gate
    from ggt_tools.stages.adopt.drift import drift
    from ggt_tools.stages.report import Facts, report

    out = options.out or options.workspace / "report.html"
    if options.out is None and why_unwritable(out):
        out = Path(f"{options.workspace.resolve().name}-report.html")
        complain("report", f"{options.workspace}: cannot be written, so the report is written here: {out}")
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
        policy = parse_gate(options.workspace / f"gate {gate} of ledger.sqlite", ledger.gate_text(gate))
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.id in verdicts]
        aligned = {aligned.candidate: aligned for aligned in ledger.all(Aligned)}
        scores = ledger.scores()
        makers = {candidate.id: candidate.restorer for candidate in candidates}
        taken = list(ledger.all(Adopted))
        # a fact of no candidate only tells that its photograph must stay
        stays = {each.key: each.local_only for each in taken if each.local_only}
        adopted = [
            dataclasses.replace(each, local_only=stays.get(each.key, "")) for each in taken if each.candidate in makers
        ]
        facts = Facts(
            name=options.workspace.resolve().name,
            gate=policy,
            funnel=ledger.funnel(),
            photos=photos,
            candidates=candidates,
            verdicts=verdicts,
            aligned={name: each.image for name, each in aligned.items() if each.image},
            scores=scores,
            image=ledger.image,
            drift=drift(adopted, makers, photos, aligned, scores, verdicts, policy) if adopted else (),
        )
        page = report(facts, created=now())
    write_whole(out, page.encode())
    print(f"report: {printable(str(out))}, {len(page) / 1e6:.1f} MB")
    return 0
