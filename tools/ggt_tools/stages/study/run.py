"""Make what a study needs, and report its result."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ggt_tools.clock import utc_now
from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.events import SILENT, Events
from ggt_tools.files.outputs import check_output_file
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import Aligned, Call, Choice, Entry, Photo, Study
from ggt_tools.stages.study import StudyFacts, choices_in_force, study
from ggt_tools.stages.study.making import Maker
from ggt_tools.stages.study.page import StudyPicture, result_csv, study_page
from ggt_tools.stages.study.plan import check_plan, load_plan, parse_plan
from ggt_tools.stages.study.result import ALL, StudyResult
from ggt_tools.summary import Summary
from ggt_tools.tables import format_table, printable
from ggt_tools.workspace.ledger import Ledger, write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """What a study makes, and where its result is written.

    Attributes:
        plan: Plan of which everything missing is made; None to only report the newest study.
        out: HTML page to write, and beside it the table as CSV; None for none.
        servers: Address of another server with the same API, by provider.
        service: Budget and limits of all calls. Servers and options are in `servers` and in the plan.
        limit: Make at most this many prompts, candidates and opinions in each stage.
        dry_run: Only tell what would be done.
    """

    plan: Path | None = None
    out: Path | None = None
    servers: Mapping[str, str] = field(default_factory=dict)
    service: ServiceConfig = field(default_factory=ServiceConfig)
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if self.service.base_url:
            raise ConfigError("--base-url: a study may have several providers. Use --server PROVIDER=URL.")
        if self.service.options:
            raise ConfigError("--option: the options of a study are in its plan. Write options = { NAME = VALUE }.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyReport:
    """What a study did and found. `str(report)` is what `ggt100k study` prints.

    Attributes:
        result: The table, ranking and recommendation; None for a dry run.
        steps: What each stage did.
        failures: What could not be made, as sentences.
        summary: Counts, the result in words, and the files that were written.
    """

    result: StudyResult | None
    steps: tuple[Summary, ...] = ()
    failures: tuple[str, ...] = ()
    summary: Summary

    def __str__(self) -> str:
        return "\n".join(map(str, (*self.steps, self.summary)))


def run(workspace: Path, config: StudyConfig, *, events: Events = SILENT) -> StudyReport:
    """Make what the plan of a study needs and is missing, and report the result.

    Args:
        workspace: Folder of a workspace for the study alone: every model restores all its photographs.
        config: The plan, and where the result is written.
        events: Receives progress, and of what could not be made.

    Raises:
        ConfigError: The plan is wrong, nothing can be made, or the workspace has no study.
    """
    if config.out:
        check_output_file(config.out)
    steps: tuple[Summary, ...] = ()
    failures: tuple[str, ...] = ()
    plan_id = ""
    if config.plan:
        plan = load_plan(config.plan)
        check_plan(plan)
        if config.dry_run:
            sentences = (
                f"would restore with {model.restorer} as {model.name!r}, prompts {', '.join(model.prompts)}"
                for model in plan.models
            )
            return StudyReport(result=None, summary=Summary(stage="study", plan=tuple(sentences)))
        maker = Maker(
            workspace,
            plan,
            servers=config.servers,
            service=config.service,
            limit=config.limit,
            events=events,
        )
        maker.make()
        steps, failures, plan_id = tuple(maker.steps), tuple(maker.failures), plan.id
    with Ledger(workspace) as ledger:
        facts, newest = read_facts(ledger, plan_id)
        pictures = choose_pictures(facts, {a.candidate: a.image for a in ledger.all(Aligned) if a.image})
    result = study(facts)
    notes = [*_table(result), *_recommendation(result), *_hints(facts, newest, workspace)]
    paths: tuple[str, ...] = ()
    if config.out:
        table_path = config.out.with_suffix(".csv")
        page = study_page(facts.plan, result, created=utc_now(), pictures=pictures, image=ledger.image)
        write_whole(config.out, page.encode())
        write_whole(table_path, result_csv(result).encode())
        paths = (str(config.out), str(table_path))
        notes.append(f"  written: {printable(paths[0])}, {printable(paths[1])}")
    for failure in failures:
        events.warning(failure)
    summary = Summary(
        stage="study",
        counts={
            "entrants": len(facts.entries),
            "photographs": len(facts.photos),
            "choices": len(facts.choices),
        },
        notes=tuple(notes),
        usd=sum(step.usd for step in steps),
        paths=paths,
        is_failed=bool(failures),
    )
    return StudyReport(result=result, steps=steps, failures=failures, summary=summary)


def read_facts(ledger: Ledger, plan_id: str) -> tuple[StudyFacts, Study]:
    """Return the facts of a study, and the newest study, which the review page shows.

    Args:
        ledger: The ledger of the workspace.
        plan_id: Id of the study's plan; "" for the newest study.

    Raises:
        ConfigError: The workspace has no study.
    """
    studies = sorted(ledger.all(Study), key=lambda record: (record.created, record.id))
    if not studies:
        raise ConfigError(f"{ledger.workspace}: has no study. Begin one: ggt100k study {ledger.workspace} --plan PLAN")
    chosen = next((record for record in studies if record.id == plan_id), studies[-1])
    entries, keys = _entries(ledger, chosen.id)
    usd: dict[str, float] = defaultdict(float)
    for call in ledger.all(Call):
        usd[call.work] += call.usd
    own_candidates = {candidate for by_key in entries.values() for candidate in by_key.values()}
    facts = StudyFacts(
        plan=parse_plan(ledger.workspace / "the study's plan", chosen.text),
        entries=entries,
        photos={photo.key: photo for photo in ledger.all(Photo) if photo.key in keys},
        scores=ledger.scores(),
        # choices between the same restorations count, also if they were made before the plan was changed
        choices=[c for c in choices_in_force(list(ledger.all(Choice))) if own_candidates.issuperset(c.shown)],
        usd=usd,
    )
    return facts, studies[-1]


def choose_pictures(facts: StudyFacts, images: Mapping[str, str]) -> list[StudyPicture]:
    """Return of each class the photograph that most entrants restored; of several, the one with most choices.

    Args:
        facts: What is known of the study.
        images: Name of the aligned image by candidate.
    """
    choices = Counter(choice.key for choice in facts.choices)
    pictures: dict[str, StudyPicture] = {}
    for key, photo in sorted(facts.photos.items(), key=lambda item: (-choices[item[0]], item[0])):
        restorations = tuple(
            (entrant, images[by_key[key]]) for entrant, by_key in facts.entries.items() if by_key.get(key) in images
        )
        before = pictures.get(photo.degradation)
        if restorations and (before is None or len(restorations) > len(before.restorations)):
            pictures[photo.degradation] = StudyPicture(
                degradation=photo.degradation, key=key, image=photo.image, restorations=restorations
            )
    return [pictures[name] for name in sorted(pictures)]


def _entries(ledger: Ledger, study_id: str) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Return the candidates with an aligned image by entrant and key, and the keys of all photographs of a study."""
    images = {aligned.candidate for aligned in ledger.all(Aligned) if aligned.image}
    entries: dict[str, dict[str, str]] = {}
    keys = set()
    for entry in ledger.all(Entry):
        if entry.study == study_id:
            keys.add(entry.key)
            by_key = entries.setdefault(entry.entrant, {})  # also for an entrant without any image
            if entry.candidate in images:
                by_key[entry.key] = entry.candidate
    return entries, keys


def _table(result: StudyResult) -> Sequence[str]:
    """Return the lines of the table of all photographs; shares are percentages."""
    header = ("entrant", "fidelity", "quality", "VLM", "people", "choices", "photographs")
    rows = [
        (
            row.entrant,
            _number(100 * row.fidelity.value),
            _number(100 * row.quality.value),
            _number(row.vlm.value),
            _number(100 * row.preferred.value),
            str(row.choices),
            f"{row.photographs} of {row.of}",
        )
        for row in result.rows_of(ALL)
    ]
    return format_table(header, rows)


def _recommendation(result: StudyResult) -> Iterator[str]:
    yield f"study: take {printable(result.recommended)}" if result.recommended else "study: no recommendation"
    yield from (printable(f"  {reason}") for reason in result.reasons)
    yield from (printable(f"  but: {caution}") for caution in result.cautions)


def _hints(facts: StudyFacts, newest: Study, workspace: Path) -> Iterator[str]:
    """Say on which page people choose."""
    if newest.id != facts.plan.id:
        yield printable(f"  but: the review page shows a newer study, {newest.name}. New choices are made in that one.")
    elif not facts.choices:
        yield f"people choose on the review page: ggt100k review {printable(str(workspace))}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"
