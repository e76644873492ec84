"""What can go wrong, by consequence.

    GGTError
    ├── ConfigError      stop before any work: the input or the set-up is wrong
    ├── PairError        reject this key, go on with the others
    ├── ShardError       this shard is not to be trusted
    └── TransientError   try again, visibly

A message names the file or shard, the key, the fault and the mend. The first, second and fourth name are ggt100k's
own, since the reader raises them too.
"""

from __future__ import annotations

from ggt100k import ConfigError, GGTError, ShardError

__all__ = ["ConfigError", "GGTError", "PairError", "ShardError", "TransientError"]


class PairError(GGTError):
    """This pair cannot be worked on; the others can. `reason` is stable, the message is for people."""

    def __init__(self, reason: str, message: str, *, paid: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.paid = paid  # whether a provider may charge for it all the same

    def __reduce__(self) -> tuple[type[PairError], tuple[str, str], dict[str, object]]:
        return PairError, (self.reason, str(self)), self.__dict__  # else it could not come from another process


class TransientError(GGTError):
    """The outside world failed in a way that passes."""

    def __init__(
        self, message: str, *, reason: str = "unavailable", retry_after: float = 0.0, paid: bool = False
    ) -> None:
        super().__init__(message)
        self.reason = reason  # stable: rate_limited, server_error, timeout, cut_off, unavailable
        self.retry_after = retry_after  # seconds that the other side asked for; 0 where it did not
        self.paid = paid  # whether a provider may charge for it all the same
