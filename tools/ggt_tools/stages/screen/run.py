"""Screen the aligned candidates of a workspace with a vision-language model."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ggt_format.images import decode_image
from ggt_format.schema import Image
from ggt_tools.clock import utc_now
from ggt_tools.errors import TEMPORARY_REASONS, ConfigError, check_limit
from ggt_tools.events import SILENT, Events
from ggt_tools.executors import LOCAL, ExecutorConfig, merge_earlier_results, open_executor
from ggt_tools.executors import run as run_tasks
from ggt_tools.providers.recording import lock_calls, write_off_calls
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.providers.vlm import VLM, vlm
from ggt_tools.records import Call, Candidate, Opinion, Photo, Verdict
from ggt_tools.stages.screen import CONTROL, VERSION, Work, plan_screen, screen
from ggt_tools.stages.screen.scores import consensus, opinions_in_force, sees_control
from ggt_tools.stages.screen.worker import Screening
from ggt_tools.summary import Summary
from ggt_tools.workspace.aligned import aligned_images
from ggt_tools.workspace.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenConfig:
    """Which model judges, and what.

    Attributes:
        vlm: Vision-language model, as PROVIDER or PROVIDER:MODEL.
        votes: Number of opinions for each of the two orders of the images.
        include_rejected: Whether to judge candidates that the gate has rejected, too.
        service: How the model is called.
        limit: Judge at most this many candidates.
        dry_run: Only tell what would be done.
    """

    vlm: str = "gemini"
    votes: int = 1
    include_rejected: bool = False
    service: ServiceConfig = field(default_factory=ServiceConfig)
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if self.votes < 1:
            raise ConfigError(f"votes: {self.votes}: must be 1 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to be judged.

    Attributes:
        works: The opinions to ask for, within the limit.
        candidates: The candidates that they are on.
        done_count: Opinions that were given before and still hold.
        rejected_count: Candidates that are left out because the gate has rejected them.
        images: The image of each aligned candidate.
        photo_images: The images of all photographs.
        opinions: All opinions that the ledger has.
    """

    works: Sequence[Work]
    candidates: frozenset[str]
    done_count: int
    rejected_count: int
    images: Mapping[str, str]
    photo_images: Sequence[str]
    opinions: Sequence[Opinion]


def run(workspace: Path, config: ScreenConfig, *, executor: ExecutorConfig = LOCAL, events: Events = SILENT) -> Summary:
    """Ask the model for the opinions that aligned candidates lack, and store them with the scores that follow.

    Args:
        workspace: Folder of the workspace.
        config: Which model judges, and what.
        executor: Where a model on an openai-compatible server of one's own is asked from.
        events: Receives progress, and of each opinion that cannot be used.

    Raises:
        ConfigError: Nothing is aligned, the model is unknown or lacks a package or key here, it does not see what is
            wrong with the control pair, or the budget does not hold one more call.
        TransientError: Many calls in a row failed.
    """
    with Ledger(workspace) as ledger, lock_calls(ledger, dry_run=config.dry_run):
        model = vlm(config.vlm, config.service.setting())
        _check_executor(config, executor)
        if not config.dry_run:
            merge_earlier_results(ledger, "screen", executor.name, events.warning)
        plan = _plan(ledger, model, config)
        if config.dry_run:
            cost = config.service.expected_cost(model.model, len(plan.works), is_remote=True)
            sentence = f"would ask {model.model} for {len(plan.works)} opinions on {len(plan.candidates)} candidates"
            return Summary(stage="screen", plan=(sentence + cost,))
        write_off_calls(ledger, "screen")
        _update_scores(ledger, plan, config.votes)
        usd = 0.0
        if plan.works:
            usd += _check_control(ledger, model, plan, config, events)
        if executor.is_given:
            opinions = _ask_on_executor(ledger, model, plan, config, executor, events)
        else:
            opinions, asked_usd = _ask(ledger, model, plan.works, plan.images, plan.opinions, config, events)
            usd += asked_usd
    unusable = Counter(opinion.fault.partition(":")[0] for opinion in opinions if opinion.fault)
    counts = {"opinions": len(opinions) - unusable.total(), "already done": plan.done_count}
    if plan.rejected_count:
        counts["candidates rejected already"] = plan.rejected_count
    return Summary(
        stage="screen",
        counts=counts,
        reasons={"unusable": unusable},
        usd=usd,
        is_failed=not counts["opinions"] and bool(opinions),
    )


