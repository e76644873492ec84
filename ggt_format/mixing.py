"""Mix several datasets by weight: `mix({rain: 2, snow: 1})`."""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ggt_format.epoch import SharedEpoch
from ggt_format.errors import ConfigError, ShardError
from ggt_format.order import permute
from ggt_format.pairs import PairDataset


class Mixture:
    """Several datasets as one, each with its share of every epoch: a map-style dataset like `PairDataset`.

        rain, snow = (ggt100k.PairDataset(where={"degradation": name}, crop=256) for name in ("rain", "snow"))
        pairs = ggt100k.mix({rain: 2, snow: 1})  # two of three items are rain, whatever the sizes of the datasets

    An item is the item of its dataset. The pair and its window depend on (seed, epoch, number) alone, not on the
    number of workers or ranks. Each dataset is read pass by pass: a pair is repeated only after every other pair of
    its dataset was returned as often, also across epochs. Each time, it has another window.

    Args:
        weights: The weight of each dataset. Only the ratios matter.
        size: Items of an epoch; None for the sum of the pairs of all datasets.
        seed: A signed 64-bit integer that the order within each pass is drawn from.

    Attributes:
        counts: Items of each dataset in an epoch: its share, rounded to a whole number, and at least 1.

    Raises:
        ConfigError: There is no dataset, or a weight, the size or the seed is out of range.
    """

    def __init__(self, weights: Mapping[PairDataset, float], *, size: int | None = None, seed: int = 0) -> None:
        if not weights:
            raise ConfigError("mix(): weights is empty. Give a dict from dataset to weight.")
        for dataset, weight in weights.items():
            if not isinstance(dataset, PairDataset):
                raise ConfigError(f"mix(): {dataset!r} is not a PairDataset. Give a dict from dataset to weight.")
            if not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight <= 0:
                raise ConfigError(f"mix(): the weight {weight!r} must be a positive number.")
        if size is not None and (not hasattr(size, "__index__") or operator.index(size) < 1):
            raise ConfigError(f"mix(): size={size!r}: must be a whole number, 1 or more.")
        if not hasattr(seed, "__index__") or not -(1 << 63) <= operator.index(seed) < 1 << 63:
            raise ConfigError(f"mix(): seed={seed!r}: must be a signed 64-bit integer, from -2**63 to 2**63 - 1.")
        self.datasets, self.weights = list(weights), [float(weight) for weight in weights.values()]
        self.seed = operator.index(seed)
        self._size = sum(map(len, self.datasets)) if size is None else operator.index(size)
        self.counts = _divide(self._size, self.weights)
        self._starts = [0, *itertools.accumulate(self.counts)]
        self._epoch = SharedEpoch()

    def __len__(self) -> int:
        return self._size

    def set_epoch(self, epoch: int) -> None:
        """Return the items of another epoch from now on, in this process and in its workers."""
        if epoch < 0:
            raise ConfigError(f"set_epoch({epoch}): must be 0 or more, because the first epoch of a mixture is 0.")
        self._epoch.set(epoch)

    def state_dict(self) -> dict[str, int]:
        """Return the state for a checkpoint, to be saved beside the sampler's. Load it before workers start."""
        return {"epoch": self._epoch.get(), "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore the seed and the epoch that `state_dict` returned."""
        self.seed = state["seed"]
        self.set_epoch(state["epoch"])

    def pick(self, number: int) -> tuple[int, int, int]:
        """Return the numbers of the dataset, of its pair, and of the pass behind item `number` of this epoch."""
        if not -self._size <= number < self._size:
            raise IndexError(f"item {number} does not exist: the mixture has {self._size} items")
        number %= self._size
        dataset = bisect.bisect_right(self._starts, number) - 1
        length = len(self.datasets[dataset])
        offset = (
            self._epoch.get() * self.counts[dataset] + number - self._starts[dataset]
        )  # items of this dataset before, over all epochs
        one_pass, position = divmod(offset, length)
        return dataset, permute(position, length, self.seed, dataset, one_pass), one_pass

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return self.__getitems__(list(range(*number.indices(len(self)))))
        dataset, pair, one_pass = self.pick(operator.index(number))
        (item,) = self.datasets[dataset].read([pair], [one_pass])
        if isinstance(item, ShardError):
            raise item
        return item

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return the items of a batch, in order. Items of the same dataset are fetched and decoded together."""
        picks = [self.pick(operator.index(number)) for number in numbers]
        items: list[Any] = [None] * len(picks)
        for dataset in sorted({pick[0] for pick in picks}):
            positions = [position for position, pick in enumerate(picks) if pick[0] == dataset]
            read_items = self.datasets[dataset].read(
                [picks[position][1] for position in positions], [picks[position][2] for position in positions]
            )
            for position, item in zip(positions, read_items, strict=True):
                items[position] = item
        good = [item for item in items if not isinstance(item, ShardError)]
        if items and not good:
            raise ShardError(f"every pair of a batch is damaged. The last one: {items[-1]}")
        return good

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self)):
            dataset, pair, one_pass = self.pick(number)
            (item,) = self.datasets[dataset].read([pair], [one_pass])
            if not isinstance(item, ShardError):
                yield item


def mix(weights: Mapping[PairDataset, float], *, size: int | None = None, seed: int = 0) -> Mixture:
    """Mix several datasets by weight; see `Mixture` for the arguments and errors."""
    return Mixture(weights, size=size, seed=seed)


def _divide(size: int, weights: Sequence[float]) -> list[int]:
    """Divide `size` items by weight with the method of the largest remainder; each share is at least 1."""
    if size < len(weights):
        raise ConfigError(f"mix(): size={size}: must be at least 1 for each of the {len(weights)} datasets.")
    exact = [size * weight / math.fsum(weights) for weight in weights]
    counts = [max(1, int(share)) for share in exact]
    order = sorted(range(len(weights)), key=lambda number: (counts[number] - exact[number], number))
    for number in itertools.islice(itertools.cycle(order), max(0, size - sum(counts))):
        counts[number] += 1
    while sum(counts) > size:
        counts[counts.index(max(counts))] -= 1
    return counts
