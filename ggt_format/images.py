"""Decode an image as it is stored in a shard, whole or a window of it, banded or not, PNG or JPEG."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from ggt_format.bands import DAMAGE_ERRORS, Bands
from ggt_format.errors import ShardError
from ggt_format.jpeg import check_jpeg_bands, decode_jpeg, decode_jpeg_bands, jpeg_bands
from ggt_format.png import PNG, checked_chunk, decode_png_bands, png_bands


def read_bands(head: bytes | memoryview, where: str = "image") -> Bands | None:
    """Return where the bands of an image lie, or None where it is not banded.

    Args:
        head: the first bytes of the image; HEAD of them are enough.
        where: names the image in an error.

    Raises:
        ShardError: the image declares bands, and its numbers cannot be true.
    """
    return png_bands(head, where) or jpeg_bands(head, where)


def decode_bands(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str = "image"
) -> npt.NDArray[np.uint8]:
    """Decode a window of a banded image.

    Only the bands that the window touches are decoded, and their CRCs are checked.

    Args:
        data: the file's bytes from the first band that the window touches to the last.
        bands: where the bands of the image lie, as `read_bands` returns them.
        top, left, height, width: the window in pixels.
        where: names the image in an error.

    Returns:
        uint8, height x width x 3.

    Raises:
        ShardError: a band is damaged.
    """
    decode = decode_jpeg_bands if bands.head else decode_png_bands
    return decode(data, bands, top, left, height, width, where)


def check_image(data: bytes | memoryview, where: str = "image") -> None:
    """Compare an image with its checksums without decoding it; an image that has none passes. Raises ShardError."""
    bands = read_bands(data, where)
    if data[:8] == PNG:
        at = 8
        while at < len(data):
            at += 12 + len(checked_chunk(data, at, where))
    elif bands is not None:
        check_jpeg_bands(data, bands, where)


def decode_image(data: bytes | memoryview, where: str = "image") -> npt.NDArray[np.uint8]:
    """Decode a whole image as it is stored in a shard, banded or not: uint8, height x width x 3. Raises ShardError."""
    bands = read_bands(data, where)
    if bands is not None and bands.head:
        return decode_jpeg(data, bands, where)
    if bands is not None:
        part = memoryview(data)[bands.offsets[0] : bands.offsets[-1]]
        return decode_bands(part, bands, 0, 0, bands.height, bands.width, where)
    check_image(data, where)
    try:
        if data[:8] == PNG and data[24:25] == b"\x10":
            raise ValueError("its samples have 16 bits, and those of the format have 8")  # Pillow would cut them
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))  # a copy: Pillow's own array is read-only
    except DAMAGE_ERRORS as fault:
        raise ShardError(f"{where}: cannot be decoded: {fault}; fetch the shard again") from fault
