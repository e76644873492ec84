"""Hands comparisons of a study out to reviewers, and stores what they choose.

A comparison shows restorations of one photograph side by side. Reviewers do not see which restorer made them: order and
sides are drawn by a hash. Each comparison is made as often as the plan says, and those made least often come first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from ggt_tools.records import Aligned, Choice, Entry, Photo, Study, work_id
from ggt_tools.review.leases import Leases
from ggt_tools.review.submissions import InvalidSubmission, SubmittedChoice, check_seconds, make_facts
from ggt_tools.workspace.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Restorations of one photograph that are to be compared.

    Attributes:
        name: The same for the same candidates in every study.
        key: Key of the photograph.
        candidates: Ids of the candidates, sorted.
    """

    name: str
    key: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView:
    """A comparison as it is shown to one reviewer.

    Attributes:
        id: Made of the comparison and the reviewer, so that it is found again after a restart.
        comparison: The comparison.
        photo: The photograph.
        candidates: Ids of the candidates, from left to right.
        images: Names of their aligned images.
    """

    id: str
    comparison: Comparison
    photo: Photo
    candidates: tuple[str, ...]
    images: tuple[str, ...]


class ComparisonDesk:
    """The comparisons of the newest study of a workspace, and which page has which of them.

    Args:
        ledger: The ledger of the workspace.
        clock: Returns the time that choices carry, ISO 8601 in UTC.
        monotonic: Returns a time in seconds that only grows, for leases.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], str], monotonic: Callable[[], float]) -> None:
        self._ledger, self._clock = ledger, clock
        self._leases: Leases[ComparisonView] = Leases(monotonic)  # by comparison
        self.load()

    def load(self) -> None:
        """Read the newest study and its choices."""
        from ggt_tools.stages.study.plan import parse_plan

        ledger = self._ledger
        studies = sorted(ledger.all(Study), key=lambda study: (study.created, study.id))
        self.study = studies[-1] if studies else None
        self._photos = {photo.key: photo for photo in ledger.all(Photo)} if studies else {}
        self._images: dict[str, str] = {}  # name of the aligned image by candidate
        self._comparisons: dict[str, Comparison] = {}  # by name
        self._done: dict[str, dict[str, Choice]] = {}  # by reviewer and view, those in force, in order
        self._counts: Counter[str] = Counter()  # choices in force by comparison
        self._stored: dict[str, Choice] = {}  # all choices by id
        self._todo: dict[str, dict[str, Comparison]] = {}  # by reviewer and name
        self._reviewers, self.best_of = 1, 2
        if self.study is None:
            return
        plan = parse_plan(ledger.workspace / "the study's plan", self.study.text)
        self._reviewers, self.best_of = plan.reviewers, plan.best_of
        self._load_comparisons(self.study.id)
        self._load_choices()

    def _load_comparisons(self, study: str) -> None:
        images = {aligned.candidate: aligned.image for aligned in self._ledger.all(Aligned) if aligned.image}
        by_key: dict[str, list[str]] = {}
        for entry in self._ledger.all(Entry):
            if entry.study == study and entry.candidate in images:
                by_key.setdefault(entry.key, []).append(entry.candidate)
                self._images[entry.candidate] = images[entry.candidate]
        for key, candidates in by_key.items():
            for group in compared_groups(key, candidates, self.best_of):
                if len({self._images[candidate] for candidate in group}) < len(group):
                    continue  # two of them are the same picture, so there is nothing to choose
                name = comparison_name(key, group)
                self._comparisons[name] = Comparison(name=name, key=key, candidates=tuple(sorted(group)))

    def _load_choices(self) -> None:
        choices = list(self._ledger.in_order(Choice))
        self._stored = {choice.id: choice for choice in choices}
        undone = {choice.undoes for choice in choices if choice.undoes}
        for choice in choices:
            if comparison_of(choice) in self._comparisons and not choice.undoes and choice.id not in undone:
                self._add_in_force(choice)

    def hand_out(self, reviewer: str, page: str, count: int) -> list[ComparisonView]:
        """Return the views that a page has, and more of them until there are `count`."""
        views = self._leases.renew(reviewer, page)
        while len(views) < count and (comparison := self._next(reviewer)) is not None:
            views.append(self._leases.add(comparison.name, self._view(comparison, reviewer), reviewer, page))
        return views

    def restore_leases(self, reviewer: str, page: str, view_ids: Iterable[str]) -> None:
        """Lease to a page the views that it says it has, because a restart forgets leases.

        Views that another page has, or that need no more choices, are not leased.
        """
        for id in view_ids:
            view = self.find_view(reviewer, id)
            if view is None or view.comparison.name in self._leases:
                continue
            if view.comparison.name in self._waiting(reviewer):
                self._leases.add(view.comparison.name, view, reviewer, page)

    def _next(self, reviewer: str) -> Comparison | None:
        """Return the first of the comparisons that were made least often."""
        free = (comparison for comparison in self._waiting(reviewer).values() if comparison.name not in self._leases)
        return min(free, key=lambda comparison: self._counts[comparison.name], default=None)

    def _waiting(self, reviewer: str) -> dict[str, Comparison]:
        """Return the comparisons that wait for this reviewer, in this reviewer's order."""
        if reviewer not in self._todo:
            made = {comparison_of(choice) for choice in self._done.get(reviewer, {}).values()}
            names = sorted(
                (name for name in self._comparisons if name not in made), key=lambda name: work_id(reviewer, name)
            )
            self._todo[reviewer] = {name: self._comparisons[name] for name in names}
        todo = self._todo[reviewer]
        for name in [name for name in todo if self._counts[name] >= self._reviewers]:
            del todo[name]
        return todo

    def _view(self, comparison: Comparison, reviewer: str) -> ComparisonView:
        candidates = tuple(
            sorted(comparison.candidates, key=lambda candidate: work_id("side", reviewer, comparison.name, candidate))
        )
        return ComparisonView(
            id=_view_id(comparison.name, reviewer),
            comparison=comparison,
            photo=self._photos[comparison.key],
            candidates=candidates,
            images=tuple(self._images[candidate] for candidate in candidates),
        )

    def find_view(self, reviewer: str, view_id: str) -> ComparisonView | None:
        """Return the view of an id, also one that was handed out before a restart; None if there is none."""
        for view in self._leases.views_of(reviewer):
            if view.id == view_id:
                return view
        for comparison in self._comparisons.values():
            if _view_id(comparison.name, reviewer) == view_id:
                return self._view(comparison, reviewer)
        return None

    def store(self, reviewer: str, submitted: Sequence[SubmittedChoice]) -> list[bool]:
        """Store choices, all of them in one transaction.

        Returns:
            Whether each choice is new. It is not if it was stored before, or if its comparison has been made.

        Raises:
            InvalidSubmission: One of them cannot be stored, and so none was.
        """
        facts, is_new = make_facts(
            submitted,
            self._stored,
            is_same=lambda fact, choice: (_view_id_of(fact), place_of_best(fact)) == (choice.view, choice.best),
            make=lambda choice: self._choice(reviewer, choice),
        )
        self._ledger.add(*facts)
        for fact in facts:
            self._stored[fact.id] = fact
            self._add_in_force(fact)
            self._leases.drop(comparison_of(fact), reviewer)
        return is_new

    def choice_instead_of(self, reviewer: str, submitted: SubmittedChoice) -> Choice | None:
        """Return the choice that is in force in place of a submitted one; None if that one is stored itself."""
        return None if submitted.id in self._stored else self._done.get(reviewer, {}).get(submitted.view)

    def _choice(self, reviewer: str, submitted: SubmittedChoice) -> Choice | None:
        """Return the fact of a submitted choice; None if another page of this reviewer has made the comparison."""
        view = self.find_view(reviewer, submitted.view)
        if view is None or self.study is None:
            raise InvalidSubmission("This comparison is not shown to this reviewer.")
        if not -1 <= submitted.best < len(view.candidates):
            raise InvalidSubmission("best has to be the place of a restoration that is shown, or -1.")
        check_seconds(submitted.seconds)
        if view.id in self._done.get(reviewer, {}):
            return None
        return Choice(
            id=submitted.id,
            study=self.study.id,
            key=view.comparison.key,
            shown=view.candidates,
            best=view.candidates[submitted.best] if submitted.best >= 0 else "",
            reviewer=reviewer,
            seconds=round(submitted.seconds, 3),
            undoes="",
            created=self._clock(),
        )

    def undo(self, reviewer: str, id: str, page: str) -> ComparisonView | None:
        """Undo the reviewer's last choice in force, and hand its comparison out again.

        Args:
            reviewer: Who undoes it.
            id: Id of the record that undoes it. If it is sent twice, one choice is undone.
            page: The page that gets the comparison.

        Returns:
            The view of the comparison; None if there is no choice to undo.
        """
        if id in self._stored:
            return self.find_view(reviewer, _view_id_of(self._stored[id]))
        done = self._done.get(reviewer, {})
        if not done:
            return None
        view_id, last = next(reversed(done.items()))
        fact = Choice(
            id=id,
            study=last.study,
            key=last.key,
            shown=last.shown,
            best="",
            reviewer=reviewer,
            seconds=0.0,
            undoes=last.id,
            created=self._clock(),
        )
        self._ledger.add(fact)
        self._stored[id] = fact
        del done[view_id]
        name = comparison_of(last)
        self._counts[name] -= 1
        for other, todo in self._todo.items():  # the comparison may have been removed from their lists
            if name in self._comparisons and _view_id(name, other) not in self._done.get(other, {}):
                todo[name] = self._comparisons[name]
        view = self.find_view(reviewer, view_id)
        if view is not None and name not in self._leases:
            self._leases.add(name, view, reviewer, page)
        return view

    def _add_in_force(self, choice: Choice) -> None:
        """Count a choice that is in force."""
        name = comparison_of(choice)
        self._done.setdefault(choice.reviewer, {})[_view_id_of(choice)] = choice
        self._counts[name] += 1
        self._todo.get(choice.reviewer, {}).pop(name, None)

    def release_page(self, page: str) -> None:
        """Hand the comparisons of a page that was closed out to others."""
        self._leases.drop_page(page)

    def progress(self, reviewer: str) -> dict[str, int]:
        """Return how many comparisons this reviewer has made, and how many wait."""
        return {"judged": len(self._done.get(reviewer, {})), "waiting": len(self._waiting(reviewer))}


