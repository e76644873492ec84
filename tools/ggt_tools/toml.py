"""Read TOML files and check their tables; each error names the file and the location in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.files import texts

MAX_LISTED = 40  # names that an error lists


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table of a file.

    Raises:
        ConfigError: The file cannot be read, or is not TOML.
    """
    return parse_toml(path, read_text(path))


def read_text(path: Path, description: str = "") -> str:
    """Return the text of a file.

    Args:
        path: The file.
        description: What the file is, for the error.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        return texts.read_text(path)
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: {f'{description} ' if description else ''}cannot be read: {fault}") from fault


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    """Return the table of a TOML text.

    Args:
        path: The file that it is from, for errors.
        text: The text.

    Raises:
        ConfigError: It is not TOML, or on Python 3.10 tomli is not installed.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as fault:
            raise ConfigError("tomli is not installed. Install it: pip install 'ggt100k[generate]'") from fault
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path}: is not valid TOML: {fault}. Correct that line.") from fault


def as_table(where: str, value: Any) -> dict[str, Any]:
    """Return the value if it is a table.

    Raises:
        ConfigError: It is not one.
    """
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: must be a table, not {value!r}.")
    return value


def check_names(where: str, names: Iterable[str], choices: Iterable[str]) -> None:
    """Check that every name is one of the choices.

    Args:
        where: The file and the location in it, for the error.
        names: The names.
        choices: The names that are allowed.

    Raises:
        ConfigError: A name is not allowed; the message suggests similar ones, or lists the choices.
    """
    listed = sorted(choices)
    for name in names:
        if name not in listed:
            near = get_close_matches(name, listed, n=3, cutoff=0.5)
            more = f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
            hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(listed[:MAX_LISTED])}{more}."
            raise ConfigError(f"{where}: {name!r} is not known. {hint}")
