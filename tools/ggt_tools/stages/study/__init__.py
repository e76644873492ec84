"""study: restorers held against each other on the same photographs, and which of them to take.

    found = result(StudyFacts(...))
    print(found.recommendation)

Four criteria, by degradation: content fidelity and perceptual quality by metrics, a vision-language model's assessment,
and what people prefer. Metrics have units of their own: each is turned into the share of the other entrants that one
beats on a photograph, and the mean of that is taken over metrics and photographs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ggt_tools.records import Choice, Photo
from ggt_tools.stages.study.plan import Plan
from ggt_tools.stages.study.ranking import DRAWS, Preferred, Ranked, rank

ALL = "all"
CRITERIA = ("fidelity", "quality", "vlm", "preferred")
NAMES = {
    "fidelity": "content fidelity",
    "quality": "perceptual quality",
    "vlm": "VLM assessment",
    "preferred": "human preference",
}
SELDOM = 0.05  # an entrant that was the best in fewer of the draws is clearly behind (ours)
ENOUGH = 30  # choices an entrant, below which a ranking says little (ours)
MISSING = 0.1  # share of the photographs that may have no result, more than of the best (ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What a study has found out so far."""

    plan: Plan
    entries: Mapping[str, Mapping[str, str]]  # entrant -> key -> candidate that has an image
    photos: Mapping[str, Photo]  # those of the study
    scores: Mapping[str, Mapping[str, float]]  # by candidate and metric
    choices: Sequence[Choice]  # that stand
    usd: Mapping[str, float]  # by candidate: what its calls cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its interval of 95 %; all NaN where nothing is known."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entrant on the photographs of one class, or on all."""

    degradation: str
    entrant: str
    photographs: int  # with a result
    of: int
    fidelity: Interval  # 0 to 1: the share of the others that it beats
    quality: Interval
    vlm: Interval  # 0 to 100: the mean of the fidelity and the quality that it was given
    preferred: Interval  # 0 to 1: the chance that people prefer it to another
    choices: int
    usd: float  # a photograph; NaN where it is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The table, the ranking, and what to take."""

    rows: tuple[Row, ...]  # all classes together first, the most preferred first in each
    ranking: tuple[Ranked, ...]
    recommended: str  # "" where nothing can be said
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]

    def of(self, degradation: str) -> list[Row]:
        return [row for row in self.rows if row.degradation == degradation]

    @property
    def degradations(self) -> list[str]:
        return list(dict.fromkeys(row.degradation for row in self.rows))


def standing(choices: Sequence[Choice]) -> list[Choice]:
    """Those that were not undone."""
    undone = {choice.undoes for choice in choices if choice.undoes}
    return [choice for choice in choices if not choice.undoes and choice.id not in undone]


def result(facts: StudyFacts, *, draws: int = DRAWS) -> Result:
    """What came of it, and the recommendation by the rule that stands in recommend()."""
    classes = sorted({photo.degradation for photo in facts.photos.values()})
    groups = [ALL, *classes] if len(classes) > 1 else [ALL]
    rows: list[Row] = []
    ranking: list[Ranked] = []
    for group in groups:
        keys = sorted(key for key, photo in facts.photos.items() if group in (ALL, photo.degradation))
        ranked = rank(_preferred(facts, set(keys)), list(facts.entries), draws=draws)
        ranking = ranked if group == ALL else ranking
        found = _rows(facts, group, keys, {one.name: one for one in ranked}, draws)
        rows += sorted(found, key=lambda row: (-_order(row.preferred.value), -_order(row.fidelity.value), row.entrant))
    recommended, reasons, cautions = recommend(rows, ranking)
    return Result(
        rows=tuple(rows), ranking=tuple(ranking), recommended=recommended, reasons=tuple(reasons),
        cautions=tuple(cautions),
    )  # fmt: skip


