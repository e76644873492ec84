"""Ranges of scores in the query of a URL: each `metric` begins one, and `low` and `high` follow it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

MAX_RANGES = 8
Range: TypeAlias = tuple[str, float, float]  # metric, lowest and highest value; infinite where open


class InvalidFilter(ValueError):
    """A query that cannot be read; the message says why. To show everything instead would mislead."""


def read_ranges(query: Iterable[tuple[str, str]]) -> tuple[tuple[Range, ...], list[tuple[str, str]]]:
    """Read the ranges of a query.

    Args:
        query: Names and values, in their order.

    Returns:
        The ranges, and the other names and values.

    Raises:
        InvalidFilter: A range cannot be read.
    """
    texts: list[dict[str, str]] = []
    others = []
    for name, value in query:
        if name == "metric":
            texts.append({"metric": value})
        elif name in ("low", "high"):
            if not texts:
                raise InvalidFilter(f"{name}={value} belongs to no metric. Write metric=NAME before it.")
            texts[-1][name] = value
        else:
            others.append((name, value))
    ranges = []
    for text in texts:
        metric, low, high = (text.get(name, "").strip() for name in ("metric", "low", "high"))
        if (low or high) and not metric:
            raise InvalidFilter(f"The range from {low or '(open)'} to {high or '(open)'} has no metric. Choose one.")
        if low or high:
            ranges.append((metric, _number(metric, low, -math.inf), _number(metric, high, math.inf)))
    if len(ranges) > MAX_RANGES:
        raise InvalidFilter(f"There are {len(ranges)} ranges of scores. Give at most {MAX_RANGES}.")
    return tuple(ranges), others


def write_ranges(ranges: Iterable[Range]) -> list[tuple[str, str]]:
    """Return ranges as names and values of a query, the reverse of read_ranges()."""
    return [
        pair
        for metric, low, high in ranges
        for pair in (("metric", metric), ("low", _text(low)), ("high", _text(high)))
    ]


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
