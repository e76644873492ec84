"""Open the needed columns of the index `index/{split}.parquet`, memory-mapped, and select rows."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ggt_format.errors import ConfigError, ShardError
from ggt_format.files import write_whole
from ggt_format.offline import cache_folder
from ggt_format.ranges import read_with_retries
from ggt_format.roots import Root, resolve_root
from ggt_format.schema import DEGRADATIONS, NAME, index_schema

_log = logging.getLogger(NAME)
Where: TypeAlias = Mapping[str, Any] | pc.Expression | None
CHUNK_ROWS = 1 << 16  # rows of a chunk; large, because finding a row takes time for each chunk
# opened columns by (identity of the root, split), then by name; a forked process inherits mapped memory only
_COLUMNS: dict[tuple[str, str], dict[str, pa.ChunkedArray]] = {}


def open_index(root: Root, split: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Open the index of a split, memory-mapped: processes share it, and an unused column takes no memory.

    The Parquet file is compared with the manifest's checksum. Each column is decoded when it is first needed, and
    kept in `cache_folder()` as an uncompressed Arrow file, which needs no decoding. An index behind a URL is fetched
    once for each release.

    Args:
        root: The dataset folder.
        split: "train", "test" or "prior".
        columns: Names of top-level columns; None for all.

    Raises:
        ConfigError: There is no such split.
        ShardError: The index is damaged.
    """
    if split not in root.indices:
        raise ConfigError(f"{root.url}: has no split {split!r}. Choose one of: {', '.join(root.indices)}.")
    schema = index_schema(root.metrics)
    names = [name for name in schema.names if columns is None or name in columns]
    opened = _COLUMNS.setdefault((root.identity, split), {})
    missing = [name for name in names if name not in opened]
    if missing:
        opened |= _open_columns(root, split, missing)
    return pa.table({name: opened[name] for name in names}, schema=pa.schema([schema.field(name) for name in names]))


