"""The desk: hands pairs out, one to nobody else while somebody has it, and takes decisions in.

It lives in one thread, and so needs no locks. What is handed out it only remembers: after a restart it is handed out
anew. What is decided is in the ledger before the page hears of it, and what the page sends twice is taken in once.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ggt_tools.policy.gate import parse_gate
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate
from ggt_tools.policy.votes import DECISIONS, UNDONE, in_order, standing
from ggt_tools.records import Aligned, Candidate, Decision, Photo, Verdict, work_id
from ggt_tools.review import choosing
from ggt_tools.review.leases import Leases
from ggt_tools.review.queue import GALLERY, Item, Look, items, look, look_id, plant
from ggt_tools.workspace.ledger import Ledger

MOST_SECONDS = 86_400.0  # of a look
AGAIN = 30.0  # seconds, at least, between two readings of the whole ledger
ID = re.compile(r"[0-9a-f]{16,64}")
SAVED, THERE = "saved", "already done"  # a decision that was taken in now, or before


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskConfig:
    """What is shown, and to how many."""

    audit: float = 0.02  # of the kept and of the rejected
    reviewers: int = 1  # a pair
    known: float = 0.04  # of all pairs shown, those with a known answer
    degradation: str = ""  # only this class


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A decision as a page sends it."""

    id: str
    look: str
    decision: str
    reason: str
    seconds: float


class Refused(ValueError):
    """What a page sent cannot be taken in; the text says why."""


@dataclass(slots=True)
class _Reviewer:
    """What the desk knows of one."""

    done: dict[str, Decision] = field(default_factory=dict)  # by look, those that stand, in order
    todo: dict[str, Item] | None = None  # by candidate, not judged by this one; None until it is asked for
    looks: dict[str, Look] | None = None  # all that can be shown to this one, by id
    passed: dict[str, Item] = field(default_factory=dict)  # "later": shown after all others


