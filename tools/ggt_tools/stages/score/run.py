"""Measure the aligned candidates of a workspace."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from ggt_format.images import decode_image
from ggt_tools.configs import check_minimum
from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.events import SILENT, Events
from ggt_tools.executors import LOCAL, ExecutorConfig, merge_earlier_results, open_executor
from ggt_tools.executors import run as run_tasks
from ggt_tools.executors.task import preloaded
from ggt_tools.metrics import reference
from ggt_tools.metrics.iqa import IqaConfig
from ggt_tools.metrics.scorer import Scorer
from ggt_tools.records import Adopted, Aligned, Candidate, Photo, Score
from ggt_tools.stages.score.worker import ScoreWork, Scoring
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger

PAIRS_PER_TASK = 64  # in a worker process
PAIRS_PER_STEP = 2  # in this process, so that a kill loses little


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """What is measured, and with what.

    Attributes:
        metrics: Names of metrics, or of sets of them: core, regions, text, faces, weight-free, offline, default.
            A set leaves out what cannot be measured here.
        device: Device of metrics with models, as torch names it; "auto" for cuda where there is one.
        weights: Folder with downloaded weights; None for torch's cache.
        batch: Number of pairs in a batch on a GPU.
        limit: Measure at most this many candidates.
        dry_run: Only tell what would be done.
    """

    metrics: tuple[str, ...] = ("core", "text")
    device: str = "auto"
    weights: Path | None = None
    batch: int = 8
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        check_minimum("batch", self.batch)


def run(workspace: Path, config: ScoreConfig, *, executor: ExecutorConfig = LOCAL, events: Events = SILENT) -> Summary:
    """Measure the metrics that aligned candidates lack in their present version, and store the scores.

    Adopted candidates whose set has a true ground truth are also measured against that (ref_psnr, ref_ssim).

    Args:
        workspace: Folder of the workspace.
        config: What to measure.
        executor: Where to measure.
        events: Told of progress, of metrics that are left out, and of candidates that cannot be measured.

    Raises:
        ConfigError: A metric is unknown or cannot be measured here, or nothing is aligned.
    """
    models = IqaConfig(device=config.device, weights=config.weights, batch=config.batch)
    with (
        Ledger(workspace) as ledger,
        ledger.lock("score", dry_run=config.dry_run),
        Scorer(config.metrics, models) as scorer,
    ):
        for why in dict.fromkeys(scorer.left_out.values()):
            names = [name for name, reason in scorer.left_out.items() if reason == why]
            events.warning(f"{', '.join(names)}: not measured: {why}")
        if not config.dry_run:
            merge_earlier_results(ledger, "score", executor.name, events.warning)
        works, candidate_count = _plan(ledger, scorer)
        planned = works[: config.limit]
        if config.dry_run:
            score_count = sum(len(work.metrics) for work in planned)
            return Summary(stage="score", plan=(f"would measure {score_count} scores of {len(planned)} candidates",))
        stage = Scoring(versions=tuple(scorer.versions.items()), config=replace(models, processes=1))
        task_executor = open_executor(executor, stage, planned)
        chunk = PAIRS_PER_TASK if task_executor.workers else PAIRS_PER_STEP
        score_count, failed = 0, Counter[str]()
        with (
            events.progress("score", len(planned)) as progress,
            preloaded(stage, ledger.store, stage.performing(scorer, ledger.store)),
        ):
            for fact in run_tasks(stage, planned, ledger, task_executor, chunk=chunk, progress=progress.advance):
                if isinstance(fact, Score):
                    score_count += 1
                else:
                    detail = f"{fact.subject}: {fact.detail}" if fact.reason == "worker_died" else fact.detail
                    events.warning(detail)
                    failed[fact.reason] += 1
        score_count += _measure_against_reference(ledger, config.limit)
    return Summary(
        stage="score",
        counts={
            "scores": score_count,
            "candidates": len(planned),
            "already done": candidate_count - len(works),
        },
        reasons={"failed": failed},
        is_failed=bool(failed) and not score_count and candidate_count == len(works),
    )


def _plan(ledger: Ledger, scorer: Scorer) -> tuple[list[ScoreWork], int]:
    """Return what is to be measured of each candidate that lacks a score, and how many candidates are aligned."""
    photos = {photo.key: photo for photo in ledger.all(Photo)}
    present = {(s.candidate, s.metric) for s in ledger.all(Score) if scorer.versions.get(s.metric) == s.metric_version}
    images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
    candidates = [candidate for candidate in ledger.all(Candidate) if candidate.id in images]
    if not images and any(candidate.image for candidate in ledger.all(Candidate)):
        raise ConfigError(f"{ledger.workspace}: nothing is aligned; run: ggt100k align {ledger.workspace}")
    works = []
    for candidate in candidates:
        missing = [name for name in scorer.metrics if (candidate.id, name) not in present]
        if missing:
            photo = photos[candidate.key]
            works.append(
                ScoreWork(
                    key=candidate.key,
                    candidate=candidate.id,
                    lq=photo.image,
                    gt=images[candidate.id],
                    width=photo.width,
                    height=photo.height,
                    metrics=tuple((name, scorer.versions[name]) for name in missing),
                )
            )
    return works, len(candidates)


def _measure_against_reference(ledger: Ledger, limit: int | None) -> int:
    """Store the scores of adopted candidates against the true ground truth of their set; return how many."""
    present = {score.candidate for score in ledger.all(Score) if score.metric_version == reference.VERSION}
    images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
    lq_images = {photo.key: photo.image for photo in ledger.all(Photo)}
    missing = (a for a in ledger.all(Adopted) if a.reference and a.candidate in images.keys() - present)
    score_count = 0
    for adopted in islice(missing, limit):
        names = (lq_images[adopted.key], images[adopted.candidate], adopted.reference)
        lq, gt, truth = (decode_image(ledger.image(name), f"key {adopted.key}") for name in names)
        scores = list(reference.score_against_reference(adopted.candidate, lq, gt, truth))
        ledger.add(*scores)
        score_count += len(scores)
    return score_count
