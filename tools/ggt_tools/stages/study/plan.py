"""The plan of a study: which restorers with which prompts, on which photographs, by which metrics. It is a TOML file.

name = "two models"
photographs = "photos"            # a folder beside this file, with its credits.csv
prompts = ["fixed", "vlm"]        # each model gets each of them; a restorer that reads no prompt enters once
writer = "gemini"                 # the vision-language model that writes the prompts of "vlm"
screen = "gemini"                 # the vision-language model that judges; "" for none
metrics = ["core"]                # as for ggt100k score
best_of = 2                       # number of restorations that are shown at a time
reviewers = 1                     # number of people who make each comparison

[criteria]                        # the metrics of each criterion; "-" in front if a lower value is better
fidelity = ["structure", "-chroma_drift"]
quality = ["sharpness_gain"]

[[model]]
name = "Nano Banana 2"
with = "gemini:gemini-3.1-flash-image-preview"     # as for ggt100k restore
prompts = ["vlm"]                 # in place of those above
options = { size = "1K" }         # as --option NAME=VALUE
base_url = ""                     # another server with the same API
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ggt_tools.choices import STRATEGIES
from ggt_tools.errors import ConfigError
from ggt_tools.metrics.scorer import METRICS, SETS, expand
from ggt_tools.restorers import restorers
from ggt_tools.toml import as_table, check_names, parse_toml, read_text

TEXTS = {"name": "", "photographs": "", "writer": "gemini", "screen": "gemini"}
NUMBERS = {"best_of": 2, "reviewers": 1}
MAX_BEST_OF = 6  # more restorations do not fit side by side
# Metrics of what must not change, and of what should be better. Those of the fidelity model are log-odds of a fault.
FIDELITY = ("structure", "detail_kept", "tile_worst", "-chroma_drift", "-fidelity_content", "-fidelity_detail")
QUALITY = ("quality_gain", "noise_gain", "sharpness_gain", "-halo", "-fidelity_artefact")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyModel:
    """A restorer of a plan.

    Attributes:
        name: Name of the entrant.
        restorer: The restorer, as --with names it.
        prompts: Strategies of the prompts that it gets.
        options: Options of the restorer.
        base_url: Address of another server with the same API; "" for none.
    """

    name: str
    restorer: str
    prompts: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    base_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """A plan that was read from a file.

    Attributes:
        id: The start of the SHA-256 of its text.
        text: The text of the file.
        path: The file.
        name: Name of the study.
        photographs: Folder of the photographs, beside the file; "" if the workspace has them.
        writer: Vision-language model that writes prompts.
        screen: Vision-language model that judges; "" for none.
        metrics: Names of metrics, or of sets of them.
        best_of: Number of restorations that are shown at a time.
        reviewers: Number of people who make each comparison.
        fidelity: Metrics of content fidelity, with "-" in front if a lower value is better.
        quality: Metrics of perceptual quality, likewise.
        models: The restorers.
    """

    id: str
    text: str
    path: Path
    name: str
    photographs: str
    writer: str
    screen: str
    metrics: tuple[str, ...]
    best_of: int
    reviewers: int
    fidelity: tuple[str, ...]
    quality: tuple[str, ...]
    models: tuple[StudyModel, ...]

    @property
    def folder(self) -> Path:
        """Folder of the photographs."""
        return self.path.parent / self.photographs


def load_plan(path: Path) -> StudyPlan:
    """Read a plan file.

    Raises:
        ConfigError: It cannot be read, or a value is wrong; the message names the entry, and near names.
    """
    return parse_plan(path, read_text(path, "the plan"))


def parse_plan(path: Path, text: str) -> StudyPlan:
    """Return the plan of a file's text. Messages name `path`, and folders are beside it."""
    data = parse_toml(path, text)
    where = str(path)
    check_names(where, data, (*TEXTS, *NUMBERS, "prompts", "metrics", "criteria", "model"))
    texts = {
        name: _text(f"{where}: {name}", data.get(name, value), empty=name != "name") for name, value in TEXTS.items()
    }
    numbers = {name: _count(f"{where}: {name}", data.get(name, value)) for name, value in NUMBERS.items()}
    if not 2 <= numbers["best_of"] <= MAX_BEST_OF:
        raise ConfigError(
            f"{where}: best_of: {numbers['best_of']}: the number of restorations shown at a time must be 2 to "
            f"{MAX_BEST_OF}."
        )
    prompts = _strategies(f"{where}: prompts", data.get("prompts", ["fixed"]))
    criteria = as_table(f"{where}: [criteria]", data.get("criteria", {}))
    check_names(f"{where}: [criteria]", criteria, ("fidelity", "quality"))
    metrics = _texts(f"{where}: metrics", data.get("metrics", ["core"]))
    check_names(f"{where}: metrics", metrics, (*SETS, *METRICS))
    listed = data.get("model", [])
    if not isinstance(listed, list) or len(listed) < 1:
        raise ConfigError(f"{where}: [[model]]: there is none. Add one or more.")
    models = tuple(_model(f"{where}: model {number}", model, prompts) for number, model in enumerate(listed, 1))
    names = [model.name for model in models]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{where}: [[model]]: two models are named {repeated[0]!r}. Give each a name of its own.")
    return StudyPlan(
        id=hashlib.sha256(text.encode()).hexdigest()[:16],
        text=text,
        path=path,
        metrics=metrics,
        fidelity=_criterion(f"{where}: [criteria] fidelity", criteria.get("fidelity", list(FIDELITY))),
        quality=_criterion(f"{where}: [criteria] quality", criteria.get("quality", list(QUALITY))),
        models=models,
        name=texts["name"],
        photographs=texts["photographs"],
        writer=texts["writer"],
        screen=texts["screen"],
        best_of=numbers["best_of"],
        reviewers=numbers["reviewers"],
    )


