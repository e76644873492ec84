"""What a worker does, wherever it runs: it does the works of a task, and writes their facts as one Parquet file.

The file appears completely or not at all.
"""

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

# A file that the submitting process writes. A worker that does not find it sees a store of another machine.
SHARED_MARKER = "tasks/seen"


class Work(Protocol):
    """One unit of work. It can be pickled and is small: images are named, not contained."""

    @property
    def id(self) -> str:
        """The hash of its key, the stage's version and the config: the same work has the same id everywhere."""

    @property
    def subject(self) -> str:
        """What it is about, such as a candidate or a photograph, for the reader of a message."""


Perform = Callable[[Sequence[Any]], Iterable[DataclassRecord]]


class Stage(Hashable, Protocol):
    """What is done to works. It is frozen and can be pickled; two that are equal do the same."""

    @property
    def name(self) -> str:
        """The name of the command."""

    @property
    def gpu(self) -> bool:
        """Whether its model runs on a GPU, so that each process should have one to itself."""

    def ready(self, store: Store) -> Perform:
        """Load the model, once in each process.

        Returns:
            A function that makes the facts of works, and a WorkFailure for each work that fails.

        Raises:
            ConfigError: This machine lacks something; the run ends.
        """


@dataclass(frozen=True, slots=True)
class Task:
    """Works that one process does in one go."""

    id: str
    works: tuple[Any, ...]


def make_task(stage: Stage, works: Sequence[Work]) -> Task:
    """Return the task of these works; its id depends on the stage's name and the works alone."""
    return Task(work_id(stage.name, *(work.id for work in works)), tuple(works))


def result_folder(stage: str) -> str:
    """Return the folder of the store in which the tasks of a stage write their results."""
    return f"tasks/{stage}"


def result_file(stage: str, task: Task) -> str:
    """Return the file of the store in which a task writes its results."""
    return f"{result_folder(stage)}/{task.id}.parquet"


_loaded: dict[Hashable, Perform] = {}  # at most one entry: the stage whose model this process has loaded


def perform(stage: Stage, task: Task, store: Store) -> None:
    """Do a task, unless its result file exists. A process that is killed leaves a complete file or none."""
    file = result_file(stage.name, task)
    if store.has(file):
        return
    if (stage, store) not in _loaded:
        _loaded.clear()  # one model in each process
        _loaded[stage, store] = stage.ready(store)
    store.write(file, to_parquet(_loaded[stage, store](task.works)))


def not_shared_error(location: str, *, host: str = "") -> ConfigError:
    """Return the error for a folder or URL that a worker does not see as the submitting process does.

    Args:
        location: The folder or URL.
        host: Name of the worker's machine (default: this one).
    """
    return ConfigError(
        f"{location}: the worker on {host or socket.gethostname()} does not see it. Use a folder or URL that every "
        "node sees under this name."
    )


@contextmanager
def preloaded(stage: Stage, store: Store, function: Perform) -> Iterator[None]:
    """Let tasks that run in this process use a function whose model is loaded already."""
    _loaded[stage, store] = function
    try:
        yield
    finally:
        _loaded.clear()
