"""Mixtures of datasets: exact shares, equal frequency of a dataset's pairs, and no dependence on workers."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ggt100k
from ggt_format.mixing import _divide
from ggt_tools.errors import ShardError

from .making import change_shard, make_dataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("mix") / "out", count=9, degradations=["rain", "snow", "haze"], test=0)


@pytest.fixture
def parts(root: Path) -> dict[str, ggt100k.PairDataset]:
    names = ("rain", "snow", "haze")
    return {name: ggt100k.PairDataset(root, crop=24, where={"degradation": [name]}) for name in names}


def test_each_dataset_has_its_share(parts: dict[str, ggt100k.PairDataset]) -> None:
    pairs = ggt100k.mix({parts["rain"]: 2, parts["snow"]: 1}, size=30)
    assert len(pairs) == 30 and pairs.counts == [20, 10]
    assert Counter(item["degradation"] for item in pairs) == {"rain": 20, "snow": 10}
    assert len(ggt100k.mix({part: 1 for part in parts.values()})) == sum(map(len, parts.values()))


@given(st.integers(1, 60), st.lists(st.floats(0.01, 100), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_shares_sum_up_and_are_rounded_to_items(size: int, weights: list[float]) -> None:
    if size < len(weights):
        with pytest.raises(ggt100k.ConfigError, match=r"must be at least 1 for each of the \d datasets\.$"):
            _divide(size, weights)
        return
    counts = _divide(size, weights)
    assert sum(counts) == size and min(counts) >= 1
    if all(size * weight / sum(weights) >= 1 for weight in weights):
        assert all(abs(n - size * w / sum(weights)) < 1 for n, w in zip(counts, weights, strict=True))


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_each_pair_is_used_equally_often_over_epochs(root: Path, size: int, epochs: int, seed: int) -> None:
    rain, snow = (ggt100k.PairDataset(root, where={"degradation": [name]}) for name in ("rain", "snow"))
    pairs = ggt100k.mix({rain: 3, snow: 1}, size=size + 1, seed=seed)
    picks = []
    for epoch in range(epochs):
        pairs.set_epoch(epoch)
        picks += [pairs.pick(number) for number in range(len(pairs))]
    assert len(set(picks)) == len(picks), "no pair comes twice in one pass"
    for dataset, part in enumerate((rain, snow)):
        counts = Counter(pair for of, pair, _ in picks if of == dataset)
        often = [counts[pair] for pair in range(len(part))]
        assert max(often) - min(often) <= 1


def test_a_repeated_pair_has_another_window(root: Path) -> None:
    (rain,) = [ggt100k.PairDataset(root, crop=24, where={"degradation": ["rain"]})]
    pairs = ggt100k.mix({rain: 1}, size=4 * len(rain))
    windows = Counter((item["key"], item["lq"].tobytes()) for item in pairs[:])
    assert len({key for key, _ in windows}) == len(rain)
    assert len(windows) > 3 * len(rain)


def test_batches_items_and_iteration_agree(parts: dict[str, ggt100k.PairDataset]) -> None:
    pairs = ggt100k.mix({parts["rain"]: 1, parts["haze"]: 1}, size=12)
    pairs.set_epoch(3)

    def seen(items: Iterator[dict[str, object]] | list[dict[str, object]]) -> list[tuple[object, bytes]]:
        return [(item["key"], item["gt"].tobytes()) for item in items]  # type: ignore[attr-defined]

    alone = seen([pairs[number] for number in range(12)])
    assert seen(iter(pairs)) == seen(pairs[:]) == alone
    assert seen(pairs.__getitems__([7, 0, 11, 7])) == [alone[number] for number in (7, 0, 11, 7)]
    again = ggt100k.mix({parts["rain"]: 1, parts["haze"]: 1}, size=12)
    assert seen(again[:]) != alone
    again.load_state_dict(pairs.state_dict())
    assert seen(again[:]) == alone == seen(pickle.loads(pickle.dumps(pairs))[:])
    with pytest.raises(IndexError):
        pairs[12]


def test_workers_give_the_same_items(parts: dict[str, ggt100k.PairDataset]) -> None:
    data = pytest.importorskip("torch.utils.data")
    pairs = ggt100k.mix({part: weight for weight, part in enumerate(parts.values(), 1)}, size=18)
    batches = ggt100k.ElasticBatchSampler(pairs, 4)
    batches.set_epoch(1)
    seen = []
    for workers in (0, 2):
        loader = data.DataLoader(pairs, batch_sampler=batches, num_workers=workers, collate_fn=list)
        seen.append([(item["key"], item["lq"].tobytes()) for batch in loader for item in batch])
    assert seen[0] == seen[1] and len(seen[0]) == 18


def test_a_damaged_pair_is_skipped_or_raises_as_its_dataset_says(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=3, degradations=["rain"], test=0)
    (row, *_) = ggt100k.index(root).to_pylist()
    at = row["gt_offset"] + row["gt_size"] // 2
    change_shard(root, lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    skipping = ggt100k.PairDataset(root, on_error="skip")
    assert len(ggt100k.mix({skipping: 1}, size=3).__getitems__([0, 1, 2])) == 2
    assert len(list(ggt100k.mix({skipping: 1}, size=3))) == 2
    with pytest.raises(ShardError):
        ggt100k.mix({ggt100k.PairDataset(root): 1}, size=3)[:]
    with pytest.raises(ShardError):
        [ggt100k.mix({skipping: 1}, size=3)[number] for number in range(3)]


def test_wrong_arguments_raise_at_once(parts: dict[str, ggt100k.PairDataset]) -> None:
    for weights, more in (
        ({}, {}),
        ({"rain": 1}, {}),
        ({parts["rain"]: 0}, {}),
        ({parts["rain"]: float("nan")}, {}),
        ({parts["rain"]: "2"}, {}),
        ({parts["rain"]: 1}, {"size": 0}),
        ({parts["rain"]: 1, parts["snow"]: 1}, {"size": 1}),
        ({parts["rain"]: 1}, {"seed": 1 << 63}),
    ):
        with pytest.raises(ggt100k.ConfigError):
            ggt100k.mix(weights, **more)
    with pytest.raises(ggt100k.ConfigError):
        ggt100k.mix({parts["rain"]: 1}).set_epoch(-1)
