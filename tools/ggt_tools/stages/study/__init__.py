"""Compare restorers and prompts on the same photographs, and recommend one.

    result = study(StudyFacts(...))
    print(result.recommended)

There are four criteria, for each degradation: content fidelity and perceptual quality by metrics, the assessment of a
vision-language model, and what people prefer. Metrics have units of their own. So each value is turned into the share
of the other entrants that an entrant beats on a photograph, and its mean over metrics and photographs counts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ggt_tools.records import Choice, Photo
from ggt_tools.stages.study.plan import StudyPlan
from ggt_tools.stages.study.ranking import DRAWS, ObservedChoice, RankedEntrant, rank
from ggt_tools.stages.study.recommendation import recommend
from ggt_tools.stages.study.result import ALL, Interval, StudyResult, StudyRow, nan_as_least

__all__ = ["StudyFacts", "choices_in_force", "study"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFacts:
    """What is known of a study so far.

    Attributes:
        plan: The plan.
        entries: Candidate with an aligned image, by entrant and key.
        photos: The photographs of the study by key.
        scores: Value by candidate and metric.
        choices: The choices of reviewers that are in force.
        usd: What the calls of a candidate cost.
    """

    plan: StudyPlan
    entries: Mapping[str, Mapping[str, str]]
    photos: Mapping[str, Photo]
    scores: Mapping[str, Mapping[str, float]]
    choices: Sequence[Choice]
    usd: Mapping[str, float]


def choices_in_force(choices: Sequence[Choice]) -> list[Choice]:
    """Return the choices that were not undone."""
    undone = {choice.undoes for choice in choices if choice.undoes}
    return [choice for choice in choices if not choice.undoes and choice.id not in undone]


def study(facts: StudyFacts, *, draws: int = DRAWS) -> StudyResult:
    """Return the table, the ranking and the recommendation of a study.

    Args:
        facts: What is known.
        draws: Number of draws of each bootstrap.
    """
    classes = sorted({photo.degradation for photo in facts.photos.values()})
    groups = [ALL, *classes] if len(classes) > 1 else [ALL]
    rows: list[StudyRow] = []
    ranking: list[RankedEntrant] = []
    for group in groups:
        keys = sorted(key for key, photo in facts.photos.items() if group in (ALL, photo.degradation))
        ranked = rank(_observed_choices(facts, set(keys)), list(facts.entries), draws=draws)
        ranking = ranked if group == ALL else ranking
        group_rows = _rows(facts, group, keys, {entrant.name: entrant for entrant in ranked}, draws)
        rows += sorted(
            group_rows,
            key=lambda row: (-nan_as_least(row.preferred.value), -nan_as_least(row.fidelity.value), row.entrant),
        )
    recommended, reasons, cautions = recommend(rows, ranking)
    return StudyResult(
        rows=tuple(rows),
        ranking=tuple(ranking),
        recommended=recommended,
        reasons=tuple(reasons),
        cautions=tuple(cautions),
    )


def _rows(
    facts: StudyFacts, group: str, keys: Sequence[str], ranked: Mapping[str, RankedEntrant], draws: int
) -> list[StudyRow]:
    fidelity, quality = (_shares_beaten(facts, keys, names) for names in (facts.plan.fidelity, facts.plan.quality))
    rows = []
    for entrant, by_key in facts.entries.items():
        candidates = [by_key[key] for key in keys if key in by_key]
        own = ranked.get(entrant)
        costs = [facts.usd[candidate] for candidate in candidates if candidate in facts.usd]
        assessments = [_vlm_assessment(facts.scores.get(candidate, {})) for candidate in candidates]
        rows.append(
            StudyRow(
                degradation=group,
                entrant=entrant,
                photographs=len(candidates),
                of=len(keys),
                fidelity=_mean(fidelity.get(entrant, []), draws),
                quality=_mean(quality.get(entrant, []), draws),
                vlm=_mean(assessments, draws),
                preferred=Interval(value=own.preferred, low=own.preferred_low, high=own.preferred_high)
                if own
                else Interval(),
                choices=own.choices if own else 0,
                usd=sum(costs) / len(costs) if costs else math.nan,
            )
        )
    return rows


def _shares_beaten(facts: StudyFacts, keys: Sequence[str], metrics: Sequence[str]) -> dict[str, list[float]]:
    """Return the share of the other entrants that each entrant beats on each photograph, as its mean over metrics."""
    shares: dict[str, list[float]] = defaultdict(list)
    for key in keys:
        by_entrant: dict[str, list[float]] = defaultdict(list)
        for signed_metric in metrics:
            metric, sign = signed_metric.removeprefix("-"), -1.0 if signed_metric.startswith("-") else 1.0
            values = {
                entrant: sign * value
                for entrant, by_key in facts.entries.items()
                if key in by_key and not math.isnan(value := facts.scores.get(by_key[key], {}).get(metric, math.nan))
            }
            if len(values) < 2:
                continue
            for entrant, value in values.items():
                below = sum((other < value) + 0.5 * (other == value) for other in values.values()) - 0.5
                by_entrant[entrant].append(below / (len(values) - 1))
        for entrant, own in by_entrant.items():
            shares[entrant].append(sum(own) / len(own))
    return shares


def _vlm_assessment(scores: Mapping[str, float]) -> float:
    return (scores.get("vlm_fidelity", math.nan) + scores.get("vlm_quality", math.nan)) / 2


def _mean(values: Sequence[float], draws: int) -> Interval:
    """Return the mean over photographs, with the interval of a bootstrap."""
    known = np.array([value for value in values if not math.isnan(value)])
    if not known.size:
        return Interval()
    random = np.random.default_rng(7)
    means = known[random.integers(known.size, size=(draws, known.size))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(value=float(known.mean()), low=float(low), high=float(high))


def _observed_choices(facts: StudyFacts, keys: set[str]) -> list[ObservedChoice]:
    """Return the choices on some photographs, with the entrants in place of the candidates."""
    entrant_of = {candidate: name for name, by_key in facts.entries.items() for candidate in by_key.values()}
    return [
        ObservedChoice(
            key=choice.key,
            shown=tuple(entrant_of[candidate] for candidate in choice.shown),
            best=entrant_of[choice.best] if choice.best else "",
        )
        for choice in facts.choices
        if choice.key in keys and all(candidate in entrant_of for candidate in choice.shown)
    ]
