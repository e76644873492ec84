"""validate: holds a dataset folder, or the URL of one, against the format, byte by byte. It repairs nothing.

tars.py      a shard's bytes, member by member, with no reader's leniency
shards.py    a shard against the manifest and the index, in one pass, in a process of its own
index.py     the index, the manifest, the README, and files that nobody names
evidence.py  what speaks for a pair, against the gate that the release names
likeness.py  whether lq and gt show the same, at low resolution
against.py   all of it against the workspace's ledger
passing.py   which bytes have passed
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ggt_format.roots import Root, open_root
from ggt_format.schema import MANIFEST, index_schema
from ggt_tools.errors import ConfigError
from ggt_tools.processes import in_processes, worth
from ggt_tools.records import Finding
from ggt_tools.stages.validate.against import check_against
from ggt_tools.stages.validate.evidence import read_gate
from ggt_tools.stages.validate.findings import fault
from ggt_tools.stages.validate.index import (
    check_counts,
    check_files,
    check_index,
    check_licence,
    check_manifest,
    check_readme,
)
from ggt_tools.stages.validate.passing import forget_pass, note_pass, passed, state, state_at
from ggt_tools.stages.validate.shards import Job, check_shard

if TYPE_CHECKING:
    from ggt_tools.executors import Cluster

__all__ = ["passed", "validate"]


def validate(
    root: str,
    *,
    quick: bool = False,
    against: Path | None = None,
    processes: int = 0,
    cluster: Cluster | None = None,
    progress: Callable[[int], object] = lambda done: None,
) -> Iterator[Finding]:
    """Every fault of the dataset folder `root`, or the fsspec URL of one. ConfigError where it is no dataset folder,
    or one of another format's version; a manifest that cannot be read is a finding, and nothing else can be looked at.

    `quick` reads no pixels and no whole shard: sizes, names, JSON, index and evidence, but no checksum. `against` is a
    workspace to hold it against. `processes`: 0 takes as many as the cores and the size make worth it. `cluster`: whose
    nodes look at the shards, in the place of processes here; the findings are the same. `progress` is told how many
    pairs were read. A folder without a finding is noted as passed, unless `quick`; the first finding takes back the
    note of an earlier pass.
    """
    try:
        place = open_root(root)
    except ConfigError as wrong:
        if f": {MANIFEST} cannot be read (" not in str(wrong):
            raise
        forget_pass(Path(root))
        yield fault(MANIFEST, "bad_manifest", f"cannot be read ({wrong.__cause__!r})", "fetch it again")
        return
    local = "://" not in place.url
    before: dict[str, Any] = state(Path(place.url).resolve()) if local else {}
    clean = True
    for finding in _findings(place, before, quick, against, processes, cluster, progress):
        if clean and local:
            forget_pass(Path(place.url))
        clean = False
        yield finding
    if clean and local and not quick and open_root(root).identity == place.identity:
        note_pass(Path(place.url), before)


def _findings(
    place: Root,
    before: Mapping[str, Any],
    quick: bool,
    against: Path | None,
    processes: int,
    cluster: Cluster | None,
    progress: Callable[[int], object],
) -> Iterator[Finding]:
    manifest = place.manifest
    yield from check_files(place)
    yield from check_readme(place)
    yield from check_licence(place)
    yield from check_manifest(place)
    yield from check_counts(place)
    gate = manifest["gate"]
    try:
        read_gate(gate)
    except ConfigError as wrong:
        yield fault(MANIFEST, "bad_gate", f"its gate cannot be read: {wrong}", "pack again")
        gate = ""
    rows: dict[str, pa.Table] = {}
    split_of: dict[str, str] = {}
    for split, about in place.indices.items():
        yield from check_index(place, split, about, rows, split_of)
    images: dict[str, tuple[str, str]] = {}
    if against is not None:
        yield from check_against(against, rows, place.metrics, images, str(manifest.get("local_only", "")))
    none = index_schema(place.metrics).empty_table()
    jobs = []
    for name in sorted(manifest["shards"]):
        mine = rows.get(name, none)
        of_mine = {key: images[key] for key in mine["key"].to_pylist() if key in images} if images else {}
        jobs.append(
            Job(
                root=place.url, options=place.storage_options, name=name, about=manifest["shards"][name], rows=mine,
                codec=manifest["codec"], gate=gate, quick=quick, images=of_mine,
            )
        )  # fmt: skip
    if cluster is not None:
        local = "://" not in place.url
        states = [str(before.get(job.name)) if local else state_at(place, job.name) for job in jobs]
        jobs = [dataclasses.replace(job, state=each) for job, each in zip(jobs, states, strict=True)]
        yield from _elsewhere(cluster, place, jobs, progress)
        return
    # memory:// is this process's own; and to look at heads alone is no work for many
    alone = quick or place.url.startswith("memory://")
    size = sum(about["bytes"] for about in manifest["shards"].values())
    for found in in_processes(check_shard, jobs, 1 if alone else worth(processes, size), progress):
        yield from found


def _elsewhere(
    cluster: Cluster, place: Root, jobs: Sequence[Job], progress: Callable[[int], object]
) -> Iterator[Finding]:
    """What the cluster finds in the shards, in their order; behind it ConfigError where one was not looked at."""
    from ggt_tools.executors import forget, gather
    from ggt_tools.stages.validate.worker import Validating
    from ggt_tools.workspace.arrow import Fault

    stage = Validating(root=place.url, identity=place.identity, options=tuple(place.storage_options.items()))
    lost = []
    for found in gather(stage, jobs, cluster.store, cluster.engine, progress=lambda job: progress(job.about["pairs"])):
        if isinstance(found, Fault):
            lost.append(found)
        else:
            yield found
    if lost:
        others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ConfigError(f"{lost[0].subject}{others}: {lost[0].detail}; validate again: what is done stays")
    forget(stage, jobs, cluster.store)
