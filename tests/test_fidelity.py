"""The fidelity model: its values on synthetic pairs, repeatability, and cost."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ggt_tools.errors import ConfigError
from ggt_tools.metrics import fidelity
from ggt_tools.metrics.cells import COUNT, measure_cells
from ggt_tools.metrics.core import Pair
from ggt_tools.metrics.tone import FACTS, fit_tone
from ggt_tools.training import faults, restored, synthetic_faults
from ggt_tools.training import synthetic_degradations as degrading
from tests.photographs import Photograph, crop, psnr

pytest.importorskip("onnxruntime")
SIZE = 384


@pytest.fixture(scope="module", params=["haze", "noise", "blur", "low_light"])
def scene(request: pytest.FixtureRequest) -> synthetic_faults.Scene:
    gt, other = crop("friends-1", SIZE, 150, 150), crop("picosdeeuropa-1", SIZE, 100, 100)
    return synthetic_faults.Scene(gt=gt, lq=degrading.degrade(gt, request.param, strength=0.4, seed=1), other=other)


def scores(lq: Photograph, gt: Photograph) -> dict[str, float]:
    pair = Pair(lq, gt)
    return {name: metric(pair) for name, metric in fidelity.METRICS.items()}


def test_the_weights_are_those_of_the_version() -> None:
    assert hashlib.sha256(fidelity.WEIGHTS.read_bytes()).hexdigest() == fidelity.SHA256
    assert fidelity.version() == f"fidelity {fidelity.SHA256[:8]} cells-1 tone-1"
    assert fidelity.WEIGHTS.stat().st_size < 25_000_000
    assert list(fidelity.METRICS) == [
        "fidelity_content", "fidelity_colour", "fidelity_detail", "fidelity_artefact", "fidelity_worst",
        "fidelity_gain",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "metric", "least"),
    [
        ("wrong photo", "fidelity_content", 4), ("reframed", "fidelity_content", 4),
        ("pasted", "fidelity_worst", 2), ("redrawn", "fidelity_worst", 2), ("half restored", "fidelity_gain", 2),
        ("unchanged", "fidelity_gain", 3),
    ],
)  # fmt: skip
def test_a_fault_scores_higher_than_the_ground_truth(
    scene: synthetic_faults.Scene, fault: str, metric: str, least: float
) -> None:
    image = synthetic_faults.add_fault(faults.FAULTS[fault][2], scene, 0.8, np.random.default_rng(3)).image
    sign = -1 if metric == "fidelity_gain" else 1
    assert sign * (scores(scene.lq, image)[metric] - scores(scene.lq, scene.gt)[metric]) > least


def test_a_faithful_restoration_has_no_changed_content(scene: synthetic_faults.Scene) -> None:
    drifted = restored.displace(scene.gt, 2.0, np.random.default_rng(1))
    toned = restored.change_tones(drifted, 1.0, np.random.default_rng(2))
    for image in (scene.gt, drifted, toned):
        assert scores(scene.lq, image)["fidelity_content"] < 0


def test_tiles_locate_a_replaced_region(scene: synthetic_faults.Scene) -> None:
    done = synthetic_faults.add_fault(synthetic_faults.replace_region, scene, 0.9, np.random.default_rng(3))
    tiles = fidelity.run_model(scene.lq, done.image).tiles[0]
    inside = done.seen.reshape(SIZE // 16, 16, SIZE // 16, 16).mean(axis=(1, 3)) > 0.5
    assert tiles[inside].mean() > tiles[~inside].mean() + 2


VALUES = {  # in the order of METRICS
    "truth": (-3.93, -2.51, -4.45, -4.95, -2.62, 3.47),
    "wrong": (2.95, -4.04, -3.91, 0.72, 4.07, 3.81),
}


def test_values_on_two_pairs() -> None:
    gt, other = crop("friends-1", SIZE, 150, 150), crop("picosdeeuropa-1", SIZE, 100, 100)
    lq = degrading.degrade(gt, "haze", strength=0.4, seed=1)
    for name, image in (("truth", gt), ("wrong", other)):
        assert tuple(scores(lq, image).values()) == pytest.approx(VALUES[name], abs=fidelity.TOLERANCE), name


def test_the_output_does_not_depend_on_earlier_pairs(scene: synthetic_faults.Scene) -> None:
    first = scores(scene.lq, scene.gt)
    scores(scene.gt, scene.lq)
    assert scores(scene.lq.copy(), scene.gt.copy()) == first


@pytest.mark.parametrize("size", [(32, 32), (100, 333), (47, 512), (900, 64)])
def test_any_size_is_measured(size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(np.tile(crop("life-1", 512), (2, 1, 1))[: size[0], : size[1]])
    looked = fidelity.run_model(image, image)
    width, height = fidelity.working_size(image)
    assert width % 32 == height % 32 == 0 and max(width, height) <= fidelity.MAX_EDGE
    assert looked.tiles.shape == (5, height // 16, width // 16) and looked.whole.shape == (5,)
    assert np.isfinite(looked.tiles).all() and np.isfinite(looked.whole).all()


@pytest.mark.parametrize(
    ("shape", "size"), [((1024, 1024), (768, 768)), ((683, 1024), (768, 512)), ((300, 500), (512, 288)),
                        ((100, 200), (384, 192)), ((20, 2000), (768, 64))],
)  # fmt: skip
def test_the_working_size(shape: tuple[int, int], size: tuple[int, int]) -> None:
    assert fidelity.working_size(np.zeros((*shape, 3), np.uint8)) == size


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_image_is_measured(level: int) -> None:
    flat = np.full((64, 64, 3), level, np.uint8)
    assert np.isfinite(list(scores(flat, flat).values())).all()
    assert measure_cells(flat, flat, flat, (8, 8)).shape == (COUNT, 8, 8)


def test_a_pair_of_1024_px_takes_less_than_a_second() -> None:
    image = np.tile(crop("life-1", 512), (2, 2, 1))
    scores(image[:64, :64], image[:64, :64])  # loads the weights
    begin = time.process_time()
    scores(image, image)
    assert time.process_time() - begin < 1.0


# --- tone ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.4, 0.7, 1.5, 2.5])
def test_a_gamma_and_a_white_balance_are_removed(gamma: float) -> None:
    gt = crop("friends-1", SIZE, 150, 150)
    lq = degrading.to_bytes(255.0 * (gt / 255.0) ** gamma * np.array([0.8, 1.0, 0.9]))
    tone = fit_tone(lq, gt)
    assert psnr(tone.apply(lq), gt) > 27 and psnr(tone.apply(lq), gt) > psnr(lq, gt) + 8
    assert np.all(np.diff(tone.curves, axis=1) >= -1e-3), "curves never fall"


def test_facts_describe_the_removed_change_of_tone() -> None:
    gt = crop("friends-1", SIZE, 150, 150)
    same = fit_tone(gt, gt)
    assert (
        same.facts.shape == (FACTS,)
        and np.abs(same.facts[:21]).max() < 0.15
        and same.saturation == pytest.approx(1, abs=0.05)
    )
    warm = fit_tone(gt, degrading.to_bytes(gt * np.array([1.2, 1.0, 0.8])))
    assert warm.facts[0:5].mean() > 0.4 and warm.facts[10:15].mean() < -0.4, "gains of red and blue"
    random = np.random.default_rng(1)
    hues = np.stack([128 + 40 * degrading.draw_clouds((SIZE, SIZE), 0.2, random) for _ in range(3)], axis=2)
    grey = hues.mean(axis=2, keepdims=True)
    vivid = fit_tone(degrading.to_bytes(grey + 0.5 * (hues - grey)), degrading.to_bytes(hues))
    assert vivid.saturation > 1.4


def test_noise_does_not_change_the_tone_curve() -> None:
    gt = crop("friends-1", SIZE, 150, 150)
    noisy = degrading.to_bytes(gt + 20.0 * np.random.default_rng(1).standard_normal(gt.shape))
    levels = slice(40, 216)
    assert np.abs(fit_tone(noisy, gt).curves[:, levels] - np.arange(256)[levels]).mean() < 8


# --- what can go wrong -----------------------------------------------------------------------------------------------


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "fidelity.onnx"
    other.write_bytes(b"other")
    monkeypatch.setattr(fidelity, "WEIGHTS", other)
    fidelity._session.cache_clear()
    image = crop("life-1", 64)
    with pytest.raises(ConfigError) as caught:
        fidelity.run_model(image, image)
    digest = hashlib.sha256(b"other").hexdigest()[:16]
    assert str(caught.value) == (
        f"fidelity.onnx: its SHA-256 is {digest}, not {fidelity.SHA256[:16]}. Install ggt100k again."
    )
    other.unlink()
    assert fidelity.explain_missing() == "fidelity.onnx is missing. Install ggt100k again."


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    fidelity._session.cache_clear()
    image = crop("life-1", 64)
    with pytest.raises(
        ConfigError, match=re.escape("onnxruntime is not installed. Install it: pip install 'ggt100k[generate]'")
    ):
        fidelity.run_model(image, image)
