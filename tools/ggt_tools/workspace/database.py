"""The file `ledger.sqlite`: opened for writing if possible, else for reading; transactions; and messages of faults."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ggt_tools.errors import ConfigError
from ggt_tools.files.outputs import why_unwritable
from ggt_tools.workspace.locks import holder

WAIT = 60.0  # seconds for a lock that another process holds
BESIDE = ("-wal", "-shm")  # files that SQLite keeps beside a database


@dataclass(frozen=True, slots=True)
class Database:
    """An open database.

    Attributes:
        connection: Its connection.
        unwritable: Which file cannot be written, and why; "" if all can.
        copied_to: The folder of the copy that is read, if one had to be made.
    """

    connection: sqlite3.Connection
    unwritable: str
    copied_to: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        self.connection.close()
        if self.copied_to is not None:
            self.copied_to.cleanup()


def open_database(file: Path, version: int) -> Database:
    """Open the database, and create it if it does not exist.

    If this user cannot write it or its folder, it is opened for reading. If it cannot be read in place either, because
    its last writer left changes beside it or wrote another schema `version`, it is read from a copy in the folder for
    temporary files.

    Raises:
        sqlite3.Error: It cannot be opened.
        OSError: It cannot be opened or copied.
    """
    fault = write_fault(file)
    if not fault or not file.exists():
        return Database(sqlite3.connect(file, timeout=WAIT, isolation_level=None), "")
    uri = f"{file.resolve().as_uri()}?mode=ro"
    log = file.with_name(f"{file.name}-wal")
    has_log = log.exists() and log.stat().st_size > 0
    for address in (uri,) if has_log else (uri, f"{uri}&immutable=1"):  # immutable: the log would be passed over
        connection = sqlite3.connect(address, timeout=WAIT, isolation_level=None, uri=True)
        try:
            if connection.execute("PRAGMA user_version").fetchone()[0] == version:
                return Database(connection, fault)
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                connection.close()
                raise
        connection.close()
    folder = tempfile.TemporaryDirectory(prefix="ggt100k-ledger-")
    copy = Path(folder.name) / file.name
    for ending in ("", "-wal"):
        if file.with_name(file.name + ending).exists():
            shutil.copyfile(file.with_name(file.name + ending), f"{copy}{ending}")
    return Database(sqlite3.connect(copy, timeout=WAIT, isolation_level=None), fault, folder)


def write_fault(file: Path) -> str:
    """Return which of the files that a change of the database writes cannot be written, and why; "" if all can."""
    files = [file, *(file.with_name(file.name + ending) for ending in BESIDE)]
    for path in (*files, file.parent):  # SQLite makes and removes files in its folder
        why = why_unwritable(path)
        if why:
            shown = path if path.exists() else path.parent
            return f"{shown}: cannot be written: {why}"
    return ""


def translated(file: Path, fault: sqlite3.Error) -> ConfigError:
    """Return an error of SQLite as one that names the file and what to do."""
    message = str(fault)
    if "locked" in message or "busy" in message:
        files = [file.with_name(file.name + ending) for ending in ("-shm", "", "-wal")]
        return ConfigError(
            f"{file}: is locked by {holder(*files)}. Wait until it ends, or stop it, then run this again."
        )
    unwritable = write_fault(file)
    if unwritable and ("readonly" in message or "unable to open" in message):
        return cannot_write(unwritable)
    if "full" in message:
        return ConfigError(f"{file}: {message}. Free space on the disk, then run this again: it continues.")
    if "no such" in message:
        return ConfigError(
            f"{file}: {message}. The ledger lacks a column that a record declares. "
            "Raise SCHEMA_VERSION in workspace/schema.py."
        )
    return ConfigError(f"{file}: {message}. Check the disk, then run this again: it continues.")


def cannot_write(unwritable: str) -> ConfigError:
    """Return the error for a change of a ledger that can only be read."""
    return ConfigError(
        f"{unwritable}. Change its owner or its permissions, or copy the whole workspace to where you may write."
    )


class Transaction:
    """BEGIN IMMEDIATE to COMMIT, or to ROLLBACK after an exception. Errors of SQLite name the file."""

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
