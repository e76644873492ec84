"""What is shown of a study: restorations of one photograph side by side, blind, order and sides drawn by hash.

Every comparison is wanted once, or as often as the plan says, by so many people; those that were made least come first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

from ggt_tools.records import Aligned, Choice, Entry, Photo, Study, work_id
from ggt_tools.review.leases import Leases
from ggt_tools.workspace.ledger import Ledger

MOST_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Restorations of one photograph that are to be compared, in no order."""

    name: str
    key: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceLook:
    """A comparison as it is shown to one reviewer."""

    id: str  # of the comparison and the reviewer: found again after a restart
    comparison: Comparison
    photo: Photo
    shown: tuple[str, ...]  # candidates, from left to right
    images: tuple[str, ...]  # the SHA-256 of each one's file, as it is aligned


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A choice as a page sends it."""

    id: str
    look: str
    best: int  # the place, from 0; -1: none is better
    seconds: float


class Choosing:
    """The newest study of a workspace, and who has which comparison."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], str], now: Callable[[], float]) -> None:
        self._ledger, self._clock = ledger, clock
        self._leases: Leases[ChoiceLook] = Leases(now)
        self.load()

    def load(self) -> None:
        from ggt_tools.stages.study.plan import parse_plan

        ledger = self._ledger
        studies = sorted(ledger.all(Study), key=lambda study: (study.created, study.id))
        self.study = studies[-1] if studies else None
        self._all: dict[str, Comparison] = {}
        self._photos = {photo.key: photo for photo in ledger.all(Photo)} if studies else {}
        self._images: dict[str, str] = {}
        self._done: dict[str, dict[str, Choice]] = {}  # by reviewer and look, those that stand, in order
        self._times: Counter[str] = Counter()  # choices that stand, by comparison
        self._taken: dict[str, Choice] = {}  # all choices, by id
        self._todo: dict[str, dict[str, Comparison]] = {}  # by reviewer
        self.wanted, self.best_of = 1, 2
        if self.study is None:
            return
        plan = parse_plan(ledger.workspace / "the study's plan", self.study.text)
        self.wanted, self.best_of = plan.reviewers, plan.best_of
        images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        by_key: dict[str, list[str]] = {}
        for entry in ledger.all(Entry):
            if entry.study == self.study.id and entry.candidate in images:
                by_key.setdefault(entry.key, []).append(entry.candidate)
                self._images[entry.candidate] = images[entry.candidate]
        for key, candidates in by_key.items():
            for some in groups(key, candidates, plan.best_of):
                if len({self._images[one] for one in some}) == len(some):  # two that are one picture ask nothing
                    name = comparison_name(key, some)
                    self._all[name] = Comparison(name=name, key=key, candidates=tuple(sorted(some)))
        order = {row["id"]: row["rowid"] for row in ledger.query("SELECT rowid, id FROM choice")}
        choices = sorted(ledger.all(Choice), key=lambda one: order[one.id])
        self._taken = {choice.id: choice for choice in choices}
        undone = {choice.undoes for choice in choices if choice.undoes}
        for choice in choices:
            if choice_name(choice) in self._all and not choice.undoes and choice.id not in undone:
                self._stand(choice)

    def looks(self, reviewer: str, page: str, want: int) -> list[ChoiceLook]:
        """What the page has at hand, topped up to `want` comparisons."""
        found = self._leases.held(reviewer, page)
        while len(found) < want and (one := self._next(reviewer)) is not None:
            found.append(self._leases.take(one.name, self._look(one, reviewer), reviewer, page))
        return found

    def hold(self, reviewer: str, page: str, ids: Iterable[str]) -> None:
        """Leases again what the page has at hand: we forget it at a restart. Not what others have or nobody wants."""
        for id in ids:
            shown = self.shown(reviewer, id)
            if shown is None or shown.comparison.name in self._leases:
                continue
            if shown.comparison.name in self._waiting(reviewer):
                self._leases.take(shown.comparison.name, shown, reviewer, page)

    def _next(self, reviewer: str) -> Comparison | None:
        waiting = (one for one in self._waiting(reviewer).values() if one.name not in self._leases)
        return min(waiting, key=lambda one: self._times[one.name], default=None)  # the first of those made least

    def _waiting(self, reviewer: str) -> dict[str, Comparison]:
        """Comparisons that this reviewer has not made, and that are still wanted, in this reviewer's order."""
        if reviewer not in self._todo:
            made = {choice_name(choice) for choice in self._done.get(reviewer, {}).values()}
            names = sorted((name for name in self._all if name not in made), key=lambda one: work_id(reviewer, one))
            self._todo[reviewer] = {name: self._all[name] for name in names}
        todo = self._todo[reviewer]
        for name in [name for name in todo if self._times[name] >= self.wanted]:
            del todo[name]
        return todo

    def _look(self, one: Comparison, reviewer: str) -> ChoiceLook:
        shown = tuple(sorted(one.candidates, key=lambda candidate: work_id("side", reviewer, one.name, candidate)))
        return ChoiceLook(
            id=work_id("choice", one.name, reviewer),
            comparison=one,
            photo=self._photos[one.key],
            shown=shown,
            images=tuple(self._images[candidate] for candidate in shown),
        )

    def shown(self, reviewer: str, look_id: str) -> ChoiceLook | None:
        """The look of that id, also one that was handed out before a restart."""
        for held in self._leases.of(reviewer):
            if held.id == look_id:
                return held
        found = (one for one in self._all.values() if work_id("choice", one.name, reviewer) == look_id)
        one = next(found, None)
        return self._look(one, reviewer) if one else None

    def decide(self, reviewer: str, made: list[Chosen]) -> list[bool]:
        """Takes choices in, all in one transaction, and says of each whether it is new. ValueError: what cannot be."""
        said = []
        facts: dict[str, Choice] = {}  # by look
        ids: dict[str, Choice] = {}
        for one in made:
            known = self._taken.get(one.id) or ids.get(one.id)
            if known and (_look_of(known), place(known)) != (one.look, one.best):
                raise ValueError("the choice's id is another choice's")
            fact = None if known or one.look in facts else self._fact(reviewer, one)
            said.append(fact is not None)
            if fact is not None:
                facts[one.look] = ids[fact.id] = fact
        self._ledger.add(*facts.values())
        for fact in facts.values():
            self._taken[fact.id] = fact
            self._stand(fact)
            self._leases.drop(choice_name(fact), reviewer)
        return said

    def instead(self, reviewer: str, made: Chosen) -> Choice | None:
        """What stands in place of a choice that was sent; None where that itself is in the ledger."""
        return None if made.id in self._taken else self._done.get(reviewer, {}).get(made.look)

    def _fact(self, reviewer: str, made: Chosen) -> Choice | None:
        shown = self.shown(reviewer, made.look)
        if shown is None or self.study is None:
            raise ValueError("no such comparison is shown to this reviewer")
        if not -1 <= made.best < len(shown.shown):
            raise ValueError("the best is the place of one that is shown, or -1")
        if not (math.isfinite(made.seconds) and 0 <= made.seconds <= MOST_SECONDS):
            raise ValueError("the seconds of a look are 0 to a day's")
        if shown.id in self._done.get(reviewer, {}):
            return None
        return Choice(
            id=made.id,
            study=self.study.id,
            key=shown.comparison.key,
            shown=shown.shown,
            best=shown.shown[made.best] if made.best >= 0 else "",
            reviewer=reviewer,
            seconds=round(made.seconds, 3),
            undoes="",
            created=self._clock(),
        )

    def undo(self, reviewer: str, id: str, page: str) -> ChoiceLook | None:
        """Takes back the reviewer's last choice that stands, and hands it out again; None where there is none."""
        if id in self._taken:
            return self.shown(reviewer, _look_of(self._taken[id]))
        done = self._done.get(reviewer, {})
        if not done:
            return None
        look_id, last = next(reversed(done.items()))
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
        self._taken[id] = fact
        del done[look_id]
        name = choice_name(last)
        self._times[name] -= 1
        for who, todo in self._todo.items():  # whom it was closed for
            if name in self._all and work_id("choice", name, who) not in self._done.get(who, {}):
                todo[name] = self._all[name]
        shown = self.shown(reviewer, look_id)
        if shown is not None and name not in self._leases:
            self._leases.take(name, shown, reviewer, page)
        return shown

    def _stand(self, choice: Choice) -> None:
        name = choice_name(choice)
        self._done.setdefault(choice.reviewer, {})[_look_of(choice)] = choice
        self._times[name] += 1
        self._todo.get(choice.reviewer, {}).pop(name, None)

    def release(self, page: str) -> None:
        self._leases.drop_page(page)

    def left(self, reviewer: str) -> dict[str, int]:
        return {"judged": len(self._done.get(reviewer, {})), "waiting": len(self._waiting(reviewer))}


