"""Which pairs are shown, and in which order: first those that the gate is unsure of, then a sample of the others.

Order and sample are drawn by a hash, so that they are the same at every start, whatever else was added.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ggt_tools.policy.verdicts import by_rules
from ggt_tools.policy.votes import ANOTHER_PHOTOGRAPH, UNCHANGED
from ggt_tools.records import Aligned, Candidate, Photo, Verdict, work_id

UNSURE, AUDIT, GALLERY = "unsure", "audit", "gallery"
NOT_THE_BEST = "not_the_best"  # such a candidate breaks no rule, so there is nothing to audit


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewItem:
    """A pair that can be judged.

    Attributes:
        candidate: Id of the candidate.
        key: Key of the photograph.
        degradation: Class of the photograph.
        lq: Name of the LQ image.
        gt: Name of the candidate's aligned image.
        width: Width of both images.
        height: Height of both images.
        queue: Why it is shown: unsure, audit, or gallery, which is shown only on request.
        gate_decision: What the rules of the gate decide; "" if the candidate has not been judged.
    """

    candidate: str
    key: str
    degradation: str
    lq: str
    gt: str
    width: int
    height: int
    queue: str
    gate_decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairView:
    """A pair as it is shown to one reviewer.

    Attributes:
        id: Made of the item, the reviewer and the known answer, so that it is found again after a restart.
        item: The pair.
        gt: Name of the image that is shown as the restoration.
        known_answer: "" for the real pair; else why the answer is known: unchanged, another_photograph.
    """

    id: str
    item: ReviewItem
    gt: str
    known_answer: str


def list_items(
    candidates: Iterable[Candidate],
    photos: Mapping[str, Photo],
    aligned: Iterable[Aligned],
    verdicts: Mapping[str, Verdict],
    *,
    audit: float,
) -> list[ReviewItem]:
    """Return all candidates that have an aligned image, in the order in which they are shown.

    Candidates without a verdict count as unsure. Those that are shown only on request come last.

    Args:
        candidates: The candidates.
        photos: Photographs by key.
        aligned: What align stored of the candidates.
        verdicts: Verdicts by candidate.
        audit: The share of the kept and of the rejected candidates that is shown as well, 0 to 1, rounded up.
    """
    images = {fact.candidate: fact.image for fact in aligned if fact.image}
    groups: dict[str, list[ReviewItem]] = {UNSURE: [], "keep": [], "reject": [], GALLERY: []}
    for candidate in candidates:
        if candidate.id not in images:
            continue
        photo, verdict = photos[candidate.key], verdicts.get(candidate.id)
        gate_decision = by_rules(verdict) if verdict else ""
        can_be_audited = verdict is not None and verdict.reason != NOT_THE_BEST
        group = UNSURE if gate_decision in ("", "unsure") else gate_decision if can_be_audited else GALLERY
        item = ReviewItem(
            candidate=candidate.id,
            key=candidate.key,
            degradation=photo.degradation,
            lq=photo.image,
            gt=images[candidate.id],
            width=photo.width,
            height=photo.height,
            queue=UNSURE if group == UNSURE else GALLERY,
            gate_decision=gate_decision,
        )
        groups[group].append(item)
    for group_items in groups.values():
        group_items.sort(key=lambda item: work_id("order", item.candidate))
    sample = []
    for decision in ("keep", "reject"):
        sample_size = math.ceil(audit * len(groups[decision]))
        sample += [replace(item, queue=AUDIT) for item in groups[decision][:sample_size]]
        groups[GALLERY] += groups[decision][sample_size:]
    sample.sort(key=lambda item: work_id("audit", item.candidate))
    return [*groups[UNSURE], *sample, *groups[GALLERY]]


def make_view(item: ReviewItem, reviewer: str, known_answer: str = "", gt: str = "") -> PairView:
    """Return the view of a pair, or of a pair with a known answer in its place.

    Args:
        item: The pair.
        reviewer: Who is to judge it.
        known_answer: Why the answer is known; "" for the real pair.
        gt: Name of the image that is shown as the restoration; "" for the candidate's own.
    """
    shown = gt or item.gt
    id = view_id(item.candidate, shown, reviewer, known_answer)
    return PairView(id=id, item=item, gt=shown, known_answer=known_answer)


def view_id(candidate: str, gt: str, reviewer: str, known_answer: str) -> str:
    """Return the id of a view, which is the same at every start."""
    return work_id("look", candidate, gt, reviewer, known_answer)


@dataclass(frozen=True, slots=True)
class KnownAnswers:
    """When a pair with a known answer is shown, and which: an unchanged copy, or the result of another photograph.

    Attributes:
        share: Share of all pairs shown that have a known answer; 0 for none.
    """

    share: float

    @property
    def block_size(self) -> int:
        """Number of pairs of which one has a known answer."""
        return max(2, round(1 / self.share))

    def block_due(self, reviewer: str, number: int) -> int | None:
        """Return the number of a reviewer's known answer if it is due after so many pairs; None if not."""
        if not self.share:
            return None
        block, place = divmod(number, self.block_size)
        return block if place == int(work_id("place", reviewer, block), 16) % self.block_size else None

    def views(self, items: Sequence[ReviewItem], reviewer: str, judged: int) -> list[PairView]:
        """Return all known answers that a reviewer who has judged so many pairs may have seen or be shown next."""
        if not self.share:
            return []
        blocks = range(judged // self.block_size + 3)
        return [view for block in blocks if (view := self.view(items, reviewer, block)) is not None]

    @staticmethod
    def view(items: Sequence[ReviewItem], reviewer: str, block: int) -> PairView | None:
        """Return the known answer of a block, drawn by a hash; None if there are no pairs.

        It takes the place of a pair that is not queued, if there is one.
        """
        choices = [item for item in items if item.queue == GALLERY] or items
        if not choices:
            return None
        draw = int(work_id("planted", reviewer, block), 16)
        item = choices[draw % len(choices)]
        if draw // 7 % 2:
            others = [
                other
                for other in items
                if other.key != item.key and (other.width, other.height) == (item.width, item.height)
            ]
            # a result of the same class is harder to tell from the right one
            same_class = [other for other in others if other.degradation == item.degradation] or others
            if same_class:
                return make_view(item, reviewer, ANOTHER_PHOTOGRAPH, same_class[draw // 14 % len(same_class)].gt)
        return make_view(item, reviewer, UNCHANGED, item.lq)
