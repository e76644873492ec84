"""Preference shards: the candidates of a photograph that were kept and rejected, with all that speaks for and against.

They are for reward models and preference optimisation, and no part of train or test. A photograph is among them if the
gate rejected one of its candidates, unless it was withdrawn, its licence or set forbids to pass it on, or it is in the
test split or looks like a photograph there. Reviewers are counted, not named.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import tarfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ggt_format.images import decode_image
from ggt_format.jpeg import encode_jpeg
from ggt_format.png import encode_png
from ggt_format.preferences import (
    by_photograph,
    candidate_columns,
    photo_facts,
    preference_members,
    preference_schema,
)
from ggt_format.schema import DEGRADATIONS, METRIC, PREFERENCE, PREFERENCE_INDEX, Image
from ggt_format.shard import encode_json, jpeg_comment, member_header
from ggt_tools.errors import ShardError
from ggt_tools.stages.pack.judged import JudgedCandidate, JudgedPhoto
from ggt_tools.stages.pack.writing import Images, file_facts, scale_reply
from ggt_tools.workspace.ledger import sync_folder, write_whole

ROW_GROUP = 256  # rows of the index


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceJob:
    """What a preference shard is to hold.

    Attributes:
        part: Folder in which the release is built.
        name: Name of the shard in the release.
        photos: Its photographs.
        images: Where the images are.
        metrics: Metrics that have a column.
        codec: Format of the images.
    """

    part: Path
    name: str
    photos: Sequence[JudgedPhoto]
    images: Images
    metrics: Sequence[str]
    codec: str

    @property
    def note_path(self) -> Path:
        """File that says that it is done: a line with the SHA-256 of the rest, which is JSON."""
        return self.part / "done" / self.name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPreferences:
    """A preference shard that is done: its name, its rows of the index, and the manifest's facts of it."""

    name: str
    rows: Sequence[Mapping[str, Any]]
    facts: Mapping[str, Any]


def preference_metrics(photos: Sequence[JudgedPhoto]) -> list[str]:
    """Return the names of the metrics that a candidate has and that can name a column, sorted."""
    names = {name for photo in photos for each in photo.candidates for name in each.scores}
    return sorted(name for name in names if METRIC.fullmatch(name))


def plan_preferences(
    photos: Collection[JudgedPhoto], images: Images, codec: str, shard_bytes: int
) -> list[PreferenceJob]:
    """Return the preference shards: by key, one degradation a shard. Their `part` is not known yet."""
    metrics = preference_metrics(list(photos))
    jobs = []
    for degradation in DEGRADATIONS:
        members = sorted((p for p in photos if p.photo.degradation == degradation), key=lambda p: p.photo.key)
        shards: list[list[JudgedPhoto]] = []
        size = shard_bytes
        for photo in members:
            names = [photo.photo.image, *(each.image for each in photo.candidates)]
            photo_bytes = sum(map(images.image_size, names))
            if not shards or size + photo_bytes > shard_bytes:
                shards.append([])
                size = 0
            shards[-1].append(photo)
            size += photo_bytes
        for number, shard in enumerate(shards):
            name = f"data/{degradation}/{PREFERENCE}-{number:05d}.tar"
            jobs.append(
                PreferenceJob(part=Path(), name=name, photos=shard, images=images, metrics=metrics, codec=codec)
            )
    return jobs


