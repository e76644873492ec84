"""The candidates of many photographs as arrays, for a gate that judges millions of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_tools.records import ALIGN_SCORES, IN_FLIGHT
from ggt_tools.workspace import funnel, score_table
from ggt_tools.workspace.codec import parse_tuples
from ggt_tools.workspace.verdict_table import Verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateBatch:
    """All candidates of some photographs, by columns.

    The n candidates that can be judged come first, then those that are in flight; m is the number of both.

    Attributes:
        candidates: (n,) ids.
        keys: (m,) keys of their photographs.
        photos: (m,) index of each photograph in `degradations`.
        facts: (m,) the first seven fields of their funnel.CandidateState.
        outcomes: (m,) the last three, as they are stored now.
        measured: By metric (n,) values, NaN where not measured; what align measured is among them.
        degradations: By key the class of a photograph, then all degradations that are seen in it.
        lost: By candidate without an aligned image the stage and the reason.
    """

    candidates: Sequence[str]
    keys: Sequence[str]
    photos: npt.NDArray[np.int64]
    facts: funnel.Grouped
    outcomes: funnel.Grouped
    measured: dict[str, npt.NDArray[np.float64]]
    degradations: dict[str, tuple[str, ...]]
    lost: dict[str, tuple[str, str]]

    def count_changes(self, verdicts: Verdicts) -> funnel.StateCounts:
        """Return what these verdicts on the candidates change of the counts of `status`."""
        distinct, index = self.outcomes
        after = funnel.Grouped(
            [*distinct, *(outcome[1:4] for outcome in verdicts.outcomes)],
            np.concatenate([np.array(verdicts.of, np.int64) + len(distinct), index[len(self.candidates) :]]),
        )
        changes = funnel.count_states(self.photos, self.facts, after)
        changes.subtract(funnel.count_states(self.photos, self.facts, self.outcomes))
        return changes


def read_batch(db: sqlite3.Connection, first: str, end: str) -> CandidateBatch:
    """Return the candidates of the photographs from one key up to, and without, another."""
    cursor = db.cursor()
    cursor.row_factory = None
    photos = cursor.execute(
        "SELECT key, degradation, degradations FROM photo WHERE key >= ? AND key < ? ORDER BY key", (first, end)
    ).fetchall()
    photo_numbers = {row[0]: number for number, row in enumerate(photos)}
    rows = _candidate_rows(cursor, first, end)
    ready = [row for row in rows if row[5] != IN_FLIGHT]
    if len(ready) < len(rows):
        rows = ready + [row for row in rows if row[5] == IN_FLIGHT]
    (
        candidates, keys, restorers, strategies, restored, restore_reasons, aligned, align_reasons, outcomes,
        *align_values, layouts, texts,
    ) = zip(*rows, strict=True) if rows else [()] * (11 + len(ALIGN_SCORES))  # fmt: skip
    count = len(ready)
    numbers = list(map(photo_numbers.__getitem__, keys))
    classes = [row[1] for row in photos]
    stored: dict[int | None, tuple[Any, ...]] = {None: (None, None, None)}
    stored |= {id: tuple(outcome) for id, *outcome in cursor.execute("SELECT id, decision, stage, reason FROM outcome")}
    measured = np.array(align_values, float)[:, :count]
    measured[:, [not has_image for has_image in aligned[:count]]] = np.nan
    lost = {row[0]: ("restore", row[5] or "no_image") for row in ready if not row[4]}
    lost |= {row[0]: ("align", row[7]) for row in ready if row[6] == 0}
    return CandidateBatch(
        candidates=candidates[:count],
        keys=keys,
        photos=np.array(numbers, np.int64),
        facts=funnel.group(
            zip(
                map(classes.__getitem__, numbers), restorers, strategies, restored, restore_reasons, aligned,
                align_reasons, strict=True,
            )
        ),
        outcomes=funnel.group(map(stored.__getitem__, outcomes)),
        measured=score_table.by_metric(
            db, layouts[:count], texts[:count], dict(zip(ALIGN_SCORES, measured, strict=True))
        ),
        degradations={key: parse_tuples(listed) for key, _, listed in photos},
        lost=lost,
    )  # fmt: skip


def _candidate_rows(cursor: sqlite3.Cursor, first: str, end: str) -> list[tuple[Any, ...]]:
    """Return a row for each candidate, by id: in this order each lookup finds most of its pages in memory already."""
    align_columns = ", ".join(f"a.{column}" for column in ALIGN_SCORES.values())
    return cursor.execute(
        f"""SELECT c.id, c.key, c.restorer, c.strategy, c.image != '', c.reason, a.image != '', a.reason, v.outcome,
            {align_columns}, s.layout, s."values"
        FROM (SELECT c.id, c.rowid AS number FROM photo p CROSS JOIN candidate c ON c.key = p.key
            WHERE p.key >= ? AND p.key < ? ORDER BY c.id LIMIT -1) o
        CROSS JOIN candidate c ON c.rowid = o.number LEFT JOIN aligned a ON a.candidate = o.id
        LEFT JOIN verdicts v ON v.candidate = o.id LEFT JOIN scores s ON s.candidate = o.id""",
        (first, end),
    ).fetchall()
