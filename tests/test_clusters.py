"""Executors of clusters, on clusters started here: Ray with two nodes, one of which is killed; Slurm."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.executors import Cluster, Executor, gather, make_executor, merge_earlier_results, run
from ggt_tools.executors.task import make_task, result_file
from ggt_tools.records import Score
from ggt_tools.stages.pack import PackConfig, lock_folder, pack, plan_release, write_release
from ggt_tools.stages.score.worker import Scoring
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.store import Store

from .driven import Deadly, Squaring, square
from .fake_device import HUGE, fake_gpu
from .making import GATE, make_dataset, make_pairs, make_workspace
from .making import Store as Images
from .slurm import lacking, slurm
from .test_executors import do, marks, numbers, squares
from .test_gpu import works_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NOT_SHARED = r"^memory://driver: the worker on .* does not see it"


def installed(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "w", create=True) as ledger:
        yield ledger


@pytest.fixture(autouse=True, scope="module")
def workers_find_the_tests() -> Iterator[None]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tools")])
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Any]:
    """Ray's own cluster of two nodes with a CPU each; the second one is to be killed."""
    installed("ray")
    import ray
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_ray_reports_a_stage_that_cannot_work_and_works_that_fail(two_nodes: Any, ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match=r"^no weights; fetch them$"):
        do(Squaring(broken="no weights; fetch them"), numbers(4), ledger, make_executor("ray"))
    faults = do(Squaring(odd=(5,), deadly=(2,)), numbers(8), ledger, make_executor("ray"), chunk=4)
    assert [(fault.subject, fault.reason) for fault in faults] == [("number 5", "odd"), ("number 2", "worker_died")]
    assert "WorkerCrashedError" in faults[1].detail
    assert squares(ledger) == [square(value) for value in range(8) if value not in (2, 5)]


def test_ray_yields_the_same_facts_if_a_node_is_killed(two_nodes: Any, ledger: Ledger, tmp_path: Path) -> None:
    cluster, second = two_nodes
    (tmp_path / "marks").mkdir()
    executor = make_executor("ray")
    assert executor.workers == 2
    moment = random.uniform(0.0, 2.0)
    killer = threading.Timer(moment, lambda: cluster.remove_node(second, allow_graceful=False))
    begun = False

    def begin(done: int) -> None:
        nonlocal begun
        if not begun:
            killer.start()
        begun = True

    stage = Squaring(seconds=0.1, odd=(5,), marks=str(tmp_path / "marks"))
    told = list(run(stage, numbers(80), ledger, executor, chunk=4, progress=begin))
    killer.join()
    assert [fault.subject for fault in told if not isinstance(fault, Score)] == ["number 5"], moment
    assert squares(ledger) == [square(value) for value in range(80) if value != 5], moment
    assert 1 <= len(marks(tmp_path / "marks")) <= 3, "a process keeps its model"


def test_ray_gives_the_models_of_each_task_a_gpu(two_nodes: Any, ledger: Ledger, tmp_path: Path) -> None:
    """Ray counts GPUs and names them to a task, whether or not the machine has any."""
    installed("pyiqa")
    import ray

    cluster, _ = two_nodes
    log = tmp_path / "log"
    version = f"pyiqa {importlib.metadata.version('pyiqa')}"
    stage = Scoring(versions=(("gmsd", version),), config=fake_gpu(log=str(log)))
    works = works_of(ledger, *range(2, 10), HUGE, version=version)
    node = cluster.add_node(num_cpus=1, num_gpus=1, object_store_memory=80_000_000)
    try:
        faults = do(stage, works, ledger, make_executor("ray", options={"gpus_per_task": "1"}))
    finally:
        cluster.remove_node(node)
        while ray.cluster_resources().get("GPU"):
            time.sleep(0.1)
    assert [(fault.subject, fault.reason) for fault in faults] == [("candidate c8", "out_of_memory")]
    assert {score.candidate: score.value for score in squares(ledger)} == {f"c{n}": float(n + 1) for n in range(8)}
    lines = log.read_text().splitlines()
    assert sum(line.startswith("load") for line in lines) == 1, "a process keeps its model"
    assert {line.split()[0] for line in lines if not line.startswith("load")} == {"gpu0"}


def test_ray_packs_the_same_release_with_a_worker_killed_in_the_middle(two_nodes: Any, tmp_path: Path) -> None:
    packs_the_same(make_executor("ray", workers=2), tmp_path)


