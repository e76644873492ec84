"""calibrate: thresholds fitted to what people decided, at a stated share of false accepts.

    calibration = calibrate(Labelled(gate, wrong, scores, kept, keys), target=0.02)
    text = fitted_gate(gate, calibration, "2026-01-01")

A *false accept* is a candidate that the gate keeps and people reject; its rate is the share of those that the gate
keeps. It is that of the candidates that were labelled: label a random draw of them, kept and rejected alike.

First the decision of each class that has labels is fitted to them (gate/refit.py), then the bounds are moved
(gate/fitting.py), both from what the gate says. Trained at the stated rate, bounds do worse on what they have not seen,
so of some smaller aims the largest is taken that holds the stated rate under cross-validation, with all candidates of
one photograph in one fold. The rates reported are those of the folds that were held out. Few labels are fitted as well:
the intervals tell what they are worth.
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
from ggt_tools.policy.bounds import Bools, Bound, Bounds, Floats, bounds, decided
from ggt_tools.policy.fitting import fit
from ggt_tools.policy.gate import Gate, parse_gate
from ggt_tools.policy.refit import refit

AIMS = (1.0, 0.75, 0.5, 0.25, 0.0)  # times the stated rate
FOLDS = 5
BINS = 5  # of the stated probability, in the plot of its reliability


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


@dataclass(frozen=True, slots=True)
class Labelled:
    """Candidates that people decided on, with what a gate needs to know of them; (n,) each."""

    gate: Gate
    wrong: Sequence[tuple[str, ...]]  # the class, and what else is seen in the photograph
    scores: Sequence[Mapping[str, float]]
    kept: Bools
    keys: Sequence[str]  # of their photographs
    reasons: Sequence[str] = ()  # why people rejected them, "" where they did not say

    def part(self, which: Bools) -> Labelled:
        """Some of the candidates."""
        places = np.flatnonzero(which).tolist()
        wrong, keys = [self.wrong[at] for at in places], [self.keys[at] for at in places]
        scores = [self.scores[at] for at in places]
        reasons = [self.reasons[at] for at in places] if self.reasons else []
        return Labelled(self.gate, wrong, scores, self.kept[which], keys, reasons)

    def bounds(self, gate: Gate) -> Bounds:
        """The bounds of a gate for these candidates."""
        return bounds(gate, self.wrong, self.scores)

    def refitted(self) -> Gate:
        """The gate with the decision of each class fitted to these candidates; as it is where it has no decision."""
        return refit(self.gate, [wrong[0] for wrong in self.wrong], self.scores, self.kept, self.reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """What gates that were fitted to the other photographs make of each candidate; (n,)."""

    accepted: Bools
    bad: Floats  # the probability that people reject it; NaN where the gate has no decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The fit, and what it is worth."""

    labels: int
    target: float
    needed: int  # candidates that the gate must keep before the labels can state the target
    enough: bool  # whether they do
    held: bool  # whether the target holds under cross-validation
    is_held_out: bool  # whether `fitted` is of photographs that were left out; with one photograph it cannot be
    present: Outcome  # of the gate as it is
    fitted: Outcome  # under cross-validation
    moves: tuple[Move, ...]
    gate: Gate  # with the refitted decision, and the bounds as they were
    limits: Floats  # (bounds,), times their signs, of the bounds of `gate`
    refitted: tuple[str, ...]  # classes whose decision is another
    held_out: HeldOut


def calibrate(labelled: Labelled, *, target: float) -> Calibration:
    """Fit a gate to decisions of people: the decision of each labelled class, and then the bounds.

    `target`: the largest share of false accepts, between 0 and 1. With n candidates kept by the gate and none of them
    bad, the rate is below 3 / n at 95 % (the rule of three): fewer than 3 / target do not state it. Any number of
    labels is fitted; what they are worth stands in the intervals of `fitted`.
    """
    needed = math.ceil(3 / target)
    aim, held_out, held = _aim(labelled, target)
    is_held_out = held_out is not None
    gate, limits = _fit(labelled, aim)
    if held_out is None:
        held_out = _judged(labelled, gate, limits)
        held = bool((held_out.accepted & ~labelled.kept).sum() <= target * held_out.accepted.sum())
    found = labelled.bounds(gate)
    present = labelled.bounds(labelled.gate)
    return Calibration(
        labels=len(labelled.kept),
        target=target,
        needed=needed,
        enough=int(held_out.accepted.sum()) >= needed,
        held=held,
        is_held_out=is_held_out,
        present=outcome(present.margins(present.limits) >= 0, labelled.kept),
        fitted=outcome(held_out.accepted, labelled.kept),
        moves=tuple(
            Move(bound=bound, limit=float(bound.sign * after))
            for bound, before, after in zip(found.bounds, found.limits, limits, strict=True)
            if after != before
        ),
        gate=gate,
        limits=limits,
        refitted=tuple(name for name, decided in gate.decision.items() if decided != labelled.gate.decision[name]),
        held_out=held_out,
    )


