"""What can go wrong, by consequence.

    GGTError
    ├── ConfigError      stop before any work: the input or the set-up is wrong
    ├── PairError        reject this key, go on with the others
    ├── ShardError       this shard is not to be trusted
    └── TransientError   try again, visibly

A message names the file or shard, the key, what is wrong and what to do. All but TransientError are defined in
ggt_format, since the reader raises them too.
"""

from __future__ import annotations

from ggt_format.errors import ConfigError, GGTError, PairError, ShardError

__all__ = ["ConfigError", "GGTError", "PairError", "ShardError", "TransientError"]

TEMPORARY_REASONS = ("rate_limited", "server_error", "timeout", "cut_off", "unavailable")  # of a TransientError


class TransientError(GGTError):
    """The outside world failed in a way that passes."""

    def __init__(
        self, message: str, *, reason: str = "unavailable", retry_after: float = 0.0, paid: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason  # stable: one of TEMPORARY_REASONS
        self.retry_after = retry_after  # seconds that the other side asked for; 0 where it did not
        self.paid = paid  # whether a provider may charge for it all the same


def check_limit(limit: int | None) -> None:
    """Check the largest number of items that a stage works on.

    Raises:
        ConfigError: It is a number below 1, or not a whole number.
    """
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ConfigError(f"limit: {limit!r} is not a whole number of 1 or more. Give one, or None for no limit.")
