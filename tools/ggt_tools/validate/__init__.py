"""validate: holds a dataset folder against the format, byte by byte. It repairs nothing.

Of a PNG pair the key proves the lq. JPEG changes the pixels, so there a swap of lq and gt stays unseen here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt100k import MANIFEST, SHARD, Root, fact_columns, index_schema, open_root, read_bands
from ggt_tools.card import front_matter
from ggt_tools.errors import GGTError, PairError
from ggt_tools.records import Finding
from ggt_tools.shard import check_pair, encode_json, member_header, members

BLOCK = tarfile.BLOCKSIZE
FETCH, PACK = "fetch the shard again", "pack it again"


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One member of a tar: where its header and its bytes begin."""

    name: str
    start: int
    offset: int
    data: bytes


def validate(root: str, *, progress: Callable[[int], object] = lambda done: None) -> Iterator[Finding]:
    """Every fault of the dataset folder `root`. Raises ConfigError where it is no dataset folder.

    `progress` is told how many pairs were read.
    """
    place = open_root(root)
    folder = Path(place.url)
    manifest = place.manifest
    named = set(manifest["shards"])
    yield from _files(folder, named | {MANIFEST} | {f"index/{split}.parquet" for split in manifest["splits"]})
    yield from _readme(folder, manifest)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in named}
    split_of_key: dict[str, str] = {}
    for split, about in manifest["splits"].items():
        yield from _index(place, split, about, rows, split_of_key)
    for name in sorted(named):
        yield from _shard(place, name, manifest["shards"][name], rows[name])
        progress(len(rows[name]))


