"""report: one HTML file on what the gate made of a workspace, for people. No script, nothing from outside.

html = report(Facts(...), created="2026-01-01T00:00:00Z")
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
from ggt_tools.policy.bounds import Floats, bounds, decided
from ggt_tools.policy.decision import PROBABILITIES
from ggt_tools.policy.gate import Gate
from ggt_tools.records import Candidate, Photo, Stage, Verdict
from ggt_tools.stages.adopt.drift import Drift
from ggt_tools.stages.report.figures import histogram, span, thumbnail
from ggt_tools.stages.report.findings import AGREE, CLEAR, Finding, best_rejected, lone_witnesses, relations, worst_kept

__all__ = ["Facts", "report"]

DECISIONS = ("keep", "unsure", "reject")
EXAMPLES = 12  # of the worst kept, the best rejected and the lone witnesses
PAIRS, OF_PAIR = 6, 4  # of metrics that agree, and candidates of each on which they do not
TEXT = 240  # characters that are shown of a text from outside


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a report is made of. The candidates are those that have been judged."""

    name: str  # of the workspace
    gate: Gate
    funnel: Sequence[Stage]
    photos: Mapping[str, Photo]
    candidates: Sequence[Candidate]
    verdicts: Mapping[str, Verdict]  # by candidate
    aligned: Mapping[str, str]  # the aligned image's name by candidate
    scores: Mapping[str, Mapping[str, float]]  # by candidate and metric
    image: Callable[[str], bytes]  # the file of an image by its name
    drift: Sequence[Drift] = ()  # of the sets that were made elsewhere


def report(facts: Facts, *, created: str) -> str:
    """The page. Its size is bounded, however many candidates there are. ConfigError: jinja2 is not installed."""
    templates = environment(Path(__file__).parent)
    measured = [candidate for candidate in facts.candidates if candidate.id in facts.aligned]
    photos = [facts.photos[candidate.key] for candidate in measured]
    verdicts = [facts.verdicts[candidate.id] for candidate in measured]
    scores = [facts.scores.get(candidate.id, {}) for candidate in measured]
    names = sorted({name for one in scores for name in one} | set(facts.gate.metrics))
    values = {name: np.array([one.get(name, math.nan) for one in scores], np.float64) for name in names}
    classes = np.array([photo.degradations[0] for photo in photos], dtype=object)
    values |= decided(facts.gate, classes, scores)
    asked = bounds(facts.gate, [photo.degradations for photo in photos], scores)

    def cards(findings: Sequence[Finding]) -> list[dict[str, Any]]:
        return [_card(facts, measured[f.at], photos[f.at], verdicts[f.at], f.notes) for f in findings]

    sections = [
        ("worst-kept", "The worst kept", "Nearest to a bound.", worst_kept(asked, verdicts, EXAMPLES)),
        ("best-rejected", "The best rejected", "Nearest to being kept.", best_rejected(asked, verdicts, EXAMPLES)),
        (
            "lone-witnesses",
            "One witness against all others",
            f"One rule rejects, all others hold by {CLEAR} spreads and more.",
            lone_witnesses(asked, verdicts, EXAMPLES),
        ),
    ]
    return templates.get_template("report.html").render(
        name=_plain(facts.name),
        created=created,
        gate=facts.gate.id,
        funnel=facts.funnel,
        most=max((stage.entered for stage in facts.funnel), default=0) or 1,
        decisions=DECISIONS,
        tables=[
            ("degradation", _counted(facts, lambda candidate: facts.photos[candidate.key].degradation)),
            ("restorer", _counted(facts, lambda candidate: candidate.restorer)),
        ],
        reasons=_reasons(facts),
        sets=[_set(one) for one in facts.drift],
        distributions=_distributions(facts.gate, values, photos, verdicts),
        sections=[(mark, title, about, cards(found)) for mark, title, about, found in sections],
        agree=AGREE,
        relations=[(relation, cards(relation.findings)) for relation in relations(values, PAIRS, OF_PAIR)],
    )


