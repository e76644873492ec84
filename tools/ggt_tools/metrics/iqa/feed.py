"""Batches that threads load ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")
BATCHES_AHEAD = 2  # loaded or on their way to the device, besides the batch in use: one is copied, one is decoded


def feed(
    batches: Iterable[Sequence[Callable[[], T]]],
    stage: Callable[[list[T]], U],
    *,
    threads: int,
    ahead: int = BATCHES_AHEAD,
) -> Iterator[tuple[list[T], Future[U]]]:
    """Yield the items of each batch, in order, and the Future of what `stage` makes of them.

    Items are loaded and staged while the caller works on an earlier batch. At most `ahead` batches are in memory
    besides the one that was yielded last.

    Args:
        batches: For each item of each batch, the function that loads it. They release the GIL for most of their time,
            as the decoder of PNG does.
        stage: Called with the items of a batch, in one thread, such as to copy them to a device.
        threads: Number of threads that load items.
        ahead: Number of batches to load ahead.

    Raises:
        Exception: What loading an item raises, when its batch is due. What `stage` raises is in its Future.
    """
    decoders = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    stager = ThreadPoolExecutor(1, thread_name_prefix="stage")
    waiting = iter(batches)
    queue: deque[tuple[list[Future[T]], Future[U]]] = deque()

    def add() -> None:
        loads = next(waiting, None)
        if loads is not None:
            items = [decoders.submit(load) for load in loads]
            queue.append((items, stager.submit(lambda: stage([item.result() for item in items]))))

    try:
        for _ in range(ahead):
            add()
        while True:
            add()  # before the batch is given away, so that the next ones are loaded while the caller works on it
            if not queue:
                return
            items, staged = queue.popleft()
            yield [item.result() for item in items], staged
    finally:
        decoders.shutdown(cancel_futures=True)
        stager.shutdown(cancel_futures=True)
