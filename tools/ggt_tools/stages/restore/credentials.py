"""Store what arrived for candidates, and note whether its file carries Content Credentials (C2PA)."""

from __future__ import annotations

from ggt_tools.imaging.content_credentials import c2pa_flag
from ggt_tools.records import Candidate, DataclassRecord
from ggt_tools.workspace.ledger import Ledger


def settle(ledger: Ledger, *records: DataclassRecord) -> None:
    """Add facts as `Ledger.settle` does, and a flag for each candidate that has an image."""
    ledger.settle(*records)
    flags = []
    for record in records:
        if isinstance(record, Candidate) and not record.reason:
            (stored,) = ledger.find(Candidate, id=record.id)
            flags.append(c2pa_flag(stored.key, stored.id, ledger.image(stored.image)))
    ledger.add(*flags)
