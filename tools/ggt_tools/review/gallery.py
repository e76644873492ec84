"""List the candidates that have an aligned image: by degradation, verdict, reason, restorer and ranges of scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from ggt_tools.web.ranges import InvalidFilter, read_ranges, write_ranges
from ggt_tools.workspace.candidate_queries import NOT_JUDGED, CandidateFilter
from ggt_tools.workspace.ledger import Ledger

CARDS_PER_PAGE = 48
VERDICTS = ("keep", "unsure", "reject", NOT_JUDGED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(CandidateFilter):
    """Which candidates are listed, and which page of them, from 1. Empty values select all."""

    page: int = 1

    def query(self, **changes: str | int) -> str:
        """Return the filter as the query of a URL, with some values changed."""
        named = {name: getattr(self, name) for name in ("degradation", "verdict", "reason", "restorer", "sort", "page")}
        pairs = [(name, str(value)) for name, value in (named | changes).items() if value not in ("", 1)]
        return urlencode([*pairs, *write_ranges(self.ranges)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A candidate in the list."""

    candidate: str
    key: str
    degradation: str
    restorer: str
    lq: str
    gt: str
    verdict: str  # "keep", "reject halos", "not judged", "waits for you"
    value: float  # of the metric that the list is sorted by; NaN without one


def read_filter(query: Iterable[tuple[str, str]]) -> Filter:
    """Read a filter from the names and values of a query. Each `metric` begins a range, and `low` and `high` follow it.

    Raises:
        InvalidFilter: A value cannot be read.
    """
    ranges, others = read_ranges(query)
    values = dict(others)
    if values.get("verdict", "") not in ("", *VERDICTS):
        raise InvalidFilter(f"{values['verdict']!r} is not a verdict. Choose one of {', '.join(VERDICTS)}.")
    page = values.get("page", "1")
    return Filter(
        degradation=values.get("degradation", ""),
        verdict=values.get("verdict", ""),
        reason=values.get("reason", ""),
        restorer=values.get("restorer", ""),
        ranges=ranges,
        sort=values.get("sort", ""),
        page=max(1, int(page)) if page.isascii() and page.isdecimal() and len(page) < 7 else 1,
    )


def list_cards(ledger: Ledger, filter: Filter) -> tuple[list[Card], int]:
    """Return the candidates of one page, and how many there are on all pages."""
    cards = [
        Card(
            candidate=listed.candidate,
            key=listed.key,
            degradation=listed.degradation,
            restorer=listed.restorer,
            lq=listed.lq,
            gt=listed.gt,
            verdict=f"{listed.decision or 'not judged'} {listed.reason}".strip(),
            value=listed.value,
        )
        for listed in ledger.list_candidates(filter, CARDS_PER_PAGE, (filter.page - 1) * CARDS_PER_PAGE)
    ]
    return cards, ledger.count_candidates(filter)


def hide_verdict(card: Card) -> Card:
    """Return a card without verdict and score, for a pair that waits for the reviewer."""
    return replace(card, verdict="waits for you", value=math.nan)


def list_keys(ledger: Ledger, filter: Filter) -> list[str]:
    """Return the keys of the photographs of all selected candidates, on all pages, each once."""
    return ledger.list_keys(filter)


def filter_choices(ledger: Ledger) -> Mapping[str, Sequence[str]]:
    """Return the values that can be chosen, by the name of the filter."""
    return {**ledger.filter_choices(), "verdict": VERDICTS}
