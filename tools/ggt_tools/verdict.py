"""Verdicts: what the gate says of each candidate, out of its scores. Policy, not fact; no score is computed here.

    gate = load_gate(DEFAULT_GATE)
    for judged in verdict(candidates, scores, degradation_of, gate): ...

A candidate is kept when it breaks no rule *and* has a gain for each thing that is wrong with its photograph. Neither
alone will do: an unchanged copy is faithful, and an invented picture is sharp. What no rule rejects and some rule does
not clear is unsure, and goes to review: a metric that was not measured, a value in a rule's band between good and bad.
What people decide there takes the place of the rules' verdict as far as the gate's [people] lets it.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ggt_tools.gate import OTHER, Gate, Rule, load_gate
from ggt_tools.records import Score, Verdict
from ggt_tools.verdict_table import Row, to_verdict

if TYPE_CHECKING:
    from ggt_tools.review.decisions import Votes

__all__ = ["DEFAULT_GATE", "Gate", "Judge", "asked_gains", "by_candidate", "by_rules", "load_gate", "verdict"]

DEFAULT_GATE = Path(__file__).with_name("gate") / "gate.toml"
Floats = npt.NDArray[np.float64]
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
    measured = {
        metric: np.array([values.get(candidate.id, {}).get(metric, NAN) for candidate in listed], np.float64)
        for metric in gate.metrics
    }
    yield from map(to_verdict, Judge(gate, people or {}).rows(listed, measured, degradation_of, astray or {}))


class Judge:
    """A gate, and what people decided, made ready to be asked about very many candidates."""

    def __init__(self, gate: Gate, people: Mapping[str, Votes]) -> None:
        self._gate, self._people = gate, people
        self._lists: dict[str | tuple[str, ...], _Questions] = {}  # one for all photographs with the same faults

    def rows(
        self,
        candidates: Sequence[Attempt],
        measured: Mapping[str, Floats],
        degradation_of: Mapping[str, str | tuple[str, ...]],
        astray: Mapping[str, str],
    ) -> list[Row]:
        """As verdict(), each as verdict_table.Row. `measured`: by metric (candidates,) values."""
        rows: list[Row] = [()] * len(candidates)
        places: dict[str | tuple[str, ...], list[int]] = defaultdict(list)
        row: Row
        for place, candidate in enumerate(candidates):
            if candidate.id in astray:
                rows[place] = (candidate.id, self._gate.id, "reject", "align", astray[candidate.id], "[]", "[]")
            elif not candidate.image:
                rows[place] = (
                    candidate.id,
                    self._gate.id,
                    "reject",
                    "restore",
                    candidate.reason or "no_image",
                    "[]",
                    "[]",
                )
            else:
                places[degradation_of[candidate.key]].append(place)
        for wrong, some in places.items():
            if wrong not in self._lists:
                self._lists[wrong] = _questions((wrong,) if isinstance(wrong, str) else wrong, self._gate)
            for place, answer in zip(some, self._lists[wrong].answers(measured, some), strict=True):
                row = (candidates[place].id, self._gate.id, *answer)
                votes = self._people.get(row[0])
                rows[place] = _heard(row, votes, self._gate) if votes else row
        kept: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            if row[2] == "keep":
                kept[candidates[place].key].append(place)
        absent = np.full(len(candidates), NAN)
        best = [measured.get(metric, absent).tolist() for metric in self._gate.best]
        for several in kept.values():
            if len(several) > 1:
                first, *others = sorted(several, key=lambda place: _rank(candidates[place].id, place, best))
                for place in others:
                    id, gate, *_, lines, values = rows[place]
                    said = _with(lines, "the best is %s"), _with(values, candidates[first].id)
                    rows[place] = (id, gate, "reject", "verdict", "not_the_best", *said)
        return rows


def _heard(row: Row, votes: Votes, gate: Gate) -> Row:
    """The verdict with what people say: in its evidence, and in its place where the gate's [people] says so."""
    id, name, decision, stage, reason, lines, values = row
    lines = _with(lines, f"{PEOPLE}{votes.keep} keep, {votes.reject} reject; the rules say {decision}")
    said, enough = votes.decision, max(votes.keep, votes.reject) >= gate.people.votes
    over = {"keep": gate.people.keep_over, "reject": gate.people.reject_over}.get(said, ())
    if enough and decision in over:
        decision, (stage, reason) = said, ("review", votes.reason) if said == "reject" else ("", "")
    return id, name, decision, stage, reason, lines, _with(values, "")


