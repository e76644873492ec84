"""Decode a stored image, PNG or JPEG, banded or not: the whole image or a window of it."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from ggt_format.bands import DAMAGE_ERRORS, Bands
from ggt_format.errors import ShardError
from ggt_format.jpeg import check_jpeg_bands, decode_jpeg, decode_jpeg_bands, read_jpeg_bands
from ggt_format.png import PNG, decode_png_bands, read_checked_chunk, read_png_bands


def read_bands(head: bytes | memoryview, where: str = "image") -> Bands | None:
    """Return the bands of an image, or None if it is not banded.

    Args:
        head: The first bytes of the image; HEAD bytes are enough.
        where: The name of the image in error messages.

    Raises:
        ShardError: The image declares bands that do not fit its size.
    """
    return read_png_bands(head, where) or read_jpeg_bands(head, where)


def decode_bands(
    data: bytes | memoryview, bands: Bands, top: int, left: int, height: int, width: int, where: str = "image"
) -> npt.NDArray[np.uint8]:
    """Decode a window of a banded image.

    Only the bands that the window touches are decoded, and their CRCs are checked.

    Args:
        data: The file's bytes from the first band that the window touches to the last.
        bands: The bands of the image, as `read_bands` returns them.
        top, left, height, width: The window in pixels.
        where: The name of the image in error messages.

    Returns:
        uint8, height x width x 3.

    Raises:
        ShardError: A band is damaged.
    """
    decode = decode_jpeg_bands if bands.head else decode_png_bands
    return decode(data, bands, top, left, height, width, where)


def check_image(data: bytes | memoryview, where: str = "image") -> None:
    """Compare an image with its checksums without decoding it. An image without checksums passes.

    Raises:
        ShardError: A checksum differs.
    """
    bands = read_bands(data, where)
    if data[:8] == PNG:
        offset = 8
        while offset < len(data):
            offset += 12 + len(read_checked_chunk(data, offset, where))
    elif bands is not None:
        check_jpeg_bands(data, bands, where)


def decode_image(data: bytes | memoryview, where: str = "image") -> npt.NDArray[np.uint8]:
    """Decode a whole stored image, banded or not.

    Returns:
        uint8, height x width x 3.

    Raises:
        ShardError: The image is damaged, or has 16 bits per channel.
    """
    bands = read_bands(data, where)
    if bands is not None and bands.head:
        return decode_jpeg(data, bands, where)
    if bands is not None:
        part = memoryview(data)[bands.offsets[0] : bands.offsets[-1]]
        return decode_bands(part, bands, 0, 0, bands.height, bands.width, where)
    check_image(data, where)
    try:
        if data[:8] == PNG and data[24:25] == b"\x10":
            raise ValueError("it has 16 bits per channel, and the format has 8")  # Pillow would drop the lower 8
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))  # a copy: Pillow's own array is read-only
    except DAMAGE_ERRORS as fault:
        raise ShardError(f"{where}: cannot be decoded: {fault}. Download the shard again.") from fault
