"""The device on which models of pyiqa run: a protocol, and torch's devices."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ggt_format.schema import Image

LOST = ("CUDA error", "CUDNN_STATUS", "CUBLAS_STATUS", "cuBLAS error", "cuDNN error")


class DeviceLost(Exception):
    """A device failed so that no later call in this process can succeed: the process has to be replaced."""


class Device(Protocol):
    """Holds models and measures batches of images. Each method is called in the process that made the device."""

    @property
    def has_half(self) -> bool:
        """Whether it computes faster in half precision."""

    def load(self, model: str, options: dict[str, Any]) -> str:
        """Make a model ready.

        Returns:
            The start of the SHA-256 of its weights; "" where it has none.

        Raises:
            Exception: Whatever stops the library of the model.
        """

    def stage(self, images: Sequence[Image]) -> Any:
        """Copy images of one size, uint8 (height, width, 3), to the device; return before the copy has ended.

        Called in another thread than `measure`.

        Returns:
            The images on the device. A slice of it is part of the images.

        Raises:
            RuntimeError: The memory of the device is full, or the device failed.
        """

    def measure(self, model: str, columns: Sequence[Any], *, half: bool = False) -> list[float]:
        """Return a model's value for each item.

        Args:
            model: Name of a loaded model.
            columns: Staged images, one for each input of the model.
            half: Compute in half precision where the model allows it.

        Raises:
            RuntimeError: The memory of the device is full, or the device failed.
        """

    def is_out_of_memory(self, fault: Exception) -> bool:
        """Return whether an error means that the memory of the device is full."""

    def is_lost(self, fault: Exception) -> bool:
        """Return whether no later call in this process can succeed after an error."""

    def free_memory(self) -> None:
        """Give memory back that is not in use."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """Images on a device: uint8 (count, height, width, 3), and the end of their copy."""

    images: Any
    copied: Any = None  # an event of CUDA

    def __getitem__(self, part: slice) -> _Staged:
        return _Staged(self.images[part], self.copied)


class TorchDevice:
    """A device of torch: cpu, cuda, mps.

    On a GPU the images lie in pinned memory and are copied by a stream of their own. Products are computed in float32
    and not in TF32, so that values agree with those of a CPU.
    """

    def __init__(self, name: str, threads: int) -> None:
        """Prepare the device.

        Args:
            name: As torch names it, such as "cuda" or "cuda:1".
            threads: Number of threads in which torch computes on a CPU.
        """
        import torch

        torch.set_num_threads(threads)
        self._name, self._models = name, dict[str, Any]()
        self._stream: Any = None
        if self.has_half:
            torch.backends.cudnn.allow_tf32 = False
            torch.set_float32_matmul_precision("highest")
            make_stream: Any = torch.cuda.Stream  # has no types
            self._stream = make_stream(name)

    @property
    def has_half(self) -> bool:
        """Whether it is a GPU of CUDA."""
        return self._name.startswith("cuda")

    def load(self, model: str, options: dict[str, Any]) -> str:
        """Make a model of pyiqa ready; see Device."""
        import pyiqa

        return self.add(model, pyiqa.create_metric(model, device=self._name, **options))

    def add(self, model: str, network: Any) -> str:
        """Take a loaded network for a model; return as load() does."""
        self._models[model] = network
        return _digest(network)

    def stage(self, images: Sequence[Image]) -> _Staged:
        """Copy images to the device; see Device. Pinned memory that is free again is used again by torch."""
        import torch

        height, width, channels = images[0].shape
        host = torch.empty((len(images), height, width, channels), dtype=torch.uint8, pin_memory=self.has_half)
        for row, image in zip(host, images, strict=True):
            row.numpy()[...] = image
        if self._stream is None:
            return _Staged(host.to(self._name))
        with torch.cuda.stream(self._stream):
            return _Staged(host.to(self._name, non_blocking=True), self._stream.record_event())

    def measure(self, model: str, columns: Sequence[_Staged], *, half: bool = False) -> list[float]:
        """Return a model's values; see Device."""
        import torch

        kind = self._name.partition(":")[0]
        with torch.inference_mode(), torch.autocast(kind, torch.float16, enabled=half):
            inputs = [self._as_floats(column) for column in columns]
            values = self._models[model](*inputs).float().reshape(len(inputs[0]), -1)[:, 0]
            return [float(value) for value in values.tolist()]

    def _as_floats(self, column: _Staged) -> Any:
        import torch

        images = column.images
        if column.copied is not None:
            torch.cuda.current_stream(self._name).wait_event(column.copied)
            images.record_stream(torch.cuda.current_stream(self._name))
        return images.permute(0, 3, 1, 2).contiguous().float() / 255.0

    def is_out_of_memory(self, fault: Exception) -> bool:
        """Return whether memory is full, of the device or of this machine."""
        import torch

        text = str(fault).lower()
        return isinstance(fault, torch.OutOfMemoryError) or "out of memory" in text or "not enough memory" in text

    def is_lost(self, fault: Exception) -> bool:
        """Return whether CUDA's context in this process is broken."""
        return not self.is_out_of_memory(fault) and any(text in str(fault) for text in LOST)

    def free_memory(self) -> None:
        """Give back what torch's allocator keeps."""
        import torch

        torch.cuda.empty_cache()


def _digest(model: Any) -> str:
    learned = [parameter for _, parameter in sorted(model.named_parameters()) if parameter.numel()]
    if not learned:
        return ""
    digest = hashlib.sha256()
    for parameter in learned:
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]
