"""Make previews: small lossy copies of images, for pages and for tables that people look through."""

from __future__ import annotations

import io

from PIL import Image

from ggt_format.schema import Image as Pixels
from ggt_tools.errors import ConfigError

LONG_SIDE = 256  # pixels of the longer side
QUALITY = 80  # of WebP and JPEG, 0 to 100
SUFFIXES = {"webp": "webp", "jpeg": "jpg"}  # by codec


def preview_size(width: int, height: int, long_side: int = LONG_SIDE) -> tuple[int, int]:
    """Return width and height of the preview of an image. An image that is smaller keeps its size."""
    scale = min(1.0, long_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def make_preview(pixels: Pixels, *, long_side: int = LONG_SIDE, codec: str = "webp", quality: int = QUALITY) -> bytes:
    """Return a small copy of an image as a file.

    Args:
        pixels: uint8 RGB, (height, width, 3).
        long_side: Largest number of pixels of the longer side. A smaller image keeps its size.
        codec: Format of the file, "webp" or "jpeg".
        quality: Quality of the compression, 0 to 100.

    Returns:
        The file. Equal pixels give equal bytes with one version of Pillow.

    Raises:
        ConfigError: `codec` is unknown, or this Pillow cannot write it.
    """
    image = Image.fromarray(pixels)
    size = preview_size(image.width, image.height, long_side)
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    if codec == "jpeg":
        image.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
        return file.getvalue()
    if codec != "webp":
        raise ConfigError(f"{codec}: is not a format of previews. Give webp or jpeg.")
    try:
        image.save(file, "WEBP", quality=quality, method=4)
    except (OSError, KeyError) as fault:  # a Pillow that was built without libwebp
        raise ConfigError(
            f"this Pillow cannot write WebP: {fault}. Install a wheel of Pillow, or give jpeg."
        ) from fault
    return file.getvalue()
