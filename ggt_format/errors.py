"""Errors of the format, by consequence. `ggt_tools.errors` adds those of the pipeline."""

from __future__ import annotations


class GGTError(Exception):
    """The base class. A message states the file or shard, the key, what is wrong and what to do."""


class ConfigError(GGTError):
    """The input or the set-up is wrong: stop before any work."""


class ShardError(GGTError):
    """A shard is damaged or incomplete: do not trust it."""


class PairError(GGTError):
    """One pair cannot be used; the others can.

    Attributes:
        reason: A stable reason code; `ggt100k reasons` explains it.
        paid: Whether a provider may charge for the failed request.
    """

    def __init__(self, reason: str, message: str, *, paid: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.paid = paid

    def __reduce__(self) -> tuple[type[PairError], tuple[str, str], dict[str, object]]:
        return PairError, (self.reason, str(self)), self.__dict__  # pickling would else pass the message alone
