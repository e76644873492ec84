"""Banded PNG, reading and writing: an ordinary 8-bit RGB PNG in which a reader can start at each band of rows.

After IHDR and sRGB comes the chunk gbND: the rows of a band, then the size of each band's IDAT. The image data follows:
an IDAT with the two bytes of zlib's header; one IDAT for each band, ended by a full flush, so that with the two bytes
03 00 (an empty last block) it is a complete deflate stream; an IDAT with the end and the checksum. The first row of a
band uses no filter that refers to the row above it.
"""

from __future__ import annotations

import bisect
import itertools
import struct
import zlib

import numpy as np
import numpy.typing as npt

from ggt_format.bands import DAMAGE_ERRORS, HEAD, Bands, adler32, crc32, inflate
from ggt_format.errors import ConfigError, ShardError

PNG = b"\x89PNG\r\n\x1a\n"
END_OF_DEFLATE = b"\x03\x00"
BAND_ROWS = 64
LEVEL = 4  # of zlib-ng: within 3 % of the size of Pillow's default for photographs, and about five times as fast
ZLIB_HEADER = b"\x78\x5e"
MARK = b"\x01\x01\x00\xfe\xff\xa7"  # a final stored block of one byte: after a band, it is read if the band is complete


def png_bands(head: bytes, where: str) -> Bands | None:
    """Return where the bands of a PNG lie, from its chunks up to the image data; None where it is not banded."""
    if head[:8] != PNG or head[12:16] != b"IHDR":
        return None
    at, chunks = 8, {}
    while at + 8 <= len(head):
        size, kind = struct.unpack_from(">I4s", head, at)
        if kind == b"IDAT":
            break
        chunks[kind] = at
        at += 12 + size
    if b"gbND" not in chunks:
        return None
    bodies = [checked_chunk(head, chunks[kind], where) for kind in (b"IHDR", b"gbND")]
    try:
        width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", bodies[0])
        rows, *sizes = struct.unpack(f">{len(bodies[1]) // 4}I", bodies[1])
        right = (depth, colour, interlace) == (8, 2, 0) and min(width, height, rows) > 0
        right = right and len(sizes) == -(-height // rows)
        # deflate expands a byte to at most 1032: a larger claim is false, and would only fill the memory
        right = right and 1032 * sum(sizes) >= height * (1 + 3 * width)
    except (struct.error, ValueError):
        right = False
    if not right:
        raise ShardError(f"{where}: its gbND chunk does not fit its header; pack it again")
    first = at + 12 + 2  # past the IDAT with zlib's header
    return Bands(width, height, rows, tuple(itertools.accumulate((12 + size for size in sizes), initial=first)))


def checked_chunk(head: bytes, at: int, where: str) -> bytes:
    (size,) = struct.unpack_from(">I", head, at)
    body, crc = head[at + 4 : at + 8 + size], head[at + 8 + size : at + 12 + size]
    if len(crc) < 4 or crc32(body) != int.from_bytes(crc, "big"):
        raise ShardError(f"{where}: byte {at}: the checksum of its chunk {body[:4]!r} is wrong; fetch the shard again")
    return body[4:]


def undo_filters(lines: npt.NDArray[np.uint8], left: int, width: int) -> npt.NDArray[np.uint8]:
    """Return the pixels of `width` columns from `left` on: uint8, rows x (3 * width).

    Args:
        lines: rows of a PNG, each with its filter byte in front: uint8, rows x (1 + 3 * image width).
        left, width: the columns to return, in pixels.

    PNG's filters None, Sub and Up (W3C PNG, section 9) undo by a cumulative sum: Sub along the row, Up down the rows.
    """
    filters, right = lines[:, 0], 1 + 3 * (left + width)
    out = np.array(lines[:, 1 + 3 * left : right])  # a copy: of one row a slice would be the inflated bytes themselves
    sub = np.flatnonzero(filters == 1)
    if len(sub):
        # only the sum of the pixels left of the window matters: summing 16 pixels at a time keeps numpy's rows long
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
        np.add(row, out[number - 1], row)  # row by row: numpy's accumulate down columns takes ten times as long
    return out


def decode_png_bands(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str = "image"
) -> npt.NDArray[np.uint8]:
    """Decode a window of a banded PNG; see `ggt_format.images.decode_bands`."""
    first, last = top // bands.rows, -(-(top + height) // bands.rows)
    base, view, deflated, band = bands.offsets[first], memoryview(data), [], first
    try:
        for band in range(first, last):
            start, stop = bands.offsets[band] - base, bands.offsets[band + 1] - base
            if len(view) < stop or crc32(view[start + 4 : stop - 4]) != int.from_bytes(view[stop - 4 : stop], "big"):
                raise ValueError("the checksum is wrong")
            deflated.append(view[start + 8 : stop - 4])
        band = first
        begin, stride = first * bands.rows, 1 + 3 * bands.width
        rows = min(last * bands.rows, bands.height) - begin
        # all bands in one call: for a small window, a call for each band would take longer than inflating
        whole = inflate(b"".join([*deflated, END_OF_DEFLATE]), rows * stride)
        lines = np.frombuffer(whole, np.uint8).reshape(rows, stride)[: top + height - begin]
        if lines[:, 0].max() > 2 or 2 in lines[:: bands.rows, 0]:
            raise ValueError("a filter that looks out of its band")
    except DAMAGE_ERRORS as fault:
        at = bands.offsets[band]
        raise ShardError(f"{where}: band {band}, byte {at}: {fault}; fetch the shard again") from fault
    skip = top - begin  # rows above the window that its first row depends on: back to the last one without Up
    skip -= int(np.flatnonzero(lines[: skip + 1, 0] != 2)[-1])
    return undo_filters(lines[-height - skip :], left, width)[skip:].reshape(height, width, 3)


def encode_png(image: npt.NDArray[np.uint8], band_rows: int = BAND_ROWS) -> bytes:
    """Encode an image as banded PNG. Equal pixels give equal bytes for one version of zlib-ng.

    Args:
        image: uint8, height x width x 3.
        band_rows: rows of a band.

    Raises:
        ConfigError: zlib-ng is not installed.
        ValueError: the array is not an 8-bit RGB image, or it has too many rows.
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
    """Put each row behind its filter byte: of None, Sub and Up the one with the least absolute sum (W3C PNG, 12.7)."""
    sub, up = rows.copy(), rows.copy()
    sub[:, 3:] -= rows[:, :-3]
    up[1:] -= rows[:-1]
    choices = np.stack([rows, sub, up])
    # |x| of a signed byte in unsigned bytes: the smaller one of x and -x
    costs = np.minimum(choices, 0 - choices).sum(axis=2, dtype=np.uint32)
    costs[2, ::band_rows] = np.iinfo(np.uint32).max  # the first row of a band must not refer to the row above
    best = costs.argmin(axis=0)
    lines = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = best
    lines[:, 1:] = choices[best, np.arange(len(rows))]
    return lines


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def check_banded(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Decode a banded PNG after checking every byte of it against the format. Raises ShardError.

    Each band is inflated by itself, so that one that refers to another band is found, and all together are compared
    with the checksum of the whole stream, which is what other decoders read.
    """
    bands = png_bands(data, where)
    if bands is None:
        raise ShardError(f"{where}: is no banded PNG; pack it again")
    at, starts, kinds, view = 8, [], [], memoryview(data)
    while at + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        stop = at + 12 + size
        if stop > len(data) or crc32(view[at + 4 : stop - 4]) != int.from_bytes(data[stop - 4 : stop], "big"):
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
    for band, top in enumerate(range(0, bands.height, bands.rows)):  # one band at a time stays in the processor's cache
        start, stop = bands.offsets[band], bands.offsets[band + 1]
        rows = pixels[top : top + bands.rows]
        size = len(rows) * (1 + rows.shape[1])
        try:
            inflated = inflate(b"".join([view[start + 8 : stop - 4], MARK]), size + 1)
            if len(inflated) != size + 1 or inflated[-1] != MARK[-1]:
                raise ValueError("it is no whole number of rows that stand for themselves")
            lines = np.frombuffer(inflated, np.uint8, size).reshape(len(rows), -1)
            if lines[:, 0].max() > 2 or lines[0, 0] == 2:
                raise ValueError("a filter that looks out of its band")
        except DAMAGE_ERRORS as fault:
            raise ShardError(f"{where}: band {band}, byte {start}: {fault}; pack it again") from fault
        checksum = adler32(lines, checksum)
        rows[...] = undo_filters(lines, 0, bands.width)
    wanted = [b"IHDR", b"sRGB", b"gbND", *[b"IDAT"] * (len(bands.offsets) + 1), b"IEND"]
    if kinds != wanted or tuple(starts[4:-1]) != bands.offsets or at != len(data):
        raise ShardError(f"{where}: its chunks are not those of a banded PNG, or bytes follow them; pack it again")
    first, last = bands.offsets[0], bands.offsets[-1]
    end = END_OF_DEFLATE + struct.pack(">I", checksum)
    if data[first - 6 : first - 4] != ZLIB_HEADER or data[last + 8 : -16] != end:
        raise ShardError(f"{where}: its image data is no zlib stream with its checksum; pack it again")
    return pixels.reshape(bands.height, bands.width, 3)
