"""Read labels, people's decisions on candidates, from a file: CSV or JSON lines."""

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
    """The decision of one person on one candidate.

    Attributes:
        candidate: Id of the candidate.
        decision: keep or reject.
        reason: Why it was rejected; "" if no reason is known.
        reviewer: Name of the person; "" if it is not known.
    """

    candidate: str
    decision: str
    reason: str
    reviewer: str


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The labels of a file.

    Attributes:
        labels: The labels of candidates that can be judged, in their order.
        skipped: Number of labels of candidates that cannot be judged, because they have no aligned image.
    """

    labels: tuple[Label, ...]
    skipped: int


def read_labels(path: Path, keys: Mapping[str, str], unjudgeable: Mapping[str, str] | None = None) -> LabelFile:
    """Read the labels of a file.

    The file has the columns `candidate` or `key`, and `decision`; it can have `reason` and `reviewer`. Other columns
    are ignored. A label that names the key of a photograph alone is about the one candidate of it that can be judged.

    Args:
        path: CSV or JSON lines.
        keys: Key of the photograph, by candidate that can be judged.
        unjudgeable: Key of the photograph, by candidate without an aligned image. Labels of these are skipped.

    Raises:
        ConfigError: The file cannot be read, a decision or candidate is unknown, a photograph has more than one
            candidate, or no label can be used. The message names the line.
    """
    unjudgeable = unjudgeable or {}
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the labels cannot be read: {error}. Give a CSV or JSON lines file.") from error
    by_key: dict[str, list[str]] = defaultdict(list)
    for candidate, key in keys.items():
        by_key[key].append(candidate)
    rows = _json_rows(path, text) if text.lstrip().startswith("{") else _csv_rows(path, text)
    labels: list[Label] = []
    skipped = 0
    for line_number, row in rows:
        label = _label(f"{path}: line {line_number}", row, keys, by_key, unjudgeable)
        if label is None:
            skipped += 1
        else:
            labels.append(label)
    if not labels and skipped:
        raise ConfigError(f"{path}: none of the {skipped} labelled candidates can be judged. Label others.")
    if not labels:
        raise ConfigError(f"{path}: there are no labels. Write a line for each one, with columns candidate, decision.")
    return LabelFile(tuple(labels), skipped)


def majority(labels: Iterable[Label]) -> tuple[dict[str, bool], int]:
    """Return whether the majority of the labels of each candidate keeps it.

    A later label of the same reviewer and candidate replaces an earlier one. Each label without a reviewer is counted
    as that of another person.

    Returns:
        Whether people keep a candidate, by candidate; and the number of candidates left out because as many labels
        keep them as reject them.
    """
    last: dict[tuple[str, str], str] = {}
    for number, label in enumerate(labels):
        last[label.candidate, label.reviewer or f"\n{number}"] = label.decision  # no reviewer's name has a line feed
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for (candidate, _), decision in last.items():
        counts[candidate][decision] += 1
    is_kept = {name: count["keep"] > count["reject"] for name, count in counts.items()}
    disputed = [name for name, count in counts.items() if count["keep"] == count["reject"]]
    for name in disputed:
        del is_kept[name]
    return is_kept, len(disputed)


def _label(
    line: str,
    row: Mapping[str, str],
    keys: Mapping[str, str],
    by_key: Mapping[str, list[str]],
    unjudgeable: Mapping[str, str],
) -> Label | None:
    """Return the label of a row; None if its candidate cannot be judged. `line` names it in messages."""
    for name in ("decision",) if row.get("candidate") else ("candidate", "decision"):
        if not row.get(name) and not (name == "candidate" and row.get("key")):
            raise ConfigError(f"{line}: {name!r} is missing. The columns are {', '.join(COLUMNS)}.")
    decision = row["decision"]
    if decision not in DECISIONS:
        near = get_close_matches(decision, DECISIONS, n=1)
        raise ConfigError(f"{line}: decision {decision!r} is unknown. Write {near[0] if near else 'keep or reject'}.")
    candidate = row.get("candidate", "")
    if not candidate:
        own = by_key.get(row["key"], [])
        if not own and row["key"] in unjudgeable.values():
            return None
        if len(own) != 1:
            raise ConfigError(
                f"{line}: key {row['key']!r} has {len(own)} candidates that can be judged. Name one in a column "
                "candidate."
            )
        candidate = own[0]
    if candidate in unjudgeable:
        return None
    if candidate not in keys:
        raise ConfigError(
            f"{line}: candidate {candidate!r} is not in this workspace. Remove the line, or name the label's workspace."
        )
    return Label(
        candidate=candidate,
        decision=decision,
        reason=row.get("reason", ""),
        reviewer=" ".join(row.get("reviewer", "").split()),
    )


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of a line and its cells by column."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restkey="", restval="")
    try:
        for row in reader:
            if row.get(""):
                raise ConfigError(
                    f"{path}: line {reader.line_num}: there are more cells than columns. Put cells with commas in "
                    "quotes."
                )
            yield reader.line_num, {name.strip(): value.strip() for name, value in row.items() if name}
    except csv.Error as error:
        raise ConfigError(f"{path}: after line {reader.line_num}: this is not CSV: {error}. Correct it.") from error


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of a line and its texts by name."""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: line {number}: this is not JSON: {error}. Correct it.") from error
        if not isinstance(row, dict):
            shown = line.strip()[:40]
            raise ConfigError(f"{path}: line {number}: {shown!r} is not an object. Write one object in each line.")
        yield number, {name: value.strip() for name, value in row.items() if isinstance(value, str)}
