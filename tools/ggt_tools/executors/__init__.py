"""Engines: the same stage on this machine, on a Slurm cluster or on a Ray cluster, by one way.

    for fault in run(stage, works, ledger, engine("ray", options)): ...

Works are cut into tasks; a worker anywhere makes facts of a task's works and leaves them as one parquet file beside the
images (task.py); here, where the ledger is, the files are merged into it in batches and removed. What the ledger or a
file holds is never done again: another run, engine or number of workers repeats at most what was in flight. Works that
are of no ledger, a release's shards, are gathered instead of merged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

import pyarrow as pa

from ggt_format.cores import core_count
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.events import Events
from ggt_tools.executors.local import Local
from ggt_tools.executors.task import SEEN, Stage, Task, file, folder, task
from ggt_tools.workspace.arrow import Fault, from_parquet
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.store import Store

ENGINES = ("local", "slurm", "ray")
BATCH = 50_000  # facts that are merged in one transaction
EVERY = 2.0  # seconds after which fewer are
ROUNDS = 4  # tasks a worker gets, at least: the last ones end near each other
WORTH = 16  # works that a further process has to find, for the seconds that its start takes
GIVE_UP = 8  # tasks that die, one after another, before the run ends


class Engine(Protocol):
    """What drives tasks."""

    @property
    def workers(self) -> int:
        """That work side by side; 0: all is done in this process."""

    def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
        """Each task once, as it ends, with "" or why it was lost with the process or machine that it ran on."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What drives works that are of no ledger, and where their tasks leave what they found: every node sees it."""

    engine: Engine
    store: Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorConfig:
    """Where a stage runs.

    Attributes:
        name: "local" for this machine, "slurm" or "ray" for a cluster.
        workers: Number of worker processes; None for one a GPU or core.
        options: Settings of the cluster by name, for example ``{"partition": "gpu"}``.
    """

    name: str = "local"
    workers: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise ConfigError(f"executor: none is named {self.name!r}. Known: {', '.join(ENGINES)}.")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers: {self.workers} is not 1 or more. Give a number of processes.")

    @property
    def is_given(self) -> bool:
        """Whether a user asked for processes or a cluster."""
        return self.workers is not None or self.name != "local"


LOCAL = ExecutorConfig()


def start(config: ExecutorConfig, stage: Stage, works: Sequence[Any]) -> Engine:
    """Return the executor that the config asks for, with as many workers as so many works are worth."""
    from ggt_tools.executors.local import CONTEXT

    if hasattr(CONTEXT, "set_forkserver_preload"):
        CONTEXT.set_forkserver_preload([type(stage).__module__])
    gpus = _gpu_count() if stage.gpu and config.name == "local" else 0
    return engine(config.name, workers=config.workers, options=config.options, works=len(works), gpus=gpus)


def open_cluster(config: ExecutorConfig, stage: str, folder: str, events: Events) -> Cluster | None:
    """Return the cluster that the config asks for, and the folder that its tasks share; None for this machine.

    Jobs of an earlier run are waited for.

    Raises:
        ConfigError: The folder cannot be written.
    """
    if config.name == "local" and not config.options:
        return None
    chosen = engine(config.name, workers=config.workers, options=config.options)
    store = Store(folder).absolute
    try:
        store.write(SEEN, b"")
    except Exception as fault:  # each client of fsspec has exceptions of its own
        why = f"{store.root}: cannot be written: {str(fault) or type(fault).__name__}"
        raise ConfigError(f"{why}; it has to be a folder or URL that every node can write") from fault
    wait(store, stage, config.name, events.warning)
    return Cluster(chosen, store)


def _gpu_count() -> int:
    if find_spec("torch") is None:
        return 0
    import torch

    return int(torch.cuda.device_count())


