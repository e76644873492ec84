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

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TransientError(GGTError):
    """The outside world failed in a way that passes."""
