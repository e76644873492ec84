"""The Python API: a workspace with a method for each stage, and functions for releases.

    from ggt_tools import Workspace, validate

    workspace = Workspace.create("workspace")
    workspace.ingest("photos", licence="CC-BY-4.0")
    workspace.restore("classical")
    print(workspace.align())

Each method does what the command of its name does, and returns a `Summary`. A method that is stopped, even by kill -9,
continues where it was when it is called again.
"""

from __future__ import annotations

from ggt_tools.api.releases import card as card
from ggt_tools.api.releases import diff as diff
from ggt_tools.api.releases import evaluate as evaluate
from ggt_tools.api.releases import export as export
from ggt_tools.api.releases import push as push
from ggt_tools.api.releases import validate as validate
from ggt_tools.api.workspace import Workspace as Workspace

__all__ = ["Workspace", "card", "diff", "evaluate", "export", "push", "validate"]
