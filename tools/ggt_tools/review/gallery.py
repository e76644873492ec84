"""gallery: all candidates that have an image, by degradation, verdict, reason, restorer and the range of any score."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from ggt_tools.workspace.ledger import Ledger

PAGE = 48
MOST_RANGES = 8
VERDICTS = ("keep", "unsure", "reject", "none")  # "none": not judged
TABLES = """
    FROM candidate c JOIN photo p ON p.key = c.key JOIN aligned a ON a.candidate = c.id AND a.image != ''
    LEFT JOIN verdicts w ON w.candidate = c.id LEFT JOIN outcome v ON v.id = w.outcome
"""
# of the newest version of a metric, as Ledger.scores() takes it
VALUE = "(SELECT s.value FROM score s WHERE s.candidate = c.id AND s.metric = ? ORDER BY s.rowid DESC LIMIT 1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What is asked for; "" and () ask for nothing."""

    degradation: str = ""
    verdict: str = ""
    reason: str = ""
    restorer: str = ""
    ranges: tuple[tuple[str, float, float], ...] = ()  # metric, from, to, both included; infinite where open
    sort: str = ""  # a metric, with "-" in front from high to low; "" by key
    page: int = 1

    def query(self, **changes: str | int) -> str:
        """As the query of an address."""
        named = {name: getattr(self, name) for name in ("degradation", "verdict", "reason", "restorer", "sort", "page")}
        pairs = [(name, str(value)) for name, value in (named | changes).items() if value not in ("", 1)]
        for metric, low, high in self.ranges:
            pairs += [("metric", metric), ("low", _text(low)), ("high", _text(high))]
        return urlencode(pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One candidate in the list."""

    candidate: str
    key: str
    degradation: str
    restorer: str
    lq: str
    gt: str
    verdict: str  # "keep", "reject halos", "not judged", "waits for you"
    value: float  # of the metric that sorts; NaN without one


class Unclear(ValueError):
    """A query that cannot be read; the text says what of it. To show everything instead would mislead."""


def asked(pairs: Iterable[tuple[str, str]]) -> Filter:
    """Of the query's names and values; each metric begins a range, whose ends follow it. Raises Unclear."""
    one: dict[str, str] = {}
    texts: list[dict[str, str]] = []
    for name, value in pairs:
        if name == "metric":
            texts.append({"metric": value})
        elif name in ("low", "high"):
            if not texts:
                raise Unclear(f"{name}={value}: of no score; name it before: metric=NAME")
            texts[-1][name] = value
        else:
            one[name] = value
    ranges = []
    for text in texts:
        metric, low, high = (text.get(name, "").strip() for name in ("metric", "low", "high"))
        if (low or high) and not metric:
            raise Unclear(f"The range from {low or 'anything'} to {high or 'anything'} is of no score; choose one")
        if low or high:
            ranges.append((metric, _number(metric, low, -math.inf), _number(metric, high, math.inf)))
    if len(ranges) > MOST_RANGES:
        raise Unclear(f"{len(ranges)} ranges of scores; {MOST_RANGES} at most")
    if one.get("verdict", "") not in ("", *VERDICTS):
        raise Unclear(f"{one['verdict']!r} is no verdict; there are {', '.join(VERDICTS)}")
    page = one.get("page", "1")
    return Filter(
        degradation=one.get("degradation", ""),
        verdict=one.get("verdict", ""),
        reason=one.get("reason", ""),
        restorer=one.get("restorer", ""),
        ranges=tuple(ranges),
        sort=one.get("sort", ""),
        page=max(1, int(page)) if page.isascii() and page.isdecimal() and len(page) < 7 else 1,
    )


def gallery(ledger: Ledger, wanted: Filter) -> tuple[list[Card], int]:
    """The candidates of one page, and how many there are on all."""
    where, values = _where(wanted)
    total = int(ledger.query(f"SELECT count(*) {TABLES} {where}", *values)[0][0])
    metric = wanted.sort.removeprefix("-")
    order = "c.key, c.id"
    if metric:
        order = f"value IS NULL, value {'DESC' if wanted.sort.startswith('-') else 'ASC'}, {order}"
    rows = ledger.query(
        f"""SELECT c.id, c.key, c.restorer, p.degradation, p.image AS lq, a.image AS gt, v.decision, v.reason,
            {VALUE if metric else "NULL"} AS value {TABLES} {where} ORDER BY {order} LIMIT ? OFFSET ?""",
        *([metric] if metric else []), *values, PAGE, (wanted.page - 1) * PAGE,
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


def blind(card: Card) -> Card:
    """The card without what the gate says and measured: its pair waits to be judged."""
    return replace(card, verdict="waits for you", value=math.nan)


def keys(ledger: Ledger, wanted: Filter) -> list[str]:
    """The keys of all candidates that are asked for, on all pages, each once."""
    where, values = _where(wanted)
    return [str(row[0]) for row in ledger.query(f"SELECT DISTINCT c.key {TABLES} {where} ORDER BY c.key", *values)]


def offered(ledger: Ledger) -> Mapping[str, Sequence[str]]:
    """What can be chosen, by the filter's name."""
    found = {
        "degradation": f"SELECT DISTINCT p.degradation {TABLES} ORDER BY 1",
        "reason": f"SELECT DISTINCT v.reason {TABLES} WHERE v.reason != '' ORDER BY 1",
        "restorer": f"SELECT DISTINCT c.restorer {TABLES} ORDER BY 1",
        "metric": "SELECT DISTINCT json_extract(m.value, '$[0]') FROM layout l, json_each(l.metrics) m ORDER BY 1",
    }
    return {name: [str(row[0]) for row in ledger.query(sql)] for name, sql in found.items()} | {"verdict": VERDICTS}


def _where(wanted: Filter) -> tuple[str, list[str | int | float]]:
    terms, values = [], list[str | int | float]()
    for column, value in (
        ("p.degradation", wanted.degradation),
        ("v.reason", wanted.reason),
        ("c.restorer", wanted.restorer),
        ("v.decision", "" if wanted.verdict == "none" else wanted.verdict),
    ):
        if value:
            terms.append(f"{column} = ?")
            values.append(value)
    if wanted.verdict == "none":
        terms.append("v.decision IS NULL")
    for metric, low, high in wanted.ranges:
        terms.append(f"{VALUE} BETWEEN ? AND ?")
        values += [metric, max(low, -1e300), min(high, 1e300)]
    return (f"WHERE {' AND '.join(terms)}" if terms else ""), values


def _number(metric: str, text: str, otherwise: float) -> float:
    if not text:
        return otherwise
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise Unclear(f"The range of {metric}: {text!r} is no number; 0.5 is one, and an empty field leaves it open")
    return number


def _text(number: float) -> str:
    return repr(number) if math.isfinite(number) else ""
