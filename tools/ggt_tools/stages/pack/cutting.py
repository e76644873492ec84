"""Cut pairs into new shards: which pairs are in which, and how the shards are named."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from ggt_format.png import BAND_ROWS
from ggt_format.roots import Root
from ggt_format.schema import DEGRADATIONS
from ggt_tools.records import Pair
from ggt_tools.stages.pack.facts import is_made_of_reply
from ggt_tools.stages.pack.writing import Images, ShardJob

PNG_PER_JPEG = 3  # a JPEG takes about a third of the bytes of the PNG, and only the latter are known beforehand


def new_shards(
    new: Mapping[str, Sequence[Pair]],
    base: Root | None,
    images: Images,
    metrics: Sequence[str],
    codec: str,
    shard_bytes: int,
) -> Iterator[ShardJob]:
    """Yield the shards of the pairs that come into new ones, by split; their `part` is not known yet."""
    taken_names = base.manifest["shards"] if base else {}
    max_bytes = shard_bytes * (1 if codec == "png" else PNG_PER_JPEG)
    for split, members in new.items():
        for name, pairs in cut_shards(members, split, max_bytes, images, taken_names):
            yield ShardJob(
                part=Path(),
                name=name,
                pairs={pair.photo.key: pair for pair in pairs},
                rows=(),
                approved={},
                base=None,
                images=images,
                metrics=metrics,
                codec=codec,
            )


def cut_shards(
    pairs: Sequence[Pair], split: str, max_bytes: int, images: Images, taken_names: Collection[str] = ()
) -> Iterator[tuple[str, list[Pair]]]:
    """Yield the name and the pairs of each shard: by key, one degradation a shard, up to `max_bytes` bytes of images.

    The numbers of the shards follow those in `taken_names`.
    """
    for degradation in DEGRADATIONS:
        members = sorted((p for p in pairs if p.photo.degradation == degradation), key=lambda pair: pair.photo.key)
        prefix = f"data/{degradation}/{split}-"
        numbers = (int(name[len(prefix) : -4]) for name in taken_names if name.startswith(prefix))
        number = 1 + max(numbers, default=-1)
        shard: list[Pair] = []
        shard_bytes = 0
        for pair in members:
            pair_bytes = images.image_size(pair.photo.image) + _max_gt_bytes(pair, split, images)
            if shard and shard_bytes + pair_bytes > max_bytes:
                yield f"{prefix}{number:05d}.tar", shard
                number, shard, shard_bytes = number + 1, [], 0
            shard.append(pair)
            shard_bytes += pair_bytes
        if shard:
            yield f"{prefix}{number:05d}.tar", shard


def _max_gt_bytes(pair: Pair, split: str, images: Images) -> int:
    """Return the largest number of bytes that a pair's gt may take.

    Where it is made of a reply while the shard is written, that is the size of its pixels: how well they compress is
    not known before.
    """
    if not is_made_of_reply(pair, split):
        return images.image_size(pair.image)
    pixel_bytes = pair.photo.height * (3 * pair.photo.width + 1)
    return pixel_bytes + pixel_bytes // 1000 + 100 * (pair.photo.height // BAND_ROWS + 10)