def comparison_name(key: str, candidates: Iterable[str]) -> str:
    """The same in every study: a plan that was changed asks nothing anew that was answered."""
    return work_id("comparison", key, *sorted(candidates))


def choice_name(choice: Choice) -> str:
    """The comparison's that it was a choice in."""
    return comparison_name(choice.key, choice.shown)


def place(choice: Choice) -> int:
    """Of the best, from 0, as it was shown; -1: none is better."""
    return choice.shown.index(choice.best) if choice.best else -1


def _look_of(choice: Choice) -> str:
    return work_id("choice", choice_name(choice), choice.reviewer)


def groups(key: str, candidates: list[str], best_of: int) -> list[tuple[str, ...]]:
    """What is compared of one photograph: every two, or groups of `best_of`, as few as let every two meet in one."""
    size = min(best_of, len(candidates))
    if size < 2:
        return []
    pairs: list[tuple[str, ...]] = list(combinations(sorted(candidates), 2))
    if size == 2:
        return pairs
    met: Counter[tuple[str, ...]] = Counter()
    found = []
    for pair in sorted(pairs, key=lambda pair: work_id("group", key, *pair)):
        if met[pair]:
            continue
        some = list(pair)
        while len(some) < size:  # who has met the fewest of them
            others = [one for one in candidates if one not in some]
            some.append(
                min(others, key=lambda one: (sum(met[_pair(one, other)] for other in some), work_id("group", key, one)))
            )
        found.append(tuple(sorted(some)))
        met.update(combinations(found[-1], 2))
    return found


def _pair(a: str, b: str) -> tuple[str, str]:
    return (a, b) if a < b else (b, a)
