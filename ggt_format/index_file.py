"""Open the index `index/{split}.parquet` memory-mapped, by the columns that are needed, and select its rows."""

from __future__ import annotations

import contextlib
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
from ggt_format.files import write_whole
from ggt_format.offline import cache_folder
from ggt_format.ranges import read_with_retries
from ggt_format.roots import Root, resolve_root
from ggt_format.schema import DEGRADATIONS, NAME, index_schema

_log = logging.getLogger(NAME)
Where: TypeAlias = Mapping[str, Any] | pc.Expression | None
CHUNK_ROWS = 1 << 16  # rows of a chunk: few and large ones, since finding a row takes time for each chunk
# by root identity and split, then by name; a forked process inherits mapped memory only
_COLUMNS: dict[tuple[str, str], dict[str, pa.ChunkedArray]] = {}


def index_table(root: Root, split: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Open the index of a split, memory-mapped: processes share it, and a column that is not used takes no memory.

    The Parquet file is compared with the manifest's checksum. Each column is decoded when it is asked for first, and
    kept in `cache_folder()` as an uncompressed Arrow file, which needs no decoding. An index behind a URL is fetched
    once for each release.

    Args:
        root: the dataset folder.
        split: "train", "test" or "prior".
        columns: names of top-level columns; None for all.

    Raises:
        ConfigError: there is no such split.
        ShardError: the index is damaged.
    """
    if split not in root.indices:
        raise ConfigError(f"{root.url}: no split {split!r}; there are: {', '.join(root.indices)}")
    schema = index_schema(root.metrics)
    names = [name for name in schema.names if columns is None or name in columns]
    opened = _COLUMNS.setdefault((root.identity, split), {})
    missing = [name for name in names if name not in opened]
    if missing:
        opened |= _open_columns(root, split, missing)
    return pa.table({name: opened[name] for name in names}, schema=pa.schema([schema.field(name) for name in names]))


def _open_columns(root: Root, split: str, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Map columns of the index from the cache; those that are not there are decoded and kept there first."""
    stem = f"index-{root.identity[:32]}-{split}"
    paths = {name: cache_folder() / f"{stem}-{name}.arrow" for name in names}
    absent = {name: path for name, path in paths.items() if not path.exists()}
    decoded: dict[str, pa.ChunkedArray] = {}
    if absent:
        parquet = _open_parquet(root, split, cache_folder() / f"{stem}.parquet")
        try:
            _decode_columns(parquet, absent)
        except OSError as fault:  # a full disk, or a cache folder without write permission
            _log.warning("the index is kept in memory, in each process: %s", fault)
            table = parquet.read(columns=list(absent))
            decoded = {name: table[name] for name in absent}
    opened = {}
    for name, path in paths.items():
        try:
            opened[name] = (
                decoded[name] if name in decoded else pa.ipc.open_file(pa.memory_map(str(path))).read_all()[0]
            )
        except pa.ArrowInvalid as fault:  # a crash damaged it
            _log.warning("%s: %s; it is made anew", path, fault)
            path.unlink()
            opened |= _open_columns(root, split, [name])
    return opened


def _open_parquet(root: Root, split: str, kept: Path) -> pq.ParquetFile:
    """Return the index's Parquet file. One behind a URL is kept at `kept`, since other columns may be asked for."""
    name, sha256 = f"index/{split}.parquet", root.indices[split]["index"]["sha256"]
    local = "://" not in root.url
    data = kept.read_bytes() if not local and kept.exists() else b""
    if hashlib.sha256(data).hexdigest() != sha256:
        try:
            data = read_with_retries(lambda: root.read(name), f"{root.url}: {name}")
        except FileNotFoundError as fault:
            raise ShardError(f"{root.url}: {name} is named by the manifest and is not there; fetch it again") from fault
        if hashlib.sha256(data).hexdigest() != sha256:
            raise ShardError(f"{root.url}: {name}: its bytes are not those that the manifest names; fetch it again")
        if not local:
            with contextlib.suppress(OSError):  # it is fetched again where it is needed again
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_whole(kept, data)
    parquet = pq.ParquetFile(pa.BufferReader(data))
    if not parquet.schema_arrow.equals(index_schema(root.metrics)):
        raise ShardError(f"{root.url}: {name}: its columns are not those of the format; pack it again")
    return parquet


def _decode_columns(parquet: pq.ParquetFile, paths: Mapping[str, Path]) -> None:
    """Write columns as uncompressed Arrow files. Each file appears whole."""
    names = list(paths)
    parts = {name: path.with_suffix(f".{os.getpid()}.part") for name, path in paths.items()}
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
    """Return the top-level columns that a filter looks at; more than those for an expression that is hard to read."""
    if isinstance(where, pc.Expression):
        text = str(where)
        return ["key", *(name for name in schema.names if name in text or "FieldPath" in text)]
    return [name.partition(".")[0] for name in where or {}]


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
    return select_of(table, table.schema, where, config)


def select_of(table: pa.Table, schema: pa.Schema, where: Where, config: str) -> npt.NDArray[np.int64]:
    """Select as `select` does, in a table that holds those columns of `schema` that the filter needs."""
    for name in where if isinstance(where, Mapping) else ():
        check_column(schema, name)
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
            said = str(fault).partition(" in key: ")[0]  # without pyarrow's own list of the columns, key first
            raise ConfigError(f"where: {said}; the columns are: {', '.join(column_names(schema))}") from fault
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


def column_names(schema: pa.Schema) -> list[str]:
    scores = [f"scores.{field.name}" for field in schema.field("scores").type]
    return [*(name for name in schema.names if name != "scores"), *scores]


def check_column(schema: pa.Schema, name: str) -> None:
    """Raise ConfigError where the index has no column of that name; its message proposes the nearest name."""
    if name != "scores" and name not in column_names(schema):
        near = difflib.get_close_matches(name, column_names(schema), n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"no column {name!r}{hint}; there are: {', '.join(column_names(schema))}")


def index_column(table: pa.Table, name: str) -> pa.ChunkedArray:
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
    root = resolve_root(name, data_dir, revision, None)
    schema = index_schema(root.metrics)
    needed = None
    if columns is not None:
        for column in columns:
            check_column(schema, column)
        needed = [*(column.partition(".")[0] for column in columns), *needed_columns(schema, where), "degradation"]
    table = index_table(root, split, needed)
    rows = select_of(table, schema, where, name) if where is not None or name in DEGRADATIONS else None
    if columns is not None:
        top = [name for name in columns if "." not in name]
        table = pa.table({name: table[name] if name in top else index_column(table, name) for name in columns})
    if rows is None:
        return table
    mask = np.zeros(table.num_rows, np.bool_)
    mask[rows] = True
    # filter() keeps the chunks; take() makes one chunk, which overflows its offsets at ten million rows
    return table.filter(pa.array(mask))
