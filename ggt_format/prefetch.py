"""Read batches ahead of the training loop, in a background thread."""

from __future__ import annotations

import itertools
import operator
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ggt_format.errors import ConfigError


def read_batches(pairs: Any, batches: Iterable[Sequence[int]], *, prefetch: int = 2) -> Iterator[list[Any]]:
    """Yield the items of each batch, and read the next batches in a background thread meanwhile.

    This hides the time of requests where a release is behind a URL. A DataLoader with workers reads ahead by itself::

        batches = ggt100k.ElasticBatchSampler(pairs, batch_size=8)
        for items in batches.count(ggt100k.read_batches(pairs, batches, prefetch=4)):
            ...  # a training step

    Batches come in their order, and have the items that `pairs.__getitems__` returns. Memory is bounded: at most
    `prefetch` batches are read, or being read, that were not yielded yet. An error in a batch is raised in the place
    of that batch. If the loop ends early, the batch that is being read is finished, and no further one is begun.

    Args:
        pairs: A `PairDataset` or a `Mixture`. Its transform runs in the background thread. Set its epoch before the
            loop begins.
        batches: Numbers of the pairs of each batch, such as an `ElasticBatchSampler`.
        prefetch: Number of batches to read ahead; 0 reads each batch when it is asked for.

    Raises:
        ConfigError: `prefetch` is not 0 or more. Raised by the call itself.
    """
    if not hasattr(prefetch, "__index__") or operator.index(prefetch) < 0:
        raise ConfigError(f"prefetch={prefetch!r}: must be a whole number, 0 or more.")
    if prefetch == 0:
        return map(pairs.__getitems__, batches)
    return _read_ahead(pairs, iter(batches), operator.index(prefetch))


def _read_ahead(pairs: Any, batches: Iterator[Sequence[int]], count: int) -> Iterator[list[Any]]:
    waiting: deque[Future[list[Any]]] = deque()
    # Leaving this block waits for the thread, so that nothing outlives the loop.
    with ThreadPoolExecutor(1, thread_name_prefix="ggt100k-prefetch") as executor:
        try:
            for batch in itertools.islice(batches, count):
                waiting.append(executor.submit(pairs.__getitems__, batch))
            while waiting:
                items = waiting.popleft().result()
                for batch in itertools.islice(batches, 1):
                    waiting.append(executor.submit(pairs.__getitems__, batch))
                yield items
                del items  # so that the loop alone decides how long they live
        finally:
            for future in waiting:
                future.cancel()
