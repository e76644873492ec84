"""`PairStream`: the pairs of a split one after the other, for PyTorch's DataLoader, without `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from ggt_format.errors import ConfigError
from ggt_format.pairs import PairDataset
from ggt_format.prefetch import read_batches

GROUP_PAIRS = 16  # pairs whose bytes are requested at the same time


class PairStream(IterableDataset[Any]):
    """An iterable dataset that divides the pairs of a `PairDataset` among processes and workers.

        stream = PairStream(PairDataset("hf://datasets/ORG/ggt-100k", crop=256))
        loader = DataLoader(stream, batch_size=8, num_workers=4)

    In an epoch, all processes and workers together yield each pair once. The order depends only on the seed of the
    `PairDataset` and on the epoch. Pairs are read in groups, so that the requests of a group run at the
    same time where the release is behind a URL.

    Args:
        pairs: The pairs, with their windows and their transform.
        shuffle: Draw another order in each epoch.
        rank: Number of this process in a distributed training.
        world_size: Number of these processes.
        is_even: Give each process the same number of pairs; up to `world_size` - 1 pairs are then left out of an epoch.
        prefetch: Number of groups of 16 pairs that each worker reads ahead, in a background thread; None for 1 where
            the release is behind a URL, and 0 for a local folder.

    Raises:
        ConfigError: `rank` is not from 0 to `world_size` - 1, or `prefetch` is not 0 or more.
    """

    def __init__(
        self,
        pairs: PairDataset,
        *,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        is_even: bool = True,
        prefetch: int | None = None,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ConfigError(f"rank={rank}: must be from 0 to {world_size - 1}, because world_size is {world_size}.")
        self.pairs, self.shuffle = pairs, shuffle
        self.rank, self.world_size, self.is_even = rank, world_size, is_even
        self.prefetch = int("://" in pairs.root.url) if prefetch is None else prefetch
        read_batches(pairs, (), prefetch=self.prefetch)  # a wrong number raises here, not in a worker

    def set_epoch(self, epoch: int) -> None:
        """Draw the order and the windows of another epoch from now on, also in workers that have already started."""
        self.pairs.set_epoch(epoch)

    def __len__(self) -> int:
        """Return the number of pairs that this process gets in an epoch."""
        return len(self._order())

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        worker, worker_count = (0, 1) if info is None else (info.id, info.num_workers)
        order = self._order()
        groups = [order[start : start + GROUP_PAIRS] for start in range(0, len(order), GROUP_PAIRS)]
        own_groups = [group.tolist() for group in groups[worker::worker_count]]
        for items in read_batches(self.pairs, own_groups, prefetch=self.prefetch):
            yield from items

    def _order(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the numbers of the pairs of this process, in the order of this epoch."""
        numbers = np.arange(len(self.pairs))
        if self.shuffle:
            state = self.pairs.state_dict()
            generator = np.random.default_rng([state["seed"] & ((1 << 64) - 1), state["epoch"]])
            numbers = generator.permutation(numbers)
        count = len(numbers) // self.world_size if self.is_even else len(numbers)
        return numbers[self.rank :: self.world_size][:count]
