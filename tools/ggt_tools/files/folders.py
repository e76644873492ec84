"""folders: finds the image files below a folder, and reads a file within a size."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.passing import APPLE_DOUBLE, PassedOver, folder_kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """The image files below a folder, in the order of their paths, and what else it holds."""

    paths: tuple[Path, ...]
    besides: tuple[Path, ...]  # files of the names that were asked for besides images
    passed_over: PassedOver
    faults: tuple[str, ...]  # folders that cannot be read, and why


def find_images(
    root: Path, *, suffixes: Collection[str] = SUFFIXES, besides: Collection[str] = (), links: bool = True
) -> ImageFiles:
    """Find the image files below a folder, by their suffixes.

    Args:
        root: the folder. Hidden and thumbnail folders in it, linked folders and `._` files are passed over.
        suffixes: of image files, in lower case.
        besides: names of other files that are wanted, such as a table of credits.
        links: whether links to files are files. Where they are not, they are passed over.

    Raises:
        ConfigError: the folder itself cannot be read.
    """
    paths: list[Path] = []
    wanted: list[Path] = []
    passed, faults = PassedOver(), []

    def cannot(fault: OSError) -> None:
        path = Path(fault.filename)
        if path == root:
            raise ConfigError(f"{root}: cannot be read: {fault.strerror}. Give read permission.") from fault
        name = path.relative_to(root).as_posix()
        passed.add("unreadable_folder", name)
        faults.append(f"{path}: cannot be read: {fault.strerror}. Give read permission, and run the command again.")

    for parent, folders, files in os.walk(root, onerror=cannot):
        below = Path(parent)
        for name in list(folders):
            path = below / name
            kind = folder_kind(name) or ("linked_folder" if path.is_symlink() else "")
            if kind:
                passed.add(kind, path.relative_to(root).as_posix())
                folders.remove(name)
        for name in files:
            path = below / name
            if name in besides:
                wanted.append(path)
            elif kind := _file_kind(path, suffixes, links):
                passed.add(kind, path.relative_to(root).as_posix() if kind.endswith("link") else "")
            else:
                paths.append(path)
    return ImageFiles(
        paths=tuple(sorted(paths)), besides=tuple(sorted(wanted)), passed_over=passed, faults=tuple(sorted(faults))
    )


def _file_kind(path: Path, suffixes: Collection[str], links: bool) -> str:
    """Return why a file is passed over; "" where it is an image file."""
    if path.name.startswith(APPLE_DOUBLE):
        return "hidden_file"
    if path.suffix.lower() not in suffixes:
        return path.suffix.lower() or "no suffix"
    if not links and path.is_symlink():
        return "link"
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "special_file"
    except PermissionError:
        return ""  # reading it says why it cannot be read
    except OSError:
        return "broken_link" if path.is_symlink() else ""


def read_file(path: Path, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole file that has at most `max_bytes`; no more than that is ever in memory.

    Args:
        path: the file.
        name: stands for it in messages.
        max_bytes: of the file.

    Raises:
        PairError: `too_large`, before anything is read; `unreadable`.
    """
    data = b""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= max_bytes:
                data = file.read(size + 1)
                if len(data) > size:  # it grows
                    data += file.read(max_bytes + 1 - len(data))
    except OSError as fault:
        raise PairError(
            "unreadable", f"{name}: {fault.strerror}. Check the file, and run the command again."
        ) from fault
    if (size := max(size, len(data))) > max_bytes:
        raise PairError("too_large", f"{name}: has {size} bytes, above {max_bytes}. Leave it out.")
    return data
