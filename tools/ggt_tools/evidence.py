"""The evidence of a verdict: what the gate compared or heard, one typed item for each line.

It is stored and passed on as values. Only the index, the JSON of a pair and pages show it as text: `str(item)`, which
is format 1. parse_evidence() reads such text. The two types of which there are dozens in a verdict are named tuples,
which take a third of the time to make.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

HOLDS, UNSURE, BREAKS, UNMEASURED = "holds", "unsure", "breaks", "unmeasured"
MIN, MAX = "min", "max"
# By side and outcome what stands between value and bound
SIGNS = {
    (MIN, HOLDS): ">=", (MIN, UNSURE): "<", (MIN, BREAKS): "<",
    (MAX, HOLDS): "<=", (MAX, UNSURE): ">", (MAX, BREAKS): ">",
}  # fmt: skip


class Evidence(NamedTuple):
    """One bound of a rule, or of a probability, and the value that was compared with it.

    Attributes:
        metric: Name of the metric or probability.
        value: Its value, rounded to three decimals; NaN if it was not measured.
        bound: The bound that decided; NaN if the metric was not measured.
        outcome: holds, unsure, breaks or unmeasured.
        side: min or max, which kind of bound it is; "" if the metric was not measured.
    """

    metric: str
    value: float
    bound: float
    outcome: str
    side: str

    def __str__(self) -> str:
        if self.outcome == UNMEASURED:
            return f"{self.metric} unmeasured"
        unsure = " unsure" if self.outcome == UNSURE else ""
        return f"{self.metric} {self.value:.3f} {SIGNS[self.side, self.outcome]} {self.bound:.3f}{unsure}"

    @classmethod
    def unmeasured(cls, metric: str) -> Evidence:
        """Return the evidence of a metric that was not measured."""
        return cls(metric, math.nan, math.nan, UNMEASURED, "")


class Contribution(NamedTuple):
    """One of the facts that add most to a probability.

    Attributes:
        probability: Name of the probability.
        metric: Name of the fact's metric.
        value: Its value, rounded to three decimals.
        log_odds: What it adds to the log-odds, rounded to three decimals.
    """

    probability: str
    metric: str
    value: float
    log_odds: float

    def __str__(self) -> str:
        return f"{self.probability}: {self.metric} {self.value:.3f} adds {self.log_odds:.3f}"


@dataclass(frozen=True, slots=True)
class ReviewVotes:
    """How many reviewers keep and reject a candidate, and the decision of the rules alone."""

    keep: int
    reject: int
    rules_decision: str

    def __str__(self) -> str:
        return f"people: {self.keep} keep, {self.reject} reject; the rules say {self.rules_decision}"


@dataclass(frozen=True, slots=True)
class BetterCandidate:
    """The candidate of the same photograph that is kept instead."""

    candidate: str

    def __str__(self) -> str:
        return f"the best is {self.candidate}"


@dataclass(frozen=True, slots=True)
class PriorReason:
    """Why a pair is shipped as a visual prior only: the reason for which its candidate was rejected."""

    reason: str

    def __str__(self) -> str:
        return f"prior: {self.reason}"


@dataclass(frozen=True, slots=True)
class OtherEvidence:
    """A line of text that no other type of evidence renders, from an older ledger or a foreign release."""

    text: str

    def __str__(self) -> str:
        return self.text


EvidenceItem = Evidence | Contribution | ReviewVotes | BetterCandidate | PriorReason | OtherEvidence
TYPES: dict[str, type[Any]] = {
    "rule": Evidence,
    "contribution": Contribution,
    "votes": ReviewVotes,
    "better": BetterCandidate,
    "prior": PriorReason,
    "other": OtherEvidence,
}
NAMES = {item_type: name for name, item_type in TYPES.items()}
FIELDS_OF: dict[type[Any], tuple[str, ...]] = {item_type: tuple(get_type_hints(item_type)) for item_type in NAMES}
# All fields of all types, by name, with their type: the columns of an Arrow struct that holds any item.
FIELDS: dict[str, type[Any]] = {
    name: field_type for item_type in NAMES for name, field_type in get_type_hints(item_type).items()
}

NUMBER = r"(-?(?:[0-9]+\.[0-9]{3}|inf))"
RULE = re.compile(rf"(\w+) {NUMBER} (>=|<=|<|>) {NUMBER}( unsure)?")
NOT_MEASURED = re.compile(r"(\w+) unmeasured")
ADDS = re.compile(rf"(\w+): (\w+) {NUMBER} adds {NUMBER}")
VOTES = re.compile(r"people: ([0-9]{1,9}) keep, ([0-9]{1,9}) reject; the rules say (keep|reject|unsure)")
BETTER = re.compile(r"the best is (\S+)")
PRIOR = re.compile(r"prior: (\w+)")


def parse_evidence(text: str) -> EvidenceItem:
    """Return the item that a line of format 1 renders. A line of no known form becomes OtherEvidence."""
    if match := RULE.fullmatch(text):
        metric, value, sign, bound, unsure = match.groups()
        side = MIN if sign in (">=", "<") else MAX
        outcome = HOLDS if sign in (">=", "<=") else UNSURE if unsure else BREAKS
        item: EvidenceItem = Evidence(metric, float(value), float(bound), outcome, side)
    elif match := NOT_MEASURED.fullmatch(text):
        item = Evidence.unmeasured(match[1])
    elif match := ADDS.fullmatch(text):
        item = Contribution(match[1], match[2], float(match[3]), float(match[4]))
    elif match := VOTES.fullmatch(text):
        item = ReviewVotes(int(match[1]), int(match[2]), match[3])
    elif match := BETTER.fullmatch(text):
        item = BetterCandidate(match[1])
    elif match := PRIOR.fullmatch(text):
        item = PriorReason(match[1])
    else:
        return OtherEvidence(text)
    return item if str(item) == text else OtherEvidence(text)  # for example a number with leading zeros


def to_list(item: EvidenceItem) -> list[Any]:
    """Return an item as JSON holds it: the name of its type, then its fields."""
    return [NAMES[type(item)], *(getattr(item, name) for name in FIELDS_OF[type(item)])]


def from_list(values: list[Any] | tuple[Any, ...]) -> EvidenceItem:
    """Return the item that to_list() made this list of."""
    item: EvidenceItem = TYPES[values[0]](*map(_with_one_nan, values[1:]))
    return item


def to_struct(item: EvidenceItem) -> dict[str, Any]:
    """Return an item as an Arrow struct holds it: the fields of its type, and the name of the type."""
    return {"type": NAMES[type(item)], **{name: getattr(item, name) for name in FIELDS_OF[type(item)]}}


def from_struct(values: dict[str, Any]) -> EvidenceItem:
    """Return the item that to_struct() made this dict of. Other fields are ignored."""
    item_type = TYPES[values["type"]]
    item: EvidenceItem = item_type(**{name: _with_one_nan(values[name]) for name in FIELDS_OF[item_type]})
    return item


def _with_one_nan(value: Any) -> Any:
    """Return math.nan for any NaN: items that hold the same NaN object are equal."""
    return math.nan if value != value else value
