"""The workspace: `ledger.sqlite` with every fact, and the images beside it, named by their content.

One process writes, many read (SQLite in WAL mode). An image is on disk before the row that names it, a row is committed
before the next work begins: a kill loses the work in flight and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import get_type_hints

from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.records import (
    Candidate,
    Pair,
    Photo,
    Record,
    Refusal,
    Score,
    Stage,
    Verdict,
    from_row,
    to_row,
)

SCHEMA_VERSION = 1
# Each kind of record is a table; these columns tell two of its rows apart.
KEYS: dict[type, tuple[str, ...]] = {
    Photo: ("key",),
    Refusal: ("file",),
    Candidate: ("id",),
    Score: ("candidate", "metric", "metric_version"),
    Verdict: ("candidate",),
}


class Ledger:
    """The facts of one workspace. `with Ledger(folder) as ledger:` opens it, and makes it where `create` says so."""

    def __init__(self, workspace: Path, *, create: bool = False) -> None:
        self.workspace = workspace
        file = workspace / "ledger.sqlite"
        if not file.exists() and not create:
            raise ConfigError(
                f"{workspace}: no ledger.sqlite, so no workspace; begin one: ggt100k ingest PHOTOS {workspace}"
            )
        try:
            (workspace / "images").mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(file, timeout=60, isolation_level=None)
        except (OSError, sqlite3.OperationalError) as fault:
            raise ConfigError(f"{workspace}: cannot be a workspace: {fault}; name another folder") from fault
        try:
            self._open(file)
        except BaseException as fault:
            self._db.close()
            if type(fault) is sqlite3.DatabaseError:  # no database, or a damaged one; its subclasses are other faults
                raise ConfigError(f"{file}: cannot be read: {fault}; restore the workspace from its backup") from fault
            raise

    def _open(self, file: Path) -> None:
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")  # a paid result survives a power cut, not only a kill
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found == SCHEMA_VERSION:  # nothing to write, so a reader need not wait for the writer
            return
        if found != 0:
            raise ConfigError(
                f"{file}: schema version {found}, this ggt100k reads {SCHEMA_VERSION}; install the one that wrote it"
            )
        with self._transaction():
            for kind, keys in KEYS.items():
                columns = ", ".join(f'"{name}" {_sql_type(hint)}' for name, hint in get_type_hints(kind).items())
                self._db.execute(
                    f"CREATE TABLE IF NOT EXISTS {_table(kind)} ({columns}, PRIMARY KEY ({', '.join(keys)}))"
                )
            self._db.execute("CREATE TABLE IF NOT EXISTS gates (id TEXT PRIMARY KEY, text TEXT)")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)

    def add(self, *records: Photo | Refusal | Candidate | Score) -> None:
        """Adds facts, all or none. A fact that is there already stays as it is; a refusal gives way to a newer one."""
        with self._transaction():
            for record in records:
                self._insert(record, "REPLACE" if isinstance(record, Refusal) else "IGNORE")
                if isinstance(record, Photo):
                    self._db.execute("DELETE FROM refusal WHERE file = ?", (record.file,))

    def judge(self, gate: str, text: str, verdicts: Iterable[Verdict]) -> None:
        """Replaces the verdicts on these candidates: they are the policy `text` applied, not facts."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO gates VALUES (?, ?)", (gate, text))
            for record in verdicts:
                self._insert(record, "REPLACE")

    def _insert(self, record: Photo | Refusal | Candidate | Score | Verdict, conflict: str) -> None:
        row = to_row(record)
        marks = ", ".join("?" * len(row))
        self._db.execute(f"INSERT OR {conflict} INTO {_table(type(record))} VALUES ({marks})", tuple(row.values()))

    def all(self, kind: type[Record]) -> Iterator[Record]:
        """Every record of a kind, in the order of its key."""
        order = ", ".join(KEYS[kind])
        for row in self._db.execute(f"SELECT * FROM {_table(kind)} ORDER BY {order}"):
            yield from_row(kind, dict(row))

    def gate_text(self, gate: str) -> str:
        return str(self._db.execute("SELECT text FROM gates WHERE id = ?", (gate,)).fetchone()[0])

    def put_image(self, data: bytes) -> str:
        """Stores an image file, whole and on disk, and returns its name: the SHA-256 of its bytes."""
        name = hashlib.sha256(data).hexdigest()
        path = self._image_path(name)
        if not path.exists():
            if not path.parent.is_dir():
                path.parent.mkdir(exist_ok=True)
                sync_folder(path.parent.parent)
            write_whole(path, data)
        return name

    def image(self, name: str) -> bytes:
        """The bytes of an image. Raises ShardError where they are not what their name says."""
        path = self._image_path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError as fault:
            raise _missing(path) from fault
        if hashlib.sha256(data).hexdigest() != name:
            raise ShardError(f"{path}: its bytes are not those that were stored; restore the workspace from its backup")
        return data

    def image_size(self, name: str) -> int:
        path = self._image_path(name)
        try:
            return path.stat().st_size
        except FileNotFoundError as fault:
            raise _missing(path) from fault

    def _image_path(self, name: str) -> Path:
        return self.workspace / "images" / name[:2] / name

    def pairs(self) -> Iterator[Pair]:
        """What the gate keeps, in the order of the keys. Raises ConfigError where nothing has been judged."""
        verdicts = {verdict.candidate: verdict for verdict in self.all(Verdict)}
        if not verdicts:
            raise ConfigError(f"{self.workspace}: nothing has been judged; run: ggt100k verdict {self.workspace}")
        photos = {photo.key: photo for photo in self.all(Photo)}
        scores: dict[str, list[Score]] = {}
        for score in self.all(Score):
            scores.setdefault(score.candidate, []).append(score)
        kept = [c for c in self.all(Candidate) if c.id in verdicts and verdicts[c.id].decision == "keep"]
        for candidate in sorted(kept, key=lambda c: c.key):
            yield Pair(
                photo=photos[candidate.key],
                candidate=candidate,
                scores=tuple(scores.get(candidate.id, ())),
                verdict=verdicts[candidate.id],
            )

    def funnel(self) -> tuple[Stage, ...]:
        """How many entered each stage, how many left it, and why the others did not."""
        photos = list(self.all(Photo))
        refused = Counter(refusal.reason for refusal in self.all(Refusal))
        candidates = list(self.all(Candidate))
        empty = Counter(candidate.reason for candidate in candidates if not candidate.image)
        verdicts = list(self.all(Verdict))
        judged = [v for v in verdicts if v.stage != "restore"]
        out = Counter(v.reason for v in judged if v.decision != "keep")
        return (
            _stage("ingest", len(photos), refused),
            _stage("restore", len(candidates) - empty.total(), empty),
            _stage("verdict", sum(v.decision == "keep" for v in judged), out),
        )


class _Transaction:
    """BEGIN IMMEDIATE to COMMIT, or to ROLLBACK where something was raised."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file that appears whole or not at all, whatever dies in between."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes a rename in `folder` survive a power cut (on Windows a folder cannot be opened, nor need be)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _missing(path: Path) -> ShardError:
    return ShardError(f"{path}: the ledger names it and it is not there; restore the workspace from its backup")


def _stage(name: str, left: int, reasons: Counter[str]) -> Stage:
    return Stage(stage=name, entered=left + reasons.total(), left=left, reasons=tuple(sorted(reasons.items())))


def _table(kind: type) -> str:
    return kind.__name__.lower()


def _sql_type(hint: object) -> str:
    return {int: "INTEGER NOT NULL", float: "REAL"}.get(hint, "TEXT NOT NULL")  # type: ignore[call-overload,no-any-return]
