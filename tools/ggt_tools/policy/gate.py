"""The gate file: every threshold, with its reason and its why; read and checked as a whole before anything is judged.

[must]                        # each holds, or the candidate is rejected for the rule's reason
structure = { min = 0.30, reason = "not_the_same_scene", why = "..." }
halo = { max = 5.0, unsure_above = 3.0, reason = "halos", why = "..." }  # between the two a person decides
vlm_fidelity = { min = 50, if_measured = true, reason = "vlm_unfaithful", why = "..." }  # asked where it was measured

[degradation.low_light]       # the same rules where the class differs; false takes a rule out
structure = { min = 0.10 }

[degradation."snow, rain"]    # several classes have one table; of two that name a class, the later one counts
shift = false

[gain.haze]                   # for each thing that is wrong with the photograph, one of `any` holds
reason = "haze_stays"
why = "..."
any = { haze_gain = { min = 0.05 }, contrast_gain = { min = 0.2 } }

[decision]                    # in the place of [gain.*], or with it: calibrated probabilities by class (decision.py)

[best]                        # of several candidates of one photograph: highest first, the next at a tie
by = ["quality_gain", "structure"]

[people]                      # may be left out: this is what holds then
votes = 1                     # so many people at least have to say so, and more than say the opposite
keep_over = ["unsure"]        # what their keep decides over
reject_over = ["unsure", "keep"]
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.degradations import SEEN
from ggt_tools.metrics.scorer import METRICS as MEASURED
from ggt_tools.policy.decision import NOT_FITTED, ClassDecision, Model, parse_decision
from ggt_tools.records import ALIGN_SCORES, UNCORRECTED
from ggt_tools.toml import as_table, known, parse_toml, read_text

# What align and screen leave as scores.
OTHER_METRICS = (
    *ALIGN_SCORES,
    *UNCORRECTED,
    "vlm_defects",
    "vlm_disagreement",
    "vlm_fidelity",
    "vlm_quality",
    "vlm_votes",
)
METRICS: tuple[str, ...] = tuple(sorted({*MEASURED, *OTHER_METRICS}))
BOUNDS = {"min": -math.inf, "unsure_below": -math.inf, "unsure_above": math.inf, "max": math.inf}  # in order of size
OTHER = "other"  # the gain asked of a photograph none of whose faults has a table of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Bounds of one metric, at least one of them finite: min <= unsure_below <= unsure_above <= max.

    Outside min and max a candidate is rejected; within them and outside the inner two it goes to review.
    """

    metric: str
    min: float = -math.inf
    unsure_below: float = -math.inf
    unsure_above: float = math.inf
    max: float = math.inf
    if_measured: bool = False  # what was not measured passes; without it, it is unsure
    reason: str
    why: str

    @property
    def stage(self) -> str:
        """The stage that measures the metric. What align measures counts as a score."""
        return "screen" if self.metric.startswith("vlm_") else "score"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What counts as a gain over one fault: any of the rules."""

    reason: str
    why: str
    any: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Which verdicts of the rules people's decisions replace."""

    votes: int = 1
    keep_over: tuple[str, ...] = ("unsure",)
    reject_over: tuple[str, ...] = ("unsure", "keep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gate file, checked."""

    id: str  # first 16 hex characters of `policy`
    policy: str  # SHA-256 of the file's text, hex
    text: str  # the file's, as it was read
    must: Mapping[str, tuple[Rule, ...]]  # by degradation
    gains: Mapping[str, Gain]  # by fault
    best: tuple[str, ...]  # metrics, higher is better
    people: People = People()
    decision: Mapping[str, ClassDecision] = field(default_factory=dict)  # by degradation; empty where it has none
    fitted_to: tuple[str, ...] = ()  # repositories of the labelled pairs that `decision` was fitted to

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics that some rule or fact asks for, sorted."""
        names = {rule.metric for rules in self.must.values() for rule in rules}
        names |= {rule.metric for gain in self.gains.values() for rule in gain.any}
        names |= {metric for model in self.models for metric in model.metrics}
        return tuple(sorted(names | set(self.best)))

    @property
    def reasons(self) -> tuple[str, ...]:
        """All reasons that a rule or fact of this gate can give, sorted."""
        names = {rule.reason for rules in self.must.values() for rule in rules}
        names |= {gain.reason for gain in self.gains.values()}
        names |= {reason for model in self.models for fact in model.facts for reason in fact.reasons}
        names |= {model.name for model in self.models}
        names |= {NOT_FITTED for decision in self.decision.values() if decision.fit == "none"}
        return tuple(sorted(names))

    @property
    def models(self) -> tuple[Model, ...]:
        """The models of all classes."""
        return tuple(model for decision in self.decision.values() for model in decision.models)

    def decision_rules(self, degradation: str) -> tuple[Rule, ...]:
        """The bounds of a class's probabilities as rules; empty where the gate has no decision."""
        decision = self.decision.get(degradation)
        return tuple(
            Rule(
                metric=model.name, unsure_above=model.unsure_above, max=model.max, reason=model.name,
                why=decision.data or "no data",
            )
            for model in decision.models
        ) if decision else ()  # fmt: skip


def load_gate(path: Path) -> Gate:
    """Read a gate file. ConfigError names the file, the fault and near names: no file, no TOML, a typo, no bound."""
    return parse_gate(path, read_text(path, "the gate"))


def parse_gate(path: Path, text: str) -> Gate:
    """The gate of a file's text; `path` is what its errors name."""
    data = parse_toml(path, text)
    where = str(path)
    known(where, data, ("must", "degradation", "gain", "best", "people", "decision"))
    for section in ("must", "best") if "decision" in data else ("must", "gain", "best"):
        _require(where, data, section)
    policy = hashlib.sha256(text.encode()).hexdigest()
    must = as_table(f"{where}: [must]", data["must"])
    overrides = as_table(f"{where}: [degradation]", data.get("degradation", {}))
    for name, override in overrides.items():
        known(f"{where}: [degradation]", _classes(name), DEGRADATIONS)
        known(f"{where}: [degradation.{name}]", as_table(f"{where}: [degradation.{name}]", override), must)
    gains = as_table(f"{where}: [gain]", data.get("gain", {}))
    known(f"{where}: [gain]", gains, (*DEGRADATIONS, *SEEN, OTHER))
    if "gain" in data:
        _require(f"{where}: [gain]", gains, OTHER)
    decision, fitted_to = (
        parse_decision(f"{where}: [decision]", data["decision"], DEGRADATIONS, METRICS)
        if "decision" in data
        else ({}, ())
    )
    best = as_table(f"{where}: [best]", data["best"])
    known(f"{where}: [best]", best, ("by",))
    by = best.get("by")
    if not isinstance(by, list) or not by:
        raise ConfigError(f"{where}: [best] by: a list of metrics is wanted, not {by!r}")
    known(f"{where}: [best] by", [str(name) for name in by], METRICS)
    return Gate(
        id=policy[:16],
        policy=policy,
        text=text,
        must={name: _must(where, must, tables_of(overrides, name)) for name in DEGRADATIONS},
        gains={name: _gain(f"{where}: [gain.{name}]", table) for name, table in gains.items()},
        best=tuple(by),
        people=_people(f"{where}: [people]", data.get("people", {})),
        decision=decision,
        fitted_to=fitted_to,
    )


def _people(where: str, value: Any) -> People:
    table = as_table(where, value)
    known(where, table, ("votes", "keep_over", "reject_over"))
    votes = table.get("votes", People().votes)
    if not isinstance(votes, int) or isinstance(votes, bool) or votes < 1:
        raise ConfigError(f"{where} votes: a whole number from 1 on is wanted, not {votes!r}")
    over = {"keep_over": ("unsure", "reject"), "reject_over": ("unsure", "keep")}
    chosen = {}
    for name, choices in over.items():
        listed = table.get(name, list(getattr(People(), name)))
        if not isinstance(listed, list):
            raise ConfigError(f"{where} {name}: a list is wanted, not {listed!r}")
        known(f"{where} {name}", [str(one) for one in listed], choices)
        chosen[name] = tuple(listed)
    return People(votes=votes, keep_over=chosen["keep_over"], reject_over=chosen["reject_over"])


def tables_of(overrides: Mapping[str, Any], degradation: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The tables below [degradation] that name a class, with their names, in the file's order."""
    return [(name, table) for name, table in overrides.items() if degradation in _classes(name)]


def _classes(name: str) -> list[str]:
    return [one.strip() for one in name.split(",")]


def _must(where: str, must: Mapping[str, Any], overrides: list[tuple[str, Mapping[str, Any]]]) -> tuple[Rule, ...]:
    rules = []
    for metric, table in must.items():
        place, merged, asked = f"{where}: [must]", dict(as_table(f"{where}: [must] {metric}", table)), True
        for name, override in overrides:
            changed = override.get(metric, {})
            asked = changed is not False and (asked or changed != {})
            if changed is not False and changed != {}:
                place = f"{where}: [degradation.{name}]"
                merged |= as_table(f"{place} {metric}", changed)
        if asked:
            rules.append(_rule(place, metric, merged))
    return tuple(rules)


def _gain(where: str, value: Any) -> Gain:
    table = as_table(where, value)
    known(where, table, ("reason", "why", "any"))
    reason, why = _texts(where, table)
    _require(where, table, "any")
    rules = as_table(f"{where} any", table["any"])
    if not rules:
        raise ConfigError(f"{where} any: no rule; a gain without one could never be reached")
    shared = {"reason": reason, "why": why}
    return Gain(
        reason=reason,
        why=why,
        any=tuple(_rule(f"{where} any", name, {**shared, **as_table(where, rule)}) for name, rule in rules.items()),
    )


def _rule(where: str, metric: str, table: Mapping[str, Any]) -> Rule:
    known(where, [metric], METRICS)
    where = f"{where} {metric}"
    known(where, table, (*BOUNDS, "if_measured", "reason", "why"))
    if not isinstance(if_measured := table.get("if_measured", False), bool):
        raise ConfigError(f"{where} if_measured: true or false is wanted, not {if_measured!r}")
    bounds = {}
    for name, absent in BOUNDS.items():
        bound = table.get(name, absent)
        number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
        # TOML knows nan, and whole numbers of any size
        if not number or not (abs(bound) < 1e300 or abs(bound) == math.inf):
            raise ConfigError(f"{where} {name}: a number is wanted, not {bound!r}")
        bounds[name] = float(bound)
    if all(math.isinf(bound) for bound in bounds.values()):
        raise ConfigError(f"{where}: a bound is wanted, one of {', '.join(BOUNDS)}")
    # Without a band for review the inner bound is the outer one
    inner = max(bounds["min"], bounds["unsure_below"]), min(bounds["unsure_above"], bounds["max"])
    if math.isfinite(bounds["unsure_below"]) and bounds["unsure_below"] < bounds["min"]:
        raise ConfigError(f"{where} unsure_below: {inner[0]:g} or more is wanted, as what is below min is rejected")
    if math.isfinite(bounds["unsure_above"]) and bounds["unsure_above"] > bounds["max"]:
        raise ConfigError(f"{where} unsure_above: {inner[1]:g} or less is wanted, as what is above max is rejected")
    if inner[0] > inner[1]:
        raise ConfigError(f"{where}: no value lies between its bounds {inner[0]:g} and {inner[1]:g}")
    reason, why = _texts(where, table)
    return Rule(
        metric=metric,
        min=bounds["min"],
        unsure_below=inner[0],
        unsure_above=inner[1],
        max=bounds["max"],
        if_measured=if_measured,
        reason=reason,
        why=why,
    )


def _texts(where: str, table: Mapping[str, Any]) -> tuple[str, str]:
    reason, why = table.get("reason"), table.get("why")
    if not isinstance(reason, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", reason):
        raise ConfigError(f"{where} reason: small letters, digits and _ are wanted, not {reason!r}")
    if not isinstance(why, str) or not why.strip():
        raise ConfigError(f"{where} why: the ground of the threshold is wanted, in words")
    return reason, why


def _require(where: str, table: Mapping[str, Any], name: str) -> None:
    if name not in table:
        raise ConfigError(f"{where}: {name!r} is missing")
