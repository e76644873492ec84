"""Metrics of text, read by OCR: lines that gt added, lost or altered.

The extra `text` installs rapidocr (Apache-2.0). Its wheel contains the models: PP-OCRv6 small detection and recognition
of PaddleOCR, converted to ONNX, also Apache-2.0 (MODEL_LICENSES.md in the wheel). They read Latin script, digits,
Chinese and Japanese. Nothing is downloaded.

A fast search at GLANCE px comes first; if it detects no line, the counts are 0. Otherwise lines are detected in both
images, enlarged if they are small, and each line is read in both. If the text of lq is not certain, the line counts as
unsure and not as altered, because a restoration may make text readable.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics.core import Pair, resize_to, to_grey

VERSION = "text-2"  # raise it whenever a value may change
MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}
GLANCE = 640  # px: maximum long edge for the fast search, which takes 0.09 s for an image on one core
LONG_EDGE = 1600  # px: maximum long edge for the full search
ENLARGED = 2.0  # maximum factor by which a small image is enlarged
LEGIBLE = 0.80  # minimum confidence of a valid reading
HALF_LEGIBLE = 0.60  # the same for a line of LONG or more letters in gt that lq does not show
LONG = 5
SURE = 0.90  # minimum confidence of both readings for a line to count as altered
CERTAIN = 0.93  # the same for a line in which one character differs
TALL = 10  # px: a lower line that became readable counts as unsure, not as added
SHORTEST = 2  # letters or digits: shorter readings are ignored as noise
SAME_LINE = 0.5  # boxes of both images are the same line if the smaller one lies in the other by this fraction
PRESENT = 0.5  # minimum correlation of luma within a line for the line to be present in the other image
ABSENT = 0.2  # correlation of luma within a line below which the line is absent from the other image
ALIKE = str.maketrans("0158|!", "oissii")  # OCR confuses 0 and O; 1, l and I; 5 and S
Quad = npt.NDArray[np.float32]  # (4, 2) corners from the upper left, clockwise, in pixels
Box = tuple[float, float, float, float]  # left, top, right, bottom
Reading = tuple[str, float]  # text, confidence 0..1


class Reader(Protocol):
    """OCR in two steps, so that a line can be read in both images."""

    def find(self, image: Image) -> list[Quad]:
        """Return the corners of the lines of text in a uint8 RGB image (height, width, 3)."""

    def read(self, lines: Sequence[Image]) -> list[Reading]:
        """Return text and confidence of each line, which is cropped and upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChanges:
    """Numbers of lines by what gt did to them."""

    kept: int = 0
    added: int = 0
    lost: int = 0
    altered: int = 0
    unsure: int = 0


def text_added(pair: Pair) -> float:
    """Count lines that are readable in gt and absent from lq."""
    return float(_changes(pair).added)


def text_lost(pair: Pair) -> float:
    """Count lines that are readable in lq and absent from gt."""
    return float(_changes(pair).lost)


def text_altered(pair: Pair) -> float:
    """Count lines that are readable in both images and differ."""
    return float(_changes(pair).altered)


def text_unsure(pair: Pair) -> float:
    """Count lines that became readable in gt, or that differ by no more than OCR may confuse.

    A reviewer has to compare them, because the restoration may have invented letters.
    """
    return float(_changes(pair).unsure)


METRICS: dict[str, Callable[[Pair], float]] = {
    "text_added": text_added,
    "text_lost": text_lost,
    "text_altered": text_altered,
    "text_unsure": text_unsure,
}


def compare_text(lq: Image, gt: Image, reader: Reader) -> TextChanges:
    """Read every line of lq or gt in both images, and count the outcomes.

    Args:
        lq, gt: uint8 RGB (height, width, 3), of the same size.
        reader: Detects and reads lines.
    """
    quads = _find_lines(lq, gt, reader)
    crops = [(_crop_line(lq, quad), _crop_line(gt, quad)) for quad in quads]
    readings = iter(reader.read([crop for both in crops for crop in both]))
    counts = dict.fromkeys(TextChanges.__slots__, 0)
    for before, after in crops:
        outcome = _judge_line(next(readings), next(readings), before, after)
        if outcome:
            counts[outcome] += 1
    return TextChanges(**counts)


def explain_missing() -> str:
    """Return why text cannot be read on this machine, "" if it can, without loading anything."""
    if importlib.util.find_spec("rapidocr") is None:
        return "rapidocr is not installed. Install it: pip install 'ggt100k[text]'"
    absent = [name for name in MODELS.values() if not (_model_folder() / name).is_file()]
    return (
        f"{absent[0]} is missing from rapidocr. Install it again: pip install --force-reinstall 'rapidocr>=3.10'"
        if absent
        else ""
    )


def version() -> str:
    """Return the version of this module and of the package with the models, which is stored with every score."""
    try:
        return f"{VERSION} rapidocr {importlib.metadata.version('rapidocr')}"
    except importlib.metadata.PackageNotFoundError:
        return VERSION


