"""Banded JPEG, reading and writing: an ordinary baseline 4:4:4 JPEG of quality 95 that can be read in parts.

Restart markers divide each row of blocks into a whole number of equal intervals. The segment APP9 gbND holds a CRC-32
of everything between it and the first band, the rows of a band (a multiple of 8), and each band's size and CRC-32.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

from ggt_format.bands import DAMAGE_ERRORS, Bands, crc32
from ggt_format.buffers import empty, empty_image
from ggt_format.errors import ShardError

try:
    import simplejpeg  # type: ignore[import-untyped,unused-ignore]
except ImportError:  # the extra `jpeg`: without it Pillow decodes, slower, to the same pixels
    simplejpeg = None

JPEG = b"\xff\xd8"
BAND_ROWS = 64
BLOCK = 8  # side of a JPEG block in pixels
QUALITY = 95
INTERVAL = (
    8  # maximum blocks between two restart markers: with 8, files are 1.3 % larger than with 16, and crops 10 % faster
)


def read_jpeg_bands(head: bytes | memoryview, where: str) -> Bands | None:
    """Return the bands of a JPEG, from its segments (ITU-T T.81, annex B); None if it is not banded.

    Args:
        head: The first bytes of the file, up to the coded data.
        where: The name of the image in error messages.

    Raises:
        ShardError: The gbND segment does not fit the image.
    """
    if head[:2] != JPEG:
        return None
    offset, table, frame_size, start = 2, memoryview(b""), memoryview(b""), 0
    head = memoryview(head)
    while offset + 4 <= len(head) and head[offset] == 0xFF:
        kind, length = head[offset + 1], int.from_bytes(head[offset + 2 : offset + 4], "big")
        body = head[offset + 4 : offset + 2 + length]
        offset += 2 + length
        if kind == 0xE9 and bytes(body[:5]) == b"gbND\0":
            table, start = body[5:], offset - len(body) + 9  # the CRC covers everything after itself
        elif kind == 0xC0:
            frame_size = body[1:5]
        elif kind == 0xDA:
            break
    if not table:
        return None
    try:
        height, width = struct.unpack(">HH", frame_size)
        crc, rows, *numbers = struct.unpack(f">{len(table) // 4}I", table)
        sizes, crcs = numbers[::2], tuple(numbers[1::2])
        is_valid = offset <= len(head) and crc32(head[start:offset]) == crc and rows > 0 and rows % BLOCK == 0
        is_valid = is_valid and len(sizes) == len(crcs) == -(-height // rows)
    except struct.error:
        is_valid = False
    if not is_valid:
        raise ShardError(f"{where}: its gbND segment does not fit its header. Download the shard again.")
    return Bands(width, height, rows, tuple(itertools.accumulate(sizes, initial=offset)), bytes(head[:offset]), crcs)


def decode_jpeg_bands(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str
) -> npt.NDArray[np.uint8]:
    """Decode a window as `decode_bands` does: join the needed restart intervals into a small JPEG and decode that.

    At each restart the prediction starts again (ITU-T T.81, F.1.1.5.1), and at 4:4:4 no block depends on the pixels of
    another one. So the pixels equal those of the whole image.
    """
    first, last, view = top // bands.rows, -(-(top + height) // bands.rows), memoryview(data)
    try:
        for band in range(first, last):
            start, stop = (bands.offsets[i] - bands.offsets[first] for i in (band, band + 1))
            if len(data) < stop or crc32(view[start:stop]) != bands.crcs[band]:
                first = band
                raise ValueError("the checksum is wrong")
        dri = bands.head.index(b"\xff\xdd\x00\x04")
        interval = int.from_bytes(bands.head[dri + 4 : dri + 6], "big") * BLOCK  # in pixels
        row_intervals = -(-bands.width // interval)
        first_interval, last_interval = left // interval, -(-(left + width) // interval)
        begins = np.concatenate(
            [[0], restart_offsets(data) + 2, [len(data) + 2]]
        )  # starts of all intervals, and the end
        rows = np.arange(top // BLOCK, -(-(top + height) // BLOCK)) - first * bands.rows // BLOCK
        cuts = begins[np.add.outer(rows * row_intervals, np.arange(first_interval, last_interval + 1))]
        cuts[-1, -1] -= 2  # no marker follows the last interval
        sof = bands.head.index(b"\xff\xc0")
        size = struct.pack(
            ">HH", len(rows) * BLOCK, min(last_interval * interval, bands.width) - first_interval * interval
        )
        coded_rows = [view[start:stop] for start, stop in cuts[:, [0, -1]].tolist()]
        joined = bytearray().join([bands.head[: sof + 5], size, bands.head[sof + 9 :], *coded_rows, b"\xff\xd9"])
        marks = len(bands.head) - 1 + (cuts[:, 1:] - cuts[:, :-1]).cumsum()[:-1]  # numbered 0 to 7, repeatedly
        np.frombuffer(joined, np.uint8)[marks] = 0xD0 + np.arange(len(marks)) % 8
        pixels = decode_whole_jpeg(
            joined, len(rows) * BLOCK, min(last_interval * interval, bands.width) - first_interval * interval
        )
    except DAMAGE_ERRORS as fault:
        message = f"{where}: band {first}, byte {bands.offsets[first]}: {fault}. Download the shard again."
        raise ShardError(message) from fault
    top_margin, left_margin = top % BLOCK, left - first_interval * interval
    window = empty_image(height, width)
    window[...] = pixels[top_margin : top_margin + height, left_margin : left_margin + width]
    return window


def restart_offsets(coded: bytes | memoryview) -> npt.NDArray[np.int64]:
    """Return the offsets of the restart markers in a JPEG's coded data: int64."""
    data = np.frombuffer(coded, np.uint8)
    candidates = np.flatnonzero(data[:-1] == 0xFF)
    marks: npt.NDArray[np.int64] = candidates[(data[candidates + 1] & 0xF8) == 0xD0]
    return marks