def outcome(accepted: Bools, kept: Bools) -> Outcome:
    return Outcome(
        false_accepts=Rate(count=int((accepted & ~kept).sum()), of=int(accepted.sum())),
        kept=Rate(count=int((accepted & kept).sum()), of=int(kept.sum())),
    )


def _fit(labelled: Labelled, aim: float) -> tuple[Gate, Floats]:
    gate = labelled.refitted()
    return gate, fit(labelled.bounds(gate), labelled.kept, aim, loosen=True)


def _judged(labelled: Labelled, gate: Gate, limits: Floats) -> HeldOut:
    found = labelled.bounds(gate)
    good = np.ones(len(labelled.kept))
    classes = np.array([wrong[0] for wrong in labelled.wrong], object)
    for probability in decided(gate, classes, labelled.scores).values():
        good *= 1.0 - probability
    return HeldOut(accepted=found.margins(limits) >= 0, bad=1.0 - good if gate.decision else np.full(len(good), np.nan))


def _aim(labelled: Labelled, target: float) -> tuple[float, HeldOut | None, bool]:
    """The largest aim that holds the target on held-out photographs, what is found there, and whether one does.

    None where all candidates are of one photograph, and none can be left out.
    """
    kept = labelled.kept
    shuffled = sorted(set(labelled.keys), key=lambda key: hashlib.sha256(key.encode()).digest())
    fold_count = min(FOLDS, len(shuffled))
    if fold_count < 2:
        return target, None, False
    fold_of = {key: at % fold_count for at, key in enumerate(shuffled)}
    folds: npt.NDArray[np.int_] = np.array([fold_of[key] for key in labelled.keys])
    accepted, bad = np.zeros(len(kept), bool), np.zeros(len(kept))
    for share in AIMS:
        for fold in range(fold_count):
            out = folds == fold
            judged = _judged(labelled.part(out), *_fit(labelled.part(~out), target * share))
            accepted[out], bad[out] = judged.accepted, judged.bad
        held = bool((accepted & ~kept).sum() <= target * accepted.sum())
        if held:
            break
    return target * share, HeldOut(accepted=accepted, bad=bad), held


def fitted_gate(gate: Gate, calibration: Calibration, day: str) -> str:
    """The gate file's text with the fitted decision and bounds, each with words that say so; its comments stay.

    ConfigError: tomlkit is not installed.
    """
    try:
        import tomlkit
    except ImportError as fault:
        raise ConfigError("tomlkit is not installed: pip install 'ggt100k[report]'") from fault
    document: Any = tomlkit.parse(gate.text)
    how = "" if calibration.is_held_out else ", not held out"
    rate = f"false accepts {calibration.fitted.false_accepts}{how}"
    for degradation in calibration.refitted:
        written = document["decision"]["class"][degradation]
        for model in calibration.gate.decision[degradation].models:
            table = written[model.name]
            table["intercept"] = _digits(model.intercept)
            weights = table.setdefault("weights", tomlkit.inline_table())
            for fact in model.facts:
                weights[fact.name] = _digits(max(fact.weight, 0.001))  # 0 would take the fact out
            table["unsure_above"], table["max"] = model.unsure_above, model.max
        written["fit"] = "own"
        before = re.sub(r"^fitted to .*? labels on [0-9-]*; before: ", "", str(written.get("data", "")))
        written["data"] = f"fitted to {calibration.labels} labels on {day}; before: {before or 'nothing'}"
        written["false_accepts"] = str(calibration.fitted.false_accepts) + how
        written["false_rejects"] = f"kept of what people keep: {calibration.fitted.kept}{how}"
    for move in calibration.moves:
        rule = document
        for name in move.bound.place[:-1]:
            rule = rule[name]
        rule[move.bound.place[-1]] = move.limit
        if move.bound.place[0] == "decision":
            continue
        before = re.sub(r"^fitted to .*?; was [^:]*(: |$)", "", str(rule.get("why", "")))
        said = f"fitted to {calibration.labels} labels on {day}, {rate}; was {move.bound.limit:g}"
        rule["why"] = f"{said}: {before}" if before else said
    text = tomlkit.dumps(document)
    parse_gate(Path("the fitted gate"), text)
    return text


def _digits(number: float) -> float:
    return float(f"{number:.4g}")