def edit_distance(text: str, other_text: str) -> int:
    """Return the minimum number of characters to insert, delete or replace (Levenshtein, 1966)."""
    row = list(range(len(other_text) + 1))
    for i, a in enumerate(text, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other_text, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def _changes(pair: Pair) -> TextChanges:
    return pair.compute_once(_compute_changes)


def _compute_changes(pair: Pair) -> TextChanges:
    return compare_detected_text(pair.lq, pair.gt, _rapid_reader())


def compare_detected_text(lq: Image, gt: Image, reader: Reader) -> TextChanges:
    """Compare the text of two images if a fast search detects any; see `compare_text`."""
    if not any(reader.find(resize_to(image, GLANCE)) for image in (gt, lq)):
        return TextChanges()
    return compare_text(_resize(lq), _resize(gt), reader)


def _resize(image: Image) -> Image:
    """Resize an image to a long edge of LONG_EDGE px, enlarged at most ENLARGED times."""
    cv2 = opencv()
    scale = min(LONG_EDGE / max(image.shape[:2]), ENLARGED)
    if scale <= 1.0:
        return resize_to(image, LONG_EDGE)
    large: Image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return large


def _find_lines(lq: Image, gt: Image, reader: Reader) -> list[Quad]:
    """Return the lines of gt, and the lines of lq that are not among them."""
    quads = reader.find(gt)
    boxes = [_box(quad) for quad in quads]
    for quad in reader.find(lq):
        if all(_overlap(_box(quad), box) < SAME_LINE for box in boxes):
            quads.append(quad)
    return quads


def _judge_line(before: Reading, after: Reading, lq_crop: Image, gt_crop: Image) -> str:
    """Return the field of TextChanges for a line; "" if neither image has readable text there."""
    lq, gt = _plain(before[0]), _plain(after[0])
    is_in_lq, is_in_gt = before[1] >= LEGIBLE and len(lq) >= SHORTEST, after[1] >= LEGIBLE and len(gt) >= SHORTEST
    if is_in_lq and is_in_gt:
        distance = edit_distance(lq, gt)
        if distance == 0:
            return "kept"
        needed = SURE if distance >= max(2, 0.25 * len(gt)) else CERTAIN
        return "altered" if min(before[1], after[1]) >= needed else "unsure"
    if not is_in_lq and not is_in_gt:
        half_read = after[1] >= HALF_LEGIBLE and len(gt) >= LONG and before[1] < HALF_LEGIBLE
        return "unsure" if half_read and _correlation(lq_crop, gt_crop) < ABSENT else ""
    if _correlation(lq_crop, gt_crop) >= PRESENT:
        return "unsure" if is_in_gt else ""  # letters became readable, or OCR missed letters that are still there
    if is_in_gt:
        return "added" if gt_crop.shape[0] >= TALL else "unsure"
    return "lost"


def _plain(text: str) -> str:
    """Reduce a text to letters and digits, without case, and with one form for characters that OCR confuses."""
    return (
        "".join(letter for letter in text.casefold() if letter.isalnum() or letter in "|!")
        .translate(ALIKE)
        .replace("l", "i")
    )


def _crop_line(image: Image, quad: Quad) -> Image:
    """Crop a line and make it upright."""
    cv2 = opencv()
    width = max(float(np.linalg.norm(quad[1] - quad[0])), float(np.linalg.norm(quad[2] - quad[3])), 4.0)
    height = max(float(np.linalg.norm(quad[3] - quad[0])), float(np.linalg.norm(quad[2] - quad[1])), 4.0)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(np.ascontiguousarray(quad, np.float32), corners)
    size = round(width), round(height)
    cut: Image = cv2.warpPerspective(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.rot90(cut)) if height > 1.5 * width else cut


def _correlation(a_image: Image, b_image: Image) -> float:
    """Correlate structure of the size of letters in luma, -1..1; 0 if one image is flat."""
    cv2 = opencv()
    height = a_image.shape[0]
    a, b = (
        cv2.GaussianBlur(grey, (0, 0), max(height / 16.0, 0.8)) - cv2.GaussianBlur(grey, (0, 0), max(height / 3.0, 2.0))
        for grey in (to_grey(image).astype(np.float64) for image in (a_image, b_image))
    )
    energy = float(np.sqrt((a * a).mean() * (b * b).mean()))
    return float((a * b).mean()) / energy if energy > 1.0 else 0.0


def _box(quad: Quad) -> Box:
    across, down = quad[:, 0], quad[:, 1]
    return float(across.min()), float(down.min()), float(across.max()), float(down.max())


def _overlap(a: Box, b: Box) -> float:
    """Return the common area relative to the smaller box."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0.0) * max(height, 0.0) / max(smaller, 1.0)


def _model_folder() -> Path:
    spec = importlib.util.find_spec("rapidocr")
    return Path(spec.submodule_search_locations[0]) / "models" if spec and spec.submodule_search_locations else Path()


class _RapidReader:
    """Reads with rapidocr on one thread, with the models of its wheel."""

    def __init__(self) -> None:
        self._engine: Any = importlib.import_module("rapidocr").RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.use_cls": False,
                "Global.text_score": 0.0,
                "Det.limit_side_len": 32,  # only _resize() enlarges images
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                **{f"{step}.model_path": str(_model_folder() / name) for step, name in MODELS.items()},
            }
        )

    def find(self, image: Image) -> list[Quad]:
        result = self._engine(np.ascontiguousarray(image[..., ::-1]), use_det=True, use_cls=False, use_rec=False)
        return [np.asarray(quad, np.float32) for quad in (result.boxes if result.boxes is not None else ())]

    def read(self, lines: Sequence[Image]) -> list[Reading]:
        readings = []
        for line in lines:
            result = self._engine(np.ascontiguousarray(line[..., ::-1]), use_det=False, use_cls=False, use_rec=True)
            readings.append((str(result.txts[0]), float(result.scores[0])) if result.txts else ("", 0.0))
        return readings


@cache
def _rapid_reader() -> Reader:
    if why := explain_missing():
        raise ConfigError(why)
    return _RapidReader()
