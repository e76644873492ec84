"""Make what the plan of a study needs and is still missing: run the stages from the photographs to the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ggt_tools.clock import utc_now
from ggt_tools.errors import ConfigError, GGTError
from ggt_tools.events import Events
from ggt_tools.providers.protocol import Setting
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import Entry, Photo, Prompt, Study
from ggt_tools.restorers import restorer as load_restorer
from ggt_tools.restorers.protocol import Restorer
from ggt_tools.stages.align.run import AlignConfig
from ggt_tools.stages.align.run import run as run_align
from ggt_tools.stages.ingest.run import IngestConfig
from ggt_tools.stages.ingest.run import run as run_ingest
from ggt_tools.stages.prompt.run import PromptConfig
from ggt_tools.stages.prompt.run import run as run_prompt
from ggt_tools.stages.restore import plan_restore
from ggt_tools.stages.restore.run import RestoreConfig
from ggt_tools.stages.restore.run import run as run_restore
from ggt_tools.stages.score.run import ScoreConfig
from ggt_tools.stages.score.run import run as run_score
from ggt_tools.stages.screen.run import ScreenConfig
from ggt_tools.stages.screen.run import run as run_screen
from ggt_tools.stages.study.plan import StudyModel, StudyPlan
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrants:
    """The entrants of one model of a plan.

    Attributes:
        model: The model.
        restorer: Its restorer.
        names: Name of the entrant by strategy of its prompts; "" is the strategy of a restorer that reads none.
    """

    model: StudyModel
    restorer: Restorer
    names: Mapping[str, str]


class Maker:
    """Runs the stages that a plan needs, and collects what they did.

    Args:
        workspace: Folder of the workspace.
        plan: The plan.
        servers: Address of another server, by provider.
        service: Budget and limits of all calls.
        limit: Make at most this many prompts, candidates and opinions in each stage.
        events: Passed to the stages.

    Attributes:
        steps: What each stage did.
        failures: What could not be made, as sentences.
    """

    def __init__(
        self,
        workspace: Path,
        plan: StudyPlan,
        *,
        servers: Mapping[str, str],
        service: ServiceConfig,
        limit: int | None,
        events: Events,
    ) -> None:
        self._workspace, self._plan, self._servers = workspace, plan, servers
        self._service, self._limit, self._events = service, limit, events
        self.steps: list[Summary] = []
        self.failures: list[str] = []

    def make(self) -> None:
        """Make what is missing. What an earlier run made is not made again.

        Raises:
            ConfigError: There are no photographs, or two entrants have the same name or the same works.
        """
        plan, workspace, events = self._plan, self._workspace, self._events
        if plan.photographs:
            self._ingest()
        with Ledger(workspace) as ledger:
            ledger.add(Study(id=plan.id, name=plan.name, text=plan.text, created=utc_now()))
        entrants = self._entrants()  # checks all restorers before a prompt is paid for
        for strategy in dict.fromkeys(strategy for own in entrants for strategy in own.names if strategy):
            prompt = PromptConfig(
                strategy=strategy, vlm=plan.writer, service=self._service_of(plan.writer), limit=self._limit
            )
            self._step(f"prompt, strategy {strategy}", partial(run_prompt, workspace, prompt, events=events))
        for own in entrants:
            for strategy, name in own.names.items():
                restore = RestoreConfig(
                    restorers=(own.model.restorer,),
                    prompt=strategy or None,
                    service=self._service_of(own.model.restorer, own.model),
                    limit=self._limit,
                )
                self._step(f"restore, {name}", partial(run_restore, workspace, restore, events=events))
        self._step("align", partial(run_align, workspace, AlignConfig(), events=events))
        self._step("score", partial(run_score, workspace, ScoreConfig(metrics=plan.metrics), events=events))
        if plan.screen:
            screen = ScreenConfig(
                vlm=plan.screen, include_rejected=True, service=self._service_of(plan.screen), limit=self._limit
            )
            self._step("screen", partial(run_screen, workspace, screen, events=events))
        with Ledger(workspace) as ledger:
            ledger.add(*_entries(ledger, plan, entrants))

    def _ingest(self) -> None:
        config = IngestConfig(photos=self._plan.folder)
        self._step("ingest", partial(run_ingest, self._workspace, config, events=self._events))
        if not (self._workspace / "ledger.sqlite").exists():
            why = self.failures[-1] if self.failures else "nothing was imported."
            raise ConfigError(f"{self._plan.path}: photographs: {why}")

    def _step(self, label: str, run: Callable[[], Summary]) -> None:
        """Run a stage, and note what it did or why it failed."""
        try:
            summary = run()
        except GGTError as error:
            self.failures.append(f"{label}: {error} Then run the study again; it continues.")
            return
        self.steps.append(summary)
        if summary.is_failed:
            self.failures.append(f"{label}: nothing was made; the warnings say why. Run the study again: it continues.")

    def _service_of(self, name: str, model: StudyModel | None = None) -> ServiceConfig:
        """Return how a restorer or vision-language model is called."""
        url = (model.base_url if model else "") or self._servers.get(name.partition(":")[0], "")
        return replace(self._service, base_url=url, options=dict(model.options) if model else {})

    def _entrants(self) -> list[Entrants]:
        """Return the entrants of each model whose restorer can be made here; the others are failures."""
        plan = self._plan
        with Ledger(self._workspace) as ledger:
            photos = list(ledger.all(Photo))
        if not photos:
            raise ConfigError(
                f"{plan.path}: photographs: no photograph of {plan.folder} could be imported. See the messages of "
                "ingest."
            )
        file_names = {photo.key: photo.file for photo in photos}
        entrants: list[Entrants] = []
        for model in plan.models:
            url = self._service_of(model.restorer, model).base_url
            try:
                restorer = load_restorer(
                    model.restorer, Setting(base_url=url, names=file_names, options=dict(model.options))
                )
            except ConfigError as error:
                self.failures.append(f"{model.name}: {error}")
                continue
            strategies = tuple(dict.fromkeys(model.prompts)) if restorer.takes_prompt else ("",)
            names = {
                strategy: f"{model.name}, {strategy}" if strategy and len(strategies) > 1 else model.name
                for strategy in strategies
            }
            entrants.append(Entrants(model=model, restorer=restorer, names=names))
        _check_distinct(plan, entrants)
        return entrants


def _check_distinct(plan: StudyPlan, entrants: Sequence[Entrants]) -> None:
    """Raise ConfigError if two entrants have one name, or would make the same candidates."""
    seen_names: set[str] = set()
    seen_works: dict[tuple[str, ...], str] = {}  # name of the entrant by all that makes its candidates
    for own in entrants:
        for strategy, name in own.names.items():
            if name in seen_names:
                raise ConfigError(f"{plan.path}: [[model]]: two entrants are named {name!r}. Rename one model.")
            seen_names.add(name)
            work = (own.restorer.name, own.restorer.model, own.restorer.version, strategy)
            if work in seen_works:
                raise ConfigError(
                    f"{plan.path}: [[model]]: {seen_works[work]!r} and {name!r} are the same restorer with the same "
                    "prompts. Remove one, or give it other options."
                )
            seen_works[work] = name


def _entries(ledger: Ledger, plan: StudyPlan, entrants: Sequence[Entrants]) -> Iterator[Entry]:
    """Yield the candidate that each entrant has of each photograph, by the ids that restore gives."""
    photos = list(ledger.all(Photo))
    written = sorted(ledger.all(Prompt), key=lambda prompt: prompt.created)
    for own in entrants:
        for strategy, name in own.names.items():
            prompts = {prompt.key: prompt for prompt in written if prompt.strategy == strategy}
            ready = [photo for photo in photos if not strategy or photo.key in prompts]
            works = plan_restore(
                ready, own.restorer, restorer_name=own.model.restorer, prompts=prompts, seeds=[0], clock=utc_now
            )
            for work in works:
                yield Entry(study=plan.id, entrant=name, key=work.photo.key, candidate=work.id)