def test_ray_validates_as_this_machine_does_with_a_node_killed_in_the_middle(
    two_nodes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster, _ = two_nodes
    node = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    killer = threading.Timer(random.uniform(0.0, 3.0), lambda: cluster.remove_node(node, allow_graceful=False))
    killer.start()
    validates_the_same(tmp_path, capsys, "--engine", "ray", "--workers", "2")
    killer.join()
    assert not list((tmp_path / "shared").rglob("*.parquet")), "what was taken in is gone"


def test_messages_of_ray_about_nodes_are_printed_on_stderr(two_nodes: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from ray._private import worker

    from ggt_tools.executors.ray import _print_node_errors_on_stderr

    make_executor("ray")
    shown = worker.print_to_stdstream
    _print_node_errors_on_stderr()
    assert worker.print_to_stdstream is shown, "wrapped once only"
    shown({"lines": ["a node\nhas died"], "pid": "raylet", "is_err": False}, ignore_prefix=False)
    out, err = capsys.readouterr()
    assert out == "" and "a node\nhas died" in err


def test_ray_reports_a_folder_that_its_nodes_do_not_see(two_nodes: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=NOT_SHARED):
        list(gather(Squaring(), numbers(2), Store("memory://driver"), make_executor("ray")))
    root = make_dataset(tmp_path / "out", count=2)
    (tmp_path / "file").touch()
    argv = ["validate", str(root), "--engine", "ray", "--tasks", str(tmp_path / "file")]
    assert main(argv) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus_per_task": "1"}, "--engine ray: the cluster has [0-9]+ CPUs and 0 GPUs, but a task needs 1 and 1"),
        ({"cpus_per_task": "x"}, "--cluster cpus_per_task=x: is not a number"),
        (
            {"nodes": "1"},
            "--cluster nodes: --engine ray has no such option. Known: address, cpus_per_task, gpus_per_task, memory_gb",
        ),
    ],
)
def test_a_wrong_option_of_ray_is_an_error(two_nodes: Any, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_executor("ray", options=options)


def packs_the_same(executor: Executor, tmp_path: Path) -> None:
    """A release by the cluster, byte for byte, where one of its workers dies over a pair; then from a workspace."""
    pairs = make_pairs(images := Images(), 8)
    config = PackConfig(test=0, shard_bytes=60_000)
    pack(pairs, images, tmp_path / "here", config, gate=GATE)
    afar = Deadly(pairs[5].image, tmp_path / "died")
    make_pairs(afar, 8)
    done: list[int] = []
    with lock_folder(tmp_path / "there") as place:
        plan = plan_release(pairs, afar, config, gate=GATE)
        cluster = Cluster(executor, Store(str(tmp_path / "shared")))
        write_release(plan, place, config, gate=GATE, cluster=cluster, progress=done.append)
    assert (tmp_path / "died").exists() and sum(done) == 8
    assert tree(tmp_path / "there") == tree(tmp_path / "here")
    assert [path.name for path in (tmp_path / "shared" / "tasks" / "pack").iterdir()] == []


def validates_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str], *argv: str) -> None:
    """Findings, table, JSON lines and exit code, of a release with three damages in two of its shards."""
    root = make_dataset(tmp_path / "out", count=16, test=0.0, shard_bytes=60_000)
    shards = sorted(root.glob("data/*/*.tar"))
    for shard, at in ((shards[1], 2000), (shards[1], 30_000), (shards[4], 12_000)):
        data = bytearray(shard.read_bytes())
        data[at] ^= 8
        shard.write_bytes(data)
    said = []
    for more in ((), (*argv, "--tasks", str(tmp_path / "shared")), argv):
        code = main(["validate", str(root), "--findings", str(tmp_path / "findings"), *more])
        said.append((code, capsys.readouterr().out.splitlines(), (tmp_path / "findings").read_text()))
    (code, lines, findings), *others = said
    assert code == 1 and len(lines) > 3 and findings.count("\n") >= 3 and len(shards) > 4
    for other_code, other_lines, other_findings in others:
        assert (other_code, other_findings) == (code, findings)
        # another thread or library may print in between
        rest = iter(other_lines)
        assert [line for line in lines if line not in rest] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["findings", "out", "shared"]


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def partition() -> Iterator[str]:
    installed("datatrove")
    if why := lacking():
        pytest.skip(why)
    with slurm() as partition:
        yield partition


