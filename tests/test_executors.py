"""Executors: every fact is in the ledger once, whatever executor runs the tasks and whatever worker dies."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import ggt100k
from ggt_tools.errors import ConfigError
from ggt_tools.executors import MAX_DEATHS, Executor, gather, make_executor, merge_earlier_results, remove_results, run
from ggt_tools.executors.local import CONTEXT, Local
from ggt_tools.executors.task import Stage, Task, make_task, perform, result_file
from ggt_tools.records import Aligned, Score
from ggt_tools.stages.pack.worker import Packing
from ggt_tools.stages.validate.worker import Validating
from ggt_tools.workspace.arrow import WorkFailure, from_parquet, to_parquet
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.store import Store

from .driven import Number, Squaring, square
from .making import FORKED, make_dataset
from .test_ledger import candidate

here = Local(())
if hasattr(CONTEXT, "set_forkserver_preload"):
    CONTEXT.set_forkserver_preload([*FORKED, "tests.driven", __name__])


def numbers(count: int, begin: int = 0) -> list[Number]:
    return [Number(value) for value in range(begin, begin + count)]


def squares(ledger: Ledger) -> list[Score]:
    return list(ledger.all(Score))


def do(stage: Stage, works: Sequence[Any], ledger: Ledger, executor: Executor, **how: Any) -> list[WorkFailure]:
    """Run to the end and return the faults. No fact is yielded twice, and progress counts each work once."""
    done: list[int] = []
    yielded = list(run(stage, works, ledger, executor, progress=done.append, **how))
    scores = [fact for fact in yielded if isinstance(fact, Score)]
    assert len(scores) == len({score.candidate for score in scores})
    assert sum(done) == len(works)
    return [fact for fact in yielded if isinstance(fact, WorkFailure)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "w", create=True) as ledger:
        yield ledger


def marks(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[0] for path in folder.iterdir())


def test_facts_come_back_from_parquet_as_they_were() -> None:
    every = [
        square(3),
        Score(candidate="c", metric="m", metric_version="1", value=math.inf),
        Aligned(candidate="c", version="1", image="i", reason="", transform=(1.0, 0.5), confidence=0.5, error=0.3,
                support=0.4, scatter=0.5, motion=0.6, improvement=0.7, offset=0.8, residual_median=0.1,
                residual_p99=0.2, colour=(1.0, 0.0), colour_before=0.9, colour_after=0.3),
        candidate("c", "k", frame=(1, 2, 3, 4, 5, 6), prompt="Zoë\n«x»"),
        WorkFailure(work="w", subject="candidate c", reason="odd", detail="é"),
    ]  # fmt: skip
    assert from_parquet(to_parquet(every)) == every
    assert from_parquet(to_parquet([])) == []
    (score,) = from_parquet(to_parquet([Score(candidate="c", metric="m", metric_version="1", value=math.nan)]))
    assert math.isnan(score.value)


def test_a_work_has_the_same_id_in_every_run_and_a_task_that_of_its_works() -> None:
    assert make_task(Squaring(), numbers(3)) == make_task(Squaring(seconds=1.0), numbers(3))
    ids = {make_task(Squaring(), works).id for works in (numbers(3), numbers(2), numbers(3, 1), numbers(3)[::-1])}
    assert len(ids) == 4


def test_without_workers_this_process_does_each_work_once(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    stage = Squaring(odd=(3, 5), marks=str(tmp_path / "marks"))
    faults = do(stage, numbers(20), ledger, here, chunk=7)
    assert [fault.subject for fault in faults] == ["number 3", "number 5"]
    assert squares(ledger) == [square(value) for value in range(20) if value not in (3, 5)]
    assert marks(tmp_path / "marks") == [str(os.getpid())], "one model a process"
    assert not list((ledger.workspace / "tasks" / "squaring").iterdir()), "what was merged is gone"


def test_two_processes_share_the_work_and_load_the_model_once_each(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    stage = Squaring(meet=2, marks=str(tmp_path / "marks"))
    assert do(stage, numbers(60), ledger, make_executor("local", workers=2)) == []
    assert squares(ledger) == [square(value) for value in range(60)]
    found = marks(tmp_path / "marks")
    assert len(found) == len(set(found)) == 2 and str(os.getpid()) not in found


def test_a_work_whose_worker_is_killed_once_is_done_in_the_second_attempt(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    stage = Squaring(deadly=(7, 20), once=str(tmp_path / "once"))
    assert do(stage, numbers(24), ledger, make_executor("local", workers=2)) == []
    assert squares(ledger) == [square(value) for value in range(24)]


def test_a_work_that_kills_its_worker_twice_is_a_fault_and_its_neighbours_are_done(ledger: Ledger) -> None:
    (fault,) = do(Squaring(deadly=(9,)), numbers(24), ledger, make_executor("local", workers=2))
    assert (fault.subject, fault.reason) == ("number 9", "worker_died")
    assert fault.detail == "twice: its process died: killed, out of memory, or a crash in native code"
    assert squares(ledger) == [square(value) for value in range(24) if value != 9]
    assert do(Squaring(), numbers(1, 9), ledger, here) == [], "the next run tries it anew"


def test_gather_yields_results_in_order_and_another_run_does_only_lost_works(tmp_path: Path) -> None:
    store, works, done = Store(str(tmp_path)), numbers(6), list[Number]()
    found = list(gather(Squaring(deadly=(3,)), works, store, make_executor("local", workers=2), progress=done.append))
    (fault,) = [each for each in found if isinstance(each, WorkFailure)]
    assert found == [fault if value == 3 else square(value) for value in range(6)]
    assert (fault.subject, fault.reason) == ("number 3", "worker_died")
    assert sorted(work.value for work in done) == [0, 1, 2, 4, 5]
    asked: list[Number] = []

    class Spy(Local):
        def perform(self, stage: Stage, tasks: Iterable[Task], store: Store) -> Iterator[tuple[Task, str]]:
            listed = list(tasks)
            asked.extend(work for task in listed for work in task.works)
            return super().perform(stage, listed, store)

    assert list(gather(Squaring(), works, store, Spy(()))) == [square(value) for value in range(6)]
    assert [work.value for work in asked] == [3]
    remove_results(Squaring(), works, store)
    assert store.names("tasks/squaring") == []


def test_a_worker_that_does_not_see_the_release_is_an_error(tmp_path: Path) -> None:
    store, message = Store(str(tmp_path)), "the worker on .* does not see it. Use a folder or URL that every"
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "plan").write_text("of another release")
    for part in ("part", "nowhere"):
        with pytest.raises(ConfigError, match=f"{part}: {message}"):
            Packing(part=str(tmp_path / part), plan="a" * 64).ready(store)
    root = make_dataset(tmp_path / "out", count=1, test=0.0)
    for place in ("out", "nowhere"):
        with pytest.raises(ConfigError, match=f"{place}: {message}"):
            Validating(root=str(tmp_path / place), identity="a" * 64, options=()).ready(store)
    Validating(root=str(root), identity=ggt100k.open_root(str(root)).identity, options=()).ready(store)


def test_a_run_whose_workers_all_die_ends_and_keeps_its_facts(ledger: Ledger) -> None:
    stage = Squaring(deadly=tuple(range(2, 40)))
    with pytest.raises(ConfigError, match=f"{MAX_DEATHS} tasks in a row were lost: its process died.*fewer --workers"):
        do(stage, numbers(40), ledger, make_executor("local", workers=1), chunk=1)
    merge_earlier_results(ledger, "squaring", "local", print)
    assert squares(ledger) == [square(0), square(1)]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stage_that_cannot_work_at_all_ends_the_run_with_its_error(ledger: Ledger, workers: int) -> None:
    with pytest.raises(ConfigError, match=r"^no weights; fetch them$"):
        do(Squaring(broken="no weights; fetch them"), numbers(4), ledger, make_executor("local", workers=workers))
    assert multiprocessing.active_children() == []


def test_the_next_run_merges_the_results_of_an_earlier_one_and_does_not_repeat_it(ledger: Ledger) -> None:
    done = make_task(Squaring(), numbers(4))
    perform(Squaring(), done, ledger.store)
    perform(Squaring(broken="it is not looked at again"), done, ledger.store)
    assert ledger.store.has(result_file("squaring", done)) and squares(ledger) == []
    merge_earlier_results(ledger, "squaring", "local", print)
    merge_earlier_results(ledger, "squaring", "local", print)
    assert squares(ledger) == [square(value) for value in range(4)]
    assert not ledger.store.has(result_file("squaring", done))


def _run(workspace: Path, seconds: float) -> None:
    with Ledger(workspace) as ledger:
        list(run(Squaring(seconds=seconds), numbers(400), ledger, make_executor("local", workers=2), chunk=4))


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_process_and_the_next_does_only_the_rest(ledger: Ledger, tmp_path: Path) -> None:
    process = CONTEXT.Process(target=_run, args=(ledger.workspace, 0.02))
    process.start()
    assert process.pid is not None
    while len(squares(ledger)) < 40:
        assert process.is_alive()
        time.sleep(0.05)
    workers = children(process.pid)
    assert workers
    process.kill()
    process.join()
    end = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    merge_earlier_results(ledger, "squaring", "local", print)
    there = {score.candidate for score in squares(ledger)}
    (tmp_path / "marks").mkdir()
    rest = [work for work in numbers(400) if square(work.value).candidate not in there]
    assert 0 < len(rest) < 400
    assert do(Squaring(), rest, ledger, here) == []
    assert squares(ledger) == [square(value) for value in range(400)]


def children(pid: int) -> list[int]:
    """Return the children of a process, and their children."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.exists():
        pytest.skip("this system does not list the children of a process")
    direct = [int(child) for child in found.read_text().split()]
    return direct + [below for child in direct for below in children(child)]


