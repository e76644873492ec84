"""The gate file: every threshold with its reason and why it has this value. It is checked before anything is judged.

[must]                        # every rule must hold; otherwise the candidate is rejected for the reason of the rule
structure = { min = 0.30, reason = "not_the_same_scene", why = "..." }
halo = { max = 5.0, unsure_above = 3.0, reason = "halos", why = "..." }  # between both, people decide
vlm_fidelity = { min = 50, if_measured = true, reason = "vlm_unfaithful", why = "..." }  # only where it was measured

[degradation.low_light]       # the same rules, changed for a class; false removes a rule
structure = { min = 0.10 }

[degradation."snow, rain"]    # one table for several classes; the last table that names a class counts
shift = false

[gain.haze]                   # for each degradation of the photograph, one of `any` must hold
reason = "haze_stays"
why = "..."
any = { haze_gain = { min = 0.05 }, contrast_gain = { min = 0.2 } }

[decision]                    # instead of [gain.*], or with it: calibrated probabilities by class (decision.py)

[best]                        # of several candidates of one photograph: the highest value; at a tie, the next metric
by = ["quality_gain", "structure"]

[people]                      # may be left out; these are the defaults
votes = 1                     # this many people at least must agree, and more than disagree
keep_over = ["unsure"]        # which decisions of the rules a keep replaces
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
from ggt_tools.imaging.degradations import DETECTABLE
from ggt_tools.metrics.scorer import METRICS as MEASURED
from ggt_tools.policy.decision import NOT_FITTED, ClassDecision, Model, parse_decision
from ggt_tools.records import ALIGN_SCORES, UNCORRECTED
from ggt_tools.toml import as_table, check_names, parse_toml, read_text

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
FLAG_METRIC = re.compile(r"photo_[a-z0-9_]+|reply_c2pa")  # a flag as `score --metrics flags` leaves it
METRICS: tuple[str, ...] = tuple(sorted({*MEASURED, *OTHER_METRICS}))
BOUNDS = {"min": -math.inf, "unsure_below": -math.inf, "unsure_above": math.inf, "max": math.inf}  # in order of size
OTHER = "other"  # the gain for a photograph none of whose degradations has a table of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Bounds of one metric, at least one of them finite: min <= unsure_below <= unsure_above <= max.

    Outside min and max, a candidate is rejected. Within them but outside the inner bounds, it goes to review.
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
        """The stage that measures the metric: screen, or score, which includes what align measures."""
        return "screen" if self.metric.startswith("vlm_") else "score"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What counts as a gain for one degradation: any of the rules."""

    reason: str
    why: str
    any: tuple[Rule, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Which decisions of the rules the votes of reviewers replace."""

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
    gains: Mapping[str, Gain]  # by degradation
    best: tuple[str, ...]  # metrics, higher is better
    people: People = People()
    decision: Mapping[str, ClassDecision] = field(default_factory=dict)  # by degradation; empty where it has none
    fitted_to: tuple[str, ...] = ()  # repositories of the labelled pairs that `decision` was fitted to

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics that a rule or a fact uses, sorted."""
        names = {rule.metric for rules in self.must.values() for rule in rules}
        names |= {rule.metric for gain in self.gains.values() for rule in gain.any}
        names |= {metric for model in self.models for metric in model.metrics}
        return tuple(sorted(names | set(self.best)))

    @property
    def reasons(self) -> tuple[str, ...]:
        """All reason codes that a rule or a fact of this gate can give, sorted."""
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
        """Return the bounds of a class's probabilities as rules; () if the gate has no [decision]."""
        decision = self.decision.get(degradation)
        return tuple(
            Rule(
                metric=model.name, unsure_above=model.unsure_above, max=model.max, reason=model.name,
                why=decision.data or "no data",
            )
            for model in decision.models
        ) if decision else ()  # fmt: skip


def load_gate(path: Path) -> Gate:
    """Read a gate file.

    Raises:
        ConfigError: The file cannot be read or parsed, or has an unknown name, a wrong value or a rule without bounds.
    """
    return parse_gate(path, read_text(path, "the gate"))


def parse_gate(path: Path, text: str) -> Gate:
    """Parse the text of a gate file. `path` is the name in error messages. Raises ConfigError."""
    data = parse_toml(path, text)
    where = str(path)
    check_names(where, data, ("must", "degradation", "gain", "best", "people", "decision"))
    for section in ("must", "best") if "decision" in data else ("must", "gain", "best"):
        _require(where, data, section)
    policy = hashlib.sha256(text.encode()).hexdigest()
    must = as_table(f"{where}: [must]", data["must"])
    overrides = as_table(f"{where}: [degradation]", data.get("degradation", {}))
    for name, override in overrides.items():
        check_names(f"{where}: [degradation]", _classes(name), DEGRADATIONS)
        check_names(f"{where}: [degradation.{name}]", as_table(f"{where}: [degradation.{name}]", override), must)
    gains = as_table(f"{where}: [gain]", data.get("gain", {}))
    check_names(f"{where}: [gain]", gains, (*DEGRADATIONS, *DETECTABLE, OTHER))
    if "gain" in data:
        _require(f"{where}: [gain]", gains, OTHER)
    decision, fitted_to = (
        parse_decision(f"{where}: [decision]", data["decision"], DEGRADATIONS, METRICS)
        if "decision" in data
        else ({}, ())
    )
    best = as_table(f"{where}: [best]", data["best"])
    check_names(f"{where}: [best]", best, ("by",))
    by = best.get("by")
    if not isinstance(by, list) or not by:
        raise ConfigError(f"{where}: [best] by: {by!r} is not a list of metrics. Name one metric or more.")
    check_names(f"{where}: [best] by", [str(name) for name in by], METRICS)
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
    check_names(where, table, ("votes", "keep_over", "reject_over"))
    votes = table.get("votes", People().votes)
    if not isinstance(votes, int) or isinstance(votes, bool) or votes < 1:
        raise ConfigError(f"{where} votes: {votes!r} is not a whole number of 1 or more.")
    over = {"keep_over": ("unsure", "reject"), "reject_over": ("unsure", "keep")}
    chosen = {}
    for name, choices in over.items():
        listed = table.get(name, list(getattr(People(), name)))
        if not isinstance(listed, list):
            raise ConfigError(f"{where} {name}: {listed!r} is not a list. Write a list of decisions.")
        check_names(f"{where} {name}", [str(one) for one in listed], choices)
        chosen[name] = tuple(listed)
    return People(votes=votes, keep_over=chosen["keep_over"], reject_over=chosen["reject_over"])


def tables_of(overrides: Mapping[str, Any], degradation: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the tables below [degradation] that name a class, with their names, in the order of the file."""
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
    check_names(where, table, ("reason", "why", "any"))
    reason, why = _texts(where, table)
    _require(where, table, "any")
    rules = as_table(f"{where} any", table["any"])
    if not rules:
        raise ConfigError(f"{where} any: has no rule, so the gain could never be reached. Add a rule.")
    shared = {"reason": reason, "why": why}
    return Gain(
        reason=reason,
        why=why,
        any=tuple(_rule(f"{where} any", name, {**shared, **as_table(where, rule)}) for name, rule in rules.items()),
    )


def _rule(where: str, metric: str, table: Mapping[str, Any]) -> Rule:
    if not FLAG_METRIC.fullmatch(metric):
        check_names(where, [metric], METRICS)
    where = f"{where} {metric}"
    check_names(where, table, (*BOUNDS, "if_measured", "reason", "why"))
    if not isinstance(if_measured := table.get("if_measured", False), bool):
        raise ConfigError(f"{where} if_measured: {if_measured!r} is neither true nor false.")
    bounds = {}
    for name, absent in BOUNDS.items():
        bound = table.get(name, absent)
        number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
        # TOML knows nan, and whole numbers of any size
        if not number or not (abs(bound) < 1e300 or abs(bound) == math.inf):
            raise ConfigError(f"{where} {name}: {bound!r} is not a number.")
        bounds[name] = float(bound)
    if all(math.isinf(bound) for bound in bounds.values()):
        raise ConfigError(f"{where}: has no bound. Give one of {', '.join(BOUNDS)}.")
    # Without a band for review the inner bound is the outer one
    inner = max(bounds["min"], bounds["unsure_below"]), min(bounds["unsure_above"], bounds["max"])
    if math.isfinite(bounds["unsure_below"]) and bounds["unsure_below"] < bounds["min"]:
        raise ConfigError(
            f"{where} unsure_below: is below min, where a candidate is rejected. Give {inner[0]:g} or more."
        )
    if math.isfinite(bounds["unsure_above"]) and bounds["unsure_above"] > bounds["max"]:
        raise ConfigError(
            f"{where} unsure_above: is above max, where a candidate is rejected. Give {inner[1]:g} or less."
        )
    if inner[0] > inner[1]:
        raise ConfigError(f"{where}: there is no value between its bounds {inner[0]:g} and {inner[1]:g}")
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
        raise ConfigError(
            f"{where} reason: {reason!r} is not a reason code. "
            "Start with a lower-case letter, then use lower-case letters, digits and _."
        )
    if not isinstance(why, str) or not why.strip():
        raise ConfigError(f"{where} why: is missing. Say why the threshold has this value.")
    return reason, why


def _require(where: str, table: Mapping[str, Any], name: str) -> None:
    if name not in table:
        raise ConfigError(f"{where}: {name!r} is missing")
