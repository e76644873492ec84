"""The funnel of a workspace: counts that are kept up to date as facts come in, so that `status` reads few rows.

A *state* is all by which `status` distinguishes two candidates, or two photographs; the table `funnel_count` holds
the number of each. Code that changes facts counts the states before and after, in one transaction with the change.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_tools.records import IN_FLIGHT, Stage

TABLE = "CREATE TABLE IF NOT EXISTS funnel_count (state TEXT NOT NULL PRIMARY KEY, count INTEGER NOT NULL)"
NANO = 10**9  # dollars are counted in billionths: sums of whole numbers do not depend on their order
StateCounts = Counter[tuple[Any, ...]]


class CandidateState(NamedTuple):
    """A candidate, with its result at each stage. A field is None where that stage has none."""

    degradation: str | None  # None where the photograph is unknown
    restorer: str
    strategy: str
    is_restored: int  # 1 where there is an image
    restore_reason: str  # why there is no image
    is_aligned: int | None  # 1 where there is an image in the frame of the photograph
    align_reason: str | None  # why there is no such image
    decision: str | None
    stage: str | None
    reason: str | None


# The fields of a state in SQL
STATE = """p.degradation, c.restorer, c.strategy, c.image != '', c.reason, a.image != '', a.reason,
    o.decision, o.stage, o.reason"""
JUDGED = "LEFT JOIN verdicts v ON v.candidate = c.id LEFT JOIN outcome o ON o.id = v.outcome"
# What a photograph has: bit 0, a restored candidate; bits 1 to 3, a candidate that is rejected, unsure, kept
BITS = {1: 1, "reject": 1 << 1, "unsure": 1 << 2, "keep": 1 << 3, None: 0, 0: 0}


class Grouped(NamedTuple):
    """Very many tuples, of which few are distinct."""

    distinct: Sequence[tuple[Any, ...]]
    numbers: npt.NDArray[np.int64]  # (rows,) index in `distinct` of each


def group(rows: Iterable[tuple[Any, ...]]) -> Grouped:
    """Number the distinct tuples among `rows`, in the order of their first occurrence."""
    numbers: defaultdict[tuple[Any, ...], int] = defaultdict(itertools.count().__next__)
    index = np.array(list(map(numbers.__getitem__, rows)), np.int64)
    return Grouped(list(numbers), index)


def count_states(photos: npt.NDArray[np.int64], facts: Grouped, outcomes: Grouped) -> StateCounts:
    """Count the states of candidates and of their photographs.

    Args:
        photos: (candidates,) number of the photograph of each, from 0. A photograph without a candidate has one row
            whose restorer is None.
        facts: The first seven fields of each CandidateState.
        outcomes: The last three.
    """
    counts: StateCounts = Counter()
    states = np.bincount(facts.numbers * len(outcomes.distinct) + outcomes.numbers)
    for state in np.flatnonzero(states).tolist():
        fact, outcome = divmod(state, len(outcomes.distinct))
        if facts.distinct[fact][1] is not None:
            counts[("candidate", *facts.distinct[fact], *outcomes.distinct[outcome])] += int(states[state])
    bits = np.array([BITS[values[3]] for values in facts.distinct], np.int64)[facts.numbers]
    bits |= np.array([BITS[values[0]] for values in outcomes.distinct], np.int64)[outcomes.numbers]
    size = int(photos.max(initial=-1)) + 1
    photo_bits, photo_fact = np.zeros(size, np.int64), np.full(size, -1)
    for bit in set(BITS.values()):
        photo_bits[photos[bits & bit > 0]] |= bit
    photo_fact[photos] = facts.numbers
    for (fact, flags), count in Counter(zip(photo_fact.tolist(), photo_bits.tolist(), strict=True)).items():
        if fact >= 0 and facts.distinct[fact][0] is not None:
            counts["photo", facts.distinct[fact][0], flags & 1, (flags >> 1).bit_length()] += count
    return counts


def count_photos(db: sqlite3.Connection, keys: Sequence[str]) -> StateCounts:
    """Count the states of the photographs of these keys, with their candidates and what these cost."""
    cursor = db.cursor()
    cursor.row_factory = None
    rows = cursor.execute(
        f"""SELECT t.value, {STATE},
            (SELECT CAST(round(total(usd) * {NANO}) AS INTEGER) FROM call WHERE call.work = c.id)
        FROM json_each(?) t LEFT JOIN photo p ON p.key = t.value LEFT JOIN candidate c ON c.key = t.value
        LEFT JOIN aligned a ON a.candidate = c.id {JUDGED}""",
        (json.dumps(keys),),
    ).fetchall()
    cost = Counter[tuple[Any, ...]]()
    for row in rows:
        cost[("cost", *row[1:4])] += row[11]
    photos = group((row[0],) for row in rows).numbers
    return count_states(photos, group(row[1:8] for row in rows), group(row[8:11] for row in rows)) + cost


def add_counts(db: sqlite3.Connection, changes: Mapping[tuple[Any, ...], int]) -> None:
    """Add to the stored counts, within a transaction."""
    rows = [(json.dumps(state), count) for state, count in changes.items() if count]
    db.executemany(
        "INSERT INTO funnel_count VALUES (?, ?) ON CONFLICT (state) DO UPDATE SET count = count + excluded.count", rows
    )
    db.executemany("DELETE FROM funnel_count WHERE state = ? AND count = 0", [(state,) for state, _ in rows])


@contextmanager
def counting(db: sqlite3.Connection, keys: Iterable[str]) -> Iterator[None]:
    """Update the counts by what the block changes of these photographs, within its transaction."""
    listed = list(keys)
    if not listed:
        yield
        return
    before = count_photos(db, listed)
    yield
    changes = count_photos(db, listed)
    changes.subtract(before)
    add_counts(db, changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorerCounts:
    """The candidates of one class, restorer and prompt strategy, counted."""

    degradation: str
    restorer: str
    strategy: str
    photos: int  # of the class
    candidates: int
    made: int
    in_flight: int
    failed: int
    kept: int
    rejected: int
    unsure: int
    usd: float


class FunnelCounts:
    """The stored counts, read once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._candidates = Counter[CandidateState]()
        self._cost = Counter[tuple[str, str, str]]()
        self._photos = Counter[tuple[str, int, int]]()
        for state, count in db.execute("SELECT state, count FROM funnel_count"):
            subject, *fields = json.loads(state)
            if subject == "candidate":
                self._candidates[CandidateState(*fields)] = count
            elif subject == "cost":
                self._cost[tuple(fields)] = count
            else:
                self._photos[tuple(fields)] = count

    def stages(self, refused: Counter[str]) -> tuple[Stage, ...]:
        """Return how many entered each stage, how many left it, and why the others did not.

        Args:
            refused: Number of files that ingest refused, by reason.
        """
        not_restored, not_aligned, not_kept = Counter[str](), Counter[str](), Counter[str]()
        restored = aligned = kept = 0
        for state, count in self._candidates.items():
            restored += count * state.is_restored
            if not state.is_restored and state.restore_reason != IN_FLIGHT:
                not_restored[state.restore_reason] += count
            aligned += count * (state.is_aligned or 0)
            if state.is_aligned == 0:
                not_aligned[str(state.align_reason)] += count
            if state.decision is not None and state.stage not in ("restore", "align"):
                kept += count * (state.decision == "keep")
                if state.decision != "keep":
                    not_kept[str(state.reason)] += count
        return (
            _stage("ingest", self._photos.total(), refused),
            _stage("restore", restored, not_restored),
            _stage("align", aligned, not_aligned),
            _stage("verdict", kept, not_kept),
        )

    def restorers(self) -> tuple[RestorerCounts, ...]:
        """Return the counts by class and, below each, by restorer and prompt strategy, with what that cost."""
        groups: dict[tuple[str, str, str], Counter[str]] = {}
        for state, count in self._candidates.items():
            if state.degradation is None:
                continue
            counts = groups.setdefault((state.degradation, state.restorer, state.strategy), Counter())
            result = "made" if state.is_restored else "in_flight" if state.restore_reason == IN_FLIGHT else "failed"
            counts.update({"candidates": count, result: count})
            if state.decision == "reject" and state.is_restored:
                counts["rejected"] += count
            elif state.decision in ("keep", "unsure"):
                counts["kept" if state.decision == "keep" else "unsure"] += count
        photos = Counter[str]()
        for (degradation, _, _), count in self._photos.items():
            photos[degradation] += count
        names = ("candidates", "made", "in_flight", "failed", "kept", "rejected", "unsure")
        return tuple(
            RestorerCounts(
                degradation=degradation, restorer=restorer, strategy=strategy, photos=photos[degradation],
                usd=self._cost[degradation, restorer, strategy] / NANO, **{name: counts[name] for name in names},
            )
            for (degradation, restorer, strategy), counts in sorted(groups.items())
        )  # fmt: skip

    def classes(self) -> list[tuple[str, int, int, int, int, int]]:
        """Return for each class the number of photographs, and of how many a candidate was made, kept, only rejected,
        only unsure.
        """
        counts: dict[str, Sequence[int]] = {}
        for (degradation, made, best), count in self._photos.items():
            more = (count, count * made, *(count * (best == code) for code in (3, 1, 2)))
            counts[degradation] = [a + b for a, b in zip(counts.get(degradation, (0,) * 5), more, strict=True)]
        return [(degradation, *counts[degradation]) for degradation in sorted(counts)]  # type: ignore[misc]


def _stage(name: str, left: int, reasons: Counter[str]) -> Stage:
    return Stage(stage=name, entered=left + reasons.total(), left=left, reasons=tuple(sorted(reasons.items())))
