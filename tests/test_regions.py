"""Metrics of edges, faces and text: they react to changes, and not to restoration."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.errors import ConfigError
from ggt_tools.metrics import regions
from ggt_tools.metrics.scorer import CORE, Scorer, score
from ggt_tools.training import synthetic_degradations as degrading
from tests.benchmarks.faults_kinds import lettered
from tests.making import make_workspace
from tests.photographs import Photograph, crop
from tests.test_cli import ggt

data = pytest.importorskip("skimage.data")


def measured(lq: Photograph, gt: Photograph) -> dict[str, float]:
    return {one.metric: one.value for one in score([("c", lq, gt)], ["regions"])}


@pytest.fixture(scope="module")
def portrait() -> tuple[Photograph, Photograph]:
    gt = np.ascontiguousarray(data.astronaut())
    return degrading.degrade(gt, "blur and noise", strength=0.4, seed=1), gt


def test_a_restored_image_has_no_changed_region(portrait: tuple[Photograph, Photograph]) -> None:
    values = measured(*portrait)
    assert set(values) == {"edges_unsupported", "face_changed", "text_changed"}
    assert max(values.values()) < 0.05


@pytest.mark.slow
def test_another_face_is_detected(portrait: tuple[Photograph, Photograph]) -> None:
    lq, gt = portrait
    other = gt.copy()
    other[60:200, 170:280] = cv2.flip(other[60:200, 170:280], 0)
    assert measured(lq, other)["face_changed"] > 0.4
    gone = gt.copy()
    gone[60:180, 165:285] = cv2.GaussianBlur(gone[60:180, 165:285], (0, 0), 25)
    assert measured(lq, gone)["face_changed"] > 0.3  # found in lq alone


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_other_letters_are_detected(strength: float) -> None:
    right, wrong = lettered(crop("life-1", 512, 100, 100), strength, np.random.default_rng(4))
    lq = degrading.degrade(right, "blur and noise", strength=0.3, seed=1)
    assert measured(lq, right)["text_changed"] < 0.05
    assert measured(lq, wrong)["text_changed"] > 0.2


def test_unsupported_edges_are_detected() -> None:
    gt = crop("wine-1", 384, 50, 50)
    lq = degrading.degrade(gt, "blur", strength=0.4, seed=1)
    drawn = gt.copy()
    for x in range(200, 260, 8):
        cv2.line(drawn, (x, 200), (x + 10, 260), (250, 250, 250), 2)
    before, after = measured(lq, gt)["edges_unsupported"], measured(lq, drawn)["edges_unsupported"]
    assert before < 0.1 < 0.5 < after


@settings(max_examples=10, deadline=None)
@given(st.integers(32, 120), st.integers(32, 120))
def test_any_size_is_measured(height: int, width: int) -> None:
    image = np.ascontiguousarray(crop("life-1", 128)[:height, :width])
    assert measured(image, image) == {"edges_unsupported": 0.0, "face_changed": 0.0, "text_changed": 0.0}


def test_without_scikit_image_faces_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    message = (
        "metric 'face_changed' cannot be measured: scikit-image is not installed. "
        "Install it: pip install 'ggt100k[quality]'"
    )
    for asked in (["face_changed"], ["regions", "face_changed"]):
        with pytest.raises(ConfigError) as caught:
            Scorer(asked)
        assert str(caught.value) == message
    image = crop("life-1", 64)
    (said,) = score([("c", image, image)], ["edges_unsupported"])
    assert (said.value, said.metric_version) == (0.0, regions.VERSION)


@pytest.mark.parametrize(
    ("asked", "absent", "left"),
    [
        (["regions"], ["face_changed"], {"edges_unsupported", "text_changed"}),
        (["regions"], ["face_changed", "text_changed"], {"edges_unsupported"}),
        (["regions", "structure"], ["edges_unsupported"], {"face_changed", "text_changed", "structure"}),
        (["regions", "core"], ["text_changed"], {"face_changed", "edges_unsupported", *CORE}),
    ],
)
def test_measurable_metrics_of_a_set_are_measured(
    asked: list[str], absent: list[str], left: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ggt_tools.metrics.scorer._explain_missing", lambda name: "no cascade" if name in absent else ""
    )
    image = crop("life-1", 64)
    with Scorer(asked) as scorer:
        assert scorer.left_out == dict.fromkeys(absent, "no cascade")
        assert {score.metric for score in scorer.score([("c", image, image)])} == left == set(scorer.versions)


@pytest.mark.parametrize("asked", [["regions"], ["core"], ["core", "regions"], ["shift"]])
def test_missing_core_metrics_or_all_metrics_are_an_error(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ggt_tools.metrics.scorer._explain_missing", lambda name: "no package")
    with pytest.raises(ConfigError, match="cannot be measured: no package"):
        Scorer(asked)


def test_score_names_the_missing_metrics_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    workspace = make_workspace(tmp_path / "w", 2)
    done = ggt("score", workspace, "--metrics", "regions")
    assert (done.code, done.out) == (0, "score: 4 scores, 2 candidates, 0 already done\n")
    assert done.err == (
        "ggt100k score: face_changed: not measured: scikit-image is not installed. "
        "Install it: pip install 'ggt100k[quality]'\n"
    )
