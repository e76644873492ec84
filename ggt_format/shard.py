"""Write shards: plain ustar tars with three adjacent members for each pair. Check every pair first."""

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
from ggt_format.jpeg import check_jpeg, read_comment
from ggt_format.png import check_banded
from ggt_format.schema import CODECS, DEGRADATIONS, KEY, SHARD, SOURCES, fact_columns, index_schema, pair_key

Pixels = npt.NDArray[np.uint8]
NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]")  # control characters and lone surrogates
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def shard_split(shard: str) -> str:
    """Return the split in a shard's name: train, test or prior."""
    return shard.rpartition("/")[2].partition("-")[0]


class ShardWriter:
    """Write one shard, as a context manager. The file gets its name when the block ends without an exception.

    Args:
        path: The file to write.
        name: The shard's name in the dataset folder: data/DEGRADATION/SPLIT-NNNNN.tar.
        codec: "png" or "jpeg", the format of the images.

    Raises:
        ShardError: The block ended, and no pair was added.
    """

    def __init__(self, path: Path, name: str, codec: str = "png") -> None:
        self.name, self.codec = name, codec
        # a unique name, because a machine that is taken for lost may still write the same shard
        self._path, self._part = path, path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
        self._file = self._part.open("wb")
        self._keys: set[str] = set()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """End the shard as tar does and give it its final name; after an exception, delete it."""
        is_empty = kind is None and not self._keys
        if kind is None:
            size = self._file.tell() + 2 * tarfile.BLOCKSIZE
            self._file.write(bytes(2 * tarfile.BLOCKSIZE - size % -tarfile.RECORDSIZE))
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if is_empty:
            self._part.unlink()
            raise ShardError(f"{self.name}: has no pair. Add at least one pair.")
        if kind is None:
            self._part.replace(self._path)
            sync_folder(self._path.parent)
        else:
            self._part.unlink()

    def add(self, facts: dict[str, Any], lq: bytes, gt: bytes) -> dict[str, Any]:
        """Add a pair, and return its row of the index: `facts` and the location of its bytes.

        Args:
            facts: The columns of `fact_columns`, in their order.
            lq, gt: The encoded images.

        Raises:
            PairError: The pair breaks a rule of the format. Nothing of it is written.
            ShardError: An image is damaged. Nothing is written.
        """
        check_pair(facts, lq, gt, self.name, self.codec)
        key = facts["key"]
        if not SHARD.fullmatch(self.name) or self.name.split("/")[1] != facts["degradation"]:
            problem = f"its degradation {facts['degradation']} is not that of the shard"
            raise PairError("wrong_shard", f"{self.name}: key {key}: {problem}. Add it to another shard.")
        if key in self._keys:
            raise PairError(
                "duplicate_key", f"{self.name}: key {key}: the shard has this key twice. Ingest each photograph once."
            )
        bands = {field: read_bands(data, f"{self.name}: {key}.{field}") for field, data in (("lq", lq), ("gt", gt))}
        lq_rows, gt_rows = (image_bands.rows if image_bands else 0 for image_bands in bands.values())
        if lq_rows != gt_rows:  # the index has one column for both
            problem = f"its lq has bands of {lq_rows} rows and its gt of {gt_rows}"
            raise PairError("wrong_bands", f"{self.name}: key {key}: {problem}. Pack the release again.")
        self._keys.add(key)
        row = dict(facts) | {"shard": self.name, "band_rows": lq_rows}
        parts = zip(("json", "lq", "gt"), member_extensions(self.codec), (encode_json(facts), lq, gt), strict=True)
        for field, member, data in parts:
            header = member_header(f"{key}.{member}", len(data))
            self._file.write(header)
            row |= {f"{field}_offset": self._file.tell(), f"{field}_size": len(data)}
            self._file.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
            if field in bands:
                image_bands = bands[field]
                row[f"{field}_bands"] = list(image_bands.offsets) if image_bands else []
        return row


def member_extensions(codec: str) -> tuple[str, str, str]:
    """Return the extensions of a pair's members in their order, for example json, lq.png, gt.png."""
    return "json", f"lq.{CODECS[codec]}", f"gt.{CODECS[codec]}"


