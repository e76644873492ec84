"""The images of a set, as all layouts see them: wherever they are, they have names and can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.passed_over import PassedOver
from ggt_tools.files.zips import name_fault

Location = str | Path  # a path on this machine, or a URL such as hf://datasets/ORG/NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """The images of a set, or of one side of it.

    Attributes:
        path: The folder, the archive, or the URL.
        names: Names of the images, with `/` between folders.
        refused: For each image that cannot be read, the reason.
        read: Returns the bytes of an image, or raises PairError (`unreadable`, `damaged`, `too_large`). Several threads
            may call it.
        passed_over: What else there is.
        faults: A message for each folder that cannot be read.
        texts: Functions that read the texts (lists, manifests, read-me files) beside the images, by name.
        identify: Returns a text that differs where the bytes of an image differ, without reading them; "" where that
            is unknown.
        locate: Returns the number of the archive that holds an image, and its position there: the order in which
            images are read without going back.
    """

    path: Location
    names: tuple[str, ...]
    refused: Mapping[str, PairError]
    read: Callable[[str], bytes] = field(repr=False)
    passed_over: PassedOver = field(default_factory=PassedOver)
    faults: tuple[str, ...] = ()
    texts: Mapping[str, Callable[[], bytes]] = field(default_factory=dict, repr=False)
    identify: Callable[[str], str] = field(default=lambda name: "", repr=False)
    locate: Callable[[str], tuple[int, int]] = field(default=lambda name: (0, 0), repr=False)


def folder_file_fault(path: Path, name: str, resolved_root: Path) -> PairError | None:
    """Return why a file of a folder must not be read; None where it may be."""
    if (fault := name_fault(name)) is not None:
        return fault
    if not path.resolve().is_relative_to(resolved_root):
        return PairError("link", f"{name}: the link leads out of its folder. Copy the file there.")
    return None


def no_such_source(location: Location) -> ConfigError:
    """Return the error of a location where there is nothing."""
    return ConfigError(f"{location}: there is no such file or folder. Name the zip or the folder with the images.")
