"""Work in other processes: results in the order of the jobs, progress while they work, and no process that outlives us.

Only public parts of multiprocessing are used. A worker ends itself when the process that started it ends, even by
kill -9: loky and concurrent.futures leave their workers behind then, which is why neither is used here.
"""

from __future__ import annotations

import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from ggt_format.cores import core_count
from ggt_tools.errors import ConfigError

Job = TypeVar("Job")
Result = TypeVar("Result")
Tell = Callable[[int], object]
BYTES_PER_PROCESS = 64 << 20  # input that makes up for the second or two that another process takes to start
POLL_SECONDS = 0.2


class WorkerDied(Exception):
    """The process of a worker ended in the middle of its work: killed, out of memory, or a crash in native code."""


class RemoteTraceback(Exception):
    """The traceback, as text, of an exception that was raised in a worker: its cause."""


class WorkerProcess:
    """One process that runs functions, one after another.

    `submit(function, *args)` returns a Future; everything must be picklable. After WorkerDied the worker is of no use.
    """

    def __init__(
        self, context: BaseContext, initializer: Callable[..., object] = int, *args: Any, is_daemon: bool = False
    ) -> None:
        """Start the process.

        Args:
            context: How it is started: spawn or forkserver; a fork would inherit the locks of threads and files.
            initializer: Called in the process with `args` before everything else.
            args: Its arguments.
            is_daemon: End the process when this one exits and has not closed it, where this one would wait for it
                otherwise. It cannot start processes itself.
        """
        self._connection, theirs = context.Pipe()
        self._process = context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs, initializer, args), daemon=is_daemon
        )
        self._process.start()
        theirs.close()  # from now on the pipe breaks where the process ends
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")
        self._running: set[Future[Any]] = set()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid or 0

    def submit(self, function: Callable[..., Result], *args: Any, tell: Tell = int) -> Future[Result]:
        """Run `function(*args)` in the process, after what was submitted before.

        Args:
            function: What to run.
            args: Its arguments.
            tell: If given, `function` gets one more argument: a function that passes a number on to this one, which
                is called in a thread of this process.
        """
        future = self._thread.submit(self._call, function, args, tell)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def _call(self, function: Callable[..., Result], args: tuple[Any, ...], tell: Tell) -> Result:
        try:
            self._connection.send((function, args, tell is not int))
            while True:
                kind, value = self._connection.recv()
                if kind != "progress":
                    break
                tell(value)
        except (EOFError, OSError) as fault:
            raise WorkerDied("its process died: killed, out of memory, or a crash in native code") from fault
        if kind == "error":
            error, text = value
            raise error from RemoteTraceback(text)
        result: Result = value
        return result

    def close(self) -> None:
        """End the process: at once if it works or never began, else after it cleaned up."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._running:
            self._process.kill()  # which breaks the pipe, so that the thread ends too
        self._thread.shutdown()
        self._connection.close()
        self._process.join()
        self._process.close()


def _serve(connection: Connection, initializer: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Run what comes through the pipe, in a worker, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; the parent ends its workers
    _end_with_parent()
    initializer(*args)
    while True:
        try:
            function, values, has_progress = connection.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # what was sent cannot be unpickled here
            connection.send(("error", (error, traceback.format_exc())))
            continue
        try:
            if has_progress:
                values = (*values, lambda count: connection.send(("progress", count)))
            answer = "done", function(*values)
        except Exception as error:
            answer = "error", (error, traceback.format_exc())
        try:
            connection.send(answer)
        except BrokenPipeError:
            return
        except Exception:  # the result or the exception cannot be pickled
            connection.send(("error", (RuntimeError(f"{answer[1]!r} cannot be sent"), traceback.format_exc())))


def _end_with_parent() -> None:
    """End this process, whatever it does, when the process that started it ends: a kill runs no cleanup there."""
    parent = multiprocessing.parent_process()

    def wait_for_parent() -> None:
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


def suggest_processes(requested: int, size: int) -> int:
    """Return how many processes to use: `requested`, or if that is 0, as many as `size` bytes of input are worth."""
    return requested or max(1, min(core_count(), size // BYTES_PER_PROCESS))


def in_processes(
    work: Callable[[Job, Tell], Result], jobs: Sequence[Job], processes: int, progress: Tell
) -> Iterator[Result]:
    """Yield `work(job, tell)` of each job, in their order.

    Args:
        work: What to do with a job. The numbers that it passes to `tell` are passed to `progress` here.
        jobs: The jobs. They, `work` and the results must be picklable.
        processes: Number of processes at most; 1 does all work in this process.
        progress: Called in this thread.

    Raises:
        ConfigError: A process died.
        Exception: What `work` raises, which ends the other processes.
    """
    if min(processes, len(jobs)) < 2:
        for job in jobs:
            yield work(job, progress)
        return
    context = multiprocessing.get_context("spawn")
    told = _Progress()
    workers = [WorkerProcess(context) for _ in range(min(processes, len(jobs)))]
    try:
        idle, waiting = list(workers), iter(jobs)
        running: dict[Future[Result], WorkerProcess] = {}
        pending: deque[Future[Result]] = deque()  # in the order of the jobs
        while True:
            while idle and len(pending) < 2 * processes and (following := next(waiting, None)) is not None:
                worker = idle.pop()
                future = worker.submit(work, following, tell=told.add)
                running[future] = worker
                pending.append(future)
            if not pending:
                return
            for future in wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done:
                idle.append(running.pop(future))
            is_done = pending[0].done()
            if count := told.take():  # after the check, so that all progress of what is yielded is reported
                progress(count)
            if is_done:
                yield pending.popleft().result()
    except WorkerDied as fault:
        raise ConfigError("a worker process died, perhaps for lack of memory. Use fewer processes.") from fault
    finally:
        for worker in workers:
            worker.close()


class _Progress:
    """Sums up the progress that threads report, for one thread that takes it."""

    def __init__(self) -> None:
        self._lock, self._count = threading.Lock(), 0

    def add(self, count: int) -> None:
        with self._lock:
            self._count += count

    def take(self) -> int:
        with self._lock:
            count, self._count = self._count, 0
        return count


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pause the collector of reference cycles while very many rows are read, in which there are none.

    It would go through all of them each time that they have grown by a quarter.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Run the linear algebra of numpy in one thread.

    For systems of a few hundred unknowns, the threads of OpenBLAS mostly wait for each other, which takes ten times the
    CPU time. Environment variables cannot prevent that in a process that has imported numpy.
    """
    with _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
