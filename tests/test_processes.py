"""Work in processes: results in order, progress as it is made, and no process that outlives its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.processes import WorkerProcess, in_processes, single_threaded_blas

Tell = Callable[[int], object]


def doubled(job: int, tell: Tell) -> tuple[int, int]:
    time.sleep(0.05 * (job % 2))  # so that they do not end in the order of the jobs
    tell(job)
    return 2 * job, os.getpid()


def refused(job: int, tell: Tell) -> int:
    if job == 3:
        raise PairError("broken", "key 3: is broken")
    return job


def dies(job: Path, tell: Tell) -> None:
    if job.name == "1":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_are_yielded_in_order_and_reported(processes: int) -> None:
    told: list[int] = []
    found = list(in_processes(doubled, range(8), processes, told.append))
    assert [value for value, _ in found] == [2 * job for job in range(8)]
    assert sum(told) == sum(range(8))
    assert (os.getpid() in {process for _, process in found}) == (processes == 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_exceptions_of_workers_are_raised(processes: int) -> None:
    found: list[int] = []
    with pytest.raises(PairError, match="key 3: is broken") as fault:
        found.extend(in_processes(refused, range(6), processes, int))
    assert fault.value.reason == "broken"


@pytest.mark.skipif(os.name != "posix", reason="wants kill -9")
def test_a_killed_worker_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        list(in_processes(dies, [tmp_path / name for name in "0123"], 2, int))
    assert str(fault.value) == "a worker process died, perhaps for lack of memory. Use fewer processes."


def large(job: bytes, tell: Tell) -> None:
    time.sleep(0.2)
    raise PairError("broken", "key 0: is broken")


@pytest.mark.slow
def test_an_error_ends_the_run_while_a_job_is_being_sent() -> None:
    """A job larger than what a pipe holds, whose reader is gone: Python before 3.11.5 waited for ever (gh-94777)."""
    for _ in range(3):
        with pytest.raises(PairError, match="key 0: is broken"):
            list(in_processes(large, [bytes(1 << 22)] * 6, 2, int))


PARENT = """
import sys, time
from multiprocessing import get_context
from ggt_tools.processes import WorkerProcess

if __name__ == "__main__":
    workers = [WorkerProcess(get_context(method)) for method in sys.argv[1:]]
    for worker in workers:
        worker.submit(time.sleep, 600)
    print(*(worker.pid for worker in workers), flush=True)
    time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends kill -9")
def test_workers_end_in_the_middle_of_their_work_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, script, "spawn", "forkserver"], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2 and all(map(is_alive, pids))
        parent.kill()
    end = time.monotonic() + 60
    while any(map(is_alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


class Unpicklable(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)


def raises_what_cannot_be_sent(job: int, tell: Tell) -> None:
    raise Unpicklable("a", "b")


def returns_what_cannot_be_sent(job: int, tell: Tell) -> object:
    return lambda: None


@pytest.mark.slow
@pytest.mark.parametrize("work", [raises_what_cannot_be_sent, returns_what_cannot_be_sent])
def test_a_result_that_cannot_be_pickled_is_an_error(work: Callable[[int, Tell], object]) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        list(in_processes(work, range(2), 2, int))


def test_a_worker_goes_on_after_an_error_and_shows_where_it_arose() -> None:
    worker = WorkerProcess(get_context("spawn"))
    try:
        with pytest.raises(PairError) as fault:
            worker.submit(refused, 3, int).result()
        assert "in refused" in str(fault.value.__cause__)
        assert worker.submit(refused, 4, int).result() == 4
    finally:
        worker.close()


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_has_one_thread_for_a_while() -> None:
    with threadpool_limits(2, user_api="blas"):
        with single_threaded_blas():
            assert blas_threads() == {1}
        assert blas_threads() == {2}