def _set(one: Drift) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A row of the table of adopted sets: its texts, and its numbers as they are shown."""

    def number(form: str, value: float) -> str:
        return format(value, form) if math.isfinite(value) else "-"

    shares = (one.proportion, one.shifted, one.viewpoint, one.objects, one.unsure, one.kept)
    numbers = ((one.shift, ".1f"), (one.shift_worst, ".1f"), (one.local, ".1f"), (one.psnr, ".1f"))
    gains = ((one.psnr_gain, "+.1f"), (one.ssim, ".3f"))
    return (
        (_plain(one.set), _plain(one.restorer), _plain(one.local_only)),
        (
            str(one.outputs),
            str(one.aligned),
            *(number(".0%", share) for share in shares),
            *(number(form, value) for value, form in (*numbers, *gains)),
        ),
    )


def _counted(facts: Facts, of: Callable[[Candidate], str]) -> list[tuple[str, list[int]]]:
    counts = Counter((of(candidate), facts.verdicts[candidate.id].decision) for candidate in facts.candidates)
    return [(_plain(name), [counts[name, d] for d in DECISIONS]) for name in sorted({name for name, _ in counts})]


def _reasons(facts: Facts) -> list[tuple[str, str, str, int]]:
    said = (facts.verdicts[candidate.id] for candidate in facts.candidates)
    counts = Counter((v.decision, v.stage, v.reason) for v in said if v.decision != "keep")
    return [(d, stage, _plain(reason), count) for (d, stage, reason), count in counts.most_common()]


def _distributions(
    gate: Gate, values: Mapping[str, Floats], photos: Sequence[Photo], verdicts: Sequence[Verdict]
) -> list[dict[str, Any]]:
    """For each probability and metric of the gate a histogram by degradation, its values stacked by verdict."""
    classes = np.array([photo.degradation for photo in photos], dtype=object)
    said = np.array([verdict.decision for verdict in verdicts], dtype=object)
    found = []
    for metric in (*(PROBABILITIES if gate.decision else ()), *gate.metrics):
        limits = {
            name: [
                bound
                for rule in (*rules, *gate.decision_rules(name))
                if rule.metric == metric
                for bound in dict.fromkeys((rule.min, rule.unsure_below, rule.unsure_above, rule.max))
                if math.isfinite(bound)
            ]
            for name, rules in gate.must.items()
        }
        present = sorted(set(classes))
        low, high = span(values[metric], [bound for name in present for bound in limits[name]])
        plots = []
        for name in present:
            parts = [values[metric][(classes == name) & (said == decision)] for decision in DECISIONS]
            known = [int(np.isfinite(part).sum()) for part in parts]
            unmeasured = sum(map(len, parts)) - sum(known)
            counts = ", ".join(f"{count} {decision}" for count, decision in zip(known, DECISIONS, strict=True))
            title = f"{metric}, {name}: {counts}, {unmeasured} unmeasured"
            plots.append((name, title, histogram(parts, low, high, limits[name])))
        found.append({"metric": metric, "low": f"{low:.3g}", "high": f"{high:.3g}", "plots": plots})
    return found


def _card(facts: Facts, candidate: Candidate, photo: Photo, verdict: Verdict, notes: tuple[str, ...]) -> dict[str, Any]:
    images = {}
    for side, name in (("lq", photo.image), ("gt", facts.aligned[candidate.id])):
        try:
            images[side] = thumbnail(facts.image(name)), ""
        except ShardError as fault:
            images[side] = "", _plain(str(fault))
        except OSError as fault:
            images[side] = "", f"cannot be read: {_plain(str(fault))}"
    said = f"{verdict.decision} {verdict.reason}".strip()
    texts = {"file": photo.file, "author": photo.author, "restorer": candidate.restorer, "prompt": candidate.prompt}
    return {
        "candidate": candidate.id,
        "key": candidate.key,
        "degradation": photo.degradation,
        "verdict": said,
        "notes": notes,
        "images": images,
        "texts": [(name, _plain(text)) for name, text in texts.items() if text],
    }


def _plain(text: str) -> str:
    """A text from outside, short, and without what does not print; the template escapes it."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return shown if len(shown) <= TEXT else shown[: TEXT - 1] + "…"
