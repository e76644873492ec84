"""Banded PNG against Pillow's default on the sample's photographs: size, writing, whole decode."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

import ggt100k
from ggt_format.png import encode_png

from .timing import alternate, speed


def bench() -> str:
    """The table as Markdown."""
    images = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(ggt100k.sample_folder().glob("*.jpg"))]
    theirs, ours = [_pillow(image) for image in images], [encode_png(image) for image in images]
    size = sum(map(len, ours)) / sum(map(len, theirs))
    writing = alternate(
        {"ours": lambda: [encode_png(i) for i in images], "Pillow": lambda: [_pillow(i) for i in images]}, rounds=5
    )
    reading = alternate(
        {
            "ours": lambda: [ggt100k.decode_image(data) for data in ours],
            "Pillow, a plain PNG": lambda: [_open(data) for data in theirs],
            "Pillow, ours": lambda: [_open(data) for data in ours],
        }
    )
    return (
        f"Banded PNG, {len(images)} photographs of the sample, one core\n\n"
        "| against Pillow's default | ratio |\n|---|---|\n"
        f"| size | {size:.3f} |\n"
        f"| writing, times as fast | {speed(writing, 'ours', 'Pillow'):.1f} |\n"
        f"| whole decode, times as fast as Pillow's of a plain PNG"
        f" | {speed(reading, 'ours', 'Pillow, a plain PNG'):.1f} |\n"
        f"| whole decode by Pillow of ours, times as fast as of a plain PNG"
        f" | {speed(reading, 'Pillow, ours', 'Pillow, a plain PNG'):.1f} |\n"
    )


def _pillow(image: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _open(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))
