"""Restore with batch jobs: send them, wait for them, and store the results. A later run continues where one ends."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from ggt_format.schema import Image
from ggt_tools.clock import utc_now
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.events import Events, Progress
from ggt_tools.providers.prices import Price
from ggt_tools.providers.recording import SENT
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import IN_FLIGHT, Candidate, Job, Photo
from ggt_tools.restorers.protocol import BatchRestorer, Restorer
from ggt_tools.restorers.stored import load_stored
from ggt_tools.retries import retry
from ggt_tools.stages.restore import Work, add_frame, check_candidate
from ggt_tools.stages.restore.batches import (
    DONE,
    FAILED,
    calls_of,
    collect_results,
    plan_jobs,
    send_job,
)
from ggt_tools.stages.restore.credentials import settle
from ggt_tools.stages.restore.making import CandidateCounts
from ggt_tools.workspace.ledger import Ledger

T = TypeVar("T")


def make_in_batches(
    works: Sequence[Work],
    restorer: Restorer,
    name: str,
    *,
    ledger: Ledger,
    service: ServiceConfig,
    poll_seconds: float,
    events: Events,
) -> CandidateCounts:
    """Send the works in batch jobs, and wait for every open job of this restorer, also those of earlier runs.

    Args:
        works: Photographs and the candidates to make of them that are in no job yet.
        restorer: What makes them.
        name: The restorer as the user named it.
        ledger: The ledger of the workspace, whose lock is held.
        service: How the restorer is called, and the budget.
        poll_seconds: Seconds between two checks of the jobs.
        events: Receives progress, and of each candidate without an image.

    Raises:
        ConfigError: The restorer does not support batch jobs, its price is unknown, or the budget is too small for
            all works. The works within the budget are finished then.
        TransientError: A request failed in all attempts.
    """
    if not isinstance(restorer, BatchRestorer):
        raise ConfigError(f"--batch: {name} does not support batch jobs. Leave --batch out.")
    price = service.price_of(restorer.model, is_remote=True)
    if price is None or math.isnan(price.call):
        raise ConfigError(f"{restorer.model}: its price is unknown. State the cost of a call: --price USD")
    run = _BatchRun(
        restorer=restorer,
        name=name,
        price=price,
        ledger=ledger,
        service=service,
        poll_seconds=poll_seconds,
        events=events,
    )
    run.resend()
    waiting_count = run.send(works)
    run.collect()
    if waiting_count:
        call_price = price.call * price.batch
        made = f"{run.counts.made} candidates were restored, " if run.counts.made else ""
        raise ConfigError(
            f"the budget of {service.budget:.2f} USD: {made}{ledger.spent():.2f} USD are spent, {waiting_count} "
            f"candidates wait, and each may cost {call_price:.4f} USD. Raise --budget and run this again."
        )
    return run.counts


@dataclass(kw_only=True)
class _BatchRun:
    """One run of batch jobs of one restorer."""

    restorer: BatchRestorer
    name: str
    price: Price
    ledger: Ledger
    service: ServiceConfig
    poll_seconds: float
    events: Events
    counts: CandidateCounts = field(default_factory=CandidateCounts)

    def resend(self) -> None:
        """Send the jobs that were recorded before a kill, unless the provider says that it has them."""
        photos = {photo.key: photo for photo in self.ledger.all(Photo)}
        works = {c.id: Work(photo=photos[c.key], candidate=c) for c in self._candidates_in_flight().values()}
        for job in self._open_jobs():
            if not job.name:
                for work in job.works:
                    check_candidate(works[work].candidate, self.restorer)
                self._send(job, works)

    def send(self, works: Sequence[Work]) -> int:
        """Send as many works as the budget holds; return how many it does not hold."""
        affordable = [add_frame(work, self.restorer) for work in works]
        if math.isfinite(self.service.budget):
            left = self.service.budget - self.ledger.spent()
            affordable = affordable[: max(0, int(left / (self.price.call * self.price.batch) + 1e-9))]
        by_id = {work.id: work for work in affordable}
        jobs = plan_jobs(
            affordable, self._image_size, self.restorer.batch_bytes, restorer_name=self.name, created=utc_now()
        )
        for job in jobs:
            calls = calls_of(job, self.restorer.model, self.price)
            self.ledger.add(job, *calls, *(by_id[work].candidate for work in job.works))
            self._send(job, by_id)
        return len(works) - len(affordable)

    def collect(self) -> None:
        """Wait until every open job has ended, and store the results of each as it ends."""
        photos = {photo.key: photo for photo in self.ledger.all(Photo)}
        jobs = self._open_jobs()
        total = sum(len(job.works) for job in jobs)
        with self.events.progress(f"batch {self.restorer.model}", total) as progress:
            while jobs:
                for job in list(jobs):
                    state = self._retry(partial(self.restorer.state, job.name))
                    if state != "running":
                        jobs.remove(job)
                        self._store_results(job, state, photos, progress)
                if jobs:
                    time.sleep(self.poll_seconds)

    def _store_results(self, job: Job, state: str, photos: Mapping[str, Photo], progress: Progress) -> None:
        for candidate, call in collect_results(
            job,
            state,
            self._candidates_in_flight(),
            self.restorer,
            keep=self.ledger.receive,
            clock=utc_now,
            price=self.price,
        ):
            settle(self.ledger, candidate, call)
            self.counts.add(candidate, call)
            if candidate.reason:
                self.events.warning(f"{photos[candidate.key].subject}: {candidate.reason}: {call.detail}")
            progress.advance()
        self.ledger.add(replace(job, state=DONE if state == DONE else FAILED))

    def _send(self, job: Job, works: Mapping[str, Work]) -> None:
        """Send a recorded job. Where the provider rejects it, it has failed, and costs nothing."""
        try:
            self.ledger.add(self._retry(partial(send_job, job, works, self.restorer, self._load)))
        except PairError as fault:
            self.events.warning(f"batch job {job.id}: {fault.reason}: {fault}")
            calls = [
                replace(call, outcome=fault.reason, detail=str(fault), usd=0.0)
                for call in calls_of(job, self.restorer.model, self.price)
            ]
            candidates = (replace(works[work].candidate, reason=fault.reason, created=utc_now()) for work in job.works)
            self.ledger.add(replace(job, state=FAILED), *calls, *candidates)

    def _load(self, photo: Photo) -> Image:
        return load_stored(self.ledger.image(photo.image), photo.file)

    def _image_size(self, work: Work) -> int:
        """Estimate the bytes of the image that is sent: those of the photograph, and more for its padding."""
        stored, frame = self.ledger.image_size(work.photo.image), work.candidate.frame
        return stored * frame[0] * frame[1] // (work.photo.width * work.photo.height) if frame else stored

    def _open_jobs(self) -> list[Job]:
        return [job for job in self.ledger.all(Job) if job.restorer_name == self.name and job.state == SENT]

    def _candidates_in_flight(self) -> dict[str, Candidate]:
        return {c.id: c for c in self.ledger.all(Candidate) if c.reason == IN_FLIGHT}

    def _retry(self, request: Callable[[], T]) -> T:
        return retry(request, attempts=self.service.attempts, max_wait=self.poll_seconds, warn=self.events.warning)
