"""The toolchain of ggt-100k: make, judge and publish pairs of photographs for image restoration.

from ggt_tools import Workspace, validate
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ggt_tools.api import Workspace as Workspace
    from ggt_tools.api import card as card
    from ggt_tools.api import compare_models as compare_models
    from ggt_tools.api import diff as diff
    from ggt_tools.api import evaluate as evaluate
    from ggt_tools.api import export as export
    from ggt_tools.api import push as push
    from ggt_tools.api import site as site
    from ggt_tools.api import train_classes as train_classes
    from ggt_tools.api import train_fidelity as train_fidelity
    from ggt_tools.api import validate as validate
    from ggt_tools.api import view as view
    from ggt_tools.api import weights as weights
    from ggt_tools.events import SILENT as SILENT
    from ggt_tools.executors import ExecutorConfig as ExecutorConfig
    from ggt_tools.providers.service import ServiceConfig as ServiceConfig
    from ggt_tools.summary import Summary as Summary

_MODULES = {
    **dict.fromkeys(
        (
            *("Workspace", "card", "compare_models", "diff", "evaluate", "export", "push", "train_classes"),
            *("site", "train_fidelity", "validate", "view", "weights"),
        ),
        "ggt_tools.api",
    ),
    "ExecutorConfig": "ggt_tools.executors",
    "SILENT": "ggt_tools.events",
    "ServiceConfig": "ggt_tools.providers.service",
    "Summary": "ggt_tools.summary",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that a command or a worker process starts fast."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
