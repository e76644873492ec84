"""Plot how good a fitted gate is: precision and recall, ROC, and the reliability of its probabilities."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ggt_tools.errors import ConfigError
from ggt_tools.policy.bounds import Bools, Bounds, Floats
from ggt_tools.policy.calibration import Calibration, LabelledCandidates, Outcome
from ggt_tools.policy.rates import Rate

BINS = 5  # of the stated probability


def precision_recall(margins: Floats, is_kept: Bools) -> tuple[Floats, Floats]:
    """Return precision and recall of a gate whose bounds all move together, from strict to loose.

    Args:
        margins: (n,) how far within the gate each candidate is; -inf where it is never kept.
        is_kept: (n,) whether people keep it.
    """
    order, last = _cuts(margins)
    good = np.cumsum(is_kept[order])
    return good[last] / (last + 1), good[last] / max(int(is_kept.sum()), 1)


def roc(margins: Floats, is_kept: Bools) -> tuple[Floats, Floats]:
    """Return the shares of bad and of good candidates that a gate accepts, from strict to loose; both begin at 0.

    Args:
        margins: (n,) how far within the gate each candidate is; -inf where it is never kept.
        is_kept: (n,) whether people keep it.
    """
    order, last = _cuts(margins)
    good, bad = (np.cumsum(mask[order])[last] / max(int(mask.sum()), 1) for mask in (is_kept, ~is_kept))
    return np.concatenate([[0.0], bad]), np.concatenate([[0.0], good])


def reliability(reject_probability: Floats, is_kept: Bools) -> list[tuple[float, Rate]]:
    """Return, for each of BINS bins of the stated probability, its mean and the rate at which people reject.

    Args:
        reject_probability: (n,) the stated probability that people reject each candidate.
        is_kept: (n,) whether people keep it.
    """
    rates = []
    for number in range(BINS):
        is_last = number == BINS - 1
        in_bin = (reject_probability >= number / BINS) & ((reject_probability < (number + 1) / BINS) | is_last)
        if in_bin.any():
            rate = Rate(count=int((in_bin & ~is_kept).sum()), of=int(in_bin.sum()))
            rates.append((float(reject_probability[in_bin].mean()), rate))
    return rates


def _cuts(margins: Floats) -> tuple[Any, Any]:
    """Return candidates from the highest to the lowest finite margin, and the last place of each distinct margin."""
    order = np.argsort(-margins, kind="stable")
    order = order[np.isfinite(margins[order])]
    return order, np.flatnonzero(np.diff(margins[order], append=-np.inf))


def plot(labelled: LabelledCandidates, calibration: Calibration) -> bytes:
    """Return a PNG of three plots: precision against recall, the ROC, and the reliability of the probabilities.

    The point of the fitted gate is that of the cross-validation; bars are intervals of 95 %.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("matplotlib is not installed. Install it: pip install 'ggt100k[report]'") from error
    figure = Figure(figsize=(15, 4.8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3)
    present, fitted = labelled.bounds_of(labelled.gate), labelled.bounds_of(calibration.gate)
    is_kept = labelled.is_kept
    _plot_gate(left, middle, _margins(present, present.limits), is_kept, calibration.present, "present", "tab:gray")
    _plot_gate(
        left, middle, _margins(fitted, calibration.signed_limits), is_kept, calibration.fitted,
        "fitted, cross-validated", "tab:blue",
    )  # fmt: skip
    left.axhline(
        1 - calibration.target, color="tab:red", linestyle="--", label=f"target: {calibration.target:.1%} false"
    )
    left.set(xlabel="recall: kept of what people keep", ylabel="precision", xlim=(0, 1.02), ylim=(None, 1.005))
    left.set_title(f"{calibration.label_count} labels")
    _plot_probabilities(middle, right, calibration.held_out.reject_probability, is_kept)
    middle.plot([0, 1], [0, 1], color="tab:gray", linestyle=":")
    middle.set(xlabel="share of the bad that is accepted", ylabel="share of the good that is accepted", title="ROC")
    right.plot([0, 1], [0, 1], color="tab:gray", linestyle=":")
    right.set(xlabel="stated probability that people reject it", ylabel="share that people reject", title="Reliability")
    left.legend(loc="lower left", fontsize="small")
    middle.legend(loc="lower right", fontsize="small")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _margins(bounds: Bounds, limits: Floats) -> Floats:
    return bounds.margins(limits, bounds.spreads)


def _plot_gate(
    left: Any, middle: Any, margins: Floats, is_kept: Bools, outcome: Outcome, name: str, colour: str
) -> None:
    """Plot the curves of one gate, and its point with intervals if it keeps any candidate."""
    precision, recall = precision_recall(margins, is_kept)
    left.plot(recall, precision, color=colour, alpha=0.6)
    middle.plot(*roc(margins, is_kept), color=colour, alpha=0.6, label=f"{name.split(',')[0]}, bounds")
    if not outcome.false_accepts.of:
        return
    x, y = outcome.kept.share, 1 - outcome.false_accepts.share
    across, down = outcome.kept.interval, outcome.false_accepts.interval
    left.errorbar(
        [x], [y],
        xerr=[[max(x - across[0], 0.0)], [max(across[1] - x, 0.0)]],
        yerr=[[max(y - 1 + down[1], 0.0)], [max(1 - down[0] - y, 0.0)]],
        fmt="o", color=colour, capsize=3, label=f"{name}: {outcome.false_accepts} false",
    )  # fmt: skip


def _plot_probabilities(middle: Any, right: Any, reject_probability: Floats, is_kept: Bools) -> None:
    """Plot the ROC of the probability on held-out candidates, and how reliable it is."""
    is_stated = np.isfinite(reject_probability)
    if not is_stated.any():
        return
    stated, kept = reject_probability[is_stated], is_kept[is_stated]
    middle.plot(*roc(-stated, kept), color="tab:orange", label="probability, held out")
    for mean, rate in reliability(stated, kept):
        low, high = rate.interval
        right.errorbar(
            [mean], [rate.share], yerr=[[rate.share - low], [high - rate.share]], fmt="o", color="tab:orange",
            capsize=3,
        )  # fmt: skip
        right.annotate(str(rate.of), (mean, rate.share), textcoords="offset points", xytext=(6, 4), fontsize=8)
