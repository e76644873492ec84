"""Which pairs each reviewer has judged, and which of them still wait for a vote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from ggt_tools.records import Decision
from ggt_tools.review.queue import GALLERY, PairView, ReviewItem, view_id


@dataclass(slots=True)
class Worklist:
    """The pairs of one reviewer.

    Attributes:
        done: The decisions in force by view, in their order.
        todo: The pairs that the reviewer has not judged, by candidate; None until they are asked for.
        views: All views that can be shown to the reviewer, by id; None until they are asked for.
        postponed: Pairs that are shown after all others, by candidate.
    """

    done: dict[str, Decision] = field(default_factory=dict)
    todo: dict[str, ReviewItem] | None = None
    views: dict[str, PairView] | None = None
    postponed: dict[str, ReviewItem] = field(default_factory=dict)


class Worklists:
    """The worklists of all reviewers, and their votes on the images as they are aligned now.

    Args:
        items: The pairs by candidate, in the order in which they are shown.
        votes_needed: Number of votes that each pair needs.
        decisions: The decisions in force.
    """

    def __init__(self, items: Mapping[str, ReviewItem], votes_needed: int, decisions: Iterable[Decision]) -> None:
        self._items, self._votes_needed = items, votes_needed
        self._lists: dict[str, Worklist] = {}
        self._votes: dict[str, dict[str, str]] = {}  # decision by candidate and reviewer
        for decision in decisions:
            self.add_decision(decision)

    def of(self, reviewer: str) -> Worklist:
        """Return the worklist of a reviewer."""
        return self._lists.setdefault(reviewer, Worklist())

    def add_decision(self, decision: Decision) -> None:
        """Add a decision that is in force."""
        item = self._items.get(decision.candidate)
        if item is None:
            return
        self.of(decision.reviewer).done[view_id_of(decision)] = decision
        if not decision.known_answer and decision.image == item.gt:
            self._votes.setdefault(decision.candidate, {})[decision.reviewer] = decision.decision

    def remove_decision(self, decision: Decision) -> None:
        """Remove a decision that was undone, and put its pair back on the lists of all who have not judged it."""
        del self.of(decision.reviewer).done[view_id_of(decision)]
        if decision.known_answer:
            return
        candidate = decision.candidate
        self._votes.get(candidate, {}).pop(decision.reviewer, None)
        item = self._items.get(candidate)
        if item is None or item.queue == GALLERY:
            return
        for worklist in self._lists.values():
            has_judged = any(d.candidate == candidate and not d.known_answer for d in worklist.done.values())
            if worklist.todo is not None and not has_judged:
                worklist.todo[candidate] = item

    def needs_votes(self, candidate: str) -> bool:
        """Return whether a pair needs one more vote: it has fewer than needed, or as many for it as against it.

        Reviewers who are unsure do not count.
        """
        votes = Counter(self._votes.get(candidate, {}).values())
        decided = votes["keep"] + votes["reject"]
        return decided < self._votes_needed or (decided > 0 and votes["keep"] == votes["reject"])

    def next_item(self, reviewer: str, leased: Container[str]) -> ReviewItem | None:
        """Return the next pair for a reviewer that nobody has, and forget pairs that need no more votes."""
        worklist = self.of(reviewer)
        if worklist.todo is None:
            judged = {decision.candidate for decision in worklist.done.values() if not decision.known_answer}
            worklist.todo = {
                item.candidate: item
                for item in self._items.values()
                if item.queue != GALLERY and item.candidate not in judged
            }
        return self._first(worklist.todo, leased, worklist.postponed) or self._first(worklist.postponed, leased, ())

    def _first(
        self, pairs: dict[str, ReviewItem], leased: Container[str], postponed: Container[str]
    ) -> ReviewItem | None:
        finished, first = [], None
        for candidate, item in pairs.items():
            if not self.needs_votes(candidate):
                finished.append(candidate)
            elif candidate not in leased and candidate not in postponed:
                first = item
                break
        for candidate in finished:
            del pairs[candidate]
        return first

    def postpone(self, reviewer: str, item: ReviewItem) -> None:
        """Put a pair behind all others of this reviewer."""
        worklist = self.of(reviewer)
        if item.candidate in (worklist.todo or {}):
            worklist.postponed.pop(item.candidate, None)
            worklist.postponed[item.candidate] = item

    def remove_pair(self, candidate: str, reviewer: str) -> None:
        """Remove a judged pair from this reviewer's list, and from all others if it needs no more votes."""
        needs_votes = self.needs_votes(candidate)
        for name, worklist in self._lists.items():
            if name == reviewer or not needs_votes:
                worklist.postponed.pop(candidate, None)
                if worklist.todo is not None:
                    worklist.todo.pop(candidate, None)

    def is_waiting(self, reviewer: str, candidate: str) -> bool:
        """Return whether a pair waits for this reviewer, who must not see the gate's decision before."""
        item = self._items.get(candidate)
        is_queued = item is not None and item.queue != GALLERY and self.needs_votes(candidate)
        return is_queued and reviewer not in self._votes.get(candidate, {})


def view_id_of(decision: Decision) -> str:
    """Return the id of the view that was judged."""
    return view_id(decision.candidate, decision.image, decision.reviewer, decision.known_answer)
