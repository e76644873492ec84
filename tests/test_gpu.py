"""Metrics of pyiqa on GPUs, shown with a fake device: it is full, dies, answers NaN; several share the work."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ggt_format.png import encode_png
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.executors import ExecutorConfig, make_executor, run
from ggt_tools.executors.config import gpu_names
from ggt_tools.executors.local import Local
from ggt_tools.metrics import fidelity_session, iqa
from ggt_tools.metrics.fidelity_session import CPU, GPU, Session, open_session
from ggt_tools.metrics.iqa import MAX_DEATHS, IqaConfig, Models, StoredPairs, worker
from ggt_tools.metrics.iqa.device import Device, DeviceLost
from ggt_tools.metrics.iqa.feed import feed
from ggt_tools.metrics.iqa.worker import StoredBatch, Unmeasured
from ggt_tools.metrics.scorer import Scorer
from ggt_tools.records import Score
from ggt_tools.stages.score.run import _phases, _run_phase
from ggt_tools.stages.score.worker import ScoreWork, Scoring, split_for_gpu
from ggt_tools.workspace.arrow import WorkFailure
from ggt_tools.workspace.ledger import Ledger

from .fake_device import (
    FAILS,
    HUGE,
    KILLS,
    LOSES_DEVICE,
    NAN,
    NAN_IN_BATCHES,
    NAN_IN_HALF,
    FakeGpu,
    fake_gpu,
    pair,
)

PAIR = (("gmsd", "pair"), 8)
Values = Callable[..., list[Any]]


# --- loading ahead ----------------------------------------------------------------------------------------------------


def test_batches_are_loaded_ahead_and_no_further() -> None:
    loaded: list[int] = []
    staged: list[list[int]] = []

    def load(number: int) -> int:
        loaded.append(number)
        return number

    def stage(items: list[int]) -> list[int]:
        staged.append(items)
        return items

    batches = [[partial(load, 2 * place), partial(load, 2 * place + 1)] for place in range(6)]
    fed = feed(batches, stage, threads=2, ahead=2)
    items, first = next(fed)
    assert items == [0, 1] == first.result()
    wait_until(lambda: len(staged) == 3)  # the batch in use, and two ahead of it
    time.sleep(0.02)
    assert sorted(loaded) == list(range(6))
    rest = [(items, future.result()) for items, future in fed]
    assert rest == [([2 * n, 2 * n + 1],) * 2 for n in range(1, 6)]
    assert staged == [[2 * n, 2 * n + 1] for n in range(6)]


def test_batches_are_loaded_while_the_caller_works() -> None:
    """Each load waits until the caller has begun with the batch before it."""
    begun = [threading.Event() for _ in range(3)]

    def load(number: int) -> int:
        assert number == 0 or begun[number - 1].wait(5)
        return number

    for number, (items, staged) in enumerate(feed([[partial(load, n)] for n in range(3)], list, threads=3)):
        assert items == staged.result() == [number]
        begun[number].set()


def test_what_loading_raises_comes_with_its_batch() -> None:
    def load(number: int) -> int:
        if number == 1:
            raise PairError("undecodable", "no image")
        return number

    fed = feed([[partial(load, number)] for number in range(3)], list, threads=1)
    assert next(fed)[0] == [0]
    with pytest.raises(PairError):
        next(fed)


def wait_until(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.002)


# --- the process of the models ----------------------------------------------------------------------------------------


@pytest.fixture
def measure(tmp_path: Path) -> Values:
    """Return a function that measures batches of pairs in this process, as the process of a GPU does."""

    def measured(*batches: Sequence[tuple[Any, Any]], what: Any = (PAIR,), **options: Any) -> list[Any]:
        worker.begin(FakeGpu(log=str(tmp_path / "log"), **options), "cuda", 1)
        for (model, _), _ in what:
            assert worker.load(model, {}, iqa.HALF.get(model)) == ("", "")
        (tmp_path / "log").write_text("")
        stored = [StoredBatch(tuple(partial(_as_is, each) for each in batch), what) for batch in batches]
        return worker.run_stored(stored, 2)

    return measured


def _as_is(pair: Any) -> Any:
    return pair


def sizes(tmp_path: Path) -> list[str]:
    return [line.partition(" ")[2] for line in (tmp_path / "log").read_text().splitlines()]


def test_each_image_is_measured_once_in_batches_where_that_is_the_same(measure: Values, tmp_path: Path) -> None:
    what = (PAIR, (("piqe", "lq"), 1), (("piqe", "gt"), 1))
    (values,) = measure([pair(gt=9, lq=4), pair(gt=7, lq=1)], what=what)
    assert values == [
        {("gmsd", "pair"): 5.0, ("piqe", "lq"): 4.0, ("piqe", "gt"): 9.0},
        {("gmsd", "pair"): 6.0, ("piqe", "lq"): 1.0, ("piqe", "gt"): 7.0},
    ]
    assert sizes(tmp_path) == ["gmsd 2", *["piqe 1"] * 4]


def test_a_full_memory_halves_the_batch_and_is_remembered(measure: Values, tmp_path: Path) -> None:
    batch = [pair(gt=number) for number in range(8)]
    values = measure(batch, batch, [pair(gt=1, side=32)] * 8, memory=3)
    assert [[each["gmsd", "pair"] for each in some] for some in values] == [[*range(8)], [*range(8)], [1.0] * 8]
    assert sizes(tmp_path) == [
        *(f"gmsd {size}" for size in (8, 4, 2, 2, 2, 2)),
        *["gmsd 2"] * 4,  # the second batch begins with the size that fits
        *("gmsd 8", "gmsd 4", "gmsd 4"),  # smaller images need less memory: they are tried anew
    ]


def test_a_memory_that_is_full_while_images_are_copied_halves_the_batch_too(measure: Values, tmp_path: Path) -> None:
    (values,) = measure([pair(gt=number) for number in range(5)], staging_memory=2)
    assert [each["gmsd", "pair"] for each in values] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert sizes(tmp_path) == ["gmsd 2", "gmsd 1", "gmsd 2"]


def test_a_pair_that_is_too_large_alone_does_not_cost_the_others(measure: Values) -> None:
    (values,) = measure([pair(gt=1), pair(gt=HUGE), pair(gt=3)])
    assert values[0] == {("gmsd", "pair"): 1.0} and values[2] == {("gmsd", "pair"): 3.0}
    assert values[1] == Unmeasured("gmsd", "out_of_memory", "RuntimeError: CUDA out of memory")
    (staged,) = measure([pair(gt=1)], staging_memory=0)
    assert (staged[0].reason, staged[0].model) == ("out_of_memory", "gmsd")


def test_nan_in_a_batch_is_measured_alone(measure: Values, tmp_path: Path) -> None:
    (values,) = measure([pair(gt=1), pair(gt=NAN_IN_BATCHES), pair(gt=NAN)])
    first, second, third = (each["gmsd", "pair"] for each in values)
    assert (first, second) == (1.0, float(NAN_IN_BATCHES)) and math.isnan(third)
    assert sizes(tmp_path) == ["gmsd 3", *["gmsd 1"] * 3]


def test_a_model_that_fails_over_a_pair_names_it(measure: Values) -> None:
    (values,) = measure([pair(gt=1), pair(gt=FAILS)], what=(PAIR, (("vsi", "pair"), 8)))
    assert values[0] == {("gmsd", "pair"): 1.0, ("vsi", "pair"): 1.0}
    assert values[1] == Unmeasured("gmsd", "not_measured", "ValueError: too few patches")


def test_a_lost_device_is_no_fault_of_a_pair(measure: Values) -> None:
    with pytest.raises(DeviceLost, match="the device failed: CUDA error: device-side assert"):
        measure([pair(gt=LOSES_DEVICE)])


def test_a_lost_device_ends_what_is_measured_from_memory() -> None:
    worker.begin(FakeGpu(), "cuda", 1)
    with pytest.raises(DeviceLost):
        worker.run("gmsd", [pair(gt=0, lq=LOSES_DEVICE)], 1)  # the first image
    future: Future[list[float]] = Future()
    future.set_exception(DeviceLost("the device failed"))
    with pytest.raises(ConfigError) as caught:
        iqa._result("gmsd", future)
    assert str(caught.value) == ("metric 'gmsd': the device failed. Run it again, or measure on the CPU: --device cpu")


def test_half_precision_is_used_where_it_gives_the_same(measure: Values, tmp_path: Path) -> None:
    what = ((("stlpips", "pair"), 1), PAIR)
    small = iqa.HALF["stlpips"] / 2
    (values,) = measure([pair(gt=5)], what=what, has_half=True, half_error=small)
    assert values == [{("stlpips", "pair"): 5.0 + small, ("gmsd", "pair"): 5.0}]
    assert sizes(tmp_path) == ["stlpips 1 half", "gmsd 1"]
    for options in ({"has_half": True, "half_error": 2.1 * small}, {"has_half": False}):
        measure([pair(gt=5)], what=what, **options)
        assert sizes(tmp_path) == ["stlpips 1", "gmsd 1"], options
    (values,) = measure([pair(gt=5)], what=what, has_half=True, half_error=math.nan)
    assert values[0]["stlpips", "pair"] == 5.0


def test_nan_in_half_precision_is_measured_in_full_precision(measure: Values, tmp_path: Path) -> None:
    (values,) = measure([pair(gt=NAN_IN_HALF)], what=((("stlpips", "pair"), 1),), has_half=True)
    assert values == [{("stlpips", "pair"): float(NAN_IN_HALF)}]
    assert sizes(tmp_path) == ["stlpips 1 half", "stlpips 1"]


# --- a process that dies ----------------------------------------------------------------------------------------------


def measured_by(config: IqaConfig, *values: int) -> list[Any]:
    pytest.importorskip("pyiqa")
    loads = tuple(partial(pair, value, 1) for value in values)
    with Models(["gmsd", "piqe_gain"], config) as models:
        (found,) = models.measure_stored([StoredPairs(loads, ("gmsd", "piqe_gain", "piqe"))])
        return found


@pytest.mark.slow
@pytest.mark.parametrize("marker", [KILLS, LOSES_DEVICE])
def test_a_process_that_dies_is_replaced_and_costs_one_pair(marker: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first, second, third = measured_by(fake_gpu(log=str(log)), 5, marker, 7)
    assert first == {"gmsd": 4.0, "piqe": 5.0, "piqe_gain": -4.0}  # less is better
    assert third == {"gmsd": 6.0, "piqe": 7.0, "piqe_gain": -6.0}
    assert isinstance(second, PairError) and second.reason == "worker_died"
    loads = [line.split() for line in log.read_text().splitlines() if line.startswith("load")]
    assert len({process for _, _, process in loads}) == 3 and len(loads) == 6


@pytest.mark.slow
def test_a_device_that_always_fails_ends_the_run() -> None:
    with pytest.raises(ConfigError, match=f"its process died over {MAX_DEATHS} pairs in a row"):
        measured_by(fake_gpu(is_broken=True), *range(MAX_DEATHS + 1))


# --- the stage score --------------------------------------------------------------------------------------------------


def works_of(ledger: Ledger, *values: int, metrics: Sequence[str] = ("gmsd",), version: str) -> list[ScoreWork]:
    """Return works of pairs of these values, whose images are in the workspace."""
    made = []
    for number, value in enumerate(values):
        lq, gt = (ledger.put_image(encode_png(image)) for image in pair(value, 1))
        made.append(
            ScoreWork(
                key=f"{number:016x}", candidate=f"c{number}", lq=lq, gt=gt, width=64, height=64,
                metrics=tuple((name, version) for name in metrics),
            )
        )  # fmt: skip
    return made


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "w", create=True) as opened:
        yield opened


@pytest.mark.slow
def test_several_gpus_share_the_work_and_each_has_one_process(ledger: Ledger, tmp_path: Path) -> None:
    pytest.importorskip("pyiqa")
    log = tmp_path / "log"
    version = f"pyiqa {installed('pyiqa')}"
    works = works_of(ledger, *range(2, 34), HUGE, FAILS, version=version)
    stage = Scoring(versions=(("gmsd", version),), config=fake_gpu(log=str(log)))
    assert stage.gpu
    facts = list(run(stage, works, ledger, Local(("GPU-a", "GPU-b"))))
    assert {fact.candidate: fact.value for fact in facts if isinstance(fact, Score)} == {
        f"c{number}": float(number + 1) for number in range(32)
    }
    assert {(fact.subject, fact.reason) for fact in facts if isinstance(fact, WorkFailure)} == {
        ("candidate c32", "out_of_memory"),
        ("candidate c33", "not_measured"),
    }
    assert len(list(ledger.all(Score))) == 32
    lines = log.read_text().splitlines()
    assert len({line for line in lines if line.startswith("load")}) == 2
    assert {line.split()[0] for line in lines if not line.startswith("load")} == {"gpuGPU-a", "gpuGPU-b"}
    assert any(line.endswith("gmsd 4") for line in lines)


@pytest.mark.slow
def test_a_gpu_measures_pyiqas_metrics_after_our_own(ledger: Ledger, tmp_path: Path) -> None:
    pytest.importorskip("pyiqa")
    config = fake_gpu(log=str(tmp_path / "log"))
    with Scorer(["structure", "gmsd"], config) as scorer:
        metrics = tuple(scorer.versions.items())
        works = [replace(work, metrics=metrics) for work in works_of(ledger, 5, HUGE, 7, version="")]
        facts = [
            [
                (fact.subject, fact.reason) if isinstance(fact, WorkFailure) else (fact.candidate, fact.metric)
                for fact in _run_phase(phase, scorer, ledger, int)
            ]
            for phase in _phases(works, scorer, config, ExecutorConfig())
        ]
    assert facts == [
        [(f"c{number}", "structure") for number in range(3)],
        [("c0", "gmsd"), ("candidate c1", "out_of_memory"), ("c2", "gmsd")],
    ]
    assert [(score.candidate, score.value) for score in ledger.all(Score) if score.metric == "gmsd"] == [
        ("c0", 4.0),
        ("c2", 6.0),
    ]
    assert sizes(tmp_path)[1:3] == ["gmsd 3", "gmsd 1"], "a batch of all, and after it is too large, of one"


def test_works_are_split_and_sorted_into_batches_of_equal_sizes() -> None:
    works = [
        ScoreWork(key="k", candidate=f"c{number}", lq="l", gt="g", width=width, height=64,
                  metrics=(("structure", "1"), ("gmsd", "2")))
        for number, width in enumerate((96, 64, 96, 64))
    ]  # fmt: skip
    own, others = split_for_gpu(works)
    assert [(work.candidate, work.metrics) for work in own] == [(f"c{n}", (("structure", "1"),)) for n in range(4)]
    assert [(work.candidate, work.width) for work in others] == [("c1", 64), ("c3", 64), ("c0", 96), ("c2", 96)]
    assert {work.metrics for work in others} == {(("gmsd", "2"),)}
    assert len({work.id for work in (*works, *own, *others)}) == 12


class FakeScorer(Scorer):
    """A scorer with versions alone."""

    def __init__(self, is_on_gpu: bool) -> None:
        self.is_on_gpu, self.versions = is_on_gpu, {"structure": "1", "gmsd": "2"}


@pytest.mark.parametrize("engine", ["slurm", "ray"])
def test_on_a_cluster_our_own_metrics_hold_no_gpu(engine: str) -> None:
    works = [
        ScoreWork(key="k", candidate="c", lq="l", gt="g", width=64, height=64,
                  metrics=(("structure", "1"), ("gmsd", "2")))
    ]  # fmt: skip
    config = ExecutorConfig(name=engine, options={"partition": "p", "gpus_per_task": "1"})
    own, others = _phases(works, FakeScorer(False), IqaConfig(), config)
    assert (own.stage.versions, dict(own.executor.options)) == ((("structure", "1"),), {"partition": "p"})
    assert others.stage.versions == (("gmsd", "2"),) and others.executor == config
    assert not own.stage.gpu and others.stage.gpu
    (single,) = _phases(works, FakeScorer(False), IqaConfig(device="cpu"), config)
    assert single.executor == config and [work.metrics for work in single.works] == [works[0].metrics]
    (single,) = _phases(works, FakeScorer(False), IqaConfig(), ExecutorConfig(name=engine))
    assert len(single.stage.versions) == 2


def test_on_this_machine_a_named_gpu_has_one_process() -> None:
    for device, workers in (("auto", None), ("cuda", None), ("cuda:1", 1), ("mps", 1)):
        own, others = _phases([], FakeScorer(True), IqaConfig(device=device), ExecutorConfig())
        assert (own.executor.workers, others.executor.workers) == (None, workers), device
        assert Scoring(versions=(("gmsd", "2"),), config=IqaConfig(device=device)).gpu == (workers is None)
    (single,) = _phases([], FakeScorer(False), IqaConfig(), ExecutorConfig())
    assert single.executor.workers is None


def test_gpus_that_a_user_chose_are_the_ones_that_are_used() -> None:
    assert gpu_names(2, {}) == ("0", "1")
    assert gpu_names(2, {"CUDA_VISIBLE_DEVICES": "2,3"}) == ("2", "3")
    assert gpu_names(1, {"CUDA_VISIBLE_DEVICES": "GPU-8f2e, GPU-77aa"}) == ("GPU-8f2e",)
    assert gpu_names(0, {"CUDA_VISIBLE_DEVICES": ""}) == ()
    assert make_executor("local", work_count=100, gpu_count=2).workers == 2


# --- the fidelity model -----------------------------------------------------------------------------------------------

FEED = {"lq": np.ones((1, 2), np.float32)}


class FakeRuntime:
    """Makes sessions: the CPU's answers 1, the GPU's what it is told."""

    def __init__(self, *answers: float | Exception, providers: Sequence[str] = (GPU, CPU)) -> None:
        self.answers, self.providers, self.made = list(answers), list(providers), list[Any]()

    def make(self, provider: Any) -> FakeRuntime | FakeCpu:
        self.made.append(provider)
        return FakeCpu() if provider == CPU else self

    def get_providers(self) -> list[str]:
        return self.providers

    def run(self, names: None, feed: Any) -> list[Any]:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [np.full((1, 2), answer, np.float32)]


class FakeCpu:
    def run(self, names: None, feed: Any) -> list[Any]:
        return [np.ones((1, 2), np.float32)]


def opened(runtime: FakeRuntime, device: str = "auto", providers: Sequence[str] = (GPU, CPU)) -> Session:
    return open_session(device, providers, runtime.make, lambda: FEED)


def answers(session: Session, count: int) -> list[float]:
    return [float(session.run(FEED)[0][0, 0]) for _ in range(count)]


def test_the_fidelity_model_runs_on_a_gpu_that_agrees_with_the_cpu() -> None:
    runtime = FakeRuntime(1.04, 1.02)
    session = opened(runtime, "cuda:1")
    assert session.gpu is runtime and answers(session, 1) == [pytest.approx(1.02)]
    name, options = runtime.made[1]
    assert (name, options["device_id"], options["use_tf32"]) == (GPU, "1", "0")


@pytest.mark.parametrize("answer", [1.06, math.nan, RuntimeError("no kernel")])
def test_a_gpu_that_does_not_agree_is_not_used(answer: Any) -> None:
    session = opened(FakeRuntime(answer))
    assert session.gpu is None and answers(session, 1) == [1.0]


def test_the_cpu_answers_where_there_is_no_gpu() -> None:
    assert opened(FakeRuntime(1.0), "cpu").gpu is None
    assert opened(FakeRuntime(1.0), "mps").gpu is None
    assert opened(FakeRuntime(1.0), providers=[CPU]).gpu is None
    assert opened(FakeRuntime(1.0, providers=[CPU])).gpu is None, "CUDA's libraries are missing"

    def make(provider: Any) -> FakeCpu:
        if provider != CPU:
            raise RuntimeError("no driver")
        return FakeCpu()

    assert open_session("auto", [GPU, CPU], make, lambda: FEED).gpu is None


def test_the_cpu_answers_what_a_gpu_fails_over() -> None:
    full = RuntimeError("out of memory")
    session = opened(FakeRuntime(1.0, full, 1.01, math.nan, 1.02))
    assert answers(session, 4) == [1.0, pytest.approx(1.01), 1.0, pytest.approx(1.02)]
    session = opened(FakeRuntime(1.0, *[full] * fidelity_session.MAX_FAILURES))
    assert answers(session, fidelity_session.MAX_FAILURES + 2) == [1.0] * (fidelity_session.MAX_FAILURES + 2)
    assert session.gpu is None


def test_the_fake_is_a_device() -> None:
    device: Device = FakeGpu()("cuda", 1)
    assert not device.has_half
