"""Measure each candidate against its photograph."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

import ggt100k
from ggt_tools.cli.show import Bar, complain, count, table
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.ledger import Ledger
from ggt_tools.records import Aligned, Candidate, Photo, Score


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, nargs="?")
    sub.add_argument(
        "--metrics",
        default="core",
        help="core, weight-free, offline, default, or names with commas between; default: core",
    )
    sub.add_argument("--list", action="store_true", help="list the metrics of the sets and what runs here")
    sub.add_argument("--device", default="auto", help="as torch names it; default: cuda where there is one, else cpu")
    sub.add_argument("--weights", type=Path, help="a folder of fetched weights, in the place of torch's cache")
    sub.add_argument(
        "--processes", type=count, default=0, help="that hold models; default: a core each, or one on a GPU"
    )
    sub.add_argument("--batch", type=count, default=8, help="pairs at a time on a GPU, where a metric allows it")


def run(options: argparse.Namespace) -> int:
    from ggt_tools.iqa import IqaConfig
    from ggt_tools.score import Scorer, available

    if options.list:
        for name, runs, why in available():
            print(f"{name:<18} {'runs here' if runs else f'not here: {why}'}")
        return 0
    if options.workspace is None:
        raise ConfigError("name a workspace, or give --list")
    config = IqaConfig(device=options.device, weights=options.weights, processes=options.processes, batch=options.batch)
    with Ledger(options.workspace) as ledger, Scorer(options.metrics.split(","), config) as scorer:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        done = {(s.candidate, s.metric) for s in ledger.all(Score) if scorer.versions.get(s.metric) == s.metric_version}
        images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        candidates = [candidate for candidate in ledger.all(Candidate) if candidate.id in images]
        if not images and any(candidate.image for candidate in ledger.all(Candidate)):
            raise ConfigError(f"{options.workspace}: nothing is aligned; run: ggt100k align {options.workspace}")
        missing = {c.id: tuple(m for m in scorer.metrics if (c.id, m) not in done) for c in candidates}
        new = [candidate for candidate in candidates if missing[candidate.id]]
        todo = new[: options.limit]
        if options.dry_run:
            print(f"would measure {sum(len(missing[c.id]) for c in todo)} scores of {len(todo)} candidates")
            return 0
        measured, failed = 0, Counter[str]()
        with Bar(len(todo), "score") as bar:
            for some in _batches(todo, missing, photos, scorer.batch):
                pairs = [
                    (
                        c.id,
                        ggt100k.decode_image(ledger.image(photos[c.key].image), c.key),
                        ggt100k.decode_image(ledger.image(images[c.id]), c.key),
                    )
                    for c in some
                ]
                try:
                    scores = scorer.score(pairs, missing[some[0].id])
                except PairError:
                    scores = []
                    for pair in pairs:  # one by one: the others of the batch are good
                        try:
                            scores += scorer.score([pair], missing[pair[0]])
                        except PairError as fault:
                            complain("score", f"{fault}")
                            failed[fault.reason] += 1
                ledger.add(*scores)
                measured += len(scores)
                bar.update(len(some))
    counts = {"scores": measured, "candidates": len(todo), "there already": len(candidates) - len(new)}
    table("score", counts, failed=failed)
    return 0


def _batches(
    candidates: Sequence[Candidate], missing: dict[str, tuple[str, ...]], photos: dict[str, Photo], most: int
) -> Iterator[list[Candidate]]:
    """Neighbours of one size that want the same metrics, at most so many."""
    for _, some in groupby(candidates, lambda c: (missing[c.id], photos[c.key].width, photos[c.key].height)):
        while part := list(islice(some, most)):
            yield part