def _files(folder: Path, named: set[str]) -> Iterator[Finding]:
    """What lies in data/ and index/ and should not: links, and files that nobody names."""
    for path in sorted(path for top in ("data", "index") for path in (folder / top).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield _fault(name, "link", "is a link, which may lead anywhere", "put the file there")
        elif not path.is_dir() and name not in named:
            yield _fault(name, "unknown_file", "the manifest does not name it", "delete it or pack again")


def _readme(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Finding]:
    """The YAML is how plain `datasets` finds splits, configs and types."""
    splits = {name: list(about["degradations"]) for name, about in manifest["splits"].items()}
    wanted = front_matter(manifest["metrics"], splits, manifest["codec"])
    path = folder / "README.md"
    if not path.is_file() or not path.read_text(encoding="utf-8", errors="replace").startswith(wanted):
        yield _fault("README.md", "readme_differs", "does not begin with the YAML of this dataset", "pack again")


def _fault(file: str, reason: str, detail: str, mend: str = PACK, key: str = "", offset: int = -1) -> Finding:
    return Finding(shard=file, key=key, offset=offset, reason=reason, detail=detail, mend=mend)


def _index(
    place: Root, split: str, about: Any, rows: dict[str, list[dict[str, Any]]], split_of_key: dict[str, str]
) -> Iterator[Finding]:
    """Reads the index of a split into `rows` by shard, and yields what is wrong with it."""
    name = f"index/{split}.parquet"
    try:
        data = place.read(name)
    except FileNotFoundError:
        yield _fault(name, "missing_file", "the manifest names it and it is not there", "fetch it again")
        return
    except OSError as fault:
        yield _fault(name, "unreadable", f"cannot be read: {fault.strerror}", "fetch it again")
        return
    if len(data) != about["index"]["bytes"] or hashlib.sha256(data).hexdigest() != about["index"]["sha256"]:
        yield _fault(name, "wrong_hash", "its bytes are not those that the manifest names", "fetch it again")
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as fault:
        yield _fault(name, "not_parquet", f"cannot be read: {fault}", "fetch it again")
        return
    if not table.schema.equals(index_schema(place.metrics)):
        yield _fault(name, "wrong_schema", "its columns are not those of the format")
        return
    groups = pq.ParquetFile(pa.BufferReader(data))
    for number in range(groups.num_row_groups):
        classes = set(groups.read_row_group(number, columns=["degradation"])["degradation"].to_pylist())
        if len(classes) > 1:
            yield _fault(name, "mixed_row_group", f"row group {number} holds {len(classes)} degradations")
    nulls = [column for column in table.column_names if table[column].null_count]
    if nulls or any(table["scores"].combine_chunks().field(i).null_count for i in range(len(place.metrics))):
        yield _fault(name, "null", f'has nulls ({", ".join(nulls) or "scores"}); what is not known is "" or NaN')
        return
    found = {key: 0 for key in about["degradations"]}
    order = []
    for row in table.to_pylist():
        key = row["key"]
        found[row["degradation"]] = found.get(row["degradation"], 0) + 1
        order.append((row["degradation"], key))
        if key in split_of_key:
            where = split_of_key[key]
            reason = "duplicate_key" if where == split else "both_splits"
            yield _fault(name, reason, f"stands in the index of {where} too", key=key)
        split_of_key[key] = split
        if row["shard"] not in rows:
            yield _fault(name, "unknown_shard", f"lies in {row['shard']!r}, which the manifest does not name", key=key)
        elif row["shard"].split("/")[1] != row["degradation"] or f"/{split}-" not in row["shard"]:
            yield _fault(name, "wrong_shard", f"{row['degradation']}, {split}, lies in {row['shard']}", key=key)
        else:
            rows[row["shard"]].append(row)
    if order != sorted(order):
        yield _fault(name, "not_sorted", "its rows are not in the order of degradation and key")
    if len(order) != about["pairs"] or found != about["degradations"]:
        yield _fault(name, "wrong_count", f"has {len(order)} pairs {found}, the manifest says {about['pairs']}")


def _shard(place: Root, name: str, about: Any, rows: list[dict[str, Any]]) -> Iterator[Finding]:
    if not SHARD.fullmatch(name):
        yield _fault(name, "bad_name", "is no shard's name, which is data/DEGRADATION/SPLIT-00000.tar")
        return
    try:
        data = place.read(name)
    except FileNotFoundError:
        yield _fault(name, "missing_file", "the manifest names it and it is not there", FETCH)
        return
    except OSError as fault:
        yield _fault(name, "unreadable", f"cannot be read: {fault.strerror}", FETCH)
        return
    if len(data) != about["bytes"]:
        yield _fault(name, "wrong_bytes", f"has {len(data)} bytes, the manifest says {about['bytes']}", FETCH)
    if hashlib.sha256(data).hexdigest() != about["sha256"]:
        yield _fault(name, "wrong_hash", "its SHA-256 is not the one that the manifest names", FETCH)
    there: list[Member] = []
    for found in walk(data, name):
        if isinstance(found, Finding):
            yield found
        else:
            there.append(found)
    by_key = {row["key"]: row for row in rows}
    seen = set()
    codec = place.manifest["codec"]
    for key, group in _pairs(there, members(codec)):
        if isinstance(group, str):
            yield _fault(name, "broken_pair", group, key=key)
            continue
        if key in seen:
            yield _fault(name, "duplicate_key", "stands in the shard twice", key=key, offset=group[0].start)
            continue
        seen.add(key)
        if key not in by_key:
            yield _fault(name, "not_in_index", "no row of the index names it", key=key, offset=group[0].start)
        else:
            yield from _pair(name, by_key[key], group, codec)
    for key in by_key.keys() - seen:
        yield _fault(name, "not_in_shard", "the index names it, and the shard has no whole pair of it", key=key)
    if about["pairs"] != len(rows):
        yield _fault(name, "wrong_count", f"the index names {len(rows)} pairs in it, the manifest {about['pairs']}")


def walk(data: bytes, shard: str) -> Iterator[Member | Finding]:
    """The members of a tar and what is wrong with its structure, by its raw headers, with no reader's leniency."""
    at = 0
    while at + BLOCK <= len(data) and any(data[at : at + BLOCK]):
        header = data[at : at + BLOCK]
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            if info.size < 0:
                raise ValueError("a negative size")
        except (tarfile.HeaderError, ValueError, OverflowError) as fault:
            yield _fault(shard, "bad_header", f"no tar header: {fault}", FETCH, offset=at)
            return
        stop = at + BLOCK + info.size
        if stop > len(data):
            yield _fault(shard, "truncated", f"ends within {info.name!r}", FETCH, offset=at)
            return
        if not info.isreg() or info.type != tarfile.REGTYPE:
            yield _fault(shard, "not_a_file", f"{info.name!r} is no plain file but of type {info.type!r}", offset=at)
        elif header != member_header(info.name, info.size):
            yield _fault(
                shard, "bad_header",
                f"the header of {info.name!r} is not plain ustar with mode 644, no time, owner or group", offset=at,
            )  # fmt: skip
        if any(data[stop : stop + -info.size % BLOCK]):
            yield _fault(shard, "bad_padding", f"bytes stand after {info.name!r}, where zeros belong", offset=stop)
        if info.isreg():
            yield Member(info.name, at, at + BLOCK, data[at + BLOCK : stop])
        at = stop + -info.size % BLOCK
    end = at + 2 * BLOCK
    end += -end % tarfile.RECORDSIZE
    if len(data) < end:
        yield _fault(shard, "truncated", "ends without the blocks of zeros that end a tar", FETCH, offset=at)
    elif len(data) > end or any(data[at:]):
        yield _fault(shard, "trailing_bytes", "goes on after the end of its tar", offset=at)


def _pairs(there: list[Member], ends: tuple[str, ...]) -> Iterator[tuple[str, str | list[Member]]]:
    """Members as they stand, by pair: a key with its three members in order, or with what is wrong."""
    at = 0
    while at < len(there):
        key = there[at].name.partition(".")[0]
        group = there[at : at + 3]
        if [member.name for member in group] == [f"{key}.{end}" for end in ends]:
            yield key, group
            at += 3
            continue
        names = []
        while at < len(there) and there[at].name.partition(".")[0] == key:
            names.append(there[at].name)
            at += 1
        yield key, f"its members are {', '.join(names)}, not {', '.join(f'{key}.{end}' for end in ends)}, side by side"


def _pair(name: str, row: dict[str, Any], group: list[Member], codec: str) -> Iterator[Finding]:
    key = row["key"]
    for field, member in zip(("json", "lq", "gt"), group, strict=True):
        if (row[f"{field}_offset"], row[f"{field}_size"]) != (member.offset, len(member.data)):
            yield _fault(
                name, "wrong_offset", f"the index looks for {member.name} elsewhere", key=key, offset=member.offset
            )
    facts = {column: row[column] for column in fact_columns(list(row["scores"]))}
    if group[0].data != encode_json(facts):
        try:
            json.loads(group[0].data)
            detail = "its JSON is not what the index says"
        except (ValueError, RecursionError) as fault:
            detail = f"its JSON cannot be read: {fault}"
        yield _fault(name, "json_differs", detail, key=key, offset=group[0].offset)
    try:
        check_pair(facts, group[1].data, group[2].data, name, codec)
        for field, member in (("lq", group[1]), ("gt", group[2])):
            bands = read_bands(member.data)
            if bands is None or list(bands.offsets) != row[f"{field}_bands"] or bands.rows != row["band_rows"]:
                yield _fault(name, "wrong_bands", f"the index looks for the bands of {member.name} elsewhere", key=key)
    except GGTError as fault:
        reason = fault.reason if isinstance(fault, PairError) else "damaged_image"
        detail, _, mend = str(fault).removeprefix(f"{name}: ").removeprefix(f"key {key}: ").rpartition("; ")
        yield _fault(name, reason, detail, mend, key=key, offset=group[1].offset)