def _check_executor(config: ScreenConfig, executor: ExecutorConfig) -> None:
    """Raise ConfigError where worker processes would call a paid server: they have no ledger to record calls in."""
    if executor.is_given and (not config.vlm.startswith("openai-compatible") or math.isfinite(config.service.budget)):
        raise ConfigError(
            f"--vlm {config.vlm}: its calls are paid, and each is recorded on this machine before it is sent. Use "
            "--in-flight N for simultaneous calls; --engine and --workers are for an openai-compatible server of your "
            "own, without a budget."
        )


def _plan(ledger: Ledger, model: VLM, config: ScreenConfig) -> _Plan:
    """Return the opinions that aligned candidates lack."""
    all_candidates = list(ledger.all(Candidate))
    images = aligned_images(ledger, all_candidates, "screen")
    photos = {photo.key: photo.image for photo in ledger.all(Photo)}
    # a verdict that follows from earlier opinions does not stop new ones
    verdicts = (verdict for verdict in ledger.all(Verdict) if verdict.stage != "screen")
    rejected = {verdict.candidate for verdict in verdicts if verdict.decision == "reject"}
    aligned = [candidate for candidate in all_candidates if candidate.id in images]
    chosen = [candidate for candidate in aligned if config.include_rejected or candidate.id not in rejected]
    pairs = [(candidate.id, photos[candidate.key], images[candidate.id]) for candidate in chosen]
    works = list(plan_screen(pairs, model, votes=config.votes))
    opinions = list(ledger.all(Opinion))
    done = {opinion.id for opinion in opinions if opinion.fault.partition(":")[0] not in TEMPORARY_REASONS}
    missing = [work for work in works if work.id not in done]
    candidates = frozenset(list(dict.fromkeys(work.candidate for work in missing))[: config.limit])
    return _Plan(
        works=[work for work in missing if work.candidate in candidates],
        candidates=candidates,
        done_count=len(works) - len(missing),
        rejected_count=len(aligned) - len(chosen),
        images=images,
        photo_images=sorted(photos.values()),
        opinions=opinions,
    )


def _update_scores(ledger: Ledger, plan: _Plan, votes: int) -> None:
    """Store the scores that follow from the opinions that hold now.

    A candidate that has another image since, or is to get more votes, must not keep the scores of earlier opinions,
    whether or not this run is killed.
    """
    present = opinions_in_force(plan.opinions, plan.images)
    stale = {opinion.candidate for opinion in plan.opinions if opinion.candidate in plan.images} - set(present)
    scored = ledger.candidates_with_score("vlm_votes")
    for candidate in sorted(stale | (set(present) - scored) | (plan.candidates & set(present))):
        ledger.add(*consensus(candidate, present.get(candidate, ()), votes=votes))


def _check_control(ledger: Ledger, model: VLM, plan: _Plan, config: ScreenConfig, events: Events) -> float:
    """Show the model a photograph and itself upside down, once for each model; return what that cost in USD.

    Raises:
        ConfigError: The model finds nothing wrong with the pair.
    """
    if sees_control(plan.opinions, model):
        return 0.0
    used = {o.image for o in plan.opinions if (o.candidate, o.model, o.version) == (CONTROL, model.model, VERSION)}
    image = next((image for image in plan.photo_images if image not in used), plan.photo_images[0])
    works = list(plan_screen([(CONTROL, image, image)], model))
    opinions, usd = _ask(ledger, model, works, {}, [], config, events)
    if not sees_control(opinions, model):
        answers = "; ".join(opinion.fault or f"fidelity {opinion.fidelity:.0f}" for opinion in opinions)
        raise ConfigError(
            f"{model.name}: got a photograph, and the same upside down as its restoration, and answered: {answers}. "
            "A model that does not notice this cannot screen. Choose another one with --vlm, or run this again, which "
            "uses another photograph."
        )
    return usd


