"""The verb reasons."""

from __future__ import annotations

import argparse
from difflib import get_close_matches

from ggt_tools.errors import ConfigError
from ggt_tools.reasons import REASONS, explain

EXAMPLE = "ggt100k reasons near_duplicate"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "code", nargs="?", metavar="CODE", help="Reason code, as messages and reports show it (default: all)."
    )


def run(options: argparse.Namespace) -> int:
    reasons = explain(options.code) if options.code else list(REASONS)
    if not reasons:
        near = get_close_matches(options.code, {reason.code for reason in REASONS}, n=1)
        hint = f" Did you mean {near[0]}?" if near else " List all codes: ggt100k reasons"
        raise ConfigError(f"{options.code}: is not a reason code.{hint}")
    for reason in reasons:
        print(f"{reason.code} ({reason.stage})\n  {reason.meaning}\n  {reason.hint}")
    return 0
