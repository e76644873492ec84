"""Write the ledger as parquet, a file a table, for DuckDB, Polars and their like."""

from __future__ import annotations

import argparse
from pathlib import Path

from ggt_tools.cli.show import columns
from ggt_tools.ledger import Ledger


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path)
    sub.add_argument("out", help="a folder or an fsspec URL")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.export_ledger import export_ledger

    with Ledger(options.workspace) as ledger:
        written = list(export_ledger(ledger, options.out))
    columns(("table", "rows"), [(name, str(count)) for name, count in written])
    return 0
