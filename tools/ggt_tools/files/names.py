"""names: compares the names of files, which one system writes otherwise than another.

macOS decomposes letters (NFD, "e" and an accent); most lists and other systems compose them (NFC, one letter). `tar`
puts `./` in front of the members of a folder. Names that differ in nothing else mean one file, unless two files have
them. Lists of Windows have backslashes between folders, and lists typed by hand have spaces around names.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence

MAX_SHOWN = 5  # names that a message shows


def clean_name(name: str) -> str:
    """Return the name without `./` and doubled slashes. A leading slash and `..` stay: they are refused elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def compared(name: str) -> str:
    """Return the form in which two names of one file are equal: cleaned, and composed (NFC)."""
    return unicodedata.normalize("NFC", clean_name(name))


def printable(text: str) -> str:
    """Return a text that a terminal shows as it is: what is not printable is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shorten(names: Sequence[str]) -> str:
    """Return the first names of many as a message shows them: `a, b, c, d, e and 3 more`."""
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return printable(", ".join(names[:MAX_SHOWN]) + more)


class NameIndex:
    """The names that are known. A name is found as it is written, else in its compared form where only one has it."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._by_form: dict[str, list[str]] = defaultdict(list)
        for name in self._names:
            self._by_form[compared(name)].append(name)

    def find(self, name: str) -> str | None:
        """Return the known name that `name` means, or None where there is none or more than one."""
        if name in self._names:
            return name
        if (clean := clean_name(name)) in self._names:
            return clean
        forms = self._by_form.get(compared(name), [])
        if not forms and (slashed := name.strip().replace("\\", "/")) != name:
            return self.find(slashed)
        return forms[0] if len(forms) == 1 else None
