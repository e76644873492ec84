"""Measure each candidate against its photograph."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import ggt100k
from ggt_tools.cli.show import complain, progress, table
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.ledger import Ledger
from ggt_tools.records import Aligned, Candidate, Photo, Score


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, nargs="?")
    sub.add_argument("--metrics", default="core", help="core, weight-free, or names with commas between; default: core")
    sub.add_argument("--list", action="store_true", help="list the metrics and what runs here")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.score import available, score, versions

    if options.list:
        for name, runs, why in available():
            print(f"{name:<18} {'runs here' if runs else f'not here: {why}'}")
        return 0
    if options.workspace is None:
        raise ConfigError("name a workspace, or give --list")
    metrics = versions(options.metrics.split(","))
    with Ledger(options.workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        done = {(s.candidate, s.metric) for s in ledger.all(Score) if metrics.get(s.metric) == s.metric_version}
        images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.id in images]
        if not images and any(candidate.image for candidate in ledger.all(Candidate)):
            raise ConfigError(f"{options.workspace}: nothing is aligned; run: ggt100k align {options.workspace}")
        missing = {c.id: [m for m in metrics if (c.id, m) not in done] for c in candidates}
        new = [candidate for candidate in candidates if missing[candidate.id]]
        todo = new[: options.limit]
        if options.dry_run:
            print(f"would measure {sum(len(missing[c.id]) for c in todo)} scores of {len(todo)} candidates")
            return 0
        measured, failed = 0, Counter[str]()
        for candidate in progress(todo, len(todo), "score"):
            photo = photos[candidate.key]
            lq, gt = (
                ggt100k.decode_image(ledger.image(name), candidate.key) for name in (photo.image, images[candidate.id])
            )
            try:
                scores = list(score([(candidate.id, lq, gt)], missing[candidate.id]))
            except PairError as fault:
                complain("score", f"{fault}")
                failed[fault.reason] += 1
                continue
            ledger.add(*scores)
            measured += len(scores)
    counts = {"scores": measured, "candidates": len(todo), "there already": len(candidates) - len(new)}
    table("score", counts, failed=failed)
    return 0
