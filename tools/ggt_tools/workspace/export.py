"""Export the ledger as Parquet, a file for each table, for DuckDB, Polars, Daft and pandas."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from ggt_tools.errors import ConfigError
from ggt_tools.files.outputs import check_output_folder
from ggt_tools.records import TABLES
from ggt_tools.workspace.codec import arrow_schema, rows_to_batch
from ggt_tools.workspace.ledger import Ledger

ROW_GROUP = 100_000  # rows of a row group, which are in memory at once


def export_ledger(ledger: Ledger, out: str) -> Iterator[tuple[str, int]]:
    """Write `{table}.parquet` for each table into a folder.

    Lists are lists, a number that is not defined is NaN, and the rows have the order in which they were added. A table
    without rows becomes a file without rows.

    Args:
        ledger: The ledger to export.
        out: A folder or an fsspec URL.

    Yields:
        The name of each table and the number of its rows, when its file is complete.

    Raises:
        ConfigError: `out` cannot be opened.
    """
    import fsspec

    try:
        system, root = fsspec.core.url_to_fs(out)
    except (ValueError, ImportError) as fault:
        raise ConfigError(f"{out}: cannot be opened: {fault}") from fault
    if "://" not in out:
        check_output_folder(Path(out))
    system.makedirs(root, exist_ok=True)
    for record_class, table in TABLES.items():
        count = 0
        with (
            system.open(f"{root}/{table.name}.parquet.part", "wb") as file,
            pq.ParquetWriter(file, arrow_schema(record_class), compression="zstd") as writer,
        ):
            for rows in ledger.rows(record_class, ROW_GROUP):
                writer.write_table(rows_to_batch(record_class, rows))
                count += len(rows)
        system.mv(f"{root}/{table.name}.parquet.part", f"{root}/{table.name}.parquet")
        yield table.name, count
