"""The gate's bounds as arrays: how far within all of them each candidate lies, for many candidates at once.

A kept candidate lies within every bound here. Of a rule with a band for review it is the inner one.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One bound of a gate file. A value holds where sign * value <= sign * limit."""

    place: tuple[str, ...]  # the keys that lead to it: ("must", "halo", "max")
    metric: str
    reason: str
    sign: int  # 1 for an upper bound, -1 for a lower one
    limit: float
    outermost: float  # where a value is rejected; an infinity where this bound is the one that rejects
    if_measured: bool  # what was not measured holds


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the bounds: one of `rules` holds, with all its columns, for each candidate of `applies`."""

    rules: tuple[tuple[int, ...], ...]
    applies: Bools  # (candidates,)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a gate, and for n candidates their values times the bounds' signs."""

    bounds: tuple[Bound, ...]
    groups: tuple[Group, ...]
    signed: Floats  # (n, bounds), where not measured NaN, or -inf where that holds

    @property
    def limits(self) -> Floats:
        """(bounds,): the gate's limits times their signs."""
        return np.array([bound.sign * bound.limit for bound in self.bounds])

    @property
    def spreads(self) -> Floats:
        """(bounds,): half the range of the middle half of each metric's values, 1 where there is none."""
        known = [column[np.isfinite(column)] for column in self.signed.T]
        spreads = [np.subtract(*np.percentile(column, [75, 25])) / 2 if column.size else 0.0 for column in known]
        return np.array([spread if spread > 0 else 1.0 for spread in spreads])

    def of(self, which: Bools) -> Bounds:
        """The same bounds for some of the candidates."""
        groups = tuple(Group(group.rules, group.applies[which]) for group in self.groups)
        return Bounds(self.bounds, groups, self.signed[which])

    def apart(self, limits: Floats, spreads: Floats | None = None) -> Floats:
        """(n, bounds): how far within each bound a value lies, in its unit or in spreads; -inf where not measured."""
        with np.errstate(invalid="ignore"):
            far = (limits - self.signed) / (1.0 if spreads is None else spreads)
        return np.where(np.isnan(far), -np.inf, far)

    def by_group(self, apart: Floats) -> Floats:
        """(n, groups): how far within the best rule of each group; inf for candidates it is not asked of."""
        far = np.full((len(apart), len(self.groups)), np.inf)
        for at, group in enumerate(self.groups):
            best = np.max([apart[:, list(columns)].min(axis=1) for columns in group.rules], axis=0)
            far[group.applies, at] = best[group.applies]
        return far

    def margins(self, limits: Floats, spreads: Floats | None = None) -> Floats:
        """(n,): how far within the whole gate; 0 and above is kept."""
        far = self.by_group(self.apart(limits, spreads))
        return far.min(axis=1) if far.shape[1] else np.full(len(far), np.inf)


def bounds(gate: Gate, wrong: Sequence[tuple[str, ...]], values: Sequence[Mapping[str, float]]) -> Bounds:
    """The bounds of `gate` for n candidates: what is wrong with the photograph of each, its class first, and scores."""
    data = parse_toml(Path("gate"), gate.text)
    overrides: dict[str, Any] = data.get("degradation", {})
    columns: dict[tuple[str, ...], int] = {}
    found: list[Bound] = []

    def column(place: tuple[str, ...], rule: Rule, name: str) -> int:
        if place not in columns:
            columns[place] = len(found)
            upper = name in ("max", "unsure_above")
            found.append(
                Bound(
                    place=place,
                    metric=rule.metric,
                    reason=rule.reason,
                    sign=1 if upper else -1,
                    limit=rule.unsure_above if upper else rule.unsure_below,
                    outermost=_outermost(rule, name),
                    if_measured=rule.if_measured,
                )
            )
        return columns[place]

    classes = np.array([names[0] for names in wrong], dtype=object)
    alone: dict[int, Bools] = {}
    for degradation, rules in gate.must.items():
        for rule in rules:
            places = {name: ("must",) for name in data["must"][rule.metric]}  # of each bound that counts for the class
            for table, override in tables_of(overrides, degradation):
                places |= {name: ("degradation", table) for name in override.get(rule.metric) or {}}
            own = {name: _at(data, (*place, rule.metric))[name] for name, place in places.items()}
            for name in _inner(rule, own):
                at = column((*places[name], rule.metric, name), rule, name)
                alone[at] = alone.get(at, np.zeros(len(classes), bool)) | (classes == degradation)
    groups = [Group(((at,),), applies) for at, applies in alone.items()]
    asked = [asked_gains(names, gate) for names in wrong]
    for fault, gain in gate.gains.items():
        place = ("gain", fault, "any")
        tables = data["gain"][fault]["any"]
        rules_of = tuple(
            tuple(column((*place, rule.metric, name), rule, name) for name in _inner(rule, tables[rule.metric]))
            for rule in gain.any
        )
        groups.append(Group(rules_of, np.array([fault in names for names in asked], bool)))
    probabilities = decided(gate, classes, values)
    for degradation in gate.decision:
        for rule in gate.decision_rules(degradation):
            at = column(("decision", "class", degradation, rule.metric, "unsure_above"), rule, "unsure_above")
            groups.append(Group(((at,),), classes == degradation))
    by_metric = {
        metric: np.array([scores.get(metric, math.nan) for scores in values], np.float64)
        for metric in {bound.metric for bound in found} - set(probabilities)
    }
    signed = np.empty((len(values), len(found)))
    for at, bound in enumerate(found):
        signed[:, at] = bound.sign * (probabilities if bound.metric in probabilities else by_metric)[bound.metric]
        if bound.if_measured:
            signed[np.isnan(signed[:, at]), at] = -np.inf
    return Bounds(tuple(found), tuple(groups), signed)


def decided(gate: Gate, classes: npt.NDArray[np.object_], values: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """Each probability of the gate's decision for n candidates, by name; none where the gate has no decision."""
    found = {name: np.full(len(values), math.nan) for name in PROBABILITIES if gate.decision}
    for degradation in set(classes.tolist()) & set(gate.decision):
        places = np.flatnonzero(classes == degradation)
        for model in gate.decision[degradation].models:
            evaluation = model.evaluate(
                lambda metric, places=places: np.array(  # type: ignore[misc]
                    [values[at].get(metric, math.nan) for at in places], np.float64
                )
            )
            found[model.name][places] = evaluation.probabilities
    return found


def _at(data: Mapping[str, Any], place: Iterable[str]) -> Mapping[str, Any]:
    for name in place:
        data = data[name]
    return data


def _inner(rule: Rule, table: Mapping[str, Any]) -> list[str]:
    """The names of the bounds that a kept value must not pass."""
    names = []
    if math.isfinite(rule.unsure_below):
        names.append("unsure_below" if math.isfinite(table.get("unsure_below", -math.inf)) else "min")
    if math.isfinite(rule.unsure_above):
        names.append("unsure_above" if math.isfinite(table.get("unsure_above", math.inf)) else "max")
    return names


def _outermost(rule: Rule, name: str) -> float:
    return {"unsure_below": rule.min, "unsure_above": rule.max, "min": -math.inf, "max": math.inf}[name]
