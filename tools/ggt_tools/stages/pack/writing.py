"""One shard: written from its pairs or, where the base has exactly these pairs, kept byte for byte."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import mmap
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import fsspec
import numpy as np
from PIL import Image

from ggt_format.images import decode_image
from ggt_format.jpeg import encode_jpeg
from ggt_format.png import BAND_ROWS, encode_png
from ggt_format.schema import PRIOR, fact_columns
from ggt_format.shard import ShardWriter, check_pair, jpeg_comment, shard_split
from ggt_tools.errors import ShardError
from ggt_tools.imaging import MAX_PIXELS, read_image
from ggt_tools.records import Candidate, Pair, Photo, work_id
from ggt_tools.stages.pack.facts import is_made_of_reply, pair_facts
from ggt_tools.workspace.ledger import sync_folder, write_whole


class Images(Protocol):
    """Where the files of the images are. Picklable, since processes read from it."""

    def image(self, name: str) -> bytes:
        """Return the bytes of an image file by its name."""

    def image_size(self, name: str) -> int:
        """Return the size of an image file in bytes."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BaseShard:
    """A shard of the previous release.

    Attributes:
        url: Folder or fsspec URL of the release.
        options: Its storage options.
        facts: The manifest's facts of the shard.
    """

    url: str
    options: Mapping[str, Any]
    facts: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob:
    """What a shard is to hold.

    Attributes:
        part: Folder in which the release is built.
        name: Name of the shard in the release.
        pairs: New and changed pairs, by key.
        rows: Rows of the base's index whose pairs are copied from its shard.
        approved: Pairs of the workspace that `rows` has too, by key: their gt must be the same.
        base: The shard of the base with this name; None where it has none.
        images: Where the images are.
        metrics: Metrics that have a column.
        codec: Format of the images.
        recompress: Whether copied PNGs of an older layout are written anew.
    """

    part: Path
    name: str
    pairs: Mapping[str, Pair]
    rows: Sequence[Mapping[str, Any]]
    approved: Mapping[str, Pair]
    base: BaseShard | None
    images: Images
    metrics: Sequence[str]
    codec: str
    recompress: bool = False

    @property
    def of_priors(self) -> bool:
        """Whether it holds visual priors."""
        return shard_split(self.name) == PRIOR

    @property
    def id(self) -> str:
        """Its id within `part`, which is of one plan."""
        return work_id("pack", str(self.part), self.name)

    @property
    def subject(self) -> str:
        """The shard as messages name it."""
        return f"shard {self.name}"

    @property
    def count(self) -> int:
        """Number of pairs that it is to hold."""
        return len(self.rows) + len(self.pairs)

    @property
    def keys(self) -> list[str]:
        """Keys of the pairs that it is to hold."""
        return [*self.pairs, *(row["key"] for row in self.rows)]

    @property
    def note_path(self) -> Path:
        """File that says that it is done, and how: a line with the SHA-256 of the rest, which is JSON."""
        return self.part / "done" / self.name

    @property
    def is_done(self) -> bool:
        """Whether an earlier run has written it."""
        return (self.part / self.name).exists() and self.note_path.exists()

    @property
    def is_unchanged(self) -> bool:
        """Whether the base's shard may stay as it is."""
        if self.base is None or self.pairs or len(self.rows) != self.base.facts["pairs"]:
            return False
        return not any(map(self.is_recompressed, self.rows))

    def is_recompressed(self, row: Mapping[str, Any]) -> bool:
        """Return whether the images of a copied pair are written anew, since their bands have another height."""
        return self.recompress and self.codec == "png" and bool(row["band_rows"] != BAND_ROWS)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WrittenShard:
    """A shard that is done.

    Attributes:
        name: Its name in the release.
        rows: Its rows of the index.
        facts: The manifest's facts of it.
        is_kept: Whether it is the base's, byte for byte.
    """

    name: str
    rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]
    is_kept: bool


