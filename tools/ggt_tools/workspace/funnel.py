"""How far a workspace is: counts that are kept as facts come in, so that `status` reads a few rows and not millions.

A *case* is all that `status` tells two candidates, or two photographs, apart by; the table `tally` has the number of
each. Whoever changes a photograph's facts counts its cases before and after, in one transaction with the change.
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

TABLE = "CREATE TABLE IF NOT EXISTS tally (what TEXT NOT NULL PRIMARY KEY, count INTEGER NOT NULL)"
NANO = 10**9  # dollars are counted in billionths: whole numbers add up whatever their order
Tally = Counter[tuple[Any, ...]]


class Case(NamedTuple):
    """A candidate, with what became of it. None where it was not aligned, or not judged."""

    degradation: str | None  # None: no such photograph
    restorer: str
    strategy: str
    made: int  # 1: there is an image
    empty: str  # why there is none
    aligned: int | None  # 1: there is an image in its photograph's frame
    astray: str | None  # why there is none
    decision: str | None
    stage: str | None
    reason: str | None


# A case in SQL
CASE = """p.degradation, c.restorer, c.strategy, c.image != '', c.reason, a.image != '', a.reason,
    o.decision, o.stage, o.reason"""
JUDGED = "LEFT JOIN verdicts v ON v.candidate = c.id LEFT JOIN outcome o ON o.id = v.outcome"
# What a photograph has: one that was made, and 3 for one that is kept, 2 for one that is unsure, 1 for one rejected
BITS = {1: 1, "reject": 1 << 1, "unsure": 1 << 2, "keep": 1 << 3, None: 0, 0: 0}


class Part(NamedTuple):
    """A part of very many cases: which there are, and (candidates,) the place there of each one's."""

    kinds: Sequence[tuple[Any, ...]]
    of: npt.NDArray[np.int64]


def part(cases: Iterable[tuple[Any, ...]]) -> Part:
    numbers: defaultdict[tuple[Any, ...], int] = defaultdict(itertools.count().__next__)
    of = np.array(list(map(numbers.__getitem__, cases)), np.int64)
    return Part(list(numbers), of)


def tally(photos: npt.NDArray[np.int64], facts: Part, outcomes: Part) -> Tally:
    """Of candidates (candidates,) their photographs, numbered from 0, and both parts of their cases: the first seven
    of what is in a Case, and the last three. A photograph without a candidate has one with a restorer of None.
    """
    found: Tally = Counter()
    cases = np.bincount(facts.of * len(outcomes.kinds) + outcomes.of)
    for case in np.flatnonzero(cases).tolist():
        fact, outcome = divmod(case, len(outcomes.kinds))
        if facts.kinds[fact][1] is not None:
            found[("candidate", *facts.kinds[fact], *outcomes.kinds[outcome])] += int(cases[case])
    bits = np.array([BITS[kind[3]] for kind in facts.kinds], np.int64)[facts.of]
    bits |= np.array([BITS[kind[0]] for kind in outcomes.kinds], np.int64)[outcomes.of]
    size = int(photos.max(initial=-1)) + 1
    has, fact_of = np.zeros(size, np.int64), np.full(size, -1)
    for bit in set(BITS.values()):
        has[photos[bits & bit > 0]] |= bit
    fact_of[photos] = facts.of
    for (fact, which), number in Counter(zip(fact_of.tolist(), has.tolist(), strict=True)).items():
        if fact >= 0 and facts.kinds[fact][0] is not None:
            found["photo", facts.kinds[fact][0], which & 1, (which >> 1).bit_length()] += number
    return found


def tally_of(db: sqlite3.Connection, keys: Sequence[str]) -> Tally:
    """Of the photographs of these keys, with their candidates and what these cost."""
    cursor = db.cursor()
    cursor.row_factory = None
    rows = cursor.execute(
        f"""SELECT t.value, {CASE},
            (SELECT CAST(round(total(usd) * {NANO}) AS INTEGER) FROM call WHERE call.work = c.id)
        FROM json_each(?) t LEFT JOIN photo p ON p.key = t.value LEFT JOIN candidate c ON c.key = t.value
        LEFT JOIN aligned a ON a.candidate = c.id {JUDGED}""",
        (json.dumps(keys),),
    )
    found, cost = rows.fetchall(), Counter[tuple[Any, ...]]()
    for row in found:
        cost[("cost", *row[1:4])] += row[11]
    photos = part((row[0],) for row in found).of
    return tally(photos, part(row[1:8] for row in found), part(row[8:11] for row in found)) + cost


