"""drift: how far the outputs of a set went from their photographs, over the whole set.

The finding on GPT-4o's restorations (arXiv 2505.05621) is that they look good and have other proportions, are shifted,
gained and lost things, and were seen from elsewhere. Each of these is measured by align and by the witnesses, one pair
at a time; here they are counted.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ggt_tools.policy.gate import Gate
from ggt_tools.records import Adopted, Aligned, Photo, Verdict
from ggt_tools.stages.align import CONFIDENT, RATIO
from ggt_tools.stages.align.blocks import moved, places, scaling

STILL = 1.0  # px at 1024: less is no shift that training would see
SEEN_FROM_ELSEWHERE = ("affine", "homography")  # models of align that no shift, turn or zoom of a camera's frame makes
OBJECTS = "object_changed"  # the reason of the gate's rules and facts that look for things that came, went or moved
HALF = 0.5  # share of its weight from which a fact of the gate's decision counts as a change here (ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One set by one restorer. Shares are 0..1 of those that it could be told of, NaN where there are none."""

    set: str
    restorer: str
    outputs: int
    aligned: int  # that lie in their photographs' frames
    proportion: float  # share whose sides have another ratio, by more than 2 %
    shift: float  # median, px at 1024, by which a sure fit had to move them
    shift_worst: float  # of the worst tenth
    shifted: float  # share of sure fits that are shifted by more than a pixel
    viewpoint: float  # share seen from elsewhere: sheared, in another perspective, or beyond what align undoes
    objects: float  # share in which a metric that looks for changed things clearly sees a change
    local: float  # median of the 99th percentiles of what moves within, px at 1024
    unsure: float  # share of which align could not tell
    psnr: float  # medians of what the true ground truth says, NaN without one
    psnr_gain: float
    ssim: float
    kept: float  # share that the gate keeps
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
    """Count by set and restorer. All but `photos` (by key) are by candidate."""
    sets: dict[tuple[str, str], list[Adopted]] = defaultdict(list)
    for each in adopted:
        if each.candidate in aligned:
            sets[each.set, restorers[each.candidate]].append(each)
    found = []
    for (name, restorer), those in sorted(sets.items()):
        fits = [aligned[each.candidate] for each in those]
        lies = [photos[each.key] for each in those]
        of = [scores.get(each.candidate, {}) for each in those]
        sure = [fit.confidence >= CONFIDENT for fit in fits]
        shifts = [
            shift(*three) for three, known in zip(zip(those, lies, fits, strict=True), sure, strict=True) if known
        ]
        views = [
            float(fit.reason == "misaligned" or fit.model in SEEN_FROM_ELSEWHERE)
            for fit, known in zip(fits, sure, strict=True)
            if known
        ]
        ratios = [each.width * lq.height / (each.height * lq.width) for each, lq in zip(those, lies, strict=True)]
        changed = [_changed(one, lq.degradation, gate) for one, lq in zip(of, lies, strict=True)]
        found.append(
            Drift(
                set=name,
                restorer=restorer,
                outputs=len(those),
                aligned=sum(fit.image != "" for fit in fits),
                proportion=_mean([float(abs(ratio - 1) > RATIO) for ratio in ratios]),
                shift=_median(shifts),
                shift_worst=_median(shifts, 90),
                shifted=_mean([float(far > STILL) for far in shifts]),
                viewpoint=_mean(views),
                objects=_mean(changed),
                local=_median([fit.residual_p99 for fit in fits]),
                unsure=_mean([float(not known) for known in sure]),
                psnr=_median([one.get("ref_psnr", math.nan) for one in of]),
                psnr_gain=_median([one.get("ref_psnr_gain", math.nan) for one in of]),
                ssim=_median([one.get("ref_ssim", math.nan) for one in of]),
                kept=_mean([float(verdicts[e.candidate].decision == "keep") for e in those if e.candidate in verdicts]),
                local_only=next((each.local_only for each in those if each.local_only), ""),
            )
        )
    return found


def shift(adopted: Adopted, photo: Photo, fit: Aligned) -> float:
    """How far a fit moved the output's content, the mean over the frame, px at 1024: beyond bringing it to size."""
    there = places(photo.width, photo.height)
    to_size = scaling(adopted.width / photo.width, adopted.height / photo.height)  # reply <- photograph
    back = np.array(fit.transform, np.float64).reshape(3, 3)
    far = moved(back @ to_size, there) - there
    return float(np.linalg.norm(far, axis=1).mean()) * 1024.0 / max(photo.width, photo.height)


def _changed(scores: Mapping[str, float], degradation: str, gate: Gate) -> float:
    """Return 1 where a rule on objects is broken or a fact adds half its weight, 0 where not, NaN where unmeasured."""
    broken: list[bool] = []
    for rule in gate.must.get(degradation, ()):
        value = scores.get(rule.metric, math.nan)
        if rule.reason == OBJECTS and not math.isnan(value):
            broken.append(value < rule.min or value > rule.max)
    facts = gate.decision[degradation].models[0].facts if degradation in gate.decision else ()
    for fact in facts:
        for metric, reason in zip(fact.metrics, fact.reasons, strict=True):
            value = scores.get(metric, math.nan)
            if reason == OBJECTS and not math.isnan(value):
                broken.append(float(fact.shares(np.array([value]))[0]) >= HALF)
    return float(any(broken)) if broken else math.nan


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def _median(values: Sequence[float], percentile: int = 50) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.percentile(known, percentile)) if known else math.nan
