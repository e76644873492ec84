"""Work over processes: results in the order of the jobs, progress as it is made, and no process that outlives us."""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from ggt_tools.errors import ConfigError

Job = TypeVar("Job")
Done = TypeVar("Done")
Tell = Callable[[int], object]
WORTH = 64 << 20  # bytes of input that a further process has to find, for the second or two that its start takes


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worth(asked: int, size: int) -> int:
    """How many processes to use: those asked for, or, for 0, as many as `size` bytes of input make worth it."""
    return asked or max(1, min(cores(), size // WORTH))


def in_processes(
    work: Callable[[Job, Tell], Done], jobs: Sequence[Job], processes: int, progress: Tell
) -> Iterator[Done]:
    """`work(job, tell)` of each job, in order, in up to `processes` processes; with one, in this one.

    What `work` tells is told to `progress` here. Both and the jobs must be picklable. What `work` raises is raised here
    and ends the others; so does the end of this process, whatever ends it.
    """
    if min(processes, len(jobs)) < 2:
        for job in jobs:
            yield work(job, progress)
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit threads' locks, and our file locks
    count = context.Value("q", 0)
    ear, mouth = context.Pipe(duplex=False)
    told = 0
    pool = ProcessPoolExecutor(min(processes, len(jobs)), context, _begin, (work, count, ear))
    try:
        waiting = iter(jobs)
        ahead = deque(pool.submit(_work, job) for job in islice(waiting, 2 * processes))  # the rest would fill memory
        while ahead:
            future = ahead.popleft()
            while not wait([future], timeout=0.2).done:
                told = _tell(count, told, progress)
            done = future.result()
            ahead.extend(pool.submit(_work, job) for job in islice(waiting, 1))
            told = _tell(count, told, progress)
            yield done
        pool.shutdown()
    except BrokenProcessPool as fault:
        raise ConfigError("a process of ours died; is there memory enough? try fewer processes") from fault
    finally:
        mouth.close()
        shut(pool)
        ear.close()


def shut(pool: ProcessPoolExecutor) -> None:
    """Ends a pool, whether its processes live, were told to end, or are dead."""
    queue = getattr(pool, "_call_queue", None)
    if queue is not None and sys.version_info < (3, 11, 5):
        queue._reader.close()  # or it goes on writing to processes that are gone, for ever (gh-94777)
    pool.shutdown(cancel_futures=True)


def _tell(count: Any, told: int, progress: Tell) -> int:
    now = int(count.value)
    if now > told:
        progress(now - told)
    return now


_state: list[Any] = []  # of a process of ours: what it does, and the count of what is done


def _begin(work: Callable[..., Any], count: Any, ear: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; who started us ends us
    _state[:] = work, count
    end_with(ear)


def end_with(other: Connection | int) -> None:
    """Ends this process, whatever it does, when the other end of a pipe is closed, or the process of a sentinel ends:
    who started us may be killed, and nobody asks us any more.
    """

    def wait_for_it() -> None:
        multiprocessing.connection.wait([other])
        os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()


def _work(job: Any) -> Any:
    work, count = _state

    def tell(done: int) -> None:
        with count.get_lock():
            count.value += done

    return work(job, tell)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector of cycles, for very many rows in which none arise: it goes through all of them each time
    that they have grown by a quarter.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
