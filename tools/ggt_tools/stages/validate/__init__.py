"""validate: check a release, a folder or URL, against the format, byte by byte. Nothing is repaired.

tars.py      the bytes of a shard, member by member, more strictly than any reader
shards.py    a shard compared with the manifest and the index, in one pass, in a process of its own
index.py     the index, the manifest, the README, and files that nothing names
evidence.py  the evidence of a pair, compared with the gate that the release names
preferences.py  the shards of kept and rejected candidates
likeness.py  whether lq and gt show the same, at low resolution
against.py   the release compared with the ledger of a workspace
passing.py   notes of which releases have passed
run.py       the command
worker.py    the part that executors run
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
from ggt_tools.processes import in_processes, suggest_processes
from ggt_tools.records import Finding
from ggt_tools.stages.validate.against import check_against
from ggt_tools.stages.validate.evidence import read_gate
from ggt_tools.stages.validate.findings import DOWNLOAD_FILE, finding
from ggt_tools.stages.validate.index import (
    check_counts,
    check_files,
    check_index,
    check_licence,
    check_manifest,
    check_readme,
)
from ggt_tools.stages.validate.passing import file_states, forget_pass, note_pass, remote_state, why_not_passed
from ggt_tools.stages.validate.preferences import check_preferences
from ggt_tools.stages.validate.shards import ShardCheck, check_shard

if TYPE_CHECKING:
    from ggt_tools.executors import Cluster
    from ggt_tools.workspace.ledger import ImageFolder

__all__ = ["validate", "why_not_passed"]


def validate(
    root: str,
    *,
    quick: bool = False,
    against: Path | None = None,
    processes: int = 0,
    cluster: Cluster | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> Iterator[Finding]:
    """Yield everything that is wrong with a release.

    A folder without a finding is noted as passed, unless `quick`. The first finding removes the note of an earlier
    pass.

    Args:
        root: Folder or fsspec URL of the release.
        quick: Read no pixels and no whole shard: check sizes, names, JSON, index and evidence, but no checksum.
        against: Workspace whose ledger the release is compared with; None for none.
        processes: Number of processes; 0 for as many as the cores and the size of the release are worth.
        cluster: Cluster that reads the shards; None for processes on this machine. The findings are the same.
        progress: Called with the number of pairs that were read since the last call.

    Raises:
        ConfigError: There is no release, or it has another version of the format. A manifest that cannot be read is a
            finding, and then nothing else is checked.
    """
    try:
        release = open_root(root)
    except ConfigError as fault:
        if f": {MANIFEST} cannot be read (" not in str(fault):
            raise
        forget_pass(Path(root))
        yield finding(MANIFEST, "bad_manifest", f"cannot be read ({fault.__cause__!r})", DOWNLOAD_FILE)
        return
    is_local = "://" not in release.url
    before: dict[str, Any] = file_states(Path(release.url).resolve()) if is_local else {}
    is_clean = True
    for each in _findings(release, before, quick, against, processes, cluster, progress):
        if is_clean and is_local:
            forget_pass(Path(release.url))
        is_clean = False
        yield each
    if is_clean and is_local and not quick and open_root(root).identity == release.identity:
        note_pass(Path(release.url), before)


def _findings(
    root: Root,
    before: Mapping[str, Any],
    quick: bool,
    against: Path | None,
    processes: int,
    cluster: Cluster | None,
    progress: Callable[[int], object],
) -> Iterator[Finding]:
    for check in (check_files, check_readme, check_licence, check_manifest, check_counts):
        yield from check(root)
    gate = root.manifest["gate"]
    try:
        read_gate(gate)
    except ConfigError as fault:
        yield finding(MANIFEST, "bad_gate", f"its gate cannot be read: {fault}")
        gate = ""
    rows: dict[str, pa.Table] = {}
    split_by_key: dict[str, str] = {}
    for split, about in root.indices.items():
        yield from check_index(root, split, about, rows, split_by_key)
    yield from check_preferences(root, split_by_key, quick=quick)
    images: dict[str, str] = {}
    workspace: ImageFolder | None = None
    if against is not None:
        workspace = yield from check_against(
            against, rows, root.metrics, images, str(root.manifest.get("local_only", ""))
        )
    checks = list(_shard_checks(root, rows, images, workspace, gate, quick=quick))
    if cluster is not None:
        is_local = "://" not in root.url
        states = [str(before.get(check.name)) if is_local else remote_state(root, check.name) for check in checks]
        checks = [dataclasses.replace(check, state=state) for check, state in zip(checks, states, strict=True)]
        yield from _check_on_cluster(cluster, root, checks, progress)
        return
    # memory:// exists in this process alone, and quick checks are no work for several
    is_single = quick or root.url.startswith("memory://")
    size = sum(facts["bytes"] for facts in root.manifest["shards"].values())
    for findings in in_processes(check_shard, checks, 1 if is_single else suggest_processes(processes, size), progress):
        yield from findings


def _shard_checks(
    root: Root,
    rows: Mapping[str, pa.Table],
    images: Mapping[str, str],
    workspace: ImageFolder | None,
    gate: str,
    *,
    quick: bool,
) -> Iterator[ShardCheck]:
    """Yield what is to be checked of each shard, by name."""
    no_rows = index_schema(root.metrics).empty_table()
    for name, facts in sorted(root.manifest["shards"].items()):
        shard_rows = rows.get(name, no_rows)
        keys = shard_rows["key"].to_pylist() if images else ()
        yield ShardCheck(
            root=root.url,
            options=root.storage_options,
            name=name,
            facts=facts,
            rows=shard_rows,
            codec=root.manifest["codec"],
            gate=gate,
            quick=quick,
            images={key: images[key] for key in keys if key in images},
            workspace=workspace,
        )


def _check_on_cluster(
    cluster: Cluster, root: Root, checks: Sequence[ShardCheck], progress: Callable[[int], object]
) -> Iterator[Finding]:
    """Yield what a cluster finds in the shards, in their order.

    Raises:
        ConfigError: A shard could not be checked; it is raised after all findings.
    """
    from ggt_tools.executors import gather, remove_results
    from ggt_tools.stages.validate.worker import Validating
    from ggt_tools.workspace.arrow import WorkFailure

    stage = Validating(root=root.url, identity=root.identity, options=tuple(root.storage_options.items()))
    lost = []
    results = gather(
        stage, checks, cluster.store, cluster.executor, progress=lambda check: progress(check.facts["pairs"])
    )
    for result in results:
        if isinstance(result, WorkFailure):
            lost.append(result)
        else:
            yield result
    if lost:
        others = f", and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ConfigError(
            f"{lost[0].subject}{others}: {lost[0].detail}. Validate again: the results of the other shards are kept."
        )
    remove_results(stage, checks, cluster.store)
