"""Workspaces that are read-only, and locks that another process holds: what still works, and the messages."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ggt_tools.errors import ConfigError
from ggt_tools.records import Candidate, Photo
from ggt_tools.workspace import database, locks
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.locks import held, holder, why_unwritable

from .making import make_workspace
from .test_cli import ggt
from .test_ledger import FIRST, write

NOBODY = 65534
posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions of POSIX")


@contextlib.contextmanager
def as_a_reader() -> Iterator[None]:
    """Runs as a user who owns nothing, where the tests run as root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder and all in it may be read by everybody and written by nobody."""
    paths = [folder, *folder.rglob("*")]
    for parent in folder.parents:  # pytest's folders are for their owner alone
        if parent.stat().st_uid == os.geteuid() and parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o055)
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with as_a_reader():
            yield
    finally:
        for path in paths:
            if path.exists():
                path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two photographs, judged. All that verbs import is imported."""
    folder = make_workspace(tmp_path / "w", 2)
    for argv in (("status", folder), ("report", folder), ("export-ledger", folder, tmp_path / "first")):
        assert ggt(*argv).code == 0
    (folder / "report.html").unlink()
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# what the folder is like -> how it comes to that
def plain(folder: Path) -> None:
    """No process has it open, and nothing lies beside the database."""


def with_log(folder: Path) -> None:
    """Its last writer was killed, so a part of its facts is in the log, and the log's index is gone."""
    program = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "db.execute('PRAGMA wal_autocheckpoint=0');"
        "db.execute(\"UPDATE photo SET author = 'from the log'\"); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, str(folder / "ledger.sqlite")], check=True)
    (folder / "ledger.sqlite-shm").unlink()
    assert (folder / "ledger.sqlite-wal").stat().st_size > 0


def without_images(folder: Path) -> None:
    """A copy of the database alone."""
    shutil.rmtree(folder / "images")


STATES = [plain, with_log, without_images]


@posix
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_read_only_workspace_is_read(state: object, workspace: Path, tmp_path: Path) -> None:
    before = ggt("status", workspace)
    state(workspace)  # type: ignore[operator]
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    kept = snapshot(workspace)
    with read_only(workspace):
        assert ggt("status", workspace) == before
        assert ggt("export-ledger", workspace, out).code == 0
        with Ledger(workspace) as ledger:
            photos = list(ledger.all(Photo))
            assert ledger.unwritable
    assert len(photos) == 2
    assert {photo.author for photo in photos} == ({"from the log"} if state is with_log else {photos[0].author})
    assert (out / "photo.parquet").stat().st_size > 0
    assert snapshot(workspace) == kept, "nothing was written"


