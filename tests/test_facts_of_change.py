"""Metrics of light, colour and local change: each reacts to the fault that it is named after, not to restoration."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.metrics import changes, core, light
from ggt_tools.metrics.core import Pair
from ggt_tools.metrics.scorer import score
from ggt_tools.training import synthetic_degradations as degrading
from tests.photographs import Photograph, blurred, crop, dimmed, jpeg, noisy, rained_on, snowed_on, tinted

METRICS = {**light.METRICS, **changes.METRICS}
NAMES = ("friends-1", "life-1", "picosdeeuropa-1", "aitzgorri-1")


def measured(metric: str, lq: Photograph, gt: Photograph) -> float:
    return METRICS[metric](Pair(lq, gt))


def to_bytes(values: np.ndarray) -> Photograph:
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)


def lit(image: Photograph, stops: np.ndarray) -> Photograph:
    """More or less light by so many stops at each pixel."""
    return to_bytes(255.0 * np.clip((image / 255.0) ** 2.2 * 2.0 ** stops[..., None], 0, 1) ** (1 / 2.2))


def ramp(image: Photograph) -> np.ndarray:
    """From -0.5 at the left to 0.5 at the right."""
    return np.broadcast_to(np.linspace(-0.5, 0.5, image.shape[1]), image.shape[:2])


def waves(image: Photograph) -> np.ndarray:
    y, x = np.mgrid[0 : 1 : image.shape[0] * 1j, 0 : 1 : image.shape[1] * 1j]
    return np.asarray(np.sin(9.0 * x) * np.cos(8.0 * y))


def gamma(image: Photograph, by: float) -> Photograph:
    return to_bytes(255.0 * (image / 255.0) ** by)


@pytest.mark.parametrize("name", NAMES)
def test_light_trend_is_in_stops_and_ignores_tone_curves(name: str) -> None:
    gt = crop(name, 448, 64, 64)
    lq = degrading.degrade(gt, "blur and noise", strength=0.4, seed=1)
    assert measured("light_trend", lq, gt) < 0.12
    assert measured("light_trend", lq, gamma(gt, 1.5)) < 0.15
    trends = [measured("light_trend", lq, lit(gt, stops * ramp(gt))) for stops in (0.3, 0.6, 1.0)]
    assert trends == sorted(trends)
    assert trends[1] == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("name", NAMES)
def test_relit_measures_light_and_ignores_tone_curves(name: str) -> None:
    gt = crop(name, 448, 64, 64)
    lq = degrading.degrade(gt, "blur and noise", strength=0.4, seed=1)
    assert max(measured("relit", lq, other) for other in (gt, gamma(gt, 0.7), gamma(gt, 1.5), dimmed(gt, 0.7))) < 0.12
    assert measured("relit", lq, lit(gt, waves(gt))) > 0.2


@pytest.mark.parametrize("stops", [-1.0, 0.0, 0.5, 2.0])
def test_exposure_is_in_stops(stops: float) -> None:
    gt = dimmed(crop("life-1", 448, 64, 64), 0.5)
    brighter = lit(gt, np.full(gt.shape[:2], stops))
    assert measured("exposure", gt, brighter) == pytest.approx(stops, abs=0.3)


def test_a_falling_tone_curve_is_not_explained() -> None:
    gt = crop("friends-1", 448, 64, 64)
    assert measured("relit", gt, 255 - gt) > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_white_balance_grows_with_the_gains_and_not_with_saturation(name: str) -> None:
    gt = crop(name, 448, 64, 64)
    lq = degrading.degrade(gt, "blur and noise", strength=0.4, seed=1)
    grey = gt.mean(axis=2, keepdims=True)
    moved = [measured("white_balance", lq, tinted(gt, 1 + x / 2, 1, 1 - x / 2)) for x in (0.0, 0.04, 0.08, 0.12)]
    assert moved == sorted(moved)
    assert moved[3] > 2.0 > moved[0]  # less than 12 %, as a scene of few hues may owe it to its saturation
    assert measured("white_balance", lq, to_bytes(grey + 1.2 * (gt - grey))) < moved[2]


def test_cast_gain_is_the_removed_cast() -> None:
    gt = crop("aitzgorri-1", 448, 64, 64)
    blue = tinted(gt, 0.5, 0.9, 1.0)
    assert measured("cast_gain", blue, gt) > 0.2
    assert measured("cast_gain", gt, blue) == pytest.approx(-measured("cast_gain", blue, gt))
    assert measured("cast_gain", blue, blue) == 0


@pytest.mark.parametrize("name", NAMES)
def test_raised_and_lost_local_contrast_is_measured(name: str) -> None:
    gt = crop(name, 448, 64, 64)
    base = cv2.GaussianBlur(gt.astype(np.float32), (0, 0), 20)
    raised, lost = (to_bytes(base + by * (gt - base)) for by in (2.0, 0.5))
    assert measured("contrast_raised", gt, raised) > 0.7
    assert measured("contrast_lost", gt, lost) > 0.6
    for other in (gamma(gt, 0.9), dimmed(gt, 0.9)):
        assert max(measured("contrast_raised", gt, other), measured("contrast_lost", gt, other)) < 0.35


def sky(seed: int) -> Photograph:
    """Soft clouds over a plain; another seed has other clouds."""
    random = np.random.default_rng(seed)
    clouds = degrading.draw_clouds((400, 400), 0.08, random) + 0.5 * degrading.draw_clouds((400, 400), 0.04, random)
    picture = np.array([120.0, 150.0, 190.0]) + 5.0 * (clouds / clouds.std())[..., None]
    return to_bytes(picture + random.normal(0, 1.0, picture.shape))


def test_smooth_kept_falls_for_a_smoothed_or_repainted_sky() -> None:
    lq = degrading.degrade(sky(1), "compression", strength=0.2, seed=1)
    assert measured("smooth_kept", lq, sky(1)) > 0.8
    assert measured("smooth_kept", lq, gamma(sky(1), 0.8)) > 0.8
    assert measured("smooth_kept", lq, sky(2)) < 0.4
    gradient = cv2.resize(cv2.resize(sky(1), (3, 3), interpolation=cv2.INTER_AREA), (400, 400))
    assert measured("smooth_kept", lq, noisy(gradient, 1)) < 0.5


def test_smooth_kept_is_1_without_smooth_areas() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (256, 256, 3), np.uint8)
    assert measured("smooth_kept", noise, 255 - noise) == 1.0


def test_ringing_measures_ripples_beside_edges() -> None:
    gt = np.full((320, 320, 3), 60, np.uint8)
    cv2.rectangle(gt, (90, 90), (230, 230), (190, 190, 190), -1)
    lq = noisy(blurred(gt, 1.2), 2)
    distance = np.abs(cv2.distanceTransform((gt[..., 0] > 100).astype(np.uint8), cv2.DIST_L2, 5))
    outside = cv2.distanceTransform((gt[..., 0] <= 100).astype(np.uint8), cv2.DIST_L2, 5)
    far = np.maximum(distance, outside)
    rippled = to_bytes(gt + (8.0 * np.cos(2 * np.pi * far / 6.0) * np.exp(-far / 12.0) * (far > 2))[..., None])
    assert measured("ringing", lq, gt) < 0.1
    assert measured("ringing", lq, rippled) > 0.8
    assert measured("ringing", rippled, rippled) == 0


def test_bright_removed_measures_rain_snow_and_specks() -> None:
    gt = crop("life-1", 448, 64, 64)
    specked = degrading.degrade(gt, "specks", strength=0.5, seed=1)
    for lq, sign in ((rained_on(gt, 0.004), 1), (snowed_on(gt, 0.001), 1), (specked, -1)):
        assert measured("local_change", lq, gt) > 6
        assert sign * measured("bright_removed", lq, gt) > 1.5
        for copy in (lq, jpeg(lq, 85), gamma(lq, 0.9), blurred(lq, 0.8)):
            assert measured("local_change", lq, copy) < 4
            assert abs(measured("bright_removed", lq, copy)) < 1.2


def test_a_softer_or_sharper_small_image_has_no_local_change() -> None:
    image = crop("life-1", 160, 100, 100)
    sharper = to_bytes(image + 0.7 * (image - blurred(image, 1.2).astype(np.float32)))
    assert max(measured("local_change", image, copy) for copy in (blurred(image, 1.0), sharper)) < 6


def test_a_copy_has_no_change() -> None:
    for name in NAMES:
        image = crop(name, 320, 64, 64)
        values = {metric: measured(metric, image, image) for metric in METRICS}
        assert values.pop("smooth_kept") > 0.99
        assert values == pytest.approx(dict.fromkeys(values, 0.0), abs=0.02)


@settings(max_examples=10, deadline=None)
@given(st.integers(32, 160), st.integers(32, 160), st.integers(0, 3))
def test_any_size_and_content_gives_finite_values(height: int, width: int, kind: int) -> None:
    random = np.random.default_rng(height * 200 + width)
    lq = random.integers(0, 256, (height, width, 3), np.uint8)
    gt = (lq, np.zeros_like(lq), np.full_like(lq, 255), random.integers(0, 256, lq.shape, np.uint8))[kind]
    for one in score([("c", lq, gt)], list(METRICS)):
        assert np.isfinite(one.value), one.metric


def test_candidates_that_share_a_photograph_measure_as_each_alone() -> None:
    lq = crop("life-1", 128)
    candidates = [("a", noisy(lq, 3)), ("b", blurred(lq, 1.0))]
    names = [*core.CORE, *METRICS]
    together = list(score([(name, lq, gt) for name, gt in candidates], names))
    alone = [value for name, gt in candidates for value in score([(name, lq.copy(), gt)], names)]
    assert [(one.candidate, one.metric) for one in together] == [(one.candidate, one.metric) for one in alone]
    # phase correlation depends on where in memory a plane begins, in the last digits
    np.testing.assert_allclose([one.value for one in together], [one.value for one in alone], rtol=1e-5, atol=1e-6)


def test_what_is_computed_of_a_photograph_is_computed_once() -> None:
    calls: list[int] = []

    def compute(grey: npt.NDArray[np.float32]) -> int:
        calls.append(grey.shape[0])
        return len(calls)

    lq, gt = crop("life-1", 64), crop("life-1", 64, 8)
    side = core.Side(lq)
    assert core.Pair(lq, gt, side).of_each(compute) == (1, 2)
    assert core.Pair(lq, gt, side).of_each(compute) == (1, 3)
