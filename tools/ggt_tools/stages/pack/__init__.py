"""pack: write a release from pairs: shards, index, README and, last of all, the manifest.

    priors.py    which outputs are packed beside the pairs, as visual priors
    judged.py    the candidates of a photograph, with all that speaks for and against them
    preferences.py  kept and rejected candidates, packed beside the pairs for reward models
    flags.py     how many of its files carry credentials, or were flagged
    config.py    the options
    plan.py      what the release holds, and which shards are written anew
    cutting.py   which pairs are in which new shard
    facts.py     the facts of a pair, and how they differ from an earlier release's
    splits.py    the test split, drawn once, and that no similar pair is in train
    writing.py   a shard: written, or kept byte for byte from the previous release
    folder.py    the folder of the release: it is built beside it and moved in when it is complete
    run.py       the command
    worker.py    the part that executors run

Equal pairs on an equal base give equal bytes, over any number of processes. A shard that an interrupted run has
finished is kept, if its bytes are still those that were written.
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
from ggt_tools.processes import in_processes, suggest_processes
from ggt_tools.records import Pair, Stage
from ggt_tools.stages.adopt.sets import denies
from ggt_tools.stages.card import short_readme
from ggt_tools.stages.pack.config import PackConfig
from ggt_tools.stages.pack.facts import changed_facts, pair_facts
from ggt_tools.stages.pack.folder import begin, check_folder, lock_folder, move_in, part_of
from ggt_tools.stages.pack.judged import JudgedPhoto
from ggt_tools.stages.pack.plan import ReleasePlan, plan_release
from ggt_tools.stages.pack.preferences import write_preference_index, write_preferences
from ggt_tools.stages.pack.writing import Images, ShardJob, WrittenShard, file_facts, read_note, write_shard
from ggt_tools.workspace.ledger import write_whole

if TYPE_CHECKING:
    from ggt_tools.executors import Cluster

__all__ = [
    "PackConfig",
    "ReleasePlan",
    "changed_facts",
    "check_folder",
    "lock_folder",
    "pack",
    "pair_facts",
    "plan_release",
    "write_release",
]

ROW_GROUP = 256  # rows of the index that are read, pruned and streamed together


def pack(
    pairs: Iterable[Pair],
    images: Images,
    out: Path,
    config: PackConfig,
    *,
    gate: str,
    funnel: Sequence[Stage] = (),
    priors: Sequence[Pair] = (),
    judged: Sequence[JudgedPhoto] = (),
    removed: Collection[str] = (),
    test_keys: Collection[str] = (),
    phashes: Mapping[str, str] | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, Any]:
    """Write a release: `plan_release` and `write_release` in one.

    Args:
        pairs: The pairs that the gate keeps.
        images: Where their images are.
        out: Folder of the release.
        config: What the release is to be.
        gate: Text of the gate that kept the pairs.
        funnel: Numbers of photographs that entered and left each stage.
        priors: Visual priors, which are packed beside the pairs.
        judged: Photographs with rejected candidates, for the preference shards.
        removed: Keys of pairs that must not be in the release.
        test_keys: Keys of a test split that was drawn before.
        phashes: Perceptual hashes that are known, by key.
        progress: Called with the number of pairs that were done since the last call.

    Returns:
        The manifest.

    Raises:
        ConfigError: There is nothing to pack, or the folder or the base cannot be used.
        PairError: A pair cannot be packed.
        ShardError: The base is damaged. The folder `out` stays as it was after any of these.
    """
    all_pairs = list(pairs)
    with lock_folder(out) as folder:
        plan = plan_release(
            all_pairs,
            images,
            config,
            gate=gate,
            priors=priors,
            judged=judged,
            removed=removed,
            test_keys=test_keys,
            phashes=phashes,
            out=str(out),
        )
        return write_release(plan, folder, config, gate=gate, funnel=funnel, progress=progress)[0]


def write_release(
    plan: ReleasePlan,
    out: Path,
    config: PackConfig,
    *,
    gate: str,
    funnel: Sequence[Stage] = (),
    restrictions: Mapping[str, str] | None = None,
    trial: str = "",
    flags: Mapping[str, Any] | None = None,
    processes: int = 0,
    cluster: Cluster | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> tuple[dict[str, Any], list[WrittenShard]]:
    """Write a release that was planned into a folder that is locked.

    Args:
        plan: What `plan_release` returned.
        out: Folder of the release, which `lock_folder` yielded.
        config: What the release is to be.
        gate: Text of the gate that kept the pairs.
        funnel: Numbers of photographs that entered and left each stage.
        restrictions: By key, why a photograph may not be passed on: the release must stay on this machine then, as it
            must where a licence forbids it.
        flags: What was looked for in the files of its pairs, and on how many it was found.
        trial: Why the release must stay on this machine in any case; "" where it need not.
        processes: Number of processes; 0 for as many as the cores and the size of the work are worth.
        cluster: Cluster that writes the shards; None for processes on this machine.
        progress: Called with the number of pairs that were done since the last call.

    Returns:
        The manifest, and the shards.

    Raises:
        PairError: A pair cannot be packed.
        ShardError: The base is damaged, or a shard could not be written on the cluster.
    """
    local_only = _local_only(plan, restrictions or {}, trial)
    part = part_of(out)
    begin(part, plan.digest)
    jobs = plan.jobs(part)
    if cluster is not None:
        _write_on_cluster(cluster, jobs, plan.digest, progress)
        shards = [read_note(job) or write_shard(job, int) for job in jobs]
    else:
        process_count = suggest_processes(processes, sum(map(_input_bytes, jobs)))
        shards = list(in_processes(write_shard, jobs, process_count, progress))
    preferences = _write_preferences(plan, part, processes, progress)
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset_version": config.version,
        "codec": config.codec,
        "metrics": list(plan.metrics),
        **_write_indices(part, shards, plan.metrics),
        "shards": {shard.name: dict(shard.facts) for shard in shards},
        **({"preferences": preferences} if preferences else {}),
        **({"flags": dict(flags)} if flags else {}),
        "written_with": _library_versions(),
        "gate": gate,
        "funnel": [dataclasses.asdict(stage) for stage in funnel],
    } | ({"local_only": local_only} if local_only else {})
    write_whole(part / "README.md", short_readme(manifest).encode())
    write_whole(part / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    move_in(part, out)
    return manifest, shards


def _write_preferences(
    plan: ReleasePlan, part: Path, processes: int, progress: Callable[[int], object]
) -> dict[str, Any]:
    """Write the preference shards and their index, and return the manifest's facts of them; {} where there are none."""
    if not plan.preferences:
        return {}
    jobs = [dataclasses.replace(job, part=part) for job in plan.preferences]
    size = sum(
        job.images.image_size(name)
        for job in jobs
        for photo in job.photos
        for name in (photo.photo.image, *(each.image for each in photo.candidates))
    )
    shards = list(in_processes(write_preferences, jobs, suggest_processes(processes, size), progress))
    return write_preference_index(part, shards, jobs[0].metrics)


