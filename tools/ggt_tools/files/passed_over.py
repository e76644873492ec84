"""Count and list the files and folders that are not read from a folder or an archive."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ggt_tools.files.names import printable, shorten

NO_SUFFIX = "no suffix"
HIDDEN = "."  # prefix of hidden files; `._a.png` is where macOS stores the resource fork of `a.png`
# Folders that hold small copies of the photographs beside them, in lower case.
THUMBNAIL_FOLDERS = frozenset(
    ("@eadir", ".thumbnails", "thumbnails", ".thumbs", "thumbs", ".thumb", ".@__thumb", ".xvpics")
)
# Folders that a system writes for itself, in lower case.
SYSTEM_FOLDERS = frozenset(
    ("__macosx", "#recycle", "@recycle", "@tmp", "$recycle.bin", "lost+found", "system volume information")
)


def folder_kind(name: str) -> str:
    """Return the kind, such as "hidden_folder", under which a folder of this name is passed over; "" if it is read."""
    if name.lower() in THUMBNAIL_FOLDERS:
        return "thumbnail_folder"
    if name in (".", ".."):
        return ""
    return "hidden_folder" if name.startswith(".") or name.lower() in SYSTEM_FOLDERS else ""


@dataclass(slots=True)
class PassedOver:
    """Files and folders that are passed over.

    A kind is the suffix of a file in lower case (`.gif`, NO_SUFFIX), or one of `hidden_file`, `hidden_folder`,
    `thumbnail_folder`, `linked_folder`, `unreadable_folder`, `broken_link`, `link`, `special_file`, `other_role`,
    `not_in_map` and `not_in_manifest`.

    Attributes:
        counts: Number of files or folders by kind.
        names: Names of folders and links by kind, in order (a dict without values).
    """

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, kind: str, name: str = "") -> None:
        """Count a file or folder. One that has a name is counted once, and listed by it."""
        if not name:
            self.counts[kind] += 1
        elif name not in self.names[kind]:  # an archive lists a folder once for each file in it
            self.counts[kind] += 1
            self.names[kind][name] = None

    def add_file(self, name: str) -> None:
        """Count a file that is not an image, by its suffix."""
        self.add(PurePosixPath(name).suffix.lower() or NO_SUFFIX)

    def add_hidden(self, name: str) -> bool:
        """Count a file of an archive if it is hidden, or in a folder that is passed over. Return whether it is."""
        *folders, file = name.split("/")
        for depth, folder in enumerate(folders, 1):
            if kind := folder_kind(folder):
                self.add(kind, "/".join(folders[:depth]))
                return True
        if file.startswith(HIDDEN):
            self.add("hidden_file")
            return True
        return False

    def without(self, kind: str) -> PassedOver:
        """Return a copy with one less of a kind that has no names."""
        copy = merge([self])
        copy.counts = copy.counts - Counter({kind: 1})
        return copy

    def lines(self) -> Counter[str]:
        """Return the counts by what a summary shows: `.gif`, or `linked_folder: a, b and 2 more`."""
        return Counter({self._describe(kind): count for kind, count in self.counts.items()})

    def _describe(self, kind: str) -> str:
        names = sorted(self.names.get(kind, ()))
        return printable(kind) + (f": {shorten(names)}" if names else "")

    def __str__(self) -> str:
        """Return all of it in one line: `.gif 18, .jp2 6`; "" where nothing was passed over."""
        return ", ".join(
            f"{text} {count}" if ": " not in text else text for text, count in sorted(self.lines().items())
        )


def merge(parts: Iterable[PassedOver]) -> PassedOver:
    """Return the sum of several."""
    total = PassedOver()
    for part in parts:
        total.counts.update(part.counts)
        for kind, names in part.names.items():
            total.names[kind] |= names
    return total
