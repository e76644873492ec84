"""How reliably reviewers decide: their speed, known answers, and how far they agree with each other and with the gate.

print(summarize_reviews(read_decisions(ledger), images))
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from ggt_tools.policy.rates import Rate
from ggt_tools.policy.votes import count_votes, decisions_in_force, is_current
from ggt_tools.records import Decision
from ggt_tools.tables import format_table, printable

ByReviewer = Mapping[str, Decision]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """The work of one reviewer.

    Attributes:
        name: The reviewer's name.
        decisions: Number of decisions in force, without those on pairs with a known answer.
        undone: Number of decisions that the reviewer undid.
        seconds: Median time of a decision; NaN without any.
        pairs_per_hour: Pairs in an hour at that speed; NaN without any.
        known_answers: Pairs with a known answer that the reviewer rejected at first sight, as is right.
        against_majority: Decisions against the majority of the other reviewers, among those where there is a majority.
    """

    name: str
    decisions: int
    undone: int
    seconds: float
    pairs_per_hour: float
    known_answers: Rate
    against_majority: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far two reviewers agree on the pairs that both judged.

    Attributes:
        first: Name of one reviewer.
        second: Name of the other one.
        pairs: Number of pairs that both judged.
        same: Number of pairs on which they decided the same.
        kappa: Cohen's kappa; NaN if both gave one and the same answer to all pairs.
    """

    first: str
    second: str
    pairs: int
    same: int
    kappa: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A candidate that some reviewers keep and others reject.

    Attributes:
        candidate: Its id.
        decisions: Name of the reviewer, decision and reason, by name.
    """

    candidate: str
    decisions: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewSummary:
    """What the decisions of all reviewers show. `str(summary)` is what `ggt100k review --summary` prints.

    Attributes:
        reviewers: The work of each reviewer, by name.
        agreements: The agreement of each two reviewers who have judged the same pairs.
        fleiss: Fleiss' kappa over the pairs with the most frequent number of reviewers; NaN if undefined.
        fleiss_pairs: Number of those pairs.
        fleiss_reviewers: Number of reviewers of each of those pairs.
        disputes: Candidates that some reviewers keep and others reject.
        kept_wrongly: Pairs that people reject, among the audited pairs that the gate keeps.
        rejected_wrongly: Pairs that people keep, among the audited pairs that the gate rejects.
    """

    reviewers: tuple[Reviewer, ...]
    agreements: tuple[Agreement, ...]
    fleiss: float
    fleiss_pairs: int
    fleiss_reviewers: int
    disputes: tuple[Dispute, ...]
    kept_wrongly: Rate
    rejected_wrongly: Rate

    def __str__(self) -> str:
        if not self.reviewers:
            return "review: no decisions yet"
        header = ("reviewer", "pairs", "seconds", "pairs an hour", "known answers found", "against the majority")
        rows = [
            (
                reviewer.name,
                str(reviewer.decisions),
                _number(reviewer.seconds, 1),
                _number(reviewer.pairs_per_hour, 0),
                reviewer.known_answers.counted,
                reviewer.against_majority.counted,
            )
            for reviewer in self.reviewers
        ]
        lines = [
            *format_table(header, rows),
            f"audited pairs that the gate keeps: people reject {self.kept_wrongly.counted}",
            f"audited pairs that the gate rejects: people keep {self.rejected_wrongly.counted}",
        ]
        for agreement in self.agreements:
            names = f"{agreement.first}, {agreement.second}"
            kappa = _number(agreement.kappa, 2)
            lines.append(f"{names}: {agreement.same} of {agreement.pairs} the same, Cohen's kappa {kappa}")
        if self.fleiss_pairs:
            pairs = f"{self.fleiss_pairs} pairs of {self.fleiss_reviewers} reviewers"
            lines.append(f"Fleiss' kappa {_number(self.fleiss, 2)} over {pairs}")
        for dispute in self.disputes:
            decisions = "; ".join(
                f"{name}: {decision} {reason}".rstrip() for name, decision, reason in dispute.decisions
            )
            lines.append(f"  {dispute.candidate}  {decisions}")
        return "\n".join(map(printable, lines))


def summarize_reviews(decisions: Iterable[Decision], images: Mapping[str, str]) -> ReviewSummary:
    """Summarize what reviewers decided, and how far they agree.

    Args:
        decisions: All decisions of a ledger, in their order.
        images: Name of the aligned image, by candidate.
    """
    decisions = list(decisions)
    in_force = decisions_in_force(decisions)
    current = [decision for decision in in_force if is_current(decision, images)]
    by_candidate: dict[str, dict[str, Decision]] = defaultdict(dict)
    for decision in current:
        by_candidate[decision.candidate][decision.reviewer] = decision
    names = sorted({decision.reviewer for decision in decisions})
    agreements = (_agreement(first, second, by_candidate) for first, second in combinations(names, 2))
    reviewer_count, pair_count, kappa = _fleiss_of(by_candidate)
    return ReviewSummary(
        reviewers=tuple(_reviewer(name, decisions, in_force, by_candidate) for name in names),
        agreements=tuple(agreement for agreement in agreements if agreement is not None),
        fleiss=kappa,
        fleiss_pairs=pair_count,
        fleiss_reviewers=reviewer_count,
        disputes=tuple(
            Dispute(candidate=candidate, decisions=tuple((n, d.decision, d.reason) for n, d in sorted(own.items())))
            for candidate, own in sorted(by_candidate.items())
            if {"keep", "reject"} <= {decision.decision for decision in own.values()}
        ),
        kept_wrongly=_audited(current, images, gate_decision="keep", people_decision="reject"),
        rejected_wrongly=_audited(current, images, gate_decision="reject", people_decision="keep"),
    )


def cohen(first: Sequence[str], second: Sequence[str]) -> float:
    """Return Cohen's kappa (1960) of two raters.

    Args:
        first: The first rater's answers.
        second: The second rater's answers about the same things.

    Returns:
        The kappa; NaN without answers, or if both raters would agree on all of them by chance.
    """
    count = len(first)
    if not count:
        return math.nan
    a, b = Counter(first), Counter(second)
    by_chance = sum(a[answer] * b[answer] for answer in a) / (count * count)
    same = sum(x == y for x, y in zip(first, second, strict=True)) / count
    return (same - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def fleiss(ratings: Sequence[Sequence[str]]) -> float:
    """Return Fleiss' kappa (1971).

    Args:
        ratings: The answers about each thing; the same number of them for each.

    Returns:
        The kappa; NaN with fewer than two raters, or if they would agree on everything by chance.
    """
    if not ratings or len(ratings[0]) < 2:
        return math.nan
    n = len(ratings[0])
    counts = [Counter(row) for row in ratings]
    same = sum((sum(k * k for k in count.values()) - n) / (n * (n - 1)) for count in counts) / len(ratings)
    totals = sum(counts, Counter[str]())
    by_chance = sum((total / (n * len(ratings))) ** 2 for total in totals.values())
    return (same - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def _fleiss_of(by_candidate: Mapping[str, ByReviewer]) -> tuple[int, int, float]:
    """Return reviewers, pairs and kappa, of the pairs with the most frequent number of reviewers above one."""
    sizes = Counter(len(own) for own in by_candidate.values() if len(own) > 1)
    if not sizes:
        return 0, 0, math.nan
    size = max(sizes, key=lambda n: (sizes[n], n))
    rows = [[d.decision for _, d in sorted(own.items())] for own in by_candidate.values() if len(own) == size]
    return size, len(rows), fleiss(rows)


def _agreement(first: str, second: str, by_candidate: Mapping[str, ByReviewer]) -> Agreement | None:
    both = [
        (own[first].decision, own[second].decision) for own in by_candidate.values() if first in own and second in own
    ]
    if not both:
        return None
    kappa = cohen(*zip(*both, strict=True))
    return Agreement(first=first, second=second, pairs=len(both), same=sum(x == y for x, y in both), kappa=kappa)


def _reviewer(
    name: str, decisions: Sequence[Decision], in_force: Sequence[Decision], by_candidate: Mapping[str, ByReviewer]
) -> Reviewer:
    own = [decision for decision in in_force if decision.reviewer == name]
    seconds = median(decision.seconds for decision in own) if own else math.nan
    return Reviewer(
        name=name,
        decisions=sum(not decision.known_answer for decision in own),
        undone=sum(bool(decision.undoes) for decision in decisions if decision.reviewer == name),
        seconds=seconds,
        pairs_per_hour=3600 / seconds if seconds and seconds > 0 else math.nan,
        known_answers=_known_answers(name, decisions),
        against_majority=_against_majority(name, by_candidate),
    )


def _known_answers(name: str, decisions: Sequence[Decision]) -> Rate:
    """Return how many pairs with a known answer a reviewer rejected.

    The first decision counts, undone or not, because the page shows the answer after it.
    """
    first: dict[tuple[str, str, str], str] = {}
    for decision in decisions:
        if decision.reviewer == name and decision.known_answer and not decision.undoes:
            first.setdefault((decision.candidate, decision.image, decision.known_answer), decision.decision)
    return Rate(count=sum(answer == "reject" for answer in first.values()), of=len(first))


def _against_majority(name: str, by_candidate: Mapping[str, ByReviewer]) -> Rate:
    count = of = 0
    for own in by_candidate.values():
        others = Counter(decision.decision for reviewer, decision in own.items() if reviewer != name)
        if name in own and others["keep"] != others["reject"] and own[name].decision in ("keep", "reject"):
            of += 1
            count += own[name].decision != ("keep" if others["keep"] > others["reject"] else "reject")
    return Rate(count=count, of=of)


def _audited(
    current: Sequence[Decision], images: Mapping[str, str], *, gate_decision: str, people_decision: str
) -> Rate:
    """Return how often people decide so, among the audited pairs that the gate decided so and people settled."""
    audited = [
        decision for decision in current if decision.queue == "audit" and decision.gate_decision == gate_decision
    ]
    settled = [votes.decision for votes in count_votes(audited, images).values() if votes.decision]
    return Rate(count=settled.count(people_decision), of=len(settled))


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
