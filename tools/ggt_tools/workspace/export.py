"""The ledger as parquet: a file a table, for DuckDB, Polars, Daft, pandas. Facts as they stand, verdicts too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_origin, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_tools.errors import ConfigError
from ggt_tools.workspace.arrow import schema
from ggt_tools.workspace.ledger import KEYS, Ledger

ROWS = 100_000  # of a row group, and in memory


def export_ledger(ledger: Ledger, out: str) -> Iterator[tuple[str, int]]:
    """Writes `{table}.parquet` into the folder or under the fsspec URL `out`; each table, and its rows, as it is done.

    Lists are lists, a number that is not defined is NaN, rows come as they were added. A table without a row is a file
    without one.
    """
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(out)
    except (ValueError, ImportError) as fault:
        raise ConfigError(f"{out}: cannot be opened: {fault}") from fault
    system.makedirs(root, exist_ok=True)
    for kind in KEYS:
        name, columns = kind.__name__.lower(), schema(kind)
        lists = [place for place, hint in enumerate(get_type_hints(kind).values()) if get_origin(hint) is tuple]
        floats = [place for place, field in enumerate(columns) if pa.types.is_floating(field.type)]
        count = 0
        with (
            system.open(f"{root}/{name}.parquet.part", "wb") as file,
            pq.ParquetWriter(file, columns, compression="zstd") as writer,
        ):
            for rows in ledger.rows(kind, ROWS):
                values: list[Any] = list(zip(*rows, strict=True))
                for place in lists:
                    values[place] = [json.loads(text) for text in values[place]]
                for place in floats:
                    values[place] = [float("nan") if number is None else number for number in values[place]]
                arrays = [pa.array(column, field.type) for column, field in zip(values, columns, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=columns))
                count += len(rows)
        system.mv(f"{root}/{name}.parquet.part", f"{root}/{name}.parquet")
        yield name, count
