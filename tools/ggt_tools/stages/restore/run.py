"""Restore the photographs of a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ggt_tools.choices import STRATEGIES
from ggt_tools.clock import utc_now
from ggt_tools.configs import check_choice, check_minimum
from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.events import SILENT, Events
from ggt_tools.executors import LOCAL, ExecutorConfig, merge_earlier_results, open_executor
from ggt_tools.executors import run as run_tasks
from ggt_tools.providers.recording import LOST, lock_calls, works_in_open_jobs
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import IN_FLIGHT, Candidate, Photo, Prompt
from ggt_tools.restorers import restorer as load_restorer
from ggt_tools.restorers.protocol import FramingRestorer, Restorer
from ggt_tools.stages.restore import Work, add_frame, plan_restore, with_present_id
from ggt_tools.stages.restore.batch_run import make_in_batches
from ggt_tools.stages.restore.making import CandidateCounts, make_candidates, summarize
from ggt_tools.stages.restore.recovery import recover_candidates
from ggt_tools.stages.restore.worker import Restoring
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger

WORKS_PER_TASK = 16  # in a worker process


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreConfig:
    """What restores the photographs, and how often.

    Attributes:
        restorers: Restorers, each as NAME or NAME:MODEL.
        prompt: Strategy of the prompts to use: fixed, measured or vlm; None for the only one that was written.
        candidates_per_photo: Number of candidates that each restorer makes of each photograph, each with its own seed.
        seed: Seed of the first candidate; each further one has the next number.
        batch: Use the provider's batch jobs.
        poll_seconds: Seconds between two checks of batch jobs.
        service: How a restorer on a server is called, and the options of the restorer.
        limit: Make at most this many candidates with each restorer.
        dry_run: Only tell what would be done.
    """

    restorers: tuple[str, ...] = ("classical",)
    prompt: str | None = None
    candidates_per_photo: int = 1
    seed: int = 0
    batch: bool = False
    poll_seconds: float = 60.0
    service: ServiceConfig = field(default_factory=ServiceConfig)
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if not self.restorers:
            raise ConfigError("restorers: none is named. Name one, for example classical.")
        if self.prompt is not None:
            check_choice("prompt", self.prompt, STRATEGIES)
        check_minimum("candidates_per_photo", self.candidates_per_photo)
        if not 0 <= self.seed <= 2**63 - self.candidates_per_photo:
            raise ConfigError(
                f"seed: {self.seed} for {self.candidates_per_photo} candidates of each photograph: seeds have to be "
                "between 0 and 2**63 - 1. Give another one."
            )
        if not self.poll_seconds > 0:
            raise ConfigError(f"poll_seconds: {self.poll_seconds}: must be above 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What one restorer is to make."""

    works: list[Work]
    done_count: int  # candidates that were settled before


def run(
    workspace: Path, config: RestoreConfig, *, executor: ExecutorConfig = LOCAL, events: Events = SILENT
) -> Summary:
    """Make the candidates that are missing with each restorer, and store them.

    Args:
        workspace: Folder of the workspace.
        config: What restores.
        executor: Where a restorer that asks no server runs.
        events: Receives progress, of photographs without a prompt, and of each candidate without an image.

    Raises:
        ConfigError: A restorer is unknown or lacks a package or key here, prompts are missing, or the budget does not
            hold one more call.
        TransientError: Many calls in a row failed.
    """
    with Ledger(workspace) as ledger, lock_calls(ledger, dry_run=config.dry_run):
        if not config.dry_run:
            merge_earlier_results(ledger, "restore", executor.name, events.warning)
        photos = list(ledger.all(Photo))
        setting = config.service.setting({photo.key: photo.file for photo in photos}, ledger.frames())
        restorers = [(name, load_restorer(name, setting)) for name in config.restorers]
        for name, restorer in restorers:
            _check_executor(name, restorer, executor)
        if not config.dry_run:
            recover_candidates(ledger)
        sentences, counts, done_count = [], [], 0
        for name, restorer in restorers:
            plan = _plan(ledger, photos, name, restorer, config, events)
            if config.dry_run:
                number = len(plan.works)
                cost = config.service.expected_cost(restorer.model, number, is_remote=restorer.is_remote)
                sentences.append(f"would restore {number} photographs with {name}{cost}")
                continue
            counts.append(_make(plan.works, name, restorer, ledger, config, executor, events))
            done_count += plan.done_count
        if config.dry_run:
            return Summary(stage="restore", plan=tuple(sentences))
        return summarize("restore", counts, ledger=ledger, already_done=done_count)


def _check_executor(name: str, restorer: Restorer, executor: ExecutorConfig) -> None:
    """Raise ConfigError where worker processes would call a paid server: they have no ledger to record calls in."""
    if executor.is_given and restorer.is_remote:
        raise ConfigError(
            f"--with {name}: asks a server, and each call is recorded on this machine before it is sent. Use "
            "--in-flight N for simultaneous calls; --engine and --workers are for restorers on machines of your own."
        )


