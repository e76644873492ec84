"""Banded PNG, reading and writing: an ordinary 8-bit RGB PNG in which a reader can start at each band of rows.

After IHDR and sRGB comes the chunk gbND: the rows of a band, then the size of each band's IDAT. The image data follows:
an IDAT with the two bytes of zlib's header; one IDAT for each band, ended by a full flush, so that with the two bytes
03 00 (an empty last block) it is a complete deflate stream; an IDAT with the end and the checksum. The rows use the
filters None, Sub and Up, and the first row of a band uses None or Sub. A reader accepts any band height.
"""

from __future__ import annotations

import bisect
import itertools
import struct
import zlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_format.bands import DAMAGE_ERRORS, HEAD, Bands, adler32, crc32, inflate
from ggt_format.buffers import empty
from ggt_format.errors import ConfigError, ShardError
from ggt_format.native import native

PNG = b"\x89PNG\r\n\x1a\n"
END_OF_DEFLATE = b"\x03\x00"
BAND_ROWS = 32  # of what is written now; images of earlier releases have 64
ZLIB_HEADER = b"\x78\x5e"
MARK = b"\x01\x01\x00\xfe\xff\xa7"  # a final stored block of one byte: after a band, it is read if the band is complete


def png_bands(head: bytes | memoryview, where: str) -> Bands | None:
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


def checked_chunk(head: bytes | memoryview, at: int, where: str) -> bytes | memoryview:
    (size,) = struct.unpack_from(">I", head, at)
    body, crc = head[at + 4 : at + 8 + size], head[at + 8 + size : at + 12 + size]
    if len(crc) < 4 or crc32(body) != int.from_bytes(crc, "big"):
        kind = bytes(body[:4])
        raise ShardError(f"{where}: byte {at}: the checksum of its chunk {kind!r} is wrong; fetch the shard again")
    return body[4:]


def undo_filters(
    lines: bytes | bytearray | npt.NDArray[np.uint8],
    image_width: int,
    rows: int,
    band_rows: int,
    skip: int,
    left: int,
    width: int,
    out: npt.NDArray[np.uint8],
    out_row: int,
) -> None:
    """Undo PNG's filters None, Sub and Up (W3C PNG, section 9) for a window of columns, with numpy.

    They undo by a cumulative sum: Sub along the row, Up down the rows. This is the reference, and what reads images
    where the C extension is not at hand: `_native.undo_filters` takes the same arguments.

    Args:
        lines: rows of one band or of several, each with its filter byte in front.
        image_width: of the whole image, in pixels.
        rows: how many rows of `lines` to undo.
        band_rows: rows of a band; `lines` begins with a band.
        skip: so many rows are undone, since the row below may refer to them, and not kept.
        left, width: the columns to keep, in pixels.
        out: uint8, C order, any number of rows x (3 * width).
        out_row: the row of `out` that the first kept row goes to.

    Raises:
        ValueError: `lines` or `out` is too small, or a row has a filter that it must not have.
    """
    stride, right = 1 + 3 * image_width, 1 + 3 * (left + width)
    table = np.frombuffer(lines, np.uint8, rows * stride).reshape(rows, stride)
    filters = table[:, 0]
    if filters.max() > 2 or 2 in filters[::band_rows]:
        raise ValueError("a filter that looks out of its band")
    begin = int(np.flatnonzero(filters[: skip + 1] != 2)[-1])  # the first kept row depends on no row above this one
    filters, table = filters[begin:], table[begin:]
    kept = out[out_row : out_row + rows - skip]
    pixels = kept if begin == skip else np.empty((len(table), 3 * width), np.uint8)
    coded = table[:, 1 + 3 * left : right]
    none = np.flatnonzero(filters == 0)
    if len(none):
        pixels[none] = coded[none]
    sub = np.flatnonzero(filters == 1)
    if len(sub):
        # only the sum of the pixels left of the window matters: summing 16 pixels at a time keeps numpy's rows long
        before = left // 16 * 48
        undone = table[sub, 1 + before : right]
        if before:
            sums = np.add.reduce(table[sub, 1 : 1 + before].reshape(len(sub), -1, 48), axis=1, dtype=np.uint8)
            for half in (24, 12, 6, 3):
                sums = sums[:, :half] + sums[:, half:]
            undone[:, :3] += sums
        by_pixel = undone.reshape(len(sub), -1, 3)
        np.add.accumulate(by_pixel, axis=1, out=by_pixel)
        pixels[sub] = undone[:, 3 * left - before :]
    for row in np.flatnonzero(filters == 2).tolist():
        # row by row: numpy's accumulate down columns takes ten times as long
        np.add(coded[row], pixels[row - 1], pixels[row])
    if begin != skip:
        kept[...] = pixels[skip - begin :]


