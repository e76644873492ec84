"""Count the flags of the pairs of a release, for its manifest and card."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ggt_tools.records import Flag
from ggt_tools.workspace.ledger import Ledger

FLAGGED = 0.5  # of a probability; a number of faces or bytes from 1 on is above it too


def count_flags(ledger: Ledger, keys: Collection[str], candidates: Collection[str]) -> dict[str, Any]:
    """Return by "lq" and "gt", and by name of the flag, on how many files it was looked for and found.

    A flag is found where its value is at least FLAGGED. What the manifest does not name was not checked.

    Args:
        ledger: The ledger of the workspace.
        keys: Keys of the pairs of the release.
        candidates: Ids of the candidates that are their ground truths.
    """
    counts: dict[str, dict[str, dict[str, int]]] = {"lq": {}, "gt": {}}
    for flag in ledger.all(Flag):
        if flag.key in keys and (not flag.candidate or flag.candidate in candidates):
            side = counts["gt" if flag.candidate else "lq"]
            count = side.setdefault(flag.name, {"checked": 0, "flagged": 0})
            count["checked"] += 1
            count["flagged"] += flag.value >= FLAGGED
    return {side: dict(sorted(names.items())) for side, names in counts.items() if names}
