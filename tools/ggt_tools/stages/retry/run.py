"""Make failed candidates of a workspace once more."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ggt_tools.errors import ConfigError, check_limit
from ggt_tools.events import SILENT, Events
from ggt_tools.providers.recording import lock_calls
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import Candidate, Photo
from ggt_tools.restorers import restorer as load_restorer
from ggt_tools.stages.restore import Work, check_candidate
from ggt_tools.stages.restore.making import make_candidates, summarize
from ggt_tools.stages.restore.recovery import recover_candidates
from ggt_tools.stages.retry import plan_retry
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryConfig:
    """Which candidates are made once more.

    Attributes:
        reasons: Reason codes of the failed candidates, as `status` shows them.
        service: How a restorer on a server is called, and the options of the restorer.
        limit: Make at most this many candidates.
        dry_run: Only tell what would be done.
    """

    reasons: tuple[str, ...]
    service: ServiceConfig = field(default_factory=ServiceConfig)
    limit: int | None = None
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_limit(self.limit)
        if not self.reasons:
            raise ConfigError("reasons: there is none. Give a reason code, as status shows it.")


def run(workspace: Path, config: RetryConfig, *, events: Events = SILENT) -> Summary:
    """Make the candidates that failed for the given reasons once more, with the restorers that they were begun with.

    Args:
        workspace: Folder of the workspace.
        config: Which candidates.
        events: Receives progress, and of each candidate without an image.

    Raises:
        ConfigError: Nothing failed for one of the reasons, the restorer would make another candidate now, or the
            budget does not hold one more call.
        TransientError: Many calls in a row failed.
    """
    with Ledger(workspace) as ledger, lock_calls(ledger, dry_run=config.dry_run):
        if not config.dry_run:
            recover_candidates(ledger)
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        try:
            planned = plan_retry(ledger.all(Candidate), photos, config.reasons)[: config.limit]
        except ConfigError as fault:
            raise ConfigError(f"{workspace}: {fault}") from fault
        works: dict[str, list[Work]] = defaultdict(list)
        for work in planned:
            works[work.candidate.restorer_name].append(work)
        setting = config.service.setting({key: photo.file for key, photo in photos.items()}, ledger.frames())
        sentences, counts = [], []
        for name, restorer_works in works.items():
            restorer = load_restorer(name, setting)
            for work in restorer_works:
                check_candidate(work.candidate, restorer)
            if config.dry_run:
                number = len(restorer_works)
                cost = config.service.expected_cost(restorer.model, number, is_remote=restorer.is_remote)
                sentences.append(f"would try {number} again with {name}{cost}")
                continue
            counts.append(
                make_candidates(
                    restorer_works, restorer, ledger=ledger, service=config.service, stage="retry", events=events
                )
            )
        if config.dry_run:
            return Summary(stage="retry", plan=tuple(sentences))
        return summarize("retry", counts, ledger=ledger)
