"""The filter of the grid: read from a URL's query, written as one, and written as code for `PairDataset`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from ggt_tools.web.ranges import InvalidFilter, Range, read_ranges, write_ranges

CHOICES = {  # columns of which values are chosen, and what they are called
    "degradation": "Class",
    "source": "Kind of source",
    "source_name": "Source",
    "restorer": "Restorer",
    "licence": "Licence",
}
SEARCHED = ("prompt", "author")  # columns that are searched for a text, besides the start of the key
MAX_TEXT = 200  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which pairs of a split are shown, in which order. Empty values select all.

    Attributes:
        split: The split.
        chosen: Column and the values that it may have, in the order of CHOICES.
        text: What the prompt or the author contains, without regard to case, or the key begins with.
        ranges: Metric, lowest and highest value.
        sort: Metric by which pairs are sorted, the lowest first; with "-" before it, the highest first.
    """

    split: str
    chosen: tuple[tuple[str, tuple[str, ...]], ...] = ()
    text: str = ""
    ranges: tuple[Range, ...] = ()
    sort: str = ""

    @property
    def query(self) -> str:
        """The filter as the query of a URL."""
        pairs = [("split", self.split)]
        pairs += [(column, value) for column, values in self.chosen for value in values]
        pairs += [(name, value) for name, value in (("q", self.text), ("sort", self.sort)) if value]
        return urlencode([*pairs, *write_ranges(self.ranges)])

    @property
    def where(self) -> dict[str, Any]:
        """The conditions on columns and scores, as `PairDataset` takes them; without the text."""
        where: dict[str, Any] = {column: list(values) for column, values in self.chosen}
        return where | {f"scores.{metric}": bounds for metric, bounds in self._bounds().items()}

    def _bounds(self) -> dict[str, tuple[float | None, float | None]]:
        """Return the bounds of each metric, None where open. Two ranges of one metric both hold."""
        bounds: dict[str, tuple[float, float]] = {}
        for metric, low, high in self.ranges:
            before = bounds.get(metric, (-math.inf, math.inf))
            bounds[metric] = max(low, before[0]), min(high, before[1])
        return {
            metric: (low if math.isfinite(low) else None, high if math.isfinite(high) else None)
            for metric, (low, high) in bounds.items()
        }

    def code(self, url: str) -> str:
        """Return the filter as Python code that opens the same pairs.

        Args:
            url: Folder or URL of the release.
        """
        if not self.text:
            where = f", where={self.where!r}" if self.where else ""
            return f"import ggt100k\n\npairs = ggt100k.PairDataset({url!r}, {self.split!r}{where})\n"
        terms = [f"pc.field({column!r}).isin({list(values)!r})" for column, values in self.chosen]
        for metric, bounds in self._bounds().items():
            for sign, bound in zip((">=", "<="), bounds, strict=True):
                if bound is not None:
                    terms.append(f'(pc.field("scores", {metric!r}) {sign} pa.scalar({bound!r}, pa.float32()))')
        searched = [f"pc.starts_with(pc.field('key'), {self.text.lower()!r})"]
        searched += [f"pc.match_substring(pc.field({c!r}), {self.text!r}, ignore_case=True)" for c in SEARCHED]
        terms.append("({})".format("\n        | ".join(searched)))
        where = "\n    & ".join(terms)
        return (
            "import ggt100k\nimport pyarrow as pa\nimport pyarrow.compute as pc\n\n"
            f"where = (\n    {where}\n)\npairs = ggt100k.PairDataset({url!r}, {self.split!r}, where=where)\n"
        )


def read_filter(query: Iterable[tuple[str, str]], splits: Mapping[str, Any], metrics: Collection[str]) -> Filter:
    """Read a filter from the names and values of a query.

    Args:
        query: Names and values, in their order.
        splits: The splits of the release; the first one is the default.
        metrics: Names of the scores of the release.

    Raises:
        InvalidFilter: A value cannot be read, or names a split or a score that the release does not have.
    """
    ranges, others = read_ranges(query)
    values: dict[str, list[str]] = {}
    for name, value in others:
        values.setdefault(name, []).append(value)
    split = values.get("split", [""])[0] or next(iter(splits))
    if split not in splits:
        raise InvalidFilter(f"There is no split {split!r}. Choose one of {', '.join(splits)}.")
    sort = values.get("sort", [""])[0]
    for metric in (*(metric for metric, _, _ in ranges), *([sort.removeprefix("-")] if sort else [])):
        if metric not in metrics:
            raise InvalidFilter(f"There is no score {metric!r} in this release.")
    text = " ".join(values.get("q", [""])[0].split())
    if len(text) > MAX_TEXT:
        raise InvalidFilter(f"The text to search for has {len(text)} characters. Give at most {MAX_TEXT}.")
    chosen = ((column, tuple(dict.fromkeys(v for v in values.get(column, []) if v))) for column in CHOICES)
    return Filter(split=split, chosen=tuple((c, v) for c, v in chosen if v), text=text, ranges=ranges, sort=sort)
