"""calibrate: thresholds fitted to what people decided, at a stated share of false accepts.

    calibration = calibrate(bounds(gate, wrong, values), kept, keys, target=0.02)
    text = fitted_gate(gate, calibration, "2026-01-01")

A *false accept* is a candidate that the gate keeps and people reject; its rate is the share of those that the gate
keeps. It is that of the candidates that were labelled: label a random draw of them, kept and rejected alike.

The procedure is ours. fitting.py moves the limits, from the present gate. Trained at the stated rate they do worse on
what they have not seen, so of some smaller aims the largest is taken that holds the stated rate under cross-validation,
with all candidates of one photograph in one fold. The rates reported are those of the folds that were held out.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_tools.errors import ConfigError
from ggt_tools.gate import Gate, parse_gate
from ggt_tools.gate.bounds import Bools, Bound, Bounds, Floats
from ggt_tools.gate.fitting import fit

AIMS = (1.0, 0.75, 0.5, 0.25, 0.0)  # times the stated rate
FOLDS = 5
LEAST = 20  # labels, and a quarter of them of each decision: below it a fit says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How many of how many."""

    count: int
    of: int

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """At 95 %: Wilson's score interval (JASA 22, 1927), which holds at 0 and at small numbers; 0..1 of none."""
        if not self.of:
            return 0.0, 1.0
        z = NormalDist().inv_cdf(0.975)
        centre = (self.count + z * z / 2) / (self.of + z * z)
        reach = z / (self.of + z * z) * math.sqrt(self.count * (1 - self.share) + z * z / 4)
        return max(0.0, centre - reach), min(1.0, centre + reach)

    def __str__(self) -> str:
        low, high = self.interval
        share = f"{100 * self.share:.1f} %" if self.of else "unknown"
        return f"{share} (95 %: {100 * low:.1f}-{100 * high:.1f} %)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a gate makes of the candidates that people decided on."""

    false_accepts: Rate  # of those it keeps
    kept: Rate  # of those that people keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A bound that is to be another."""

    bound: Bound
    limit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The fit, and what it is worth."""

    labels: int
    target: float
    needed: int  # candidates that the gate must keep before the labels can state the target
    enough: bool  # whether they do; where not, nothing was loosened
    held: bool  # whether the target holds under cross-validation
    present: Outcome  # of the gate as it is
    fitted: Outcome  # under cross-validation
    moves: tuple[Move, ...]
    limits: Floats  # (bounds,), times their signs


def calibrate(bounds: Bounds, kept: Bools, keys: Sequence[str], *, target: float) -> Calibration:
    """Fit the limits of `bounds` to (n,) decisions `kept` on candidates of photographs `keys`.

    `target`: the largest share of false accepts, between 0 and 1. With n candidates kept by the gate and none of them
    bad, the rate is below 3 / n at 95 % (the rule of three): fewer than 3 / target do not state it, and then bounds
    are tightened only. ConfigError: too few labels.
    """
    good = int(kept.sum())
    if len(kept) < LEAST or min(good, len(kept) - good) < LEAST // 4:
        raise ConfigError(
            f"{len(kept)} labels, {good} keep and {len(kept) - good} reject: too few to fit anything; label {LEAST} or "
            f"more candidates, {LEAST // 4} or more of each"
        )
    if len(set(keys)) < FOLDS:
        raise ConfigError(f"labels of {len(set(keys))} photographs: {FOLDS} or more are wanted, to be held out in turn")
    needed = math.ceil(3 / target)
    aim, accepted, held = _aim(bounds, kept, keys, target, loosen=True)
    enough = int(accepted.sum()) >= needed
    if not enough:
        aim, accepted, held = _aim(bounds, kept, keys, target, loosen=False)
    limits = fit(bounds, kept, aim, loosen=enough)
    return Calibration(
        labels=len(kept),
        target=target,
        needed=needed,
        enough=enough,
        held=held,
        present=outcome(bounds.margins(bounds.limits) >= 0, kept),
        fitted=outcome(accepted, kept),
        moves=tuple(
            Move(bound=bound, limit=float(bound.sign * after))
            for bound, before, after in zip(bounds.bounds, bounds.limits, limits, strict=True)
            if after != before
        ),
        limits=limits,
    )


def outcome(accepted: Bools, kept: Bools) -> Outcome:
    return Outcome(
        false_accepts=Rate(count=int((accepted & ~kept).sum()), of=int(accepted.sum())),
        kept=Rate(count=int((accepted & kept).sum()), of=int(kept.sum())),
    )


def _aim(bounds: Bounds, kept: Bools, keys: Sequence[str], target: float, *, loosen: bool) -> tuple[float, Bools, bool]:
    """The largest aim that holds the target on the held-out folds, what is accepted there, and whether one does."""
    shuffled = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    fold_of = {key: at % FOLDS for at, key in enumerate(shuffled)}
    folds: npt.NDArray[np.int_] = np.array([fold_of[key] for key in keys])
    accepted = np.zeros(len(kept), bool)
    for share in AIMS:
        for fold in range(FOLDS):
            out = folds == fold
            limits = fit(bounds.of(~out), kept[~out], target * share, loosen=loosen)
            accepted[out] = bounds.of(out).margins(limits) >= 0
        if (accepted & ~kept).sum() <= target * accepted.sum():
            return target * share, accepted, True
    return 0.0, accepted, False


def fitted_gate(gate: Gate, calibration: Calibration, day: str) -> str:
    """The gate file's text with the fitted bounds, each with a why that says so; its comments stay.

    ConfigError: tomlkit is not installed.
    """
    try:
        import tomlkit
    except ImportError as fault:
        raise ConfigError("tomlkit is not installed: pip install 'ggt100k[report]'") from fault
    document: Any = tomlkit.parse(gate.text)
    rate = f"false accepts {calibration.fitted.false_accepts}"
    for move in calibration.moves:
        rule = document
        for name in move.bound.place[:-1]:
            rule = rule[name]
        rule[move.bound.place[-1]] = move.limit
        before = re.sub(r"^fitted to .*?; was [^:]*(: |$)", "", str(rule.get("why", "")))
        said = f"fitted to {calibration.labels} labels on {day}, {rate}; was {move.bound.limit:g}"
        rule["why"] = f"{said}: {before}" if before else said
    text = tomlkit.dumps(document)
    parse_gate(Path("the fitted gate"), text)
    return text


def curve(margins: Floats, kept: Bools) -> tuple[Floats, Floats]:
    """Precision and recall of a gate whose bounds all move together, from strict to loose."""
    order = np.argsort(-margins, kind="stable")
    order = order[np.isfinite(margins[order])]
    good = np.cumsum(kept[order])
    last = np.flatnonzero(np.diff(margins[order], append=-np.inf))  # those of one margin come together
    return good[last] / (last + 1), good[last] / max(int(kept.sum()), 1)


def plot(bounds: Bounds, kept: Bools, calibration: Calibration) -> bytes:
    """A PNG: precision against recall as all bounds move together, the present and the fitted gate marked.

    The fitted gate stands where cross-validation puts it; bars are 95 %. ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise ConfigError("matplotlib is not installed: pip install 'ggt100k[report]'") from fault
    figure = Figure(figsize=(6.4, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    gates: Mapping[str, tuple[Floats, Outcome, str]] = {
        "present": (bounds.limits, calibration.present, "tab:gray"),
        "fitted, cross-validated": (calibration.limits, calibration.fitted, "tab:blue"),
    }
    for name, (limits, found, colour) in gates.items():
        precision, recall = curve(bounds.margins(limits, bounds.spreads), kept)
        axes.plot(recall, precision, color=colour, alpha=0.6)
        if not found.false_accepts.of:
            continue
        x, y = found.kept.share, 1 - found.false_accepts.share
        across, down = found.kept.interval, found.false_accepts.interval
        axes.errorbar(
            [x],
            [y],
            xerr=[[max(x - across[0], 0.0)], [max(across[1] - x, 0.0)]],
            yerr=[[max(y - 1 + down[1], 0.0)], [max(1 - down[0] - y, 0.0)]],
            fmt="o",
            color=colour,
            capsize=3,
            label=f"{name}: {found.false_accepts} false",
        )
    axes.axhline(
        1 - calibration.target, color="tab:red", linestyle="--", label=f"asked: {calibration.target:.1%} false"
    )
    axes.set(xlabel="recall: kept of what people keep", ylabel="precision", xlim=(0, 1.02), ylim=(None, 1.005))
    axes.set_title(f"{calibration.labels} labels")
    axes.legend(loc="lower left", fontsize="small")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
