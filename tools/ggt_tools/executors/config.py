"""Which executor runs a stage: its config, and how it is made and opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

from ggt_format.cores import core_count
from ggt_tools.choices import EXECUTORS
from ggt_tools.configs import check_types
from ggt_tools.errors import ConfigError
from ggt_tools.events import Events
from ggt_tools.executors.local import CONTEXT, Local
from ggt_tools.executors.task import SHARED_MARKER, Stage, Task
from ggt_tools.workspace.store import Store

WORKS_PER_PROCESS = 16  # that another process must have to do, to be worth the seconds that its start takes


class Executor(Protocol):
    """Runs tasks somewhere."""

    @property
    def workers(self) -> int:
        """Number of tasks that run at the same time; 0 if all run in this process."""

    def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
        """Yield each task once, when it ends, with "" or why its process or machine was lost."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """An executor for works whose results belong to no ledger, and the store where its tasks write the results.

    Every node must be able to read and write the store.
    """

    executor: Executor
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
        check_types(self)
        if self.name not in EXECUTORS:
            raise ConfigError(f"executor: none is named {self.name!r}. Known: {', '.join(EXECUTORS)}.")
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers: {self.workers} is not 1 or more. Give a number of processes.")

    @property
    def is_given(self) -> bool:
        """Whether a user asked for processes or a cluster."""
        return self.workers is not None or self.name != "local"


LOCAL = ExecutorConfig()


def open_executor(config: ExecutorConfig, stage: Stage, works: Sequence[Any]) -> Executor:
    """Return the executor that the config asks for, with no more workers than so many works are worth."""
    if hasattr(CONTEXT, "set_forkserver_preload"):
        CONTEXT.set_forkserver_preload([type(stage).__module__])
    gpu_count = _gpu_count() if stage.gpu and config.name == "local" else 0
    return make_executor(
        config.name, workers=config.workers, options=config.options, work_count=len(works), gpu_count=gpu_count
    )


def open_cluster(config: ExecutorConfig, stage: str, folder: str, events: Events) -> Cluster | None:
    """Return the cluster that the config asks for, and the folder that its tasks share; None for this machine.

    Waits for jobs of an earlier run.

    Raises:
        ConfigError: The folder cannot be written.
    """
    if config.name == "local" and not config.options:
        return None
    executor = make_executor(config.name, workers=config.workers, options=config.options)
    store = Store(folder).absolute
    try:
        store.write(SHARED_MARKER, b"")
    except Exception as fault:  # each client of fsspec has exceptions of its own
        why = f"{store.root}: cannot be written: {str(fault) or type(fault).__name__}"
        raise ConfigError(f"{why}. Name a folder or URL that every node can write.") from fault
    wait_for_jobs(store, stage, config.name, events.warning)
    return Cluster(executor, store)


def _gpu_count() -> int:
    if find_spec("torch") is None:
        return 0
    import torch

    return int(torch.cuda.device_count())


def make_executor(
    name: str,
    *,
    workers: int | None = None,
    options: Mapping[str, str] | None = None,
    work_count: int = 0,
    gpu_count: int = 0,
) -> Executor:
    """Return the executor of a name.

    Args:
        name: One of EXECUTORS.
        workers: Number of workers; None for as many as fit on the machine or cluster, and are
            useful for the number of works.
        options: Settings of a cluster by name.
        work_count: Number of works to do.
        gpu_count: Number of GPUs of this machine that the stage may use.

    Raises:
        ConfigError: The executor or an option is unknown, a package is missing, or the cluster cannot be used.
    """
    if name not in EXECUTORS:
        raise ConfigError(f"--engine {name}: is not known. Use one of: {', '.join(EXECUTORS)}.")
    try:
        if name == "slurm":
            from ggt_tools.executors.slurm import Slurm

            return Slurm(workers, options or {})
        if name == "ray":
            from ggt_tools.executors.ray import Ray

            return Ray(workers, options or {})
    except ImportError as fault:
        raise ConfigError(
            f"--engine {name}: {fault.name} is not installed. Install it: pip install 'ggt100k[{name}]'"
        ) from fault
    if options:
        raise ConfigError(
            f"--cluster {next(iter(options))}: --engine local has no options. Leave it out, or name a cluster."
        )
    if workers is None:
        workers = min(gpu_count or core_count(), work_count // WORKS_PER_PROCESS)
        workers = 0 if workers == 1 and not gpu_count else workers
    gpus = gpu_names(gpu_count, os.environ) or ("",)
    return Local(tuple(gpus[number % len(gpus)] for number in range(workers)))


def gpu_names(count: int, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of this many GPUs, as CUDA_VISIBLE_DEVICES takes them.

    Args:
        count: Number of GPUs that CUDA sees.
        environment: Environment variables. CUDA_VISIBLE_DEVICES names the GPUs that this process may use.
    """
    visible = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(visible[:count]) if visible else tuple(str(number) for number in range(count))


def wait_for_jobs(store: Store, stage: str, executor_name: str, notify: Callable[[str], object]) -> None:
    """Wait until no job of an earlier run works on a stage: Slurm's jobs outlive the run that submitted them."""
    if executor_name == "slurm":
        from ggt_tools.executors import slurm

        slurm.wait_for_jobs(stage, store, notify)
