"""Check what is beside the shards: unknown files, the README, the licence, the manifest and the index."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from ggt_format.roots import Root
from ggt_format.schema import MANIFEST, METRIC, PRIOR, index_schema
from ggt_tools.records import Finding, Stage
from ggt_tools.stages.adopt.sets import denies
from ggt_tools.stages.card import front_matter
from ggt_tools.stages.validate.findings import DOWNLOAD_FILE, finding, read_listed


def check_files(root: Root) -> Iterator[Finding]:
    """Yield links in data/ and index/, and files that the manifest does not name. HTTP cannot list folders."""
    expected = {*root.files, MANIFEST}
    if "://" in root.url:
        if not root.url.startswith(("http://", "https://")):
            system, base = fsspec.core.url_to_fs(root.url, **root.storage_options)
            for top in ("data", "index"):
                for path in system.find(f"{base}/{top}"):
                    name = top + path.rpartition(f"{base}/{top}")[2]
                    if name not in expected:
                        yield _unknown_file(name)
        return
    folder = Path(root.url)
    tops = [folder / "data", folder / "index"]
    for path in sorted([*tops, *(path for top in tops for path in top.rglob("*"))]):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield finding(name, "link", "is a link, which may lead anywhere", "Put the file itself there.")
        elif path not in tops and not path.is_dir() and name not in expected:
            yield _unknown_file(name)


def _unknown_file(name: str) -> Finding:
    return finding(name, "unknown_file", "the manifest does not name it", "Delete it, or pack the release again.")


def check_readme(root: Root) -> Iterator[Finding]:
    """Yield a finding where the README's YAML is wrong: plain `datasets` finds splits, configs and types by it."""
    manifest = root.manifest
    splits = {name: list(about["degradations"]) for name, about in manifest["splits"].items()}
    expected = front_matter(manifest["metrics"], splits, manifest["codec"])
    try:
        text = root.read("README.md").decode("utf-8", "replace")
    except OSError:
        text = ""
    if not text.startswith(expected):
        yield finding("README.md", "readme_differs", "does not begin with the YAML of this dataset")


def check_licence(root: Root) -> Iterator[Finding]:
    """Yield a finding where LICENSE is empty, since that would state no licence. It may be missing."""
    try:
        text = root.read("LICENSE")
    except Exception:  # it is missing, for which each client of fsspec has an exception of its own
        return
    if not text.strip():
        yield finding("LICENSE", "empty_licence", "is empty", "Write it again: ggt100k card")


def check_manifest(root: Root) -> Iterator[Finding]:
    """Yield what a reader of the manifest does not notice: names that occur twice, and rows of the funnel."""
    repeated = set[str]()

    def note_repeated(members: list[tuple[str, Any]]) -> dict[str, Any]:
        counted = Counter(name for name, _ in members)
        repeated.update(name for name, count in counted.items() if count > 1)
        return dict(members)

    json.loads(root.read(MANIFEST), object_pairs_hook=note_repeated)
    for name in sorted(repeated):
        yield finding(MANIFEST, "bad_manifest", f"names {name!r} twice in one object")
    for number, row in enumerate(root.manifest["funnel"]):
        if not _is_stage(row):
            yield finding(MANIFEST, "bad_funnel", f"row {number} of its funnel is not a stage whose counts add up")

    if not _are_flags(root.manifest.get("flags", {})):
        yield finding(MANIFEST, "bad_manifest", "its flags are not numbers of checked and flagged files")


def _are_flags(flags: Any) -> bool:
    """Return whether the counts of flags are as pack writes them: by lq and gt, and by name of the flag."""
    if not isinstance(flags, dict) or not flags.keys() <= {"lq", "gt"}:
        return False
    named = [names for names in flags.values() if isinstance(names, dict)]
    counts = [count for names in named for count in names.values()]
    return (
        len(named) == len(flags)
        and all(METRIC.fullmatch(name) for names in named for name in names)
        and all(isinstance(count, dict) and count.keys() == {"checked", "flagged"} for count in counts)
        and all(type(number) is int for count in counts for number in count.values())
        and all(0 <= count["flagged"] <= count["checked"] for count in counts)
    )


def _is_stage(row: Any) -> bool:
    """Return whether a row of a funnel is as pack writes it: the fields of records.Stage, with counts that add up."""
    if not isinstance(row, dict) or row.keys() != {field.name for field in dataclasses.fields(Stage)}:
        return False
    reasons = row["reasons"]
    if not isinstance(row["stage"], str) or not isinstance(reasons, list):
        return False
    if not all(isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) for item in reasons):
        return False
    counts = [row["left"], *(count for _, count in reasons)]
    return all(type(count) is int and count >= 0 for count in counts) and row["entered"] == sum(counts)


