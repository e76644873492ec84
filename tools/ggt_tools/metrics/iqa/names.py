"""The models of pyiqa that measure single images, and the metrics that each of them gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from ggt_tools.metrics.iqa.worker import Measured

# kind of each model (full- or no-reference), and whether lower is better; gates are also checked without pyiqa
KNOWN_MODELS = {
    "psnr": ("FR", False), "ssim": ("FR", False), "gmsd": ("FR", True), "vsi": ("FR", False), "nlpd": ("FR", True),
    "stlpips": ("FR", True), "lpips": ("FR", True), "dists": ("FR", True), "topiq_fr": ("FR", False),
    "piqe": ("NR", True), "niqe": ("NR", True), "musiq": ("NR", False), "maniqa": ("NR", False),
    "clipiqa+": ("NR", False), "topiq_nr": ("NR", False), "liqe": ("NR", False),
    "afine_fr": ("FR", True), "afine_nr": ("NR", True),
}  # fmt: skip
NOT_FOR_IMAGES = (
    "fid",
    "sfid",
    "fid_dinov2",
    "inception_score",
    "clipscore",
)  # models that do not measure single images, or need a text
KINDS = ("", "_lq", "_gain")  # suffixes of the metrics of a no-reference model


@cache
def models() -> dict[str, tuple[str, bool]]:
    """Return each model that measures single images: "FR" or "NR", and whether lower is better.

    pyiqa is not imported.
    """
    return KNOWN_MODELS | models_of_pyiqa()


@cache
def models_of_pyiqa() -> dict[str, tuple[str, bool]]:
    """Return the models of the installed pyiqa, as models() does; {} if it is not installed."""
    spec = find_spec("pyiqa")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(spec.submodule_search_locations[0]) / "default_model_configs.py"
    module_spec = spec_from_file_location("_pyiqa_models", path)
    if module_spec is None or module_spec.loader is None:
        return {}
    module = module_from_spec(module_spec)  # this module is a table, and does not import torch
    module_spec.loader.exec_module(module)
    return {
        name: (str(config["metric_mode"]), bool(config.get("lower_better", False)))
        for name, config in module.DEFAULT_CONFIGS.items()
        if name not in NOT_FOR_IMAGES
    }


def metric_names(model: str) -> tuple[str, ...]:
    """Return the names of the metrics of a model."""
    return (model,) if models()[model][0] == "FR" else tuple(model + kind for kind in KINDS)


def all_metric_names() -> tuple[str, ...]:
    """Return the names of the metrics of all models."""
    return tuple(name for model in models() for name in metric_names(model))


def model_of(name: str) -> str:
    """Return the model of a metric."""
    if name in models():
        return name
    return name.removesuffix("_gain").removesuffix("_lq")


def measured_for(name: str) -> tuple[Measured, ...]:
    """Return what has to be measured for a metric."""
    model = model_of(name)
    if models()[model][0] == "FR":
        return ((model, "pair"),)
    if name in models():
        return ((model, "gt"),)
    return ((model, "lq"),) if name.endswith("_lq") else ((model, "lq"), (model, "gt"))


def value_of(name: str, measured: Mapping[Measured, float]) -> float:
    """Return a metric of a pair, by what was measured for it."""
    values = [measured[each] for each in measured_for(name)]
    if len(values) == 1:
        return values[0]
    lq, gt = values
    return lq - gt if models()[model_of(name)][1] else gt - lq