def change(db: sqlite3.Connection, by: Mapping[tuple[Any, ...], int]) -> None:
    rows = [(json.dumps(what), count) for what, count in by.items() if count]
    db.executemany(
        "INSERT INTO tally VALUES (?, ?) ON CONFLICT (what) DO UPDATE SET count = count + excluded.count", rows
    )
    db.executemany("DELETE FROM tally WHERE what = ? AND count = 0", [(what,) for what, _ in rows])


@contextmanager
def counted(db: sqlite3.Connection, keys: Iterable[str]) -> Iterator[None]:
    """Around a change of the facts of these photographs, within its transaction."""
    listed = list(keys)
    if not listed:
        yield
        return
    before = tally_of(db, listed)
    yield
    after = tally_of(db, listed)
    after.subtract(before)
    change(db, after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the photographs of one class are with one restorer and kind of prompt."""

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


class Tallies:
    """The table, read."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._cases = Counter[Case]()
        self._cost = Counter[tuple[str, str, str]]()
        self._photos = Counter[tuple[str, int, int]]()
        for what, count in db.execute("SELECT what, count FROM tally"):
            kind, *rest = json.loads(what)
            if kind == "candidate":
                self._cases[Case(*rest)] = count
            elif kind == "cost":
                self._cost[tuple(rest)] = count
            else:
                self._photos[tuple(rest)] = count

    def funnel(self, refused: Counter[str]) -> tuple[Stage, ...]:
        """How many entered each stage, how many left it, and why the others did not. `refused`: by ingest."""
        empty, astray, out = Counter[str](), Counter[str](), Counter[str]()
        made = aligned = kept = 0
        for case, count in self._cases.items():
            made += count * case.made
            if not case.made and case.empty != IN_FLIGHT:
                empty[case.empty] += count
            aligned += count * (case.aligned or 0)
            if case.aligned == 0:
                astray[str(case.astray)] += count
            if case.decision is not None and case.stage not in ("restore", "align"):
                kept += count * (case.decision == "keep")
                if case.decision != "keep":
                    out[str(case.reason)] += count
        return (
            _stage("ingest", self._photos.total(), refused),
            _stage("restore", made, empty),
            _stage("align", aligned, astray),
            _stage("verdict", kept, out),
        )

    def standing(self) -> tuple[Standing, ...]:
        """How far it is by class and, below each, by restorer, with what that cost."""
        found: dict[tuple[str, str, str], Counter[str]] = {}
        for case, count in self._cases.items():
            if case.degradation is None:
                continue
            counts = found.setdefault((case.degradation, case.restorer, case.strategy), Counter())
            state = "made" if case.made else "in_flight" if case.empty == IN_FLIGHT else "failed"
            counts.update({"candidates": count, state: count})
            if case.decision == "reject" and case.made:
                counts["rejected"] += count
            elif case.decision in ("keep", "unsure"):
                counts["kept" if case.decision == "keep" else "unsure"] += count
        photos = Counter[str]()
        for (degradation, _, _), count in self._photos.items():
            photos[degradation] += count
        names = ("candidates", "made", "in_flight", "failed", "kept", "rejected", "unsure")
        return tuple(
            Standing(
                degradation=at[0], restorer=at[1], strategy=at[2], photos=photos[at[0]], usd=self._cost[at] / NANO,
                **{name: found[at][name] for name in names},
            )
            for at in sorted(found)
        )  # fmt: skip

    def classes(self) -> list[tuple[str, int, int, int, int, int]]:
        """By class: photographs, and of how many of them a candidate was made, kept, only rejected, only unsure."""
        found: dict[str, Sequence[int]] = {}
        for (degradation, made, best), count in self._photos.items():
            more = (count, count * made, *(count * (best == which) for which in (3, 1, 2)))
            found[degradation] = [a + b for a, b in zip(found.get(degradation, (0,) * 5), more, strict=True)]
        return [(degradation, *found[degradation]) for degradation in sorted(found)]  # type: ignore[misc]


def _stage(name: str, left: int, reasons: Counter[str]) -> Stage:
    return Stage(stage=name, entered=left + reasons.total(), left=left, reasons=tuple(sorted(reasons.items())))
