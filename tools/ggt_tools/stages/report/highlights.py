"""Choose the candidates that are worth a look: near a bound of the gate, or where metrics disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ggt_tools.policy.bounds import Bounds, Floats
from ggt_tools.records import Verdict

CLEAR_SPREADS = 0.5  # a value so many spreads within its bound is clearly good (ours)
MIN_CORRELATION = 0.8  # rank correlation from which two metrics say nearly the same (ours)
MIN_RANK_GAP = 0.3  # share of all ranks by which two such metrics must differ on a candidate to show it (ours)
MIN_MEASURED = 30  # candidates that both metrics were measured on; with fewer a correlation says little


@dataclass(frozen=True, slots=True, kw_only=True)
class Highlight:
    """A candidate that is worth a look.

    Attributes:
        index: Its place in the list of candidates.
        notes: Why it is shown: the bounds or ranks that decide.
    """

    index: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelatedMetrics:
    """Two metrics that nearly always rank candidates alike, or in opposite order.

    Attributes:
        first: Name of one metric.
        second: Name of the other one.
        correlation: Spearman's rank correlation.
        count: Number of candidates that both were measured on.
        exceptions: Candidates that the two metrics rank differently.
    """

    first: str
    second: str
    correlation: float
    count: int
    exceptions: tuple[Highlight, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassExamples:
    """The candidates that show best how a class was judged, as places in the list of candidates.

    Attributes:
        best_kept: Kept, and the farthest inside all bounds; the best first.
        worst_kept: Kept, and the nearest to a bound; the worst first. None of them is among `best_kept`.
        best_rejected: Rejected by a rule, and the nearest to being kept; the nearest first.
        most_contested: Reviewers or a vision-language model disagree, or the gate is unsure; the most contested first.
    """

    best_kept: tuple[int, ...]
    worst_kept: tuple[int, ...]
    best_rejected: tuple[int, ...]
    most_contested: tuple[int, ...]


def class_examples(
    bounds: Bounds,
    verdicts: Sequence[Verdict],
    classes: Sequence[str],
    disagreement: Floats,
    *,
    max_count: int,
) -> dict[str, ClassExamples]:
    """Choose the examples of each class.

    Args:
        bounds: The bounds of the gate, and the values of the n candidates.
        verdicts: (n,) their verdicts.
        classes: (n,) their classes.
        disagreement: (n,) how far those who judged a candidate disagree; 0 for not at all.
        max_count: Largest number of candidates of each kind and class.
    """
    margins = bounds.margins(bounds.limits, bounds.spreads)
    decisions = np.array([verdict.decision for verdict in verdicts], dtype=object)
    by_rule = np.array([verdict.stage in ("score", "screen") for verdict in verdicts], bool)
    names = np.array(classes, dtype=object)
    # unsure ones that nobody disagrees about come last, the nearest to being kept first
    contested = np.lexsort((-margins, -disagreement))
    best = np.argsort(-margins, kind="stable")
    examples = {}
    for name in sorted(set(classes)):
        is_own = names == name
        kept = _first(best, is_own & (decisions == "keep"))
        rejected = _first(best, is_own & (decisions == "reject") & by_rule & np.isfinite(margins))
        disputed = _first(contested, is_own & ((decisions == "unsure") | (disagreement > 0)))
        worst_count = min(max_count, len(kept) // 2)
        examples[str(name)] = ClassExamples(
            best_kept=kept[: min(max_count, len(kept) - worst_count)],
            worst_kept=kept[::-1][:worst_count],
            best_rejected=rejected[:max_count],
            most_contested=disputed[:max_count],
        )
    return examples


def _first(order: npt.NDArray[np.intp], is_chosen: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the chosen places, in an order."""
    return tuple(int(place) for place in order[is_chosen[order]])


