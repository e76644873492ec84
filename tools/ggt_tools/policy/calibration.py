"""Fit a gate to decisions of people, at a stated rate of false accepts.

    calibration = calibrate(LabelledCandidates(gate, degradations, scores, is_kept, keys), target=0.02)
    text = fitted_gate_text(gate, calibration, "2026-01-01")

A *false accept* is a candidate that the gate keeps and people reject. Its rate is the share of false accepts among the
candidates that the gate keeps. The rate holds for candidates like those that were labelled, so label a random sample,
of kept and of rejected candidates alike.

The fit has two steps, and both begin with what the gate file says. First the decision of each labelled class is fitted
(refit.py), then the bounds are moved (fitting.py). A gate that reaches the stated rate on its own labels has a higher
rate on new candidates. So several smaller rates are tried as the aim of the fit, and the largest one is taken with
which the stated rate holds under cross-validation, with all candidates of a photograph in one fold. The reported rates
are those of the folds that were left out. A fit to few labels is possible as well: its intervals are then wide.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_tools.policy.bounds import Bools, Bound, Bounds, Floats, decision_probabilities, read_bounds
from ggt_tools.policy.fitting import fit
from ggt_tools.policy.gate import Gate
from ggt_tools.policy.rates import Rate
from ggt_tools.policy.refit import refit

AIMS = (1.0, 0.75, 0.5, 0.25, 0.0)  # shares of the stated rate that the fit aims at
FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a gate makes of the candidates that people decided on.

    Attributes:
        false_accepts: Candidates that people reject, among those that the gate keeps.
        kept: Candidates that the gate keeps, among those that people keep.
    """

    false_accepts: Rate
    kept: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundChange:
    """A bound of the gate file, and the limit that it is changed to."""

    bound: Bound
    limit: float


