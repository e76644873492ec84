"""pack: pairs in, a dataset folder out: shards, index, README, and last of all the manifest.

The folder is built beside its place, as NAME.part, and moved there when it is whole. A shard that an interrupted run
has finished is kept. Equal pairs give equal bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ggt100k import (
    CODECS,
    DEGRADATIONS,
    FORMAT_VERSION,
    MANIFEST,
    METRIC,
    SPLITS,
    decode_image,
    index_schema,
)
from ggt_tools.card import card
from ggt_tools.errors import ConfigError
from ggt_tools.jpeg import encode_jpeg
from ggt_tools.ledger import sync_folder, write_whole
from ggt_tools.records import Pair, Stage
from ggt_tools.shard import ShardWriter, check_pair

SHARD_BYTES = 500_000_000
ROW_GROUP = 256  # rows of the index that are read, pruned and streamed as one


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """`test` is the share of the pairs that the test split gets; the key decides, so a pair stays in its split.

    `codec` is "png", which keeps every pixel, or "jpeg", the light flavour, a third of the size.
    """

    version: str = "1.0.0"
    test: float = 0.005
    shard_bytes: int = SHARD_BYTES
    codec: str = "png"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.version):
            raise ConfigError(f"--version {self.version}: a version is three numbers, e.g. 1.1.0")
        if not 0 <= self.test < 1:
            raise ConfigError(f"--test {self.test}: a share lies between 0 and 1")
        if self.codec not in CODECS:
            raise ConfigError(f"--codec {self.codec}: is none of {', '.join(CODECS)}")
        if self.shard_bytes < 1:
            raise ConfigError(f"--shard-bytes {self.shard_bytes}: must be 1 or more")


class Images(Protocol):
    """Where the images' files are: by name their bytes, and how many they are."""

    def image(self, name: str) -> bytes: ...
    def image_size(self, name: str) -> int: ...


def split_of(key: str, test: float) -> str:
    """The split of a pair. Its key alone decides, so that it is the same in every version."""
    return "test" if int(key, 16) < test * 2**64 else "train"


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


def pack(
    pairs: Iterable[Pair],
    images: Images,
    out: Path,
    config: PackConfig,
    *,
    gate: str,
    funnel: Sequence[Stage] = (),
    progress: Callable[[int], object] = lambda done: None,
) -> dict[str, Any]:
    """Writes the dataset folder `out` and returns its manifest.

    `images` gives an image's file by the name that the records use (a Ledger does), `gate` is the text of the policy
    that chose the pairs, `progress` is told how many pairs were added. Raises ConfigError, PairError and ShardError;
    `out` stays as it was then.
    """
    chosen = sorted(pairs, key=lambda pair: (pair.photo.degradation, pair.photo.key))
    if not chosen:
        raise ConfigError(
            f"{out}: the gate keeps no pair, so there is nothing to pack; see why: ggt100k verdict WORKSPACE"
        )
    metrics = sorted({score.metric for pair in chosen for score in pair.scores})
    wrong = [name for name in metrics if not METRIC.fullmatch(name)]
    if wrong:
        raise ConfigError(f"{out}: metric {wrong[0]!r} is no column's name; a name is of a-z, 0-9 and _")
    out = check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"), timeout=0)
    try:
        with lock:
            try:
                manifest = _pack(chosen, metrics, images, out, config, gate, funnel, progress)
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout as busy:
        raise ConfigError(f"{out}: another pack is writing it; wait for its end") from busy
    return manifest


def check_place(out: Path) -> Path:
    """Where the folder `out` is to stand, links followed. Raises ConfigError where something else stands there."""
    out = out.resolve()
    killed = (_part(out) / "plan").is_file() or _old(out).is_dir()  # a run, as it moved the new folder in
    ours = killed or (out / MANIFEST).is_file()
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file; name a folder")
    if out.is_dir() and not ours and any(out.iterdir()):
        raise ConfigError(f"{out}: is no dataset folder and not empty; name another one")
    return out


