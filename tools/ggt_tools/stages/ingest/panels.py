"""Detect a screenshot of a page whose background is a photograph, by its panels, buttons and bars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_tools.imaging.planes import opencv

Pixels = npt.NDArray[np.uint8]
# The limits are our own. 265 photographs and restorations were tested, as they are and as a JPEG of quality 60: none
# has two such panels, and one has one, a colour chart. 150 pages of five kinds were drawn over six photographs, and
# saved as PNG and as JPEG of quality 95, 80 and 60. 20 of these have fewer than two panels. All 20 are JPEGs with one
# bar and one button.
EVEN = 3  # grey levels between neighbouring pixels: the ringing of a JPEG within a flat panel
STEP = 20  # grey levels of the step at the border of a panel
STRAIGHT = 0.65  # share of a side whose step is in one column: corners may be round
SHARP = 0.4  # share of the change around the border that is in that column: a lens spreads it over several pixels
AROUND = 10  # pixels around the even area in which the step is searched: JPEG's ringing fills a block beside it
MIN_WIDTH, MIN_HEIGHT, MIN_AREA = 40, 14, 1200  # pixels of a button
TEXT = 0.02  # share of a panel's pixels that are steps of text
LARGE = 0.04  # share of the picture at which a panel with text counts twice
MIN_EVEN = 0.002  # share of the picture that must be even for it to have a panel


@dataclass(frozen=True, slots=True)
class Panel:
    """A flat rectangle with straight sides, or a bar along an edge of the picture.

    Attributes:
        share: Share of the picture that it covers.
        has_text: Whether there is text on it.
        is_clipped: Whether it is black or white, as a window or a lamp may be.
        is_bar: Whether it spans the picture.
    """

    share: float
    has_text: bool
    is_clipped: bool
    is_bar: bool


def is_page_over_photograph(pixels: Pixels) -> bool:
    """Return whether panels, buttons or bars are drawn over a picture.

    A panel is even except for its text, and has a border on at least three sides that is parallel to the axes and one
    pixel wide, sharper than any lens draws it. A picture is a page if it has two panels, one large panel with text, or
    one panel and a bar. Black and white panels without text do not count.

    Args:
        pixels: uint8 RGB (height, width, 3).
    """
    panels = find_panels(pixels)
    inner = [panel for panel in panels if not panel.is_bar and (panel.has_text or not panel.is_clipped)]
    count = sum(2 if panel.has_text and panel.share >= LARGE else 1 for panel in inner)
    return bool(inner) and count + any(panel.is_bar for panel in panels) >= 2


def find_panels(pixels: Pixels) -> list[Panel]:
    """Return the panels and bars in a picture, uint8 RGB (height, width, 3)."""
    cv2 = opencv()
    height, width = pixels.shape[:2]
    if height < 2 * AROUND or width < 2 * AROUND:
        return []
    across, down = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    across[:, :-1] = _largest(cv2.absdiff(pixels[:, 1:], pixels[:, :-1]))
    down[:-1] = _largest(cv2.absdiff(pixels[1:], pixels[:-1]))
    change = cv2.max(across, down)
    # single pixels of a photograph are often even, so a neighbourhood has to be
    even = cv2.erode(np.asarray(change <= EVEN, np.uint8), np.ones((3, 3), np.uint8))
    if cv2.countNonZero(even) < MIN_EVEN * even.size:
        return []
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(even, connectivity=4)
    panels = []
    box_areas = boxes[:, 2] * boxes[:, 3]
    is_possible = (boxes[:, 2] >= MIN_WIDTH) & (boxes[:, 3] >= MIN_HEIGHT) & (box_areas >= MIN_AREA)
    is_possible &= (boxes[:, 4] >= 0.5 * box_areas) & (box_areas <= 0.6 * even.size)
    for number in np.flatnonzero(is_possible[1:count]) + 1:
        left, top, box_width, box_height = (int(value) for value in boxes[number, :4])
        box = slice(top, top + box_height), slice(left, left + box_width)
        colours = pixels[box][labels[box] == number]
        low, high = np.percentile(colours, (10, 90), axis=0)
        if (high - low).max() > EVEN + 1:
            continue
        inner, straight = _sides(pixels, left, top, box_width, box_height)
        spans = box_width >= 0.9 * width or box_height >= 0.9 * height
        is_bar = inner in (1, 2) and straight == inner and spans
        if (inner >= 3 and straight >= 3) or is_bar:
            colour = np.median(colours, axis=0)
            steps = change[top + 3 : top + box_height - 3, left + 3 : left + box_width - 3] >= 32
            panels.append(
                Panel(
                    share=box_width * box_height / even.size,
                    has_text=bool(steps.mean() >= TEXT),
                    is_clipped=bool((colour >= 253).all() or (colour <= 2).all()),
                    is_bar=is_bar,
                )
            )
    return panels


def _largest(change: Pixels) -> Pixels:
    """Return the largest channel of each pixel; OpenCV is about five times as fast as numpy."""
    cv2 = opencv()
    red, green, blue = cv2.split(change)
    return np.asarray(cv2.max(cv2.max(red, green), blue))


def _sides(pixels: Pixels, left: int, top: int, width: int, height: int) -> tuple[int, int]:
    """Return how many sides of a rectangle lie within the picture, and how many of these are straight and sharp."""
    inner = straight = 0
    transposed = pixels.swapaxes(0, 1)
    for picture, start, size, across, length in (
        (pixels, left, width, top, height),
        (transposed, top, height, left, width),
    ):
        rows = picture[across + 2 : across + length - 2].astype(np.int16)
        before = rows[:, max(0, start - AROUND) : start + 4][:, ::-1]
        after = rows[:, start + size - 4 : start + size + AROUND]
        for band, room in ((before, start), (after, picture.shape[1] - start - size)):
            if room >= 4:
                inner += 1
                straight += _is_straight(np.abs(np.diff(band, axis=1)).max(axis=2))
    return inner, straight


def _is_straight(steps: npt.NDArray[np.int16]) -> bool:
    """Return whether the steps of most rows are in one column, and have most of the change around it."""
    shares = (steps >= STEP).mean(axis=0)
    column = int(np.argmax(shares))
    if shares[column] < STRAIGHT:
        return False
    total = steps[:, max(0, column - 2) : column + 3].sum(axis=1)
    return bool(np.median(steps[:, column] / np.maximum(total, 1)) >= SHARP)
