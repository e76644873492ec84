"""The pairs of a release: which of them match a filter, in which order, and what is known of each.

The index is memory-mapped, and a column is opened when it is asked for first, so that a release of 100,000 pairs is
filtered in memory and takes little of it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ggt_format.errors import ConfigError
from ggt_format.index_file import index_column, needed_columns, open_index, select_rows
from ggt_format.roots import Root
from ggt_format.schema import fact_columns, index_schema
from ggt_tools.viewing.query import CHOICES, SEARCHED, Filter

Rows = npt.NDArray[np.int64]
CARD = ("key", "degradation", "restorer", "licence")  # columns of a tile


class Catalogue:
    """The pairs of a release.

    Args:
        root: The release.

    Attributes:
        root: The release.
        splits: Number of pairs of each split that has any, by name.
        metrics: Names of the scores.
        opening: Held while columns of the index are opened, so that no two threads decode the same ones.
    """

    def __init__(self, root: Root) -> None:
        self.root, self.metrics, self.opening = root, tuple(root.metrics), threading.Lock()
        self.splits = {name: int(about["pairs"]) for name, about in root.indices.items() if about["pairs"]}
        if not self.splits:
            raise ConfigError(f"{root.url}: holds no pairs, so there is nothing to view.")
        self._schema = index_schema(root.metrics)
        self.rows = lru_cache(maxsize=32)(self._rows)
        self.choices = lru_cache(maxsize=8)(self._choices)

    def table(self, split: str, columns: Sequence[str]) -> pa.Table:
        """Return columns of the index of a split."""
        with self.opening:
            return open_index(self.root, split, columns)

    def _rows(self, filter: Filter) -> Rows:
        """Return the numbers of the pairs that match a filter, in its order."""
        where = filter.where
        table = self.table(filter.split, ["key", *needed_columns(self._schema, where)])
        try:
            rows = select_rows(table, self._schema, where, "all") if where else np.arange(table.num_rows)
        except ConfigError:  # nothing is left
            return np.empty(0, np.int64)
        if filter.text:
            rows = rows[self._contains(filter, rows)]
        if filter.sort:
            metric = filter.sort.removeprefix("-")
            scores = index_column(self.table(filter.split, ["scores"]), f"scores.{metric}").to_numpy()[rows]
            rows = rows[np.argsort(-scores if filter.sort.startswith("-") else scores, kind="stable")]  # NaN comes last
        return rows

    def _contains(self, filter: Filter, rows: Rows) -> npt.NDArray[np.bool_]:
        """Return (n,) which of some pairs hold the text of a filter."""
        table = self.table(filter.split, ["key", *SEARCHED])
        is_chosen = np.zeros(table.num_rows, np.bool_)
        is_chosen[rows] = True
        left = table.filter(pa.array(is_chosen))
        found = pc.starts_with(left["key"], filter.text.lower())
        for column in SEARCHED:
            found = pc.or_(found, pc.match_substring(left[column], filter.text, ignore_case=True))
        return np.asarray(found.to_numpy())

    def _choices(self, split: str) -> dict[str, list[tuple[str, int]]]:
        """Return for each column of CHOICES its values and how often each occurs, the most frequent first."""
        table = self.table(split, list(CHOICES))
        choices = {}
        for column in CHOICES:
            counts = [(item["values"], item["counts"]) for item in pc.value_counts(table[column]).to_pylist()]
            choices[column] = sorted(counts, key=lambda item: (-item[1], item[0]))
        return choices

    def find(self, split: str, key: str) -> int | None:
        """Return the number of the pair with a key; None if there is none."""
        number = pc.index(self.table(split, ["key"])["key"], key).as_py()
        return None if number < 0 else int(number)

    def cards(self, filter: Filter, rows: Rows) -> list[list[Any]]:
        """Return what tiles show of some pairs: number, the columns of CARD, and the score that is sorted by."""
        table = self.table(filter.split, CARD)
        columns = [_pick(table[name], rows) for name in CARD]
        if filter.sort:
            scores = self.table(filter.split, ["scores"])
            columns.append(_pick(index_column(scores, f"scores.{filter.sort.removeprefix('-')}"), rows))
        return [[int(row), *values] for row, values in zip(rows, zip(*columns, strict=True), strict=True)]

    def keys(self, filter: Filter) -> list[str]:
        """Return the keys of all pairs that match a filter."""
        return _pick(self.table(filter.split, ["key"])["key"], self.rows(filter))

    def facts(self, split: str, row: int) -> dict[str, Any]:
        """Return all facts of a pair, and the shard that holds it."""
        table = self.table(split, [*fact_columns(self.metrics), "shard"])
        return {name: table[name][row].as_py() for name in table.column_names}


def _pick(column: pa.ChunkedArray, rows: Rows) -> list[Any]:
    """Return the values of some rows."""
    if len(rows) < 1000:  # take() would first look at every chunk
        return [column[int(row)].as_py() for row in rows]
    picked: list[Any] = column.take(pa.array(rows)).to_pylist()
    return picked
