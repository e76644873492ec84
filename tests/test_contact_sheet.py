"""The contact sheet: each pair's lq and gt side by side, and below them what is known of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ggt100k import DEGRADATIONS
from ggt_tools.imaging.contact_sheet import COLUMNS, LINE, TILE, WIDTH, contact_sheet

from .making import picture

Pixels = npt.NDArray[np.uint8]


def pair(seed: int, height: int = TILE, width: int = TILE, **scores: float) -> dict[str, Any]:
    lq = picture(seed, height, width)
    return {
        "key": f"{seed:016x}",
        "degradation": "rain",
        "restorer": "classical-1",
        "lq": Image.fromarray(lq),
        "gt": Image.fromarray(255 - lq),
        "scores": scores,
    }


def pixels(pairs: list[dict[str, Any]]) -> Pixels:
    return np.asarray(contact_sheet(pairs))


@pytest.mark.parametrize(("count", "rows"), [(0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_two_pairs_a_row(count: int, rows: int) -> None:
    sheet = contact_sheet([pair(seed) for seed in range(count)])
    assert sheet.mode == "RGB"
    assert sheet.size == (COLUMNS * WIDTH, rows * (TILE + 3 * LINE))


def test_lq_and_gt_land_side_by_side() -> None:
    pairs = [pair(seed) for seed in range(3)]
    sheet = pixels(pairs)
    row = TILE + 3 * LINE
    for (left, top), one in zip([(0, 0), (WIDTH, 0), (0, row)], pairs, strict=True):
        assert np.array_equal(sheet[top : top + TILE, left : left + TILE], np.asarray(one["lq"]))
        right = left + TILE + 4
        assert np.array_equal(sheet[top : top + TILE, right : right + TILE], np.asarray(one["gt"]))
    assert (sheet[row:, WIDTH:] == 255).all(), "there is no fourth pair"


def test_a_larger_image_is_made_to_fit_and_the_pair_stays_as_it_is() -> None:
    large = pair(1, 2 * TILE, 3 * TILE)
    large["gt"] = Image.new("RGB", (3 * TILE, 2 * TILE), (10, 200, 30))
    sheet = pixels([large])
    assert (sheet[: TILE * 2 // 3, TILE + 4 : 2 * TILE + 4] == (10, 200, 30)).all()
    assert (sheet[TILE * 2 // 3 : TILE, : 2 * TILE] == 255).all()
    assert large["lq"].size == (3 * TILE, 2 * TILE)


def _text(sheet: Pixels) -> Pixels:
    return sheet[TILE:, :WIDTH]


def test_a_score_is_written_where_it_is_a_number() -> None:
    without = pixels([pair(1, structure=0.5)])
    assert np.array_equal(pixels([pair(1, structure=0.5, gmsd=math.nan)]), without)
    assert np.array_equal(pixels([pair(1, gmsd=math.nan, structure=0.5)]), without)
    assert not np.array_equal(pixels([pair(1, structure=0.5, gmsd=0.25)]), without)
    assert not np.array_equal(pixels([pair(1, structure=0.75)]), without)
    third = slice(LINE + 2, 2 * LINE + 2)
    assert (_text(pixels([pair(1, gmsd=math.nan)]))[third] == 255).all(), "no score, no text"
    assert (_text(without)[third] < 128).any()


def test_key_degradation_and_restorer_are_written() -> None:
    as_it_is = pair(1)
    for change in ({"key": "f" * 16}, {"degradation": "snow"}, {"restorer": "other-1"}):
        assert not np.array_equal(pixels([as_it_is | change]), pixels([as_it_is]))


def test_a_class_label_is_written_by_its_name() -> None:
    labelled = pair(1) | {"degradation": DEGRADATIONS.index("rain")}
    assert np.array_equal(pixels([labelled]), pixels([pair(1)]))


def test_many_scores_take_more_lines_and_no_room_of_the_neighbour() -> None:
    scores: dict[str, Any] = {f"a_metric_of_some_length_{number}": -0.12345 for number in range(16)}
    sheet = pixels([pair(1, **scores)])
    assert sheet.shape[0] > TILE + 5 * LINE
    assert (sheet[TILE:, WIDTH - 12 :] == 255).all()
    (last,) = np.flatnonzero((sheet < 128).any(axis=(1, 2)))[-1:]
    assert sheet.shape[0] - 2 * LINE < last < sheet.shape[0], "the last line is on the sheet"
