"""align's colour map: small colour shifts of a model are undone, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ggt100k
from ggt_tools.records import UNCORRECTED
from ggt_tools.stages.align import align
from ggt_tools.stages.align.colour import (
    MIX,
    apply_colour_map,
    fit_colour_map,
    takes_colour_map,
    to_linear,
    to_srgb,
)
from ggt_tools.stages.align.run import uncorrected_scores

from .photographs import noisy, photograph, psnr, rained_on
from .test_align import Pixels, candidate, encoded, known_motion, restored

CAST = np.array([[1.12, 0.03, 0.0], [0.02, 0.97, 0.0], [0.0, -0.02, 0.86]])


def recoloured(image: Pixels, matrix: npt.NDArray[np.float64]) -> Pixels:
    """What a model made of the colours: a linear map in linear RGB."""
    return apply_colour_map(image.astype(np.float32), matrix)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50))
@settings(max_examples=50, deadline=None)
def test_srgb_and_linear_are_inverse(values: list[float]) -> None:
    srgb = np.array(values, np.float32)
    assert np.allclose(to_srgb(to_linear(srgb)), srgb, atol=2e-6)


@pytest.mark.parametrize("value", [0.04045, 0.0404, 0.0405])
def test_the_two_parts_of_srgb_meet(value: float) -> None:
    assert float(to_linear(np.array([value], np.float32))[0]) == pytest.approx(value / 12.92, rel=2e-3)


DAMAGED: dict[str, tuple[Callable[[Pixels], Pixels], float]] = {  # and the gain in dB
    "none": (lambda image: image, 8.0),
    "noise": (lambda image: noisy(image, 10), 8.0),
    "rain": (lambda image: rained_on(image, 0.001), 8.0),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_linear_shift_of_the_colours_is_found_and_undone(name: str) -> None:
    image = photograph("aitzgorri-2")
    damage, gain = DAMAGED[name]
    found = fit_colour_map(damage(image), recoloured(image, CAST))
    assert found is not None
    assert np.abs(found.matrix @ CAST - np.eye(3)).max() < 0.08
    assert found.after < 0.4 * found.before
    undone = apply_colour_map(recoloured(image, CAST).astype(np.float32), found.matrix)
    assert psnr(undone, image) > psnr(recoloured(image, CAST), image) + gain


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([1.7, 1.7, 1.7]),  # more than half a stop
        np.array([[0.6, 0.4, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),  # a hue that turned
        np.full((3, 3), 1 / 3),  # the colours are gone
    ],
)
def test_large_colour_changes_are_not_undone(matrix: npt.NDArray[np.float64]) -> None:
    image = photograph("aitzgorri-2")
    assert fit_colour_map(image, recoloured(image, matrix)) is None


def test_small_colour_differences_are_unchanged() -> None:
    image = photograph("aitzgorri-2")
    assert fit_colour_map(image, recoloured(image, np.diag([1.01, 1.0, 0.995]))) is None


def test_a_recoloured_object_is_not_a_global_colour_shift() -> None:
    image = photograph("aitzgorri-2")
    other = image.copy()
    other[100:260, 100:260] = other[100:260, 100:260, ::-1]
    found = fit_colour_map(image, other)
    assert found is None or np.abs(found.matrix - np.eye(3)).max() < MIX / 4


def test_a_black_image_has_no_colour_map() -> None:
    assert fit_colour_map(np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 9, np.uint8)) is None


def test_the_classes_whose_colours_are_a_target() -> None:
    assert {name for name in ggt100k.DEGRADATIONS if takes_colour_map(name)} == {
        "mixed", "rain", "snow", "raindrop", "defocus_blur", "motion_blur",
    }  # fmt: skip


def test_align_undoes_the_colours_only_when_asked_and_rounds_once() -> None:
    image = photograph("aitzgorri-2")
    matrix = known_motion(640, 640, "shift", 9.0)
    reply = encoded(recoloured(cv2.warpPerspective(image, matrix, (640, 640), flags=cv2.INTER_CUBIC), CAST))
    plain, mapped = (align(reply, noisy(image, 6), candidate(), colour=asked) for asked in (False, True))
    assert plain.colour is None and plain.uncorrected is None and plain.image is not None
    assert mapped.colour is not None and mapped.image is not None and mapped.uncorrected is not None
    assert np.array_equal(mapped.uncorrected, plain.image) and mapped.transform == plain.transform
    inner = np.s_[32:-32, 32:-32]
    assert psnr(mapped.image[inner], image[inner]) > psnr(plain.image[inner], image[inner]) + 6
    twice = apply_colour_map(plain.image.astype(np.float32), mapped.colour.matrix)
    difference = np.abs(twice.astype(int) - mapped.image)
    assert 0 < difference.mean() < 0.5 and difference.max() <= 8, "the same map of pixels that were rounded before it"


def test_a_reply_in_place_is_mapped_from_its_own_pixels() -> None:
    image = photograph("aitzgorri-2")
    reply = recoloured(image, CAST)
    found = align(encoded(reply), noisy(image, 6), candidate(), colour=True)
    assert found.colour is not None and (found.model, found.resampled) == ("identity", True)
    assert found.image is not None
    assert np.array_equal(found.image, apply_colour_map(reply.astype(np.float32), found.colour.matrix))


def test_colours_are_unchanged_if_the_frame_is_unsure() -> None:
    plain = np.full((300, 400, 3), (90, 120, 100), np.uint8)
    reply = recoloured(plain, CAST)
    assert fit_colour_map(plain, reply) is not None
    found = align(encoded(reply), plain, candidate(), colour=True)
    assert found.confidence < 0.5 and found.colour is None


@pytest.mark.slow
def test_colours_before_the_map_have_their_own_scores() -> None:
    image = photograph("aitzgorri-2")
    found = align(encoded(recoloured(image, CAST)), noisy(image, 6), candidate(), colour=True)
    scores = {score.metric: score.value for score in uncorrected_scores("c", image, found)}
    assert scores.keys() == UNCORRECTED.keys()
    assert scores["uncorrected_chroma_drift"] > 0.01
    plain = align(encoded(restored(image, np.eye(3))), image, candidate())
    assert uncorrected_scores("c", image, plain) == []