def decode_png_bands(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str = "image"
) -> npt.NDArray[np.uint8]:
    """Decode a window of a banded PNG; see `ggt_format.images.decode_bands`."""
    first, last, stop_row = top // bands.rows, -(-(top + height) // bands.rows), top + height
    offsets, base, view = bands.offsets, bands.offsets[first], memoryview(data)
    undo = undo_filters if native is None else native.undo_filters
    # band by band what is inflated stays in the processor's cache, and numpy takes longer for each call
    step = last - first if native is None else 1
    out, row, skip, band = empty(3 * height * width).reshape(height, 3 * width), 0, top - first * bands.rows, first
    try:
        for begin in range(first, last, step):
            deflated = []
            for band in range(begin, begin + step):
                start, stop = offsets[band] - base, offsets[band + 1] - base
                if len(view) < stop or crc32(view[start + 4 : stop - 4]) != int.from_bytes(
                    view[stop - 4 : stop], "big"
                ):
                    raise ValueError("the checksum is wrong")
                deflated.append(view[start + 8 : stop - 4])
            band, begin_row = begin, begin * bands.rows
            all_rows = min((begin + step) * bands.rows, bands.height) - begin_row
            lines = inflate(b"".join([*deflated, END_OF_DEFLATE]), all_rows * (1 + 3 * bands.width))
            rows = min(all_rows, stop_row - begin_row)
            undo(lines, bands.width, rows, bands.rows, skip, left, width, out, row)
            row, skip = row + rows - skip, 0
    except DAMAGE_ERRORS as fault:
        raise ShardError(f"{where}: band {band}, byte {offsets[band]}: {fault}; fetch the shard again") from fault
    return out.reshape(height, width, 3)


class Profile(NamedTuple):
    """How hard an image is compressed. Readers need not know."""

    level: int  # of zlib-ng
    other_filter_below: float  # a row uses None or Sub where its cost is below this share of Up's


PROFILES = {
    # images of the ledger, and those that are sent to a model: written often and read a few times
    "ledger": Profile(level=4, other_filter_below=0.0),
    # images of a shard, which are written once and read for years: not larger than by Pillow's default
    "shard": Profile(level=9, other_filter_below=0.85),
}