def _open_columns(root: Root, split: str, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Map columns of the index from the cache. Columns that the cache lacks are first decoded and added to it."""
    stem = f"index-{root.identity[:32]}-{split}"
    paths = {name: cache_folder() / f"{stem}-{name}.arrow" for name in names}
    absent = {name: path for name, path in paths.items() if not path.exists()}
    decoded: dict[str, pa.ChunkedArray] = {}
    if absent:
        parquet = _open_parquet(root, split, cache_folder() / f"{stem}.parquet")
        try:
            _decode_columns(parquet, absent)
        except OSError as fault:  # a full disk, or a cache folder without write permission
            _log.warning("the index cannot be cached, so each process keeps it in memory: %s", fault)
            table = parquet.read(columns=list(absent))
            decoded = {name: table[name] for name in absent}
    opened = {}
    for name, path in paths.items():
        try:
            is_decoded = name in decoded
            opened[name] = decoded[name] if is_decoded else pa.ipc.open_file(pa.memory_map(str(path))).read_all()[0]
        except pa.ArrowInvalid as fault:  # a crash may have truncated the file
            _log.warning("%s: %s. The file is written again.", path, fault)
            path.unlink()
            opened |= _open_columns(root, split, [name])
    return opened


def _open_parquet(root: Root, split: str, cached: Path) -> pq.ParquetFile:
    """Return the index's Parquet file. If it comes from a URL, store it at `cached` for further columns."""
    name, sha256 = f"index/{split}.parquet", root.indices[split]["index"]["sha256"]
    is_local = "://" not in root.url
    data = cached.read_bytes() if not is_local and cached.exists() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        try:
            data = read_with_retries(lambda: root.read(name), f"{root.url}: {name}")
        except FileNotFoundError as fault:
            raise ShardError(
                f"{root.url}: {name}: the manifest names it, but it is missing. Download it again."
            ) from fault
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ShardError(f"{root.url}: {name}: its bytes are not those that the manifest names. Download it again.")
        if not is_local:
            with contextlib.suppress(OSError):  # without a cache, it is downloaded again when it is needed again
                cached.parent.mkdir(parents=True, exist_ok=True)
                write_whole(cached, data)
    parquet = pq.ParquetFile(pa.BufferReader(data))
    if not parquet.schema_arrow.equals(index_schema(root.metrics)):
        raise ShardError(f"{root.url}: {name}: its columns are not those of the format. Pack the release again.")
    return parquet


def _decode_columns(parquet: pq.ParquetFile, paths: Mapping[str, Path]) -> None:
    """Write columns as uncompressed Arrow files, each of which appears whole or not at all."""
    names = list(paths)
    own = f"{os.getpid()}-{threading.get_ident()}"  # two threads may decode the same column
    parts = {name: path.with_suffix(f".{own}.part") for name, path in paths.items()}
    for path in parts.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.ExitStack() as stack:
            writers = {}
            for name in names:
                sink = stack.enter_context(pa.OSFile(str(parts[name]), "wb"))
                schema = pa.schema([parquet.schema_arrow.field(name)])
                writers[name] = stack.enter_context(pa.ipc.new_file(sink, schema))
            groups: list[int] = []
            rows = 0
            for number in range(parquet.num_row_groups):
                groups.append(number)
                rows += parquet.metadata.row_group(number).num_rows
                if rows >= CHUNK_ROWS or number == parquet.num_row_groups - 1:
                    table = parquet.read_row_groups(groups, columns=names).combine_chunks()
                    for name, writer in writers.items():
                        writer.write_table(table.select([name]))
                    groups, rows = [], 0
        for name, path in paths.items():
            parts[name].replace(path)
    finally:
        for path in parts.values():
            path.unlink(missing_ok=True)


def needed_columns(schema: pa.Schema, where: Where) -> list[str]:
    """Return the top-level columns that a filter needs. For an expression, the list may be longer than necessary."""
    if isinstance(where, pc.Expression):
        text = str(where)
        return ["key", *(name for name in schema.names if name in text or "FieldPath" in text)]
    return [name.partition(".")[0] for name in where or {}]


def select(table: pa.Table, where: Where, config: str = "all") -> npt.NDArray[np.int64]:
    """Return the row numbers that pass a filter, in ascending order: int64.

    Args:
        table: An index.
        where: A pyarrow expression, or a dict from column (`scores.NAME` for a score) to its condition: a value, a list
            of allowed values, or a tuple (minimum, maximum) with None for no bound. A list column must contain one of
            the values. None keeps all rows.
        config: "all", or the name of a degradation, which keeps the pairs of that class.

    Raises:
        ConfigError: A column is unknown (the message lists the columns), or no row is left (the message counts the
            rows that each condition leaves).
    """
    return select_rows(table, table.schema, where, config)


def select_rows(table: pa.Table, schema: pa.Schema, where: Where, config: str) -> npt.NDArray[np.int64]:
    """Select rows as `select` does. `table` needs only those columns of `schema` that the filter uses."""
    for name in where if isinstance(where, Mapping) else ():
        check_column(schema, name)
    clauses: dict[str, npt.NDArray[np.bool_]] = {}
    if where is not None and not isinstance(where, (Mapping, pc.Expression)):
        raise ConfigError(f"where={where!r}: must be a dict from column to condition, or a pyarrow expression.")
    if config in DEGRADATIONS:
        clauses[f"config {config}"] = _matches(table, "degradation", config)
    if isinstance(where, pc.Expression):
        numbered = table.append_column("__row__", pa.array(np.arange(table.num_rows)))
        try:
            import pyarrow.dataset as pads  # imported here, because it takes 40 MB and 0.4 s

            rows = pads.dataset(numbered).to_table(columns=["__row__"], filter=where)["__row__"].to_numpy()
        except (pa.ArrowException, KeyError, TypeError) as fault:
            problem = str(fault).partition(" in key: ")[0]  # leaves out pyarrow's own list of columns
            raise ConfigError(f"where: {problem}. The columns are: {', '.join(column_names(schema))}.") from fault
        clauses[f"where {where}"] = np.isin(np.arange(table.num_rows), rows)
    else:
        clauses |= {f"{name} {value!r}": _matches(table, name, value) for name, value in (where or {}).items()}
    if not clauses:
        return np.arange(table.num_rows)
    rows = np.flatnonzero(np.logical_and.reduce(list(clauses.values())))
    if not len(rows):
        counts = ", ".join(f"{clause} leaves {int(mask.sum())}" for clause, mask in clauses.items())
        raise ConfigError(f"where: none of {table.num_rows} pairs is left: {counts}. Relax a condition.")
    return rows


def column_names(schema: pa.Schema) -> list[str]:
    """Return the names that `where` and `columns` accept: the columns, and `scores.NAME` for each score."""
    scores = [f"scores.{field.name}" for field in schema.field("scores").type]
    return [*(name for name in schema.names if name != "scores"), *scores]


def check_column(schema: pa.Schema, name: str) -> None:
    """Raise ConfigError if the index has no column of that name. The message proposes the most similar name."""
    if name != "scores" and name not in column_names(schema):
        near = difflib.get_close_matches(name, column_names(schema), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(
            f"the index has no column {name!r}{hint}. The columns are: {', '.join(column_names(schema))}."
        )


def index_column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column of an index, or a field of a struct column: `scores.NAME`."""
    top, _, score = name.partition(".")
    return pc.struct_field(table[top], score) if score else table[top]


def _matches(table: pa.Table, name: str, condition: Any) -> npt.NDArray[np.bool_]:
    """Return which rows satisfy the condition of one column, as `select` describes conditions."""
    column = index_column(table, name)
    try:
        if pa.types.is_list(column.type):
            values = pa.array(condition if isinstance(condition, (list, set)) else [condition], column.type.value_type)
            rows = pc.list_parent_indices(column.combine_chunks()).filter(
                pc.is_in(pc.list_flatten(column.combine_chunks()), values)
            )
            return np.isin(np.arange(table.num_rows), rows.to_numpy())
        if isinstance(condition, tuple):
            minimum, maximum = condition
            mask = pc.is_valid(column)
            for bound, compare in ((minimum, pc.greater_equal), (maximum, pc.less_equal)):
                if bound is not None:  # scores are float32; compared as float64, 0.1 would not equal 0.1
                    kind = column.type if pa.types.is_floating(column.type) else None
                    mask = pc.and_(mask, compare(column, pa.scalar(bound, kind)))
        else:
            values = pa.array(list(condition) if isinstance(condition, (list, set)) else [condition]).cast(column.type)
            mask = pc.is_in(column, values)
    except (pa.ArrowException, ValueError, TypeError) as fault:
        raise ConfigError(
            f"where: {name} is {column.type} and cannot be compared with {condition!r}: {fault}"
        ) from fault
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
        data_dir: The dataset folder, as in `locate`.
        split: "train", "test" or "prior".
        name: "all", "sample", or the name of a degradation.
        where: Conditions on the rows, as in `select`.
        columns: The columns to return (`scores.NAME` for one score); None for all of `index_schema`.
        revision: A tag or commit of a repository on the Hub.

    Raises:
        ConfigError: No dataset is found, a name is unknown, or no row is left.
        ShardError: The index is damaged.
    """
    root = resolve_root(name, data_dir, revision, None)
    schema = index_schema(root.metrics)
    needed = None
    if columns is not None:
        for column in columns:
            check_column(schema, column)
        needed = [*(column.partition(".")[0] for column in columns), *needed_columns(schema, where), "degradation"]
    table = open_index(root, split, needed)
    rows = select_rows(table, schema, where, name) if where is not None or name in DEGRADATIONS else None
    if columns is not None:
        top = [name for name in columns if "." not in name]
        table = pa.table({name: table[name] if name in top else index_column(table, name) for name in columns})
    if rows is None:
        return table
    mask = np.zeros(table.num_rows, np.bool_)
    mask[rows] = True
    # filter() keeps the chunks; take() makes one chunk, whose offsets overflow at ten million rows
    return table.filter(pa.array(mask))
