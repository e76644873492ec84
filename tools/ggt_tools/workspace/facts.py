"""Facts in the ledger: how records are added, replaced, and read back as they are."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

from ggt_tools.records import TABLES, Aligned, Call, Candidate, DataclassRecord, Photo, Record, Score, Verdict
from ggt_tools.workspace import funnel, score_table, verdict_table
from ggt_tools.workspace.codec import columns, from_row, to_row, to_values

WORKED_ON = "SELECT key FROM candidate UNION SELECT key FROM prompt"
SqlRow = tuple[str | int | float | None, ...]


def add(db: sqlite3.Connection, records: Sequence[DataclassRecord]) -> None:
    """Add facts within a transaction, and update the counts of `status`."""
    with funnel.counting(db, _touched_keys(db, records)):
        for record in records:
            if not isinstance(record, Score):
                insert(db, record)
        score_table.add_scores(db, (record for record in records if isinstance(record, Score)))


def replace_photos(db: sqlite3.Connection, keys: Sequence[str], records: Sequence[DataclassRecord]) -> None:
    """Remove the photographs of these keys that no later stage used, and add facts, within a transaction."""
    with funnel.counting(db, _touched_keys(db, records) | set(keys)):
        sql = f"SELECT value FROM json_each(?) WHERE value NOT IN ({WORKED_ON})"
        removed = json.dumps([key for (key,) in db.execute(sql, (json.dumps(list(keys)),))])
        for where in ("photo WHERE", "perceptual_hash WHERE split = '' AND", "conversion WHERE candidate = '' AND"):
            db.execute(f"DELETE FROM {where} key IN (SELECT value FROM json_each(?))", (removed,))
        for record in records:
            insert(db, record)


def insert(db: sqlite3.Connection, record: DataclassRecord) -> None:
    """Insert one record by the rule of its table, and remove what it makes obsolete."""
    table, row = TABLES[type(record)], to_row(record)
    if table.empty_column:
        keys = " AND ".join(f'"{name}" = ?' for name in table.key)
        db.execute(
            f"""DELETE FROM {table.name} WHERE {keys} AND "{table.empty_column}" = ''""",
            [row[name] for name in table.key],
        )
    if isinstance(record, Aligned):  # scores of other pixels do not hold for these
        db.execute(
            "DELETE FROM scores WHERE candidate = ? AND (SELECT image FROM aligned WHERE candidate = ?) != ?",
            (record.candidate, record.candidate, record.image),
        )
    names = ", ".join(f'"{name}"' for name in row)  # some are words of SQL
    conflict = "REPLACE" if table.is_replaced else "IGNORE"
    db.execute(
        f"INSERT OR {conflict} INTO {table.name} ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
    )
    if isinstance(record, Photo):
        db.execute("DELETE FROM refusal WHERE file = ?", (record.file,))


def read_all(db: sqlite3.Connection, record_class: type[Record]) -> Iterator[Record]:
    """Iterate over every record of a class, in the order of its key."""
    table = TABLES[record_class]
    if record_class is Score:
        for candidate, scores in score_table.read_scores(db, "ORDER BY s.candidate"):
            for metric, version, value in sorted(scores, key=itemgetter(0, 1)):
                row = (candidate, metric, version, value)
                yield from_row(record_class, dict(zip(record_class.__dataclass_fields__, row, strict=True)))
    elif record_class is Verdict:
        verdicts: Iterator[Any] = map(verdict_table.to_verdict, verdict_table.read_rows(db, "ORDER BY v.candidate"))
        yield from verdicts
    else:
        for row in db.execute(f"SELECT * FROM {table.name} ORDER BY {', '.join(table.key)}"):
            yield from_row(record_class, dict(row))


def read_in_order(db: sqlite3.Connection, record_class: type[Record]) -> Iterator[Record]:
    """Iterate over every record of a class that has a table of its own, in the order in which they were added."""
    for row in db.execute(f"SELECT * FROM {TABLES[record_class].name} ORDER BY rowid"):
        yield from_row(record_class, dict(row))


def find(db: sqlite3.Connection, record_class: type[Record], **values: str | int) -> list[Record]:
    """Return the records of a class whose columns have these values, in the order in which they were added."""
    if unknown := values.keys() - {column.name for column in columns(record_class)}:
        raise ValueError(f"{record_class.__name__} has no column {', '.join(sorted(unknown))}")
    if record_class is Verdict:
        where = " AND ".join(f"{'v' if name == 'candidate' else 'o'}.{name} = ?" for name in values)
        rows = verdict_table.read_rows(db, f"WHERE {where} ORDER BY v.rowid", *values.values())
        verdicts: list[Any] = [verdict_table.to_verdict(row) for row in rows]
        return verdicts
    where = " AND ".join(f'"{name}" = ?' for name in values)
    sql = f"SELECT * FROM {TABLES[record_class].name} WHERE {where} ORDER BY rowid"
    return [from_row(record_class, dict(row)) for row in db.execute(sql, tuple(values.values()))]


def read_rows(db: sqlite3.Connection, record_class: type[Record], size: int) -> Iterator[list[SqlRow]]:
    """Iterate over the rows of a class in lists of `size`, in the order of their insertion; scores by candidate."""
    rows: Iterator[SqlRow]
    if record_class is Score:
        by_candidate = score_table.read_scores(db, "ORDER BY s.rowid")
        rows = ((candidate, *score) for candidate, scores in by_candidate for score in scores)
    elif record_class is Verdict:
        rows = (to_values(verdict_table.to_verdict(row)) for row in verdict_table.read_rows(db, "ORDER BY v.rowid"))
    else:
        names = ", ".join(f'"{name}"' for name in record_class.__dataclass_fields__)
        cursor = db.cursor()
        cursor.row_factory = None
        rows = cursor.execute(f"SELECT {names} FROM {TABLES[record_class].name} ORDER BY rowid")
    while chunk := list(islice(rows, size)):
        yield chunk


def keys_of(db: sqlite3.Connection, candidates: Iterable[str]) -> set[str]:
    """Return the keys of the photographs of these candidates."""
    sql = "SELECT key FROM candidate WHERE id IN (SELECT value FROM json_each(?))"
    return {key for (key,) in db.execute(sql, (json.dumps(list(candidates)),))}


def _touched_keys(db: sqlite3.Connection, records: Iterable[DataclassRecord]) -> set[str]:
    """Return the keys of the photographs whose counts these records change."""
    keys = {record.key for record in records if isinstance(record, Photo | Candidate)}
    named = [r.candidate if isinstance(r, Aligned) else r.work for r in records if isinstance(r, Aligned | Call)]
    calls = [record.id for record in records if isinstance(record, Call)]  # they may have been of other work before
    sql = "SELECT work FROM call WHERE id IN (SELECT value FROM json_each(?))"
    named += [work for (work,) in db.execute(sql, (json.dumps(calls),))]
    return keys | keys_of(db, named)
