"""restore --batch: hands jobs over, waits for them, and takes in what came; a later run goes on where this one ends."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import ggt100k
from ggt_tools import batch
from ggt_tools.cli import calling
from ggt_tools.cli.show import Bar, complain, now
from ggt_tools.errors import ConfigError
from ggt_tools.ledger import Ledger
from ggt_tools.records import IN_FLIGHT, Candidate, Job, Photo
from ggt_tools.restore import Work, framed
from ggt_tools.restorers import BatchRestorer, Image, Restorer


def make(
    options: argparse.Namespace, ledger: Ledger, name: str, maker: Restorer, works: Sequence[Work]
) -> calling.Made:
    """Hands the works over that are in no job yet, and waits for every job of this restorer."""
    if not isinstance(maker, BatchRestorer):
        raise ConfigError(f"--batch: {name} takes no batches; leave --batch away")
    cost = calling.price_of(options, maker.model, remote=True)
    assert cost is not None
    made = calling.Made()
    photos = {photo.key: photo for photo in ledger.all(Photo)}

    def load(photo: Photo) -> Image:
        return ggt100k.decode_image(ledger.image(photo.image), photo.file)

    sent = [job for job in ledger.all(Job) if job.maker == name and job.state == batch.SENT]
    waiting = {c.id: c for c in ledger.all(Candidate) if c.reason == IN_FLIGHT}
    ours = {c.id: Work(photo=photos[c.key], candidate=c) for c in waiting.values()}
    for job in sent:
        if not job.name:  # it was noted, and a kill came: the provider knows whether it was handed over
            ledger.add(batch.send(job, ours, maker, load))
    new = [framed(work, maker) for work in works]
    ours = {work.id: work for work in new}
    for job in batch.jobs(
        new, lambda work: ledger.image_size(work.photo.image), maker.batch_bytes, maker=name, clock=now()
    ):
        noted = batch.calls(job, maker.model, cost)
        most = math.fsum(call.usd for call in noted)
        if not math.isinf(options.budget) and not ledger.spent() + most <= options.budget:
            said = f"{ledger.spent():.2f} are spent, and a job of {len(noted)} may cost {most:.2f}"
            complain("restore", f"the budget of {options.budget:.2f} usd: {said}; raise --budget and run it again")
            break
        ledger.add(job, *noted, *(ours[work].candidate for work in job.works))
        ledger.add(batch.send(job, ours, maker, load))
    open_jobs = [job for job in ledger.all(Job) if job.maker == name and job.state == batch.SENT]
    with Bar(sum(len(job.works) for job in open_jobs), f"batch {maker.model}") as bar:
        while open_jobs:
            for job in list(open_jobs):
                state = maker.state(job.name)
                if state == "running":
                    continue
                open_jobs.remove(job)
                waiting = {c.id: c for c in ledger.all(Candidate) if c.reason == IN_FLIGHT}
                for candidate, call in batch.collect(
                    job, state, waiting, maker, keep=ledger.receive, clock=now, price=cost
                ):
                    ledger.settle(candidate, call)
                    made.count(candidate, call)
                    if candidate.reason:
                        complain("restore", f"key {candidate.key}: {candidate.reason}: {call.detail}")
                    bar.update(1)
                ledger.add(replace(job, state=batch.DONE if state == batch.DONE else batch.FAILED))
            if open_jobs:
                time.sleep(options.poll)
    return made
