"""Judge candidates by the gate, from their scores. Verdicts are policy, not facts; no score is computed here.

    gate = load_gate(DEFAULT_GATE)
    for judged in verdict(candidates, scores, degradation_of, gate): ...

A candidate is kept if it breaks no rule, is unlikely to be unfaithful, *and* gains something. Both are needed: an
unchanged copy is faithful, and an invented picture is sharp. Rules decide the certain cases. The gate's [decision]
turns all scores into two probabilities for the class of the photograph (policy/decision.py). A candidate that is
neither rejected nor kept is unsure and goes to review: if a metric was not measured, or if a probability or a value
is between both bounds. The votes of reviewers replace the verdict of the rules as far as the gate's [people] allows.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ggt_tools.evidence import BREAKS as BROKEN
from ggt_tools.evidence import HOLDS as HELD
from ggt_tools.evidence import MAX, MIN, ReviewVotes
from ggt_tools.evidence import UNSURE as DOUBTFUL
from ggt_tools.policy.decision import NOT_FITTED, PROBABILITIES, ClassDecision, Model, highest
from ggt_tools.policy.gate import OTHER, Gate, Rule, load_gate
from ggt_tools.records import Score, Verdict
from ggt_tools.workspace.verdict_table import (
    BETTER_SHAPE,
    Outcome,
    Shape,
    Verdicts,
    contribution_shape,
    finite_json,
    rule_shape,
    to_verdict,
    unmeasured_shape,
    votes_shape,
)

if TYPE_CHECKING:
    from ggt_tools.policy.votes import Votes

__all__ = ["DEFAULT_GATE", "Gate", "Judge", "asked_gains", "by_candidate", "by_rules", "load_gate", "verdict"]

DEFAULT_GATE = Path(__file__).with_name("gate.toml")
Floats = npt.NDArray[np.float64]
NAN = float("nan")
MAX_CACHED_OUTCOMES = 10_000
MIN_SHOWN = 0.0005  # log-odds: a contribution below this would read 0.000 in the evidence, and is left out
HOLDS, UNSURE, BREAKS, UNMEASURED = range(4)


class Attempt(Protocol):
    """The fields of a candidate that a verdict needs."""

    @property
    def id(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def reason(self) -> str: ...


def verdict(
    candidates: Iterable[Attempt],
    scores: Iterable[Score] | Mapping[str, Mapping[str, float]],
    degradation_of: Mapping[str, str | tuple[str, ...]],
    gate: Gate,
    *,
    not_aligned: Mapping[str, str] | None = None,
    people: Mapping[str, Votes] | None = None,
) -> Iterator[Verdict]:
    """Yield the verdict on each candidate, in their order.

    Of several candidates of one photograph that would be kept, only the best by `gate.best` is kept; at a tie, the one
    with the lower id.

    Args:
        candidates: The candidates.
        scores: Records, or values by candidate and metric. A later record of a metric replaces an earlier one.
        degradation_of: By key the class of the photograph, or the class followed by all degradations that are seen in
            it. The class chooses the rules; each degradation that has a [gain.*] table asks for its gain.
        gate: The gate.
        not_aligned: By candidate, why align could not bring it into the frame of its photograph.
        people: By candidate, the votes of reviewers.
    """
    listed = list(candidates)
    values = scores if isinstance(scores, Mapping) else by_candidate(scores)
    measured = {
        metric: np.array([values.get(candidate.id, {}).get(metric, NAN) for candidate in listed], np.float64)
        for metric in gate.metrics
    }
    lost = {attempt.id: ("restore", attempt.reason or "no_image") for attempt in listed if not attempt.image}
    lost |= {candidate: ("align", reason) for candidate, reason in (not_aligned or {}).items()}
    numbers = {key: number for number, key in enumerate(dict.fromkeys(attempt.key for attempt in listed))}
    photos = np.array([numbers[attempt.key] for attempt in listed], np.int64)
    degradations = [degradation_of[key] for key in numbers]
    ids = [attempt.id for attempt in listed]
    judged = Judge(gate, people or {}).verdicts(ids, photos, measured, degradations, lost)
    yield from map(to_verdict, judged.rows())


class Judge:
    """A gate and the votes of reviewers, prepared to judge very many candidates."""

    def __init__(self, gate: Gate, people: Mapping[str, Votes]) -> None:
        self._gate, self._people = gate, people
        self._lists: dict[str | tuple[str, ...], _Questions] = {}  # one for all photographs with the same degradations

    def verdicts(
        self,
        candidates: Sequence[str],
        photos: npt.NDArray[np.int64],
        measured: Mapping[str, Floats],
        degradations: Sequence[str | tuple[str, ...]],
        lost: Mapping[str, tuple[str, str]],
    ) -> Verdicts:
        """Judge candidates that are given by columns; otherwise as verdict().

        Args:
            candidates: (n,) ids.
            photos: (n,) index of the photograph of each in `degradations`.
            measured: By metric (n,) values, NaN where not measured.
            degradations: For each photograph what verdict() takes by key.
            lost: By candidate that the rules cannot judge, the stage and the reason.
        """
        outcomes: list[Outcome] = []
        numbers: dict[Outcome, int] = {}
        of = np.zeros(len(candidates), np.int64)
        values = np.full(len(candidates), "[]", object)

        def number(*outcome: str) -> int:
            if outcome not in numbers:
                numbers[outcome] = len(outcomes)
                outcomes.append(outcome)
            return numbers[outcome]

        kinds: defaultdict[str | tuple[str, ...], int] = defaultdict(count().__next__)
        kind = np.array(list(map(kinds.__getitem__, degradations)), np.int64)[photos]
        for place, candidate in enumerate(candidates if lost else ()):
            if candidate in lost:
                of[place] = number(self._gate.id, "reject", *lost[candidate], "[]")
                kind[place] = -1
        for listed, which in kinds.items():
            if not len(places := np.flatnonzero(kind == which)):
                continue
            if listed not in self._lists:
                self._lists[listed] = _questions((listed,) if isinstance(listed, str) else listed, self._gate)
            for alike, outcome, texts in self._lists[listed].answers(measured, places):
                of[alike], values[alike] = number(self._gate.id, *outcome), texts
        for place, candidate in enumerate(candidates if self._people else ()):
            if candidate in self._people and candidate not in lost:
                of[place] = number(*_with_votes(outcomes[of[place]], self._people[candidate], self._gate))
                values[place] = _append(values[place], None)
        kept = np.array([outcome[1] == "keep" for outcome in outcomes], bool)[of].nonzero()[0]
        beaten: dict[int, int] = {}
        for place, best in self._beaten(kept, candidates, photos, measured):
            before = int(of[place])
            if before not in beaten:
                shapes = _append(outcomes[before][4], BETTER_SHAPE)
                beaten[before] = number(self._gate.id, "reject", "verdict", "not_the_best", shapes)
            of[place] = beaten[before]
            values[place] = _append(values[place], candidates[best])
        return Verdicts(candidates, outcomes, of.tolist(), values.tolist())

    def _beaten(
        self,
        kept: npt.NDArray[np.intp],
        candidates: Sequence[str],
        photos: npt.NDArray[np.int64],
        measured: Mapping[str, Floats],
    ) -> Iterator[tuple[int, int]]:
        """Yield the index of each candidate that is not the best of its photograph, and the index of the best.

        The best has the highest value of the first metric of `gate.best`, at a tie of the next one. A value that was
        not measured comes last.

        Args:
            kept: Indices of the candidates that would be kept.
            candidates: As for verdicts().
            photos: As for verdicts().
            measured: As for verdicts().
        """
        kept = np.array(sorted(kept.tolist(), key=candidates.__getitem__), np.int64)  # a tie goes to the lower id
        absent = np.full(len(candidates), NAN)
        ranks = [-measured.get(metric, absent)[kept] for metric in reversed(self._gate.best)]
        order = np.lexsort((*(np.where(np.isnan(rank), np.inf, rank) for rank in ranks), photos[kept]))
        ranked = kept[order]
        first = np.diff(photos[ranked], prepend=-1) > 0
        best = ranked[first][np.cumsum(first) - 1]
        yield from zip(ranked[~first].tolist(), best[~first].tolist(), strict=True)


def _with_votes(outcome: Outcome, votes: Votes, gate: Gate) -> Outcome:
    """Add the votes of reviewers to an outcome; they decide as far as the gate's [people] allows."""
    name, rules_decision, stage, reason, shapes = outcome
    shapes = _append(shapes, votes_shape(votes.keep, votes.reject, rules_decision))
    decision, has_enough = rules_decision, max(votes.keep, votes.reject) >= gate.people.votes
    replaceable = {"keep": gate.people.keep_over, "reject": gate.people.reject_over}.get(votes.decision, ())
    if has_enough and rules_decision in replaceable:
        decision = votes.decision
        stage, reason = ("review", votes.reason) if decision == "reject" else ("", "")
    return name, decision, stage, reason, shapes