@dataclass(frozen=True, slots=True)
class LabelledCandidates:
    """Candidates that people decided on, and the facts that a gate judges them by.

    Attributes:
        gate: The gate that the fit starts from.
        degradations: (n,) the class of each candidate's photograph, followed by all other degradations detected in it.
        scores: (n,) values by metric.
        is_kept: (n,) whether people keep the candidate.
        keys: (n,) keys of the photographs.
        reasons: (n,) why people rejected it, "" where no reason is known; or empty.
    """

    gate: Gate
    degradations: Sequence[tuple[str, ...]]
    scores: Sequence[Mapping[str, float]]
    is_kept: Bools
    keys: Sequence[str]
    reasons: Sequence[str] = ()

    def select(self, mask: Bools) -> LabelledCandidates:
        """Return the candidates where the mask is true."""
        numbers = np.flatnonzero(mask).tolist()
        return LabelledCandidates(
            self.gate,
            [self.degradations[i] for i in numbers],
            [self.scores[i] for i in numbers],
            self.is_kept[mask],
            [self.keys[i] for i in numbers],
            [self.reasons[i] for i in numbers] if self.reasons else [],
        )

    def bounds_of(self, gate: Gate) -> Bounds:
        """Return the bounds of a gate with the values of these candidates."""
        return read_bounds(gate, self.degradations, self.scores)

    def refit_gate(self) -> Gate:
        """Return the gate with the decision of each class fitted to these candidates, if it has a decision."""
        classes = [degradations[0] for degradations in self.degradations]
        return refit(self.gate, classes, self.scores, self.is_kept, self.reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What gates that were fitted to other photographs make of each candidate.

    Attributes:
        is_accepted: (n,) whether the gate keeps it.
        reject_probability: (n,) the probability that people reject it; NaN if the gate has no decision.
    """

    is_accepted: Bools
    reject_probability: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted gate, and how reliable the fit is.

    Attributes:
        label_count: Number of labelled candidates.
        target: The stated rate of false accepts.
        needed_count: How many labelled candidates the gate must keep for the labels to show that rate.
        is_target_shown: Whether it keeps so many.
        is_target_held: Whether the stated rate holds under cross-validation.
        is_held_out: Whether `fitted` is measured on photographs that were left out; with one photograph it is not.
        present: Outcome of the gate that the fit started from.
        fitted: Outcome of the fitted gate, under cross-validation.
        changes: The bounds that change.
        gate: The gate with its refitted decision, and with its bounds as they were.
        signed_limits: (bounds,) the fitted limits of the bounds of `gate`, times the signs of the bounds.
        refitted_classes: Classes whose decision changes.
        held_out: What the gates of the cross-validation make of each candidate.
    """

    label_count: int
    target: float
    needed_count: int
    is_target_shown: bool
    is_target_held: bool
    is_held_out: bool
    present: Outcome
    fitted: Outcome
    changes: tuple[BoundChange, ...]
    gate: Gate
    signed_limits: Floats
    refitted_classes: tuple[str, ...]
    held_out: HeldOut


def calibrate(labelled: LabelledCandidates, *, target: float) -> Calibration:
    """Fit a gate to decisions of people: the decision of each labelled class, and then the bounds.

    If the gate keeps n labelled candidates and none of them is a false accept, the rate is below 3 / n at 95 % (the
    rule of three). So fewer than 3 / target of them cannot show the target, and the intervals of `fitted` say what the
    labels do show.

    Args:
        labelled: The candidates and the decisions; any number of them.
        target: The largest acceptable rate of false accepts, between 0 and 1.
    """
    needed_count = math.ceil(3 / target)
    aim, held_out, is_target_held = _choose_aim(labelled, target)
    is_held_out = held_out is not None
    gate, limits = _fit(labelled, aim)
    if held_out is None:
        held_out = _judge(labelled, gate, limits)
        is_target_held = _holds(held_out.is_accepted, labelled.is_kept, target)
    fitted_bounds = labelled.bounds_of(gate)
    present_bounds = labelled.bounds_of(labelled.gate)
    return Calibration(
        label_count=len(labelled.is_kept),
        target=target,
        needed_count=needed_count,
        is_target_shown=int(held_out.is_accepted.sum()) >= needed_count,
        is_target_held=is_target_held,
        is_held_out=is_held_out,
        present=outcome(present_bounds.margins(present_bounds.limits) >= 0, labelled.is_kept),
        fitted=outcome(held_out.is_accepted, labelled.is_kept),
        changes=tuple(
            BoundChange(bound=bound, limit=float(bound.sign * after))
            for bound, before, after in zip(fitted_bounds.bounds, fitted_bounds.limits, limits, strict=True)
            if after != before
        ),
        gate=gate,
        signed_limits=limits,
        refitted_classes=tuple(
            name for name, decision in gate.decision.items() if decision != labelled.gate.decision[name]
        ),
        held_out=held_out,
    )


def outcome(is_accepted: Bools, is_kept: Bools) -> Outcome:
    """Count what a gate makes of labelled candidates.

    Args:
        is_accepted: (n,) whether the gate keeps the candidate.
        is_kept: (n,) whether people keep it.
    """
    return Outcome(
        false_accepts=Rate(count=int((is_accepted & ~is_kept).sum()), of=int(is_accepted.sum())),
        kept=Rate(count=int((is_accepted & is_kept).sum()), of=int(is_kept.sum())),
    )


def _holds(is_accepted: Bools, is_kept: Bools, target: float) -> bool:
    return bool((is_accepted & ~is_kept).sum() <= target * is_accepted.sum())


def _fit(labelled: LabelledCandidates, aim: float) -> tuple[Gate, Floats]:
    """Return the gate with its refitted decision, and the fitted limits of its bounds times their signs."""
    gate = labelled.refit_gate()
    return gate, fit(labelled.bounds_of(gate), labelled.is_kept, aim, loosen=True)


def _judge(labelled: LabelledCandidates, gate: Gate, limits: Floats) -> HeldOut:
    good = np.ones(len(labelled.is_kept))
    classes = np.array([degradations[0] for degradations in labelled.degradations], object)
    for probability in decision_probabilities(gate, classes, labelled.scores).values():
        good *= 1.0 - probability
    return HeldOut(
        is_accepted=labelled.bounds_of(gate).margins(limits) >= 0,
        reject_probability=1.0 - good if gate.decision else np.full(len(good), np.nan),
    )


def _choose_aim(labelled: LabelledCandidates, target: float) -> tuple[float, HeldOut | None, bool]:
    """Return the largest aim of the fit with which the target holds under cross-validation.

    Returns:
        The aim; what the gates of the cross-validation make of each candidate, None if all candidates are of one
        photograph and none can be left out; and whether the target holds.
    """
    is_kept = labelled.is_kept
    shuffled = sorted(set(labelled.keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    fold_count = min(FOLDS, len(shuffled))
    if fold_count < 2:
        return target, None, False
    fold_of = {key: number % fold_count for number, key in enumerate(shuffled)}
    folds: npt.NDArray[np.int_] = np.array([fold_of[key] for key in labelled.keys])
    is_accepted, reject_probability = np.zeros(len(is_kept), bool), np.zeros(len(is_kept))
    for share in AIMS:
        for fold in range(fold_count):
            is_out = folds == fold
            judged = _judge(labelled.select(is_out), *_fit(labelled.select(~is_out), target * share))
            is_accepted[is_out], reject_probability[is_out] = judged.is_accepted, judged.reject_probability
        is_target_held = _holds(is_accepted, is_kept, target)
        if is_target_held:
            break
    return target * share, HeldOut(is_accepted=is_accepted, reject_probability=reject_probability), is_target_held
