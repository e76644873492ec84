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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from ggt_tools.evidence import ReviewVotes
from ggt_tools.policy.gate import Gate, load_gate
from ggt_tools.policy.questions import NAN, Floats, Questions, asked_gains, prepare_questions
from ggt_tools.records import Score, Verdict
from ggt_tools.workspace.verdict_table import (
    BETTER_SHAPE,
    Outcome,
    Verdicts,
    to_verdict,
    votes_shape,
)

if TYPE_CHECKING:
    from ggt_tools.policy.votes import Votes

__all__ = ["DEFAULT_GATE", "Gate", "Judge", "asked_gains", "by_candidate", "by_rules", "load_gate", "verdict"]

DEFAULT_GATE = Path(__file__).with_name("gate.toml")


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
        self._lists: dict[str | tuple[str, ...], Questions] = {}  # one for all photographs with the same degradations

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
                self._lists[listed] = prepare_questions((listed,) if isinstance(listed, str) else listed, self._gate)
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
    """Add the votes of reviewers to an outcome; they decide as far as the gate's [people] allows.

    A candidate that the rules keep is held back as unsure where reviewers looked at it and no majority of them keeps
    it, unless the gate lets no rejection replace a keep.
    """
    name, rules_decision, stage, reason, shapes = outcome
    shapes = _append(shapes, votes_shape(votes.keep, votes.reject, rules_decision))
    decision, has_enough = rules_decision, max(votes.keep, votes.reject) >= gate.people.votes
    replaceable = {"keep": gate.people.keep_over, "reject": gate.people.reject_over}.get(votes.decision, ())
    if has_enough and rules_decision in replaceable:
        decision = votes.decision
        stage, reason = ("review", votes.reason) if decision == "reject" else ("", "")
    elif decision == "keep" and votes.decision != "keep" and "keep" in gate.people.reject_over:
        decision, stage, reason = "unsure", "review", "people_unsure"
    return name, decision, stage, reason, shapes


def _append(listed: str, item: object) -> str:
    """Return a JSON list with one more item."""
    return f"{listed[:-1]}{', ' if len(listed) > 2 else ''}{json.dumps(item)}]"


def by_rules(judged: Verdict) -> str:
    """Return the decision of the rules alone, whatever reviewers decided: keep, reject or unsure."""
    votes = (item.rules_decision for item in judged.evidence if isinstance(item, ReviewVotes))
    return next(votes, judged.decision)


def by_candidate(scores: Iterable[Score]) -> dict[str, dict[str, float]]:
    """Return values by candidate and metric. A later record of a metric replaces an earlier one."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for score in scores:
        values[score.candidate][score.metric] = score.value
    return values
