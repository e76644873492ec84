"""Batches that continue in the middle of an epoch with another number of workers, ranks or pairs in a batch."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ggt_format.errors import ConfigError
from ggt_format.order import shuffled

Batch = TypeVar("Batch")


class ElasticBatchSampler:
    """Divides each epoch among ranks, and continues at any batch with another number of them: a batch sampler.

    For example::

        batches = ggt100k.ElasticBatchSampler(pairs, batch_size=8, rank=rank, ranks=world_size)
        loader = DataLoader(pairs, batch_sampler=batches, num_workers=4)
        if resumed:
            batches.load_state_dict(checkpoint["batches"])  # saved by any rank, of any number of ranks
        for epoch in range(batches.epoch, 10):
            batches.set_epoch(epoch)  # of the pairs too
            for batch in batches.count(loader):
                ...  # a train step; then, now and then: save(batches.state_dict())

    The order of an epoch depends on (seed, epoch) alone. Step by step, all ranks together take the next
    batch_size * ranks numbers of it, so that one number says what was taken. Nothing is lost or repeated when ranks,
    workers or the batch size change between two steps.

    Args:
        pairs: a `PairDataset`, a `Mixture`, or any dataset with a length. Its `set_epoch` is called where it has one.
        batch_size: pairs of a batch of one rank.
        rank, ranks: which process this is, and of how many.
        shuffle: False takes the pairs in their order.
        drop_last: leave out the last step of an epoch where it is not full. Otherwise its pairs are divided among the
            ranks, and some may get one pair less, or no batch.
        seed: a 64-bit integer that the order is drawn from; the same on every rank.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        pairs: Any,
        batch_size: int,
        *,
        rank: int = 0,
        ranks: int = 1,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
    ) -> None:
        if operator.index(batch_size) < 1 or operator.index(ranks) < 1 or not 0 <= operator.index(rank) < ranks:
            said = f"batch_size={batch_size}, rank={rank}, ranks={ranks}"
            raise ConfigError(f"{said}: a batch has 1 pair or more, and ranks count from 0 to ranks - 1")
        if not -(1 << 63) <= operator.index(seed) < 1 << 63:
            raise ConfigError(f"seed={seed!r} is no 64-bit integer")
        self.pairs, self.batch_size, self.rank, self.ranks = pairs, batch_size, rank, ranks
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.epoch, self._done = 0, 0

    @property
    def _step(self) -> int:
        """Pairs that all ranks together take at once."""
        return self.batch_size * self.ranks

    def __len__(self) -> int:
        """Return the number of batches that are left of the epoch for this rank."""
        left = len(self.pairs) - self._done
        return max(0, left // self._step if self.drop_last else -(-(left - self.rank) // self._step))

    def __iter__(self) -> Iterator[list[int]]:
        size, begin = len(self.pairs), self._done
        for start in range(begin, begin + len(self) * self._step, self._step):
            places = range(start + self.rank, min(start + self._step, size), self.ranks)
            yield [shuffled(place, size, self.seed, self.epoch) if self.shuffle else place for place in places]

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, unless it is the one that has begun, which continues where it is."""
        if epoch != self.epoch:
            self.epoch, self._done = operator.index(epoch), 0
        if hasattr(self.pairs, "set_epoch"):
            self.pairs.set_epoch(epoch)

    def count(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a loader, and count those that have come out of it.

        A loader's workers take batches from this sampler before the training loop gets them; only the latter count.
        """
        for batch in loader:
            self._done = min(self._done + self._step, len(self.pairs))
            yield batch
        self._done = len(self.pairs)  # also where the last step has no batch for this rank

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint must keep: it is the same on every rank after the same number of steps."""
        return {"epoch": self.epoch, "seed": self.seed, "done": self._done, "size": len(self.pairs)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue where `state_dict` was called, before the loader is iterated. Raises ConfigError for other pairs."""
        if state["size"] != len(self.pairs):
            said = f"the checkpoint is of {state['size']} pairs, and these are {len(self.pairs)}"
            raise ConfigError(f"{said}; open the same dataset with the same selection")
        self.seed = state["seed"]
        self.set_epoch(state["epoch"])
        self._done = state["done"]
