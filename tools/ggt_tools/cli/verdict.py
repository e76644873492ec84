"""Judge every candidate by the gate: keep, reject or unsure."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ggt_tools.cli.show import columns, printable, table
from ggt_tools.ledger import Ledger
from ggt_tools.records import IN_FLIGHT, Aligned, Candidate, Photo, Verdict


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path)
    sub.add_argument("--gate", type=Path, help="a gate file; default: the package's gate.toml")
    sub.add_argument(
        "--what-if",
        type=Path,
        metavar="OTHER",
        help="change nothing; show what this gate would change of --gate's verdicts, or without --gate of those that "
        "stand in the workspace",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.review.decisions import in_order, votes
    from ggt_tools.review.decisions import standing as standing_decisions
    from ggt_tools.verdict import DEFAULT_GATE, load_gate, verdict

    gate = load_gate(options.gate or DEFAULT_GATE)
    other = load_gate(options.what_if) if options.what_if else None
    with Ledger(options.workspace) as ledger:
        standing = {judged.candidate: judged for judged in ledger.all(Verdict)}
        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.reason != IN_FLIGHT]
        seen = {photo.key: photo.degradations for photo in ledger.all(Photo)}
        astray = {aligned.candidate: aligned.reason for aligned in ledger.all(Aligned) if not aligned.image}
        images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        people = votes(standing_decisions(in_order(ledger)), images)
        scores = ledger.scores()
        if other is not None:
            if options.gate:
                standing = {
                    v.candidate: v for v in verdict(candidates, scores, seen, gate, astray=astray, people=people)
                }
            then = list(verdict(candidates, scores, seen, other, astray=astray, people=people))[: options.limit]
            _compare(options.what_if, {candidate.id: candidate.key for candidate in candidates}, standing, then)
            return 0
        verdicts = list(verdict(candidates, scores, seen, gate, astray=astray, people=people))
        # With a limit what stands already comes last. What is kept no more goes first, so that whatever the limit cuts
        # off, no two candidates of one photograph are kept.
        verdicts.sort(key=lambda judged: (standing.get(judged.candidate) == judged, judged.decision == "keep"))
        verdicts = verdicts[: options.limit]
        if not options.dry_run:
            ledger.judge(gate.id, gate.text, verdicts)
    table(
        "verdict",
        {"kept": sum(v.decision == "keep" for v in verdicts)},
        rejected=Counter(v.reason for v in verdicts if v.decision == "reject"),
        unsure=Counter(v.reason for v in verdicts if v.decision == "unsure"),
    )
    return 0


def _compare(gate: Path, keys: Mapping[str, str], now: Mapping[str, Verdict], then: Sequence[Verdict]) -> None:
    """What would change, the most frequent first, with a few candidates of each and the values that decided."""
    from ggt_tools.gate.what_if import NOT_JUDGED, what_if

    changes = what_if(now, then)
    changed = sum(change.count for change in changes)
    print(f"verdict: with {printable(str(gate))} {changed} of {len(then)} would change")
    rows = []
    for name, decisions in (
        ("now", Counter(now[v.candidate].decision if v.candidate in now else NOT_JUDGED for v in then)),
        ("then", Counter(v.decision for v in then)),
    ):
        rows.append((name, *(str(decisions[decision]) for decision in ("keep", "reject", "unsure", NOT_JUDGED))))
    columns(("", "keep", "reject", "unsure", NOT_JUDGED), rows)
    for change in changes:
        print(f"{change.count:>6}  {change.before} -> {change.after}")
        for example in change.examples:
            said = [", ".join(evidence) for evidence in (example.before, example.after)]
            text = f"{said[0]}; then {said[1]}" if said[0] else said[1]
            print(printable(f"          {keys[example.candidate]} {example.candidate}: {text}"))
