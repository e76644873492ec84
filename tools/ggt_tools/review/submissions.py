"""What a page submits: decisions on pairs and choices in comparisons, read from JSON and checked."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ggt_tools.policy.votes import DECISIONS
from ggt_tools.records import Choice, Decision

MAX_SECONDS = 86_400.0  # of a look at a pair
MAX_SUBMISSIONS = 1000  # in one request
ID = re.compile(r"[0-9a-f]{16,64}")


class InvalidSubmission(ValueError):
    """What a page submitted cannot be stored; the message says why."""


class Submission(Protocol):
    """What both kinds of submission have."""

    @property
    def id(self) -> str: ...
    @property
    def view(self) -> str: ...


Submitted = TypeVar("Submitted", bound=Submission)
Fact = TypeVar("Fact", Choice, Decision)


def make_facts(
    submitted: Sequence[Submitted],
    stored: Mapping[str, Fact],
    *,
    is_same: Callable[[Fact, Submitted], bool],
    make: Callable[[Submitted], Fact | None],
) -> tuple[list[Fact], list[bool]]:
    """Make the facts of submissions, one at most for each view.

    Args:
        submitted: What a page submits, in its order.
        stored: The facts that are stored already, by id.
        is_same: Whether a submission is the one that a stored fact of its id was made of.
        make: Makes the fact of a submission; None if its view is done. Raises InvalidSubmission.

    Returns:
        The new facts, and for each submission whether it is new.

    Raises:
        InvalidSubmission: Another submission has the id of one of them, or `make` raises it.
    """
    is_new = []
    by_view: dict[str, Fact] = {}
    by_id: dict[str, Fact] = {}
    for submission in submitted:
        present = stored.get(submission.id) or by_id.get(submission.id)
        if present and not is_same(present, submission):
            raise InvalidSubmission(f"Another {type(present).__name__.lower()} has this id.")
        fact = None if present or submission.view in by_view else make(submission)
        is_new.append(fact is not None)
        if fact is not None:
            by_view[submission.view] = by_id[fact.id] = fact
    return list(by_view.values()), is_new


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedDecision:
    """A decision as a page submits it.

    Attributes:
        id: Made by the page, so that a decision that is sent twice is stored once.
        view: Id of the view that was judged.
        decision: keep, reject or unsure.
        reason: Why it is rejected; else "".
        seconds: How long the reviewer looked.
    """

    id: str
    view: str
    decision: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedChoice:
    """A choice between restorations as a page submits it.

    Attributes:
        id: Made by the page, so that a choice that is sent twice is stored once.
        view: Id of the view of the comparison.
        best: Place of the best restoration, from 0; -1 for no difference.
        seconds: How long the reviewer looked.
    """

    id: str
    view: str
    best: int
    seconds: float


def read_decision(submitted: Any) -> SubmittedDecision:
    """Read a decision from JSON.

    Raises:
        InvalidSubmission: It is not what our page sends.
    """
    submitted = _object(submitted)
    texts = {name: submitted.get(name, "") for name in ("id", "look", "decision", "reason")}
    if not all(isinstance(text, str) for text in texts.values()):
        raise InvalidSubmission("id, look, decision and reason have to be texts.")
    view = texts.pop("look")
    return SubmittedDecision(**texts, view=view, seconds=_seconds(submitted))


def read_choice(submitted: Any) -> SubmittedChoice:
    """Read a choice from JSON.

    Raises:
        InvalidSubmission: It is not what our page sends.
    """
    submitted = _object(submitted)
    id, view, best = submitted.get("id", ""), submitted.get("look", ""), submitted.get("best")
    if not (isinstance(id, str) and isinstance(view, str)):
        raise InvalidSubmission("id and look have to be texts.")
    check_id(id)
    if not isinstance(best, int) or isinstance(best, bool):
        raise InvalidSubmission("best has to be a whole number.")
    return SubmittedChoice(id=id, view=view, best=best, seconds=_seconds(submitted))


def check_id(id: str) -> None:
    """Raise InvalidSubmission unless this is an id as our page makes them."""
    if not ID.fullmatch(id):
        raise InvalidSubmission("The id has to be 16 to 64 hexadecimal characters.")


def check_seconds(seconds: float) -> None:
    """Raise InvalidSubmission unless this is a time that a look can take."""
    if not (math.isfinite(seconds) and 0 <= seconds <= MAX_SECONDS):
        raise InvalidSubmission(f"seconds has to be between 0 and {MAX_SECONDS:.0f}.")


def check_decision(submitted: SubmittedDecision, reasons: Collection[str]) -> None:
    """Check the fields of a decision.

    Args:
        submitted: The decision.
        reasons: The reason codes of the gate.

    Raises:
        InvalidSubmission: A field is wrong.
    """
    check_id(submitted.id)
    if submitted.decision not in DECISIONS:
        raise InvalidSubmission(f"The decision has to be one of {', '.join(DECISIONS)}.")
    if (submitted.decision == "reject") != bool(submitted.reason):
        raise InvalidSubmission("A rejection needs a reason, and no other decision has one.")
    if submitted.reason and submitted.reason not in reasons:
        raise InvalidSubmission("The reason is not one of the gate.")
    check_seconds(submitted.seconds)


def read_list(value: Any) -> list[Any]:
    """Return a list from JSON. Raises InvalidSubmission if it is not a list, or too long."""
    if not isinstance(value, list) or len(value) > MAX_SUBMISSIONS:
        raise InvalidSubmission(f"A list of at most {MAX_SUBMISSIONS} items is expected.")
    return value


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidSubmission("An object is expected.")
    return value


def _seconds(submitted: dict[str, Any]) -> float:
    """Return the seconds of a look; NaN if they are not a number, so that the check rejects them."""
    seconds = submitted.get("seconds", 0.0)
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool):
        return math.nan
    try:
        return float(seconds)
    except OverflowError:  # a whole number larger than any float
        return math.nan
