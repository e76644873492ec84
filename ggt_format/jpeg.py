"""Banded JPEG, reading and writing: an ordinary baseline 4:4:4 JPEG of quality 95 that can be read in parts.

Restart markers cut each row of blocks into a whole number of equal intervals. The segment APP9 gbND holds a CRC-32 of
all that follows it before the first band, the rows of a band (a multiple of 8), and each band's size and CRC-32.
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
BLOCK = 8  # pixels of a JPEG block's side
QUALITY = 95
INTERVAL = 8  # largest number of blocks between two restart markers: 1.3 % larger than 16, and crops take a tenth less


def jpeg_bands(head: bytes | memoryview, where: str) -> Bands | None:
    """Return where the bands of a JPEG lie, from its segments (ITU-T T.81, annex B) up to the coded data.

    None where it is not banded.
    """
    if head[:2] != JPEG:
        return None
    at, found, size, start = 2, memoryview(b""), memoryview(b""), 0
    head = memoryview(head)
    while at + 4 <= len(head) and head[at] == 0xFF:
        kind, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        body = head[at + 4 : at + 2 + length]
        at += 2 + length
        if kind == 0xE9 and bytes(body[:5]) == b"gbND\0":
            found, start = body[5:], at - len(body) + 9  # the CRC covers everything after itself
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
        right = at <= len(head) and crc32(head[start:at]) == crc and rows > 0 and rows % BLOCK == 0
        right = right and len(sizes) == len(crcs) == -(-height // rows)
    except struct.error:
        right = False
    if not right:
        raise ShardError(f"{where}: its gbND segment does not fit its header; fetch the shard again")
    return Bands(width, height, rows, tuple(itertools.accumulate(sizes, initial=at)), bytes(head[:at]), crcs)


def decode_jpeg_bands(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str
) -> npt.NDArray[np.uint8]:
    """Decode a window, as `decode_bands`: join the restart intervals that it needs into a small JPEG and decode that.

    At each restart the prediction starts anew (ITU-T T.81, F.1.1.5.1), and at 4:4:4 no block's pixels depend on another
    block: the pixels are those of the whole image's decode.
    """
    first, last, view = top // bands.rows, -(-(top + height) // bands.rows), memoryview(data)
    try:
        for band in range(first, last):
            start, stop = (bands.offsets[i] - bands.offsets[first] for i in (band, band + 1))
            if len(data) < stop or crc32(view[start:stop]) != bands.crcs[band]:
                first = band
                raise ValueError("the checksum is wrong")
        dri = bands.head.index(b"\xff\xdd\x00\x04")
        interval = int.from_bytes(bands.head[dri + 4 : dri + 6], "big") * BLOCK  # pixels of a row
        across = -(-bands.width // interval)
        lo, hi = left // interval, -(-(left + width) // interval)
        begins = np.concatenate([[0], restart_offsets(data) + 2, [len(data) + 2]])  # of all intervals, and the end
        rows = np.arange(top // BLOCK, -(-(top + height) // BLOCK)) - first * bands.rows // BLOCK
        wanted = begins[np.add.outer(rows * across, np.arange(lo, hi + 1))]
        wanted[-1, -1] -= 2  # no marker follows the last interval
        sof = bands.head.index(b"\xff\xc0")
        size = struct.pack(">HH", len(rows) * BLOCK, min(hi * interval, bands.width) - lo * interval)
        kept = [view[start:stop] for start, stop in wanted[:, [0, -1]].tolist()]
        small = bytearray().join([bands.head[: sof + 5], size, bands.head[sof + 9 :], *kept, b"\xff\xd9"])
        marks = (
            len(bands.head) - 1 + (wanted[:, 1:] - wanted[:, :-1]).cumsum()[:-1]
        )  # their numbers run from 0 to 7, again and again
        np.frombuffer(small, np.uint8)[marks] = 0xD0 + np.arange(len(marks)) % 8
        pixels = decode_whole_jpeg(small, len(rows) * BLOCK, min(hi * interval, bands.width) - lo * interval)
    except DAMAGE_ERRORS as fault:
        at = bands.offsets[first]
        raise ShardError(f"{where}: band {first}, byte {at}: {fault}; fetch the shard again") from fault
    above, before = top % BLOCK, left - lo * interval
    window = empty_image(height, width)
    window[...] = pixels[above : above + height, before : before + width]
    return window


def restart_offsets(coded: bytes | memoryview) -> npt.NDArray[np.int64]:
    """Return the offsets of the restart markers in a JPEG's coded data: int64."""
    data = np.frombuffer(coded, np.uint8)
    found = np.flatnonzero(data[:-1] == 0xFF)
    marks: npt.NDArray[np.int64] = found[(data[found + 1] & 0xF8) == 0xD0]
    return marks


