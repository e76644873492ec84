"""The verb score."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from ggt_tools.cli import driving
from ggt_tools.cli.adopt import against_truth
from ggt_tools.cli.show import Bar, complain, count, table
from ggt_tools.errors import ConfigError
from ggt_tools.records import Aligned, Candidate, Photo, Score
from ggt_tools.workspace.ledger import Ledger

EXAMPLE = "ggt100k score workspace --metrics core,regions"


def arguments(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("workspace", type=Path, nargs="?", help="Folder of the workspace.")
    sub.add_argument(
        "--metrics",
        default="core",
        help="Sets (core, regions, text, faces, weight-free, offline, default) or names of metrics, separated by "
        "commas (default: core).",
    )
    sub.add_argument("--list", action="store_true", help="List the metrics and what is missing here, and stop.")
    models = sub.add_argument_group("metrics with models")
    models.add_argument(
        "--device", default="auto", help="Device as torch names it (default: cuda if there is one, else cpu)."
    )
    models.add_argument("--weights", type=Path, help="Folder with downloaded weights (default: torch's cache).")
    models.add_argument("--batch", type=count, default=8, help="Number of pairs in a batch on a GPU (default: 8).")
    driving.arguments(sub)


def run(options: argparse.Namespace) -> int:
    from ggt_tools.executors import run as run_works
    from ggt_tools.executors.task import held
    from ggt_tools.metrics.iqa import IqaConfig
    from ggt_tools.metrics.scorer import Scorer, available
    from ggt_tools.stages.score.worker import ScoreWork, Scoring

    if options.list:
        for name, runs, why in available():
            print(f"{name:<18} {'runs here' if runs else f'not here: {why}'}")
        return 0
    if options.workspace is None:
        raise ConfigError("name a workspace, or give --list")
    config = IqaConfig(device=options.device, weights=options.weights, batch=options.batch)
    with Ledger(options.workspace) as ledger, Scorer(options.metrics.split(","), config) as scorer:
        for name, why in scorer.left_out.items():
            complain("score", f"{name}: is not measured: {why}")
        driving.settle(options, ledger, "score")
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
        works = [
            ScoreWork(
                key=c.key, candidate=c.id, lq=photos[c.key].image, gt=images[c.id],
                width=photos[c.key].width, height=photos[c.key].height,
                metrics=tuple((name, scorer.versions[name]) for name in missing[c.id]),
            )
            for c in todo
        ]  # fmt: skip
        stage = Scoring(versions=tuple(scorer.versions.items()), config=replace(config, processes=1))
        engine = driving.chosen(options, stage, works)
        measured, failed = 0, Counter[str]()
        with (
            Bar(len(todo), "score") as bar,
            held(stage, ledger.store, stage.performing(scorer, ledger.store)),
        ):
            for fact in run_works(stage, works, ledger, engine, chunk=64 if engine.workers else 2, progress=bar.update):
                if isinstance(fact, Score):
                    measured += 1
                else:
                    complain("score", fact.detail if fact.reason != "worker_died" else f"{fact.subject}: {fact.detail}")
                    failed[fact.reason] += 1
        measured += against_truth(ledger, options.limit)
    counts = {"scores": measured, "candidates": len(todo), "there already": len(candidates) - len(new)}
    table("score", counts, failed=failed)
    return 0
