"""The ledger of a workspace: `ledger.sqlite` with every fact, and the images beside it.

One process writes, many read (SQLite in WAL mode). An image is on disk before the row that names it, and a row is
committed before the next work begins, so a kill loses the work in flight and nothing else.

    schema.py             tables and migrations
    facts.py              adding and reading records
    images.py             images and what just arrived
    queries.py            questions by name; candidate_queries.py those of the review page
    batches.py funnel.py  candidates as arrays for the gate, and the counts of `status`
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import TracebackType

from ggt_format.files import sync_folder as sync_folder  # many modules import these two from here
from ggt_format.files import write_whole as write_whole
from ggt_tools.errors import ConfigError
from ggt_tools.records import Candidate, DataclassRecord, Pair, Record, Score, Stage, Verdict
from ggt_tools.workspace import batches, candidate_queries, facts, funnel, queries, schema, verdict_table
from ggt_tools.workspace.candidate_queries import CandidateFilter, ListedCandidate
from ggt_tools.workspace.database import Transaction, cannot_write, open_database, translated
from ggt_tools.workspace.funnel import FunnelCounts, RestorerCounts, StateCounts
from ggt_tools.workspace.images import ImageFolder as ImageFolder
from ggt_tools.workspace.images import IncomingFolder, open_store
from ggt_tools.workspace.locks import lock_workspace
from ggt_tools.workspace.verdict_table import Verdicts


class Ledger:
    """The facts of one workspace: `with Ledger(folder) as ledger:`."""

    def __init__(self, workspace: Path, *, create: bool = False, images: str = "") -> None:
        """Open a workspace.

        Args:
            workspace: Its folder.
            create: Create the workspace if it does not exist.
            images: Folder or fsspec URL for the images of a new workspace; "" for the workspace itself.

        Raises:
            ConfigError: There is no workspace, or it cannot be opened.
        """
        self.workspace = workspace
        file = workspace / "ledger.sqlite"
        try:
            exists = file.exists()
        except OSError as fault:  # the folder above it may not be entered
            raise ConfigError(
                f"{workspace}: cannot be read: {fault.strerror}. Give read permission, or name another folder."
            ) from fault
        if not exists and not create:
            raise ConfigError(
                f"{workspace}: has no ledger.sqlite, so it is not a workspace. "
                f"Create one: ggt100k ingest PHOTOS {workspace}"
            )
        if exists and not file.stat().st_size and any((workspace / "images").glob("*")):
            raise ConfigError(f"{file}: is empty, though the workspace has images. Restore it from its backup.")
        try:
            self.store = open_store(workspace, images)
            self._database = open_database(file, schema.SCHEMA_VERSION)
            self._db = self._database.connection
        except OSError as fault:
            why = "it is a file" if workspace.is_file() else fault.strerror or fault
            raise ConfigError(f"{workspace}: cannot be a workspace: {why}. Name another folder.") from fault
        except sqlite3.OperationalError as fault:
            raise translated(file, fault) from fault
        try:
            self._db.row_factory = sqlite3.Row
            if not self.unwritable:
                self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")  # a paid result survives a power cut, not only a kill
            schema.ensure_schema(self._db, file, is_writable=not self.unwritable)
        except BaseException as fault:
            self._database.close()
            if isinstance(fault, sqlite3.OperationalError):
                raise translated(file, fault) from fault
            if type(fault) is sqlite3.DatabaseError:  # no database, or a damaged one; its subclasses are other faults
                raise ConfigError(f"{file}: cannot be read: {fault}. Restore the workspace from its backup.") from fault
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    @property
    def unwritable(self) -> str:
        """Which file of the ledger this user cannot write, and why; then it can only be read. "" otherwise."""
        return self._database.unwritable

    def lock(self, stage: str, *, dry_run: bool = False) -> AbstractContextManager[object]:
        """Hold the lock of a stage, as lock_workspace() does; a dry run takes none, and leaves no file."""
        if dry_run:
            return nullcontext()
        self._require_writable()
        return lock_workspace(self.workspace, stage)

    def _require_writable(self) -> None:
        if self.unwritable:
            raise cannot_write(self.unwritable)

    def _transaction(self) -> Transaction:
        self._require_writable()
        return Transaction(self._db, self.workspace / "ledger.sqlite")

    # --- facts --------------------------------------------------------------------------------------------------------

    def add(self, *records: DataclassRecord) -> None:
        """Add facts, all or none. Each record class says whether a newer record replaces the stored one."""
        with self._transaction():
            facts.add(self._db, records)

    def replace_photos(self, keys: Sequence[str], *records: DataclassRecord) -> None:
        """Add facts and remove the photographs of these keys, all or none. One that a later stage used stays."""
        with self._transaction():
            facts.replace_photos(self._db, keys, records)

    def settle(self, *records: DataclassRecord) -> None:
        """Add facts, all or none; a candidate without image or reason gets the image that was received for it."""
        settled = [record for record in records if isinstance(record, Candidate) and not record.image + record.reason]
        images = {candidate.id: self._incoming.store_image(candidate.id) for candidate in settled}
        self.add(
            *(
                replace(record, image=images[record.id])
                if isinstance(record, Candidate) and record.id in images
                else record
                for record in records
            )
        )
        for candidate in settled:
            self._incoming.remove(candidate.id)

    def all(self, record_class: type[Record]) -> Iterator[Record]:
        """Iterate over every record of a class, in the order of its key."""
        return facts.read_all(self._db, record_class)

    def in_order(self, record_class: type[Record]) -> Iterator[Record]:
        """Iterate over every record of a class, in the order in which they were added. Not for scores and verdicts."""
        return facts.read_in_order(self._db, record_class)

    def find(self, record_class: type[Record], **values: str | int) -> list[Record]:
        """Return the records of a class whose fields have these values, in the order in which they were added."""
        return facts.find(self._db, record_class, **values)

    def rows(self, record_class: type[Record], size: int) -> Iterator[list[facts.SqlRow]]:
        """Iterate over the rows of a class in lists of `size`, in the order in which they were added."""
        return facts.read_rows(self._db, record_class, size)

    # --- verdicts -----------------------------------------------------------------------------------------------------

    def judge(self, gate: str, text: str, verdicts: Iterable[Verdict]) -> None:
        """Replace the verdicts on these candidates: they are the policy `text` applied, not facts."""
        with self._judging(gate, text):
            rows = map(verdict_table.to_verdict_row, verdicts)
            while chunk := list(islice(rows, schema.CHUNK)):
                with funnel.counting(self._db, facts.keys_of(self._db, (row[0] for row in chunk))):
                    verdict_table.put_verdicts(self._db, verdict_table.by_columns(chunk))

    def judge_parts(self, gate: str, text: str, parts: Iterable[tuple[Verdicts, StateCounts]]) -> None:
        """As judge(), for verdicts by columns, each part with CandidateBatch.count_changes() of them.

        Read the batches after `parts` has begun: from then on nobody else writes.
        """
        with self._judging(gate, text):
            for verdicts, changes in parts:
                verdict_table.put_verdicts(self._db, verdicts)
                funnel.add_counts(self._db, changes)

    @contextmanager
    def _judging(self, gate: str, text: str) -> Iterator[None]:
        self._cache_pages(256 << 20)  # the index of ten million verdicts, whose pages are written in no order
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO gates VALUES (?, ?)", (gate, text))
            yield

    def _cache_pages(self, size: int) -> None:
        """Keep `size` bytes of pages in memory, for work on very many candidates."""
        self._db.execute(f"PRAGMA cache_size={-size // 1024}")

    def candidate_batch(self, first: str, end: str) -> batches.CandidateBatch:
        """Return the candidates of the photographs from one key up to, and without, another."""
        if not self._db.in_transaction:
            self._cache_pages(64 << 20)
            self._db.execute(f"PRAGMA mmap_size={1 << 40}")  # as far as SQLite maps a file, read without a copy
        return batches.read_batch(self._db, first, end)

    def gates(self) -> list[str]:
        """Return the ids of the gates whose verdicts are stored."""
        return queries.gates(self._db)

    def gate_text(self, gate: str) -> str:
        """Return the text of the gate file with this id. Raises KeyError where none is stored."""
        text = queries.gate_text(self._db, gate)
        if text is None:
            raise KeyError(gate)
        return text

    def find_gate_text(self, gate: str) -> str | None:
        """Return the text of the gate file with this id; None where none is stored."""
        return queries.gate_text(self._db, gate)

    def pairs(self) -> Iterator[Pair]:
        """Iterate over what the gate keeps, in the order of the keys.

        Raises:
            ConfigError: Nothing has been judged, or a candidate that is kept is not aligned.
        """
        return queries.kept_pairs(self._db, self.workspace)

    # --- images -------------------------------------------------------------------------------------------------------

    @property
    def images(self) -> ImageFolder:
        """The images without the facts, for another process."""
        return ImageFolder(self.store)

    @property
    def _incoming(self) -> IncomingFolder:
        return IncomingFolder(self.workspace / "incoming", self.images)

    def put_image(self, data: bytes) -> str:
        """Store an image file and return its name: the SHA-256 of its bytes."""
        return self.images.put(data)

    def image(self, name: str) -> bytes:
        """Return the bytes of an image. Raises ShardError if they are not those that were stored."""
        return self.images.image(name)

    def image_size(self, name: str) -> int:
        """Return the size of an image file in bytes."""
        return self.images.image_size(name)

    def receive(self, work: str, data: bytes) -> None:
        """Write the image of a candidate to disk, before anything else happens. Any thread may call this."""
        self._incoming.receive(work, data)

    def received(self) -> list[str]:
        """Return the ids of the candidates whose image was received and not settled, because of a kill."""
        return self._incoming.works()

    def forget(self, work: str) -> None:
        """Remove what was received for a candidate that is done already."""
        self._incoming.remove(work)

    # --- queries by name ----------------------------------------------------------------------------------------------

    def data_version(self) -> int:
        """Return a number that changes when another process writes to the ledger."""
        return queries.data_version(self._db)

    def photo_keys(self) -> set[str]:
        """Return the keys of all photographs."""
        return queries.photo_keys(self._db)

    def frames(self) -> dict[str, tuple[int, ...]]:
        """Return the frame of each photograph for which ingest noted one, by key; see Conversion."""
        return queries.frames(self._db)

    def worked_on(self) -> set[str]:
        """Return the keys of the photographs of which a stage after ingest has a fact."""
        return queries.worked_on(self._db)

    def withdrawn(self) -> dict[str, str]:
        """Return the keys of the pairs that no further version may contain, each with the first reason given."""
        return queries.withdrawn(self._db)

    def must_stay(self) -> dict[str, str]:
        """Return why photographs of adopted sets must stay on this machine, by key."""
        return queries.local_only(self._db)

    def shares(self, photographs: int) -> list[tuple[str, str]]:
        """Divide the keys into ranges of so many photographs: from the first key up to, and without, the second."""
        return queries.key_ranges(self._db, photographs)

    def candidate_keys(self) -> dict[str, str]:
        """Return the key of the photograph of each candidate, by the id of the candidate."""
        return queries.candidate_keys(self._db)

    def reviewed_images(self) -> dict[str, str]:
        """Return the aligned image of each candidate on which a reviewer decided, by the id of the candidate."""
        return queries.reviewed_images(self._db)

    def candidates_with_score(self, metric: str) -> set[str]:
        """Return the ids of the candidates that have a score of this metric."""
        return queries.candidates_with_score(self._db, metric)

    def reviewers(self) -> list[str]:
        """Return the names of all reviewers who decided on a pair, sorted."""
        return queries.reviewers(self._db)

    def scores(self) -> dict[str, dict[str, float]]:
        """Return what was measured of each candidate, by metric: the newest version's value; align's too."""
        return queries.scores(self._db)

    def scores_of(self, candidate: str) -> tuple[Score, ...]:
        """Return what was measured of a candidate, by metric: the newest version's value."""
        return queries.scores_of(self._db, candidate)

    def count_candidates(self, selection: CandidateFilter) -> int:
        """Return the number of candidates that a filter selects."""
        return candidate_queries.count_candidates(self._db, selection)

    def list_candidates(self, selection: CandidateFilter, limit: int, offset: int = 0) -> list[ListedCandidate]:
        """Return the candidates that a filter selects, from `offset` on, at most `limit` of them."""
        return candidate_queries.list_candidates(self._db, selection, limit, offset)

    def list_keys(self, selection: CandidateFilter) -> list[str]:
        """Return the keys of the photographs of all candidates that a filter selects, each once."""
        return candidate_queries.list_keys(self._db, selection)

    def filter_choices(self) -> dict[str, list[str]]:
        """Return the values that a CandidateFilter can ask for: degradation, reason, restorer and metric."""
        return candidate_queries.filter_choices(self._db)

    def funnel(self) -> tuple[Stage, ...]:
        """Return how many entered each stage, how many left it, and why the others did not."""
        return queries.stages(self._db)

    def restorer_counts(self) -> tuple[RestorerCounts, ...]:
        """Return counts by class and, below each, by restorer and prompt strategy, with what that cost."""
        return FunnelCounts(self._db).restorers()

    def class_counts(self) -> list[tuple[str, int, int, int, int, int]]:
        """Return class, photographs, and of how many a candidate was made, kept, only rejected, only unsure."""
        return FunnelCounts(self._db).classes()

    def recount(self) -> None:
        """Compute the counts of `status` again from all facts: only for programs that write to the file themselves."""
        schema.recount(self._db)

    def call_counts(self) -> list[tuple[str, str, str, int, float]]:
        """Return stage, model and outcome of calls, each with their number and what they cost in USD."""
        return queries.call_counts(self._db)

    def spent(self) -> float:
        """Return what all calls cost in USD. A call whose end is not known counts with the most that it may cost."""
        return queries.spent(self._db)
