"""The contact sheet: strips of lq beside gt in justified rows, with captions."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from ggt_tools.imaging.contact_sheet import CAPTION, COLOURS, GAP, MARGIN, MAX_HEIGHT, SEAM, WIDTH, Tile, contact_sheet

Pixels = npt.NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom


def tile(seed: int, width: int = 300, height: int = 240) -> Tile:
    """A pair of two flat colours that no other tile has."""
    lq, gt = ((10 * seed, 200, 40 + side) for side in (0, 80))
    return Tile(lq=Image.new("RGB", (width, height), lq), gt=Image.new("RGB", (width, height), gt), heading="rain")


def box_of(sheet: Pixels, image: Image.Image) -> Box:
    """Where an image of one colour was drawn."""
    rows, columns = np.nonzero((sheet == np.array(image.getpixel((0, 0)))).all(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def boxes_of(tiles: list[Tile], **options: int) -> list[tuple[Box, Box]]:
    sheet = np.asarray(contact_sheet(tiles, **options))
    return [(box_of(sheet, each.lq), box_of(sheet, each.gt)) for each in tiles]


@pytest.mark.parametrize("sizes", [[(300, 240)] * 7, [(640, 512), (512, 512), (640, 400), (400, 512), (512, 460)]])
def test_strips_of_a_row_have_one_height_and_fill_the_width(sizes: list[tuple[int, int]]) -> None:
    tiles = [tile(seed, *size) for seed, size in enumerate(sizes)]
    boxes = boxes_of(tiles)
    rows = sorted({lq[1] for lq, _ in boxes})
    assert len(rows) > 1
    for top in rows:
        row = [both for both in boxes if both[0][1] == top]
        assert len({side[3] - side[1] for both in row for side in both}) == 1
        assert row[0][0][0] == MARGIN
        for (lq, gt), (following, _) in itertools.pairwise(row):
            assert gt[0] - lq[2] == SEAM and abs(following[0] - gt[2] - GAP) <= 1
        if top != rows[-1]:
            assert abs(row[-1][1][2] - (WIDTH - MARGIN)) < 12
    for each, (lq, gt) in zip(tiles, boxes, strict=True):
        for image, (left, up, right, down) in ((each.lq, lq), (each.gt, gt)):
            assert (right - left) / (down - up) == pytest.approx(image.width / image.height, rel=0.02)


def test_a_number_of_columns_is_kept_and_a_lone_strip_is_not_huge() -> None:
    tops = [lq[1] for lq, _ in boxes_of([tile(seed) for seed in range(5)], columns=2)]
    assert tops[0] == tops[1] < tops[2] == tops[3] < tops[4]
    ((lq, _),) = boxes_of([tile(1)])
    assert lq[3] - lq[1] == MAX_HEIGHT


def test_a_panorama_and_a_pair_of_two_sizes_fit() -> None:
    wide = replace(tile(1, 2000, 400), gt=tile(1, 500, 500).gt)
    lq, gt = boxes_of([wide])[0]
    assert (lq[2] - lq[0]) / (lq[3] - lq[1]) == pytest.approx(5, rel=0.02), "not stretched, grey above and below"
    assert (gt[2] - gt[0]) / (gt[3] - gt[1]) == pytest.approx(1, rel=0.02)


def test_an_empty_sheet_is_a_sheet() -> None:
    sheet = contact_sheet([])
    assert sheet.width == WIDTH and sheet.height < 2 * CAPTION


def test_the_caption_is_written_in_the_colour_of_the_decision() -> None:
    def caption(**changes: object) -> Pixels:
        sheet = np.asarray(contact_sheet([replace(tile(1), **changes)]))  # type: ignore[arg-type]
        return sheet[box_of(sheet, tile(1).lq)[3] :]

    def has(part: Pixels, colour: str) -> bool:
        return bool((part == np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])).all(axis=2).any())

    for decision, colour in COLOURS.items():
        assert [has(caption(decision=decision), other) for other in COLOURS.values()] == [
            other == colour for other in COLOURS.values()
        ]
    plain = caption(decision="reject")
    for changes in ({"reason": "halos"}, {"numbers": ["halos 6"]}, {"note": "model"}, {"heading": "snow"}):
        assert not np.array_equal(caption(**{"decision": "reject", **changes}), plain)


def test_texts_that_do_not_fit_or_do_not_print_do_no_harm() -> None:
    def caption(*numbers: str, note: str = "") -> Pixels:
        return np.asarray(contact_sheet([replace(tile(1, 200, 240), numbers=numbers, note=note)]))

    right = box_of(caption(), tile(1).gt)[2]
    long = caption("a" * 30, "b" * 300, note="c" * 400)
    assert np.array_equal(caption("a" * 30, "b" * 300), caption("a" * 30)), "a number that does not fit is left out"
    assert (long[:, right:] == caption()[:, right:]).all(), "nothing is written beside the strip"
    assert caption("\x00\u202e\U0001f600").shape == long.shape
