"""TOML files, with an error that names the file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """The file's table. ConfigError: it cannot be read, or is no TOML."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path}: cannot be read: {fault}") from fault
    return parse_toml(path, text)


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
