"""Restore rejected photographs of a workspace again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ggt_tools.clock import utc_now
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.providers.recording import LOST, lock_calls, works_in_open_jobs
from ggt_tools.records import IN_FLIGHT, Aligned, Candidate, Opinion, Photo, Prompt, Verdict
from ggt_tools.restorers import restorer as load_restorer
from ggt_tools.restorers.protocol import Restorer
from ggt_tools.stages.refine import Redo, refine
from ggt_tools.stages.refine import RefineConfig as RefineConfig
from ggt_tools.stages.restore import Work, with_present_id
from ggt_tools.stages.restore.making import make_candidates, summarize
from ggt_tools.stages.restore.recovery import recover_candidates
from ggt_tools.stages.screen.scores import opinions_in_force
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What is to be restored again.

    Attributes:
        redos: Decisions with a work, within the limit.
        left: Photographs that are not restored again, by reason.
        works: The works by the restorer's name.
        restorers: The restorers with their names.
    """

    redos: Sequence[Redo]
    left: Counter[str]
    works: dict[str, list[Work]]
    restorers: Sequence[tuple[str, Restorer]]


def run(workspace: Path, config: RefineConfig, *, events: Events = SILENT) -> Summary:
    """Restore photographs again of which every candidate was rejected, with prompts that say what was wrong.

    Args:
        workspace: Folder of the workspace.
        config: What is restored again, with what.
        events: Receives progress, and of each candidate without an image.

    Raises:
        ConfigError: Nothing has been judged, a restorer is unknown or lacks a package or key here, or the budget does
            not hold one more call.
        TransientError: Many calls in a row failed.
    """
    with Ledger(workspace) as ledger, lock_calls(ledger, dry_run=config.dry_run):
        if not config.dry_run:
            recover_candidates(ledger)
        plan = _plan(ledger, config)
        modes = Counter(redo.mode for redo in plan.redos)
        if config.dry_run:
            return Summary(stage="refine", plan=tuple(_plan_lines(plan, config, modes)))
        counts = [
            make_candidates(
                plan.works[name], restorer, ledger=ledger, service=config.service, stage="refine", events=events
            )
            for name, restorer in plan.restorers
            if plan.works[name]
        ]
        summary = summarize("refine", counts, ledger=ledger)
        return replace(
            summary,
            counts={"photographs restored again": len(plan.redos), "made": summary.counts["made"]},
            reasons={**summary.reasons, "mode": modes, "left": plan.left},
        )


def _plan(ledger: Ledger, config: RefineConfig) -> _Plan:
    """Decide on each photograph, and load the restorers."""
    verdicts = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
    if not verdicts:
        raise ConfigError(f"{ledger.workspace}: nothing has been judged. Run: ggt100k verdict {ledger.workspace}")
    photos = list(ledger.all(Photo))
    all_candidates = list(ledger.all(Candidate))
    present_ids = {candidate.id for candidate in all_candidates}
    in_jobs = works_in_open_jobs(ledger)
    candidates = [c for c in all_candidates if c.reason not in (IN_FLIGHT, LOST) or c.id in in_jobs]
    images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
    setting = config.service.setting({photo.key: photo.file for photo in photos}, ledger.frames())
    names = config.restorers or sorted({candidate.restorer_name for candidate in candidates if candidate.restorer_name})
    restorers = [(name, load_restorer(name, setting)) for name in names]
    prompts = sorted(ledger.all(Prompt), key=lambda prompt: prompt.created)
    decisions = list(
        refine(
            photos,
            candidates,
            verdicts,
            opinions_in_force(ledger.all(Opinion), images),
            restorers,
            config,
            prompts={prompt.key: prompt for prompt in prompts if config.prompt in (None, prompt.strategy)},
            clock=utc_now,
        )
    )
    redos = [redo for redo in decisions if redo.work is not None][: config.limit]
    works: dict[str, list[Work]] = defaultdict(list)
    for redo in redos:
        if redo.work is not None:
            works[redo.work.candidate.restorer_name].append(with_present_id(redo.work, present_ids))
    left = Counter(redo.reason for redo in decisions if redo.work is None)
    return _Plan(redos=redos, left=left, works=works, restorers=restorers)


def _plan_lines(plan: _Plan, config: RefineConfig, modes: Counter[str]) -> list[str]:
    """Return what a dry run says: the calls of each restorer, then photographs by mode and by reason."""
    lines = []
    for name, restorer in plan.restorers:
        if number := len(plan.works[name]):
            cost = config.service.expected_cost(restorer.model, number, is_remote=restorer.is_remote)
            lines.append(f"would restore {number} photographs again with {name}{cost}")
    table = Summary(
        stage="refine",
        counts={"photographs to restore again": len(plan.redos)},
        reasons={"mode": modes, "reason": Counter(redo.reason for redo in plan.redos), "left": plan.left},
    )
    return [*lines, *str(table).splitlines()]
