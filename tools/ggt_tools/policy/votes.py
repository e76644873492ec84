"""Which decisions of reviewers are in force, and the votes that they add up to.

    votes = count_votes(decisions_in_force(read_decisions(ledger)), images)

Facts are never deleted. To undo a decision is a fact too, and the decision that it names is then no longer in force. A
decision is about the pixels that the reviewer saw: once a candidate is aligned again, it says nothing about the new
image.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ggt_tools.records import Decision
from ggt_tools.workspace.ledger import Ledger

DECISIONS = ("keep", "reject", "unsure")
UNDONE = "undone"  # the decision of a record that undoes another one
UNCHANGED, ANOTHER_PHOTOGRAPH = "unchanged", "another_photograph"  # the kinds of pairs with a known answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """The votes of reviewers on a candidate as it is aligned now.

    Attributes:
        keep: Number of reviewers who keep it.
        reject: Number of reviewers who reject it.
        unsure: Number of reviewers who are unsure.
        reason: The reason that was given most often for a rejection, the first in the alphabet at a tie; "" if none.
    """

    keep: int
    reject: int
    unsure: int
    reason: str

    @property
    def decision(self) -> str:
        """The decision of the majority of those who keep or reject it: keep or reject, "" at a tie."""
        return "keep" if self.keep > self.reject else "reject" if self.reject > self.keep else ""


def read_decisions(ledger: Ledger) -> list[Decision]:
    """Return all decisions of a ledger, in the order in which they were stored."""
    return list(ledger.in_order(Decision))


def decisions_in_force(decisions: Iterable[Decision]) -> list[Decision]:
    """Return the decisions that were not undone, in their order.

    If a reviewer decided several times on the same image of a candidate, the last decision counts.
    """
    decisions = list(decisions)
    undone = {decision.undoes for decision in decisions if decision.undoes}
    last: dict[tuple[str, str, str, str], Decision] = {}
    for decision in decisions:
        if not decision.undoes and decision.id not in undone:
            last[decision.reviewer, decision.candidate, decision.image, decision.known_answer] = decision
    return list(last.values())


def is_current(decision: Decision, images: Mapping[str, str]) -> bool:
    """Return whether a decision is about a real pair, as its candidate is aligned now.

    Args:
        decision: The decision.
        images: Name of the aligned image, by candidate.
    """
    return not decision.known_answer and images.get(decision.candidate) == decision.image


def count_votes(decisions: Iterable[Decision], images: Mapping[str, str]) -> dict[str, Votes]:
    """Count the votes on each candidate. Decisions on pairs with a known answer are not votes.

    Args:
        decisions: The decisions in force.
        images: Name of the aligned image, by candidate.
    """
    by_candidate: dict[str, list[Decision]] = defaultdict(list)
    for decision in decisions:
        if is_current(decision, images):
            by_candidate[decision.candidate].append(decision)
    votes = {}
    for candidate, own in by_candidate.items():
        counts = Counter(decision.decision for decision in own)
        reasons = Counter(decision.reason for decision in own if decision.decision == "reject")
        votes[candidate] = Votes(
            keep=counts["keep"],
            reject=counts["reject"],
            unsure=counts["unsure"],
            reason=min(reasons, key=lambda reason: (-reasons[reason], reason), default=""),
        )
    return votes