@pytest.mark.slow
def test_workers_ignore_ctrl_c(ledger: Ledger) -> None:
    executor = make_executor("local", workers=1)
    facts = run(Squaring(seconds=0.2), numbers(8), ledger, executor, chunk=1)
    os.kill(os.getpid(), 0)
    with pytest.raises(KeyboardInterrupt):
        for _ in facts:
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGINT)
            raise KeyboardInterrupt
    facts.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("spark", {}, "--engine spark: is not known. Use one of: local, slurm, ray."),
        (
            "local",
            {"partition": "gpu"},
            "--cluster partition: --engine local has no options. Leave it out, or name a cluster.",
        ),
    ],
)
def test_an_unknown_executor_or_option_is_an_error(name: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as fault:
        make_executor(name, options=options)
    assert str(fault.value) == message


def test_the_number_of_processes_follows_from_the_number_of_works() -> None:
    assert make_executor("local", work_count=3).workers == 0
    assert make_executor("local", work_count=3, workers=1).workers == 1
    assert make_executor("local", work_count=10**6, gpu_count=3).workers == 3
    assert make_executor("local", work_count=20, gpu_count=1).workers == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--engine slurm: the partition is missing. Name it: --cluster partition=NAME (sinfo lists them)"),
        (
            {"partition": "p", "mem_per_cpu_gb": "0.5"},
            "--cluster mem_per_cpu_gb=0.5: is not an integer. Give an integer of 0 or more.",
        ),
        (
            {"partition": "p", "gpus_per_task": "-1"},
            "--cluster gpus_per_task=-1: is out of range. Give a number of 0 or more.",
        ),
    ],
)
def test_a_wrong_option_of_slurm_is_an_error(options: dict[str, str], message: str) -> None:
    pytest.importorskip("datatrove")
    with pytest.raises(ConfigError) as caught:
        make_executor("slurm", options=options)
    assert str(caught.value) == message
