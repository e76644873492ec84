"""Compare the evidence of a pair with its scores and with the gate of the release."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ggt_format.schema import MANIFEST
from ggt_tools.evidence import (
    BREAKS,
    HOLDS,
    MAX,
    MIN,
    SIGNS,
    UNMEASURED,
    UNSURE,
    Contribution,
    Evidence,
    EvidenceItem,
    OtherEvidence,
    PriorReason,
    ReviewVotes,
    parse_evidence,
)
from ggt_tools.policy.bounds import decision_probabilities
from ggt_tools.policy.decision import SHOWN
from ggt_tools.policy.gate import Gate, Rule, parse_gate
from ggt_tools.policy.verdicts import asked_gains
from ggt_tools.stages.pack.priors import MISALIGNED, without_frame

ROUNDED = 0.00051  # evidence has three decimals


class _Answer(NamedTuple):
    """What evidence can say of a side of a rule, and the range of values of which it may say so."""

    side: str
    outcome: str
    bound: float
    decision: str  # keep | unsure | reject
    low: float
    high: float

    def fits(self, item: EvidenceItem) -> bool:
        """Return whether the item says so, of a value in the range."""
        if not isinstance(item, Evidence) or (item.side, item.outcome) != (self.side, self.outcome):
            return False
        has_bound = f"{item.bound:.3f}" == f"{self.bound:.3f}"
        return has_bound and self.low - ROUNDED <= item.value <= self.high + ROUNDED


def read_gate(text: str) -> Gate:
    """The gate whose text a manifest holds. Raises ConfigError."""
    return parse_gate(Path(MANIFEST), text)


def evidence_faults(row: Mapping[str, Any], gate: Gate) -> Iterator[tuple[str, str]]:
    """(reason, what is wrong) of a row of the index: evidence that the gate asks for and that is not there, or that
    does not pass it, or that contradicts the score or itself. What a rule does not clear, people may have."""
    must = (*gate.must[row["degradation"]], *gate.decision_rules(row["degradation"]))
    gains = [gate.gains[name].any for name in asked_gains(tuple(row["degradations"]), gate)]
    rules: dict[str, list[Rule]] = {}
    for rule in chain(must, *gains):
        rules.setdefault(rule.metric, []).append(rule)
    evidence = [parse_evidence(line) for line in row["evidence"]]
    items_of = {metric: [item for item in evidence if _metric_of(item) == metric] for metric in rules}
    scores, passing = {**row["scores"], **_probabilities(row, gate)}, _passing(evidence, gate)
    yield from _contributions(row, evidence, gate)
    named = set()  # metrics whose evidence is found wrong already
    for metric, items in items_of.items():
        if found := _differs(metric, items, scores.get(metric)):
            named.add(metric)
            yield found
    different = frozenset(named)
    for asked in (*((rule,) for rule in must), *gains):  # of a gain's rules one is enough
        if different.isdisjoint(rule.metric for rule in asked):
            faults = [_fault(rule, items_of[rule.metric], scores.get(rule.metric), passing) for rule in asked]
            if faults[0] and all(faults):
                named.update(rule.metric for rule in asked)
                yield faults[0]
    for metric, items in items_of.items():
        answers = [answer for rule in rules[metric] for side in _sides(rule) for answer in side]
        for item in items if metric not in named else ():
            if not _is_unmeasured(item) and not any(answer.fits(item) for answer in answers):
                yield "fails_gate", f"its evidence is {str(item)!r}, which no rule of the gate says of such a value"


def _metric_of(item: EvidenceItem) -> str:
    """Return the metric that an item is about; for a line that cannot be parsed, its first word."""
    if isinstance(item, Evidence):
        return item.metric
    return item.text.partition(" ")[0] if isinstance(item, OtherEvidence) else ""


def _is_unmeasured(item: EvidenceItem) -> bool:
    return isinstance(item, Evidence) and item.outcome == UNMEASURED


def _measured(items: Iterable[EvidenceItem]) -> list[Evidence]:
    return [item for item in items if isinstance(item, Evidence) and item.outcome != UNMEASURED]


def _probabilities(row: Mapping[str, Any], gate: Gate) -> dict[str, float]:
    """What the gate's decision makes of the row's scores; nothing where the gate has none."""
    classes = np.array([row["degradation"]], object)
    return {name: float(values[0]) for name, values in decision_probabilities(gate, classes, [row["scores"]]).items()}


def _contributions(row: Mapping[str, Any], evidence: Sequence[EvidenceItem], gate: Gate) -> Iterator[tuple[str, str]]:
    """Find contributions of facts that differ from what the gate computes, or that are missing."""
    decision = gate.decision.get(row["degradation"])
    for model in decision.models if decision else ():
        listed = [
            item
            for item in evidence
            if (isinstance(item, Contribution) and item.probability == model.name)
            or (isinstance(item, OtherEvidence) and item.text.startswith(f"{model.name}: "))
        ]
        evaluation = model.evaluate(lambda metric: np.array([row["scores"].get(metric, math.nan)]))
        if evaluation.missing[0] >= 0:
            continue
        count = int((np.sort(evaluation.contributions[0])[::-1][:SHOWN] >= 2 * ROUNDED).sum())
        if len(listed) < count:
            yield "no_evidence", f"lists {len(listed)} facts for {model.name}; the gate lists the highest {count}"
        for item in listed:
            added = [
                float(share)
                for fact, share in zip(model.facts, evaluation.contributions[0], strict=True)
                if isinstance(item, Contribution) and item.metric in fact.metrics
                and abs(row["scores"].get(item.metric, math.nan) - item.value) <= _tolerance(item.value)
            ]  # fmt: skip
            if not any(isinstance(item, Contribution) and abs(share - item.log_odds) <= 2 * ROUNDED for share in added):
                yield "evidence_differs", f"its evidence is {str(item)!r}, which the gate does not say of its scores"


def _tolerance(value: float) -> float:
    return ROUNDED + 1e-6 * abs(value)


def prior_faults(row: Mapping[str, Any], gate: Gate) -> Iterator[tuple[str, str]]:
    """As evidence_faults, for a row of a prior: its reason comes first, and it passes the gate but for its frame."""
    first = parse_evidence(row["evidence"][0]) if row["evidence"] else None
    if not isinstance(first, PriorReason):
        yield "no_evidence", "its evidence does not say why it is only a prior: 'prior: ' and the reason come first"
    elif first.reason != MISALIGNED:  # nothing could be measured of a misaligned one
        yield from evidence_faults(row, without_frame(gate))


def _passing(evidence: Iterable[EvidenceItem], gate: Gate) -> tuple[str, ...]:
    """Return the answers to a rule that a kept pair may have: reviewers' votes count as far as the gate allows."""
    votes = [item for item in evidence if isinstance(item, ReviewVotes)]
    if len(votes) != 1:
        return ("keep",)
    keep, rules_decision = votes[0].keep, votes[0].rules_decision
    if not (keep > votes[0].reject and keep >= gate.people.votes and rules_decision in gate.people.keep_over):
        return ("keep",)
    return ("keep", "unsure") if rules_decision == "unsure" else ("keep", "unsure", "reject")


