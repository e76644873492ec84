"""List the candidates that have an aligned image: by degradation, verdict, reason, restorer and ranges of scores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from ggt_tools.workspace.ledger import Ledger

CARDS_PER_PAGE = 48
MAX_RANGES = 8
VERDICTS = ("keep", "unsure", "reject", "none")  # "none": not judged
TABLES = """
    FROM candidate c JOIN photo p ON p.key = c.key JOIN aligned a ON a.candidate = c.id AND a.image != ''
    LEFT JOIN verdicts w ON w.candidate = c.id LEFT JOIN outcome v ON v.id = w.outcome
"""
# of the newest version of a metric, as Ledger.scores() takes it
VALUE = "(SELECT s.value FROM score s WHERE s.candidate = c.id AND s.metric = ? ORDER BY s.rowid DESC LIMIT 1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which candidates are listed, and which page of them, from 1. Empty values select all."""

    degradation: str = ""
    verdict: str = ""
    reason: str = ""
    restorer: str = ""
    ranges: tuple[tuple[str, float, float], ...] = ()  # metric, lowest and highest value, infinite if open
    sort: str = ""  # a metric, with "-" in front for highest first; "" for the key
    page: int = 1

    def query(self, **changes: str | int) -> str:
        """Return the filter as the query of a URL, with some values changed."""
        named = {name: getattr(self, name) for name in ("degradation", "verdict", "reason", "restorer", "sort", "page")}
        pairs = [(name, str(value)) for name, value in (named | changes).items() if value not in ("", 1)]
        for metric, low, high in self.ranges:
            pairs += [("metric", metric), ("low", _text(low)), ("high", _text(high))]
        return urlencode(pairs)


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


class InvalidFilter(ValueError):
    """A query that cannot be read; the message says why. To show everything instead would mislead."""


def read_filter(query: Iterable[tuple[str, str]]) -> Filter:
    """Read a filter from the names and values of a query. Each `metric` begins a range, and `low` and `high` follow it.

    Raises:
        InvalidFilter: A value cannot be read.
    """
    values: dict[str, str] = {}
    range_texts: list[dict[str, str]] = []
    for name, value in query:
        if name == "metric":
            range_texts.append({"metric": value})
        elif name in ("low", "high"):
            if not range_texts:
                raise InvalidFilter(f"{name}={value} belongs to no metric. Write metric=NAME before it.")
            range_texts[-1][name] = value
        else:
            values[name] = value
    ranges = []
    for text in range_texts:
        metric, low, high = (text.get(name, "").strip() for name in ("metric", "low", "high"))
        if (low or high) and not metric:
            raise InvalidFilter(f"The range from {low or '(open)'} to {high or '(open)'} has no metric. Choose one.")
        if low or high:
            ranges.append((metric, _number(metric, low, -math.inf), _number(metric, high, math.inf)))
    if len(ranges) > MAX_RANGES:
        raise InvalidFilter(f"There are {len(ranges)} ranges of scores. Give at most {MAX_RANGES}.")
    if values.get("verdict", "") not in ("", *VERDICTS):
        raise InvalidFilter(f"{values['verdict']!r} is not a verdict. Choose one of {', '.join(VERDICTS)}.")
    page = values.get("page", "1")
    return Filter(
        degradation=values.get("degradation", ""),
        verdict=values.get("verdict", ""),
        reason=values.get("reason", ""),
        restorer=values.get("restorer", ""),
        ranges=tuple(ranges),
        sort=values.get("sort", ""),
        page=max(1, int(page)) if page.isascii() and page.isdecimal() and len(page) < 7 else 1,
    )


def list_cards(ledger: Ledger, filter: Filter) -> tuple[list[Card], int]:
    """Return the candidates of one page, and how many there are on all pages."""
    where, values = _where(filter)
    total = int(ledger.query(f"SELECT count(*) {TABLES} {where}", *values)[0][0])
    metric = filter.sort.removeprefix("-")
    order = "c.key, c.id"
    if metric:
        order = f"value IS NULL, value {'DESC' if filter.sort.startswith('-') else 'ASC'}, {order}"
    rows = ledger.query(
        f"""SELECT c.id, c.key, c.restorer, p.degradation, p.image AS lq, a.image AS gt, v.decision, v.reason,
            {VALUE if metric else "NULL"} AS value {TABLES} {where} ORDER BY {order} LIMIT ? OFFSET ?""",
        *([metric] if metric else []), *values, CARDS_PER_PAGE, (filter.page - 1) * CARDS_PER_PAGE,
    )  # fmt: skip
    cards = [
        Card(
            candidate=row["id"],
            key=row["key"],
            degradation=row["degradation"],
            restorer=row["restorer"],
            lq=row["lq"],
            gt=row["gt"],
            verdict=f"{row['decision'] or 'not judged'} {row['reason'] or ''}".strip(),
            value=math.nan if row["value"] is None else float(row["value"]),
        )
        for row in rows
    ]
    return cards, total


def hide_verdict(card: Card) -> Card:
    """Return a card without verdict and score, for a pair that waits for the reviewer."""
    return replace(card, verdict="waits for you", value=math.nan)


def list_keys(ledger: Ledger, filter: Filter) -> list[str]:
    """Return the keys of the photographs of all selected candidates, on all pages, each once."""
    where, values = _where(filter)
    return [str(row[0]) for row in ledger.query(f"SELECT DISTINCT c.key {TABLES} {where} ORDER BY c.key", *values)]


def filter_choices(ledger: Ledger) -> Mapping[str, Sequence[str]]:
    """Return the values that can be chosen, by the name of the filter."""
    found = {
        "degradation": f"SELECT DISTINCT p.degradation {TABLES} ORDER BY 1",
        "reason": f"SELECT DISTINCT v.reason {TABLES} WHERE v.reason != '' ORDER BY 1",
        "restorer": f"SELECT DISTINCT c.restorer {TABLES} ORDER BY 1",
        "metric": "SELECT DISTINCT json_extract(m.value, '$[0]') FROM layout l, json_each(l.metrics) m ORDER BY 1",
    }
    return {name: [str(row[0]) for row in ledger.query(sql)] for name, sql in found.items()} | {"verdict": VERDICTS}


def _where(filter: Filter) -> tuple[str, list[str | int | float]]:
    terms, values = [], list[str | int | float]()
    for column, value in (
        ("p.degradation", filter.degradation),
        ("v.reason", filter.reason),
        ("c.restorer", filter.restorer),
        ("v.decision", "" if filter.verdict == "none" else filter.verdict),
    ):
        if value:
            terms.append(f"{column} = ?")
            values.append(value)
    if filter.verdict == "none":
        terms.append("v.decision IS NULL")
    for metric, low, high in filter.ranges:
        terms.append(f"{VALUE} BETWEEN ? AND ?")
        values += [metric, max(low, -1e300), min(high, 1e300)]
    return (f"WHERE {' AND '.join(terms)}" if terms else ""), values


def _number(metric: str, text: str, default: float) -> float:
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidFilter(f"{metric}: {text!r} is not a number. Write one like 0.5, or leave the field empty.")
    return number


def _text(number: float) -> str:
    return repr(number) if math.isfinite(number) else ""
