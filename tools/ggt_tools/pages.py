"""Render pages from Jinja templates, both HTML and Markdown."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggt_tools.errors import ConfigError

if TYPE_CHECKING:
    import jinja2


def script_hash(script: str) -> str:
    """Return the hash by which a content security policy allows an inline script: "sha256-..."."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def environment(folder: Path, *, autoescape: bool = True, **options: Any) -> jinja2.Environment:
    """Return the environment of the templates in a folder. A template that uses an undefined name raises an error.

    Args:
        folder: Folder of the templates.
        autoescape: Whether to escape values for HTML.
        **options: Further options of jinja2.Environment.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as fault:
        raise ConfigError("jinja2 is not installed. Install it: pip install 'ggt100k[report]'") from fault
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