def _with(texts: str, more: str) -> str:
    """A JSON list of texts with one more."""
    return texts[:-1] + (", " if len(texts) > 2 else "") + json.dumps(more) + "]"


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
    """One side of a rule, with its lines of evidence, in which %s stands for the value. Lower bounds have sign -1."""

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
    """What a gate says wherever the sides of its rules answer so."""

    said: tuple[str, str, str]  # decision, stage, reason
    lines: str  # of evidence, as a verdict's row has them
    fill: str  # their values, which stand for %.3f
    values: tuple[int, ...]  # the sides whose values those are, in their order


@dataclass(frozen=True, slots=True)
class _Questions:
    must: tuple[_Question, ...]
    gains: tuple[tuple[_Question, ...], ...]  # of each group one has to hold
    metrics: tuple[str, ...]  # of each side of them all, in their order, as is
    bounds: Floats  # (3, sides): sign, inner, outer
    known: dict[bytes, _Outcome] = field(default_factory=dict, compare=False)  # by the answers of the sides

    def answers(self, measured: Mapping[str, Floats], places: Sequence[int]) -> list[tuple[str, ...]]:
        """Of the candidates at these places decision, stage, reason, lines of evidence and their values."""
        absent = np.full(len(places), NAN)
        values = np.stack([measured[name][places] if name in measured else absent for name in self.metrics], axis=1)
        sign, inner, outer = self.bounds
        signed = sign * values
        answers = (signed > inner) + (signed > outer).astype(np.uint8)  # HOLDS, UNSURE, BREAKS
        answers[np.isnan(signed)] = UNMEASURED
        kinds, kind_of = np.unique(answers.view(f"V{answers.shape[1]}").ravel(), return_inverse=True)
        order = np.argsort(kind_of, kind="stable")
        found: list[tuple[str, ...]] = [()] * len(places)
        for kind, alike in zip(kinds, np.split(order, np.cumsum(np.bincount(kind_of))[:-1]), strict=True):
            outcome = self.outcome(kind.tobytes())
            for place, shown in zip(alike.tolist(), values[alike][:, outcome.values].tolist(), strict=True):
                found[place] = (*outcome.said, outcome.lines, outcome.fill % tuple(shown))
        return found

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
        fill = json.dumps(["%.3f" if "%s" in line else "" for line in hearing.evidence])
        evidence = json.dumps(hearing.evidence), fill, tuple(hearing.values)
        for decision, found in (("reject", hearing.failed), ("unsure", hearing.doubts)):
            if found:
                return _Outcome((decision, *found[0]), *evidence)
        return _Outcome(("keep", "", ""), *evidence)


def _questions(wrong: tuple[str, ...], gate: Gate) -> _Questions:
    must = tuple(map(_question, gate.must[wrong[0]]))
    gains = tuple(tuple(map(_question, gate.gains[name].any)) for name in asked_gains(wrong, gate))
    every = (*must, *chain.from_iterable(gains))
    metrics = tuple(each.metric for each in every for _ in each.sides)
    bounds = np.array([(side.sign, side.inner, side.outer) for each in every for side in each.sides], np.float64)
    return _Questions(must, gains, metrics, bounds.T)


def _question(rule: Rule) -> _Question:
    sides = []
    for sign, inner, outer, holds, breaks in (
        (-1, rule.unsure_below, rule.min, ">=", "<"),
        (1, rule.unsure_above, rule.max, "<=", ">"),
    ):
        if math.isfinite(inner):
            texts = (
                f"{rule.metric} %s {holds} {inner:.3f}",
                f"{rule.metric} %s {breaks} {inner:.3f} unsure",
                f"{rule.metric} %s {breaks} {outer:.3f}",
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


def _rank(candidate: str, place: int, best: Sequence[Sequence[float]]) -> tuple[float | str, ...]:
    """Best first: the highest of the first metric, of the next at a tie; what was not measured comes last."""
    return (*(math.inf if math.isnan(values[place]) else -values[place] for values in best), candidate)
