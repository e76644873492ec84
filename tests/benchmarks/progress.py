"""Report the progress of the benches, and the time left, on stderr."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

MINUTES = 12.0  # that a whole run may take


class Progress:
    """Lines such as `[ 3:12] loaders, 2 of 9: PNG, 256 crops, one core: round 2 of 3. Left: restoring, faults`."""

    def __init__(
        self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic, minutes: float = MINUTES
    ) -> None:
        self._out, self._clock, self._start = out, clock, clock()
        self._benches: Sequence[str] = ()
        self._number = 0
        self.minutes = minutes

    def begin(self, benches: Sequence[str], minutes: float) -> None:
        """Start the clock of a run of these benches."""
        self._benches, self._number, self._start, self.minutes = benches, 0, self._clock(), minutes

    def next_bench(self) -> bool:
        """Go to the next bench. False where the time is over: it is left out, and a line says so."""
        self._number += 1
        if self.seconds_left() > 0:
            return True
        name = self._benches[self._number - 1]
        self._print(f"{name} is left out, the {self.minutes:g} minutes are over: python -m tests.benchmarks {name}")
        return False

    def seconds_left(self, share: float = 1.0) -> float:
        """Return the seconds until `share` of the run's time is gone; less than 0 after that."""
        return share * 60 * self.minutes - (self._clock() - self._start)

    def say(self, what: str) -> None:
        """Say what begins now."""
        if not 0 < self._number <= len(self._benches):
            self._print(what)
            return
        left = ", ".join(self._benches[self._number :]) or "nothing"
        self._print(f"{self._benches[self._number - 1]}, {self._number} of {len(self._benches)}: {what}. Left: {left}")

    def _print(self, text: str) -> None:
        minutes, seconds = divmod(int(self._clock() - self._start), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", file=self._out or sys.stderr, flush=True)


PROGRESS = Progress(minutes=math.inf)  # nothing is cut short until a run begins