def encode_png(image: npt.NDArray[np.uint8], band_rows: int = BAND_ROWS, *, profile: str = "ledger") -> bytes:
    """Encode an image as banded PNG. Equal pixels give equal bytes for one profile and one version of zlib-ng.

    Args:
        image: uint8, height x width x 3.
        band_rows: rows of a band.
        profile: "ledger" is fast; "shard" takes about five times as long and gives a smaller file.

    Raises:
        ConfigError: zlib-ng is not installed.
        ValueError: the array is not an 8-bit RGB image, or it has too many rows.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"an image is uint8, height x width x 3; this is {image.dtype}, {image.shape}")
    height, width, _ = image.shape
    if 4 * -(-height // band_rows) > HEAD - 200:
        raise ValueError(f"{height} rows in bands of {band_rows}: the table of the bands outgrows {HEAD} bytes")
    level, other_filter_below = PROFILES[profile]
    return _compress(_filter(image.reshape(height, 3 * width), band_rows, other_filter_below), band_rows, level)


def _compress(lines: npt.NDArray[np.uint8], band_rows: int, level: int) -> bytes:
    """Return the file of an image from its filtered rows."""
    try:
        from zlib_ng import zlib_ng
    except ImportError as missing:
        raise ConfigError("writing PNG needs zlib-ng; install it: pip install 'ggt100k[generate]'") from missing
    height, width = len(lines), lines.shape[1] // 3
    deflater = zlib_ng.compressobj(level, zlib_ng.DEFLATED, -15)
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


def _filter(rows: npt.NDArray[np.uint8], band_rows: int, other_below: float = 0.0) -> npt.NDArray[np.uint8]:
    """Put each row behind its filter byte: Up, or None or Sub where that costs less.

    The cost is the sum of absolute values (W3C PNG, 12.7). `other_below` is the share of Up's cost below which the
    cheaper one of None and Sub is taken; the first row of a band always takes that, since Up would refer to the band
    above.
    """
    lines = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = 2
    up = lines[:, 1:]
    up[0] = 0
    np.subtract(rows[1:], rows[:-1], out=up[1:])
    wanted = np.arange(len(rows)) if other_below > 0 else np.arange(0, len(rows), band_rows)
    none = rows[wanted]
    sub = none.copy()
    sub[:, 3:] -= none[:, :-3]
    none_costs, sub_costs = _costs(none), _costs(sub)
    if other_below > 0:
        taken = np.minimum(none_costs, sub_costs) < other_below * _costs(up)
        taken[::band_rows] = True
        wanted, none, sub = wanted[taken], none[taken], sub[taken]
        none_costs, sub_costs = none_costs[taken], sub_costs[taken]
    is_sub = sub_costs < none_costs
    lines[wanted, 0] = is_sub
    lines[wanted, 1:] = np.where(is_sub[:, None], sub, none)
    return lines


def _costs(coded: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return the sum of absolute values of each row. |x| of a signed byte is the smaller one of x and -x."""
    costs: npt.NDArray[np.uint32] = np.minimum(coded, 0 - coded).sum(axis=1, dtype=np.uint32)
    return costs


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
    pixels, checksum = empty(3 * bands.height * bands.width).reshape(bands.height, 3 * bands.width), 1
    undo = undo_filters if native is None else native.undo_filters
    for band, top in enumerate(range(0, bands.height, bands.rows)):  # one band at a time stays in the processor's cache
        start, stop = bands.offsets[band], bands.offsets[band + 1]
        rows = min(bands.rows, bands.height - top)
        size = rows * (1 + 3 * bands.width)
        try:
            inflated = inflate(b"".join([view[start + 8 : stop - 4], MARK]), size + 1)
            if len(inflated) != size + 1 or inflated[-1] != MARK[-1]:
                raise ValueError("it is no whole number of rows that stand for themselves")
            undo(inflated, bands.width, rows, bands.rows, 0, 0, bands.width, pixels, top)
        except DAMAGE_ERRORS as fault:
            raise ShardError(f"{where}: band {band}, byte {start}: {fault}; pack it again") from fault
        checksum = adler32(np.frombuffer(inflated, np.uint8, size), checksum)
    wanted = [b"IHDR", b"sRGB", b"gbND", *[b"IDAT"] * (len(bands.offsets) + 1), b"IEND"]
    if kinds != wanted or tuple(starts[4:-1]) != bands.offsets or at != len(data):
        raise ShardError(f"{where}: its chunks are not those of a banded PNG, or bytes follow them; pack it again")
    first, last = bands.offsets[0], bands.offsets[-1]
    end = END_OF_DEFLATE + struct.pack(">I", checksum)
    if data[first - 6 : first - 4] != ZLIB_HEADER or data[last + 8 : -16] != end:
        raise ShardError(f"{where}: its image data is no zlib stream with its checksum; pack it again")
    return pixels.reshape(bands.height, bands.width, 3)
