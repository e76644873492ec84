"""Count how far a workspace is: photographs by stage, candidates by restorer and prompt, calls to providers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ggt_tools.records import Stage
from ggt_tools.tables import format_table
from ggt_tools.workspace.funnel import RestorerCounts
from ggt_tools.workspace.ledger import Ledger

__all__ = ["CallCounts", "ClassCounts", "Status", "run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCounts:
    """The photographs of one class, by the best outcome of their candidates.

    Attributes:
        degradation: The class.
        photographs: Number of its photographs.
        made: How many of them have a candidate.
        kept: How many have a candidate that the gate keeps.
        rejected: How many have candidates that the gate rejects, and no others.
        unsure: How many have a candidate that waits for review, and none that is kept.
    """

    degradation: str
    photographs: int
    made: int
    kept: int
    rejected: int
    unsure: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCounts:
    """The calls of one stage to one model that ended in the same way.

    Attributes:
        stage: The stage that called.
        model: The model that was called.
        outcome: "ok", "in_flight", or the reason code of the failure.
        count: Number of calls.
        usd: What they cost.
    """

    stage: str
    model: str
    outcome: str
    count: int
    usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a workspace is. `str(status)` is what `ggt100k status` prints.

    Attributes:
        funnel: For each stage how many entered and left it, and why the others did not.
        classes: Photographs by class.
        restorers: Candidates by restorer, kind of prompt and class, with what they cost.
        calls: Calls to providers by stage, model and outcome.
    """

    funnel: tuple[Stage, ...]
    classes: tuple[ClassCounts, ...]
    restorers: tuple[RestorerCounts, ...]
    calls: tuple[CallCounts, ...]

    def __str__(self) -> str:
        lines = [f"{'stage':<10}{'entered':>9}{'left':>7}   why the others did not"]
        for stage in self.funnel:
            reasons = ", ".join(f"{count} {reason}" for reason, count in stage.reasons)
            lines.append(f"{stage.stage:<10}{stage.entered:>9}{stage.left:>7}   {reasons}")
        if self.classes:
            fields = ("degradation", "photographs", "made", "kept", "rejected", "unsure")
            lines += ["", *format_table(fields, [_texts(row, *fields) for row in self.classes])]
        if self.restorers:
            counts = ("candidates", "made", "failed", "in_flight", "kept", "rejected", "unsure")
            header = ("restorer", "prompt", "degradation", *counts, "usd")
            rows = [
                (*_texts(row, "restorer", "strategy", "degradation", *counts), f"{row.usd:.2f}")
                for row in self.restorers
            ]
            lines += ["", *format_table(header, rows)]
        if self.calls:
            calls = [(*_texts(row, "stage", "model", "outcome", "count"), f"{row.usd:.2f}") for row in self.calls]
            lines += ["", *format_table(("calls of", "model", "outcome", "number", "usd"), calls)]
        return "\n".join(lines)


def run(workspace: Path) -> Status:
    """Read how far a workspace is. Nothing is changed.

    Args:
        workspace: Folder of the workspace.
    """
    with Ledger(workspace) as ledger:
        return Status(
            funnel=ledger.funnel(),
            classes=tuple(
                ClassCounts(
                    degradation=degradation,
                    photographs=photographs,
                    made=made,
                    kept=kept,
                    rejected=rejected,
                    unsure=unsure,
                )
                for degradation, photographs, made, kept, rejected, unsure in ledger.class_counts()
            ),
            restorers=ledger.restorer_counts(),
            calls=tuple(
                CallCounts(stage=stage, model=model, outcome=outcome, count=count, usd=usd)
                for stage, model, outcome, count, usd in ledger.call_counts()
            ),
        )


def _texts(row: object, *names: str) -> tuple[str, ...]:
    """Return the values of some attributes as texts."""
    return tuple(str(getattr(row, name)) for name in names)
