"""The record `Bands`, and the checksums and the inflate step that reading PNG and JPEG share."""

from __future__ import annotations

import dataclasses
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

deflate: Any
try:
    import deflate
except ImportError:  # this machine has no wheel of it: zlib is slower and gives the same pixels
    deflate = None

HEAD = 4096  # bytes that always hold everything before the first band, for images of up to 31,000 rows


@dataclasses.dataclass(frozen=True, slots=True)
class Bands:
    """The bands of one image: band i is the bytes `offsets[i]:offsets[i + 1]` of its file."""

    width: int
    height: int
    rows: int  # rows of each band; the last band may have fewer
    offsets: tuple[int, ...]
    head: bytes = b""  # of a JPEG: the bytes before its first band
    crcs: tuple[int, ...] = ()  # of a JPEG: CRC-32 of each band; a PNG has them in its chunks


def inflate(deflated: bytes, size: int) -> bytes | bytearray:
    if deflate is not None:
        return deflate.deflate_decompress(deflated, size)  # type: ignore[no-any-return]
    return zlib.decompressobj(-15).decompress(deflated, size)


def crc32(data: bytes | memoryview) -> int:
    return int(deflate.crc32(data)) if deflate is not None else zlib.crc32(data)


def adler32(data: npt.NDArray[np.uint8], before: int = 1) -> int:
    """Return zlib's checksum of `data`, continued from `before`."""
    return int(deflate.adler32(data, before)) if deflate is not None else zlib.adler32(data.data, before)


DAMAGE_ERRORS: tuple[type[Exception], ...] = (
    *(ValueError, IndexError, OSError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError),
    *([deflate.DeflateError] if deflate else []),
)
