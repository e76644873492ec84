"""Write files so that they appear whole, and survive a power cut."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

PART = ".part"  # ends the name of a file that is not complete yet


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all, whatever dies in between, whoever else writes the same file."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{PART}")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, so that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut (on Windows a folder cannot be opened, nor need it be)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
