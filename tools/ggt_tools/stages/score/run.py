"""Measure the aligned candidates of a workspace."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from ggt_format.images import decode_image
from ggt_tools.configs import check_minimum
from ggt_tools.errors import check_limit
from ggt_tools.events import SILENT, Events
from ggt_tools.executors import LOCAL, ExecutorConfig, merge_earlier_results, open_executor
from ggt_tools.executors import run as run_tasks
from ggt_tools.executors.task import preloaded
from ggt_tools.metrics import reference
from ggt_tools.metrics.iqa import IqaConfig
from ggt_tools.metrics.scorer import OWN, Scorer
from ggt_tools.records import Adopted, Aligned, Candidate, Flag, Photo, Score
from ggt_tools.stages.score.worker import ScoreWork, Scoring, split_for_gpu
from ggt_tools.summary import Summary
from ggt_tools.workspace.aligned import aligned_images
from ggt_tools.workspace.arrow import WorkFailure
from ggt_tools.workspace.ledger import Ledger

FLAGS = "flags"  # among the metrics: the flags of photographs and replies
PAIRS_PER_TASK = 64  # in a worker process
PAIRS_PER_STEP = 2  # in this process on a CPU, so that a kill loses little


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """What is measured, and with what.

    Attributes:
        metrics: Names of metrics, or of sets of them: core, regions, text, faces, weight-free, offline, default.
            A set leaves out what cannot be measured here. "flags" stands for the flags of photographs and replies,
            which become scores, so that a gate can have rules on them.
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
        events: Receives progress, of metrics that are left out, and of candidates that cannot be measured.

    Raises:
        ConfigError: A metric is unknown or cannot be measured here, or nothing is aligned.
    """
    models = IqaConfig(device=config.device, weights=config.weights, batch=config.batch)
    metrics = tuple(name for name in config.metrics if name != FLAGS)
    with (
        Ledger(workspace) as ledger,
        ledger.lock("score", dry_run=config.dry_run),
        Scorer(metrics, models) as scorer,
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
        score_count, failed = 0, Counter[str]()
        phases = _phases(planned, scorer, replace(models, processes=1), executor)
        with events.progress("score", sum(len(phase.works) for phase in phases)) as progress:
            for phase in phases:
                for fact in _run_phase(phase, scorer, ledger, progress.advance):
                    if isinstance(fact, Score):
                        score_count += 1
                    else:
                        is_named = fact.subject.rpartition(" ")[2] in fact.detail
                        events.warning(fact.detail if is_named else f"{fact.subject}: {fact.detail}")
                        failed[fact.reason] += 1
        score_count += _measure_against_reference(ledger, config.limit)
        if FLAGS in config.metrics:
            score_count += _score_flags(ledger)
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


@dataclass(frozen=True, slots=True)
class Phase:
    """Works that run the same way, and how many of them are measured together."""

    stage: Scoring
    works: Sequence[ScoreWork]
    executor: ExecutorConfig
    batch: int


def _phases(works: Sequence[ScoreWork], scorer: Scorer, models: IqaConfig, executor: ExecutorConfig) -> list[Phase]:
    """Return the phases of a run: one, or on GPUs one for our own metrics and one for those of pyiqa.

    Our own metrics need seconds of a core for each pair, during which a GPU would wait. So they run first, on all cores
    and on a cluster in jobs without a GPU; then each GPU has a process that measures nothing but pyiqa's.
    """

    def phase(works: Sequence[ScoreWork], executor: ExecutorConfig, batch: int = 1) -> Phase:
        metrics = {metric for work in works for metric, _ in work.metrics}
        versions = tuple((name, version) for name, version in scorer.versions.items() if name in metrics)
        return Phase(Scoring(versions=versions, config=models), works, executor, batch)

    if not uses_gpu(models.device, executor, scorer):
        return [phase(works, executor)]
    own, others = split_for_gpu(works)
    if executor.name == "local":
        is_one_device = models.device not in ("auto", "cuda")  # such as cuda:1, which no second process may use
        on_gpus = replace(executor, workers=executor.workers or 1) if is_one_device else executor
        return [phase(own, executor), phase(others, on_gpus, models.batch)]
    without_gpu = {name: value for name, value in executor.options.items() if name != "gpus_per_task"}
    own_executor = replace(executor, options=without_gpu) if others else executor
    return [phase(own, own_executor), phase(others, executor, models.batch)]


def uses_gpu(device: str, executor: ExecutorConfig, scorer: Scorer) -> bool:
    """Return whether metrics of pyiqa run on GPUs: of this machine, or of a cluster whose tasks have some."""
    if executor.name == "local":
        return scorer.is_on_gpu
    return device != "cpu" and executor.options.get("gpus_per_task", "0") != "0"


def _run_phase(
    phase: Phase, scorer: Scorer, ledger: Ledger, advance: Callable[[int], object]
) -> Iterator[Score | WorkFailure]:
    """Do the works of a phase, and yield what run_tasks() yields."""
    if not phase.works:
        return
    task_executor = open_executor(phase.executor, phase.stage, phase.works)
    chunk = PAIRS_PER_TASK if task_executor.workers or phase.batch > 1 else PAIRS_PER_STEP
    run_works = partial(
        run_tasks, phase.stage, phase.works, ledger, task_executor, chunk=chunk, min_chunk=phase.batch, progress=advance
    )
    if not task_executor.workers:
        with preloaded(phase.stage, ledger.store, phase.stage.performing(scorer, ledger.store)):
            yield from run_works()
        return
    if any(metric not in OWN for metric, _ in phase.stage.versions):
        scorer.close_models()  # each worker loads its own: they are in memory once for each GPU
    yield from run_works()


def _plan(ledger: Ledger, scorer: Scorer) -> tuple[list[ScoreWork], int]:
    """Return what is to be measured of each candidate that lacks a score, and how many candidates are aligned."""
    photos = {photo.key: photo for photo in ledger.all(Photo)}
    present = {(s.candidate, s.metric) for s in ledger.all(Score) if scorer.versions.get(s.metric) == s.metric_version}
    images = aligned_images(ledger, ledger.all(Candidate), "score")
    candidates = [candidate for candidate in ledger.all(Candidate) if candidate.id in images]
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


def _score_flags(ledger: Ledger) -> int:
    """Store the flags of photographs (photo_NAME) and of replies (reply_NAME) as scores; return how many are new."""
    present = {(s.candidate, s.metric): s for s in ledger.all(Score) if s.metric.startswith(("photo_", "reply_"))}
    of_photos: dict[str, list[Flag]] = defaultdict(list)
    of_replies: dict[str, list[Flag]] = defaultdict(list)
    for flag in ledger.all(Flag):
        (of_replies[flag.candidate] if flag.candidate else of_photos[flag.key]).append(flag)
    aligned = {each.candidate for each in ledger.all(Aligned) if each.image}
    scores = []
    for candidate in ledger.all(Candidate):
        named = [(f"photo_{flag.name}", flag) for flag in of_photos[candidate.key]]
        named += [(f"reply_{flag.name}", flag) for flag in of_replies[candidate.id]]
        for metric, flag in named if candidate.id in aligned else ():
            score = Score(candidate=candidate.id, metric=metric, metric_version=flag.version, value=flag.value)
            if present.get((candidate.id, metric)) != score:
                scores.append(score)
    ledger.add(*scores)
    return len(scores)
