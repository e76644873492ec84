"""Write shards: plain ustar tars with three adjacent members for each pair. Every pair is checked first."""

from __future__ import annotations

import json
import os
import re
import tarfile
import uuid
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ggt_format.errors import PairError, ShardError
from ggt_format.files import sync_folder
from ggt_format.images import read_bands
from ggt_format.jpeg import check_jpeg, note_of
from ggt_format.png import check_banded
from ggt_format.schema import CODECS, DEGRADATIONS, KEY, SHARD, SOURCES, fact_columns, index_schema, pair_key

Pixels = npt.NDArray[np.uint8]
NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]")  # control characters and lone surrogates
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def split_of(shard: str) -> str:
    """Return the split that a shard's name states: train, test or prior."""
    return shard.rpartition("/")[2].partition("-")[0]


class ShardWriter:
    """Writes one shard. A pair that breaks a rule of the format raises PairError, and nothing of it is written."""

    def __init__(self, path: Path, name: str, codec: str = "png") -> None:
        self.name, self.codec = name, codec
        # a unique name: a machine that counts as lost may still be writing the same shard
        self._path, self._part = path, path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
        self._file = self._part.open("wb")
        self._keys: set[str] = set()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """End the shard as tar does and give it its final name; after an exception, delete it."""
        empty = kind is None and not self._keys
        if kind is None:
            size = self._file.tell() + 2 * tarfile.BLOCKSIZE
            self._file.write(bytes(2 * tarfile.BLOCKSIZE - size % -tarfile.RECORDSIZE))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if empty:
            self._part.unlink()
            raise ShardError(f"{self.name}: a shard without a pair; plan it with one")
        if kind is None:
            self._part.replace(self._path)
            sync_folder(self._path.parent)
        else:
            self._part.unlink()

    def add(self, facts: dict[str, Any], lq: bytes, gt: bytes) -> dict[str, Any]:
        """Add a pair, and return its row of the index: `facts` and the location of its bytes."""
        check_pair(facts, lq, gt, self.name, self.codec)
        key = facts["key"]
        if not SHARD.fullmatch(self.name) or self.name.split("/")[1] != facts["degradation"]:
            said = f"{self.name}: key {key}: is of the class {facts['degradation']}, which this shard does not hold"
            raise PairError("wrong_shard", f"{said}; give it to another")
        if key in self._keys:
            raise PairError("duplicate_key", f"{self.name}: key {key}: stands in it twice; ingest each photograph once")
        bands = {field: read_bands(data, f"{self.name}: {key}.{field}") for field, data in (("lq", lq), ("gt", gt))}
        lq_rows, gt_rows = (each.rows if each else 0 for each in bands.values())
        if lq_rows != gt_rows:  # the index has one column for both
            said = f"its lq has bands of {lq_rows} rows and its gt of {gt_rows}"
            raise PairError("wrong_bands", f"{self.name}: key {key}: {said}; pack it again")
        self._keys.add(key)
        row = dict(facts) | {"shard": self.name, "band_rows": lq_rows}
        parts = zip(("json", "lq", "gt"), members(self.codec), (encode_json(facts), lq, gt), strict=True)
        for field, member, data in parts:
            header = member_header(f"{key}.{member}", len(data))
            self._file.write(header)
            row |= {f"{field}_offset": self._file.tell(), f"{field}_size": len(data)}
            self._file.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
            if field in bands:
                of_image = bands[field]
                row[f"{field}_bands"] = list(of_image.offsets) if of_image else []
        return row


def members(codec: str) -> tuple[str, str, str]:
    """Return the extensions of a pair's members, in their order."""
    return "json", f"lq.{CODECS[codec]}", f"gt.{CODECS[codec]}"


