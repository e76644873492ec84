"""PSNR and SSIM on the Y channel, by the convention of BasicSR and of MATLAB's `rgb2ycbcr`.

Y is that of ITU-R BT.601 with its studio range, 16 to 235. SSIM is that of Wang, Bovik, Sheikh and Simoncelli (IEEE TIP
13, 2004): a Gaussian window of 11 x 11 pixels with a standard deviation of 1.5, over the windows that lie in the image.
Tables of deraining and denoising usually state these values. `psnr` and `ssim` of pyiqa follow other conventions.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image

WINDOW = 11  # pixels
SIGMA = 1.5  # pixels


def luma(pixels: Image) -> npt.NDArray[np.float64]:
    """Return the Y channel of an RGB image (height, width, 3), from 16 to 235."""
    return np.asarray(pixels.astype(np.float64) @ (65.481, 128.553, 24.966) / 255.0 + 16.0)


def psnr_y(gt: Image, image: Image) -> float:
    """Return the PSNR of the Y channels in dB; infinity if they are equal."""
    error = float(np.mean((luma(gt) - luma(image)) ** 2))
    return math.inf if error == 0 else 10.0 * math.log10(255.0**2 / error)


def ssim_y(gt: Image, image: Image) -> float:
    """Return the mean SSIM of the Y channels, from -1 to 1; NaN for images smaller than the window."""
    if min(gt.shape[:2]) < WINDOW:
        return math.nan
    x, y = luma(gt), luma(image)
    mean_x, mean_y = _blur(x), _blur(y)
    variance_x, variance_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return float(np.mean((2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1) * structure))


def _blur(plane: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA)
    side = WINDOW // 2
    return np.asarray(cv2.sepFilter2D(plane, -1, kernel, kernel)[side:-side, side:-side], np.float64)


Y_METRICS: dict[str, Callable[[Image, Image], float]] = {"psnr_y": psnr_y, "ssim_y": ssim_y}  # larger is better
