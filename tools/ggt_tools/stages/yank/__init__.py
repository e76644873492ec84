"""yank: withdraw pairs. The next version leaves them out, and the ledger keeps who withdrew them, when and why.

ledger.add(*withdraw(["0123456789abcdef"], "the author asks for it", by="Zoë", created=utc_now()))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ggt_tools.records import Withdrawal


def withdraw(keys: Iterable[str], reason: str, *, by: str, created: str) -> Iterator[Withdrawal]:
    """Yield the withdrawal of each pair.

    Args:
        keys: Keys of the pairs.
        reason: Why they are withdrawn, in words.
        by: Who withdraws them.
        created: Time of the withdrawal: UTC, ISO 8601, whole seconds.
    """
    for key in keys:
        yield Withdrawal(key=key, reason=reason, withdrawn_by=by, created=created)