def member_header(name: str, size: int) -> bytes:
    """Return the header of a member: plain ustar without time, owner or group, so equal input gives equal bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def encode_json(facts: dict[str, Any]) -> bytes:
    """Return a pair's JSON member. A score that was not measured is NaN, as Python's json writes it, never null."""
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()


def note(key: str, member: str) -> str:
    """Return the comment of a JPEG, which names its pair and member: JPEG changes the pixels that a key is made of."""
    return f"ggt-100k {key} {member}"


def check_pair(facts: dict[str, Any], lq: bytes, gt: bytes, where: str, codec: str = "png") -> tuple[Pixels, Pixels]:
    """Check one pair against the format: its facts, both images, and that the key is the digest of the LQ pixels.

    JPEG changes the pixels, and the key is of those before it: there each image's own comment tells what it is.
    Returns the pixels of both (uint8, height x width x 3); raises PairError or ShardError.
    """
    key = facts.get("key")
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise PairError("bad_key", f"{where}: key {key!r}: a key is 16 hex characters; ingest the photograph again")
    fault = fact_fault(facts)
    if fault:
        raise PairError("bad_facts", f"{where}: key {key}: {fault}")
    check = check_banded if codec == "png" else check_jpeg
    named = zip((lq, gt), members(codec)[1:], strict=True)
    lq_pixels, gt_pixels = (check(data, f"{where}: {key}.{member}") for data, member in named)
    at = f"{where}: key {key}:"
    if codec == "jpeg":
        _check_notes(key, note_of(lq), note_of(gt), at)
    elif pair_key(lq_pixels) != key:
        if pair_key(gt_pixels) == key:
            raise PairError("swapped", f"{at} lq and gt are swapped; pack it again")
        raise PairError("wrong_key", f"{at} is not the digest of its lq's pixels; ingest it again")
    if lq_pixels.shape != gt_pixels.shape:
        sizes = " and ".join(f"{a.shape[1]} x {a.shape[0]}" for a in (lq_pixels, gt_pixels))
        raise PairError("size_differs", f"{where}: key {key}: lq and gt are {sizes}; align the candidate")
    if (facts["height"], facts["width"]) != lq_pixels.shape[:2]:
        raise PairError("wrong_size", f"{where}: key {key}: its facts name another size than its images; pack it again")
    # comparing the first row is enough for nearly all pairs
    if (lq_pixels[0] == gt_pixels[0]).all() and (lq_pixels == gt_pixels).all():
        raise PairError("identical", f"{where}: key {key}: lq and gt are the same image; judge it again")
    return lq_pixels, gt_pixels


def _check_notes(key: str, lq: str, gt: str, at: str) -> None:
    wanted = note(key, "lq"), note(key, "gt")
    if (lq, gt) == wanted[::-1]:
        raise PairError("swapped", f"{at} lq and gt are swapped; pack it again")
    for found, right in zip((lq, gt), wanted, strict=True):
        if found != right:
            reason = "another_pair" if found.startswith("ggt-100k ") else "unmarked"
            raise PairError(reason, f"{at} a JPEG says of itself {found!r}, not {right!r}; pack it again")


@cache
def _columns(metrics: tuple[str, ...]) -> dict[str, pa.DataType]:
    schema = index_schema(metrics)
    return {name: schema.field(name).type for name in fact_columns(metrics)}


def fact_fault(facts: dict[str, Any]) -> str:
    """Return what is wrong with a pair's facts and what to do; "" where nothing is wrong."""
    scores = facts.get("scores")
    if not isinstance(scores, dict) or not all(isinstance(v, float) for v in scores.values()):
        return "its scores are not all numbers; an unmeasured one is NaN; pack it again"
    kinds = _columns(tuple(sorted(scores)))
    wanted: Sequence[str] = list(kinds)
    if list(facts) != wanted:
        odd = sorted(set(facts) ^ set(wanted)) or "their order"
        return f"its facts are not those of the format ({odd}); pack it again"
    for name, kind in kinds.items():
        value = facts[name]
        right: type = {pa.string(): str, pa.int32(): int, pa.list_(pa.string()): list}.get(kind, dict)
        if type(value) is not right or (isinstance(value, list) and not all(type(item) is str for item in value)):
            return f"{name} is {value!r}; it must be {kind}; pack it again"
    for value in facts.values():
        for text in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            if NO_TEXT.search(text):
                return f"{text!r} holds what is no text; ingest it again"
    if facts["degradation"] not in DEGRADATIONS or facts["source"] not in SOURCES:
        return f"degradation {facts['degradation']!r} or source {facts['source']!r} is unknown; ingest it again"
    if facts["degradations"][:1] != [facts["degradation"]]:
        return f"degradations is {facts['degradations']}; its class {facts['degradation']} comes first; ingest it again"
    if not 0 <= facts["round"] < 1 << 31 or not TIME.fullmatch(facts["created"]):
        return f"round {facts['round']} or created {facts['created']!r} cannot be; restore it again"
    if not facts["licence"]:
        return "it has no licence; ingest it again with --licence"
    if facts["source"] != "captured" and not facts["source_name"] + facts["url"]:
        return f"its source, {facts['source']}, has neither a name nor a URL; ingest it again with its credits"
    return ""
