"""DF-Score: do outputs remove the degradation (D), and keep the content (F)?

D and F come from a vision-language model that sees the LQ image and the output, each from 0 to 100. DF-Score is the
mean over images of sqrt(D * F), as HarnessIR (arXiv 2610.10133) defines it: one image's D cannot make up for another
image's F. A copy of the LQ image has D = 0 and F = 100 by definition.

This module asks no model. It reads the D and F that an evaluator has given, for example those of HarnessIR's
compute_df.py; the columns `d_score`, `f_score` and `df_score` are our names. Scores of different evaluators, or of
different versions of one, cannot be compared.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.stages.evaluate.outputs import KEY
from ggt_tools.toml import read_text

DF_METRICS = ("d_score", "f_score", "df_score")  # larger is better
UNCHANGED = {"d_score": 0.0, "f_score": 100.0, "df_score": 0.0}  # of an output that is a copy of the LQ image
_NAMES = ("key", "id", "output", "lq")  # fields that may hold the key of a pair


def read_df_scores(path: Path, keys: Sequence[str]) -> dict[str, dict[str, float]]:
    """Read D and F of the outputs from a JSON, JSON lines or CSV file.

    Each row has the fields `D` and `F`, and the key of its pair in `key`, `id`, `output` or `lq`. Rows of other pairs,
    and rows in which the evaluator left D or F empty, are passed over.

    Returns:
        The values of `DF_METRICS` by key.

    Raises:
        ConfigError: The file cannot be read, a score is no number from 0 to 100, or a key occurs twice.
    """
    known = set(keys)
    scores: dict[str, dict[str, float]] = {}
    for number, row in enumerate(read_rows(path), start=1):
        judged = row.get("vlm")  # compute_df.py puts the two scores there
        fields = {
            str(name).lower(): value for name, value in (row | (judged if isinstance(judged, dict) else {})).items()
        }
        if key := find_key(fields, known):
            if key in scores:
                raise ConfigError(f"{path}: row {number}: key {key} occurs twice. Leave one of its rows.")
            if not any(fields.get(name) in (None, "") for name in ("d", "f")):
                d, f = (read_score(path, number, name.upper(), fields[name]) for name in ("d", "f"))
                scores[key] = {"d_score": d, "f_score": f, "df_score": math.sqrt(d * f)}
    return scores


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the row of each image of a JSON, JSON lines or CSV file."""
    text = read_text(path)
    if path.suffix.lower() == ".csv":
        rows: Any = list(csv.DictReader(io.StringIO(text)))
    else:
        try:
            is_lines = text.lstrip()[:1] == "{" and path.suffix.lower() != ".json"
            rows = [json.loads(line) for line in text.splitlines() if line.strip()] if is_lines else json.loads(text)
        except ValueError as fault:
            raise ConfigError(f"{path}: is not JSON: {fault}. Give a JSON array, JSON lines or a CSV file.") from fault
        if isinstance(rows, dict):  # what compute_df.py writes: the rows of the images beside their means
            rows = rows.get("per_item")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: does not hold one object for each image. Give an array of objects.")
    yield from rows


def find_key(fields: Mapping[str, Any], allowed: set[str]) -> str:
    """Return the key of the pair that a row is of; "" where it names none, or several."""
    for name in _NAMES:
        found: set[str] = {key for key in KEY.findall(str(fields.get(name, "")).lower()) if key in allowed}
        if len(found) == 1:
            return found.pop()
    return ""


def read_score(path: Path, number: int, name: str, value: Any, most: float = 100) -> float:
    """Return a value of a row, a number from 0 to `most`.

    Raises:
        ConfigError: It is another value.
    """
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= most:
        raise ConfigError(
            f"{path}: row {number}: {name} is {value!r}. It must be a number from 0 to {most:g}: correct the row, or "
            "leave it empty."
        )
    return score
