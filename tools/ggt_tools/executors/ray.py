"""The engine of a Ray cluster that is there: a Ray task each of ours, so many in flight.

Not datatrove's Ray executor: it starts an actor and a pool of processes for every task, loads the model in each, hangs
where a process of that pool is killed, and where a node dies between an actor's placement and its first answer
(dataset_card/SCALING.md has the figures). A plain task runs in a process that Ray keeps for the next, with the model.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ggt_tools.errors import ConfigError
from ggt_tools.executors.options import chosen
from ggt_tools.executors.task import SEEN, Stage, Task, perform, unseen
from ggt_tools.workspace.store import Store


class Ray:
    """Options: address (default: $RAY_ADDRESS, else the cluster that runs here), cpus_per_task, gpus_per_task,
    memory_gb (of a task)."""

    def __init__(self, workers: int | None, options: Mapping[str, str]) -> None:
        said = chosen("ray", options, address="", cpus_per_task="1", gpus_per_task="0", memory_gb="0")
        _print_node_errors_on_stderr()
        try:
            if not ray.is_initialized():
                address = str(said["address"] or os.environ.get("RAY_ADDRESS") or "auto")
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as fault:
            raise ConfigError(
                f"--engine ray: no cluster answers: {fault}; start one (ray start --head), or name it: "
                "--cluster address=HOST:6379"
            ) from fault
        self._needs: dict[str, Any] = {
            "num_cpus": said.number("cpus_per_task"),
            "num_gpus": said.number("gpus_per_task"),
        }
        if said.number("memory_gb"):
            self._needs["memory"] = int(said.number("memory_gb") * 2**30)
        have = ray.cluster_resources()
        room = [
            have.get(name, 0.0) / need
            for name, need in (("CPU", self._needs["num_cpus"]), ("GPU", self._needs["num_gpus"]))
            if need
        ]
        most = int(min(room, default=1))
        if most < 1 and not workers:  # who says how many may have a cluster that grows
            raise ConfigError(
                f"--engine ray: the cluster has {have.get('CPU', 0):.0f} CPUs and {have.get('GPU', 0):.0f} "
                f"GPUs, a task wants {self._needs['num_cpus']:g} and {self._needs['num_gpus']:g}"
            )
        self.workers = workers or most

    def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
        """Each task as it ends, with "" or why it was lost. Raises what a task raises."""
        # max_calls: a process keeps its model; Ray ends one that had a GPU after each task, unless it is told
        remote = ray.remote(max_retries=0, max_calls=0, **self._needs)(_perform)
        store = store.absolute
        store.write(SEEN, b"")
        shared = ray.put(stage)
        waiting = iter(tasks)
        flying: dict[Any, Task] = {}

        def send() -> None:
            while len(flying) < self.workers and (task := next(waiting, None)) is not None:
                flying[remote.remote(shared, task, store)] = task

        try:
            send()
            while flying:
                done, _ = ray.wait(list(flying), num_returns=1)
                more, _ = ray.wait(list(flying), num_returns=len(flying), timeout=0)
                ended = []
                for reference in dict.fromkeys([*done, *more]):
                    task = flying.pop(reference)
                    try:
                        ray.get(reference)
                        ended.append((task, ""))
                    except RayTaskError as fault:
                        raise fault.cause if isinstance(fault.cause, Exception) else fault from fault
                    except RayError as fault:  # its process, its node, or what it was sent has gone
                        said = str(fault).strip().splitlines() or [""]
                        ended.append((task, f"{type(fault).__name__}: {said[0]}"))
                send()
                yield from ended
        finally:
            for reference in flying:
                ray.cancel(reference, force=True)


def _print_node_errors_on_stderr() -> None:
    """Keep what Ray says of its nodes (such as that one died) off stdout, where it would stand in a command's output.

    Ray prints it on stdout from a thread of its own and has no setting for that, so its function is wrapped.
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
    if not store.has(SEEN):
        raise unseen(store.root)
    perform(stage, task, store)
