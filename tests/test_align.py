"""align: the ground truth is put on its photograph pixel by pixel, whatever frame and size the output has."""

from __future__ import annotations

import io
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from threadpoolctl import threadpool_info, threadpool_limits

from ggt_format.png import encode_png
from ggt_tools.records import Candidate
from ggt_tools.stages.align import CONFIDENT, InFrame, align, residual
from ggt_tools.stages.align.blocks import SMALLEST, Photograph
from ggt_tools.stages.align.geometry import Matrix, moved, places, scaling
from ggt_tools.stages.align.run import holds_pixels
from ggt_tools.stages.restore import pad

from .making import Store, make_pair
from .photographs import (
    aged,
    at_night,
    blurred,
    crop,
    hazed,
    jpeg,
    noisy,
    photograph,
    psnr,
    rained_on,
    snowed_on,
    veiled,
)

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


def test_a_reply_of_the_photographs_size_is_unchanged() -> None:
    image = crop("aitzgorri-1", 200)[:150]
    found = align(encoded(image), image, candidate())
    assert found.image is not None and np.array_equal(found.image, image)
    assert (found.model, found.resampled, found.missing) == ("identity", False, 0.0)
    assert found.transform == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@given(st.integers(8, 90), st.integers(8, 90))
@settings(max_examples=40, deadline=None)
def test_padding_is_cropped_exactly(width: int, height: int) -> None:
    image = crop("aitzgorri-1", 96)[:height, :width]
    frame = frame_of(width, height)
    found = align(encoded(pad(image, frame)), image, candidate(frame))
    assert found.image is not None and np.array_equal(found.image, image)


@pytest.mark.parametrize("side", [1024, 768, 512, 500])
def test_a_reply_of_another_size_is_resized_without_a_shift(side: int) -> None:
    image = crop("aitzgorri-1", 400)[:300]
    frame = frame_of(400, 300)
    reply = cv2.resize(pad(image, frame), (side, side), interpolation=cv2.INTER_CUBIC)
    found = align(encoded(reply), image, candidate(frame))
    assert found.image is not None and found.image.shape == (300, 400, 3)
    assert psnr(found.image, image) > 38
    moved = [
        psnr(found.image[8:-8, 8:-8], np.roll(image, step, axis)[8:-8, 8:-8]) for step in (1, -1) for axis in (0, 1)
    ]
    assert psnr(found.image, image) > max(moved) + 3, "half a pixel of shift would show"


def test_sides_rounded_to_multiples_are_accepted() -> None:
    image = crop("aitzgorri-1", 300)[:200]
    reply = cv2.resize(image, (304, 200), interpolation=cv2.INTER_CUBIC)
    found = align(encoded(reply), image, candidate())
    assert found.image is not None and found.image.shape == (200, 300, 3)


def test_an_unexplained_aspect_ratio_is_refused() -> None:
    lq = crop("friends-1", 300)[:260]
    found = align(encoded(crop("aitzgorri-1", 300)[:200]), lq, candidate())
    assert (found.image, found.reason) == (None, "aspect_changed")
    assert found.detail == "the result is 300 x 200, and the photograph 300 x 260; try another seed or restorer"
    assert found.confidence < CONFIDENT


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_every_image_format_of_replies_is_read(kind: str, options: dict[str, Any]) -> None:
    image = crop("aitzgorri-1", 128)
    found = align(encoded(image, kind, **options), image, candidate())
    assert found.image is not None and psnr(found.image, image) > 30


def test_alpha_and_palettes_become_rgb() -> None:
    image = Image.fromarray(crop("aitzgorri-1", 64))
    for changed in (image.convert("RGBA"), image.convert("P"), image.convert("L")):
        buffer = io.BytesIO()
        changed.save(buffer, "PNG")
        found = align(buffer.getvalue(), crop("aitzgorri-1", 64), candidate())
        assert found.image is not None
        assert np.array_equal(found.image, np.asarray(changed.convert("RGB")))


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["alpha", "one pixel, nearly opaque", "grey alpha", "transparent colour"])
def test_a_reply_that_is_transparent_anywhere_is_refused(kind: str) -> None:
    lq = crop("aitzgorri-1", 64)
    image, options = Image.fromarray(lq).convert("RGBA"), {}
    if kind == "alpha":
        image.putalpha(128)
    elif kind == "one pixel, nearly opaque":
        image.putpixel((5, 7), (1, 2, 3, 254))
    elif kind == "grey alpha":
        image = image.convert("LA")
        image.putpixel((5, 7), (1, 0))
    else:
        image, options = Image.fromarray(lq), {"transparency": tuple(lq[0, 0].tolist())}
    found = align(saved(image, **options), lq, candidate())
    assert (found.image, found.reason) == (None, "transparent")
    assert found.detail == "the reply: some pixels are transparent; try another seed or restorer"


