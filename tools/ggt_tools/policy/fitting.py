"""Limits fitted to decisions, one step after the other: what tightens is done first, then what loosens.

A step moves one limit. It is chosen among all limits and all places to put them, by what it brings for what it costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ggt_tools.policy.bounds import Bools, Bounds, Floats


def fit(bounds: Bounds, kept: Bools, aim: float, *, loosen: bool) -> Floats:
    """(bounds,): limits times their signs, with at most `aim` false accepts among what they accept of n decisions.

    From the limits as they are. Tightening ends where the aim is met or nothing bad can be told apart; loosening goes
    on while the aim allows it. A limit ends half way between what it lets in and what it keeps out, in few digits; it
    passes neither what people were asked about nor, in a rule with a band for review, the bound that rejects.
    """
    limits = bounds.limits
    while True:
        accepted = bounds.margins(limits) >= 0
        if (accepted & ~kept).sum() <= aim * accepted.sum() or not _tighten(bounds, kept, limits, aim):
            break
    while loosen and _loosen(bounds, kept, limits, aim):
        pass
    return limits


def _tighten(bounds: Bounds, kept: Bools, limits: Floats, aim: float) -> bool:
    """Moves the limit that takes out the most bad for the good that is lost; False where none takes out any."""
    accepted = bounds.margins(limits) >= 0
    false, all_in = int((accepted & ~kept).sum()), int(accepted.sum())
    best, chosen, place = 0.0, -1, 0.0
    for at, here in _depending(bounds, limits):
        inside = here & (bounds.signed[:, at] <= limits[at])
        values, bad, good = _sums(-bounds.signed[inside, at], kept[inside])
        worth = bad / (good + 1)
        met = np.flatnonzero(false - bad <= aim * (all_in - bad - good))
        worth[int(met[0]) + 1 if met.size else len(worth) :] = 0.0  # no further than need be
        if worth.size and worth.max() > best:
            cut = int(worth.argmax())
            first_out = float(-values[cut])
            last_in = float(-values[cut + 1]) if cut + 1 < len(values) else first_out - _step(first_out)
            best, chosen, place = float(worth[cut]), at, _between(last_in, first_out)
    if chosen >= 0:
        limits[chosen] = place
    return chosen >= 0


def _loosen(bounds: Bounds, kept: Bools, limits: Floats, aim: float) -> bool:
    """Moves the limit that brings the most good for the bad and keeps the aim; False where none brings any."""
    accepted = bounds.margins(limits) >= 0
    false, all_in = int((accepted & ~kept).sum()), int(accepted.sum())
    best, chosen, place = 0.0, -1, 0.0
    for at, here in _depending(bounds, limits):
        outermost = bounds.bounds[at].sign * bounds.bounds[at].outermost
        outside = here & (bounds.signed[:, at] > limits[at]) & (bounds.signed[:, at] <= outermost)
        values, bad, good = _sums(bounds.signed[outside, at], kept[outside])
        fits = false + bad <= aim * (all_in + bad + good)
        worth = np.where(fits, good / (bad + 1), 0.0)
        if worth.size and worth.max() > best:
            cut = int(worth.argmax())
            last_in = float(values[cut])
            first_out = float(values[cut + 1]) if cut + 1 < len(values) else last_in + _step(last_in)
            best, chosen, place = float(worth[cut]), at, min(_between(last_in, first_out), outermost)
    if chosen >= 0:
        limits[chosen] = place
    return chosen >= 0


def _depending(bounds: Bounds, limits: Floats) -> Iterator[tuple[int, Bools]]:
    """For each bound the candidates that all else accepts, so that it alone decides."""
    holds = bounds.apart(limits) >= 0
    groups = bounds.by_group(bounds.apart(limits)) >= 0
    broken = (~groups).sum(axis=1)
    for number, group in enumerate(bounds.groups):
        open_here = group.applies & (broken - ~groups[:, number] == 0)
        by_rule = [holds[:, list(columns)].all(axis=1) for columns in group.rules]
        for which, columns in enumerate(group.rules):
            others = [held for rule, held in enumerate(by_rule) if rule != which]
            alone = open_here & ~np.any(others, axis=0) if others else open_here
            for at in columns:
                rest = holds[:, [column for column in columns if column != at]].all(axis=1)
                yield at, alone & rest & np.isfinite(bounds.signed[:, at])


def _sums(values: Floats, kept: Bools) -> tuple[Floats, Floats, Floats]:
    """The different values, ascending, and how many bad and good ones there are up to each."""
    different, where = np.unique(values, return_inverse=True)
    good, bad = (np.bincount(where[said], minlength=len(different)).cumsum() for said in (kept, ~kept))
    return different, bad.astype(np.float64), good.astype(np.float64)


def _step(value: float) -> float:
    return max(0.01 * abs(value), 1e-6)


def _between(low: float, high: float) -> float:
    """The number of fewest digits near the middle of low <= x < high."""
    middle = low + (high - low) / 2
    for digits in range(-int(math.log10(max(abs(middle), 1.0))), 17):
        number = round(middle, digits)
        if low <= number < high:
            return number
    return low
