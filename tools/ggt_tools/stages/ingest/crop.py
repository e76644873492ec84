"""Bring a photograph to size: crop the window with the most detail, or resize it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from ggt_format.schema import Image
from ggt_tools.errors import PairError
from ggt_tools.imaging import MAX_PIXELS
from ggt_tools.imaging.planes import opencv

STEP = 16  # pixels between two positions of a window


def fit(
    image: Pillow.Image,
    name: str,
    rule: str = "crop",
    *,
    min_side: int = 512,
    max_side: int = 1024,
    max_pixels: int = MAX_PIXELS,
) -> Image:
    """Bring an upright photograph to size.

    Args:
        image: The photograph, RGB.
        name: The file's name, for messages.
        rule: `crop`: cut out the window with the most detail, without resampling; a side that is shorter than
            `max_side` stays. `resize`: resample (Lanczos) so that the shorter side has `max_side` pixels, then crop.
            `pad`: resample so that the longer side has `max_side` pixels, and cut nothing; restorers pad for the call
            of their model.
        min_side: Pixels that the shorter side must have.
        max_side: Pixels that a side may have.
        max_pixels: Pixels that the resampled photograph may have.

    Returns:
        uint8 RGB (height, width, 3).

    Raises:
        PairError: `too_small`, `too_large`.
    """
    return fit_with_frame(image, name, rule, min_side=min_side, max_side=max_side, max_pixels=max_pixels)[0]


def fit_with_frame(
    image: Pillow.Image, name: str, rule: str, *, min_side: int, max_side: int, max_pixels: int
) -> tuple[Image, tuple[int, ...]]:
    """Do what `fit` does, and return also the frame of the window, as `Conversion.frame` stores it."""
    width, height = image.size
    if min(width, height) < min_side:
        raise PairError(
            "too_small",
            f"{name}: the image is {width} x {height}, and its shorter side needs {min_side} pixels. Use a larger one.",
        )
    if rule != "crop":
        scale = max_side / (max(width, height) if rule == "pad" else min(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        if min(size) < min_side // 2:
            raise PairError(
                "too_small",
                f"{name}: resized for padding the image is {size[0]} x {size[1]}, and its shorter side needs "
                f"{min_side // 2} pixels. Choose another --fit.",
            )
        if size[0] * size[1] > max_pixels:
            raise PairError(
                "too_large", f"{name}: the image is {width} x {height}, too long to be enlarged. Crop it first."
            )
        if size != image.size:
            image = image.resize(size, Pillow.Resampling.LANCZOS)
    left, top, right, bottom = find_window(np.asarray(image), max_side)
    frame = (*image.size, left, top, right - left, bottom - top)
    return np.asarray(image.crop((left, top, right, bottom))), frame


def find_window(pixels: Image, max_side: int) -> tuple[int, int, int, int]:
    """Find the window of at most `max_side` x `max_side` pixels with the most detail.

    Detail is the sum of the absolute differences of luma between neighbours, in both directions. Windows start every
    16 pixels from the left and the top. Of windows with equal detail the one nearest to the middle is chosen, then the
    upper one, then the left one.

    Returns:
        Left, top, right and bottom of the window.
    """
    height, width = pixels.shape[:2]
    window_width, window_height = min(width, max_side), min(height, max_side)
    if (window_width, window_height) == (width, height):
        return 0, 0, width, height
    cv2 = opencv()
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    # Sums of the rows of each window, by column. An integral image of the whole photograph would take far more memory.
    tops = np.arange(0, height - window_height + 1, STEP)
    lefts = np.arange(0, width - window_width + 1, STEP)
    columns = np.zeros((len(tops), width), np.int64)
    columns[0] = _detail_of_columns(luma, 0, window_height)
    for index, top in enumerate(tops[1:], 1):
        left_behind = _detail_of_columns(luma, top - STEP, top)
        added = _detail_of_columns(luma, top - STEP + window_height, top + window_height)
        columns[index] = columns[index - 1] - left_behind + added
    sums = np.concatenate([np.zeros((len(tops), 1), np.int64), np.cumsum(columns, axis=1)], axis=1)
    detail = sums[:, lefts + window_width] - sums[:, lefts]
    from_middle = np.abs(tops[:, None] - (height - window_height) / 2) + np.abs(
        lefts[None] - (width - window_width) / 2
    )
    best = np.lexsort((from_middle.ravel(), -detail.ravel()))[0]
    top, left = int(tops[best // len(lefts)]), int(lefts[best % len(lefts)])
    return left, top, left + window_width, top + window_height


def _detail_of_columns(luma: Image, top: int, bottom: int) -> npt.NDArray[np.int64]:
    """Sum, for each column of the rows from `top` to `bottom`, the differences to the pixels before and above."""
    rows = luma[max(top - 1, 0) : bottom].astype(np.int16)
    detail = np.zeros(luma.shape[1], np.int64)
    detail[1:] = np.abs(np.diff(rows[-(bottom - top) :], axis=1)).sum(axis=0)
    detail += np.abs(np.diff(rows, axis=0)).sum(axis=0)
    return detail
