"""Count how far the outputs of a set are from their photographs.

A study of GPT-4o's restorations (arXiv 2505.05621) found that they look good, but have other proportions, are shifted,
gain and lose objects, and show the scene from another viewpoint. align and the metrics measure each of these for one
pair; here they are counted over a set.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ggt_tools.policy.gate import Gate
from ggt_tools.records import Adopted, Aligned, Photo, Verdict
from ggt_tools.stages.align import CONFIDENT, RATIO, SMOOTH
from ggt_tools.stages.align.geometry import moved, places, scaling

MIN_SHIFT = 1.0  # px at 1024: a smaller shift does not matter to training
OTHER_VIEWPOINT = ("affine", "homography")  # models of align that no shift, rotation or zoom produces
OBJECTS = "object_changed"  # reason of the gate's rules and facts about added, removed and moved objects
MIN_WEIGHT_SHARE = 0.5  # of a fact of the gate's decision, for a change to count here (our choice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The drift of one set by one restorer. Shares are 0..1 of the outputs that could be measured; NaN for none.

    Attributes:
        set: Name of the set.
        restorer: Name of the model.
        outputs: Number of outputs.
        aligned: Number of outputs that are aligned with their photographs.
        proportion: Share whose aspect ratio differs by more than 2 %.
        shift: Median shift in px at 1024, of confident fits.
        shift_worst: 90th percentile of the same.
        shifted: Share of confident fits with a shift above one pixel.
        viewpoint: Share with another viewpoint: sheared, in another perspective, or beyond what align undoes.
        objects: Share in which a metric for changed objects clearly measures a change.
        local: Median of the 99th percentile of local motion, px at 1024.
        unsure: Share of fits without confidence.
        psnr: Median PSNR against the true ground truth; NaN without one.
        psnr_gain: Median gain in PSNR over the photograph; NaN without a true ground truth.
        ssim: Median SSIM against the true ground truth; NaN without one.
        kept: Share that the gate keeps.
        local_only: Why nothing of the set may be pushed; "" where it may.
    """

    set: str
    restorer: str
    outputs: int
    aligned: int
    proportion: float
    shift: float
    shift_worst: float
    shifted: float
    viewpoint: float
    objects: float
    local: float
    unsure: float
    psnr: float
    psnr_gain: float
    ssim: float
    kept: float
    local_only: str


def drift(
    adopted: Iterable[Adopted],
    restorers: Mapping[str, str],
    photos: Mapping[str, Photo],
    aligned: Mapping[str, Aligned],
    scores: Mapping[str, Mapping[str, float]],
    verdicts: Mapping[str, Verdict],
    gate: Gate,
) -> list[Drift]:
    """Count the drift of each set and restorer.

    Args:
        adopted: Where the candidates come from.
        restorers: Restorers by candidate.
        photos: Photographs by key.
        aligned: Fits by candidate.
        scores: Scores by candidate and metric.
        verdicts: Verdicts by candidate.
        gate: The gate, whose rules on objects are applied.
    """
    by_set: dict[tuple[str, str], list[Adopted]] = defaultdict(list)
    for fact in adopted:
        if fact.candidate in aligned:
            by_set[fact.set, restorers[fact.candidate]].append(fact)
    return [
        _drift_of(name, restorer, facts, photos, aligned, scores, verdicts, gate)
        for (name, restorer), facts in sorted(by_set.items())
    ]


def _drift_of(
    name: str,
    restorer: str,
    facts: Sequence[Adopted],
    photos: Mapping[str, Photo],
    aligned: Mapping[str, Aligned],
    scores: Mapping[str, Mapping[str, float]],
    verdicts: Mapping[str, Verdict],
    gate: Gate,
) -> Drift:
    fits = [aligned[fact.candidate] for fact in facts]
    lqs = [photos[fact.key] for fact in facts]
    values = [scores.get(fact.candidate, {}) for fact in facts]
    confident = [(fact, lq, fit) for fact, lq, fit in zip(facts, lqs, fits, strict=True) if fit.confidence >= CONFIDENT]
    shifts = [shift(fact, lq, fit) for fact, lq, fit in confident]
    ratios = [fact.width * lq.height / (fact.height * lq.width) for fact, lq in zip(facts, lqs, strict=True)]
    decisions = [verdicts[fact.candidate].decision for fact in facts if fact.candidate in verdicts]
    return Drift(
        set=name,
        restorer=restorer,
        outputs=len(facts),
        aligned=sum(fit.image != "" for fit in fits),
        proportion=_mean([float(abs(ratio - 1) > RATIO) for ratio in ratios]),
        shift=_percentile(shifts),
        shift_worst=_percentile(shifts, 90),
        shifted=_mean([float(distance > MIN_SHIFT) for distance in shifts]),
        viewpoint=_mean([float(_is_other_viewpoint(fit)) for _, _, fit in confident]),
        objects=_mean([_is_changed(v, lq.degradation, gate) for v, lq in zip(values, lqs, strict=True)]),
        local=_percentile([fit.residual_p99 for fit in fits]),
        unsure=1.0 - len(confident) / len(fits),
        psnr=_percentile([v.get("ref_psnr", math.nan) for v in values]),
        psnr_gain=_percentile([v.get("ref_psnr_gain", math.nan) for v in values]),
        ssim=_percentile([v.get("ref_ssim", math.nan) for v in values]),
        kept=_mean([float(decision == "keep") for decision in decisions]),
        local_only=next((fact.local_only for fact in facts if fact.local_only), ""),
    )


def shift(adopted: Adopted, photo: Photo, fit: Aligned) -> float:
    """Return how far a fit moved the content of an output, apart from resizing it: mean over the frame, px at 1024."""
    points = places(photo.width, photo.height)
    resize = scaling(adopted.width / photo.width, adopted.height / photo.height)  # photograph -> output
    inverse = np.array(fit.transform[:9], np.float64).reshape(3, 3)
    offsets = moved(inverse @ resize, points) - points
    return float(np.linalg.norm(offsets, axis=1).mean()) * 1024.0 / max(photo.width, photo.height)


def _is_other_viewpoint(fit: Aligned) -> bool:
    return fit.reason == "misaligned" or fit.model.removesuffix(SMOOTH) in OTHER_VIEWPOINT


def _is_changed(scores: Mapping[str, float], degradation: str, gate: Gate) -> float:
    """Return 1 if a rule on objects is broken or a fact adds half its weight, 0 if not; NaN without a measurement."""
    is_broken: list[bool] = []
    for rule in gate.must.get(degradation, ()):
        value = scores.get(rule.metric, math.nan)
        if rule.reason == OBJECTS and not math.isnan(value):
            is_broken.append(value < rule.min or value > rule.max)
    facts = gate.decision[degradation].models[0].facts if degradation in gate.decision else ()
    for fact in facts:
        for metric, reason in zip(fact.metrics, fact.reasons, strict=True):
            value = scores.get(metric, math.nan)
            if reason == OBJECTS and not math.isnan(value):
                is_broken.append(float(fact.shares(np.array([value]))[0]) >= MIN_WEIGHT_SHARE)
    return float(any(is_broken)) if is_broken else math.nan


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN."""
    measured = [value for value in values if not math.isnan(value)]
    return float(np.mean(measured)) if measured else math.nan


def _percentile(values: Sequence[float], percent: int = 50) -> float:
    """Return a percentile, by default the median, of the values that are not NaN."""
    measured = [value for value in values if not math.isnan(value)]
    return float(np.percentile(measured, percent)) if measured else math.nan
