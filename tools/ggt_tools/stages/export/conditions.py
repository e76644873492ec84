"""Read what the command line says about an export: conditions on the pairs, and a file of prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.toml import read_toml

_CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(>=|<=|=)\s*(.*?)\s*")


def parse_where(conditions: Sequence[str]) -> dict[str, Any] | None:
    """Parse conditions on pairs, for example "degradation=rain,snow", "scores.structure>=0.5" or "height<=1024".

    Returns:
        The conditions as `ExportConfig.where` takes them; None where there is none.

    Raises:
        ConfigError: A condition cannot be read, or contradicts an earlier one.
    """
    where: dict[str, Any] = {}
    for condition in conditions:
        match = _CONDITION.fullmatch(condition)
        if match is None or not match[3]:
            raise ConfigError(
                f"--where {condition}: cannot be read. Write COLUMN=VALUE[,VALUE], COLUMN>=NUMBER or COLUMN<=NUMBER."
            )
        column, operator, text = match.groups()
        if operator == "=":
            if column in where:
                raise ConfigError(
                    f"--where {condition}: there is another condition on {column}. Write all its values in one "
                    "condition, with commas between them."
                )
            where[column] = [value.strip() for value in text.split(",")]
            continue
        try:
            bound = int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
        except ValueError as fault:
            raise ConfigError(f"--where {condition}: {text!r} is not a number. Write one, for example 0.5.") from fault
        bounds = where.get(column, (None, None))
        if not isinstance(bounds, tuple):
            raise ConfigError(
                f"--where {condition}: another condition gives values of {column}. Give either values or a bound."
            )
        where[column] = (bound, bounds[1]) if operator == ">=" else (bounds[0], bound)
    return where or None


def read_prompt_texts(path: Path) -> dict[str, str]:
    """Read the fixed prompts from a TOML file with one line for each class, for example ``rain = "Remove the rain."``.

    Raises:
        ConfigError: The file cannot be read, or holds something other than texts.
    """
    table = read_toml(path)
    for name, text in table.items():
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f'{path}: {name}: is not a text. Write {name} = "..." with the prompt of this class.')
    return table
