"""Facts in Arrow: what a task found, as one parquet file with a column a kind of record; and a table of the ledger.

Tuples are lists, and a number that is NaN stays NaN: DuckDB, Polars and Daft read what stands here as it is.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, get_args, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_tools.records import DataclassRecord, Finding
from ggt_tools.workspace.ledger import KEYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A work that nothing came of, and why. No fact of the ledger: it is tried anew by the next run."""

    work: str  # its id
    subject: str  # what it was of: a candidate, a photograph
    reason: str  # stable
    detail: str


KINDS: dict[str, type[DataclassRecord]] = {kind.__name__.lower(): kind for kind in (*KEYS, Fault, Finding)}


def to_parquet(facts: Iterable[DataclassRecord]) -> bytes:
    """One file: a row a fact, in the column of its kind, null in the others."""
    listed = list(facts)
    kinds = dict.fromkeys([*(type(fact) for fact in listed), Fault])
    columns = {
        kind.__name__.lower(): pa.array(
            [_row(fact) if type(fact) is kind else None for fact in listed], pa.struct(list(schema(kind)))
        )
        for kind in kinds
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


def from_parquet(data: bytes) -> list[Any]:
    """The records that to_parquet() wrote, in their order."""
    table = pq.read_table(io.BytesIO(data))
    found: list[Any] = [None] * table.num_rows
    for name in table.column_names:
        kind = KINDS[name]
        for place, row in enumerate(table[name].to_pylist()):
            if row is not None:
                found[place] = kind(**{key: _tuples(value) for key, value in row.items()})
    return found


def to_table(kind: type, records: Iterable[DataclassRecord]) -> pa.Table:
    """Return a table of records of one kind: a column a field, tuples as lists."""
    columns = schema(kind)
    return pa.Table.from_pylist([_row(record) for record in records], columns)


def schema(kind: type) -> pa.Schema:
    """The columns of a kind of record."""
    hints = get_type_hints(kind)
    return pa.schema([pa.field(field.name, _type(hints[field.name])) for field in fields(kind)])


def _type(hint: Any) -> pa.DataType:
    if get_origin(hint) is tuple:
        return pa.list_(_type(get_args(hint)[0]))
    return {int: pa.int64(), float: pa.float64()}.get(hint, pa.string())


def _row(record: DataclassRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
