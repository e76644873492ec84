"""Where the ledger stores verdicts: a row for each candidate, with its outcome and the values of its evidence.

Thousands of candidates get the same outcome: gate, decision, stage, reason and the *shape* of each item of evidence,
which is what these candidates share of it. The *values* are what is left. Both are JSON lists of one length:

    type          shape                                            value
    Evidence      ["rule", metric, side, bound, outcome]           its value
                  ["unmeasured", metric]                           null
    Contribution  ["contribution", probability]                    [metric, value, log_odds]
    ReviewVotes   ["votes", keep, reject, rules_decision]          null
    others        ["better"], ["prior"], ["other"]                 candidate, reason, text

The view `verdict` shows whole verdicts to readers who use SQL: each shape with its value as the last element.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ggt_tools.evidence import (
    TYPES,
    UNMEASURED,
    BetterCandidate,
    Contribution,
    Evidence,
    EvidenceItem,
    PriorReason,
    ReviewVotes,
    parse_evidence,
)
from ggt_tools.records import Verdict

# candidate, gate, decision, stage, reason, shapes of the evidence, its values: both lists in JSON
Row = tuple[str, ...]
Outcome = tuple[str, ...]  # a Row without the candidate and the values
Shape = list[Any]
TABLES = (
    """CREATE TABLE IF NOT EXISTS outcome (id INTEGER PRIMARY KEY, gate TEXT NOT NULL, decision TEXT NOT NULL,
        stage TEXT NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL,
        UNIQUE (gate, decision, stage, reason, evidence))""",
    """CREATE TABLE IF NOT EXISTS verdicts
        (candidate TEXT NOT NULL PRIMARY KEY, outcome INTEGER NOT NULL, "values" TEXT NOT NULL)""",
    """CREATE VIEW IF NOT EXISTS verdict AS SELECT v.candidate, o.gate, o.decision, o.stage, o.reason,
        (SELECT json_group_array(json_insert(shape.value, '$[#]', json_extract(v."values", '$[' || shape.key || ']')))
            FROM json_each(o.evidence) shape) AS evidence, v.rowid
        FROM verdicts v JOIN outcome o ON o.id = v.outcome""",
)
ROW = 'v.candidate, o.gate, o.decision, o.stage, o.reason, o.evidence, v."values"'  # of verdicts v, outcome o


def rule_shape(metric: str, side: str, bound: float, outcome: str) -> Shape:
    """Return the shape of an Evidence that was measured."""
    return ["rule", metric, side, bound, outcome]


def unmeasured_shape(metric: str) -> Shape:
    """Return the shape of an Evidence that was not measured."""
    return ["unmeasured", metric]


def contribution_shape(probability: str) -> Shape:
    """Return the shape of a Contribution."""
    return ["contribution", probability]


def votes_shape(keep: int, reject: int, rules_decision: str) -> Shape:
    """Return the shape of a ReviewVotes."""
    return ["votes", keep, reject, rules_decision]


BETTER_SHAPE: Shape = ["better"]


def split_item(item: EvidenceItem) -> tuple[Shape, Any]:
    """Divide an item of evidence into its shape and its value."""
    if isinstance(item, Evidence):
        if item.outcome == UNMEASURED:
            return unmeasured_shape(item.metric), None
        return rule_shape(item.metric, item.side, item.bound, item.outcome), item.value
    if isinstance(item, Contribution):
        return contribution_shape(item.probability), [item.metric, item.value, item.log_odds]
    if isinstance(item, ReviewVotes):
        return votes_shape(item.keep, item.reject, item.rules_decision), None
    if isinstance(item, BetterCandidate):
        return BETTER_SHAPE, item.candidate
    if isinstance(item, PriorReason):
        return ["prior"], item.reason
    return ["other"], item.text


def _joiner(shape: Shape) -> Callable[[Any], EvidenceItem]:
    """Return the function that makes an item of a shape and a value."""
    kind, *fields = shape
    if kind == "rule":
        metric, side, bound, outcome = fields
        return lambda value: Evidence(metric, _number(value), bound, outcome, side)
    if kind == "unmeasured":
        item = Evidence.unmeasured(fields[0])
        return lambda value: item
    if kind == "contribution":
        probability = fields[0]
        return lambda value: Contribution(probability, value[0], _number(value[1]), _number(value[2]))
    if kind == "votes":
        votes = ReviewVotes(*fields)
        return lambda value: votes
    one_field: Callable[[Any], EvidenceItem] = TYPES[kind]
    return one_field


def _number(value: float | None) -> float:
    return math.nan if value is None else value


@lru_cache(4096)
def _joiners(shapes: str) -> tuple[Callable[[Any], EvidenceItem], ...]:
    return tuple(map(_joiner, json.loads(shapes)))


NOT_JSON = re.compile(r'("(?:[^"\\]|\\.)*")|-?(?:Infinity|inf)|NaN|nan')


def to_json(values: Iterable[Any]) -> str:
    """Return a JSON list of shapes or values; NaN is null, and infinity a number too large for any float."""
    return finite_json(json.dumps(list(values)))


def finite_json(text: str) -> str:
    """Replace the numbers in JSON text that JSON does not have, as to_json() does; strings stay as they are."""
    return NOT_JSON.sub(_json_number, text)


def _json_number(match: re.Match[str]) -> str:
    if match[1]:
        return match[1]
    return "null" if match[0].lower() == "nan" else "-9e999" if match[0].startswith("-") else "9e999"


def to_verdict_row(verdict: Verdict) -> Row:
    """Return the row of a verdict."""
    shapes, values = [], []
    for item in verdict.evidence:
        shape, value = split_item(item)
        shapes.append(shape)
        values.append(value)
    facts = verdict.candidate, verdict.gate, verdict.decision, verdict.stage, verdict.reason
    return (*facts, to_json(shapes), to_json(values))


def to_verdict(row: Row) -> Verdict:
    """Return the verdict of a row."""
    candidate, gate, decision, stage, reason, shapes, values = row
    pairs = zip(_joiners(shapes), json.loads(values), strict=True)
    evidence = tuple([join(value) for join, value in pairs])
    return Verdict(candidate=candidate, gate=gate, decision=decision, stage=stage, reason=reason, evidence=evidence)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Verdicts by columns.

    Attributes:
        candidates: (n,) ids.
        outcomes: The distinct outcomes.
        of: (n,) index in `outcomes` of each candidate.
        values: (n,) values of the evidence, in JSON.
    """

    candidates: Sequence[str]
    outcomes: Sequence[Outcome]
    of: Sequence[int]
    values: Sequence[str]

    def rows(self) -> Iterator[Row]:
        """Iterate over them as rows."""
        for candidate, of, values in zip(self.candidates, self.of, self.values, strict=True):
            yield candidate, *self.outcomes[of], values


