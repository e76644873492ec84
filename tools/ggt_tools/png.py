"""Writes banded PNG: an ordinary 8-bit RGB PNG in which a reader can begin at every 64th row.

The layout stands in ggt100k.py, which reads it. Each band is deflated behind a full flush, so that it refers to nothing
before it, and its first row uses no filter that looks up.
"""

from __future__ import annotations

import bisect
import struct
import zlib

import numpy as np
import numpy.typing as npt

from ggt100k import _DAMAGE, END_OF_DEFLATE, HEAD, PNG, _crc32, _inflate, _undo_filters, deflate, read_bands
from ggt_tools.errors import ConfigError, ShardError

BAND_ROWS = 64
LEVEL = 4  # of zlib-ng: within 3 % of the size of Pillow's default for photographs, written some five times as fast
ZLIB_HEADER = b"\x78\x5e"
MARK = b"\x01\x01\x00\xfe\xff\xa7"  # a last, stored block of one byte: behind a band it is read if the band is whole


def encode_png(image: npt.NDArray[np.uint8], band_rows: int = BAND_ROWS) -> bytes:
    """`image` (uint8, height x width x 3) as a banded PNG.

    Equal pixels give equal bytes for one version of zlib-ng. Raises ConfigError where the extra is missing, ValueError
    where the array is no 8-bit RGB image.
    """
    try:
        from zlib_ng import zlib_ng
    except ImportError as missing:
        raise ConfigError("writing PNG needs zlib-ng; install it: pip install 'ggt100k[generate]'") from missing
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image is uint8, height x width x 3; this is {image.dtype}, {image.shape}")
    height, width, _ = image.shape
    if 4 * -(-height // band_rows) > HEAD - 200:
        raise ValueError(f"{height} rows in bands of {band_rows}: the table of the bands outgrows {HEAD} bytes")
    lines = _filter(image.reshape(height, 3 * width), band_rows)
    deflater = zlib_ng.compressobj(LEVEL, zlib_ng.DEFLATED, -15)
    bands = [
        deflater.compress(lines[top : top + band_rows]) + deflater.flush(zlib_ng.Z_FULL_FLUSH)
        for top in range(0, height, band_rows)
    ]
    checksum = struct.pack(">I", zlib_ng.adler32(lines))
    return b"".join(
        [
            PNG,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"sRGB", b"\0"),
            _chunk(b"gbND", struct.pack(f">{1 + len(bands)}I", band_rows, *map(len, bands))),
            _chunk(b"IDAT", ZLIB_HEADER),
            *(_chunk(b"IDAT", band) for band in bands),
            _chunk(b"IDAT", END_OF_DEFLATE + checksum),
            _chunk(b"IEND", b""),
        ]
    )


def _filter(rows: npt.NDArray[np.uint8], band_rows: int) -> npt.NDArray[np.uint8]:
    """Each row behind its filter's number: of None, Sub and Up the one of the least absolute sum (W3C PNG, 12.7)."""
    sub, up = rows.copy(), rows.copy()
    sub[:, 3:] -= rows[:, :-3]
    up[1:] -= rows[:-1]
    choices = np.stack([rows, sub, up])
    # |x| of a signed byte, as an unsigned one: the lesser of x and -x
    costs = np.minimum(choices, 0 - choices).sum(axis=2, dtype=np.uint32)
    costs[2, ::band_rows] = np.iinfo(np.uint32).max  # a band's first row sees no row above
    best = costs.argmin(axis=0)
    lines = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = best
    lines[:, 1:] = choices[best, np.arange(len(rows))]
    return lines


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def check_banded(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """The pixels of a banded PNG, after every byte of it was held against the format. Raises ShardError.

    It is inflated once: each band alone, so that one that refers to another is found, and held against the checksum of
    the whole, which is what every other decoder reads.
    """
    bands = read_bands(data, where)
    if bands is None or bands.head:
        raise ShardError(f"{where}: is no banded PNG; pack it again")
    at, starts, kinds, view = 8, [], [], memoryview(data)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        stop = at + 12 + size
        if stop > len(data) or _crc32(view[at + 4 : stop - 4]) != int.from_bytes(data[stop - 4 : stop], "big"):
            band = bisect.bisect_right(bands.offsets, at) - 1
            of_band = 0 <= band < len(bands.offsets) - 1
            said = (
                f"band {band}, byte {at}: the checksum" if of_band else f"byte {at}: the checksum of its chunk {kind!r}"
            )
            raise ShardError(f"{where}: {said} is wrong; fetch the shard again")
        starts.append(at)
        kinds.append(kind)
        at = stop
    pixels, checksum = np.empty((bands.height, 3 * bands.width), np.uint8), 1
    for band, top in enumerate(range(0, bands.height, bands.rows)):  # a band at a time stays in the processor's cache
        start, stop = bands.offsets[band], bands.offsets[band + 1]
        rows = pixels[top : top + bands.rows]
        size = len(rows) * (1 + rows.shape[1])
        try:
            inflated = _inflate(b"".join([view[start + 8 : stop - 4], MARK]), size + 1)
            if len(inflated) != size + 1 or inflated[-1] != MARK[-1]:
                raise ValueError("it is no whole number of rows that stand for themselves")
            lines = np.frombuffer(inflated, np.uint8, size).reshape(len(rows), -1)
            if lines[:, 0].max() > 2 or lines[0, 0] == 2:
                raise ValueError("a filter that looks out of its band")
        except _DAMAGE as fault:
            raise ShardError(f"{where}: band {band}, byte {start}: {fault}; pack it again") from fault
        checksum = _adler32(lines, checksum)
        rows[...] = _undo_filters(lines, 0, bands.width)
    wanted = [b"IHDR", b"sRGB", b"gbND", *[b"IDAT"] * (len(bands.offsets) + 1), b"IEND"]
    if kinds != wanted or tuple(starts[4:-1]) != bands.offsets or at != len(data):
        raise ShardError(f"{where}: its chunks are not those of a banded PNG, or bytes follow them; pack it again")
    first, last = bands.offsets[0], bands.offsets[-1]
    end = END_OF_DEFLATE + struct.pack(">I", checksum)
    if data[first - 6 : first - 4] != ZLIB_HEADER or data[last + 8 : -16] != end:
        raise ShardError(f"{where}: its image data is no zlib stream with its checksum; pack it again")
    return pixels.reshape(bands.height, bands.width, 3)


def _adler32(lines: npt.NDArray[np.uint8], before: int) -> int:
    """zlib's checksum, gone on with."""
    return int(deflate.adler32(lines, before)) if deflate is not None else zlib.adler32(lines.data, before)
