"""Compression like that of an H.264 video frame, computed with numpy, which differs from JPEG and WebP.

    frame = compress_frame(image, qp=30)

It imitates the visible properties of intra frames: blocks of 8 px, one step size for all frequencies, which doubles
every 6 QP, rounding that favours zero, colour at half the size, and a filter that smooths the borders of blocks (ITU-T
H.264, 8.5 and 8.7). There is no prediction between blocks and no bit stream.
"""

from __future__ import annotations

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.training.synthetic_degradations import to_bytes

BLOCK = 8
DEADZONE = 1.0 / 3.0  # added before rounding down, as the reference encoder does for intra blocks
PREDICTED = 4.0  # the mean of a block has a step size smaller by this factor


def compress_frame(image: Image, *, qp: int) -> Image:
    """Quantise and deblock an image.

    Args:
        image: uint8 RGB (height, width, 3).
        qp: Quantisation parameter, about 18 (hardly visible) to 45 (coarse).
    """
    cv2 = opencv()
    height, width = image.shape[:2]
    luma, *chroma = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    planes = [_coded(np.asarray(luma, np.float32), qp)]
    for plane in chroma:
        half = cv2.resize(plane, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
        coded = _coded(np.asarray(half, np.float32), qp)
        planes.append(cv2.resize(coded, (width, height), interpolation=cv2.INTER_LINEAR))
    return np.asarray(cv2.cvtColor(to_bytes(np.stack(planes, axis=2)), cv2.COLOR_YCrCb2RGB))


def step_size(qp: int) -> float:
    """Return the distance of two levels of a coefficient: 0.625 at QP 0, doubled every 6 QP."""
    return float(0.625 * 2.0 ** (qp / 6.0))


def _coded(plane: Plane, qp: int) -> Plane:
    height, width = plane.shape
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    padded = np.pad(plane, ((0, rows * BLOCK - height), (0, columns * BLOCK - width)), mode="edge")
    blocks = padded.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    basis = _cosines()
    frequencies = basis @ blocks @ basis.T
    steps = np.full((BLOCK, BLOCK), step_size(qp), np.float32)
    steps[0, 0] /= PREDICTED  # H.264 predicts blocks from their neighbours, so their means are nearly right
    levels = np.sign(frequencies) * np.floor(np.abs(frequencies) / steps + DEADZONE)
    decoded = np.asarray(basis.T @ (levels * steps) @ basis, np.float32)
    out = decoded.swapaxes(1, 2).reshape(rows * BLOCK, columns * BLOCK)
    out = _deblocked(_deblocked(out, qp).T, qp).T
    return np.ascontiguousarray(out[:height, :width], np.float32)


def _cosines() -> Plane:
    """Return the orthonormal discrete cosine transform: float32 (BLOCK, BLOCK)."""
    positions = np.arange(BLOCK)
    basis = np.sqrt(2.0 / BLOCK) * np.cos(np.pi * (2 * positions + 1) * positions[:, None] / (2 * BLOCK))
    basis[0] = np.sqrt(1.0 / BLOCK)
    return np.asarray(basis, np.float32)


def _deblocked(plane: Plane, qp: int) -> Plane:
    """Reduce steps at vertical borders of blocks that are too small to be edges."""
    out = plane.copy()
    border = np.arange(BLOCK, plane.shape[1] - 1, BLOCK)
    far_left, left, right, far_right = (plane[:, border + offset] for offset in (-2, -1, 0, 1))
    alpha, beta, max_change = 0.8 * (2.0 ** (qp / 6.0) - 1.0), max(0.5 * qp - 7.0, 0.0), 1.0 + qp / 10.0
    is_smooth = np.abs(right - left) < alpha
    is_smooth &= (np.abs(far_left - left) < beta) & (np.abs(far_right - right) < beta)
    change = np.clip((4.0 * (right - left) + far_left - far_right) / 8.0, -max_change, max_change) * is_smooth
    out[:, border - 1] += change
    out[:, border] -= change
    return out
