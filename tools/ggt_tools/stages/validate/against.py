"""A release held against the workspace that it was packed from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from ggt_format.schema import PRIOR, fact_columns
from ggt_format.shard import split_of
from ggt_tools.errors import ConfigError
from ggt_tools.records import Finding, Held, Photo
from ggt_tools.stages.pack import changed_facts, pair_facts
from ggt_tools.stages.pack.priors import priors
from ggt_tools.stages.validate.findings import fault
from ggt_tools.workspace.ledger import Ledger

Images = Mapping[str, tuple[str, str]]


def check_against(
    ledger_path: Path,
    rows: Mapping[str, pa.Table],
    metrics: list[str],
    images: dict[str, tuple[str, str]],
    local_only: str,
) -> Iterator[Finding]:
    """What the release has and the ledger does not approve, or has otherwise, or approves and the release lacks.

    `local_only`: why the release says that it must stay on this machine, "" where it need not.
    `images` gets, by key, the SHA-256 of the files of lq and gt, for who reads the shards. Raises ConfigError where
    there is no ledger.
    """
    workspace = ledger_path.parent if ledger_path.name == "ledger.sqlite" else ledger_path
    if not (workspace / "ledger.sqlite").is_file():
        raise ConfigError(f"{ledger_path}: --against wants a workspace, and no ledger.sqlite is there")
    with Ledger(workspace) as ledger:
        withdrawn = ledger.withdrawn()
        approved = {pair.photo.key: pair for pair in ledger.pairs()}
        beside = {pair.photo.key: pair for pair in priors(ledger)} if PRIOR in map(split_of, rows) else {}
        known = {photo.key for photo in ledger.all(Photo)}
        held = {each.key for each in ledger.all(Held)}
        stays = ledger.must_stay()
    there = set()
    for shard, table in sorted(rows.items()):
        of_priors = split_of(shard) == PRIOR
        those, said_no = (beside, "is no prior there") if of_priors else (approved, "the gate does not keep it")
        for row in table.select(fact_columns(metrics)).to_pylist():
            key = row["key"]
            if not of_priors:
                there.add(key)
            if key in withdrawn:
                said = f"is withdrawn: {withdrawn[key]}"
                yield fault(shard, "withdrawn", said, "pack again", key=key)
            elif key not in known:
                yield fault(shard, "not_in_ledger", "no photograph of the ledger has this key", key=key)
            elif key not in those:
                yield fault(shard, "not_approved", said_no, "pack again", key=key)
            else:
                facts = pair_facts(those[key], metrics)
                if other := changed_facts(facts, row):
                    said = f"the ledger has another {', '.join(other)}"
                    yield fault(shard, "ledger_differs", said, "pack again", key=key)
                if of_priors:  # whose own file is made as it is packed
                    images.setdefault(key, (beside[key].photo.image, ""))
                else:
                    images[key] = (approved[key].photo.image, approved[key].image)
            if key in stays and not local_only:
                said = f"must stay on this machine ({stays[key]}), and the manifest does not say so"
                yield fault(shard, "must_stay", said, "pack again", key=key)
            if key in held and split_of(shard) != "test":
                yield fault(shard, "both_splits", "the ledger holds it for the test split", "pack again", key=key)
    # a prior that the release lacks is no fault: they go along where pack is told so
    for key in sorted(approved.keys() - there - withdrawn.keys()):
        yield fault(str(workspace), "not_packed", "is approved, and the release lacks it", "pack again", key=key)
