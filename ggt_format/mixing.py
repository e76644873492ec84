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
from ggt_format.order import shuffled
from ggt_format.pairs import PairDataset


class Mixture:
    """Several datasets as one, each with its share of every epoch: a map-style dataset, as `PairDataset` is.

        rain, snow = (ggt100k.PairDataset(where={"degradation": name}, crop=256) for name in ("rain", "snow"))
        pairs = ggt100k.mix({rain: 2, snow: 1})  # two of three items are rain, however many pairs there are of each

    An item is the item of its dataset. Which pair an item is depends on (seed, epoch, number) alone, and so does its
    window: neither the number of workers nor that of ranks counts. Each dataset is read pass by pass: a pair comes
    again when every pair of its dataset has come as often, also across epochs, and with another window.

    Args:
        weights: the datasets, and how much of the mixture each one is. Only the ratios count.
        size: items of an epoch; None for as many as the datasets have pairs together. `counts` says how many of them
            are of each dataset: its share to the nearest item, and one at least.
        seed: a 64-bit integer that the order within each pass is drawn from.

    Raises:
        ConfigError: there is no dataset, or a weight, the size or the seed is not such a number.
    """

    def __init__(self, weights: Mapping[PairDataset, float], *, size: int | None = None, seed: int = 0) -> None:
        if not weights:
            raise ConfigError("mix() needs a dict from dataset to weight with at least one dataset")
        for dataset, weight in weights.items():
            if not isinstance(dataset, PairDataset):
                raise ConfigError(f"mix(): {dataset!r} is no PairDataset; give a dict from dataset to weight")
            if not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight <= 0:
                raise ConfigError(f"mix(): the weight {weight!r} is no positive number")
        if size is not None and (not hasattr(size, "__index__") or operator.index(size) < 1):
            raise ConfigError(f"mix(): size={size!r}: an epoch has 1 item or more")
        if not hasattr(seed, "__index__") or not -(1 << 63) <= operator.index(seed) < 1 << 63:
            raise ConfigError(f"mix(): seed={seed!r} is no 64-bit integer")
        self.datasets, self.weights = list(weights), [float(weight) for weight in weights.values()]
        self.seed = operator.index(seed)
        self._size = sum(map(len, self.datasets)) if size is None else operator.index(size)
        self.counts = _divide(self._size, self.weights)
        self._starts = [0, *itertools.accumulate(self.counts)]
        self._epoch = SharedEpoch()

    def __len__(self) -> int:
        return self._size

    def set_epoch(self, epoch: int) -> None:
        """Take the items of another epoch from here on, in this process and in the workers it has started."""
        if epoch < 0:
            raise ConfigError(f"set_epoch({epoch}): the first epoch of a mixture is 0")
        self._epoch.set(epoch)

    def state_dict(self) -> dict[str, int]:
        """Return what a checkpoint must keep besides the sampler's state. Load it before workers start."""
        return {"epoch": self._epoch.get(), "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.seed = state["seed"]
        self.set_epoch(state["epoch"])

    def pick(self, number: int) -> tuple[int, int, int]:
        """Return what item `number` of this epoch is: the number of its dataset, of its pair there, and of the pass."""
        if not -self._size <= number < self._size:
            raise IndexError(f"{number}: there are {self._size} items")
        number %= self._size
        dataset = bisect.bisect_right(self._starts, number) - 1
        length = len(self.datasets[dataset])
        taken = self._epoch.get() * self.counts[dataset] + number - self._starts[dataset]  # of it, over all epochs
        one_pass, place = divmod(taken, length)
        return dataset, shuffled(place, length, self.seed, dataset, one_pass), one_pass

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return self.__getitems__(list(range(*number.indices(len(self)))))
        dataset, pair, one_pass = self.pick(operator.index(number))
        (item,) = self.datasets[dataset].read([pair], [one_pass])
        if isinstance(item, ShardError):
            raise item
        return item

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return the items of a batch, in order: those of one dataset are fetched and decoded together."""
        picks = [self.pick(operator.index(number)) for number in numbers]
        items: list[Any] = [None] * len(picks)
        for dataset in sorted({pick[0] for pick in picks}):
            places = [place for place, pick in enumerate(picks) if pick[0] == dataset]
            read = self.datasets[dataset].read(
                [picks[place][1] for place in places], [picks[place][2] for place in places]
            )
            for place, item in zip(places, read, strict=True):
                items[place] = item
        good = [item for item in items if not isinstance(item, ShardError)]
        if items and not good:
            raise ShardError(f"every pair of a batch is damaged, the last: {items[-1]}")
        return good

    def __iter__(self) -> Iterator[Any]:
        for number in range(len(self)):
            dataset, pair, one_pass = self.pick(number)
            (item,) = self.datasets[dataset].read([pair], [one_pass])
            if not isinstance(item, ShardError):
                yield item


def mix(weights: Mapping[PairDataset, float], *, size: int | None = None, seed: int = 0) -> Mixture:
    """Return several datasets as one, each with its share of every epoch; see `Mixture`."""
    return Mixture(weights, size=size, seed=seed)


def _divide(size: int, weights: Sequence[float]) -> list[int]:
    """Divide `size` items by weight: each share to the nearest item (largest remainder), and one at least."""
    if size < len(weights):
        raise ConfigError(f"mix(): size={size} is less than an item for each of the {len(weights)} datasets")
    exact = [size * weight / math.fsum(weights) for weight in weights]
    counts = [max(1, int(share)) for share in exact]
    order = sorted(range(len(weights)), key=lambda number: (counts[number] - exact[number], number))
    for number in itertools.islice(itertools.cycle(order), max(0, size - sum(counts))):
        counts[number] += 1
    while sum(counts) > size:
        counts[counts.index(max(counts))] -= 1
    return counts
