"""What of all candidates is worth a look: near the gate's bounds on either side, and where witnesses disagree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from ggt_tools.policy.bounds import Bounds, Floats
from ggt_tools.records import Verdict

CLEAR = 0.5  # spreads within a bound that count as clearly good (ours)
AGREE = 0.8  # rank correlation above which two metrics say nearly the same (ours)
APART = 0.3  # share of all ranks that two such metrics must be apart to be shown (ours)
LEAST = 30  # candidates that both were measured on; below it a correlation says little


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One candidate, by its place in the list, and why it is shown."""

    at: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Two metrics that nearly always order candidates alike, or the other way round, and where they do not."""

    first: str
    second: str
    rho: float  # Spearman's
    of: int  # candidates that both were measured on
    findings: tuple[Finding, ...]


def worst_kept(bounds: Bounds, verdicts: Sequence[Verdict], most: int) -> list[Finding]:
    """What is kept, the nearest to a bound first."""
    kept = np.array([verdict.decision == "keep" for verdict in verdicts], bool)
    apart = bounds.apart(bounds.limits, bounds.spreads)
    margins = bounds.by_group(apart).min(axis=1, initial=math.inf)
    order = [int(at) for at in np.argsort(margins, kind="stable") if kept[at]]
    return [Finding(at=at, notes=_nearest(bounds, apart, at)) for at in order[:most]]


def best_rejected(bounds: Bounds, verdicts: Sequence[Verdict], most: int) -> list[Finding]:
    """What a rule rejects, the nearest to being kept first."""
    rejected = np.array([v.decision == "reject" and v.stage in ("score", "screen") for v in verdicts], bool)
    apart = bounds.apart(bounds.limits, bounds.spreads)
    margins = bounds.by_group(apart).min(axis=1, initial=math.inf)
    order = [int(at) for at in np.argsort(-margins, kind="stable") if rejected[at] and np.isfinite(margins[at])]
    return [Finding(at=at, notes=_nearest(bounds, apart, at)) for at in order[:most]]


def lone_witnesses(bounds: Bounds, verdicts: Sequence[Verdict], most: int) -> list[Finding]:
    """What one rule alone rejects while all others find it clearly good, the clearest first."""
    apart = bounds.apart(bounds.limits, bounds.spreads)
    far = np.sort(bounds.by_group(apart), axis=1)
    if far.shape[1] < 2:
        return []
    alone = (far[:, 0] < 0) & np.isfinite(far[:, 0]) & (far[:, 1] >= CLEAR)
    alone &= np.array([verdict.decision == "reject" for verdict in verdicts], bool)
    order = [int(at) for at in np.argsort(-far[:, 1], kind="stable") if alone[at]]
    return [Finding(at=at, notes=_nearest(bounds, apart, at, most=1)) for at in order[:most]]


def relations(values: Mapping[str, Floats], most: int, examples: int) -> list[Relation]:
    """Pairs of metrics with a rank correlation of AGREE and above, the strongest first.

    `values`: (n,) by metric, NaN where not measured. Ranks are shares of those that both were measured on.
    """
    found = []
    for first, second in combinations(sorted(values), 2):
        both = np.flatnonzero(np.isfinite(values[first]) & np.isfinite(values[second]))
        if len(both) < LEAST:
            continue
        ranks = [_ranks(values[name][both]) for name in (first, second)]
        a, b = (rank - rank.mean() for rank in ranks)
        spread = math.sqrt(float(a @ a) * float(b @ b))
        rho = float(a @ b) / spread if spread else 0.0
        if abs(rho) >= AGREE:
            found.append((rho, first, second, both, ranks))
    found.sort(key=lambda one: (-abs(one[0]), one[1], one[2]))
    return [
        Relation(
            first=first,
            second=second,
            rho=rho,
            of=len(both),
            findings=_apart(rho, first, second, both, ranks, examples),
        )
        for rho, first, second, both, ranks in found[:most]
    ]


def _apart(
    rho: float, first: str, second: str, both: npt.NDArray[np.intp], ranks: Sequence[Floats], most: int
) -> tuple[Finding, ...]:
    gap = np.abs(ranks[0] - (ranks[1] if rho > 0 else 1 - ranks[1]))
    order = [int(at) for at in np.argsort(-gap, kind="stable")[:most] if gap[at] >= APART]
    return tuple(
        Finding(
            at=int(both[at]),
            notes=tuple(
                f"{name}: above {rank[at]:.0%} of all" for name, rank in zip((first, second), ranks, strict=True)
            ),
        )
        for at in order
    )


def _ranks(values: Floats) -> Floats:
    """The share of values below each, those alike counting half."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts
    ranks: Floats = ((below + (counts - 1) / 2) / max(len(values) - 1, 1))[where]
    return ranks


def _nearest(bounds: Bounds, apart: Floats, at: int, most: int = 3) -> tuple[str, ...]:
    """The bounds that decide on a candidate, the worst first: of a group of which one must hold, its best."""
    deciding = []
    for group in bounds.groups:
        if group.applies[at]:
            worst = [min((float(apart[at, column]), column) for column in columns) for columns in group.rules]
            deciding.append(max(worst))
    notes = []
    for far, column in sorted(deciding)[:most]:
        bound = bounds.bounds[column]
        value = bound.sign * float(bounds.signed[at, column])
        sides = (">=", "<") if bound.sign < 0 else ("<=", ">")
        name = bound.metric if bound.place[0] != "gain" else f"{bound.metric} ({bound.place[1]})"
        notes.append(f"{name} {value:.3f} {sides[far < 0]} {bound.limit:.3f}, {far:+.2f} spreads")
    return tuple(notes)
