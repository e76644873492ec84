"""A study's plan: which restorers, told what, on which photographs, measured how. A TOML file.

name = "two models"
photographs = "photos"            # a folder beside this file, with its credits.csv
prompts = ["fixed", "vlm"]        # each model is told each; one that reads none enters once
writer = "gemini"                 # the vision-language model that writes the prompts of "vlm"
screen = "gemini"                 # the one that judges; "" asks none
metrics = ["core"]                # as of ggt100k score
best_of = 2                       # so many restorations are shown at a time
reviewers = 1                     # so many people make each comparison

[criteria]                        # the metrics that each is made of; "-" in front: less is better
fidelity = ["structure", "-chroma_drift"]
quality = ["sharpness_gain"]

[[model]]
name = "Nano Banana 2"
with = "gemini:gemini-3.1-flash-image-preview"     # as of ggt100k restore
prompts = ["vlm"]                 # others than those above
options = { size = "1K" }         # as --option NAME=VALUE
base_url = ""                     # another server that speaks the same
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.metrics.scorer import METRICS, SETS
from ggt_tools.stages.prompt import STRATEGIES
from ggt_tools.toml import as_table, known, parse_toml, read_text

TEXTS = {"name": "", "photographs": "", "writer": "gemini", "screen": "gemini"}
NUMBERS = {"best_of": 2, "reviewers": 1}
MOST_SHOWN = 6  # restorations at a time: more do not fit beside each other
# Measures of what must not change, and of what should be better. Those of the fidelity model are log-odds of a fault.
FIDELITY = ("structure", "detail_kept", "tile_worst", "-chroma_drift", "-fidelity_content", "-fidelity_detail")
QUALITY = ("quality_gain", "noise_gain", "sharpness_gain", "-halo", "-fidelity_artefact")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One restorer of a plan."""

    name: str
    maker: str  # as --with names it
    prompts: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    base_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan file, checked."""

    id: str  # the start of the SHA-256 of its text
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
    models: tuple[Model, ...]

    @property
    def folder(self) -> Path:
        """Where the photographs are."""
        return self.path.parent / self.photographs


def load_plan(path: Path) -> Plan:
    """Reads a plan file. ConfigError names the file, the place, the fault and near names."""
    return parse_plan(path, read_text(path, "the plan"))


def parse_plan(path: Path, text: str) -> Plan:
    """The plan of a file's text; `path` is what its errors name, and what its folders are beside."""
    data = parse_toml(path, text)
    where = str(path)
    known(where, data, (*TEXTS, *NUMBERS, "prompts", "metrics", "criteria", "model"))
    texts = {
        name: _text(f"{where}: {name}", data.get(name, value), empty=name != "name") for name, value in TEXTS.items()
    }
    numbers = {name: _count(f"{where}: {name}", data.get(name, value)) for name, value in NUMBERS.items()}
    if not 2 <= numbers["best_of"] <= MOST_SHOWN:
        raise ConfigError(f"{where}: best_of: 2 to {MOST_SHOWN} are wanted, not {numbers['best_of']}")
    prompts = _strategies(f"{where}: prompts", data.get("prompts", ["fixed"]))
    criteria = as_table(f"{where}: [criteria]", data.get("criteria", {}))
    known(f"{where}: [criteria]", criteria, ("fidelity", "quality"))
    metrics = _texts(f"{where}: metrics", data.get("metrics", ["core"]))
    known(f"{where}: metrics", metrics, (*SETS, *METRICS))
    listed = data.get("model", [])
    if not isinstance(listed, list) or len(listed) < 1:
        raise ConfigError(f"{where}: [[model]]: one or more are wanted")
    models = tuple(_model(f"{where}: model {at}", one, prompts) for at, one in enumerate(listed, 1))
    names = [model.name for model in models]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{where}: [[model]]: two are named {doubled[0]!r}; give each a name of its own")
    return Plan(
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


def _model(where: str, data: Any, prompts: tuple[str, ...]) -> Model:
    known(where, as_table(where, data), ("name", "with", "prompts", "options", "base_url"))
    maker = _text(f"{where}: with", data.get("with", ""))
    options = as_table(f"{where}: options", data.get("options", {}))
    return Model(
        name=_text(f"{where}: name", data.get("name", maker)),
        maker=maker,
        prompts=_strategies(f"{where}: prompts", data["prompts"]) if "prompts" in data else prompts,
        options={str(name): str(value) for name, value in options.items()},
        base_url=_text(f"{where}: base_url", data.get("base_url", ""), empty=True),
    )


def _criterion(where: str, value: Any) -> tuple[str, ...]:
    names = _texts(where, value)
    known(where, [name.removeprefix("-") for name in names], METRICS)
    return names


def _strategies(where: str, value: Any) -> tuple[str, ...]:
    names = _texts(where, value)
    known(where, names, STRATEGIES)
    return names


def _texts(where: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise ConfigError(f"{where}: a list of names is wanted, not {value!r}")
    return tuple(value)


def _text(where: str, value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value.strip() or empty):
        raise ConfigError(f"{where}: a text is wanted, not {value!r}")
    return value.strip()


def _count(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{where}: a whole number from 1 on is wanted, not {value!r}")
    return value
