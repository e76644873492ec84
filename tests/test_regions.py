"""Witnesses of edges, faces and text: what was changed there shows, what was restored does not."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.errors import ConfigError
from ggt_tools.score import Scorer, score
from ggt_tools.witnesses import degrading, regions
from tests.benchmarks.faults_kinds import lettered
from tests.photographs import Photograph, crop

data = pytest.importorskip("skimage.data")


def measured(lq: Photograph, gt: Photograph) -> dict[str, float]:
    return {one.metric: one.value for one in score([("c", lq, gt)], ["regions"])}


@pytest.fixture(scope="module")
def portrait() -> tuple[Photograph, Photograph]:
    gt = np.ascontiguousarray(data.astronaut())
    return degrading.degrade(gt, "blur and noise", strength=0.4, seed=1), gt


def test_what_is_restored_has_changed_nowhere(portrait: tuple[Photograph, Photograph]) -> None:
    values = measured(*portrait)
    assert set(values) == {"edges_unsupported", "face_changed", "text_changed"}
    assert max(values.values()) < 0.05


def test_another_face_shows(portrait: tuple[Photograph, Photograph]) -> None:
    lq, gt = portrait
    other = gt.copy()
    other[60:200, 170:280] = cv2.flip(other[60:200, 170:280], 0)
    assert measured(lq, other)["face_changed"] > 0.4
    gone = gt.copy()
    gone[60:180, 165:285] = cv2.GaussianBlur(gone[60:180, 165:285], (0, 0), 25)
    assert measured(lq, gone)["face_changed"] > 0.3  # found in lq alone


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_other_letters_show(strength: float) -> None:
    right, wrong = lettered(crop("life-1", 512, 100, 100), strength, np.random.default_rng(4))
    lq = degrading.degrade(right, "blur and noise", strength=0.3, seed=1)
    assert measured(lq, right)["text_changed"] < 0.05
    assert measured(lq, wrong)["text_changed"] > 0.2


def test_edges_that_came_from_nowhere_show() -> None:
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


def test_without_scikit_image_faces_are_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    message = "metric 'face_changed' cannot be measured: scikit-image is not installed: pip install 'ggt100k[quality]'"
    with pytest.raises(ConfigError) as caught:
        Scorer(["regions"])
    assert str(caught.value) == message
    image = crop("life-1", 64)
    (said,) = score([("c", image, image)], ["edges_unsupported"])
    assert (said.value, said.metric_version) == (0.0, regions.VERSION)
