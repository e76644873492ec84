"""Stages for the tests of executors: small works with known facts, and workers that are killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.executors.task import Perform
from ggt_tools.records import Score, work_id
from ggt_tools.workspace.arrow import WorkFailure
from ggt_tools.workspace.store import Store

from .making import Store as Images


@dataclass(frozen=True, slots=True)
class Number:
    """A work: its square is the fact."""

    value: int

    @property
    def id(self) -> str:
        return work_id("squaring-1", self.value)

    @property
    def subject(self) -> str:
        return f"number {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Squaring:
    """Square numbers.

    Attributes:
        seconds: Time that each work takes.
        deadly: Numbers that kill their process.
        once: A folder in which the first process to meet a deadly number leaves a note, so that only it is killed.
        odd: Numbers that cannot be squared.
        broken: Message of the ConfigError that ends the run, if any.
        marks: A folder in which each process that loads the model leaves its number.
        meet: Number of processes that wait for each other.
    """

    seconds: float = 0.0
    deadly: tuple[int, ...] = ()
    once: str = ""
    odd: tuple[int, ...] = ()
    broken: str = ""
    marks: str = ""
    meet: int = 0
    name: str = "squaring"
    gpu: bool = False

    def ready(self, store: Store) -> Perform:
        if self.broken:
            raise ConfigError(self.broken)
        if self.marks:
            (Path(self.marks) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
            end = time.monotonic() + 60
            while len(list(Path(self.marks).iterdir())) < self.meet and time.monotonic() < end:
                time.sleep(0.01)
        return self._perform

    def _perform(self, works: Sequence[Number]) -> Iterator[Score | WorkFailure]:
        for work in works:
            time.sleep(self.seconds)
            if work.value in self.deadly and self._first(work.value):
                os.kill(os.getpid(), signal.SIGKILL)
            if work.value in self.odd:
                yield WorkFailure(work=work.id, subject=work.subject, reason="odd", detail=f"{work.value} is odd")
            else:
                yield square(work.value)

    def _first(self, value: int) -> bool:
        if not self.once:
            return True
        try:
            (Path(self.once) / str(value)).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Deadly(Images):
    """Images of which one kills the first process that reads it, and never the one that made this."""

    def __init__(self, deadly: str, once: Path) -> None:
        super().__init__()
        self._deadly, self._once, self._mine = deadly, once, os.getpid()

    def image(self, name: str) -> bytes:
        if name == self._deadly and os.getpid() != self._mine and not self._once.exists():
            self._once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().image(name)


def square(value: int) -> Score:
    return Score(candidate=f"{value:08d}", metric="square", metric_version="1", value=float(value * value))
