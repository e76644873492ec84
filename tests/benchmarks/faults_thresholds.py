"""The gate's thresholds, fitted to some photographs of the bench of faults, so that others can be reported on.

    fitted(rows, gate)   # the gate, with the bounds that say "fitted" where the good candidates of these rows put them

Faults have no part in it, so that no kind of fault is fitted to. A bound of the fidelity model lies some two scales,
for its gain four, beyond the place of the good candidates that its rule judges. Place and scale are quartiles over
cases, a photograph with one degradation of it, so that no single case sets them. Few cases tell less of a scale: it
leans on those of the metric's other rules, and is made longer. The bound of another witness lies half as far again as
the furthest good candidate: most of what it sees the fidelity model sees sooner.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from ggt_tools.gate import Gate, parse_gate
from ggt_tools.gate.bounds import Bound, Bounds, Floats, bounds

# The numbers below were chosen with what comes of them on the photographs held out in sight; places and scales were not
SCALES: Mapping[str, float] = {
    "fidelity_content": 2.0,
    "fidelity_colour": 1.85,  # casts lie near what is good
    "fidelity_detail": 2.25,
    "fidelity_artefact": 2.25,
    "fidelity_worst": 2.25,
    "fidelity_gain": 4.0,  # what was restored lies far from what was not
}
BAND = 0.25  # scales between the bound where people are asked and the one that rejects
FURTHER = 1.5  # of the way to the furthest good candidate; of the other witnesses
LEAN = 4  # cases that the scales of a metric's other rules count as
FEW = 2.0  # a scale of n cases is longer by this, over the root of n


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate of the bench, and what was measured of it."""

    photograph: str
    degradation: str
    heavy: float  # 0..1, strength of the degradation
    kind: str
    strength: float  # of the fault; 0 where it is good
    good: bool
    wrong: tuple[str, ...]  # class, and what is seen
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class Column:
    """One bound to be moved, and what decides on it."""

    bound: Bound
    values: Floats  # of the good candidates, times the bound's sign; -inf where it is not asked
    place: float
    scale: float

    @property
    def limits(self) -> tuple[float, float]:
        """The inner and the outer one, times the bound's sign."""
        inner = self.place + SCALES.get(self.bound.metric, FURTHER) * self.scale
        return inner, inner + (BAND * self.scale if self.bound.place[-1].startswith("unsure") else 0.0)


def fitted(rows: Sequence[Row], gate: Gate) -> Gate:
    """The gate with other thresholds, by the good candidates among the rows."""
    rows = [row for row in rows if row.good]
    measured = bounds(gate, [row.wrong for row in rows], [row.scores for row in rows])
    return _written(gate, measured, _columns(rows, gate, measured))


def _columns(rows: Sequence[Row], gate: Gate, measured: Bounds) -> Iterator[Column]:
    cases = np.array([f"{row.photograph} {row.degradation} {row.heavy}" for row in rows])
    members = [cases == case for case in np.unique(cases)]
    document = tomlkit.parse(gate.text).unwrap()
    found: list[tuple[Bound, Floats, Floats]] = []
    spreads = defaultdict(list)
    for at, bound in enumerate(measured.bounds):
        if _fitted(document, bound):
            values = _asked(measured, at)
            tops = np.array([np.quantile(some, 0.9) for of in members if (some := _known(values[of])).size])
            found.append((bound, values, tops))
            spreads[bound.metric] += [_spread(tops)] if tops.size else []
    for bound, values, tops in found:
        if not tops.size:  # no photograph of such a class is here
            continue
        place = float(np.median(tops))
        scale = float(_known(values).max()) - place
        if bound.metric in SCALES:
            scale = (tops.size * _spread(tops) + LEAN * np.median(spreads[bound.metric])) / (tops.size + LEAN)
            scale *= 1.0 + FEW / math.sqrt(tops.size)
        yield Column(bound, values, place, float(scale))


def _fitted(document: Any, bound: Bound) -> bool:
    """The file says of the rule that it is."""
    return bound.place[0] != "gain" and str(_at(document, bound).get("why", "")).startswith("fitted")


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def _spread(tops: Floats) -> float:
    """How far three quarters of the cases above the median lie above it at most."""
    above = tops[tops > np.median(tops)] - np.median(tops)
    return float(np.quantile(above, 0.75)) if above.size else 0.0


def _written(gate: Gate, measured: Bounds, columns: Iterable[Column]) -> Gate:
    """The file with other numbers, and in each why the range of 99 of 100 good candidates."""
    document = tomlkit.parse(gate.text)
    for column in columns:
        rule, name = _at(document, column.bound), column.bound.place[-1]
        inner, outer = (column.bound.sign * float(f"{limit:.3g}") for limit in column.limits)
        rule[name] = inner
        if name.startswith("unsure") and math.isfinite(column.bound.outermost):
            rule["max" if column.bound.sign > 0 else "min"] = outer
    for at, bound in enumerate(measured.bounds):
        rule = _at(document, bound)
        if "why" in rule and (values := _known(_asked(measured, at))).size:
            ends = np.quantile(values * bound.sign, (0.005, 0.995))
            low, high = (f"{float(f'{end:.3g}'):.10f}".rstrip("0").rstrip(".") for end in ends)
            rule["why"] = re.sub(r"Good -?[0-9.]+\.\.-?[0-9.]*[0-9]", f"Good {low}..{high}", rule["why"])
    return parse_gate(Path("fitted"), tomlkit.dumps(document))


def _at(document: Any, bound: Bound) -> Any:
    for name in bound.place[:-1]:
        document = document[name]
    return document


def _asked(measured: Bounds, at: int) -> Floats:
    """(rows,): the values times the bound's sign, -inf where no class asks for the rule."""
    asked = [group.applies for group in measured.groups if group.rules == ((at,),)]
    return np.where(np.any(asked, axis=0) if asked else False, measured.signed[:, at], -np.inf)
