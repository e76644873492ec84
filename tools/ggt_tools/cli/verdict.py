"""The verb verdict."""

from __future__ import annotations

import argparse
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from multiprocessing.util import Finalize
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_tools.cli.show import columns, printable, table
from ggt_tools.processes import cores, in_processes, uncollected
from ggt_tools.records import Verdict
from ggt_tools.workspace.ledger import Docket, Ledger
from ggt_tools.workspace.verdict_table import Verdicts, to_verdict

if TYPE_CHECKING:
    from ggt_tools.policy.gate import Gate
    from ggt_tools.policy.verdicts import Judge
    from ggt_tools.workspace.funnel import Tally

SHARE = 10_000  # photographs that are judged at a time
Share = tuple[str, str]

EXAMPLE = "ggt100k verdict workspace --gate fitted.toml"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument("--gate", type=Path, help="Gate file (default: the package's gate.toml).")
    sub.add_argument(
        "--what-if",
        type=Path,
        metavar="OTHER",
        help="Change nothing, and show how this gate file would change the verdicts of --gate or, without it, those in "
        "the workspace.",
    )


def run(options: argparse.Namespace) -> int:
    from ggt_tools.policy.verdicts import DEFAULT_GATE, Judge, load_gate
    from ggt_tools.policy.votes import in_order, votes
    from ggt_tools.policy.votes import standing as standing_decisions

    gate = load_gate(options.gate or DEFAULT_GATE)
    other = load_gate(options.what_if) if options.what_if else None
    with Ledger(options.workspace) as ledger:
        decided = "SELECT candidate, image FROM aligned WHERE candidate IN (SELECT candidate FROM decision)"
        images = {candidate: image for candidate, image in ledger.query(decided)}
        people = votes(standing_decisions(in_order(ledger)), images)

        shares = ledger.shares(SHARE)

        def judged(gate: Gate) -> Iterator[Verdict]:
            judge = Judge(gate, people)
            for share in shares:
                yield from map(to_verdict, _verdicts(ledger.docket(*share), judge).rows())

        if other is not None:
            now = judged(gate) if options.gate else ledger.all(Verdict)
            then = sorted(judged(other), key=attrgetter("candidate"))[: options.limit]
            keys = {candidate: key for candidate, key in ledger.query("SELECT id, key FROM candidate")}
            _compare(options.what_if, keys, {each.candidate: each for each in now}, then)
            return 0
        counted = Counter[tuple[str, str]]()
        if options.limit is not None:
            # What stands already comes last. What is kept no more goes first, so that whatever the limit cuts off, no
            # two candidates of one photograph are kept.
            stand = {each.candidate: each for each in ledger.all(Verdict)}
            order = sorted(judged(gate), key=lambda v: (stand.get(v.candidate) == v, v.decision == "keep", v.candidate))
            chosen = order[: options.limit]
            counted.update((each.decision, each.reason) for each in chosen)
            if not options.dry_run:
                ledger.judge(gate.id, gate.text, chosen)
        else:
            parts = _in_parts(ledger, Judge(gate, people), shares, counted)
            with uncollected():
                if options.dry_run:
                    deque(parts, maxlen=0)
                else:
                    ledger.judge_parts(gate.id, gate.text, parts)

    def reasons(decision: str) -> Counter[str]:
        return Counter({reason: count for (said, reason), count in counted.items() if said == decision})

    table("verdict", {"kept": reasons("keep").total()}, rejected=reasons("reject"), unsure=reasons("unsure"))
    return 0


def _in_parts(
    ledger: Ledger, judge: Judge, shares: Sequence[Share], counted: Counter[tuple[str, str]]
) -> Iterator[tuple[Verdicts, Tally]]:
    """The verdicts on each share, what they change of the tallies, and in `counted` how many say what."""
    if (processes := min(cores(), len(shares) // 2)) > 1:
        work = partial(_in_a_process, ledger.workspace, judge)
        parts = in_processes(work, shares, processes, lambda done: None)
    else:
        parts = (_part(ledger, judge, share) for share in shares)
    for verdicts, changed in parts:
        said = [(decision, reason) for _, decision, _, reason, _ in verdicts.outcomes]
        counted.update(map(said.__getitem__, verdicts.of))
        yield verdicts, changed


def _in_a_process(workspace: Path, judge: Judge, share: Share, tell: object) -> tuple[Verdicts, Tally]:
    return _part(_opened(workspace), judge, share)


@cache
def _opened(workspace: Path) -> Ledger:
    """The ledger, for all shares that come to a process. Closed at its end, or its journal would stay beside it."""
    ledger = Ledger(workspace)
    Finalize(None, ledger.__exit__, (None, None, None), exitpriority=0)
    return ledger


def _part(ledger: Ledger, judge: Judge, share: Share) -> tuple[Verdicts, Tally]:
    with uncollected():
        docket = ledger.docket(*share)
        verdicts = _verdicts(docket, judge)
        return verdicts, docket.tally(verdicts)


def _verdicts(docket: Docket, judge: Judge) -> Verdicts:
    count = len(docket.candidates)
    return judge.verdicts(
        docket.candidates, docket.photos[:count], docket.measured, list(docket.seen.values()), docket.lost
    )


def _compare(gate: Path, keys: Mapping[str, str], now: Mapping[str, Verdict], then: Sequence[Verdict]) -> None:
    """What would change, the most frequent first, with a few candidates of each and the values that decided."""
    from ggt_tools.policy.what_if import NOT_JUDGED, what_if

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
