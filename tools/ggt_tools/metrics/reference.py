"""fidelity: how near a restored image is to the true one, where an adopted set has it. Scores like any other."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics.ssim import RADIUS, ssim_map
from ggt_tools.records import Score

VERSION = "ref-1"
METRICS = ("ref_psnr", "ref_ssim", "ref_psnr_gain", "ref_ssim_gain")
MOST = 100.0  # dB, of an image that is the true one


def fidelity(candidate: str, lq: Image, gt: Image, ref: Image) -> Iterator[Score]:
    """The scores of one candidate: uint8 RGB, all of one size. A gain is by how much gt is nearer to ref than lq is."""
    for name, measure in (("ref_psnr", psnr), ("ref_ssim", ssim)):
        value = measure(gt, ref)
        for metric, number in ((name, value), (f"{name}_gain", value - measure(lq, ref))):
            yield Score(candidate=candidate, metric=metric, metric_version=VERSION, value=number)


def psnr(one: Image, other: Image) -> float:
    """Peak signal-to-noise ratio over all three channels, dB, at most MOST."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return min(MOST, 10.0 * math.log10(255.0**2 / error)) if error else MOST


def ssim(one: Image, other: Image) -> float:
    """Structural similarity of luma (Wang and others, TIP 2004), the mean without the edges: 1 for equal images."""
    cv2 = opencv()
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) for image in (one, other))
    return float(ssim_map(x, y)[RADIUS:-RADIUS, RADIUS:-RADIUS].mean())
