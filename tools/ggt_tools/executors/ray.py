"""The executor of a running Ray cluster: one Ray task for each task of ours, a limited number of them in flight.

datatrove's Ray executor is not used. It starts an actor and a pool of processes for every task and loads the model in
each. It hangs if a process of that pool is killed, or if a node dies between the placement of an actor and its first
answer (dataset_card/SCALING.md has the figures). A plain Ray task runs in a process that Ray keeps for the next task,
with its model.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ggt_tools.errors import ConfigError
from ggt_tools.executors.options import parse_options
from ggt_tools.executors.task import SHARED_MARKER, Stage, Task, not_shared_error, perform
from ggt_tools.workspace.store import Store


class Ray:
    """The executor."""

    def __init__(self, workers: int | None, options: Mapping[str, str]) -> None:
        """Connect to the cluster.

        Args:
            workers: Number of tasks in flight; None for as many as fit on the cluster.
            options: address (default: $RAY_ADDRESS, else the cluster that runs on this machine), cpus_per_task
                (default: 1), gpus_per_task (default: 0), memory_gb of a task (default: no limit).

        Raises:
            ConfigError: No cluster answers, no task fits on it, or an option is wrong.
        """
        parsed = parse_options("ray", options, address="", cpus_per_task="1", gpus_per_task="0", memory_gb="0")
        _print_node_errors_on_stderr()
        try:
            if not ray.is_initialized():
                address = str(parsed["address"] or os.environ.get("RAY_ADDRESS") or "auto")
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as fault:
            raise ConfigError(
                f"--engine ray: no cluster answers: {fault}. Start one (ray start --head), or name it: "
                "--cluster address=HOST:6379"
            ) from fault
        self._needs: dict[str, Any] = {
            "num_cpus": parsed.number("cpus_per_task"),
            "num_gpus": parsed.number("gpus_per_task"),
        }
        if parsed.number("memory_gb"):
            self._needs["memory"] = int(parsed.number("memory_gb") * 2**30)
        resources = ray.cluster_resources()
        capacities = [
            resources.get(name, 0.0) / need
            for name, need in (("CPU", self._needs["num_cpus"]), ("GPU", self._needs["num_gpus"]))
            if need
        ]
        task_count = int(min(capacities, default=1))
        if task_count < 1 and not workers:  # a user who gives a number of workers may have a cluster that grows
            raise ConfigError(
                f"--engine ray: the cluster has {resources.get('CPU', 0):.0f} CPUs and {resources.get('GPU', 0):.0f} "
                f"GPUs, but a task needs {self._needs['num_cpus']:g} and {self._needs['num_gpus']:g}. Lower --cluster "
                "cpus_per_task or gpus_per_task, or give --workers if the cluster grows."
            )
        self.workers = workers or task_count

    def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
        """Yield each task when it ends, with "" or why it was lost. Raises what a task raises."""
        # max_calls=0: a process keeps its model. By default Ray ends a process with a GPU after each task.
        remote = ray.remote(max_retries=0, max_calls=0, **self._needs)(_perform)
        store = store.absolute
        store.write(SHARED_MARKER, b"")
        shared = ray.put(stage)
        waiting = iter(tasks)
        running: dict[Any, Task] = {}

        def send() -> None:
            while len(running) < self.workers and (task := next(waiting, None)) is not None:
                running[remote.remote(shared, task, store)] = task

        try:
            send()
            while running:
                first, _ = ray.wait(list(running), num_returns=1)
                others, _ = ray.wait(list(running), num_returns=len(running), timeout=0)
                ended = []
                for reference in dict.fromkeys([*first, *others]):
                    task = running.pop(reference)
                    try:
                        ray.get(reference)
                        ended.append((task, ""))
                    except RayTaskError as fault:
                        raise fault.cause if isinstance(fault.cause, Exception) else fault from fault
                    except RayError as fault:  # the process, the node, or an object that it needs was lost
                        lines = str(fault).strip().splitlines() or [""]
                        ended.append((task, f"{type(fault).__name__}: {lines[0]}"))
                send()
                yield from ended
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _print_node_errors_on_stderr() -> None:
    """Print Ray's messages about nodes, such as that one died, on stderr, so that a command's stdout stays clean.

    Ray prints them on stdout from a thread of its own and has no setting for that, so its function is wrapped.
    """
    from ray._private import worker

    original = getattr(worker, "print_to_stdstream", None)
    if original is None or getattr(original, "prints_on_stderr", False):
        return

    def print_on_stderr(data: dict[str, Any], *args: Any, **keywords: Any) -> None:
        original({**data, "is_err": True}, *args, **keywords)

    print_on_stderr.prints_on_stderr = True  # type: ignore[attr-defined]
    worker.print_to_stdstream = print_on_stderr


def _perform(stage: Stage, task: Task, store: Store) -> None:
    if not store.has(SHARED_MARKER):
        raise not_shared_error(store.root)
    perform(stage, task, store)
