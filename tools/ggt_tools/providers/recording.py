"""Calls of a stage that the ledger of a workspace records: one lock, one budget, and recovery after a kill.

A stage that calls a hosted model does so in this order::

    with Ledger(workspace) as ledger, lock_calls(ledger, dry_run=config.dry_run):
        write_off_calls(ledger, "prompt")
        calls = open_calls(ask, ledger=ledger, service=config.service, stage="prompt", model=model.model)
        for ended in calls.perform(works):
            ledger.add(*facts, *(end.call for end in ended))
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar

from ggt_tools.clock import utc_now
from ggt_tools.providers.calls import OK, Answer, Calls, Work
from ggt_tools.providers.service import ServiceConfig
from ggt_tools.records import IN_FLIGHT, Call, Job
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.locks import PAYING

SENT = "sent"  # the state of a batch job whose results have not been downloaded yet
LOST = "lost"  # the outcome of a call that was in flight when the process was killed; it may have been paid
W = TypeVar("W", bound=Work)
A = TypeVar("A", bound=Answer)


def lock_calls(ledger: Ledger, *, dry_run: bool = False) -> AbstractContextManager[object]:
    """Return the lock of a workspace for calls to models, so that all runs share one budget.

    Args:
        ledger: The ledger of the workspace.
        dry_run: Take no lock and create no file, since nothing is called.

    Raises:
        ConfigError: Another process holds the lock.
    """
    return ledger.lock(PAYING, dry_run=dry_run)


def works_in_open_jobs(ledger: Ledger) -> set[str]:
    """Return the ids of the works in batch jobs whose results have not been downloaded yet."""
    return {work for job in ledger.all(Job) if job.state == SENT for work in job.works}


def write_off_calls(ledger: Ledger, *stages: str, received: Container[str] = ()) -> None:
    """Record in the ledger as ended the calls that a killed run left in flight; nothing is sent.

    Calls of open batch jobs stay in flight.

    Args:
        ledger: The ledger of the workspace, whose lock is held.
        stages: Stages by their names in `Call.stage`.
        received: Ids of the works whose answers arrived before the kill: their calls end with "ok", all others with
            "lost".
    """
    in_jobs = works_in_open_jobs(ledger)
    for call in ledger.all(Call):
        if call.outcome == IN_FLIGHT and call.stage in stages and call.work not in in_jobs:
            outcome = OK if call.work in received else LOST
            ledger.add(replace(call, outcome=outcome, detail="the run ended before this call did"))


def open_calls(ask: Callable[[W], A], *, ledger: Ledger, service: ServiceConfig, stage: str, model: str) -> Calls[W, A]:
    """Return calls to a hosted model within the rest of the budget. Each is recorded before it is sent.

    The caller adds each ended call to the ledger, together with the resulting facts.

    Args:
        ask: Sends one request and returns its answer; it runs in threads. See `Calls` for its exceptions.
        ledger: The ledger of the workspace, whose lock is held.
        service: Limits of the calls, and the budget.
        stage: Name of the stage.
        model: Name of the model, as prices.toml has it.

    Raises:
        ConfigError: There is a budget, and the price of a call is unknown.
    """

    def record(calls: Sequence[Call]) -> None:
        ledger.add(*calls)

    return Calls(
        ask,
        service.call_config(is_remote=True),
        stage=stage,
        model=model,
        price=service.price_of(model, is_remote=True),
        spent=ledger.spent(),
        record=record,
        clock=utc_now,
    )