def decode_whole_jpeg(data: bytes | bytearray | memoryview, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Decode a JPEG of a size that is known: uint8, height x width x 3."""
    if simplejpeg is not None:  # it refuses a buffer that is too small for the image
        return simplejpeg.decode_jpeg(data, buffer=empty(3 * height * width))  # type: ignore[no-any-return]
    return np.array(Image.open(io.BytesIO(data), formats=["JPEG"]))  # a copy: Pillow's own array is read-only


def check_jpeg_bands(data: bytes | memoryview, bands: Bands, where: str) -> None:
    """Compare each band's bytes with its CRC-32. Raises ShardError."""
    view = memoryview(data)
    for number, crc in enumerate(bands.crcs):
        start, stop = bands.offsets[number], bands.offsets[number + 1]
        if crc32(view[start:stop]) != crc:
            raise ShardError(f"{where}: band {number}, byte {start}: the checksum is wrong; fetch the shard again")


def decode_jpeg(data: bytes | memoryview, bands: Bands, where: str) -> npt.NDArray[np.uint8]:
    """Decode a whole banded JPEG after comparing its checksums: uint8, height x width x 3. Raises ShardError."""
    check_jpeg_bands(data, bands, where)
    try:
        return decode_whole_jpeg(data, bands.height, bands.width)
    except DAMAGE_ERRORS as fault:
        raise ShardError(f"{where}: cannot be decoded: {fault}; fetch the shard again") from fault


def encode_jpeg(image: npt.NDArray[np.uint8], band_rows: int = BAND_ROWS, note: str = "") -> bytes:
    """Encode an image as banded JPEG. Equal pixels give equal bytes for one version of Pillow's libjpeg.

    Args:
        image: uint8, height x width x 3.
        band_rows: rows of a band, a multiple of 8.
        note: the JPEG's comment.

    Raises:
        ValueError: a side is longer than 65,500 pixels, or `band_rows` is not a multiple of 8.
    """
    if band_rows < BLOCK or band_rows % BLOCK:
        raise ValueError(f"a band of {band_rows} rows is no multiple of {BLOCK}")
    across = -(-image.shape[1] // BLOCK)  # blocks of a row
    # a whole number of intervals for each row of blocks, so that a window cuts all rows alike
    interval = next((n for n in range(INTERVAL, 3, -1) if across % n == 0), across)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling=0, restart_marker_blocks=interval)
    data = buffer.getvalue()
    if note:
        data = JPEG + b"\xff\xfe" + struct.pack(">H", 2 + len(note)) + note.encode("ascii") + data[2:]
    start = _coded_from(data)
    coded = data[start:-2]  # without the end marker
    starts = [0, *(restart_offsets(coded) + 2).tolist()]
    each = band_rows // BLOCK * (across // interval)  # intervals of a band
    offsets = [*starts[::each], len(coded)]
    bands = [coded[begin:stop] for begin, stop in itertools.pairwise(offsets)]
    numbers = [number for band in bands for number in (len(band), zlib.crc32(band))]
    table = struct.pack(f">{1 + len(numbers)}I", band_rows, *numbers)
    crc = zlib.crc32(table + data[2:start])  # covers the header too: nothing else would reveal a damaged quantiser
    body = b"gbND\0" + struct.pack(">I", crc) + table
    segment = b"\xff\xe9" + struct.pack(">H", 2 + len(body)) + body
    return JPEG + segment + data[2:]


def _coded_from(data: bytes) -> int:
    """Return the offset of the coded data: after the segment that starts the scan."""
    at = 2
    while data[at + 1] != 0xDA:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def note_of(data: bytes) -> str:
    """Return the comment of a JPEG; "" where it has none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xFE:
            return data[at + 4 : at + 2 + size].decode("latin-1")
        at += 2 + size
    return ""


def check_jpeg(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Decode a banded JPEG after checking that its bands match its bytes. Raises ShardError."""
    bands = jpeg_bands(data, where)
    if bands is None:
        raise ShardError(f"{where}: is no banded JPEG; pack it again")
    if data[bands.offsets[-1] :] != b"\xff\xd9":
        raise ShardError(f"{where}: its bands do not end where the image does; pack it again")
    if any(len(restart_offsets(data[stop - 2 : stop])) != 1 for stop in bands.offsets[1:-1]):
        raise ShardError(f"{where}: a band does not begin at a restart; pack it again")
    return decode_jpeg(data, bands, where)
