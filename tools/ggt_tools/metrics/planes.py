"""Operations on planes: spectral peaks, slopes and local standard deviation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ggt_tools.imaging.planes import Plane, opencv

WELCH = 128  # side of a tile in pixels for the spectrum


def peaks(plane: Plane) -> Plane:
    """Return how far the power of each frequency exceeds its surroundings, as a natural logarithm.

    Returns:
        float32 (WELCH, WELCH // 2 + 1), ordered as np.fft.rfft2 orders frequencies.
    """
    cv2 = opencv()
    height, width = (max(side, WELCH) for side in plane.shape)
    padded = cv2.copyMakeBorder(plane, 0, height - plane.shape[0], 0, width - plane.shape[1], cv2.BORDER_REFLECT_101)
    window = np.outer(np.hanning(WELCH), np.hanning(WELCH)).astype(np.float32)
    squares, tiles = np.zeros((WELCH, WELCH), np.float64), 0
    for top in range(0, height - WELCH + 1, WELCH // 2):
        for left in range(0, width - WELCH + 1, WELCH // 2):
            tile = padded[top : top + WELCH, left : left + WELCH]
            squares += np.square(cv2.dft((tile - tile.mean()) * window))
            tiles += 1
    power = unpack_power(squares)
    log = np.fft.fftshift(np.log(power / tiles + 1.0), axes=0).astype(np.float32)
    mirrored = np.concatenate([log[::-1, 8:0:-1], log], axis=1)  # the negative frequencies mirror the positive ones
    maximum = float(mirrored.max()) or 1.0
    median = cv2.medianBlur(np.asarray(mirrored / maximum * 255, np.uint8), 11).astype(np.float32) / 255 * maximum
    return np.asarray(np.fft.ifftshift((mirrored - median)[:, 8:], axes=0), np.float32)


def unpack_power(squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the power spectrum from squares of the packed output of cv2.dft.

    Args:
        squares: (size, size).

    Returns:
        (size, size // 2 + 1), ordered as np.fft.rfft2 orders frequencies.
    """
    size = len(squares)
    power = np.empty((size, size // 2 + 1))
    power[:, 1:-1] = squares[:, 1:-1:2] + squares[:, 2:-1:2]
    for column, packed in ((0, squares[:, 0]), (size // 2, squares[:, -1])):
        half = packed[1:-1:2] + packed[2:-1:2]
        power[:, column] = np.concatenate([packed[:1], half, packed[-1:], half[::-1]])
    return power


def slopes(plane: Plane) -> Plane:
    """Return the magnitude of the smoothed gradient relative to its local mean over 65 px."""
    cv2 = opencv()
    smooth = cv2.GaussianBlur(plane, (0, 0), 1.5)
    slope = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    result: Plane = slope / (cv2.blur(slope, (65, 65)) + 8.0)
    return result


def std(plane: Plane, mean: Plane, size: int = 33) -> Plane:
    """Return the local standard deviation in windows of `size` px; `mean` is the local mean in the same windows."""
    square = opencv().blur(plane * plane, (size, size))
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0.0)), np.float32)
