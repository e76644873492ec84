"""The Python API: a workspace with a method for each stage, and functions for releases and trainings.

    from ggt_tools import Workspace, validate

    workspace = Workspace.create("workspace")
    workspace.ingest("photos", licence="CC-BY-4.0")
    workspace.restore("classical")
    print(workspace.align())

Each method does what the command of its name does, and returns a `Summary`. A method that is stopped, even by kill -9,
continues where it was when it is called again.
"""

from __future__ import annotations

from ggt_tools.api.publishing import card as card
from ggt_tools.api.publishing import push as push
from ggt_tools.api.publishing import site as site
from ggt_tools.api.releases import compare_models as compare_models
from ggt_tools.api.releases import diff as diff
from ggt_tools.api.releases import evaluate as evaluate
from ggt_tools.api.releases import export as export
from ggt_tools.api.releases import validate as validate
from ggt_tools.api.releases import view as view
from ggt_tools.api.training import train_classes as train_classes
from ggt_tools.api.training import train_fidelity as train_fidelity
from ggt_tools.api.training import weights as weights
from ggt_tools.api.workspace import Workspace as Workspace

__all__ = [
    "Workspace",
    "card",
    "compare_models",
    "diff",
    "evaluate",
    "export",
    "push",
    "site",
    "train_classes",
    "train_fidelity",
    "validate",
    "view",
    "weights",
]
