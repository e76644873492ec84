"""Metrics of light and colour between lq and gt: what one tone curve for the whole picture does not explain.

A restorer may make the picture brighter, darker or richer in contrast everywhere. It may not light one side, move the
white balance or draw other light on the scene. Where a degradation is itself a change of light (haze, a shadow, a
reflection, water), these metrics are high for a faithful restoration as well: the decision of the class weighs that.
All of them look at 192 px long edge or below, where noise and compression are mostly gone, and cost a few milliseconds.
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
STOPS = 2.2  # stops of linear light in a factor of 2 of an sRGB level, about
RIDGE = 0.01  # what the curve and the surface both explain goes to the curve


class LightFit(NamedTuple):
    """log2 light of gt = a monotone curve of log2 light of lq + a quadratic surface + rest."""

    surface: Values  # stops at each pixel
    rest: Plane  # stops at each pixel, smooth over about a tenth of the picture


def light_trend(pair: Pair) -> float:
    """Stops by which the light of gt changes slowly across the picture, beyond a tone curve; 0 is none.

    The range (3rd to 97th percentile) of a quadratic surface that is fitted to log2 of the light of gt together with a
    monotone curve of lq.
    """
    low, high = np.quantile(fit_light(pair).surface, (0.03, 0.97))
    return float(high - low)


def relit(pair: Pair) -> float:
    """Stops (root mean square) of smooth light in gt that neither a tone curve nor light_trend's surface explains.

    High where the scene is lit from elsewhere, where night became day, or where large areas were repainted.
    """
    return float(np.sqrt((fit_light(pair).rest ** 2).mean()))


def exposure(pair: Pair) -> float:
    """Stops by which gt is brighter than lq in the median; below 0 it is darker.

    The class says what is right: up in low light, down where haze or a veil of rain was removed, else about 0.
    """
    lq, gt = (_stops(grey) for grey in pair.small_grey)
    return float(np.median(gt - lq))


def white_balance(pair: Pair) -> float:
    """Percent by which the ratios of the channels moved as a whole; 0 is none.

    log2 of R/G and B/G in gt are fitted by those in lq times one saturation, plus one offset: the offset is returned.
    In a scene of one hue, an offset and a saturation look alike: there the saturation gets the benefit of the doubt.
    """
    before, after, weight = _channel_ratios(pair)
    share = weight
    for _ in range(4):
        total = share.sum() + 1e-6
        mean_before, mean_after = share @ before / total, share @ after / total
        spread, common = share @ (before**2).sum(1) / total, share @ (before * after).sum(1) / total
        normal = np.array([[spread + 0.01, *mean_before], [mean_before[0], 1.2, 0.0], [mean_before[1], 0.0, 1.2]])
        saturation, *offset = np.linalg.solve(normal, [common + 0.01, *mean_after])
        error = np.hypot(*(after - saturation * before - offset).T)
        share = weight / (1.0 + (error / (2.0 * np.median(error) + 0.02)) ** 2)
    colour = float(mean_before @ mean_before)
    if colour > 1e-6:
        around_mean = max(float(spread) - colour, 0.0) + 0.002
        along = mean_before * float(np.asarray(offset) @ mean_before) / colour
        offset = np.asarray(offset) - along * (1.0 - around_mean / (around_mean + 0.3 * colour))
    return float(100.0 * (2.0 ** np.hypot(*offset) - 1.0))


def cast_gain(pair: Pair) -> float:
    """Stops by which the mean colour of gt is nearer to grey than that of lq; below 0 it is further away.

    The gain of underwater and faded photographs.
    """
    before, after, _ = _channel_ratios(pair)
    return float(np.hypot(*before.mean(axis=0)) - np.hypot(*after.mean(axis=0)))


def contrast_raised(pair: Pair) -> float:
    """Twofolds of local contrast (of log light, 9 px at 192 px long edge) that gt has over lq where it grew most.

    The 95th percentile: 1 is twice. Tone mapping that exaggerates local contrast shows here; so does removed haze.
    """
    return float(np.quantile(_contrast_ratio(pair), 0.95))


def contrast_lost(pair: Pair) -> float:
    """The same where local contrast shrank most, the 5th percentile, as a positive number: 1 is half, 0 is none."""
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
    """Fit the curve and the surface by least squares, five times, with less weight on what the last left far off."""
    return pair.computed(_fit_light)


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
    ramps = np.clip((x[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0)  # a curve that rises at each is monotone
    known = np.hstack([np.ones((x.size, 1)), ramps, terms])
    ridge = np.full(known.shape[1], 1e-6)
    ridge[1 + KNOTS :] = RIDGE
    share = weight
    for _ in range(5):
        held = known * (share / share.sum())[:, None]
        fitted = _solve_monotone(held.T @ known, held.T @ y, ridge)
        error = y - known @ fitted
        share = weight / (1.0 + (error / (2.0 * np.median(np.abs(error)) + 0.03)) ** 2)
    smooth = [
        cv2.GaussianBlur(plane.reshape(height, width).astype(np.float32), (0, 0), 4.0)
        for plane in (error * weight, weight)
    ]
    trusted = weight.reshape(height, width).astype(np.float32)
    return LightFit(terms @ fitted[1 + KNOTS :], np.asarray(smooth[0] / smooth[1] * np.sqrt(trusted), np.float32))


def _solve_monotone(normal: Values, right: Values, ridge: Values) -> Values:
    """Least squares whose ramps do not fall: those that would are set to 0, and the others are solved again."""
    free = np.ones(len(ridge), np.bool_)
    fitted = np.zeros(len(ridge))
    for _ in range(KNOTS):
        kept = np.flatnonzero(free)
        fitted[:] = 0.0
        fitted[kept] = np.linalg.solve(normal[np.ix_(kept, kept)] + np.diag(ridge[kept]), right[kept])
        falling = fitted[1 : 1 + KNOTS] < 0.0
        if not falling.any():
            break
        free[1 : 1 + KNOTS] &= ~falling
    fitted[1 : 1 + KNOTS] = np.maximum(fitted[1 : 1 + KNOTS], 0.0)
    return fitted


def _channel_ratios(pair: Pair) -> tuple[Values, Values, Values]:
    """log2 of R/G and B/G in lq and gt, (pixels, 2) each, and how much each pixel tells: little where it is dark."""
    return pair.computed(_compute_channel_ratios)


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
    return pair.computed(_compute_contrast_ratio)


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
