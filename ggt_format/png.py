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
BAND_ROWS = 32  # what is written now; images of earlier releases have 64
ZLIB_HEADER = b"\x78\x5e"
MARK = (
    b"\x01\x01\x00\xfe\xff\xa7"  # a final stored block of one byte, appended to a band to see that the band is complete
)


def read_png_bands(head: bytes | memoryview, where: str) -> Bands | None:
    """Return the bands of a PNG, from its chunks before the image data; None if it is not banded.

    Args:
        head: The first bytes of the file, up to the image data.
        where: The name of the image in error messages.

    Raises:
        ShardError: The gbND chunk does not fit the image, or a checksum is wrong.
    """
    if head[:8] != PNG or head[12:16] != b"IHDR":
        return None
    offset, chunks = 8, {}
    while offset + 8 <= len(head):
        size, kind = struct.unpack_from(">I4s", head, offset)
        if kind == b"IDAT":
            break
        chunks[kind] = offset
        offset += 12 + size
    if b"gbND" not in chunks:
        return None
    bodies = [read_checked_chunk(head, chunks[kind], where) for kind in (b"IHDR", b"gbND")]
    try:
        width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", bodies[0])
        rows, *sizes = struct.unpack(f">{len(bodies[1]) // 4}I", bodies[1])
        is_valid = (depth, colour, interlace) == (8, 2, 0) and min(width, height, rows) > 0
        is_valid = is_valid and len(sizes) == -(-height // rows)
        # deflate expands a byte to at most 1032 bytes; a larger claim is false and would exhaust the memory
        is_valid = is_valid and 1032 * sum(sizes) >= height * (1 + 3 * width)
    except (struct.error, ValueError):
        is_valid = False
    if not is_valid:
        raise ShardError(f"{where}: its gbND chunk does not fit its header. Pack the release again.")
    first = offset + 12 + 2  # past the IDAT with zlib's header
    return Bands(width, height, rows, tuple(itertools.accumulate((12 + size for size in sizes), initial=first)))


def read_checked_chunk(head: bytes | memoryview, offset: int, where: str) -> bytes | memoryview:
    """Return the body of the chunk at an offset after comparing its CRC. Raise ShardError if it differs."""
    (size,) = struct.unpack_from(">I", head, offset)
    body, crc = head[offset + 4 : offset + 8 + size], head[offset + 8 + size : offset + 12 + size]
    if len(crc) < 4 or crc32(body) != int.from_bytes(crc, "big"):
        kind = bytes(body[:4])
        raise ShardError(
            f"{where}: byte {offset}: the checksum of its chunk {kind!r} is wrong. Download the shard again."
        )
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

    Both are undone by a cumulative sum: Sub along the row, Up down the rows. This reference implementation is
    used where the C extension is not built. `_native.undo_filters` takes the same arguments.

    Args:
        lines: Rows of one or several bands, each after its filter byte.
        image_width: Width of the whole image in pixels.
        rows: Number of rows of `lines` to undo.
        band_rows: Rows of a band; `lines` begins with a band.
        skip: Number of rows at the start that are undone, because later rows may refer to them, but not returned.
        left, width: The columns to return, in pixels.
        out: uint8, C order, any number of rows x (3 * width).
        out_row: The row of `out` for the first returned row.

    Raises:
        ValueError: `lines` or `out` is too small, or a row has a filter that banded PNG does not allow.
    """
    stride, right = 1 + 3 * image_width, 1 + 3 * (left + width)
    table = np.frombuffer(lines, np.uint8, rows * stride).reshape(rows, stride)
    filters = table[:, 0]
    if filters.max() > 2 or 2 in filters[::band_rows]:
        raise ValueError("a row has a filter that refers to another band")
    first_row = int(
        np.flatnonzero(filters[: skip + 1] != 2)[-1]
    )  # the first returned row depends on no row above this one
    filters, table = filters[first_row:], table[first_row:]
    target = out[out_row : out_row + rows - skip]
    pixels = target if first_row == skip else np.empty((len(table), 3 * width), np.uint8)
    coded = table[:, 1 + 3 * left : right]
    none = np.flatnonzero(filters == 0)
    if len(none):
        pixels[none] = coded[none]
    sub = np.flatnonzero(filters == 1)
    if len(sub):
        # only the sum of the pixels left of the window matters; summing 16 pixels at a time keeps the rows
        # of the sum long, which suits numpy
        skipped_bytes = left // 16 * 48
        undone = table[sub, 1 + skipped_bytes : right]
        if skipped_bytes:
            sums = np.add.reduce(table[sub, 1 : 1 + skipped_bytes].reshape(len(sub), -1, 48), axis=1, dtype=np.uint8)
            for half in (24, 12, 6, 3):
                sums = sums[:, :half] + sums[:, half:]
            undone[:, :3] += sums
        by_pixel = undone.reshape(len(sub), -1, 3)
        np.add.accumulate(by_pixel, axis=1, out=by_pixel)
        pixels[sub] = undone[:, 3 * left - skipped_bytes :]
    for row in np.flatnonzero(filters == 2).tolist():
        # row by row, because numpy's accumulate down columns takes ten times as long
        np.add(coded[row], pixels[row - 1], pixels[row])
    if first_row != skip:
        target[...] = pixels[skip - first_row :]


def decode_png_bands(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str = "image"
) -> npt.NDArray[np.uint8]:
    """Decode a window of a banded PNG; see `ggt_format.images.decode_bands` for arguments and errors."""
    first, last, stop_row = top // bands.rows, -(-(top + height) // bands.rows), top + height
    offsets, base, view = bands.offsets, bands.offsets[first], memoryview(data)
    undo = undo_filters if native is None else native.undo_filters
    # one band at a time stays in the processor's cache; numpy, which has a high cost per call, gets all bands at once
    step = last - first if native is None else 1
    out, row, skip, band = empty(3 * height * width).reshape(height, 3 * width), 0, top - first * bands.rows, first
    try:
        for begin in range(first, last, step):
            deflated = []
            for band in range(begin, begin + step):
                start, stop = offsets[band] - base, offsets[band + 1] - base
                checksum = int.from_bytes(view[stop - 4 : stop], "big")
                if len(view) < stop or crc32(view[start + 4 : stop - 4]) != checksum:
                    raise ValueError("the checksum is wrong")
                deflated.append(view[start + 8 : stop - 4])
            band, begin_row = begin, begin * bands.rows
            all_rows = min((begin + step) * bands.rows, bands.height) - begin_row
            lines = inflate(b"".join([*deflated, END_OF_DEFLATE]), all_rows * (1 + 3 * bands.width))
            rows = min(all_rows, stop_row - begin_row)
            undo(lines, bands.width, rows, bands.rows, skip, left, width, out, row)
            row, skip = row + rows - skip, 0
    except DAMAGE_ERRORS as fault:
        raise ShardError(f"{where}: band {band}, byte {offsets[band]}: {fault}. Download the shard again.") from fault
    return out.reshape(height, width, 3)


class Profile(NamedTuple):
    """How strongly an image is compressed. Readers need not know it."""

    level: int  # compression level of zlib-ng
    other_filter_below: float  # a row uses None or Sub if its cost is below this fraction of the cost of Up


PROFILES = {
    # images of a workspace, and those sent to a model: written often, read a few times
    "ledger": Profile(level=4, other_filter_below=0.0),
    # images of a shard: written once, read for years; not larger than Pillow's default
    "shard": Profile(level=9, other_filter_below=0.85),
}


def encode_png(image: npt.NDArray[np.uint8], band_rows: int = BAND_ROWS, *, profile: str = "ledger") -> bytes:
    """Encode an image as banded PNG. With the same profile and version of zlib-ng, equal pixels give equal bytes.

    Args:
        image: uint8, height x width x 3.
        band_rows: Rows of a band.
        profile: "ledger" is fast; "shard" takes about five times as long and gives a smaller file.

    Raises:
        ConfigError: zlib-ng is not installed.
        ValueError: The array is not an 8-bit RGB image, or it has too many rows.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image: must be uint8, height x width x 3, and is {image.dtype}, {image.shape}.")
    height, width, _ = image.shape
    if 4 * -(-height // band_rows) > HEAD - 200:
        raise ValueError(
            f"band_rows={band_rows}: the table of bands for {height} rows needs more than {HEAD} bytes. Give more rows."
        )
    level, other_filter_below = PROFILES[profile]
    return _compress(_filter(image.reshape(height, 3 * width), band_rows, other_filter_below), band_rows, level)


def _compress(lines: npt.NDArray[np.uint8], band_rows: int, level: int) -> bytes:
    """Return the file of an image from its filtered rows."""
    try:
        from zlib_ng import zlib_ng
    except ImportError as missing:
        raise ConfigError(
            "zlib-ng, which writes PNG, is not installed. Install it: pip install 'ggt100k[generate]'"
        ) from missing
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
    """Filter each row with Up, or with None or Sub where that costs less, and put its filter byte before it.

    The cost is the sum of absolute values (W3C PNG, 12.7). The cheaper one of None and Sub is used if its cost is
    below `other_below` times the cost of Up, and always in the first row of a band, because Up would refer to the band
    above.
    """
    lines = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    lines[:, 0] = 2
    up = lines[:, 1:]
    up[0] = 0
    np.subtract(rows[1:], rows[:-1], out=up[1:])
    other_rows = np.arange(len(rows)) if other_below > 0 else np.arange(0, len(rows), band_rows)
    none = rows[other_rows]
    sub = none.copy()
    sub[:, 3:] -= none[:, :-3]
    none_costs, sub_costs = _costs(none), _costs(sub)
    if other_below > 0:
        is_taken = np.minimum(none_costs, sub_costs) < other_below * _costs(up)
        is_taken[::band_rows] = True
        other_rows, none, sub = other_rows[is_taken], none[is_taken], sub[is_taken]
        none_costs, sub_costs = none_costs[is_taken], sub_costs[is_taken]
    is_sub = sub_costs < none_costs
    lines[other_rows, 0] = is_sub
    lines[other_rows, 1:] = np.where(is_sub[:, None], sub, none)
    return lines


def _costs(coded: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Return the sum of absolute values of each row of signed bytes, where |x| is the smaller one of x and -x."""
    costs: npt.NDArray[np.uint32] = np.minimum(coded, 0 - coded).sum(axis=1, dtype=np.uint32)
    return costs


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def check_banded(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Decode a banded PNG after checking every byte of it against the format.

    Each band is inflated alone, so that references to another band are detected. All bands together are compared with
    the checksum of the whole stream, which other decoders read.

    Returns:
        uint8, height x width x 3.

    Raises:
        ShardError: It is not a banded PNG, or it is damaged.
    """
    bands = read_png_bands(data, where)
    if bands is None:
        raise ShardError(f"{where}: is not a banded PNG. Pack the release again.")
    offset, starts, kinds, view = 8, [], [], memoryview(data)
    while offset + 12 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        stop = offset + 12 + size
        if stop > len(data) or crc32(view[offset + 4 : stop - 4]) != int.from_bytes(data[stop - 4 : stop], "big"):
            band = bisect.bisect_right(bands.offsets, offset) - 1
            is_in_band = 0 <= band < len(bands.offsets) - 1
            part = (
                f"band {band}, byte {offset}: the checksum"
                if is_in_band
                else f"byte {offset}: the checksum of its chunk {kind!r}"
            )
            raise ShardError(f"{where}: {part} is wrong. Download the shard again.")
        starts.append(offset)
        kinds.append(kind)
        offset = stop
    pixels, checksum = empty(3 * bands.height * bands.width).reshape(bands.height, 3 * bands.width), 1
    undo = undo_filters if native is None else native.undo_filters
    for band, top in enumerate(range(0, bands.height, bands.rows)):  # one band at a time stays in the processor's cache
        start, stop = bands.offsets[band], bands.offsets[band + 1]
        rows = min(bands.rows, bands.height - top)
        size = rows * (1 + 3 * bands.width)
        try:
            inflated = inflate(b"".join([view[start + 8 : stop - 4], MARK]), size + 1)
            if len(inflated) != size + 1 or inflated[-1] != MARK[-1]:
                raise ValueError("it is not a whole number of rows, or it refers to another band")
            undo(inflated, bands.width, rows, bands.rows, 0, 0, bands.width, pixels, top)
        except DAMAGE_ERRORS as fault:
            raise ShardError(f"{where}: band {band}, byte {start}: {fault}. Pack the release again.") from fault
        checksum = adler32(np.frombuffer(inflated, np.uint8, size), checksum)
    expected_kinds = [b"IHDR", b"sRGB", b"gbND", *[b"IDAT"] * (len(bands.offsets) + 1), b"IEND"]
    if kinds != expected_kinds or tuple(starts[4:-1]) != bands.offsets or offset != len(data):
        raise ShardError(
            f"{where}: its chunks are not those of a banded PNG, or bytes follow the last one. Pack the release again."
        )
    first, last = bands.offsets[0], bands.offsets[-1]
    end = END_OF_DEFLATE + struct.pack(">I", checksum)
    if data[first - 6 : first - 4] != ZLIB_HEADER or data[last + 8 : -16] != end:
        raise ShardError(
            f"{where}: its image data is not one zlib stream with a correct checksum. Pack the release again."
        )
    return pixels.reshape(bands.height, bands.width, 3)
