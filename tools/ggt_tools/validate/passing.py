"""What has passed: noted outside the release, for exactly the bytes that were held against the rules."""

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
from ggt_tools.ledger import write_whole
from ggt_tools.pack.writing import file_facts

# To raise by one with every change after which validate may find what it did not find before, in a release or in what
# stands beside it: what passed before then has to pass again, and what a cluster's tasks found is looked for anew.
RULES = 3


def passed(root: Path) -> str:
    """ "" where these very bytes have passed validate by the rules of this version; else why not, in one line.

    Bytes are told by the manifest's SHA-256 and by size, times of change and inode of each file, as they were before
    the pass began; and by a file's own SHA-256 where only its ctime is another, as after a hard link to it.
    """
    root = root.expanduser().resolve()
    again = f"run: ggt100k validate {root}"
    try:
        noted = json.loads(_note(root).read_bytes())
        rules, before = noted["rules"], noted["state"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{root}: has not passed validate; {again}"
    if rules != RULES:
        return f"{root}: has passed older rules; {again}"
    now = state(root)
    changed = sorted(name for name in now.keys() | before.keys() if now.get(name) != before.get(name))
    if MANIFEST in changed:
        changed = [MANIFEST]  # nothing says any more which bytes the others had
    elif changed:
        of = open_root(str(root)).files
        changed = [
            name for name in changed if not _same_bytes(root / name, now.get(name), before.get(name), of.get(name))
        ]
    if changed:
        return f"{root}: {changed[0]} has changed since it passed validate; {again}"
    return ""


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


def _same_bytes(path: Path, now: object, before: object, about: Mapping[str, Any] | None) -> bool:
    """Whether a file of which only the ctime is another has the bytes that the manifest says."""
    if about is None or not (isinstance(now, list) and isinstance(before, list)) or now[:-1] != before[:-1]:
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
    if state(root) == before:
        note = _note(root)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_whole(note, json.dumps({"root": str(root), "rules": RULES, "state": before}).encode())


def forget_pass(root: Path) -> None:
    """Removes the note that a release has passed: something was found in it."""
    _note(root.expanduser().resolve()).unlink(missing_ok=True)


def _note(root: Path) -> Path:
    """In the cache that datasets and the Hub's client use: within the release it would be uploaded and copied."""
    return Path(constants.HF_HOME) / "ggt100k" / "validated" / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"
