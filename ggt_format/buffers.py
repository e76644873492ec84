"""Reuse the memory of images that are no longer in use.

A fresh array of a megabyte costs a page fault for each 4 KB that is written to it: a quarter of the time of decoding a
whole image. A training loop drops each batch and asks for the next one of the same size, so that a few buffers serve
the whole run. A buffer returns to the free list when the last array that uses its memory is deleted.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
MIN_BYTES, MAX_BYTES = 1 << 16, 1 << 25  # sizes of reused buffers: smaller ones cost little, larger ones are rare
MAX_FREE_BYTES = 1 << 26  # a process keeps at most so many bytes of buffers that are not in use
_Buffer = tuple[Pixels, tuple[int, bool]]  # memory, and its address as numpy's array interface states it
_FREE: dict[int, deque[_Buffer]] = {}  # free buffers by their size in bytes


class _Lease:
    """A buffer in use. Numpy arrays keep it as their base; it is deleted with the last of them."""

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
        max_free_bytes: int = MAX_FREE_BYTES,
        make: type[deque[_Buffer]] = deque,
    ) -> None:
        # This uses neither globals nor builtins, because Python may delete both before the last arrays when it exits.
        # It takes no lock, because it may run in the middle of any other step; a few bytes too many do no harm.
        size = free_bytes = self._buffer[0].nbytes
        for buffer_size, buffers in free.copy().items():
            free_bytes += buffer_size * buffers.__len__()
        if free_bytes <= max_free_bytes:
            free.setdefault(size, make()).append(self._buffer)


def empty(size: int) -> Pixels:
    """Return an uninitialised array of `size` bytes: uint8, one axis."""
    if not MIN_BYTES <= size <= MAX_BYTES:
        return np.empty(size, np.uint8)
    step = 1 << (size.bit_length() - 4)  # so that at most an eighth is wasted
    rounded = -(-size // step) * step
    try:
        buffer = _FREE[rounded].pop()
    except (KeyError, IndexError):
        memory = np.empty(rounded, np.uint8)
        buffer = memory, memory.__array_interface__["data"]
    return np.asarray(_Lease(buffer, size))


def empty_image(height: int, width: int) -> Pixels:
    """Return an uninitialised image: uint8, height x width x 3."""
    return empty(3 * height * width).reshape(height, width, 3)
