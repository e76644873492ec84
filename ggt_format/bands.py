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
except ImportError:  # optional: without libdeflate, zlib gives the same pixels and takes longer
    deflate = None

HEAD = 4096  # the first band of an image with up to 31,000 rows begins within this many bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Bands:
    """The bands of one image: band i is the bytes `offsets[i]:offsets[i + 1]` of its file."""

    width: int
    height: int
    rows: int  # rows of each band; the last band may have fewer
    offsets: tuple[int, ...]
    head: bytes = b""  # JPEG only: the bytes before the first band
    crcs: tuple[int, ...] = ()  # JPEG only: CRC-32 of each band; a PNG stores them in its chunks


def inflate(deflated: bytes, size: int) -> bytes | bytearray:
    """Inflate a raw deflate stream, with libdeflate where it is installed.

    Args:
        deflated: The stream, without zlib's header and checksum.
        size: Number of bytes that the stream inflates to.

    Raises:
        zlib.error: The stream is damaged. Where libdeflate is installed, `deflate.DeflateError` is raised instead.
    """
    if deflate is not None:
        return deflate.deflate_decompress(deflated, size)  # type: ignore[no-any-return]
    return zlib.decompressobj(-15).decompress(deflated, size)


def crc32(data: bytes | memoryview) -> int:
    """Return the CRC-32 of `data`."""
    return int(deflate.crc32(data)) if deflate is not None else zlib.crc32(data)


def adler32(data: npt.NDArray[np.uint8], initial: int = 1) -> int:
    """Return zlib's checksum of `data`, continued from the checksum `initial`."""
    return int(deflate.adler32(data, initial)) if deflate is not None else zlib.adler32(data.data, initial)


# what decoders raise for damaged bytes
DAMAGE_ERRORS: tuple[type[Exception], ...] = (
    *(ValueError, IndexError, OSError, SyntaxError, struct.error, zlib.error, Image.DecompressionBombError),
    *([deflate.DeflateError] if deflate else []),
)