class Desk:
    """All pairs of a workspace, and who has which."""

    def __init__(
        self, ledger: Ledger, config: DeskConfig, *, clock: Callable[[], str], now: Callable[[], float]
    ) -> None:
        self.ledger, self.config = ledger, config
        self._clock, self._now = clock, now
        self._leases: Leases[Look] = Leases(now)  # by candidate
        self.study = choosing.Choosing(ledger, clock=clock, now=now)
        self._load()

    def _load(self) -> None:
        ledger = self.ledger
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        verdicts = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
        listed = items(ledger.all(Candidate), photos, ledger.all(Aligned), verdicts, audit=self.config.audit)
        self.images = {item.lq for item in listed} | {item.gt for item in listed}
        if self.config.degradation:
            listed = [item for item in listed if item.degradation == self.config.degradation]
        self.items = {item.candidate: item for item in listed}
        decisions = in_order(ledger)
        self._taken = {decision.id: decision for decision in decisions}
        self._reviewers: dict[str, _Reviewer] = {}
        self._votes: dict[str, dict[str, str]] = {}  # decision by candidate and reviewer, of the images as they are
        for decision in standing(decisions):
            self._stand(decision)
        self.reasons = self._reasons(verdicts.values())
        self._version, self._loaded = self._data_version(), self._now()

    def _data_version(self) -> int:
        """Changes when another process writes to the ledger, and not when we do."""
        return int(self.ledger.query("PRAGMA data_version")[0][0])

    def refresh(self) -> None:
        """Reads the ledger anew where another process has written to it, now and then: it takes seconds."""
        if self._now() - self._loaded >= AGAIN and self._data_version() != self._version:
            self._load()
            self.study.load()

    def _reasons(self, verdicts: Iterable[Verdict]) -> tuple[str, ...]:
        """The gate's reasons, in its order: of the gate that most verdicts are of."""
        gates = Counter(verdict.gate for verdict in verdicts)
        if gates:
            name = gates.most_common(1)[0][0]
            rows = self.ledger.query("SELECT text FROM gates WHERE id = ?", name)
            if rows:
                gate = parse_gate(self.ledger.workspace / f"gate {name} of ledger.sqlite", rows[0]["text"])
                return gate.reasons
        return load_gate(DEFAULT_GATE).reasons

    # --- handing out --------------------------------------------------------------------------------------------------

    def looks(self, reviewer: str, page: str, want: int) -> list[Look]:
        """What the page has at hand, topped up to `want` pairs."""
        self.refresh()
        held = self._leases.held(reviewer, page)
        found = [shown for shown in held if shown.item.queue != GALLERY or shown.planted]
        while len(found) < want and (item := self._next(reviewer)) is not None:
            planted = self._planted(reviewer)
            if planted is not None:
                found.append(self._lease(planted, reviewer, page))
            if len(found) < want:
                found.append(self._lease(look(item, reviewer), reviewer, page))
        return found

    def hold(self, reviewer: str, page: str, ids: Iterable[str]) -> None:
        """Leases again what the page has at hand: we forget it at a restart. Not what others have or nobody wants."""
        for id in ids:
            shown = self.shown(reviewer, id)
            if shown is None or shown.id in self._of(reviewer).done or shown.item.candidate in self._leases:
                continue
            if shown.planted or self._wanted(shown.item.candidate):
                self._lease(shown, reviewer, page)

    def one(self, reviewer: str, page: str, candidate: str) -> tuple[Look | None, str]:
        """The pair of a candidate, and what this reviewer decided of it, "" where nothing."""
        self.refresh()
        self._leases.held(reviewer, page)  # a sign of life
        item = self.items.get(candidate)
        if item is None:
            return None, ""
        shown = look(item, reviewer)
        done = self._of(reviewer).done.get(shown.id)
        if done is None and candidate not in self._leases:
            self._lease(shown, reviewer, page)
        return shown, done.decision if done else ""

    def _next(self, reviewer: str) -> Item | None:
        one = self._of(reviewer)
        if one.todo is None:
            judged = {decision.candidate for decision in one.done.values() if not decision.planted}
            one.todo = {
                item.candidate: item
                for item in self.items.values()
                if item.queue != GALLERY and item.candidate not in judged
            }
        for todo in (one.todo, one.passed):
            closed = []
            chosen = None
            for candidate, item in todo.items():
                if not self._wanted(candidate):
                    closed.append(candidate)
                elif candidate not in self._leases and candidate not in (one.passed if todo is one.todo else ()):
                    chosen = item
                    break
            for candidate in closed:
                del todo[candidate]
            if chosen is not None:
                return chosen
        return None

    def _wanted(self, candidate: str) -> bool:
        """Whether a pair wants one more opinion: fewer than asked for, or as many for it as against it.

        Who is unsure does not count. Where one reviewer is asked for, one more is asked by nobody.
        """
        said = Counter(self._votes.get(candidate, {}).values())
        decided = said["keep"] + said["reject"]
        return decided < self.config.reviewers or (decided > 0 and said["keep"] == said["reject"])

    def _planted(self, reviewer: str) -> Look | None:
        """A pair with a known answer where one is due: one among so many, at a place that is drawn."""
        if not self.config.known:
            return None
        every = max(2, round(1 / self.config.known))
        one = self._of(reviewer)
        block, place = divmod(len(one.done) + len(self._leases.of(reviewer)), every)
        if place != int(work_id("place", reviewer, block), 16) % every:
            return None
        made = plant(list(self.items.values()), reviewer, block)
        if made is None or made.id in one.done or made.item.candidate in self._leases:
            return None
        return made

    def _lease(self, shown: Look, reviewer: str, page: str) -> Look:
        looks = self._of(reviewer).looks
        if looks is not None:
            looks[shown.id] = shown
        return self._leases.take(shown.item.candidate, shown, reviewer, page)

    def release(self, page: str) -> None:
        """The page is gone: its pairs go to others."""
        self._leases.drop_page(page)
        self.study.release(page)

    def later(self, reviewer: str, look_id: str, page: str) -> None:
        """Puts a pair behind all others of this reviewer."""
        shown = self.shown(reviewer, look_id)
        if shown is None:
            return
        candidate = shown.item.candidate
        self._leases.drop(candidate, reviewer, page)
        one = self._of(reviewer)
        if not shown.planted and candidate in (one.todo or {}):
            one.passed.pop(candidate, None)
            one.passed[candidate] = shown.item

    def shown(self, reviewer: str, look_id: str) -> Look | None:
        """The look of that id, also one that was handed out before a restart."""
        for held in self._leases.of(reviewer):
            if held.id == look_id:
                return held
        one = self._of(reviewer)
        if one.looks is None:
            one.looks = {shown.id: shown for shown in (look(item, reviewer) for item in self.items.values())}
            if self.config.known:
                every = max(2, round(1 / self.config.known))
                listed = list(self.items.values())
                for block in range(len(one.done) // every + 3):
                    made = plant(listed, reviewer, block)
                    if made is not None:
                        one.looks[made.id] = made
        return one.looks.get(look_id)

    # --- taking in ----------------------------------------------------------------------------------------------------

    def decide(self, reviewer: str, made: Sequence[Made]) -> list[str]:
        """Takes decisions in, all in one transaction, and says of each SAVED or THERE. Refused: what cannot be."""
        said = []
        facts: dict[str, Decision] = {}  # by look
        ids: dict[str, Decision] = {}
        for one in made:
            known = self._taken.get(one.id) or ids.get(one.id)
            if known and (_look_of(known), known.decision, known.reason) != (one.look, one.decision, one.reason):
                raise Refused("the decision's id is another decision's")
            fact = None if known or one.look in facts else self._fact(reviewer, one)
            said.append(SAVED if fact else THERE)
            if fact is not None:
                facts[one.look] = ids[fact.id] = fact
        self.ledger.add(*facts.values())
        for fact in facts.values():
            self._taken[fact.id] = fact
            self._stand(fact)
            self._leases.drop(fact.candidate, reviewer)
            if not fact.planted:
                self._close(fact.candidate, reviewer)
        return said

    def instead(self, reviewer: str, made: Made) -> Decision | None:
        """What stands in place of a decision that was sent; None where that itself is in the ledger."""
        return None if made.id in self._taken else self._of(reviewer).done.get(made.look)

    def _close(self, candidate: str, reviewer: str) -> None:
        """Takes a pair from this reviewer's list, and from the others' where nobody is to judge it any more."""
        wanted = self._wanted(candidate)
        for name, one in self._reviewers.items():
            if name == reviewer or not wanted:
                one.passed.pop(candidate, None)
                if one.todo is not None:
                    one.todo.pop(candidate, None)

    def _fact(self, reviewer: str, made: Made) -> Decision | None:
        """None where this look has a decision that stands: a second page of the same person's."""
        if not ID.fullmatch(made.id):
            raise Refused("the decision's id is 16 to 64 hex characters")
        if made.decision not in DECISIONS:
            raise Refused(f"a decision is one of {', '.join(DECISIONS)}")
        if (made.decision == "reject") != bool(made.reason):
            raise Refused("a reason belongs to what is rejected, and to nothing else")
        if made.reason and made.reason not in self.reasons:
            raise Refused("the reason is none of the gate's")
        if not (math.isfinite(made.seconds) and 0 <= made.seconds <= MOST_SECONDS):
            raise Refused("the seconds of a look are 0 to a day's")
        shown = self.shown(reviewer, made.look)
        if shown is None:
            raise Refused("no such pair is shown to this reviewer; it may have been aligned anew")
        if shown.id in self._of(reviewer).done:
            return None
        return Decision(
            id=made.id,
            candidate=shown.item.candidate,
            image=shown.gt,
            reviewer=reviewer,
            decision=made.decision,
            reason=made.reason,
            seconds=round(made.seconds, 3),
            queue=shown.item.queue,
            said=shown.item.said,
            planted=shown.planted,
            undoes="",
            created=self._clock(),
        )

    def undo(self, reviewer: str, id: str, page: str) -> Look | None:
        """Takes back the reviewer's last decision that stands, and hands its pair out again; None where there is none.

        `id`: of the fact that says so. Sent twice, it takes one back.
        """
        if not ID.fullmatch(id):
            raise Refused("the decision's id is 16 to 64 hex characters")
        one = self._of(reviewer)
        if id in self._taken:
            return self.shown(reviewer, _look_of(self._taken[id]))
        if not one.done:
            return None
        look_id, last = next(reversed(one.done.items()))
        fact = Decision(
            id=id,
            candidate=last.candidate,
            image=last.image,
            reviewer=reviewer,
            decision=UNDONE,
            reason="",
            seconds=0.0,
            queue=last.queue,
            said=last.said,
            planted=last.planted,
            undoes=last.id,
            created=self._clock(),
        )
        self.ledger.add(fact)
        self._taken[id] = fact
        del one.done[look_id]
        if not last.planted:
            self._votes.get(last.candidate, {}).pop(reviewer, None)
        for other in self._reviewers.values():  # whom it was closed for
            if other.todo is not None and last.candidate in self.items and not last.planted:
                item = self.items[last.candidate]
                judged = any(d.candidate == last.candidate and not d.planted for d in other.done.values())
                if item.queue != GALLERY and not judged:
                    other.todo[last.candidate] = item
        shown = self.shown(reviewer, look_id)
        if shown is not None and shown.item.candidate not in self._leases:
            self._lease(shown, reviewer, page)
        return shown

    def _stand(self, decision: Decision) -> None:
        """Counts a decision that stands."""
        item = self.items.get(decision.candidate)
        if item is None:
            return
        shown = look(item, decision.reviewer, decision.planted, decision.image)
        self._of(decision.reviewer).done[shown.id] = decision
        if not decision.planted and decision.image == item.gt:
            self._votes.setdefault(decision.candidate, {})[decision.reviewer] = decision.decision

    def _of(self, reviewer: str) -> _Reviewer:
        return self._reviewers.setdefault(reviewer, _Reviewer())

    # --- telling ------------------------------------------------------------------------------------------------------

    def judged(self, reviewer: str, candidate: str) -> str:
        """What this reviewer decided of a candidate as it is aligned now; "" where nothing."""
        return self._votes.get(candidate, {}).get(reviewer, "")

    def waits(self, reviewer: str, candidate: str) -> bool:
        """Whether the queue holds this pair for this reviewer, who is to judge it blind."""
        item = self.items.get(candidate)
        queued = item is not None and item.queue != GALLERY and self._wanted(candidate)
        return queued and not self.judged(reviewer, candidate)

    def has(self, reviewer: str, look_id: str) -> bool:
        """Whether this reviewer has judged that look."""
        return look_id in self._of(reviewer).done

    def left(self, reviewer: str) -> dict[str, int]:
        """How far this reviewer is: pairs judged, and pairs that wait."""
        one = self._of(reviewer)
        self._next(reviewer)
        return {"judged": len(one.done), "waiting": len(one.todo or ())}


def _look_of(decision: Decision) -> str:
    """The id of the look that was decided. It holds the reviewer's name."""
    return look_id(decision.candidate, decision.image, decision.reviewer, decision.planted)
