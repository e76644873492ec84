from __future__ import annotations

import argparse

from ggt_tools.reasons import explain, load_reasons

EXAMPLE = "ggt100k reasons near_duplicate"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "code", nargs="?", metavar="CODE", help="Reason code, as messages and reports show it (default: all)."
    )


def run(options: argparse.Namespace) -> int:
    for reason in explain(options.code) if options.code else load_reasons():
        print(f"{reason.code} ({reason.stage})\n  {reason.meaning}\n  {reason.hint}")
    return 0
