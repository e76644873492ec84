"""Which releases have passed `validate`: noted in their folders and in a cache, for the very bytes that were checked.

The note in the folder goes along where the folder is copied to another machine. It vouches for a manifest, and by the
manifest's checksums for each file that it names, so it says nothing of other bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
from huggingface_hub import constants

from ggt_format.roots import Root, open_root
from ggt_format.schema import MANIFEST
from ggt_tools.stages.pack.writing import file_facts
from ggt_tools.workspace.ledger import write_whole

# To raise by one with every change after which validate may find what it did not find before, in a release or in what
# stands beside it: what passed before then has to pass again, and what a cluster's tasks found is looked for anew.
RULES = 3
NOTE = ".validated.json"  # in a release's folder; push leaves it behind


def passed(root: Path) -> str:
    """ "" where these very bytes have passed validate by the rules of this version; else why not, in one line.

    Bytes are told by the manifest's SHA-256 and by size, times of change and inode of each file, as they were before
    the pass began; and by a file's own SHA-256 where these differ, as after a copy.
    """
    root = root.expanduser().resolve()
    again = f"run: ggt100k validate {root}"
    now = state(root)
    faults = []
    for note in (_cached_note(root), root / NOTE):
        try:
            noted = json.loads(note.read_bytes())
            rules, before = noted["rules"], dict(noted["state"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if rules != RULES:
            faults.append(f"{root}: has passed older rules; {again}")
            continue
        changed = _changed(root, now, before)
        if not changed:
            return ""
        faults.append(f"{root}: {changed} has changed since it passed validate; {again}")
    return faults[0] if faults else f"{root}: has not passed validate; {again}"


def _changed(root: Path, now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """A file that is not what it was when the release passed; "" where there is none."""
    differ = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    if MANIFEST in differ or not differ:
        return MANIFEST if differ else ""  # nothing says any more which bytes the others had
    named = open_root(str(root)).files
    return next((name for name in differ if not _same_bytes(root / name, now.get(name), named.get(name))), "")


def state(root: Path) -> dict[str, Any]:
    """What tells whether a file of a release has changed, by its name. The README, and what goes with it, is card's."""
    found: dict[str, Any] = {}
    for path in [path for top in ("data", "index") for path in (root / top).rglob("*")]:
        if path.is_file():
            about = path.stat()
            # ctime last: a program sets back the mtime, and not the ctime
            of = [about.st_size, about.st_mtime_ns, about.st_ino, about.st_ctime_ns]
            found[path.relative_to(root).as_posix()] = of
    if (root / MANIFEST).is_file():
        found[MANIFEST] = hashlib.sha256((root / MANIFEST).read_bytes()).hexdigest()
    return found


def _same_bytes(path: Path, now: object, about: Mapping[str, Any] | None) -> bool:
    """Whether a file has the bytes that the manifest says: its size first, since to read it takes long."""
    if about is None or not isinstance(now, list) or now[0] != about["bytes"]:
        return False
    return file_facts(path).items() <= about.items()


def state_at(place: Root, name: str) -> str:
    """The same of a file of a release that lies elsewhere; another text each time where its place tells nothing."""
    if not place.url.startswith(("http://", "https://")):
        with contextlib.suppress(Exception):  # each client of fsspec has exceptions of its own
            system, at = fsspec.core.url_to_fs(f"{place.url}/{name}", **place.storage_options)
            return str(system.ukey(at))
    return uuid.uuid4().hex


def note_pass(root: Path, before: dict[str, Any]) -> None:
    """Notes that a release has passed, if it is still what it was before."""
    root = root.expanduser().resolve()
    if state(root) != before:
        return
    text = json.dumps({"rules": RULES, "state": before}).encode()
    cached = _cached_note(root)
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_whole(cached, text)
    with contextlib.suppress(OSError):  # a folder that may not be written is vouched for by the cache alone
        write_whole(root / NOTE, text)


def forget_pass(root: Path) -> None:
    """Removes the notes that a release has passed: something was found in it."""
    root = root.expanduser().resolve()
    _cached_note(root).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (root / NOTE).unlink(missing_ok=True)


def _cached_note(root: Path) -> Path:
    """In the cache that datasets and the Hub's client use, for a folder of this machine by its path."""
    return Path(constants.HF_HOME) / "ggt100k" / "validated" / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"
