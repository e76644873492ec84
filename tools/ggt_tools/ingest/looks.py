"""What a photograph looks like: a hash of that, whether one like it is known, and whether it is a photograph at all."""

from __future__ import annotations

from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt

import ggt100k
from ggt_tools.degradations import opencv
from ggt_tools.errors import PairError, ShardError
from ggt_tools.records import Seen

Pixels = npt.NDArray[np.uint8]
SIDE = 12  # coefficients a side: 144 bits
WORDS = 3  # of 64 bits
DISTANCE = 24  # bits that two hashes of the same photograph may differ in
BATCH = 64  # published images read at once


def phash(pixels: Pixels) -> str:
    """The perceptual hash of a photograph (uint8, height x width x 3), 36 hex characters.

    Zauner's DCT hash ("Implementation and benchmarking of perceptual image hash functions", 2010) with more bits: grey,
    brought to 48 x 48 by area, DCT; a bit for each of its 12 x 12 lowest coefficients, whether it is above their median
    (without the mean's).

    Why 144 bits and 24 of them. Of 708 disjoint 512 x 512 windows of 43 photographs, sky and blur among them, 242,086
    couples of different ones: 29 are within 44 bits, 7 within 36, 1 within 30, none within 24; of 129 windows of 1024,
    7,968 couples, none within 36. Two skies of one photograph came to 16. With the usual 64 bits the nearest are 10
    apart; for the same margin one would ask for 8, and find less of what is cut.
    Found within 24, of windows of 512 and of 1024: JPEG quality 60: 0.93, 0.97; half and double size 1.0, 1.0; half
    size at quality 60: 0.92, 0.98; brighter by a fifth 0.93, 0.95, darker 0.94, 0.99; cut at the left and the top by
    1 %: 0.96, 0.99, by 2 %: 0.95, 0.97, by 3 %: 0.78, 0.75. Not found: turned and mirrored ones, another window.
    """
    cv2 = opencv()
    size = SIDE * 4
    grey = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), (size, size), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:SIDE, :SIDE].ravel()
    return np.packbits(low > np.median(low[1:])).tobytes().hex()


class Looks:
    """The hashes of up to a million photographs. A query takes 0.6 ms among 100,000, 7 ms among 1,000,000 (one core;
    numpy 1 has no bitwise_count, and takes six times as long)."""

    def __init__(self) -> None:
        self._words = np.empty((WORDS, 1024), np.uint64)
        self._names: list[str] = []
        self._keys: dict[str, str] = {}

    def add(self, seen: Seen, name: str) -> None:
        """Keeps a photograph, to be called `name` where another is like it."""
        count = len(self._names)
        if count == self._words.shape[1]:
            self._words = np.concatenate([self._words, np.empty_like(self._words)], axis=1)
        self._words[:, count] = _words(seen.phash)
        self._names.append(name)
        self._keys.setdefault(seen.key, name)

    def check(self, seen: Seen, name: str) -> None:
        """Raises PairError `duplicate` where the same pixels are known, `near_duplicate` where the same look is."""
        if seen.key in self._keys:
            raise PairError("duplicate", f"{name}: the same pixels as {self._keys[seen.key]}; leave one out")
        words = _words(seen.phash)
        # the first word alone rules nearly all out
        near = np.flatnonzero(_ones(self._words[0, : len(self._names)] ^ words[0]) <= DISTANCE)
        distance = sum(_ones(self._words[at, near] ^ words[at]).astype(np.int64) for at in range(WORDS))
        if near.size and (least := int(np.min(distance))) <= DISTANCE:
            other = self._names[near[int(np.argmin(distance))]]
            said = f"{least} of {SIDE * SIDE} bits of their looks differ"
            raise PairError("near_duplicate", f"{name}: looks like {other} ({said}); leave one out")


