"""The verb yank."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from ggt_tools.cli.show import now, table
from ggt_tools.errors import ConfigError
from ggt_tools.records import Photo, Withdrawal
from ggt_tools.workspace.ledger import Ledger

EXAMPLE = 'ggt100k yank workspace 0123456789abcdef --reason "the author asks for it"'


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, help="Folder of the workspace.")
    sub.add_argument("keys", nargs="+", metavar="KEY", help="Keys of the pairs, 16 hexadecimal digits each.")
    sub.add_argument("--reason", required=True, help="Reason in words, for example: the author asks for it.")
    sub.add_argument("--by", default="", help="Who withdraws them (default: your login name).")


def run(options: argparse.Namespace) -> int:
    reason = options.reason.strip()
    if not reason:
        raise ConfigError("--reason: is empty; say why the pairs go, for those who ask in a year")
    with Ledger(options.workspace) as ledger:
        known = {photo.key for photo in ledger.all(Photo)}
        for key in options.keys:
            if key not in known:
                raise ConfigError(
                    f"{options.workspace}: key {key}: no photograph here has it, so nothing was withdrawn; "
                    "give keys as the index has them"
                )
        withdrawn = ledger.withdrawn()
        keys = [key for key in dict.fromkeys(options.keys) if key not in withdrawn][: options.limit]
        there = sum(key in withdrawn for key in dict.fromkeys(options.keys))
        if options.dry_run:
            print(f"would withdraw {len(keys)} pairs, {there} already done")
            return 0
        by = options.by.strip() or getpass.getuser()
        ledger.add(*(Withdrawal(key=key, reason=reason, by=by, created=now()) for key in keys))
    table("yank", {"withdrawn": len(keys), "already done": there})
    return 0