def comparison_name(key: str, candidates: Iterable[str]) -> str:
    """Return a name that is the same in every study, so that a changed plan does not ask again what was answered."""
    return work_id("comparison", key, *sorted(candidates))


def comparison_of(choice: Choice) -> str:
    """Return the name of the comparison in which a choice was made."""
    return comparison_name(choice.key, choice.shown)


def place_of_best(choice: Choice) -> int:
    """Return the place of the best restoration as it was shown, from 0; -1 for no difference."""
    return choice.shown.index(choice.best) if choice.best else -1


def _view_id(comparison: str, reviewer: str) -> str:
    return work_id("choice", comparison, reviewer)


def _view_id_of(choice: Choice) -> str:
    return _view_id(comparison_of(choice), choice.reviewer)


def compared_groups(key: str, candidates: Sequence[str], best_of: int) -> list[tuple[str, ...]]:
    """Return the groups of candidates of one photograph that are compared.

    Args:
        key: Key of the photograph.
        candidates: Its candidates.
        best_of: Size of a group. Every two candidates meet in a group, in as few groups as a greedy choice finds.
    """
    size = min(best_of, len(candidates))
    if size < 2:
        return []
    pairs: list[tuple[str, ...]] = list(combinations(sorted(candidates), 2))
    if size == 2:
        return pairs
    met: Counter[tuple[str, ...]] = Counter()
    groups = []
    for pair in sorted(pairs, key=lambda pair: work_id("group", key, *pair)):
        if met[pair]:
            continue
        group = list(pair)
        while len(group) < size:  # add the candidate that has met the fewest of the group
            others = [candidate for candidate in candidates if candidate not in group]
            meetings = {other: sum(met[_sorted_pair(other, member)] for member in group) for other in others}
            group.append(min(others, key=lambda other: (meetings[other], work_id("group", key, other))))
        groups.append(tuple(sorted(group)))
        met.update(combinations(groups[-1], 2))
    return groups


def _sorted_pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)
