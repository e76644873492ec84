"""One linear map of a pair's colours, the same for the whole picture: what it leaves over happened in one place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_tools.imaging.planes import Plane

Values = npt.NDArray[np.float64]


class ColourMap(NamedTuple):
    linear: Values  # 2 x 2, from lq to gt
    rest: Values  # (height, width, 2): what it leaves of gt's colours, less where it is dark
    trust: float  # 0..1: how far the photograph's colours suffice to tell the map


def colour_map(lq: Plane, gt: Plane) -> ColourMap:
    """Colours over brightness, red and blue against green, of two small pictures (height, width, 3), 0..255.

    Least squares, four times, each with less weight on what the last left far off.
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
    known = np.hstack([before, np.ones((len(before), 1))])
    share = weight.copy()
    for _ in range(4):
        held = known * share[:, None]
        fitted = np.linalg.solve(held.T @ known + 1e-3 * np.eye(3), held.T @ after)
        off = np.hypot(*(after - known @ fitted).T)
        share = weight / (1.0 + (off / (2.0 * np.median(off) + 0.01)) ** 2)
    rest = ((after - known @ fitted) * np.minimum(weight / 64.0, 1.0)[:, None]).reshape(planes[0].shape)
    spread = np.cov(before.T, aweights=share)
    least = max(float(np.linalg.eigvalsh(spread)[0]), 0.0)  # along one line of colours a turn and a stretch are one
    return ColourMap(fitted[:2].T, rest, least / (least + 0.001))
