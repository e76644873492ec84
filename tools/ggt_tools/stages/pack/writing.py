"""One shard: written of its pairs, or, where all of them stand in the base's, kept byte for byte."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import fsspec
import numpy as np
import pyarrow as pa
from PIL import Image

from ggt_format.images import decode_image
from ggt_format.jpeg import encode_jpeg
from ggt_format.png import encode_png
from ggt_format.schema import PRIOR, fact_columns
from ggt_format.shard import ShardWriter, check_pair, note, split_of
from ggt_tools.errors import ShardError
from ggt_tools.records import Pair, work_id
from ggt_tools.stages.ingest import MOST_PIXELS, decode
from ggt_tools.workspace.ledger import sync_folder, write_whole


class Images(Protocol):
    """Where the images' files are: by name their bytes, and how many they are. Picklable, for many processes."""

    def image(self, name: str) -> bytes: ...
    def image_size(self, name: str) -> int: ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The release that this one follows."""

    url: str  # a folder or an fsspec URL
    options: Mapping[str, Any]
    about: Mapping[str, Any]  # of the shard, as its manifest has it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """What a shard is to hold."""

    part: Path  # the folder that the release is built in
    name: str
    pairs: Mapping[str, Pair]  # by key: those that are new or changed
    rows: Sequence[Mapping[str, Any]]  # of the base's index: those that are copied from its shard
    approved: Mapping[str, Pair]  # by key, of those in `rows` that the workspace knows: their gt must be the same
    base: Base | None
    images: Images
    metrics: Sequence[str]
    codec: str

    @property
    def of_priors(self) -> bool:
        return split_of(self.name) == PRIOR

    @property
    def id(self) -> str:
        """In the folder that it is built in, which is of one plan."""
        return work_id("pack", str(self.part), self.name)

    @property
    def subject(self) -> str:
        return f"shard {self.name}"

    @property
    def count(self) -> int:
        """Pairs that it is to hold."""
        return len(self.rows) + len(self.pairs)

    @property
    def keys(self) -> list[str]:
        return [*self.pairs, *(row["key"] for row in self.rows)]

    @property
    def note(self) -> Path:
        """What tells that it is done, and how: a line with the SHA-256 of the rest, which is JSON."""
        return self.part / "done" / self.name

    @property
    def done(self) -> bool:
        return (self.part / self.name).exists() and self.note.exists()

    @property
    def keeps(self) -> bool:
        """Whether the base's shard may stay as it is."""
        return self.base is not None and not self.pairs and len(self.rows) == self.base.about["pairs"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A shard that is done."""

    name: str
    rows: Sequence[Mapping[str, Any]]  # of the index
    about: Mapping[str, Any]  # the manifest's
    kept: bool  # byte for byte the base's


def pair_facts(pair: Pair, metrics: Sequence[str]) -> dict[str, Any]:
    """The facts of a pair, as its JSON member and its row of the index hold them."""
    photo, candidate = pair.photo, pair.candidate
    measured = {score.metric: score.value for score in pair.scores}
    return {
        "key": photo.key,
        "degradation": photo.degradation,
        "degradations": list(photo.degradations),
        "source": photo.source,
        "source_name": photo.source_name,
        "licence": photo.licence,
        "author": photo.author,
        "url": photo.url,
        "restorer": candidate.restorer,
        "strategy": candidate.strategy,
        "prompt": candidate.prompt,
        "round": candidate.round,
        "created": candidate.created,
        "width": photo.width,
        "height": photo.height,
        "scores": {name: _single(measured.get(name, math.nan)) for name in metrics},
        "evidence": list(pair.verdict.evidence),
    }


def _single(value: float) -> float:
    """The value as float32 keeps it, so that JSON and index say the same."""
    return float(pa.scalar(value, pa.float32()).as_py())


def differing(facts: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """The names of the facts that a row of the index has otherwise. NaN equals NaN."""
    return [name for name, value in facts.items() if not _same(value, row[name])]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    return bool(one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other)))


def made_of_reply(pair: Pair, split: str) -> bool:
    """Whether what is packed as a pair's gt is no file yet: it is a prior's reply, brought to its photograph's size."""
    return split == PRIOR and pair.image == pair.candidate.image


def noted(job: ShardJob) -> Written | None:
    """What a shard that is done says of itself; None where it is not, or its note has rotted: it is written anew."""
    if not job.done:
        return None
    digest, _, body = job.note.read_bytes().partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    said = json.loads(body)
    return Written(name=job.name, rows=said["rows"] or job.rows, about=said["about"], kept=said["kept"])


def write_shard(job: ShardJob, tell: Callable[[int], object]) -> Written:
    """Writes or keeps a shard. What an interrupted run has finished stays, if its bytes are still those of its note.

    `tell` is told of each pair.
    """
    path, done = job.part / job.name, job.note
    before = noted(job)
    if before is not None and file_facts(path).items() <= before.about.items():
        tell(job.count)
        return before
    for folder in (path.parent, done.parent):
        folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    kept = False
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_base_shard(job)) if job.base is not None else None
        changed = _changed(job, source) if source is not None else {}
        if source is not None and job.keeps and not changed:
            _keep(source.path, path)
            kept, about = True, dict(source.about)
            tell(len(job.rows))
        else:
            rows = _write(job, path, {**job.pairs, **changed}, source, tell)
            about = file_facts(path) | {"pairs": len(rows)}
    # the rows of a kept shard are the base's: only a written one needs its own noted
    body = json.dumps({"rows": rows, "about": about, "kept": kept}).encode()
    write_whole(done, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return Written(name=job.name, rows=rows or job.rows, about=about, kept=kept)


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """The base's shard on this machine."""

    path: Path
    data: mmap.mmap
    about: Mapping[str, Any]

    def member(self, row: Mapping[str, Any], field: str) -> bytes:
        start = row[f"{field}_offset"]
        return self.data[start : start + row[f"{field}_size"]]


@contextlib.contextmanager
def _base_shard(job: ShardJob) -> Iterator[_Source]:
    """The base's shard, fetched where it is elsewhere. Raises ShardError where it is not what its manifest says."""
    assert job.base is not None
    where, about = f"{job.base.url}/{job.name}", job.base.about
    fetched = None
    if "://" in job.base.url:
        path = fetched = job.part / f"{job.name}.{uuid.uuid4().hex[:8]}.base"
        system, at = fsspec.core.url_to_fs(where, **job.base.options)
        system.get_file(at, str(path))
    else:
        path = Path(where)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) != about["bytes"] or hashlib.sha256(data).hexdigest() != about["sha256"]:
                raise ShardError(f"{where}: its bytes are not those that its manifest names; fetch the base again")
            yield _Source(path, data, about)
    except (FileNotFoundError, ValueError) as fault:  # absent, or empty, which cannot be mapped
        raise ShardError(f"{where}: the base's manifest names it, and it is not there; fetch the base again") from fault
    finally:
        if fetched is not None:
            fetched.unlink(missing_ok=True)


