"""The toolchain of ggt-100k: make, judge and publish pairs of photographs for image restoration.

from ggt_tools import Workspace
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggt_tools.api import Workspace as Workspace

__all__ = ["Workspace"]


def __getattr__(name: str) -> Any:
    """Import the API when it is asked for, so that a command or a worker process starts fast."""
    if name == "Workspace":
        from ggt_tools.api import Workspace

        return Workspace
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
