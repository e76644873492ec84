"""What a photograph looks like: a hash of that, whether one like it is known, and whether it is a photograph at all."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import numpy.typing as npt

import ggt_format
from ggt_tools.errors import ConfigError, PairError, ShardError
from ggt_tools.imaging.degradations import opencv
from ggt_tools.records import Photo, Seen

if TYPE_CHECKING:
    from ggt_tools.workspace.ledger import Ledger

Pixels = npt.NDArray[np.uint8]
SIDE = 12  # coefficients a side: 144 bits
WORDS = 3  # of 64 bits
THUMBNAIL = 4 * SIDE  # cells a side of the thumbnail whose DCT is taken
LUMA_WEIGHTS = (299, 587, 114)  # thousandths, ITU-R BT.601
CELL_UNITS = 64  # of a grey level, in which a cell of the thumbnail is stored
DCT_UNITS = 1 << 14
NOISE_FLOOR = CELL_UNITS * DCT_UNITS**2 // 8  # an eighth of a grey level of an orthonormal coefficient
DISTANCE = 24  # bits that two hashes of the same photograph may differ in
BATCH = 64  # published images read at once


def phash(pixels: Pixels) -> str:
    """Return the perceptual hash of a photograph (uint8, height x width x 3) as 36 hexadecimal characters.

    This is Zauner's DCT hash ("Implementation and benchmarking of perceptual image hash functions", 2010) with more
    bits: luma, averaged by area to 48 x 48 cells, DCT; one bit for each of the 12 x 12 lowest coefficients: whether it
    is above their median (the mean's own coefficient does not enter the median).

    Why 144 bits, of which 24 may differ: 708 disjoint 512 x 512 windows of 43 photographs, sky and blur among them,
    make 242,086 pairs of different windows. Of these 29 differ in 44 bits or fewer, 7 in 36, 1 in 30, none in 24; of
    129 windows of 1024 px (7,968 pairs) none in 36. Two skies of one photograph differed in 16. With the usual 64 bits
    the nearest pair differs in 10; the same margin would then need a limit of 8, which misses more crops.

    Share of changed windows of 512 and 1024 px that are within 24 bits of their original: JPEG quality 60: 0.93, 0.97;
    half and double size: 1.0, 1.0; half size at quality 60: 0.92, 0.98; a fifth brighter: 0.93, 0.95, darker: 0.94,
    0.99; 1 % cropped at the left and the top: 0.96, 0.99, 2 %: 0.95, 0.97, 3 %: 0.78, 0.75. Rotated and mirrored
    copies are not found. These figures were measured with version 1 of the hash, which computed in float32; on
    photographs the two versions differ in 0 to 2 bits.

    Every step is exact integer arithmetic, so the hash depends on the pixels alone: not on the processor, nor on the
    version of a library. (The matrix products run in float64, but of integers that it holds exactly.)
    """
    height, width = pixels.shape[:2]
    luma = (pixels.astype(np.int32) @ np.array(LUMA_WEIGHTS, np.int32)).astype(np.float64)
    sums = _overlaps(height) @ luma @ _overlaps(width).T  # at most 1000 * 255 * height * width: below 2**53
    cells = sums.astype(np.int64) * CELL_UNITS // (1000 * height * width)
    basis = _dct_basis()
    low = (basis @ cells @ basis.T).ravel()
    low = (low + NOISE_FLOOR // 2) // NOISE_FLOOR  # what rounding or recompression may change counts as equal
    return np.packbits(low > int(np.sort(low[1:])[(low.size - 1) // 2])).tobytes().hex()


def _overlaps(length: int) -> npt.NDArray[np.float64]:
    """By how much each pixel of a side lies in each of its THUMBNAIL cells, in parts of 1 / THUMBNAIL pixel."""
    cell_edges = np.arange(THUMBNAIL + 1) * length
    pixel_edges = np.arange(length + 1) * THUMBNAIL
    first = np.maximum(cell_edges[:-1, None], pixel_edges[None, :-1])
    last = np.minimum(cell_edges[1:, None], pixel_edges[None, 1:])
    return np.asarray(np.maximum(last - first, 0), np.float64)


@cache
def _dct_basis() -> npt.NDArray[np.int64]:
    """The SIDE lowest vectors of the orthonormal DCT-II of THUMBNAIL points, in units of 1 / DCT_UNITS."""
    orders, points = np.arange(SIDE)[:, None], np.arange(THUMBNAIL)[None, :]
    waves = np.cos(np.pi * (2 * points + 1) * orders / (2 * THUMBNAIL)) * np.sqrt(2 / THUMBNAIL)
    waves[0] *= np.sqrt(0.5)
    return np.asarray(np.rint(waves * DCT_UNITS), np.int64)


class Looks:
    """The hashes of up to a million photographs. A query takes 0.6 ms among 100,000, 7 ms among 1,000,000 (one core;
    numpy 1 has no bitwise_count, and takes six times as long)."""

    def __init__(self) -> None:
        self._words = np.empty((WORDS, 1024), np.uint64)
        self._names: list[str] = []
        self._entries: list[tuple[str, int, bool]] = []  # key, pixels of the file, whether it may be replaced
        self._keys: dict[str, str] = {}

    def add(self, seen: Seen, name: str, *, pixels: int = 0, is_replaceable: bool = False) -> None:
        """Keeps a photograph, to be called `name` where another is like it.

        pixels: of the whole image of its file; 0 where nobody knows. is_replaceable: whether a larger one may be taken
        in its place.
        """
        count = len(self._names)
        if count == self._words.shape[1]:
            self._words = np.concatenate([self._words, np.empty_like(self._words)], axis=1)
        self._words[:, count] = _words(seen.phash)
        self._names.append(name)
        self._entries.append((seen.key, pixels, is_replaceable and pixels > 0))
        self._keys.setdefault(seen.key, name)

    def remove(self, keys: Iterable[str]) -> None:
        """Forgets photographs that were replaced."""
        for key in keys:
            place = next(at for at, (other, _, may) in enumerate(self._entries) if other == key and may)
            del self._keys[key]
            last = len(self._names) - 1
            self._words[:, place] = self._words[:, last]
            self._names[place], self._entries[place] = self._names[last], self._entries[last]
            self._names.pop()
            self._entries.pop()

    def check(self, seen: Seen, name: str, *, pixels: int = 0) -> tuple[str, ...]:
        """Raises PairError `duplicate` where the same pixels are known, `near_duplicate` where the same look is.

        Returns the keys of those that look the same, may be replaced, and have fewer than `pixels` pixels: of near
        duplicates the larger is kept.
        """
        if seen.key in self._keys:
            raise PairError("duplicate", f"{name}: the same pixels as {self._keys[seen.key]}; leave one out")
        words = _words(seen.phash)
        # the first word alone rules nearly all out
        near = np.flatnonzero(_ones(self._words[0, : len(self._names)] ^ words[0]) <= DISTANCE)
        distance = sum(_ones(self._words[at, near] ^ words[at]).astype(np.int64) for at in range(WORDS))
        if not near.size or int(np.min(distance)) > DISTANCE:
            return ()
        alike = [(int(distance[at]), int(near[at])) for at in np.flatnonzero(distance <= DISTANCE)]
        stay = [each for each in alike if not self._entries[each[1]][2] or self._entries[each[1]][1] >= pixels]
        if not stay:
            return tuple(self._entries[at][0] for _, at in alike)
        least, at = min(stay)
        said = f"{least} of {SIDE * SIDE} bits of their looks differ"
        if 0 < self._entries[at][1] < pixels:
            said += "; it is larger, but other stages know the first one already"
        raise PairError("near_duplicate", f"{name}: looks like {self._names[at]} ({said}); leave one out")


def stored_hashes(ledger: Ledger) -> list[Seen]:
    """Return the perceptual hashes that a workspace stores: of its own photographs and of published pairs.

    Those of its own photographs that are missing, because an older version took the photographs in, are computed from
    the stored images and added to the ledger first. Those of published pairs that an older version computed are empty:
    only the release they are in can give them again.

    Raises:
        ShardError: a stored image is missing or damaged.
    """
    stored = list(ledger.all(Seen))
    own = {record.key for record in stored if not record.place}
    for photo in list(ledger.all(Photo)):
        if photo.key not in own:
            pixels = ggt_format.decode_image(ledger.image(photo.image), f"{ledger.workspace}: key {photo.key}")
            stored.append(Seen(key=photo.key, phash=phash(pixels), place=""))
            ledger.add(stored[-1])
    return stored


def check_hashes(stored: Iterable[Seen], workspace: Path) -> None:
    """Raise ConfigError where the perceptual hash of a published pair is of an older version, so that it is empty."""
    if outdated := sum(not record.phash for record in stored):
        raise ConfigError(
            f"{workspace}: the perceptual hashes of {outdated} published pairs were computed by an older version of "
            "ggt100k. Give the release that holds them once more: ggt100k ingest --published RELEASE"
        )


def published(place: str, known: Container[tuple[str, str]], *, priors: bool = False) -> Iterator[Seen]:
    """The looks of each pair's LQ in a dataset folder of ours, a path or an fsspec URL, of every split; with `priors`
    of the visual priors beside them too.

    Pairs whose (key, split) is known are not read again; of the others only the bytes of their LQ are.
    Raises ConfigError where there is no dataset, ShardError where its bytes are damaged.
    """
    root = ggt_format.open_root(place)
    system, base = fsspec.core.url_to_fs(root.url, **root.storage_options)
    with ThreadPoolExecutor(thread_name_prefix="published") as pool:
        for split in root.indices if priors else root.manifest["splits"]:
            table = ggt_format.index(root.url, split, columns=["key", "shard", "lq_offset", "lq_size"])
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
                hashes = pool.map(lambda each: phash(ggt_format.decode_image(*each)), zip(data, wheres, strict=True))
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
