"""The decision of a gate: for each class the probability that a candidate is unfaithful, and that it gains nothing.

    [decision]
    fitted_to = ["owner/repository"]      # whose labelled pairs the numbers below were fitted to
    [decision.unfaithful]                 # the facts that make it more probable
    learned_content = { from = -4.0, to = 8.0, weight = 2.5, reason = "object_changed" }
    colourised = { metric = "colour_kept", from = 0.5, to = 2.0, weight = 1.0, reason = "colours_changed" }
    [decision.no_gain]
    learned_gain = { from = 6.0, to = -2.0, weight = 4.0, reason = "not_restored" }
    [decision.class.haze]
    fit = "own"                           # own | pooled | none
    data = "210 synthetic candidates, 6 real ones"
    false_accepts = "..."                 # what the two thresholds stand for, in words and counts
    false_rejects = "..."
    unfaithful = { intercept = -2.0, unsure_above = 0.2, max = 0.8, from = { colour_cast = 0.03 } }
    no_gain = { intercept = -2.5, unsure_above = 0.3, max = 0.9, unless = { haze_gain = { from = 0.05, to = 0.0 } } }

A fact adds nothing to the log-odds up to `from`, its whole `weight` at `to` and beyond, and a share of it between them;
where `to` is below `from`, low values are the bad ones. A fact may name several metrics of one unit,
`metric = ["fidelity_content", "fidelity_colour"]`: the worst of them counts. Weights are never negative, so that no
value of a fact that is worse makes a candidate look better. The sum of the class's intercept and of what the facts add
is the log-odds of the probability. A class may move the `from` of a fact, with its `to`, and give it another weight
(`weights`). Where one of the metrics in `unless` reaches its `from`, no fact of that probability adds anything in the
class; up to its `to`, all add in full; a share of it between them. So one of several gains is enough.

A candidate whose probability is above `unsure_above` goes to people, and above `max` it is rejected. A class whose
`fit` is "none" rejects nothing by its decision, and keeps nothing without people.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_tools.errors import ConfigError
from ggt_tools.toml import as_table, check_names

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Measured = Callable[[str], Floats]  # a metric's name in, (n,) values out, NaN where it was not measured

PROBABILITIES = ("unfaithful", "no_gain")
FITS = ("own", "pooled", "none")
NOT_FITTED = "class_not_fitted"  # the reason where a class has no fit
SHOWN = 3  # facts of each probability that the evidence lists
REASON = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One metric, or the worst of several, and what it adds to the log-odds of a probability."""

    name: str
    metric: str
    others: tuple[str, ...] = ()  # metrics of the same unit; the worst of them all counts
    start: float  # `from` in the file: up to here it adds nothing
    full: float  # `to` in the file: from here on it adds `weight`
    weight: float
    reason: str
    other_reasons: tuple[str, ...] = ()  # of `others`, where they have reasons of their own
    if_measured: bool = False  # where it was not measured it adds nothing; without it, the candidate is unsure

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics that it reads."""
        return (self.metric, *self.others)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reason that goes with each of its metrics."""
        return (self.reason, *(self.other_reasons or (self.reason,) * len(self.others)))

    def worst(self, measured: Measured) -> tuple[Floats, Ints]:
        """(n,) the worst value of its metrics, NaN where none was measured, and the place of the metric it is of."""
        columns = np.stack([measured(metric) for metric in self.metrics])
        is_high_bad = self.full > self.start
        ranked = np.where(np.isnan(columns), -np.inf if is_high_bad else np.inf, columns)
        places = (ranked.argmax(axis=0) if is_high_bad else ranked.argmin(axis=0)).astype(np.int64)
        return np.take_along_axis(columns, places[None], axis=0)[0], places

    def shares(self, values: Floats) -> Floats:
        """The share of the weight that each value adds, 0..1; NaN for NaN."""
        return np.clip((values - self.start) / (self.full - self.start), 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuse:
    """One metric of `unless`: at `start` the facts add nothing, at `full` all they can."""

    metric: str
    start: float
    full: float

    def shares(self, values: Floats) -> Floats:
        """The share of what the facts add that is left, 0..1; 1 where it was not measured."""
        return np.nan_to_num(np.clip((values - self.start) / (self.full - self.start), 0.0, 1.0), nan=1.0)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The probabilities of n candidates, and why."""

    probabilities: Floats  # (n,), NaN where a fact that is asked for was not measured
    contributions: Floats  # (n, facts), in log-odds; 0 where not measured
    missing: Ints  # (n,), the place of the first fact that was not measured and is asked for, or -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One probability for one class."""

    name: str  # one of PROBABILITIES
    intercept: float
    facts: tuple[Fact, ...]
    unsure_above: float
    max: float
    unless: tuple[Excuse, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that it reads."""
        return (*(metric for fact in self.facts for metric in fact.metrics), *(each.metric for each in self.unless))

    def evaluate(self, measured: Measured) -> Evaluation:
        """The probabilities of the candidates whose values `measured` returns."""
        columns = [fact.worst(measured)[0] for fact in self.facts]
        shares = np.stack([fact.shares(column) for fact, column in zip(self.facts, columns, strict=True)], axis=1)
        absent = np.isnan(shares)
        contributions = np.where(absent, 0.0, shares * np.array([fact.weight for fact in self.facts]))
        for excuse in self.unless:
            contributions *= excuse.shares(measured(excuse.metric))[:, None]
        wanted = absent & np.array([not fact.if_measured for fact in self.facts])
        missing = np.where(wanted.any(axis=1), wanted.argmax(axis=1), -1)
        log_odds = self.intercept + contributions.sum(axis=1)
        probabilities = 1.0 / (1.0 + np.exp(-log_odds))
        return Evaluation(np.where(missing >= 0, np.nan, probabilities), contributions, missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDecision:
    """Both probabilities of one class, and what they were fitted to."""

    fit: str  # one of FITS
    data: str
    false_accepts: str
    false_rejects: str
    models: tuple[Model, Model]  # in the order of PROBABILITIES


def parse_decision(
    where: str, value: Any, classes: Iterable[str], metrics: Iterable[str]
) -> tuple[dict[str, ClassDecision], tuple[str, ...]]:
    """The decision of each class, and the repositories that it was fitted to, of the table [decision].

    ConfigError names the place in the file and what is wrong there.
    """
    table = as_table(where, value)
    check_names(where, table, ("fitted_to", "class", *PROBABILITIES))
    classes, metrics = tuple(classes), tuple(metrics)
    fitted_to = table.get("fitted_to", [])
    if not isinstance(fitted_to, list) or not all(isinstance(name, str) for name in fitted_to):
        raise ConfigError(f"{where} fitted_to: {fitted_to!r} is not a list of names. Write fitted_to = [...].")
    facts = {name: _facts(f"{where[:-1]}.{name}]", table.get(name, {}), metrics) for name in PROBABILITIES}
    by_class = as_table(f"{where[:-1]}.class]", table.get("class", {}))
    check_names(f"{where[:-1]}.class]", by_class, classes)
    if absent := [name for name in classes if name not in by_class]:
        raise ConfigError(
            f'{where[:-1]}.class]: {", ".join(absent)} missing. Add a table for each; without data: fit = "none".'
        )
    decisions = {
        name: _class_decision(f"{where[:-1]}.class.{name}]", by_class[name], facts, metrics) for name in classes
    }
    return decisions, tuple(fitted_to)


def _facts(where: str, value: Any, metrics: tuple[str, ...]) -> tuple[Fact, ...]:
    facts = []
    for name, entry in as_table(where, value).items():
        place = f"{where} {name}"
        table = as_table(place, entry)
        check_names(place, table, ("metric", "from", "to", "weight", "reason", "if_measured"))
        named, reason, if_measured = table.get("metric", name), table.get("reason"), table.get("if_measured", False)
        listed = [str(each) for each in named] if isinstance(named, list) and named else [str(named)]
        check_names(place, listed, metrics)
        reasons: list[Any] = reason if isinstance(reason, list) else [reason]
        if not all(isinstance(each, str) and REASON.fullmatch(each) for each in reasons):
            raise ConfigError(
                f"{place} reason: {reason!r} is not a reason code. "
                "Start with a lower-case letter, then use lower-case letters, digits and _."
            )
        if len(reasons) not in (1, len(listed)):
            raise ConfigError(f"{place} reason: {len(reasons)} for {len(listed)} metrics. Give one, or one for each.")
        if not isinstance(if_measured, bool):
            raise ConfigError(f"{place} if_measured: {if_measured!r} is not a boolean. Write true or false.")
        start, full = (_number(place, key, table.get(key)) for key in ("from", "to"))
        if start == full:
            raise ConfigError(f"{place}: from and to are both {start:g}. Give two different values.")
        weight = _weight(place, table.get("weight"))
        facts.append(
            Fact(
                name=name,
                metric=listed[0],
                others=tuple(listed[1:]),
                start=start,
                full=full,
                weight=weight,
                reason=reasons[0],
                other_reasons=tuple(reasons[1:]),
                if_measured=if_measured,
            )
        )
    if not facts:
        raise ConfigError(f"{where}: no fact. Give at least one: NAME = {{ from, to, weight, reason }}.")
    return tuple(facts)


def _class_decision(
    where: str, value: Any, facts: Mapping[str, tuple[Fact, ...]], metrics: tuple[str, ...]
) -> ClassDecision:
    table = as_table(where, value)
    check_names(where, table, ("fit", "data", "false_accepts", "false_rejects", *PROBABILITIES))
    fit = table.get("fit")
    if fit not in FITS:
        raise ConfigError(f"{where} fit: {fit!r} is not one of {', '.join(FITS)}.")
    words = {name: table.get(name, "") for name in ("data", "false_accepts", "false_rejects")}
    for name, text in words.items():
        if not isinstance(text, str) or not (text.strip() or fit == "none"):
            raise ConfigError(f"{where} {name}: {text!r} is not a string. Describe the data in words and counts.")
    unfaithful, no_gain = (
        _model(f"{where} {name}", name, table.get(name), facts[name], metrics, is_fitted=fit != "none")
        for name in PROBABILITIES
    )
    return ClassDecision(fit=fit, models=(unfaithful, no_gain), **words)


def _model(
    where: str, name: str, value: Any, facts: tuple[Fact, ...], metrics: tuple[str, ...], *, is_fitted: bool
) -> Model:
    table = as_table(where, value)
    check_names(
        where, table, ("intercept", "from", "weights", "unless", *(("unsure_above", "max") if is_fitted else ()))
    )
    unsure_above, most = 0.0, 1.0  # without a fit everything is unsure
    if is_fitted:
        unsure_above, most = (_number(where, key, table.get(key)) for key in ("unsure_above", "max"))
    if not 0.0 <= unsure_above <= most <= 1.0:
        raise ConfigError(f"{where}: 0 <= unsure_above <= max <= 1 does not hold: {unsure_above:g} and {most:g}.")
    starts = as_table(f"{where} from", table.get("from", {}))
    weights = as_table(f"{where} weights", table.get("weights", {}))
    for key, overrides in (("from", starts), ("weights", weights)):
        check_names(f"{where} {key}", overrides, [fact.name for fact in facts])
    moved = []
    for fact in facts:
        start = _number(f"{where} from", fact.name, starts.get(fact.name, fact.start))
        weight = _weight(f"{where} weights {fact.name}", weights.get(fact.name, fact.weight))
        if weight > 0.0:  # a fact without weight is not asked for
            moved.append(replace(fact, start=start, full=fact.full + start - fact.start, weight=weight))
    if not moved:
        raise ConfigError(f"{where}: no fact has a weight above 0. Give one.")
    intercept = _number(where, "intercept", table.get("intercept"))
    unless = as_table(f"{where} unless", table.get("unless", {}))
    check_names(f"{where} unless", unless, metrics)
    return Model(
        name=name, intercept=intercept, facts=tuple(moved), unsure_above=unsure_above, max=most,
        unless=tuple(_excuse(f"{where} unless {metric}", metric, entry) for metric, entry in unless.items()),
    )  # fmt: skip


def _excuse(where: str, metric: str, value: Any) -> Excuse:
    table = as_table(where, value)
    check_names(where, table, ("from", "to"))
    start, full = (_number(where, key, table.get(key)) for key in ("from", "to"))
    if start == full:
        raise ConfigError(f"{where}: from and to are both {start:g}. Give two different values.")
    return Excuse(metric=metric, start=start, full=full)


def _number(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e300:
        raise ConfigError(f"{where} {key}: {value!r} is not a finite number.")
    return float(value)


def _weight(where: str, value: Any) -> float:
    weight = _number(where, "weight", value)
    if weight < 0.0:
        raise ConfigError(f"{where}: weight {weight:g} is below 0. Exchange from and to instead.")
    return weight


def highest(evaluation: Evaluation) -> tuple[Ints, Floats]:
    """(n, SHOWN) places of the facts that add most, the highest first, and what they add; 0 where fewer do."""
    contributions = evaluation.contributions
    if contributions.shape[1] < SHOWN:
        contributions = np.pad(contributions, ((0, 0), (0, SHOWN - contributions.shape[1])))
    places = np.argsort(-contributions, axis=1, kind="stable")[:, :SHOWN]
    return places.astype(np.int64), np.take_along_axis(contributions, places, axis=1)