def test_slurm_does_each_work_once_and_reports_the_one_that_kills_its_job(
    partition: str, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "marks").mkdir()
    options = {"partition": partition, "mem_per_cpu_gb": "1", "time": "5"}
    stage = Squaring(odd=(5,), deadly=(3,), marks=str(tmp_path / "marks"))
    (odd, died) = do(stage, numbers(8), ledger, make_executor("slurm", workers=2, options=options))
    assert (odd.subject, died.subject, died.reason) == ("number 5", "number 3", "worker_died")
    assert len(marks(tmp_path / "marks")) == 3, "a model for each job of four tasks, and for the one alone"
    log = Path(died.detail.rpartition("see ")[2])
    assert "its job ended with it" in died.detail and "launch_script.slurm" in {each.name for each in log.iterdir()}
    assert squares(ledger) == [square(value) for value in range(8) if value not in (3, 5)]


def test_slurm_jobs_outlive_the_run_and_the_next_one_merges_their_results(partition: str, ledger: Ledger) -> None:
    options = {"partition": partition, "mem_per_cpu_gb": "1", "time": "5"}
    executor = make_executor("slurm", workers=1, options=options)
    tasks = [make_task(Squaring(seconds=0.5), [work]) for work in numbers(4)]
    ends = executor.perform(Squaring(seconds=0.5), tasks, ledger.store)
    first, why = next(ends)
    ends.close()  # type: ignore[attr-defined]
    assert why == "" and ledger.store.has(result_file("squaring", first))
    said: list[str] = []
    merge_earlier_results(ledger, "squaring", "slurm", said.append)
    assert squares(ledger) == [square(value) for value in range(4)]
    assert len(said) == 1 and said[0].startswith("waiting for the jobs of an earlier run, ggt100k-squaring-")


def test_slurm_reports_a_stage_that_cannot_work(partition: str, ledger: Ledger) -> None:
    options = {"partition": partition, "mem_per_cpu_gb": "1", "time": "5"}
    with pytest.raises(ConfigError, match=r"^no weights; fetch them$"):
        do(
            Squaring(broken="no weights; fetch them"),
            numbers(4),
            ledger,
            make_executor("slurm", workers=1, options=options),
        )
    with pytest.raises(ConfigError, match="sbatch did not accept the jobs"):
        do(Squaring(), numbers(4), ledger, make_executor("slurm", options=options | {"partition": "nowhere"}))
    assert subprocess.run(["squeue", "--noheader"], capture_output=True, check=True).stdout.count(b"ggt100k-squ") <= 1


def test_slurm_packs_the_same_release_with_a_worker_killed_in_the_middle(partition: str, tmp_path: Path) -> None:
    options = {"partition": partition, "mem_per_cpu_gb": "1", "time": "5"}
    packs_the_same(make_executor("slurm", workers=2, options=options), tmp_path)


def test_slurm_packs_and_validates_a_workspace_as_this_machine_does(
    partition: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command alone, out of the folder that the workspace lies in."""
    monkeypatch.chdir(tmp_path)
    make_workspace(tmp_path / "w", 6)
    said_of = ("partition=" + partition, "mem_per_cpu_gb=1", "time=5")
    asked = ["--engine", "slurm", "--workers", "1", *(f"--cluster={each}" for each in said_of)]
    none: list[str] = []
    said = []
    for out, more in (("here", none), ("there", asked)):
        code = main(["pack", "w", out, "--test", "0.3", *more])
        said.append((code, capsys.readouterr().out))
    assert said[0] == said[1] and said[0][0] == 0
    assert tree(tmp_path / "here") == tree(tmp_path / "there")
    shard = tmp_path / "there" / "data" / "rain" / "train-00000.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    said = []
    for more in (none, asked):
        code = main(["validate", "there", "--against", "w", *more])
        said.append((code, capsys.readouterr().out))
    assert said[0] == said[1] and said[0][0] == 1 and "wrong_bytes: data/rain/train-00000.tar" in said[0][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there", "w"]


def test_slurm_reports_a_folder_that_its_nodes_do_not_see(partition: str, tmp_path: Path) -> None:
    options = {"partition": partition, "mem_per_cpu_gb": "1", "time": "5", "logs": str(tmp_path)}
    with pytest.raises(ConfigError, match=NOT_SHARED):
        list(
            gather(Squaring(), numbers(2), Store("memory://driver"), make_executor("slurm", workers=1, options=options))
        )
