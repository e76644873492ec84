"""Judge every candidate by the gate: keep, reject or unsure."""

from __future__ import annotations

import argparse
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.cli.show import columns, printable, table
from ggt_tools.ledger import Ledger
from ggt_tools.processes import cores, in_processes
from ggt_tools.records import Verdict, to_values

if TYPE_CHECKING:
    from ggt_tools.gate import Gate
    from ggt_tools.review.decisions import Votes

SHARE = 10_000  # photographs that are judged at a time
Row = tuple[str, ...]  # a verdict, as its table has it


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
    from ggt_tools.verdict import DEFAULT_GATE, load_gate

    gate = load_gate(options.gate or DEFAULT_GATE)
    other = load_gate(options.what_if) if options.what_if else None
    with Ledger(options.workspace) as ledger:
        decided = "SELECT candidate, image FROM aligned WHERE candidate IN (SELECT candidate FROM decision)"
        images = {candidate: image for candidate, image in ledger.query(decided)}
        people = votes(standing_decisions(in_order(ledger)), images)

        shares = ledger.shares(SHARE)

        def judged(gate: Gate) -> Iterator[Verdict]:
            for share in shares:
                yield from _judge(ledger, gate, people, share)

        if other is not None:
            now = judged(gate) if options.gate else ledger.all(Verdict)
            then = sorted(judged(other), key=attrgetter("candidate"))[: options.limit]
            keys = {candidate: key for candidate, key in ledger.query("SELECT id, key FROM candidate")}
            _compare(options.what_if, keys, {each.candidate: each for each in now}, then)
            return 0
        work = partial(_in_a_process, options.workspace, gate, people)
        processes = max(1, min(cores(), len(shares) // 2))
        parts: Iterable[Sequence[Row]] = in_processes(work, shares, processes, lambda done: None)
        if options.limit is not None:
            # What stands already comes last. What is kept no more goes first, so that whatever the limit cuts off, no
            # two candidates of one photograph are kept.
            stand = {each.candidate: each for each in ledger.all(Verdict)}
            order = sorted(judged(gate), key=lambda v: (stand.get(v.candidate) == v, v.decision == "keep", v.candidate))
            parts = [[to_values(each) for each in order[: options.limit]]]
        counted = Counter[tuple[str, str]]()

        def rows() -> Iterator[Row]:
            for part in parts:
                counted.update((decision, reason) for _, _, decision, _, reason, _ in part)
                yield from part

        if options.dry_run:
            deque(rows(), maxlen=0)
        else:
            ledger.judge_rows(gate.id, gate.text, rows())

    def reasons(decision: str) -> Counter[str]:
        return Counter({reason: count for (said, reason), count in counted.items() if said == decision})

    table("verdict", {"kept": reasons("keep").total()}, rejected=reasons("reject"), unsure=reasons("unsure"))
    return 0


def _judge(ledger: Ledger, gate: Gate, people: Mapping[str, Votes], share: tuple[str, str]) -> Iterator[Verdict]:
    from ggt_tools.verdict import verdict

    part = ledger.docket(*share)
    return verdict(part.candidates, part.scores, part.seen, gate, astray=part.astray, people=people)


def _in_a_process(
    workspace: Path, gate: Gate, people: Mapping[str, Votes], share: tuple[str, str], tell: object
) -> list[Row]:
    with Ledger(workspace) as ledger:
        return [to_values(judged) for judged in _judge(ledger, gate, people, share)]


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
