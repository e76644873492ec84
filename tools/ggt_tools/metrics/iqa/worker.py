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
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Images = tuple[npt.NDArray[np.uint8], ...]

T = TypeVar("T")
_models: dict[str, Any] = {}
_device = "cpu"


def begin(device: str, threads: int) -> None:
    """Set device and number of threads of this process, before a model is loaded."""
    global _device
    import torch

    torch.set_num_threads(threads)
    _device = device


def load(model: str, options: dict[str, Any]) -> tuple[str, str]:
    """Load a model.

    Args:
        model: Name of the model.
        options: Arguments of pyiqa.create_metric.

    Returns:
        The first 8 characters of the SHA-256 of its weights ("" if it has none), and why it cannot be loaded ("" if it
        can).
    """
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            import pyiqa

            _models[model] = pyiqa.create_metric(model, device=_device, **options)
    except Exception as fault:  # torch.hub, timm and CLIP each have their own exceptions
        return "", describe_missing_file(fault.__traceback__) or f"{type(fault).__name__}: {fault}"
    return _digest(_models[model]), ""


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


def _digest(model: Any) -> str:
    learned = [parameter for _, parameter in sorted(model.named_parameters()) if parameter.numel()]
    if not learned:
        return ""
    digest = hashlib.sha256()
    for parameter in learned:
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def run(model: str, items: Sequence[Images], size: int) -> list[float]:
    """Return a model's value for each item.

    Args:
        model: Name of a loaded model.
        items: For each item its images, uint8 (height, width, 3), all of the same size, in the order of the model.
        size: Maximum number of items at a time.
    """
    import torch

    def measure(part: Sequence[Images]) -> list[float]:
        with torch.inference_mode():
            columns = [torch.stack([_tensor(i) for i in column]).to(_device) for column in zip(*part, strict=True)]
            return [float(value) for value in _models[model](*columns).reshape(len(part), -1)[:, 0]]

    shape = items[0][0].shape[:2] if items else (0, 0)
    return _batches.values((model, *shape), measure, items, size)


def _is_out_of_memory(fault: RuntimeError) -> bool:
    import torch

    return isinstance(fault, torch.OutOfMemoryError) or "not enough memory" in str(fault)


def _free_memory() -> None:
    import torch

    torch.cuda.empty_cache()


def _tensor(image: npt.NDArray[np.uint8]) -> Any:
    import torch

    return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255.0


class Batches:
    """Apply functions to items in batches that fit into the memory of a device.

    If memory is full, the batch is halved, and the smaller size is used for the same key from then on, so that the
    device fails only once. A batch that gives NaN is repeated item by item, because a single item may cause it.

    Args:
        is_out_of_memory: Whether an error means that memory is full.
        free_memory: Frees memory that is not in use.
    """

    def __init__(self, is_out_of_memory: Callable[[RuntimeError], bool], free_memory: Callable[[], None]) -> None:
        self._is_out_of_memory, self._free_memory = is_out_of_memory, free_memory
        self._fitting: dict[Hashable, int] = {}  # size to which batches were halved, by key

    def values(
        self, key: Hashable, measure: Callable[[Sequence[T]], list[float]], items: Sequence[T], size: int
    ) -> list[float]:
        """Return the value of each item; NaN only if the item alone gives NaN too.

        Args:
            key: What decides how much memory an item needs: the model and the size of the images.
            measure: Returns the values of a batch.
            items: The items.
            size: Maximum number of items in a batch.

        Raises:
            RuntimeError: `measure` raised it, and memory was not full, or it was full for one item alone.
        """
        values: list[float] = []
        while len(values) < len(items):
            max_items = min(size, self._fitting.get(key, size))
            part = items[len(values) : len(values) + max_items]
            try:
                measured = measure(part)
            except RuntimeError as fault:
                if not self._is_out_of_memory(fault) or len(part) == 1:
                    raise
                self._free_memory()
                self._fitting[key] = len(part) // 2
                continue
            if len(part) > 1 and any(math.isnan(value) for value in measured):
                measured = [measure([item])[0] for item in part]
            values += measured
        return values


_batches = Batches(_is_out_of_memory, _free_memory)


def file_digest(path: Path) -> str:
    """Return the first 8 characters of the SHA-256 of a file of weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
