"""Where a release stands: it is built beside its place, as NAME.part, and moved there when it is whole.

While the old one is taken away (to NAME.old) and the new one put there, the folder has no manifest: it is absent, never
half. A run that is killed in between is finished by the next one, whatever that is asked to do.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ggt_format.schema import MANIFEST
from ggt_tools.errors import ConfigError
from ggt_tools.workspace.ledger import sync_folder, write_whole
from ggt_tools.workspace.locks import held

MOVED = ("data", "README.md", "index")  # the index, which holds the manifest, comes last


def check_place(out: Path) -> Path:
    """Where the folder `out` is to stand, links followed. Raises ConfigError where something else stands there."""
    out = out.resolve()
    killed = (part_of(out) / "plan").is_file() or _old(out).is_dir()  # a run, as it moved the new folder in
    ours = killed or (out / MANIFEST).is_file()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; name a folder")
    if out.is_dir() and not ours and any(out.iterdir()):
        raise ConfigError(f"{out}: is no dataset folder and not empty; name another one")
    return out


@contextlib.contextmanager
def claim(out: Path) -> Iterator[Path]:
    """Keeps the place `out` for one run, and finishes what a killed one began. Raises ConfigError where it is taken."""
    out = check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    taken = f"{out}: {{holder}} packs it. Wait for its end, then run this again."
    with held(out.with_name(f".{out.name}.lock"), taken, remove=True):
        _recover(out)
        yield out


def part_of(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _old(out: Path) -> Path:
    return out.with_name(out.name + ".old")


def begin(part: Path, plan: str) -> None:
    """Leaves in `part` what an interrupted run of this very plan has finished, and nothing else."""
    if part.exists() and planned(part) != plan:
        shutil.rmtree(part)
    _tidy(part)
    (part / "index").mkdir(parents=True, exist_ok=True)
    write_whole(part / "plan", plan.encode())


def planned(part: Path) -> str:
    """What `part` is built to hold, as begin() noted it; "" where nothing is."""
    note = part / "plan"
    return note.read_text() if note.is_file() else ""


def _tidy(part: Path) -> None:
    """Half files, of whoever was killed."""
    for left in [path for path in part.rglob("*") if path.suffix in (".part", ".base")]:
        left.unlink(missing_ok=True)


def put_in_place(part: Path, out: Path) -> None:
    """Moves what is finished to its place, the index with the manifest last; what else lies there stays."""
    _tidy(part)
    _old(out).mkdir()  # from here on the new release is whole in `part`, and whoever comes next moves it in
    sync_folder(out.parent)
    _move_in(part, out)


def _move_in(part: Path, out: Path) -> None:
    old = _old(out)
    out.mkdir(exist_ok=True)
    for name in reversed(MOVED):
        if (part / name).exists() and (out / name).exists():
            (out / name).rename(old / name)
    sync_folder(out)
    for name in MOVED:
        if (part / name).exists():
            (part / name).rename(out / name)
            sync_folder(out)
    shutil.rmtree(part)
    shutil.rmtree(old)


def _recover(out: Path) -> None:
    part, old = part_of(out), _old(out)
    if not old.is_dir():
        return
    if (part / MANIFEST).is_file():
        _move_in(part, out)
        return
    for name in MOVED:  # the new one is in, or somebody took it away: then the old one goes back
        if (old / name).exists() and not (out / name).exists():
            (old / name).rename(out / name)
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(old)
