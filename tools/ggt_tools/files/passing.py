"""passing: counts and names what a folder or an archive holds and what nobody takes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ggt_tools.files.names import printable, shorten

NO_SUFFIX = "no suffix"
APPLE_DOUBLE = "._"  # how the files begin in which macOS keeps what other file systems cannot: `._a.png` is no image
# folders that hold small copies of the photographs beside them, in lower case
THUMBNAIL_FOLDERS = frozenset(
    ("@eadir", ".thumbnails", "thumbnails", ".thumbs", "thumbs", ".thumb", ".@__thumb", ".xvpics")
)
# folders that a system writes for itself, in lower case
SYSTEM_FOLDERS = frozenset(
    ("__macosx", "#recycle", "@recycle", "@tmp", "$recycle.bin", "lost+found", "system volume information")
)


def folder_kind(name: str) -> str:
    """Return why a folder of this name is passed over; "" where it is not."""
    if name.lower() in THUMBNAIL_FOLDERS:
        return "thumbnail_folder"
    if name in (".", ".."):
        return ""
    return "hidden_folder" if name.startswith(".") or name.lower() in SYSTEM_FOLDERS else ""


@dataclass(slots=True)
class PassedOver:
    """Counts by kind, and the names of folders and links.

    A kind is the suffix of a file in lower case (`.gif`, NO_SUFFIX), or one of `hidden_file`, `hidden_folder`,
    `thumbnail_folder`, `linked_folder`, `unreadable_folder`, `broken_link`, `link`, `special_file`, `other_role`.
    """

    counts: Counter[str] = field(default_factory=Counter)
    names: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, kind: str, name: str = "") -> None:
        """Count one of a kind; with a name it is shown by that."""
        if not name:
            self.counts[kind] += 1
        elif name not in self.names[kind]:  # an archive lists each file of a folder
            self.counts[kind] += 1
            self.names[kind][name] = None

    def add_file(self, name: str) -> None:
        """Count a file that is no image, by its suffix."""
        self.add(PurePosixPath(name).suffix.lower() or NO_SUFFIX)

    def add_hidden(self, name: str) -> bool:
        """Count a file of an archive that is hidden, or lies in a folder that is passed over. Return whether it is."""
        *folders, file = name.split("/")
        for depth, folder in enumerate(folders, 1):
            if kind := folder_kind(folder):
                self.add(kind, "/".join(folders[:depth]))
                return True
        if file.startswith(APPLE_DOUBLE):
            self.add("hidden_file")
            return True
        return False

    def without(self, kind: str) -> PassedOver:
        """Return the same with one less of a kind that has no names."""
        less = merge([self])
        less.counts = less.counts - Counter({kind: 1})
        return less

    def lines(self) -> Counter[str]:
        """Return the counts by what is shown of them: `.gif`, or `linked_folder: a, b and 2 more`."""
        return Counter({self._shown(kind): count for kind, count in self.counts.items()})

    def _shown(self, kind: str) -> str:
        names = sorted(self.names.get(kind, ()))
        return printable(kind) + (f": {shorten(names)}" if names else "")

    def __str__(self) -> str:
        """All of it in one line: `.gif 18, .jp2 6`; "" where nothing was passed over."""
        return ", ".join(
            f"{text} {count}" if ": " not in text else text for text, count in sorted(self.lines().items())
        )


def merge(several: Iterable[PassedOver]) -> PassedOver:
    """Return the sum of several."""
    total = PassedOver()
    for one in several:
        total.counts.update(one.counts)
        for kind, names in one.names.items():
            total.names[kind] |= names
    return total
