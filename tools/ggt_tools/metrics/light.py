"""Metrics of light and colour: changes that one tone curve for the whole image does not explain.

A restorer may make the whole image brighter, darker or richer in contrast. It must not light one side, shift the white
balance or change the lighting of the scene. If the degradation itself is a change of light (haze, a shadow, a
reflection, water), these metrics are high for a faithful restoration too; the gate has other bounds for such classes.
All are measured at 192 px long edge or less, where noise and compression have little effect, in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.metrics.core import Pair, resize_to, to_grey

Values = npt.NDArray[np.float64]
KNOTS = 8  # pieces of the tone curve
LIGHT_EDGE = 96  # px of the long edge at which the tone curve and the surface are fitted
STOPS = 2.2  # stops of linear light for a factor of 2 of an sRGB level, approximately
RIDGE = 0.01  # assigns what both the curve and the surface can explain to the curve


class LightFit(NamedTuple):
    """The model: log2 light of gt = monotone curve of log2 light of lq + quadratic surface + residual."""

    surface: Values  # stops at each pixel
    residual: Plane  # stops at each pixel, smoothed over about a tenth of the image


def light_trend(pair: Pair) -> float:
    """Measure by how many stops the light of gt changes slowly across the image, beyond a tone curve; 0 is none.

    It is the range (3rd to 97th percentile) of a quadratic surface that is fitted to log2 of the light of gt together
    with a monotone curve of lq.
    """
    low, high = np.quantile(fit_light(pair).surface, (0.03, 0.97))
    return float(high - low)


def relit(pair: Pair) -> float:
    """Measure smooth changes of light that neither tone curve nor surface explains: root mean square in stops.

    It is high if the scene is lit from another side, night became day, or large areas were repainted.
    """
    return float(np.sqrt((fit_light(pair).residual ** 2).mean()))


def exposure(pair: Pair) -> float:
    """Measure by how many stops gt is brighter than lq, as the median; below 0 it is darker.

    The expected value depends on the class: above 0 for low light, below 0 for haze and rain, else about 0.
    """
    lq, gt = (_stops(grey) for grey in pair.small_grey)
    return float(np.median(gt - lq))


def white_balance(pair: Pair) -> float:
    """Measure by how many percent the ratios of the channels shifted as a whole; 0 is none.

    log2 of R/G and B/G in gt are fitted by those in lq times one saturation, plus one offset, which is returned. In a
    scene of one hue, an offset cannot be distinguished from a saturation; the change is then taken for saturation.
    """
    before, after, weight = _channel_ratios(pair)
    weights = weight
    for _ in range(4):
        total = weights.sum() + 1e-6
        mean_before, mean_after = weights @ before / total, weights @ after / total
        spread, common = weights @ (before**2).sum(1) / total, weights @ (before * after).sum(1) / total
        normal = np.array([[spread + 0.01, *mean_before], [mean_before[0], 1.2, 0.0], [mean_before[1], 0.0, 1.2]])
        saturation, *offset = np.linalg.solve(normal, [common + 0.01, *mean_after])
        error = np.hypot(*(after - saturation * before - offset).T)
        weights = weight / (1.0 + (error / (2.0 * np.median(error) + 0.02)) ** 2)
    colour = float(mean_before @ mean_before)
    if colour > 1e-6:
        around_mean = max(float(spread) - colour, 0.0) + 0.002
        along = mean_before * float(np.asarray(offset) @ mean_before) / colour
        offset = np.asarray(offset) - along * (1.0 - around_mean / (around_mean + 0.3 * colour))
    return float(100.0 * (2.0 ** np.hypot(*offset) - 1.0))


def cast_gain(pair: Pair) -> float:
    """Measure by how many stops the mean colour of gt is nearer to grey than that of lq; below 0 it is further away.

    It is the gain of underwater and faded photographs.
    """
    before, after, _ = _channel_ratios(pair)
    return float(np.hypot(*before.mean(axis=0)) - np.hypot(*after.mean(axis=0)))


def contrast_raised(pair: Pair) -> float:
    """Measure how much local contrast grew where it grew most: 95th percentile of log2 of its ratio; 1 is twice.

    Local contrast is that of log light within 9 px at 192 px long edge. Exaggerated tone mapping raises the value, and
    so does the removal of haze.
    """
    return float(np.quantile(_contrast_ratio(pair), 0.95))


def contrast_lost(pair: Pair) -> float:
    """Measure how much local contrast shrank where it shrank most: negative 5th percentile; 1 is half, 0 is none."""
    return max(-float(np.quantile(_contrast_ratio(pair), 0.05)), 0.0)


METRICS: dict[str, Callable[[Pair], float]] = {
    "light_trend": light_trend,
    "relit": relit,
    "exposure": exposure,
    "white_balance": white_balance,
    "cast_gain": cast_gain,
    "contrast_raised": contrast_raised,
    "contrast_lost": contrast_lost,
}


def fit_light(pair: Pair) -> LightFit:
    """Fit the curve and the surface by least squares, repeated five times with less weight on outliers."""
    return pair.compute_once(_fit_light)


def _fit_light(pair: Pair) -> LightFit:
    cv2 = opencv()
    before, after = (to_grey(cv2.blur(resize_to(small, LIGHT_EDGE), (3, 3))) for small in pair.small)
    height, width = before.shape
    x, y = (_stops(plane).astype(np.float64).ravel() for plane in (before, after))
    down, right = (axis.ravel() for axis in np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j])
    terms = np.stack([right, down, right**2 - 1 / 3, down**2 - 1 / 3, right * down], axis=1)
    clipped = (np.minimum(before, after) < 3.0) | (np.maximum(before, after) > 250.0)
    weight = np.where(clipped.ravel(), 0.02, 1.0)
    knots = np.quantile(x, np.linspace(0.0, 1.0, KNOTS + 1)) + 1e-3 * np.arange(KNOTS + 1)
    ramps = np.clip(
        (x[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0
    )  # coefficients of 0 or more give a monotone curve
    design = np.hstack([np.ones((x.size, 1)), ramps, terms])
    ridge = np.full(design.shape[1], 1e-6)
    ridge[1 + KNOTS :] = RIDGE
    weights = weight
    for _ in range(5):
        weighted_design = design * (weights / weights.sum())[:, None]
        fitted = _solve_monotone(weighted_design.T @ design, weighted_design.T @ y, ridge)
        error = y - design @ fitted
        weights = weight / (1.0 + (error / (2.0 * np.median(np.abs(error)) + 0.03)) ** 2)
    smooth = [
        cv2.GaussianBlur(plane.reshape(height, width).astype(np.float32), (0, 0), 4.0)
        for plane in (error * weight, weight)
    ]
    trusted = weight.reshape(height, width).astype(np.float32)
    return LightFit(terms @ fitted[1 + KNOTS :], np.asarray(smooth[0] / smooth[1] * np.sqrt(trusted), np.float32))


def _solve_monotone(normal: Values, target: Values, ridge: Values) -> Values:
    """Solve least squares with ramps of 0 or more: set negative ones to 0, and solve for the others again."""
    free = np.ones(len(ridge), np.bool_)
    fitted = np.zeros(len(ridge))
    for _ in range(KNOTS):
        indices = np.flatnonzero(free)
        fitted[:] = 0.0
        fitted[indices] = np.linalg.solve(normal[np.ix_(indices, indices)] + np.diag(ridge[indices]), target[indices])
        falling = fitted[1 : 1 + KNOTS] < 0.0
        if not falling.any():
            break
        free[1 : 1 + KNOTS] &= ~falling
    fitted[1 : 1 + KNOTS] = np.maximum(fitted[1 : 1 + KNOTS], 0.0)
    return fitted


def _channel_ratios(pair: Pair) -> tuple[Values, Values, Values]:
    """Return log2 of R/G and B/G in lq and gt, (pixels, 2) each, and weights of the pixels, low for dark ones."""
    return pair.compute_once(_compute_channel_ratios)


def _compute_channel_ratios(pair: Pair) -> tuple[Values, Values, Values]:
    cv2 = opencv()
    pictures = [cv2.blur(resize_to(small, LIGHT_EDGE), (3, 3)).astype(np.float32) for small in pair.small]
    ratios = []
    for picture in pictures:
        log = np.log2(picture + 6.0)
        ratios.append((log[..., ::2] - log[..., 1:2]).reshape(-1, 2).astype(np.float64))
    darker = np.minimum(pictures[0].mean(axis=2), pictures[1].mean(axis=2))
    brightest = np.maximum(pictures[0].max(axis=2), pictures[1].max(axis=2))
    weight = np.clip(darker / 96.0, 0.01, 1.0) * np.where(brightest > 250.0, 0.05, 1.0)
    return ratios[0], ratios[1], weight.ravel().astype(np.float64)


def _contrast_ratio(pair: Pair) -> Plane:
    return pair.compute_once(_compute_contrast_ratio)


def _compute_contrast_ratio(pair: Pair) -> Plane:
    cv2 = opencv()
    spreads = []
    for grey in pair.small_grey:
        stops = _stops(grey)
        mean = cv2.blur(stops, (9, 9))
        spreads.append(np.sqrt(np.maximum(cv2.blur(stops * stops, (9, 9)) - mean * mean, 0.0)) + 0.06)
    return np.asarray(np.log2(spreads[1] / spreads[0]), np.float32)


def _stops(grey: Plane | Image) -> Plane:
    return np.asarray(STOPS * np.log2((grey + 8.0) / 263.0), np.float32)
