"""The bounds of a gate as arrays: how far inside all of them each of many candidates is.

A kept candidate is inside every bound. If a rule has a band for review, its bound here is the inner one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_tools.policy.decision import PROBABILITIES
from ggt_tools.policy.gate import Gate, Rule, tables_of
from ggt_tools.policy.verdicts import asked_gains
from ggt_tools.toml import parse_toml

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Names = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A bound of a gate file. It holds for a value where sign * value <= sign * limit.

    Attributes:
        path: The names that lead to it in the file: ("must", "halo", "max").
        metric: The metric, or the probability, that it limits.
        reason: Reason code of a rejection.
        sign: 1 for an upper bound, -1 for a lower one.
        limit: The bound.
        outermost: The bound of the same rule that rejects; an infinity if this one does.
        if_measured: Whether it also holds where the metric was not measured.
    """

    path: tuple[str, ...]
    metric: str
    reason: str
    sign: int
    limit: float
    outermost: float
    if_measured: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Rules of which one has to hold.

    Attributes:
        rules: The numbers of the bounds of each rule. A rule holds if all of its bounds do.
        applies: (candidates,) whether the group is asked of a candidate.
    """

    rules: tuple[tuple[int, ...], ...]
    applies: Bools


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a gate, and the values of n candidates.

    Attributes:
        bounds: The bounds.
        groups: The groups of rules.
        signed_values: (n, bounds) the values times the signs of the bounds. Where a metric was not measured: -inf if
            the bound then holds, else NaN.
    """

    bounds: tuple[Bound, ...]
    groups: tuple[Group, ...]
    signed_values: Floats

    @property
    def limits(self) -> Floats:
        """(bounds,) limits of the gate, times the signs of the bounds."""
        return np.array([bound.sign * bound.limit for bound in self.bounds])

    @property
    def spreads(self) -> Floats:
        """(bounds,) half the interquartile range of each metric's values; 1 if that is 0 or nothing was measured."""
        measured = [column[np.isfinite(column)] for column in self.signed_values.T]
        spreads = [np.subtract(*np.percentile(column, [75, 25])) / 2 if column.size else 0.0 for column in measured]
        return np.array([spread if spread > 0 else 1.0 for spread in spreads])

    def distances(self, limits: Floats, spreads: Floats | None = None) -> Floats:
        """Return how far inside each bound each value is, in the metric's unit or in spreads.

        Args:
            limits: (bounds,) limits times the signs of the bounds.
            spreads: (bounds,) units to measure in; None for the metrics' own.

        Returns:
            (n, bounds); negative outside, -inf where not measured.
        """
        with np.errstate(invalid="ignore"):
            distances = (limits - self.signed_values) / (1.0 if spreads is None else spreads)
        return np.where(np.isnan(distances), -np.inf, distances)

    def group_distances(self, distances: Floats) -> Floats:
        """Return how far inside the best rule of each group each candidate is: (n, groups), inf where not asked."""
        by_group = np.full((len(distances), len(self.groups)), np.inf)
        for number, group in enumerate(self.groups):
            best = np.max([distances[:, list(columns)].min(axis=1) for columns in group.rules], axis=0)
            by_group[group.applies, number] = best[group.applies]
        return by_group

    def margins(self, limits: Floats, spreads: Floats | None = None) -> Floats:
        """Return (n,) how far inside the whole gate each candidate is; it is kept from 0 on. See `distances`."""
        by_group = self.group_distances(self.distances(limits, spreads))
        return by_group.min(axis=1) if by_group.shape[1] else np.full(len(by_group), np.inf)


def read_bounds(gate: Gate, degradations: Sequence[tuple[str, ...]], scores: Sequence[Mapping[str, float]]) -> Bounds:
    """Return the bounds of a gate for n candidates.

    Args:
        gate: The gate.
        degradations: (n,) the class of each candidate's photograph, followed by its other degradations.
        scores: (n,) values by metric.
    """
    data = parse_toml(Path("gate"), gate.text)
    classes = np.array([names[0] for names in degradations], dtype=object)
    table = _BoundTable()
    groups = [
        *_must_groups(table, gate, data, classes),
        *_gain_groups(table, gate, data, degradations),
        *_decision_groups(table, gate, classes),
    ]
    probabilities = decision_probabilities(gate, classes, scores)
    by_metric = {
        metric: np.array([own.get(metric, math.nan) for own in scores], np.float64)
        for metric in {bound.metric for bound in table.bounds} - set(probabilities)
    }
    signed_values = np.empty((len(scores), len(table.bounds)))
    for number, bound in enumerate(table.bounds):
        values = probabilities if bound.metric in probabilities else by_metric
        signed_values[:, number] = bound.sign * values[bound.metric]
        if bound.if_measured:
            signed_values[np.isnan(signed_values[:, number]), number] = -np.inf
    return Bounds(tuple(table.bounds), tuple(groups), signed_values)


