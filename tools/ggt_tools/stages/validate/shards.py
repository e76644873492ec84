"""One shard, held against the format, the manifest and the index, in one pass over its bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ggt_format import __version__
from ggt_format.bands import HEAD
from ggt_format.images import read_bands
from ggt_format.schema import PRIOR, SHARD
from ggt_format.shard import check_pair, encode_json, fact_fault, members, split_of
from ggt_tools.errors import GGTError, PairError
from ggt_tools.policy.gate import Gate
from ggt_tools.records import Finding, work_id
from ggt_tools.stages.validate.evidence import evidence_faults, prior_faults, read_gate
from ggt_tools.stages.validate.findings import FETCH, fault
from ggt_tools.stages.validate.likeness import cells, unlike
from ggt_tools.stages.validate.passing import RULES
from ggt_tools.stages.validate.tars import Member, Reader, pairs, walk, whole

Cells = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a process needs to know of a shard."""

    root: str  # a folder or an fsspec URL
    options: Mapping[str, Any]
    name: str
    about: Mapping[str, Any]  # the manifest's
    rows: pa.Table  # the index's rows of it
    codec: str
    gate: str  # its text, "" where it cannot be read
    quick: bool
    images: Mapping[str, tuple[str, str]]  # by key the SHA-256 that the ledger has of the files of lq and gt
    state: str = ""  # what tells whether the file has changed, where what is found is kept

    @property
    def id(self) -> str:
        """Of these bytes, by these rules."""
        rows, images = json.dumps(self.rows.to_pylist()), json.dumps(sorted(self.images.items()))
        about = json.dumps(self.about, sort_keys=True)
        return work_id(
            "validate", __version__, RULES, self.root, self.name, self.state, about, rows, self.codec, self.gate,
            int(self.quick), images,
        )  # fmt: skip

    @property
    def subject(self) -> str:
        return f"shard {self.name}"

    @property
    def of_priors(self) -> bool:
        return split_of(self.name) == PRIOR


def open_file(root: str, options: Mapping[str, Any], name: str) -> IO[bytes]:
    """A file of a dataset folder, to be read from its start."""
    if "://" not in root:
        return (Path(root) / name).open("rb")
    system, at = fsspec.core.url_to_fs(f"{root}/{name}", **options)
    file: IO[bytes] = system.open(at, "rb", block_size=1 << 22, cache_type="readahead")
    return file


def check_shard(job: Job, tell: Callable[[int], object]) -> list[Finding]:
    """All that is wrong with a shard. `tell` is told of each pair."""
    name, about = job.name, job.about
    if not SHARD.fullmatch(name):
        return [fault(name, "bad_name", "is no shard's name, which is data/DEGRADATION/SPLIT-00000.tar")]
    found: list[Finding] = []
    try:
        with open_file(job.root, job.options, name) as file:
            reader = Reader(file, job.quick)
            _check_pairs(job, reader, found, tell)
            reader.rest()
    except FileNotFoundError:
        return [fault(name, "missing_file", "the manifest names it and it is not there", FETCH)]
    except OSError as refused:
        return [fault(name, "unreadable", f"cannot be read: {refused.strerror or refused}", FETCH)]
    except Exception as refused:  # each client of fsspec has exceptions of its own
        if "://" not in job.root:
            raise
        return [fault(name, "unreadable", f"cannot be read: {type(refused).__name__}: {refused}", FETCH)]
    wrong = []
    if reader.at != about["bytes"]:
        wrong.append(fault(name, "wrong_bytes", f"has {reader.at} bytes, the manifest says {about['bytes']}", FETCH))
    if not job.quick and reader.sha256() != about["sha256"]:
        wrong.append(fault(name, "wrong_hash", "its SHA-256 is not the one that the manifest names", FETCH))
    if about["pairs"] != job.rows.num_rows:
        said = f"the index names {job.rows.num_rows} pairs in it, the manifest {about['pairs']}"
        found.append(fault(name, "wrong_count", said))
    return wrong + found


def _head(name: str) -> int:
    """Of an image only the bytes that say where its bands lie."""
    return 1 << 62 if name.endswith(".json") else HEAD