def decode_whole_jpeg(data: bytes | bytearray | memoryview, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Decode a JPEG of known size: uint8, height x width x 3."""
    if simplejpeg is not None:  # simplejpeg raises ValueError if the buffer is too small for the image
        return simplejpeg.decode_jpeg(data, buffer=empty(3 * height * width))  # type: ignore[no-any-return]
    return np.array(Image.open(io.BytesIO(data), formats=["JPEG"]))  # a copy: Pillow's own array is read-only


def check_jpeg_bands(data: bytes | memoryview, bands: Bands, where: str) -> None:
    """Compare each band's bytes with its CRC-32. Raise ShardError if one differs."""
    view = memoryview(data)
    for number, crc in enumerate(bands.crcs):
        start, stop = bands.offsets[number], bands.offsets[number + 1]
        if crc32(view[start:stop]) != crc:
            raise ShardError(f"{where}: band {number}, byte {start}: the checksum is wrong. Download the shard again.")


def decode_jpeg(data: bytes | memoryview, bands: Bands, where: str) -> npt.NDArray[np.uint8]:
    """Decode a whole banded JPEG after comparing its checksums.

    Returns:
        uint8, height x width x 3.

    Raises:
        ShardError: A checksum differs, or the image cannot be decoded.
    """
    check_jpeg_bands(data, bands, where)
    try:
        return decode_whole_jpeg(data, bands.height, bands.width)
    except DAMAGE_ERRORS as fault:
        raise ShardError(f"{where}: cannot be decoded: {fault}. Download the shard again.") from fault


def encode_jpeg(image: npt.NDArray[np.uint8], band_rows: int = BAND_ROWS, comment: str = "") -> bytes:
    """Encode an image as banded JPEG. With the same version of Pillow's libjpeg, equal pixels give equal bytes.

    Args:
        image: uint8, height x width x 3.
        band_rows: Rows of a band, a positive multiple of 8.
        comment: The JPEG's comment, ASCII.

    Raises:
        ValueError: A side is longer than 65,500 pixels, or `band_rows` is not a positive multiple of 8.
    """
    if band_rows < BLOCK or band_rows % BLOCK:
        raise ValueError(f"band_rows={band_rows}: must be a positive multiple of {BLOCK}.")
    row_blocks = -(-image.shape[1] // BLOCK)  # blocks of a row
    # each row of blocks has a whole number of intervals, so that a window needs the same intervals of all rows
    interval = next((n for n in range(INTERVAL, 3, -1) if row_blocks % n == 0), row_blocks)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling=0, restart_marker_blocks=interval)
    data = buffer.getvalue()
    if comment:
        data = JPEG + b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment.encode("ascii") + data[2:]
    start = _coded_offset(data)
    coded = data[start:-2]  # without the end marker
    starts = [0, *(restart_offsets(coded) + 2).tolist()]
    intervals = band_rows // BLOCK * (row_blocks // interval)  # of a band
    offsets = [*starts[::intervals], len(coded)]
    bands = [coded[begin:stop] for begin, stop in itertools.pairwise(offsets)]
    numbers = [number for band in bands for number in (len(band), zlib.crc32(band))]
    table = struct.pack(f">{1 + len(numbers)}I", band_rows, *numbers)
    crc = zlib.crc32(
        table + data[2:start]
    )  # covers the header too, because a damaged quantisation table would otherwise go unnoticed
    body = b"gbND\0" + struct.pack(">I", crc) + table
    segment = b"\xff\xe9" + struct.pack(">H", 2 + len(body)) + body
    return JPEG + segment + data[2:]


def _coded_offset(data: bytes) -> int:
    """Return the offset of the coded data, which follow the start-of-scan segment."""
    offset = 2
    while data[offset + 1] != 0xDA:
        offset += 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")
    return offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], "big")


def read_comment(data: bytes) -> str:
    """Return the comment of a JPEG; "" if it has none."""
    offset = 2
    while offset + 4 <= len(data) and data[offset] == 0xFF and data[offset + 1] != 0xDA:
        size = int.from_bytes(data[offset + 2 : offset + 4], "big")
        if data[offset + 1] == 0xFE:
            return data[offset + 4 : offset + 2 + size].decode("latin-1")
        offset += 2 + size
    return ""


def check_jpeg(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Decode a banded JPEG after checking that its bands match its bytes.

    Returns:
        uint8, height x width x 3.

    Raises:
        ShardError: It is not a banded JPEG, its bands do not match, or it is damaged.
    """
    bands = read_jpeg_bands(data, where)
    if bands is None:
        raise ShardError(f"{where}: is not a banded JPEG. Pack the release again.")
    if data[bands.offsets[-1] :] != b"\xff\xd9":
        raise ShardError(f"{where}: its last band does not end at the end of the image. Pack the release again.")
    if any(len(restart_offsets(data[stop - 2 : stop])) != 1 for stop in bands.offsets[1:-1]):
        raise ShardError(f"{where}: a band does not begin at a restart marker. Pack the release again.")
    return decode_jpeg(data, bands, where)
