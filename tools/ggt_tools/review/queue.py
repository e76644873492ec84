"""Which pairs are shown, and in which order: what the gate is unsure of, then a sample of what it kept and rejected.

The order and the sample are drawn by hash: the same at every start, whatever else was added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ggt_tools.policy.verdicts import by_rules
from ggt_tools.policy.votes import ANOTHER, UNCHANGED
from ggt_tools.records import Aligned, Candidate, Photo, Verdict, work_id

UNSURE, AUDIT, GALLERY = "unsure", "audit", "gallery"
NOT_FOR_PEOPLE = "not_the_best"  # such a one broke no rule: there is nothing to audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A pair that can be judged."""

    candidate: str
    key: str
    degradation: str
    lq: str  # SHA-256 of the photograph's file
    gt: str  # of the candidate's, as it is aligned
    width: int
    height: int
    queue: str  # unsure | audit | gallery: the last is shown only when asked for
    said: str  # the gate's decision, "" where it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A pair as it is shown to one reviewer."""

    id: str  # of the item, the reviewer and what is planted: found again after a restart
    item: Item
    gt: str  # SHA-256 of what is shown as the ground truth
    planted: str


def items(
    candidates: Iterable[Candidate],
    photos: Mapping[str, Photo],
    aligned: Iterable[Aligned],
    verdicts: Mapping[str, Verdict],
    *,
    audit: float,
) -> list[Item]:
    """All candidates that have an image, in the order in which they are shown; those that are not come last.

    Where nothing has been judged yet, all of them are unsure. `audit`: the share, 0 to 1, of the kept and of the
    rejected that is sampled, each rounded up.
    """
    images = {one.candidate: one.image for one in aligned if one.image}
    found: dict[str, list[Item]] = {UNSURE: [], "keep": [], "reject": [], GALLERY: []}
    for candidate in candidates:
        if candidate.id not in images:
            continue
        photo, verdict = photos[candidate.key], verdicts.get(candidate.id)
        said = by_rules(verdict) if verdict else ""
        ours = verdict is not None and verdict.reason != NOT_FOR_PEOPLE
        group = UNSURE if said in ("", "unsure") else said if ours else GALLERY
        item = Item(
            candidate=candidate.id,
            key=candidate.key,
            degradation=photo.degradation,
            lq=photo.image,
            gt=images[candidate.id],
            width=photo.width,
            height=photo.height,
            queue=UNSURE if group == UNSURE else GALLERY,
            said=said,
        )
        found[group].append(item)
    for some in found.values():
        some.sort(key=lambda item: work_id("order", item.candidate))
    sampled = []
    for said in ("keep", "reject"):
        most = math.ceil(audit * len(found[said]))
        sampled += [replace(item, queue=AUDIT) for item in found[said][:most]]
        found[GALLERY] += found[said][most:]
    sampled.sort(key=lambda item: work_id("audit", item.candidate))
    return [*found[UNSURE], *sampled, *found[GALLERY]]


def look(item: Item, reviewer: str, planted: str = "", gt: str = "") -> Look:
    """The pair, or what is planted in its place: `gt` is the name of the image that stands for the ground truth."""
    shown = gt or item.gt
    return Look(id=look_id(item.candidate, shown, reviewer, planted), item=item, gt=shown, planted=planted)


def look_id(candidate: str, gt: str, reviewer: str, planted: str) -> str:
    """The same at every start; `gt` as in Look."""
    return work_id("look", candidate, gt, reviewer, planted)


def plant(listed: list[Item], reviewer: str, number: int) -> Look | None:
    """A pair with a known answer, the reviewer's so and so many: an unchanged copy or another photograph's result.

    Drawn by hash out of those that are not queued, where there are any. None where nothing can be planted.
    """
    quiet = [item for item in listed if item.queue == GALLERY] or listed
    if not quiet:
        return None
    drawn = int(work_id("planted", reviewer, number), 16)
    item = quiet[drawn % len(quiet)]
    if drawn // 7 % 2:
        others = [one for one in listed if one.key != item.key and (one.width, one.height) == (item.width, item.height)]
        same = [one for one in others if one.degradation == item.degradation] or others  # the harder ones to tell
        if same:
            return look(item, reviewer, ANOTHER, same[drawn // 14 % len(same)].gt)
    return look(item, reviewer, UNCHANGED, item.lq)
