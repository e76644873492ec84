"""Find what a computer has drawn over a photograph: the panels, buttons and bars of a page whose background it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_tools.imaging.degradations import opencv

Pixels = npt.NDArray[np.uint8]
# The limits are ours. Of 265 photographs and restorations, each as it is and as a JPEG of quality 60, none has two of
# such panels; one has one, a chart of colours. Of 150 pages of five kinds that were drawn over six photographs and
# saved as PNG and as JPEG of quality 95, 80 and 60, 20 have fewer, all of them JPEGs: a bar and one button.
EVEN = 3  # levels from a pixel to the next: the ringing of a JPEG within a flat panel
STEP = 20  # levels of the step that ends a panel
STRAIGHT = 0.65  # share of a side along which the step stands in one column: corners may be round
SHARP = 0.4  # share of the change about that step that it makes alone: a lens spreads it over several pixels
AROUND = 10  # pixels about the even area within which the step is: JPEG's ringing fills a block beside it
MIN_WIDTH, MIN_HEIGHT, MIN_AREA = 40, 14, 1200  # pixels of a button
TEXT = 0.02  # share of a panel's pixels that are steps of text
LARGE = 0.04  # share of the picture from which on a panel with text counts twice
MIN_EVEN = 0.002  # share of the picture: with less even area it has no panel


@dataclass(frozen=True, slots=True)
class Panel:
    """A flat rectangle with straight sides, or a bar along an edge of the picture."""

    share: float  # of the picture
    has_text: bool
    is_clipped: bool  # black or white: a window or a lamp may look so
    is_bar: bool


def is_page_over_photograph(pixels: Pixels) -> bool:
    """Whether panels, buttons or bars are drawn over a picture (uint8, height x width x 3).

    A panel is even within, but for text, and ends on three sides or more in a step that is straight along the axes and
    one pixel wide, as no lens makes it. Two are a page, or one with text that is large, or one beside a bar. Black and
    white ones without text do not count.
    """
    panels = find_panels(pixels)
    inner = [panel for panel in panels if not panel.is_bar and (panel.has_text or not panel.is_clipped)]
    count = sum(2 if panel.has_text and panel.share >= LARGE else 1 for panel in inner)
    return bool(inner) and count + any(panel.is_bar for panel in panels) >= 2


def find_panels(pixels: Pixels) -> list[Panel]:
    cv2 = opencv()
    height, width = pixels.shape[:2]
    if height < 2 * AROUND or width < 2 * AROUND:
        return []
    across, down = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    across[:, :-1] = _largest(cv2.absdiff(pixels[:, 1:], pixels[:, :-1]))
    down[:-1] = _largest(cv2.absdiff(pixels[1:], pixels[:-1]))
    change = cv2.max(across, down)
    # even over a neighbourhood: single pixels of a photograph often are
    even = cv2.erode(np.asarray(change <= EVEN, np.uint8), np.ones((3, 3), np.uint8))
    if cv2.countNonZero(even) < MIN_EVEN * even.size:
        return []
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(even, connectivity=4)
    panels = []
    wide = boxes[:, 2] * boxes[:, 3]
    likely = (boxes[:, 2] >= MIN_WIDTH) & (boxes[:, 3] >= MIN_HEIGHT) & (wide >= MIN_AREA)
    likely &= (boxes[:, 4] >= 0.5 * wide) & (wide <= 0.6 * even.size)
    for number in np.flatnonzero(likely[1:count]) + 1:
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
    """Of each pixel the channel that is largest: by OpenCV, some five times as fast as by numpy."""
    cv2 = opencv()
    red, green, blue = cv2.split(change)
    return np.asarray(cv2.max(cv2.max(red, green), blue))


def _sides(pixels: Pixels, left: int, top: int, width: int, height: int) -> tuple[int, int]:
    """How many sides of a rectangle lie within the picture, and how many of these are straight and sharp."""
    inner = straight = 0
    turned = pixels.swapaxes(0, 1)
    for picture, start, size, across, length in (
        (pixels, left, width, top, height),
        (turned, top, height, left, width),
    ):
        rows = picture[across + 2 : across + length - 2].astype(np.int16)
        before = rows[:, max(0, start - AROUND) : start + 4][:, ::-1]
        behind = rows[:, start + size - 4 : start + size + AROUND]
        for band, room in ((before, start), (behind, picture.shape[1] - start - size)):
            if room >= 4:
                inner += 1
                straight += _is_straight(np.abs(np.diff(band, axis=1)).max(axis=2))
    return inner, straight


def _is_straight(steps: npt.NDArray[np.int16]) -> bool:
    """Whether the steps of most rows stand in one column, and make most of the change about it."""
    shares = (steps >= STEP).mean(axis=0)
    place = int(np.argmax(shares))
    if shares[place] < STRAIGHT:
        return False
    about = steps[:, max(0, place - 2) : place + 3].sum(axis=1)
    return bool(np.median(steps[:, place] / np.maximum(about, 1)) >= SHARP)
