"""Writes banded PNG: an ordinary 8-bit RGB PNG in which a reader can begin at every 64th row.

The layout stands in ggt100k.py, which reads it. Each band is deflated behind a full flush, so that it refers to nothing
before it, and its first row uses no filter that looks up.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from ggt100k import END_OF_DEFLATE, HEAD, PNG, decode_bands, read_bands
from ggt_tools.errors import ConfigError, ShardError

BAND_ROWS = 64
LEVEL = 4  # of zlib-ng: within 3 % of the size of Pillow's default for photographs, written some five times as fast
ZLIB_HEADER = b"\x78\x5e"


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
    """The pixels of a banded PNG, after every byte of it was held against the format. Raises ShardError."""
    bands = read_bands(data, where)
    if bands is None:
        raise ShardError(f"{where}: is no banded PNG; pack it again")
    pixels = np.empty((bands.height, bands.width, 3), np.uint8)
    for start, stop, top in zip(bands.offsets, bands.offsets[1:], range(0, bands.height, bands.rows), strict=False):
        rows = pixels[top : top + bands.rows]  # alone, so that a band that refers to another is found
        rows[...] = decode_bands(data[start:stop], bands, top, 0, len(rows), bands.width, where)
    at, kinds, stream = 8, [], b""
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        stop = at + 12 + size
        if stop > len(data) or zlib.crc32(data[at + 4 : stop - 4]) != int.from_bytes(data[stop - 4 : stop], "big"):
            raise ShardError(f"{where}: byte {at}: the checksum of its chunk {kind!r} is wrong; fetch the shard again")
        kinds.append(kind)
        stream += data[at + 8 : stop - 4] if kind == b"IDAT" else b""
        at = stop
    wanted = [b"IHDR", b"sRGB", b"gbND", *[b"IDAT"] * (len(bands.offsets) + 1), b"IEND"]
    if kinds != wanted or at != len(data):
        raise ShardError(f"{where}: its chunks are not those of a banded PNG, or bytes follow them; pack it again")
    try:
        zlib.decompress(stream)  # as every other decoder reads it: one stream, with its checksum
    except zlib.error as fault:
        raise ShardError(f"{where}: its image data is no zlib stream ({fault}); pack it again") from fault
    return pixels
