"""Pages out of Jinja templates, HTML and Markdown alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ggt_tools.errors import ConfigError

if TYPE_CHECKING:
    import jinja2


def environment(folder: Path, *, autoescape: bool = True, **more: Any) -> jinja2.Environment:
    """The templates of a folder, where a name that is not given is a fault. ConfigError: jinja2 is not installed."""
    try:
        import jinja2
    except ImportError as fault:
        raise ConfigError("jinja2 is not installed: pip install 'ggt100k[report]'") from fault
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **more,
    )