def _check_pairs(job: Job, reader: Reader, found: list[Finding], tell: Callable[[int], object]) -> None:
    by_key = {row["key"]: row for row in job.rows.to_pylist()}
    columns = job.rows.column_names[: job.rows.column_names.index("shard")]  # the facts stand before it
    seen: set[str] = set()
    shown: list[tuple[str, Cells, Cells]] = []
    walked = walk(reader, job.name, _head if job.quick else whole)
    for key, group in pairs(walked, members(job.codec), found):
        tell(1)
        if isinstance(group, str):
            found.append(fault(job.name, "broken_pair", group, key=key))
        elif key in seen:
            found.append(fault(job.name, "duplicate_key", "stands in the shard twice", key=key, offset=group[0].start))
        elif key not in by_key:
            seen.add(key)
            found.append(
                fault(job.name, "not_in_index", "no row of the index names it", key=key, offset=group[0].start)
            )
        else:
            seen.add(key)
            images = _check_pair(job, by_key[key], columns, group, found)
            if images is not None:
                shown.append((key, *images))
    keys = [key for key, _, _ in shown]
    if not job.of_priors:  # they show the scene as it was seen from elsewhere
        found += unlike(job.name, keys, [lq for _, lq, _ in shown], [gt for _, _, gt in shown])
    for key in sorted(by_key.keys() - seen):
        said = "the index names it, and the shard has no whole pair of it"
        found.append(fault(job.name, "not_in_shard", said, key=key))


def _check_pair(
    job: Job, row: Mapping[str, Any], columns: Sequence[str], group: Sequence[Member], found: list[Finding]
) -> tuple[Cells, Cells] | None:
    """Adds what is wrong with a pair. Gives the cells of its images where they are sound."""
    key = row["key"]

    def add(reason: str, detail: str, mend: str = "pack it again", offset: int = -1) -> None:
        found.append(fault(job.name, reason, detail, mend, key=key, offset=offset))

    for field, member in zip(("json", "lq", "gt"), group, strict=True):
        if (row[f"{field}_offset"], row[f"{field}_size"]) != (member.offset, member.size):
            add("wrong_offset", f"the index looks for {member.name} elsewhere", offset=member.offset)
    facts = {column: row[column] for column in columns}
    if group[0].data != encode_json(facts):
        try:
            json.loads(group[0].data)
            detail = "its JSON is not what the index says"
        except (ValueError, RecursionError) as unread:
            detail = f"its JSON cannot be read: {unread}"
        add("json_differs", detail, offset=group[0].offset)
    if job.gate:
        faults = prior_faults if job.of_priors else evidence_faults
        for reason, detail in faults(row, _gate(job.gate)):
            add(reason, detail, "judge it again", offset=group[0].offset)
    lq, gt = group[1:]
    for member, digest, role in zip(
        (lq, gt), job.images.get(key, ())[: 1 if job.of_priors else 2], ("lq", "gt"), strict=False
    ):
        if job.codec == "png" and not job.quick and hashlib.sha256(member.data).hexdigest() != digest:
            add("other_image", f"its {role} is not the file that the ledger names", offset=member.offset)
    try:
        if job.quick:
            if said := fact_fault(facts):
                raise PairError("bad_facts", said)
        else:
            pixels = check_pair(facts, lq.data, gt.data, job.name, job.codec)
        for field, member in (("lq", lq), ("gt", gt)):
            bands = read_bands(member.data[:HEAD], f"{job.name}: {member.name}")
            if bands is None or list(bands.offsets) != row[f"{field}_bands"] or bands.rows != row["band_rows"]:
                add("wrong_bands", f"the index looks for the bands of {member.name} elsewhere")
            elif (bands.width, bands.height) != (row["width"], row["height"]):
                add("wrong_size", f"{member.name} is {bands.width} x {bands.height}, and its facts say otherwise")
    except GGTError as wrong:
        reason = wrong.reason if isinstance(wrong, PairError) else "damaged_image"
        detail, _, mend = str(wrong).removeprefix(f"{job.name}: ").removeprefix(f"key {key}: ").rpartition("; ")
        add(reason, detail, mend, offset=lq.offset)
        return None
    return None if job.quick else (cells(pixels[0]), cells(pixels[1]))


@cache
def _gate(text: str) -> Gate:
    return read_gate(text)
