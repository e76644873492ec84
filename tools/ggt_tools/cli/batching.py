"""restore --batch: hands jobs over, waits for them, and takes in what came; a later run goes on where this one ends."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import ggt_format
from ggt_format.schema import Image
from ggt_tools.cli import calling
from ggt_tools.cli.show import Bar, complain, now
from ggt_tools.errors import ConfigError, PairError, TransientError
from ggt_tools.providers.prices import Price
from ggt_tools.records import IN_FLIGHT, Candidate, Job, Photo
from ggt_tools.restorers.protocol import BatchRestorer, Restorer
from ggt_tools.stages.restore import Work, check, framed
from ggt_tools.stages.restore import batches as batch
from ggt_tools.workspace.ledger import Ledger

T = TypeVar("T")


def make(
    options: argparse.Namespace, ledger: Ledger, name: str, maker: Restorer, works: Sequence[Work]
) -> calling.Made:
    """Hands the works over that are in no job yet, and waits for every job of this restorer.

    ConfigError at the end where the budget did not hold all of them.
    """
    if not isinstance(maker, BatchRestorer):
        raise ConfigError(f"--batch: {name} takes no batches; leave --batch away")
    cost = calling.price_of(options, maker.model, remote=True)
    if cost is None or math.isnan(cost.call):
        raise ConfigError(f"{maker.model}: no price is known; say what a call costs: --price USD")
    made = calling.Made()
    _send_again(options, ledger, name, maker, cost)
    left = _send(options, ledger, name, maker, works, cost)
    _collect(options, ledger, name, maker, cost, made)
    if left:
        made.tell("restore", ledger, there=0)
        each = cost.call * cost.batch
        said = f"{ledger.spent():.2f} are spent, {left} candidates wait, and one may cost {each:.4f}"
        raise ConfigError(f"the budget of {options.budget:.2f} usd: {said}; raise --budget and run it again")
    return made


def _patiently(options: argparse.Namespace, do: Callable[[], T]) -> T:
    """Does it, again where it fails for what should pass."""
    for attempt in range(1, options.attempts + 1):
        try:
            return do()
        except TransientError as fault:
            if attempt == options.attempts:
                raise
            complain("restore", f"{fault}; it is tried again")
            time.sleep(max(fault.retry_after, min(2.0**attempt, options.poll)))
    raise AssertionError("attempts are 1 or more")


def _open(ledger: Ledger, name: str) -> list[Job]:
    return [job for job in ledger.all(Job) if job.maker == name and job.state == batch.SENT]


def _in_flight(ledger: Ledger) -> dict[str, Candidate]:
    return {c.id: c for c in ledger.all(Candidate) if c.reason == IN_FLIGHT}


def _send_again(options: argparse.Namespace, ledger: Ledger, name: str, maker: BatchRestorer, cost: Price) -> None:
    """Jobs that were noted when a kill came: the provider knows whether they were handed over."""
    photos = {photo.key: photo for photo in ledger.all(Photo)}
    works = {c.id: Work(photo=photos[c.key], candidate=c) for c in _in_flight(ledger).values()}
    for job in _open(ledger, name):
        if not job.name:
            for work in job.works:
                check(works[work].candidate, maker)
            _hand_over(options, ledger, job, works, maker, cost)


def _send(
    options: argparse.Namespace, ledger: Ledger, name: str, maker: BatchRestorer, works: Sequence[Work], cost: Price
) -> int:
    """Hands over what the budget holds; how many it does not."""
    new = [framed(work, maker) for work in works]
    if math.isfinite(options.budget):
        each = cost.call * cost.batch
        new = new[: max(0, int((options.budget - ledger.spent()) / each + 1e-9))]
    ours = {work.id: work for work in new}

    def size(work: Work) -> int:
        stored, frame = ledger.image_size(work.photo.image), work.candidate.frame
        return stored * frame[0] * frame[1] // (work.photo.width * work.photo.height) if frame else stored

    for job in batch.jobs(new, size, maker.batch_bytes, maker=name, clock=now()):
        ledger.add(job, *batch.calls(job, maker.model, cost), *(ours[work].candidate for work in job.works))
        _hand_over(options, ledger, job, ours, maker, cost)
    return len(works) - len(new)


def _hand_over(
    options: argparse.Namespace,
    ledger: Ledger,
    job: Job,
    works: Mapping[str, Work],
    maker: BatchRestorer,
    cost: Price,
) -> None:
    """Sends a noted job; where the provider does not take it, it is over, and costs nothing."""

    def load(photo: Photo) -> Image:
        return ggt_format.decode_image(ledger.image(photo.image), photo.file)

    try:
        ledger.add(_patiently(options, lambda: batch.send(job, works, maker, load)))
    except PairError as fault:
        complain("restore", f"batch job {job.id}: {fault.reason}: {fault}")
        free = [
            replace(call, outcome=fault.reason, detail=str(fault), usd=0.0)
            for call in batch.calls(job, maker.model, cost)
        ]
        failed = (replace(works[work].candidate, reason=fault.reason, created=now()) for work in job.works)
        ledger.add(replace(job, state=batch.FAILED), *free, *failed)


def _collect(
    options: argparse.Namespace, ledger: Ledger, name: str, maker: BatchRestorer, cost: Price, made: calling.Made
) -> None:
    jobs = _open(ledger, name)
    photos = {photo.key: photo for photo in ledger.all(Photo)}
    with Bar(sum(len(job.works) for job in jobs), f"batch {maker.model}") as bar:
        while jobs:
            for job in list(jobs):
                state = _patiently(options, lambda job=job: maker.state(job.name))  # type: ignore[misc]
                if state == "running":
                    continue
                jobs.remove(job)
                for candidate, call in batch.collect(
                    job, state, _in_flight(ledger), maker, keep=ledger.receive, clock=now, price=cost
                ):
                    ledger.settle(candidate, call)
                    made.count(candidate, call)
                    if candidate.reason:
                        complain("restore", f"{photos[candidate.key].subject}: {candidate.reason}: {call.detail}")
                    bar.update(1)
                ledger.add(replace(job, state=batch.DONE if state == batch.DONE else batch.FAILED))
            if jobs:
                time.sleep(options.poll)