def _plan(
    ledger: Ledger, photos: Sequence[Photo], name: str, restorer: Restorer, config: RestoreConfig, events: Events
) -> _Plan:
    """Return the works of a restorer that no run has settled and no batch job holds."""
    candidates = list(ledger.all(Candidate))
    present_ids = {candidate.id for candidate in candidates}
    settled = {c.id for c in candidates if c.reason not in (IN_FLIGHT, LOST)}
    prompts = select_prompts(ledger, config.prompt) if restorer.takes_prompt else {}
    ready = [photo for photo in photos if not restorer.takes_prompt or photo.key in prompts]
    if len(ready) < len(photos):
        events.warning(
            f"{len(photos) - len(ready)} photographs have no prompt and are not restored. "
            f"Run: ggt100k prompt {ledger.workspace}"
        )
    seeds = range(config.seed, config.seed + config.candidates_per_photo)
    planned = plan_restore(ready, restorer, restorer_name=name, prompts=prompts, seeds=seeds, clock=utc_now)
    works = [with_present_id(work, present_ids) for work in planned]
    in_jobs = works_in_open_jobs(ledger) & {work.id for work in works}
    if in_jobs and not config.batch:
        events.warning(
            f"{len(in_jobs)} candidates are in batch jobs. Run this again with --batch to get their results."
        )
    missing = [work for work in works if work.id not in settled | in_jobs][: config.limit]
    if isinstance(restorer, FramingRestorer):
        for note in restorer.frame_notes(work.photo for work in missing):
            events.warning(note)
    return _Plan(works=missing, done_count=sum(work.id in settled for work in works))


def _make(
    works: Sequence[Work],
    name: str,
    restorer: Restorer,
    ledger: Ledger,
    config: RestoreConfig,
    executor: ExecutorConfig,
    events: Events,
) -> CandidateCounts:
    """Make the candidates in batch jobs, on an executor, or in this process, as the config asks."""
    if config.batch:
        return make_in_batches(
            works,
            restorer,
            name,
            ledger=ledger,
            service=config.service,
            poll_seconds=config.poll_seconds,
            events=events,
        )
    if executor.is_given:
        return _make_on_executor(works, name, restorer, ledger, config, executor, events)
    return make_candidates(works, restorer, ledger=ledger, service=config.service, stage="restore", events=events)


def _make_on_executor(
    works: Sequence[Work],
    name: str,
    restorer: Restorer,
    ledger: Ledger,
    config: RestoreConfig,
    executor: ExecutorConfig,
    events: Events,
) -> CandidateCounts:
    """Make the candidates in the processes of an executor."""
    framed_works = [add_frame(work, restorer) for work in works]
    # only this restorer asks for the names of files; for others they would make each task large
    names = {work.photo.key: work.photo.file for work in works} if name.startswith("folder") else {}
    stage = Restoring(
        restorer=name,
        timeout=config.service.timeout,
        options=tuple(config.service.options.items()),
        names=tuple(names.items()),
    )
    counts = CandidateCounts()
    with events.progress(f"restore {restorer.model}", len(works)) as progress:
        task_executor = open_executor(executor, stage, framed_works)
        for fact in run_tasks(
            stage, framed_works, ledger, task_executor, chunk=WORKS_PER_TASK, progress=progress.advance
        ):
            if isinstance(fact, Candidate):
                counts.add_candidate(fact)
            else:
                events.warning(f"{fact.subject}: {fact.reason}: {fact.detail}")
                if fact.reason == "worker_died":  # then there is no candidate
                    counts.rejected[fact.reason] += 1
    return counts


def select_prompts(ledger: Ledger, strategy: str | None) -> dict[str, Prompt]:
    """Return the newest prompt of a strategy by key; of None, that of the only strategy there is.

    Raises:
        ConfigError: There are no such prompts, or prompts of several strategies to choose from.
    """
    prompts = sorted(ledger.all(Prompt), key=lambda prompt: prompt.created)
    strategies = sorted({prompt.strategy for prompt in prompts})
    if strategy is None and len(strategies) > 1:
        raise ConfigError(f"{ledger.workspace}: has prompts of {', '.join(strategies)}. Choose one with --prompt.")
    chosen = strategy or (strategies[0] if strategies else "fixed")
    if chosen not in strategies:
        raise ConfigError(
            f"{ledger.workspace}: has no prompts of the strategy {chosen}. "
            f"Write them: ggt100k prompt {ledger.workspace} --strategy {chosen}"
        )
    return {prompt.key: prompt for prompt in prompts if prompt.strategy == chosen}
