"""Write pairs as other training code reads them; of a workspace, what was adopted as visual priors."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from pathlib import Path

import ggt100k
from ggt_tools.cli.show import Bar, complain, count, table
from ggt_tools.errors import ConfigError
from ggt_tools.ledger import Ledger
from ggt_tools.records import Adopted, Aligned, Candidate, Photo, Verdict


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("root", help="a dataset folder, its URL, or sample; a workspace for --to priors")
    sub.add_argument("--to", required=True, help="basicsr, imagefolder, lmdb, pairs, parquet, webdataset, or priors")
    sub.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or one that was begun")
    clause = (
        "COLUMN=VALUE[,VALUE], COLUMN>=NUMBER or COLUMN<=NUMBER, e.g. degradation=rain,snow or scores.structure>=0.5; "
    )
    sub.add_argument("--where", action="append", default=[], metavar="CLAUSE", help=clause + "several must all hold")
    sub.add_argument("--split", action="append", default=[], choices=ggt100k.SPLITS, help="default: all")
    sub.add_argument("--file-bytes", type=count, default=500_000_000, metavar="N", help="most of a tar or parquet")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.export import ExportConfig, export, parse_where, plan

    if options.to == "priors":
        return _priors(options)
    where = parse_where(options.where)
    config = ExportConfig(to=options.to, where=where, splits=tuple(options.split), file_bytes=options.file_bytes)
    folder = str(ggt100k.sample_folder() / "packed") if options.root == "sample" else options.root
    root = ggt100k.open_root(folder)
    sources = plan(root, config)
    pairs = sum(len(source.rows) for source in sources)
    if options.dry_run:
        size = sum(sum(row.sizes) for source in sources for row in source.rows)
        print(f"would export {pairs} pairs, {size / 1e6:.1f} MB of images, to {options.out} as {options.to}")
        return 0
    with Bar(pairs, "export") as bar:
        done = export(folder, options.out, config, progress=bar.update)
    if why := root.manifest.get("local_only"):
        complain("export", f"{options.out}: must stay on this machine too: {why}")
    table("export", done)
    return 0


def _priors(options: argparse.Namespace) -> int:
    """Adopted outputs that are an input, and no ground truth, stand in the workspace, and in no release."""
    from ggt_tools.adopt.priors import priors

    if options.where or options.split:
        raise ConfigError(
            "--to priors: takes neither --where nor --split; metadata.jsonl tells set, class and `prior_only`"
        )
    with Ledger(Path(options.root)) as ledger:
        facts = list(ledger.all(Adopted))
        candidates = {each.id: each for each in ledger.all(Candidate)}
        stays = {each.key: each.local_only for each in facts if each.local_only}
        # a fact of no candidate only tells that its photograph must stay
        adopted = [
            dataclasses.replace(each, local_only=stays.get(each.key, ""))
            for each in facts
            if each.candidate in candidates
        ]
        if not adopted:
            raise ConfigError(f"{options.root}: nothing was adopted into it; run: ggt100k adopt SET {options.root}")
        if options.dry_run:
            print(f"would look at {len(adopted)} adopted outputs")
            return 0
        aligned = {each.candidate: each for each in ledger.all(Aligned)}
        verdicts = {each.candidate for each in ledger.all(Verdict) if each.decision == "keep"}
        kept = {candidates[name].key: each.image for name, each in aligned.items() if name in verdicts}
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        if options.out.is_dir() and any(options.out.iterdir()) and not (options.out / "prior").is_dir():
            raise ConfigError(f"{options.out}: holds other things; name a new folder")
        with Bar(len(adopted), "export") as bar:
            done = priors(adopted, candidates, photos, aligned, kept, ledger.image, options.out, progress=bar.update)
    for why in sorted({each.local_only for each in adopted if each.local_only}):
        complain("export", f"{options.out}: must stay on this machine too: {why}")
    table("export", {name: done[name] for name in ("aligned", "prior")}, rejected=+Counter(no_truth=done["no_truth"]))
    return 0
