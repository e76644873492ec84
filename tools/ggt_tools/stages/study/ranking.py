"""A ranking of what people chose: Bradley and Terry's model (1952), with Luce's (1959) where more than two were shown.

    ranked = rank(choices, names)

The chance that one is preferred to others shown with it is its strength over the sum of theirs. Strengths are fitted to
all choices at once, so that who met whom does not matter; a weak prior keeps one that always won finite. Choices on one
photograph are not independent of each other: the intervals come of drawing photographs anew (a cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PRIOR = 2.0  # spread of the log-strengths before anything was chosen (ours): e**2, won 7 times of 8
DRAWS = 400  # of the bootstrap
SHARE = 0.95  # of an interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferred:
    """One choice: who was shown, and who was preferred, on which photograph."""

    key: str
    shown: tuple[str, ...]
    best: str  # "" for no difference: each half, or its share of one, of a choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """One entrant, with the interval of 95 %."""

    name: str
    strength: float  # log, the mean of all is 0
    low: float
    high: float
    preferred: float  # 0 to 1: the chance that it is preferred to another entrant, drawn at random
    preferred_low: float
    preferred_high: float
    choices: int  # in which it was shown
    behind: float  # how often, of the draws, it was not the best


def rank(choices: Sequence[Preferred], names: Sequence[str], *, draws: int = DRAWS, seed: int = 7) -> list[Ranked]:
    """The entrants, the strongest first; those that were never shown are left out."""
    met = {name for choice in choices for name in choice.shown}
    listed = [name for name in names if name in met]
    if len(listed) < 2:
        return []
    place = {name: at for at, name in enumerate(listed)}
    rows = [_row(choice, place) for choice in choices]
    widest = max(len(shown) for shown, _ in rows)
    shown = np.array([[*one, *[-1] * (widest - len(one))] for one, _ in rows])
    won = np.array([[*shares, *[0.0] * (widest - len(shares))] for _, shares in rows])
    keys = {key: at for at, key in enumerate(sorted({choice.key for choice in choices}))}
    of_key = np.array([keys[choice.key] for choice in choices])
    fitted = fit(shown, won, np.ones(len(rows)), len(listed))
    random = np.random.default_rng(seed)
    drawn = np.empty((draws, len(listed)))
    for at in range(draws):
        times = np.bincount(random.integers(len(keys), size=len(keys)), minlength=len(keys))
        drawn[at] = fit(shown, won, times[of_key].astype(np.float64), len(listed), start=fitted)
    ends = [100 * (1 - SHARE) / 2, 100 * (1 + SHARE) / 2]
    low, high = np.percentile(drawn, ends, axis=0)
    chance = _preferred(fitted[None])[0]
    chance_low, chance_high = np.percentile(_preferred(drawn), ends, axis=0)
    best = drawn.argmax(axis=1)
    counts = np.bincount(shown[shown >= 0], minlength=len(listed))
    return [
        Ranked(
            name=listed[at],
            strength=float(fitted[at]),
            low=float(min(low[at], fitted[at])),
            high=float(max(high[at], fitted[at])),
            preferred=float(chance[at]),
            preferred_low=float(min(chance_low[at], chance[at])),
            preferred_high=float(max(chance_high[at], chance[at])),
            choices=int(counts[at]),
            behind=float((best != at).mean()),
        )
        for at in np.argsort(-fitted, kind="stable")
    ]


def fit(
    shown: npt.NDArray[np.int64], won: Floats, weights: Floats, count: int, *, start: Floats | None = None
) -> Floats:
    """Log-strengths, their mean 0: the maximum of the posterior, by Newton's steps (it is concave).

    `shown`: choices x places, numbers of entrants, -1 where a place is empty; `won`: the share of the choice that each
    place got; `weights`: how often each choice counts.
    """
    theta = np.zeros(count) if start is None else start.copy()
    there = shown >= 0
    at = np.where(there, shown, 0)
    gained = np.bincount(at[there], (won * weights[:, None])[there], minlength=count)
    rows, left, right = np.nonzero(there[:, :, None] & there[:, None, :])
    meeting = at[rows, left] * count + at[rows, right]
    for _ in range(50):
        odds = np.where(there, np.exp(theta[at] - theta.max()), 0.0)
        chance = odds / odds.sum(axis=1, keepdims=True)
        expected = np.bincount(at[there], (chance * weights[:, None])[there], minlength=count)
        slope = gained - expected - theta / PRIOR**2
        curve = np.diag(expected + 1 / PRIOR**2)
        both = weights[rows] * chance[rows, left] * chance[rows, right]
        curve -= np.bincount(meeting, both, minlength=count * count).reshape(count, count)
        step = np.linalg.solve(curve, slope)
        theta += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(theta - theta.mean())


def _row(choice: Preferred, place: Mapping[str, int]) -> tuple[list[int], list[float]]:
    shares = [float(name == choice.best) if choice.best else 1 / len(choice.shown) for name in choice.shown]
    return [place[name] for name in choice.shown], shares


def _preferred(theta: Floats) -> Floats:
    """The chance of each (draws x entrants) against another one, the mean over all others."""
    count = theta.shape[1]
    against = 1 / (1 + np.exp(theta[:, None, :] - theta[:, :, None]))
    return np.asarray((against.sum(axis=2) - 0.5) / (count - 1))
