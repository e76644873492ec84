"""Compare a shard with the format, the manifest and the index, in one pass over its bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ggt_format import __version__
from ggt_format.bands import HEAD
from ggt_format.images import decode_image, read_bands
from ggt_format.schema import PRIOR, SHARD
from ggt_format.shard import check_pair, describe_bad_facts, encode_json, member_extensions, shard_split
from ggt_tools.errors import GGTError, PairError, ShardError
from ggt_tools.policy.gate import Gate
from ggt_tools.records import Finding, work_id
from ggt_tools.stages.validate.evidence import evidence_faults, prior_faults, read_gate
from ggt_tools.stages.validate.findings import DOWNLOAD_SHARD, JUDGE, PACK, finding, split_message
from ggt_tools.stages.validate.likeness import cells, find_mismatches
from ggt_tools.stages.validate.passing import RULES
from ggt_tools.stages.validate.tars import ALL_BYTES, Member, Reader, all_bytes, group_pairs, walk
from ggt_tools.workspace.ledger import ImageFolder

Cells = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardCheck:
    """What a process needs to know to check a shard.

    Attributes:
        root: Folder or fsspec URL of the release.
        options: Its storage options.
        name: Name of the shard.
        facts: The manifest's facts of it.
        rows: Its rows of the index.
        codec: Format of the images.
        gate: Text of the gate; "" where it cannot be read.
        quick: Whether to leave out checksums and pixels.
        images: By key, the name of the gt in the workspace that the release is compared with.
        workspace: The images of that workspace.
        state: Changes when the file changes, where findings are kept for another run.
    """

    root: str
    options: Mapping[str, Any]
    name: str
    facts: Mapping[str, Any]
    rows: pa.Table
    codec: str
    gate: str
    quick: bool
    images: Mapping[str, str]
    workspace: ImageFolder | None = None
    state: str = ""

    @property
    def id(self) -> str:
        """The hash of the bytes and of the rules that they are checked by."""
        rows, images = json.dumps(self.rows.to_pylist()), json.dumps(sorted(self.images.items()))
        facts = json.dumps(self.facts, sort_keys=True)
        return work_id(
            "validate", __version__, RULES, self.root, self.name, self.state, facts, rows, self.codec, self.gate,
            int(self.quick), images,
        )  # fmt: skip

    @property
    def subject(self) -> str:
        """The shard as messages name it."""
        return f"shard {self.name}"

    @property
    def of_priors(self) -> bool:
        """Whether it holds visual priors."""
        return shard_split(self.name) == PRIOR


def open_file(root: str, options: Mapping[str, Any], name: str) -> IO[bytes]:
    """Open a file of a release, to be read from its start."""
    if "://" not in root:
        return (Path(root) / name).open("rb")
    system, path = fsspec.core.url_to_fs(f"{root}/{name}", **options)
    file: IO[bytes] = system.open(path, "rb", block_size=1 << 22, cache_type="readahead")
    return file


def check_shard(check: ShardCheck, progress: Callable[[int], object]) -> list[Finding]:
    """Return everything that is wrong with a shard.

    Args:
        check: The shard.
        progress: Called with the number of pairs that were read since the last call.
    """
    name, facts = check.name, check.facts
    if not SHARD.fullmatch(name):
        return [finding(name, "bad_name", "is not the name of a shard, data/DEGRADATION/SPLIT-00000.tar")]
    findings: list[Finding] = []
    try:
        with open_file(check.root, check.options, name) as file:
            reader = Reader(file, check.quick)
            _check_pairs(check, reader, findings, progress)
            reader.read_rest()
    except FileNotFoundError:
        return [finding(name, "missing_file", "the manifest names it, but it is missing", DOWNLOAD_SHARD)]
    except OSError as fault:
        return [finding(name, "unreadable", f"cannot be read: {fault.strerror or fault}", DOWNLOAD_SHARD)]
    except Exception as fault:  # each client of fsspec has exceptions of its own
        if "://" not in check.root:
            raise
        return [finding(name, "unreadable", f"cannot be read: {type(fault).__name__}: {fault}", DOWNLOAD_SHARD)]
    whole = []
    if reader.offset != facts["bytes"]:
        detail = f"has {reader.offset} bytes, the manifest says {facts['bytes']}"
        whole.append(finding(name, "wrong_bytes", detail, DOWNLOAD_SHARD))
    if not check.quick and reader.sha256() != facts["sha256"]:
        detail = "its SHA-256 is not the one that the manifest names"
        whole.append(finding(name, "wrong_hash", detail, DOWNLOAD_SHARD))
    if facts["pairs"] != check.rows.num_rows:
        detail = f"the index names {check.rows.num_rows} pairs in it, the manifest {facts['pairs']}"
        findings.append(finding(name, "wrong_count", detail))
    return whole + findings


def _head_bytes(name: str) -> int:
    """Return that only the beginning of an image is to be read, which says where its bands are."""
    return ALL_BYTES if name.endswith(".json") else HEAD


def _check_pairs(check: ShardCheck, reader: Reader, findings: list[Finding], progress: Callable[[int], object]) -> None:
    rows = {row["key"]: row for row in check.rows.to_pylist()}
    fact_names = check.rows.column_names[: check.rows.column_names.index("shard")]  # the facts come before it
    seen: set[str] = set()
    compared: list[tuple[str, Cells, Cells]] = []
    items = walk(reader, check.name, _head_bytes if check.quick else all_bytes)
    for key, group in group_pairs(items, member_extensions(check.codec), findings):
        progress(1)
        if isinstance(group, str):
            findings.append(finding(check.name, "broken_pair", group, key=key))
        elif key in seen:
            detail = "is in the shard twice"
            findings.append(finding(check.name, "duplicate_key", detail, key=key, offset=group[0].start))
        elif key not in rows:
            seen.add(key)
            detail = "no row of the index names it"
            findings.append(finding(check.name, "not_in_index", detail, key=key, offset=group[0].start))
        else:
            seen.add(key)
            images = _check_pair(check, rows[key], fact_names, group, findings)
            if images is not None:
                compared.append((key, *images))
    if not check.of_priors:  # priors show the scene as it is seen from elsewhere
        keys, lq_cells, gt_cells = zip(*compared, strict=True) if compared else ((), (), ())
        findings += find_mismatches(check.name, list(keys), lq_cells, gt_cells)
    for key in sorted(rows.keys() - seen):
        detail = "the index names it, but the shard holds no complete pair of it"
        findings.append(finding(check.name, "not_in_shard", detail, key=key))


def _check_pair(
    check: ShardCheck,
    row: Mapping[str, Any],
    fact_names: Sequence[str],
    group: Sequence[Member],
    findings: list[Finding],
) -> tuple[Cells, Cells] | None:
    """Add what is wrong with a pair. Returns the cells of its images where they are sound."""
    key = row["key"]

    def add(reason: str, detail: str, fix: str = PACK, offset: int = -1) -> None:
        findings.append(finding(check.name, reason, detail, fix, key=key, offset=offset))

    for field, member in zip(("json", "lq", "gt"), group, strict=True):
        if (row[f"{field}_offset"], row[f"{field}_size"]) != (member.offset, member.size):
            add("wrong_offset", f"the index has another offset or size of {member.name}", offset=member.offset)
    facts = {name: row[name] for name in fact_names}
    if group[0].data != encode_json(facts):
        add("json_differs", _describe_json(group[0].data), offset=group[0].offset)
    if check.gate:
        evidence = prior_faults if check.of_priors else evidence_faults
        for reason, detail in evidence(row, _gate(check.gate)):
            add(reason, detail, JUDGE, offset=group[0].offset)
    lq, gt = group[1:]
    try:
        if check.quick:
            if problem := describe_bad_facts(facts):
                raise PairError("bad_facts", problem)
        else:
            pixels = check_pair(facts, lq.data, gt.data, check.name, check.codec)
            # the gt of a prior is made while it is packed, and its key may be that of a pair as well
            if not check.of_priors and (detail := _gt_fault(check, key, gt.data, pixels[1])):
                add("other_image", detail, offset=gt.offset)
        for reason, detail in _band_faults(check, row, lq, gt):
            add(reason, detail)
    except GGTError as fault:
        reason = fault.reason if isinstance(fault, PairError) else "damaged_image"
        message = str(fault).removeprefix(f"{check.name}: ").removeprefix(f"key {key}: ")
        add(reason, *split_message(message), offset=lq.offset)
        return None
    return None if check.quick else (cells(pixels[0]), cells(pixels[1]))


def _gt_fault(check: ShardCheck, key: str, gt: bytes, pixels: npt.NDArray[np.uint8]) -> str:
    """Return how a gt differs from the workspace's; "" where its pixels are equal or cannot be compared.

    The key is the hash of the lq's pixels. JPEG changes pixels, and `pack` compresses harder than the workspace does.
    """
    name = check.images.get(key, "")
    if check.codec != "png" or check.workspace is None or not name or hashlib.sha256(gt).hexdigest() == name:
        return ""
    try:
        stored = decode_image(check.workspace.image(name), name)
    except ShardError as fault:
        return f"its gt cannot be compared with the workspace's: {fault}"
    return "" if np.array_equal(stored, pixels) else "its gt has other pixels than the image that the ledger names"


def _describe_json(data: bytes) -> str:
    try:
        json.loads(data)
    except (ValueError, RecursionError) as fault:
        return f"its JSON cannot be read: {fault}"
    return "its JSON has other facts than the index"


def _band_faults(check: ShardCheck, row: Mapping[str, Any], lq: Member, gt: Member) -> Iterator[tuple[str, str]]:
    """Yield reason and detail where the bands or the size of an image are not as its row says.

    Raises:
        GGTError: The image is damaged.
    """
    for field, member in (("lq", lq), ("gt", gt)):
        bands = read_bands(member.data[:HEAD], f"{check.name}: {member.name}")
        if bands is None or list(bands.offsets) != row[f"{field}_bands"] or bands.rows != row["band_rows"]:
            yield "wrong_bands", f"the index has other bands of {member.name}"
        elif (bands.width, bands.height) != (row["width"], row["height"]):
            yield "wrong_size", f"{member.name} has {bands.width} x {bands.height} pixels, and its facts say otherwise"


@cache
def _gate(text: str) -> Gate:
    return read_gate(text)
