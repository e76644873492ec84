"""Compare the evidence of a pair with its scores and with the gate of the release."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ggt_format.schema import MANIFEST
from ggt_tools.policy.bounds import decision_probabilities
from ggt_tools.policy.decision import SHOWN
from ggt_tools.policy.gate import Gate, Rule, parse_gate
from ggt_tools.policy.verdicts import PEOPLE, asked_gains
from ggt_tools.stages.pack.priors import MISALIGNED, PRIOR_PREFIX, without_frame

LINE = re.compile(r"(\w+) (-?[0-9]+\.[0-9]{3}) ((?:>=|<=|<|>) -?[0-9]+\.[0-9]{3}(?: unsure)?)")
ADDED = re.compile(r"(\w+): (\w+) (-?[0-9]+\.[0-9]{3}) adds ([0-9]+\.[0-9]{3})")
HEARD = re.compile(re.escape(PEOPLE) + r"([0-9]{1,9}) keep, ([0-9]{1,9}) reject; the rules say (keep|reject|unsure)")
ROUNDED = 0.00051  # evidence has three decimals


class _Answer(NamedTuple):
    """What a line can say of a side of a rule, and between which values that is so."""

    text: str  # what stands behind the value
    decision: str  # keep | unsure | reject
    low: float
    high: float

    def fits(self, line: str) -> bool:
        """Whether the line says so of a value of which it is so."""
        match = LINE.fullmatch(line)
        if match is None or match[3] != self.text:
            return False
        return self.low - ROUNDED <= float(match[2]) <= self.high + ROUNDED


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
    said = {metric: [line for line in row["evidence"] if line.partition(" ")[0] == metric] for metric in rules}
    scores, passing = {**row["scores"], **_probabilities(row, gate)}, _passing(row["evidence"], gate)
    yield from _contributions(row, gate)
    named = set()  # metrics whose lines are found wrong already
    for metric, lines in said.items():
        if found := _differs(metric, lines, scores.get(metric)):
            named.add(metric)
            yield found
    different = frozenset(named)
    for asked in (*((rule,) for rule in must), *gains):  # of a gain's rules one is enough
        if different.isdisjoint(rule.metric for rule in asked):
            faults = [_fault(rule, said[rule.metric], scores.get(rule.metric), passing) for rule in asked]
            if faults[0] and all(faults):
                named.update(rule.metric for rule in asked)
                yield faults[0]
    for metric, lines in said.items():
        answers = [answer for rule in rules[metric] for side in _sides(rule) for answer in side]
        for line in lines if metric not in named else ():
            if line != f"{metric} unmeasured" and not any(answer.fits(line) for answer in answers):
                yield "fails_gate", f"its evidence is {line!r}, which no rule of the gate says of such a value"


def _probabilities(row: Mapping[str, Any], gate: Gate) -> dict[str, float]:
    """What the gate's decision makes of the row's scores; nothing where the gate has none."""
    classes = np.array([row["degradation"]], object)
    return {name: float(values[0]) for name, values in decision_probabilities(gate, classes, [row["scores"]]).items()}


def _contributions(row: Mapping[str, Any], gate: Gate) -> Iterator[tuple[str, str]]:
    """Where a line says of a fact that it adds something else than it does, or where such a line is missing."""
    decision = gate.decision.get(row["degradation"])
    for model in decision.models if decision else ():
        said = [line for line in row["evidence"] if line.startswith(f"{model.name}: ")]
        evaluation = model.evaluate(lambda metric: np.array([row["scores"].get(metric, math.nan)]))
        if evaluation.missing[0] >= 0:
            continue
        count = int((np.sort(evaluation.contributions[0])[::-1][:SHOWN] >= 2 * ROUNDED).sum())
        if len(said) < count:
            yield "no_evidence", f"lists {len(said)} facts for {model.name}; the gate lists the highest {count}"
        for line in said:
            match = ADDED.fullmatch(line)
            added = [
                float(share)
                for fact, share in zip(model.facts, evaluation.contributions[0], strict=True)
                if match and match[2] in fact.metrics
                and abs(row["scores"].get(match[2], math.nan) - float(match[3])) <= _tolerance(float(match[3]))
            ]  # fmt: skip
            if match is None or not any(abs(each - float(match[4])) <= 2 * ROUNDED for each in added):
                yield "evidence_differs", f"its evidence is {line!r}, which the gate does not say of its scores"


def _tolerance(value: float) -> float:
    return ROUNDED + 1e-6 * abs(value)


def prior_faults(row: Mapping[str, Any], gate: Gate) -> Iterator[tuple[str, str]]:
    """As evidence_faults, of a row of a prior: it says why it is only that, and passes the gate but for its frame."""
    first = row["evidence"][0] if row["evidence"] else ""
    if not re.fullmatch(rf"{PRIOR_PREFIX}\w+", first):
        yield (
            "no_evidence",
            f"its evidence does not say why it is only a prior: {PRIOR_PREFIX!r} and the reason come first",
        )
    elif first != PRIOR_PREFIX + MISALIGNED:  # of that one nothing could be measured
        yield from evidence_faults(row, without_frame(gate))


def _passing(evidence: Iterable[str], gate: Gate) -> tuple[str, ...]:
    """The answers to a rule that a pair may be kept with: what people decided counts as far as the gate lets it."""
    heard = [match for line in evidence if (match := HEARD.fullmatch(line))]
    if len(heard) != 1:
        return ("keep",)
    keep, reject, by_rules = int(heard[0][1]), int(heard[0][2]), heard[0][3]
    if not (keep > reject and keep >= gate.people.votes and by_rules in gate.people.keep_over):
        return ("keep",)
    return ("keep", "unsure") if by_rules == "unsure" else ("keep", "unsure", "reject")


def _differs(metric: str, lines: Sequence[str], score: float | None) -> tuple[str, str] | None:
    """Where lines say another value than the score, or than each other where the index has no such score."""
    values = {match[2] for line in lines if (match := LINE.fullmatch(line))}
    if not values:
        return None
    told = ", ".join([*sorted(values), *(["unmeasured"] if f"{metric} unmeasured" in lines else [])])
    wanted = float(min(values)) if score is None else score
    # what is NaN agrees with nothing
    if told in values and abs(wanted - float(told)) <= ROUNDED + 1e-6 * abs(wanted):
        return None
    instead = "which contradicts itself" if score is None else f"its score {score:.3f}"
    return "evidence_differs", f"its evidence says {metric} {told}, {instead}"


def _fault(rule: Rule, lines: Sequence[str], score: float | None, passing: Sequence[str]) -> tuple[str, str] | None:
    if not any(map(LINE.fullmatch, lines)):
        heard = "unsure" in passing and f"{rule.metric} unmeasured" in lines
        if (score is None or math.isnan(score)) and (rule.if_measured or heard):
            return None
        return "no_evidence", f"has no evidence of {rule.metric}, which the gate asks for"
    for side in _sides(rule):
        if not any(answer.fits(line) for answer in side if answer.decision in passing for line in lines):
            said = ", ".join(lines)
            return "fails_gate", f"its evidence is {said!r}; the gate wants {rule.metric} {side[0].text}"
    return None


def _sides(rule: Rule) -> Iterator[tuple[_Answer, _Answer, _Answer]]:
    """What verdict says of each side of a rule; what passes comes first."""
    inner, outer = rule.unsure_below, rule.min
    if math.isfinite(inner):
        yield (
            _Answer(f">= {inner:.3f}", "keep", inner, math.inf),
            _Answer(f"< {inner:.3f} unsure", "unsure", outer, inner),
            _Answer(f"< {outer:.3f}", "reject", -math.inf, outer),
        )
    inner, outer = rule.unsure_above, rule.max
    if math.isfinite(inner):
        yield (
            _Answer(f"<= {inner:.3f}", "keep", -math.inf, inner),
            _Answer(f"> {inner:.3f} unsure", "unsure", inner, outer),
            _Answer(f"> {outer:.3f}", "reject", outer, math.inf),
        )
