"""Check, before any work, that what a user wants to have written can be written."""

from __future__ import annotations

import os
from pathlib import Path

from ggt_tools.errors import ConfigError


def check_output_file(path: Path) -> None:
    """Check that a file can be written, or replaced.

    Raises:
        ConfigError: It is a folder, its folder does not exist, or nothing can be written there.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path}: is a folder. Name a file in it.")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"{path}: its folder does not exist. Create the folder first.")
        why = why_unwritable(path.absolute().parent)  # a file is written beside it and renamed
    except OSError as fault:  # a folder above may not be entered
        why = fault.strerror or str(fault)
    if why:
        raise ConfigError(f"{path}: cannot be written: {why}. Name another file.")


def check_output_folder(path: Path) -> None:
    """Check that a folder can be written, or made together with those above it.

    Raises:
        ConfigError: It, or one above it, is a file, or nothing can be written there.
    """
    try:
        target = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
        if not target.is_dir():
            raise ConfigError(f"{target}: is a file. Name a folder.")
        why = why_unwritable(target)
    except OSError as fault:
        why = fault.strerror or str(fault)
    if why:
        raise ConfigError(f"{path}: cannot be written: {why}. Name another folder.")


def why_unwritable(path: Path) -> str:
    """Why a file cannot be written or made, in words; "" where it can.

    Looks at the file, or at the folder in which it would be made.
    """
    target = path if path.exists() else next(folder for folder in path.parents if folder.exists())
    by_effective_ids = os.access in os.supports_effective_ids
    if os.access(target, os.W_OK, effective_ids=by_effective_ids):
        return ""
    if hasattr(os, "statvfs") and os.statvfs(target).f_flag & os.ST_RDONLY:
        return "it is on a read-only file system"
    stat = target.stat()
    whose = f"{target} belongs to {_user(stat.st_uid)} and has mode {stat.st_mode & 0o777:03o}"
    return f"permission denied ({whose})"


def _user(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"
