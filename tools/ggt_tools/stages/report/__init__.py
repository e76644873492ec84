"""Report on a workspace: one HTML file about what the gate made of it. No script, nothing loaded from elsewhere.

html = report(ReportFacts(...), created="2026-01-01T00:00:00Z")
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ggt_tools.errors import ShardError
from ggt_tools.pages import environment
from ggt_tools.policy.bounds import Floats, decision_probabilities, read_bounds
from ggt_tools.policy.decision import PROBABILITIES
from ggt_tools.policy.gate import Gate
from ggt_tools.records import Candidate, Photo, Stage, Verdict
from ggt_tools.stages.adopt.drift import Drift
from ggt_tools.stages.report.figures import axis_range, histogram, thumbnail
from ggt_tools.stages.report.highlights import (
    CLEAR_SPREADS,
    MIN_CORRELATION,
    Highlight,
    best_rejected,
    correlated_metrics,
    rejected_by_one_rule,
    worst_kept,
)

__all__ = ["ReportFacts", "report"]

DECISIONS = ("keep", "unsure", "reject")
MAX_HIGHLIGHTS = 12  # candidates of each section
MAX_METRIC_PAIRS, MAX_EXCEPTIONS = 6, 4  # pairs of correlated metrics, and candidates of each
MAX_TEXT = 240  # characters that are shown of a text from outside


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFacts:
    """What a report shows.

    Attributes:
        name: Name of the workspace.
        gate: The gate that judged.
        funnel: Counts by stage.
        photos: Photographs by key.
        candidates: The candidates that have been judged.
        verdicts: Verdict by candidate.
        aligned: Name of the aligned image by candidate.
        scores: Value by candidate and metric.
        image: Returns the file of an image by its name.
        drift: How far adopted sets are from their photographs.
    """

    name: str
    gate: Gate
    funnel: Sequence[Stage]
    photos: Mapping[str, Photo]
    candidates: Sequence[Candidate]
    verdicts: Mapping[str, Verdict]
    aligned: Mapping[str, str]
    scores: Mapping[str, Mapping[str, float]]
    image: Callable[[str], bytes]
    drift: Sequence[Drift] = ()


def report(facts: ReportFacts, *, created: str) -> str:
    """Return the report as HTML. Its size is bounded, however many candidates there are.

    Args:
        facts: What is shown.
        created: The time that the page names.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    template = environment(Path(__file__).parent).get_template("report.html")
    candidates = [candidate for candidate in facts.candidates if candidate.id in facts.aligned]
    photos = [facts.photos[candidate.key] for candidate in candidates]
    verdicts = [facts.verdicts[candidate.id] for candidate in candidates]
    scores = [facts.scores.get(candidate.id, {}) for candidate in candidates]
    values = _values(facts.gate, photos, scores)
    gate_bounds = read_bounds(facts.gate, [photo.degradations for photo in photos], scores)

    def cards(highlights: Sequence[Highlight]) -> list[dict[str, Any]]:
        return [_card(facts, candidates[h.index], photos[h.index], verdicts[h.index], h.notes) for h in highlights]

    sections = [
        ("worst-kept", "The worst kept", "Nearest to a bound.", worst_kept),
        ("best-rejected", "The best rejected", "Nearest to being kept.", best_rejected),
        (
            "one-rule",
            "Rejected by one rule alone",
            f"One rule rejects, and all others hold by at least {CLEAR_SPREADS} spreads.",
            rejected_by_one_rule,
        ),
    ]
    return template.render(
        name=_printable(facts.name),
        created=created,
        gate=facts.gate.id,
        funnel=facts.funnel,
        most_entered=max((stage.entered for stage in facts.funnel), default=0) or 1,
        decisions=DECISIONS,
        tables=[
            ("degradation", _count_by(facts, lambda candidate: facts.photos[candidate.key].degradation)),
            ("restorer", _count_by(facts, lambda candidate: candidate.restorer)),
        ],
        reasons=_reasons(facts),
        sets=[_adopted_set(drift) for drift in facts.drift],
        distributions=_distributions(facts.gate, values, photos, verdicts),
        sections=[
            (anchor, title, about, cards(choose(gate_bounds, verdicts, MAX_HIGHLIGHTS)))
            for anchor, title, about, choose in sections
        ],
        min_correlation=MIN_CORRELATION,
        correlated=[
            (metrics, cards(metrics.exceptions))
            for metrics in correlated_metrics(values, MAX_METRIC_PAIRS, MAX_EXCEPTIONS)
        ],
    )


def _values(gate: Gate, photos: Sequence[Photo], scores: Sequence[Mapping[str, float]]) -> dict[str, Floats]:
    """Return (n,) values of each metric and probability, NaN where not measured."""
    names = sorted({name for own in scores for name in own} | set(gate.metrics))
    values: dict[str, Floats] = {
        name: np.array([own.get(name, math.nan) for own in scores], np.float64) for name in names
    }
    classes = np.array([photo.degradations[0] for photo in photos], dtype=object)
    return values | decision_probabilities(gate, classes, scores)


