"""Batches that fit into the memory of a device."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


class Batches:
    """Apply functions to items in batches that fit into the memory of a device.

    If memory is full, the batch is halved, and the smaller size is used for the same key from then on, so that the
    device fails only once. A batch that gives NaN is repeated item by item, because a single item may cause it.

    Args:
        is_out_of_memory: Whether an error means that memory is full.
        free_memory: Frees memory that is not in use.
    """

    def __init__(self, is_out_of_memory: Callable[[Exception], bool], free_memory: Callable[[], None]) -> None:
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
            measured: list[float] | None = None
            try:
                measured = measure(part)
            except RuntimeError as fault:
                if not self._is_out_of_memory(fault) or len(part) == 1:
                    raise
            if measured is None:  # after the except block: until it ends, its traceback keeps the memory in use
                self._free_memory()
                self._fitting[key] = len(part) // 2
                continue
            if len(part) > 1 and any(math.isnan(value) for value in measured):
                measured = [measure([item])[0] for item in part]
            values += measured
        return values
