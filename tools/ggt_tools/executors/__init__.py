"""Executors run the tasks of a stage: on this machine, on a Slurm cluster or on a Ray cluster.

    for fact in run(stage, works, ledger, make_executor("ray", options=options)): ...

The works of a stage are cut into tasks. A worker makes the facts of a task's works, and writes them as one Parquet file
beside the images (task.py). This process has the ledger: it merges the files into it in batches, and removes them.

A work whose facts are in the ledger or in a file is never done again. So another run may use another executor or number
of workers, and repeats at most the tasks that were in flight. Works whose results belong to no ledger, such as checks
of a release's shards, are collected by gather() instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.executors.config import LOCAL as LOCAL
from ggt_tools.executors.config import Cluster as Cluster
from ggt_tools.executors.config import Executor as Executor
from ggt_tools.executors.config import ExecutorConfig as ExecutorConfig
from ggt_tools.executors.config import make_executor as make_executor
from ggt_tools.executors.config import open_cluster as open_cluster
from ggt_tools.executors.config import open_executor as open_executor
from ggt_tools.executors.config import wait_for_jobs
from ggt_tools.executors.task import Stage, Task, make_task, result_file, result_folder
from ggt_tools.workspace.arrow import WorkFailure, from_parquet
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.store import Store

MERGE_SIZE = 50_000  # facts that are merged in one transaction
MERGE_SECONDS = 2.0  # after which fewer facts are merged
TASKS_PER_WORKER = 4  # at least, so that the workers finish at nearly the same time
MAX_DEATHS = 8  # tasks in a row whose worker dies before the run stops


def merge_earlier_results(ledger: Ledger, stage: str, executor_name: str, notify: Callable[[str], object]) -> None:
    """Merge the results that an earlier run left behind, before the works of this run are planned.

    Args:
        ledger: Ledger of the workspace.
        stage: Name of the stage.
        executor_name: Name of the executor. With Slurm, jobs that are still in its queue are waited for.
        notify: Called with a message before waiting for jobs.
    """
    wait_for_jobs(ledger.store, stage, executor_name, notify)
    _merge(ledger, ledger.store.names(result_folder(stage)))


def run(
    stage: Stage,
    works: Sequence[Any],
    ledger: Ledger,
    executor: Executor,
    *,
    chunk: int = 64,
    min_chunk: int = 1,
    progress: Callable[[int], object] = lambda done: None,
) -> Iterator[WorkFailure | Any]:
    """Do the works, add their facts to the ledger, and yield each fact and each WorkFailure after it was added.

    Args:
        stage: What is done to each work.
        works: The works.
        ledger: Ledger that the facts are added to.
        executor: Where the tasks run.
        chunk: Largest number of works in a task.
        min_chunk: Number of works in a task that are done together, such as a batch of a GPU: no task but the last has
            fewer.
        progress: Called with the number of works that were done since the last call.

    Yields:
        The facts, in the order in which tasks end. If the process of a task dies, each of its works is tried once more
        in a task of its own; one that dies again yields a WorkFailure with the reason `worker_died`.

    Raises:
        ConfigError: The stage cannot work on a worker at all, or too many workers die in a row.
    """
    size = max(min_chunk, min(chunk, len(works) // (TASKS_PER_WORKER * max(executor.workers, 1))))
    tasks = [make_task(stage, works[start : start + size]) for start in range(0, len(works), size)]
    lost: list[Task] = []
    yield from _run_once(stage, tasks, ledger, executor, progress, lambda task, why: lost.append(task))
    single = [make_task(stage, [work]) for task in lost for work in task.works]
    faults: list[WorkFailure] = []
    yield from _run_once(stage, single, ledger, executor, progress, lambda task, why: faults.append(_died(task, why)))
    yield from faults
    progress(len(faults))


def gather(
    stage: Stage,
    works: Sequence[Any],
    store: Store,
    executor: Executor,
    *,
    progress: Callable[[Any], object] = lambda work: None,
) -> Iterator[WorkFailure | Any]:
    """Do works whose results belong to no ledger, one in each task.

    What the tasks wrote stays in the store until remove_results() is called: if the run dies, the next one continues
    from it.

    Args:
        stage: What is done to each work.
        works: The works.
        store: Where the tasks write their results.
        executor: Where the tasks run.
        progress: Called with each work that is done.

    Yields:
        The results, in the order of the works. A work whose process dies twice yields a WorkFailure with the reason
        `worker_died`.

    Raises:
        ConfigError: As run() does.
    """
    tasks = [make_task(stage, [work]) for work in works]
    remaining, reasons = tasks, dict[str, str]()
    for _ in range(2):
        reasons = {}
        for task, why in _perform(stage, remaining, store, executor):
            if why:
                reasons[task.id] = why
            else:
                progress(task.works[0])
        remaining = [task for task in tasks if task.id in reasons]
    for task in tasks:
        if task.id in reasons:
            yield _died(task, reasons[task.id])
        else:
            yield from from_parquet(store.read(result_file(stage.name, task)))


def remove_results(stage: Stage, works: Sequence[Any], store: Store) -> None:
    """Remove the files that gather() left in the store."""
    for work in works:
        store.remove(result_file(stage.name, make_task(stage, [work])))


def _died(task: Task, why: str) -> WorkFailure:
    (work,) = task.works
    return WorkFailure(work=work.id, subject=work.subject, reason="worker_died", detail=f"twice: {why}")


def _run_once(
    stage: Stage,
    tasks: Sequence[Task],
    ledger: Ledger,
    executor: Executor,
    progress: Callable[[int], object],
    report_death: Callable[[Task, str], object],
) -> Iterator[Any]:
    """Run each task once: merge the results in batches, yield them, and report each task whose worker died."""
    files: list[str] = []
    merge_time = time.monotonic()
    work_count = 0
    for task, why in _perform(stage, tasks, ledger.store, executor):
        if why:
            report_death(task, why)
            continue
        files.append(result_file(stage.name, task))
        work_count += len(task.works)
        if time.monotonic() - merge_time >= MERGE_SECONDS:
            yield from _merge(ledger, files)
            progress(work_count)
            files, merge_time, work_count = [], time.monotonic(), 0
    yield from _merge(ledger, files)
    progress(work_count)


def _perform(stage: Stage, tasks: Sequence[Task], store: Store, executor: Executor) -> Iterator[tuple[Task, str]]:
    """Yield each task once, with "" or why it was lost; tasks that an earlier run finished come first.

    Raises:
        ConfigError: MAX_DEATHS tasks in a row were lost.
    """
    finished = set(store.names(result_folder(stage.name)))
    yield from ((task, "") for task in tasks if result_file(stage.name, task) in finished)
    open_tasks = [task for task in tasks if result_file(stage.name, task) not in finished]
    deaths = 0
    for task, why in executor.perform(stage, open_tasks, store):
        deaths = deaths + 1 if why else 0
        if deaths == MAX_DEATHS:
            raise ConfigError(
                f"{stage.name}: {MAX_DEATHS} tasks in a row were lost: {why}. If memory is short, use fewer --workers."
            )
        yield task, why


def _merge(ledger: Ledger, files: Sequence[str]) -> list[Any]:
    """Add the facts of the files to the ledger, remove the files, and return the facts.

    Each transaction adds a batch of facts. A fact that two files have is stored once.
    """
    facts: list[Any] = []
    batch: list[Any] = []
    batch_files: list[str] = []
    for name in files:
        try:
            file_facts = from_parquet(ledger.store.read(name))
        except pa.ArrowException as fault:
            why = f"cannot be read: {str(fault).rstrip('.')}. Remove it; its works are done again."
            raise ShardError(f"{ledger.store.root}/{name}: {why}") from fault
        facts += file_facts
        batch += [fact for fact in file_facts if not isinstance(fact, WorkFailure)]
        batch_files.append(name)
        if len(batch) >= MERGE_SIZE or name == files[-1]:
            ledger.add(*batch)
            for merged_file in batch_files:
                ledger.store.remove(merged_file)
            batch, batch_files = [], []
    return facts
