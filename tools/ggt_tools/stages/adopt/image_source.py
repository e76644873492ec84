"""The images of a set on this machine: in a folder, or in a zip that is read in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.folders import find_images, read_file
from ggt_tools.files.passed_over import PassedOver
from ggt_tools.files.zips import escape_name, name_fault, open_zip


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """The images of a folder or a zip.

    Attributes:
        path: The folder or the zip.
        names: Names of the images, with `/` between folders.
        refused: For each image that cannot be read, the reason.
        read: Returns the bytes of an image, or raises PairError (`unreadable`, `damaged`, `too_large`).
        passed_over: What else the folder or the zip holds.
        faults: A message for each folder that cannot be read.
    """

    path: Path
    names: tuple[str, ...]
    refused: Mapping[str, PairError]
    read: Callable[[str], bytes] = field(repr=False)
    passed_over: PassedOver = field(default_factory=PassedOver)
    faults: tuple[str, ...] = ()


def open_image_source(path: Path) -> ImageSource:
    """Open a folder or a zip.

    Raises:
        ConfigError: There is neither, or the zip as a whole is not to be trusted.
    """
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file or folder. Name the zip or the folder with the images.")
    archive = open_zip(path)
    return ImageSource(
        path=path, names=archive.names, refused=archive.refused, read=archive.read, passed_over=archive.passed_over
    )


def _open_folder(root: Path) -> ImageSource:
    names: list[str] = []
    refused: dict[str, PairError] = {}
    resolved_root = root.resolve()
    image_files = find_images(root)
    for path in image_files.paths:
        name = path.relative_to(root).as_posix()
        if (fault := name_fault(name)) is not None:
            refused[escape_name(name)] = fault
        elif not path.resolve().is_relative_to(resolved_root):
            refused[name] = PairError("link", f"{name}: the link leads out of its folder. Copy the file there.")
        else:
            names.append(name)
    return ImageSource(
        path=root,
        names=tuple(names),
        refused=refused,
        read=lambda name: read_file(root / name, name),
        passed_over=image_files.passed_over,
        faults=image_files.faults,
    )
