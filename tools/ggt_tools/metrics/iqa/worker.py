"""What runs in the processes that hold pyiqa's models: one process has a model, and one thread.

The process starts in an environment that says where weights lie and that none is fetched (iqa.py). What is heavy is
imported where it is used: whoever imports this module for its functions needs no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Images = tuple[npt.NDArray[np.uint8], ...]

T = TypeVar("T")
V = TypeVar("V")
_models: dict[str, Any] = {}
_device = "cpu"


def begin(device: str, threads: int) -> None:
    """Of a process, before all else."""
    global _device
    import torch

    torch.set_num_threads(threads)
    _device = device


def load(model: str, options: dict[str, Any]) -> tuple[str, str]:
    """Makes a model ready. The start of the SHA-256 of its weights ("" where it has none), or why it cannot be."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            import pyiqa

            _models[model] = pyiqa.create_metric(model, device=_device, **options)
    except Exception as fault:  # whatever stands behind a model: torch.hub, timm, CLIP, each with errors of its own
        return "", missing_file(fault.__traceback__) or f"{type(fault).__name__}: {fault}"
    return _digest(_models[model]), ""


def missing_file(trace: TracebackType | None) -> str:
    """Which file was to be fetched, and where it belongs: whoever wanted it had both in hand."""
    url = place = ""
    while trace is not None:
        for name, value in trace.tb_frame.f_locals.items():
            if isinstance(value, (str, os.PathLike)):
                text = str(value)
                if text.startswith(("https://", "http://")):
                    url = text
                elif name in ("cached_file", "dst", "download_target", "storage_folder") and os.sep in text:
                    place = text
                elif name == "repo_id" and "/" in text:
                    url = url or f"https://huggingface.co/{text}"
        trace = trace.tb_next
    if not url:
        return ""
    return f"its weights are not there: fetch {url}" + (f" and put it at {place}" if place else "")


def _digest(model: Any) -> str:
    learned = [parameter for _, parameter in sorted(model.named_parameters()) if parameter.numel()]
    if not learned:
        return ""
    digest = hashlib.sha256()
    for parameter in learned:
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def run(model: str, items: Sequence[Images], size: int) -> list[float]:
    """A value for each item: its images uint8 (height, width, 3), all of one size, in the model's own order.

    At most `size` at a time, and half of that where memory does not suffice.
    """
    import torch

    def some(part: Sequence[Images]) -> list[float]:
        with torch.inference_mode():
            columns = [torch.stack([_tensor(i) for i in column]).to(_device) for column in zip(*part, strict=True)]
            return [float(value) for value in _models[model](*columns).reshape(len(part), -1)[:, 0]]

    def full(fault: RuntimeError) -> bool:
        return isinstance(fault, torch.OutOfMemoryError) or "not enough memory" in str(fault)

    return in_batches(some, items, size, full, torch.cuda.empty_cache)


def _tensor(image: npt.NDArray[np.uint8]) -> Any:
    import torch

    return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255.0


def in_batches(
    run: Callable[[Sequence[T]], list[V]],
    items: Sequence[T],
    size: int,
    full: Callable[[RuntimeError], bool],
    free: Callable[[], None] = lambda: None,
) -> list[V]:
    """`run` over batches of at most `size`; where memory is full the batch is halved, and one alone is given up."""
    values: list[V] = []
    while len(values) < len(items):
        part = items[len(values) : len(values) + size]
        try:
            values += run(part)
        except RuntimeError as fault:
            if not full(fault) or len(part) == 1:
                raise
            free()
            size = len(part) // 2
    return values


def file_digest(path: Path) -> str:
    """The start of the SHA-256 of a file of weights."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]