def published(place: str, known: Container[tuple[str, str]], *, priors: bool = False) -> Iterator[Seen]:
    """The looks of each pair's LQ in a dataset folder of ours, a path or an fsspec URL, of every split; with `priors`
    of the visual priors beside them too.

    Pairs whose (key, split) is known are not read again; of the others only the bytes of their LQ are.
    Raises ConfigError where there is no dataset, ShardError where its bytes are damaged.
    """
    root = ggt100k.open_root(place)
    system, base = fsspec.core.url_to_fs(root.url, **root.storage_options)
    with ThreadPoolExecutor(thread_name_prefix="published") as pool:
        for split in root.indices if priors else root.manifest["splits"]:
            table = ggt100k.index(root.url, split, columns=["key", "shard", "lq_offset", "lq_size"])
            new = [at for at, key in enumerate(table["key"].to_pylist()) if (key, split) not in known]
            for start in range(0, len(new), BATCH):
                rows = table.take(new[start : start + BATCH]).to_pylist()
                if odd := [row["shard"] for row in rows if row["shard"] not in root.manifest["shards"]]:
                    raise ShardError(f"{place}: the index names {odd[0]!r}, the manifest does not; fetch it again")
                data = system.cat_ranges(
                    [f"{base}/{row['shard']}" for row in rows],
                    [row["lq_offset"] for row in rows],
                    [row["lq_offset"] + row["lq_size"] for row in rows],
                    on_error="return",
                )
                for row, one in zip(rows, data, strict=True):
                    if isinstance(one, BaseException):
                        said = f"{type(one).__name__}: {one}"
                        raise ShardError(f"{place}: {row['shard']}: key {row['key']}: {said}; fetch it again") from one
                wheres = [f"{place}: {row['shard']}: key {row['key']}: lq" for row in rows]
                hashes = pool.map(lambda each: phash(ggt100k.decode_image(*each)), zip(data, wheres, strict=True))
                for row, looks in zip(rows, hashes, strict=True):
                    yield Seen(key=row["key"], phash=looks, place=split)


def is_flat(pixels: Pixels) -> bool:
    """Whether a photograph (uint8, height x width x 3) shows next to nothing.

    Either its luma spans fewer than 12 levels, the outermost thousandth left out on both sides; or, at a quarter of its
    size, where noise hardly counts, fewer than one pixel in a thousand differs by 3 levels from its surroundings
    (a Gaussian of 4 pixels). A night with some lamps is not flat, nor is fog that leaves
    a tenth of a tree's contrast; a wall is, and blue
    sky, and a photograph with the lens cap on. The limits are ours.
    """
    cv2 = opencv()
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey, (0.1, 99.9))
    small = cv2.resize(grey.astype(np.float32), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    detail = np.abs(small - cv2.GaussianBlur(small, (0, 0), 4.0))
    return bool(high - low < 12 or np.quantile(detail, 0.999) < 3.0)


def is_screenshot(pixels: Pixels) -> bool:
    """Whether a picture (uint8, height x width x 3, at least 8 px a side) was drawn by a computer: a page, a chart.

    Half of its pixels equal their right and lower neighbours; of the others more than 55 in a hundred have one of 16
    colours; and it has hard steps (32 levels from a pixel to the next) in the way of drawings: either a fifth of them,
    and they are no fewer than 8 in a thousand pixels, rise straight from or end in a run of three equal pixels, which
    lens, noise and JPEG all prevent; or they are no fewer than 15 in a hundred pixels, as in text, even in a JPEG.
    Black nights and blown skies are even, but have few steps, and soft ones; what is not even in them has many colours.
    A chart in a JPEG passes. The limits are ours.
    """
    wide = pixels.astype(np.int16)
    across, down = np.abs(np.diff(wide, axis=1)).max(axis=2), np.abs(np.diff(wide, axis=0)).max(axis=2)
    even = (across[:-1] == 0) & (down[:, :-1] == 0)
    if np.mean(even) < 0.5:
        return False
    steps = clean = 0
    for change in (across, down.T):
        step, same = change[:, 2:-2] >= 32, change == 0
        steps += int(step.sum())
        clean += int((step & (same[:, 1:-3] & same[:, :-4] | same[:, 3:-1] & same[:, 4:])).sum())
    share = steps / across.size
    if share < 0.008 or (share < 0.15 and clean < 0.2 * steps):
        return False
    rest = pixels[:-1, :-1][~even].astype(np.int32) @ (1 << 16, 1 << 8, 1)
    often = np.sort(np.unique(rest, return_counts=True)[1])[-16:]
    return bool(often.sum() >= 0.55 * rest.size)


def _words(phash: str) -> npt.NDArray[np.uint64]:
    """A hash as words; the last one is filled up with zeros."""
    return np.frombuffer(bytes.fromhex(phash).ljust(WORDS * 8, b"\0"), np.uint64)


def _ones(words: npt.NDArray[np.uint64]) -> Any:
    """How many bits of each word are set."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    return _ONES[np.ascontiguousarray(words).view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.uint8)


_ONES = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)  # for numpy 1
