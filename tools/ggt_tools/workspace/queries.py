"""What stages ask of the ledger beyond whole records, each question a function with a name and a type.

SQL stands in this package alone. Ledger has a method for each of these.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.records import ALIGN_SCORES, Adopted, Candidate, Conversion, Pair, Photo, Record, Score, Stage
from ggt_tools.workspace import funnel, score_table, verdict_table
from ggt_tools.workspace.codec import from_row
from ggt_tools.workspace.facts import WORKED_ON, read_all


def data_version(db: sqlite3.Connection) -> int:
    """Return a number that changes when another process writes to the ledger."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])


# --- photographs ----------------------------------------------------------------------------------------------------


def photo_keys(db: sqlite3.Connection) -> set[str]:
    """Return the keys of all photographs."""
    return {key for (key,) in db.execute("SELECT key FROM photo")}


def frames(db: sqlite3.Connection) -> dict[str, tuple[int, ...]]:
    """Return the frame of each photograph for which ingest noted one, by key."""
    return {conversion.key: conversion.frame for conversion in read_all(db, Conversion) if not conversion.candidate}


def worked_on(db: sqlite3.Connection) -> set[str]:
    """Return the keys of the photographs of which a stage after ingest has a fact."""
    return {key for (key,) in db.execute(WORKED_ON)}


def withdrawn(db: sqlite3.Connection) -> dict[str, str]:
    """Return the keys of the pairs that no further version may contain, each with the first reason that was given."""
    rows = db.execute("SELECT key, reason FROM withdrawal ORDER BY rowid DESC")
    return {key: reason for key, reason in rows}


def local_only(db: sqlite3.Connection) -> dict[str, str]:
    """Return why photographs of adopted sets must stay on this machine, by key."""
    adopted = read_all(db, Adopted)
    return {record.key: f"{record.local_only} of set {record.set}" for record in adopted if record.local_only}


def key_ranges(db: sqlite3.Connection, size: int) -> list[tuple[str, str]]:
    """Divide the keys into ranges of `size` photographs: from the first key up to, and without, the second."""
    numbered = "SELECT key, row_number() OVER (ORDER BY key) AS number FROM photo"
    sql = f"SELECT key FROM ({numbered}) WHERE number % {size} = {1 % size} ORDER BY key"
    firsts = [key for (key,) in db.execute(sql)]
    return list(zip(firsts, [*firsts[1:], "\U0010ffff"], strict=False))


# --- candidates -----------------------------------------------------------------------------------------------------


def candidate_keys(db: sqlite3.Connection) -> dict[str, str]:
    """Return the key of the photograph of each candidate, by the id of the candidate."""
    return {candidate: key for candidate, key in db.execute("SELECT id, key FROM candidate")}


def reviewed_images(db: sqlite3.Connection) -> dict[str, str]:
    """Return the aligned image of each candidate on which a reviewer decided, by the id of the candidate."""
    sql = "SELECT candidate, image FROM aligned WHERE candidate IN (SELECT candidate FROM decision)"
    return {candidate: image for candidate, image in db.execute(sql)}


def reviewers(db: sqlite3.Connection) -> list[str]:
    """Return the names of all reviewers who decided on a pair, sorted."""
    return [name for (name,) in db.execute("SELECT DISTINCT reviewer FROM decision ORDER BY 1")]


def candidates_with_score(db: sqlite3.Connection, metric: str) -> set[str]:
    """Return the ids of the candidates that have a score of this metric."""
    return {candidate for (candidate,) in db.execute("SELECT candidate FROM score WHERE metric = ?", (metric,))}


def scores(db: sqlite3.Connection) -> dict[str, dict[str, float]]:
    """Return what was measured of each candidate, by metric: the newest version's value, and what align measured."""
    found: dict[str, dict[str, float]] = {}
    names = ", ".join(ALIGN_SCORES.values())
    for candidate, *values in db.execute(f"SELECT candidate, {names} FROM aligned WHERE image != ''"):
        numbers = (math.nan if value is None else value for value in values)
        found[candidate] = dict(zip(ALIGN_SCORES, numbers, strict=True))
    for candidate, listed in score_table.read_scores(db, ""):
        found.setdefault(candidate, {}).update((metric, value) for metric, _, value in listed)
    return found


