"""what-if: what another gate would change, with the values that decide it. Nothing is judged again for good."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ggt_tools.records import Verdict

NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One candidate whose verdict would be another."""

    candidate: str
    before: tuple[str, ...]  # the evidence that decided, as it stands
    after: tuple[str, ...]  # and as it would stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Candidates that would go the same way."""

    before: str  # "keep", "reject halos", "unsure unmeasured_shift", or NOT_JUDGED
    after: str
    count: int
    examples: tuple[Example, ...]


def what_if(before: Mapping[str, Verdict], after: Iterable[Verdict], *, examples: int = 3) -> tuple[Change, ...]:
    """The changes from the verdicts `before`, by candidate, to those `after`, the most frequent first.

    A candidate that is kept, rejected or unsure for another reason counts as changed too. Up to `examples` of each.
    """
    counts: dict[tuple[str, str], int] = {}
    found: dict[tuple[str, str], list[Example]] = {}
    for new in after:
        old = before.get(new.candidate)
        change = _name(old), _name(new)
        if change[0] == change[1]:
            continue
        counts[change] = counts.get(change, 0) + 1
        shown = found.setdefault(change, [])
        if len(shown) < examples:
            shown.append(_example(old, new))
    ordered = sorted(counts, key=lambda change: (-counts[change], change))
    return tuple(
        Change(before=change[0], after=change[1], count=counts[change], examples=tuple(found[change]))
        for change in ordered
    )


def deciding(evidence: Iterable[str]) -> tuple[str, ...]:
    """Of a verdict's evidence what spoke against the candidate."""
    return tuple(
        dict.fromkeys(
            said for said in evidence if " < " in said or " > " in said or said.endswith(" unmeasured") or _best(said)
        )
    )


def _example(old: Verdict | None, new: Verdict) -> Example:
    """Of the metrics that speak against it on one side and not alike on the other, what both sides say."""
    sides = old.evidence if old else (), new.evidence
    against = [deciding(evidence) for evidence in sides]
    metrics = {said.split()[0] for said in {*against[0]} ^ {*against[1]} if not _best(said)}
    shown = (
        tuple(dict.fromkeys(said for said in evidence if said.split()[0] in metrics or _best(said)))
        for evidence in sides
    )
    return Example(candidate=new.candidate, before=next(shown), after=next(shown))


def _best(said: str) -> bool:
    return said.startswith("the best is ")


def _name(verdict: Verdict | None) -> str:
    return f"{verdict.decision} {verdict.reason}".strip() if verdict else NOT_JUDGED
