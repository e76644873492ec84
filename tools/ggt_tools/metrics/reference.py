"""Scores against a reference image, if an adopted dataset has the true image beside LQ and GT."""

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
MAX_PSNR = 100.0  # dB, for equal images


def score_against_reference(candidate: str, lq: Image, gt: Image, ref: Image) -> Iterator[Score]:
    """Yield the scores of a candidate: PSNR and SSIM of gt, and by how much gt is nearer to the reference than lq.

    Args:
        candidate: Id of the candidate.
        lq, gt, ref: uint8 RGB (height, width, 3), all of the same size.
    """
    for name, measure in (("ref_psnr", psnr), ("ref_ssim", ssim)):
        value = measure(gt, ref)
        for metric, number in ((name, value), (f"{name}_gain", value - measure(lq, ref))):
            yield Score(candidate=candidate, metric=metric, metric_version=VERSION, value=number)


def psnr(image: Image, ref: Image) -> float:
    """Return the peak signal-to-noise ratio over all three channels in dB, at most MAX_PSNR."""
    error = float(np.mean((image.astype(np.float64) - ref) ** 2))
    return min(MAX_PSNR, 10.0 * math.log10(255.0**2 / error)) if error else MAX_PSNR


def ssim(image: Image, ref: Image) -> float:
    """Return the structural similarity of luma (Wang and others, TIP 2004), averaged without the border; 1 is equal."""
    cv2 = opencv()
    x, y = (cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float64) for pixels in (image, ref))
    return float(ssim_map(x, y)[RADIUS:-RADIUS, RADIUS:-RADIUS].mean())