def scores_of(db: sqlite3.Connection, candidate: str) -> tuple[Score, ...]:
    """Return what was measured of a candidate, by metric: the newest version's value."""
    rows = score_table.read_scores(db, "WHERE s.candidate = ?", candidate)
    return next((_newest(candidate, listed) for _, listed in rows), ())


# --- verdicts -------------------------------------------------------------------------------------------------------


def gates(db: sqlite3.Connection) -> list[str]:
    """Return the ids of the gates whose verdicts are stored."""
    sql = "SELECT DISTINCT gate FROM outcome WHERE id IN (SELECT DISTINCT outcome FROM verdicts) ORDER BY gate"
    return [gate for (gate,) in db.execute(sql)]


def gate_text(db: sqlite3.Connection, gate: str) -> str | None:
    """Return the text of the gate file with this id; None where none is stored."""
    row = db.execute("SELECT text FROM gates WHERE id = ?", (gate,)).fetchone()
    return None if row is None else str(row[0])


def kept_pairs(db: sqlite3.Connection, workspace: Path) -> Iterator[Pair]:
    """Iterate over what the gate keeps, in the order of the keys.

    Raises:
        ConfigError: Nothing has been judged, or a candidate that is kept is not aligned. It names the `workspace`.
    """
    if db.execute("SELECT 1 FROM verdicts LIMIT 1").fetchone() is None:
        raise ConfigError(f"{workspace}: nothing has been judged. Run: ggt100k verdict {workspace}")
    names = [
        f'{record_class.__name__[0]}."{name}"'
        for record_class in (Photo, Candidate)
        for name in record_class.__dataclass_fields__
    ]
    cursor = db.cursor()
    cursor.row_factory = None
    rows = cursor.execute(
        f"""SELECT a.image, l.metrics, s."values", {verdict_table.ROW}, {", ".join(names)}
        FROM candidate c JOIN verdicts v ON v.candidate = c.id JOIN outcome o ON o.id = v.outcome
        JOIN photo p ON p.key = c.key LEFT JOIN aligned a ON a.candidate = c.id
        LEFT JOIN scores s ON s.candidate = c.id LEFT JOIN layout l ON l.id = s.layout
        WHERE o.decision = 'keep' ORDER BY c.key, c.id"""
    )
    for image, metrics, texts, *values in rows:
        judged, facts = values[:7], iter(values[7:])
        photo, candidate = _next(Photo, facts), _next(Candidate, facts)
        if image is None:
            raise ConfigError(f"{workspace}: candidate {candidate.id} is not aligned. Run: ggt100k align {workspace}")
        yield Pair(
            photo=photo,
            candidate=candidate,
            image=image,
            scores=_newest(candidate.id, score_table.scores_of(metrics, texts)) if metrics else (),
            verdict=verdict_table.to_verdict((judged[0], *map(_shared, judged[1:6]), judged[6])),
        )


_shared = lru_cache(4096)(str)  # equal texts become one object: most licences, restorers and prompts are equal


def _next(record_class: type[Record], values: Iterator[Any]) -> Record:
    row = zip(record_class.__dataclass_fields__, values, strict=False)
    return from_row(record_class, {name: _shared(value) if type(value) is str else value for name, value in row})


def _newest(candidate: str, listed: Iterable[tuple[str, str, float]]) -> tuple[Score, ...]:
    last = {metric: (version, value) for metric, version, value in listed}  # in the order in which they were added
    return tuple(
        Score(candidate=candidate, metric=metric, metric_version=version, value=value)
        for metric, (version, value) in sorted(last.items())
    )


# --- counts ---------------------------------------------------------------------------------------------------------


def stages(db: sqlite3.Connection) -> tuple[Stage, ...]:
    """Return the funnel: how many entered each stage, how many left it, and why the others did not."""
    refused = db.execute("SELECT reason, count(*) FROM refusal GROUP BY reason")
    return funnel.FunnelCounts(db).stages(Counter({reason: count for reason, count in refused}))


def call_counts(db: sqlite3.Connection) -> list[tuple[str, str, str, int, float]]:
    """Return stage, model and outcome of calls, each with their number and what they cost in USD."""
    sql = "SELECT stage, model, outcome, count(*), total(usd) FROM call GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    return [tuple(row) for row in db.execute(sql)]


def spent(db: sqlite3.Connection) -> float:
    """Return what all calls cost in USD. A call whose end is not known counts with the most that it may cost."""
    return float(db.execute("SELECT total(usd) FROM call").fetchone()[0])
