"""Structural similarity (Wang and others, TIP 2004): a Gaussian window of 11 x 11 pixels, deviation 1.5 pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_tools.imaging.planes import opencv

RADIUS = 5  # pixels; nearer to the border of an image, a value depends on mirrored pixels
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
Plane = npt.NDArray[np.floating[Any]]


class Moments(NamedTuple):
    """Local means, variances and covariance of two planes, each (height, width)."""

    mean_a: Plane
    mean_b: Plane
    variance_a: Plane
    variance_b: Plane
    covariance: Plane


def moments(a: Plane, b: Plane) -> Moments:
    """Return the local moments of two planes (height, width) in 0..255, in their own precision."""
    cv2 = opencv()
    mean_a, mean_b, aa, bb, ab = (cv2.GaussianBlur(p, (11, 11), 1.5) for p in (a, b, a * a, b * b, a * b))
    # rounding can make a variance slightly negative
    variance_a, variance_b = np.maximum(aa - mean_a**2, 0.0), np.maximum(bb - mean_b**2, 0.0)
    return Moments(mean_a, mean_b, variance_a, variance_b, ab - mean_a * mean_b)


def ssim_of_moments(local: Moments) -> Plane:
    """Return the similarity at each pixel (height, width); 1 where the planes are equal."""
    numerator = (2 * local.mean_a * local.mean_b + C1) * (2 * local.covariance + C2)
    denominator = (local.mean_a**2 + local.mean_b**2 + C1) * (local.variance_a + local.variance_b + C2)
    similarity: Plane = numerator / denominator
    return similarity


def ssim_map(a: Plane, b: Plane) -> Plane:
    """Return the similarity at each pixel (height, width) of two planes in 0..255."""
    return ssim_of_moments(moments(a, b))
