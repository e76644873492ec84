"""The decision of a gate, fitted anew to labels: for the classes that the labels are of, from what the gate says.

Each class keeps its facts. Its intercept moves freely, its weights little, so that a few labels correct where a class
lies, and many also what counts there. A class without labels stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ggt_tools.policy.decision import ClassDecision, Model
from ggt_tools.policy.gate import Gate
from ggt_tools.policy.logistic import Bools, Fit, Floats, fit_logistic

WEIGHT_PULL = 4.0  # precision of a weight about the gate's: its change has a standard deviation of 0.5 log-odds
OFFSET_PULL = 0.25  # and of an intercept, 2 log-odds


def refit(
    gate: Gate,
    classes: Sequence[str],
    scores: Sequence[Mapping[str, float]],
    is_kept: Bools,
    reasons: Sequence[str] = (),
) -> Gate:
    """The gate with the decision of each labelled class fitted to the labels.

    Args:
        gate: where the fit begins, and stays without labels.
        classes: (n,) class of each labelled candidate.
        scores: (n,) values by metric.
        is_kept: (n,), whether people keep it.
        reasons: (n,) why people rejected it, where they said so. A reason of a probability's facts, or its name, counts
            for that probability; any other counts for the one that the gate finds more probable.
    """
    if not gate.decision:
        return gate
    named = np.array(classes, object)
    said = list(reasons) or [""] * len(named)
    decision = dict(gate.decision)
    for degradation in dict.fromkeys(classes):
        places = np.flatnonzero(named == degradation).tolist()
        mine = [scores[at] for at in places]
        decision[degradation] = _refit_class(
            gate.decision[degradation], mine, is_kept[places], [said[at] for at in places]
        )
    return replace(gate, decision=decision)


def values_of(scores: Sequence[Mapping[str, float]], metric: str) -> Floats:
    """(n,), NaN where it was not measured."""
    return np.array([values.get(metric, math.nan) for values in scores], np.float64)


def _refit_class(
    decided: ClassDecision, scores: Sequence[Mapping[str, float]], is_kept: Bools, reasons: Sequence[str]
) -> ClassDecision:
    evaluations = [model.evaluate(lambda metric: values_of(scores, metric)) for model in decided.models]
    blames = np.array(
        [
            _blamed(decided, reason, *(float(e.probabilities[at]) for e in evaluations))
            for at, reason in enumerate(reasons)
        ]
    )
    models = []
    for number, model in enumerate(decided.models):
        known = (is_kept | (blames == number)) & (evaluations[number].missing < 0)
        values = [fact.worst(lambda metric: values_of(scores, metric))[0] for fact in model.facts]
        shares = np.stack(
            [np.nan_to_num(fact.shares(column)) for fact, column in zip(model.facts, values, strict=True)], axis=1
        )
        for excuse in model.unless:
            shares *= excuse.shares(values_of(scores, excuse.metric))[:, None]
        models.append(_refit_model(model, shares[known], ~is_kept[known]) if known.any() else model)
    # What was never fitted has no thresholds that mean anything: those of an even chance
    if decided.fit == "none":
        models = [replace(model, unsure_above=0.5, max=0.95) for model in models]
    return replace(decided, fit="own", models=(models[0], models[1]))


def _blamed(decided: ClassDecision, reason: str, unfaithful: float, no_gain: float) -> int:
    """Which probability a person's rejection counts for, 0 or 1."""
    for number, model in enumerate(decided.models):
        if reason == model.name or any(reason in fact.reasons for fact in model.facts):
            return number
    return int(not math.isnan(no_gain) and (math.isnan(unfaithful) or no_gain > unfaithful))


def _refit_model(model: Model, shares: Floats, is_bad: Bools) -> Model:
    prior = Fit(np.array([fact.weight for fact in model.facts]), np.array([model.intercept]))
    found = fit_logistic(
        shares, is_bad, np.zeros(len(shares), np.int64), prior, weight_pull=WEIGHT_PULL, offset_pull=OFFSET_PULL
    )  # fmt: skip
    facts = tuple(replace(fact, weight=float(w)) for fact, w in zip(model.facts, found.weights, strict=True))
    return replace(model, intercept=float(found.offsets[0]), facts=facts)
