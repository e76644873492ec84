"""Notes of which releases have passed `validate`: in their folders and in a cache, for the bytes that were checked.

The note in the folder is copied with the folder to another machine. It is valid for a manifest and, by the manifest's
checksums, for each file that it names; so it says nothing about other bytes.
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

# Raise it by one with every change after which validate may find more than before: releases that passed must then pass
# again, and the findings of a cluster's tasks are not used again.
RULES = 3
NOTE = ".validated.json"  # in the folder of a release; push does not publish it


def why_not_passed(root: Path) -> str:
    """Return "" where a release has passed the rules of this version and has not changed; else why not.

    It has not changed if its manifest has the same SHA-256, and each file the same size, times of change and inode as
    before it was validated, or else the SHA-256 that the manifest names, as after a copy.
    """
    root = root.expanduser().resolve()
    fix = f"Run: ggt100k validate {root}"
    present = file_states(root)
    problems = []
    for note in (_cached_note(root), root / NOTE):
        try:
            content = json.loads(note.read_bytes())
            rules, before = content["rules"], dict(content["state"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if rules != RULES:
            problems.append(f"{root}: has passed older rules of validate. {fix}")
            continue
        changed = _changed_file(root, present, before)
        if not changed:
            return ""
        problems.append(f"{root}: {changed} has changed since the release passed validate. {fix}")
    return problems[0] if problems else f"{root}: has not passed validate. {fix}"


def _changed_file(root: Path, present: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Return the name of a file that has changed since the release passed; "" where there is none."""
    names = sorted(name for name in present.keys() | before.keys() if present.get(name) != before.get(name))
    if MANIFEST in names or not names:
        return MANIFEST if names else ""  # with another manifest the right bytes of the other files are unknown
    facts = open_root(str(root)).files
    return next((name for name in names if not _has_bytes(root / name, present.get(name), facts.get(name))), "")


def file_states(root: Path) -> dict[str, Any]:
    """Return, by file of a release, values that change when it changes. The README and its like belong to card."""
    states: dict[str, Any] = {}
    for path in [path for top in ("data", "index") for path in (root / top).rglob("*")]:
        if path.is_file():
            stat = path.stat()
            # a program can set back the mtime, but not the ctime
            values = [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]
            states[path.relative_to(root).as_posix()] = values
    if (root / MANIFEST).is_file():
        states[MANIFEST] = hashlib.sha256((root / MANIFEST).read_bytes()).hexdigest()
    return states


def _has_bytes(path: Path, present: object, facts: Mapping[str, Any] | None) -> bool:
    """Return whether a file has the bytes that the manifest names. The size is compared first: reading is slow."""
    if facts is None or not isinstance(present, list) or present[0] != facts["bytes"]:
        return False
    return file_facts(path).items() <= facts.items()


def remote_state(root: Root, name: str) -> str:
    """Return a text that changes when a file at a URL changes; a new text each time where that is unknown."""
    if not root.url.startswith(("http://", "https://")):
        with contextlib.suppress(Exception):  # each client of fsspec has exceptions of its own
            system, path = fsspec.core.url_to_fs(f"{root.url}/{name}", **root.storage_options)
            return str(system.ukey(path))
    return uuid.uuid4().hex


def note_pass(root: Path, before: dict[str, Any]) -> None:
    """Note that a release has passed, if its files are still in the states from before it was validated."""
    root = root.expanduser().resolve()
    if file_states(root) != before:
        return
    text = json.dumps({"rules": RULES, "state": before}).encode()
    cached = _cached_note(root)
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_whole(cached, text)
    with contextlib.suppress(OSError):  # a folder that cannot be written has its note in the cache alone
        write_whole(root / NOTE, text)


def forget_pass(root: Path) -> None:
    """Remove the notes that a release has passed."""
    root = root.expanduser().resolve()
    _cached_note(root).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (root / NOTE).unlink(missing_ok=True)


def _cached_note(root: Path) -> Path:
    """Return the note of a folder, by its path, in the cache that datasets and the Hub's client use."""
    return Path(constants.HF_HOME) / "ggt100k" / "validated" / f"{hashlib.sha256(str(root).encode()).hexdigest()}.json"
