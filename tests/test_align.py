"""align: whatever frame and size a reply has, the ground truth lies on its photograph pixel by pixel."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ggt_tools.align import align
from ggt_tools.records import Candidate
from ggt_tools.restore import padded

from .making import Store, make_pair
from .photographs import crop, psnr

Pixels = npt.NDArray[np.uint8]


def candidate(frame: tuple[int, ...] = ()) -> Candidate:
    pair = make_pair(Store(), 1)
    return Candidate(**{name: getattr(pair.candidate, name) for name in pair.candidate.__slots__} | {"frame": frame})


def frame_of(width: int, height: int) -> tuple[int, ...]:
    side = max(width, height)
    return (side, side, (side - width) // 2, (side - height) // 2, width, height)


def encoded(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def test_what_has_the_photographs_size_stays_as_it_is() -> None:
    image = crop("aitzgorri-1", 200)[:150]
    found = align(encoded(image), candidate(), width=200, height=150)
    assert found.image is not None and np.array_equal(found.image, image)


@given(st.integers(8, 90), st.integers(8, 90))
@settings(max_examples=40, deadline=None)
def test_padding_is_cut_back_to_the_pixel(width: int, height: int) -> None:
    image = crop("aitzgorri-1", 96)[:height, :width]
    frame = frame_of(width, height)
    found = align(encoded(padded(image, frame)), candidate(frame), width=width, height=height)
    assert found.image is not None and np.array_equal(found.image, image)


@pytest.mark.parametrize("side", [1024, 768, 512, 500])
def test_another_size_is_brought_back_without_a_shift(side: int) -> None:
    image = crop("aitzgorri-1", 400)[:300]
    frame = frame_of(400, 300)
    reply = cv2.resize(padded(image, frame), (side, side), interpolation=cv2.INTER_CUBIC)
    found = align(encoded(reply), candidate(frame), width=400, height=300)
    assert found.image is not None and found.image.shape == (300, 400, 3)
    assert psnr(found.image, image) > 38
    moved = [
        psnr(found.image[8:-8, 8:-8], np.roll(image, step, axis)[8:-8, 8:-8]) for step in (1, -1) for axis in (0, 1)
    ]
    assert psnr(found.image, image) > max(moved) + 3, "half a pixel of shift would show"


def test_models_round_a_side_to_multiples() -> None:
    image = crop("aitzgorri-1", 300)[:200]
    reply = cv2.resize(image, (304, 200), interpolation=cv2.INTER_CUBIC)
    found = align(encoded(reply), candidate(), width=300, height=200)
    assert found.image is not None and found.image.shape == (200, 300, 3)


def test_another_ratio_of_the_sides_is_refused() -> None:
    found = align(encoded(crop("aitzgorri-1", 300)[:200]), candidate(), width=300, height=210)
    assert (found.image, found.reason) == (None, "aspect_changed")
    assert found.detail == "came back as 300 x 200, was sent as 300 x 210; try another seed or restorer"


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_a_reply_may_be_of_any_kind_that_restore_takes(kind: str, options: dict[str, Any]) -> None:
    image = crop("aitzgorri-1", 128)
    found = align(encoded(image, kind, **options), candidate(), width=128, height=128)
    assert found.image is not None and psnr(found.image, image) > 30


def test_alpha_and_palettes_become_rgb() -> None:
    image = Image.fromarray(crop("aitzgorri-1", 64))
    for changed in (image.convert("RGBA"), image.convert("P"), image.convert("L")):
        buffer = io.BytesIO()
        changed.save(buffer, "PNG")
        found = align(buffer.getvalue(), candidate(), width=64, height=64)
        assert found.image is not None
        assert np.array_equal(found.image, np.asarray(changed.convert("RGB")))