def _write_indices(part: Path, shards: Sequence[WrittenShard], metrics: Sequence[str]) -> dict[str, Any]:
    """Write the index of each split, and return the manifest's facts of them."""
    splits: dict[str, Any] = {}
    for split in (*SPLITS, PRIOR):
        rows = [row for shard in shards if f"/{split}-" in shard.name for row in shard.rows]
        if not rows:
            continue
        path = part / "index" / f"{split}.parquet"
        _write_index(path, rows, metrics)
        counts = {name: sum(row["degradation"] == name for row in rows) for name in DEGRADATIONS}
        splits[split] = {
            "pairs": len(rows),
            "degradations": {name: count for name, count in counts.items() if count},
            "index": file_facts(path),
        }
    # priors are not among the splits: a reader that does not know them never loads one
    priors = {PRIOR: splits.pop(PRIOR)} if PRIOR in splits else {}
    return {"splits": splits, **priors}


def _write_index(path: Path, rows: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> None:
    """Write the index of a split. A row group holds one degradation, so that its statistics prune a filter on it."""
    schema = index_schema(metrics)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for degradation in sorted({row["degradation"] for row in rows}):
            group = sorted((row for row in rows if row["degradation"] == degradation), key=lambda row: str(row["key"]))
            for start in range(0, len(group), ROW_GROUP):
                writer.write_table(pa.Table.from_pylist(group[start : start + ROW_GROUP], schema=schema))
    write_whole(path, buffer.getvalue())


def _library_versions() -> dict[str, str]:
    """Return the versions that the bytes of a release depend on: equal pairs give equal bytes where they are equal."""
    return {"ggt100k": __version__, **{name: version(name) for name in ("zlib-ng", "pillow", "pyarrow")}}


def _local_only(plan: ReleasePlan, restrictions: Mapping[str, str], trial: str) -> str:
    """Return why a release must stay on this machine; "" where it need not."""
    reasons, has_foreign_pairs = {trial}, False
    for job in plan.shards:
        licences = {row["key"]: row["licence"] for row in job.rows}
        has_foreign_pairs = has_foreign_pairs or not licences.keys() <= job.approved.keys()
        licences |= {key: pair.photo.licence for key, pair in job.pairs.items()}
        reasons |= {restrictions.get(key) or denies(licence) for key, licence in licences.items()}
    if has_foreign_pairs and plan.base is not None:  # which of them the base's reasons concern is not known here
        reasons |= {*plan.base.manifest.get("local_only", "").split("; ")}
    return "; ".join(sorted(reasons - {""}))


def _write_on_cluster(cluster: Cluster, jobs: Sequence[ShardJob], plan: str, progress: Callable[[int], object]) -> None:
    """Let a cluster write the shards.

    Raises:
        ShardError: A shard could not be written; all others are.
    """
    from ggt_tools.executors import gather, remove_results
    from ggt_tools.stages.pack.worker import Packing

    stage = Packing(part=str(jobs[0].part), plan=plan)
    remove_results(stage, jobs, cluster.store)  # results of another plan in the same folder
    # also the shards that are done: a node checks their bytes
    lost = list(gather(stage, jobs, cluster.store, cluster.executor, progress=lambda job: progress(job.count)))
    remove_results(stage, jobs, cluster.store)
    if lost:
        others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ShardError(f"{lost[0].subject}{others}: {lost[0].detail}. Pack again: finished shards are kept.")


def _input_bytes(job: ShardJob) -> int:
    """Return the bytes that are read to make a shard, as far as they are known before."""
    if job.base is not None:
        return int(job.base.facts["bytes"])
    return sum(job.images.image_size(name) for p in job.pairs.values() for name in (p.photo.image, p.image))
