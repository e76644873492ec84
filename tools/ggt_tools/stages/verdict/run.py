"""Judge the candidates of a workspace by the gate."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing.util import Finalize
from pathlib import Path

from ggt_format.cores import core_count
from ggt_tools.errors import check_limit
from ggt_tools.events import SILENT, Events, Progress
from ggt_tools.policy.gate import Gate
from ggt_tools.policy.profiles import load_profile, starting_points
from ggt_tools.policy.verdicts import Judge
from ggt_tools.policy.votes import Votes, count_votes, decisions_in_force, read_decisions
from ggt_tools.processes import garbage_collection_paused, in_processes
from ggt_tools.records import Verdict
from ggt_tools.summary import Summary
from ggt_tools.workspace.batches import CandidateBatch
from ggt_tools.workspace.funnel import StateCounts
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.verdict_table import Verdicts, to_verdict

PHOTOS_PER_PART = 10_000  # photographs that are judged at a time
KeyRange = tuple[str, str]  # the first key of a part of the photographs, and the first key after it


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictConfig:
    """Settings of verdict.

    Attributes:
        gate: Gate file, or the name of a gate of the package: offline, full. None for offline.
        limit: Change at most this many verdicts. Those that the gate does not change come last.
        dry_run: Count the verdicts, and store nothing.
    """

    gate: Path | None = None
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)


def run(workspace: Path, config: VerdictConfig, *, events: Events = SILENT) -> Summary:
    """Judge every candidate by the gate and by the votes of reviewers, and store the verdicts.

    Args:
        workspace: Folder of the workspace.
        config: Settings of verdict.
        events: Receives progress, as the number of parts of the workspace that are judged.

    Raises:
        ConfigError: The gate file cannot be read or is wrong.
    """
    gate = load_profile(config.gate)
    with Ledger(workspace) as ledger:
        judge = Judge(gate, votes_in_force(ledger))
        if config.limit is None:
            counts = _judge_all(ledger, gate, judge, dry_run=config.dry_run, events=events)
        else:
            chosen = _first_changes(ledger, judge, config.limit)
            counts = Counter((verdict.decision, verdict.reason) for verdict in chosen)
            if not config.dry_run:
                ledger.judge(gate.id, gate.text, chosen)
    return Summary(
        stage="verdict",
        counts={"kept": sum(count for (decision, _), count in counts.items() if decision == "keep")},
        reasons={"rejected": _reasons(counts, "reject"), "unsure": _reasons(counts, "unsure")},
        notes=_notes(gate),
    )


def _notes(gate: Gate) -> tuple[str, ...]:
    metrics = starting_points(gate)
    if not metrics:
        return ()
    return (f"  bounds of this gate that were fitted to nothing: {', '.join(metrics)}. Fit them: ggt100k calibrate",)


def votes_in_force(ledger: Ledger) -> dict[str, Votes]:
    """Return what reviewers decided of each candidate as it is aligned now, by candidate."""
    return count_votes(decisions_in_force(read_decisions(ledger)), ledger.reviewed_images())


def judge_one_by_one(ledger: Ledger, judge: Judge) -> Iterator[Verdict]:
    """Yield the verdict of each candidate, part by part, and store nothing."""
    for key_range in ledger.shares(PHOTOS_PER_PART):
        yield from map(to_verdict, _verdicts(ledger.candidate_batch(*key_range), judge).rows())


def _judge_all(ledger: Ledger, gate: Gate, judge: Judge, *, dry_run: bool, events: Events) -> Counter[tuple[str, str]]:
    """Judge all candidates, in several processes if there are many, and store the verdicts part by part.

    Returns:
        The number of verdicts by decision and reason.
    """
    counts = Counter[tuple[str, str]]()
    key_ranges = ledger.shares(PHOTOS_PER_PART)
    with garbage_collection_paused(), events.progress("verdict", len(key_ranges)) as progress:
        parts = _judge_parts(ledger, judge, key_ranges, counts, progress)
        if dry_run:
            deque(parts, maxlen=0)
        else:
            ledger.judge_parts(gate.id, gate.text, parts)
    return counts


def _judge_parts(
    ledger: Ledger, judge: Judge, key_ranges: Sequence[KeyRange], counts: Counter[tuple[str, str]], progress: Progress
) -> Iterator[tuple[Verdicts, StateCounts]]:
    """Yield the verdicts of each part and how they change the counts of `status`; add to `counts` meanwhile."""
    process_count = min(core_count(), len(key_ranges) // 2)
    if process_count > 1:
        work = partial(_judge_in_process, ledger.workspace, judge)
        parts = in_processes(work, key_ranges, process_count, lambda done: None)
    else:
        parts = (_judge_part(ledger, judge, key_range) for key_range in key_ranges)
    for verdicts, changed in parts:
        outcomes = [(decision, reason) for _, decision, _, reason, _ in verdicts.outcomes]
        counts.update(map(outcomes.__getitem__, verdicts.of))
        yield verdicts, changed
        progress.advance()


def _judge_in_process(
    workspace: Path, judge: Judge, key_range: KeyRange, report: object
) -> tuple[Verdicts, StateCounts]:
    return _judge_part(_open_ledger(workspace), judge, key_range)


@cache
def _open_ledger(workspace: Path) -> Ledger:
    """Open the ledger once for all parts that one process judges.

    It is closed when the process ends; otherwise its journal would be left beside it.
    """
    ledger = Ledger(workspace)
    Finalize(None, ledger.__exit__, (None, None, None), exitpriority=0)
    return ledger


def _judge_part(ledger: Ledger, judge: Judge, key_range: KeyRange) -> tuple[Verdicts, StateCounts]:
    with garbage_collection_paused():
        batch = ledger.candidate_batch(*key_range)
        verdicts = _verdicts(batch, judge)
        return verdicts, batch.count_changes(verdicts)


def _verdicts(batch: CandidateBatch, judge: Judge) -> Verdicts:
    candidate_count = len(batch.candidates)
    return judge.verdicts(
        batch.candidates, batch.photos[:candidate_count], batch.measured, list(batch.degradations.values()), batch.lost
    )


def _first_changes(ledger: Ledger, judge: Judge, limit: int) -> list[Verdict]:
    """Return the first `limit` verdicts in an order that is safe to cut off anywhere.

    Verdicts that stand already come last. Before them come those that are not kept and then those that are, so that no
    two candidates of one photograph are ever kept at the same time.
    """
    present = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}

    def order(verdict: Verdict) -> tuple[bool, bool, str]:
        return present.get(verdict.candidate) == verdict, verdict.decision == "keep", verdict.candidate

    return sorted(judge_one_by_one(ledger, judge), key=order)[:limit]


def _reasons(counts: Mapping[tuple[str, str], int], decision: str) -> dict[str, int]:
    return {reason: count for (of_decision, reason), count in counts.items() if of_decision == decision}