def recommend(rows: Sequence[Row], ranking: Sequence[Ranked]) -> tuple[str, list[str], list[str]]:
    """The entrant to take, why, and what speaks against it.

    Of those that have a result for nearly all photographs, and that are not clearly behind in what people prefer, the
    most faithful; where nobody has chosen yet, the most faithful of all. A ground truth has to be true before it has
    to please.
    """
    everything = [row for row in rows if row.degradation == ALL]
    if not everything:
        return "", ["Nothing has been made yet."], []
    most = max(row.photographs / row.of for row in everything)
    whole = [row for row in everything if row.photographs / row.of >= most - MISSING]
    reasons, cautions = [], []
    for row in everything:
        if row not in whole:
            cautions.append(f"{row.entrant} is out: it has no result for {row.of - row.photographs} of {row.of}.")
    ranked = {one.name: one for one in ranking}
    near = [row for row in whole if row.entrant in ranked and 1 - ranked[row.entrant].behind >= SELDOM]
    near = near or whole
    best = max(near, key=lambda row: (_order(row.fidelity.value), _order(row.vlm.value), -_order(row.usd)))
    if best.entrant in ranked:
        first, own = ranking[0], ranked[best.entrant]
        if first.name == best.entrant:
            reasons.append(
                f"People prefer it to another in {_percent(best.preferred)} of choices, more than any other."
            )
        else:
            reasons.append(
                f"People prefer it to another in {_percent(best.preferred)} of choices; {first.name}, first in that, "
                f"is not clearly ahead: it was the best in {100 * (1 - own.behind):.0f} % of the bootstrap's draws."
            )
        if min(one.choices for one in ranking) < ENOUGH:
            cautions.append(f"Some were shown fewer than {ENOUGH} times: the ranking may still turn.")
    else:
        cautions.append("Nobody has chosen yet: people may see it otherwise.")
    place = sorted(-_order(row.fidelity.value) for row in near).index(-_order(best.fidelity.value)) + 1
    if not math.isnan(best.fidelity.value) and len(near) > 1:
        of = f"of the {len(near)} that are not clearly behind" if best.entrant in ranked else f"of {len(near)}"
        reasons.append(
            f"Its content fidelity is the {_ordinal(place)} {of}: it beats {_percent(best.fidelity)} of the others on "
            "a photograph."
        )
    if not math.isnan(best.vlm.value):
        reasons.append(f"The vision-language model gives it {best.vlm.value:.0f} of 100.")
    if not math.isnan(best.usd):
        reasons.append(f"It costs {best.usd:.3f} usd a photograph.")
    for criterion in CRITERIA[:3]:
        leader = max(everything, key=lambda row: _order(getattr(row, criterion).value))
        lead, own_value = getattr(leader, criterion), getattr(best, criterion)
        if leader.entrant != best.entrant and lead.low > own_value.high:
            cautions.append(f"{leader.entrant} is clearly ahead in {NAMES[criterion]}.")
    for degradation in dict.fromkeys(row.degradation for row in rows if row.degradation != ALL):
        of_class = {row.entrant: row.preferred for row in rows if row.degradation == degradation}
        own_class = of_class[best.entrant]
        for name, preferred in of_class.items():
            if preferred.low > own_class.high:
                cautions.append(f"For {degradation} people clearly prefer {name}.")
    return best.entrant, reasons, cautions


def _rows(facts: StudyFacts, group: str, keys: Sequence[str], ranked: Mapping[str, Ranked], draws: int) -> list[Row]:
    fidelity, quality = (_beaten(facts, keys, names) for names in (facts.plan.fidelity, facts.plan.quality))
    found = []
    for entrant, by_key in facts.entries.items():
        candidates = [by_key[key] for key in keys if key in by_key]
        own = ranked.get(entrant)
        costs = [facts.usd[one] for one in candidates if one in facts.usd]
        found.append(
            Row(
                degradation=group,
                entrant=entrant,
                photographs=len(candidates),
                of=len(keys),
                fidelity=_mean(fidelity.get(entrant, []), draws),
                quality=_mean(quality.get(entrant, []), draws),
                vlm=_mean([_assessed(facts.scores.get(one, {})) for one in candidates], draws),
                preferred=Interval(value=own.preferred, low=own.preferred_low, high=own.preferred_high)
                if own
                else Interval(),
                choices=own.choices if own else 0,
                usd=sum(costs) / len(costs) if costs else math.nan,
            )
        )
    return found


def _beaten(facts: StudyFacts, keys: Sequence[str], metrics: Sequence[str]) -> dict[str, list[float]]:
    """By entrant and photograph the share of the other entrants that it beats, the mean over the metrics."""
    shares: dict[str, list[float]] = defaultdict(list)
    for key in keys:
        of: dict[str, list[float]] = defaultdict(list)
        for signed in metrics:
            metric, sign = signed.removeprefix("-"), -1.0 if signed.startswith("-") else 1.0
            values = {
                entrant: sign * value
                for entrant, by_key in facts.entries.items()
                if key in by_key and not math.isnan(value := facts.scores.get(by_key[key], {}).get(metric, math.nan))
            }
            if len(values) < 2:
                continue
            for entrant, value in values.items():
                below = sum((other < value) + 0.5 * (other == value) for other in values.values()) - 0.5
                of[entrant].append(below / (len(values) - 1))
        for entrant, some in of.items():
            shares[entrant].append(sum(some) / len(some))
    return shares


def _assessed(scores: Mapping[str, float]) -> float:
    return (scores.get("vlm_fidelity", math.nan) + scores.get("vlm_quality", math.nan)) / 2


def _mean(values: Sequence[float], draws: int) -> Interval:
    """The mean over photographs, with the bootstrap's interval."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size:
        return Interval()
    random = np.random.default_rng(7)
    means = known[random.integers(known.size, size=(draws, known.size))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(value=float(known.mean()), low=float(low), high=float(high))


def _preferred(facts: StudyFacts, keys: set[str]) -> list[Preferred]:
    entrant = {one: name for name, by_key in facts.entries.items() for one in by_key.values()}
    return [
        Preferred(
            key=choice.key,
            shown=tuple(entrant[one] for one in choice.shown),
            best=entrant[choice.best] if choice.best else "",
        )
        for choice in facts.choices
        if choice.key in keys and all(one in entrant for one in choice.shown)
    ]


def _order(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"


def _ordinal(number: int) -> str:
    return {1: "best", 2: "second", 3: "third"}.get(number, f"{number}th")
