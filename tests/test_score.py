"""score: exact values where they are known, their order otherwise, and messages for metrics that cannot be computed."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence

import numpy as np
import pytest

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.metrics import fidelity
from ggt_tools.metrics.scorer import CORE, METRICS, SETS, Scorer, expand, score
from ggt_tools.metrics.ssim import ssim_map
from ggt_tools.records import Score
from tests.photographs import (
    Photograph,
    blurred,
    crop,
    dimmed,
    haloed,
    hazed,
    jpeg,
    noisy,
    painted_over,
    shifted,
    tinted,
)

NAMES = ("cincinnati-bridge-1", "friends-1", "life-1", "picosdeeuropa-1", "sunset-2")


def values(lq: Photograph, gt: Photograph, *metrics: str) -> dict[str, float]:
    return {s.metric: s.value for s in score([("c", lq, gt)], metrics or ["core"])}


@pytest.mark.parametrize("name", NAMES)
def test_a_copy(name: str) -> None:
    image = crop(name, 320, 64, 64)
    measured = values(image, image)
    assert list(measured) == list(CORE)
    one = {"structure": 1, "tile_worst": 1, "unchanged": 1, "detail_kept": 1, "smooth_kept": 1}
    for metric, value in measured.items():
        if metric not in fidelity.METRICS:
            assert value == pytest.approx(one.get(metric, 0), abs=0.02 if metric == "local_change" else 2e-3), metric
    assert measured["fidelity_gain"] < -2 and measured["fidelity_content"] < 1


@pytest.mark.parametrize("name", NAMES)
def test_another_photograph(name: str) -> None:
    other = NAMES[NAMES.index(name) - 1]
    measured = values(crop(name, 320, 64, 64), crop(other, 320, 64, 64))
    assert measured["structure"] < 0.45
    assert measured["tile_worst"] < 0.2
    assert measured["detail_kept"] < 0.1
    assert math.isnan(measured["shift"])


@pytest.mark.parametrize(("right", "down"), [(0.5, 0.0), (3.0, 0.0), (0.0, -2.0), (6.0, 8.0)])
def test_a_shift_is_in_pixels(right: float, down: float) -> None:
    image = crop("friends-1", 320, 100, 100)
    assert values(image, shifted(image, right, down), "shift")["shift"] == pytest.approx(
        math.hypot(right, down), abs=0.12
    )


def test_a_shift_is_seen_through_darkness_noise_and_haze() -> None:
    gt = crop("friends-1", 320, 100, 100)
    for lq in (dimmed(gt, 0.3), noisy(gt, 12), noisy(dimmed(gt, 0.15), 15), hazed(gt, 0.6), blurred(gt, 4)):
        assert values(lq, gt, "shift")["shift"] < 0.3
        assert values(lq, shifted(gt, 4), "shift")["shift"] == pytest.approx(4, abs=0.3)


@pytest.mark.parametrize("name", NAMES)
def test_a_cast_is_distinguished_from_saturation(name: str) -> None:
    image = crop(name, 320, 64, 64)
    grey = image.mean(axis=2, keepdims=True)
    colourful = np.asarray(np.clip(grey + 1.3 * (image - grey), 0, 255), np.uint8)
    drifts = [values(image, tinted(image, 1 + x, 1, 1 - x), "chroma_drift")["chroma_drift"] for x in (0.02, 0.05, 0.1)]
    assert drifts == sorted(drifts)
    cast = values(image, tinted(image, 1.1, 1, 0.9), "colour_cast")["colour_cast"]
    assert cast > 0.012
    assert values(image, colourful, "colour_cast")["colour_cast"] < cast
    assert values(image, dimmed(image, 0.6), "colour_cast")["colour_cast"] < 0.006


def falls(image: Photograph, results: Sequence[Photograph], metric: str) -> bool:
    measured = [values(image, result, metric)[metric] for result in results]
    return all(a > b for a, b in itertools.pairwise(measured))


@pytest.mark.parametrize("name", NAMES)
def test_a_stronger_degradation_scores_worse(name: str) -> None:
    image = crop(name, 320, 64, 64)
    soft = [blurred(image, sigma) for sigma in (0, 1.0, 2.0, 3.0)]
    assert falls(image, soft, "detail_kept")
    assert falls(image, soft, "sharpness_gain")
    assert falls(image, soft, "unchanged")
    assert falls(image, [image, painted_over(image, 120, 120, 40), painted_over(image, 100, 100, 80)], "tile_worst")
    assert falls(image, [noisy(image, sigma) for sigma in (0, 4, 8, 16)], "noise_gain")
    assert falls(image, [jpeg(image, quality) for quality in (60, 25, 10)], "blockiness_gain")
    assert falls(image, [hazed(image, share) for share in (0, 0.3, 0.6)], "haze_gain")
    assert falls(image, [hazed(image, share) for share in (0, 0.3, 0.6)], "contrast_gain")
    assert falls(image, [dimmed(image, gain) for gain in (1, 0.6, 0.3)], "light_gain")
    assert falls(image, [noisy(jpeg(blurred(image, x / 4), 90 - 7 * x), x) for x in (1, 5, 10)], "quality_gain")
    assert values(image, haloed(image), "halo")["halo"] > 4 > values(image, soft[1], "halo")["halo"]


def test_exchanging_a_pair_inverts_its_gains() -> None:
    clean = crop("picosdeeuropa-1", 256)
    bad = noisy(clean, 8)
    metrics = ("noise_gain", "chroma_noise_gain", "haze_gain", "light_gain", "blockiness_gain", "quality_gain")
    there, back = values(bad, clean, *metrics), values(clean, bad, *metrics)
    assert there["noise_gain"] > 3
    assert there == pytest.approx({name: -value for name, value in back.items()})


def test_a_flat_image_has_no_edge_to_measure() -> None:
    flat = np.full((64, 64, 3), 100, np.uint8)
    measured = values(flat, flat)
    assert math.isnan(measured["sharpness_gain"])
    assert math.isnan(measured["shift"])
    assert measured["structure"] == pytest.approx(1)
    assert measured["quality_gain"] == 0


def test_ssim_by_hand() -> None:
    a = np.full((32, 32), 100, np.float32)
    b = np.full((32, 32), 120, np.float32)
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)  # without contrast only luminance is compared
    assert np.allclose(ssim_map(a, b), expected, atol=1e-3)


def test_records_carry_candidate_version_and_order() -> None:
    image = crop("life-1", 64)
    scores = list(score([("one", image, image), ("two", image, image)], ["unchanged", "structure", "unchanged"]))
    assert [(s.candidate, s.metric) for s in scores] == [
        ("one", "unchanged"), ("one", "structure"), ("two", "unchanged"), ("two", "structure"),
    ]  # fmt: skip
    assert isinstance(scores[0], Score)
    assert {s.metric_version for s in scores} == {"core-4"}
    with Scorer(["structure"]) as scorer:
        assert scorer.versions == {"structure": "core-4"}


def test_other_sizes_are_refused() -> None:
    lq, gt = crop("life-1", 64), crop("life-1", 65)
    with pytest.raises(PairError) as caught:
        list(score([("abc", lq, gt)], ["structure"]))
    assert caught.value.reason == "size_differs"
    assert str(caught.value) == "abc: lq has 64 x 64 px and gt 65 x 65 px. Align the candidate first."
    with pytest.raises(PairError) as caught:
        list(score([("abc", lq[:20], lq[:20])], ["structure"]))
    assert caught.value.reason == "too_small"
    assert str(caught.value) == "abc: has 64 x 20 px. Scoring needs 32 px on each side."


def test_unknown_metrics_are_errors_with_similar_names() -> None:
    with pytest.raises(ConfigError) as caught:
        score([], ["structur"])  # not iterated
    assert (
        str(caught.value)
        == "no metric or set is named 'structur'. Did you mean structure? List all metrics: ggt100k score --list"
    )
    with pytest.raises(ConfigError) as caught:
        expand(["qqqqqqqq"])
    assert "The sets are: core, regions, text, faces, weight-free, offline, default, full. " in str(caught.value)


def test_sets() -> None:
    assert expand(["core", "structure", "gmsd"]) == (*CORE, "gmsd")
    assert expand(["weight-free"]) == ("psnr", "ssim", "gmsd", "vsi", "nlpd", "piqe", "piqe_lq", "piqe_gain")
    assert set(SETS["weight-free"]) < set(SETS["offline"]) <= set(METRICS)
    assert "musiq_gain" in SETS["default"] and "lpips_gain" not in METRICS


def test_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match="OpenCV is not installed"):
        score([], ["core"])
