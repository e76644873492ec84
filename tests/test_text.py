"""Text by OCR: lines that were added, lost or altered are counted, and illegible text is unsure."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.metrics import text
from ggt_tools.metrics.scorer import SETS, Scorer, score
from ggt_tools.metrics.text import Quad, Reading, TextChanges, compare_detected_text, compare_text, edit_distance
from ggt_tools.training import synthetic_degradations as degrading
from tests.benchmarks.faults_kinds import lettered
from tests.making import make_workspace
from tests.photographs import Photograph, crop
from tests.test_cli import ggt

needs_rapidocr = pytest.mark.skipif(bool(text.explain_missing()), reason=text.explain_missing())
LINE: Quad = np.array([[20, 20], [120, 20], [120, 44], [20, 44]], np.float32)


class FakeReader:
    """Finds LINE in every picture that is not black there, and reads of lq and gt what it was told."""

    def __init__(self, lq: Reading, gt: Reading) -> None:
        self._readings = [lq, gt]

    def find(self, image: Image) -> list[Quad]:
        return [LINE] if image[20:44, 20:120].any() else []

    def read(self, lines: Sequence[Image]) -> list[Reading]:
        assert all(line.shape == (24, 100, 3) for line in lines)
        return self._readings[: len(lines)]


def sign(letters: str) -> Photograph:
    """A plate at LINE with letters, on grey."""
    image = np.full((64, 160, 3), 90, np.uint8)
    cv2.rectangle(image, (20, 20), (119, 43), (230, 230, 225), -1)
    cv2.putText(image, letters, (24, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (30, 30, 60), 2, cv2.LINE_AA)
    return image


PLAIN = np.full((64, 160, 3), 90, np.uint8)


@pytest.mark.parametrize(
    ("lq", "gt", "same_pixels", "outcome"),
    [
        (("EXIT 24", 0.99), ("EXIT 24", 0.99), True, "kept"),
        (("Exit O5", 0.99), ("EXIT 0S", 0.99), True, "kept"),  # what OCR confuses is the same
        (("EXIT 24", 0.99), ("EXIT 27", 0.99), True, "altered"),  # one character of a line that both read well
        (("EXIT 24", 0.92), ("EXIT 27", 0.99), True, "unsure"),  # one character, and lq is read less well
        (("EXIT 24", 0.92), ("TAXI 7", 0.92), True, "altered"),
        (("EXIT 24", 0.85), ("TAXI 7", 0.99), True, "unsure"),
        (("", 0.0), ("EXIT 24", 0.99), True, "unsure"),  # readable only in gt, where something like it stands in lq
        (("", 0.0), ("EXIT 24", 0.99), False, "added"),
        (("EXIT 24", 0.99), ("", 0.0), False, "lost"),
        (("EXIT 24", 0.99), ("E", 0.3), True, ""),  # OCR missed what still stands there
        (("", 0.0), ("E", 0.99), False, ""),  # one letter is noise
        (("", 0.0), ("2ed Edito", 0.65), False, "unsure"),  # half read, where lq shows nothing like it
        (("", 0.0), ("2ed Edito", 0.55), False, ""),
        (("", 0.0), ("2ed", 0.65), False, ""),
        (("2nd Edit", 0.65), ("2ed Edito", 0.65), False, ""),  # lq has as much
        (("", 0.0), ("2ed Edito", 0.65), True, ""),  # something like it stands in lq
    ],
)
def test_the_outcome_of_each_line(lq: Reading, gt: Reading, same_pixels: bool, outcome: str) -> None:
    pictures = (sign("EXIT 24"), sign("EXIT 24"))
    if not same_pixels:
        pictures = (PLAIN, pictures[1]) if gt[1] > lq[1] else (pictures[0], PLAIN)
    changes = compare_text(*pictures, FakeReader(lq, gt))
    assert changes == TextChanges(**({outcome: 1} if outcome else {}))


def test_a_line_in_both_images_is_read_once() -> None:
    changes = compare_text(sign("EXIT 24"), sign("EXIT 24"), FakeReader(("EXIT 24", 1.0), ("EXIT 24", 1.0)))
    assert changes == TextChanges(kept=1)
    black = np.zeros((64, 160, 3), np.uint8)
    assert compare_text(black, black, FakeReader(("", 0.0), ("", 0.0))) == TextChanges()


class CountingReader(FakeReader):
    """Finds text only in pictures of a long edge of `least` px or more, and notes the sizes that it saw."""

    def __init__(self, least: int) -> None:
        super().__init__(("EXIT 24", 1.0), ("EXIT 24", 1.0))
        self.least, self.sizes = least, []

    def find(self, image: Image) -> list[Quad]:
        self.sizes.append(max(image.shape[:2]))
        return (
            [np.array([[0, 0], [99, 0], [99, 23], [0, 23]], np.float32)] if max(image.shape[:2]) >= self.least else []
        )

    def read(self, lines: Sequence[Image]) -> list[Reading]:
        return [("EXIT 24", 1.0)] * len(lines)


@pytest.mark.parametrize(
    ("side", "least", "sizes"),
    [
        (1024, 9000, [640, 640]),  # a glance finds nothing: no more is done
        (1024, 0, [640, 1600, 1600]),
        (300, 0, [300, 600, 600]),  # twice as large at most
        (2000, 0, [640, 1600, 1600]),
    ],
)
def test_a_fast_search_comes_first(side: int, least: int, sizes: list[int]) -> None:
    picture = np.full((side // 2, side, 3), 90, np.uint8)
    reader = CountingReader(least)
    changes = compare_detected_text(picture, picture, reader)
    assert reader.sizes == sizes
    assert changes == TextChanges(kept=int(least == 0))


def test_what_becomes_readable_in_a_low_line_is_unsure() -> None:
    class LowLine(FakeReader):
        def find(self, image: Image) -> list[Quad]:
            return [np.array([[20, 20], [120, 20], [120, 29], [20, 29]], np.float32)]

        def read(self, lines: Sequence[Image]) -> list[Reading]:
            return [("", 0.0), ("EXIT", 0.99)]

    assert compare_text(PLAIN, sign("EXIT"), LowLine(("", 0.0), ("", 0.0))) == TextChanges(unsure=1)


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert edit_distance(a, a) == 0
    assert edit_distance(a, b) == edit_distance(b, a) <= max(len(a), len(b))
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)


def test_edit_distance_by_hand() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3


@pytest.mark.slow
@needs_rapidocr
@pytest.mark.parametrize("strength", [0.3, 0.6])
def test_rapidocr_reads_other_letters_through_blur_and_noise(strength: float) -> None:
    right, wrong = lettered(crop("life-1", 512, 20, 20), strength, np.random.default_rng(4))
    lq = degrading.degrade(right, "blur and noise", strength=0.3, seed=1)
    faithful = {one.metric: one.value for one in score([("c", lq, right)], ["text"])}
    assert faithful == {"text_added": 0, "text_lost": 0, "text_altered": 0, "text_unsure": 0}
    altered = {one.metric: one.value for one in score([("c", lq, wrong)], ["text"])}
    assert altered == {"text_added": 0, "text_lost": 0, "text_altered": 1, "text_unsure": 0}


@pytest.mark.slow
@needs_rapidocr
def test_rapidocr_detects_an_added_or_removed_sign() -> None:
    plain = crop("life-1", 512, 20, 20)
    lettering = lettered(plain, 0.5, np.random.default_rng(4))[0]
    with Scorer(["text_added", "text_lost"]) as scorer:
        added = [one.value for one in scorer.score([("c", plain, lettering)])]
        lost = [one.value for one in scorer.score([("c", lettering, plain)])]
        assert scorer.versions["text_lost"].startswith("text-2 rapidocr ")
    assert (added, lost) == ([1, 0], [0, 1])


def test_without_rapidocr_text_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
    assert set(SETS["text"]) == set(text.METRICS)
    with pytest.raises(ConfigError) as caught:
        Scorer(["text_added"])
    assert str(caught.value) == (
        "metric 'text_added' cannot be measured: rapidocr is not installed. Install it: pip install 'ggt100k[text]'"
    )


def test_score_warns_in_one_line_that_text_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        text, "explain_missing", lambda: "rapidocr is not installed. Install it: pip install 'ggt100k[text]'"
    )
    done = ggt("score", make_workspace(tmp_path / "w", 1))
    assert done.code == 0
    assert done.err == (
        "ggt100k score: text_added, text_lost, text_altered, text_unsure: not measured: rapidocr is not installed. "
        "Install it: pip install 'ggt100k[text]'\n"
    )
