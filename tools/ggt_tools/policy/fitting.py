"""Fit the limits of a gate to decisions of people, one step at a time: first tighten limits, then loosen them.

A step moves one limit. It is chosen among all limits, and all values that they can be moved to, as the step with the
most benefit for its cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ggt_tools.policy.bounds import Bools, Bounds, Floats


def fit(bounds: Bounds, is_kept: Bools, aim: float, *, loosen: bool) -> Floats:
    """Return limits with which at most a share of `aim` of the accepted candidates are false accepts.

    The fit starts from the limits of the gate. It tightens them until the aim is met, or until no bound separates the
    remaining false accepts, and then loosens them while the aim allows it. A fitted limit has few digits and lies half
    way between the last candidate that it accepts and the first one that it does not. It passes no candidate that
    people were not asked about and, in a rule with a band for review, not the bound that rejects.

    Args:
        bounds: The bounds of the gate, with the values of n candidates.
        is_kept: (n,) whether people keep each candidate.
        aim: The largest share of false accepts, 0 to 1.
        loosen: Whether to loosen limits as well.

    Returns:
        (bounds,) the limits times the signs of their bounds.
    """
    limits = bounds.limits
    while True:
        accepted = bounds.margins(limits) >= 0
        if (accepted & ~is_kept).sum() <= aim * accepted.sum() or not _tighten(bounds, is_kept, limits, aim):
            break
    while loosen and _loosen(bounds, is_kept, limits, aim):
        pass
    return limits


def _tighten(bounds: Bounds, is_kept: Bools, limits: Floats, aim: float) -> bool:
    """Move the limit that removes the most bad candidates for the good ones that are lost.

    Returns:
        Whether a limit was moved; False if none removes a bad candidate.
    """
    accepted = bounds.margins(limits) >= 0
    false_count, accepted_count = int((accepted & ~is_kept).sum()), int(accepted.sum())
    best_worth, best_bound, best_limit = 0.0, -1, 0.0
    for number, decides in _deciding(bounds, limits):
        inside = decides & (bounds.signed_values[:, number] <= limits[number])
        values, bad, good = _cumulative_counts(-bounds.signed_values[inside, number], is_kept[inside])
        worth = bad / (good + 1)
        met = np.flatnonzero(false_count - bad <= aim * (accepted_count - bad - good))
        worth[int(met[0]) + 1 if met.size else len(worth) :] = 0.0  # tighten no further than is needed
        if worth.size and worth.max() > best_worth:
            cut = int(worth.argmax())
            first_out = float(-values[cut])
            last_in = float(-values[cut + 1]) if cut + 1 < len(values) else first_out - _small_step(first_out)
            best_worth, best_bound, best_limit = float(worth[cut]), number, _between(last_in, first_out)
    if best_bound >= 0:
        limits[best_bound] = best_limit
    return best_bound >= 0


def _loosen(bounds: Bounds, is_kept: Bools, limits: Floats, aim: float) -> bool:
    """Move the limit that adds the most good candidates for the bad ones, and keeps the aim.

    Returns:
        Whether a limit was moved; False if none adds a good candidate.
    """
    accepted = bounds.margins(limits) >= 0
    false_count, accepted_count = int((accepted & ~is_kept).sum()), int(accepted.sum())
    best_worth, best_bound, best_limit = 0.0, -1, 0.0
    for number, decides in _deciding(bounds, limits):
        outermost = bounds.bounds[number].sign * bounds.bounds[number].outermost
        outside = (
            decides
            & (bounds.signed_values[:, number] > limits[number])
            & (bounds.signed_values[:, number] <= outermost)
        )
        values, bad, good = _cumulative_counts(bounds.signed_values[outside, number], is_kept[outside])
        keeps_aim = false_count + bad <= aim * (accepted_count + bad + good)
        worth = np.where(keeps_aim, good / (bad + 1), 0.0)
        if worth.size and worth.max() > best_worth:
            cut = int(worth.argmax())
            last_in = float(values[cut])
            first_out = float(values[cut + 1]) if cut + 1 < len(values) else last_in + _small_step(last_in)
            best_worth, best_bound = float(worth[cut]), number
            best_limit = min(_between(last_in, first_out), outermost)
    if best_bound >= 0:
        limits[best_bound] = best_limit
    return best_bound >= 0


def _deciding(bounds: Bounds, limits: Floats) -> Iterator[tuple[int, Bools]]:
    """Yield each bound, and the candidates that it alone decides on because everything else accepts them."""
    distances = bounds.distances(limits)
    holds = distances >= 0
    group_holds = bounds.group_distances(distances) >= 0
    broken_count = (~group_holds).sum(axis=1)
    for number, group in enumerate(bounds.groups):
        others_hold = group.applies & (broken_count - ~group_holds[:, number] == 0)
        rule_holds = [holds[:, list(columns)].all(axis=1) for columns in group.rules]
        for rule, columns in enumerate(group.rules):
            other_rules = [held for other, held in enumerate(rule_holds) if other != rule]
            is_alone = others_hold & ~np.any(other_rules, axis=0) if other_rules else others_hold
            for column in columns:
                rest_holds = holds[:, [other for other in columns if other != column]].all(axis=1)
                yield column, is_alone & rest_holds & np.isfinite(bounds.signed_values[:, column])


def _cumulative_counts(values: Floats, is_kept: Bools) -> tuple[Floats, Floats, Floats]:
    """Return the distinct values, ascending, and the numbers of bad and of good candidates up to each of them."""
    distinct, places = np.unique(values, return_inverse=True)
    good, bad = (np.bincount(places[mask], minlength=len(distinct)).cumsum() for mask in (is_kept, ~is_kept))
    return distinct, bad.astype(np.float64), good.astype(np.float64)


def _small_step(value: float) -> float:
    return max(0.01 * abs(value), 1e-6)


def _between(low: float, high: float) -> float:
    """Return the number of fewest digits near the middle of low <= x < high."""
    middle = low + (high - low) / 2
    for digits in range(-int(math.log10(max(abs(middle), 1.0))), 17):
        number = round(middle, digits)
        if low <= number < high:
            return number
    return low
