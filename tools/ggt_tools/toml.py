"""TOML files, and what every table of them is held against; each error names the file and the place in it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.files import texts

MOST_NAMED = 40  # names that an error lists


def read_toml(path: Path) -> dict[str, Any]:
    """The file's table. ConfigError: it cannot be read, or is no TOML."""
    return parse_toml(path, read_text(path))


def read_text(path: Path, what: str = "") -> str:
    """The file's text; `what` it is, for the ConfigError where it cannot be read."""
    try:
        return texts.read_text(path)
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: {f'{what} ' if what else ''}cannot be read: {fault}") from fault


def parse_toml(path: Path, text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as fault:
            raise ConfigError("tomli is not installed: pip install 'ggt100k[generate]'") from fault
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path}: not TOML: {fault}") from fault


def as_table(where: str, value: Any) -> dict[str, Any]:
    """The value, where it is a table."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: a table is wanted, not {value!r}")
    return value


def known(where: str, names: Iterable[str], choices: Iterable[str]) -> None:
    """ConfigError with near names, or with the choices, for a name that is none of them."""
    listed = sorted(choices)
    for name in names:
        if name not in listed:
            near = get_close_matches(name, listed, n=3, cutoff=0.5)
            more = f" and {len(listed) - MOST_NAMED} more" if len(listed) > MOST_NAMED else ""
            hint = f"near: {', '.join(near)}" if near else f"known: {', '.join(listed[:MOST_NAMED])}{more}"
            raise ConfigError(f"{where}: {name!r} is not known; {hint}")
