"""Escape texts from outside, so that names of authors and sources, licences and URLs read in a card as they are.

A character that has a meaning in Markdown, HTML or the Hub's renderer becomes a numeric character reference, which has
none (CommonMark, section 2.5).
"""

from __future__ import annotations

import re

MAX_LENGTH = 120  # characters that are shown of one text
JOINERS = "\u200c\u200d"  # are not printable, but belong to the spelling of names
_SPECIAL = re.compile(r"""[\\`*_{}\[\]<>()#!|&~$:@^="'+]|www(?=\.)""", re.IGNORECASE)
_HEADING = re.compile(r"(#{1,4}) ")
SECTION_LEVEL = 3  # level of the headings within a section


class Trusted(str):
    """A text that the page shows as it is: it is our own, or was checked."""

    __slots__ = ()


def plain(text: str, max_length: int = MAX_LENGTH) -> str:
    """Return a text as one line of printable characters, cut to `max_length`."""
    line = "".join(c if c.isprintable() or c in JOINERS else "\ufffd" for c in " ".join(text.split()))
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def markdown(text: str) -> str:
    """Return Markdown that renders as the text itself, within a line or a cell of a table."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", plain(text))


def fenced(text: str, language: str = "") -> str:
    """Return a text as a block of code, in a fence that does not occur in the text."""
    lines = ["".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line) for line in text.splitlines()]
    longest_run = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest_run + 1)
    return "\n".join([fence + language, *lines, fence])


def quoted(text: str) -> str:
    """Return the Markdown of a file for a section of the page: headings are lowered, and HTML is shown as text."""
    lines = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in "\n".join(text.splitlines())).split("\n")
    highest = min((len(match[1]) for line in lines if (match := _HEADING.match(line))), default=1)
    lower = "#" * max(0, SECTION_LEVEL - highest)
    lines = [f"{lower}{line}" if _HEADING.match(line) else line for line in lines]
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", "\n".join(lines)).strip()
