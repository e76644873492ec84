"""Pairs of a whole release, a folder or a repository on the Hub, and an explanation where its layout is not known."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ggt_tools.errors import ConfigError
from ggt_tools.events import Events
from ggt_tools.files.names import shorten
from ggt_tools.files.texts import decode_text
from ggt_tools.stages.adopt.collection import open_collection
from ggt_tools.stages.adopt.file_trees import FileTree
from ggt_tools.stages.adopt.image_files import ImageSource, Location
from ggt_tools.stages.adopt.image_source import open_tree
from ggt_tools.stages.adopt.layouts import Listing, read_list_text, refused_images
from ggt_tools.stages.adopt.manifests import MANIFESTS, is_manifest, list_by_manifest
from ggt_tools.stages.adopt.matching import Unmatched
from ggt_tools.stages.adopt.pair_rows import PairRow, PairRows
from ggt_tools.stages.adopt.sets import KnownSet
from ggt_tools.stages.adopt.templates import Layout, list_by_layout
from ggt_tools.stages.adopt.trees import TailIndex, apply_test_list, list_by_role, read_place

README = "README.md"
_LICENCE = re.compile(r"\A---\s*\n(?:.*\n)*?license: *[\"']?([^\s\"']+)", re.IGNORECASE)
TEMPLATE = """[[pairs]]
lq = "{folder}/LQ-FOLDER/{{class}}/{{name}}.*"
gt = "{folder}/GT-FOLDER/{{class}}/{{name}}.*"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release that was opened.

    Attributes:
        listing: Its pairs.
        notes: What was found, a sentence each.
        licence: Licence that its card states; "" for none.
    """

    listing: Listing
    notes: tuple[str, ...]
    licence: str


def open_release(
    location: Location,
    known_set: KnownSet,
    *,
    subtrees: Sequence[str],
    revision: str | None,
    layout: Layout | None,
    class_names: Mapping[str, str],
    test_list: str,
    columns: Sequence[str],
    events: Events,
) -> Release:
    """Find the pairs of a release: by a mapping file, by its manifests, or by the words of its folders and names.

    Args:
        location: A folder, an archive or a URL.
        known_set: What is known of it.
        subtrees: Read only what is below these paths; empty for the folder that is known, or all.
        revision: Branch, tag or commit on the Hub.
        layout: A mapping file; None for none.
        class_names: Classes by the names of folders, or by the types of a manifest.
        test_list: Name of the list of the test split, in the release or on this machine; "" for none.
        columns: Columns of manifests; empty to find them by their usual names.
        events: Receives progress.

    Raises:
        ConfigError: The layout is not clear. The message says what was found, and how to state the layout.
    """
    tree = open_tree(location, revision)
    notes = _explain_root(tree, known_set)
    licence = _licence(tree)
    chosen = list(subtrees)
    if not chosen and known_set.subtree and _has_folder(tree, known_set.subtree):
        chosen = [known_set.subtree]
    source = open_collection(tree, subtrees=chosen, prefixed=True, events=events)
    names = {**(layout.classes if layout else {}), **class_names}
    manifests = {} if layout and layout.templates else _find_manifests(source, columns)
    listing, how = _list(source, layout, names, columns, manifests)
    notes.append(f"{location}: {len(source.names)} images in {len(tree.archives)} archives and folders; {how}")
    if not listing.count:
        raise ConfigError(_explain(source, notes, chosen, listing))
    if test_list or (layout and layout.test_list):
        name = test_list or (layout.test_list if layout else "")
        where, lines = _read_test_list(source, name)
        listing = apply_test_list(listing, lines, where)
        manifests[where] = ""
    for name in source.texts.keys() - manifests.keys():
        listing.passed_over.add_file(name)
    return Release(listing=listing, notes=tuple(notes), licence=licence)


def _list(
    source: ImageSource,
    layout: Layout | None,
    class_names: Mapping[str, str],
    columns: Sequence[str],
    manifests: Mapping[str, str],
) -> tuple[Listing, str]:
    """Return the pairs, and by what they were found."""
    if layout and layout.templates:
        return list_by_layout(source, replace(layout, classes=class_names)), f"read by {layout.path}"
    if manifests:
        return _list_by_manifests(source, manifests, columns, class_names), f"read by {shorten(sorted(manifests))}"
    listing, report = list_by_role(source, class_names)
    return listing, "folders: " + "; ".join(report.lines())


def _find_manifests(source: ImageSource, columns: Sequence[str]) -> dict[str, str]:
    """Return the texts of the manifests of a release, by name."""
    found = {}
    for name, read in source.texts.items():
        if not name.lower().endswith(MANIFESTS):
            continue
        try:
            text = decode_text(read())
        except UnicodeDecodeError:
            continue
        if is_manifest(Path(name), text) or columns:
            found[name] = text
    return found


def _list_by_manifests(
    source: ImageSource, manifests: Mapping[str, str], columns: Sequence[str], class_names: Mapping[str, str]
) -> Listing:
    """Return the pairs of all manifests. A manifest whose name states the test split holds that of the release."""
    rows: dict[tuple[str, str], PairRow] = {}
    unmatched: list[Unmatched] = []
    for name, text in sorted(manifests.items()):
        folder = str(PurePosixPath(name).parent)
        index = TailIndex(source.names, "" if folder == "." else folder)
        listing = list_by_manifest(source, Path(name), columns, text=text, index=index, class_names=class_names)
        is_test = read_place(f"{PurePosixPath(name).with_suffix('')}/x").split
        assert isinstance(listing.pairs, PairRows)
        for row in listing.pairs.rows:
            split = "test" if is_test or "test" in (row.split, read_place(row.lq).split) else ""
            rows.setdefault((row.lq, row.gt), row._replace(split=split))
        unmatched += listing.unmatched
    used = {name for pair in rows for name in pair}
    refused = refused_images(source)
    passed_over = source.passed_over
    passed_over.counts["not_in_manifest"] = len(source.names) - len(used.intersection(source.names))
    passed_over.counts = +passed_over.counts
    known = {(image.name, image.reason) for image in refused}  # every listing has these
    others = [image for image in unmatched if (image.name, image.reason) not in known]
    return Listing(
        pairs=PairRows(source, list(rows.values())),
        count=len(rows),
        unmatched=(*others, *refused),
        passed_over=passed_over,
        faults=source.faults,
    )


def _read_test_list(source: ImageSource, name: str) -> tuple[str, list[str]]:
    """Return the name of a list and its lines: of a file in the release, or of one on this machine."""
    index = TailIndex(list(source.texts))
    inside = index.find(name)
    if inside is not None:
        where, text = inside, decode_text(source.texts[inside]())
    elif Path(name).is_file():
        where, text = name, read_list_text(Path(name))
    else:
        raise ConfigError(
            f"--test-list {name}: neither the release nor this machine has such a file. The release has: "
            f"{shorten(sorted(source.texts)) or 'no list'}."
        )
    lines = [line.split(",")[0].strip().strip('"') for line in text.splitlines()]
    return where, [line for line in lines if line and not line.startswith("#")]


# --- what is found ----------------------------------------------------------------------------------------------------


def _explain_root(tree: FileTree, known_set: KnownSet) -> list[str]:
    """Return a sentence for each folder and file at the root of a known release."""
    if not known_set.subtree:
        return []
    counts: Counter[str] = Counter()
    for name in (*tree.images, *tree.texts, *(part for archive in tree.archives for part in archive.parts)):
        counts[name.partition("/")[0]] += 1
    notes = []
    for name, count in sorted(counts.items()):
        if name == known_set.subtree:
            notes.append(f"{name}/: {count} files: the pairs")
        elif name in known_set.root:
            notes.append(f"{name}: {count} files: {known_set.root[name]}; not read")
        else:
            notes.append(f"{name}: {count} files: not known")
    missing = [name for name in (known_set.subtree, *known_set.root) if name not in counts and "." not in name]
    if missing:
        notes.append(f"{tree.location}: {known_set.title} usually has {', '.join(missing)} too, which is not here")
    return notes


def _has_folder(tree: FileTree, folder: str) -> bool:
    names = (*tree.images, *(archive.name for archive in tree.archives))
    return any(name.startswith(f"{folder}/") for name in names)


def _licence(tree: FileTree) -> str:
    """Return the licence that the card at the root states; "" for none."""
    if README not in tree.texts:
        return ""
    found = _LICENCE.match(tree.read(README).decode("utf-8", "replace").replace("\r\n", "\n"))
    if not found:
        return ""
    return found[1].upper() if found[1].lower().startswith("cc") else found[1]


def _explain(source: ImageSource, notes: Sequence[str], subtrees: Sequence[str], listing: Listing) -> str:
    """Return a message: what was found, why no pair is, and how to state the layout."""
    reasons = Counter(image.reason for image in listing.unmatched)
    counted = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) or "no image"
    first = source.names[0] if source.names else "NAME"
    folder = subtrees[0] if subtrees else (first.rpartition("/")[0] or "FOLDER")
    return (
        f"{source.path}: no pair was found ({counted}). " + " ".join(f"{note}." for note in notes) + " An image is "
        f"named, for example, {first!r}. State the layout in a mapping file, --layout FILE.toml, for example:\n"
        f"{TEMPLATE.format(folder=folder)}"
    )
