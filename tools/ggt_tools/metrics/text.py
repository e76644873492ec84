"""Metrics of text, read by OCR: lines that were added, lost or altered between lq and gt.

The extra `text` installs rapidocr (Apache-2.0). Its wheel ships the models that are used here: PP-OCRv6 small detection
and recognition of PaddleOCR, converted to ONNX, Apache-2.0 as well (MODEL_LICENSES.md in the wheel). They read Latin
script, digits, Chinese and Japanese. Nothing is downloaded.

A fast search at GLANCE px comes first: without any line there, the counts are 0. Else lines are found in both
pictures, enlarged where they are small, and each place is read in both: where the reading of lq is not certain, the
line counts as unsure and not as altered, because a restoration may make text readable that was not.
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
GLANCE = 640  # px of the long edge at most for the first search; it costs a core 0.09 s a picture
LONG_EDGE = 1600  # px at most when text is looked for, where there is some
ENLARGED = 2.0  # times at most
LEGIBLE = 0.80  # confidence of a reading that counts
HALF_LEGIBLE = 0.60  # the same for a line of LONG or more letters in gt where lq shows nothing like it
LONG = 5
SURE = 0.90  # confidence of both readings from which a line that says something else was altered
CERTAIN = 0.93  # the same for a line of which one character is another
TALL = 10  # px: what becomes readable in a line lower than that is unsure, and not added
SHORTEST = 2  # letters or digits: a shorter reading is noise
SAME_PLACE = 0.5  # share of the smaller box within the other: one line, found in both pictures
STILL_THERE = 0.5  # correlation of luma within a line from which something like it stands in the other picture
NOTHING_ALIKE = 0.2  # correlation of luma within a line below which nothing like it stands in the other picture
ALIKE = str.maketrans("0158|!", "oissii")  # characters that OCR confuses: 0 and O, 1, l and I, 5 and S
Quad = npt.NDArray[np.float32]  # (4, 2) corners from the upper left, clockwise, in pixels
Box = tuple[float, float, float, float]  # left, top, right, bottom
Reading = tuple[str, float]  # text, confidence 0..1


class Reader(Protocol):
    """OCR in two steps, so that one place can be read in both pictures."""

    def find(self, image: Image) -> list[Quad]:
        """The lines of text in a uint8 RGB picture."""

    def read(self, lines: Sequence[Image]) -> list[Reading]:
        """What stands in each upright cut-out of a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChanges:
    """Counts of lines."""

    kept: int = 0
    added: int = 0
    lost: int = 0
    altered: int = 0
    unsure: int = 0


def text_added(pair: Pair) -> float:
    """Number of lines that are readable in gt where lq shows nothing like them."""
    return float(_changes(pair).added)


def text_lost(pair: Pair) -> float:
    """Number of lines that are readable in lq where gt shows nothing like them."""
    return float(_changes(pair).lost)


def text_altered(pair: Pair) -> float:
    """Number of lines that are readable in both and say something else in gt."""
    return float(_changes(pair).altered)


def text_unsure(pair: Pair) -> float:
    """Number of lines that are readable only in gt, or whose readings differ within what OCR confuses.

    A person has to compare them: the restoration may have invented the letters.
    """
    return float(_changes(pair).unsure)


METRICS: dict[str, Callable[[Pair], float]] = {
    "text_added": text_added,
    "text_lost": text_lost,
    "text_altered": text_altered,
    "text_unsure": text_unsure,
}


def compare_text(lq: Image, gt: Image, reader: Reader) -> TextChanges:
    """Read every line that is found in lq or gt in both pictures, and count what became of it."""
    places = _find_places(lq, gt, reader)
    cuts = [(_cut_out(lq, place), _cut_out(gt, place)) for place in places]
    readings = iter(reader.read([cut for both in cuts for cut in both]))
    counts = dict.fromkeys(TextChanges.__slots__, 0)
    for before, after in cuts:
        outcome = _judge_line(next(readings), next(readings), before, after)
        if outcome:
            counts[outcome] += 1
    return TextChanges(**counts)


def missing() -> str:
    """Why text cannot be read here; "" where it can. Nothing is loaded."""
    if importlib.util.find_spec("rapidocr") is None:
        return "rapidocr is not installed: pip install 'ggt100k[text]'"
    absent = [name for name in MODELS.values() if not (_model_folder() / name).is_file()]
    return f"{absent[0]} is missing from rapidocr: pip install --force-reinstall 'rapidocr>=3.10'" if absent else ""


def version() -> str:
    """Of this module and of the package that ships the models."""
    try:
        return f"{VERSION} rapidocr {importlib.metadata.version('rapidocr')}"
    except importlib.metadata.PackageNotFoundError:
        return VERSION


