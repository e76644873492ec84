"""Banded PNG against Pillow's default on the sample's photographs: size, writing, whole decode."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

import ggt100k
from ggt_format.native import native
from ggt_format.png import PROFILES, encode_png

from .timing import alternate, speed


def bench() -> str:
    """The table as Markdown."""
    images = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(ggt100k.sample_folder().glob("*.jpg"))]
    theirs = [_pillow(image) for image in images]
    ours = {profile: [encode_png(image, profile=profile) for image in images] for profile in PROFILES}
    writing = alternate(
        {"Pillow": lambda: [_pillow(image) for image in images]}
        | {
            profile: lambda profile=profile: [encode_png(image, profile=profile) for image in images]  # type: ignore[misc]
            for profile in PROFILES
        },
        rounds=5,
    )
    reading = alternate(
        {
            "ours": lambda: [ggt100k.decode_image(data) for data in ours["shard"]],
            "Pillow, a plain PNG": lambda: [_open(data) for data in theirs],
            "Pillow, ours": lambda: [_open(data) for data in ours["shard"]],
        }
    )
    text = (
        f"Banded PNG, {len(images)} photographs of the sample, one core, filters undone by "
        f"{'numpy' if native is None else 'the C extension'}\n\n"
        "| against Pillow's default | ratio |\n|---|---|\n"
    )
    for profile, of in (("shard", "a shard"), ("ledger", "a workspace")):
        size = sum(map(len, ours[profile])) / sum(map(len, theirs))
        text += (
            f"| size, images of {of} | {size:.3f} |\n"
            f"| speed of writing, images of {of} | {speed(writing, profile, 'Pillow'):.2f} |\n"
        )
    return text + (
        "| speed of decoding a whole image, against Pillow on a plain PNG"
        f" | {speed(reading, 'ours', 'Pillow, a plain PNG'):.1f} |\n"
        "| speed of Pillow on a banded PNG, against Pillow on a plain PNG"
        f" | {speed(reading, 'Pillow, ours', 'Pillow, a plain PNG'):.1f} |\n"
    )


def _pillow(image: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _open(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))