class _BoundTable:
    """The bounds of a gate, each once, however many classes share it."""

    def __init__(self) -> None:
        self.bounds: list[Bound] = []
        self._numbers: dict[tuple[str, ...], int] = {}

    def number(self, path: tuple[str, ...], rule: Rule, name: str) -> int:
        """Return the number of the bound at a path; add it if it is new. `name` is the last part of the path."""
        if path not in self._numbers:
            self._numbers[path] = len(self.bounds)
            is_upper = name in ("max", "unsure_above")
            self.bounds.append(
                Bound(
                    path=path,
                    metric=rule.metric,
                    reason=rule.reason,
                    sign=1 if is_upper else -1,
                    limit=rule.unsure_above if is_upper else rule.unsure_below,
                    outermost=_outermost(rule, name),
                    if_measured=rule.if_measured,
                )
            )
        return self._numbers[path]


def _must_groups(table: _BoundTable, gate: Gate, data: Mapping[str, Any], classes: Names) -> list[Group]:
    """Return the groups of the rules that all have to hold, one for each bound."""
    overrides: dict[str, Any] = data.get("degradation", {})
    applies: dict[int, Bools] = {}
    for degradation, rules in gate.must.items():
        for rule in rules:
            tables = {name: ("must",) for name in data["must"][rule.metric]}  # where each bound of the class is written
            for override_name, override in tables_of(overrides, degradation):
                tables |= {name: ("degradation", override_name) for name in override.get(rule.metric) or {}}
            own = {name: _entry(data, (*path, rule.metric))[name] for name, path in tables.items()}
            for name in _inner_names(rule, own):
                number = table.number((*tables[name], rule.metric, name), rule, name)
                applies[number] = applies.get(number, np.zeros(len(classes), bool)) | (classes == degradation)
    return [Group(((number,),), own_classes) for number, own_classes in applies.items()]


def _gain_groups(
    table: _BoundTable, gate: Gate, data: Mapping[str, Any], degradations: Sequence[tuple[str, ...]]
) -> list[Group]:
    """Return the groups of the gains, of whose rules one has to hold."""
    asked = [asked_gains(names, gate) for names in degradations]
    groups = []
    for degradation, gain in gate.gains.items():
        path = ("gain", degradation, "any")
        tables = data["gain"][degradation]["any"]
        rules = tuple(
            tuple(
                table.number((*path, rule.metric, name), rule, name) for name in _inner_names(rule, tables[rule.metric])
            )
            for rule in gain.any
        )
        groups.append(Group(rules, np.array([degradation in names for names in asked], bool)))
    return groups


def _decision_groups(table: _BoundTable, gate: Gate, classes: Names) -> list[Group]:
    """Return the groups of the probabilities of the gate's decision."""
    groups = []
    for degradation in gate.decision:
        for rule in gate.decision_rules(degradation):
            path = ("decision", "class", degradation, rule.metric, "unsure_above")
            groups.append(Group(((table.number(path, rule, "unsure_above"),),), classes == degradation))
    return groups


def decision_probabilities(gate: Gate, classes: Names, scores: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """Return each probability of the gate's decision for n candidates, by name; nothing if the gate has no decision.

    Args:
        gate: The gate.
        classes: (n,) class of each candidate's photograph.
        scores: (n,) values by metric.

    Returns:
        (n,) probabilities by name; NaN for classes without a decision.
    """
    probabilities = {name: np.full(len(scores), math.nan) for name in PROBABILITIES if gate.decision}
    for degradation in set(classes.tolist()) & set(gate.decision):
        numbers = np.flatnonzero(classes == degradation)
        for model in gate.decision[degradation].models:
            evaluation = model.evaluate(
                lambda metric, numbers=numbers: np.array(  # type: ignore[misc]
                    [scores[i].get(metric, math.nan) for i in numbers], np.float64
                )
            )
            probabilities[model.name][numbers] = evaluation.probabilities
    return probabilities


def _entry(data: Mapping[str, Any], path: Iterable[str]) -> Mapping[str, Any]:
    for name in path:
        data = data[name]
    return data


def _inner_names(rule: Rule, table: Mapping[str, Any]) -> list[str]:
    """Return the names of the bounds that a kept value must not pass."""
    names = []
    if math.isfinite(rule.unsure_below):
        names.append("unsure_below" if math.isfinite(table.get("unsure_below", -math.inf)) else "min")
    if math.isfinite(rule.unsure_above):
        names.append("unsure_above" if math.isfinite(table.get("unsure_above", math.inf)) else "max")
    return names


def _outermost(rule: Rule, name: str) -> float:
    return {"unsure_below": rule.min, "unsure_above": rule.max, "min": -math.inf, "max": math.inf}[name]