def _part(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _old(out: Path) -> Path:
    return out.with_name(out.name + ".old")


def _pack(
    chosen: Sequence[Pair],
    metrics: Sequence[str],
    images: Images,
    out: Path,
    config: PackConfig,
    gate: str,
    funnel: Sequence[Stage],
    progress: Callable[[int], object],
) -> dict[str, Any]:
    part = _part(out)
    _begin(part, chosen, config, gate)
    splits: dict[str, Any] = {}
    shards: dict[str, Any] = {}
    for split in SPLITS:
        here = [pair for pair in chosen if split_of(pair.photo.key, config.test) == split]
        if not here:
            continue
        rows: list[dict[str, Any]] = []
        # a JPEG takes about a third of the PNG's bytes, which are those that are known before
        most = config.shard_bytes * (1 if config.codec == "png" else 3)
        for name, members in _plan(here, split, most, images):
            added = _shard(part, name, members, metrics, images, config.codec)
            rows += added
            shards[name] = _file_facts(part / name) | {"pairs": len(added)}
            progress(len(added))
        path = part / "index" / f"{split}.parquet"
        _write_index(path, rows, metrics)
        counts = {name: sum(row["degradation"] == name for row in rows) for name in DEGRADATIONS}
        splits[split] = {
            "pairs": len(rows),
            "degradations": {name: count for name, count in counts.items() if count},
            "index": _file_facts(path),
        }
    manifest = {
        "format_version": FORMAT_VERSION,
        "dataset_version": config.version,
        "codec": config.codec,
        "metrics": metrics,
        "splits": splits,
        "shards": shards,
        "gate": gate,
        "funnel": [dataclasses.asdict(stage) for stage in funnel],
    }
    write_whole(part / "README.md", card(manifest).encode())
    write_whole(part / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    _put_in_place(part, out)
    return manifest


def _begin(part: Path, pairs: Sequence[Pair], config: PackConfig, gate: str) -> None:
    """Leaves in `part` what an interrupted run of this very plan has finished, and nothing else."""
    about = json.dumps([FORMAT_VERSION, dataclasses.asdict(config), gate, [dataclasses.asdict(p) for p in pairs]])
    plan = hashlib.sha256(about.encode()).hexdigest()
    note = part / "plan"
    if part.exists() and not (note.is_file() and note.read_text() == plan):
        shutil.rmtree(part)
    part.mkdir(parents=True, exist_ok=True)
    (part / "index").mkdir(exist_ok=True)
    write_whole(note, plan.encode())


def _plan(pairs: Sequence[Pair], split: str, most: int, images: Images) -> Iterator[tuple[str, list[Pair]]]:
    """Which pairs go into which shard: in order, one degradation a shard, up to `most` bytes of images."""
    count: dict[str, int] = {}
    shard: list[Pair] = []
    size = 0
    for pair in pairs:
        more = sum(images.image_size(name) for name in (pair.photo.image, pair.image))
        if shard and (size + more > most or pair.photo.degradation != shard[0].photo.degradation):
            yield _shard_name(shard, split, count), shard
            shard, size = [], 0
        shard.append(pair)
        size += more
    if shard:
        yield _shard_name(shard, split, count), shard


def _shard_name(shard: Sequence[Pair], split: str, count: dict[str, int]) -> str:
    degradation = shard[0].photo.degradation
    number = count.get(degradation, 0)
    count[degradation] = number + 1
    return f"data/{degradation}/{split}-{number:05d}.tar"


def _shard(
    part: Path, name: str, pairs: Sequence[Pair], metrics: Sequence[str], images: Images, codec: str
) -> list[dict[str, Any]]:
    """Writes a shard and its rows of the index; where an interrupted run has written both, reads the rows."""
    path = part / name
    path.parent.mkdir(parents=True, exist_ok=True)
    note = path.with_suffix(".rows")
    rows: list[dict[str, Any]] = []
    if path.exists() and note.exists():
        rows = json.loads(note.read_bytes())
        return rows
    with ShardWriter(path, name, codec) as shard:
        for pair in pairs:
            facts = pair_facts(pair, metrics)
            lq, gt = (images.image(image) for image in (pair.photo.image, pair.image))
            if codec == "jpeg":
                check_pair(facts, lq, gt, name)
                lq, gt = (encode_jpeg(decode_image(data, name)) for data in (lq, gt))
            rows.append(shard.add(facts, lq, gt))
    write_whole(note, json.dumps(rows).encode())
    return rows


def _write_index(path: Path, rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> None:
    """The index of a split. A row group holds one degradation, so that its statistics prune a filter on it."""
    schema = index_schema(metrics)
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for degradation in sorted({row["degradation"] for row in rows}):
            group = [row for row in rows if row["degradation"] == degradation]
            for start in range(0, len(group), ROW_GROUP):
                writer.write_table(pa.Table.from_pylist(group[start : start + ROW_GROUP], schema=schema))
    write_whole(path, buffer.getvalue())


def _file_facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _put_in_place(part: Path, out: Path) -> None:
    """Moves what is finished to its place, the index with the manifest last; what else lies there stays.

    While the old is taken away and the new put there, the folder has no manifest: it is absent, never half.
    """
    old = _old(out)
    if old.exists():
        shutil.rmtree(old)
    old.mkdir()
    out.mkdir(exist_ok=True)
    for name in ("index", "data", "README.md"):
        if (out / name).exists():
            (out / name).rename(old / name)
    sync_folder(out)
    for note in part.glob("data/*/*.rows"):
        note.unlink()
    for name in ("data", "README.md", "index"):
        (part / name).rename(out / name)
        sync_folder(out)
    shutil.rmtree(part)
    shutil.rmtree(old)
