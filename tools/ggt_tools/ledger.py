"""The workspace: `ledger.sqlite` with every fact, and the images beside it, named by their content.

One process writes, many read (SQLite in WAL mode). An image is on disk before the row that names it, a row is committed
before the next work begins: a kill loses the work in flight and nothing else. What was paid for goes to `incoming/`
first, under the id of its work: a kill between its arrival and its row loses nothing either, settle() finds it there.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, get_type_hints

from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.records import (
    IN_FLIGHT,
    Adopted,
    Aligned,
    Call,
    Candidate,
    Choice,
    Classed,
    Decision,
    Entry,
    Held,
    Job,
    Opinion,
    Pair,
    Photo,
    Prompt,
    Record,
    Refusal,
    Score,
    Seen,
    Stage,
    Study,
    Verdict,
    Withdrawal,
    from_row,
    to_row,
    to_values,
)
from ggt_tools.store import Store, make_folder
from ggt_tools.store import sync_folder as sync_folder  # many take them from here
from ggt_tools.store import write_whole as write_whole

Fact = (
    Photo | Refusal | Seen | Classed | Prompt | Candidate | Call | Job | Aligned | Score | Opinion | Withdrawal
    | Decision | Study | Entry | Choice | Held | Adopted
)  # fmt: skip
SCHEMA_VERSION = 3
# Each kind of record is a table; these columns tell two of its rows apart.
KEYS: dict[type, tuple[str, ...]] = {
    Photo: ("key",),
    Refusal: ("file",),
    Seen: ("key", "place"),
    Classed: ("key", "version"),
    Prompt: ("id",),
    Candidate: ("id",),
    Call: ("id",),
    Job: ("id",),
    Aligned: ("candidate",),
    Score: ("candidate", "metric", "metric_version"),
    Opinion: ("id",),
    Verdict: ("candidate",),
    Withdrawal: ("key", "reason"),
    Decision: ("id",),
    Study: ("id",),
    Entry: ("study", "entrant", "key"),
    Choice: ("id",),
    Held: ("key",),
    Adopted: ("candidate",),
}
# These give way to a newer row of the same key: they tell how something stands, and it goes on.
REPLACED = (Refusal, Call, Job, Aligned, Opinion, Verdict)
RECKONED = "vlm_"  # a score whose name begins so is reckoned of all opinions there are: it gives way too
# What brings a ledger of a version to the next one; tables that are new are made in any case.
MIGRATIONS = {
    1: (
        "ALTER TABLE candidate ADD COLUMN maker TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE candidate ADD COLUMN frame TEXT NOT NULL DEFAULT '[]'",
    ),
    2: (),
}


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


class Attempt(NamedTuple):
    """What the gate has to know of a candidate itself."""

    id: str
    key: str
    image: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Docket:
    """All candidates of some photographs, and what is known of them."""

    candidates: list[Attempt]
    scores: dict[str, dict[str, float]]  # value by candidate and metric, align's findings among them
    seen: dict[str, tuple[str, ...]]  # by key: the class, then all that is seen in it
    astray: dict[str, str]  # by candidate: why align could not bring it into its photograph's frame


class Ledger:
    """The facts of one workspace. `with Ledger(folder) as ledger:` opens it, and makes it where `create` says so."""

    def __init__(self, workspace: Path, *, create: bool = False, images: str = "") -> None:
        """`images`: a folder or an fsspec URL where the images of a new workspace are to lie, where not in itself."""
        self.workspace = workspace
        file = workspace / "ledger.sqlite"
        if not file.exists() and not create:
            raise ConfigError(
                f"{workspace}: no ledger.sqlite, so no workspace; begin one: ggt100k ingest PHOTOS {workspace}"
            )
        try:
            self.store = _place(workspace, images)
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
        if found > SCHEMA_VERSION:
            raise ConfigError(
                f"{file}: schema version {found}, this ggt100k reads {SCHEMA_VERSION}; install the one that wrote it"
            )
        with self._transaction():
            found = self._db.execute("PRAGMA user_version").fetchone()[0]  # another may have been faster
            for version in range(found, SCHEMA_VERSION) if found else ():
                for statement in MIGRATIONS[version]:
                    self._db.execute(statement)
            for kind, keys in KEYS.items():
                columns = ", ".join(f'"{name}" {_sql_type(hint)}' for name, hint in get_type_hints(kind).items())
                self._db.execute(
                    f"CREATE TABLE IF NOT EXISTS {_table(kind)} ({columns}, PRIMARY KEY ({', '.join(keys)}))"
                )
            self._db.execute("CREATE TABLE IF NOT EXISTS gates (id TEXT PRIMARY KEY, text TEXT)")
            self._db.execute("CREATE INDEX IF NOT EXISTS call_work ON call (work)")
            self._db.execute("CREATE INDEX IF NOT EXISTS candidate_key ON candidate (key)")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)

    def add(self, *records: Fact) -> None:
        """Adds facts, all or none. A fact that is there already stays as it is.

        What tells how something stands (REPLACED, and a candidate without an image) gives way to what is newer.
        """
        with self._transaction():
            for record in records:
                self._insert(record)
                if isinstance(record, Photo):
                    self._db.execute("DELETE FROM refusal WHERE file = ?", (record.file,))

    def judge(self, gate: str, text: str, verdicts: Iterable[Verdict]) -> None:
        """Replaces the verdicts on these candidates: they are the policy `text` applied, not facts."""
        self.judge_rows(gate, text, map(to_values, verdicts))

    def judge_rows(self, gate: str, text: str, verdicts: Iterable[tuple[str, ...]]) -> None:
        """As judge(); the verdicts as to_values() makes them, in another process perhaps."""
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO gates VALUES (?, ?)", (gate, text))
            marks = ", ".join("?" * len(Verdict.__dataclass_fields__))
            self._db.executemany(f"INSERT OR REPLACE INTO verdict VALUES ({marks})", verdicts)

    def _insert(self, record: Fact | Verdict) -> None:
        row, table = to_row(record), _table(type(record))
        columns = ", ".join(f'"{name}"' for name in row)  # some are words of SQL
        reckoned = isinstance(record, Score) and record.metric.startswith(RECKONED)
        conflict = "REPLACE" if isinstance(record, REPLACED) or reckoned else "IGNORE"
        if isinstance(record, Candidate):
            self._db.execute("DELETE FROM candidate WHERE id = ? AND image = ''", (record.id,))
        self._db.execute(
            f"INSERT OR {conflict} INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})",
            tuple(row.values()),
        )

    def all(self, kind: type[Record]) -> Iterator[Record]:
        """Every record of a kind, in the order of its key."""
        order = ", ".join(KEYS[kind])
        for row in self._db.execute(f"SELECT * FROM {_table(kind)} ORDER BY {order}"):
            yield from_row(kind, dict(row))

    def scores(self) -> dict[str, dict[str, float]]:
        """All that was measured of each candidate, by metric: the newest version's value, and align's findings."""
        found: dict[str, dict[str, float]] = {}
        facts = """
            SELECT candidate, 'align_confidence', confidence FROM aligned WHERE image != ''
            UNION ALL SELECT candidate, 'residual_p99', residual_p99 FROM aligned WHERE image != ''
        """
        for sql in (facts, "SELECT candidate, metric, value FROM score ORDER BY rowid"):
            for candidate, metric, value in self._db.execute(sql):
                found.setdefault(candidate, {})[metric] = math.nan if value is None else value
        return found

    def rows(self, kind: type[Record], most: int) -> Iterator[list[tuple[str | int | float | None, ...]]]:
        """Every row of a kind as its table has it, so many at a time, in the order in which they were added."""
        names = ", ".join(f'"{name}"' for name in kind.__dataclass_fields__)
        cursor = self._plain(f"SELECT {names} FROM {_table(kind)} ORDER BY rowid")
        while some := cursor.fetchmany(most):
            yield some

    def shares(self, photographs: int) -> list[tuple[str, str]]:
        """The keys in parts of so many photographs: from the first of each up to, and without, the second."""
        keys = [key for (key,) in self._db.execute("SELECT key FROM photo ORDER BY key")]
        firsts = keys[::photographs]
        return list(zip(firsts, [*firsts[1:], "\U0010ffff"], strict=True))

    def docket(self, first: str, end: str) -> Docket:
        """What is to be judged of the photographs from one key up to, and without, another."""
        part = "FROM candidate c {} WHERE c.key >= ? AND c.key < ?"
        seen = {
            key: tuple(json.loads(wrong))
            for key, wrong in self._db.execute(
                "SELECT key, degradations FROM photo WHERE key >= ? AND key < ?", (first, end)
            )
        }
        candidates: list[Attempt] = []
        astray: dict[str, str] = {}
        aligned: dict[str, dict[str, float]] = {}
        sql = f"""SELECT c.id, c.key, c.image, c.reason, a.image, a.reason, a.confidence, a.residual_p99
            {part.format("LEFT JOIN aligned a ON a.candidate = c.id")} AND c.reason != ? ORDER BY c.id"""
        for name, key, image, reason, there, lost, confidence, residual in self._plain(sql, first, end, IN_FLIGHT):
            candidates.append(Attempt(name, key, image, reason))
            if there:
                aligned[name] = {"align_confidence": confidence, "residual_p99": residual}
            elif there is not None:
                astray[name] = lost
        scores: dict[str, dict[str, float]] = {}
        sql = f"SELECT s.candidate, s.metric, s.value {part.format('CROSS JOIN score s ON s.candidate = c.id')}"
        for name, rows in groupby(self._plain(sql, first, end), itemgetter(0)):
            found = [(metric, value) for _, metric, value in rows]
            values = dict(found)
            if len(values) < len(found):  # a metric of several versions: the newest counts
                values = dict(self._plain("SELECT metric, value FROM score WHERE candidate = ? ORDER BY rowid", name))
            scores[name] = values
        for name, facts in aligned.items():
            scores[name] = facts | scores.get(name, {})
        for values in scores.values():
            if None in values.values():
                values |= {metric: math.nan for metric, value in values.items() if value is None}
        return Docket(candidates=candidates, scores=scores, seen=seen, astray=astray)

    def _plain(self, sql: str, *values: str) -> sqlite3.Cursor:
        """Rows as tuples, for what reads very many."""
        cursor = self._db.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, values)

    def withdrawn(self) -> dict[str, str]:
        """The keys of the pairs that are to be in no further version, each with the first reason that was given."""
        rows = self._db.execute("SELECT key, reason FROM withdrawal ORDER BY rowid DESC")
        return {key: reason for key, reason in rows}

    def query(self, sql: str, *values: str | int | float) -> list[sqlite3.Row]:
        """The rows of a SELECT, for views of the facts that no method here gives."""
        return self._db.execute(sql, values).fetchall()

    def gate_text(self, gate: str) -> str:
        return str(self._db.execute("SELECT text FROM gates WHERE id = ?", (gate,)).fetchone()[0])

    def receive(self, work: str, data: bytes) -> None:
        """Puts the image file that came for a candidate on disk, before anything else happens. Any thread may."""
        self._incoming.mkdir(exist_ok=True)
        write_whole(self._incoming / work, data)

    def received(self) -> list[str]:
        """The ids of the candidates whose image came and was not settled: a kill was faster."""
        if not self._incoming.is_dir():
            return []
        for part in self._incoming.glob("*.part"):
            part.unlink()
        return sorted(path.name for path in self._incoming.iterdir())

    def forget(self, work: str) -> None:
        """Removes what came for a candidate that is done already."""
        (self._incoming / work).unlink()

    def settle(self, *records: Fact) -> None:
        """Adds facts, all or none; a candidate without image or reason gets the image that was received for it."""
        settled = [record for record in records if isinstance(record, Candidate) and not record.image + record.reason]
        images = {candidate.id: self._take_in(self._incoming / candidate.id) for candidate in settled}
        self.add(
            *(replace(r, image=images[r.id]) if isinstance(r, Candidate) and r.id in images else r for r in records)
        )
        for candidate in settled:
            (self._incoming / candidate.id).unlink()

    @property
    def _incoming(self) -> Path:
        return self.workspace / "incoming"

    def _take_in(self, file: Path) -> str:
        """Links a file among the images: until the row is there, it stays where a next run finds it."""
        data = file.read_bytes()
        name = hashlib.sha256(data).hexdigest()
        path = Path(self.store.root) / ImageFolder.place(name)
        if "://" in self.store.root or path.exists():
            return self.put_image(data)
        make_folder(path.parent)
        try:
            path.hardlink_to(file)
        except OSError:  # a file system without links
            write_whole(path, data)
        sync_folder(path.parent)
        return name

    def put_image(self, data: bytes) -> str:
        """Stores an image file, whole and on disk, and returns its name: the SHA-256 of its bytes."""
        return self.images.put(data)

    def image(self, name: str) -> bytes:
        """The bytes of an image. Raises ShardError where they are not what their name says."""
        return self.images.image(name)

    def image_size(self, name: str) -> int:
        return self.images.image_size(name)

    @property
    def images(self) -> ImageFolder:
        """The images without the facts, for another process."""
        return ImageFolder(self.store)

    def pairs(self) -> Iterator[Pair]:
        """What the gate keeps, in the order of the keys. Raises ConfigError where nothing has been judged."""
        verdicts = {verdict.candidate: verdict for verdict in self.all(Verdict)}
        if not verdicts:
            raise ConfigError(f"{self.workspace}: nothing has been judged; run: ggt100k verdict {self.workspace}")
        photos = {photo.key: photo for photo in self.all(Photo)}
        scores: dict[str, list[Score]] = {}
        for score in self.all(Score):
            scores.setdefault(score.candidate, []).append(score)
        images = {aligned.candidate: aligned.image for aligned in self.all(Aligned)}
        kept = [c for c in self.all(Candidate) if c.id in verdicts and verdicts[c.id].decision == "keep"]
        for candidate in sorted(kept, key=lambda c: c.key):
            if candidate.id not in images:
                raise ConfigError(
                    f"{self.workspace}: candidate {candidate.id} is not aligned; run: ggt100k align {self.workspace}"
                )
            yield Pair(
                photo=photos[candidate.key],
                candidate=candidate,
                image=images[candidate.id],
                scores=tuple(scores.get(candidate.id, ())),
                verdict=verdicts[candidate.id],
            )

    def funnel(self) -> tuple[Stage, ...]:
        """How many entered each stage, how many left it, and why the others did not."""
        photos = self._count("SELECT 1, count(*) FROM photo")
        refused = self._count("SELECT reason, count(*) FROM refusal GROUP BY reason")
        made = self._count("SELECT 1, count(*) FROM candidate WHERE image != ''")
        empty = self._count(
            f"SELECT reason, count(*) FROM candidate WHERE image = '' AND reason != '{IN_FLIGHT}' GROUP BY reason"
        )
        aligned = self._count("SELECT 1, count(*) FROM aligned WHERE image != ''")
        astray = self._count("SELECT reason, count(*) FROM aligned WHERE image = '' GROUP BY reason")
        judged = "FROM verdict WHERE stage NOT IN ('restore', 'align')"
        kept = self._count(f"SELECT 1, count(*) {judged} AND decision = 'keep'")
        out = self._count(f"SELECT reason, count(*) {judged} AND decision != 'keep' GROUP BY reason")
        return (
            _stage("ingest", photos.total(), refused),
            _stage("restore", made.total(), empty),
            _stage("align", aligned.total(), astray),
            _stage("verdict", kept.total(), out),
        )

    def _count(self, sql: str) -> Counter[str]:
        return Counter({name: count for name, count in self._db.execute(sql)})

    def standing(self) -> tuple[Standing, ...]:
        """How far it is by class and, below each, by restorer, with what that cost."""
        photos = self._count("SELECT degradation, count(*) FROM photo GROUP BY 1")
        rows = self._db.execute(
            f"""
            SELECT p.degradation, c.restorer, c.strategy, count(*) AS candidates,
                sum(c.image != '') AS made, sum(c.image = '' AND c.reason = '{IN_FLIGHT}') AS in_flight,
                sum(c.image = '' AND c.reason != '{IN_FLIGHT}') AS failed, sum(v.decision IS 'keep') AS kept,
                sum(v.decision IS 'reject' AND c.image != '') AS rejected, sum(v.decision IS 'unsure') AS unsure,
                total((SELECT total(usd) FROM call WHERE call.work = c.id)) AS usd
            FROM candidate c JOIN photo p USING (key) LEFT JOIN verdict v ON v.candidate = c.id
            GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
            """
        )
        return tuple(Standing(photos=photos[row["degradation"]], **dict(row)) for row in rows)

    def classes(self) -> list[tuple[str, int, int, int, int, int]]:
        """By class: photographs, and of how many of them a candidate was made, kept, only rejected, only unsure."""
        sql = """
            SELECT degradation, count(*), sum(made), sum(best = 3), sum(best = 1), sum(best = 2) FROM (
                SELECT p.degradation, max(c.image IS NOT NULL AND c.image != '') AS made,
                    max(CASE v.decision WHEN 'keep' THEN 3 WHEN 'unsure' THEN 2 WHEN 'reject' THEN 1 ELSE 0 END) AS best
                FROM photo p LEFT JOIN candidate c USING (key) LEFT JOIN verdict v ON v.candidate = c.id GROUP BY p.key
            ) GROUP BY 1 ORDER BY 1
        """
        return [tuple(row) for row in self._db.execute(sql)]

    def outcomes(self) -> list[tuple[str, str, str, int, float]]:
        """Calls by stage, model and outcome: how many, and what they cost in USD."""
        sql = "SELECT stage, model, outcome, count(*), total(usd) FROM call GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        return [tuple(row) for row in self._db.execute(sql)]

    def lock(self) -> AbstractContextManager[object]:
        """Held while a verb pays for things: two of them side by side would pay twice. ConfigError where it is held."""
        from filelock import FileLock, Timeout

        try:
            return FileLock(self.workspace / "paying.lock").acquire(blocking=False)
        except Timeout as fault:
            raise ConfigError(
                f"{self.workspace}: another ggt100k that pays is at work in it; wait for its end, or stop it"
            ) from fault

    def spent(self) -> float:
        """What all calls cost in USD, those whose end is not known at the most that they may."""
        return float(self._db.execute("SELECT total(usd) FROM call").fetchone()[0])


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The images of a workspace, by the SHA-256 of their files."""

    store: Store

    @staticmethod
    def place(name: str) -> str:
        return f"images/{name[:2]}/{name}"

    def image(self, name: str) -> bytes:
        """The bytes of an image. Raises ShardError where they are not what their name says."""
        try:
            data = self.store.read(self.place(name))
        except FileNotFoundError as fault:
            raise self._missing(name) from fault
        if hashlib.sha256(data).hexdigest() != name:
            raise ShardError(
                f"{self._path(name)}: its bytes are not those that were stored; restore the workspace from its backup"
            )
        return data

    def image_size(self, name: str) -> int:
        try:
            return self.store.size(self.place(name))
        except FileNotFoundError as fault:
            raise self._missing(name) from fault

    def put(self, data: bytes) -> str:
        """Stores an image file, whole, and returns its name: the SHA-256 of its bytes. Any process may."""
        name = hashlib.sha256(data).hexdigest()
        if not self.store.has(self.place(name)):
            self.store.write(self.place(name), data)
        return name

    def _path(self, name: str) -> str:
        return f"{self.store.root}/{self.place(name)}"

    def _missing(self, name: str) -> ShardError:
        return ShardError(
            f"{self._path(name)}: the ledger names it and it is not there; restore the workspace from its backup"
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


def _place(workspace: Path, images: str) -> Store:
    """Where the images lie: in the workspace, or where its file `images.url` says."""
    note = workspace / "images.url"
    workspace.mkdir(parents=True, exist_ok=True)
    if note.exists():
        found = note.read_text(encoding="utf-8").strip()
        if images not in ("", found):
            raise ConfigError(f"{workspace}: its images lie at {found}, not at {images}; leave the option out")
        return Store(found)
    if images:
        if (workspace / "images").exists():
            raise ConfigError(f"{workspace}: has its images in it; only a new workspace can have them elsewhere")
        root = images if "://" in images else str(Path(images).resolve())
        write_whole(note, (root + "\n").encode())
        return Store(root)
    (workspace / "images").mkdir(exist_ok=True)
    return Store(str(workspace))


def _stage(name: str, left: int, reasons: Counter[str]) -> Stage:
    return Stage(stage=name, entered=left + reasons.total(), left=left, reasons=tuple(sorted(reasons.items())))


def _table(kind: type) -> str:
    return kind.__name__.lower()


def _sql_type(hint: object) -> str:
    return {int: "INTEGER NOT NULL", float: "REAL"}.get(hint, "TEXT NOT NULL")  # type: ignore[call-overload,no-any-return]
