"""Functions that run in the processes of pyiqa's models.

A process starts in an environment that states where weights are and prevents downloads (iqa/__init__.py). Torch is
imported in the functions that need it, so that importing this module does not load it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ggt_tools.metrics.iqa.batches import Batches
from ggt_tools.metrics.iqa.device import Device, DeviceLost
from ggt_tools.metrics.iqa.feed import feed

if TYPE_CHECKING:
    from ggt_format.schema import Image

    Images = tuple[Image, ...]
    Load = Callable[[], tuple[Image, Image]]

Measured = tuple[str, str]  # a model, and what it looks at: pair (gt and lq), lq, gt
HALF_PAIRS = 4  # with which half precision is checked on a device
HALF_SIDE = 256
_device: Device
_batches: Batches
_half: set[str] = set()  # models that this device runs in half precision


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """Pairs of one size that the process of the models loads itself.

    Attributes:
        loads: For each pair a function that can be pickled and returns lq and gt, uint8 RGB (height, width, 3).
        measured: What is measured of each pair, and the largest number of pairs at a time.
    """

    loads: tuple[Load, ...]
    measured: tuple[tuple[Measured, int], ...]


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """Why a pair could not be measured.

    Attributes:
        model: The model that failed.
        reason: A reason code of the stage score.
        detail: The error.
    """

    model: str
    reason: str
    detail: str


PairValues = dict[Measured, float] | Unmeasured


def begin(make_device: Callable[[str, int], Device], device: str, threads: int) -> None:
    """Prepare this process, before all else.

    Args:
        make_device: Makes the device of a name and a number of threads.
        device: Name of the device.
        threads: Number of threads in which models compute on a CPU.
    """
    global _device, _batches
    _device = make_device(device, threads)
    _batches = Batches(_device.is_out_of_memory, _device.free_memory)
    _half.clear()


def load(model: str, options: dict[str, Any], half_bound: float | None = None) -> tuple[str, str]:
    """Make a model ready.

    Args:
        model: Name in pyiqa.
        options: Options with which pyiqa makes it.
        half_bound: Largest difference that half precision may make; None if the model always runs in full precision.

    Returns:
        The start of the SHA-256 of its weights ("" where it has none), and "" or why it cannot be made.
    """
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            digest = _device.load(model, options)
    except Exception as fault:  # torch.hub, timm and CLIP each have their own exceptions
        return "", describe_missing_file(fault.__traceback__) or f"{type(fault).__name__}: {fault}"
    if half_bound is not None and _device.has_half and half_difference(_device, model) <= half_bound:
        _half.add(model)
    return digest, ""


def half_difference(device: Device, model: str) -> float:
    """Return by how much half precision changes a full-reference model's value at most; inf where it gives NaN.

    It is measured on the device, on generated pairs of smooth and of rough images with noise.
    """
    import numpy as np

    draw = np.random.default_rng(0)
    pairs = []
    for number in range(HALF_PAIRS):
        cells = HALF_SIDE // 4 ** (number % 3 + 1)
        rough = draw.integers(0, 256, (cells, cells, 3)).repeat(HALF_SIDE // cells, 0).repeat(HALF_SIDE // cells, 1)
        noise = draw.normal(0, 4 * (number + 1), rough.shape)
        pairs.append((rough.astype(np.uint8), np.clip(rough + noise, 0, 255).astype(np.uint8)))
    columns = [device.stage([pair[place] for pair in pairs]) for place in (0, 1)]
    full = device.measure(model, columns)
    half = device.measure(model, columns, half=True)
    differences = [abs(one - other) for one, other in zip(full, half, strict=True)]
    return math.inf if any(math.isnan(each) for each in differences) else max(differences)


def describe_missing_file(trace: TracebackType | None) -> str:
    """Return which file a library tried to download and where it belongs, from its local variables."""
    url = destination = ""
    while trace is not None:
        for name, value in trace.tb_frame.f_locals.items():
            if isinstance(value, (str, os.PathLike)):
                text = str(value)
                if text.startswith(("https://", "http://")):
                    url = text
                elif name in ("cached_file", "dst", "download_target", "storage_folder") and os.sep in text:
                    destination = text
                elif name == "repo_id" and "/" in text:
                    url = url or f"https://huggingface.co/{text}"
        trace = trace.tb_next
    if not url:
        return ""
    return f"its weights are missing. Download {url}" + (f" to {destination}" if destination else "")


def run(model: str, items: Sequence[Images], size: int) -> list[float]:
    """Return a model's value for each item.

    Args:
        model: Name of a loaded model.
        items: For each item its images, uint8 (height, width, 3), all of one size, in the model's own order.
        size: Largest number of items at a time.

    Raises:
        DeviceLost: The device failed, and this process has to be replaced.
        RuntimeError: The model failed.
    """

    def measure(part: Sequence[Images]) -> list[float]:
        return _values(model, [_device.stage(column) for column in zip(*part, strict=True)])

    shape = items[0][0].shape[:2] if items else (0, 0)
    try:
        return _batches.values((model, *shape), measure, items, size)
    except RuntimeError as fault:
        _raise_if_lost(fault)
        raise


def run_stored(batches: Sequence[StoredBatch], threads: int) -> list[list[PairValues]]:
    """Measure batches of pairs that this process loads ahead, and return the values of each pair of each batch.

    Args:
        batches: The batches.
        threads: Number of threads that load images.

    Raises:
        DeviceLost: The device failed, and this process has to be replaced.
        Exception: What loading a pair raises.
    """
    fed = feed([batch.loads for batch in batches], _stage, threads=threads)
    return [_measure(pairs, staged, batch) for batch, (pairs, staged) in zip(batches, fed, strict=True)]


def _stage(pairs: Sequence[tuple[Image, Image]]) -> tuple[Any, Any]:
    """Return the lq images and the gt images on the device."""
    return _device.stage([lq for lq, _ in pairs]), _device.stage([gt for _, gt in pairs])


def _measure(
    pairs: Sequence[tuple[Image, Image]], staged: Future[tuple[Any, Any]], batch: StoredBatch
) -> list[PairValues]:
    """Return the values of each pair of a batch."""
    try:
        return _values_of_pairs(*staged.result(), pairs[0][0].shape[:2], len(pairs), batch)
    except RuntimeError as fault:  # of staging; what models raise is in the values
        _raise_if_lost(fault)
        if len(pairs) == 1:
            return [_unmeasured(batch.measured[0][0][0], fault)]
    _device.free_memory()
    values: list[PairValues] = []
    for part in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
        again: Future[tuple[Any, Any]] = Future()
        try:
            again.set_result(_stage(part))
        except RuntimeError as fault:
            again.set_exception(fault)
        values += _measure(part, again, batch)
    return values


def _values_of_pairs(lq: Any, gt: Any, shape: tuple[int, ...], count: int, batch: StoredBatch) -> list[PairValues]:
    """Return the values of pairs that are on the device."""
    columns = {"pair": (gt, lq), "lq": (lq,), "gt": (gt,)}
    pairs: list[PairValues] = [{} for _ in range(count)]
    for (model, which), size in batch.measured:
        for place, value in enumerate(_values_or_faults(model, columns[which], shape, count, size)):
            values = pairs[place]
            if isinstance(values, Unmeasured):
                continue
            if isinstance(value, Unmeasured):
                pairs[place] = value
            else:
                values[model, which] = value
    return pairs


def _values_or_faults(
    model: str, columns: Sequence[Any], shape: tuple[int, ...], count: int, size: int
) -> Iterator[float | Unmeasured]:
    """Yield a model's value of each pair, or why the pair has none."""

    def measure(part: Sequence[int]) -> list[float]:
        return _values(model, [column[part[0] : part[-1] + 1] for column in columns])

    try:
        yield from _batches.values((model, *shape), measure, range(count), size)
        return
    except Exception as fault:  # of the code of a model
        _raise_if_lost(fault)
        if count == 1:
            yield _unmeasured(model, fault)
            return
    for place in range(count):  # the others of the batch are good
        try:
            yield from _batches.values((model, *shape), measure, range(place, place + 1), 1)
        except Exception as fault:
            _raise_if_lost(fault)
            yield _unmeasured(model, fault)


def _values(model: str, columns: Sequence[Any]) -> list[float]:
    """Return a model's values; what gives NaN in half precision is computed in full precision."""
    values = _device.measure(model, columns, half=model in _half)
    if model in _half and any(math.isnan(value) for value in values):
        values = _device.measure(model, columns)
    return values


def _unmeasured(model: str, fault: Exception) -> Unmeasured:
    reason = "out_of_memory" if _device.is_out_of_memory(fault) else "not_measured"
    return Unmeasured(model, reason, f"{type(fault).__name__}: {' '.join(str(fault).split())}")


def _raise_if_lost(fault: Exception) -> None:
    if _device.is_lost(fault):
        raise DeviceLost(f"the device failed: {' '.join(str(fault).split())}") from fault


def file_digest(path: Path) -> str:
    """Return the first 8 characters of the SHA-256 of a file of weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
