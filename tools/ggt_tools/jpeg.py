"""Writes the light flavour: an ordinary baseline JPEG, quality 95, 4:4:4, that a reader can enter at many places.

The layout stands in ggt100k.py, which reads it: restart markers cut each row of blocks into equal intervals, and the
segment gbND says where each band of rows begins.
"""

from __future__ import annotations

import io
import itertools
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

from ggt100k import BLOCK, JPEG, decode_image, read_bands, restarts
from ggt_tools.errors import ShardError
from ggt_tools.png import BAND_ROWS

QUALITY = 95
INTERVAL = 16  # blocks between two restarts, at most; 8 would be 2 % larger and no faster


def encode_jpeg(image: npt.NDArray[np.uint8], band_rows: int = BAND_ROWS, note: str = "") -> bytes:
    """`image` (uint8, height x width x 3) as a banded JPEG; `band_rows` is a multiple of 8, `note` is its comment.

    Equal pixels give equal bytes for one version of Pillow's libjpeg. Raises ValueError where a side is longer than
    65,500 pixels or `band_rows` is no multiple of 8.
    """
    if band_rows < BLOCK or band_rows % BLOCK:
        raise ValueError(f"a band of {band_rows} rows is no multiple of {BLOCK}")
    across = -(-image.shape[1] // BLOCK)  # blocks of a row
    # a whole number of intervals a row, so that the rows of a window are cut alike; a prime row is one interval
    interval = next((n for n in range(INTERVAL, 3, -1) if across % n == 0), across)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling=0, restart_marker_blocks=interval)
    data = buffer.getvalue()
    if note:
        data = JPEG + b"\xff\xfe" + struct.pack(">H", 2 + len(note)) + note.encode("ascii") + data[2:]
    start = _coded_from(data)
    coded = data[start:-2]  # without the end marker
    starts = [0, *(restarts(coded) + 2).tolist()]
    each = band_rows // BLOCK * (across // interval)  # intervals of a band
    offsets = [*starts[::each], len(coded)]
    bands = [coded[begin:stop] for begin, stop in itertools.pairwise(offsets)]
    numbers = [number for band in bands for number in (len(band), zlib.crc32(band))]
    table = struct.pack(f">{1 + len(numbers)}I", band_rows, *numbers)
    crc = zlib.crc32(table + data[2:start])  # of the table and the header: a flipped quantiser would show nowhere else
    body = b"gbND\0" + struct.pack(">I", crc) + table
    segment = b"\xff\xe9" + struct.pack(">H", 2 + len(body)) + body
    return JPEG + segment + data[2:]


def _coded_from(data: bytes) -> int:
    """Where the coded data begins: behind the segment that starts the scan."""
    at = 2
    while data[at + 1] != 0xDA:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def note_of(data: bytes) -> str:
    """The comment of a JPEG; "" where it has none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xFE:
            return data[at + 4 : at + 2 + size].decode("latin-1")
        at += 2 + size
    return ""


def check_jpeg(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """The pixels of a banded JPEG, after its bands were held against its bytes. Raises ShardError."""
    bands = read_bands(data, where)
    if bands is None or not bands.head:
        raise ShardError(f"{where}: is no banded JPEG; pack it again")
    if data[bands.offsets[-1] :] != b"\xff\xd9":
        raise ShardError(f"{where}: its bands do not end where the image does; pack it again")
    if any(len(restarts(data[stop - 2 : stop])) != 1 for stop in bands.offsets[1:-1]):
        raise ShardError(f"{where}: a band does not begin at a restart; pack it again")
    return decode_image(data, where)
