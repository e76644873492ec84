"""ggt-100k: pairs of real low-quality photographs (`lq`) and their generative ground truth (`gt`).

    import ggt100k                              # opens the name "ggt-100k" to datasets
    from datasets import load_dataset

    pairs = load_dataset("ggt-100k", "sample", split="train")
    pairs[0]["lq"], pairs[0]["gt"]              # two PIL images of one size

The file in order: errors, schema, banded images, where the bytes lie, index, PairDataset, builder, the doors.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import inspect
import io
import itertools
import json
import logging
import mmap
import multiprocessing.context
import operator
import os
import re
import struct
import sys
import tempfile
import threading
import time
import warnings
import weakref
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

import datasets
import datasets.inspect
import datasets.load
import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
from datasets.builder import Key
from PIL import Image

deflate: Any
try:
    import deflate
except ImportError:  # no wheel for this machine: slower, the same pixels
    deflate = None
try:
    import simplejpeg  # type: ignore[import-untyped,unused-ignore]
except ImportError:  # an extra for the light flavour: without it Pillow decodes, slower, the same pixels
    simplejpeg = None

T = TypeVar("T")
U = TypeVar("U")

__version__ = "0.1.0"

NAME = "ggt-100k"
REPO_ID = "ggt-100k/ggt-100k"  # maintainers set it to their organisation's repository
FORMAT_VERSION = 1
_patched_for_streaming = True  # else datasets replaces open, os and Path in this module by its own, at the first stream
BLOCK_PAIRS = 16  # what a stream hands out, splits among workers and resumes at: no more than a batch is read twice
SPLITS = ("train", "test")
PRIOR = "prior"  # beside the splits: outputs out of their frames, which are no ground truth; read where they are named
SOURCES = ("dataset", "internet", "captured")
CODECS = {"png": "png", "jpeg": "jpg"}  # the manifest's word: the end of the members' names
DEGRADATIONS = (
    *("mixed", "rain", "haze", "snow", "low_light", "old_photo"),
    *("raindrop", "underwater", "reflection", "shadow", "motion_blur", "defocus_blur"),  # of adopted sets
)


# --- errors ---------------------------------------------------------------------------------------------------------


class GGTError(Exception):
    """What goes wrong here. The message names the file or shard, the key, the fault and the mend."""


class ConfigError(GGTError):
    """Stop before any work: the input or the set-up is wrong."""


class ShardError(GGTError):
    """This shard is not to be trusted."""


# --- schema ---------------------------------------------------------------------------------------------------------

MANIFEST = "index/manifest.json"
KEY = re.compile(r"[0-9a-f]{16}")
SHARD = re.compile(rf"data/(?:{'|'.join(DEGRADATIONS)})/(?:{'|'.join((*SPLITS, PRIOR))})-[0-9]{{5,9}}\.tar")
VERSION = re.compile(r"\d+\.\d+\.\d+")
METRIC = re.compile(r"[a-z0-9_]+")


def pair_key(lq: npt.NDArray[np.uint8]) -> str:
    """The key of a pair: 16 hex characters, the start of the SHA-256 of `lq`'s pixels (uint8, height x width x 3)."""
    return hashlib.sha256(np.ascontiguousarray(lq).data).hexdigest()[:16]


def index_schema(metrics: Sequence[str]) -> pa.Schema:
    """The columns of `index/{split}.parquet`, a row a pair.

    The facts stand first, as they stand in the pair's JSON too; from `shard` on it is where the bytes lie. Offsets
    count from the start of the shard, `*_bands` from the start of the image: where each band's IDAT chunk begins, and
    where the last one ends; empty for an image that is not banded.
    """
    texts = pa.list_(pa.string())
    facts = {
        "key": pa.string(),
        "degradation": pa.string(),
        "degradations": texts,  # all that were seen
        "source": pa.string(),
        "source_name": pa.string(),
        "licence": pa.string(),
        "author": pa.string(),
        "url": pa.string(),
        "restorer": pa.string(),
        "strategy": pa.string(),
        "prompt": pa.string(),
        "round": pa.int32(),
        "created": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "scores": pa.struct([pa.field(name, pa.float32()) for name in metrics]),  # NaN where not measured
        "evidence": texts,
    }
    places = {"shard": pa.string()}
    for member in ("json", "lq", "gt"):
        places |= {f"{member}_offset": pa.int64(), f"{member}_size": pa.int64()}
    places |= {"band_rows": pa.int32(), "lq_bands": pa.list_(pa.uint32()), "gt_bands": pa.list_(pa.uint32())}
    return pa.schema([pa.field(name, kind) for name, kind in (facts | places).items()])


def fact_columns(metrics: Sequence[str]) -> list[str]:
    """The columns of the index that are facts of the pair: what its JSON member holds."""
    names = [str(name) for name in index_schema(metrics).names]
    return names[: names.index("shard")]


def features(metrics: Sequence[str]) -> datasets.Features:
    """What the builder yields. Images have `path=None`: a name would be looked up in the working directory."""
    columns: dict[str, Any] = {"key": datasets.Value("string"), "lq": datasets.Image(), "gt": datasets.Image()}
    columns |= dict(datasets.Features.from_arrow_schema(index_schema(metrics).remove_metadata()))
    kept = ["key", "lq", "gt", *fact_columns(metrics)[1:]]
    labels = {
        "degradation": datasets.ClassLabel(names=list(DEGRADATIONS)),
        "source": datasets.ClassLabel(names=list(SOURCES)),
    }
    return datasets.Features({name: labels.get(name, columns[name]) for name in kept})


# --- banded images --------------------------------------------------------------------------------------------------
# PNG: an ordinary 8-bit RGB PNG. After IHDR and sRGB comes the chunk gbND: rows a band, then the size of each band's
# IDAT. Then the image data: an IDAT with the two bytes of zlib's header; an IDAT a band, each ended by a full flush, so
# that with the two bytes 03 00 (an empty last block) it is a whole deflate stream; an IDAT with the end and checksum.
# JPEG, the light flavour: an ordinary baseline 4:4:4 JPEG with restart markers, a whole number of intervals a row of
# blocks. The segment APP9 gbND holds a CRC-32 of what follows it before the first band, the rows a band (a multiple of
# 8), and each band's size and CRC-32.

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
END_OF_DEFLATE = b"\x03\x00"
HEAD = 4096  # bytes that hold all up to the first band, of an image of up to 60,000 rows
BLOCK = 8  # pixels of a JPEG block's side
_log = logging.getLogger(NAME)


@dataclasses.dataclass(frozen=True, slots=True)
class Bands:
    """Where the bands of one image lie: band i is `offsets[i]:offsets[i + 1]` of the file."""

    width: int
    height: int
    rows: int  # of each band; the last may have fewer
    offsets: tuple[int, ...]
    head: bytes = b""  # of a JPEG: all before its first band
    crcs: tuple[int, ...] = ()  # of a JPEG; a PNG's stand behind each band


def read_bands(head: bytes, where: str = "image") -> Bands | None:
    """The bands of an image whose first bytes are `head` (HEAD of them will do); None where it is not banded.

    Raises ShardError where it says that it is banded, and the numbers cannot be true.
    """
    if head[:8] == PNG and head[12:16] == b"IHDR":
        return _png_bands(head, where)
    return _jpeg_bands(head, where) if head[:2] == JPEG else None


