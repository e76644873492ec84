"""Work over processes: in order, told of as it is made, and no process that outlives its work."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.processes import in_processes

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
def test_results_come_in_the_order_of_the_jobs_and_are_told_of(processes: int) -> None:
    told: list[int] = []
    found = list(in_processes(doubled, range(8), processes, told.append))
    assert [value for value, _ in found] == [2 * job for job in range(8)]
    assert sum(told) == sum(range(8))
    assert (os.getpid() in {process for _, process in found}) == (processes == 1)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_work_raises_is_raised_here(processes: int) -> None:
    found: list[int] = []
    with pytest.raises(PairError, match="key 3: is broken") as fault:
        found.extend(in_processes(refused, range(6), processes, int))
    assert fault.value.reason == "broken"


@pytest.mark.skipif(os.name != "posix", reason="wants kill -9")
def test_a_process_that_dies_is_told_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        list(in_processes(dies, [tmp_path / name for name in "0123"], 2, int))
    assert str(fault.value) == "a process of ours died; is there memory enough? try fewer processes"


def large(job: bytes, tell: Tell) -> None:
    time.sleep(0.2)
    raise PairError("broken", "key 0: is broken")


def test_a_fault_ends_it_while_a_job_is_on_its_way_to_a_process() -> None:
    """A job larger than what a pipe holds, whose reader is gone: Python before 3.11.5 waited for ever (gh-94777)."""
    for _ in range(3):
        with pytest.raises(PairError, match="key 0: is broken"):
            list(in_processes(large, [bytes(1 << 22)] * 6, 2, int))
