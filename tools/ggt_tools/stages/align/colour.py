"""Colour alignment: one linear map of a candidate's colours onto those of its photograph.

Models slightly shift white balance, exposure and saturation of the whole picture. As in HarnessIR (arXiv 2610.10133),
a 3 x 3 matrix in linear RGB is fitted between both blurred pictures, and applied to the candidate. Restoring haze,
darkness, faded prints or underwater photographs changes the colours on purpose, so the map is used for COLOUR_CLASSES
alone. It is bounded: larger changes stay as they are, and the metrics measure them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.stages.align.geometry import Matrix

COLOUR_CLASSES = ("mixed", "rain", "snow", "raindrop", "defocus_blur", "motion_blur")
SIDE = 256  # pixels of the long edge at which the map is fitted
BLUR = 3.0  # sigma in pixels at SIDE: rain, noise and offsets of a few pixels vanish
EXPOSURE = 0.5  # stops by which grey may change in any channel
MIX = 0.2  # the largest part of one channel that may go into another
# The map must reduce the mean CIE 1976 colour difference by both of these; else the pixels stay as they are.
MIN_REDUCTION = 0.5
MIN_REDUCTION_SHARE = 0.2
MIN_PIXELS = 500  # at SIDE, for the fit


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourMap:
    """A map of colours.

    Attributes:
        matrix: Converts linear RGB of the candidate to linear RGB of the photograph.
        before: Mean colour difference (CIE 1976) of the blurred pictures without the map.
        after: The same with the map.
    """

    matrix: Matrix
    before: float
    after: float


def takes_colour_map(degradation: str) -> bool:
    """Return whether a restoration of this class keeps the photograph's colours, so that they are a target."""
    return degradation in COLOUR_CLASSES


def to_linear(srgb: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Convert sRGB to linear RGB, both in 0..1 (IEC 61966-2-1)."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.0) + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear, np.float32)


def to_srgb(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Convert linear RGB to sRGB, both in 0..1; values outside are clipped."""
    clipped = np.clip(linear, 0.0, 1.0)
    srgb = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return np.asarray(srgb, np.float32)


def fit_colour_map(lq: Image, gt: Image) -> ColourMap | None:
    """Fit the map from the candidate's colours to the photograph's.

    Args:
        lq: The photograph, uint8 RGB (height, width, 3).
        gt: The aligned candidate, of the same size, before any colour map.

    Returns:
        The map. None if it exceeds a bound, reduces the difference too little, or if too few pixels are neither
        clipped nor black.
    """
    target, source = _blurred(lq), _blurred(gt)
    is_usable = (np.minimum(target, source) > 0.002).all(axis=1) & (np.maximum(target, source) < 0.95).all(axis=1)
    if is_usable.sum() < MIN_PIXELS:
        return None
    matrix = _fit(target[is_usable], source[is_usable])
    if not _is_bounded(matrix):
        return None
    lab = _lab(target)
    before = float(np.linalg.norm(_lab(source) - lab, axis=1).mean())
    after = float(np.linalg.norm(_lab(np.asarray(source @ matrix.T, np.float32)) - lab, axis=1).mean())
    if before - after < max(MIN_REDUCTION, MIN_REDUCTION_SHARE * before):
        return None
    return ColourMap(matrix=matrix, before=before, after=after)


def apply_colour_map(image: npt.NDArray[np.float32], matrix: Matrix) -> Image:
    """Apply a map to float32 RGB in 0..255, and round to uint8 once."""
    cv2 = opencv()
    linear = cv2.transform(to_linear(image / np.float32(255.0)), matrix.astype(np.float32))
    mapped: Image = np.rint(to_srgb(linear) * 255.0).astype(np.uint8)
    return mapped


def _blurred(image: Image) -> npt.NDArray[np.float32]:
    """Return the picture at SIDE, blurred, as linear RGB (n, 3)."""
    cv2 = opencv()
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    table = to_linear(np.arange(256, dtype=np.float32) / np.float32(255.0))
    linear = table[image]
    if scale < 1.0:
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        linear = cv2.resize(linear, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(linear, (0, 0), BLUR), np.float32).reshape(-1, 3)


def _fit(target: Plane, source: Plane) -> Matrix:
    """Fit by robust least squares of relative differences, with a small penalty for changes."""
    target, source = target.astype(np.float64), source.astype(np.float64)
    brightness = 1.0 / (target.mean(axis=1) + 0.05) ** 2
    weights, matrix = brightness, np.eye(3)
    for _ in range(6):
        weighted = source * weights[:, None]
        normal = weighted.T @ source
        ridge = 1e-3 * float(np.trace(normal)) / 3.0 * np.eye(3)
        matrix = np.linalg.solve(normal + ridge, weighted.T @ target + ridge).T
        distance = np.linalg.norm(source @ matrix.T - target, axis=1) * np.sqrt(brightness)
        scale = 2.0 * float(np.median(distance)) + 1e-4
        weights = brightness / (1.0 + (distance / scale) ** 2) ** 2
    return matrix


def _is_bounded(matrix: Matrix) -> bool:
    """Return whether a map keeps within EXPOSURE and MIX."""
    grey = matrix.sum(axis=1)
    off_diagonal = matrix - np.diag(np.diag(matrix))
    return bool(
        (grey > 0).all()
        and (np.abs(np.log2(np.maximum(grey, 1e-9))) <= EXPOSURE).all()
        and np.abs(off_diagonal).max() <= MIX
    )


def _lab(linear: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Convert linear RGB (n, 3) to CIE Lab (n, 3)."""
    cv2 = opencv()
    lab: npt.NDArray[np.float32] = cv2.cvtColor(to_srgb(linear)[None], cv2.COLOR_RGB2LAB)[0]
    return lab
