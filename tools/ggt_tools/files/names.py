"""Compare the names of files, which one system writes in another way than the next.

macOS decomposes letters (NFD: "e" and an accent); most lists and other systems compose them (NFC: one letter). `tar`
puts `./` in front of the members of a folder. Names that differ in nothing else mean the same file, unless two files
have them. Lists that were written on Windows have backslashes between folders, and lists that were typed by hand have
spaces around names.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

MAX_SHOWN = 5  # names that a message shows


def clean_name(name: str) -> str:
    """Return the name without `./` and doubled slashes. A leading slash and `..` stay: they are rejected elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def normalize_name(name: str) -> str:
    """Return the form in which two names of one file are equal: cleaned, and composed (NFC)."""
    return unicodedata.normalize("NFC", clean_name(name))


def printable(text: str) -> str:
    """Return the text with everything escaped that a terminal would not print as it is."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shorten(names: Sequence[str]) -> str:
    """Return the first of many names as a message shows them: `a, b, c, d, e and 3 more`."""
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return printable(", ".join(names[:MAX_SHOWN]) + more)


class NameIndex:
    """Finds names among those of existing files: as they are written, or else by their normalized form.

    Args:
        names: Names of the existing files.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._by_form: dict[str, list[str]] = defaultdict(list)
        for name in self._names:
            self._by_form[normalize_name(name)].append(name)

    def find(self, name: str) -> str | None:
        """Return the existing name that `name` means; None where there is none, or more than one."""
        if name in self._names:
            return name
        if (clean := clean_name(name)) in self._names:
            return clean
        matches = self._by_form.get(normalize_name(name), [])
        if not matches and (slashed := name.strip().replace("\\", "/")) != name:
            return self.find(slashed)
        return matches[0] if len(matches) == 1 else None
