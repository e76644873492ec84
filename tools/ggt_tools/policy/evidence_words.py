"""Say in words what a verdict rests on: the evidence that matters most, for pages and contact sheets.

for words in strongest_evidence(verdict.evidence):
    print(words.sentence)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ggt_tools.evidence import (
    BREAKS,
    HOLDS,
    MIN,
    UNMEASURED,
    UNSURE,
    BetterCandidate,
    Contribution,
    Evidence,
    EvidenceItem,
    PriorReason,
    ReviewVotes,
    parse_evidence,
)
from ggt_tools.metrics.meanings import meaning_of
from ggt_tools.policy.decision import PROBABILITIES

MIN_LOG_ODDS = 0.05  # a contribution below this is not worth a line


class EvidenceWords(NamedTuple):
    """One item of evidence in words.

    Attributes:
        short: A few words with the value, for example "unfaithful 15 % < 43 %".
        sentence: A whole sentence.
        metric: The metric or probability that it is about; "" for none.
    """

    short: str
    sentence: str
    metric: str


def strongest_evidence(evidence: Iterable[EvidenceItem], max_count: int = 3) -> list[EvidenceWords]:
    """Return the items that matter most for a verdict, in words, the most important first.

    Bounds that were broken come first, then votes of people, what made the gate unsure, the probabilities with what
    raised them, and last the rules that hold, the nearest to its bound first.
    """
    items = list(evidence)
    ranked = sorted(range(len(items)), key=lambda i: (*_rank(items[i]), i))
    return [evidence_words(items[i]) for i in ranked if _rank(items[i])[0] < 9][:max_count]


def strongest_lines(lines: Sequence[str], max_count: int = 3) -> list[EvidenceWords]:
    """Return the strongest evidence of a pair of a release, whose index holds evidence as lines of text."""
    return strongest_evidence(map(parse_evidence, lines), max_count)


def evidence_words(item: EvidenceItem) -> EvidenceWords:
    """Return one item of evidence in words."""
    if isinstance(item, Evidence):
        return _bound_words(item)
    if isinstance(item, Contribution):
        label, value = meaning_of(item.metric).label, _number(item.value)
        sentence = f"{_capital(label)} {value} makes it more probable that the candidate {_claim(item.probability)}."
        return EvidenceWords(f"{label} {value}", sentence, item.metric)
    if isinstance(item, ReviewVotes):
        votes = f"{item.keep} keep, {item.reject} reject"
        return EvidenceWords(f"people: {votes}", f"People: {votes}; the rules say {item.rules_decision}.", "")
    if isinstance(item, BetterCandidate):
        return EvidenceWords("another one is better", "Another candidate of this photograph is better.", "")
    if isinstance(item, PriorReason):
        reason = item.reason.replace("_", " ")
        return EvidenceWords(f"prior: {reason}", f"It is shipped as a visual prior only: {reason}.", "")
    return EvidenceWords(item.text, item.text, "")


def _bound_words(item: Evidence) -> EvidenceWords:
    """Return a compared value in words; probabilities as percentages."""
    label = meaning_of(item.metric).label
    if item.outcome == UNMEASURED:
        return EvidenceWords(f"{label} not measured", f"{_capital(label)}: not measured.", item.metric)
    is_probability = item.metric in PROBABILITIES
    value, bound = (_percent(x) if is_probability else _number(x) for x in (item.value, item.bound))
    short = f"{label} {value} {'<>'[item.value > item.bound]} {bound}"
    kind = "limit" if is_probability else "minimum" if item.side == MIN else "maximum"
    limit = f"people decide {'below' if item.side == MIN else 'above'} {bound}"
    if item.outcome != UNSURE:
        limit = f"the {kind} is {bound}"
    about = f"The probability that the candidate {_claim(item.metric)} is" if is_probability else f"{_capital(label)}:"
    return EvidenceWords(short, f"{about} {value}; {limit}.", item.metric)


def _rank(item: EvidenceItem) -> tuple[float, float]:
    """Return what an item is sorted by, the most important first; 9 and above is left out."""
    if isinstance(item, Evidence):
        if item.outcome != HOLDS:
            return {BREAKS: 0.0, UNSURE: 2.0, UNMEASURED: 3.0}[item.outcome], 0.0
        if item.metric in PROBABILITIES:
            return 4.0, -item.value / item.bound if item.bound else 0.0
        return 6.0, abs(item.value - item.bound) / (abs(item.bound) + 1e-9)
    if isinstance(item, Contribution):
        return (5.0, -item.log_odds) if item.log_odds >= MIN_LOG_ODDS else (9.0, 0.0)
    if isinstance(item, ReviewVotes):
        return 1.0, 0.0
    return 3.5, 0.0


def _claim(probability: str) -> str:
    return {"unfaithful": "is unfaithful", "no_gain": "gains nothing"}.get(probability, probability.replace("_", " "))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else str(value)
