"""What people's decisions come to: which of them stand, what they settle, and how far reviewers agree.

    found = votes(standing(in_order(ledger)), images)

Facts are never taken back: undoing is a fact too, and what it names does not stand. A decision is on the pixels that
were looked at: where a candidate was aligned anew, it says nothing of the new ones.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

from ggt_tools.records import Decision
from ggt_tools.workspace.ledger import Ledger

DECISIONS = ("keep", "reject", "unsure")
UNDONE = "undone"
UNCHANGED, ANOTHER = "unchanged", "another_photograph"


def in_order(ledger: Ledger) -> list[Decision]:
    """All decisions of a ledger, in the order in which they were taken in."""
    order = {row["id"]: row["rowid"] for row in ledger.query("SELECT rowid, id FROM decision")}
    return sorted(ledger.all(Decision), key=lambda decision: order[decision.id])


def standing(decisions: Iterable[Decision]) -> list[Decision]:
    """Those that were not undone, in the order given; of one reviewer on one image of a candidate, the last."""
    listed = list(decisions)
    undone = {decision.undoes for decision in listed if decision.undoes}
    last: dict[tuple[str, str, str, str], Decision] = {}
    for decision in listed:
        if not decision.undoes and decision.id not in undone:
            last[decision.reviewer, decision.candidate, decision.image, decision.planted] = decision
    return list(last.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """What people say of a candidate as it is aligned now."""

    keep: int
    reject: int
    unsure: int
    reason: str  # the one most often given for rejecting it, the first in the alphabet at a tie; "" where none

    @property
    def decision(self) -> str:
        """keep or reject, by the majority of those who say either; "" at a tie."""
        return "keep" if self.keep > self.reject else "reject" if self.reject > self.keep else ""


def votes(stands: Iterable[Decision], images: Mapping[str, str]) -> dict[str, Votes]:
    """By candidate, of the decisions that stand; `images` by candidate, as aligned now. Planted pairs do not count."""
    of: dict[str, list[Decision]] = defaultdict(list)
    for decision in stands:
        if not decision.planted and images.get(decision.candidate) == decision.image:
            of[decision.candidate].append(decision)
    found = {}
    for candidate, said in of.items():
        counts = Counter(decision.decision for decision in said)
        reasons = Counter(decision.reason for decision in said if decision.decision == "reject")
        found[candidate] = Votes(
            keep=counts["keep"],
            reject=counts["reject"],
            unsure=counts["unsure"],
            reason=min(reasons, key=lambda reason: (-reasons[reason], reason), default=""),
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """So many of so many, with Wilson's interval of 95 %."""

    count: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson (1927): 0 to 1 where there are none."""
        if not self.of:
            return 0.0, 1.0
        z, n, p = 1.96, self.of, self.count / self.of
        middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (middle - spread) / (1 + z * z / n)), min(1.0, (middle + spread) / (1 + z * z / n))

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.count} of {self.of} ({100 * low:.1f} to {100 * high:.1f} %)" if self.of else "none yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """One person's work."""

    name: str
    decisions: int  # of real pairs, that stand
    undone: int
    seconds: float  # the median of a look; NaN where there is none
    an_hour: float  # pairs, at that median
    known: Share  # planted pairs that were rejected at first, as they should be: the answer can be read afterwards
    against: Share  # of the pairs on which others have a majority, those decided against it


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two reviewers on the pairs that both judged."""

    first: str
    second: str
    pairs: int
    same: int
    kappa: float  # Cohen's; NaN where both gave one answer to all


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A candidate that some keep and others reject."""

    candidate: str
    said: tuple[tuple[str, str, str], ...]  # reviewer, decision, reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What there is to say of all decisions."""

    reviewers: tuple[Reviewer, ...]
    agreements: tuple[Agreement, ...]
    fleiss: float  # kappa over the pairs that the most frequent number of reviewers judged; NaN where undefined
    fleiss_pairs: int
    fleiss_reviewers: int
    disputes: tuple[Dispute, ...]
    kept_wrongly: Share  # of the kept ones that were audited, those that people reject
    rejected_wrongly: Share  # of the rejected ones that were audited, those that people keep