def _changed(job: ShardJob, source: _Source) -> dict[str, Pair]:
    """The pairs whose facts are the base's, and whose gt is not.

    Of pairs as JPEG, which are not the ledger's files, the facts alone tell. Priors are made once more, and compared.
    """
    if job.codec != "png" and not job.of_priors:
        return {}
    of_row = {row["key"]: row for row in job.rows}
    return {
        key: pair for key, pair in job.approved.items() if not _same_gt(job, pair, source.member(of_row[key], "gt"))
    }


def _same_gt(job: ShardJob, pair: Pair, there: bytes) -> bool:
    """Whether a gt of the base is what would be written now. Other bytes of equal pixels are: encoders differ."""
    if job.codec == "png" and not made_of_reply(pair, split_of(job.name)):
        return hashlib.sha256(there).hexdigest() == pair.image
    now = _made(job, pair)[2]
    return now == there or np.array_equal(decode_image(now, job.name), decode_image(there, job.name))


def _keep(source: Path, path: Path) -> None:
    """The same file once more: a hard link, where the file system has them, else a copy."""
    path.unlink(missing_ok=True)  # of an interrupted run
    try:
        path.hardlink_to(source.resolve())
    except OSError:
        part = path.with_name(path.name + ".part")
        with source.open("rb") as one, part.open("wb") as other:
            shutil.copyfileobj(one, other, 1 << 20)
            other.flush()
            os.fsync(other.fileno())
        part.replace(path)
    sync_folder(path.parent)


def _write(
    job: ShardJob, path: Path, pairs: Mapping[str, Pair], source: _Source | None, tell: Callable[[int], object]
) -> list[dict[str, Any]]:
    """Writes the shard's pairs in the order of their keys, and gives their rows of the index."""
    rows = []
    copied = {row["key"]: row for row in job.rows if row["key"] not in pairs}
    with ShardWriter(path, job.name, job.codec) as shard:
        for key in sorted({*pairs, *copied}):
            if key in pairs:
                facts, lq, gt = _made(job, pairs[key])
            else:
                assert source is not None
                row = copied[key]
                facts = {name: row[name] for name in fact_columns(job.metrics)}
                lq, gt = source.member(row, "lq"), source.member(row, "gt")
            rows.append(shard.add(facts, lq, gt))
            tell(1)
    return rows


def _made(job: ShardJob, pair: Pair) -> tuple[dict[str, Any], bytes, bytes]:
    """A pair's facts, and the bytes of lq and gt as they are written."""
    facts = pair_facts(pair, job.metrics)
    lq, gt = (job.images.image(image) for image in (pair.photo.image, pair.image))
    if made_of_reply(pair, split_of(job.name)):
        gt = _in_size(gt, pair, job.name)
    if job.codec == "jpeg":
        check_pair(facts, lq, gt, job.name)
        lq, gt = (
            encode_jpeg(decode_image(data, job.name), note=note(pair.photo.key, member))
            for data, member in ((lq, "lq"), (gt, "gt"))
        )
    return facts, lq, gt


def _in_size(reply: bytes, pair: Pair, where: str) -> bytes:
    """A reply that has no place in its photograph's frame, without what was padded for the call, in its size."""
    photo = pair.photo
    image = decode(reply, f"{where}: key {photo.key}: the reply", MOST_PIXELS)
    wide, high, left, top, width, height = pair.candidate.frame or (1, 1, 0, 0, 1, 1)
    x, y = image.width / wide, image.height / high
    box = (left * x, top * y, (left + width) * x, (top + height) * y)
    size = (photo.width, photo.height)
    if image.size != size or box != (0, 0, *size):
        image = image.resize(size, Image.Resampling.LANCZOS, box=box)
    return encode_png(np.asarray(image))


def file_facts(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file, as the manifest holds them."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
