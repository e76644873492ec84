"""What a stage reports while it runs: progress and warnings.

A stage takes an `Events`. The command line passes one that draws progress bars and prints to stderr, the Python API one
that fits a notebook, and tests pass `Recorded` or nothing at all.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 30.0  # of a progress bar that is not drawn on a terminal


class Progress(Protocol):
    """How far one piece of work is."""

    def advance(self, count: int = 1) -> None:
        """Add to the number of finished items."""

    def show(self, **values: str) -> None:
        """Show these values behind the bar, for example the money spent so far."""


class Events(Protocol):
    """Where a stage reports to."""

    def progress(self, label: str, total: int | None) -> AbstractContextManager[Progress]:
        """Begin a piece of work of `total` items (None where that is not known); the context ends it."""

    def warning(self, message: str) -> None:
        """Report something that a user must know, and that does not stop the run."""


def track(events: Events, items: Iterable[T], label: str, total: int | None) -> Iterator[T]:
    """Yield the items, and report each as finished once the next one is asked for."""
    with events.progress(label, total) as progress:
        for item in items:
            yield item
            progress.advance()


class _NoProgress:
    def advance(self, count: int = 1) -> None: ...

    def show(self, **values: str) -> None: ...


class Silent:
    """Reports nothing."""

    def progress(self, label: str, total: int | None) -> AbstractContextManager[Progress]:
        return contextlib.nullcontext(_NoProgress())

    def warning(self, message: str) -> None: ...


@dataclass
class Recorded:
    """Keeps the warnings in a list, for tests and for callers that show them on their own."""

    warnings: list[str] = field(default_factory=list)

    def progress(self, label: str, total: int | None) -> AbstractContextManager[Progress]:
        return contextlib.nullcontext(_NoProgress())

    def warning(self, message: str) -> None:
        self.warnings.append(message)


class Bars:
    """Progress bars of tqdm, in a notebook or on a terminal, and Python warnings. The Python API uses it.

    Away from a terminal a bar prints a line every half minute.
    """

    def progress(self, label: str, total: int | None) -> AbstractContextManager[Progress]:
        return Bar(label, total)

    def warning(self, message: str) -> None:
        warnings.warn(message, stacklevel=2)


class Bar:
    """A progress bar on stderr, or in a notebook."""

    def __init__(self, label: str, total: int | None) -> None:
        from tqdm.auto import tqdm

        is_drawn = sys.stderr.isatty() or "ipykernel" in sys.modules
        seconds = 0.1 if is_drawn else SECONDS_BETWEEN_LINES
        self._bar = tqdm(
            total=total, desc=label, file=sys.stderr, mininterval=seconds, delay=0 if is_drawn else seconds
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def advance(self, count: int = 1) -> None:
        self._bar.update(count)

    def show(self, **values: str) -> None:
        self._bar.set_postfix(values, refresh=False)


SILENT = Silent()
