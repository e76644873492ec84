"""Reading ahead: the same batches in the same order, bounded memory, and no thread that outlives the loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ggt100k
from ggt_tools.errors import ConfigError, ShardError
from tests.benchmarks.remote import serve

from .making import make_dataset

BATCHES = [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


class Fake:
    """Items are ten times their numbers. `seen` has the batches that were begun."""

    def __init__(self, fail_at: int = -1) -> None:
        self.fail_at, self.seen = fail_at, []  # type: tuple[int, list[list[int]]]
        self.thread = ""

    def __getitems__(self, numbers: Sequence[int]) -> list[int]:
        self.seen.append(list(numbers))
        self.thread = threading.current_thread().name
        if self.fail_at in numbers:
            raise ShardError("damaged")
        return [10 * number for number in numbers]


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    assert condition()


def prefetch_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ggt100k-prefetch")]


@pytest.mark.parametrize("prefetch", [0, 1, 2, 9])
def test_batches_come_in_order_and_no_more_than_asked_are_ahead(prefetch: int) -> None:
    pairs, got = Fake(), []
    for items in ggt100k.read_batches(pairs, iter(BATCHES), prefetch=prefetch):
        got.append(items)
        expected = min(len(got) + prefetch, len(BATCHES))
        wait_until(lambda: len(pairs.seen) == expected)  # noqa: B023
        time.sleep(0.01)
        assert len(pairs.seen) == expected
    assert got == [[10 * number for number in batch] for batch in BATCHES] and pairs.seen == BATCHES
    assert pairs.thread.startswith("ggt100k-prefetch") == (prefetch > 0)
    assert not prefetch_threads()


def test_an_error_comes_in_the_place_of_its_batch() -> None:
    batches = ggt100k.read_batches(Fake(fail_at=4), BATCHES, prefetch=4)
    assert [next(batches), next(batches)] == [[0, 10], [20, 30]]
    with pytest.raises(ShardError, match=r"^damaged$"):
        next(batches)
    assert not prefetch_threads()


def test_a_loop_that_ends_early_leaves_no_thread_and_begins_no_batch() -> None:
    pairs = Fake()
    batches = ggt100k.read_batches(pairs, BATCHES, prefetch=1)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not prefetch_threads()
    assert len(pairs.seen) <= 2


@pytest.mark.parametrize("prefetch", [-1, 1.5, "2"])
def test_a_wrong_number_is_refused_at_once(prefetch: Any) -> None:
    with pytest.raises(ConfigError, match=r"^prefetch=.*: must be a whole number, 0 or more\.$"):
        ggt100k.read_batches(Fake(), BATCHES, prefetch=prefetch)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("prefetch") / "ggt-100k", count=10, test=0)


def windows(batches: Any) -> list[tuple[str, int]]:
    return [(item["key"], int(item["lq"].sum(dtype=np.int64))) for items in batches for item in items]


def test_over_http_the_next_batches_are_fetched_while_one_is_used(release: Path) -> None:
    local = ggt100k.PairDataset(release, crop=16, seed=3)
    expected = windows(map(local.__getitems__, BATCHES))
    with serve(release) as server:
        pairs = ggt100k.PairDataset(server.url, crop=16, seed=3)
        before = server.requests
        batches = ggt100k.read_batches(pairs, BATCHES, prefetch=1)
        first = next(batches)
        wait_until(lambda: server.requests > before + 1)
        assert windows([first, *batches]) == expected


def test_a_sampler_counts_what_was_yielded_not_what_was_read(release: Path) -> None:
    pairs = ggt100k.PairDataset(release, crop=16)
    sampler = ggt100k.ElasticBatchSampler(pairs, batch_size=2)
    loop = sampler.count(ggt100k.read_batches(pairs, sampler, prefetch=3))
    seen = [item["key"] for items in (next(loop), next(loop)) for item in items]
    state = sampler.state_dict()
    assert state["done"] == 4
    later = ggt100k.ElasticBatchSampler(pairs, batch_size=2)
    later.load_state_dict(state)
    seen += [item["key"] for items in ggt100k.read_batches(pairs, later) for item in items]
    assert sorted(seen) == sorted(item["key"] for item in pairs)
