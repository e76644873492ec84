"""Compare a release with the workspace from which it was packed."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path

import pyarrow as pa

from ggt_format.schema import PRIOR, fact_columns
from ggt_format.shard import shard_split
from ggt_tools.errors import ConfigError
from ggt_tools.records import Finding, HeldOutPair, Photo
from ggt_tools.stages.pack import changed_facts, pair_facts
from ggt_tools.stages.pack.priors import priors
from ggt_tools.stages.validate.findings import finding
from ggt_tools.workspace.ledger import ImageFolder, Ledger


def check_against(
    path: Path,
    rows: Mapping[str, pa.Table],
    metrics: list[str],
    images: dict[str, str],
    local_only: str,
) -> Generator[Finding, None, ImageFolder]:
    """Yield the pairs that the gate does not keep, whose facts the ledger has otherwise, or that the release lacks.

    Args:
        path: Folder of the workspace, or its ledger.
        rows: The rows of the index, by shard.
        metrics: Metrics that have a column.
        images: Is filled with the name of the gt in the workspace, by key, for the check of the shards.
        local_only: Why the release says that it must stay on this machine; "" where it need not.

    Returns:
        The images of the workspace.

    Raises:
        ConfigError: There is no ledger.
    """
    workspace = path.parent if path.name == "ledger.sqlite" else path
    if not (workspace / "ledger.sqlite").is_file():
        raise ConfigError(f"--against {path}: holds no ledger.sqlite. Name the folder of a workspace.")
    with Ledger(workspace) as ledger:
        withdrawn = ledger.withdrawn()
        approved = {pair.photo.key: pair for pair in ledger.pairs()}
        approved_priors = {pair.photo.key: pair for pair in priors(ledger)} if PRIOR in map(shard_split, rows) else {}
        photo_keys = {photo.key for photo in ledger.all(Photo)}
        test_keys = {held.key for held in ledger.all(HeldOutPair)}
        restrictions = ledger.must_stay()
        stored = ledger.images
    packed = set()
    for shard, table in sorted(rows.items()):
        of_priors = shard_split(shard) == PRIOR
        allowed = approved_priors if of_priors else approved
        for row in table.select(fact_columns(metrics)).to_pylist():
            key = row["key"]
            if not of_priors:
                packed.add(key)
            if key in withdrawn:
                yield finding(shard, "withdrawn", f"is withdrawn: {withdrawn[key]}", key=key)
            elif key not in photo_keys:
                yield finding(shard, "not_in_ledger", "no photograph of the ledger has this key", key=key)
            elif key not in allowed:
                detail = "the ledger has no such prior" if of_priors else "the gate does not keep it"
                yield finding(shard, "not_approved", detail, key=key)
            else:
                facts = pair_facts(allowed[key], metrics)
                if names := changed_facts(facts, row):
                    detail = f"the ledger has other values of {', '.join(names)}"
                    yield finding(shard, "ledger_differs", detail, key=key)
                if not of_priors:  # the gt of a prior is made while it is packed
                    images[key] = approved[key].image
            if key in restrictions and not local_only:
                detail = f"must stay on this machine ({restrictions[key]}), and the manifest does not say so"
                yield finding(shard, "must_stay", detail, key=key)
            if key in test_keys and shard_split(shard) != "test":
                yield finding(shard, "both_splits", "the ledger has it in the test split", key=key)
    # a prior that the release lacks is not reported: priors are packed only with --priors
    for key in sorted(approved.keys() - packed - withdrawn.keys()):
        yield finding(str(workspace), "not_packed", "the gate keeps it, and the release does not hold it", key=key)
    return stored