def _model(where: str, data: Any, prompts: tuple[str, ...]) -> StudyModel:
    check_names(where, as_table(where, data), ("name", "with", "prompts", "options", "base_url"))
    restorer = _text(f"{where}: with", data.get("with", ""))
    options = as_table(f"{where}: options", data.get("options", {}))
    return StudyModel(
        name=_text(f"{where}: name", data.get("name", restorer)),
        restorer=restorer,
        prompts=_strategies(f"{where}: prompts", data["prompts"]) if "prompts" in data else prompts,
        options={str(name): str(value) for name, value in options.items()},
        base_url=_text(f"{where}: base_url", data.get("base_url", ""), empty=True),
    )


def _criterion(where: str, value: Any) -> tuple[str, ...]:
    names = _texts(where, value)
    check_names(where, [name.removeprefix("-") for name in names], METRICS)
    return names


def _strategies(where: str, value: Any) -> tuple[str, ...]:
    names = _texts(where, value)
    check_names(where, names, STRATEGIES)
    return names


def _texts(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"{where}: {value!r} is not a list of names.")
    return tuple(value)


def _text(where: str, value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value.strip() or empty):
        raise ConfigError(f"{where}: {value!r} is not a text." if value else f"{where}: is missing. Write a text.")
    return value.strip()


def _count(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{where}: {value!r} is not a whole number of 1 or more.")
    return value


def check_plan(plan: StudyPlan) -> None:
    """Check what can be known of a plan on this machine without a key, before anything is paid for.

    Raises:
        ConfigError: The folder of photographs, a restorer or a vision-language model is unknown, or no metric of a
            criterion is measured.
    """
    from ggt_tools.providers.vlm import VLMS

    if plan.photographs and not plan.folder.is_dir():
        raise ConfigError(f"{plan.path}: photographs: {plan.folder} is not a folder. Name one beside the plan.")
    known_restorers = restorers()
    for model in plan.models:
        name = model.restorer.partition(":")[0]
        if name not in known_restorers:
            near = get_close_matches(name, known_restorers, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(sorted(known_restorers))}."
            raise ConfigError(f"{plan.path}: model {model.name!r}: with: there is no restorer {name!r}. {hint}")
    for entry, name in (("writer", plan.writer), ("screen", plan.screen)):
        if name and name.partition(":")[0] not in VLMS:
            known_models = ", ".join(VLMS)
            raise ConfigError(
                f"{plan.path}: {entry}: there is no vision-language model {name!r}. Known: {known_models}."
            )
    measured = set(expand(plan.metrics))
    for criterion, metrics, default in (("fidelity", plan.fidelity, FIDELITY), ("quality", plan.quality, QUALITY)):
        if metrics != default and not {metric.removeprefix("-") for metric in metrics} & measured:
            raise ConfigError(
                f"{plan.path}: [criteria] {criterion}: none of {', '.join(metrics)} is measured. Add one to metrics."
            )
