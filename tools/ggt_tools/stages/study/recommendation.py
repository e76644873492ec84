"""Recommend one entrant of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from ggt_tools.stages.study.ranking import RankedEntrant
from ggt_tools.stages.study.result import ALL, CRITERIA, Interval, StudyRow, nan_as_least

CRITERION_NAMES = {
    "fidelity": "content fidelity",
    "quality": "perceptual quality",
    "vlm": "VLM assessment",
    "preferred": "human preference",
}
MIN_BEST_SHARE = 0.05  # an entrant that is the best in fewer of the bootstrap's draws is clearly behind (ours)
MIN_CHOICES = 30  # of each entrant; with fewer a ranking says little (ours)
MAX_MISSING = 0.1  # share of the photographs that may have no result, more than of the best entrant (ours)


def recommend(rows: Sequence[StudyRow], ranking: Sequence[RankedEntrant]) -> tuple[str, list[str], list[str]]:
    """Return the entrant to take, why, and what speaks against it.

    The most faithful entrant is recommended among those that have a result for nearly all photographs and are not
    clearly behind in what people prefer. If nobody has chosen yet, it is the most faithful of all. A ground truth has
    to be faithful first, and only then look good.

    Args:
        rows: The rows of all classes, and of all photographs.
        ranking: The entrants by what people prefer, the strongest first.

    Returns:
        Name of the entrant, "" if there are no rows; the reasons and the cautions as sentences.
    """
    overall = [row for row in rows if row.degradation == ALL]
    if not overall:
        return "", ["There are no results yet."], []
    most = max(row.photographs / row.of for row in overall)
    complete = [row for row in overall if row.photographs / row.of >= most - MAX_MISSING]
    cautions = [
        f"{row.entrant} is left out: it has no result for {row.of - row.photographs} of {row.of} photographs."
        for row in overall
        if row not in complete
    ]
    ranked = {entrant.name: entrant for entrant in ranking}
    contenders = [
        row for row in complete if row.entrant in ranked and 1 - ranked[row.entrant].not_best >= MIN_BEST_SHARE
    ] or complete
    best = max(contenders, key=_order)
    reasons = []
    if best.entrant in ranked:
        reasons.append(_preference(best, ranking, ranked))
        if min(entrant.choices for entrant in ranking) < MIN_CHOICES:
            cautions.append(
                f"Some entrants were shown fewer than {MIN_CHOICES} times, so the ranking may still change."
            )
    else:
        cautions.append("Nobody has chosen yet, so the preference of people is not known.")
    reasons += _other_reasons(best, contenders, is_ranked=best.entrant in ranked)
    cautions += _cautions(best, rows, overall)
    return best.entrant, reasons, cautions


def _order(row: StudyRow) -> tuple[float, float, float]:
    return nan_as_least(row.fidelity.value), nan_as_least(row.vlm.value), -nan_as_least(row.usd)


def _preference(best: StudyRow, ranking: Sequence[RankedEntrant], ranked: Mapping[str, RankedEntrant]) -> str:
    """Say how much people prefer the entrant, and which one they prefer more."""
    share = f"People prefer it to another entrant in {_percent(best.preferred)} of choices"
    first = ranking[0]
    if first.name == best.entrant:
        return f"{share}, more than any other."
    best_share = 100 * (1 - ranked[best.entrant].not_best)
    return (
        f"{share}. They prefer {first.name} most, but it is not clearly ahead: in {best_share:.0f} % of the "
        f"bootstrap's draws {best.entrant} was the best."
    )


def _other_reasons(best: StudyRow, contenders: Sequence[StudyRow], *, is_ranked: bool) -> Iterator[str]:
    """Say how the entrant does in fidelity, for the vision-language model, and in cost."""
    if not math.isnan(best.fidelity.value) and len(contenders) > 1:
        order = sorted(-nan_as_least(row.fidelity.value) for row in contenders)
        place = _ordinal(order.index(-nan_as_least(best.fidelity.value)) + 1)
        group = f"the {len(contenders)} that are not clearly behind" if is_ranked else f"{len(contenders)}"
        yield (
            f"Its content fidelity is the {place} of {group}: it beats {_percent(best.fidelity)} of the others on a "
            "photograph."
        )
    if not math.isnan(best.vlm.value):
        yield f"The vision-language model gives it {best.vlm.value:.0f} of 100."
    if not math.isnan(best.usd):
        yield f"It costs {best.usd:.3f} usd a photograph."


def _cautions(best: StudyRow, rows: Sequence[StudyRow], overall: Sequence[StudyRow]) -> Iterator[str]:
    """Name the entrants that are clearly ahead in a criterion, or that people clearly prefer in a class."""
    for criterion in CRITERIA[:3]:
        leader = max(overall, key=lambda row: nan_as_least(getattr(row, criterion).value))
        if leader.entrant != best.entrant and getattr(leader, criterion).low > getattr(best, criterion).high:
            yield f"{leader.entrant} is clearly ahead in {CRITERION_NAMES[criterion]}."
    for degradation in dict.fromkeys(row.degradation for row in rows if row.degradation != ALL):
        preferred = {row.entrant: row.preferred for row in rows if row.degradation == degradation}
        for name, interval in preferred.items():
            if interval.low > preferred[best.entrant].high:
                yield f"For {degradation}, people clearly prefer {name}."


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f} %)"


def _ordinal(number: int) -> str:
    return {1: "best", 2: "second best", 3: "third best"}.get(number, f"{number}th best")
