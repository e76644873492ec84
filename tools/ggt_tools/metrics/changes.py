"""Metrics of local change: what gt lost of lq, and what it kept in smooth areas.

Rain, drops, snow, scratches and reflections cover a small part of a photograph, and a faithful restoration leaves the
rest unchanged. A metric over the whole image then reports no change. These metrics measure only the cells that changed
most, after the tone curve of gt was applied to lq.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.metrics.core import Pair, resize_to

CELL = 16  # side of a cell in px
SMALL_EDGE = 256  # px of the long edge at which drops, flakes and scratches are measured
SMALL_CELL = 12  # side of a cell in px at SMALL_EDGE
CHANGED = 0.10  # fraction of the cells, those that changed most, that are measured
STRONG_EDGE = 8.0  # grey levels per pixel
RING_INNER, RING_OUTER = 5, 13  # px: distance from a strong edge at which ripples are measured
CALM_SLOPE = 2.5  # levels per pixel of log light: smooth areas have less almost everywhere
CALM_CELL = 24  # px at SMALL_EDGE
WEAK = 0.3  # energy of structure of log light that is too weak to count


class Change(NamedTuple):
    """Band-passed difference of lq, with the tones of gt, and gt in the cells that changed most, in grey levels."""

    size: float  # root mean square
    bright: float  # root mean square where lq is brighter
    dark: float  # root mean square where lq is darker


def local_change(pair: Pair) -> float:
    """Measure how much structure of 1 to 8 px changed where it changed most: root mean square in grey levels.

    It is measured at 256 px long edge, or at half the size of a small image, after lq got the tone curve and local
    contrast of gt, so that tone, haze and light have little effect. Below 4, nothing was removed, added or redrawn.
    """
    return _changes(pair)[1].size


def bright_removed(pair: Pair) -> float:
    """Measure bright structure that gt lacks minus dark structure that it lacks, where it changed most, in grey levels.

    Streaks, flakes and drops are brighter than the scene behind them. Removing them gives 2 to 20; a copy, or a
    sharper, softer or noisier image about 0. Below 0, dark specks or scratches were removed, or bright objects added.
    The value is the larger one of two scales: full resolution (1 to 4 px) and 256 px long edge (1 to 8 px).
    """
    return max((change.bright - change.dark for change in _changes(pair)), key=abs)


def smooth_kept(pair: Pair) -> float:
    """Correlate weak structure of lq and gt in the tenth of the smooth areas that agrees least: -1..1, 1 is all kept.

    Such structure is clouds, folds and shading of 2 to 8 px at 256 px long edge, where lq has no edges. The value
    falls when a structured sky becomes a gradient, or is replaced. It is 1 for an image without smooth areas.
    """
    cv2 = opencv()
    stops = [np.asarray(60.0 * np.log2((grey + 16.0) / 271.0), np.float32) for grey in pair.grey256]
    soft = [cv2.GaussianBlur(plane, (0, 0), 1.5) for plane in stops]
    lq, gt = (fine - cv2.GaussianBlur(plane, (0, 0), 8.0) for fine, plane in zip(soft, stops, strict=True))
    slope = cv2.magnitude(*(cv2.Sobel(soft[0], cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1))))
    window = (CALM_CELL, CALM_CELL)
    calm = cv2.blur((slope < CALM_SLOPE).astype(np.float32), window) > 0.9
    inner = (slice(CALM_CELL // 2, -CALM_CELL // 2, 4),) * 2
    calm = calm[inner]
    if calm.sum() < 12:
        return 1.0
    of_lq, of_gt, both = (cv2.blur(plane, window)[inner][calm] for plane in (lq * lq, gt * gt, lq * gt))
    energy = np.maximum(np.sqrt(np.maximum(of_lq * of_gt, 0.0)), 0.7 * of_lq)  # lower contrast counts as a loss too
    return float(np.quantile((both + WEAK) / (energy + WEAK), 0.10))


def ringing(pair: Pair) -> float:
    """Measure the energy of ripples beside edges that gt has and lq lacks, in squared grey levels per pixel; 0 is none.

    Ripples run along an edge, so their slopes point across it. The value is the energy of slopes across the edge minus
    that of slopes along it, so that texture and noise cancel, of gt minus lq. It is measured in the zone of 5 to 13 px
    beside strong edges with a clear direction (structure tensor: Bigun, Granlund, ICCV 1987).
    """
    cv2 = opencv()
    soft = cv2.GaussianBlur(pair.grey[1], (0, 0), 1.5)
    right, down = (cv2.Sobel(soft, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    steep = right * right + down * down
    strong = steep > max(STRONG_EDGE**2, float(np.quantile(steep[::4, ::4], 0.95)))
    far, near = (
        cv2.dilate(strong.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8))
        for reach in (RING_OUTER, RING_INNER)
    )
    steep *= strong
    # the directions of edges change slowly, so half the size is enough and takes a quarter of the time
    half = [cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for plane in (steep, right, down)]
    steep, right, down = half
    window = (RING_OUTER, RING_OUTER)
    xx, yy, xy = (cv2.blur(steep * product, window) for product in (right * right, down * down, right * down))
    total = xx + yy + 1e-3
    along, across = (xx - yy) / total, 2.0 * xy / total  # cosine and sine of twice the edge's angle, times coherence
    directed = ((along * along + across * across) > 0.25).astype(np.float32)
    size = soft.shape[1], soft.shape[0]
    along, across, inside = (
        cv2.resize(plane, size, interpolation=cv2.INTER_NEAREST) for plane in (along, across, directed)
    )
    inside *= cv2.subtract(far, near)  # products are ten times as fast as selecting pixels
    count = float(inside.sum())
    if count < 300:
        return 0.0
    along *= inside
    across *= inside
    energies = [
        float(((difference * along + product * across) * weight).sum()) / count
        for difference, product, weight in pair.of_each(_ripples)
    ]
    return energies[1] - energies[0]


def _ripples(grey: Plane) -> tuple[Plane, Plane, Plane]:
    """Return x² - y² and 2 x y of the fine slopes x and y, and the weight of each pixel."""
    cv2 = opencv()
    fine = cv2.GaussianBlur(grey, (0, 0), 0.8) - cv2.blur(grey, (11, 11))
    x, y = (cv2.Sobel(fine, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    xx, yy = x * x, y * y
    # limits the weight of a real edge in the zone to that of a ripple
    weight = np.minimum(1.0, 9.0 / (xx + yy + 1e-3))
    return xx - yy, 2.0 * x * y, weight


METRICS: dict[str, Callable[[Pair], float]] = {
    "smooth_kept": smooth_kept,
    "ringing": ringing,
    "local_change": local_change,
    "bright_removed": bright_removed,
}


def _changes(pair: Pair) -> tuple[Change, Change]:
    """Return the changes at full resolution and at 256 px long edge."""
    return pair.compute_once(_compute_changes)


def _compute_changes(pair: Pair) -> tuple[Change, Change]:
    cv2 = opencv()
    toned = cv2.LUT(pair.grey_bytes[0], _tone_curve(pair))
    edge = min(
        SMALL_EDGE, max(toned.shape) // 2
    )  # a small image is halved, so that a blur of one pixel has little effect
    small = [resize_to(plane, edge) for plane in (toned, pair.grey[1])]
    return (
        _measure_change(toned, pair.grey[1], fine=0.6, coarse=4.0, cell=CELL),
        _measure_change(*small, fine=0.7, coarse=8.0, cell=SMALL_CELL),
    )


def _measure_change(lq: Plane, gt: Plane, *, fine: float, coarse: float, cell: int) -> Change:
    """Measure the change of structure between the standard deviations `fine` and `coarse`, both in pixels."""
    cv2 = opencv()
    height, width = gt.shape
    shape = max(width // cell, 1), max(height // cell, 1)

    def mean_of(plane: Plane) -> Plane:
        """Return the mean of each cell."""
        return np.asarray(cv2.resize(plane, shape, interpolation=cv2.INTER_AREA), np.float32)

    lq, gt = (cv2.GaussianBlur(p, (0, 0), fine) - _blurred(p, coarse) for p in (lq, gt))
    of_lq, of_gt, both = mean_of(lq * lq), mean_of(gt * gt), mean_of(lq * gt)
    # local contrast of gt relative to lq: a smooth field, estimated where both images agree
    agreement = np.maximum(both, 0.0) / np.sqrt(of_lq * of_gt + 1.0)
    weight = agreement**6 * np.minimum(np.sqrt(of_lq * of_gt), 100.0) + 1e-3
    ratio = weight * np.log((np.sqrt(of_gt) + 0.5) / (np.sqrt(of_lq) + 0.5))
    sigma = max(shape) / 8.0
    gain = np.exp(cv2.GaussianBlur(ratio, (0, 0), sigma) / cv2.GaussianBlur(weight, (0, 0), sigma))
    difference = lq * cv2.resize(gain, (width, height), interpolation=cv2.INTER_LINEAR) - gt
    squares = mean_of(difference * difference).ravel()
    bright_squares = mean_of(np.square(np.maximum(difference, 0.0))).ravel()
    count = max(round(squares.size * CHANGED), 1)
    changed_most = np.argpartition(-squares, count - 1)[:count]
    mean_square, bright_square = float(squares[changed_most].mean()), float(bright_squares[changed_most].mean())
    return Change(
        float(np.sqrt(mean_square)),
        float(np.sqrt(bright_square)),
        float(np.sqrt(max(mean_square - bright_square, 0.0))),
    )


def _blurred(plane: Plane, sigma: float) -> Plane:
    """Apply a Gaussian blur, at a quarter of the size where plane and sigma are large, with the same result."""
    cv2 = opencv()
    if sigma < 4.0 or min(plane.shape) < 256:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
    small = cv2.resize(plane, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    size = plane.shape[1], plane.shape[0]
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / 4.0)
    return np.asarray(cv2.resize(blurred, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _tone_curve(pair: Pair) -> Plane:
    """Return the level of gt for each of the 256 levels of lq: a monotone curve through medians of 16 equal parts."""
    cv2 = opencv()
    lq, gt = (cv2.blur(plane, (3, 3)).ravel() for plane in pair.small_grey)
    parts = np.array_split(np.argsort(lq), 16)
    levels = np.maximum.accumulate([float(np.median(lq[part])) for part in parts]) + 1e-3 * np.arange(16)
    values = np.maximum.accumulate([float(np.median(gt[part])) for part in parts])
    slope = float(
        np.clip((values[-1] - values[0] + 1.0) / (levels[-1] - levels[0] + 1.0), 0.2, 5.0)
    )  # beyond both ends
    all_levels = np.arange(256.0)
    curve = np.interp(all_levels, levels, values)
    curve += slope * (np.minimum(all_levels - levels[0], 0.0) + np.maximum(all_levels - levels[-1], 0.0))
    return np.asarray(curve, np.float32)
