"""What a killed run left: images that arrived are stored, and all else that was in flight is written off."""

from __future__ import annotations

from dataclasses import replace

from ggt_tools.providers.recording import LOST, works_in_open_jobs, write_off_calls
from ggt_tools.records import IN_FLIGHT, Candidate
from ggt_tools.stages.restore.credentials import settle
from ggt_tools.workspace.ledger import Ledger

CANDIDATE_STAGES = ("restore", "retry", "refine")  # the stages that make candidates


def recover_candidates(ledger: Ledger) -> None:
    """Store the images that arrived before a kill, and end the candidates and calls that were in flight.

    Candidates whose image did not arrive get the reason "lost": `restore` makes them again. Those in open batch jobs
    stay in flight.

    Args:
        ledger: The ledger of the workspace, whose lock is held.
    """
    in_jobs = works_in_open_jobs(ledger)
    in_flight = {c.id: c for c in ledger.all(Candidate) if c.reason == IN_FLIGHT and c.id not in in_jobs}
    received = ledger.received()
    for work in received:
        if work in in_flight:
            settle(ledger, replace(in_flight[work], reason=""))
        else:
            ledger.forget(work)
    write_off_calls(ledger, *CANDIDATE_STAGES, received=received)
    ledger.add(*(replace(c, reason=LOST) for c in in_flight.values() if c.id not in received))
