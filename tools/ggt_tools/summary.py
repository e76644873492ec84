"""What a stage did: the value that every `run()` returns, and that ends a command as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a stage did.

    Attributes:
        stage: Name of the stage, as the command has it.
        counts: Items by outcome, for example ``{"aligned": 16, "already done": 0}``.
        reasons: For outcomes that have a reason: by outcome, how many items ended so for which reason code, for
            example ``{"rejected": {"misaligned": 2}}``.
        plan: What a dry run would do, a sentence each. A dry run changes nothing and has no counts; `reasons` may say
            what it passes over.
        notes: Sentences that a user should read after the run.
        usd: What the calls of this run cost.
        paths: Files and folders that were written.
        is_failed: Whether nothing came of the run although there was something to do, or findings remain; the command
            then ends with exit code 1.
    """

    stage: str
    counts: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    plan: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    usd: float = 0.0
    paths: tuple[str, ...] = ()
    is_failed: bool = False

    def count(self, outcome: str, reason: str = "") -> int:
        """Return how many items ended with this outcome and, if it is given, for this reason."""
        if reason:
            return self.reasons.get(outcome, {}).get(reason, 0)
        return self.counts[outcome] if outcome in self.counts else sum(self.reasons.get(outcome, {}).values())

    def __str__(self) -> str:
        """The lines that a command prints."""
        counts = ", ".join(f"{count} {outcome}" for outcome, count in self.counts.items())
        lines = list(self.plan or [f"{self.stage}: {counts}"])
        for outcome, counted in self.reasons.items():
            lines += (f"  {outcome} {count:>6}  {reason}" for reason, count in sorted(counted.items()) if count)
        return "\n".join([*lines, *self.notes])