def write_preferences(job: PreferenceJob, progress: Callable[[int], object]) -> WrittenPreferences:
    """Write a preference shard. One that an interrupted run has finished stays, if its bytes are still right.

    Args:
        job: What it is to hold.
        progress: Called with the number of photographs that were done since the last call.

    Raises:
        ShardError: The file of an image is damaged.
    """
    path = job.part / job.name
    finished = _read_note(job)
    if finished is not None and path.is_file() and file_facts(path).items() <= finished.facts.items():
        progress(len(job.photos))
        return finished
    for folder in (path.parent, job.note_path.parent):
        folder.mkdir(parents=True, exist_ok=True)
    part_path = path.with_name(path.name + ".part")
    rows: list[dict[str, Any]] = []
    with part_path.open("wb") as file:
        for photo in job.photos:
            rows += _write_photo(job, photo, file)
            progress(1)
        size = file.tell() + 2 * tarfile.BLOCKSIZE
        file.write(bytes(2 * tarfile.BLOCKSIZE - size % -tarfile.RECORDSIZE))
    part_path.replace(path)
    sync_folder(path.parent)
    facts = file_facts(path) | {"photographs": len(job.photos), "candidates": len(rows)}
    body = json.dumps({"rows": rows, "about": facts}).encode()
    write_whole(job.note_path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return WrittenPreferences(name=job.name, rows=rows, facts=facts)


def _read_note(job: PreferenceJob) -> WrittenPreferences | None:
    if not job.note_path.is_file():
        return None
    digest, _, body = job.note_path.read_bytes().partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    written = json.loads(body)
    return WrittenPreferences(name=job.name, rows=written["rows"], facts=written["about"])


def _write_photo(job: PreferenceJob, photo: JudgedPhoto, file: Any) -> list[dict[str, Any]]:
    """Write the members of a photograph, and return its rows of the index."""
    key = photo.photo.key
    names = preference_members(job.codec, len(photo.candidates))
    pixels = [decode_image(job.images.image(photo.photo.image), f"{job.name}: key {key}: lq")]
    pixels += [_candidate_pixels(job, photo, each) for each in photo.candidates]
    images = [_encode(each, job.codec, key, name) for each, name in zip(pixels, names[1:], strict=True)]
    rows = [_row(photo, each, rank, job.metrics) for rank, each in enumerate(photo.candidates)]
    members = dict(zip(names, [encode_json(photo_facts(rows, job.metrics)), *images], strict=True))
    places = {}
    for name, data in members.items():
        file.write(member_header(f"{key}.{name}", len(data)))
        places[name] = {"offset": file.tell(), "size": len(data)}
        file.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
    for row, image in zip(rows, names[2:], strict=True):
        of_members = {"json": places[names[0]], "lq": places[names[1]], "image": places[image]}
        row["shard"] = job.name
        row |= {f"{name}_{part}": value for name, place in of_members.items() for part, value in place.items()}
    return rows


def _candidate_pixels(job: PreferenceJob, photo: JudgedPhoto, judged: JudgedCandidate) -> Image:
    """Return the pixels of a candidate in the size of its photograph."""
    where = f"{job.name}: key {photo.photo.key}: candidate {judged.candidate.id}"
    data = job.images.image(judged.image)
    if not judged.is_aligned:
        data = scale_reply(data, photo.photo, judged.candidate, job.name)
    pixels = decode_image(data, where)
    height, width = pixels.shape[:2]
    if (height, width) != (photo.photo.height, photo.photo.width):
        raise ShardError(
            f"{where}: the stored image is {width} x {height} pixels, its photograph {photo.photo.width} x "
            f"{photo.photo.height}. The workspace is inconsistent: pack without --preferences, or restore the "
            "workspace from a backup."
        )
    return pixels


def _encode(pixels: Image, codec: str, key: str, member: str) -> bytes:
    if codec == "jpeg":
        return encode_jpeg(pixels, comment=jpeg_comment(key, member.partition(".")[0]))
    return encode_png(np.ascontiguousarray(pixels), profile="shard")


def _row(photo: JudgedPhoto, judged: JudgedCandidate, rank: int, metrics: Sequence[str]) -> dict[str, Any]:
    """Return the facts of a candidate and its photograph, as the index and the JSON member hold them."""
    about, candidate, verdict = photo.photo, judged.candidate, judged.verdict
    row = {
        "key": about.key,
        "degradation": about.degradation,
        "degradations": list(about.degradations),
        "source": about.source,
        "source_name": about.source_name,
        "licence": about.licence,
        "author": about.author,
        "url": about.url,
        "width": about.width,
        "height": about.height,
        "candidate": candidate.id,
        "rank": rank,
        "restorer": candidate.restorer,
        "strategy": candidate.strategy,
        "prompt": candidate.prompt,
        "round": candidate.round,
        "created": candidate.created,
        "decision": verdict.decision,
        "stage": verdict.stage,
        "reason": verdict.reason,
        "evidence": list(map(str, verdict.evidence)),
        "is_aligned": judged.is_aligned,
        "scores": {name: _single(judged.scores.get(name, math.nan)) for name in metrics},
        "votes_keep": judged.votes.keep,
        "votes_reject": judged.votes.reject,
        "votes_unsure": judged.votes.unsure,
        "preferred": judged.preferred,
        "compared": judged.compared,
        "opinions": [
            {
                "model": opinion.model,
                "version": opinion.version,
                "order": opinion.order,
                "fidelity": _single(opinion.fidelity),
                "quality": _single(opinion.quality),
                "mode": opinion.mode,
                "redo": bool(opinion.redo),
                "instruction": opinion.instruction,
                "defects": list(opinion.defects),
            }
            for opinion in judged.opinions
        ],
    }
    assert candidate_columns(metrics) == list(row)[list(row).index("candidate") :]
    return row


def _single(value: float) -> float:
    """Return a value rounded to float32, so that JSON and index have the same."""
    return float(np.float32(value))


def write_preference_index(part: Path, shards: Sequence[WrittenPreferences], metrics: Sequence[str]) -> dict[str, Any]:
    """Write the index of the preference shards, and return what the manifest says of them."""
    schema = preference_schema(metrics)
    rows = sorted(
        (row for shard in shards for row in shard.rows), key=lambda r: (r["degradation"], r["key"], r["rank"])
    )
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for start in range(0, len(rows), ROW_GROUP):
            writer.write_table(pa.Table.from_pylist(rows[start : start + ROW_GROUP], schema=schema))
    path = part / PREFERENCE_INDEX
    write_whole(path, buffer.getvalue())
    return {
        "photographs": sum(1 for _ in by_photograph(rows)),
        "candidates": len(rows),
        "metrics": list(metrics),
        "index": file_facts(path),
        "shards": {shard.name: dict(shard.facts) for shard in shards},
    }