def engine(
    name: str, *, workers: int | None = None, options: Mapping[str, str] | None = None, works: int = 0, gpus: int = 0
) -> Engine:
    """The engine of that name. `workers` None: as many as the machine, the cluster and so many works ask for.

    `gpus`: of this machine, that a stage may use.
    """
    if name not in ENGINES:
        raise ConfigError(f"no engine is named {name!r}; known: {', '.join(ENGINES)}")
    try:
        if name == "slurm":
            from ggt_tools.executors.slurm import Slurm

            return Slurm(workers, options or {})
        if name == "ray":
            from ggt_tools.executors.ray import Ray

            return Ray(workers, options or {})
    except ImportError as fault:
        raise ConfigError(f"--engine {name}: {fault.name} is not installed: pip install 'ggt100k[{name}]'") from fault
    if options:
        raise ConfigError(f"--cluster {next(iter(options))}: the local engine has no such option")
    if workers is None:
        workers = min(gpus or core_count(), works // WORTH)
        workers = 0 if workers == 1 and not gpus else workers
    return Local(tuple(str(place % gpus) if gpus else "" for place in range(workers)))


def settle(ledger: Ledger, stage: str, engine: str, tell: Callable[[str], object]) -> None:
    """Merges what an earlier run found and nobody took in, before works are planned.

    Jobs of it that are still in Slurm's queue are waited for, and `tell` is told so.
    """
    wait(ledger.store, stage, engine, tell)
    _merge(ledger, ledger.store.names(folder(stage)))


def wait(store: Store, stage: str, engine: str, tell: Callable[[str], object]) -> None:
    """Until no job of an earlier run works on a stage any more: those in Slurm's queue go on without who asked."""
    if engine == "slurm":
        from ggt_tools.executors import slurm

        slurm.wait(stage, store, tell)


def run(
    stage: Stage,
    works: Sequence[Any],
    ledger: Ledger,
    engine: Engine,
    *,
    chunk: int = 64,
    progress: Callable[[int], object] = lambda done: None,
) -> Iterator[Fault | Any]:
    """Does the works, adds their facts to the ledger, and yields each fact and each Fault once it is there.

    `chunk`: works a task at most. A work whose process dies is tried once more, alone; if that dies too it is a Fault
    `worker_died`. Raises what the stage raises where it cannot work at all, and ConfigError where nothing lives.
    """
    size = max(1, min(chunk, len(works) // (ROUNDS * max(engine.workers, 1))))
    tasks = [task(stage, works[at : at + size]) for at in range(0, len(works), size)]
    lost: list[Task] = []
    yield from _round(stage, tasks, ledger, engine, progress, lambda task, why: lost.append(task))
    alone = [task(stage, [work]) for each in lost for work in each.works]
    faults: list[Fault] = []
    yield from _round(stage, alone, ledger, engine, progress, lambda task, why: faults.append(_died(task, why)))
    yield from faults
    progress(len(faults))


def gather(
    stage: Stage,
    works: Sequence[Any],
    store: Store,
    engine: Engine,
    *,
    progress: Callable[[Any], object] = lambda work: None,
) -> Iterator[Fault | Any]:
    """Does works that are of no ledger, a task each, then yields what was found in the order of the works.

    `progress` is told of each work that is done. What tasks left in `store` stays there until forget(): a run that dies
    goes on from it. A work whose process dies is tried once more; if that dies too it is a Fault `worker_died`. Raises
    as run() does.
    """
    tasks = [task(stage, [work]) for work in works]
    todo, lost = tasks, dict[str, str]()
    for _ in range(2):
        lost = {}
        for ended, why in _perform(stage, todo, store, engine):
            if why:
                lost[ended.id] = why
            else:
                progress(ended.works[0])
        todo = [each for each in tasks if each.id in lost]
    for each in tasks:
        if each.id in lost:
            yield _died(each, lost[each.id])
        else:
            yield from from_parquet(store.read(file(stage.name, each)))


def forget(stage: Stage, works: Sequence[Any], store: Store) -> None:
    """Removes what gather() left, once all of it is taken in."""
    for work in works:
        store.remove(file(stage.name, task(stage, [work])))


def _died(task: Task, why: str) -> Fault:
    (work,) = task.works
    return Fault(work=work.id, subject=work.subject, reason="worker_died", detail=f"twice: {why}")


def _round(
    stage: Stage,
    tasks: Sequence[Task],
    ledger: Ledger,
    engine: Engine,
    progress: Callable[[int], object],
    died: Callable[[Task, str], object],
) -> Iterator[Any]:
    """Each task once: what came is merged in batches and yielded; who died is told of."""
    files: list[str] = []
    merged = time.monotonic()
    works = 0
    for ended, why in _perform(stage, tasks, ledger.store, engine):
        if why:
            died(ended, why)
            continue
        files.append(file(stage.name, ended))
        works += len(ended.works)
        if time.monotonic() - merged >= EVERY:
            yield from _merge(ledger, files)
            progress(works)
            files, merged, works = [], time.monotonic(), 0
    yield from _merge(ledger, files)
    progress(works)


def _perform(stage: Stage, tasks: Sequence[Task], store: Store, engine: Engine) -> Iterator[tuple[Task, str]]:
    """Each task once, with "" or why it was lost; first what is done already. ConfigError where nothing lives."""
    there = set(store.names(folder(stage.name)))
    yield from ((each, "") for each in tasks if file(stage.name, each) in there)
    deaths = 0
    for ended, why in engine.perform(stage, [each for each in tasks if file(stage.name, each) not in there], store):
        deaths = deaths + 1 if why else 0
        if deaths == GIVE_UP:
            raise ConfigError(
                f"{stage.name}: {GIVE_UP} tasks, one after another: {why}; is there memory enough? try fewer --workers"
            )
        yield ended, why


def _merge(ledger: Ledger, files: Sequence[str]) -> list[Any]:
    """Adds what the files hold to the ledger, a batch a transaction, then removes them. What is there twice is one."""
    every: list[Any] = []
    batch: list[Any] = []
    read: list[str] = []
    for name in files:
        try:
            facts = from_parquet(ledger.store.read(name))
        except pa.ArrowException as fault:
            said = f"cannot be read: {str(fault).rstrip('.')}; remove it: its works are done again"
            raise ShardError(f"{ledger.store.root}/{name}: {said}") from fault
        every += facts
        batch += [fact for fact in facts if not isinstance(fact, Fault)]
        read.append(name)
        if len(batch) >= BATCH or name == files[-1]:
            ledger.add(*batch)
            for done in read:
                ledger.store.remove(done)
            batch, read = [], []
    return every
