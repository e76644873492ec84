"""Verdicts: what the gate says of each candidate, out of its scores. Policy, not fact; no score is computed here.

    gate = load_gate(DEFAULT_GATE)
    for judged in verdict(candidates, scores, degradation_of, gate): ...

A candidate is kept when it breaks no rule *and* has a gain for each thing that is wrong with its photograph. Neither
alone will do: an unchanged copy is faithful, and an invented picture is sharp.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ggt_tools.gate import OTHER, Gate, Rule, load_gate
from ggt_tools.records import Candidate, Score, Verdict

__all__ = ["DEFAULT_GATE", "Gate", "load_gate", "verdict"]

DEFAULT_GATE = Path(__file__).with_name("gate.toml")
NAN = float("nan")


def verdict(
    candidates: Iterable[Candidate],
    scores: Iterable[Score] | Mapping[str, Mapping[str, float]],
    degradation_of: Mapping[str, str | tuple[str, ...]],
    gate: Gate,
    *,
    astray: Mapping[str, str] | None = None,
) -> Iterator[Verdict]:
    """A verdict on each candidate, in their order.

    `scores`: the records, or value by candidate and metric; a metric's later record replaces an earlier one.
    `degradation_of`: by key the photograph's class, or the class and then all that is seen in it: the class chooses
    the rules, and each of them that has a [gain.*] table asks for its gain.
    `astray`: why align could not bring a candidate into its photograph's frame, by candidate.
    Of several candidates of one key that would be kept, the best by `gate.best` is; ties go to the lower id.
    """
    listed = list(candidates)
    values = scores if isinstance(scores, Mapping) else _by_candidate(scores)
    lost = astray or {}
    verdicts = [
        _say(c, gate, "reject", "align", lost[c.id], [])
        if c.id in lost
        else _judge(c, values.get(c.id, {}), degradation_of[c.key], gate)
        for c in listed
    ]
    kept: dict[str, list[int]] = defaultdict(list)
    for place, judged in enumerate(verdicts):
        if judged.decision == "keep":
            kept[listed[place].key].append(place)
    for places in kept.values():
        ranked = sorted(places, key=lambda place: _rank(listed[place].id, values, gate))
        for place in ranked[1:]:
            evidence = (*verdicts[place].evidence, f"the best is {listed[ranked[0]].id}")
            verdicts[place] = replace(
                verdicts[place], decision="reject", stage="verdict", reason="not_the_best", evidence=evidence
            )
    return iter(verdicts)


@dataclass(slots=True)
class _Hearing:
    """What was found so far on one candidate."""

    scores: Mapping[str, float]
    evidence: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # reasons, in the gate's order
    unmeasured: list[str] = field(default_factory=list)  # metrics

    def ask(self, rule: Rule) -> bool | None:
        """Whether the rule holds; None where its metric was not measured. Adds to the evidence."""
        value = self.scores.get(rule.metric, NAN)
        if math.isnan(value):
            self.evidence.append(f"{rule.metric} unmeasured")
            return None
        for bound, low in ((rule.min, True), (rule.max, False)):
            if math.isfinite(bound):
                holds = value >= bound if low else value <= bound
                sign = {(True, True): ">=", (True, False): "<", (False, True): "<=", (False, False): ">"}[low, holds]
                self.evidence.append(f"{rule.metric} {value:.3f} {sign} {bound:.3f}")
        return rule.min <= value <= rule.max


def _judge(candidate: Candidate, scores: Mapping[str, float], wrong: str | tuple[str, ...], gate: Gate) -> Verdict:
    if not candidate.image:
        return _say(candidate, gate, "reject", "restore", candidate.reason or "no_image", [])
    names = (wrong,) if isinstance(wrong, str) else wrong
    hearing = _Hearing(scores)
    for rule in gate.must[names[0]]:
        holds = hearing.ask(rule)
        if holds is None:
            hearing.unmeasured.append(rule.metric)
        elif not holds:
            hearing.failed.append(rule.reason)
    asked = dict.fromkeys(name for name in names if name in gate.gains) or {OTHER: None}
    for name in asked:
        gain = gate.gains[name]
        answers = {rule.metric: hearing.ask(rule) for rule in gain.any}
        if any(answers.values()):
            continue
        unmeasured = [metric for metric, answer in answers.items() if answer is None]
        if unmeasured:
            hearing.unmeasured += unmeasured
        else:
            hearing.failed.append(gain.reason)
    if hearing.failed:
        return _say(candidate, gate, "reject", "score", hearing.failed[0], hearing.evidence)
    if hearing.unmeasured:
        return _say(candidate, gate, "unsure", "score", f"unmeasured_{hearing.unmeasured[0]}", hearing.evidence)
    return _say(candidate, gate, "keep", "", "", hearing.evidence)


def _say(candidate: Candidate, gate: Gate, decision: str, stage: str, reason: str, evidence: list[str]) -> Verdict:
    return Verdict(
        candidate=candidate.id, gate=gate.id, decision=decision, stage=stage, reason=reason, evidence=tuple(evidence)
    )


def _rank(candidate: str, values: Mapping[str, Mapping[str, float]], gate: Gate) -> tuple[float | str, ...]:
    """Best first: the highest of the first metric, of the next at a tie; what was not measured comes last."""
    scores = values.get(candidate, {})
    measured = (scores.get(metric, NAN) for metric in gate.best)
    return (*(math.inf if math.isnan(value) else -value for value in measured), candidate)


def _by_candidate(scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for score in scores:
        values[score.candidate][score.metric] = score.value
    return values
