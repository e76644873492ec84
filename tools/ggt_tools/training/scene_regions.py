"""Regions of a scene, and ways to lay one image over another, which all synthetic faults share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.training.synthetic_degradations import Plane, blur_gaussian, to_bytes

Mask = npt.NDArray[np.bool_]


def draw_outline(image: Image, size: float, random: np.random.Generator) -> Mask:
    """Return a random blob of about `size` px at the position with most detail among eight: bool (height, width)."""
    cv2 = opencv()
    height, width = image.shape[:2]
    size = min(size, 0.6 * min(height, width))
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radii = size / 2 * random.uniform(0.65, 1.25, 12)
    best, blob = -1.0, np.zeros((height, width), np.uint8)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    for _ in range(8):
        x, y = random.uniform(size / 2, width - size / 2), random.uniform(size / 2, height - size / 2)
        half = round(size / 2)
        detail = float(grey[max(round(y) - half, 0) : round(y) + half, max(round(x) - half, 0) : round(x) + half].std())
        if detail > best:
            best = detail
            points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    cv2.fillPoly(blob, [np.rint(points).astype(np.int32)], 1)
    return np.asarray(blob > 0)


def bounding_box(blob: Mask, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns of the bounding box of a blob, enlarged by a margin in pixels."""
    rows, columns = np.flatnonzero(blob.any(axis=1)), np.flatnonzero(blob.any(axis=0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + margin + 1),
    )


def blend(under: Image, over: Image, where: Mask) -> Image:
    """Lay `over` on `under` where the mask is set, with a soft border of 1.5 px."""
    share = blur_gaussian(where.astype(np.float32), 1.5)[..., None]
    return to_bytes(under + (over.astype(np.float32) - under) * share)


def match_tone(image: Image, like: Image, where: Mask) -> Image:
    """Give an image the mean and the standard deviation that each channel of `like` has within the mask."""
    source, target = image[where].astype(np.float32), like[where].astype(np.float32)
    scale = np.clip((target.std(axis=0) + 2.0) / (source.std(axis=0) + 2.0), 0.5, 2.0)
    return to_bytes((image - source.mean(axis=0)) * scale + target.mean(axis=0))


def diffuse(image: Image, levels: float, steps: int) -> Image:
    """Apply diffusion that stops at edges of so many grey levels (Perona, Malik 1990)."""
    light = image.astype(np.float32)
    for _ in range(steps):
        flow = np.zeros_like(light)
        for axis in (0, 1):
            step = np.diff(light, axis=axis)
            step *= np.exp(-((step / levels) ** 2)) * 0.2
            pads = [(0, 0)] * 3
            for side, sign in ((0, 1.0), (1, -1.0)):
                pads[axis] = (side, 1 - side)
                flow += sign * np.pad(step, pads)
        light += flow
    return to_bytes(light)


def warp(image: Image | Plane, matrix: npt.NDArray[np.float32]) -> Image:
    """Apply an affine matrix (2, 3) to an image or a plane, mirrored at the borders."""
    cv2 = opencv()
    size = image.shape[1], image.shape[0]
    flags = cv2.INTER_CUBIC if image.ndim == 3 else cv2.INTER_NEAREST
    result: Image = cv2.warpAffine(image, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
    return result


def inpaint(image: Image, blob: Mask, random: np.random.Generator) -> Image:
    """Fill a blob from its borders by inpainting, at half the size."""
    cv2 = opencv()
    box = bounding_box(blob, 12)
    out = image.copy()
    half = cv2.resize(image[box], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    hole = cv2.resize(blob[box].astype(np.uint8), half.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    painted = cv2.inpaint(half, hole, 4, cv2.INPAINT_TELEA if random.random() < 0.5 else cv2.INPAINT_NS)
    out[box] = cv2.resize(painted, out[box].shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return blend(image, out, blob)