def curve(margins: Floats, kept: Bools) -> tuple[Floats, Floats]:
    """Precision and recall of a gate whose bounds all move together, from strict to loose."""
    order = np.argsort(-margins, kind="stable")
    order = order[np.isfinite(margins[order])]
    good = np.cumsum(kept[order])
    last = np.flatnonzero(np.diff(margins[order], append=-np.inf))  # those of one margin come together
    return good[last] / (last + 1), good[last] / max(int(kept.sum()), 1)


def roc(margins: Floats, kept: Bools) -> tuple[Floats, Floats]:
    """The shares of bad and of good candidates that a gate lets in, from strict to loose; both begin at 0."""
    order = np.argsort(-margins, kind="stable")
    order = order[np.isfinite(margins[order])]
    last = np.flatnonzero(np.diff(margins[order], append=-np.inf))
    good, bad = (np.cumsum(which[order])[last] / max(int(which.sum()), 1) for which in (kept, ~kept))
    return np.concatenate([[0.0], bad]), np.concatenate([[0.0], good])


def reliability(bad: Floats, kept: Bools) -> list[tuple[float, Rate]]:
    """In BINS of the stated probability its mean, and how many of how many people rejected."""
    found = []
    for number in range(BINS):
        mine = (bad >= number / BINS) & ((bad < (number + 1) / BINS) | (number == BINS - 1))
        if mine.any():
            found.append((float(bad[mine].mean()), Rate(count=int((mine & ~kept).sum()), of=int(mine.sum()))))
    return found


def plot(labelled: Labelled, calibration: Calibration) -> bytes:
    """A PNG of three plots: precision against recall, the ROC, and how reliable the stated probabilities are.

    The fitted gate stands where cross-validation puts it; bars are 95 %. ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as fault:
        raise ConfigError("matplotlib is not installed: pip install 'ggt100k[report]'") from fault
    figure = Figure(figsize=(15, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    present = labelled.bounds(labelled.gate)
    after = labelled.bounds(calibration.gate)
    gates: Mapping[str, tuple[Floats, Outcome, str]] = {
        "present": (present.margins(present.limits, present.spreads), calibration.present, "tab:gray"),
        "fitted, cross-validated": (
            after.margins(calibration.limits, after.spreads), calibration.fitted, "tab:blue",
        ),
    }  # fmt: skip
    for name, (margins, found, colour) in gates.items():
        precision, recall = curve(margins, labelled.kept)
        left.plot(recall, precision, color=colour, alpha=0.6)
        middle.plot(*roc(margins, labelled.kept), color=colour, alpha=0.6, label=f"{name.split(',')[0]}, bounds")
        if not found.false_accepts.of:
            continue
        x, y = found.kept.share, 1 - found.false_accepts.share
        across, down = found.kept.interval, found.false_accepts.interval
        left.errorbar(
            [x], [y],
            xerr=[[max(x - across[0], 0.0)], [max(across[1] - x, 0.0)]],
            yerr=[[max(y - 1 + down[1], 0.0)], [max(1 - down[0] - y, 0.0)]],
            fmt="o", color=colour, capsize=3, label=f"{name}: {found.false_accepts} false",
        )  # fmt: skip
    left.axhline(
        1 - calibration.target, color="tab:red", linestyle="--", label=f"asked: {calibration.target:.1%} false"
    )
    left.set(xlabel="recall: kept of what people keep", ylabel="precision", xlim=(0, 1.02), ylim=(None, 1.005))
    left.set_title(f"{calibration.labels} labels")
    bad = calibration.held_out.bad
    is_known = np.isfinite(bad)
    if is_known.any():
        middle.plot(*roc(-bad[is_known], labelled.kept[is_known]), color="tab:orange", label="probability, held out")
        for stated, rate in reliability(bad[is_known], labelled.kept[is_known]):
            low, high = rate.interval
            right.errorbar(
                [stated], [rate.share], yerr=[[rate.share - low], [high - rate.share]], fmt="o", color="tab:orange",
                capsize=3,
            )  # fmt: skip
            right.annotate(str(rate.of), (stated, rate.share), textcoords="offset points", xytext=(6, 4), fontsize=8)
    middle.plot([0, 1], [0, 1], color="tab:gray", linestyle=":")
    middle.set(xlabel="share of the bad that is let in", ylabel="share of the good that is let in", title="ROC")
    right.plot([0, 1], [0, 1], color="tab:gray", linestyle=":")
    right.set(xlabel="stated probability that people reject it", ylabel="share that people reject", title="Reliability")
    left.legend(loc="lower left", fontsize="small")
    middle.legend(loc="lower right", fontsize="small")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
