"""The learned witness: a small network that sees what is measured of lq and gt by cells, and says where they disagree
beyond what lq explains.

Trained on faults planted in clean photographs (train_witness.py), run by onnxruntime on the CPU. It gives evidence for
groups of faults, as log-odds against a good pair: at 0 both are as likely, the higher the worse. `learned_gain` is a
gain: the higher the better, below 0 the photograph seems to stand there again as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_tools.degradations import Image
from ggt_tools.errors import ConfigError
from ggt_tools.witnesses import Pair

WEIGHTS = Path(__file__).with_name("learned.onnx")
SHA256 = "7d0bd662d76c8d44ab2c2f8fe941d6574df2a09e4781dfa69b63fa0a6833339f"
CLASSES = ("good", "content", "colour", "detail", "artefact", "unrestored")
TILE = 16  # pixels
Odds = npt.NDArray[np.float32]


def look(lq: Image, gt: Image) -> tuple[Odds, Odds]:
    """Log-odds of each class against a good pair: of each tile (classes, rows, columns), of the whole (classes,).

    Raises ConfigError where onnxruntime or the weights are missing, or the weights are others than SHA256 says.
    """
    from ggt_tools.witnesses.evidence import evidence

    tiles, whole = (answer[0] for answer in _session().run(None, {"measures": evidence(lq, gt)[None]}))
    return tiles - tiles[:1], whole - whole[:1]


def whole(pair: Pair, kind: str) -> float:
    """Log-odds of one class for the whole pair."""
    return _rounded(_seen(pair)[1][CLASSES.index(kind)])


def worst(pair: Pair) -> float:
    """Log-odds of any fault in the worst place, a mean over 3 x 3 tiles of 16 px."""
    return _rounded(_worst(_seen(pair)[0]))


def gain(pair: Pair) -> float:
    """Log-odds that it is a good pair against one that is in part, or whole, as it was."""
    return -whole(pair, "unrestored")


def _rounded(odds: np.float32 | float) -> float:
    """To three places: the last bits are another sum's order, which onnxruntime does not promise."""
    return round(float(odds), 3)


METRICS: dict[str, Callable[[Pair], float]] = {
    **{f"learned_{name}": partial(whole, kind=name) for name in CLASSES[1:-1]},
    "learned_worst": worst,
    "learned_gain": gain,
}


def missing() -> str:
    """Why the witness cannot be asked here; "" where it can. Nothing is loaded."""
    import importlib.util

    if importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed: pip install 'ggt100k[generate]'"
    return "" if WEIGHTS.is_file() else f"{WEIGHTS.name} is missing: install ggt100k again"


def version() -> str:
    """Of the measures and the weights."""
    from ggt_tools.witnesses import evidence

    return f"learned {SHA256[:8]} {evidence.VERSION}"


def _worst(tiles: Odds) -> float:
    faults = tiles[1:]
    top = faults.max(axis=0)
    any_fault = top + np.log(np.exp(faults - top).sum(axis=0))
    rows, columns = any_fault.shape
    few = [any_fault[i : rows - 2 + i, j : columns - 2 + j] for i in range(3) for j in range(3)]
    return float((np.mean(few, axis=0) if min(rows, columns) >= 3 else any_fault).max())


_last: list[tuple[Pair, tuple[Odds, Odds]]] = []


def _seen(pair: Pair) -> tuple[Odds, Odds]:
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
    if (found := hashlib.sha256(weights).hexdigest()) != SHA256:
        raise ConfigError(f"{WEIGHTS.name}: its SHA-256 is {found[:16]}, not {SHA256[:16]}; install ggt100k again")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # several processes measure side by side
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
