"""Locks that one process holds on a workspace or a release, and which process that is."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.files.outputs import why_unwritable

COMMAND_LENGTH = 80  # characters of a command that a message shows
UNKNOWN = "another process"
PAYING = "paying"  # the lock of all stages that make paid calls: one budget holds for all of them
IMPORT = "import"  # the lock of ingest and adopt: each compares photographs with those that are there


@contextlib.contextmanager
def held(path: Path, taken: str, *, remove: bool = False) -> Iterator[None]:
    """Holds the lock file `path`, alone.

    Args:
        path: The lock file. Beside it lies a note on who holds it, for other machines and systems.
        taken: What a message says where another process holds it; `{holder}` stands for that process.
        remove: Whether the lock file goes when the lock is given up.

    Raises:
        ConfigError: Another process holds it, or the file cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as fault:
        raise ConfigError(taken.replace("{holder}", holder(path))) from fault
    except OSError as fault:
        raise ConfigError(f"{path}: cannot be written: {why_unwritable(path) or fault.strerror or fault}.") from fault
    note = _note_of(path)
    try:
        with contextlib.suppress(OSError):  # it only helps to name us
            note.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "command": _own_command()}))
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink(missing_ok=True)
        if remove:
            path.unlink(missing_ok=True)
        lock.release()


def lock_workspace(workspace: Path, stage: str) -> contextlib.AbstractContextManager[object]:
    """Hold a lock of a workspace: two runs of a stage at a time would do the same work twice.

    Args:
        workspace: Folder of the workspace.
        stage: Name of the stage, IMPORT or PAYING. Stages of different names may run at the same time.

    Raises:
        ConfigError: Another process holds it.
    """
    does = "works in it and may make paid calls" if stage == PAYING else "does this work already"
    message = f"{workspace}: {{holder}} {does}. Wait until it ends, or stop it, then run this again."
    return held(workspace / f"{stage}.lock", message)


def holder(*paths: Path) -> str:
    """The process that holds a lock on one of these files, as a message names it."""
    for path in paths:
        pid = _locking_process(path)
        if pid:
            return _named(pid, _command_of(pid))
    for path in paths:
        try:
            note = json.loads(_note_of(path).read_text())
            pid, host, command = int(note["pid"]), str(note["host"]), str(note["command"])
        except (OSError, ValueError, TypeError, KeyError):
            continue
        return _named(pid, command) + ("" if host == socket.gethostname() else f" on {_shown(host)}")
    return UNKNOWN


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.holder")


def _named(pid: int, command: str) -> str:
    this = " (this very process)" if pid == os.getpid() else f" ({command})" if command else ""
    return f"process {pid}{this}"


def _locking_process(path: Path) -> int:
    """The process that has a write lock on a file, as Linux lists it; 0 where that is not known."""
    try:
        inode = path.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return 0
    for line in lines:  # 1: POSIX ADVISORY WRITE 1234 08:02:131 0 EOF; one that waits has -> behind its number
        words = line.split()
        if (
            len(words) == 8
            and words[3] == "WRITE"
            and words[5].rpartition(":")[2] == str(inode)
            and words[4].isdecimal()
        ):
            return int(words[4])
    return 0


def _command_of(pid: int) -> str:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return _command(argv)


def _own_command() -> str:
    return _command(sys.argv)


def _command(argv: list[str]) -> str:
    """A command line, short, without the folders of its program and of the interpreter that runs it."""
    words = [word for word in argv if word]
    if len(words) > 1 and Path(words[0]).name.startswith("python") and not words[1].startswith("-"):
        words = words[1:]
    if words:
        words[0] = Path(words[0]).name
    return _shown(" ".join(words))


def _shown(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= COMMAND_LENGTH else plain[: COMMAND_LENGTH - 3] + "..."
