"""Batch jobs: many photographs handed to a provider at once, at its lower price for results within a day.

A job is recorded in the ledger before it is sent, under an id that the provider gets too. A run that is killed in
between asks the provider whether the job arrived, so that nothing is paid twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ggt_format.schema import Image
from ggt_tools.errors import PairError
from ggt_tools.providers.calls import OK
from ggt_tools.providers.prices import Price
from ggt_tools.providers.protocol import Restored
from ggt_tools.providers.recording import SENT
from ggt_tools.records import IN_FLIGHT, Call, Candidate, Job, Photo, work_id
from ggt_tools.restorers.protocol import BatchRestorer, Request
from ggt_tools.stages.restore import Work, check_reply, pad

STAGE = "restore"
DONE, FAILED = "done", "failed"
NO_RESULT = "no_result"
REQUEST_OVERHEAD = 4096  # bytes of a request besides its image


def plan_jobs(
    works: Iterable[Work], image_size: Callable[[Work], int], max_bytes: int, *, restorer_name: str, created: str
) -> Iterator[Job]:
    """Put works into jobs.

    Args:
        works: Photographs and the candidates to make of them.
        image_size: Returns the bytes of the image that is sent for a work, before base64.
        max_bytes: Bytes of the requests of one job at most.
        restorer_name: The restorer as the user named it.
        created: UTC, ISO 8601, whole seconds.
    """
    chunk: list[str] = []
    total = 0
    for work in works:
        request_bytes = image_size(work) * 4 // 3 + REQUEST_OVERHEAD
        if chunk and total + request_bytes > max_bytes:
            yield _job(chunk, restorer_name, created)
            chunk, total = [], 0
        chunk.append(work.id)
        total += request_bytes
    if chunk:
        yield _job(chunk, restorer_name, created)


def _job(works: Sequence[str], restorer_name: str, created: str) -> Job:
    job_id = work_id(created, *works)
    return Job(id=job_id, restorer_name=restorer_name, name="", state=SENT, works=tuple(works), created=created)


def calls_of(job: Job, model: str, price: Price) -> list[Call]:
    """Return the calls of a job in flight, each at the most that it may cost."""
    return [
        Call(
            id=f"{job.id}-{work}",
            work=work,
            stage=STAGE,
            model=model,
            started=job.created,
            seconds=math.nan,
            outcome=IN_FLIGHT,
            detail=f"batch {job.id}",
            usd=price.call * price.batch,
            tokens_in=0,
            tokens_out=0,
        )
        for work in job.works
    ]


def send_job(job: Job, works: Mapping[str, Work], restorer: BatchRestorer, load: Callable[[Photo], Image]) -> Job:
    """Send a recorded job, unless the provider has it already; return it with the provider's name for it."""
    name = restorer.find(job.id)
    if not name:
        requests = (
            Request(
                id=work,
                image=pad(load(works[work].photo), works[work].candidate.frame),
                prompt=works[work].candidate.prompt,
                seed=works[work].candidate.seed,
            )
            for work in job.works
        )
        name = restorer.send(job.id, requests)
    return replace(job, name=name)


def collect_results(
    job: Job,
    state: str,
    candidates: Mapping[str, Candidate],
    restorer: BatchRestorer,
    *,
    keep: Callable[[str, bytes], None],
    clock: Callable[[], str],
    price: Price,
) -> Iterator[tuple[Candidate, Call]]:
    """Yield what came of each request of a job that has ended: the candidate, as `restore` returns it, and its call.

    Args:
        job: The job.
        state: "done", or "failed: " and the reason.
        candidates: Candidates in flight by id. Results for others were taken in before, and are passed over.
        restorer: The restorer that sent the job.
        keep: Stores the image file of a work.
        clock: Returns the current time.
        price: What a call costs.

    A request that the provider's results do not name has the reason "no_result".
    """
    calls = {call.work: call for call in calls_of(job, restorer.model, price)}
    open_works = set(candidates) & set(job.works)
    reason, detail = NO_RESULT, state if state != DONE else "the provider's results do not name it"
    try:
        for work, restored in restorer.results(job.name) if state == DONE else ():
            if work in open_works:
                open_works.discard(work)
                yield _end(candidates[work], calls[work], restored, price, keep, clock)
    except PairError as fault:  # the file of results is damaged: the results before the damage are taken in
        reason, detail = fault.reason, str(fault)
    for work in sorted(open_works):
        yield _end(candidates[work], calls[work], Restored(reason=reason, detail=detail), price, keep, clock)


def _end(
    candidate: Candidate,
    call: Call,
    restored: Restored,
    price: Price,
    keep: Callable[[str, bytes], None],
    clock: Callable[[], str],
) -> tuple[Candidate, Call]:
    """Return the candidate and the call with their outcome."""
    reply = check_reply(candidate.id, restored, keep)
    has_no_tokens = reply.tokens_in + reply.tokens_out == 0
    is_free = reply.reason == NO_RESULT or (has_no_tokens and reply.reason not in ("", "bad_reply", "not_an_image"))
    usd = 0.0 if is_free else price.usd(reply.tokens_in, reply.tokens_out) * price.batch
    ended = replace(
        call,
        outcome=reply.reason or OK,
        detail=reply.detail,
        usd=usd,
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
    )
    return replace(candidate, reason=reply.reason, created=clock()), ended
