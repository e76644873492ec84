"""What stands beside the shards: files that nobody names, the README, the index, and what these say of each other."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from ggt_format.roots import Root
from ggt_format.schema import MANIFEST, PRIOR, index_schema
from ggt_tools.records import Finding, Stage
from ggt_tools.stages.adopt.sets import denies
from ggt_tools.stages.card import front_matter
from ggt_tools.stages.validate.findings import fault


def check_files(place: Root) -> Iterator[Finding]:
    """What lies in data/ and index/ and should not: links, and files that nobody names. HTTP lists no folders."""
    named = {*place.files, MANIFEST}
    if "://" in place.url:
        if not place.url.startswith(("http://", "https://")):
            system, base = fsspec.core.url_to_fs(place.url, **place.storage_options)
            for top in ("data", "index"):
                for path in system.find(f"{base}/{top}"):
                    name = top + path.rpartition(f"{base}/{top}")[2]
                    if name not in named:
                        yield _unknown(name)
        return
    folder = Path(place.url)
    tops = [folder / "data", folder / "index"]
    for path in sorted([*tops, *(path for top in tops for path in top.rglob("*"))]):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield fault(name, "link", "is a link, which may lead anywhere", "put the file there")
        elif path not in tops and not path.is_dir() and name not in named:
            yield _unknown(name)


def _unknown(name: str) -> Finding:
    return fault(name, "unknown_file", "the manifest does not name it", "delete it or pack again")


def check_readme(place: Root) -> Iterator[Finding]:
    """The YAML is how plain `datasets` finds splits, configs and types."""
    manifest = place.manifest
    splits = {name: list(about["degradations"]) for name, about in manifest["splits"].items()}
    wanted = front_matter(manifest["metrics"], splits, manifest["codec"])
    try:
        text = place.read("README.md").decode("utf-8", "replace")
    except OSError:
        text = ""
    if not text.startswith(wanted):
        yield fault("README.md", "readme_differs", "does not begin with the YAML of this dataset", "pack again")


def check_licence(place: Root) -> Iterator[Finding]:
    """LICENSE may be absent, but an empty one says that nobody has a say in the photographs."""
    try:
        text = place.read("LICENSE")
    except Exception:  # it is not there, for which each client of fsspec has an exception of its own
        return
    if not text.strip():
        yield fault("LICENSE", "empty_licence", "is empty", "make it again: ggt100k card")


def check_manifest(place: Root) -> Iterator[Finding]:
    """What a reader of the manifest gets past, and what it could not know: names twice, and a funnel of other rows."""
    twice = set[str]()

    def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
        counted = Counter(name for name, _ in members)
        twice.update(name for name, count in counted.items() if count > 1)
        return dict(members)

    json.loads(place.read(MANIFEST), object_pairs_hook=once)
    for name in sorted(twice):
        yield fault(MANIFEST, "bad_manifest", f"names {name!r} twice in one object", "pack again")
    for number, row in enumerate(place.manifest["funnel"]):
        if not _is_stage(row):
            said = f"row {number} of its funnel is no stage with what entered it, what left it, and reasons that add up"
            yield fault(MANIFEST, "bad_funnel", said, "pack again")


def _is_stage(row: Any) -> bool:
    """Whether a row of a funnel is as pack writes it: the fields of records.Stage."""
    if not isinstance(row, dict) or row.keys() != {field.name for field in dataclasses.fields(Stage)}:
        return False
    reasons = row["reasons"]
    if not isinstance(row["stage"], str) or not isinstance(reasons, list):
        return False
    if not all(isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) for one in reasons):
        return False
    counts = [row["left"], *(count for _, count in reasons)]
    return all(type(count) is int and count >= 0 for count in counts) and row["entered"] == sum(counts)


def check_counts(place: Root) -> Iterator[Finding]:
    """Whether the manifest agrees with itself."""
    manifest = place.manifest
    for split, about in place.indices.items():
        in_shards = sum(each["pairs"] for name, each in manifest["shards"].items() if f"/{split}-" in name)
        by_class = sum(about["degradations"].values())
        if not about["pairs"] == in_shards == by_class:
            said = f"{split}: {about['pairs']} pairs, by shard {in_shards}, by degradation {by_class}"
            yield fault(MANIFEST, "wrong_count", said)


def _check_licences(name: str, table: pa.Table, local_only: str) -> Iterator[Finding]:
    """Whether a release that may be passed on holds what may not: a finding a licence, at its first key."""
    first: dict[str, str] = {}
    for key, licence in zip(table["key"].to_pylist(), table["licence"].to_pylist(), strict=True):
        first.setdefault(licence or "", key or "")
    for licence, key in first.items():
        if licence and (why := denies(licence)) and not local_only:
            yield fault(
                name, "must_stay", f"must stay on this machine ({why}), and the manifest does not say so", key=key
            )


def check_index(
    place: Root, split: str, about: Mapping[str, Any], rows: dict[str, pa.Table], split_of: dict[str, str]
) -> Iterator[Finding]:
    """Reads the index of a split into `rows`, by shard, and yields what is wrong with it."""
    name = f"index/{split}.parquet"
    try:
        data = place.read(name)
    except FileNotFoundError:
        yield fault(name, "missing_file", "the manifest names it and it is not there", "fetch it again")
        return
    except OSError as said:
        yield fault(name, "unreadable", f"cannot be read: {said.strerror or said}", "fetch it again")
        return
    if len(data) != about["index"]["bytes"] or hashlib.sha256(data).hexdigest() != about["index"]["sha256"]:
        yield fault(name, "wrong_hash", "its bytes are not those that the manifest names", "fetch it again")
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        table = file.read()
        columns = [table[each].to_pylist() for each in ("key", "degradation", "shard")]
    except (pa.ArrowException, OSError, KeyError, ValueError) as said:
        yield fault(name, "not_parquet", f"cannot be read: {said}", "fetch it again")
        return
    if not table.schema.equals(index_schema(place.metrics)):
        yield fault(name, "wrong_schema", "its columns are not those of the format")
        return
    at = 0
    for number in range(file.num_row_groups):
        stop = at + file.metadata.row_group(number).num_rows
        if len(classes := set(columns[1][at:stop])) > 1:
            yield fault(name, "mixed_row_group", f"row group {number} holds {len(classes)} degradations")
        at = stop
    yield from _check_licences(name, table, str(place.manifest.get("local_only", "")))
    nulls = [column for column in table.column_names if table[column].null_count]
    if nulls or any(table["scores"].combine_chunks().field(i).null_count for i in range(len(place.metrics))):
        yield fault(name, "null", f'has nulls ({", ".join(nulls) or "scores"}); what is not known is "" or NaN')
        return
    found = dict.fromkeys(about["degradations"], 0)
    numbers: dict[str, list[int]] = {}
    for number, (key, degradation, shard) in enumerate(zip(*columns, strict=True)):
        found[degradation] = found.get(degradation, 0) + 1
        where = split_of.get(key, "")
        # a photograph of train may stand among the priors too, with another output
        if where and (split, where) != (PRIOR, "train"):
            reason = "duplicate_key" if where == split else "both_splits"
            yield fault(name, reason, f"stands in the index of {where} too", key=key)
        split_of[key] = split
        if shard not in place.manifest["shards"]:
            yield fault(name, "unknown_shard", f"lies in {shard!r}, which the manifest does not name", key=key)
        elif shard.split("/")[1:2] != [degradation] or f"/{split}-" not in shard:
            yield fault(name, "wrong_shard", f"{degradation}, {split}, lies in {shard}", key=key)
        else:
            numbers.setdefault(shard, []).append(number)
    rows.update({shard: table.take(places) for shard, places in numbers.items()})
    order = list(zip(columns[1], columns[0], strict=True))
    if order != sorted(order):
        yield fault(name, "not_sorted", "its rows are not in the order of degradation and key")
    if len(order) != about["pairs"] or found != about["degradations"]:
        yield fault(name, "wrong_count", f"has {len(order)} pairs {found}, the manifest says {about['pairs']}")
