"""Report on a workspace: one HTML file about what the gate made of it. Nothing is loaded from elsewhere.

Its only script is inline and allowed by its hash: it makes sliders of the pairs, and filters by class and restorer.
Without scripts each pair is two images.

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
from ggt_tools.metrics.meanings import meaning_of
from ggt_tools.pages import environment, script_hash
from ggt_tools.policy.agreement import ReviewSummary
from ggt_tools.policy.bounds import Floats, decision_probabilities, read_bounds
from ggt_tools.policy.decision import PROBABILITIES
from ggt_tools.policy.evidence_words import strongest_evidence
from ggt_tools.policy.gate import Gate, Rule
from ggt_tools.records import Candidate, Photo, Stage, Verdict
from ggt_tools.stages.adopt.drift import Drift
from ggt_tools.stages.report.figures import axis_range, histogram, thumbnail
from ggt_tools.stages.report.highlights import (
    CLEAR_SPREADS,
    MIN_CORRELATION,
    Highlight,
    class_examples,
    correlated_metrics,
    rejected_by_one_rule,
)

__all__ = ["SCRIPT", "SLIDER_STYLE", "ReportFacts", "report"]

HERE = Path(__file__).parent
SCRIPT = (HERE / "report.js").read_text(encoding="utf-8")
SLIDER_STYLE = (HERE / "sliders.css").read_text(encoding="utf-8")
DECISIONS = ("keep", "unsure", "reject")
KINDS = {  # of the pictures that lead, by the attribute of ClassExamples
    "best_kept": "Best kept",
    "worst_kept": "Worst kept",
    "best_rejected": "Best rejected",
    "most_contested": "Most contested",
}
MAX_EXAMPLES = 36  # pictures of each kind, over all classes
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
        calls: Stage, model, outcome, number and cost in USD of the calls to providers.
        reviews: What people decided; None if nobody judged.
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
    calls: Sequence[tuple[str, str, str, int, float]] = ()
    reviews: ReviewSummary | None = None


def report(facts: ReportFacts, *, created: str) -> str:
    """Return the report as HTML. Its size is bounded, however many candidates there are.

    Args:
        facts: What is shown.
        created: The time that the page names.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    template = environment(HERE).get_template("report.html")
    candidates = [candidate for candidate in facts.candidates if candidate.id in facts.aligned]
    photos = [facts.photos[candidate.key] for candidate in candidates]
    verdicts = [facts.verdicts[candidate.id] for candidate in candidates]
    scores = [facts.scores.get(candidate.id, {}) for candidate in candidates]
    values = _values(facts.gate, photos, scores)
    gate_bounds = read_bounds(facts.gate, [photo.degradations for photo in photos], scores)

    def cards(highlights: Sequence[Highlight]) -> list[dict[str, Any]]:
        return [card(h.index, h.notes) for h in highlights]

    def card(index: int, notes: Sequence[str]) -> dict[str, Any]:
        return _card(facts, candidates[index], photos[index], verdicts[index], notes)

    def example(index: int) -> dict[str, Any]:
        return card(index, [words.sentence for words in strongest_evidence(verdicts[index].evidence)])

    classes = [photo.degradation for photo in photos]
    examples = class_examples(
        gate_bounds,
        verdicts,
        classes,
        _disagreement(facts, candidates, scores),
        max_count=max(1, min(3, MAX_EXAMPLES // (3 * max(len(set(classes)), 1)))),
    )
    one_rule = f"One rule rejects, and all others hold by at least {CLEAR_SPREADS} spreads."
    return template.render(
        name=_printable(facts.name),
        created=created,
        gate=facts.gate.id,
        script=SCRIPT,
        script_hash=script_hash(SCRIPT),
        slider_style=SLIDER_STYLE,
        classes=sorted(set(classes)),
        restorers=sorted({_printable(candidate.restorer) for candidate in candidates}),
        examples=[
            (name, [(title, [example(i) for i in getattr(own, kind)]) for kind, title in KINDS.items()])
            for name, own in examples.items()
        ],
        counts=Counter(verdict.decision for verdict in facts.verdicts.values()),
        funnel=facts.funnel,
        most_entered=max((stage.entered for stage in facts.funnel), default=0) or 1,
        decisions=DECISIONS,
        tables=[
            ("class", _count_by(facts, lambda candidate: facts.photos[candidate.key].degradation)),
            ("restorer", _count_by(facts, lambda candidate: candidate.restorer)),
        ],
        reasons=_reasons(facts),
        sets=[_adopted_set(drift) for drift in facts.drift],
        money=_money(facts),
        reviews=facts.reviews if facts.reviews and facts.reviews.reviewers else None,
        number=lambda value, digits=2: "–" if math.isnan(value) else f"{value:.{digits}f}",
        calibration=[(name, facts.gate.decision[name]) for name in sorted(set(classes)) if name in facts.gate.decision],
        distributions=_distributions(facts.gate, values, photos, verdicts),
        one_rule=(one_rule, cards(rejected_by_one_rule(gate_bounds, verdicts, MAX_HIGHLIGHTS))),
        min_correlation=MIN_CORRELATION,
        correlated=[
            (metrics, cards(metrics.exceptions))
            for metrics in correlated_metrics(values, MAX_METRIC_PAIRS, MAX_EXCEPTIONS)
        ],
    )


def _disagreement(facts: ReportFacts, candidates: Sequence[Candidate], scores: Sequence[Mapping[str, float]]) -> Floats:
    """Return (n,) how far those who judged a candidate disagree: reviewers count more than a model's own looks."""
    disputed = {dispute.candidate for dispute in facts.reviews.disputes} if facts.reviews else set()
    return np.array(
        [
            (100.0 if candidate.id in disputed else 0.0) + max(np.nan_to_num(own.get("vlm_disagreement", 0.0)), 0.0)
            for candidate, own in zip(candidates, scores, strict=True)
        ],
        np.float64,
    )


def _money(facts: ReportFacts) -> dict[str, Any] | None:
    """Return what calls to providers cost; None without calls."""
    if not facts.calls:
        return None
    rows = [(stage, _printable(model), outcome, count, usd) for stage, model, outcome, count, usd in facts.calls]
    total = sum(usd for *_, usd in rows if math.isfinite(usd))
    kept = sum(verdict.decision == "keep" for verdict in facts.verdicts.values())
    return {"rows": rows, "total": total, "per_kept": total / kept if kept else math.nan}


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
        low, high = axis_range(values[metric], [limit for name in present for limit, _ in limits[name]])
        plots = []
        for name in present:
            parts = [values[metric][(classes == name) & (decisions == decision)] for decision in DECISIONS]
            measured = [int(np.isfinite(part).sum()) for part in parts]
            unmeasured = sum(map(len, parts)) - sum(measured)
            counts = ", ".join(f"{count} {decision}" for count, decision in zip(measured, DECISIONS, strict=True))
            title = f"{metric}, {name}: {counts}, {unmeasured} unmeasured"
            plot = histogram(parts, low, high, [limit for limit, _ in limits[name]])
            plots.append((name, title, plot | {"bounds": [text for _, text in limits[name]]}))
        label, meaning = meaning_of(metric)
        ends = {"low": f"{low:.3g}", "high": f"{high:.3g}"}
        distributions.append({"metric": metric, "label": label, "meaning": meaning, "plots": plots} | ends)
    return distributions


def _limits(gate: Gate, degradation: str, metric: str) -> list[tuple[float, str]]:
    """Return the bounds of a class on a metric, each with what happens beyond it."""
    rules = (*gate.must[degradation], *gate.decision_rules(degradation))
    return [bound for rule in rules if rule.metric == metric for bound in _bounds_of(rule)]


def _bounds_of(rule: Rule) -> list[tuple[float, str]]:
    """Return the finite bounds of a rule in words; of two that are equal, the one that rejects."""
    named = {
        rule.unsure_below: "people decide below",
        rule.unsure_above: "people decide above",
        rule.min: "rejected below",
        rule.max: "rejected above",
    }
    return [(limit, f"{text} {limit:.3g}") for limit, text in sorted(named.items()) if math.isfinite(limit)]


def _card(
    facts: ReportFacts, candidate: Candidate, photo: Photo, verdict: Verdict, notes: Sequence[str]
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
        "restorer": _printable(candidate.restorer),
        "decision": verdict.decision,
        "reason": _printable(verdict.reason.replace("_", " ")),
        "notes": notes,
        "images": images,
        "texts": [(name, _printable(text)) for name, text in texts.items() if text],
    }


def _printable(text: str) -> str:
    """Return a text from outside, shortened and without characters that do not print. The template escapes it."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + "…"