def _differs(metric: str, items: Sequence[EvidenceItem], score: float | None) -> tuple[str, str] | None:
    """Find values that differ from the score, or from each other if the index has no such score."""
    values = sorted({item.value for item in _measured(items)}, key=lambda value: f"{value:.3f}")
    if not values:
        return None
    has_unmeasured = any(map(_is_unmeasured, items))
    expected = values[0] if score is None else score
    # NaN agrees with nothing
    is_equal = expected == values[0] or abs(expected - values[0]) <= ROUNDED + 1e-6 * abs(expected)
    if len(values) == 1 and not has_unmeasured and is_equal:
        return None
    listed = ", ".join([*(f"{value:.3f}" for value in values), *(["unmeasured"] if has_unmeasured else [])])
    instead = "which contradicts itself" if score is None else f"its score {score:.3f}"
    return "evidence_differs", f"its evidence says {metric} {listed}, {instead}"


def _fault(
    rule: Rule, items: Sequence[EvidenceItem], score: float | None, passing: Sequence[str]
) -> tuple[str, str] | None:
    if not _measured(items):
        is_excused = "unsure" in passing and any(map(_is_unmeasured, items))
        if (score is None or math.isnan(score)) and (rule.if_measured or is_excused):
            return None
        return "no_evidence", f"has no evidence of {rule.metric}, which the gate asks for"
    for side in _sides(rule):
        if not any(answer.fits(item) for answer in side if answer.decision in passing for item in items):
            listed, sign = ", ".join(map(str, items)), SIGNS[side[0].side, HOLDS]
            return (
                "fails_gate",
                f"its evidence is {listed!r}; the gate wants {rule.metric} {sign} {side[0].bound:.3f}",
            )
    return None


def _sides(rule: Rule) -> Iterator[tuple[_Answer, _Answer, _Answer]]:
    """Return what a verdict can say of each side of a rule; what passes comes first."""
    inner, outer = rule.unsure_below, rule.min
    if math.isfinite(inner):
        yield (
            _Answer(MIN, HOLDS, inner, "keep", inner, math.inf),
            _Answer(MIN, UNSURE, inner, "unsure", outer, inner),
            _Answer(MIN, BREAKS, outer, "reject", -math.inf, outer),
        )
    inner, outer = rule.unsure_above, rule.max
    if math.isfinite(inner):
        yield (
            _Answer(MAX, HOLDS, inner, "keep", -math.inf, inner),
            _Answer(MAX, UNSURE, inner, "unsure", inner, outer),
            _Answer(MAX, BREAKS, outer, "reject", outer, math.inf),
        )
