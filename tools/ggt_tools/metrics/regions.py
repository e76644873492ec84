"""Witnesses that look where a lie hurts most: at edges that came from nowhere, at faces, at text.

The detectors are those that packages ship: for faces a cascade of local binary patterns in scikit-image, for text
OpenCV. What they do not find they cannot watch: 0 says that nothing was found to have changed, not that nothing has.
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
LONG = 768  # px of the long edge at which faces and text are looked for: a face of 24 px is the least the cascade knows
INK = 12  # grey levels that a letter stands out by
Box = tuple[int, int, int, int]  # left, top, width, height


def edges_unsupported(pair: Pair) -> float:
    """Of the edges of gt in one 64 px tile the share with none in lq within 3 px, in the worst tile; 0..1.

    Edges by Canny (PAMI 8, 1986) on luma over its local contrast; lq is asked at half the thresholds, as its edges are
    weak. Tiles with fewer than 96 px of edge are left out: a few pixels are no thing. Where detail truly comes back,
    in haze or blur, this is high as well.
    """
    cv2 = opencv()
    lq, gt = (_levelled(plane) for plane in pair.grey)
    drawn = cv2.Canny(gt, 80, 160) > 0
    known = cv2.dilate(cv2.Canny(lq, 40, 80), np.ones((7, 7), np.uint8)) > 0
    edges, bare = (_tiles(mask) for mask in (drawn, drawn & ~known))
    share = np.where(edges >= 1.5 * TILE, bare / np.maximum(edges, 1.0), 0.0)
    return float(share.max())


def face_changed(pair: Pair) -> float:
    """1 less the correlation of luma within a face that is in either image, the worst of them; 0 where none is found.

    Faces by a cascade of local binary patterns (Ahonen, Hadid, Pietikainen, PAMI 28, 2006), shipped with scikit-image.
    """
    return max((_disagreement(pair, box) for image in (pair.lq, pair.gt) for box in _faces(image)), default=0.0)


def text_changed(pair: Pair) -> float:
    """1 less the correlation of luma within a line of text in gt, the worst of them; 0 where none is found.

    Letters are what is lighter or darker than the mean around it (Bradley, Roth, JGT 12, 2007) and of their shape;
    four or more of one height beside each other are a line. Much that is no text is taken for it, and may not change
    either; in lq rain and noise are, so that it is not asked.
    """
    return max((_disagreement(pair, box) for box in _lines(pair.grey[1])), default=0.0)


METRICS: dict[str, Callable[[Pair], float]] = {
    "edges_unsupported": edges_unsupported,
    "face_changed": face_changed,
    "text_changed": text_changed,
}


def missing(name: str) -> str:
    """Why it cannot be measured here; "" where it can."""
    if name == "face_changed" and importlib.util.find_spec("skimage") is None:
        return "scikit-image is not installed: pip install 'ggt100k[quality]'"
    return ""


def _levelled(plane: Plane) -> Image:
    """Luma over its local contrast, so that a dim or hazy image has its edges too."""
    cv2 = opencv()
    smooth = cv2.GaussianBlur(plane, (0, 0), 1.5)
    mean = cv2.blur(smooth, (33, 33))
    spread = np.sqrt(np.maximum(cv2.blur(smooth * smooth, (33, 33)) - mean * mean, 0.0))
    return np.asarray(np.clip(128.0 + 40.0 * (smooth - mean) / (spread + 6.0), 0, 255), np.uint8)


def _tiles(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Plane:
    """How many are set in each tile; the last ones may be smaller."""
    rows, columns = (np.arange(0, side, TILE) for side in mask.shape)
    return np.asarray(np.add.reduceat(np.add.reduceat(mask.astype(np.float32), rows, 0), columns, 1), np.float32)


def _disagreement(pair: Pair, box: Box) -> float:
    """1 less the correlation of luma in the box, without what noise and a slight blur do; 0 where both are flat."""
    cv2 = opencv()
    left, top, width, height = box
    parts = [
        cv2.GaussianBlur(plane[top : top + height, left : left + width], (0, 0), 1.5).astype(np.float64)
        for plane in pair.grey
    ]
    a, b = (part - part.mean() for part in parts)
    energy = float(np.sqrt((a * a).mean() * (b * b).mean()))
    least = 1.0 if min(a.std(), b.std()) < 1.0 <= max(a.std(), b.std()) else 0.0  # there in one of them alone
    return least if energy < 1.0 else 1.0 - float((a * b).mean()) / energy


def _faces(image: Image) -> Iterator[Box]:
    cv2 = opencv()
    scale = min(LONG / max(image.shape[:2]), 1.0)
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    least, most = 24, min(small.shape[:2])
    if most <= least:
        return
    for found in _cascade().detect_multi_scale(
        img=small, scale_factor=1.2, step_ratio=1.3, min_size=(least, least), max_size=(most, most)
    ):
        left, top, side = (round(found[name] / scale) for name in ("c", "r", "width"))
        yield left, top, side, side


@cache
def _cascade() -> Any:
    if why := missing("face_changed"):
        raise ConfigError(why)
    from skimage import data, feature

    return feature.Cascade(data.lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]


def _lines(plane: Plane) -> Iterator[Box]:
    """Boxes of what looks like lines of text."""
    cv2 = opencv()
    scale = min(LONG / max(plane.shape), 1.0)
    grey = np.asarray(np.clip(plane, 0, 255), np.uint8)
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    letters: list[Box] = []
    for ink in (cv2.THRESH_BINARY, cv2.THRESH_BINARY_INV):  # light on dark, dark on light
        for window in (15, 51):
            mask = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, ink, window, -INK if not ink else INK)
            stats = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:]
            letters += [(int(x), int(y), int(w), int(h)) for x, y, w, h, area in stats if _letter(w, h, area)]
    lines: list[list[Box]] = []
    for box in sorted(_once(letters)):
        line = next((line for line in lines if _follows(line[-1], box)), None)
        if line is None:
            lines.append(line := [])
        line.append(box)
    for line in lines:
        yield from _as_line(line, scale)


def _letter(width: int, height: int, area: int) -> bool:
    """Of a letter's size and shape, and neither a speck nor a filled box."""
    return 8 <= height <= 96 and 0.1 <= width / height <= 1.6 and 0.1 <= area / (width * height) <= 0.85


def _once(letters: list[Box]) -> list[Box]:
    """Without those that are much the same as a larger one: a letter is found at several thresholds."""
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
