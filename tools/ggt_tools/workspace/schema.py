"""The tables of `ledger.sqlite`: how they are made, and how a ledger of an earlier version becomes one of this version.

A record declares its table itself (records.stored). This module adds the tables that hold no records, the indexes and
the migrations.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.records import TABLES
from ggt_tools.workspace import funnel, score_table, verdict_table
from ggt_tools.workspace.codec import columns
from ggt_tools.workspace.database import Transaction

SCHEMA_VERSION = 11
CHUNK = 10_000  # rows that a migration reads and writes at a time
# The statements that bring a ledger of a version to the next version. They run before new tables are created.
MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE candidate ADD COLUMN maker TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE candidate ADD COLUMN frame TEXT NOT NULL DEFAULT '[]'",
    ),
    2: (),
    3: ("ALTER TABLE score RENAME TO score_3", "ALTER TABLE verdict RENAME TO verdict_3"),
    4: (),
    5: (),
    6: (),
    7: ("DROP VIEW IF EXISTS verdict",),
    8: (),
    9: (),
    10: (),
}
# What version 8 renamed. Which of these tables a ledger has depends on its version.
TABLES_8 = {
    "tally": "funnel_count",
    "verdicts": "verdicts_7",
    "outcome": "outcome_7",
    "seen": "perceptual_hash",
    "classed": "photo_class",
    "held": "held_out_pair",
}
COLUMNS_8 = {
    "funnel_count": {"what": "state"},
    "perceptual_hash": {"place": "split"},
    "candidate": {"maker": "restorer_name"},
    "job": {"maker": "restorer_name"},
    "opinion": {"words": "instruction"},
    "decision": {"said": "gate_decision", "planted": "known_answer"},
    "withdrawal": {"by": "withdrawn_by"},
}
# Columns of `aligned` that version 6 added.
ALIGNED_6 = {
    **dict.fromkeys(("error", "support", "scatter", "motion", "improvement", "offset"), "REAL"),
    **dict.fromkeys(("colour_before", "colour_after"), "REAL"),
    "colour": "TEXT NOT NULL DEFAULT '[]'",
}
OTHER_TABLES = (
    "CREATE TABLE IF NOT EXISTS gates (id TEXT PRIMARY KEY, text TEXT)",
    *score_table.TABLES,
    *verdict_table.TABLES,
    funnel.TABLE,
)
INDEXES = (
    "CREATE INDEX IF NOT EXISTS call_work ON call (work)",
    "CREATE INDEX IF NOT EXISTS candidate_key ON candidate (key)",
    "CREATE INDEX IF NOT EXISTS call_outcome ON call (stage, model, outcome, usd)",
    "CREATE INDEX IF NOT EXISTS refusal_reason ON refusal (reason)",
)


def ensure_schema(db: sqlite3.Connection, file: Path, *, is_writable: bool) -> None:
    """Create the tables of a new ledger, or migrate an older one, all or nothing.

    Args:
        db: The open database.
        file: The ledger's file, beside which `packed.txt` of an older version is read and then removed.
        is_writable: Whether `db` is the file itself; otherwise it is a copy, and nothing beside it is removed.

    Raises:
        ConfigError: A newer ggt100k wrote the ledger.
    """
    version = _version(db)
    if version == SCHEMA_VERSION:  # a reader need not wait for the writer
        return
    if version > SCHEMA_VERSION:
        raise ConfigError(
            f"{file}: schema version {version}, and this ggt100k reads {SCHEMA_VERSION}. "
            "Install the version that wrote it."
        )
    packed = file.with_name("packed.txt")  # until version 8 a file held the keys that are in packed_pair now
    with Transaction(db, file):
        version = _version(db)  # another process may have migrated it meanwhile
        for older in range(version, SCHEMA_VERSION) if version else ():
            for statement in MIGRATIONS.get(older, ()):
                db.execute(statement)
        if version:
            _rename_8(db)
        _create_tables(db)
        if version:
            _migrate_rows(db, version)
        if version < 8 and packed.is_file():
            keys = packed.read_text("ascii", "replace").split()
            db.executemany("INSERT OR IGNORE INTO packed_pair VALUES (?)", [(key,) for key in keys])
        db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    if is_writable:
        packed.unlink(missing_ok=True)


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _rename_8(db: sqlite3.Connection) -> None:
    tables = _table_names(db)
    for old, new in TABLES_8.items():
        if old in tables:
            db.execute(f"ALTER TABLE {old} RENAME TO {new}")
            tables.add(new)
    for table in COLUMNS_8.keys() & tables:
        existing = _column_names(db, table)
        for old, new in COLUMNS_8[table].items():
            if old in existing:
                db.execute(f'ALTER TABLE {table} RENAME COLUMN "{old}" TO "{new}"')


def _table_names(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in _tuples(db, "SELECT name FROM sqlite_master WHERE type = 'table'")}


def _column_names(db: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in db.execute(f"PRAGMA table_info({table})")}


def _create_tables(db: sqlite3.Connection) -> None:
    for record_class, table in TABLES.items():
        if not table.is_view:
            listed = ", ".join(f'"{column.name}" {column.sql_type}' for column in columns(record_class))
            db.execute(f"CREATE TABLE IF NOT EXISTS {table.name} ({listed}, PRIMARY KEY ({', '.join(table.key)}))")
    for statement in (*OTHER_TABLES, *INDEXES):
        db.execute(statement)


def _migrate_rows(db: sqlite3.Connection, version: int) -> None:
    if "phash" not in _column_names(db, "conversion"):
        db.execute("ALTER TABLE conversion ADD COLUMN phash TEXT NOT NULL DEFAULT ''")
    if version < 6:
        for name in ALIGNED_6.keys() - _column_names(db, "aligned"):
            db.execute(f"ALTER TABLE aligned ADD COLUMN {name} {ALIGNED_6[name]}")
    if version < 4:
        score_table.add_rows(db, _tuples(db, "SELECT * FROM score_3 ORDER BY candidate, rowid"))
        _put_verdicts(db, verdict_table.rows_of_version_3(_tuples(db, "SELECT * FROM verdict_3 ORDER BY rowid")))
        for table in ("score_3", "verdict_3"):
            db.execute(f"DROP TABLE {table}")
        recount(db)
    elif version < 8:
        old = """SELECT v.candidate, o.gate, o.decision, o.stage, o.reason, o.evidence, v."values"
            FROM verdicts_7 v JOIN outcome_7 o ON o.id = v.outcome ORDER BY v.rowid"""
        if "verdicts_7" in _table_names(db):
            _put_verdicts(db, verdict_table.rows_of_version_7(_tuples(db, old)))
            for table in ("verdicts_7", "outcome_7"):
                db.execute(f"DROP TABLE {table}")
    if version < 5:
        # Perceptual hashes of version 1 depended on the processor. Those of photographs are computed again
        # (imaging.perceptual_hash.stored_hashes). Those of published pairs are emptied, and ingest asks for the
        # release.
        db.execute("DELETE FROM perceptual_hash WHERE split = ''")
        db.execute("UPDATE perceptual_hash SET phash = ''")


def _put_verdicts(db: sqlite3.Connection, rows: Iterable[verdict_table.Row]) -> None:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK)):
        verdict_table.put_verdicts(db, verdict_table.by_columns(chunk))


def _tuples(db: sqlite3.Connection, sql: str) -> Iterator[Any]:
    cursor = db.cursor()
    cursor.row_factory = None
    return cursor.execute(sql)


def recount(db: sqlite3.Connection) -> None:
    """Compute the counts of `status` again, from all facts."""
    db.execute("DELETE FROM funnel_count")
    keys = [key for (key,) in db.execute("SELECT key FROM photo UNION SELECT key FROM candidate")]
    for start in range(0, len(keys), CHUNK):
        funnel.add_counts(db, funnel.count_photos(db, keys[start : start + CHUNK]))
