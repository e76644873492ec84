"""Where the ledger stores scores: one row for each candidate, with all values that were measured of it.

A row for each score would take six times as much space and time. The table `layout` says which metric, in which
version, each value belongs to; thousands of candidates share a layout. The view `score` shows one row for each score to
readers who use SQL; its `rowid` is the order in which the scores of a candidate were added.
"""

from __future__ import annotations

import io
import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from ggt_tools.records import Score
from ggt_tools.workspace.codec import parse_tuples

Floats = npt.NDArray[np.float64]
TABLES = (
    "CREATE TABLE IF NOT EXISTS layout (id INTEGER PRIMARY KEY, metrics TEXT NOT NULL UNIQUE)",
    """CREATE TABLE IF NOT EXISTS scores
        (candidate TEXT NOT NULL PRIMARY KEY, layout INTEGER NOT NULL, "values" TEXT NOT NULL)""",
    """CREATE VIEW IF NOT EXISTS score AS
        SELECT s.candidate, json_extract(m.value, '$[0]') AS metric, json_extract(m.value, '$[1]') AS metric_version,
            json_extract(s."values", '$[' || m.key || ']') AS value, m.key AS rowid
        FROM scores s JOIN layout l ON l.id = s.layout, json_each(l.metrics) m""",
)
COMPUTED_PREFIX = "vlm_"  # such scores are computed from all opinions so far, so a newer one replaces the stored one
ALL = 'SELECT s.candidate, l.metrics, s."values" FROM scores s JOIN layout l ON l.id = s.layout'


def add_scores(db: sqlite3.Connection, scores: Iterable[Score]) -> None:
    """Add scores. A stored score stays as it is, except those with COMPUTED_PREFIX, which are replaced."""
    new: dict[str, list[Score]] = defaultdict(list)
    for score in scores:
        new[score.candidate].append(score)
    for candidate, some in new.items():
        row = db.execute(f"{ALL} WHERE s.candidate = ?", (candidate,)).fetchone()
        values = {found[:2]: found[2] for found in scores_of(row[1], row[2])} if row else {}
        for score in some:
            name = score.metric, score.metric_version
            if score.metric.startswith(COMPUTED_PREFIX):
                values.pop(name, None)  # the newest comes last
            values.setdefault(name, score.value)
        _put(db, candidate, values)


def add_rows(db: sqlite3.Connection, rows: Iterable[tuple[str, str, str, float | None]]) -> None:
    """Add rows of version 3 of the ledger, in which the scores of a candidate follow one another."""
    for candidate, some in groupby(rows, itemgetter(0)):
        _put(db, candidate, {(metric, version): math.nan if v is None else v for _, metric, version, v in some})


def _put(db: sqlite3.Connection, candidate: str, values: dict[tuple[str, str], float]) -> None:
    layout = json.dumps(list(values))
    db.execute("INSERT OR IGNORE INTO layout (metrics) VALUES (?)", (layout,))
    db.execute(
        """INSERT INTO scores SELECT ?, id, ? FROM layout WHERE metrics = ?
        ON CONFLICT (candidate) DO UPDATE SET layout = excluded.layout, "values" = excluded."values" """,
        (candidate, to_text(values.values()), layout),
    )


def to_text(values: Iterable[float]) -> str:
    """Return JSON of the values; NaN is null, and infinity a number too large for any float."""
    text = json.dumps([float(value) for value in values], separators=(",", ":"))
    return text.replace("NaN", "null").replace("Infinity", "9e999")


def scores_of(metrics: str, values: str) -> list[tuple[str, str, float]]:
    """Return (metric, version, value) of each score of a row, in the order in which they were added."""
    pairs = zip(parse_tuples(metrics), json.loads(values), strict=True)
    return [(name, version, math.nan if value is None else value) for (name, version), value in pairs]


def read_scores(db: sqlite3.Connection, order: str, *asked: str) -> Iterator[tuple[str, list[tuple[str, str, float]]]]:
    """Yield each candidate with all scores_of() it. `order` is SQL that follows the FROM clause."""
    cursor = db.cursor()
    cursor.row_factory = None
    for candidate, metrics, values in cursor.execute(f"{ALL} {order}", asked):
        yield candidate, scores_of(metrics, values)


def by_metric(
    db: sqlite3.Connection, layouts: Sequence[int | None], texts: Sequence[str | None], others: Mapping[str, Floats]
) -> dict[str, Floats]:
    """Return the newest values of each metric: (n,), NaN where a candidate has none.

    Args:
        db: The ledger.
        layouts: (n,) layout of the row of each candidate; None for a candidate without a row.
        texts: (n,) values of these rows.
        others: Other (n,) values by metric, which count where a row has none of the metric.
    """
    metrics = dict(db.execute("SELECT id, metrics FROM layout").fetchall())
    found = dict(others)
    of = np.array([0 if layout is None else layout for layout in layouts])
    for layout in set(of[of > 0].tolist()):
        places = np.flatnonzero(of == layout)
        table = _table([str(texts[place]) for place in places.tolist()])
        for (name, _), column in zip(
            parse_tuples(metrics[layout]), table.columns, strict=True
        ):  # the newest comes last
            if name not in found:
                found[name] = np.full(len(layouts), np.nan)
            found[name][places] = column.to_numpy()
    return found


def _table(texts: Sequence[str]) -> pa.Table:
    """Return JSON lists of one length as columns. Without their brackets they are CSV, which Arrow reads at once."""
    names = [str(place) for place in range(texts[0].count(",") + 1)]
    return pyarrow.csv.read_csv(
        io.BytesIO("\n".join(texts)[1:-1].replace("]\n[", "\n").encode()),
        read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.float64()), null_values=["null"]
        ),
    )
