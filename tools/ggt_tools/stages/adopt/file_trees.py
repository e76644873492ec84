"""List the files of a folder, of an archive in parts, or of a repository on the Hub, before anything is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.blobs import Blob, LocalBlob, RemoteBlob
from ggt_tools.files.folders import find_images, read_file
from ggt_tools.files.names import shorten
from ggt_tools.files.parts import Archive, ArchiveNames, group_archives, is_archive_name
from ggt_tools.files.passed_over import PassedOver
from ggt_tools.files.rows import HUB, loading
from ggt_tools.files.zips import escape_name, name_fault
from ggt_tools.stages.adopt.image_files import Location, folder_file_fault, no_such_source

TEXTS = (".txt", ".csv", ".json", ".jsonl", ".md")  # files beside images that may be lists


class TextNames:
    """Contains the names, without folders, of files that may be lists."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower().endswith(TEXTS)


class _ArchivesAndTexts:
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in ArchiveNames() or name in TextNames())


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTree:
    """The files of a folder or a repository.

    Attributes:
        location: The folder, the archive or the URL.
        images: Names of the image files.
        archives: The archives.
        texts: Names of files that may be lists.
        archive_faults: A message for each archive whose parts are not complete.
        blob: Returns the bytes of a file.
        read: Returns the bytes of an image or a text, or raises PairError.
        refused: For each image that must not be read, the reason.
        passed_over: Other files.
        faults: A message for each folder that cannot be read.
        is_remote: Whether a read takes a request.
        is_one_archive: Whether the user named an archive and not a folder.
    """

    location: Location
    images: tuple[str, ...] = ()
    archives: tuple[Archive, ...] = ()
    texts: tuple[str, ...] = ()
    archive_faults: tuple[str, ...] = ()
    blob: Callable[[str], Blob] = field(repr=False)
    read: Callable[[str], bytes] = field(repr=False)
    refused: Mapping[str, PairError] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver)
    faults: tuple[str, ...] = ()
    is_remote: bool = False
    is_one_archive: bool = False


def folder_tree(root: Path) -> FileTree:
    """List the files of a folder on this machine."""
    found = find_images(root, besides=_ArchivesAndTexts())
    resolved_root = root.resolve()
    refused: dict[str, PairError] = {}

    def names(paths: tuple[Path, ...]) -> Iterator[str]:
        for path in paths:
            name = path.relative_to(root).as_posix()
            if (fault := folder_file_fault(path, name, resolved_root)) is None:
                yield name
            else:
                refused[escape_name(name)] = fault

    images = tuple(names(found.paths))
    archives, faults, others = group_archives(names(tuple(filter(_is_regular, found.besides))))
    texts = [name for name in others if name.rpartition("/")[2] in TextNames()]
    for name in set(others) - set(texts):
        found.passed_over.add_file(name)
    return FileTree(
        location=root,
        images=images,
        archives=tuple(archives),
        texts=tuple(sorted(texts)),
        archive_faults=tuple(faults),
        blob=lambda name: LocalBlob(root / name),
        read=lambda name: read_file(root / name, name),
        refused=refused,
        passed_over=found.passed_over,
        faults=found.faults,
    )


def _is_regular(path: Path) -> bool:
    """Return whether a path is a file that can be read: opening a pipe would wait for its writer."""
    return os.access(path, os.R_OK) and path.is_file()


def archive_tree(path: Path) -> FileTree:
    """List the parts of the archive at a path: the archive, one of its parts, or its name without a number.

    Raises:
        ConfigError: There is no such archive.
    """
    folder = path.parent
    if not path.is_file() and not folder.is_dir():
        raise no_such_source(path)
    names = [file.name for file in folder.iterdir() if is_archive_name(file.name) and file.is_file()]
    archives, faults, _ = group_archives(names)
    chosen = next((archive for archive in archives if path.name in (archive.name, *archive.parts)), None)
    if chosen is None:
        if not path.is_file():
            raise no_such_source(path)
        # whatever its name says: a file that is no archive is recognised by its content
        chosen = Archive(name=f"{path.name}.zip", parts=(path.name,))
    return FileTree(
        location=path,
        archives=(chosen,),
        archive_faults=tuple(fault for fault in faults if fault.startswith(f"{chosen.name}: ")),
        blob=lambda name: LocalBlob(folder / name),
        read=lambda name: read_file(folder / name, name),
        is_one_archive=True,
    )


def remote_tree(url: str, revision: str | None) -> FileTree:
    """List the files of a repository on the Hub, pinned to its newest commit, or of another fsspec URL.

    Raises:
        ConfigError: There is nothing, or it cannot be reached.
    """
    import fsspec

    with loading(url):
        url = _pin(url, revision)
        system, root = fsspec.core.url_to_fs(url)
        root = root.rstrip("/")
        infos: dict[str, Any] = system.find(root, detail=True)
    if not infos:
        raise ConfigError(f"{url}: there is no file. Check the name and the revision.")
    refused: dict[str, PairError] = {}
    passed_over = PassedOver()
    paths: dict[str, str] = {}
    for path, info in infos.items():
        name = path[len(root) :].strip("/") or path.rpartition("/")[2]
        if info.get("type") != "file" or passed_over.add_hidden(name):
            continue
        if (fault := name_fault(name)) is not None:
            refused[escape_name(name)] = fault
        else:
            paths[name] = path
    archives, faults, others = group_archives(sorted(paths))
    images = [name for name in others if name.lower().endswith(SUFFIXES)]
    texts = [name for name in others if name.rpartition("/")[2] in TextNames()]
    for name in set(others).difference(images, texts):
        passed_over.add_file(name)

    def blob(name: str) -> RemoteBlob:
        info = infos[paths[name]]
        version = info.get("blob_id") or info.get("ETag") or info.get("mtime") or ""
        identity = f"{name}:{info['size']}:{version}" if version else ""
        return RemoteBlob(system, paths[name], int(info["size"]), identity)

    return FileTree(
        location=url,
        images=tuple(images),
        archives=tuple(archives),
        texts=tuple(texts),
        archive_faults=tuple(faults),
        blob=blob,
        read=partial(_read_whole, blob),
        refused=refused,
        passed_over=passed_over,
        is_remote=True,
    )


def _read_whole(blob: Callable[[str], Blob], name: str) -> bytes:
    file = blob(name)
    if file.size > MAX_FILE_BYTES:
        raise PairError("too_large", f"{name}: the file has {file.size} bytes, above {MAX_FILE_BYTES}. Leave it out.")
    return file.read_at(0, file.size)


def _pin(url: str, revision: str | None) -> str:
    """Return a URL of the Hub with its revision resolved to a commit; any other URL unchanged."""
    if not url.startswith(HUB):
        return url
    from huggingface_hub import HfApi, HfFileSystem

    place: Any = HfFileSystem().resolve_path(url, revision=revision)
    commit = HfApi().dataset_info(place.repo_id, revision=place.revision).sha
    return f"{HUB}{place.repo_id}@{commit}" + (f"/{place.path_in_repo}" if place.path_in_repo else "")


def require_complete(tree: FileTree) -> None:
    """Raise ConfigError if an archive lacks a part, with all of them in one message."""
    if tree.archive_faults:
        more = len(tree.archive_faults) - 1
        others = f" {more} more archives have such a fault: {shorten(tree.archive_faults[1:])}" if more else ""
        raise ConfigError(f"{tree.location}: {tree.archive_faults[0]}{others}")
