"""places: where the files of a set lie: a folder, or a zip that is read in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.folders import find_images, read_file
from ggt_tools.files.passing import PassedOver
from ggt_tools.files.zips import name_fault, open_zip, shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The images of a folder or a zip, by name (with `/` between folders), and why others are not to be had.

    `read(name)` gives a file's bytes, or raises PairError (`unreadable`, `damaged`, `too_large`). `faults` names the
    folders that cannot be read.
    """

    path: Path
    names: tuple[str, ...]
    refused: Mapping[str, PairError]
    read: Callable[[str], bytes] = field(repr=False)
    passed_over: PassedOver = field(default_factory=PassedOver)
    faults: tuple[str, ...] = ()


def open_place(path: Path) -> Place:
    """Raises ConfigError where there is neither a folder nor a zip, or the zip as a whole is not to be trusted."""
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file or folder; name the zip or the folder with the images")
    archive = open_zip(path)
    return Place(
        path=path, names=archive.names, refused=archive.refused, read=archive.read, passed_over=archive.passed_over
    )


def _folder(root: Path) -> Place:
    names: list[str] = []
    refused: dict[str, PairError] = {}
    home = root.resolve()
    found = find_images(root)
    for path in found.paths:
        name = path.relative_to(root).as_posix()
        if (fault := name_fault(name)) is not None:
            refused[shown(name)] = fault
        elif not path.resolve().is_relative_to(home):
            refused[name] = PairError("link", f"{name}: leads out of its folder; copy it there")
        else:
            names.append(name)
    return Place(
        path=root,
        names=tuple(names),
        refused=refused,
        read=lambda name: read_file(root / name, name),
        passed_over=found.passed_over,
        faults=found.faults,
    )
