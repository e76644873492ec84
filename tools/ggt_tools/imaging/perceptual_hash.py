"""Perceptual hashes of photographs, the search for near duplicates, and tests of what is not a photograph at all."""

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
from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError, ShardError
from ggt_tools.imaging.planes import opencv
from ggt_tools.records import PerceptualHash, Photo

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from ggt_tools.workspace.ledger import Ledger

SIDE = 12  # coefficients a side: 144 bits
WORDS = 3  # of 64 bits
THUMBNAIL = 4 * SIDE  # cells a side of the thumbnail whose DCT is taken
LUMA_WEIGHTS = (299, 587, 114)  # thousandths, ITU-R BT.601
CELL_UNITS = 64  # of a grey level, in which a cell of the thumbnail is stored
DCT_UNITS = 1 << 14
NOISE_FLOOR = CELL_UNITS * DCT_UNITS**2 // 8  # an eighth of a grey level of an orthonormal coefficient
DISTANCE = 24  # bits that two hashes of the same photograph may differ in
BATCH = 64  # published images read at once


def phash(pixels: Image) -> str:
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


def phash_of_whole(image: Pillow.Image) -> str:
    """Return the perceptual hash of a whole photograph of any size (an upright RGB image).

    It is reduced to less than 2048 px a side first, by whole numbers, which is exact integer arithmetic too.
    """
    return phash(np.asarray(image.reduce(max(1, max(image.size) // 1024))))


def _overlaps(length: int) -> npt.NDArray[np.float64]:
    """Return how much of each pixel of a side is in each of its THUMBNAIL cells, in units of 1 / THUMBNAIL pixel."""
    cell_edges = np.arange(THUMBNAIL + 1) * length
    pixel_edges = np.arange(length + 1) * THUMBNAIL
    first = np.maximum(cell_edges[:-1, None], pixel_edges[None, :-1])
    last = np.minimum(cell_edges[1:, None], pixel_edges[None, 1:])
    return np.asarray(np.maximum(last - first, 0), np.float64)


@cache
def _dct_basis() -> npt.NDArray[np.int64]:
    """Return the SIDE lowest vectors of the orthonormal DCT-II of THUMBNAIL points, in units of 1 / DCT_UNITS."""
    orders, points = np.arange(SIDE)[:, None], np.arange(THUMBNAIL)[None, :]
    waves = np.cos(np.pi * (2 * points + 1) * orders / (2 * THUMBNAIL)) * np.sqrt(2 / THUMBNAIL)
    waves[0] *= np.sqrt(0.5)
    return np.asarray(np.rint(waves * DCT_UNITS), np.int64)


class HashIndex:
    """The hashes of up to a million photographs.

    A query takes 0.6 ms among 100,000 photographs and 7 ms among 1,000,000 on one core; numpy 1, which has no
    bitwise_count, takes six times as long.
    """

    def __init__(self) -> None:
        self._words = np.empty((WORDS, 1024), np.uint64)
        self._names: list[str] = []
        self._entries: list[tuple[str, int, bool]] = []  # key, pixels of the file, whether it may be replaced
        self._keys: dict[str, str] = {}

    def add(
        self, seen: PerceptualHash, name: str, *, pixels: int = 0, whole: str = "", is_replaceable: bool = False
    ) -> None:
        """Add a photograph.

        Args:
            seen: Its key and hash.
            name: Its name in messages about photographs that resemble it.
            pixels: Number of pixels of the whole image of its file; 0 where that is not known.
            whole: Hash of that whole image, where the photograph is a window of it; else "".
            is_replaceable: Whether a larger near duplicate may replace it.
        """
        for bits in filter(None, (seen.phash, whole)):
            count = len(self._names)
            if count == self._words.shape[1]:
                self._words = np.concatenate([self._words, np.empty_like(self._words)], axis=1)
            self._words[:, count] = _words(bits)
            self._names.append(name)
            self._entries.append((seen.key, pixels, is_replaceable and pixels > 0))
        self._keys.setdefault(seen.key, name)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove photographs that were replaced."""
        for key in keys:
            indexes = [
                i for i, (other, _, is_replaceable) in enumerate(self._entries) if other == key and is_replaceable
            ]
            del self._keys[key]
            for index in reversed(indexes):
                last = len(self._names) - 1
                self._words[:, index] = self._words[:, last]
                self._names[index], self._entries[index] = self._names[last], self._entries[last]
                self._names.pop()
                self._entries.pop()

    def check(self, seen: PerceptualHash, name: str, *, pixels: int = 0, whole: str = "") -> tuple[str, ...]:
        """Check a new photograph against all others. Of near duplicates the larger one is kept.

        Args:
            seen: Its key and hash.
            name: Its name in messages.
            pixels: Number of pixels of the whole image of its file; 0 where that is not known.
            whole: Hash of that whole image, where the photograph is a window of it; else "".

        Returns:
            The keys of near duplicates that have fewer pixels and may be replaced.

        Raises:
            PairError: `duplicate` if a photograph has the same pixels, `near_duplicate` if one looks the same.
        """
        if seen.key in self._keys:
            raise PairError("duplicate", f"{name}: {self._keys[seen.key]} has the same pixels. Leave one of them out.")
        alike = sorted(pair for bits in filter(None, (seen.phash, whole)) for pair in self._near(bits))
        kept = [(bits, i) for bits, i in alike if not self._entries[i][2] or self._entries[i][1] >= pixels]
        if not kept:
            return tuple(dict.fromkeys(self._entries[i][0] for _, i in alike))
        bits, index = min(kept)
        detail = f"{bits} of {SIDE * SIDE} bits of their perceptual hashes differ"
        if 0 < self._entries[index][1] < pixels:
            detail += "; this file is larger, but other stages have worked on the first one already"
        raise PairError(
            "near_duplicate", f"{name}: {self._names[index]} looks the same ({detail}). Leave one of them out."
        )

    def _near(self, phash: str) -> Iterator[tuple[int, int]]:
        """Yield, of each hash that is near this one, how many bits differ, and its index."""
        words = _words(phash)
        # the first word alone excludes nearly all photographs
        near = np.flatnonzero(_count_ones(self._words[0, : len(self._names)] ^ words[0]) <= DISTANCE)
        distance = sum(_count_ones(self._words[i, near] ^ words[i]).astype(np.int64) for i in range(WORDS))
        for i in np.flatnonzero(distance <= DISTANCE):
            yield int(distance[i]), int(near[i])


def stored_hashes(ledger: Ledger) -> list[PerceptualHash]:
    """Return the perceptual hashes that a workspace stores: of its own photographs and of published pairs.

    Hashes of its own photographs are missing where an older version imported them: they are computed from the stored
    images and added to the ledger first. Hashes of published pairs that an older version computed are empty: only the
    release that holds the pairs can give them again.

    Raises:
        ShardError: A stored image is missing or damaged.
    """
    stored = list(ledger.all(PerceptualHash))
    own = {record.key for record in stored if not record.split}
    for photo in list(ledger.all(Photo)):
        if photo.key not in own:
            pixels = ggt_format.decode_image(ledger.image(photo.image), f"{ledger.workspace}: key {photo.key}")
            stored.append(PerceptualHash(key=photo.key, phash=phash(pixels), split=""))
            ledger.add(stored[-1])
    return stored


def check_hashes(stored: Iterable[PerceptualHash], workspace: Path) -> None:
    """Check that no perceptual hash of a published pair is empty, as those of older versions are.

    Raises:
        ConfigError: One is.
    """
    if outdated := sum(not record.phash for record in stored):
        raise ConfigError(
            f"{workspace}: the perceptual hashes of {outdated} published pairs were computed by an older version of "
            "ggt100k. Name the release that holds them again: ggt100k ingest --published RELEASE"
        )


def hash_published_pairs(
    release: str, hashed: Container[tuple[str, str]], *, priors: bool = False
) -> Iterator[PerceptualHash]:
    """Compute the hash of the LQ image of each pair of a release, in every split.

    Args:
        release: Folder or fsspec URL of the release.
        hashed: Pairs (key, split) that are left out because their hash is stored. For the
            others only the bytes of the LQ image are read.
        priors: Whether to compute also the hashes of visual priors.

    Raises:
        ConfigError: There is no release.
        ShardError: Its bytes are damaged.
    """
    root = ggt_format.open_root(release)
    file_system, base = fsspec.core.url_to_fs(root.url, **root.storage_options)
    with ThreadPoolExecutor(thread_name_prefix="published") as pool:
        for split in root.indices if priors else root.manifest["splits"]:
            table = ggt_format.index(root.url, split, columns=["key", "shard", "lq_offset", "lq_size"])
            new = [i for i, key in enumerate(table["key"].to_pylist()) if (key, split) not in hashed]
            for start in range(0, len(new), BATCH):
                rows = table.take(new[start : start + BATCH]).to_pylist()
                if unlisted := [row["shard"] for row in rows if row["shard"] not in root.manifest["shards"]]:
                    raise ShardError(
                        f"{release}: {unlisted[0]}: the index names this shard, and the manifest does not. Fetch the "
                        "release again."
                    )
                images = file_system.cat_ranges(
                    [f"{base}/{row['shard']}" for row in rows],
                    [row["lq_offset"] for row in rows],
                    [row["lq_offset"] + row["lq_size"] for row in rows],
                    on_error="return",
                )
                labels = [f"{release}: {row['shard']}: key {row['key']}" for row in rows]
                for label, image in zip(labels, images, strict=True):
                    if isinstance(image, BaseException):
                        detail = f"{type(image).__name__}: {image}"
                        raise ShardError(
                            f"{label}: the image cannot be read: {detail}. Fetch the release again."
                        ) from image
                hashes = pool.map(
                    lambda item: phash(ggt_format.decode_image(*item)),
                    zip(images, (f"{label}: lq" for label in labels), strict=True),
                )
                for row, image_hash in zip(rows, hashes, strict=True):
                    yield PerceptualHash(key=row["key"], phash=image_hash, split=split)


def is_flat(pixels: Image) -> bool:
    """Return whether a photograph (uint8, height x width x 3) shows almost nothing.

    It does if its luma spans fewer than 12 levels, without the outermost thousandth on both sides. It also does if, at
    a quarter of its size, where noise hardly counts, fewer than one pixel in a thousand differs by 3 levels from its
    surroundings (a Gaussian of 4 pixels). A wall, blue sky and a covered lens are flat. A night with some lamps is not,
    nor is fog that leaves a tenth of a tree's contrast. The limits are our own.
    """
    cv2 = opencv()
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey, (0.1, 99.9))
    small = cv2.resize(grey.astype(np.float32), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    detail = np.abs(small - cv2.GaussianBlur(small, (0, 0), 4.0))
    return bool(high - low < 12 or np.quantile(detail, 0.999) < 3.0)


def is_screenshot(pixels: Image) -> bool:
    """Return whether a computer drew a picture (uint8, height x width x 3, at least 8 px a side): a page or a chart.

    A drawing fulfils three conditions. Half of its pixels equal their right and lower neighbours. Of the others at
    least 55 % have one of 16 colours. And it has hard steps, of 32 levels from one pixel to the next, as drawings have
    them: either they are at least 0.8 % of the pixels, and a fifth of them begin or end in a run of three equal pixels,
    which lens, noise and JPEG all prevent; or they are at least 15 % of the pixels, as in text, even in a JPEG. Black
    nights and clipped skies have equal neighbours too, but few and soft steps, and many colours elsewhere. A chart in a
    JPEG is not found. The limits are our own.
    """
    wide = pixels.astype(np.int16)
    across, down = np.abs(np.diff(wide, axis=1)).max(axis=2), np.abs(np.diff(wide, axis=0)).max(axis=2)
    is_even = (across[:-1] == 0) & (down[:, :-1] == 0)
    if np.mean(is_even) < 0.5:
        return False
    step_count = clean_count = 0
    for change in (across, down.T):
        is_step, is_equal = change[:, 2:-2] >= 32, change == 0
        step_count += int(is_step.sum())
        after_run, before_run = is_equal[:, 1:-3] & is_equal[:, :-4], is_equal[:, 3:-1] & is_equal[:, 4:]
        clean_count += int((is_step & (after_run | before_run)).sum())
    share = step_count / across.size
    if share < 0.008 or (share < 0.15 and clean_count < 0.2 * step_count):
        return False
    colours = pixels[:-1, :-1][~is_even].astype(np.int32) @ (1 << 16, 1 << 8, 1)
    most_frequent = np.sort(np.unique(colours, return_counts=True)[1])[-16:]
    return bool(most_frequent.sum() >= 0.55 * colours.size)


def _words(phash: str) -> npt.NDArray[np.uint64]:
    """Return a hash as words; the last one is filled up with zeros."""
    return np.frombuffer(bytes.fromhex(phash).ljust(WORDS * 8, b"\0"), np.uint64)


def _count_ones(words: npt.NDArray[np.uint64]) -> Any:
    """Return the number of set bits of each word."""
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(words)
    return _BIT_COUNTS[np.ascontiguousarray(words).view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.uint8)


_BIT_COUNTS = np.array([number.bit_count() for number in range(1 << 16)], np.uint8)  # for numpy 1
