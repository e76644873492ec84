"""Metrics of regions in which an unfaithful change matters most: unsupported edges, faces and text.

Faces are detected by a cascade of local binary patterns that scikit-image ships, text by OpenCV. A region that is not
detected is not compared, so 0 means that no change was detected, not that there is none.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.metrics.core import Pair

VERSION = "regions-1"  # raise it whenever a value may change
TILE = 64  # pixels
LONG = 768  # px of the long edge at which faces and text are detected; the cascade needs faces of 24 px
INK = 12  # grey levels by which a letter differs from its surroundings
Box = tuple[int, int, int, int]  # left, top, width, height


def edges_unsupported(pair: Pair) -> float:
    """Measure the fraction of the edges of gt without an edge of lq within 3 px, in the worst 64 px tile; 0..1.

    Edges are detected by Canny (PAMI 8, 1986) on luma relative to its local contrast, in lq at half the thresholds,
    since its edges are weak. Tiles with less than 96 px of edges are ignored. The value is also high for detail that
    was correctly restored, in haze or blur.
    """
    cv2 = opencv()
    lq, gt = (_normalise_contrast(plane) for plane in pair.grey)
    gt_edges = cv2.Canny(gt, 80, 160) > 0
    lq_edges = cv2.dilate(cv2.Canny(lq, 40, 80), np.ones((7, 7), np.uint8)) > 0
    edges, unsupported = (_tiles(mask) for mask in (gt_edges, gt_edges & ~lq_edges))
    share = np.where(edges >= 1.5 * TILE, unsupported / np.maximum(edges, 1.0), 0.0)
    return float(share.max())


def face_changed(pair: Pair) -> float:
    """Measure 1 - correlation of luma within the face that changed most; 0 if no face is detected in either image.

    Faces are detected by scikit-image's cascade of local binary patterns (Ahonen, Hadid, Pietikainen, PAMI 28, 2006).
    """
    return max((_disagreement(pair, box) for image in (pair.lq, pair.gt) for box in _faces(image)), default=0.0)


def text_changed(pair: Pair) -> float:
    """Measure 1 - correlation of luma within the line of text of gt that changed most; 0 if none is detected.

    Letters are areas of their size and shape that are lighter or darker than the mean around them (Bradley, Roth, JGT
    12, 2007). Four or more of equal height beside each other are a line. Other structures are often taken for text;
    they must not change either. lq is not searched, because its rain and noise would be taken for text.
    """
    return max((_disagreement(pair, box) for box in _lines(pair.grey[1])), default=0.0)


METRICS: dict[str, Callable[[Pair], float]] = {
    "edges_unsupported": edges_unsupported,
    "face_changed": face_changed,
    "text_changed": text_changed,
}


def explain_missing(name: str) -> str:
    """Return why a metric of regions cannot be measured on this machine; "" if it can."""
    if name == "face_changed" and importlib.util.find_spec("skimage") is None:
        return "scikit-image is not installed. Install it: pip install 'ggt100k[quality]'"
    return ""


def _normalise_contrast(plane: Plane) -> Image:
    """Return luma relative to its local contrast, so that edges of a dim or hazy image are detected too."""
    cv2 = opencv()
    smooth = cv2.GaussianBlur(plane, (0, 0), 1.5)
    mean = cv2.blur(smooth, (33, 33))
    spread = np.sqrt(np.maximum(cv2.blur(smooth * smooth, (33, 33)) - mean * mean, 0.0))
    return np.asarray(np.clip(128.0 + 40.0 * (smooth - mean) / (spread + 6.0), 0, 255), np.uint8)


def _tiles(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Plane:
    """Count the set pixels in each tile; the last tiles may be smaller."""
    rows, columns = (np.arange(0, side, TILE) for side in mask.shape)
    return np.asarray(np.add.reduceat(np.add.reduceat(mask.astype(np.float32), rows, 0), columns, 1), np.float32)


def _disagreement(pair: Pair, box: Box) -> float:
    """Return 1 - correlation of luma in a box, smoothed against noise; 0 if both images are flat there."""
    cv2 = opencv()
    left, top, width, height = box
    parts = [
        cv2.GaussianBlur(plane[top : top + height, left : left + width], (0, 0), 1.5).astype(np.float64)
        for plane in pair.grey
    ]
    a, b = (part - part.mean() for part in parts)
    energy = float(np.sqrt((a * a).mean() * (b * b).mean()))
    if_flat = 1.0 if min(a.std(), b.std()) < 1.0 <= max(a.std(), b.std()) else 0.0  # structure in only one of them
    return if_flat if energy < 1.0 else 1.0 - float((a * b).mean()) / energy


def _faces(image: Image) -> Iterator[Box]:
    cv2 = opencv()
    scale = min(LONG / max(image.shape[:2]), 1.0)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    min_side, max_side = 24, min(small.shape[:2])
    if max_side <= min_side:
        return
    for face in _cascade().detect_multi_scale(
        img=small, scale_factor=1.2, step_ratio=1.3, min_size=(min_side, min_side), max_size=(max_side, max_side)
    ):
        left, top, side = (round(face[name] / scale) for name in ("c", "r", "width"))
        yield left, top, side, side


@cache
def _cascade() -> Any:
    if why := explain_missing("face_changed"):
        raise ConfigError(why)
    from skimage import data, feature

    return feature.Cascade(data.lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]


def _lines(plane: Plane) -> Iterator[Box]:
    """Yield boxes of areas that look like lines of text."""
    cv2 = opencv()
    scale = min(LONG / max(plane.shape), 1.0)
    grey = np.asarray(np.clip(plane, 0, 255), np.uint8)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    letters: list[Box] = []
    for ink in (cv2.THRESH_BINARY, cv2.THRESH_BINARY_INV):  # light on dark, dark on light
        for window in (15, 51):
            mask = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, ink, window, -INK if not ink else INK)
            stats = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:]
            letters += [(int(x), int(y), int(w), int(h)) for x, y, w, h, area in stats if _is_letter(w, h, area)]
    lines: list[list[Box]] = []
    for box in sorted(_without_duplicates(letters)):
        line = next((line for line in lines if _follows(line[-1], box)), None)
        if line is None:
            lines.append(line := [])
        line.append(box)
    for line in lines:
        yield from _as_line(line, scale)


def _is_letter(width: int, height: int, area: int) -> bool:
    """Return whether a component has the size and shape of a letter, and is neither a speck nor a filled box."""
    return 8 <= height <= 96 and 0.1 <= width / height <= 1.6 and 0.1 <= area / (width * height) <= 0.85


def _without_duplicates(letters: list[Box]) -> list[Box]:
    """Remove boxes that nearly equal a larger one, since a letter is detected at several thresholds."""
    kept: list[Box] = []
    for box in sorted(letters, key=lambda box: -box[2] * box[3]):
        x, y, area = box[0] + box[2] / 2, box[1] + box[3] / 2, box[2] * box[3]
        if not any(b[0] <= x <= b[0] + b[2] and b[1] <= y <= b[1] + b[3] and b[2] * b[3] < 4 * area for b in kept):
            kept.append(box)
    return kept


def _follows(last: Box, box: Box) -> bool:
    height = max(last[3], box[3])
    return (
        min(last[3], box[3]) > 0.6 * height
        and abs(last[1] + last[3] - box[1] - box[3]) < 0.35 * height
        and -0.3 * height < box[0] - last[0] - last[2] < 0.9 * height
    )


def _as_line(line: list[Box], scale: float) -> Iterator[Box]:
    if len(line) >= 4:
        left, top = min(b[0] for b in line), min(b[1] for b in line)
        right, bottom = max(b[0] + b[2] for b in line), max(b[1] + b[3] for b in line)
        yield tuple(round(side / scale) for side in (left, top, right - left, bottom - top))  # type: ignore[misc]