def _png_bands(head: bytes, where: str) -> Bands | None:
    at, chunks = 8, {}
    while at + 8 <= len(head):
        size, kind = struct.unpack_from(">I4s", head, at)
        if kind == b"IDAT":
            break
        chunks[kind] = at
        at += 12 + size
    if b"gbND" not in chunks:
        return None
    bodies = [_checked_chunk(head, chunks[kind], where) for kind in (b"IHDR", b"gbND")]
    try:
        width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", bodies[0])
        rows, *sizes = struct.unpack(f">{len(bodies[1]) // 4}I", bodies[1])
        right = (depth, colour, interlace) == (8, 2, 0) and min(width, height, rows) > 0
        right = right and len(sizes) == -(-height // rows)
        # deflate makes at most 1032 bytes of one: what claims more would only fill the memory
        right = right and 1032 * sum(sizes) >= height * (1 + 3 * width)
    except (struct.error, ValueError):
        right = False
    if not right:
        raise ShardError(f"{where}: its gbND chunk does not fit its header; pack it again")
    first = at + 12 + 2  # past the IDAT with zlib's header
    return Bands(width, height, rows, tuple(itertools.accumulate((12 + size for size in sizes), initial=first)))


def _checked_chunk(head: bytes, at: int, where: str) -> bytes:
    (size,) = struct.unpack_from(">I", head, at)
    body, crc = head[at + 4 : at + 8 + size], head[at + 8 + size : at + 12 + size]
    if len(crc) < 4 or _crc32(body) != int.from_bytes(crc, "big"):
        raise ShardError(f"{where}: byte {at}: the checksum of its chunk {body[:4]!r} is wrong; fetch the shard again")
    return body[4:]


def _jpeg_bands(head: bytes, where: str) -> Bands | None:
    """Walks the segments of a JPEG (ITU-T T.81, annex B) up to its coded data."""
    at, found, size, start = 2, b"", b"", 0
    while at + 4 <= len(head) and head[at] == 0xFF:
        kind, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        body = head[at + 4 : at + 2 + length]
        at += 2 + length
        if kind == 0xE9 and body[:5] == b"gbND\0":
            found, start = body[5:], at - len(body) + 9  # the CRC covers all from its own end on
        elif kind == 0xC0:
            size = body[1:5]
        elif kind == 0xDA:
            break
    if not found:
        return None
    try:
        height, width = struct.unpack(">HH", size)
        crc, rows, *numbers = struct.unpack(f">{len(found) // 4}I", found)
        sizes, crcs = numbers[::2], tuple(numbers[1::2])
        right = at <= len(head) and _crc32(head[start:at]) == crc and rows > 0 and rows % BLOCK == 0
        right = right and len(sizes) == len(crcs) == -(-height // rows)
    except struct.error:
        right = False
    if not right:
        raise ShardError(f"{where}: its gbND segment does not fit its header; fetch the shard again")
    return Bands(width, height, rows, tuple(itertools.accumulate(sizes, initial=at)), head[:at], crcs)


def _inflate(deflated: bytes, size: int) -> bytes | bytearray:
    if deflate is not None:
        return deflate.deflate_decompress(deflated, size)  # type: ignore[no-any-return]
    return zlib.decompressobj(-15).decompress(deflated, size)


def _crc32(data: bytes | memoryview) -> int:
    return int(deflate.crc32(data)) if deflate is not None else zlib.crc32(data)


_DAMAGE: tuple[type[Exception], ...] = (
    *(ValueError, IndexError, OSError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError),
    *([deflate.DeflateError] if deflate else []),
)


def _undo_filters(lines: npt.NDArray[np.uint8], left: int, width: int) -> npt.NDArray[np.uint8]:
    """Lines (a filter byte, then the row) to the pixels of `width` columns from `left` on: uint8, rows x 3 width.

    PNG's filters None, Sub and Up (W3C PNG, section 9) undo by a cumulative sum: Sub along the row, Up down the rows.
    """
    filters, right = lines[:, 0], 1 + 3 * (left + width)
    out = np.ascontiguousarray(lines[:, 1 + 3 * left : right])
    sub = np.flatnonzero(filters == 1)
    if len(sub):
        # of the pixels left of the window only their sum counts; 16 at a time, it is a sum of long rows
        skip = left // 16 * 48
        coded = lines[sub, 1 + skip : right]
        if skip:
            before = np.add.reduce(lines[sub, 1 : 1 + skip].reshape(len(sub), -1, 48), axis=1, dtype=np.uint8)
            for half in (24, 12, 6, 3):
                before = before[:, :half] + before[:, half:]
            coded[:, :3] += before
        pixels = coded.reshape(len(sub), -1, 3)
        np.add.accumulate(pixels, axis=1, out=pixels)
        out[sub] = coded[:, 3 * left - skip :]
    for number in np.flatnonzero(filters == 2).tolist():
        row = out[number]
        np.add(row, out[number - 1], row)  # a row at a time: numpy's accumulate down short columns is ten times as slow
    return out


def decode_bands(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str = "image"
) -> npt.NDArray[np.uint8]:
    """The window of `height` x `width` pixels at row `top`, column `left`: uint8, height x width x 3.

    `data` is the file's bytes from the first band that the window touches to the last. Only these are decoded, and
    their CRCs are checked. Raises ShardError where a band is damaged.
    """
    if bands.head:
        return _decode_jpeg(data, bands, top, left, height, width, where)
    first, last = top // bands.rows, -(-(top + height) // bands.rows)
    base, view, deflated, band = bands.offsets[first], memoryview(data), [], first
    try:
        for band in range(first, last):
            start, stop = bands.offsets[band] - base, bands.offsets[band + 1] - base
            if len(view) < stop or _crc32(view[start + 4 : stop - 4]) != int.from_bytes(view[stop - 4 : stop], "big"):
                raise ValueError("the checksum is wrong")
            deflated.append(view[start + 8 : stop - 4])
        band = first
        begin, stride = first * bands.rows, 1 + 3 * bands.width
        rows = min(last * bands.rows, bands.height) - begin
        # all bands at once: of a small window the calls would take longer than the work
        whole = _inflate(b"".join([*deflated, END_OF_DEFLATE]), rows * stride)
        lines = np.frombuffer(whole, np.uint8).reshape(rows, stride)[: top + height - begin]
        if lines[:, 0].max() > 2 or 2 in lines[:: bands.rows, 0]:
            raise ValueError("a filter that looks out of its band")
    except _DAMAGE as fault:
        at = bands.offsets[band]
        raise ShardError(f"{where}: band {band}, byte {at}: {fault}; fetch the shard again") from fault
    skip = top - begin  # rows above the window: from the last that looks at no row above itself they count
    skip -= int(np.flatnonzero(lines[: skip + 1, 0] != 2)[-1])
    return _undo_filters(lines[-height - skip :], left, width)[skip:].reshape(height, width, 3)


def _decode_jpeg(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str
) -> npt.NDArray[np.uint8]:
    """As decode_bands: the restart intervals that the window needs, put together as a small JPEG of its own.

    At each restart the prediction begins anew (ITU-T T.81, F.1.1.5.1), and at 4:4:4 no block's pixels depend on another
    block: the pixels are those of the whole image's decode.
    """
    first, last, view = top // bands.rows, -(-(top + height) // bands.rows), memoryview(data)
    try:
        for band in range(first, last):
            start, stop = (bands.offsets[i] - bands.offsets[first] for i in (band, band + 1))
            if len(data) < stop or _crc32(view[start:stop]) != bands.crcs[band]:
                first = band
                raise ValueError("the checksum is wrong")
        dri = bands.head.index(b"\xff\xdd\x00\x04")
        interval = int.from_bytes(bands.head[dri + 4 : dri + 6], "big") * BLOCK  # pixels of a row
        across = -(-bands.width // interval)
        lo, hi = left // interval, -(-(left + width) // interval)
        begins = np.concatenate([[0], restarts(data) + 2, [len(data) + 2]])  # of all intervals, and the end
        rows = np.arange(top // BLOCK, -(-(top + height) // BLOCK)) - first * bands.rows // BLOCK
        wanted = begins[np.add.outer(rows * across, np.arange(lo, hi + 1))]
        wanted[-1, -1] -= 2  # behind the last stands no marker
        sof = bands.head.index(b"\xff\xc0")
        size = struct.pack(">HH", len(rows) * BLOCK, min(hi * interval, bands.width) - lo * interval)
        kept = [view[start:stop] for start, stop in wanted[:, [0, -1]].tolist()]
        small = bytearray().join([bands.head[: sof + 5], size, bands.head[sof + 9 :], *kept, b"\xff\xd9"])
        marks = (
            len(bands.head) - 1 + (wanted[:, 1:] - wanted[:, :-1]).cumsum()[:-1]
        )  # they count 0 to 7, again and again
        np.frombuffer(small, np.uint8)[marks] = 0xD0 + np.arange(len(marks)) % 8
        pixels = _whole_jpeg(small)
    except _DAMAGE as fault:
        at = bands.offsets[first]
        raise ShardError(f"{where}: band {first}, byte {at}: {fault}; fetch the shard again") from fault
    above, before = top % BLOCK, left - lo * interval
    return np.ascontiguousarray(pixels[above : above + height, before : before + width])


def restarts(coded: bytes | memoryview) -> npt.NDArray[np.int64]:
    """Where the restart markers stand in a JPEG's coded data: int64."""
    data = np.frombuffer(coded, np.uint8)
    found = np.flatnonzero(data[:-1] == 0xFF)
    marks: npt.NDArray[np.int64] = found[(data[found + 1] & 0xF8) == 0xD0]
    return marks


def _whole_jpeg(data: bytes | bytearray) -> npt.NDArray[np.uint8]:
    if simplejpeg is not None:
        return simplejpeg.decode_jpeg(data)  # type: ignore[no-any-return]
    return np.asarray(Image.open(io.BytesIO(data), formats=["JPEG"]))


def check_image(data: bytes, where: str = "image") -> None:
    """Holds an image against its checksums without decoding it. Raises ShardError. An image without any passes."""
    bands = read_bands(data, where)
    if data[:8] == PNG:
        at = 8
        while at < len(data):
            at += 12 + len(_checked_chunk(data, at, where))
    elif bands is not None:
        for number, crc in enumerate(bands.crcs):
            start, stop = bands.offsets[number], bands.offsets[number + 1]
            if _crc32(data[start:stop]) != crc:
                said = f"band {number}, byte {start}: the checksum is wrong"
                raise ShardError(f"{where}: {said}; fetch the shard again")


def decode_image(data: bytes, where: str = "image") -> npt.NDArray[np.uint8]:
    """A whole image as it lies in a shard, banded or not: uint8, height x width x 3. Raises ShardError."""
    bands = read_bands(data, where)
    if bands is not None and not bands.head:
        part = memoryview(data)[bands.offsets[0] : bands.offsets[-1]]
        return decode_bands(part, bands, 0, 0, bands.height, bands.width, where)
    check_image(data, where)
    try:
        if bands is not None:
            return _whole_jpeg(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except _DAMAGE as fault:
        raise ShardError(f"{where}: cannot be decoded: {fault}; fetch the shard again") from fault


# --- where the bytes lie --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Root:
    """A dataset folder of ours: one that holds index/manifest.json. Its URL is pinned to a commit where it has one."""

    url: str
    manifest: Mapping[str, Any]
    identity: str  # 64 hex characters: the place, the commit, and by the manifest's checksums every byte
    storage_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        return [str(name) for name in self.manifest["metrics"]]

    @property
    def indices(self) -> dict[str, Mapping[str, Any]]:
        return indices(self.manifest)

    @property
    def files(self) -> dict[str, Mapping[str, Any]]:
        """Size and SHA-256 of each file that the manifest names, by its name."""
        of_indices = {f"index/{name}.parquet": about["index"] for name, about in self.indices.items()}
        return {**of_indices, **self.manifest["shards"]}

    def read(self, path: str) -> bytes:
        """A whole file of the folder. Raises FileNotFoundError, and whatever the place's client raises."""
        if "://" not in self.url:
            return (Path(self.url) / path).read_bytes()
        system, at = fsspec.core.url_to_fs(f"{self.url}/{path}", **self.storage_options)
        return bytes(system.cat_file(at))


def _tried(read: Callable[[], bytes], what: str, tries: int = 4) -> bytes:
    """What `read` gives. A fetch that fails is tried again, visibly; the last failure is a ShardError."""
    failed = 0
    while True:
        try:
            return read()
        except (ShardError, FileNotFoundError):
            raise
        except Exception as fault:  # each client of fsspec has exceptions of its own
            said = f"{what}: {type(fault).__name__}: {fault}"
            failed += 1
            if failed == tries:
                raise ShardError(f"{said}; {tries} tries failed, try again later") from fault
            _log.warning("%s; trying again", said)
            time.sleep(0.1 * 4 ** (failed - 1))


class _Range(NamedTuple):
    """Bytes of a shard, and the key of the pair that they are of."""

    shard: str
    start: int
    stop: int
    key: str


class _Reader:
    """Byte ranges of a root's files: those it is asked for, exactly. No file stays open, so a fork shares none.

    From elsewhere than a local folder, ranges that lie near each other are joined and fetched at once, and a fetch that
    fails is tried again. With `cache`, a folder, what was fetched stays there, up to `cache_bytes`.
    """

    GAP = 1 << 15  # bytes: to fetch so many in vain takes less time than another request

    def __init__(self, root: Root, cache: Path | None, cache_bytes: int) -> None:
        self.root, self.local = root, "://" not in root.url
        self.cache, self.cache_bytes, self._added = cache, cache_bytes, 0
        self._pools: dict[tuple[int, int], ThreadPoolExecutor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_pools": {}}

    def map(self, function: Callable[[T], U], items: Sequence[T], threads: int) -> list[U]:
        """`function` of each item, in order, on up to `threads` threads."""
        if threads < 2 or len(items) < 2:
            return [function(item) for item in items]
        pool = (os.getpid(), threads)  # threads do not survive a fork
        if pool not in self._pools:
            self._pools[pool] = ThreadPoolExecutor(threads, thread_name_prefix=NAME)
        return list(self._pools[pool].map(function, items))

    def read(self, ranges: Sequence[_Range]) -> list[bytes]:
        """The bytes of each range. Raises ShardError where they cannot be had."""
        for each in ranges:
            if not SHARD.fullmatch(each.shard):
                raise ShardError(f"{self.root.url}: the index names {each.shard!r}, which is no shard's name")
        if self.local:
            of_shards = itertools.groupby(ranges, key=operator.attrgetter("shard"))
            return [data for _, of_shard in of_shards for data in self._read_local(list(of_shard))]
        joined: list[_Range] = []
        for each in sorted(set(ranges)):
            if joined and joined[-1].shard == each.shard and each.start <= joined[-1].stop + self.GAP:
                joined[-1] = joined[-1]._replace(stop=max(each.stop, joined[-1].stop))
            else:
                joined.append(each)
        fetched = dict(zip(joined, self.map(self._fetch, joined, 16), strict=True))
        found = []
        for shard, start, stop, _ in ranges:
            whole = next(each for each in joined if each.shard == shard and each.start <= start and stop <= each.stop)
            found.append(fetched[whole][start - whole.start : stop - whole.start])
        return found

    def _read_local(self, ranges: Sequence[_Range]) -> list[bytes]:
        """Ranges of one shard."""
        try:
            with io.FileIO(f"{self.root.url}/{ranges[0].shard}") as file:
                found = []
                for each in ranges:
                    file.seek(each.start)
                    found.append(self._whole(each, file.read(each.stop - each.start)))
                return found
        except FileNotFoundError as fault:
            raise self._absent(ranges[0]) from fault

    def _read(self, each: _Range) -> bytes:
        system, at = fsspec.core.url_to_fs(f"{self.root.url}/{each.shard}", **self.root.storage_options)
        try:
            if system.async_impl:
                return self._whole(each, system.cat_file(at, start=each.start, end=each.stop))
            with system.open(at, "rb", cache_type="none") as file:  # cat_file's cache reads megabytes around the range
                file.seek(each.start)
                return self._whole(each, file.read(each.stop - each.start))
        except FileNotFoundError as fault:
            raise self._absent(each) from fault

    def _absent(self, each: _Range) -> ShardError:
        where = f"{self.root.url}/{each.shard}: key {each.key}"
        return ShardError(f"{where}: the index names this shard; it is not there: fetch it")

    def _whole(self, each: _Range, data: bytes) -> bytes:
        if len(data) != each.stop - each.start:
            at = each.start + len(data)
            raise ShardError(f"{each.shard}: key {each.key}: ends at byte {at}; fetch the shard again")
        return data

    def _fetch(self, each: _Range) -> bytes:
        """A range from elsewhere: out of the cache, or fetched, at the fourth failure no more."""
        name = f"{self.root.identity[:16]}-{each.shard.replace('/', '-')}-{each.start}-{each.stop}"
        kept = self.cache / name if self.cache else None
        if kept is not None:
            with contextlib.suppress(OSError):
                data = kept.read_bytes()
                if len(data) == each.stop - each.start:  # else a crash cut it short
                    kept.touch()
                    return data
        data = _tried(lambda: self._read(each), f"{each.shard}: key {each.key}: byte {each.start}")
        if kept is not None:
            try:
                self._keep(kept, data)
            except OSError as fault:  # a full disk, a folder that may not be written
                _log.warning("the cache does not keep %s: %s", kept, fault)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        part.write_bytes(data)
        part.replace(path)
        self._added += len(data)
        if self._added < self.cache_bytes // 20:
            return  # to look through the folder at each range would take longer than to fetch it
        self._added = 0
        with contextlib.suppress(FileNotFoundError):  # another process may tidy up too
            entries = [(entry.stat(), Path(entry.path)) for entry in os.scandir(path.parent)]
            size = sum(stat.st_size for stat, _ in entries)
            for stat, old in sorted(entries, key=lambda entry: entry[0].st_mtime) if size > self.cache_bytes else ():
                old.unlink(missing_ok=True)
                size -= stat.st_size
                if size <= 0.9 * self.cache_bytes:
                    break


def sample_folder() -> Path:
    """The sample's photographs, with their credits; `packed` in it is the dataset folder made of them.

    It ships beside this file: in the wheel as ggt100k_sample, in a checkout where it is made.
    """
    for name in ("ggt100k_sample", "dataset_card/sample"):
        folder = Path(__file__).resolve().parent / name
        if folder.is_dir():
            return folder
    raise ConfigError("the sample ships with the package, and is not beside this file; install it: pip install ggt100k")


def _pin(url: str, revision: str | None, options: Mapping[str, Any]) -> str:
    """An hf:// URL with its revision resolved to a commit; any other URL as it is."""
    if not url.startswith("hf://datasets/"):
        return url
    from huggingface_hub import HfApi, HfFileSystem

    token = options.get("token")
    place: Any = HfFileSystem(token=token).resolve_path(url, revision=revision)
    commit = HfApi(token=token).dataset_info(place.repo_id, revision=place.revision).sha
    tail = f"/{place.path_in_repo}" if place.path_in_repo else ""
    return f"hf://datasets/{place.repo_id}@{commit}{tail}"


def open_root(url: str, revision: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Root:
    """The dataset folder at `url`, a local folder or an fsspec URL. Raises ConfigError where there is none."""
    options = dict(storage_options or {})
    local = None if "://" in url else Path(url).expanduser().absolute()
    url = url.rstrip("/") if local is None else str(local)
    try:
        url = _pin(url, revision, options)
        text = Root(url, {}, "", options).read(MANIFEST)
    except FileNotFoundError as fault:
        if local is not None and local.is_dir():
            said = "a folder without {MANIFEST}, so no dataset is in it; name the one that pack has written"
            raise ConfigError(f"{url}: {said.format(MANIFEST=MANIFEST)}") from fault
        of = f" of revision {revision}" if revision else ""
        raise ConfigError(f"{url}: nothing{of} is there; name a folder that pack has written, or its URL") from fault
    except ImportError as fault:
        raise ConfigError(f"{url}: {fault}; for https: pip install 'ggt100k[http]'") from fault
    except Exception as fault:  # each client of fsspec has exceptions of its own
        said = " ".join(str(fault).split())[:300]
        raise ConfigError(f"{url}: cannot be read: {type(fault).__name__}: {said}") from fault
    try:
        manifest = json.loads(text)
        if manifest["format_version"] != FORMAT_VERSION:
            raise ConfigError(
                f"{url}: format version {manifest['format_version']}, and this package reads {FORMAT_VERSION}; "
                "install the ggt100k that reads it"
            )
        _check_manifest(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise ConfigError(f"{url}: {MANIFEST} cannot be read ({fault!r}); fetch it again") from fault
    if local is not None and revision is not None and revision.removeprefix("v") != manifest["dataset_version"]:
        raise ConfigError(f"{url}: holds version {manifest['dataset_version']}, not {revision}; leave revision= out")
    identity = hashlib.sha256(url.encode() + b"\0" + text).hexdigest()
    return Root(url, manifest, identity, options)


def indices(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest says of each file `index/{name}.parquet`: of the splits, and of PRIOR where it is there."""
    return dict(manifest["splits"]) | ({PRIOR: manifest[PRIOR]} if PRIOR in manifest else {})


def _check_manifest(manifest: Mapping[str, Any]) -> None:
    """What the reader relies on. Its names become paths and columns: they are checked like any text from outside."""
    if not all(METRIC.fullmatch(name) for name in manifest["metrics"]):
        raise ValueError("a metric's name is not of a-z, 0-9 and _")
    if unknown := manifest["splits"].keys() - set(SPLITS):
        raise ValueError(f"an unknown split, {min(unknown)!r}")
    for split, about in indices(manifest).items():
        if not set(about["degradations"]) <= set(DEGRADATIONS):
            raise ValueError(f"an unknown degradation in {split!r}")
        _check_numbers(split, about, "pairs")
        _check_numbers(split, about["index"], "bytes")
        _check_numbers(split, about["degradations"], *about["degradations"])
    for shard, about in manifest["shards"].items():
        _check_numbers(shard, about, "pairs", "bytes")
    texts = [manifest["gate"], *(about["sha256"] for about in manifest["shards"].values())]
    texts += [about["index"]["sha256"] for about in indices(manifest).values()]
    if not all(isinstance(text, str) for text in texts) or not isinstance(manifest["funnel"], list):
        raise ValueError("the gate or a checksum is no text, or the funnel no list")
    if manifest["codec"] not in CODECS:
        raise ValueError(f"codec {manifest['codec']!r} is none of {', '.join(CODECS)}")
    if not VERSION.fullmatch(manifest["dataset_version"]):
        raise ValueError(f"version {manifest['dataset_version']!r} is not three numbers")


def _check_numbers(of: str, about: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if type(about[name]) is not int or about[name] < 0:
            raise ValueError(f"{name} of {of!r} is {about[name]!r}, no count")


def locate(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Root:
    """Where the dataset is: `data_dir`, else $GGT100K_HOME, else ./ggt-100k, else REPO_ID on the Hub.

    Raises ConfigError that lists the places tried and what mends it.
    """
    named = str(data_dir) if data_dir is not None else os.environ.get("GGT100K_HOME")
    places = [named] if named else [NAME, f"hf://datasets/{REPO_ID}"]
    tried = []
    for place in places:
        try:
            return open_root(place, revision, storage_options)
        except ConfigError as fault:
            if (Path(place) / MANIFEST).is_file():
                raise  # it is there, and something is wrong with it: another place would hide that
            tried.append(str(fault).partition("; name ")[0])
    raise ConfigError(
        f"no {NAME} was found; tried in this order:\n"
        + "".join(f"  {line}\n" for line in tried)
        + "either of these mends it:\n"
        + f'  load_dataset("{NAME}", data_dir="/path/to/{NAME}")   # or set GGT100K_HOME to it, a folder or a URL\n'
        + f'  load_dataset("{NAME}", "sample")   # the pairs that ship with the package'
    )


def _root(name: str | None, data_dir: Any, revision: str | None, options: Mapping[str, Any] | None) -> Root:
    if name not in (None, "all", "sample", *DEGRADATIONS):
        raise ConfigError(f"no config {name!r}; there are: {', '.join(('all', 'sample', *DEGRADATIONS))}")
    if name == "sample":
        if data_dir is not None or revision is not None:
            raise ConfigError("the config 'sample' ships with the package: leave data_dir= and revision= out")
        return open_root(str(sample_folder() / "packed"))
    return locate(data_dir, revision=revision, storage_options=options)


# --- index ----------------------------------------------------------------------------------------------------------

Where: TypeAlias = Mapping[str, Any] | pc.Expression | None
_TABLES: dict[tuple[str, str], pa.Table] = {}  # by identity and split; what a fork inherits is only mapped memory


def _table(root: Root, split: str) -> pa.Table:
    """The index of a split, memory-mapped: processes share it, and a column that nobody asks for takes no memory.

    It is fetched once for each release, held against the manifest's checksum, and kept in datasets' cache folder.
    """
    if (root.identity, split) not in _TABLES:
        if split not in root.indices:
            raise ConfigError(f"{root.url}: no split {split!r}; there are: {', '.join(root.indices)}")
        path = Path(datasets.config.HF_DATASETS_CACHE) / NAME / f"index-{root.identity[:32]}-{split}.arrow"
        if not path.exists():
            parquet = _fetch_index(root, split)
            try:
                _map_index(parquet, path)
            except OSError as fault:  # a full disk, a cache folder that may not be written
                _log.warning("the index is kept in memory, in each process: %s", fault)
                _TABLES[root.identity, split] = parquet.read()
                return _TABLES[root.identity, split]
        try:
            _TABLES[root.identity, split] = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as fault:  # a crash has damaged it
            _log.warning("%s: %s; it is made anew", path, fault)
            path.unlink()
            return _table(root, split)
    return _TABLES[root.identity, split]


def _fetch_index(root: Root, split: str) -> pq.ParquetFile:
    name = f"index/{split}.parquet"
    try:
        data = _tried(lambda: root.read(name), f"{root.url}: {name}")
    except FileNotFoundError as fault:
        raise ShardError(f"{root.url}: {name} is named by the manifest and is not there; fetch it again") from fault
    if hashlib.sha256(data).hexdigest() != root.indices[split]["index"]["sha256"]:
        raise ShardError(f"{root.url}: {name}: its bytes are not those that the manifest names; fetch it again")
    parquet = pq.ParquetFile(pa.BufferReader(data))
    if not parquet.schema_arrow.equals(index_schema(root.metrics)):
        raise ShardError(f"{root.url}: {name}: its columns are not those of the format; pack it again")
    return parquet


def _map_index(parquet: pq.ParquetFile, path: Path) -> None:
    """Writes the index as an uncompressed Arrow file, which needs no decoding. It appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, parquet.schema_arrow) as writer:
        groups: list[pa.Table] = []
        for number in range(parquet.num_row_groups):
            groups.append(parquet.read_row_group(number))
            # few, large batches: a row is found by its batch
            if sum(group.num_rows for group in groups) >= 1 << 16 or number == parquet.num_row_groups - 1:
                writer.write_table(pa.concat_tables(groups).combine_chunks())
                groups = []
    part.replace(path)


def select(table: pa.Table, where: Where, config: str = "all") -> npt.NDArray[np.int64]:
    """The numbers of the rows of an index that `where` leaves, in order: int64.

    `where` is a pyarrow expression, or by column (`scores.NAME` for a score) what it must be: a value, a list of values
    of which one, or a tuple (least, most) with None for no bound. A list column must hold one of the values. Raises
    ConfigError that names the columns, or counts what each clause left.
    """
    clauses: dict[str, npt.NDArray[np.bool_]] = {}
    if where is not None and not isinstance(where, (Mapping, pc.Expression)):
        raise ConfigError(f"where={where!r} is neither a dict by column nor a pyarrow expression")
    if config in DEGRADATIONS:
        clauses[f"config {config}"] = _holds(table, "degradation", config)
    if isinstance(where, pc.Expression):
        numbered = table.append_column("__row__", pa.array(np.arange(table.num_rows)))
        try:
            rows = pads.dataset(numbered).to_table(columns=["__row__"], filter=where)["__row__"].to_numpy()
        except (pa.ArrowException, KeyError, TypeError) as fault:
            said = str(fault).partition(" in key: ")[0]  # without pyarrow's list of the columns, a line each
            raise ConfigError(f"where: {said}; the columns are: {', '.join(_columns(table))}") from fault
        clauses[f"where {where}"] = np.isin(np.arange(table.num_rows), rows)
    else:
        clauses |= {f"{name} {wanted!r}": _holds(table, name, wanted) for name, wanted in (where or {}).items()}
    if not clauses:
        return np.arange(table.num_rows)
    rows = np.flatnonzero(np.logical_and.reduce(list(clauses.values())))
    if not len(rows):
        counts = ", ".join(f"{clause} leaves {int(mask.sum())}" for clause, mask in clauses.items())
        raise ConfigError(f"nothing is left of {table.num_rows} pairs: {counts}; widen one of them")
    return rows


def _columns(table: pa.Table) -> list[str]:
    scores = [f"scores.{field.name}" for field in table.schema.field("scores").type]
    return [*(name for name in table.column_names if name != "scores"), *scores]


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name != "scores" and name not in _columns(table):
        near = difflib.get_close_matches(name, _columns(table), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"no column {name!r}{hint}; there are: {', '.join(_columns(table))}")
    top, _, score = name.partition(".")
    return pc.struct_field(table[top], score) if score else table[top]


def _holds(table: pa.Table, name: str, wanted: Any) -> npt.NDArray[np.bool_]:
    column = _column(table, name)
    try:
        if pa.types.is_list(column.type):
            values = pa.array(wanted if isinstance(wanted, (list, set)) else [wanted], column.type.value_type)
            rows = pc.list_parent_indices(column.combine_chunks()).filter(
                pc.is_in(pc.list_flatten(column.combine_chunks()), values)
            )
            return np.isin(np.arange(table.num_rows), rows.to_numpy())
        if isinstance(wanted, tuple):
            least, most = wanted
            mask = pc.is_valid(column)
            for bound, compare in ((least, pc.greater_equal), (most, pc.less_equal)):
                if bound is not None:  # a score's bound as float32, or 0.1 would not be 0.1
                    kind = column.type if pa.types.is_floating(column.type) else None
                    mask = pc.and_(mask, compare(column, pa.scalar(bound, kind)))
        else:
            values = pa.array(list(wanted) if isinstance(wanted, (list, set)) else [wanted]).cast(column.type)
            mask = pc.is_in(column, values)
    except (pa.ArrowException, ValueError, TypeError) as fault:
        raise ConfigError(f"where: {name} is {column.type} and cannot be held against {wanted!r}: {fault}") from fault
    return np.asarray(mask.to_numpy())


def index(
    data_dir: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    name: str = "all",
    where: Where = None,
    columns: Sequence[str] | None = None,
    revision: str | None = None,
) -> pa.Table:
    """The index of a split, a row a pair (columns: `index_schema`), memory-mapped. `where` as in `select`."""
    table = _table(_root(name, data_dir, revision, None), split)
    rows = select(table, where, name) if where is not None or name in DEGRADATIONS else None
    if columns is not None:
        for name in columns:
            _column(table, name)
        top = [name for name in columns if "." not in name]
        table = pa.table({name: table[name] if name in top else _column(table, name) for name in columns})
    if rows is None:
        return table
    mask = np.zeros(table.num_rows, np.bool_)
    mask[rows] = True
    # chunk by chunk: of ten million rows take() makes one chunk, too long for its offsets
    return table.filter(pa.array(mask))


# --- pairs, by number -------------------------------------------------------------------------------------------------

Crop: TypeAlias = int | Callable[[Mapping[str, Any], np.random.Generator], tuple[int, int, int, int]] | None
_PLACES = ["shard", "lq_offset", "lq_size", "gt_offset", "gt_size"]
_ITEM = ["key", "degradation", "source", "scores"]


class PairDataset:
    """The pairs of a split by their number, for torch's DataLoader and every sampler, and without torch as well.

        pairs = PairDataset("/data/ggt-100k", crop=256, where={"degradation": ["rain", "snow"]})
        pairs[0]["lq"]  # uint8, 256 x 256 x 3

    An item is a dict: `key`, `lq`, `gt` (uint8, height x width x 3), `degradation`, `source`, `scores` (NaN where not
    measured), and what `columns` names. Only the bytes that the window needs are read and decoded. A pickled dataset is
    small: each process maps the index itself.

    Args:
        data_dir, revision, storage_options: where it is, as in `locate`; `name` is a config of the builder.
        split: "train" or "test"; "prior" has in the place of `gt` an output that is out of its frame, and no ground
            truth: a further input of a network, in releases that have such.
        where: which pairs, as in `select`.
        columns: further columns of the index in each item, `prompt` for one.
        crop: the side of a square window, the same of both images, drawn from (seed, epoch, number) alone; or a
            function (row, random generator) -> (top, left, height, width), drawn likewise; None for whole images.
        transform: called with each item, one after the other; what it returns is the item.
        decode: False gives `lq` and `gt` as bytes, as they are stored.
        on_error: "raise", or "skip": a batch comes without the pairs that are damaged, `skipped` counts them by reason
            in the process that read them, and each is logged. A damaged pair that is a whole batch always raises.
        threads: how many decode a batch; by default as many as there are cores, and one in a DataLoader's worker.
        cache, cache_bytes: a folder that keeps what was fetched from elsewhere, up to so many bytes.

    Raises ConfigError at once where nothing is found or left, ShardError at an item where its bytes are damaged.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        split: str = "train",
        *,
        name: str = "all",
        where: Where = None,
        columns: Sequence[str] | str | None = None,
        crop: Crop = None,
        seed: int = 0,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        decode: bool = True,
        on_error: str = "raise",
        threads: int | None = None,
        revision: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_bytes: int = 50_000_000_000,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f'on_error={on_error!r} is neither "raise" nor "skip"')
        if crop is not None and not callable(crop):
            if isinstance(crop, bool) or not hasattr(crop, "__index__") or operator.index(crop) < 1:
                raise ConfigError(f"crop={crop!r}: a window has 1 pixel or more, or a function picks it")
            crop = operator.index(crop)
        if not hasattr(seed, "__index__") or not -(1 << 63) <= operator.index(seed) < 1 << 63:
            raise ConfigError(f"seed={seed!r} is no 64-bit integer")
        if crop is not None and not decode:
            raise ConfigError("decode=False gives whole images as they are stored: leave crop= out")
        self.root = _root(name, data_dir, revision, storage_options)
        self.split, self.name, self.where = split, name, where
        self.columns = [columns] if isinstance(columns, str) else list(columns or ())
        self.crop, self.seed, self.transform = crop, operator.index(seed), transform
        self.decode, self.on_error, self.threads = decode, on_error, threads
        self.skipped: Counter[str] = Counter()
        self._said_slow = False
        self._epoch = _Epoch()
        self._reader = _Reader(self.root, None if cache is None else Path(cache), cache_bytes)
        self._view: tuple[dict[str, pa.ChunkedArray], npt.NDArray[np.int64]] | None = None
        self._rows()  # what is wrong with the arguments is said here, not in a worker

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_view": None}

    def _rows(self) -> tuple[dict[str, pa.ChunkedArray], npt.NDArray[np.int64]]:
        """The columns of the index that items need, mapped, and the numbers of the rows that are left."""
        if self._view is None:
            table = _table(self.root, self.split)
            rows = select(table, self.where, self.name)
            for column in self.columns:
                _column(table, column)
            places = [] if self._reader.local else ["width", "height", "band_rows", "lq_bands", "gt_bands"]
            wanted = [*_ITEM, *_PLACES, *places, *(column.partition(".")[0] for column in self.columns)]
            self._view = ({name: table[name] for name in wanted}, rows)
        return self._view

    def __len__(self) -> int:
        return len(self._rows()[1])

    def set_epoch(self, epoch: int) -> None:
        """Other windows from here on, in this process and in the workers it has started."""
        self._epoch.set(epoch)

    def state_dict(self) -> dict[str, int]:
        """What a checkpoint must keep besides the sampler's place. Load it before workers start."""
        return {"epoch": self._epoch.get(), "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.seed = state["seed"]
        self.set_epoch(state["epoch"])

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return self.__getitems__(list(range(*number.indices(len(self)))))
        (item,) = self._items([number], keep_faults=False)
        return item

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """The items of a batch, in order: their bytes are fetched together and decoded on several threads."""
        items = self._items(numbers, keep_faults=self.on_error == "skip")
        good = [item for item in items if not isinstance(item, ShardError)]
        if items and not good:
            raise ShardError(f"every pair of a batch is damaged, the last: {items[-1]}")
        return good

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self)):
            (item,) = self._items([number], keep_faults=self.on_error == "skip")
            if not isinstance(item, ShardError):
                yield item

    def _items(self, numbers: Sequence[int], keep_faults: bool) -> list[Any]:
        columns, rows = self._rows()
        places = []
        for number in map(operator.index, numbers):
            if not -len(rows) <= number < len(rows):
                raise IndexError(f"{number}: there are {len(rows)} pairs")
            places.append(number % len(rows))
        found = [{name: column[row].as_py() for name, column in columns.items()} for row in rows[places].tolist()]
        data: dict[_Range, bytes] = {}
        if self.crop is not None and not self._reader.local and self.root.manifest["codec"] == "jpeg":
            self._read_at_once([self._head(row, name) for row in found for name in ("lq", "gt")], data, keep_faults)
        plans = [
            self._guard(keep_faults, self._plan, place, row, data) for place, row in zip(places, found, strict=True)
        ]
        ranges = [each for plan in plans if not isinstance(plan, ShardError) for each in plan.members.values()]
        self._read_at_once(ranges, data, keep_faults)
        threads = self._thread_count() if self.decode else 1

        def make(plan: Any) -> Any:
            return plan if isinstance(plan, ShardError) else self._guard(keep_faults, self._make, plan, data)

        items = self._reader.map(make, plans, threads)
        if self.transform is None:
            return items
        return [item if isinstance(item, ShardError) else self.transform(item) for item in items]

    def _read_at_once(self, ranges: Sequence[_Range], data: dict[_Range, bytes], keep_faults: bool) -> None:
        """Fetches a batch's ranges from elsewhere together; a local file is read as each pair is decoded."""
        if not self._reader.local:
            with contextlib.suppress(*([ShardError] if keep_faults else [])):  # then each pair reads for itself
                data.update(zip(ranges, self._reader.read(ranges), strict=True))

    def _thread_count(self) -> int:
        if self.threads is not None:
            return self.threads
        torch = sys.modules.get("torch.utils.data")
        worker = torch is not None and torch.get_worker_info() is not None
        if worker:
            return 1
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def _guard(self, keep_faults: bool, step: Callable[..., Any], *args: Any) -> Any:
        """`step`, or the ShardError that it raised, counted and logged, where faults are kept."""
        try:
            return step(*args)
        except ShardError as fault:
            if not keep_faults:
                raise
            self.skipped[str(fault)] += 1
            _log.warning("skipped: %s", fault)
            return fault

    def _plan(self, place: int, row: dict[str, Any], data: Mapping[_Range, bytes]) -> _Plan:
        """What to read of a pair: the whole images, or the bands that the window touches."""
        members = {}
        for name in ("lq", "gt"):
            start, size = row[f"{name}_offset"], row[f"{name}_size"]
            members[name] = _Range(row["shard"], start, start + size, row["key"])
        if self.crop is None:
            return _Plan(row, members, {}, None)
        if self._reader.local:
            heads = [self._head(row, name) for name in members]
            data = dict(zip(heads, self._reader.read(heads), strict=True))
        bands = {name: self._bands(row, name, data) for name in members}
        lq = bands["lq"]
        if lq is None or bands["gt"] is None:
            if not self._said_slow:
                _log.warning("%s: key %s is not banded: it is decoded whole, which is slow", row["shard"], row["key"])
                self._said_slow = True
            return _Plan(row, members, {}, None, place)
        window = self._window(place, row, lq.height, lq.width)
        for name, about in bands.items():
            assert about is not None
            if (about.width, about.height) != (lq.width, lq.height):
                raise ShardError(f"{row['shard']}: key {row['key']}: lq and gt are of two sizes; pack it again")
            first, last = window[0] // about.rows, -(-(window[0] + window[2]) // about.rows)
            start = members[name].start
            members[name] = members[name]._replace(start=start + about.offsets[first], stop=start + about.offsets[last])
        return _Plan(row, members, bands, window)

    def _head(self, row: dict[str, Any], name: str) -> _Range:
        start, size = row[f"{name}_offset"], row[f"{name}_size"]
        return _Range(row["shard"], start, start + min(size, HEAD), row["key"])

    def _bands(self, row: dict[str, Any], name: str, data: Mapping[_Range, bytes]) -> Bands | None:
        """Where an image's bands lie: its own head says so; of a PNG from elsewhere the index saves that request."""
        if self._reader.local or self.root.manifest["codec"] == "jpeg":
            head = self._head(row, name)
            read = data[head] if head in data else self._reader.read([head])[0]
            return read_bands(read, f"{row['shard']}: key {row['key']}: {name}")
        if not row[f"{name}_bands"]:
            return None
        return Bands(row["width"], row["height"], row["band_rows"], tuple(row[f"{name}_bands"]))

    def _window(self, place: int, row: dict[str, Any], height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, height, width), from (seed, epoch, place) alone."""
        drawn = hashlib.blake2b(struct.pack(">qqq", self.seed, self._epoch.get(), place), digest_size=16).digest()
        if callable(self.crop):
            random = np.random.default_rng(int.from_bytes(drawn, "big"))
            facts = {name: row[name] for name in (*_ITEM, *(column.partition(".")[0] for column in self.columns))}
            window = tuple(map(int, self.crop(facts | {"height": height, "width": width}, random)))
        else:
            side = self.crop or 0
            spans = [
                (int.from_bytes(part, "big"), length - side + 1)
                for part, length in ((drawn[:8], height), (drawn[8:], width))
            ]
            window = (*(number % max(span, 1) for number, span in spans), side, side)
        top, left, rows, columns = window
        if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
            raise ConfigError(
                f"key {row['key']}: the window {window} does not lie in its {height} x {width} pixels; "
                'take a smaller crop, or the larger images: where={"height": (512, None), "width": (512, None)}'
            )
        return top, left, rows, columns

    def _make(self, plan: _Plan, data: Mapping[_Range, bytes]) -> dict[str, Any]:
        row = plan.row
        item = {name: row[name] for name in _ITEM}
        ranges = list(plan.members.values())
        if not all(each in data for each in ranges):
            data = dict(zip(ranges, self._reader.read(ranges), strict=True))
        for name, member in plan.members.items():
            read = data[member]
            where = f"{row['shard']}: key {row['key']}: {name}"
            about = plan.bands.get(name)
            if not self.decode:
                item[name] = read
            elif about is not None and plan.window is not None:
                item[name] = decode_bands(read, about, *plan.window, where)
            else:
                item[name] = decode_image(read, where)
        if self.decode and not plan.bands and self.crop is not None:
            item = self._cut(item, plan)
        for column in self.columns:
            top, _, score = column.partition(".")
            item[column] = row[top][score] if score else row[top]
        return item

    def _cut(self, item: dict[str, Any], plan: _Plan) -> dict[str, Any]:
        """The window of images that had to be decoded whole."""
        height, width = item["lq"].shape[:2]
        if item["gt"].shape != item["lq"].shape:
            raise ShardError(f"{plan.row['shard']}: key {item['key']}: lq and gt are of two sizes; pack it again")
        top, left, rows, columns = self._window(plan.place, plan.row, height, width)
        cut = {name: item[name][top : top + rows, left : left + columns] for name in ("lq", "gt")}
        return item | cut


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be read of a pair, and what of it becomes the item."""

    row: dict[str, Any]
    members: dict[str, _Range]
    bands: dict[str, Bands | None]
    window: tuple[int, int, int, int] | None
    place: int = 0


class _Epoch:
    """A number that a process shares with the workers it starts, by fork or spawn, also after they have started."""

    def __init__(self) -> None:
        handle, self._path = tempfile.mkstemp(prefix=f"{NAME}-epoch-")
        os.write(handle, bytes(8))
        os.close(handle)
        self._value, self._owner = 0, os.getpid()
        self._map: mmap.mmap | None = None
        weakref.finalize(self, _remove, self._path, os.getpid())

    def __getstate__(self) -> dict[str, Any]:
        started = (
            multiprocessing.context.get_spawning_popen() is not None
        )  # else it is a copy, with an epoch of its own
        return {"_path": self._path if started else "", "_value": self.get(), "_owner": self._owner, "_map": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        if not self._path:
            self.__init__()  # type: ignore[misc]
            self.set(state["_value"])

    def get(self) -> int:
        if self._map is None:
            with contextlib.suppress(FileNotFoundError), Path(self._path).open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 8)  # on another machine it is not there: what was pickled holds
        return self._value if self._map is None else int.from_bytes(self._map[:8], "big", signed=True)

    def set(self, epoch: int) -> None:
        if os.getpid() != self._owner:  # a rank that was started with it: from here on it counts for itself
            self.__init__()  # type: ignore[misc]
        self._value = epoch = operator.index(epoch)
        self.get()
        if self._map is not None:
            self._map[:8] = epoch.to_bytes(8, "big", signed=True)


def _remove(path: str, process: int) -> None:
    if os.getpid() == process:
        Path(path).unlink(missing_ok=True)


# --- builder --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class GGT100KConfig(datasets.BuilderConfig):
    """`sample`, `all`, or the name of a degradation; `where` as in `select`."""

    revision: str | None = None
    where: Where = None


class GGT100K(datasets.GeneratorBasedBuilder):
    """Reads the index, and of the shards the byte ranges that it names."""

    BUILDER_CONFIG_CLASS = GGT100KConfig
    BUILDER_CONFIGS = [  # noqa: RUF012  datasets declares it so
        GGT100KConfig(name="all", description="Every pair."),
        GGT100KConfig(name="sample", description="The pairs that ship with the package."),
        *(GGT100KConfig(name=name, description=f"The pairs of the class {name}.") for name in DEGRADATIONS),
    ]
    DEFAULT_CONFIG_NAME = "all"
    DEFAULT_WRITER_BATCH_SIZE = 100  # pairs of some megabytes: the default of 1000 would hold gigabytes

    def __init__(
        self,
        cache_dir: str | None = None,
        dataset_name: str | None = None,
        config_name: str | None = None,
        hash: str | None = None,
        data_dir: str | None = None,
        data_files: Any = None,
        token: bool | str | None = None,
        storage_options: dict[str, Any] | None = None,
        revision: str | None = None,
        **kwargs: Any,
    ) -> None:
        if data_files is not None:
            raise ConfigError(f"{NAME} takes no data_files=; name its folder: data_dir=")
        options = dict(storage_options or {})
        if token is not None:
            options.setdefault("token", token)
        self.root = _root(config_name, data_dir, revision, options)
        # the hash names the folder of datasets' cache: any change of a byte, the commit or the place is another one
        super().__init__(
            cache_dir=cache_dir,
            dataset_name=dataset_name or NAME,
            config_name=config_name,
            hash=self.root.identity,
            data_dir=self.root.url,
            token=token,
            storage_options=storage_options,
            **kwargs,
        )

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(
            description="Real low-quality photographs and their generative ground truth.",
            features=features(self.root.metrics),
            license="see the column licence",
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        del dl_manager  # nothing is downloaded whole: _generate_examples reads the ranges it needs
        generators, nothing = [], []
        for split, about in self.root.manifest["splits"].items():
            if self.config.name in DEGRADATIONS and self.config.name not in about["degradations"]:
                continue
            try:
                rows = select(_table(self.root, split), self.config.where, self.config.name)
            except ConfigError as fault:
                nothing.append(fault)
                continue
            blocks = [rows[start : start + BLOCK_PAIRS].tolist() for start in range(0, len(rows), BLOCK_PAIRS)]
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"split": split, "blocks": blocks}))
        if nothing and not generators:
            raise nothing[0]
        if not generators:
            there = {name for about in self.root.manifest["splits"].values() for name in about["degradations"]}
            raise ConfigError(f"{self.root.url}: no pair of {self.config.name}; there are: {', '.join(sorted(there))}")
        return generators

    def _generate_shards(self, split: str, blocks: list[list[int]]) -> Iterator[str]:
        for block in blocks:
            yield f"{self.root.url}/index/{split}.parquet#{block[0]}"

    def _generate_examples(self, split: str, blocks: list[list[int]]) -> Iterator[tuple[Key, dict[str, Any]]]:
        names, reader = list(self.info.features), _Reader(self.root, None, 0)
        table = _table(self.root, split)
        for block in blocks:
            for number in block:
                (row,) = table.slice(number, 1).to_pylist()
                start, stop = row["lq_offset"], row["gt_offset"] + row["gt_size"]
                (data,) = reader.read([_Range(row["shard"], start, stop, row["key"])])  # they lie side by side
                for name in ("lq", "gt"):
                    image = data[row[f"{name}_offset"] - start :][: row[f"{name}_size"]]
                    check_image(image, f"{row['shard']}: key {row['key']}: {name}")  # Pillow would not
                    row[name] = {"path": None, "bytes": image}
                yield Key(block[0], number), {name: row[name] for name in names}


# --- the doors ------------------------------------------------------------------------------------------------------


def load_dataset(
    path: str = NAME, name: str | None = None, *, split: str | None = None, streaming: bool = False, **kwargs: Any
) -> Any:
    """As datasets.load_dataset, for "ggt-100k" by our builder and with no hook; any other path goes to datasets."""
    if path != NAME:
        return datasets.load_dataset(path, name, split=split, streaming=streaming, **kwargs)
    prepare = {key: kwargs.pop(key) for key in ("download_mode", "verification_mode", "num_proc") if key in kwargs}
    keep = kwargs.pop("keep_in_memory", False)
    builder = GGT100K(config_name=name, **kwargs)
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(**prepare)
    return builder.as_dataset(split=split, in_memory=keep)


def _open_the_door() -> None:
    """Lets datasets.load_dataset("ggt-100k") find our builder; every other name goes the way it went.

    Loading scripts are gone from datasets, and a registered package cannot add a name; what is left is the function
    that resolves a name, which load_dataset and the inspection functions look up in their modules at each call.
    """
    original = datasets.load.dataset_module_factory
    if hasattr(original, "ggt100k"):
        return
    known = {"path", "revision", "data_dir", "data_files"} <= set(inspect.signature(original).parameters)
    fields = [field.name for field in dataclasses.fields(datasets.load.DatasetModule)][:3]
    if not known or fields != ["module_path", "hash", "builder_kwargs"]:
        warnings.warn(
            f"datasets {datasets.__version__} resolves names in another way than ggt100k {__version__} knows; "
            'use: from ggt100k import load_dataset; load_dataset("ggt-100k")',
            stacklevel=3,
        )
        return

    @functools.wraps(original)
    def dataset_module_factory(path: str, revision: Any = None, *args: Any, **kwargs: Any) -> Any:
        if path != NAME:
            return original(path, revision, *args, **kwargs)
        given = {"dataset_name": NAME, "revision": None if revision is None else str(revision)}
        return datasets.load.DatasetModule("ggt100k", "", given)  # the builder finds its root, and so its hash

    dataset_module_factory.ggt100k = True  # type: ignore[attr-defined]
    for module in (datasets.load, datasets.inspect):
        module.dataset_module_factory = dataset_module_factory


_open_the_door()
