"""Batches: many photographs handed to a provider at once, at its price for those who can wait a day.

A job is noted in the ledger, under an id that the provider is told too, before it is handed over: a run that is killed
in between asks the provider whether the job arrived, and pays for nothing twice.
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
from ggt_tools.records import IN_FLIGHT, Call, Candidate, Job, Photo, work_id
from ggt_tools.restorers.protocol import BatchRestorer, Request
from ggt_tools.stages.restore import Work, kept, padded

STAGE = "restore"
SENT, DONE, FAILED = "sent", "done", "failed"
MISSING = "no_result"


def jobs(works: Iterable[Work], size: Callable[[Work], int], most: int, *, maker: str, clock: str) -> Iterator[Job]:
    """Works as jobs of at most `most` bytes of requests; `size` gives a photograph's in bytes, before base64."""
    chunk: list[str] = []
    total = 0
    for work in works:
        more = size(work) * 4 // 3 + 4096
        if chunk and total + more > most:
            yield _job(chunk, maker, clock)
            chunk, total = [], 0
        chunk.append(work.id)
        total += more
    if chunk:
        yield _job(chunk, maker, clock)


def _job(works: Sequence[str], maker: str, clock: str) -> Job:
    return Job(id=work_id(clock, *works), maker=maker, name="", state=SENT, works=tuple(works), created=clock)


def calls(job: Job, model: str, price: Price) -> list[Call]:
    """What the job's requests may cost, to be noted before it is handed over."""
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


def send(job: Job, works: Mapping[str, Work], restorer: BatchRestorer, load: Callable[[Photo], Image]) -> Job:
    """Hands a noted job over, unless the provider has it already; the job with the provider's name for it."""
    name = restorer.find(job.id)
    if not name:
        requests = (
            Request(
                id=work,
                image=padded(load(works[work].photo), works[work].candidate.frame),
                prompt=works[work].candidate.prompt,
                seed=works[work].candidate.seed,
            )
            for work in job.works
        )
        name = restorer.send(job.id, requests)
    return replace(job, name=name)


def collect(
    job: Job,
    state: str,
    candidates: Mapping[str, Candidate],
    restorer: BatchRestorer,
    *,
    keep: Callable[[str, bytes], None],
    clock: Callable[[], str],
    price: Price,
) -> Iterator[tuple[Candidate, Call]]:
    """What came of each request of a job that has ended (`state`: done, or failed: why), as restore() has it.

    `candidates`: those in flight, by id; what came for others is in already. A request of which the provider says
    nothing has the reason no_result.
    """
    noted = {call.work: call for call in calls(job, restorer.model, price)}
    left = set(candidates) & set(job.works)
    reason, said = MISSING, state if state != DONE else "the provider's results do not name it"
    try:
        for work, restored in restorer.results(job.name) if state == DONE else ():
            if work in left:
                left.discard(work)
                yield _ended(candidates[work], noted[work], restored, price, keep, clock)
    except PairError as fault:  # the file of results is damaged: what came before is in
        reason, said = fault.reason, str(fault)
    for work in sorted(left):
        yield _ended(candidates[work], noted[work], Restored(reason=reason, detail=said), price, keep, clock)


def _ended(
    candidate: Candidate,
    call: Call,
    restored: Restored,
    price: Price,
    keep: Callable[[str, bytes], None],
    clock: Callable[[], str],
) -> tuple[Candidate, Call]:
    reply = kept(candidate.id, restored, keep)
    silent = reply.tokens_in + reply.tokens_out == 0  # it says of no tokens
    free = reply.reason == MISSING or (silent and reply.reason not in ("", "bad_reply", "not_an_image"))
    usd = 0.0 if free else price.usd(reply.tokens_in, reply.tokens_out) * price.batch
    ended = replace(
        call,
        outcome=reply.reason or OK,
        detail=reply.detail,
        usd=usd,
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
    )
    return replace(candidate, reason=reply.reason, created=clock()), ended
