"""Photographs that remember the file that they were decoded from, so that a request sends it as it is stored."""

from __future__ import annotations

import numpy as np

from ggt_format.images import decode_image
from ggt_format.png import encode_png
from ggt_format.schema import Image


class StoredPixels(np.ndarray):
    """The pixels of a PNG file: uint8 RGB (height, width, 3). To change them, copy them first.

    Attributes:
        png: The file; empty for what numpy derives from these pixels, such as a part or a copy.
    """

    png: bytes = b""


def load_stored(png: bytes, where: str) -> Image:
    """Return the pixels of a stored photograph as StoredPixels.

    Args:
        png: The file.
        where: The name of the photograph in messages.
    """
    pixels = decode_image(png, where).view(StoredPixels)
    pixels.png = png
    return pixels


def png_of(image: Image) -> bytes:
    """Return a PNG of these pixels: the stored file, where they are those of one, and else a new one."""
    stored = image.png if isinstance(image, StoredPixels) else b""
    return stored or encode_png(image)