def test_a_rotated_reply_is_turned_upright() -> None:
    lq = crop("aitzgorri-1", 96)[:64]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise for display
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(lq)))
    for image in (turned, turned.convert("RGBA")):
        found = align(saved(image, exif=exif), lq, candidate())
        assert found.image is not None and np.array_equal(found.image, lq)


def test_a_replys_profile_is_brought_to_srgb() -> None:
    """A profile of sRGB whose red and blue are exchanged: its pixels are, too."""
    lq = crop("aitzgorri-1", 96)
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    found = align(saved(Image.fromarray(lq[..., ::-1].copy()), icc_profile=bytes(profile)), lq, candidate())
    assert found.image is not None
    assert np.abs(found.image.astype(int) - lq).max() <= 2


def test_a_16_bit_reply_is_rounded_to_8_bits_and_recorded() -> None:
    lq = crop("aitzgorri-1", 64)
    found = align(cv2.imencode(".png", lq[..., ::-1].astype(np.uint16) * 257)[1].tobytes(), lq, candidate())
    assert found.image is not None and np.array_equal(found.image, lq)
    assert (found.size, found.changes) == ((64, 64), ("16_bit_to_8_bit",))


def test_a_damaged_reply_is_refused_as_by_ingest() -> None:
    lq = crop("aitzgorri-1", 256)
    whole = cv2.imencode(".jpg", lq[..., ::-1])[1].tobytes()
    found = align(whole[: len(whole) // 2] + b"\xff\xd9", lq, candidate())
    assert (found.image, found.reason) == (None, "damaged")


# --- known geometry -------------------------------------------------------------------------------------------------

RIGHT = 0.3  # px RMS at 1024, of what moved little
RIGHT_SHARE = 0.4  # of a motion that is undone
RIGHT_AT_MOST = 1.0  # px RMS at 1024
DEGRADED: dict[str, Callable[[Pixels], Pixels]] = {
    "none": lambda image: image,
    "haze": lambda image: veiled(image, 0.6),
    "thick haze": lambda image: jpeg(noisy(veiled(image, 0.85), 2), 60),
    "night": lambda image: at_night(image, 0.3),
    "darkness": lambda image: at_night(image, 0.08),
    "noise": lambda image: noisy(image, 12),
    "strong noise": lambda image: noisy(image, 30),
    "blur": lambda image: blurred(image, 2),
    "strong blur": lambda image: noisy(blurred(image, 4), 3),
    "jpeg 20": lambda image: jpeg(image, 20),
    "jpeg 8": lambda image: jpeg(image, 8),
    "rain": lambda image: rained_on(image, 0.004),
    "snow": lambda image: snowed_on(image, 0.004),
    "age": lambda image: aged(image, 0.8),
}
GEOMETRY: tuple[tuple[str, float], ...] = (
    ("shift", 0.0), ("shift", 0.25), ("shift", 1.0), ("shift", 4.0), ("shift", 12.0), ("shift", 30.0),
    ("scale", 0.5), ("scale", -2.0), ("scale", 4.0), ("scale", -6.0), ("stretch", 1.5), ("rotation", 0.3),
    ("rotation", 1.5), ("shear", 1.0), ("perspective", 1.0),
)  # fmt: skip


def known_motion(width: int, height: int, kind: str, amount: float) -> Matrix:
    """reply <- photograph: shifts in px at 1024, angles in degrees, all else in per cent; about the centre."""
    centre = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    matrix, share, side = np.eye(3), amount / 100, max(width, height)
    if kind == "shift":
        matrix[:2, 2] = amount * side / 1024 * np.array([0.8, -0.6])
    if kind == "scale":
        matrix[:2, :2] *= 1 + share
    if kind == "stretch":
        matrix[0, 0] = 1 + share
    if kind == "rotation":
        c, s = np.cos(np.radians(amount)), np.sin(np.radians(amount))
        matrix[:2, :2] = [[c, -s], [s, c]]
    if kind == "shear":
        matrix[0, 1] = share
    if kind == "perspective":
        matrix[2, :2] = np.array([2, -1]) * share / side
    return centre @ matrix @ np.linalg.inv(centre)


def restored(image: Pixels, matrix: Matrix, size: tuple[int, int] | None = None) -> Pixels:
    """What a model makes of it: other tones, a little less noise, an encoding of its own, in a frame of its own."""
    smooth = cv2.bilateralFilter(image, 5, 12, 2) / 255.0
    toned = np.clip((smooth**0.85 - 0.5) * 1.15 + 0.5, 0, 1) * [1.0, 0.98, 0.94]
    other = jpeg(np.asarray(np.rint(toned * 255), np.uint8), 92)
    if size is None and np.array_equal(matrix, np.eye(3)):
        return other
    flags, border = cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
    return cv2.warpPerspective(other, matrix, size or image.shape[1::-1], flags=flags, borderMode=border)


def off(found: InFrame, matrix: Matrix, width: int, height: int) -> float:
    """Px at 1024, RMS over the frame: where the reply was taken from, against where it should have been."""
    points = places(width, height)
    error = moved(np.array(found.transform[:9]).reshape(3, 3) @ matrix, points) - points
    return float(np.sqrt((error**2).sum(axis=1).mean())) * 1024 / max(width, height)


def outcome(found: InFrame, matrix: Matrix, width: int, height: int) -> str:
    if found.confidence < CONFIDENT:
        return "unsure"
    points = places(width, height)
    far = float(np.sqrt(((moved(matrix, points) - points) ** 2).sum(axis=1).mean())) * 1024 / max(width, height)
    allowed = max(RIGHT, min(RIGHT_SHARE * far, RIGHT_AT_MOST))
    return "right" if off(found, matrix, width, height) <= allowed else "wrong"


def grid(
    names: Iterable[str], geometry: Iterable[tuple[str, float]], degraded: Iterable[str]
) -> Counter[tuple[str, str, str]]:
    """How often each kind of geometry under each degradation ended right, unsure or wrong."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for name, (kind, amount), fault in itertools.product(names, geometry, degraded):
        image = photograph(name)
        height, width = image.shape[:2]
        matrix = known_motion(width, height, kind, amount)
        found = align(encoded(restored(image, matrix)), DEGRADED[fault](image), candidate())
        counted[kind, fault, outcome(found, matrix, width, height)] += 1
    return counted


def show(counted: Counter[tuple[str, str, str]]) -> str:
    """A line for each degradation and each kind of geometry: shares of right, unsure and wrong."""
    lines = []
    for at in (1, 0):
        for name in dict.fromkeys(key[at] for key in counted):
            here = {way: sum(n for key, n in counted.items() if key[at] == name and key[2] == way) for way in WAYS}
            total = sum(here.values())
            lines.append(f"{name:14} " + "  ".join(f"{way} {here[way] / total:4.2f}" for way in WAYS) + f"  of {total}")
    return "\n".join(lines)


WAYS = ("right", "unsure", "wrong")


@pytest.mark.slow
def test_a_fit_is_accurate_or_marked_as_unsure() -> None:
    counted: Counter[tuple[str, str, str]] = Counter()
    cases = list(itertools.product(GEOMETRY, DEGRADED))
    for at, name in enumerate(("friends-2", "wine-2", "sunset-2", "picture-1a-1")):
        for geometry, fault in cases[at::15]:
            counted += grid([name], [geometry], [fault])
    print(show(counted))
    ways = {way: sum(n for key, n in counted.items() if key[2] == way) for way in WAYS}
    assert ways["wrong"] == 0, show(counted)
    assert ways["right"] >= 0.85 * sum(ways.values()), show(counted)
    assert {way for _, fault, way in counted if fault in ("none", "haze", "noise")} == {"right"}, show(counted)


@pytest.mark.parametrize("kind", ["shift", "scale", "rotation", "stretch", "shear", "perspective"])
def test_a_fitted_motion_is_undone(kind: str) -> None:
    image = photograph("aitzgorri-2")
    matrix = known_motion(640, 640, kind, 8.0 if kind == "shift" else 1.0)
    found = align(encoded(restored(image, matrix)), hazed(image, 0.3), candidate())
    inner = np.s_[32:-32, 32:-32]
    assert found.image is not None and found.resampled and found.confidence > 0.8
    assert off(found, matrix, 640, 640) < 0.15
    assert found.residual_p99 < 1.0
    assert psnr(found.image[inner], restored(image, np.eye(3))[inner]) > 33


@pytest.mark.parametrize("fault", ["none", "haze", "night", "noise", "jpeg 20"])
def test_an_aligned_reply_is_unchanged_bit_by_bit(fault: str) -> None:
    image = photograph("friends-2")
    reply = restored(image, np.eye(3))
    found = align(encoded(reply), DEGRADED[fault](image), candidate())
    assert found.image is not None and np.array_equal(found.image, reply)
    assert (found.model, found.resampled) == ("identity", False)
    assert found.confidence >= CONFIDENT


def test_a_shift_of_a_quarter_pixel_is_not_resampled() -> None:
    image = photograph("aitzgorri-2")
    reply = restored(image, known_motion(640, 640, "shift", 0.2))
    found = align(encoded(reply), image, candidate())
    assert found.image is not None and np.array_equal(found.image, reply)
    assert found.confidence >= CONFIDENT


@pytest.mark.parametrize("step", [4, 16, 64])
def test_an_object_that_moved_by_itself_stays_where_the_model_put_it(step: int) -> None:
    image = photograph("friends-1")
    reply = image.copy()
    reply[200:300, 200 + step : 300 + step] = image[200:300, 200:300]
    found = align(encoded(reply), noisy(image, 8), candidate())
    assert found.image is not None and np.array_equal(found.image, reply)
    assert found.confidence >= CONFIDENT and found.residual_median < 0.5
    assert found.residual_p99 > 3.0 or step == 64, "flow loses what went further than itself"


def test_the_residual_is_measured_in_pixels_at_1024() -> None:
    image = photograph("friends-1")
    for size, step in ((576, 2.0), (288, 1.0)):
        small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        flags = cv2.INTER_CUBIC
        gone = cv2.warpAffine(small, np.array([[1, 0, step], [0, 1, 0.0]]), (size, size), flags=flags)
        assert residual(Photograph(small), gone)[0] == pytest.approx(2.0 * 1024 / 576, rel=0.1)


# --- another ratio of the sides ---------------------------------------------------------------------------------------


def sized(ratio: tuple[int, int], how: str) -> tuple[Pixels, Pixels, Matrix]:
    """A photograph, what a model made of it in a picture of another ratio, and how it lies there."""
    image = photograph("aitzgorri-2")
    width, height = ratio
    x, y = width / 640, height / 640
    scale = {"cut": max(x, y), "painted around": min(x, y)}.get(how)
    matrix = scaling(scale or x, scale or y)
    if scale:
        matrix[:2, 2] += [(width - scale * 640) / 2, (height - scale * 640) / 2]
    return image, restored(image, matrix, ratio), matrix


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [(896, 1152), (1280, 960), (720, 640)])
@pytest.mark.parametrize("how", ["stretched", "painted around"])
def test_an_explained_aspect_ratio_is_undone(ratio: tuple[int, int], how: str) -> None:
    image, reply, matrix = sized(ratio, how)
    found = align(encoded(reply), veiled(image, 0.5), candidate())
    assert found.reason == "" and found.confidence >= CONFIDENT
    assert found.image is not None and found.image.shape == image.shape
    assert off(found, matrix, 640, 640) < RIGHT
    assert psnr(found.image[16:-16, 16:-16], restored(image, np.eye(3))[16:-16, 16:-16]) > 30


def test_cropped_areas_are_counted_as_missing() -> None:
    image, reply, _ = sized((896, 1152), "cut")
    found = align(encoded(reply), veiled(image, 0.5), candidate())
    assert (found.image, found.reason) == (None, "misaligned")
    assert found.missing == pytest.approx(1 - 896 / 1152, abs=0.02)
    assert found.detail.startswith("the view has changed: missing 2")


def test_padding_that_the_model_removed_is_recognised() -> None:
    image = crop("aitzgorri-1", 640)[:480]
    found = align(encoded(restored(image, scaling(1.6, 1.6), (1024, 768))), image, candidate(frame_of(640, 480)))
    assert found.image is not None and found.confidence >= CONFIDENT
    assert off(found, scaling(1.6, 1.6), 640, 480) < RIGHT


# --- beyond the bounds, and beyond telling ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "amount", "said"),
    [
        ("shift", 70.0, "the view has changed: translation 6.8 %, at most 5 %"),
        ("scale", -13.0, "the view has changed: scale 13.0 %, at most 10 %"),
        ("scale", 5.0, "the view has changed: missing"),
        ("rotation", 4.0, "the view has changed: rotation 4.0°, at most 3°"),
        ("stretch", -7.0, "the view has changed: shear 7."),
        ("perspective", 4.0, "the view has changed: perspective"),
    ],
)
def test_a_motion_beyond_its_bound_is_misaligned(kind: str, amount: float, said: str) -> None:
    image = photograph("aitzgorri-2")
    found = align(encoded(restored(image, known_motion(640, 640, kind, amount))), image, candidate())
    assert (found.image, found.reason) == (None, "misaligned")
    assert found.detail.startswith(said)
    assert found.detail.endswith("; ask for the same framing and viewpoint, or try another seed or restorer")
    assert found.confidence >= CONFIDENT


def drifted(image: Pixels, matrix: Matrix, amount: float, cells: int = 5) -> Pixels:
    """What a model redraws: one motion of the frame, and smooth offsets of `amount` px at 1024 (RMS) on top."""
    height, width = image.shape[:2]
    random = np.random.default_rng(5)
    fields = [
        cv2.resize(
            random.normal(0, 1, (cells, cells)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        for _ in range(2)
    ]
    scale = amount * max(width, height) / 1024 / np.sqrt(sum(float((field**2).mean()) for field in fields))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    place = moved(np.linalg.inv(matrix), np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64))
    map_x = np.asarray(place[:, 0].reshape(height, width) + fields[0] * scale, np.float32)
    map_y = np.asarray(place[:, 1].reshape(height, width) + fields[1] * scale, np.float32)
    return cv2.remap(image, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


@pytest.mark.parametrize(("kind", "amount"), [("shift", 6.0), ("scale", -1.5), ("perspective", 1.0)])
def test_a_redrawn_image_is_aligned_approximately(kind: str, amount: float) -> None:
    image = photograph("aitzgorri-2")
    matrix = known_motion(640, 640, kind, amount)
    reply = drifted(restored(image, np.eye(3)), matrix, 1.0)
    found = align(encoded(reply), noisy(image, 6), candidate())
    assert found.confidence >= CONFIDENT and found.model != "identity"
    assert found.improvement > 3.0 and 0.1 < found.scatter < 1.3
    assert off(found, matrix, 640, 640) < 1.0
    assert np.isnan(found.offset)


def test_a_redrawn_image_in_place_is_unchanged() -> None:
    image = photograph("aitzgorri-2")
    reply = drifted(restored(image, np.eye(3)), np.eye(3), 0.4)
    found = align(encoded(reply), noisy(image, 6), candidate())
    assert found.image is not None and np.array_equal(found.image, reply)
    assert found.confidence >= CONFIDENT and found.motion < 0.6


def test_an_offset_that_no_motion_explains_is_misaligned() -> None:
    image = photograph("aitzgorri-2")
    reply = drifted(restored(image, np.eye(3)), np.eye(3), 22.0, cells=6)
    found = align(encoded(reply), noisy(image, 6), candidate())
    assert (found.image, found.reason) == (None, "misaligned")
    assert found.confidence < CONFIDENT and found.offset > 5.0
    said = f"most of it is about {found.offset:.0f} px (at 1024) from its place, and no one motion brings it back"
    assert found.detail.startswith(f"{said}; ask for the same framing")


def test_an_uncertain_fit_that_improves_is_applied_and_marked_as_unsure() -> None:
    image = photograph("aitzgorri-2")
    matrix = known_motion(640, 640, "shift", 12.0)
    reply = drifted(restored(image, np.eye(3)), matrix, 3.0)
    found = align(encoded(reply), noisy(image, 6), candidate())
    assert found.image is not None and found.model != "identity"
    assert found.confidence < CONFIDENT and found.improvement > 3.0
    assert found.scatter > 1.3 or found.error > 0.8
    assert off(found, matrix, 640, 640) < 6.0
    assert found.offset < 4.0, "measured after the motion was undone"


@pytest.mark.parametrize("name", ["sunset-3", "wine-3", "life-1"])
def test_another_photograph_is_unsure_and_unchanged(name: str) -> None:
    lq, reply = crop("friends-1", 512), crop(name, 512)
    found = align(encoded(reply), lq, candidate())
    assert found.confidence < CONFIDENT
    assert found.image is not None and np.array_equal(found.image, reply)


@pytest.mark.parametrize("sigma", [0.0, 10.0])
def test_a_fit_without_structure_is_unsure(sigma: float) -> None:
    lq = noisy(np.full((300, 400, 3), 90, np.uint8), sigma)
    found = align(encoded(np.full((300, 400, 3), 120, np.uint8)), lq, candidate())
    assert (found.confidence, found.model, found.reason) == (0.0, "identity", "")
    assert np.isnan(found.residual_p99)


def test_a_small_picture_is_not_fitted() -> None:
    side = SMALLEST - 1
    image = crop("aitzgorri-1", side)
    found = align(encoded(np.roll(image, 3, axis=1)), image, candidate())
    assert found.image is not None and np.array_equal(found.image, np.roll(image, 3, axis=1))
    assert found.confidence == 0.0 and np.isnan(found.error)


def test_align_is_deterministic() -> None:
    image = photograph("friends-1")
    reply = encoded(restored(image, known_motion(576, 576, "rotation", 1.0)))
    one, other = (align(reply, noisy(image, 12), candidate()) for _ in range(2))
    assert one.image is not None and other.image is not None and np.array_equal(one.image, other.image)
    assert one.transform == other.transform


@pytest.mark.slow
def test_a_larger_reply_is_reduced_without_aliasing() -> None:
    image = photograph("aitzgorri-2")
    large = cv2.resize(image, (1600, 1600), interpolation=cv2.INTER_CUBIC)
    reply = np.roll(large, (10, 10), axis=(0, 1))
    found = align(encoded(reply), image, candidate())
    assert found.image is not None and found.resampled
    assert psnr(found.image[16:-16, 16:-16], image[16:-16, 16:-16]) > 36


def test_a_pair_of_1024_px_is_aligned_quickly() -> None:
    image = cv2.resize(photograph("aitzgorri-2"), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    reply = encoded(restored(image, known_motion(1024, 1024, "shift", 9.0)))
    started = time.process_time()
    align(reply, image, candidate())
    assert time.process_time() - started < 3.0  # 1.2 s of one core when it is alone; CI's are slower


def test_align_uses_one_thread_of_blas() -> None:
    seen: set[int] = set()

    class Watching:
        """Notes the threads of BLAS whenever align reads a fact of the candidate."""

        def __getattr__(self, name: str) -> Any:
            seen.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
            return getattr(candidate(), name)

    image = crop("aitzgorri-1", 96)
    with threadpool_limits(2, user_api="blas"):
        align(encoded(image), image, cast(Candidate, Watching()))
    assert seen == {1}


def test_a_photograph_that_is_kept_for_its_candidates_changes_nothing() -> None:
    image = crop("friends-1", 400)
    kept = Photograph(image)
    for number in range(2):
        reply = encoded(restored(image, known_motion(400, 400, "shift", 3.0 + number)))
        alone, together = align(reply, image, candidate()), align(reply, kept, candidate())
        assert alone.image is not None and np.array_equal(alone.image, together.image)
        assert (alone.transform, alone.error, alone.residual_p99) == (
            together.transform,
            together.error,
            together.residual_p99,
        )


def test_only_a_banded_png_of_the_same_pixels_needs_no_encoding() -> None:
    image = crop("friends-1", 96)
    banded = encode_png(image)
    assert holds_pixels(banded, image)
    assert not holds_pixels(banded, image[:64])
    assert not holds_pixels(encoded(image), image)
    assert not holds_pixels(banded[:-400] + bytes(400), image)
