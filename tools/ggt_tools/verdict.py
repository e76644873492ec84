"""Verdicts: what the gate says of each candidate, out of its scores. Policy, not fact; no score is computed here.

    gate = load_gate(DEFAULT_GATE)
    for judged in verdict(candidates, scores, degradation_of, gate): ...

A candidate is kept when it breaks no rule *and* has a gain for each thing that is wrong with its photograph. Neither
alone will do: an unchanged copy is faithful, and an invented picture is sharp. What no rule rejects and some rule does
not clear is unsure, and goes to review: a metric that was not measured, a value in a rule's band between good and bad.
What people decide there takes the place of the rules' verdict as far as the gate's [people] lets it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ggt_tools.gate import OTHER, Gate, Rule, load_gate
from ggt_tools.records import Score, Verdict

if TYPE_CHECKING:
    from ggt_tools.review.decisions import Votes

__all__ = ["DEFAULT_GATE", "Gate", "asked_gains", "by_candidate", "by_rules", "load_gate", "verdict"]

DEFAULT_GATE = Path(__file__).with_name("gate") / "gate.toml"
NAN = float("nan")
MOST_KNOWN = 10_000  # outcomes that are kept
HOLDS, UNSURE, BREAKS, UNMEASURED = range(4)
PEOPLE = "people: "  # so begins what a verdict's evidence says of them


class Attempt(Protocol):
    """What has to be known of a candidate itself."""

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
    astray: Mapping[str, str] | None = None,
    people: Mapping[str, Votes] | None = None,
) -> Iterator[Verdict]:
    """A verdict on each candidate, in their order.

    `scores`: the records, or value by candidate and metric; a metric's later record replaces an earlier one.
    `degradation_of`: by key the photograph's class, or the class and then all that is seen in it: the class chooses
    the rules, and each of them that has a [gain.*] table asks for its gain.
    `astray`: why align could not bring a candidate into its photograph's frame, by candidate.
    `people`: what people decided, by candidate.
    Of several candidates of one key that would be kept, the best by `gate.best` is; ties go to the lower id.
    """
    listed = list(candidates)
    values = scores if isinstance(scores, Mapping) else by_candidate(scores)
    lost = astray or {}
    lists: dict[str | tuple[str, ...], _Questions] = {}  # one for all photographs with the same faults
    verdicts = []
    for candidate in listed:
        if candidate.id in lost:
            verdicts.append(_say(candidate, gate, "reject", "align", lost[candidate.id], []))
        elif not candidate.image:
            verdicts.append(_say(candidate, gate, "reject", "restore", candidate.reason or "no_image", []))
        else:
            wrong = degradation_of[candidate.key]
            if wrong not in lists:
                lists[wrong] = _questions((wrong,) if isinstance(wrong, str) else wrong, gate)
            judged = _judge(candidate, values.get(candidate.id, {}), lists[wrong], gate)
            votes = people.get(candidate.id) if people else None
            verdicts.append(_heard(judged, votes, gate) if votes else judged)
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


def _heard(judged: Verdict, votes: Votes, gate: Gate) -> Verdict:
    """The verdict with what people say: in its evidence, and in its place where the gate's [people] says so."""
    evidence = (*judged.evidence, f"{PEOPLE}{votes.keep} keep, {votes.reject} reject; the rules say {judged.decision}")
    said, enough = votes.decision, max(votes.keep, votes.reject) >= gate.people.votes
    over = {"keep": gate.people.keep_over, "reject": gate.people.reject_over}.get(said, ())
    if not enough or judged.decision not in over:
        return replace(judged, evidence=evidence)
    stage, reason = ("review", votes.reason) if said == "reject" else ("", "")
    return replace(judged, decision=said, stage=stage, reason=reason, evidence=evidence)


def by_rules(judged: Verdict) -> str:
    """keep, reject or unsure: what the rules alone say, whatever people decided."""
    heard = next((said for said in judged.evidence if said.startswith(PEOPLE)), "")
    return heard.rpartition(" ")[2] or judged.decision


def asked_gains(wrong: tuple[str, ...], gate: Gate) -> tuple[str, ...]:
    """The [gain.*] tables that a photograph asks for: those of what is wrong with it, or the one for all others."""
    return tuple(dict.fromkeys(name for name in wrong if name in gate.gains)) or (OTHER,)


