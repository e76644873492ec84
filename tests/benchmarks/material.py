"""The data of the loaders' bench: the same pairs of real photographs for every contestant, and their checksums.

A pair is 1024 x 1024 pixels, a mosaic of four crops of the photographs that ship with the package, turned over now and
then. `lq` and `gt` are cut alike, so each pair is aligned and of real degradation.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .decoders import pillow

Pixels = npt.NDArray[np.uint8]
CODECS = ("png", "jpeg")
CLASSES = (
    "haze",
    "low_light",
    "mixed",
    "old_photo",
    "rain",
    "snow",
)  # the names only: the photographs are the sample's
WANTED = "rain"  # of the row that reads one class of the six
SIZE = 1024
TILE = SIZE // 2
FACTS = "facts.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """One pair as it lies in a shard."""

    key: str
    degradation: str
    lq: bytes
    gt: bytes


def make(folder: Path, pairs: int, codecs: Iterable[str] = CODECS) -> None:
    """Writes `{codec}/` (a dataset folder of ours), `{codec}.npy` (all pixels) and the facts of both into `folder`."""
    photographs = list(mosaics(pairs))
    facts = {codec: _make_codec(folder, codec, photographs) for codec in codecs}
    (folder / FACTS).write_text(json.dumps(facts))


def facts(folder: Path, codec: str) -> dict[str, Any]:
    """`keys` in the order of the pixels, the `digest` of all whole pairs, bytes of `all` images and of the `wanted`."""
    about: dict[str, Any] = json.loads((folder / FACTS).read_text())[codec]
    return about


def file_bytes(folder: Path, codec: str) -> int:
    """How large the files of peers' own formats are to be: about as large as our shards of the same pairs."""
    return int(facts(folder, codec)["all"] / len(CLASSES) * 1.05)


def shards(folder: Path, codec: str, degradation: str = "*") -> list[str]:
    """The tars of the dataset folder, as paths inside it."""
    root = folder / codec
    return sorted(str(path.relative_to(root)) for path in root.glob(f"data/{degradation}/*.tar"))


def stored(folder: Path, codec: str) -> Iterator[Stored]:
    """Every pair as its shard holds it, for the peers' own formats: byte for byte the same images."""
    for name in shards(folder, codec):
        yield from read_tar(folder / codec / name)


def read_tar(path: Path) -> Iterator[Stored]:
    members: dict[str, bytes] = {}
    with tarfile.open(path) as shard:
        for member in shard:
            file = shard.extractfile(member)
            assert file is not None
            key, _, kind = member.name.partition(".")
            members[kind.partition(".")[0]] = file.read()
            if len(members) == 3:
                yield Stored(key, path.parent.name, members["lq"], members["gt"])
                members = {}


def pair_digest(key: str, lq: Pixels, gt: Pixels) -> int:
    """Pairs' digests add up, so that the order does not count."""
    digest = zlib.crc32(key.encode())
    for image in (lq, gt):
        digest = zlib.crc32(np.ascontiguousarray(image).data, digest)
    return digest


def cut(lq: Pixels, gt: Pixels, top: int, left: int, size: int) -> tuple[Pixels, Pixels]:
    return lq[top : top + size, left : left + size], gt[top : top + size, left : left + size]


class Truth:
    """Holds what a contestant delivered against the pixels that were packed."""

    def __init__(self, folder: Path, codec: str) -> None:
        self._rows = {key: row for row, key in enumerate(facts(folder, codec)["keys"])}
        self._pixels = np.load(folder / f"{codec}.npy", mmap_mode="r")

    def fault(self, key: str, lq: Pixels, gt: Pixels, size: int) -> str:
        """What is wrong with the pair: "" where both are the same window, `size` pixels a side, of the right pair."""
        if key not in self._rows:
            return f"no pair has the key {key}"
        whole_lq, whole_gt = self._pixels[self._rows[key]]
        if lq.dtype != np.uint8 or lq.shape != (size, size, 3) or gt.shape != lq.shape:
            return f"{key}: {lq.dtype} {lq.shape} and {gt.shape}"
        span = SIZE - size + 1
        tops, lefts = np.nonzero(whole_lq[:span, :span, 0] == lq[0, 0, 0])
        for y, x in itertools.product((0, size // 2, size - 1), repeat=2):  # of nine pixels few places have all
            same = (whole_lq[tops + y, lefts + x] == lq[y, x]).all(axis=1)
            tops, lefts = tops[same], lefts[same]
        for top, left in zip(tops.tolist(), lefts.tolist(), strict=True):
            if all(map(np.array_equal, cut(whole_lq, whole_gt, top, left, size), (lq, gt))):
                return ""
        return f"{key}: its pixels are of no window of the pair"


def mosaics(pairs: int) -> Iterator[tuple[Pixels, Pixels]]:
    tiles = list(_tiles())
    random = np.random.default_rng(0)
    for _ in range(pairs):
        parts = []
        for number in random.choice(len(tiles), 4, replace=False):
            steps = tuple(random.choice([1, -1], 2))
            parts.append([image[:: steps[0], :: steps[1]] for image in tiles[number]])
        lq, gt = (np.block([[[p[i]], [q[i]]] for p, q in (parts[:2], parts[2:])]) for i in (0, 1))
        yield lq, gt


def _tiles() -> Iterator[tuple[Pixels, Pixels]]:
    """Crops of the sample's pairs that do not overlap."""
    import ggt100k

    for path in sorted(ggt100k.sample_folder().glob("packed/data/*/*.tar")):
        for pair in read_tar(path):
            lq, gt = pillow(pair.lq), pillow(pair.gt)
            for top in range(0, lq.shape[0] - TILE + 1, TILE):
                for left in range(0, lq.shape[1] - TILE + 1, TILE):
                    yield cut(lq, gt, top, left, TILE)


def _make_codec(folder: Path, codec: str, photographs: list[tuple[Pixels, Pixels]]) -> dict[str, Any]:
    from ggt100k import pair_key
    from ggt_format.png import encode_png
    from ggt_tools.stages.pack import PackConfig, pack
    from tests import making

    store = making.Store()
    pairs = []
    for number, (lq, gt) in enumerate(photographs):
        pair = making.make_pair(store, number, CLASSES[number % len(CLASSES)])
        key = pair_key(lq)
        photo = dataclasses.replace(
            pair.photo, key=key, image=store.put(encode_png(lq)), width=lq.shape[1], height=lq.shape[0]
        )
        image = store.put(encode_png(gt))
        candidate = dataclasses.replace(pair.candidate, key=key, image=image)
        pairs.append(dataclasses.replace(pair, photo=photo, candidate=candidate, image=image))
    pack(pairs, store, folder / codec, PackConfig(test=0, codec=codec), gate=making.GATE)
    keys: list[str] = []
    digest, sizes = 0, dict.fromkeys(CLASSES, 0)
    pixels = np.lib.format.open_memmap(
        folder / f"{codec}.npy", mode="w+", dtype=np.uint8, shape=(len(pairs), 2, SIZE, SIZE, 3)
    )
    for row, packed in enumerate(stored(folder, codec)):
        for number, data in enumerate((packed.lq, packed.gt)):
            pixels[row, number] = pillow(data)
        keys.append(packed.key)
        digest += pair_digest(packed.key, *pixels[row])
        sizes[packed.degradation] += len(packed.lq) + len(packed.gt)
    return {"keys": keys, "digest": digest, "all": sum(sizes.values()), "wanted": sizes[WANTED]}


def folder_bytes(folder: str | os.PathLike[str]) -> int:
    """The bytes of all files under a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
