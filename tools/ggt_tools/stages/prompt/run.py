"""Write the prompts of the photographs of a workspace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ggt_format.images import decode_image
from ggt_format.schema import Image
from ggt_tools.choices import STRATEGIES
from ggt_tools.clock import utc_now
from ggt_tools.configs import check_choice
from ggt_tools.errors import check_limit
from ggt_tools.events import SILENT, Events, track
from ggt_tools.providers.recording import lock_calls, open_calls, write_off_calls
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import Call, Photo, Prompt, work_id
from ggt_tools.stages.prompt import Written, version, write_by_vlm, write_fixed, write_measured
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger

if TYPE_CHECKING:
    from ggt_tools.providers.calls import EndedCall
    from ggt_tools.providers.vlm import VLM


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptConfig:
    """How prompts are written.

    Attributes:
        strategy: "fixed" for one text for each class, "measured" for one sentence for each measured degradation, "vlm"
            for a text by a vision-language model.
        vlm: Vision-language model for the strategy vlm, as PROVIDER or PROVIDER:MODEL.
        service: How the model is called.
        limit: Write at most this many prompts.
        dry_run: Only tell what would be done.
    """

    strategy: str = "fixed"
    vlm: str = "gemini"
    service: ServiceConfig = field(default_factory=ServiceConfig)
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        check_choice("strategy", self.strategy, STRATEGIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWork:
    """A photograph, and the id of the prompt that is to be written for it."""

    id: str
    photo: Photo


def run(workspace: Path, config: PromptConfig, *, events: Events = SILENT) -> Summary:
    """Write the prompts that photographs lack in the present version of the strategy, and store them.

    Args:
        workspace: Folder of the workspace.
        config: How prompts are written.
        events: Receives progress, and of each photograph for which the model could not be asked.

    Raises:
        ConfigError: The model is unknown or lacks a package or key here, or the budget does not hold one more call.
        TransientError: Many calls in a row failed.
    """
    with Ledger(workspace) as ledger, lock_calls(ledger, dry_run=config.dry_run):
        model = None
        if config.strategy == "vlm":
            from ggt_tools.providers.vlm import vlm

            model = vlm(config.vlm, config.service.setting())
        prompt_version = version(config.strategy, model.model if model else "")
        done = {prompt.id for prompt in ledger.all(Prompt)}
        works = [
            PromptWork(id=work_id(photo.key, config.strategy, prompt_version), photo=photo)
            for photo in ledger.all(Photo)
        ]
        missing = [work for work in works if work.id not in done]
        planned = missing[: config.limit]
        if config.dry_run:
            cost = config.service.expected_cost(model.model, len(planned), is_remote=True) if model else ""
            return Summary(stage="prompt", plan=(f"would write {len(planned)} prompts{cost}",))
        failed, usd = Counter[str](), 0.0
        if model:
            prompts, usd = _ask(ledger, model, planned, config.service, failed, events)
        else:
            prompts = _compose(ledger, config.strategy, planned, events)
    replaced = sum(bool(prompt.note) for prompt in prompts)
    return Summary(
        stage="prompt",
        counts={"written": len(prompts), "already done": len(works) - len(missing)},
        reasons={"failed": failed},
        notes=(f"  {replaced} of them are fixed prompts, because the model gave no usable answer",) if replaced else (),
        usd=usd,
        is_failed=not prompts and bool(failed),
    )


def _pixels(ledger: Ledger, photo: Photo) -> Image:
    return decode_image(ledger.image(photo.image), photo.file)


def _compose(ledger: Ledger, strategy: str, works: Sequence[PromptWork], events: Events) -> list[Prompt]:
    """Write and store prompts without a model."""
    write = write_fixed if strategy == "fixed" else write_measured
    prompts = []
    for work in track(events, works, "prompt", len(works)):
        prompt = write(work.photo, _pixels(ledger, work.photo), created=utc_now())
        ledger.add(prompt)
        prompts.append(prompt)
    return prompts


def _ask(
    ledger: Ledger,
    model: VLM,
    works: Sequence[PromptWork],
    service: ServiceConfig,
    failed: Counter[str],
    events: Events,
) -> tuple[list[Prompt], float]:
    """Write prompts with a model, and store each with its call; return them and what the calls cost in USD."""

    def ask(work: PromptWork) -> Written:
        return write_by_vlm(work.photo, _pixels(ledger, work.photo), model, created=utc_now())

    write_off_calls(ledger, "prompt")
    calls = open_calls(ask, ledger=ledger, service=service, stage="prompt", model=model.model)
    prompts, spent_before = [], calls.spent
    with events.progress(f"prompt {model.model}", len(works)) as progress:
        for ended in calls.perform(works):
            new_prompts = [end.answer.prompt for end in ended if end.answer is not None]
            ledger.add(*new_prompts, *(_call_with_outcome(end) for end in ended))
            prompts += new_prompts
            for end in ended:
                if end.is_final and end.answer is None:
                    failed[end.call.outcome] += 1
                    events.warning(f"{end.work.photo.subject}: {end.call.outcome}: {end.call.detail}")
                progress.advance(end.is_final)
            progress.show(usd=f"{calls.spent:.2f}")
    return prompts, calls.spent - spent_before


def _call_with_outcome(end: EndedCall[PromptWork, Written]) -> Call:
    """Return the call; where its answer could not be used, with the reason as its outcome."""
    if end.answer is None or not end.answer.reason:
        return end.call
    return replace(end.call, outcome=end.answer.reason, detail=end.answer.prompt.note)
