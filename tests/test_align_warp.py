"""align's warp: it undoes smooth drift, and does not hide objects that the model moved or reshaped."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.stages.align import CONFIDENT, SMOOTH, InFrame, align
from ggt_tools.stages.align.blocks import Level, Photograph, Pyramid, luma_of, without_edge
from ggt_tools.stages.align.geometry import Warp, moved, spline_weights, warp_maps
from ggt_tools.stages.align.warp import WARP_LEVEL, fit_warp

from .benchmarks.aligning import left as left_by_keypoints
from .photographs import blurred, noisy, photograph
from .test_align import Pixels, candidate, encoded, known_motion, off, restored

Field = npt.NDArray[np.float64]
SHAPES = st.tuples(st.integers(40, 90), st.integers(40, 90))


def drift(shape: tuple[int, int], amount: float, seed: int) -> Field:
    """(height, width, 2) px: smooth random offsets of `amount` px at 1024, RMS, that change over a quarter of it."""
    height, width = shape
    random = np.random.default_rng(seed)
    parts = [
        cv2.resize(random.normal(0, 1, (4, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(2)
    ]
    field = np.stack(parts, axis=2).astype(np.float64)
    return np.asarray(field * amount * max(shape) / 1024 / np.sqrt((field**2).sum(axis=2).mean()), np.float64)


def redrawn(image: Pixels, field: Field) -> tuple[Pixels, Field]:
    """The picture with its pixels taken `field` away, and (height, width, 2) where each of its pixels is from."""
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    source = np.stack([x, y], axis=2) + field
    maps = source.astype(np.float32)
    border = cv2.BORDER_REFLECT_101
    taken = cv2.remap(image, maps[..., 0], maps[..., 1], cv2.INTER_CUBIC, borderMode=border)
    return np.asarray(taken, np.uint8), np.asarray(source, np.float64)


def left(found: InFrame, source: Field) -> Field:
    """(height, width, 2) px at 1024: how far what an aligned pixel shows lies from its place in the photograph."""
    height, width = source.shape[:2]
    matrix = np.linalg.inv(np.array(found.transform[:9]).reshape(3, 3))
    warp = Warp.from_numbers(found.transform[9:]) if found.model.endswith(SMOOTH) else Warp(np.zeros((5, 5, 2)))
    x, y = warp_maps(matrix, warp, (height, width))
    shown = cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    at = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2)
    return np.asarray((shown - at) * 1024 / max(height, width))


def rms(field: Field) -> float:
    return float(np.sqrt((field[16:-16, 16:-16] ** 2).sum(axis=2).mean()))


@pytest.mark.parametrize(("name", "amount"), [("aitzgorri-2", 1.0), ("friends-1", 1.0), ("aitzgorri-2", 2.0)])
def test_a_smooth_drift_is_undone_in_one_resampling(name: str, amount: float) -> None:
    image = photograph(name)
    toned = restored(image, np.eye(3))
    reply, source = redrawn(toned, drift(image.shape[:2], amount, 0))
    found = align(encoded(reply), noisy(image, 6), candidate())
    assert found.image is not None and found.resampled and found.confidence >= CONFIDENT
    assert found.model.endswith(SMOOTH) and found.scatter < 0.5
    assert rms(left(found, source)) < 0.5 * amount < 1.01, rms(left(found, source))
    inner = np.s_[24:-24, 24:-24]
    before, after = (np.abs(pixels[inner].astype(float) - toned[inner]).mean() for pixels in (reply, found.image))
    assert after < 0.7 * before


def test_a_drift_on_top_of_a_motion_of_the_frame_is_undone_with_it() -> None:
    image = photograph("aitzgorri-2")
    matrix = known_motion(640, 640, "shift", 8.0)
    reply, source = redrawn(restored(image, matrix), drift((640, 640), 1.0, 0))
    found = align(encoded(reply), noisy(image, 6), candidate())
    assert found.model.endswith(SMOOTH) and found.confidence >= CONFIDENT
    assert 7.0 < found.motion < 9.0
    inverse = np.asarray(np.linalg.inv(matrix), np.float64)
    back = moved(inverse, source.reshape(-1, 2).astype(np.float64)).reshape(source.shape)
    assert rms(left(found, back)) < 0.5


@pytest.mark.parametrize("side", [80, 140])
@pytest.mark.parametrize("amount", [0.0, 1.0])
def test_an_object_that_was_moved_by_6_px_is_not_brought_back(side: int, amount: float) -> None:
    image = photograph("friends-1")
    height, width = image.shape[:2]
    reply, source = redrawn(restored(image, np.eye(3)), drift((height, width), amount, 11))
    top, start, step = (height - side) // 2, (width - side) // 2, round(6 * width / 1024)
    place = np.s_[top : top + side, start + step : start + step + side]
    object_ = np.s_[top : top + side, start : start + side]
    reply[place], source[place] = reply[object_].copy(), source[object_].copy()
    found = align(encoded(reply), noisy(image, 6), candidate())
    assert found.image is not None and found.confidence >= CONFIDENT
    assert found.model.endswith(SMOOTH) == (amount > 0)
    margin = side // 4
    inner = left(found, source)[top + margin : top + side - margin, start + step + margin : start + side - margin]
    assert np.linalg.norm(np.median(inner.reshape(-1, 2), axis=0)) > 4.5
    assert found.residual_p99 > (3.5 if side == 140 else 1.0)


def test_a_shape_that_was_changed_is_not_changed_back() -> None:
    """A region is made 8 % slimmer, as a face that was made more beautiful."""
    image = photograph("friends-1")
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2)
    field = np.zeros((height, width, 2))
    field[..., 0] = 0.08 * x * np.exp(-(x**2 + y**2) / (2 * 50.0**2))
    reply, source = redrawn(restored(image, np.eye(3)), field)
    found = align(encoded(reply), noisy(image, 6), candidate())
    assert found.image is not None and found.confidence >= CONFIDENT
    remains = np.linalg.norm(left(found, source), axis=2).max()
    assert remains > 0.7 * float(np.abs(field).max()) * 1024 / width


@pytest.mark.parametrize("amount", [1.0, 4.0, 8.0])
def test_a_warp_keeps_its_bounds(amount: float) -> None:
    image = photograph("aitzgorri-2")
    reply, _ = redrawn(image, drift((640, 640), amount, 3))
    level = Level(Photograph(image), Pyramid(luma_of(reply)), WARP_LEVEL)
    fitted = fit_warp(level, np.eye(3))
    assert fitted is not None or amount > 4.0
    if fitted is not None:
        assert 1024 * fitted.warp.size <= 5.0
        assert fitted.warp.stretch((640, 640)) <= 0.02
        assert fitted.scatter < fitted.scatter_without and fitted.predicted > 2.0


def test_pure_noise_is_not_warped() -> None:
    image = photograph("friends-1")
    reply = noisy(restored(image, np.eye(3)), 14)
    found = align(encoded(reply), noisy(image, 20), candidate())
    assert found.image is not None and np.array_equal(found.image, reply)


@pytest.mark.parametrize("name", ["sunset-2", "wine-2"])
def test_a_thin_frame_does_not_hold_the_content_of_a_small_picture_in_place(name: str) -> None:
    image = np.asarray(cv2.resize(photograph(name)[:384, :576], (288, 192), interpolation=cv2.INTER_AREA), np.uint8)
    matrix = known_motion(288, 192, "shift", 6.0)
    reply, lq = restored(image, matrix), noisy(blurred(image, 1.5), 6)
    for picture in (reply, lq):
        picture[:2], picture[-2:], picture[:, :2], picture[:, -2:] = 255, 255, 255, 255
    found = align(encoded(reply), lq, candidate())
    assert found.confidence > 0.7 and off(found, matrix, 288, 192) < 0.2


def test_the_border_of_a_picture_is_replaced_by_what_lies_next_to_it() -> None:
    plane = np.random.default_rng(0).random((300, 400), np.float32)
    edge = 4  # a hundredth of the long edge
    result = without_edge(plane)
    assert result.shape == plane.shape and np.array_equal(result[edge:-edge, edge:-edge], plane[edge:-edge, edge:-edge])
    assert np.array_equal(result[0, edge:-edge], plane[edge, edge:-edge])
    assert np.array_equal(result[edge:-edge, -1], plane[edge:-edge, -edge - 1])


# --- what the bench measures with ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_benchs_check_measures_px_at_1024_without_the_fit() -> None:
    image = photograph("aitzgorri-2")
    shifted = restored(image, known_motion(640, 640, "shift", 3.0))
    distances = left_by_keypoints(noisy(image, 4), shifted)
    assert len(distances) > 20 and np.median(distances) == pytest.approx(3.0, abs=0.2)
    assert np.median(left_by_keypoints(noisy(image, 4), restored(image, np.eye(3)))) < 0.2
    assert len(left_by_keypoints(image, np.full_like(image, 90))) == 0


# --- the field itself -------------------------------------------------------------------------------------------------


def a_warp(seed: int, rows: int, columns: int) -> Warp:
    return Warp(np.random.default_rng(seed).normal(0, 0.01, (rows, columns, 2)))


@given(st.integers(0, 99), st.integers(4, 9), st.integers(4, 9))
@settings(max_examples=30, deadline=None)
def test_a_warp_round_trips_through_its_numbers(seed: int, rows: int, columns: int) -> None:
    warp = a_warp(seed, rows, columns)
    again = Warp.from_numbers(warp.numbers)
    assert np.array_equal(again.coefficients, warp.coefficients)
    assert warp.numbers[:2] == (rows, columns) and len(warp.numbers) == 2 + 2 * rows * columns


@given(st.integers(0, 99), SHAPES)
@settings(max_examples=30, deadline=None)
def test_a_warp_is_the_same_at_points_and_on_a_raster_and_scales_with_the_picture(
    seed: int, shape: tuple[int, int]
) -> None:
    warp, (height, width) = a_warp(seed, 7, 6), shape
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    at_points = warp.displacement(points, shape)
    assert np.allclose(warp.dense(shape).reshape(-1, 2), at_points)
    twice = warp.displacement(2 * points + 0.5, (2 * height, 2 * width))
    assert np.allclose(twice, 2 * at_points)
    assert np.allclose(warp.dense(shape, margin=3)[3:-3, 3:-3], warp.dense(shape))


@given(SHAPES)
@settings(max_examples=20, deadline=None)
def test_size_and_stretch_are_those_of_the_displacements(shape: tuple[int, int]) -> None:
    warp = a_warp(5, 6, 8)
    field = warp.dense(shape)
    largest = np.linalg.norm(field, axis=2).max() / max(shape)
    assert warp.size == pytest.approx(largest, rel=0.05)
    along = np.stack([np.gradient(field, axis=1), np.gradient(field, axis=0)], axis=3)[1:-1, 1:-1]
    assert warp.stretch(shape) == pytest.approx(np.linalg.norm(along, 2, axis=(2, 3)).max(), rel=0.15)


def test_splines_sum_to_one_and_their_slopes_to_zero() -> None:
    x = np.linspace(-1.0, 7.0, 33)
    assert np.allclose(spline_weights(x, 6).sum(axis=1), 1.0)
    assert np.allclose(spline_weights(x, 6, derivative=True).sum(axis=1), 0.0)
    linear = np.arange(-1.0, 8.0)
    assert np.allclose(spline_weights(x, 6) @ linear, np.clip(x, 0, 6)), "a linear field is represented exactly"
