"""Queries of the review page: the candidates that have an aligned image, filtered, sorted and divided into pages."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass

TABLES = """
    FROM candidate c JOIN photo p ON p.key = c.key JOIN aligned a ON a.candidate = c.id AND a.image != ''
    LEFT JOIN verdicts w ON w.candidate = c.id LEFT JOIN outcome v ON v.id = w.outcome
"""
# The value of the newest version of a metric, as Ledger.scores() takes it.
VALUE = "(SELECT s.value FROM score s WHERE s.candidate = c.id AND s.metric = ? ORDER BY s.rowid DESC LIMIT 1)"
NOT_JUDGED = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFilter:
    """Which candidates are asked for; "" and () ask for nothing in particular.

    Attributes:
        degradation: Class of the photograph.
        verdict: keep, unsure, reject, or none for candidates that are not judged.
        reason: Reason code of the verdict.
        restorer: Model id of the restorer.
        ranges: Metric, lowest and highest value of each range, both included; infinite where open.
        sort: A metric, with "-" in front for the highest value first; "" sorts by key.
    """

    degradation: str = ""
    verdict: str = ""
    reason: str = ""
    restorer: str = ""
    ranges: tuple[tuple[str, float, float], ...] = ()
    sort: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedCandidate:
    """A candidate with what a list of candidates shows of it."""

    candidate: str
    key: str
    degradation: str
    restorer: str
    lq: str  # SHA-256 of the photograph's file
    gt: str  # SHA-256 of the aligned image's file
    decision: str  # "" where it is not judged
    reason: str
    value: float  # of the metric that sorts; NaN without one


def count_candidates(db: sqlite3.Connection, selection: CandidateFilter) -> int:
    """Return the number of candidates that a filter selects."""
    where, values = _where(selection)
    return int(db.execute(f"SELECT count(*) {TABLES} {where}", values).fetchone()[0])


def list_candidates(
    db: sqlite3.Connection, selection: CandidateFilter, limit: int, offset: int
) -> list[ListedCandidate]:
    """Return the selected candidates from `offset` on, at most `limit` of them."""
    where, values = _where(selection)
    metric = selection.sort.removeprefix("-")
    order = "c.key, c.id"
    if metric:
        order = f"value IS NULL, value {'DESC' if selection.sort.startswith('-') else 'ASC'}, {order}"
    rows = db.execute(
        f"""SELECT c.id, c.key, c.restorer, p.degradation, p.image AS lq, a.image AS gt, v.decision, v.reason,
            {VALUE if metric else "NULL"} AS value {TABLES} {where} ORDER BY {order} LIMIT ? OFFSET ?""",
        (*([metric] if metric else []), *values, limit, offset),
    )
    return [
        ListedCandidate(
            candidate=row["id"],
            key=row["key"],
            degradation=row["degradation"],
            restorer=row["restorer"],
            lq=row["lq"],
            gt=row["gt"],
            decision=row["decision"] or "",
            reason=row["reason"] or "",
            value=math.nan if row["value"] is None else float(row["value"]),
        )
        for row in rows
    ]


def list_keys(db: sqlite3.Connection, selection: CandidateFilter) -> list[str]:
    """Return the keys of the photographs of all selected candidates, each once."""
    where, values = _where(selection)
    return [str(row[0]) for row in db.execute(f"SELECT DISTINCT c.key {TABLES} {where} ORDER BY c.key", values)]


def filter_choices(db: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the values that occur, for each of degradation, reason, restorer and metric."""
    statements = {
        "degradation": f"SELECT DISTINCT p.degradation {TABLES} ORDER BY 1",
        "reason": f"SELECT DISTINCT v.reason {TABLES} WHERE v.reason != '' ORDER BY 1",
        "restorer": f"SELECT DISTINCT c.restorer {TABLES} ORDER BY 1",
        "metric": "SELECT DISTINCT json_extract(m.value, '$[0]') FROM layout l, json_each(l.metrics) m ORDER BY 1",
    }
    return {name: [str(row[0]) for row in db.execute(sql)] for name, sql in statements.items()}


def _where(selection: CandidateFilter) -> tuple[str, list[str | int | float]]:
    terms, values = [], list[str | int | float]()
    for column, value in (
        ("p.degradation", selection.degradation),
        ("v.reason", selection.reason),
        ("c.restorer", selection.restorer),
        ("v.decision", "" if selection.verdict == NOT_JUDGED else selection.verdict),
    ):
        if value:
            terms.append(f"{column} = ?")
            values.append(value)
    if selection.verdict == NOT_JUDGED:
        terms.append("v.decision IS NULL")
    for metric, low, high in selection.ranges:
        terms.append(f"{VALUE} BETWEEN ? AND ?")
        values += [metric, max(low, -1e300), min(high, 1e300)]
    return (f"WHERE {' AND '.join(terms)}" if terms else ""), values
