"""pack: pairs in, a dataset folder out: shards, index, README, and last of all the manifest.

    priors.py    which outputs go along beside the pairs, as visual priors
    plan.py      what the release holds, and which shards are written anew
    splits.py    the test split, drawn once, and that nothing like it is in train
    writing.py   a shard: written, or kept byte for byte from the release before
    place.py     built beside its place and moved there whole; what a kill left is finished

Equal pairs on an equal base give equal bytes, over any number of processes. A shard that an interrupted run has
finished is kept, if its bytes are still those that it wrote.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_format import __version__
from ggt_format.schema import DEGRADATIONS, FORMAT_VERSION, MANIFEST, PRIOR, SPLITS, index_schema
from ggt_tools.errors import ShardError
from ggt_tools.processes import in_processes, worth
from ggt_tools.records import Pair, Stage
from ggt_tools.stages.adopt.sets import denies
from ggt_tools.stages.card import short_readme
from ggt_tools.stages.pack.place import begin, check_place, claim, part_of, put_in_place
from ggt_tools.stages.pack.plan import PackConfig, Plan, plan_release
from ggt_tools.stages.pack.writing import (
    Images,
    ShardJob,
    Written,
    differing,
    file_facts,
    noted,
    pair_facts,
    write_shard,
)
from ggt_tools.workspace.ledger import write_whole

if TYPE_CHECKING:
    from ggt_tools.executors import Cluster

__all__ = ["PackConfig", "Plan", "check_place", "claim", "differing", "pack", "pair_facts", "plan_release", "write"]

ROW_GROUP = 256  # rows of the index that are read, pruned and streamed as one


def pack(
    pairs: Iterable[Pair],
    images: Images,
    out: Path,
    config: PackConfig,
    *,
    gate: str,
    funnel: Sequence[Stage] = (),
    priors: Sequence[Pair] = (),
    gone: Collection[str] = (),
    held: Collection[str] = (),
    looks: Mapping[str, str] | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """Writes the dataset folder `out` and returns its manifest: plan_release() and write() in one.

    `images` gives an image's file by the name that the records use, `gate` is the text of the policy that chose the
    pairs. Raises ConfigError, PairError and ShardError; `out` stays as it was then.
    """
    chosen = list(pairs)
    with claim(out) as place:
        plan = plan_release(
            chosen, images, config, gate=gate, priors=priors, gone=gone, held=held, looks=looks, where=str(out)
        )
        return write(plan, place, config, gate=gate, funnel=funnel, progress=progress)[0]


def write(
    plan: Plan,
    out: Path,
    config: PackConfig,
    *,
    gate: str,
    funnel: Sequence[Stage] = (),
    stays: Mapping[str, str] | None = None,
    trial: str = "",
    cluster: Cluster | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> tuple[dict[str, Any], list[Written]]:
    """Carries a plan out in a place that is claimed. The manifest, and what became of each shard.

    `stays` says by key why a photograph may not be passed on: the release must stay on this machine then, and says so;
    so it does where a licence forbids it, or `trial` says why. `cluster`: whose nodes write the shards; without one
    this machine's processes do. `progress` is told how many pairs were added.
    """
    local_only = _local_only(plan, stays or {}, trial)
    part = part_of(out)
    begin(part, plan.digest)
    jobs = plan.of(part)
    size = sum(_size(job) for job in jobs)
    if cluster is not None:
        _elsewhere(cluster, jobs, plan.digest, progress)
        done = [noted(job) or write_shard(job, int) for job in jobs]  # what became of them: they are done
    else:
        done = list(in_processes(write_shard, jobs, worth(config.processes, size), progress))
    splits: dict[str, Any] = {}
    for split in (*SPLITS, PRIOR):
        rows = [row for shard in done if f"/{split}-" in shard.name for row in shard.rows]
        if not rows:
            continue
        path = part / "index" / f"{split}.parquet"
        _write_index(path, rows, plan.metrics)
        counts = {name: sum(row["degradation"] == name for row in rows) for name in DEGRADATIONS}
        splits[split] = {
            "pairs": len(rows),
            "degradations": {name: count for name, count in counts.items() if count},
            "index": file_facts(path),
        }
    # a reader that looks at the splits alone, whatever its age, meets no prior
    beside = {PRIOR: splits.pop(PRIOR)} if PRIOR in splits else {}
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset_version": config.version,
        "codec": config.codec,
        "metrics": list(plan.metrics),
        "splits": splits,
        **beside,
        "shards": {shard.name: dict(shard.about) for shard in done},
        "written_with": _library_versions(),
        "gate": gate,
        "funnel": [dataclasses.asdict(stage) for stage in funnel],
    } | ({"local_only": local_only} if local_only else {})
    write_whole(part / "README.md", short_readme(manifest).encode())
    write_whole(part / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    put_in_place(part, out)
    return manifest, done


def _library_versions() -> dict[str, str]:
    """Return the versions that the bytes of a release depend on: equal pairs give equal bytes where they are equal."""
    return {"ggt100k": __version__, **{name: version(name) for name in ("zlib-ng", "pillow", "pyarrow")}}


def _local_only(plan: Plan, stays: Mapping[str, str], trial: str) -> str:
    """Why a release must stay on this machine; "" where it need not."""
    why, alien = {trial}, False
    for job in plan.shards:
        licences = {row["key"]: row["licence"] for row in job.rows}
        alien = alien or not licences.keys() <= job.approved.keys()
        licences |= {key: pair.photo.licence for key, pair in job.pairs.items()}
        why |= {stays.get(key) or denies(licence) for key, licence in licences.items()}
    if alien and plan.base is not None:  # of pairs that only the base knows, nothing here tells which those are
        why |= {*plan.base.manifest.get("local_only", "").split("; ")}
    return "; ".join(sorted(why - {""}))


def _elsewhere(cluster: Cluster, jobs: Sequence[ShardJob], plan: str, progress: Callable[[int], object]) -> None:
    """Has the shards written by the cluster. Raises ShardError where one could not be, with all others written."""
    from ggt_tools.executors import forget, gather
    from ggt_tools.stages.pack.worker import Packing

    stage = Packing(part=str(jobs[0].part), plan=plan)
    forget(stage, jobs, cluster.store)  # of another plan of the same place
    # those that are done too: a node looks at their bytes
    lost = list(gather(stage, jobs, cluster.store, cluster.engine, progress=lambda job: progress(job.count)))
    forget(stage, jobs, cluster.store)
    if lost:
        others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ShardError(f"{lost[0].subject}{others}: {lost[0].detail}; pack again: what is done stays")


def _size(job: Any) -> int:
    """Bytes that a shard takes to make, as far as they are known before."""
    if job.base is not None:
        return int(job.base.about["bytes"])
    return sum(job.images.image_size(name) for p in job.pairs.values() for name in (p.photo.image, p.image))


def _write_index(path: Path, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> None:
    """The index of a split. A row group holds one degradation, so that its statistics prune a filter on it."""
    schema = index_schema(metrics)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for degradation in sorted({row["degradation"] for row in rows}):
            group = sorted((row for row in rows if row["degradation"] == degradation), key=lambda row: str(row["key"]))
            for start in range(0, len(group), ROW_GROUP):
                writer.write_table(pa.Table.from_pylist(group[start : start + ROW_GROUP], schema=schema))
    write_whole(path, buffer.getvalue())
