"""The images of a folder or repository of archives, as one source. Archives are listed once and read in place."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from ggt_format.cores import core_count
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.events import Events, track
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.blobs import Blob, JoinedBlob
from ggt_tools.files.names import clean_name
from ggt_tools.files.parts import Archive, series_of
from ggt_tools.files.passed_over import PassedOver, merge
from ggt_tools.files.tar_members import HEADER_WINDOW, REMOTE_WINDOW, list_tar, open_tar_blob
from ggt_tools.files.texts import MAX_TEXT_BYTES
from ggt_tools.files.zips import ImageZip, escape_name, name_fault
from ggt_tools.stages.adopt.file_trees import FileTree, TextNames, require_complete
from ggt_tools.stages.adopt.image_files import ImageSource
from ggt_tools.stages.ingest.sources import map_in_order

REMOTE_THREADS = 8  # archives that are listed at a time


@dataclass(slots=True, kw_only=True)
class _Listed:
    """What one archive holds.

    Attributes:
        archive: The archive.
        names: Names of its images, as in the archive.
        starts: Position of each.
        sizes: Size of each.
        read: Returns the bytes of an image by its name, position and size.
        identity: Of the archive; "" if unknown.
    """

    archive: Archive
    names: list[str] = field(default_factory=list)
    starts: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    read: Callable[[str, int, int], bytes]
    identity: Callable[[str, int, int], str]
    texts: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    refused: dict[str, PairError] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver)


def open_collection(
    tree: FileTree, *, subtrees: Sequence[str] = (), prefixed: bool = False, events: Events
) -> ImageSource:
    """Open all images of a tree: its image files, and those in its archives.

    Args:
        tree: The files.
        subtrees: Paths: only files below one of them, or whose path is one of them, are opened.
        prefixed: As for `open_image_source`.
        events: Receives progress.

    Raises:
        ConfigError: An archive lacks a part or cannot be trusted, or nothing is below a subtree.
    """
    tree = _select(tree, subtrees)
    require_complete(tree)
    threads = min(REMOTE_THREADS if tree.is_remote else core_count(), max(1, len(tree.archives)))
    window = REMOTE_WINDOW if tree.is_remote else HEADER_WINDOW
    listed = list(
        track(
            events,
            map_in_order(partial(_list_archive, tree, window, prefixed), tree.archives, threads),
            "list archives",
            len(tree.archives),
        )
    )
    prefixes = [""] if tree.is_one_archive else _prefixes(listed, prefixed)
    rows: dict[str, int] = {}
    numbers, starts, sizes = array("i"), array("q"), array("q")
    refused = dict(tree.refused)
    texts: dict[str, Callable[[], bytes]] = {}
    if prefixed:
        texts |= {name: partial(_read_text, tree, name) for name in tree.texts}
    for number, (one, prefix) in enumerate(zip(listed, prefixes, strict=True)):
        where = "" if tree.is_one_archive else f"{one.archive.name}: "
        refused |= {prefix + name: PairError(fault.reason, f"{where}{fault}") for name, fault in one.refused.items()}
        texts |= {prefix + name: read for name, read in one.texts.items()}
        for name, start, size in zip(one.names, one.starts, one.sizes, strict=True):
            full_name = prefix + name
            if full_name in rows:
                other = listed[numbers[rows[full_name]]].archive.name
                refused[full_name] = PairError(
                    "duplicate_name",
                    f"{full_name}: {other} and {one.archive.name} both hold an image of this name. Remove one of them.",
                )
            else:
                rows[full_name] = len(numbers)
                numbers.append(number)
                starts.append(start)
                sizes.append(size)
        one.names = []  # twice as many strings would be in memory
    for name in tree.images:
        if name in rows:
            refused[name] = PairError(
                "duplicate_name", f"{name}: a file and an archive both have an image of this name. Remove one of them."
            )
    loose = frozenset(tree.images)
    for name in refused.keys() & rows.keys():
        del rows[name]

    def read(name: str) -> bytes:
        row = rows.get(name)
        if row is None:
            return tree.read(name)
        one, prefix = listed[numbers[row]], prefixes[numbers[row]]
        return one.read(name[len(prefix) :], starts[row], sizes[row])

    def identify(name: str) -> str:
        row = rows.get(name)
        if row is None:
            return tree.blob(name).identity if tree.is_remote else ""
        one, prefix = listed[numbers[row]], prefixes[numbers[row]]
        return one.identity(name[len(prefix) :], starts[row], sizes[row])

    def locate(name: str) -> tuple[int, int]:
        row = rows.get(name)
        return (-1, 0) if row is None else (numbers[row], starts[row])

    return ImageSource(
        path=tree.location,
        names=tuple(sorted(rows.keys() | (loose - refused.keys()))),
        refused=refused,
        read=read,
        passed_over=_merge_passed_over(tree, listed, with_texts=prefixed),
        faults=tree.faults,
        texts=texts,
        identify=identify,
        locate=locate,
    )


def _merge_passed_over(tree: FileTree, listed: Sequence[_Listed], *, with_texts: bool) -> PassedOver:
    passed_over = merge([tree.passed_over, *(one.passed_over for one in listed)])
    for name in () if with_texts else tree.texts:
        passed_over.add_file(name)
    return passed_over


def _select(tree: FileTree, subtrees: Sequence[str]) -> FileTree:
    """Return the part of a tree that is below one of the paths."""
    wanted = [clean_name(path.strip().rstrip("/")) for path in subtrees]
    if not any(wanted):
        return tree

    def is_below(name: str) -> bool:
        return any(name == path or name.startswith(f"{path}/") for path in wanted)

    archives = [
        archive for archive in tree.archives if is_below(archive.name) or any(is_below(part) for part in archive.parts)
    ]
    images = [name for name in tree.images if is_below(name)]
    for path in wanted:
        names = [*images, *(name for archive in archives for name in (archive.name, *archive.parts))]
        if not any(name == path or name.startswith(f"{path}/") for name in names):
            raise ConfigError(
                f"--subtree {path}: {tree.location} has no image or archive below it. Name a path as the folder or "
                "repository shows it."
            )
    left_out = len(tree.images) - len(images) + len(tree.archives) - len(archives)
    passed_over = merge([tree.passed_over])
    passed_over.counts["other_subtree"] = left_out
    passed_over.counts = +passed_over.counts
    chosen = {archive.name for archive in archives}
    return replace(
        tree,
        images=tuple(images),
        archives=tuple(archives),
        texts=tuple(name for name in tree.texts if is_below(name)),
        archive_faults=tuple(fault for fault in tree.archive_faults if fault.partition(": ")[0] in chosen),
        passed_over=passed_over,
    )


def _read_text(tree: FileTree, name: str) -> bytes:
    try:
        return tree.read(name)
    except PairError as error:
        raise ConfigError(f"{tree.location}: {error}") from error


def _list_archive(tree: FileTree, window: int, with_texts: bool, archive: Archive) -> _Listed:
    blobs = [tree.blob(part) for part in archive.parts]
    label = f"{tree.location}/{archive.name}" if not tree.is_one_archive else str(tree.location)
    blob: Blob = blobs[0] if len(blobs) == 1 else JoinedBlob(label, blobs)
    texts = TextNames() if with_texts else frozenset[str]()
    return _list_zip(archive, blob, label, texts) if archive.is_zip else _list_tar(archive, blob, window, texts)


def _list_zip(archive: Archive, blob: Blob, label: str, texts: Container[str]) -> _Listed:
    zipped = ImageZip(blob, label, besides=texts, is_spanned=archive.is_spanned)
    listed = _Listed(
        archive=archive,
        names=list(zipped.names),
        read=lambda name, start, size: zipped.read(name),
        identity=lambda name, start, size: zipped.identify(name),
        refused={name: fault for name, fault in zipped.refused.items() if name.lower().endswith(SUFFIXES)},
        passed_over=zipped.passed_over,
    )
    listed.starts = array("q", map(zipped.position, zipped.names))
    listed.sizes = array("q", bytes(8 * len(zipped.names)))
    listed.texts = {name: partial(_read_zip_text, zipped, name, label) for name in zipped.besides}
    return listed


def _read_zip_text(zipped: ImageZip, name: str, label: str) -> bytes:
    try:
        return zipped.read(name)
    except PairError as error:
        raise ConfigError(f"{label}: {error}") from error


def _list_tar(archive: Archive, blob: Blob, window: int, texts: Container[str]) -> _Listed:
    tar = open_tar_blob(blob)

    def read(name: str, start: int, size: int) -> bytes:
        data = tar.read_at(start, size)
        if len(data) != size:
            raise PairError("damaged", f"{name}: the archive ends within it. Fetch {archive.name} again.")
        return data

    def identity(name: str, start: int, size: int) -> str:
        return f"{blob.identity}:{start}:{size}" if blob.identity else ""

    listed = _Listed(archive=archive, read=read, identity=identity)
    seen: set[str] = set()
    for entry in list_tar(tar, window=window):
        name = clean_name(entry.name)
        if entry.kind == "other" or listed.passed_over.add_hidden(name):
            continue
        is_image = name.lower().endswith(SUFFIXES)
        if entry.kind == "link":
            listed.passed_over.add("link", escape_name(name))
        elif not is_image:
            base = name.rpartition("/")[2]
            if base in texts and entry.size <= MAX_TEXT_BYTES and name_fault(name) is None:
                listed.texts[name] = partial(read, name, entry.start, entry.size)
            else:
                listed.passed_over.add_file(name)
        elif (fault := _tar_fault(name, entry.size)) is not None:
            listed.refused[escape_name(name)] = fault
        elif name in seen:
            listed.refused[name] = PairError(
                "duplicate_name", f"{name}: the tar has two members of this name. Pack the tar again."
            )
        else:
            seen.add(name)
            listed.names.append(name)
            listed.starts.append(entry.start)
            listed.sizes.append(entry.size)
    if twice := seen & listed.refused.keys():
        kept = [number for number, name in enumerate(listed.names) if name not in twice]
        listed.names = [listed.names[number] for number in kept]
        listed.starts = array("q", (listed.starts[number] for number in kept))
        listed.sizes = array("q", (listed.sizes[number] for number in kept))
    return listed


def _tar_fault(name: str, size: int) -> PairError | None:
    if (fault := name_fault(name)) is not None:
        return fault
    if size > MAX_FILE_BYTES:
        return PairError("too_large", f"{name}: the file has {size} bytes, above {MAX_FILE_BYTES}. Leave it out.")
    return None


# --- how archives of a folder are named -------------------------------------------------------------------------------


def _prefixes(listed: Sequence[_Listed], prefixed: bool) -> list[str]:
    """Return what stands before the names of each archive's images: its folder, and its series where need be.

    Archives of one series are one set of images that was cut, so they share a prefix, unless most of their names are
    the same: then each archive counts its images anew.
    """
    by_folder: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(listed):
        by_folder[str(PurePosixPath(one.archive.name).parent)].append(number)
    prefixes = [""] * len(listed)
    for folder, numbers in by_folder.items():
        groups = _groups({number: listed[number] for number in numbers})
        base = "" if folder == "." else f"{folder}/"
        hashes = [_hashes([listed[number] for number in members]) for members in groups.values()]
        is_named = prefixed or _are_alike(hashes)
        for group, members in groups.items():
            for number in members:
                prefixes[number] = f"{group}/".lstrip("/") if is_named else base
    return prefixes


def _groups(listed: Mapping[int, _Listed]) -> dict[str, list[int]]:
    """Return the numbers of the archives by series, or by archive where those of a series hold the same names."""
    series = series_of([one.archive.name for one in listed.values()])
    groups: dict[str, list[int]] = defaultdict(list)
    for number, one in listed.items():
        groups[series[one.archive.name].rstrip("/")].append(number)
    for name, members in list(groups.items()):
        if len(members) > 1 and _are_alike([_hashes([listed[number]]) for number in members]):
            del groups[name]
            for number in members:
                archive = listed[number].archive.name
                groups[series_of([archive])[archive]] = [number]
    return groups


def _hashes(listed: Sequence[_Listed]) -> npt.NDArray[np.int64]:
    """Return a number for each name without its extension, each once."""
    values = (hash(name.rpartition(".")[0].lower()) for one in listed for name in one.names)
    return np.unique(np.fromiter(values, np.int64))


def _are_alike(groups: Sequence[npt.NDArray[np.int64]]) -> bool:
    """Return whether at least half of the names of some group are also those of the groups before it."""
    seen = np.array([], np.int64)
    for names in groups:
        common = np.intersect1d(seen, names, assume_unique=True).size
        if common and 2 * common >= min(seen.size, names.size):
            return True
        seen = np.union1d(seen, names)
    return False