@posix
def test_a_report_on_a_read_only_workspace_is_written_beside_the_caller(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    out.chmod(0o777)
    monkeypatch.chdir(out)
    with read_only(workspace):
        assert ggt("report", workspace, "--out", out / "mine.html").code == 0
        done = ggt("report", workspace)
    assert (done.code, (out / "w-report.html").is_file()) == (0, True)
    assert done.err == f"ggt100k report: {workspace}: cannot be written, so the report is written here: w-report.html\n"


@posix
@pytest.mark.parametrize(
    "verb",
    [("prompt",), ("restore",), ("verdict",), ("align",), ("retry", "--reason", "timeout")],
)
def test_a_write_error_names_file_and_reason(verb: tuple[str, ...], workspace: Path) -> None:
    if verb[0] == "align":
        with sqlite3.connect(workspace / "ledger.sqlite") as db:
            db.execute("DELETE FROM aligned")
    ggt(verb[0], shutil.copytree(workspace, workspace.parent / "copy"), *verb[1:])  # imports what the verb needs
    with read_only(workspace):
        done = ggt(verb[0], workspace, *verb[1:])
    file = workspace / "ledger.sqlite"
    assert done.code == 2, done
    assert f"{file}: cannot be written: permission denied ({file} belongs to " in done.err
    assert "has mode 444)" in done.err
    assert "disk full" not in done.err


@posix
def test_a_folder_that_cannot_be_written_is_named_where_its_files_can(workspace: Path) -> None:
    with read_only(workspace):
        pass
    if os.geteuid() == 0:
        (workspace / "ledger.sqlite").chmod(0o666)
    workspace.chmod(0o555)
    with as_a_reader():
        assert ggt("status", workspace).code == 0
        done = ggt("prompt", workspace, "--strategy", "measured")
    workspace.chmod(0o755)
    assert done.code == 2
    assert f"ggt100k prompt: {workspace}: cannot be written: permission denied" in done.err


@posix
def test_a_ledger_of_an_earlier_schema_is_read_from_a_copy(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    kept = snapshot(tmp_path)
    with read_only(tmp_path), Ledger(tmp_path) as ledger:
        assert [candidate.id for candidate in ledger.all(Candidate)] == ["c"]
        assert ledger.unwritable
    assert snapshot(tmp_path) == kept


@posix
def test_a_damaged_file_is_reported_without_write_permission(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database" * 100)
    with read_only(tmp_path), pytest.raises(ConfigError, match="cannot be read: file is not a database"):
        Ledger(tmp_path)


# --- locks of other processes -----------------------------------------------------------------------------------------

HOLDS = """
import sqlite3, sys
from filelock import FileLock
if sys.argv[1] == "sqlite":
    db = sqlite3.connect(sys.argv[2] + "/ledger.sqlite", isolation_level=None)
    db.execute(sys.argv[3])
else:
    lock = FileLock(sys.argv[2])
    lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(*argv: str | Path) -> Iterator[int]:
    """A process that holds a lock; its number."""
    program = [sys.executable, "-c", HOLDS, *map(str, argv)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdin and process.stdout.readline() == "held\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()


linux = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="who holds a lock is read from /proc/locks")


@linux
@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_ledger_that_another_process_writes_is_read_and_its_process_named(
    begin: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "WAIT", 0.2)
    before = ggt("status", workspace)
    with another_process("sqlite", workspace, begin) as pid:
        assert ggt("status", workspace) == before
        done = ggt("prompt", workspace, "--strategy", "measured")
    assert done.code == 2
    file = workspace / "ledger.sqlite"
    assert f"ggt100k prompt: {file}: is locked by process {pid} (" in done.err
    assert done.err.endswith("Wait until it ends, or stop it, then run this again.\n")
    assert ggt("prompt", workspace, "--strategy", "measured").code == 0


@linux
@pytest.mark.parametrize(
    ("lock", "argv", "said"),
    [
        ("paying.lock", ("restore",), "works in it and may make paid calls"),
        ("paying.lock", ("prompt", "--strategy", "fixed"), "works in it and may make paid calls"),
        ("align.lock", ("align",), "does this work already"),
        ("score.lock", ("score", "--metrics", "structure"), "does this work already"),
        ("review.lock", ("review", "--port", "0"), "serves it for review"),
        ("../.out.lock", ("pack", "../out"), "packs it"),
    ],
)
def test_a_lock_names_the_process_that_holds_it(lock: str, argv: tuple[str, ...], said: str, workspace: Path) -> None:
    more = [workspace.parent / "out" if word == "../out" else word for word in argv[1:]]
    with another_process("file", workspace / lock) as pid:
        done = ggt(argv[0], workspace, *more)
    assert done.code == 2, done
    assert f": process {pid} (" in done.err
    assert said in done.err


@linux
def test_two_imports_at_a_time_are_refused_before_anything_is_read(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"not looked at")
    argv = ("ingest", tmp_path / "photos", workspace, "--licence", "MIT", "--classes", "measured")
    with another_process("file", workspace / "import.lock") as pid:
        done = ggt(*argv)
        dry = ggt(*argv, "--dry-run")
    assert (done.code, done.out, dry.code) == (2, "", 0)
    assert done.err.startswith(f"ggt100k ingest: {workspace}: process {pid} (")
    assert done.err.endswith(" does this work already. Wait until it ends, or stop it, then run this again.\n")
    assert ggt(*argv).code == 1, "the lock is free again, and the file is rejected"


def test_a_workspace_may_have_braces_in_its_name(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path / "{0}", create=True) as ledger,
        ledger.lock("align"),
        pytest.raises(ConfigError) as fault,
        ledger.lock("align"),
    ):
        pass
    assert str(fault.value).startswith(f"{tmp_path}/{{0}}: process {os.getpid()} (this very process) does this")


def test_a_released_lock_leaves_no_note(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with held(path, "{holder} has it"):
        assert holder(path).startswith(f"process {os.getpid()}")
        with pytest.raises(ConfigError) as fault, held(path, "{holder} has it"):
            pass
        assert str(fault.value) == f"process {os.getpid()} (this very process) has it"
    with held(path, "", remove=True):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ({"pid": 7, "host": "elsewhere", "command": "ggt100k restore w"}, "process 7 (ggt100k restore w) on elsewhere"),
        ({"pid": 7, "host": "", "command": ""}, "process 7 on "),
        ({"pid": "many"}, "another process"),
        ([], "another process"),
        (None, "another process"),
    ],
)
def test_the_note_names_the_holder_if_the_system_does_not(note: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.touch()
    if note is not None:
        path.with_name("x.lock.holder").write_text(json.dumps(note))
    assert holder(path) == said


def test_a_command_is_shown_short_and_without_folders() -> None:
    assert locks._command(["/usr/bin/python3", "/home/me/bin/ggt100k", "restore", "w"]) == "ggt100k restore w"
    assert locks._command(["/usr/bin/python3.11", "-c", "x"]) == "python3.11 -c x"
    assert locks._command(["x" * 100]) == "x" * 77 + "..."
    assert locks._command(["a\x1b[31m", ""]) == "a?[31m"
    assert locks._command([]) == ""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            "database or disk is full",
            ": database or disk is full. Free space on the disk, then run this again: it continues.",
        ),
        ("database is locked", ": is locked by another process. Wait until it ends, or stop it, then run this again."),
        ("disk I/O error", ": disk I/O error. Check the disk, then run this again: it continues."),
        (
            "attempt to write a readonly database",
            ": attempt to write a readonly database. Check the disk, then run this again: it continues.",
        ),
    ],
)
def test_errors_of_sqlite_are_translated(error: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    file.touch()
    assert str(database.translated(file, sqlite3.OperationalError(error))) == f"{file}{said}"


def test_a_full_disk_names_the_file(workspace: Path) -> None:
    with Ledger(workspace) as ledger:
        pages = ledger._db.execute("PRAGMA page_count").fetchall()[0][0]
        ledger._db.execute(f"PRAGMA max_page_count={pages}").fetchall()
        photo = next(ledger.all(Photo))
        with pytest.raises(ConfigError, match=r"ledger\.sqlite: database or disk is full\. Free space"):
            for number in range(500):
                ledger.add(Photo(**{**{f: getattr(photo, f) for f in photo.__slots__}, "key": f"k{number}" * 200}))
        assert len(list(ledger.all(Photo))) < 500, "and the ledger can still be read"


@posix
@pytest.mark.parametrize("create", [False, True])
def test_a_workspace_in_a_closed_folder_is_named(create: bool, tmp_path: Path) -> None:
    (tmp_path / "closed" / "w").mkdir(parents=True)
    with read_only(tmp_path):
        pass  # but for the folders above, which everybody may enter now
    (tmp_path / "closed").chmod(0o600)
    with as_a_reader(), pytest.raises(ConfigError) as fault:
        Ledger(tmp_path / "closed" / "w", create=create)
    (tmp_path / "closed").chmod(0o700)
    assert str(tmp_path / "closed" / "w") in str(fault.value)
    assert "ermission denied" in str(fault.value) and "Errno" not in str(fault.value)


@posix
def test_why_a_file_cannot_be_written(tmp_path: Path) -> None:
    assert why_unwritable(tmp_path / "a" / "b" / "c") == ""
    file = tmp_path / "a"
    file.touch()
    with read_only(tmp_path):
        assert why_unwritable(file).startswith(f"permission denied ({file} belongs to ")
        assert why_unwritable(tmp_path / "new").startswith(f"permission denied ({tmp_path} belongs to ")
