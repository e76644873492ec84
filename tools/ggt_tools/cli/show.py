"""What the terminal shows of a verb."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from ggt_tools import events
from ggt_tools.events import Events, Progress
from ggt_tools.summary import Summary
from ggt_tools.tables import format_table
from ggt_tools.tables import printable as printable


class Result(Protocol):
    """What a stage returns where a Summary does not say all. `str(result)` is what the command prints."""

    @property
    def summary(self) -> Summary:
        """What the stage did."""


def finish(summary: Summary) -> int:
    """Print what a stage did, and return the exit code of the command."""
    print(printable_lines(str(summary)))
    return int(summary.is_failed)


def finish_result(result: Result) -> int:
    """Print the result of a stage that has more to show than its summary, and return the exit code of the command."""
    print(printable_lines(str(result)))
    return int(result.summary.is_failed)


class Terminal(Events):
    """Progress bars on stderr, and warnings as lines on stderr."""

    def __init__(self, verb: str) -> None:
        self.verb = verb

    def progress(self, label: str, total: int | None) -> AbstractContextManager[Progress]:
        return events.Bar(label, total)

    def warning(self, message: str) -> None:
        complain(self.verb, message)


def columns(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: texts are aligned to the left, columns of numbers to the right."""
    print("\n".join(format_table(names, rows)))


def complain(verb: str, text: str) -> None:
    """Print a message to stderr. Lines after the first are indented: none can look like another message."""
    print(f"{f'ggt100k {verb}'.strip()}: " + "\n  ".join(map(printable, text.split("\n"))), file=sys.stderr)


def printable_lines(text: str) -> str:
    """Return lines of text from outside without control characters."""
    return "\n".join(map(printable, text.split("\n")))
