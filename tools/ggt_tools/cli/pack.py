"""Write what the gate keeps as a dataset folder."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import ggt100k
from ggt_tools.cli.show import Bar, count, table
from ggt_tools.errors import ConfigError
from ggt_tools.ledger import Ledger
from ggt_tools.records import Verdict


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path)
    sub.add_argument("out", type=Path)
    sub.add_argument("--version", default="1.0.0", help="of the dataset; default: 1.0.0")
    sub.add_argument("--test", type=float, default=0.005, help="share of the test split; default: 0.005")
    sub.add_argument("--codec", default="png", choices=ggt100k.CODECS, help="jpeg: a third of the size; default: png")
    sub.add_argument("--shard-bytes", type=count, default=500_000_000, help="most bytes a shard; default: 500000000")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.pack import PackConfig, check_place, pack

    config = PackConfig(
        version=options.version, test=options.test, shard_bytes=options.shard_bytes, codec=options.codec
    )
    with Ledger(options.workspace) as ledger:
        pairs = list(islice(ledger.pairs(), options.limit))
        check_place(options.out)
        if options.dry_run:
            print(f"would pack {len(pairs)} pairs into {options.out}")
            return 0
        gates = {verdict.gate for verdict in ledger.all(Verdict)}
        if len(gates) > 1:
            raise ConfigError(f"{options.workspace}: judged by more than one gate; run verdict without --limit")
        (gate,) = gates
        with Bar(len(pairs), "pack") as bar:
            manifest = pack(
                pairs, ledger, options.out, config,
                gate=ledger.gate_text(gate), funnel=ledger.funnel(), progress=bar.update,
            )  # fmt: skip
    counts = {split: about["pairs"] for split, about in manifest["splits"].items()}
    table("pack", {**counts, "shards": len(manifest["shards"])})
    return 0
