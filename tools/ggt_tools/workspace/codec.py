"""The one conversion of records: to rows of SQLite, to JSON, and to Arrow, and back.

A tuple is JSON text in a row and a list in JSON and Arrow. NaN is NULL in a row and stays NaN in Arrow.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin, get_type_hints

from ggt_tools.evidence import FIELDS, EvidenceItem, from_list, from_struct, to_list, to_struct
from ggt_tools.records import DataclassRecord, Record

if TYPE_CHECKING:
    import pyarrow as pa

SQL_TYPES = {int: "INTEGER NOT NULL", float: "REAL"}


class Column(NamedTuple):
    """A field of a record class."""

    name: str
    hint: Any  # str, int, float, or a tuple of one of these or of evidence

    @property
    def is_list(self) -> bool:
        return get_origin(self.hint) is tuple

    @property
    def is_evidence(self) -> bool:
        return bool(self.hint == tuple[EvidenceItem, ...])

    @property
    def sql_type(self) -> str:
        return SQL_TYPES.get(self.hint, "TEXT NOT NULL")


@cache
def columns(record_class: type) -> tuple[Column, ...]:
    """Return the fields of a record class, in their order."""
    return tuple(Column(name, hint) for name, hint in get_type_hints(record_class).items())


# --- rows of SQLite -------------------------------------------------------------------------------------------------


def to_row(record: DataclassRecord) -> dict[str, Any]:
    """Return the record as one flat row of scalars."""
    return dict(zip(record.__dataclass_fields__, to_values(record), strict=True))


def to_values(record: DataclassRecord) -> tuple[Any, ...]:
    """Return the values of that row, in the order of the fields."""
    values = list(map(record.__getattribute__, record.__dataclass_fields__))
    for place in _evidence_places(type(record)):
        values[place] = tuple(map(to_list, values[place]))
    return tuple(json.dumps(value) if isinstance(value, tuple) else value for value in values)


@cache
def _evidence_places(record_class: type) -> tuple[int, ...]:
    return tuple(place for place, column in enumerate(columns(record_class)) if column.is_evidence)


def from_row(record_class: type[Record], row: Mapping[str, Any]) -> Record:
    """Return the record of a row that to_row() made."""
    return record_class(
        **{name: row[name] if read is None else read(row[name]) for name, read in _readers(record_class)}
    )


@cache
def _readers(record_class: type) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """For each column, what converts its value; None where nothing is to be converted."""
    readers: dict[Any, Callable[[Any], Any] | None] = {str: None, int: None, float: _number}
    return tuple(
        (column.name, _parse_evidence if column.is_evidence else readers.get(column.hint, parse_tuples))
        for column in columns(record_class)
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)  # SQLite stores NaN as NULL


def _parse_evidence(text: str) -> tuple[EvidenceItem, ...]:
    return tuple(map(from_list, json.loads(text)))


# --- JSON -----------------------------------------------------------------------------------------------------------


def to_json(record: DataclassRecord) -> str:
    """Return a row as one line of JSON."""
    return json.dumps(to_row(record))


@lru_cache(4096)
def parse_tuples(text: str) -> Any:
    """Parse JSON text; lists become tuples."""
    return _tuples(json.loads(text))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


# --- Arrow ----------------------------------------------------------------------------------------------------------


def arrow_schema(record_class: type) -> pa.Schema:
    """Return the columns of a table of such records: a column a field, tuples as lists."""
    import pyarrow as pa

    return pa.schema([pa.field(column.name, _arrow_type(column.hint)) for column in columns(record_class)])


def _arrow_type(hint: Any) -> pa.DataType:
    import pyarrow as pa

    if hint == EvidenceItem:
        types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
        return pa.struct({"type": pa.string(), **{name: types[field] for name, field in FIELDS.items()}})
    if get_origin(hint) is tuple:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    return {int: pa.int64(), float: pa.float64()}.get(hint, pa.string())


def to_arrow_row(record: DataclassRecord) -> dict[str, Any]:
    """Return the record as Arrow takes it in a struct."""
    row = {name: getattr(record, name) for name in record.__dataclass_fields__}
    for name in _evidence_columns(type(record)):
        row[name] = list(map(to_struct, row[name]))
    return row


def from_arrow_row(record_class: type[Record], row: Mapping[str, Any]) -> Record:
    """Return the record of a row that Arrow gives back."""
    evidence = {name: tuple(map(from_struct, row[name])) for name in _evidence_columns(record_class)}
    return record_class(**{name: _tuples(value) for name, value in row.items()} | evidence)


@cache
def _evidence_columns(record_class: type) -> tuple[str, ...]:
    return tuple(column.name for column in columns(record_class) if column.is_evidence)


def to_table(record_class: type, records: Iterable[DataclassRecord]) -> pa.Table:
    """Return an Arrow table of records of one class."""
    import pyarrow as pa

    return pa.Table.from_pylist([to_arrow_row(record) for record in records], arrow_schema(record_class))


def rows_to_batch(record_class: type, rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    """Return an Arrow table of rows of SQLite, without making a record of each."""
    import pyarrow as pa

    schema = arrow_schema(record_class)
    values: list[Any] = list(zip(*rows, strict=True))
    for place, column in enumerate(columns(record_class)):
        if column.is_evidence:
            values[place] = [list(map(to_struct, _parse_evidence(text))) for text in values[place]]
        elif column.is_list:
            values[place] = [json.loads(text) for text in values[place]]
        elif column.hint is float:
            values[place] = [float("nan") if number is None else number for number in values[place]]
    arrays = [pa.array(listed, field.type) for listed, field in zip(values, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
