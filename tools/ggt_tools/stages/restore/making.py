"""Make candidates with one restorer, and store images, candidates and calls as they arrive."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ggt_format.images import decode_image
from ggt_format.schema import Image
from ggt_tools.clock import utc_now
from ggt_tools.events import Events
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import Call, Candidate, Photo
from ggt_tools.restorers.protocol import Restorer
from ggt_tools.restorers.stored import load_stored
from ggt_tools.stages.restore import Work, add_frame, restore
from ggt_tools.stages.restore.credentials import settle
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger


@dataclass(slots=True)
class CandidateCounts:
    """What came of the candidates of one restorer so far.

    Attributes:
        made: Candidates with an image.
        rejected: Candidates without an image, by reason.
        retried: Calls that failed and were sent again, by reason.
        usd: What the calls cost.
    """

    made: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    usd: float = 0.0

    def add(self, candidate: Candidate | None, call: Call) -> None:
        """Count a call that has ended, and the candidate that came of it; None where the call is sent again."""
        self.usd += 0.0 if math.isnan(call.usd) else call.usd
        if candidate is None:
            self.retried[call.outcome] += 1
        else:
            self.add_candidate(candidate)

    def add_candidate(self, candidate: Candidate) -> None:
        """Count a candidate that was made without a call."""
        if candidate.reason:
            self.rejected[candidate.reason] += 1
        else:
            self.made += 1

    @property
    def is_failed(self) -> bool:
        """Whether there was something to make, and nothing was made."""
        return not self.made and bool(self.rejected)

    def shown(self, total: int) -> dict[str, str]:
        """Return what to show behind a progress bar: candidates by reason, the cost so far and the cost to come."""
        values = {reason: str(number) for reason, number in sorted(self.rejected.items())}
        done = self.made + self.rejected.total()
        if self.usd and done:
            values |= {"usd": f"{self.usd:.2f}", "to go": f"{self.usd / done * (total - done):.2f}"}
        return values


def make_candidates(
    works: Sequence[Work],
    restorer: Restorer,
    *,
    ledger: Ledger,
    service: ServiceConfig,
    stage: str,
    events: Events,
) -> CandidateCounts:
    """Make a candidate for each work in this process; many calls are in flight where the restorer asks a server.

    Args:
        works: Photographs and the candidates to make of them.
        restorer: What makes them.
        ledger: The ledger of the workspace, whose lock is held.
        service: How the restorer is called, and the budget.
        stage: Name of the stage that asks for them: restore, retry or refine.
        events: Receives progress, and of each candidate without an image.

    Raises:
        ConfigError: The budget does not hold one more call, or the restorer cannot work at all.
        TransientError: Many calls in a row failed.
    """
    framed_works = {work.id: add_frame(work, restorer) for work in works}
    price = service.price_of(restorer.model, is_remote=restorer.is_remote)
    counts = CandidateCounts()

    def load(photo: Photo) -> Image:
        load_pixels = load_stored if restorer.is_remote else decode_image
        return load_pixels(ledger.image(photo.image), photo.file)

    def record(calls: Sequence[Call]) -> None:
        ledger.add(*(framed_works[call.work].candidate for call in calls), *calls)

    ended_calls = restore(
        framed_works.values(),
        restorer,
        service.call_config(is_remote=restorer.is_remote),
        load=load,
        keep=ledger.receive,
        record=record,
        clock=utc_now,
        price=price,
        spent=ledger.spent(),
        stage=stage,
    )
    with events.progress(f"{stage} {restorer.model}", len(framed_works)) as progress:
        for ended in ended_calls:
            candidates = [candidate for candidate, _ in ended if candidate is not None]
            settle(ledger, *candidates, *((call for _, call in ended) if price else ()))
            for candidate, call in ended:
                counts.add(candidate, call)
                if candidate is not None and candidate.reason:
                    events.warning(f"{framed_works[candidate.id].photo.subject}: {candidate.reason}: {call.detail}")
            progress.advance(len(candidates))
            progress.show(**counts.shown(len(framed_works)))
    return counts


def summarize(
    stage: str, restorer_counts: Iterable[CandidateCounts], *, ledger: Ledger, already_done: int = 0
) -> Summary:
    """Return the Summary of a stage that made candidates with these restorers.

    It is failed where one of the restorers had something to make, and made nothing.
    """
    made, usd, is_failed = 0, 0.0, False
    rejected, retried = Counter[str](), Counter[str]()
    for counts in restorer_counts:
        made, usd, is_failed = made + counts.made, usd + counts.usd, is_failed or counts.is_failed
        rejected.update(counts.rejected)
        retried.update(counts.retried)
    cost = (f"  cost {usd:.2f} usd; all runs together {ledger.spent():.2f} usd",) if usd else ()
    return Summary(
        stage=stage,
        counts={"made": made, "already done": already_done},
        reasons={"rejected": rejected, "retried": retried},
        notes=cost,
        usd=usd,
        is_failed=is_failed,
    )
