"""Compute the scores of candidates from the opinions of the screener."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ggt_tools.providers.vlm import VLM
from ggt_tools.records import Opinion, Score
from ggt_tools.stages.screen import CAP, CONTROL, ORDERS, SEVERITIES, VERSION

METRICS = ("vlm_defects", "vlm_disagreement", "vlm_fidelity", "vlm_quality", "vlm_votes")
# near (HarnessIR): added or removed objects, altered text, changed identity. Ours: faces, which are identities too.
CAPPED = frozenset({"object_added", "object_removed", "text_altered", "identity", "face_altered"})
FAR = 50.0  # ours: points of fidelity between two opinions that are as far apart as can be
CONTROL_FIDELITY = 50.0  # ours: a model that gives the control pair more than this does not look at it


def opinions_in_force(opinions: Iterable[Opinion], images: Mapping[str, str]) -> dict[str, list[Opinion]]:
    """Return the opinions that hold, by candidate: those on its present image, by this version of the question.

    Args:
        opinions: All opinions.
        images: The image of each candidate as it is aligned now.
    """
    by_candidate: dict[str, list[Opinion]] = defaultdict(list)
    for opinion in opinions:
        if opinion.version == VERSION and images.get(opinion.candidate) == opinion.image:
            by_candidate[opinion.candidate].append(opinion)
    return by_candidate


def consensus(candidate: str, opinions: Sequence[Opinion], *, votes: int = 1) -> tuple[Score, ...]:
    """Compute the scores of a candidate from the opinions on it.

    vlm_fidelity      the lowest fidelity, 0 to 100; an opinion with a defect of CAPPED counts at most CAP
    vlm_quality       the mean quality, 0 to 100
    vlm_defects       the severity that more than half of the opinions reach: 1/3 slight, 2/3 clear, 1 severe
    vlm_disagreement  0 to 1, the largest of: the spread of fidelity over FAR, the spread of the worst severity, twice
                      the share against the majority in `redo` and in `mode`, the share of unusable opinions
    vlm_votes         the number of usable opinions

    All but the last are NaN, which no gate keeps, until there are `votes` opinions of each order and at least one of
    each order is usable. An unusable opinion never counts in favour of a candidate.
    """
    values = dict.fromkeys(METRICS, math.nan)
    usable = [opinion for opinion in opinions if not opinion.fault]
    asked_count, usable_count = (Counter(opinion.order for opinion in group) for group in (opinions, usable))
    if all(asked_count[order] >= votes and usable_count[order] for order in ORDERS):
        fidelity = [fidelity_of(opinion) for opinion in usable]
        worst = sorted(_worst(opinion) for opinion in usable)
        values["vlm_fidelity"] = min(fidelity)
        values["vlm_quality"] = sum(opinion.quality for opinion in usable) / len(usable)
        values["vlm_defects"] = worst[(len(worst) - 1) // 2]
        values["vlm_disagreement"] = max(
            min((max(fidelity) - min(fidelity)) / FAR, 1.0),
            worst[-1] - worst[0],
            _disagreement([opinion.redo for opinion in usable]),
            _disagreement([opinion.mode for opinion in usable]),
            1 - len(usable) / len(opinions),
        )
    values["vlm_votes"] = float(len(usable))
    return tuple(
        Score(candidate=candidate, metric=metric, metric_version=VERSION, value=value)
        for metric, value in values.items()
    )


def sees_control(opinions: Iterable[Opinion], model: VLM) -> bool:
    """Return whether the model gave low fidelity to a photograph and itself upside down, in both orders."""
    is_low: dict[str, dict[str, bool]] = defaultdict(dict)
    for opinion in opinions:
        if (opinion.candidate, opinion.model, opinion.version) == (CONTROL, model.model, VERSION):
            low = not opinion.fault and fidelity_of(opinion) <= CONTROL_FIDELITY
            is_low[opinion.image][opinion.order] = low and is_low[opinion.image].get(opinion.order, True)
    return any(len(orders) == len(ORDERS) and all(orders.values()) for orders in is_low.values())


def fidelity_of(opinion: Opinion) -> float:
    """Return the fidelity of an opinion, at most CAP where it names a defect of CAPPED."""
    is_capped = any(defect["kind"] in CAPPED for defect in map(json.loads, opinion.defects))
    return min(opinion.fidelity, CAP) if is_capped else opinion.fidelity


def _worst(opinion: Opinion) -> float:
    return max((SEVERITIES[defect["severity"]] for defect in map(json.loads, opinion.defects)), default=0.0)


def _disagreement(answers: Sequence[object]) -> float:
    """Return twice the share of the answers against the majority, at most 1."""
    return min(2 * (1 - Counter(answers).most_common(1)[0][1] / len(answers)), 1.0)