def member_header(name: str, size: int) -> bytes:
    """Return a member's plain ustar header without time, owner or group, so that equal input gives equal bytes."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def encode_json(facts: dict[str, Any]) -> bytes:
    """Return a pair's JSON member. A score that was not measured is NaN, as Python's json writes it, never null."""
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()


def jpeg_comment(key: str, member: str) -> str:
    """Return the comment of a JPEG, which names its key and member, because JPEG changes the pixels behind the key."""
    return f"ggt-100k {key} {member}"


def check_pair(facts: dict[str, Any], lq: bytes, gt: bytes, where: str, codec: str = "png") -> tuple[Pixels, Pixels]:
    """Check one pair against the format: its facts, both images, and that the key is the digest of the LQ pixels.

    JPEG changes the pixels, so the comment of each JPEG is compared with the key instead.

    Args:
        facts: The columns of `fact_columns`, in their order.
        lq, gt: The encoded images.
        where: The shard in error messages.
        codec: "png" or "jpeg".

    Returns:
        The pixels of LQ and GT: uint8, height x width x 3.

    Raises:
        PairError: The pair breaks a rule of the format.
        ShardError: An image is damaged.
    """
    key = facts.get("key")
    if not isinstance(key, str) or not KEY.fullmatch(key):
        raise PairError("bad_key", f"{where}: key {key!r}: is not 16 hexadecimal digits. Ingest the photograph again.")
    problem = describe_bad_facts(facts)
    if problem:
        raise PairError("bad_facts", f"{where}: key {key}: {problem}")
    check = check_banded if codec == "png" else check_jpeg
    named = zip((lq, gt), member_extensions(codec)[1:], strict=True)
    lq_pixels, gt_pixels = (check(data, f"{where}: {key}.{member}") for data, member in named)
    prefix = f"{where}: key {key}:"
    if codec == "jpeg":
        _check_comments(key, read_comment(lq), read_comment(gt), prefix)
    elif pair_key(lq_pixels) != key:
        if pair_key(gt_pixels) == key:
            raise PairError("swapped", f"{prefix} lq and gt are swapped. Pack the release again.")
        raise PairError("wrong_key", f"{prefix} is not the digest of its LQ pixels. Ingest the photograph again.")
    if lq_pixels.shape != gt_pixels.shape:
        sizes = " and ".join(f"{a.shape[1]} x {a.shape[0]}" for a in (lq_pixels, gt_pixels))
        raise PairError(
            "size_differs", f"{where}: key {key}: lq and gt have different sizes: {sizes}. Align the candidate."
        )
    if (facts["height"], facts["width"]) != lq_pixels.shape[:2]:
        raise PairError(
            "wrong_size",
            f"{where}: key {key}: its facts state another size than its images have. Pack the release again.",
        )
    # comparing the first row is enough for nearly all pairs
    if (lq_pixels[0] == gt_pixels[0]).all() and (lq_pixels == gt_pixels).all():
        raise PairError("identical", f"{where}: key {key}: lq and gt are the same image. Judge the pair again.")
    return lq_pixels, gt_pixels


def _check_comments(key: str, lq: str, gt: str, prefix: str) -> None:
    expected = jpeg_comment(key, "lq"), jpeg_comment(key, "gt")
    if (lq, gt) == expected[::-1]:
        raise PairError("swapped", f"{prefix} lq and gt are swapped. Pack the release again.")
    for actual_comment, expected_comment in zip((lq, gt), expected, strict=True):
        if actual_comment != expected_comment:
            reason = "another_pair" if actual_comment.startswith("ggt-100k ") else "unmarked"
            problem = f"a JPEG has the comment {actual_comment!r} instead of {expected_comment!r}"
            raise PairError(reason, f"{prefix} {problem}. Pack the release again.")


@cache
def _columns(metrics: tuple[str, ...]) -> dict[str, pa.DataType]:
    schema = index_schema(metrics)
    return {name: schema.field(name).type for name in fact_columns(metrics)}


def describe_bad_facts(facts: dict[str, Any]) -> str:
    """Return what is wrong with a pair's facts and what to do; "" if nothing is wrong."""
    scores = facts.get("scores")
    if not isinstance(scores, dict) or not all(isinstance(v, float) for v in scores.values()):
        return "its scores must all be numbers, and NaN where not measured. Pack the release again."
    column_types = _columns(tuple(sorted(scores)))
    expected_names: Sequence[str] = list(column_types)
    if list(facts) != expected_names:
        different = sorted(set(facts) ^ set(expected_names)) or "their order"
        return f"its facts are not those of the format ({different}). Pack the release again."
    for name, column_type in column_types.items():
        value = facts[name]
        python_type: type = {pa.string(): str, pa.int32(): int, pa.list_(pa.string()): list}.get(column_type, dict)
        if type(value) is not python_type or (isinstance(value, list) and not all(type(item) is str for item in value)):
            return f"{name} is {value!r}, and must be of the type {column_type}. Pack the release again."
    for value in facts.values():
        for text in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            if NOT_TEXT.search(text):
                return f"{text!r} has characters that are not text. Ingest the photograph again."
    if facts["degradation"] not in DEGRADATIONS or facts["source"] not in SOURCES:
        problem = f"degradation {facts['degradation']!r} or source {facts['source']!r} is unknown"
        return f"{problem}. Ingest the photograph again."
    if facts["degradations"][:1] != [facts["degradation"]]:
        problem = f"degradations is {facts['degradations']}, and must begin with its class {facts['degradation']}"
        return f"{problem}. Ingest the photograph again."
    if not 0 <= facts["round"] < 1 << 31 or not TIME.fullmatch(facts["created"]):
        return f"round {facts['round']} or created {facts['created']!r} is out of range. Restore the photograph again."
    if not facts["licence"]:
        return "it has no licence. Ingest the photograph again with --licence."
    if facts["source"] != "captured" and not facts["source_name"] + facts["url"]:
        return f"its source, {facts['source']}, has neither name nor URL. Ingest the photograph again with its credits."
    return ""