def _ask(
    ledger: Ledger,
    model: VLM,
    works: Sequence[Work],
    images: Mapping[str, str],
    known_opinions: Sequence[Opinion],
    config: ScreenConfig,
    events: Events,
) -> tuple[list[Opinion], float]:
    """Ask from this process, and store each opinion together with the scores that its candidate now has.

    Returns:
        The new opinions, and what the calls cost in USD.
    """
    by_candidate: dict[str, dict[str, Opinion]] = defaultdict(dict)
    for candidate, held in opinions_in_force(known_opinions, images).items():
        by_candidate[candidate] = {opinion.id: opinion for opinion in held}
    opinions: list[Opinion] = []
    usd = 0.0

    def load(name: str) -> Image:
        return decode_image(ledger.image(name), name)

    def record(calls: Sequence[Call]) -> None:
        ledger.add(*calls)

    ended_calls = screen(
        works,
        model,
        config.service.call_config(is_remote=True),
        load=load,
        record=record,
        clock=utc_now,
        price=config.service.price_of(model.model, is_remote=True),
        spent=ledger.spent(),
    )
    with events.progress(f"screen {model.model}", len(works)) as progress:
        for ended in ended_calls:
            new_opinions = [opinion for opinion, _ in ended if opinion is not None]
            for opinion in new_opinions:
                by_candidate[opinion.candidate][opinion.id] = opinion
                _warn_of_fault(opinion, events)
            candidates = dict.fromkeys(opinion.candidate for opinion in new_opinions if opinion.candidate in images)
            scores = [
                score
                for candidate in candidates
                for score in consensus(candidate, list(by_candidate[candidate].values()), votes=config.votes)
            ]
            ledger.add(*new_opinions, *scores, *(call for _, call in ended))
            opinions += new_opinions
            usd += sum(call.usd for _, call in ended if not math.isnan(call.usd))
            progress.advance(len(new_opinions))
            progress.show(usd=f"{usd:.2f}")
    return opinions, usd


def _ask_on_executor(
    ledger: Ledger,
    model: VLM,
    plan: _Plan,
    config: ScreenConfig,
    executor: ExecutorConfig,
    events: Events,
) -> list[Opinion]:
    """Ask from the processes of an executor; compute the scores here, where all opinions are."""
    service = config.service
    stage = Screening(
        vlm=config.vlm,
        base_url=service.base_url,
        timeout=service.timeout,
        options=tuple(service.options.items()),
        in_flight=service.call_config(is_remote=True).in_flight,
        attempts=service.attempts,
    )
    opinions: list[Opinion] = []
    with events.progress(f"screen {model.model}", len(plan.works)) as progress:
        task_executor = open_executor(executor, stage, plan.works)
        for fact in run_tasks(stage, plan.works, ledger, task_executor, progress=progress.advance):
            if isinstance(fact, Opinion):
                opinions.append(fact)
                _warn_of_fault(fact, events)
            elif not isinstance(fact, Call):
                events.warning(f"{fact.subject}: {fact.reason}: {fact.detail}")
    present = opinions_in_force([*plan.opinions, *opinions], plan.images)
    for candidate in dict.fromkeys(opinion.candidate for opinion in opinions if opinion.candidate in plan.images):
        ledger.add(*consensus(candidate, present.get(candidate, ()), votes=config.votes))
    return opinions


def _warn_of_fault(opinion: Opinion, events: Events) -> None:
    if opinion.fault:
        events.warning(f"candidate {opinion.candidate}: {opinion.fault}")