def edit_distance(one: str, other: str) -> int:
    """The least number of characters to insert, delete or replace (Levenshtein, 1966)."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


def _changes(pair: Pair) -> TextChanges:
    return pair.computed(_compute_changes)


def _compute_changes(pair: Pair) -> TextChanges:
    return look_for_text(pair.lq, pair.gt, _rapid_reader())


def look_for_text(lq: Image, gt: Image, reader: Reader) -> TextChanges:
    """Compare the text of two pictures, where a fast search finds any."""
    if not any(reader.find(resize_to(image, GLANCE)) for image in (gt, lq)):
        return TextChanges()
    return compare_text(_sized(lq), _sized(gt), reader)


def _sized(image: Image) -> Image:
    """The picture with a long edge of LONG_EDGE px, ENLARGED times at most."""
    cv2 = opencv()
    scale = min(LONG_EDGE / max(image.shape[:2]), ENLARGED)
    if scale <= 1.0:
        return resize_to(image, LONG_EDGE)
    large: Image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return large


def _find_places(lq: Image, gt: Image, reader: Reader) -> list[Quad]:
    """The lines of gt, and those of lq that are not among them."""
    places = reader.find(gt)
    boxes = [_box(place) for place in places]
    for place in reader.find(lq):
        if all(_overlap(_box(place), box) < SAME_PLACE for box in boxes):
            places.append(place)
    return places


def _judge_line(before: Reading, after: Reading, cut_lq: Image, cut_gt: Image) -> str:
    """The field of TextChanges to count the line in; "" where neither picture says anything."""
    lq, gt = _plain(before[0]), _plain(after[0])
    in_lq, in_gt = before[1] >= LEGIBLE and len(lq) >= SHORTEST, after[1] >= LEGIBLE and len(gt) >= SHORTEST
    if in_lq and in_gt:
        distance = edit_distance(lq, gt)
        if distance == 0:
            return "kept"
        needed = SURE if distance >= max(2, 0.25 * len(gt)) else CERTAIN
        return "altered" if min(before[1], after[1]) >= needed else "unsure"
    if not in_lq and not in_gt:
        half_read = after[1] >= HALF_LEGIBLE and len(gt) >= LONG and before[1] < HALF_LEGIBLE
        return "unsure" if half_read and _correlation(cut_lq, cut_gt) < NOTHING_ALIKE else ""
    if _correlation(cut_lq, cut_gt) >= STILL_THERE:
        return "unsure" if in_gt else ""  # letters became readable; or OCR missed what still stands there
    if in_gt:
        return "added" if cut_gt.shape[0] >= TALL else "unsure"
    return "lost"


def _plain(text: str) -> str:
    """Letters and digits alone, without case and without what OCR confuses."""
    return (
        "".join(letter for letter in text.casefold() if letter.isalnum() or letter in "|!")
        .translate(ALIKE)
        .replace("l", "i")
    )


def _cut_out(image: Image, place: Quad) -> Image:
    """A line, upright, with a margin of a tenth of its height."""
    cv2 = opencv()
    width = max(float(np.linalg.norm(place[1] - place[0])), float(np.linalg.norm(place[2] - place[3])), 4.0)
    height = max(float(np.linalg.norm(place[3] - place[0])), float(np.linalg.norm(place[2] - place[1])), 4.0)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(np.ascontiguousarray(place, np.float32), corners)
    size = round(width), round(height)
    cut: Image = cv2.warpPerspective(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.rot90(cut)) if height > 1.5 * width else cut


def _correlation(one: Image, other: Image) -> float:
    """Of structure of a letter's size in luma, -1..1: 0 where one of them is flat."""
    cv2 = opencv()
    height = one.shape[0]
    a, b = (
        cv2.GaussianBlur(grey, (0, 0), max(height / 16.0, 0.8)) - cv2.GaussianBlur(grey, (0, 0), max(height / 3.0, 2.0))
        for grey in (to_grey(image).astype(np.float64) for image in (one, other))
    )
    energy = float(np.sqrt((a * a).mean() * (b * b).mean()))
    return float((a * b).mean()) / energy if energy > 1.0 else 0.0


def _box(place: Quad) -> Box:
    across, down = place[:, 0], place[:, 1]
    return float(across.min()), float(down.min()), float(across.max()), float(down.max())


def _overlap(one: Box, other: Box) -> float:
    """Common area over the smaller of both."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(width, 0.0) * max(height, 0.0) / max(smaller, 1.0)


def _model_folder() -> Path:
    spec = importlib.util.find_spec("rapidocr")
    return Path(spec.submodule_search_locations[0]) / "models" if spec and spec.submodule_search_locations else Path()


class _RapidReader:
    """rapidocr on one thread, with the models of its wheel."""

    def __init__(self) -> None:
        self._engine: Any = importlib.import_module("rapidocr").RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.use_cls": False,
                "Global.text_score": 0.0,
                "Det.limit_side_len": 32,  # no picture is enlarged but by _sized()
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                **{f"{step}.model_path": str(_model_folder() / name) for step, name in MODELS.items()},
            }
        )

    def find(self, image: Image) -> list[Quad]:
        found = self._engine(np.ascontiguousarray(image[..., ::-1]), use_det=True, use_cls=False, use_rec=False)
        return [np.asarray(quad, np.float32) for quad in (found.boxes if found.boxes is not None else ())]

    def read(self, lines: Sequence[Image]) -> list[Reading]:
        readings = []
        for line in lines:
            said = self._engine(np.ascontiguousarray(line[..., ::-1]), use_det=False, use_cls=False, use_rec=True)
            readings.append((str(said.txts[0]), float(said.scores[0])) if said.txts else ("", 0.0))
        return readings


@cache
def _rapid_reader() -> Reader:
    if why := missing():
        raise ConfigError(why)
    return _RapidReader()
