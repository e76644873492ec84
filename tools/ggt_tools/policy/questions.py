"""The gate's rules and its decision, prepared so that they are asked of many candidates at once.

`verdicts.py` uses it. A question is a rule or a probability; an answer states for one side of it whether it holds, is
unsure, is broken or was not measured. Candidates with the same answers share one outcome, which is worded once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ggt_tools.evidence import BREAKS as BROKEN
from ggt_tools.evidence import HOLDS as HELD
from ggt_tools.evidence import MAX, MIN
from ggt_tools.evidence import UNSURE as DOUBTFUL
from ggt_tools.policy.decision import NOT_FITTED, PROBABILITIES, ClassDecision, Model, highest
from ggt_tools.policy.gate import OTHER, Gate, Rule
from ggt_tools.workspace.verdict_table import (
    Shape,
    contribution_shape,
    finite_json,
    rule_shape,
    unmeasured_shape,
)

Floats = npt.NDArray[np.float64]
NAN = float("nan")
MAX_CACHED_OUTCOMES = 10_000
MIN_SHOWN = 0.0005  # log-odds: a contribution below this would read 0.000 in the evidence, and is left out
HOLDS, UNSURE, BREAKS, UNMEASURED = range(4)


def asked_gains(degradations: tuple[str, ...], gate: Gate) -> tuple[str, ...]:
    """Return the [gain.*] tables that a photograph asks for: those of its degradations, or the one for all others."""
    named = tuple(dict.fromkeys(name for name in degradations if name in gate.gains))
    return named or ((OTHER,) if gate.gains else ())


class _Side(NamedTuple):
    """One side of a rule, with the shapes of its evidence. Lower bounds have sign -1."""

    sign: int
    inner: float  # times the sign, as `outer`
    outer: float
    shapes: tuple[Shape, Shape, Shape]  # where it holds, is unsure, breaks


@dataclass(frozen=True, slots=True)
class _Question:
    """A rule, prepared for many candidates."""

    metric: str
    stage: str
    reason: str
    sides: tuple[_Side, ...]
    if_measured: bool

    def outcome(self, answers: Sequence[int]) -> int:
        """Return HOLDS, UNSURE, BREAKS or UNMEASURED, from the answer of each side."""
        if UNMEASURED in answers:
            return HOLDS if self.if_measured else UNMEASURED
        return max(answers)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """The outcome of a gate for all candidates whose rules have the same answers."""

    decided: tuple[str, str, str]  # decision, stage, reason
    shapes: str  # of its evidence, as a verdict's row has them
    fill: str  # the JSON of its values, with %.3f for each, then ["%s", %.3f, %.3f] for each fact that adds most
    values: tuple[int, ...]  # the sides whose values those are, in their order
    shown: tuple[int, ...]  # of each probability how many facts those are


@dataclass(frozen=True, slots=True)
class _Decided:
    """Both probabilities of n candidates of one class, and the facts that add most to them."""

    probabilities: Mapping[str, Floats]  # (n,) by name
    causes: npt.NDArray[np.uint8]  # (n, 2): the number of the metric that the reason is of; 0 where there is none
    shown: npt.NDArray[np.uint8]  # (n, 2): how many of the highest facts add anything
    names: tuple[npt.NDArray[np.object_], ...]  # of each probability (n, SHOWN): the metrics that add most
    values: tuple[Floats, ...]  # of each probability (n, SHOWN): their values
    added: tuple[Floats, ...]  # and what they add


@dataclass(frozen=True, slots=True)
class Questions:
    must: tuple[_Question, ...]
    gains: tuple[tuple[_Question, ...], ...]  # of each group one has to hold
    metrics: tuple[str, ...]  # of each side of them all, in their order, as is
    bounds: Floats  # (3, sides): sign, inner, outer
    decision: ClassDecision | None
    known: dict[bytes, _Outcome] = field(default_factory=dict, compare=False)  # by the answers of the sides

    def answers(
        self, measured: Mapping[str, Floats], places: npt.NDArray[np.intp]
    ) -> Iterator[tuple[npt.NDArray[np.intp], tuple[str, ...], list[str]]]:
        """Yield groups of candidates with the same outcome.

        Args:
            measured: By metric (n,) values of all candidates.
            places: Indices of the candidates to judge.

        Yields:
            The indices of a group; its decision, stage, reason and shapes of evidence; the values of each candidate.
        """
        absent = np.full(len(places), NAN)
        decided = self._decide(lambda name: measured[name][places] if name in measured else absent)
        known = decided.probabilities if decided else {}
        columns = [
            known[name] if name in known else measured[name][places] if name in measured else absent
            for name in self.metrics
        ]
        values = np.stack(columns, axis=1) if columns else np.empty((len(places), 0))
        sign, inner, outer = self.bounds
        signed = sign * values
        answers = (signed > inner) + (signed > outer).astype(np.uint8)  # HOLDS, UNSURE, BREAKS
        answers[np.isnan(signed)] = UNMEASURED
        if decided:  # where a probability holds, its cause makes no difference
            sides = [self.metrics.index(name) for name in PROBABILITIES]
            causes = np.where(answers[:, sides] == HOLDS, 0, decided.causes)
            answers = np.concatenate([answers, causes.astype(np.uint8), decided.shown], axis=1)
        kinds, kind_of = np.unique(
            np.ascontiguousarray(answers).view(f"V{answers.shape[1]}").ravel(), return_inverse=True
        )
        order = np.argsort(kind_of, kind="stable")
        for kind, alike in zip(kinds, np.split(order, np.cumsum(np.bincount(kind_of))[:-1]), strict=True):
            outcome = self.outcome(kind.tobytes())
            shown: list[list[Any]] = [values[alike, side].tolist() for side in outcome.values]
            for number, fact_count in enumerate(outcome.shown):
                for rank in range(fact_count if decided else 0):
                    assert decided is not None
                    shown.append(decided.names[number][alike, rank].tolist())
                    shown.append(decided.values[number][alike, rank].tolist())
                    shown.append(decided.added[number][alike, rank].tolist())
            texts = [outcome.fill % row for row in zip(*shown, strict=True)] if shown else [outcome.fill] * len(alike)
            if any("inf" in text or "nan" in text for text in texts):  # a metric may be named so, too
                texts = list(map(finite_json, texts))
            yield places[alike], (*outcome.decided, outcome.shapes), texts

    def _decide(self, measured: Callable[[str], Floats]) -> _Decided | None:
        """Return both probabilities; None if the gate has no [decision]."""
        if self.decision is None:
            return None
        probabilities: dict[str, Floats] = {}
        causes, counts, names, values, added = [], [], [], [], []
        for model in self.decision.models:
            evaluation = model.evaluate(measured)
            places, most = highest(evaluation)
            worst = [fact.worst(measured) for fact in model.facts]
            columns = np.stack([column for column, _ in worst], axis=1)
            metrics = np.stack(
                [np.array(fact.metrics, object)[of] for fact, (_, of) in zip(model.facts, worst, strict=True)], axis=1
            )
            count = (most >= MIN_SHOWN).sum(axis=1)
            probabilities[model.name] = evaluation.probabilities
            inside = np.minimum(places, len(model.facts) - 1)
            # A cause is a metric of a fact: metrics are numbered from 1 through all facts
            firsts = np.cumsum([1, *(len(fact.metrics) for fact in model.facts[:-1])])
            of = np.stack([which for _, which in worst], axis=1)
            top = firsts[inside[:, 0]] + np.take_along_axis(of, inside[:, :1], axis=1)[:, 0]
            causes.append(np.where(evaluation.missing >= 0, firsts[evaluation.missing], top * (count > 0)))
            counts.append(np.where(evaluation.missing >= 0, 0, count))
            names.append(np.take_along_axis(metrics, inside, axis=1))
            values.append(np.take_along_axis(columns, inside, axis=1))
            added.append(most)
        return _Decided(
            probabilities=probabilities,
            causes=np.stack(causes, axis=1).astype(np.uint8),
            shown=np.stack(counts, axis=1).astype(np.uint8),
            names=tuple(names),
            values=tuple(values),
            added=tuple(added),
        )

    def outcome(self, answers: bytes) -> _Outcome:
        outcome = self.known.get(answers)
        if outcome is None:
            if len(self.known) == MAX_CACHED_OUTCOMES:
                self.known.clear()
            outcome = self.known[answers] = self._outcome(answers)
        return outcome

    def _outcome(self, answers: bytes) -> _Outcome:
        findings = _Findings(answers)
        for question in self.must:
            findings.note(question, findings.ask(question))
        shown: tuple[int, ...] = ()
        if self.decision is not None:
            causes, shown = answers[-4:-2], tuple(answers[-2:])
            for model, cause in zip(self.decision.models, causes, strict=True):
                rule = _probability(model)
                answer = findings.ask(rule)
                findings.note(_because(rule, self.decision, model, cause, answer), answer)
        for group in self.gains:
            answered = [(question, findings.ask(question)) for question in group]
            if any(answer == HOLDS for _, answer in answered):
                continue
            doubtful = [(question, answer) for question, answer in answered if answer != BREAKS]
            for question, answer in doubtful or answered[:1]:
                findings.note(question, answer)
        filled = ["%.3f" if shape[0] == "rule" else "null" for shape in findings.evidence]
        for name, fact_count in zip(PROBABILITIES, shown, strict=False):
            findings.evidence += [contribution_shape(name)] * fact_count
            filled += ['["%s", %.3f, %.3f]'] * fact_count
        evidence = json.dumps(findings.evidence), f"[{', '.join(filled)}]", tuple(findings.values), shown
        for decision, reasons in (("reject", findings.failed), ("unsure", findings.doubts)):
            if reasons:
                return _Outcome((decision, *reasons[0]), *evidence)
        return _Outcome(("keep", "", ""), *evidence)


def prepare_questions(degradations: tuple[str, ...], gate: Gate) -> Questions:
    must = tuple(map(_question, gate.must[degradations[0]]))
    decision = gate.decision.get(degradations[0])
    decided = tuple(map(_probability, decision.models)) if decision else ()
    gains = tuple(tuple(map(_question, gate.gains[name].any)) for name in asked_gains(degradations, gate))
    questions = (*must, *decided, *chain.from_iterable(gains))
    sides = [(question.metric, side) for question in questions for side in question.sides]
    metrics = tuple(metric for metric, _ in sides)
    bounds = np.array([(side.sign, side.inner, side.outer) for _, side in sides], np.float64)
    return Questions(must, gains, metrics, bounds.reshape(-1, 3).T, decision)


def _probability(model: Model) -> _Question:
    """Return the bounds of a probability as a rule with one side: a value up to `unsure_above` holds."""
    inner, outer = model.unsure_above, model.max
    side = _Side(1, inner, outer, _shapes(model.name, MAX, inner, outer))
    return _Question(model.name, "score", model.name, (side,), False)


def _shapes(metric: str, side: str, inner: float, outer: float) -> tuple[Shape, Shape, Shape]:
    """Return the shapes of the evidence where a side of a rule holds, is unsure and breaks."""
    return (
        rule_shape(metric, side, inner, HELD),
        rule_shape(metric, side, inner, DOUBTFUL),
        rule_shape(metric, side, outer, BROKEN),
    )


def _because(rule: _Question, decision: ClassDecision, model: Model, cause: int, answer: int) -> _Question:
    """Return the rule with reason and stage of the fact that adds most, or that was not measured."""
    if answer == UNSURE and decision.fit == "none":
        return replace(rule, reason=NOT_FITTED)
    if not cause:
        return rule
    pairs = [pair for fact in model.facts for pair in zip(fact.metrics, fact.reasons, strict=True)]
    metric, reason = pairs[cause - 1]
    return replace(rule, metric=metric, stage="screen" if metric.startswith("vlm_") else "score", reason=reason)


def _question(rule: Rule) -> _Question:
    sides = []
    for sign, side, inner, outer in (
        (-1, MIN, rule.unsure_below, rule.min),
        (1, MAX, rule.unsure_above, rule.max),
    ):
        if math.isfinite(inner):
            sides.append(_Side(sign, sign * inner, sign * outer, _shapes(rule.metric, side, inner, outer)))
    return _Question(rule.metric, rule.stage, rule.reason, tuple(sides), rule.if_measured)


@dataclass(slots=True)
class _Findings:
    """Collects the evidence, and (stage, reason) of each rule that rejects or makes unsure."""

    answers: bytes
    next_side: int = 0  # index of the side that is asked next
    evidence: list[Shape] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)  # in the gate's order
    doubts: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, question: _Question) -> int:
        """Return the answer of a rule, and add its evidence."""
        begin, self.next_side = self.next_side, self.next_side + len(question.sides)
        answers = self.answers[begin : self.next_side]
        if UNMEASURED not in answers:
            self.evidence += (side.shapes[answer] for side, answer in zip(question.sides, answers, strict=True))
            self.values += range(begin, self.next_side)
        elif not question.if_measured:
            self.evidence.append(unmeasured_shape(question.metric))
        return question.outcome(answers)

    def note(self, question: _Question, answer: int) -> None:
        if answer == BREAKS:
            self.failed.append((question.stage, question.reason))
        elif answer == UNSURE:
            self.doubts.append((question.stage, question.reason))
        elif answer == UNMEASURED:
            self.doubts.append((question.stage, f"unmeasured_{question.metric}"))
