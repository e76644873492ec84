"""labels: what people decided of candidates, from a file: CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.files.texts import read_text

DECISIONS = ("keep", "reject")
COLUMNS = ("candidate", "key", "decision", "reason", "reviewer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one person said of one candidate."""

    candidate: str
    decision: str  # one of DECISIONS
    reason: str
    reviewer: str


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of a file."""

    usable: tuple[Label, ...]
    skipped: int  # labels of candidates that cannot be judged: they were not made, or align has no image of them


def labels(path: Path, candidates: Mapping[str, str], lost: Mapping[str, str] | None = None) -> Labels:
    """The labels of a file: columns `candidate` or `key`, `decision`, and where there are any `reason`, `reviewer`.

    Args:
        path: CSV, or JSON lines. Other columns are notes, and are ignored.
        candidates: the key of each candidate that can be judged.
        lost: the key of each that cannot: it was not made, or is not in its photograph's frame. Its labels are skipped
            and counted. A label that names a photograph alone is one of its candidates that can be judged.

    Raises:
        ConfigError: the file cannot be read, a decision or candidate is not known, a photograph has more than one
            candidate, or no label can be used. It names the line and what to do.
    """
    lost = lost or {}
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: the labels cannot be read: {fault}") from fault
    by_key: dict[str, list[str]] = defaultdict(list)
    for name, key in candidates.items():
        by_key[key].append(name)
    rows = _json_lines(path, text) if text.lstrip().startswith("{") else _csv(path, text)
    found: list[Label] = []
    skipped = 0
    for line, row in rows:
        label = _label(f"{path}: line {line}", row, candidates, by_key, lost)
        skipped += label is None
        found += [label] if label is not None else []
    if not found and skipped:
        raise ConfigError(f"{path}: none of the {skipped} labelled candidates can be judged. Label others.")
    if not found:
        raise ConfigError(f"{path}: no label; a line for each candidate is wanted, with columns candidate and decision")
    return Labels(tuple(found), skipped)


def settled(found: Iterable[Label]) -> tuple[dict[str, bool], int]:
    """Whether people keep a candidate, by the majority of its labels; and how many are disputed, as many say so as no.

    A reviewer's later label of a candidate replaces an earlier one; labels without a reviewer are one person's each.
    """
    said: dict[tuple[str, str], str] = {}
    for at, label in enumerate(found):
        said[label.candidate, label.reviewer or f"\n{at}"] = label.decision  # no reviewer's name holds a line's end
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for (candidate, _), decision in said.items():
        votes[candidate][decision] += 1
    decided = {name: count["keep"] > count["reject"] for name, count in votes.items()}
    disputed = [name for name, count in votes.items() if count["keep"] == count["reject"]]
    for name in disputed:
        del decided[name]
    return decided, len(disputed)


def _label(
    where: str,
    row: Mapping[str, str],
    candidates: Mapping[str, str],
    by_key: Mapping[str, list[str]],
    lost: Mapping[str, str],
) -> Label | None:
    """The label of a line; None where its candidate cannot be judged."""
    for name in ("decision",) if row.get("candidate") else ("candidate", "decision"):
        if not row.get(name) and not (name == "candidate" and row.get("key")):
            raise ConfigError(f"{where}: {name!r} is missing; columns: {', '.join(COLUMNS)}")
    decision = row["decision"]
    if decision not in DECISIONS:
        near = get_close_matches(decision, DECISIONS, n=1)
        raise ConfigError(
            f"{where}: decision: {decision!r} is not known; {near[0] if near else ' or '.join(DECISIONS)}"
        )
    name = row.get("candidate", "")
    if not name:
        own = by_key.get(row["key"], [])
        if not own and row["key"] in lost.values():
            return None
        if len(own) != 1:
            raise ConfigError(
                f"{where}: key {row['key']!r} has {len(own)} candidates to judge; name one in a column 'candidate'"
            )
        name = own[0]
    if name in lost:
        return None
    if name not in candidates:
        raise ConfigError(
            f"{where}: candidate {name!r} is not in this workspace. Remove the line, or name the label's workspace."
        )
    return Label(
        candidate=name,
        decision=decision,
        reason=row.get("reason", ""),
        reviewer=" ".join(row.get("reviewer", "").split()),
    )


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restkey="", restval="")
    try:
        for row in reader:
            if row.get(""):
                raise ConfigError(f"{path}: line {reader.line_num}: more cells than the head has columns; quote commas")
            yield reader.line_num, {name.strip(): value.strip() for name, value in row.items() if name}
    except csv.Error as fault:
        raise ConfigError(f"{path}: after line {reader.line_num}: not CSV: {fault}") from fault


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as fault:
            raise ConfigError(f"{path}: line {number}: not JSON: {fault}") from fault
        if not isinstance(row, dict):
            raise ConfigError(f"{path}: line {number}: an object is wanted, not {line.strip()[:40]!r}")
        yield number, {name: value.strip() for name, value in row.items() if isinstance(value, str)}
