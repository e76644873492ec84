"""Logistic regression for the gate's decision: weights that are never negative, each pulled towards a prior value.

The weights are shared by all classes, and each class has an offset of its own. With few labels the fit stays near the
prior; the more labels there are, the less the prior counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_STEPS = 4000
TOLERANCE = 1e-7


@dataclass(frozen=True, slots=True)
class Fit:
    """Log-odds of a candidate: offset of its class + the sum of shares times weights."""

    weights: Floats  # (facts,), >= 0
    offsets: Floats  # (classes,)

    def log_odds(self, shares: Floats, classes: Ints) -> Floats:
        """(n,), of (n, facts) shares and the (n,) numbers of the classes."""
        return np.asarray(shares @ self.weights + self.offsets[classes], np.float64)


def fit_logistic(
    shares: Floats,
    is_bad: Bools,
    classes: Ints,
    prior: Fit,
    *,
    importance: Floats | None = None,
    weight_pull: float,
    offset_pull: float,
    common_pull: float | None = None,
) -> Fit:
    """Fit weights and class offsets to n candidates.

    Args:
        shares: (n, facts) in 0..1, of Fact.shares; 0 where a fact was not measured.
        is_bad: (n,), what the probability is of.
        classes: (n,) numbers of rows in `prior.offsets`.
        prior: where the fit stays without data.
        importance: (n,) weights of the candidates; 1 each without it.
        weight_pull: how strongly each weight is pulled to the prior's, as the precision of a normal distribution.
        offset_pull: the same for each class's offset from what all classes have in common.
        common_pull: the same for that common part, from the prior's; without it there is no common part.

    Returns:
        The maximum of the penalised likelihood, found by accelerated projected gradient steps (Beck, Teboulle, SIAM
        Journal on Imaging Sciences 2, 2009).
    """
    count, facts = shares.shape
    groups = len(prior.offsets)
    importance = np.ones(count) if importance is None else importance
    # Columns: the facts, a constant that all classes share, and one column for each class
    design = np.zeros((count, facts + 1 + groups))
    design[:, :facts] = shares
    design[:, facts] = 1.0
    design[np.arange(count), facts + 1 + classes] = 1.0
    if common_pull is None:
        design[:, facts] = 0.0  # its coefficient stays 0
    pull = np.concatenate([np.full(facts, weight_pull), [common_pull or 0.0], np.full(groups, offset_pull)])
    goal = np.concatenate([prior.weights, np.zeros(1 + groups)])
    base = prior.offsets[classes]
    curvature = 0.25 * float(np.linalg.eigvalsh((design * importance[:, None]).T @ design)[-1]) + float(pull.max())
    now, ahead, momentum = goal.copy(), goal.copy(), 1.0
    target = is_bad.astype(np.float64)
    for _ in range(MAX_STEPS):
        odds = np.clip(base + design @ ahead, -500, 500)
        slope = design.T @ (importance * (1.0 / (1.0 + np.exp(-odds)) - target)) + pull * (ahead - goal)
        after = ahead - slope / curvature
        after[:facts] = np.maximum(after[:facts], 0.0)
        step = after - now
        if float((ahead - after) @ step) > 0:  # the momentum leads away from the minimum: begin it anew
            momentum = 1.0
        faster = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
        ahead = after + (momentum - 1.0) / faster * step
        now, momentum = after, faster
        if float(np.abs(step).max()) < TOLERANCE:
            break
    return Fit(now[:facts], prior.offsets + now[facts] + now[facts + 1 :])
