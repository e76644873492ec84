"""Alternating measurement: contestants take turns, so that a machine whose speed drifts drifts for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def alternate(contestants: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, list[float]]:
    """Seconds of each round by contestant, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for counted in range(-1, rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if counted >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def speed(seconds: Mapping[str, list[float]], name: str, peer: str) -> float:
    """How many times as fast as `peer`: the median over the rounds of the ratio within each."""
    return statistics.median(theirs / ours for ours, theirs in zip(seconds[name], seconds[peer], strict=True))
