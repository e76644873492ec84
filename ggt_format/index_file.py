"""Open the index `index/{split}.parquet` memory-mapped, and select its rows."""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ggt_format.errors import ConfigError, ShardError
from ggt_format.offline import cache_folder
from ggt_format.ranges import read_with_retries
from ggt_format.roots import Root, resolve_root
from ggt_format.schema import DEGRADATIONS, NAME, index_schema

_log = logging.getLogger(NAME)
Where: TypeAlias = Mapping[str, Any] | pc.Expression | None
_TABLES: dict[
    tuple[str, str], pa.Table
] = {}  # by root identity and split; a forked process inherits mapped memory only


def index_table(root: Root, split: str) -> pa.Table:
    """Open the index of a split, memory-mapped: processes share it, and a column that is not used takes no memory.

    The index is fetched once for each release, compared with the manifest's checksum, and kept in `cache_folder()`.
    """
    if (root.identity, split) not in _TABLES:
        if split not in root.indices:
            raise ConfigError(f"{root.url}: no split {split!r}; there are: {', '.join(root.indices)}")
        path = cache_folder() / f"index-{root.identity[:32]}-{split}.arrow"
        if not path.exists():
            parquet = _fetch_index(root, split)
            try:
                _map_index(parquet, path)
            except OSError as fault:  # a full disk, or a cache folder without write permission
                _log.warning("the index is kept in memory, in each process: %s", fault)
                _TABLES[root.identity, split] = parquet.read()
                return _TABLES[root.identity, split]
        try:
            _TABLES[root.identity, split] = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as fault:  # a crash damaged it
            _log.warning("%s: %s; it is made anew", path, fault)
            path.unlink()
            return index_table(root, split)
    return _TABLES[root.identity, split]


def _fetch_index(root: Root, split: str) -> pq.ParquetFile:
    name = f"index/{split}.parquet"
    try:
        data = read_with_retries(lambda: root.read(name), f"{root.url}: {name}")
    except FileNotFoundError as fault:
        raise ShardError(f"{root.url}: {name} is named by the manifest and is not there; fetch it again") from fault
    if hashlib.sha256(data).hexdigest() != root.indices[split]["index"]["sha256"]:
        raise ShardError(f"{root.url}: {name}: its bytes are not those that the manifest names; fetch it again")
    parquet = pq.ParquetFile(pa.BufferReader(data))
    if not parquet.schema_arrow.equals(index_schema(root.metrics)):
        raise ShardError(f"{root.url}: {name}: its columns are not those of the format; pack it again")
    return parquet