def summary(decisions: Iterable[Decision], images: Mapping[str, str]) -> Summary:
    """Of all decisions in a ledger; `images` by candidate, as aligned now."""
    listed = list(decisions)
    stands = standing(listed)
    real = [d for d in stands if not d.planted and images.get(d.candidate) == d.image]
    said: dict[str, dict[str, Decision]] = defaultdict(dict)  # by candidate and reviewer
    for decision in real:
        said[decision.candidate][decision.reviewer] = decision
    names = sorted({decision.reviewer for decision in listed})
    counts, fleiss_kappa = _fleiss(said)
    return Summary(
        reviewers=tuple(_reviewer(name, listed, stands, said) for name in names),
        agreements=tuple(found for a, b in combinations(names, 2) if (found := _agreement(a, b, said)) is not None),
        fleiss=fleiss_kappa,
        fleiss_pairs=counts[1],
        fleiss_reviewers=counts[0],
        disputes=tuple(
            Dispute(candidate=c, said=tuple((n, d.decision, d.reason) for n, d in sorted(by.items())))
            for c, by in sorted(said.items())
            if {"keep", "reject"} <= {d.decision for d in by.values()}
        ),
        kept_wrongly=_audited(real, images, "keep", "reject"),
        rejected_wrongly=_audited(real, images, "reject", "keep"),
    )


def cohen(first: Sequence[str], second: Sequence[str]) -> float:
    """Cohen's kappa (1960) of two raters on the same things; NaN where chance alone would agree on all of them."""
    n = len(first)
    if not n:
        return math.nan
    a, b = Counter(first), Counter(second)
    by_chance = sum(a[answer] * b[answer] for answer in a) / (n * n)
    same = sum(x == y for x, y in zip(first, second, strict=True)) / n
    return (same - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def fleiss(ratings: Sequence[Sequence[str]]) -> float:
    """Fleiss' kappa (1971): a row a thing, the same number of ratings in each; NaN where chance would agree on all."""
    if not ratings or len(ratings[0]) < 2:
        return math.nan
    n = len(ratings[0])
    counts = [Counter(row) for row in ratings]
    same = sum((sum(k * k for k in count.values()) - n) / (n * (n - 1)) for count in counts) / len(ratings)
    totals = sum(counts, Counter[str]())
    by_chance = sum((total / (n * len(ratings))) ** 2 for total in totals.values())
    return (same - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan


def _fleiss(said: Mapping[str, Mapping[str, Decision]]) -> tuple[tuple[int, int], float]:
    """(reviewers, pairs), kappa: of the pairs with the most frequent number of reviewers from two on."""
    sizes = Counter(len(by) for by in said.values() if len(by) > 1)
    if not sizes:
        return (0, 0), math.nan
    size = max(sizes, key=lambda n: (sizes[n], n))
    rows = [[d.decision for _, d in sorted(by.items())] for by in said.values() if len(by) == size]
    return (size, len(rows)), fleiss(rows)


def _agreement(a: str, b: str, said: Mapping[str, Mapping[str, Decision]]) -> Agreement | None:
    both = [(by[a].decision, by[b].decision) for by in said.values() if a in by and b in by]
    if not both:
        return None
    first, second = zip(*both, strict=True)
    return Agreement(first=a, second=b, pairs=len(both), same=sum(x == y for x, y in both), kappa=cohen(first, second))


def _reviewer(
    name: str, listed: Sequence[Decision], stands: Sequence[Decision], said: Mapping[str, Mapping[str, Decision]]
) -> Reviewer:
    own = [decision for decision in stands if decision.reviewer == name]
    known: dict[tuple[str, str, str], str] = {}  # what was decided first, undone or not
    for one in listed:
        if one.reviewer == name and one.planted and not one.undoes:
            known.setdefault((one.candidate, one.image, one.planted), one.decision)
    seconds = median(d.seconds for d in own) if own else math.nan
    against = of = 0
    for by in said.values():
        others = Counter(d.decision for n, d in by.items() if n != name)
        if name in by and others["keep"] != others["reject"] and by[name].decision in ("keep", "reject"):
            of += 1
            against += by[name].decision != ("keep" if others["keep"] > others["reject"] else "reject")
    return Reviewer(
        name=name,
        decisions=sum(not d.planted for d in own),
        undone=sum(bool(d.undoes) for d in listed if d.reviewer == name),
        seconds=seconds,
        an_hour=3600 / seconds if seconds and seconds > 0 else math.nan,
        known=Share(count=sum(said == "reject" for said in known.values()), of=len(known)),
        against=Share(count=against, of=of),
    )


def _audited(real: Sequence[Decision], images: Mapping[str, str], gate: str, people: str) -> Share:
    """Of what the gate said `gate` of and was audited, and people settled, how many they say `people` of."""
    found = votes([d for d in real if d.queue == "audit" and d.said == gate], images)
    decided = [one.decision for one in found.values() if one.decision]
    return Share(count=decided.count(people), of=len(decided))
