"""The file `ledger.sqlite`: opened for writing where that may be, else for reading, and what is said of its faults."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.workspace.locks import holder, why_unwritable

WAIT = 60.0  # seconds for a lock that another process holds
BESIDE = ("-wal", "-shm")  # files that SQLite keeps beside a database


@dataclass(frozen=True, slots=True)
class Database:
    """An open database. `unwritable`: which file cannot be written, and why; "" where all can."""

    connection: sqlite3.Connection
    unwritable: str
    copied_to: tempfile.TemporaryDirectory[str] | None = None

    def close(self) -> None:
        self.connection.close()
        if self.copied_to is not None:
            self.copied_to.cleanup()


def open_database(file: Path, version: int) -> Database:
    """Opens the database, which is made where it is not there and may be made.

    Where this user may not write it, or its folder, it is opened for reading as it stands. One that cannot be read that
    way, since its last writer left changes beside it or an earlier program of another schema `version` wrote it, is
    read from a copy in the folder for temporary files. Raises sqlite3.Error, OSError.
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
    """Which of the files that a change of the database writes cannot be written, and why; "" where all can."""
    files = [file, *(file.with_name(file.name + ending) for ending in BESIDE)]
    for path in (*files, file.parent):  # SQLite makes and removes files in its folder
        why = why_unwritable(path)
        if why:
            shown = path if path.exists() else path.parent
            return f"{shown}: cannot be written: {why}"
    return ""


def translated(file: Path, fault: sqlite3.Error) -> ConfigError:
    """An error of SQLite as one that names the file and what to do."""
    said = str(fault)
    if "locked" in said or "busy" in said:
        files = [file.with_name(file.name + ending) for ending in ("-shm", "", "-wal")]
        return ConfigError(f"{file}: is locked by {holder(*files)}. Wait for its end, or stop it, then run this again.")
    unwritable = write_fault(file)
    if unwritable and ("readonly" in said or "unable to open" in said):
        return cannot_write(unwritable)
    if "full" in said:
        return ConfigError(f"{file}: {said}. Make room on the disk, then run this again: it continues.")
    return ConfigError(f"{file}: {said}. Check the disk that it lies on, then run this again: it continues.")


def cannot_write(unwritable: str) -> ConfigError:
    return ConfigError(
        f"{unwritable}. Change its owner or its permissions, or copy the whole workspace to where you may write."
    )