def by_candidate(scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """Value by candidate and metric; a metric's later record replaces an earlier one."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for score in scores:
        values[score.candidate][score.metric] = score.value
    return values


class _Side(NamedTuple):
    """One side of a rule, with the texts of its evidence, which lack the value alone. Lower bounds have sign -1."""

    sign: int
    inner: float  # times the sign, as `outer`
    outer: float
    texts: tuple[str, str, str]  # where it holds, is unsure, breaks


@dataclass(frozen=True, slots=True)
class _Question:
    """A rule, made ready to be asked of many candidates."""

    metric: str
    stage: str
    reason: str
    sides: tuple[_Side, ...]
    if_measured: bool

    def outcome(self, answers: Sequence[int]) -> int:
        """HOLDS, UNSURE, BREAKS or UNMEASURED, by the answer of each side."""
        if UNMEASURED in answers:
            return HOLDS if self.if_measured else UNMEASURED
        return max(answers)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a gate says wherever the sides of its rules answer so; the evidence lacks the values alone."""

    decision: str
    stage: str
    reason: str
    evidence: str  # lines
    values: tuple[int, ...]  # the sides whose values stand in them, in their order


@dataclass(frozen=True, slots=True)
class _Questions:
    must: tuple[_Question, ...]
    gains: tuple[tuple[_Question, ...], ...]  # of each group one has to hold
    sides: tuple[tuple[str, int, float, float], ...]  # metric, sign, inner and outer of all of them, in their order
    known: dict[bytes, _Outcome] = field(default_factory=dict, compare=False)  # by the answers of the sides

    def outcome(self, answers: bytes) -> _Outcome:
        found = self.known.get(answers)
        if found is None:
            if len(self.known) == MOST_KNOWN:
                self.known.clear()
            found = self.known[answers] = self._outcome(answers)
        return found

    def _outcome(self, answers: bytes) -> _Outcome:
        hearing = _Hearing(answers)
        for question in self.must:
            hearing.note(question, hearing.ask(question))
        for group in self.gains:
            said = [hearing.ask(question) for question in group]
            if HOLDS in said:
                continue
            doubtful = [at for at, answer in enumerate(said) if answer != BREAKS]
            for at in doubtful or (0,):
                hearing.note(group[at], said[at])
        evidence, values = "\n".join(hearing.evidence), tuple(hearing.values)
        for decision, found in (("reject", hearing.failed), ("unsure", hearing.doubts)):
            if found:
                return _Outcome(decision, *found[0], evidence, values)
        return _Outcome("keep", "", "", evidence, values)


def _questions(wrong: tuple[str, ...], gate: Gate) -> _Questions:
    must = tuple(map(_question, gate.must[wrong[0]]))
    gains = tuple(tuple(map(_question, gate.gains[name].any)) for name in asked_gains(wrong, gate))
    every = (*must, *chain.from_iterable(gains))
    sides = tuple((each.metric, side.sign, side.inner, side.outer) for each in every for side in each.sides)
    return _Questions(must, gains, sides)


def _question(rule: Rule) -> _Question:
    sides = []
    for sign, inner, outer, holds, breaks in (
        (-1, rule.unsure_below, rule.min, ">=", "<"),
        (1, rule.unsure_above, rule.max, "<=", ">"),
    ):
        if math.isfinite(inner):
            texts = (
                f"{rule.metric} %.3f {holds} {inner:.3f}",
                f"{rule.metric} %.3f {breaks} {inner:.3f} unsure",
                f"{rule.metric} %.3f {breaks} {outer:.3f}",
            )
            sides.append(_Side(sign, sign * inner, sign * outer, texts))
    return _Question(rule.metric, rule.stage, rule.reason, tuple(sides), rule.if_measured)


@dataclass(slots=True)
class _Hearing:
    """What was found so far: (stage, reason) of what rejects and of what makes unsure."""

    answers: bytes
    place: int = 0  # of the side that is asked next
    evidence: list[str] = field(default_factory=list)
    values: list[int] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)  # in the gate's order
    doubts: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, question: _Question) -> int:
        """Its answer; the evidence is added."""
        begin, self.place = self.place, self.place + len(question.sides)
        answers = self.answers[begin : self.place]
        if UNMEASURED not in answers:
            self.evidence += (side.texts[answer] for side, answer in zip(question.sides, answers, strict=True))
            self.values += range(begin, self.place)
        elif not question.if_measured:
            self.evidence.append(f"{question.metric} unmeasured")
        return question.outcome(answers)

    def note(self, question: _Question, answer: int) -> None:
        if answer == BREAKS:
            self.failed.append((question.stage, question.reason))
        elif answer == UNSURE:
            self.doubts.append((question.stage, question.reason))
        elif answer == UNMEASURED:
            self.doubts.append((question.stage, f"unmeasured_{question.metric}"))


def _judge(candidate: Attempt, scores: Mapping[str, float], questions: _Questions, gate: Gate) -> Verdict:
    """Made for tens of millions of scores: most candidates answer as one before them did."""
    values, answers = [], bytearray()
    for metric, sign, inner, outer in questions.sides:
        value = scores.get(metric, NAN)
        values.append(value)
        signed = sign * value  # NaN compares as neither
        answers.append(
            HOLDS if signed <= inner else UNSURE if signed <= outer else BREAKS if signed > outer else UNMEASURED
        )
    found = questions.outcome(bytes(answers))
    said = found.evidence % tuple([values[place] for place in found.values])
    return _say(candidate, gate, found.decision, found.stage, found.reason, said.split("\n") if said else [])


def _say(candidate: Attempt, gate: Gate, decision: str, stage: str, reason: str, evidence: list[str]) -> Verdict:
    return Verdict(
        candidate=candidate.id, gate=gate.id, decision=decision, stage=stage, reason=reason, evidence=tuple(evidence)
    )


def _rank(candidate: str, values: Mapping[str, Mapping[str, float]], gate: Gate) -> tuple[float | str, ...]:
    """Best first: the highest of the first metric, of the next at a tie; what was not measured comes last."""
    scores = values.get(candidate, {})
    measured = (scores.get(metric, NAN) for metric in gate.best)
    return (*(math.inf if math.isnan(value) else -value for value in measured), candidate)
