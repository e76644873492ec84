"""Identity of faces: the face that changed most decides, and a degradation does not change it."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.metrics import identity
from ggt_tools.metrics.identity import MAX_FACES, Box, Embedding, compare_faces
from ggt_tools.metrics.scorer import SETS, Scorer, score
from ggt_tools.training import synthetic_degradations as degrading
from tests.photographs import Photograph, crop

needs_dlib = pytest.mark.skipif(bool(identity.explain_missing()), reason=identity.explain_missing())


class FakeReader:
    """Finds the boxes it was told in any picture; a face's embedding is the mean level in its box."""

    def __init__(self, in_gt: list[Box], in_lq: list[Box]) -> None:
        self._found = [in_gt, in_lq]
        self.embedded = 0

    def find(self, image: Image) -> list[Box]:
        return list(self._found.pop(0))

    def embed(self, image: Image, box: Box) -> Embedding:
        self.embedded += 1
        return np.array([image[box[1] : box[3], box[0] : box[2]].mean()])


def grey(level: int) -> Photograph:
    return np.full((100, 100, 3), level, np.uint8)


def test_the_face_that_changed_most_decides() -> None:
    gt = grey(50)
    gt[:, 60:] = 80
    reader = FakeReader([(0, 0, 40, 40), (60, 0, 100, 40)], [])
    assert compare_faces(grey(50), gt, reader) == pytest.approx(30)


def test_a_face_in_both_images_is_compared_once() -> None:
    reader = FakeReader([(0, 0, 40, 40)], [(2, 2, 42, 42), (60, 0, 100, 40)])
    assert compare_faces(grey(50), grey(60), reader) == pytest.approx(10)
    assert reader.embedded == 2 * 2  # the second face is found in lq alone


def test_only_the_largest_faces_are_compared() -> None:
    small: list[Box] = [(10 * i, 50, 10 * i + 8, 58) for i in range(10)]
    reader = FakeReader([*small, (0, 0, 40, 40)], [])
    gt = grey(50)
    gt[:40, :40] = 90
    assert compare_faces(grey(50), gt, reader) == pytest.approx(40)
    assert reader.embedded == 2 * MAX_FACES


def test_without_faces_nothing_changed() -> None:
    assert compare_faces(grey(50), grey(60), FakeReader([], [])) == 0.0


@pytest.mark.slow
@needs_dlib
@pytest.mark.parametrize("kind", ["blur and noise", "low_light", "old_photo"])
def test_restored_faces_are_near_and_changed_faces_far(kind: str) -> None:
    gt = np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut())
    lq = degrading.degrade(gt, kind, strength=0.5, seed=1)
    ((kept,),) = ([one.value for one in score([("c", lq, gt)], ["faces"])],)
    assert 0.05 < kept < 0.42
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    down = np.clip((y - 83) / 87, 0, 1) - 0.5  # the face lies between 83 and 170
    inside = np.clip(3 - 6 * np.maximum(np.abs((x - 179) / 87 - 0.5), np.abs((y - 83) / 87 - 0.5)), 0, 1)
    longer = cv2.remap(gt, x, (y - 0.35 * 87 * down * inside).astype(np.float32), cv2.INTER_CUBIC)
    ((changed,),) = ([one.value for one in score([("c", lq, longer)], ["faces"])],)
    assert changed > kept + 0.1


@needs_dlib
def test_an_image_without_a_face_has_distance_0() -> None:
    image = crop("life-1", 256)
    with Scorer(["face_distance"]) as scorer:
        (said,) = scorer.score([("c", image, image)])
    assert (said.value, said.metric_version) == (0.0, identity.VERSION)


def test_without_dlib_faces_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    assert SETS["faces"] == ("face_distance",)
    with pytest.raises(ConfigError) as caught:
        Scorer(["faces"])
    assert str(caught.value) == (
        "metric 'face_distance' cannot be measured: dlib-bin is not installed. Install it: pip install 'ggt100k[faces]'"
    )
