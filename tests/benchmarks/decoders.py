"""Decoders of whole images on PyPI, and which of them is the fastest here."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

Decode = Callable[[bytes], Any]


def pillow(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def decoders(codec: str) -> dict[str, Decode]:
    """Those that are installed, by name: bytes in, height x width x 3 out."""
    found: dict[str, Decode] = {}
    for name in _MAKERS[codec]:
        try:
            found[name] = decoder(codec, name)
        except (ImportError, AttributeError):
            continue
    return found


def decoder(codec: str, name: str) -> Decode:
    return _MAKERS[codec][name]()


def fastest(codec: str, images: Sequence[bytes], rounds: int) -> dict[str, float]:
    """Times as fast as Pillow, best first, of the decoders whose pixels are Pillow's."""
    truth = pillow(images[0])
    able = {name: run for name, run in decoders(codec).items() if np.array_equal(run(images[0]), truth)}
    seconds = dict.fromkeys(able, float("inf"))
    for _ in range(rounds):
        for name, run in able.items():
            start = time.perf_counter()
            for data in images:
                run(data)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return {name: seconds["Pillow"] / seconds[name] for name in sorted(seconds, key=seconds.__getitem__)}


def _opencv() -> Decode:
    import cv2

    def decode(data: bytes) -> Any:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    return decode


def _torchvision() -> Decode:
    import torch
    from torchvision.io import ImageReadMode, decode_image

    def decode(data: bytes) -> Any:
        tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return decode_image(tensor, ImageReadMode.RGB).permute(1, 2, 0).numpy()

    return decode


def _torchcodec() -> Decode:
    import torch
    from torchcodec.decoders import decode_image

    def decode(data: bytes) -> Any:
        return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode="RGB").permute(1, 2, 0).numpy()

    return decode


def _imagecodecs(codec: str) -> Callable[[], Decode]:
    def make() -> Decode:
        import imagecodecs

        decode: Decode = getattr(imagecodecs, f"{codec}_decode")
        return decode

    return make


def _kornia_png() -> Decode:
    from kornia_rs.io import decode_image_png_u8

    def decode(data: bytes) -> Any:
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))  # it wants the size
        return decode_image_png_u8(data, (height, width), "rgb")

    return decode


def _kornia_jpeg() -> Decode:
    from kornia_rs.io import decode_image_jpegturbo

    return lambda data: decode_image_jpegturbo(data, "rgb")


def _simplejpeg() -> Decode:
    import simplejpeg

    return lambda data: simplejpeg.decode_jpeg(data, "RGB")


def _pyspng() -> Decode:
    import pyspng

    load: Decode = pyspng.load
    return load


def _wuffs() -> Decode:
    from pywuffs import PixelFormat
    from pywuffs.aux import ImageDecoder, ImageDecoderConfig

    config = ImageDecoderConfig()
    config.pixel_format = PixelFormat.RGB

    return lambda data: ImageDecoder(config).decode(data).pixbuf


_SHARED: dict[str, Callable[[], Decode]] = {
    "Pillow": lambda: pillow,
    "OpenCV": _opencv,
    "torchvision": _torchvision,
    "torchcodec": _torchcodec,
    "Wuffs": _wuffs,
}
_MAKERS = {
    "png": _SHARED
    | {
        "imagecodecs": _imagecodecs("png"),
        "imagecodecs' libspng": _imagecodecs("spng"),
        "kornia_rs": _kornia_png,
        "pyspng": _pyspng,
    },
    "jpeg": _SHARED | {"imagecodecs": _imagecodecs("jpeg8"), "kornia_rs": _kornia_jpeg, "simplejpeg": _simplejpeg},
}