def check_counts(root: Root) -> Iterator[Finding]:
    """Yield the splits of which the manifest has different numbers of pairs."""
    manifest = root.manifest
    for split, about in root.indices.items():
        in_shards = sum(facts["pairs"] for name, facts in manifest["shards"].items() if f"/{split}-" in name)
        by_class = sum(about["degradations"].values())
        if not about["pairs"] == in_shards == by_class:
            detail = f"{split}: {about['pairs']} pairs, by shard {in_shards}, by degradation {by_class}"
            yield finding(MANIFEST, "wrong_count", detail)


def check_index(
    root: Root, split: str, about: Mapping[str, Any], rows: dict[str, pa.Table], split_by_key: dict[str, str]
) -> Iterator[Finding]:
    """Read the index of a split, and yield what is wrong with it.

    Args:
        root: The release.
        split: Name of the split.
        about: The manifest's facts of it.
        rows: Is filled with the rows of the index, by shard.
        split_by_key: The splits of the keys that were read before; is filled with those of this index.
    """
    name = f"index/{split}.parquet"
    data, wrong = read_listed(root, name, about["index"], DOWNLOAD_FILE)
    yield from wrong
    if data is None:
        return
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        table = file.read()
        columns = [table[column].to_pylist() for column in ("key", "degradation", "shard")]
    except (pa.ArrowException, OSError, KeyError, ValueError) as fault:
        yield finding(name, "not_parquet", f"cannot be read: {fault}", DOWNLOAD_FILE)
        return
    if not table.schema.equals(index_schema(root.metrics)):
        yield finding(name, "wrong_schema", "its columns are not those of the format")
        return
    yield from _check_row_groups(name, file, columns[1])
    yield from _check_licences(name, table, str(root.manifest.get("local_only", "")))
    nulls = [column for column in table.column_names if table[column].null_count]
    if nulls or any(table["scores"].combine_chunks().field(i).null_count for i in range(len(root.metrics))):
        detail = f'has nulls ({", ".join(nulls) or "scores"}), where unknown values are "" or NaN'
        yield finding(name, "null", detail)
        return
    numbers: dict[str, list[int]] = {}  # of the rows of each shard
    yield from _check_rows(root, split, columns, numbers, split_by_key)
    rows.update({shard: table.take(row_numbers) for shard, row_numbers in numbers.items()})
    order = list(zip(columns[1], columns[0], strict=True))
    if order != sorted(order):
        yield finding(name, "not_sorted", "its rows are not in the order of degradation and key")
    counts = {**dict.fromkeys(about["degradations"], 0), **Counter(columns[1])}
    if len(order) != about["pairs"] or counts != about["degradations"]:
        yield finding(name, "wrong_count", f"has {len(order)} pairs {counts}, the manifest says {about['pairs']}")


def _check_row_groups(name: str, file: pq.ParquetFile, degradations: Sequence[str]) -> Iterator[Finding]:
    """Yield the row groups that hold several degradations, which a filter could not skip."""
    start = 0
    for number in range(file.num_row_groups):
        stop = start + file.metadata.row_group(number).num_rows
        if len(group := set(degradations[start:stop])) > 1:
            yield finding(name, "mixed_row_group", f"row group {number} holds {len(group)} degradations")
        start = stop


def _check_licences(name: str, table: pa.Table, local_only: str) -> Iterator[Finding]:
    """Yield each licence that forbids to pass a release on which says that it may be, at its first key."""
    first_keys: dict[str, str] = {}
    for key, licence in zip(table["key"].to_pylist(), table["licence"].to_pylist(), strict=True):
        first_keys.setdefault(licence or "", key or "")
    for licence, key in first_keys.items():
        if licence and (why := denies(licence)) and not local_only:
            detail = f"must stay on this machine ({why}), and the manifest does not say so"
            yield finding(name, "must_stay", detail, key=key)


def _check_rows(
    root: Root,
    split: str,
    columns: Sequence[Sequence[str]],
    numbers: dict[str, list[int]],
    split_by_key: dict[str, str],
) -> Iterator[Finding]:
    """Yield keys that occur twice, and rows of a wrong shard; fill `numbers` with the rows of each shard."""
    name = f"index/{split}.parquet"
    for number, (key, degradation, shard) in enumerate(zip(*columns, strict=True)):
        earlier = split_by_key.get(key, "")
        # a photograph of train may be among the priors too, with another output
        if earlier and (split, earlier) != (PRIOR, "train"):
            reason = "duplicate_key" if earlier == split else "both_splits"
            yield finding(name, reason, f"is in the index of {earlier} too", key=key)
        split_by_key[key] = split
        if shard not in root.manifest["shards"]:
            yield finding(name, "unknown_shard", f"its shard {shard!r} is not in the manifest", key=key)
        elif shard.split("/")[1:2] != [degradation] or f"/{split}-" not in shard:
            yield finding(name, "wrong_shard", f"is {degradation} of {split}, but its shard is {shard}", key=key)
        else:
            numbers.setdefault(shard, []).append(number)