def _map_index(parquet: pq.ParquetFile, path: Path) -> None:
    """Write the index as an uncompressed Arrow file, which needs no decoding. The file appears whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, parquet.schema_arrow) as writer:
        groups: list[pa.Table] = []
        for number in range(parquet.num_row_groups):
            groups.append(parquet.read_row_group(number))
            # few and large batches: finding a row takes time for each batch
            if sum(group.num_rows for group in groups) >= 1 << 16 or number == parquet.num_row_groups - 1:
                writer.write_table(pa.concat_tables(groups).combine_chunks())
                groups = []
    part.replace(path)


def select(table: pa.Table, where: Where, config: str = "all") -> npt.NDArray[np.int64]:
    """Return the numbers of the rows that a filter leaves, in order: int64.

    Args:
        table: an index.
        where: a pyarrow expression, or a dict from column (`scores.NAME` for a score) to its condition: a value, a list
            of allowed values, or a tuple (minimum, maximum) with None for no bound. A list column must contain one of
            the values. None keeps all rows.
        config: "all", or the name of a degradation, which keeps the pairs of that class.

    Raises:
        ConfigError: a column is unknown (the message names the columns), or no row is left (it counts the rows that
            each condition leaves).
    """
    clauses: dict[str, npt.NDArray[np.bool_]] = {}
    if where is not None and not isinstance(where, (Mapping, pc.Expression)):
        raise ConfigError(f"where={where!r} is neither a dict by column nor a pyarrow expression")
    if config in DEGRADATIONS:
        clauses[f"config {config}"] = _holds(table, "degradation", config)
    if isinstance(where, pc.Expression):
        numbered = table.append_column("__row__", pa.array(np.arange(table.num_rows)))
        try:
            import pyarrow.dataset as pads  # 40 MB and 0.4 s: only where an expression asks for it

            rows = pads.dataset(numbered).to_table(columns=["__row__"], filter=where)["__row__"].to_numpy()
        except (pa.ArrowException, KeyError, TypeError) as fault:
            said = str(fault).partition(" in key: ")[0]  # without pyarrow's own long list of the columns
            raise ConfigError(f"where: {said}; the columns are: {', '.join(column_names(table))}") from fault
        clauses[f"where {where}"] = np.isin(np.arange(table.num_rows), rows)
    else:
        clauses |= {f"{name} {wanted!r}": _holds(table, name, wanted) for name, wanted in (where or {}).items()}
    if not clauses:
        return np.arange(table.num_rows)
    rows = np.flatnonzero(np.logical_and.reduce(list(clauses.values())))
    if not len(rows):
        counts = ", ".join(f"{clause} leaves {int(mask.sum())}" for clause, mask in clauses.items())
        raise ConfigError(f"nothing is left of {table.num_rows} pairs: {counts}; widen one of them")
    return rows


def column_names(table: pa.Table) -> list[str]:
    scores = [f"scores.{field.name}" for field in table.schema.field("scores").type]
    return [*(name for name in table.column_names if name != "scores"), *scores]


def index_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name != "scores" and name not in column_names(table):
        near = difflib.get_close_matches(name, column_names(table), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"no column {name!r}{hint}; there are: {', '.join(column_names(table))}")
    top, _, score = name.partition(".")
    return pc.struct_field(table[top], score) if score else table[top]


def _holds(table: pa.Table, name: str, wanted: Any) -> npt.NDArray[np.bool_]:
    column = index_column(table, name)
    try:
        if pa.types.is_list(column.type):
            values = pa.array(wanted if isinstance(wanted, (list, set)) else [wanted], column.type.value_type)
            rows = pc.list_parent_indices(column.combine_chunks()).filter(
                pc.is_in(pc.list_flatten(column.combine_chunks()), values)
            )
            return np.isin(np.arange(table.num_rows), rows.to_numpy())
        if isinstance(wanted, tuple):
            least, most = wanted
            mask = pc.is_valid(column)
            for bound, compare in ((least, pc.greater_equal), (most, pc.less_equal)):
                if bound is not None:  # scores are float32: compared with a float64 bound, 0.1 would not equal 0.1
                    kind = column.type if pa.types.is_floating(column.type) else None
                    mask = pc.and_(mask, compare(column, pa.scalar(bound, kind)))
        else:
            values = pa.array(list(wanted) if isinstance(wanted, (list, set)) else [wanted]).cast(column.type)
            mask = pc.is_in(column, values)
    except (pa.ArrowException, ValueError, TypeError) as fault:
        raise ConfigError(f"where: {name} is {column.type} and cannot be held against {wanted!r}: {fault}") from fault
    return np.asarray(mask.to_numpy())


def index(
    data_dir: str | os.PathLike[str] | None = None,
    split: str = "train",
    *,
    name: str = "all",
    where: Where = None,
    columns: Sequence[str] | None = None,
    revision: str | None = None,
) -> pa.Table:
    """Return the index of a split: one row for each pair, memory-mapped.

    Args:
        data_dir: the dataset folder, as in `locate`.
        split: "train", "test" or "prior".
        name: "all", "sample", or the name of a degradation.
        where: which rows, as in `select`.
        columns: the columns to return (`scores.NAME` for one score); None for all of `index_schema`.
        revision: a tag or commit of a repository on the Hub.

    Raises:
        ConfigError: no dataset is found, a name is unknown, or no row is left.
        ShardError: the index is damaged.
    """
    table = index_table(resolve_root(name, data_dir, revision, None), split)
    rows = select(table, where, name) if where is not None or name in DEGRADATIONS else None
    if columns is not None:
        for name in columns:
            index_column(table, name)
        top = [name for name in columns if "." not in name]
        table = pa.table({name: table[name] if name in top else index_column(table, name) for name in columns})
    if rows is None:
        return table
    mask = np.zeros(table.num_rows, np.bool_)
    mask[rows] = True
    # filter() keeps the chunks; take() makes one chunk, which overflows its offsets at ten million rows
    return table.filter(pa.array(mask))
