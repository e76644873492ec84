"""Where the ledger keeps verdicts: a row a candidate, with the number of its outcome and the values of its evidence.

Thousands of candidates get one outcome: gate, decision, stage, reason and the lines of evidence, in which %s stands for
the value. The view `verdict` has whole ones, for whoever reads by SQL.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ggt_tools.records import Verdict
from ggt_tools.workspace.codec import parse_tuples

# candidate, gate, decision, stage, reason, lines of evidence, their values: both lists in JSON, of one length
Row = tuple[str, ...]
Outcome = tuple[str, ...]  # a Row without the candidate and the values
TABLES = (
    """CREATE TABLE IF NOT EXISTS outcome (id INTEGER PRIMARY KEY, gate TEXT NOT NULL, decision TEXT NOT NULL,
        stage TEXT NOT NULL, reason TEXT NOT NULL, evidence TEXT NOT NULL,
        UNIQUE (gate, decision, stage, reason, evidence))""",
    """CREATE TABLE IF NOT EXISTS verdicts
        (candidate TEXT NOT NULL PRIMARY KEY, outcome INTEGER NOT NULL, "values" TEXT NOT NULL)""",
    """CREATE VIEW IF NOT EXISTS verdict AS SELECT v.candidate, o.gate, o.decision, o.stage, o.reason,
        (SELECT json_group_array(replace(line.value, '%s', json_extract(v."values", '$[' || line.key || ']')))
            FROM json_each(o.evidence) line) AS evidence, v.rowid
        FROM verdicts v JOIN outcome o ON o.id = v.outcome""",
)
ROW = 'v.candidate, o.gate, o.decision, o.stage, o.reason, o.evidence, v."values"'  # of verdicts v, outcome o
# What stands in a line after the metric, or for the best, or what a fact adds to a probability
VALUE = re.compile(r"(\w+: )(\w+ \S+ adds \S+)|(\w+ |the best is )(\S+)")


def to_verdict_row(verdict: Verdict) -> Row:
    lines, values = [], []
    for line in verdict.evidence:
        found = None if "%s" in line else VALUE.match(line)
        before, value = (found[1] or found[3], found[2] or found[4]) if found else ("", "%s")
        lines.append(f"{before}%s{line[found.end() :]}" if found else line)
        values.append(value)
    facts = verdict.candidate, verdict.gate, verdict.decision, verdict.stage, verdict.reason
    return (*facts, json.dumps(lines), json.dumps(values))


def to_verdict(row: Row) -> Verdict:
    candidate, gate, decision, stage, reason, lines, values = row
    pairs = zip(parse_tuples(lines), json.loads(values), strict=True)
    evidence = tuple(line.replace("%s", value) for line, value in pairs)
    return Verdict(candidate=candidate, gate=gate, decision=decision, stage=stage, reason=reason, evidence=evidence)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Rows by columns."""

    candidates: Sequence[str]
    outcomes: Sequence[Outcome]
    of: Sequence[int]  # (candidates,) places in `outcomes`
    values: Sequence[str]  # (candidates,)

    def rows(self) -> Iterator[Row]:
        for candidate, of, values in zip(self.candidates, self.of, self.values, strict=True):
            yield candidate, *self.outcomes[of], values


def by_columns(rows: Sequence[Row]) -> Verdicts:
    numbers: dict[Outcome, int] = {}
    of = [numbers.setdefault(row[1:6], len(numbers)) for row in rows]
    return Verdicts([row[0] for row in rows], list(numbers), of, [row[6] for row in rows])


def put_verdicts(db: sqlite3.Connection, verdicts: Verdicts) -> None:
    """In the place of those on the same candidates."""
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


def rows_of(table: Iterable[tuple[str, ...]]) -> Iterable[Row]:
    """Of rows as version 3 of the ledger has them."""
    for *facts, evidence in table:
        names = ("candidate", "gate", "decision", "stage", "reason")
        yield to_verdict_row(Verdict(**dict(zip(names, facts, strict=True)), evidence=tuple(json.loads(evidence))))
