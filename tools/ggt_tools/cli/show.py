"""What the terminal shows of a verb, and the types of option values."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager

from ggt_tools import events
from ggt_tools.events import Events, Progress
from ggt_tools.summary import Summary
from ggt_tools.tables import format_table
from ggt_tools.tables import printable as printable


def finish(summary: Summary) -> int:
    """Print what a stage did, and return the exit code of the command."""
    print(printable_lines(str(summary)))
    return int(summary.is_failed)


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
    """Print one line to stderr."""
    print(f"ggt100k {verb}: {printable(text)}", file=sys.stderr)


def printable_lines(text: str) -> str:
    """Return lines of text from outside without control characters."""
    return "\n".join(map(printable, text.split("\n")))


def seed(text: str) -> int:
    """Read a seed, 0 to 2**63 - 1."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2**63 - 1")
    return number


def count(text: str) -> int:
    """Read a whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def usd(text: str) -> float:
    """Read an amount of money: "250usd", "250 usd", "$250", "0.07"."""
    number = float(text.lower().replace("usd", "").replace("$", "").strip())
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0 usd")
    return number


def per_minute(text: str) -> float:
    """Read a number per minute, above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} a minute is not above 0")
    return number


def seconds(text: str) -> float:
    """Read a number of seconds, above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} seconds is not above 0")
    return number
