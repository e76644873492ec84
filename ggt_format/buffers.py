"""Reuse the memory of images that nobody holds any more.

A fresh array of a megabyte costs a page fault for each 4 KB that is written to it: a quarter of the time of decoding a
whole image. A training loop drops each batch and asks for the next one of the same size, so that a few buffers serve
the whole run. A buffer comes back here when the last array that shows it is gone.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
SMALLEST, LARGEST = 1 << 16, 1 << 25  # bytes: smaller ones cost little, larger ones are rare
MOST_KEPT = 1 << 26  # bytes that a process keeps of buffers that are not in use
_Buffer = tuple[Pixels, tuple[int, bool]]  # memory, and its address as numpy's array interface states it
_FREE: dict[int, deque[_Buffer]] = {}  # by size


class _Lease:
    """A buffer in use: numpy's arrays hold it as their base, and it goes with the last of them."""

    __slots__ = ("__array_interface__", "_buffer")

    def __init__(self, buffer: _Buffer, size: int) -> None:
        self._buffer = buffer
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "shape": (size,),
            "typestr": "|u1",
            "data": buffer[1],
        }

    def __del__(
        self,
        free: dict[int, deque[_Buffer]] = _FREE,
        most: int = MOST_KEPT,
        make: type[deque[_Buffer]] = deque,
    ) -> None:
        # Neither globals nor builtins: both are gone before the last arrays when Python ends. No lock: this may run
        # in the middle of any other step, and a few bytes too many do no harm.
        size = kept = self._buffer[0].nbytes
        for each, buffers in free.copy().items():
            kept += each * buffers.__len__()
        if kept <= most:
            free.setdefault(size, make()).append(self._buffer)


def empty(size: int) -> Pixels:
    """Return an array of `size` bytes with any content: uint8, one axis."""
    if not SMALLEST <= size <= LARGEST:
        return np.empty(size, np.uint8)
    step = 1 << (size.bit_length() - 4)  # so that an eighth is wasted at most
    rounded = -(-size // step) * step
    try:
        buffer = _FREE[rounded].pop()
    except (KeyError, IndexError):
        memory = np.empty(rounded, np.uint8)
        buffer = memory, memory.__array_interface__["data"]
    return np.asarray(_Lease(buffer, size))


def empty_image(height: int, width: int) -> Pixels:
    """Return an image with any content: uint8, height x width x 3."""
    return empty(3 * height * width).reshape(height, width, 3)
