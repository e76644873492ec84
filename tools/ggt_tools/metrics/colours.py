"""A linear map of a pair's colours for the whole image. What it does not explain are local changes of colour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_tools.imaging.planes import Plane

Values = npt.NDArray[np.float64]


class ChromaMap(NamedTuple):
    """The map, and what it does not explain."""

    linear: Values  # (2, 2), from lq to gt
    residual: Values  # (height, width, 2): colours of gt minus mapped colours of lq, weighted less in dark areas
    confidence: float  # 0..1: how well the photograph's colours determine the map


def fit_chroma_map(lq: Plane, gt: Plane) -> ChromaMap:
    """Fit a linear map between the colours of two small images.

    Colours are the differences of red and blue to green, divided by brightness. The fit is least squares, repeated four
    times with less weight on outliers.

    Args:
        lq, gt: (height, width, 3), 0..255.
    """
    planes, weight = [], np.ones(1)
    for picture in (lq, gt):
        light = picture.astype(np.float64)
        luma = light.mean(axis=2)
        planes.append(
            np.stack([light[..., 0] - light[..., 1], light[..., 2] - light[..., 1]], -1) / (luma + 24.0)[..., None]
        )
        weight = weight * np.minimum(luma + 8.0, 128.0)
    before, after = (plane.reshape(-1, 2) for plane in planes)
    weight = np.sqrt(weight).ravel()
    terms = np.hstack([before, np.ones((len(before), 1))])
    weights = weight.copy()
    for _ in range(4):
        weighted_terms = terms * weights[:, None]
        fitted = np.linalg.solve(weighted_terms.T @ terms + 1e-3 * np.eye(3), weighted_terms.T @ after)
        errors = np.hypot(*(after - terms @ fitted).T)
        weights = weight / (1.0 + (errors / (2.0 * np.median(errors) + 0.01)) ** 2)
    residual = ((after - terms @ fitted) * np.minimum(weight / 64.0, 1.0)[:, None]).reshape(planes[0].shape)
    spread = np.cov(before.T, aweights=weights)
    min_variance = max(
        float(np.linalg.eigvalsh(spread)[0]), 0.0
    )  # if all colours lie on a line, a rotation cannot be distinguished from a stretch
    return ChromaMap(fitted[:2].T, residual, min_variance / (min_variance + 0.001))
