"""What a worker does, wherever it runs: a task's works in, a parquet file of their facts out, whole or not there."""

from __future__ import annotations

import socket
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ggt_tools.errors import ConfigError
from ggt_tools.records import DataclassRecord, work_id
from ggt_tools.workspace.arrow import to_parquet
from ggt_tools.workspace.store import Store

SEEN = "tasks/seen"  # a driver's file: a worker that does not find it works on another machine's


class Work(Protocol):
    """What one unit of work is of. Picklable, and small: images are named, not held."""

    @property
    def id(self) -> str:
        """The hash of its key, the stage's version and the config: the same work has the same id everywhere."""

    @property
    def subject(self) -> str:
        """What it is of, for who reads of a fault."""


Perform = Callable[[Sequence[Any]], Iterable[DataclassRecord]]


class Stage(Hashable, Protocol):
    """What is done to works: frozen and picklable, equal where it does the same."""

    @property
    def name(self) -> str:
        """Of the verb."""

    @property
    def gpu(self) -> bool:
        """Its model runs on a GPU, so that a process should have one to itself."""

    def ready(self, store: Store) -> Perform:
        """Loads its model, once a process. What it returns makes facts of works, and a Fault of one that fails.

        Raises ConfigError where this machine lacks something: that ends the run.
        """


@dataclass(frozen=True, slots=True)
class Task:
    """So many works that are done in one go, by one process."""

    id: str
    works: tuple[Any, ...]


def task(stage: Stage, works: Sequence[Work]) -> Task:
    return Task(work_id(stage.name, *(work.id for work in works)), tuple(works))


def folder(stage: str) -> str:
    """Where the tasks of a stage leave what they found, in the store."""
    return f"tasks/{stage}"


def file(stage: str, task: Task) -> str:
    return f"{folder(stage)}/{task.id}.parquet"


_ready: dict[Hashable, Perform] = {}  # of this process: its model


def perform(stage: Stage, task: Task, store: Store) -> None:
    """Does a task that is not done yet. A kill leaves nothing of it, or all."""
    place = file(stage.name, task)
    if store.has(place):
        return
    if (stage, store) not in _ready:
        _ready.clear()  # one model a process
        _ready[stage, store] = stage.ready(store)
    store.write(place, to_parquet(_ready[stage, store](task.works)))


def unseen(place: str, *, by: str = "") -> ConfigError:
    """What a driver and a worker have to have in common, and have not."""
    return ConfigError(
        f"{place}: is not seen by {by or socket.gethostname()}, where a worker runs; put it where every node sees it "
        "under this name: a shared folder, or a URL"
    )


@contextmanager
def held(stage: Stage, store: Store, work: Perform) -> Iterator[None]:
    """What is ready in this process already need not be loaded once more, where all is done here."""
    _ready[stage, store] = work
    try:
        yield
    finally:
        _ready.clear()
