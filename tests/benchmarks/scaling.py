"""Measure scaling on this machine, estimate the rest, and write both, marked, to dataset_card/SCALING.md.

    python -m tests.benchmarks.scaling all          measures every part and writes the page: two hours
    python -m tests.benchmarks.scaling PART ...     measures these anew; of the others what stands in scaling.json

The ledger takes 11 GB of disk at most while it is measured, the index 2 GB; nothing of either stays. A ledger of a
million takes a quarter of an hour to make: where GGT100K_LEDGERS names a folder it is kept there, and copied from it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import ledgers, plans
from .field import Options, table

ROOT = Path(__file__).parent.parent.parent
PAGE, FIGURES = ROOT / "dataset_card" / "SCALING.md", ROOT / "dataset_card" / "scaling.json"
Figures = dict[str, Any]


def measure_ledger(quick: bool) -> Figures:
    """A ledger of very many photographs: made, and what the verbs take over it."""
    count = 2_000 if quick else 1_000_000
    with _folder() as home:
        made = _made(home / "w", count)
        before = ledgers.verb("status", home / "w")
        judged = ledgers.verb("verdict", home / "w", "--gate", home / "w" / "gate.toml")
        size = float((home / "w" / "ledger.sqlite").stat().st_size)
        after = ledgers.verb("status", home / "w")
        adding = ledgers.adding(home / "w", 20_000)
        again = ledgers.verb("verdict", home / "w", "--gate", home / "w" / "gate.toml")
        planned = ledgers.verb("pack", home / "w", home / "out", "--dry-run", "--test", "0")
        return {"photographs": count, "made": made, "adding": adding, "status": before, "verdict": judged,
                "bytes judged": size, "status judged": after, "verdict again": again, "pack": planned}  # fmt: skip


def _made(folder: Path, count: int) -> Figures:
    """The ledger, made now or, as that takes a quarter of an hour, a copy of what GGT100K_LEDGERS keeps of a run."""
    keep = os.environ.get("GGT100K_LEDGERS")
    kept = Path(keep or folder.parent / "kept") / str(count)
    if not (kept / "made.json").exists():
        made = ledgers.make(kept, count)
        (kept / "made.json").write_text(json.dumps(made))
    (shutil.copytree if keep else shutil.move)(kept, folder)
    return dict(json.loads((folder / "made.json").read_text()))


def measure_index(quick: bool, count: int = 10_000_000) -> Figures:
    """An index of very many rows: opened, filtered."""
    count = 20_000 if quick else count
    with _folder() as home:
        made = _index(home / "data", count)
        code = (
            "import json, resource, sys, time; import ggt100k; t = time.perf_counter()\n"
            "def mark(name, begun): found[name] = time.perf_counter() - begun\n"
            "found = {}; table = ggt100k.index(sys.argv[1]); mark('first', t)\n"
            "t = time.perf_counter(); table = ggt100k.index(sys.argv[1]); mark('again', t)\n"
            "where = {'degradation': ['haze'], 'scores.structure': (0.5, None)}; t = time.perf_counter()\n"
            "found['kept'] = ggt100k.index(sys.argv[1], where=where, columns=['key']).num_rows; mark('filter', t)\n"
            "t = time.perf_counter(); whole = ggt100k.index(sys.argv[1], where=where); mark('whole', t); del whole\n"
            "t = time.perf_counter(); pairs = ggt100k.PairDataset(sys.argv[1], crop=256); mark('pairs', t)\n"
            "found['rows'] = len(pairs); lines = open('/proc/self/smaps_rollup').read().splitlines()[1:]\n"
            "found['private'] = sum(1024 * int(x.split()[1]) for x in lines if x.startswith('Private'))\n"
            "print(json.dumps(found))"
        )
        environment = os.environ | {"HF_HOME": str(home / "cache"), "XDG_CACHE_HOME": str(home / "cache")}
        runs = []
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-c", code, str(home / "data")],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            runs.append(json.loads(done.stdout.splitlines()[-1]))
        return {"rows": count, "parquet": made, "fresh": runs[0], "cached": runs[1]}


def measure_overhead(quick: bool, count: int = 400, rounds: int = 3) -> Figures:
    """A scorer of 50 ms: one process against two, here and on Ray, taking turns."""
    from ..driven import Number, Squaring
    from ..test_executors import Ledger, make_executor, run

    count, rounds = (40, 1) if quick else (count, rounds)
    works = [Number(value) for value in range(count)]
    seconds: dict[str, list[float]] = {}
    with _ray() as _:
        for round in range(rounds + 1):
            for name in ("local", "ray"):
                for workers in (1, 2):
                    with _folder() as home, Ledger(home / "w", create=True) as ledger:
                        executor = make_executor(name, workers=workers)
                        began = time.perf_counter()
                        told = list(run(Squaring(seconds=0.05), works, ledger, executor))
                        taken = time.perf_counter() - began
                        assert len(told) == count == ledger._db.execute("SELECT count(*) FROM score").fetchall()[0][0]
                    if round:  # the first one is not counted
                        seconds.setdefault(f"{name} {workers}", []).append(taken)
    return {"works": count, "seconds": seconds}


def measure_node_killed(quick: bool, count: int = 2000, times: int = 10) -> Figures:
    """Small pairs scored on two nodes of Ray, one of which is killed at a random moment; and by this process alone.

    The moment is any of those that a run takes in which nothing dies.
    """
    from ..test_regenerate import workspace

    count, times = (24, 1) if quick else (count, times)
    dice = random.Random(0)
    metrics = ("--metrics", "structure,unchanged")
    rows = "SELECT candidate, metric, metric_version, value FROM score ORDER BY 1, 2, 3"
    runs = []
    with _folder() as home:
        source = workspace(home / "source", count, prompts="", size=(48, 64))
        _well("restore", source, "--workers", "2")
        _well("align", source)
        shutil.copytree(source, home / "local")
        began = time.perf_counter()
        _well("score", home / "local", *metrics)
        alone = time.perf_counter() - began
        with ledgers.Ledger(home / "local") as ledger:
            expected = [tuple(row) for row in ledger._db.execute(rows).fetchall()]
        whole = 0.0
        for number in range(times + 1):
            folder = Path(shutil.copytree(source, home / f"ray-{number}"))
            moment = dice.uniform(0, whole) if number else None
            taken = _with_a_node_killed(moment, lambda to=folder: _well("score", to, *metrics, "--engine", "ray"))  # type: ignore[misc]
            whole = whole or taken
            with ledgers.Ledger(folder) as ledger:
                found = [tuple(row) for row in ledger._db.execute(rows).fetchall()]
            same = [one[:3] for one in found] == [one[:3] for one in expected]
            near = same and all(abs(a[3] - b[3]) < 1e-6 for a, b in zip(found, expected, strict=True))
            runs.append({"moment": moment, "seconds": taken, "same": same and near})
            shutil.rmtree(folder)
    return {"pairs": count, "alone": alone, "runs": runs}


def measure_release(quick: bool, count: int = 400, times: int = 3) -> Figures:
    """A release packed and validated on two nodes of Ray, one of which is killed at a random moment of each."""
    from ..making import make_workspace
    from ..test_clusters import tree

    count, times = (24, 1) if quick else (count, times)
    dice = random.Random(1)
    runs = []
    with _folder() as home:
        source = make_workspace(home / "source", count)
        options = ("--test", "0", "--shard-bytes", "200000")
        _well("pack", source, home / "local", *options)
        said = _well("validate", home / "local")
        took = {"pack": 0.0, "validate": 0.0}
        for number in range(times + 1):
            out, run = home / f"ray-{number}", {}
            for verb, argv in (("pack", ("pack", source, out, *options)), ("validate", ("validate", out))):
                moment = dice.uniform(0, took[verb]) if number else None
                heard: list[str] = []
                taken = _with_a_node_killed(
                    moment, lambda to=heard, argv=argv: to.append(_well(*argv, "--engine", "ray", "--workers", "2"))
                )
                took[verb] = took[verb] or taken
                # Ray itself may say first that a node is gone
                same = tree(out) == tree(home / "local") if verb == "pack" else heard[0].endswith(said)
                run[verb] = {"moment": moment, "seconds": taken, "same": same}
            runs.append(run)
            shutil.rmtree(out)
        shards = len(list((home / "local").glob("data/*/*.tar")))
    return {"pairs": count, "shards": shards, "runs": runs}


def _well(*argv: str | Path) -> str:
    """What the command, run in this process, said on stdout; on stderr it may tell how far it is."""
    from ..test_cli import ggt

    done = ggt(*argv)
    assert done.code == 0, done
    return done.out


def _with_a_node_killed(moment: float | None, work: Callable[[], object]) -> float:
    """Seconds that it takes on two nodes of Ray, the second of which is killed at that moment, or not at all."""
    with _ray() as (cluster, second):
        killer = threading.Timer(moment or 0.0, lambda: cluster.remove_node(second, allow_graceful=False))
        began = time.perf_counter()
        if moment is not None:
            killer.start()
        work()
        taken = time.perf_counter() - began
        killer.cancel()
    return taken


def measure_datatrove(quick: bool) -> Figures:
    """Tasks that do nothing: our executor of Ray against datatrove's executor of Ray, on the same cluster."""
    from datatrove.executor.ray import RayPipelineExecutor

    from ..driven import Number, Squaring
    from ..test_executors import Ledger, make_executor, run

    count = 4 if quick else 12
    with _ray() as _, _folder() as home, Ledger(home / "w", create=True) as ledger:
        seconds = {}
        list(run(Squaring(), [Number(0)], ledger, make_executor("ray")))  # processes are warm, for both
        began = time.perf_counter()
        list(run(Squaring(), [Number(1 + n) for n in range(count)], ledger, make_executor("ray", workers=2), chunk=1))
        seconds["ours"] = (time.perf_counter() - began) / count
        theirs = RayPipelineExecutor(
            pipeline=[nothing], tasks=count, workers=2, logging_dir=str(home / "logs"), mem_per_cpu_gb=0.1
        )
        began = time.perf_counter()
        theirs.run()
        seconds["datatrove"] = (time.perf_counter() - began) / count
    return {"tasks": count, "seconds": seconds}