def _append(listed: str, item: object) -> str:
    """Return a JSON list with one more item."""
    return f"{listed[:-1]}{', ' if len(listed) > 2 else ''}{json.dumps(item)}]"


def by_rules(judged: Verdict) -> str:
    """Return the decision of the rules alone, whatever reviewers decided: keep, reject or unsure."""
    votes = (item.rules_decision for item in judged.evidence if isinstance(item, ReviewVotes))
    return next(votes, judged.decision)


def asked_gains(degradations: tuple[str, ...], gate: Gate) -> tuple[str, ...]:
    """Return the [gain.*] tables that a photograph asks for: those of its degradations, or the one for all others."""
    named = tuple(dict.fromkeys(name for name in degradations if name in gate.gains))
    return named or ((OTHER,) if gate.gains else ())


def by_candidate(scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """Return values by candidate and metric. A later record of a metric replaces an earlier one."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for score in scores:
        values[score.candidate][score.metric] = score.value
    return values


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
class _Questions:
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


def _questions(degradations: tuple[str, ...], gate: Gate) -> _Questions:
    must = tuple(map(_question, gate.must[degradations[0]]))
    decision = gate.decision.get(degradations[0])
    decided = tuple(map(_probability, decision.models)) if decision else ()
    gains = tuple(tuple(map(_question, gate.gains[name].any)) for name in asked_gains(degradations, gate))
    questions = (*must, *decided, *chain.from_iterable(gains))
    sides = [(question.metric, side) for question in questions for side in question.sides]
    metrics = tuple(metric for metric, _ in sides)
    bounds = np.array([(side.sign, side.inner, side.outer) for _, side in sides], np.float64)
    return _Questions(must, gains, metrics, bounds.reshape(-1, 3).T, decision)


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
