"""What a task of an executor made, as one Parquet file with a column for each class of record.

DuckDB, Polars and Daft read it as it is: tuples are lists, and NaN stays NaN.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_tools.records import TABLES, DataclassRecord, Finding
from ggt_tools.workspace.codec import arrow_schema, from_arrow_row, to_arrow_row


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkFailure:
    """A work without a result, and why. It is not stored in the ledger: the next run tries the work again."""

    work: str  # id of the work
    subject: str  # what it was about: a candidate, a photograph
    reason: str  # reason code
    detail: str


CLASSES: dict[str, type[DataclassRecord]] = {
    **{table.name: record_class for record_class, table in TABLES.items()},
    "fault": WorkFailure,
    "finding": Finding,
}
NAMES = {record_class: name for name, record_class in CLASSES.items()}


def to_parquet(facts: Iterable[DataclassRecord]) -> bytes:
    """Return one file: a row for each fact, in the column of its class; the other columns are null."""
    listed = list(facts)
    columns = {
        NAMES[record_class]: pa.array(
            [to_arrow_row(fact) if type(fact) is record_class else None for fact in listed],
            pa.struct(list(arrow_schema(record_class))),
        )
        for record_class in dict.fromkeys([*(type(fact) for fact in listed), WorkFailure])
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


def from_parquet(data: bytes) -> list[Any]:
    """Return the records that to_parquet() wrote, in their order."""
    table = pq.read_table(io.BytesIO(data))
    records: list[Any] = [None] * table.num_rows
    for name in table.column_names:
        for number, row in enumerate(table[name].to_pylist()):
            if row is not None:
                records[number] = from_arrow_row(CLASSES[name], row)
    return records
