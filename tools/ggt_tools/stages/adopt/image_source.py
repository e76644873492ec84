"""Open the images of a folder, of archives that are read in place, or of a repository on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ggt_tools.events import SILENT, Events
from ggt_tools.stages.adopt.collection import open_collection
from ggt_tools.stages.adopt.file_trees import FileTree, archive_tree, folder_tree, remote_tree
from ggt_tools.stages.adopt.image_files import ImageSource, Location


def open_image_source(
    location: Location,
    *,
    subtrees: Sequence[str] = (),
    revision: str | None = None,
    events: Events = SILENT,
) -> ImageSource:
    """Open the images of a folder, an archive or a repository.

    Args:
        location: A folder, an archive, one part of an archive, or a URL. Archives in a folder are read too.
        subtrees: Read only what is below these paths; empty for all.
        revision: Branch, tag or commit of a repository on the Hub.
        events: Receives progress.

    Raises:
        ConfigError: There is nothing, or an archive lacks a part or is not to be trusted as a whole.
    """
    return open_collection(open_tree(location, revision), subtrees=subtrees, events=events)


def open_tree(location: Location, revision: str | None = None) -> FileTree:
    """List the files of a folder, an archive or a repository: see `open_image_source`."""
    if "://" in str(location):
        return remote_tree(str(location), revision)
    path = Path(location)
    return folder_tree(path) if path.is_dir() else archive_tree(path)