def _adopted_set(drift: Drift) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a row of the table of adopted sets: its texts, and its numbers as texts."""

    def number(form: str, value: float) -> str:
        return format(value, form) if math.isfinite(value) else "-"

    shares = (drift.proportion, drift.shifted, drift.viewpoint, drift.objects, drift.unsure, drift.kept)
    numbers = ((drift.shift, ".1f"), (drift.shift_worst, ".1f"), (drift.local, ".1f"), (drift.psnr, ".1f"))
    gains = ((drift.psnr_gain, "+.1f"), (drift.ssim, ".3f"))
    return (
        (_printable(drift.set), _printable(drift.restorer), _printable(drift.local_only)),
        (
            str(drift.outputs),
            str(drift.aligned),
            *(number(".0%", share) for share in shares),
            *(number(form, value) for value, form in (*numbers, *gains)),
        ),
    )


def _count_by(facts: ReportFacts, name_of: Callable[[Candidate], str]) -> list[tuple[str, list[int]]]:
    """Return the number of candidates by decision, for each name."""
    counts = Counter((name_of(candidate), facts.verdicts[candidate.id].decision) for candidate in facts.candidates)
    names = sorted({name for name, _ in counts})
    return [(_printable(name), [counts[name, decision] for decision in DECISIONS]) for name in names]


def _reasons(facts: ReportFacts) -> list[tuple[str, str, str, int]]:
    """Return decision, stage, reason and number of candidates, the most frequent first."""
    verdicts = (facts.verdicts[candidate.id] for candidate in facts.candidates)
    counts = Counter((v.decision, v.stage, v.reason) for v in verdicts if v.decision != "keep")
    return [(decision, stage, _printable(reason), count) for (decision, stage, reason), count in counts.most_common()]


def _distributions(
    gate: Gate, values: Mapping[str, Floats], photos: Sequence[Photo], verdicts: Sequence[Verdict]
) -> list[dict[str, Any]]:
    """Return, for each probability and metric of the gate, a histogram by degradation, stacked by decision."""
    classes = np.array([photo.degradation for photo in photos], dtype=object)
    decisions = np.array([verdict.decision for verdict in verdicts], dtype=object)
    present = sorted(set(classes))
    distributions = []
    for metric in (*(PROBABILITIES if gate.decision else ()), *gate.metrics):
        limits = {name: _limits(gate, name, metric) for name in gate.must}
        low, high = axis_range(values[metric], [limit for name in present for limit in limits[name]])
        plots = []
        for name in present:
            parts = [values[metric][(classes == name) & (decisions == decision)] for decision in DECISIONS]
            measured = [int(np.isfinite(part).sum()) for part in parts]
            unmeasured = sum(map(len, parts)) - sum(measured)
            counts = ", ".join(f"{count} {decision}" for count, decision in zip(measured, DECISIONS, strict=True))
            title = f"{metric}, {name}: {counts}, {unmeasured} unmeasured"
            plots.append((name, title, histogram(parts, low, high, limits[name])))
        distributions.append({"metric": metric, "low": f"{low:.3g}", "high": f"{high:.3g}", "plots": plots})
    return distributions


def _limits(gate: Gate, degradation: str, metric: str) -> list[float]:
    """Return the bounds of a class on a metric."""
    return [
        limit
        for rule in (*gate.must[degradation], *gate.decision_rules(degradation))
        if rule.metric == metric
        for limit in dict.fromkeys((rule.min, rule.unsure_below, rule.unsure_above, rule.max))
        if math.isfinite(limit)
    ]


def _card(
    facts: ReportFacts, candidate: Candidate, photo: Photo, verdict: Verdict, notes: tuple[str, ...]
) -> dict[str, Any]:
    """Return what the page shows of one candidate: both images, verdict, notes and texts."""
    images = {}
    for side, name in (("lq", photo.image), ("gt", facts.aligned[candidate.id])):
        try:
            images[side] = thumbnail(facts.image(name)), ""
        except ShardError as error:
            images[side] = "", _printable(str(error))
        except OSError as error:
            images[side] = "", f"cannot be read: {_printable(str(error))}"
    texts = {"file": photo.file, "author": photo.author, "restorer": candidate.restorer, "prompt": candidate.prompt}
    return {
        "candidate": candidate.id,
        "key": candidate.key,
        "degradation": photo.degradation,
        "verdict": f"{verdict.decision} {verdict.reason}".strip(),
        "notes": notes,
        "images": images,
        "texts": [(name, _printable(text)) for name, text in texts.items() if text],
    }


def _printable(text: str) -> str:
    """Return a text from outside, shortened and without characters that do not print. The template escapes it."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + "…"
