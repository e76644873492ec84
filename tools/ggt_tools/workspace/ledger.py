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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, get_type_hints

import numpy as np
import numpy.typing as npt

from ggt_format.files import make_folder
from ggt_format.files import sync_folder as sync_folder  # many modules import these two from here
from ggt_format.files import write_whole as write_whole
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.records import (
    ALIGN_SCORES,
    IN_FLIGHT,
    Adopted,
    Aligned,
    Call,
    Candidate,
    Choice,
    Classed,
    Conversion,
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
    of_json,
    to_row,
)
from ggt_tools.workspace import funnel as tallies
from ggt_tools.workspace import score_table, verdict_table
from ggt_tools.workspace.database import cannot_write, open_database, translated
from ggt_tools.workspace.locks import held, why_unwritable
from ggt_tools.workspace.store import Store
from ggt_tools.workspace.verdict_table import Verdicts, by_columns, to_verdict_row

Fact = (
    Photo | Refusal | Seen | Conversion | Classed | Prompt | Candidate | Call | Job | Aligned | Score | Opinion
    | Withdrawal | Decision | Study | Entry | Choice | Held | Adopted
)  # fmt: skip
SCHEMA_VERSION = 7
AT_ONCE = 10_000  # rows
WORKED_ON = "SELECT key FROM candidate UNION SELECT key FROM prompt"
# Each kind of record is a table; these columns tell two of its rows apart.
KEYS: dict[type, tuple[str, ...]] = {
    Photo: ("key",),
    Refusal: ("file",),
    Seen: ("key", "place"),
    Conversion: ("key", "candidate"),
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
REPLACED = (Refusal, Seen, Conversion, Call, Job, Aligned, Opinion)
# What brings a ledger of a version to the next one; tables that are new are made in any case.
MIGRATIONS = {
    1: (
        "ALTER TABLE candidate ADD COLUMN maker TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE candidate ADD COLUMN frame TEXT NOT NULL DEFAULT '[]'",
    ),
    2: (),
    3: ("ALTER TABLE score RENAME TO score_3", "ALTER TABLE verdict RENAME TO verdict_3"),
    4: (),
    5: (),
    6: (),
}
# Columns of `aligned` that version 6 added.
ALIGNED_6 = {
    **dict.fromkeys(("error", "support", "scatter", "motion", "improvement", "offset"), "REAL"),
    **dict.fromkeys(("colour_before", "colour_after"), "REAL"),
    "colour": "TEXT NOT NULL DEFAULT '[]'",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Docket:
    """All candidates of some photographs, and what is known of them, by columns: first the n that may be judged."""

    candidates: Sequence[str]  # (n,)
    keys: Sequence[str]  # of all: those that may be judged, then those of which something is under way
    photos: npt.NDArray[np.int64]  # of all the places of their photographs in `seen`
    facts: tallies.Part  # of all, and
    outcomes: tallies.Part  # of all: both parts of their cases
    measured: dict[str, npt.NDArray[np.float64]]  # by metric (n,), NaN where not; align's findings among them
    seen: dict[str, tuple[str, ...]]  # by key: the class, then all that is seen in it
    lost: dict[str, tuple[str, str]]  # by candidate that is not there, or not in its photograph's frame: stage, reason

    def tally(self, verdicts: Verdicts) -> tallies.Tally:
        """What changes of the tallies where the candidates get these verdicts."""
        kinds, before = self.outcomes
        said = [*kinds, *(outcome[1:4] for outcome in verdicts.outcomes)]
        of = np.concatenate([np.array(verdicts.of, np.int64) + len(kinds), before[len(self.candidates) :]])
        after = tallies.tally(self.photos, self.facts, tallies.Part(said, of))
        after.subtract(tallies.tally(self.photos, self.facts, self.outcomes))
        return after


class Ledger:
    """The facts of one workspace. `with Ledger(folder) as ledger:` opens it, and makes it where `create` says so."""

    def __init__(self, workspace: Path, *, create: bool = False, images: str = "") -> None:
        """`images`: a folder or an fsspec URL where the images of a new workspace are to lie, where not in itself."""
        self.workspace = workspace
        file = workspace / "ledger.sqlite"
        try:
            is_there = file.exists()
        except OSError as fault:  # the folder above it may not be entered
            raise ConfigError(
                f"{workspace}: cannot be read: {fault.strerror}. Give read permission, or name another folder."
            ) from fault
        if not is_there and not create:
            raise ConfigError(
                f"{workspace}: no ledger.sqlite, so no workspace; begin one: ggt100k ingest PHOTOS {workspace}"
            )
        try:
            self.store = _place(workspace, images)
            self._database = open_database(file, SCHEMA_VERSION)
            self._db = self._database.connection
        except OSError as fault:
            why = "it is a file" if workspace.is_file() else fault.strerror or fault
            raise ConfigError(f"{workspace}: cannot be a workspace: {why}. Name another folder.") from fault
        except sqlite3.OperationalError as fault:
            raise translated(file, fault) from fault
        try:
            self._open(file)
        except BaseException as fault:
            self._database.close()
            if isinstance(fault, sqlite3.OperationalError):
                raise translated(file, fault) from fault
            if type(fault) is sqlite3.DatabaseError:  # no database, or a damaged one; its subclasses are other faults
                raise ConfigError(f"{file}: cannot be read: {fault}; restore the workspace from its backup") from fault
            raise

    def _open(self, file: Path) -> None:
        self._db.row_factory = sqlite3.Row
        if not self.unwritable:
            self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")  # a paid result survives a power cut, not only a kill
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found == SCHEMA_VERSION:  # nothing to write, so a reader need not wait for the writer
            return
        if found > SCHEMA_VERSION:
            raise ConfigError(
                f"{file}: schema version {found}, this ggt100k reads {SCHEMA_VERSION}; install the one that wrote it"
            )
        with _Transaction(self._db, file):  # where the ledger cannot be written this is a copy of it
            found = self._db.execute("PRAGMA user_version").fetchone()[0]  # another may have been faster
            for version in range(found, SCHEMA_VERSION) if found else ():
                for statement in MIGRATIONS[version]:
                    self._db.execute(statement)
            for kind, keys in KEYS.items():
                if kind in (Score, Verdict):  # views; score_table and verdict_table have the tables
                    continue
                columns = ", ".join(f'"{name}" {_sql_type(hint)}' for name, hint in get_type_hints(kind).items())
                self._db.execute(
                    f"CREATE TABLE IF NOT EXISTS {_table(kind)} ({columns}, PRIMARY KEY ({', '.join(keys)}))"
                )
            self._db.execute("CREATE TABLE IF NOT EXISTS gates (id TEXT PRIMARY KEY, text TEXT)")
            self._db.execute("CREATE INDEX IF NOT EXISTS call_work ON call (work)")
            self._db.execute("CREATE INDEX IF NOT EXISTS candidate_key ON candidate (key)")
            self._db.execute("CREATE INDEX IF NOT EXISTS call_outcome ON call (stage, model, outcome, usd)")
            self._db.execute("CREATE INDEX IF NOT EXISTS refusal_reason ON refusal (reason)")
            for statement in (*score_table.TABLES, *verdict_table.TABLES, tallies.TABLE):
                self._db.execute(statement)
            if 0 < found < 6:
                there = {row[1] for row in self._db.execute("PRAGMA table_info(aligned)")}
                for name in ALIGNED_6.keys() - there:
                    self._db.execute(f"ALTER TABLE aligned ADD COLUMN {name} {ALIGNED_6[name]}")
            if 0 < found < 4:
                score_table.add_rows(self._db, self._plain("SELECT * FROM score_3 ORDER BY candidate, rowid"))
                verdicts = verdict_table.rows_of(self._plain("SELECT * FROM verdict_3 ORDER BY rowid"))
                while some := list(islice(verdicts, AT_ONCE)):
                    verdict_table.put_verdicts(self._db, by_columns(some))
                for table in ("score_3", "verdict_3"):
                    self._db.execute(f"DROP TABLE {table}")
                self.recount()
            if 0 < found < 5:
                # Perceptual hashes of version 1 depended on the processor. Those of the photographs are computed anew
                # (ingest.looks.stored_hashes); those of published pairs are emptied, and ingest asks for the release.
                self._db.execute("DELETE FROM seen WHERE place = ''")
                self._db.execute("UPDATE seen SET phash = ''")
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    @property
    def unwritable(self) -> str:
        """Which file of the ledger this user cannot write, and why: it is for reading alone then. "" where all can."""
        return self._database.unwritable

    def _transaction(self) -> _Transaction:
        if self.unwritable:
            raise cannot_write(self.unwritable)
        return _Transaction(self._db, self.workspace / "ledger.sqlite")

    def add(self, *records: Fact) -> None:
        """Adds facts, all or none. A fact that is there already stays as it is.

        What tells how something stands (REPLACED, and a candidate without an image) gives way to what is newer.
        """
        with self._transaction(), tallies.counted(self._db, self._touched(records)):
            for record in records:
                if not isinstance(record, Score):
                    self._insert(record)
                if isinstance(record, Photo):
                    self._db.execute("DELETE FROM refusal WHERE file = ?", (record.file,))
            score_table.add_scores(self._db, (record for record in records if isinstance(record, Score)))

    def replace_photos(self, keys: Sequence[str], *records: Fact) -> None:
        """Adds facts, and removes the photographs of these keys, all or none. One that was worked on stays."""
        named = json.dumps(list(keys))
        sql = f"SELECT value FROM json_each(?) WHERE value NOT IN ({WORKED_ON})"
        with self._transaction(), tallies.counted(self._db, self._touched(records) | set(keys)):
            removed = json.dumps([key for (key,) in self._db.execute(sql, (named,))])
            for where in ("photo WHERE", "seen WHERE place = '' AND", "conversion WHERE candidate = '' AND"):
                self._db.execute(f"DELETE FROM {where} key IN (SELECT value FROM json_each(?))", (removed,))
            for record in records:
                self._insert(record)
                if isinstance(record, Photo):
                    self._db.execute("DELETE FROM refusal WHERE file = ?", (record.file,))

    def frames(self) -> dict[str, tuple[int, ...]]:
        """By key the frame of each photograph of which ingest noted one, as Conversion has it."""
        return {one.key: one.frame for one in self.all(Conversion) if not one.candidate}

    def worked_on(self) -> set[str]:
        """The keys of the photographs of which a stage after ingest has a fact."""
        return {key for (key,) in self._db.execute(WORKED_ON)}

    def recount(self) -> None:
        """Makes the tallies of `status` anew, of all facts: only for who writes to the file itself."""
        self._db.execute("DELETE FROM tally")
        keys = [key for (key,) in self._db.execute("SELECT key FROM photo UNION SELECT key FROM candidate")]
        for at in range(0, len(keys), AT_ONCE):
            tallies.change(self._db, tallies.tally_of(self._db, keys[at : at + AT_ONCE]))

    def _touched(self, records: Iterable[Fact]) -> set[str]:
        """The keys of the photographs whose cases these records change."""
        keys = {record.key for record in records if isinstance(record, Photo | Candidate)}
        named = [r.candidate if isinstance(r, Aligned) else r.work for r in records if isinstance(r, Aligned | Call)]
        calls = [record.id for record in records if isinstance(record, Call)]  # of other work before, it may be
        sql = "SELECT work FROM call WHERE id IN (SELECT value FROM json_each(?))"
        named += [work for (work,) in self._db.execute(sql, (json.dumps(calls),))]
        return keys | self._keys_of(named)

    def _keys_of(self, candidates: Iterable[str]) -> set[str]:
        sql = "SELECT key FROM candidate WHERE id IN (SELECT value FROM json_each(?))"
        return {key for (key,) in self._db.execute(sql, (json.dumps(list(candidates)),))}

    def judge(self, gate: str, text: str, verdicts: Iterable[Verdict]) -> None:
        """Replaces the verdicts on these candidates: they are the policy `text` applied, not facts."""
        with self._judging(gate, text):
            rows = map(to_verdict_row, verdicts)
            while some := list(islice(rows, AT_ONCE)):
                with tallies.counted(self._db, self._keys_of(row[0] for row in some)):
                    verdict_table.put_verdicts(self._db, by_columns(some))

    def judge_parts(self, gate: str, text: str, parts: Iterable[tuple[Verdicts, tallies.Tally]]) -> None:
        """As judge(); of each part the verdicts, and Docket.tally() of them.

        The dockets are to be read after `parts` is begun: from then on nobody else writes.
        """
        with self._judging(gate, text):
            for verdicts, changed in parts:
                verdict_table.put_verdicts(self._db, verdicts)
                tallies.change(self._db, changed)

    def _remember(self, bytes: int) -> None:
        """Keeps pages in memory that are read or written again, for what goes through very many candidates."""
        self._db.execute(f"PRAGMA cache_size={-bytes // 1024}")

    @contextmanager
    def _judging(self, gate: str, text: str) -> Iterator[None]:
        self._remember(256 << 20)  # the index of ten million verdicts, whose pages are written in no order
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO gates VALUES (?, ?)", (gate, text))
            yield

    def _insert(self, record: Fact) -> None:
        row, table = to_row(record), _table(type(record))
        columns = ", ".join(f'"{name}"' for name in row)  # some are words of SQL
        conflict = "REPLACE" if isinstance(record, REPLACED) else "IGNORE"
        if isinstance(record, Candidate):
            self._db.execute("DELETE FROM candidate WHERE id = ? AND image = ''", (record.id,))
        if isinstance(record, Aligned):  # scores of other pixels say nothing of these
            self._db.execute(
                "DELETE FROM scores WHERE candidate = ? AND (SELECT image FROM aligned WHERE candidate = ?) != ?",
                (record.candidate, record.candidate, record.image),
            )
        self._db.execute(
            f"INSERT OR {conflict} INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})",
            tuple(row.values()),
        )

    def all(self, kind: type[Record]) -> Iterator[Record]:
        """Every record of a kind, in the order of its key."""
        if kind is Score:
            for candidate, found in score_table.read_scores(self._db, "ORDER BY s.candidate"):
                for metric, version, value in sorted(found, key=itemgetter(0, 1)):
                    row = (candidate, metric, version, value)
                    yield from_row(kind, dict(zip(kind.__dataclass_fields__, row, strict=True)))
            return
        if kind is Verdict:
            sql = f"SELECT {verdict_table.ROW} FROM verdicts v JOIN outcome o ON o.id = v.outcome ORDER BY v.candidate"
            judged: Iterator[Any] = map(verdict_table.to_verdict, self._plain(sql))
            yield from judged
            return
        order = ", ".join(KEYS[kind])
        for row in self._db.execute(f"SELECT * FROM {_table(kind)} ORDER BY {order}"):
            yield from_row(kind, dict(row))

    def scores(self) -> dict[str, dict[str, float]]:
        """All that was measured of each candidate, by metric: the newest version's value, and align's findings."""
        found: dict[str, dict[str, float]] = {}
        columns = ", ".join(ALIGN_SCORES.values())
        sql = f"SELECT candidate, {columns} FROM aligned WHERE image != ''"
        for candidate, *values in self._db.execute(sql):
            known = (math.nan if value is None else value for value in values)
            found[candidate] = dict(zip(ALIGN_SCORES, known, strict=True))
        for candidate, scores in score_table.read_scores(self._db, ""):
            found.setdefault(candidate, {}).update((metric, value) for metric, _, value in scores)
        return found

    def rows(self, kind: type[Record], most: int) -> Iterator[list[tuple[str | int | float | None, ...]]]:
        """Every row of a kind, so many at a time, in the order in which they were added; scores by candidate."""
        names = ", ".join(f'"{name}"' for name in kind.__dataclass_fields__)
        rows: Iterator[tuple[str | int | float | None, ...]]
        if kind is Score:
            found = score_table.read_scores(self._db, "ORDER BY s.rowid")
            rows = ((candidate, *score) for candidate, scores in found for score in scores)
        else:
            rows = self._plain(f"SELECT {names} FROM {_table(kind)} ORDER BY rowid")
        while some := list(islice(rows, most)):
            yield some

    def shares(self, photographs: int) -> list[tuple[str, str]]:
        """The keys in parts of so many photographs: from the first of each up to, and without, the second."""
        numbered = "SELECT key, row_number() OVER (ORDER BY key) AS number FROM photo"
        sql = f"SELECT key FROM ({numbered}) WHERE number % {photographs} = {1 % photographs} ORDER BY key"
        firsts = [key for (key,) in self._plain(sql)]
        return list(zip(firsts, [*firsts[1:], "\U0010ffff"], strict=False))  # of none there is none

    def docket(self, first: str, end: str) -> Docket:
        """What is to be judged of the photographs from one key up to, and without, another."""
        if not self._db.in_transaction:
            self._remember(64 << 20)
            self._db.execute(f"PRAGMA mmap_size={1 << 40}")  # as far as SQLite maps a file, read without a copy
        photos = self._plain(
            "SELECT key, degradation, degradations FROM photo WHERE key >= ? AND key < ? ORDER BY key", first, end
        ).fetchall()
        place_of = {row[0]: place for place, row in enumerate(photos)}
        # in the order of their ids, as each lookup then finds most of the pages that it wants read already
        measured = ", ".join(f"a.{column}" for column in ALIGN_SCORES.values())
        found = self._plain(
            f"""SELECT c.id, c.key, c.restorer, c.strategy, c.image != '', c.reason, a.image != '', a.reason, v.outcome,
                {measured}, s.layout, s."values"
            FROM (SELECT c.id, c.rowid AS place FROM photo p CROSS JOIN candidate c ON c.key = p.key
                WHERE p.key >= ? AND p.key < ? ORDER BY c.id LIMIT -1) o
            CROSS JOIN candidate c ON c.rowid = o.place LEFT JOIN aligned a ON a.candidate = o.id
            LEFT JOIN verdicts v ON v.candidate = o.id LEFT JOIN scores s ON s.candidate = o.id""",
            first, end,
        ).fetchall()  # fmt: skip
        ready = [row for row in found if row[5] != IN_FLIGHT]
        rows = ready + [row for row in found if row[5] == IN_FLIGHT] if len(ready) < len(found) else ready
        candidates, keys, restorers, strategies, made, empty, aligned, astray, outcomes, *of_align, layouts, texts = (
            zip(*rows, strict=True) if rows else [()] * (11 + len(ALIGN_SCORES))
        )
        count = len(ready)
        of = list(map(place_of.__getitem__, keys))
        degradations = [row[1] for row in photos]
        judged: dict[int | None, tuple[Any, ...]] = {None: (None, None, None)}
        judged |= {id: tuple(said) for id, *said in self._plain("SELECT id, decision, stage, reason FROM outcome")}
        known = np.array(of_align, float)[:, :count]
        known[:, [not there for there in aligned[:count]]] = np.nan
        lost = {row[0]: ("restore", row[5] or "no_image") for row in ready if not row[4]}
        lost |= {row[0]: ("align", row[7]) for row in ready if row[6] == 0}
        return Docket(
            candidates=candidates[:count],
            keys=keys,
            photos=np.array(of, np.int64),
            facts=tallies.part(
                zip(map(degradations.__getitem__, of), restorers, strategies, made, empty, aligned, astray, strict=True)
            ),
            outcomes=tallies.part(map(judged.__getitem__, outcomes)),
            measured=score_table.by_metric(
                self._db, layouts[:count], texts[:count],
                dict(zip(ALIGN_SCORES, known, strict=True)),
            ),
            seen={key: of_json(texts) for key, _, texts in photos},
            lost=lost,
        )  # fmt: skip

    def _plain(self, sql: str, *values: str) -> sqlite3.Cursor:
        """Rows as tuples, for what reads very many."""
        cursor = self._db.cursor()
        cursor.row_factory = None
        return cursor.execute(sql, values)

    def withdrawn(self) -> dict[str, str]:
        """The keys of the pairs that are to be in no further version, each with the first reason that was given."""
        rows = self._db.execute("SELECT key, reason FROM withdrawal ORDER BY rowid DESC")
        return {key: reason for key, reason in rows}

    def must_stay(self) -> dict[str, str]:
        """Why photographs may not be passed on, by key: of the set that they were adopted with."""
        return {each.key: f"{each.local_only} of set {each.set}" for each in self.all(Adopted) if each.local_only}

    def query(self, sql: str, *values: str | int | float) -> list[sqlite3.Row]:
        """The rows of a SELECT, for views of the facts that no method here gives."""
        return self._db.execute(sql, values).fetchall()

    def gates(self) -> list[str]:
        """The ids of the gates whose verdicts stand."""
        sql = "SELECT DISTINCT gate FROM outcome WHERE id IN (SELECT DISTINCT outcome FROM verdicts) ORDER BY gate"
        return [gate for (gate,) in self._db.execute(sql)]

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
        if not self._db.execute("SELECT 1 FROM verdicts LIMIT 1").fetchone():
            raise ConfigError(f"{self.workspace}: nothing has been judged; run: ggt100k verdict {self.workspace}")
        names = [f'{kind.__name__[0]}."{name}"' for kind in (Photo, Candidate) for name in kind.__dataclass_fields__]
        rows = self._plain(
            f"""SELECT a.image, l.metrics, s."values", {verdict_table.ROW}, {", ".join(names)}
            FROM candidate c JOIN verdicts v ON v.candidate = c.id JOIN outcome o ON o.id = v.outcome
            JOIN photo p ON p.key = c.key LEFT JOIN aligned a ON a.candidate = c.id
            LEFT JOIN scores s ON s.candidate = c.id LEFT JOIN layout l ON l.id = s.layout
            WHERE o.decision = 'keep' ORDER BY c.key, c.id"""
        )
        for image, metrics, texts, *values in rows:
            judged, facts = values[:7], iter(values[7:])
            photo, candidate = _next(Photo, facts), _next(Candidate, facts)
            if image is None:
                raise ConfigError(
                    f"{self.workspace}: candidate {candidate.id} is not aligned; run: ggt100k align {self.workspace}"
                )
            yield Pair(
                photo=photo,
                candidate=candidate,
                image=image,
                scores=_newest(candidate.id, score_table.scores_of(metrics, texts)) if metrics else (),
                verdict=verdict_table.to_verdict((judged[0], *map(_shared, judged[1:6]), judged[6])),
            )

    def scores_of(self, candidate: str) -> tuple[Score, ...]:
        """What was measured of a candidate, by metric: the newest version's."""
        rows = score_table.read_scores(self._db, "WHERE s.candidate = ?", candidate)
        return next((_newest(candidate, found) for _, found in rows), ())

    def funnel(self) -> tuple[Stage, ...]:
        """How many entered each stage, how many left it, and why the others did not."""
        refused = self._db.execute("SELECT reason, count(*) FROM refusal GROUP BY reason")
        return tallies.Tallies(self._db).funnel(Counter({reason: count for reason, count in refused}))

    def standing(self) -> tuple[tallies.Standing, ...]:
        """How far it is by class and, below each, by restorer, with what that cost."""
        return tallies.Tallies(self._db).standing()

    def classes(self) -> list[tuple[str, int, int, int, int, int]]:
        """By class: photographs, and of how many of them a candidate was made, kept, only rejected, only unsure."""
        return tallies.Tallies(self._db).classes()

    def outcomes(self) -> list[tuple[str, str, str, int, float]]:
        """Calls by stage, model and outcome: how many, and what they cost in USD."""
        sql = "SELECT stage, model, outcome, count(*), total(usd) FROM call GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        return [tuple(row) for row in self._db.execute(sql)]

    def lock(self) -> AbstractContextManager[object]:
        """Held while a verb pays for things: two of them side by side would pay twice. ConfigError where it is held."""
        if self.unwritable:
            raise cannot_write(self.unwritable)
        return held(
            self.workspace / "paying.lock",
            f"{self.workspace}: {{holder}} makes paid calls for it. Wait for its end, or stop it, then run this again.",
        )

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
    """BEGIN IMMEDIATE to COMMIT, or to ROLLBACK where something was raised. Errors of SQLite name the file."""

    def __init__(self, db: sqlite3.Connection, file: Path) -> None:
        self._db, self._file = db, file

    def __enter__(self) -> None:
        self._execute("BEGIN IMMEDIATE")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._execute("COMMIT")
        elif self._db.in_transaction:  # a full disk has rolled it back already
            self._execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise translated(self._file, error) from error

    def _execute(self, statement: str) -> None:
        try:
            self._db.execute(statement)
        except sqlite3.OperationalError as fault:
            if self._db.in_transaction and statement == "COMMIT":
                self._db.execute("ROLLBACK")
            raise translated(self._file, fault) from fault


def _place(workspace: Path, images: str) -> Store:
    """Where the images lie: in the workspace, or where its file `images.url` says."""
    note = workspace / "images.url"
    if not workspace.is_dir():
        workspace.mkdir(parents=True)
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
    if not (workspace / "images").is_dir() and not why_unwritable(workspace / "images"):
        (workspace / "images").mkdir()
    return Store(str(workspace))


_shared = lru_cache(4096)(str)  # the same text is one object: most licences, restorers and prompts are alike


def _next(kind: type[Record], values: Iterator[Any]) -> Record:
    row = zip(kind.__dataclass_fields__, values, strict=False)
    return from_row(kind, {name: _shared(value) if type(value) is str else value for name, value in row})


def _newest(candidate: str, found: Iterable[tuple[str, str, float]]) -> tuple[Score, ...]:
    last = {metric: (version, value) for metric, version, value in found}  # in the order in which they were added
    return tuple(
        Score(candidate=candidate, metric=metric, metric_version=version, value=value)
        for metric, (version, value) in sorted(last.items())
    )


def _table(kind: type) -> str:
    return kind.__name__.lower()


def _sql_type(hint: object) -> str:
    return {int: "INTEGER NOT NULL", float: "REAL"}.get(hint, "TEXT NOT NULL")  # type: ignore[call-overload,no-any-return]
