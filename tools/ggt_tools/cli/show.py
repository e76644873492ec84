"""What a person sees of a verb: progress, tables, and texts from outside made harmless."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from ggt_tools import events
from ggt_tools.events import Events, Progress
from ggt_tools.summary import Summary
from ggt_tools.tables import format_table
from ggt_tools.tables import printable as printable

T = TypeVar("T")


def table(verb: str, counts: dict[str, int], **reasons: Counter[str]) -> None:
    """How a verb ends: "verb: 3 imported, 0 already done", then a line for each reason."""
    print(f"{verb}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    show_reasons(**reasons)


def show_reasons(**reasons: Counter[str]) -> None:
    """A line for each reason: what becomes of it, how many there are, the reason."""
    for name, counted in reasons.items():
        for reason, count in sorted(counted.items()):
            print(f"  {name} {count:>6}  {reason}")


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
    """A table: texts to the left, numbers to the right."""
    print("\n".join(format_table(names, rows)))


def complain(verb: str, text: str) -> None:
    """One line on stderr."""
    print(f"ggt100k {verb}: {printable(text)}", file=sys.stderr)


def printable_lines(text: str) -> str:
    """Lines of text from outside, harmless to a terminal."""
    return "\n".join(map(printable, text.split("\n")))


def reasons(counted: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counted)


class Bar:
    """A progress bar on a terminal; elsewhere a line every half minute."""

    def __init__(self, total: int, what: str) -> None:
        from tqdm import tqdm

        every = 0.1 if sys.stderr.isatty() else 30.0
        self._bar = tqdm(total=total, desc=what, file=sys.stderr, mininterval=every, delay=0 if every < 1 else every)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *rest: object) -> None:
        self._bar.close()

    def update(self, done: int) -> None:
        self._bar.update(done)

    def say(self, **what: str) -> None:
        """What stands behind the bar."""
        self._bar.set_postfix(what, refresh=False)


def progress(items: Iterable[T], total: int, what: str) -> Iterator[T]:
    with Bar(total, what) as bar:
        for item in items:
            yield item
            bar.update(1)


def now() -> str:
    """UTC, ISO 8601, whole seconds."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def seed(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2**63 - 1")
    return number


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def usd(text: str) -> float:
    """Money: "250usd", "250 usd", "$250", "0.07"."""
    number = float(text.lower().replace("usd", "").replace("$", "").strip())
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0 usd")
    return number


def per_minute(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} a minute is not above 0")
    return number
