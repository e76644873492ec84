"""The images of a set: in a folder, in archives that are read in place, or in a repository on the Hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.events import SILENT, Events
from ggt_tools.files.folders import find_images, read_file
from ggt_tools.files.passed_over import PassedOver
from ggt_tools.files.zips import escape_name, name_fault

Location = Path | str  # a path on this machine, or a URL such as hf://datasets/ORG/NAME
NO_TEXTS: Mapping[str, Callable[[], bytes]] = {}


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
            cannot be told.
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


def open_image_source(
    location: Location,
    *,
    subtrees: Sequence[str] = (),
    revision: str | None = None,
    prefixed: bool = False,
    events: Events = SILENT,
) -> ImageSource:
    """Open the images of a folder, an archive or a repository.

    Args:
        location: A folder, an archive, one part of an archive, or a URL. Archives in a folder are read too.
        subtrees: Read only what is below these paths; empty for all.
        revision: Branch, tag or commit of a repository on the Hub.
        prefixed: Whether the names of images in the archives of a folder begin with the names of the archives, as if
            each were unpacked into a folder of its own. Otherwise they do so only where two archives hold the same
            names.
        events: Told of progress.

    Raises:
        ConfigError: There is nothing, or an archive lacks a part or is not to be trusted as a whole.
    """
    # a folder of plain files needs none of what reads archives
    from ggt_tools.stages.adopt.collection import open_collection
    from ggt_tools.stages.adopt.file_trees import archive_tree, folder_tree, remote_tree

    if "://" in str(location):
        tree = remote_tree(str(location), revision)
    else:
        path = Path(location)
        tree = folder_tree(path) if path.is_dir() else archive_tree(path)
        if path.is_dir() and not tree.archives and not subtrees and not prefixed:
            return open_folder(path)
    return open_collection(tree, subtrees=subtrees, prefixed=prefixed, events=events)


def open_folder(root: Path) -> ImageSource:
    """Open a folder of image files; archives in it are passed over."""
    names: list[str] = []
    refused: dict[str, PairError] = {}
    image_files = find_images(root)
    resolved_root = root.resolve()
    for path in image_files.paths:
        name = path.relative_to(root).as_posix()
        if (fault := folder_file_fault(path, name, resolved_root)) is not None:
            refused[escape_name(name)] = fault
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
