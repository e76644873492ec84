"""What another gate would change in the verdicts, with the values that decide. Nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ggt_tools.evidence import HOLDS, BetterCandidate, Evidence, EvidenceItem
from ggt_tools.records import Verdict

NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A candidate whose verdict would change.

    Attributes:
        candidate: Its id.
        before: The evidence that decides now.
        after: The evidence that would decide.
    """

    candidate: str
    before: tuple[EvidenceItem, ...]
    after: tuple[EvidenceItem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of verdict that candidates have in common.

    Attributes:
        before: The present decision and reason: "keep", "reject halos", "unsure unmeasured_shift", or NOT_JUDGED.
        after: The decision and reason of the other gate.
        count: Number of candidates.
        examples: A few of them.
    """

    before: str
    after: str
    count: int
    examples: tuple[Example, ...]


def what_if(before: Mapping[str, Verdict], after: Iterable[Verdict], *, examples: int = 3) -> tuple[Change, ...]:
    """Return what changes between two sets of verdicts, the most frequent change first.

    A candidate with the same decision and another reason counts as changed.

    Args:
        before: The present verdicts, by candidate.
        after: The verdicts of another gate.
        examples: Show at most this many candidates of each change.
    """
    counts: dict[tuple[str, str], int] = {}
    shown: dict[tuple[str, str], list[Example]] = {}
    for new in after:
        old = before.get(new.candidate)
        change = _describe(old), _describe(new)
        if change[0] == change[1]:
            continue
        counts[change] = counts.get(change, 0) + 1
        own = shown.setdefault(change, [])
        if len(own) < examples:
            own.append(_example(old, new))
    ordered = sorted(counts, key=lambda change: (-counts[change], change))
    return tuple(
        Change(before=change[0], after=change[1], count=counts[change], examples=tuple(shown[change]))
        for change in ordered
    )


def deciding(evidence: Iterable[EvidenceItem]) -> tuple[EvidenceItem, ...]:
    """Return the items of a verdict's evidence that spoke against the candidate, each once."""
    return tuple(
        dict.fromkeys(
            item
            for item in evidence
            if isinstance(item, BetterCandidate) or (isinstance(item, Evidence) and item.outcome != HOLDS)
        )
    )


def _example(old: Verdict | None, new: Verdict) -> Example:
    """Return the evidence of both verdicts about the metrics that are against the candidate in one of them only."""
    sides = old.evidence if old else (), new.evidence
    against = [deciding(evidence) for evidence in sides]
    different = {*against[0]} ^ {*against[1]}
    metrics = {item.metric for item in different if isinstance(item, Evidence)}
    before, after = (
        tuple(
            dict.fromkeys(
                item
                for item in evidence
                if isinstance(item, BetterCandidate) or (isinstance(item, Evidence) and item.metric in metrics)
            )
        )
        for evidence in sides
    )
    return Example(candidate=new.candidate, before=before, after=after)


def _describe(verdict: Verdict | None) -> str:
    return f"{verdict.decision} {verdict.reason}".strip() if verdict else NOT_JUDGED