def read_note(job: ShardJob) -> WrittenShard | None:
    """Return a shard that is done, as its note describes it; None where there is none, or the note is damaged."""
    if not job.is_done:
        return None
    digest, _, body = job.note_path.read_bytes().partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    note = json.loads(body)
    return WrittenShard(name=job.name, rows=note["rows"] or job.rows, facts=note["about"], is_kept=note["kept"])


def write_shard(job: ShardJob, progress: Callable[[int], object]) -> WrittenShard:
    """Write a shard, or keep the base's. One that an interrupted run has finished stays, if its bytes are still right.

    Args:
        job: What it is to hold.
        progress: Called with the number of pairs that were done since the last call.

    Raises:
        PairError: A pair cannot be packed.
        ShardError: The base's shard is missing or damaged.
    """
    path, note_path = job.part / job.name, job.note_path
    finished = read_note(job)
    if finished is not None and file_facts(path).items() <= finished.facts.items():
        progress(job.count)
        return finished
    for folder in (path.parent, note_path.parent):
        folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    is_kept = False
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(_base_shard(job)) if job.base is not None else None
        repainted = _pairs_with_other_gt(job, source) if source is not None else {}
        if source is not None and job.is_unchanged and not repainted:
            _link_or_copy(source.path, path)
            is_kept, facts = True, dict(source.facts)
            progress(len(job.rows))
        else:
            rows = _write_pairs(job, path, {**job.pairs, **repainted}, source, progress)
            facts = file_facts(path) | {"pairs": len(rows)}
    # a kept shard has the rows of the base: only the rows of a written one must be noted
    body = json.dumps({"rows": rows, "about": facts, "kept": is_kept}).encode()
    write_whole(note_path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return WrittenShard(name=job.name, rows=rows or job.rows, facts=facts, is_kept=is_kept)


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """The base's shard on this machine."""

    path: Path
    data: mmap.mmap
    facts: Mapping[str, Any]

    def member(self, row: Mapping[str, Any], field: str) -> bytes:
        """Return the bytes of a member of a pair: json, lq or gt."""
        start = row[f"{field}_offset"]
        return self.data[start : start + row[f"{field}_size"]]


@contextlib.contextmanager
def _base_shard(job: ShardJob) -> Iterator[_Source]:
    """Open the base's shard; one that is at a URL is downloaded for the time being.

    Raises:
        ShardError: It is missing, or not what its manifest says.
    """
    assert job.base is not None
    url, facts = f"{job.base.url}/{job.name}", job.base.facts
    downloaded = None
    if "://" in job.base.url:
        path = downloaded = job.part / f"{job.name}.{uuid.uuid4().hex[:8]}.base"
        system, remote_path = fsspec.core.url_to_fs(url, **job.base.options)
        system.get_file(remote_path, str(path))
    else:
        path = Path(url)
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) != facts["bytes"] or hashlib.sha256(data).hexdigest() != facts["sha256"]:
                raise ShardError(f"{url}: its bytes are not those that the manifest names. Download the base again.")
            yield _Source(path, data, facts)
    except (FileNotFoundError, ValueError) as fault:  # missing, or empty, which cannot be mapped
        raise ShardError(f"{url}: the manifest names it, but it is missing. Download the base again.") from fault
    finally:
        if downloaded is not None:
            downloaded.unlink(missing_ok=True)


def _pairs_with_other_gt(job: ShardJob, source: _Source) -> dict[str, Pair]:
    """Return the pairs, by key, whose facts are those of the base and whose gt is not.

    JPEG files are not those of the ledger, so there the facts alone decide. Priors are made again and compared.
    """
    if job.codec != "png" and not job.of_priors:
        return {}
    row_of = {row["key"]: row for row in job.rows}
    return {key: pair for key, pair in job.approved.items() if not _has_gt(job, pair, source.member(row_of[key], "gt"))}


