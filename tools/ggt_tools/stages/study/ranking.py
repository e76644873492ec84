"""Rank entrants by what people chose, by the model of Bradley and Terry (1952); with more than two, of Luce (1959).

    ranked = rank(choices, names)

The probability that an entrant is preferred to those shown with it is its strength over the sum of all strengths. The
strengths are fitted to all choices at once, so it does not matter which entrants met. A weak prior keeps the strength
of an entrant finite that always won. Choices on one photograph are not independent of each other, so the intervals come
from a bootstrap over photographs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
PRIOR = 2.0  # standard deviation of the log-strengths before any choice (ours): odds of e**2, about 7 to 1
DRAWS = 400  # of the bootstrap
CONFIDENCE = 0.95  # of an interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedChoice:
    """A choice of a person.

    Attributes:
        key: Key of the photograph.
        shown: Names of the entrants that were shown.
        best: The preferred one; "" for no difference, which counts as an equal share for each.
    """

    key: str
    shown: tuple[str, ...]
    best: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedEntrant:
    """An entrant, with intervals of 95 %.

    Attributes:
        name: Its name.
        strength: Logarithm of its strength; the mean of all entrants is 0.
        low: Lower end of the strength's interval.
        high: Upper end of the strength's interval.
        preferred: Probability that it is preferred to another entrant, drawn at random, 0 to 1.
        preferred_low: Lower end of that interval.
        preferred_high: Upper end of that interval.
        choices: Number of choices in which it was shown.
        not_best: Share of the bootstrap's draws in which it is not the best.
    """

    name: str
    strength: float
    low: float
    high: float
    preferred: float
    preferred_low: float
    preferred_high: float
    choices: int
    not_best: float


def rank(
    choices: Sequence[ObservedChoice], names: Sequence[str], *, draws: int = DRAWS, seed: int = 7
) -> list[RankedEntrant]:
    """Return the entrants that were shown, the strongest first.

    Args:
        choices: The choices of people.
        names: Names of the entrants.
        draws: Number of draws of the bootstrap.
        seed: Seed of the bootstrap.
    """
    shown_names = {name for choice in choices for name in choice.shown}
    entrants = [name for name in names if name in shown_names]
    if len(entrants) < 2:
        return []
    number_of = {name: number for number, name in enumerate(entrants)}
    shown, shares = _as_arrays(choices, number_of)
    keys = {key: number for number, key in enumerate(sorted({choice.key for choice in choices}))}
    key_of_choice = np.array([keys[choice.key] for choice in choices])
    strengths = fit_strengths(shown, shares, np.ones(len(choices)), len(entrants))
    random = np.random.default_rng(seed)
    drawn = np.empty((draws, len(entrants)))
    for draw in range(draws):
        times = np.bincount(random.integers(len(keys), size=len(keys)), minlength=len(keys))
        weights = times[key_of_choice].astype(np.float64)
        drawn[draw] = fit_strengths(shown, shares, weights, len(entrants), start=strengths)
    ends = [100 * (1 - CONFIDENCE) / 2, 100 * (1 + CONFIDENCE) / 2]
    low, high = np.percentile(drawn, ends, axis=0)
    preferred = _preferred(strengths[None])[0]
    preferred_low, preferred_high = np.percentile(_preferred(drawn), ends, axis=0)
    best = drawn.argmax(axis=1)
    counts = np.bincount(shown[shown >= 0], minlength=len(entrants))
    return [
        RankedEntrant(
            name=entrants[i],
            strength=float(strengths[i]),
            low=float(min(low[i], strengths[i])),
            high=float(max(high[i], strengths[i])),
            preferred=float(preferred[i]),
            preferred_low=float(min(preferred_low[i], preferred[i])),
            preferred_high=float(max(preferred_high[i], preferred[i])),
            choices=int(counts[i]),
            not_best=float((best != i).mean()),
        )
        for i in np.argsort(-strengths, kind="stable")
    ]


def _as_arrays(choices: Sequence[ObservedChoice], number_of: Mapping[str, int]) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return (choices, places) the numbers of the entrants shown, -1 for an empty place, and their shares of it."""
    place_count = max(len(choice.shown) for choice in choices)
    shown = np.full((len(choices), place_count), -1)
    shares = np.zeros((len(choices), place_count))
    for row, choice in enumerate(choices):
        for place, name in enumerate(choice.shown):
            shown[row, place] = number_of[name]
            shares[row, place] = float(name == choice.best) if choice.best else 1 / len(choice.shown)
    return shown, shares


def fit_strengths(
    shown: npt.NDArray[np.int64], shares: Floats, weights: Floats, count: int, *, start: Floats | None = None
) -> Floats:
    """Return the most probable log-strengths, found by Newton's method; the posterior is concave.

    Args:
        shown: (choices, places) numbers of the entrants shown, -1 for an empty place.
        shares: (choices, places) the share of the choice that each place got.
        weights: (choices,) how often each choice counts.
        count: Number of entrants.
        start: (count,) log-strengths to start from; None for 0.

    Returns:
        (count,) log-strengths with a mean of 0.
    """
    theta = np.zeros(count) if start is None else start.copy()
    is_filled = shown >= 0
    entrant = np.where(is_filled, shown, 0)
    gained = np.bincount(entrant[is_filled], (shares * weights[:, None])[is_filled], minlength=count)
    rows, left, right = np.nonzero(is_filled[:, :, None] & is_filled[:, None, :])
    pair = entrant[rows, left] * count + entrant[rows, right]
    for _ in range(50):
        odds = np.where(is_filled, np.exp(theta[entrant] - theta.max()), 0.0)
        chance = odds / odds.sum(axis=1, keepdims=True)
        expected = np.bincount(entrant[is_filled], (chance * weights[:, None])[is_filled], minlength=count)
        slope = gained - expected - theta / PRIOR**2
        curvature = np.diag(expected + 1 / PRIOR**2)
        both = weights[rows] * chance[rows, left] * chance[rows, right]
        curvature -= np.bincount(pair, both, minlength=count * count).reshape(count, count)
        step = np.linalg.solve(curvature, slope)
        theta += np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(theta - theta.mean())


def _preferred(theta: Floats) -> Floats:
    """Return the probability that each entrant is preferred to another one, as its mean over all others.

    Args:
        theta: (draws, entrants) log-strengths.
    """
    count = theta.shape[1]
    against = 1 / (1 + np.exp(theta[:, None, :] - theta[:, :, None]))
    return np.asarray((against.sum(axis=2) - 0.5) / (count - 1))
