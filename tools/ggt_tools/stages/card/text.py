"""Texts from outside, made harmless: names of authors and sources, licences and URLs stand in a card as they read.

A character that Markdown, HTML or the Hub's renderer takes for an instruction becomes a numeric character reference,
which CommonMark (section 2.5) never takes for one.
"""

from __future__ import annotations

import re

LONGEST = 120  # characters that are shown of one text
JOINERS = "\u200c\u200d"  # print nothing and belong to the spelling of names
_INSTRUCTIONS = re.compile(r"""[\\`*_{}\[\]<>()#!|&~$:@^="'+]|www(?=\.)""", re.IGNORECASE)
_HEADING = re.compile(r"(#{1,4}) ")
UNDER = 3  # the level of the headings of a section


class Trusted(str):
    """A text that stands in the page as it is: ours, or checked."""

    __slots__ = ()


def plain(text: str, longest: int = LONGEST) -> str:
    """One line of what prints, no longer than `longest`."""
    shown = "".join(c if c.isprintable() or c in JOINERS else "\ufffd" for c in " ".join(text.split()))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def markdown(text: str) -> str:
    """The Markdown that reads as `text` does, within a line or a cell of a table."""
    return _INSTRUCTIONS.sub(lambda found: f"&#{ord(found[0][0])};{found[0][1:]}", plain(text))


def fenced(text: str, language: str = "") -> str:
    """The text as a block of code, behind a fence that it does not hold itself."""
    lines = ["".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line) for line in text.splitlines()]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence + language, *lines, fence])


def quoted(text: str) -> str:
    """Markdown of a file beside the data, put under a heading of the page. Its HTML is shown, not obeyed."""
    lines = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in "\n".join(text.splitlines())).split("\n")
    highest = min((len(found[1]) for line in lines if (found := _HEADING.match(line))), default=1)
    down = "#" * max(0, UNDER - highest)
    lines = [f"{down}{line}" if _HEADING.match(line) else line for line in lines]
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", "\n".join(lines)).strip()
