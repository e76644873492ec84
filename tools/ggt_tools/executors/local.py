"""The executor of one machine: a process for each GPU or core, each with its own model, and none that outlives us.

datatrove's local executor hangs when one of its processes is killed. Here another process takes its place, and the
caller learns which task was lost.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait

from ggt_format.cores import core_count
from ggt_tools.executors.task import Stage, Task, perform
from ggt_tools.processes import WorkerDied, WorkerProcess
from ggt_tools.workspace.store import Store

# A fork of us would inherit the locks of threads; a fork server has none of ours, and has imported once for all.
CONTEXT = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)


class Local:
    """The executor: for each task one of its processes, or this process if there are none."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        """Declare the processes.

        Args:
            devices: The GPU of each process, as CUDA numbers them, "" for none. () does all tasks in this process.
        """
        self.workers = len(devices)
        self._devices = devices

    def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
        """Yield each task as it ends, with "" or why its process died. Raises what a task raises."""
        if not self._devices:
            for alone in tasks:
                perform(stage, alone, store)
                yield alone, ""
            return
        waiting = iter(tasks)
        slots = [_Slot(device, self.workers) for device in self._devices]
        free = list(slots)
        running: dict[Future[None], tuple[_Slot, Task]] = {}
        try:
            while True:
                while free and (task := next(waiting, None)) is not None:
                    slot = free.pop()
                    running[slot.worker.submit(perform, stage, task, store)] = slot, task
                if not running:
                    return
                ended = []
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    slot, done = running.pop(future)
                    try:
                        future.result()
                        ended.append((done, ""))
                    except WorkerDied as fault:
                        slot.replace()
                        ended.append((done, str(fault)))
                    free.append(slot)
                    # The next task starts before the caller looks at what ended: no process is idle meanwhile.
                    if (following := next(waiting, None)) is not None:
                        slot = free.pop()
                        running[slot.worker.submit(perform, stage, following, store)] = slot, following
                yield from ended
        finally:
            for slot in slots:
                slot.worker.close()


class _Slot:
    """A process, or the one that took its place."""

    def __init__(self, device: str, workers: int) -> None:
        self._settings = device, max(1, core_count() // workers)
        self.worker = WorkerProcess(CONTEXT, _begin, *self._settings)

    def replace(self) -> None:
        self.worker.close()
        self.worker = WorkerProcess(CONTEXT, _begin, *self._settings)


def _begin(device: str, threads: int) -> None:
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    os.environ |= {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")}