def _has_gt(job: ShardJob, pair: Pair, base_gt: bytes) -> bool:
    """Return whether a gt of the base has the pixels that would be written now; the bytes of encoders differ."""
    if job.codec == "png" and not is_made_of_reply(pair, shard_split(job.name)):
        if (
            hashlib.sha256(base_gt).hexdigest() == pair.image
        ):  # of a release that was packed before shards had a profile
            return True
        gt = job.images.image(pair.image)
    else:
        gt = _encode_pair(job, pair)[2]
    return gt == base_gt or np.array_equal(decode_image(gt, job.name), decode_image(base_gt, job.name))


def _link_or_copy(source: Path, path: Path) -> None:
    """Make a hard link of a file, or a copy where the file system has no links."""
    path.unlink(missing_ok=True)  # of an interrupted run
    try:
        path.hardlink_to(source.resolve())
    except OSError:
        part = path.with_name(path.name + ".part")
        with source.open("rb") as reader, part.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            writer.flush()
            os.fsync(writer.fileno())
        part.replace(path)
    sync_folder(path.parent)


def _write_pairs(
    job: ShardJob, path: Path, pairs: Mapping[str, Pair], source: _Source | None, progress: Callable[[int], object]
) -> list[dict[str, Any]]:
    """Write the pairs of a shard in the order of their keys, and return their rows of the index."""
    rows = []
    copied = {row["key"]: row for row in job.rows if row["key"] not in pairs}
    with ShardWriter(path, job.name, job.codec) as shard:
        for key in sorted({*pairs, *copied}):
            if key in pairs:
                facts, lq, gt = _encode_pair(job, pairs[key])
            else:
                assert source is not None
                row = copied[key]
                facts = {name: row[name] for name in fact_columns(job.metrics)}
                lq, gt = source.member(row, "lq"), source.member(row, "gt")
                if job.is_recompressed(row):
                    # the old bytes are checked here, and the new ones by the writer of the shard
                    pixels = check_pair(facts, lq, gt, job.name)
                    lq, gt = (encode_png(image, profile="shard") for image in pixels)
            rows.append(shard.add(facts, lq, gt))
            progress(1)
    return rows


def _encode_pair(job: ShardJob, pair: Pair) -> tuple[dict[str, Any], bytes, bytes]:
    """Return the facts of a pair, and the files of lq and gt as they are written."""
    facts = pair_facts(pair, job.metrics)
    lq, gt = (job.images.image(image) for image in (pair.photo.image, pair.image))
    if is_made_of_reply(pair, shard_split(job.name)):
        gt = scale_reply(gt, pair.photo, pair.candidate, job.name)
    lq_pixels, gt_pixels = check_pair(facts, lq, gt, job.name)
    if job.codec == "jpeg":
        key = pair.photo.key
        return (
            facts,
            encode_jpeg(lq_pixels, comment=jpeg_comment(key, "lq")),
            encode_jpeg(gt_pixels, comment=jpeg_comment(key, "gt")),
        )
    return facts, encode_png(lq_pixels, profile="shard"), encode_png(gt_pixels, profile="shard")


def scale_reply(reply: bytes, photo: Photo, candidate: Candidate, shard: str) -> bytes:
    """Return a reply in its photograph's size, without the padding of the call. It was never aligned."""
    image = read_image(reply, f"{shard}: key {photo.key}: the reply", MAX_PIXELS).image
    wide, high, left, top, width, height = candidate.frame or (1, 1, 0, 0, 1, 1)
    x, y = image.width / wide, image.height / high
    box = (left * x, top * y, (left + width) * x, (top + height) * y)
    size = (photo.width, photo.height)
    if image.size != size or box != (0, 0, *size):
        image = image.resize(size, Image.Resampling.LANCZOS, box=box)
    return encode_png(np.asarray(image))


def file_facts(path: Path) -> dict[str, Any]:
    """Return size and SHA-256 of a file, as the manifest holds them."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
