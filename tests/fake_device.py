"""A device without models, for tests: its values are the first byte of images, and some images make it fail."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ggt_format.schema import Image
from ggt_tools.metrics.iqa import IqaConfig

# First bytes of images with which it fails
KILLS, NAN_IN_BATCHES, NAN, HUGE, LOSES_DEVICE, FAILS, NAN_IN_HALF = range(240, 247)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeGpu:
    """Makes fake devices. Two that are equal make the same, also in another process.

    Attributes:
        log: File to which each load and each call of `measure` appends a line.
        memory: Number of items that `measure` can take, at 64 px.
        staging_memory: Number of images that `stage` can take.
        has_half: Whether they have half precision.
        half_error: What half precision adds to a value.
        is_broken: Whether each measurement ends its process.
    """

    log: str = ""
    memory: int = 1000
    staging_memory: int = 1000
    has_half: bool = False
    half_error: float = 0.0
    is_broken: bool = False

    def __call__(self, name: str, threads: int) -> FakeDevice:
        return FakeDevice(self)


class FakeDevice:
    """Measures the first byte of the first image of each item, less that of the second."""

    def __init__(self, about: FakeGpu) -> None:
        self._about, self._is_lost = about, False

    @property
    def has_half(self) -> bool:
        return self._about.has_half

    def load(self, model: str, options: dict[str, Any]) -> str:
        if self._about.log:
            _append(self._about.log, f"load {model} {os.getpid()}")
        return ""

    def stage(self, images: Sequence[Image]) -> Any:
        if len(images) > self._about.staging_memory:
            raise RuntimeError("CUDA out of memory (staging)")
        return np.stack(images)

    def measure(self, model: str, columns: Sequence[Any], *, half: bool = False) -> list[float]:
        images = columns[0]
        firsts = [int(image[0, 0, 0]) for image in images]
        if self._about.log:
            gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
            _append(self._about.log, f"gpu{gpu} {model} {len(images)}{' half' if half else ''}")
        if self._about.is_broken or KILLS in firsts:
            os._exit(9)
        if self._is_lost or LOSES_DEVICE in firsts:
            self._is_lost = True
            raise RuntimeError("CUDA error: device-side assert triggered")
        if HUGE in firsts or len(images) * images.shape[1] > self._about.memory * 64:
            raise RuntimeError("CUDA out of memory")
        if FAILS in firsts:
            raise ValueError("too few patches")
        if NAN_IN_BATCHES in firsts and len(images) > 1:
            return [math.nan] * len(images)
        seconds = [int(image[0, 0, 0]) for image in columns[1]] if len(columns) > 1 else [0] * len(images)
        return [
            math.nan
            if first == NAN or (first == NAN_IN_HALF and half)
            else float(first - second) + (self._about.half_error if half else 0.0)
            for first, second in zip(firsts, seconds, strict=True)
        ]

    def is_out_of_memory(self, fault: Exception) -> bool:
        return "out of memory" in str(fault)

    def is_lost(self, fault: Exception) -> bool:
        return "CUDA error" in str(fault)

    def free_memory(self) -> None:
        pass


def _append(file: str, line: str) -> None:
    with Path(file).open("a") as stream:
        stream.write(line + "\n")


def fake_gpu(**options: Any) -> IqaConfig:
    """Return a config whose models run on a fake device with these options."""
    return IqaConfig(device="cuda", make_device=FakeGpu(**options))


def pair(gt: int, lq: int = 0, side: int = 64) -> tuple[Image, Image]:
    """Return lq and gt, each of one value."""
    return np.full((side, side, 3), lq, np.uint8), np.full((side, side, 3), gt, np.uint8)