def rejected_by_one_rule(bounds: Bounds, verdicts: Sequence[Verdict], max_count: int) -> list[Highlight]:
    """Return the candidates that one rule rejects and all others find clearly good, the clearest first."""
    distances = bounds.distances(bounds.limits, bounds.spreads)
    by_group = np.sort(bounds.group_distances(distances), axis=1)
    if by_group.shape[1] < 2:
        return []
    is_chosen = (by_group[:, 0] < 0) & np.isfinite(by_group[:, 0]) & (by_group[:, 1] >= CLEAR_SPREADS)
    is_chosen &= np.array([verdict.decision == "reject" for verdict in verdicts], bool)
    order = [int(i) for i in np.argsort(-by_group[:, 1], kind="stable") if is_chosen[i]]
    return [Highlight(index=i, notes=_nearest_bounds(bounds, distances, i, max_count=1)) for i in order[:max_count]]


def correlated_metrics(values: Mapping[str, Floats], max_count: int, max_exceptions: int) -> list[CorrelatedMetrics]:
    """Return pairs of metrics with a rank correlation of at least MIN_CORRELATION, the strongest first.

    Args:
        values: (n,) values by metric, NaN where not measured.
        max_count: Return at most this many pairs.
        max_exceptions: Return at most this many candidates of each pair.
    """
    correlated = []
    for first, second in combinations(sorted(values), 2):
        measured = np.flatnonzero(np.isfinite(values[first]) & np.isfinite(values[second]))
        if len(measured) < MIN_MEASURED:
            continue
        ranks = [_ranks(values[name][measured]) for name in (first, second)]
        a, b = (rank - rank.mean() for rank in ranks)
        spread = math.sqrt(float(a @ a) * float(b @ b))
        correlation = float(a @ b) / spread if spread else 0.0
        if abs(correlation) >= MIN_CORRELATION:
            correlated.append((correlation, first, second, measured, ranks))
    correlated.sort(key=lambda item: (-abs(item[0]), item[1], item[2]))
    return [
        CorrelatedMetrics(
            first=first,
            second=second,
            correlation=correlation,
            count=len(measured),
            exceptions=_exceptions(correlation, (first, second), measured, ranks, max_exceptions),
        )
        for correlation, first, second, measured, ranks in correlated[:max_count]
    ]


def _exceptions(
    correlation: float,
    names: tuple[str, str],
    measured: npt.NDArray[np.intp],
    ranks: Sequence[Floats],
    max_count: int,
) -> tuple[Highlight, ...]:
    """Return the candidates with the largest difference of rank, if it is at least MIN_RANK_GAP."""
    gap = np.abs(ranks[0] - (ranks[1] if correlation > 0 else 1 - ranks[1]))
    order = [int(i) for i in np.argsort(-gap, kind="stable")[:max_count] if gap[i] >= MIN_RANK_GAP]
    return tuple(
        Highlight(
            index=int(measured[i]),
            notes=tuple(f"{name}: above {rank[i]:.0%} of all" for name, rank in zip(names, ranks, strict=True)),
        )
        for i in order
    )


def _ranks(values: Floats) -> Floats:
    """Return the share of values below each value; equal values count half."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    ranks: Floats = ((below + (counts - 1) / 2) / max(len(values) - 1, 1))[places]
    return ranks


def _nearest_bounds(bounds: Bounds, distances: Floats, index: int, max_count: int = 3) -> tuple[str, ...]:
    """Describe the bounds that decide on a candidate, the worst first. Of a gain's rules the best one decides."""
    deciding = []
    for group in bounds.groups:
        if group.applies[index]:
            worst = [min((float(distances[index, column]), column) for column in columns) for columns in group.rules]
            deciding.append(max(worst))
    notes = []
    for distance, column in sorted(deciding)[:max_count]:
        bound = bounds.bounds[column]
        value = bound.sign * float(bounds.signed_values[index, column])
        signs = (">=", "<") if bound.sign < 0 else ("<=", ">")
        name = bound.metric if bound.path[0] != "gain" else f"{bound.metric} ({bound.path[1]})"
        notes.append(f"{name} {value:.3f} {signs[distance < 0]} {bound.limit:.3f}, {distance:+.2f} spreads")
    return tuple(notes)
