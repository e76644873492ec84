"""The desk hands pairs out to reviewers, each pair to one page at a time, and stores what reviewers decide.

It runs in one thread, so it needs no locks. What it handed out is only in memory: after a restart, pairs are handed out
again. A decision is in the ledger before the page is answered, and a decision that a page sends twice is stored once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ggt_tools.policy.gate import parse_gate
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate
from ggt_tools.policy.votes import UNDONE, decisions_in_force, read_decisions
from ggt_tools.records import Aligned, Candidate, Decision, Photo, Verdict
from ggt_tools.review.comparisons import ComparisonDesk
from ggt_tools.review.leases import Leases
from ggt_tools.review.queue import GALLERY, KnownAnswers, PairView, list_items, make_view
from ggt_tools.review.submissions import InvalidSubmission, SubmittedDecision, check_decision, check_id, make_facts
from ggt_tools.review.worklists import Worklists, view_id_of
from ggt_tools.workspace.ledger import Ledger

SECONDS_BETWEEN_READS = 30.0  # at least, of the whole ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskConfig:
    """What is shown, and to how many reviewers.

    Attributes:
        audit: Share of the kept and of the rejected candidates that is shown as well.
        reviewers: Number of people who judge each pair.
        known: Share of the pairs shown that have a known answer.
        degradation: Show only this class; "" for all.
    """

    audit: float = 0.02
    reviewers: int = 1
    known: float = 0.04
    degradation: str = ""


class Desk:
    """The pairs of a workspace, and which page has which of them.

    Args:
        ledger: The ledger of the workspace. The desk's thread alone writes to it.
        config: What is shown.
        clock: Returns the time that decisions carry, ISO 8601 in UTC.
        monotonic: Returns a time in seconds that only grows, for leases.
    """

    def __init__(
        self, ledger: Ledger, config: DeskConfig, *, clock: Callable[[], str], monotonic: Callable[[], float]
    ) -> None:
        self.ledger, self.config = ledger, config
        self._clock, self._monotonic = clock, monotonic
        self._leases: Leases[PairView] = Leases(monotonic)  # by candidate
        self._known_answers = KnownAnswers(config.known)
        self.study = ComparisonDesk(ledger, clock=clock, monotonic=monotonic)
        self.stored_count = 0  # decisions and undone decisions that were stored since the start
        self._load()

    def _load(self) -> None:
        ledger = self.ledger
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        verdicts = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
        items = list_items(ledger.all(Candidate), photos, ledger.all(Aligned), verdicts, audit=self.config.audit)
        self.images = {item.lq for item in items} | {item.gt for item in items}
        if self.config.degradation:
            items = [item for item in items if item.degradation == self.config.degradation]
        self.items = {item.candidate: item for item in items}
        decisions = read_decisions(ledger)
        self._stored = {decision.id: decision for decision in decisions}
        self._worklists = Worklists(self.items, self.config.reviewers, decisions_in_force(decisions))
        self.reasons = self._gate_reasons(verdicts.values())
        self._version, self._loaded = self.ledger.data_version(), self._monotonic()

    def refresh(self) -> None:
        """Read the ledger again if another process has written to it. This takes seconds, so it is not done often."""
        if self._monotonic() - self._loaded >= SECONDS_BETWEEN_READS and self.ledger.data_version() != self._version:
            self._load()
            self.study.load()

    def _gate_reasons(self, verdicts: Iterable[Verdict]) -> tuple[str, ...]:
        """Return the reason codes of the gate that most verdicts are of, in its order."""
        gates = Counter(verdict.gate for verdict in verdicts)
        if gates:
            name = gates.most_common(1)[0][0]
            text = self.ledger.find_gate_text(name)
            if text is not None:
                gate = parse_gate(self.ledger.workspace / f"gate {name} of ledger.sqlite", text)
                return gate.reasons
        return load_gate(DEFAULT_GATE).reasons

    # --- handing out --------------------------------------------------------------------------------------------------

    def hand_out(self, reviewer: str, page: str, count: int) -> list[PairView]:
        """Return the views that a page has, and more of them until there are `count`."""
        self.refresh()
        views = [view for view in self._leases.renew(reviewer, page) if view.item.queue != GALLERY or view.known_answer]
        while len(views) < count and (item := self._worklists.next_item(reviewer, self._leases)) is not None:
            known_answer = self._next_known_answer(reviewer)
            if known_answer is not None:
                views.append(self._lease(known_answer, reviewer, page))
            if len(views) < count:
                views.append(self._lease(make_view(item, reviewer), reviewer, page))
        return views

    def restore_leases(self, reviewer: str, page: str, view_ids: Iterable[str]) -> None:
        """Lease to a page the views that it says it has, because a restart forgets leases.

        Views that another page has, or that nobody needs to judge any more, are not leased.
        """
        for id in view_ids:
            view = self.find_view(reviewer, id)
            if view is None or view.id in self._worklists.of(reviewer).done or view.item.candidate in self._leases:
                continue
            if view.known_answer or self._worklists.needs_votes(view.item.candidate):
                self._lease(view, reviewer, page)

    def open_pair(self, reviewer: str, page: str, candidate: str) -> tuple[PairView | None, str]:
        """Return the view of one candidate, and what this reviewer decided on it; None and "" if there is none."""
        self.refresh()
        self._leases.renew(reviewer, page)
        item = self.items.get(candidate)
        if item is None:
            return None, ""
        view = make_view(item, reviewer)
        decision = self._worklists.of(reviewer).done.get(view.id)
        if decision is None and candidate not in self._leases:
            self._lease(view, reviewer, page)
        return view, decision.decision if decision else ""

    def _next_known_answer(self, reviewer: str) -> PairView | None:
        """Return a pair with a known answer if one is due."""
        done = self._worklists.of(reviewer).done
        block = self._known_answers.block_due(reviewer, len(done) + len(self._leases.views_of(reviewer)))
        if block is None:
            return None
        view = self._known_answers.view(list(self.items.values()), reviewer, block)
        if view is None or view.id in done or view.item.candidate in self._leases:
            return None
        return view

    def _lease(self, view: PairView, reviewer: str, page: str) -> PairView:
        views = self._worklists.of(reviewer).views
        if views is not None:
            views[view.id] = view
        return self._leases.add(view.item.candidate, view, reviewer, page)

    def release_page(self, page: str) -> None:
        """Hand the pairs of a page that was closed out to others."""
        self._leases.drop_page(page)
        self.study.release_page(page)

    def postpone(self, reviewer: str, view_id: str, page: str) -> None:
        """Put a pair behind all others of this reviewer."""
        view = self.find_view(reviewer, view_id)
        if view is None:
            return
        self._leases.drop(view.item.candidate, reviewer, page)
        if not view.known_answer:
            self._worklists.postpone(reviewer, view.item)

    def find_view(self, reviewer: str, view_id: str) -> PairView | None:
        """Return the view of an id, also one that was handed out before a restart; None if there is none."""
        for view in self._leases.views_of(reviewer):
            if view.id == view_id:
                return view
        worklist = self._worklists.of(reviewer)
        if worklist.views is None:
            items = list(self.items.values())
            views = [make_view(item, reviewer) for item in items]
            views += self._known_answers.views(items, reviewer, len(worklist.done))
            worklist.views = {view.id: view for view in views}
        return worklist.views.get(view_id)

    # --- storing decisions --------------------------------------------------------------------------------------------

    def store(self, reviewer: str, submitted: Sequence[SubmittedDecision]) -> list[bool]:
        """Store decisions, all of them in one transaction.

        Returns:
            Whether each decision is new. It is not if it was stored before, or if its view has been judged.

        Raises:
            InvalidSubmission: One of them cannot be stored, and so none was.
        """
        facts, is_new = make_facts(
            submitted,
            self._stored,
            is_same=lambda fact, look: (
                (view_id_of(fact), fact.decision, fact.reason) == (look.view, look.decision, look.reason)
            ),
            make=lambda look: self._decision(reviewer, look),
        )
        self.ledger.add(*facts)
        self.stored_count += len(facts)
        for fact in facts:
            self._stored[fact.id] = fact
            self._worklists.add_decision(fact)
            self._leases.drop(fact.candidate, reviewer)
            if not fact.known_answer:
                self._worklists.remove_pair(fact.candidate, reviewer)
        return is_new

    def decision_instead_of(self, reviewer: str, submitted: SubmittedDecision) -> Decision | None:
        """Return the decision that is in force in place of a submitted one; None if that one is stored itself."""
        return None if submitted.id in self._stored else self._worklists.of(reviewer).done.get(submitted.view)

    def _decision(self, reviewer: str, submitted: SubmittedDecision) -> Decision | None:
        """Return the fact of a submitted decision; None if another page of this reviewer has judged the view."""
        check_decision(submitted, self.reasons)
        view = self.find_view(reviewer, submitted.view)
        if view is None:
            raise InvalidSubmission("This pair is not shown to this reviewer. It may have been aligned again.")
        if view.id in self._worklists.of(reviewer).done:
            return None
        return Decision(
            id=submitted.id,
            candidate=view.item.candidate,
            image=view.gt,
            reviewer=reviewer,
            decision=submitted.decision,
            reason=submitted.reason,
            seconds=round(submitted.seconds, 3),
            queue=view.item.queue,
            gate_decision=view.item.gate_decision,
            known_answer=view.known_answer,
            undoes="",
            created=self._clock(),
        )

    def undo(self, reviewer: str, id: str, page: str) -> PairView | None:
        """Undo the reviewer's last decision in force, and hand its pair out again.

        Args:
            reviewer: Who undoes it.
            id: Id of the record that undoes it. If it is sent twice, one decision is undone.
            page: The page that gets the pair.

        Returns:
            The view of the pair; None if there is no decision to undo.
        """
        check_id(id)
        worklist = self._worklists.of(reviewer)
        if id in self._stored:
            return self.find_view(reviewer, view_id_of(self._stored[id]))
        if not worklist.done:
            return None
        undone_view_id, last = next(reversed(worklist.done.items()))
        fact = Decision(
            id=id,
            candidate=last.candidate,
            image=last.image,
            reviewer=reviewer,
            decision=UNDONE,
            reason="",
            seconds=0.0,
            queue=last.queue,
            gate_decision=last.gate_decision,
            known_answer=last.known_answer,
            undoes=last.id,
            created=self._clock(),
        )
        self.ledger.add(fact)
        self.stored_count += 1
        self._stored[id] = fact
        self._worklists.remove_decision(last)
        view = self.find_view(reviewer, undone_view_id)
        if view is not None and view.item.candidate not in self._leases:
            self._lease(view, reviewer, page)
        return view

    # --- what a reviewer may see --------------------------------------------------------------------------------------

    def is_waiting(self, reviewer: str, candidate: str) -> bool:
        """Return whether a pair waits for this reviewer, who must not see the gate's decision before."""
        return self._worklists.is_waiting(reviewer, candidate)

    def has_judged(self, reviewer: str, view_id: str) -> bool:
        """Return whether this reviewer has judged a view."""
        return view_id in self._worklists.of(reviewer).done

    def progress(self, reviewer: str) -> dict[str, int]:
        """Return how many pairs this reviewer has judged, and how many wait."""
        self._worklists.next_item(reviewer, self._leases)
        worklist = self._worklists.of(reviewer)
        return {"judged": len(worklist.done), "waiting": len(worklist.todo or ())}