def nothing(data: Any, rank: int, world_size: int) -> Iterator[Any]:
    return iter(())


PARTS: dict[str, Callable[[bool], Figures]] = {
    "ledger": measure_ledger,
    "index": measure_index,
    "overhead": measure_overhead,
    "node_killed": measure_node_killed,
    "release": measure_release,
    "datatrove": measure_datatrove,
}


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ggt-100k-scaling-") as home:
        yield Path(home)


@contextlib.contextmanager
def _ray() -> Iterator[Any]:
    """Ray's own cluster of two nodes with a CPU each, and the second one of them."""
    import ray
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    small = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=small)
    second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.CRITICAL)
    try:
        yield cluster, second
    finally:
        ray.shutdown()
        cluster.shutdown()


def _index(folder: Path, count: int) -> dict[str, float]:
    """A dataset folder whose index has so many rows; its shards are not there. Seconds, and bytes."""
    import hashlib

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    import ggt100k
    from ggt_tools.stages.pack import ROW_GROUP

    began = time.perf_counter()
    source = ggt100k.sample_folder() / "packed"
    source = source if source.exists() else ROOT / "dataset_card" / "sample" / "packed"
    few = pq.read_table(source / "index/train.parquet")
    (folder / "index").mkdir(parents=True)
    path = folder / "index/train.parquet"
    classes = sorted(set(few["degradation"].to_pylist()))
    names = few["degradation"].to_pylist()
    begin = 0
    with pq.ParquetWriter(path, few.schema, compression="zstd") as writer:
        for number, name in enumerate(classes):
            end = count * (number + 1) // len(classes)
            rows = [place for place, each in enumerate(names) if each == name]
            while begin < end:
                size = min(ROW_GROUP * 16, end - begin)
                part = few.take(pa.array(np.resize(rows, size)))
                keys = pa.array([f"{each:016x}" for each in range(begin, begin + size)], pa.string())
                place = part.schema.get_field_index("key")
                writer.write_table(part.set_column(place, few.schema.field("key"), keys), row_group_size=ROW_GROUP)
                begin += size
    manifest = json.loads((source / ggt100k.MANIFEST).read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest["splits"]["train"] |= {"pairs": count, "index": {"bytes": path.stat().st_size, "sha256": digest}}
    (folder / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    return {"seconds": time.perf_counter() - began, "bytes": float(path.stat().st_size)}


def page(figures: Figures) -> str:
    """SCALING.md: what was measured, then what follows from it and from published figures."""
    lines = [
        "# Scaling",
        "",
        "Written by `python -m tests.benchmarks.scaling`, which can measure part by part. *Measured* values are from "
        "one machine with two cores. For the ledger both were free; for the other parts, other programs used one or "
        "both. *Estimated* values follow from measured sizes, listed prices and published throughputs.",
        "",
    ]
    for name, tell in (("ledger", _ledger), ("index", _rows), ("overhead", _overhead), ("node_killed", _killed),
                       ("release", _release), ("datatrove", _datatrove)):  # fmt: skip
        if name in figures:
            lines += [*tell(figures[name]), ""]
    return "\n".join([*lines, *plans.estimate(), ""])


def _took(found: Figures) -> list[str]:
    return [f"{found['seconds']:.1f}", f"{found['cpu']:.1f}", f"{found['bytes'] / 1e6:,.0f}"]


def _ledger(found: Figures) -> list[str]:
    count = found["photographs"]
    made = found["made"]
    rows = [
        ["`status` before any verdict", *_took(found["status"])],
        ["`verdict` of all", *_took(found["verdict"])],
        ["`status` after all verdicts", *_took(found["status judged"])],
        ["`verdict` again, without a change", *_took(found["verdict again"])],
        ["`pack --dry-run`: the whole plan", *_took(found["pack"])],
    ]
    return [
        "## The ledger (measured)",
        "",
        f"{count:,} photographs x {ledgers.CANDIDATES} candidates x {ledgers.SCORES} scores: "
        f"{made['bytes'] / 1e9:.1f} GB, "
        f"{made['bytes'] / count:,.0f} bytes per photograph; {found['bytes judged'] / 1e9:.1f} GB with every verdict "
        f"and its evidence. A stage that commits 1,000 scores at a time adds {found['adding']:,.0f} scores per second.",
        "",
        table(["command", "seconds", "CPU seconds", "maximum MB, all processes"], rows),
    ]


def _rows(found: Figures) -> list[str]:
    fresh, cached = found["fresh"], found["cached"]
    rows = [
        ["open for the first time (prepares the memory mapping)", f"{fresh['first']:.1f}"],
        ["open again, in another process", f"{cached['first']:.2f}"],
        [f"filter by class and score: the keys of {cached['kept']:,} are kept", f"{cached['filter']:.2f}"],
        ["the same, all columns", f"{cached['whole']:.2f}"],
        ["`PairDataset` over all", f"{cached['pairs']:.2f}"],
    ]
    return [
        "## The index (measured)",
        "",
        f"{found['rows']:,} rows: {found['parquet']['bytes'] / 1e6:,.0f} MB of Parquet. After all of these steps, a "
        f"process has {cached['private'] / 1e6:,.0f} MB of private memory:",
        "",
        table(["step", "seconds"], rows),
    ]


def _overhead(found: Figures) -> list[str]:
    rows = []
    for name in ("local", "ray"):
        one, two = found["seconds"][f"{name} 1"], found["seconds"][f"{name} 2"]
        share = statistics.median(a / b / 2 for a, b in zip(one, two, strict=True))
        bare = found["works"] * 0.05
        rows.append([name, f"{statistics.median(one):.1f}", f"{statistics.median(two):.1f}", f"{share:.2f}",
                     f"{bare / statistics.median(one):.2f}"])  # fmt: skip
    return [
        "## Engines (measured)",
        "",
        f"{found['works']} works of 50 ms, medians of {len(one)} alternating rounds, including the start of processes.",
        "",
        table(
            ["`--engine`", "1 worker, s", "2 workers, s", "speed-up by 2 workers / 2", "efficiency of 1 worker"], rows
        ),
    ]


def _killed(found: Figures) -> list[str]:
    (whole, *runs) = found["runs"]
    good = sum(run["same"] for run in runs)
    seconds = [run["seconds"] for run in runs]
    return [
        "## Failure of a node (measured)",
        "",
        f"{found['pairs']:,} small pairs scored by `--engine ray` on a cluster of two nodes, one of them killed at a "
        f"random moment (after {_moments(runs)} s): in {good} of {len(runs)} runs, the ledger had the same facts as "
        f"after a run in one process, each once, with values within 1e-6. Seconds: {min(seconds):.0f} to "
        f"{max(seconds):.0f}, and {whole['seconds']:.0f} without a failure. One "
        f"process without a cluster takes {found['alone']:.0f}.",
    ]


def _release(found: Figures) -> list[str]:
    (whole, *runs) = found["runs"]
    lines = [
        f"A release of {found['pairs']:,} small pairs in {found['shards']} shards, packed and validated by "
        "`--engine ray` on such a cluster, with a node killed at a random moment of each run:",
        "",
    ]
    for verb, said in (
        ("pack", "the same bytes as without a cluster"),
        ("validate", "no findings, as without a cluster,"),
    ):
        these = [run[verb] for run in runs]
        good = sum(run["same"] for run in these)
        seconds = [run["seconds"] for run in these]
        lines.append(
            f"- `{verb}`, killed after {_moments(these)} s: {said} in {good} of {len(these)} runs; {min(seconds):.0f} "
            f"to {max(seconds):.0f} s, and {whole[verb]['seconds']:.0f} s without a failure."
        )
    return lines


def _moments(runs: list[Figures]) -> str:
    return ", ".join(f"{run['moment']:.1f}" for run in runs)


def _datatrove(found: Figures) -> list[str]:
    ours, theirs = found["seconds"]["ours"], found["seconds"]["datatrove"]
    return [
        "## Why `--engine ray` is not datatrove's executor (measured)",
        "",
        f"{found['tasks']} tasks that do nothing, two at a time on the same warm cluster: {ours:.3f} s for each task "
        f"with plain Ray tasks, and {theirs:.2f} s with datatrove's `RayPipelineExecutor`, {theirs / ours:,.0f} times "
        "as long. That executor reserves a placement and starts an actor with a pool of processes for each task, so it "
        "would also load a model for each task. According to its code (0.10), a killed process of that pool leaves the "
        "pool waiting, and a node that fails between the placement and the actor's first answer leaves the driver "
        "waiting; neither was tested here. `--engine slurm` uses datatrove's "
        "`SlurmPipelineExecutor`, which has none of these problems.",
    ]


def bench(options: Options) -> str:
    """Every part; without --quick the page is written anew."""
    found = {name: part(options.quick) for name, part in PARTS.items()}
    if not options.quick:
        _write(found)
    return page(found)


def _write(new: Figures) -> None:
    """Beside what stands of other parts, which may be measured at the same time."""
    stood: Figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    found = {name: (stood | new)[name] for name in PARTS if name in stood | new}
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(found), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all, or of {', '.join(PARTS)}; none: the page alone")
    parser.add_argument("--quick", action="store_true", help="small: shows that it works; nothing is written")
    asked = parser.parse_args()
    found: Figures = {}
    if unknown := set(asked.parts) - {"all", *PARTS}:
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    for name in PARTS if "all" in asked.parts else asked.parts:
        found[name] = PARTS[name](asked.quick)
        if not asked.quick:
            _write({name: found[name]})
    if not asked.quick:
        _write({})
    print(page(found))


if __name__ == "__main__":
    main()
