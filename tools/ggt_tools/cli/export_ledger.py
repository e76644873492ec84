from __future__ import annotations

import argparse

from ggt_tools.cli.shared import add_workspace
from ggt_tools.cli.show import columns
from ggt_tools.workspace.ledger import Ledger

EXAMPLE = "ggt100k export-ledger workspace tables"


def arguments(parser: argparse.ArgumentParser) -> None:
    add_workspace(parser)
    parser.add_argument("out", help="Folder or fsspec URL to write to.")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.workspace.export import export_ledger

    with Ledger(options.workspace) as ledger:
        written = list(export_ledger(ledger, options.out))
    columns(("table", "rows"), [(name, str(count)) for name, count in written])
    return 0
