"""An epoch in batches: each pair exactly once, for any change of ranks, workers and batch size."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ggt100k
from ggt_format.order import permute
from ggt_format.sampling import ElasticBatchSampler

from .making import make_dataset


@given(st.integers(1, 400), st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_shuffle_is_a_permutation(count: int, keys: list[int]) -> None:
    assert sorted(permute(number, count, *keys) for number in range(count)) == list(range(count))


def test_a_shuffle_depends_on_its_keys_and_spreads_the_numbers() -> None:
    orders = [[permute(number, 1000, *keys) for number in range(1000)] for keys in ((0, 0), (0, 1), (1, 0))]
    assert all(one != other for one, other in itertools.combinations(orders, 2))
    for order in orders:
        assert sum(abs(a - b) == 1 for a, b in itertools.pairwise(order)) < 20
        assert 450 < sum(order[:500]) / 500 < 550


def test_any_entry_of_a_large_shuffle_is_computed_directly() -> None:
    assert len({permute(number, 10**12, 5) for number in range(10**12 - 100, 10**12)}) == 100


class Loader:
    """Iterates a batch sampler some batches ahead of the training loop, as workers do."""

    def __init__(self, batches: ElasticBatchSampler, ahead: int) -> None:
        self.batches, self.ahead = batches, ahead

    def __iter__(self) -> Any:
        source, queue = iter(self.batches), []
        for batch in source:
            queue.append(batch)
            if len(queue) > self.ahead:
                yield queue.pop(0)
        yield from queue


segments = st.lists(
    st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 6), st.integers(0, 8)), min_size=1, max_size=6
)


@pytest.mark.slow
@given(st.integers(0, 150), st.integers(0, 3), st.booleans(), segments, st.data())
@settings(max_examples=200, deadline=None)
def test_each_pair_is_used_once_when_ranks_workers_and_batches_change(
    size: int, epoch: int, shuffle: bool, changes: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    pairs = range(size)
    seen: list[int] = []
    state = None
    for last, (ranks, batch_size, ahead, steps) in zip([*[False] * (len(changes) - 1), True], changes, strict=True):
        states = []
        for rank in range(ranks):
            batches = ElasticBatchSampler(pairs, batch_size, rank=rank, ranks=ranks, shuffle=shuffle, seed=7)
            if state is not None:
                batches.load_state_dict(state)
            batches.set_epoch(epoch)
            left = len(batches)
            counted = batches.count(Loader(batches, ahead))
            taken = list(counted if last else itertools.islice(counted, steps))
            if len(taken) < steps:
                assert list(counted) == []  # the loop saw the end
            assert last is False or len(taken) == left
            assert all(0 < len(batch) <= batch_size for batch in taken)
            seen += [number for batch in taken for number in batch]
            states.append(batches.state_dict())
        state = data.draw(st.sampled_from([each for each in states if each["done"] == states[0]["done"]]))
        assert all(each == states[0] for each in states)
    assert Counter(seen) == Counter(range(size))


@given(st.integers(0, 60), st.integers(1, 4), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_drop_last_gives_every_rank_the_same_number_of_full_batches(size: int, ranks: int, batch_size: int) -> None:
    seen: list[int] = []
    for rank in range(ranks):
        batches = ElasticBatchSampler(range(size), batch_size, rank=rank, ranks=ranks, drop_last=True)
        taken = list(batches)
        assert len(taken) == len(batches) == size // (ranks * batch_size)
        assert all(len(batch) == batch_size for batch in taken)
        seen += [number for batch in taken for number in batch]
    assert len(set(seen)) == len(seen) == size // (ranks * batch_size) * ranks * batch_size


def test_epochs_differ_and_start_at_their_beginning() -> None:
    batches = ElasticBatchSampler(range(20), 4)
    first = list(batches.count(batches))
    assert len(batches) == 0 and batches.state_dict() == {"epoch": 0, "seed": 0, "done": 20, "size": 20}
    batches.set_epoch(1)
    second = list(batches)
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) and first != second
    assert list(ElasticBatchSampler(range(20), 4, seed=1)) != first
    assert list(ElasticBatchSampler(range(5), 2, shuffle=False)) == [[0, 1], [2, 3], [4]]


def test_wrong_numbers_and_other_pairs_are_refused() -> None:
    for numbers in ({"batch_size": 0}, {"batch_size": 1, "ranks": 0}, {"batch_size": 1, "rank": 2, "ranks": 2}):
        with pytest.raises(ggt100k.ConfigError):
            ElasticBatchSampler(range(3), **numbers)
    with pytest.raises(ggt100k.ConfigError, match="64-bit"):
        ElasticBatchSampler(range(3), 1, seed=1 << 63)
    state = ElasticBatchSampler(range(3), 1).state_dict()
    with pytest.raises(ggt100k.ConfigError) as fault:
        ElasticBatchSampler(range(4), 1).load_state_dict(state)
    assert str(fault.value) == (
        "the checkpoint has 3 pairs, and the dataset has 4. Open the same dataset with the same conditions."
    )


@pytest.mark.slow
def test_workers_and_ranks_that_change_keep_each_pair_and_its_window(tmp_path: Path) -> None:
    """With torch's own loader and its workers: the multiset of (key, window) is that of a run without a change."""
    data = pytest.importorskip("torch.utils.data")
    root = make_dataset(tmp_path / "out", count=23, test=0)

    def run(schedule: list[tuple[int, int, int, int | None]]) -> Counter[tuple[str, bytes, bytes]]:
        seen: Counter[tuple[str, bytes, bytes]] = Counter()
        state = None
        for ranks, batch_size, workers, steps in schedule:
            states = []
            for rank in range(ranks):
                pairs = ggt100k.PairDataset(root, crop=24, seed=3)
                batches = ggt100k.ElasticBatchSampler(pairs, batch_size, rank=rank, ranks=ranks, seed=5)
                batches.set_epoch(2)
                if state is not None:
                    batches.load_state_dict(state)
                loader = data.DataLoader(pairs, batch_sampler=batches, num_workers=workers, collate_fn=list)
                for batch in itertools.islice(batches.count(loader), steps):
                    seen.update((item["key"], item["lq"].tobytes(), item["gt"].tobytes()) for item in batch)
                states.append(batches.state_dict())
            state = states[-1]
        return seen

    whole = run([(1, 4, 0, None)])
    assert len(whole) == 23 and set(whole.values()) == {1}
    assert run([(2, 3, 1, 2), (3, 2, 0, 1), (1, 5, 2, None)]) == whole
