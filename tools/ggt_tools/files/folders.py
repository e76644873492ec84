"""Find the image files below a folder, and read a file within a size."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Container
from dataclasses import dataclass
from pathlib import Path

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.passed_over import HIDDEN, NO_SUFFIX, PassedOver, folder_kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """The image files below a folder, and what else it holds.

    Attributes:
        paths: The image files, sorted by path.
        besides: The files of the names that were asked for besides images, sorted by path.
        passed_over: All other files and folders.
        faults: A message for each folder that cannot be read.
    """

    paths: tuple[Path, ...]
    besides: tuple[Path, ...]
    passed_over: PassedOver
    faults: tuple[str, ...]


def find_images(
    root: Path, *, suffixes: Collection[str] = SUFFIXES, besides: Container[str] = (), links: bool = True
) -> ImageFiles:
    """Find the image files below a folder, by their suffixes.

    Args:
        root: The folder. Hidden and thumbnail folders in it, linked folders and hidden files are passed over.
        suffixes: Suffixes of image files, in lower case.
        besides: Names of other files to find, such as a table of credits, in lower case; any case is found.
        links: Whether links to files count as files. Otherwise they are passed over.

    Raises:
        ConfigError: The folder itself cannot be read.
    """
    image_paths: list[Path] = []
    other_paths: list[Path] = []
    passed_over, faults = PassedOver(), []

    def note_unreadable(error: OSError) -> None:
        path = Path(error.filename)
        if path == root:
            raise ConfigError(f"{root}: the folder cannot be read: {error.strerror}. Give read permission.") from error
        passed_over.add("unreadable_folder", path.relative_to(root).as_posix())
        faults.append(
            f"{path}: the folder cannot be read: {error.strerror}. Give read permission, and run the command again."
        )

    for parent, folders, files in os.walk(root, onerror=note_unreadable):
        folder = Path(parent)
        for name in list(folders):
            path = folder / name
            kind = folder_kind(name) or ("linked_folder" if path.is_symlink() else "")
            if kind:
                passed_over.add(kind, path.relative_to(root).as_posix())
                folders.remove(name)
        for name in files:
            path = folder / name
            if name.lower() in besides:
                other_paths.append(path)
            elif kind := _file_kind(path, suffixes, links):
                passed_over.add(kind, path.relative_to(root).as_posix() if kind.endswith("link") else "")
            else:
                image_paths.append(path)
    return ImageFiles(
        paths=tuple(sorted(image_paths)),
        besides=tuple(sorted(other_paths)),
        passed_over=passed_over,
        faults=tuple(sorted(faults)),
    )


def _file_kind(path: Path, suffixes: Collection[str], links: bool) -> str:
    """Return the kind for which a file is passed over; "" where it is an image file."""
    if path.name.startswith(HIDDEN):
        return "hidden_file"
    if path.suffix.lower() not in suffixes:
        return path.suffix.lower() or NO_SUFFIX
    if not links and path.is_symlink():
        return "link"
    try:
        return "" if stat.S_ISREG(path.stat().st_mode) else "special_file"
    except PermissionError:
        return ""  # reading the file gives the reason
    except OSError:
        return "broken_link" if path.is_symlink() else ""


def read_file(path: Path, name: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Read a whole file; no more than `max_bytes` are ever in memory.

    Args:
        path: The file.
        name: The file's name, for messages.
        max_bytes: Size that the file may have.

    Raises:
        PairError: `too_large`, before anything is read; `unreadable`.
    """
    data = b""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= max_bytes:
                data = file.read(size + 1)
                if len(data) > size:  # the file is growing
                    data += file.read(max_bytes + 1 - len(data))
    except OSError as error:
        raise PairError(
            "unreadable",
            f"{name}: the file cannot be read: {error.strerror}. Check the file, and run the command again.",
        ) from error
    if (size := max(size, len(data))) > max_bytes:
        raise PairError("too_large", f"{name}: the file has {size} bytes, above {max_bytes}. Leave it out.")
    return data
