"""The engine of one machine: a process a GPU or core, each with its own model, and none that outlives us.

datatrove's local executor hangs where a process of it is killed; here the process is lost with its task, another one
takes its place, and who asked is told.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

from ggt_tools.executors.task import Stage, Task, perform
from ggt_tools.processes import cores, end_with, shut
from ggt_tools.workspace.store import Store

# A fork of us would inherit the locks of threads; a fork server has none of ours, and has imported once for all.
CONTEXT = multiprocessing.get_context(
    "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
)


class Local:
    """`devices`: the GPU of each process, as CUDA numbers them, "" for none; no process at all: all is done here."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self.workers = len(devices)
        self._devices = devices

    def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
        """Each task as it ends, with "" or why its process died. Raises what a task raises."""
        if not self._devices:
            for each in tasks:
                perform(stage, each, store)
                yield each, ""
            return
        waiting = iter(tasks)
        ear, mouth = CONTEXT.Pipe(duplex=False)
        slots = [_Slot(device, ear, self.workers) for device in self._devices]
        free = list(slots)
        flying: dict[Future[None], tuple[_Slot, Task]] = {}
        try:
            while True:
                while free and (task := next(waiting, None)) is not None:
                    slot = free.pop()
                    flying[slot.pool.submit(perform, stage, task, store)] = slot, task
                if not flying:
                    return
                ended = []
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    slot, task = flying.pop(future)
                    try:
                        future.result()
                        ended.append((task, ""))
                    except BrokenProcessPool:
                        shut(slot.pool)
                        slot.renew()
                        ended.append((task, "its process died: killed, out of memory, or a crash in native code"))
                    free.append(slot)
                    if (following := next(waiting, None)) is not None:  # before what ended is looked at: none idles
                        slot = free.pop()
                        flying[slot.pool.submit(perform, stage, following, store)] = slot, following
                yield from ended
        finally:
            mouth.close()  # ends every process that still works
            for slot in slots:
                shut(slot.pool)
            ear.close()


class _Slot:
    """A process, or the one in its place."""

    def __init__(self, device: str, ear: Connection, workers: int) -> None:
        self._started = device, ear, max(1, cores() // workers)
        self.renew()

    def renew(self) -> None:
        self.pool = ProcessPoolExecutor(1, CONTEXT, _begin, self._started)


def _begin(device: str, ear: Connection, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; who started us ends us
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    os.environ |= {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")}
    end_with(ear)
