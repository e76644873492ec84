"""Batches that continue in the middle of an epoch with another number of workers, ranks or pairs in a batch."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from ggt_format.errors import ConfigError
from ggt_format.order import permute

Batch = TypeVar("Batch")


class ElasticBatchSampler:
    """A batch sampler that divides each epoch among ranks, and resumes at any batch with another number of ranks.

    For example::

        batches = ggt100k.ElasticBatchSampler(pairs, batch_size=8, rank=rank, ranks=world_size)
        loader = DataLoader(pairs, batch_sampler=batches, num_workers=4)
        if resumed:
            batches.load_state_dict(checkpoint["batches"])  # saved by any rank, of any number of ranks
        for epoch in range(batches.epoch, 10):
            batches.set_epoch(epoch)  # also sets the epoch of the pairs
            for batch in batches.count(loader):
                ...  # a training step, and from time to time: save(batches.state_dict())

    The order of an epoch depends on (seed, epoch) alone. Step by step, all ranks together take the next
    batch_size * ranks numbers of it, so that one number describes what was taken. No pair is lost or repeated when
    the number of ranks or workers or the batch size changes between two steps.

    Args:
        pairs: A `PairDataset`, a `Mixture`, or any dataset with a length. Its `set_epoch` is called if it has one.
        batch_size: Number of pairs in a batch of one rank.
        rank: Number of this process, from 0.
        ranks: Number of processes.
        shuffle: Draw another order for each epoch; False for the order of the pairs.
        drop_last: Leave out the last step of an epoch if it is not full. Otherwise its pairs are divided among the
            ranks, and some may get one pair less, or no batch.
        seed: A signed 64-bit integer that the order is drawn from; it must be the same on every rank.

    Raises:
        ConfigError: A number is out of range.
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
            values = f"batch_size={batch_size}, rank={rank}, ranks={ranks}"
            raise ConfigError(f"{values}: batch_size must be 1 or more, and rank from 0 to ranks - 1.")
        if not -(1 << 63) <= operator.index(seed) < 1 << 63:
            raise ConfigError(f"seed={seed!r}: must be a signed 64-bit integer, from -2**63 to 2**63 - 1.")
        self.pairs, self.batch_size, self.rank, self.ranks = pairs, batch_size, rank, ranks
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.epoch, self._done = 0, 0

    @property
    def _step(self) -> int:
        """Number of pairs that all ranks together take in a step."""
        return self.batch_size * self.ranks

    def __len__(self) -> int:
        """Return the number of batches that this rank has left in the epoch."""
        left = len(self.pairs) - self._done
        return max(0, left // self._step if self.drop_last else -(-(left - self.rank) // self._step))

    def __iter__(self) -> Iterator[list[int]]:
        size, begin = len(self.pairs), self._done
        for start in range(begin, begin + len(self) * self._step, self._step):
            positions = range(start + self.rank, min(start + self._step, size), self.ranks)
            yield [
                permute(position, size, self.seed, self.epoch) if self.shuffle else position for position in positions
            ]

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch. Do nothing if it is the current epoch, which continues at its next batch."""
        if epoch != self.epoch:
            self.epoch, self._done = operator.index(epoch), 0
        if hasattr(self.pairs, "set_epoch"):
            self.pairs.set_epoch(epoch)

    def count(self, loader: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a loader, and count those that were yielded.

        A loader's workers take batches from this sampler before the training loop gets them. Only the batches that the
        loop got are counted.
        """
        for batch in loader:
            self._done = min(self._done + self._step, len(self.pairs))
            yield batch
        self._done = len(self.pairs)  # also if the last step has no batch for this rank

    def state_dict(self) -> dict[str, int]:
        """Return the state for a checkpoint. It is the same on every rank after the same number of steps."""
        return {"epoch": self.epoch, "seed": self.seed, "done": self._done, "size": len(self.pairs)}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue where `state_dict` was called. Call this before the loader is iterated.

        Raises:
            ConfigError: The checkpoint has another number of pairs.
        """
        if state["size"] != len(self.pairs):
            problem = f"the checkpoint has {state['size']} pairs, and the dataset has {len(self.pairs)}"
            raise ConfigError(f"{problem}. Open the same dataset with the same conditions.")
        self.seed = state["seed"]
        self.set_epoch(state["epoch"])
        self._done = state["done"]