def by_columns(rows: Sequence[Row]) -> Verdicts:
    """Return rows by columns."""
    numbers: dict[Outcome, int] = {}
    of = [numbers.setdefault(row[1:6], len(numbers)) for row in rows]
    return Verdicts([row[0] for row in rows], list(numbers), of, [row[6] for row in rows])


def put_verdicts(db: sqlite3.Connection, verdicts: Verdicts) -> None:
    """Store verdicts in place of those on the same candidates."""
    db.executemany(
        "INSERT OR IGNORE INTO outcome (gate, decision, stage, reason, evidence) VALUES (?, ?, ?, ?, ?)",
        verdicts.outcomes,
    )
    ids = [
        db.execute(
            "SELECT id FROM outcome WHERE (gate, decision, stage, reason, evidence) = (?, ?, ?, ?, ?)", outcome
        ).fetchone()[0]
        for outcome in verdicts.outcomes
    ]
    rows = zip(verdicts.candidates, map(ids.__getitem__, verdicts.of), verdicts.values, strict=True)
    db.executemany(
        """INSERT INTO verdicts VALUES (?, ?, ?) ON CONFLICT (candidate) DO UPDATE
        SET outcome = excluded.outcome, "values" = excluded."values"
        WHERE (outcome, "values") != (excluded.outcome, excluded."values")""",
        sorted(rows),  # in the order of the index: each of its pages is written once, not at every row
    )


def read_rows(db: sqlite3.Connection, condition: str, *values: str | int) -> Iterator[Row]:
    """Iterate over rows. `condition`: SQL after the FROM clause."""
    cursor = db.cursor()
    cursor.row_factory = None
    sql = f"SELECT {ROW} FROM verdicts v JOIN outcome o ON o.id = v.outcome {condition}"
    yield from cursor.execute(sql, values)


def rows_of_version_3(table: Iterable[tuple[str, ...]]) -> Iterator[Row]:
    """Convert rows of the table `verdict` of version 3: evidence is a JSON list of texts."""
    for *facts, evidence in table:
        yield _row_of_texts(facts, json.loads(evidence))


def rows_of_version_7(rows: Iterable[tuple[str, ...]]) -> Iterator[Row]:
    """Convert rows of versions 4 to 7: evidence is a JSON list of texts, in which %s stands for the value."""
    for *facts, lines, values in rows:
        pairs = zip(json.loads(lines), json.loads(values), strict=True)
        yield _row_of_texts(facts, [line.replace("%s", value) for line, value in pairs])


def _row_of_texts(facts: Sequence[str], texts: Iterable[str]) -> Row:
    pairs = [split_item(parse_evidence(text)) for text in texts]
    return (*facts, to_json(shape for shape, _ in pairs), to_json(value for _, value in pairs))
