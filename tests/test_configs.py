"""Arguments of the Python API: values are converted to the types of a Config, and wrong types are named."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ggt_tools
from ggt_tools import ExecutorConfig, ServiceConfig, Workspace
from ggt_tools.cli import VERBS
from ggt_tools.configs import build
from ggt_tools.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Everything:
    text: str = ""
    count: int = 1
    share: float = 0.5
    is_fast: bool = False
    out: Path | None = None
    names: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Any] | None = None
    service: ServiceConfig = field(default_factory=ServiceConfig)


def test_values_are_converted_where_that_is_safe() -> None:
    config = build(
        Everything,
        text=Path("a") / "b",
        count=np.int64(3),
        share=np.float32(0.25),
        out="x.json",
        names=["a", "b"],
        folders=iter(["p", Path("q")]),
        where={"degradation": ["rain"]},
    )
    assert config == Everything(
        text=str(Path("a/b")),
        count=3,
        share=0.25,
        out=Path("x.json"),
        names=("a", "b"),
        folders=(Path("p"), Path("q")),
        where={"degradation": ["rain"]},
    )
    assert [type(value) for value in (config.count, config.share)] == [int, float]
    assert build(Everything, share=1, out=None, where=None) == Everything(share=1.0)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("text", 3, "text: is of type int: 3. Pass text (str)."),
        ("text", None, "text: is of type NoneType: None. Pass text (str)."),
        ("text", b"a", "text: is of type bytes: b'a'. Pass text (str)."),
        ("count", "3", "count: is of type str: '3'. Pass a whole number (int)."),
        ("count", 3.0, "count: is of type float: 3.0. Pass a whole number (int)."),
        ("count", True, "count: is of type bool: True. Pass a whole number (int)."),
        ("share", "0.5", "share: is of type str: '0.5'. Pass a number (float)."),
        ("is_fast", 1, "is_fast: is of type int: 1. Pass True or False."),
        ("out", 3, "out: is of type int: 3. Pass a path (str or pathlib.Path) or None."),
        ("out", "", "out: is empty. Pass a path (str or pathlib.Path) or None."),
        ("names", "core", "names: is of type str: 'core'. Pass a list, with text (str) for each item."),
        ("names", Path("core"), f"names: is of type {type(Path()).__name__}: {Path('core')!r}. Pass a list, with"),
        ("names", ["a", ["b"]], "names: item 2 is of type list: ['b']. Pass text (str) for each item."),
        ("folders", [None], "folders: item 1 is of type NoneType: None. Pass a path (str or pathlib.Path) for each"),
        ("options", ["a"], "options: is of type list: ['a']. Pass a dict from text (str) to text (str)."),
        ("options", {"a": 1}, "options: is of type dict: {'a': 1}. Pass a dict from text (str) to text (str)."),
        ("where", "a=b", "where: is of type str: 'a=b'. Pass a dict or None."),
        ("service", "gemini", "service: is of type str: 'gemini'. Pass an object of the class ServiceConfig."),
    ],
)
def test_a_wrong_type_is_named(argument: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Everything, **{argument: value})
    assert str(caught.value).startswith(message)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.create(tmp_path_factory.mktemp("workspace"), events=ggt_tools.SILENT)


CALLS: list[tuple[str, Callable[[Workspace], object]]] = [
    ("restorers", lambda w: w.restore(["classical"])),  # type: ignore[arg-type]
    ("seed", lambda w: w.restore(seed="1")),  # type: ignore[arg-type]
    ("service", lambda w: w.restore(service={"budget": 1})),  # type: ignore[arg-type]
    ("photos", lambda w: w.ingest(3)),  # type: ignore[arg-type]
    ("photos", lambda w: w.ingest("")),
    ("published", lambda w: w.ingest("x", published="release")),
    ("classes", lambda w: w.ingest("x", classes="guess")),
    ("limit", lambda w: w.align(limit="3")),  # type: ignore[arg-type]
    ("prompt", lambda w: w.restore(prompt="best")),
    ("prompt", lambda w: w.refine(prompt="best")),
    ("candidates_per_photo", lambda w: w.restore(candidates_per_photo=0)),
    ("rounds", lambda w: w.refine(rounds=0)),
    ("degradation", lambda w: w.adopt("set", degradation="fog")),
    ("degradation", lambda w: w.review(degradation="fog")),
    ("batch", lambda w: w.score(batch=0)),
    ("max_pairs", lambda w: ggt_tools.diff("a", "b", max_pairs=-1)),
    ("worst", lambda w: ggt_tools.evaluate("outputs", "sample", worst=-1)),
    ("metrics", lambda w: w.score("core")),
    ("strategy", lambda w: w.prompt("best")),
    ("gate", lambda w: w.verdict(b"gate.toml")),  # type: ignore[arg-type]
    ("keys", lambda w: w.yank("0123456789abcdef", "no")),
    ("out", lambda w: w.pack(None)),  # type: ignore[arg-type]
    ("test", lambda w: w.pack(test="500")),  # type: ignore[arg-type]
    ("reasons", lambda w: w.retry("timeout")),
    ("port", lambda w: w.review(port="8642")),  # type: ignore[arg-type]
    ("on_ready", lambda w: w.review(on_ready="print")),  # type: ignore[arg-type]
    ("out", lambda w: w.export_decisions(1)),  # type: ignore[arg-type]
    ("name", lambda w: w.image(1)),  # type: ignore[arg-type]
    ("kind", lambda w: w.records("photos")),  # type: ignore[type-var]
    ("path", lambda w: Workspace(None)),  # type: ignore[arg-type]
    ("path", lambda w: Workspace.create(3)),  # type: ignore[arg-type]
    ("executor", lambda w: Workspace(w.path, executor="slurm")),  # type: ignore[arg-type]
    ("events", lambda w: Workspace(w.path, events=print)),  # type: ignore[arg-type]
    ("workers", lambda w: ExecutorConfig(workers="2")),  # type: ignore[arg-type]
    ("budget", lambda w: ServiceConfig(budget="20usd")),  # type: ignore[arg-type]
    ("release", lambda w: ggt_tools.validate(3)),  # type: ignore[arg-type]
    ("photographs", lambda w: ggt_tools.train_fidelity("photos", "x.onnx")),
    ("epochs", lambda w: ggt_tools.train_fidelity(["photos"], "x.onnx", epochs=1.5)),  # type: ignore[arg-type]
    ("out", lambda w: ggt_tools.train_classes(["photos"], None)),  # type: ignore[arg-type]
    ("fetch", lambda w: ggt_tools.weights(fetch="yes")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("argument", "call"), CALLS, ids=[f"{name}-{n}" for n, (name, _) in enumerate(CALLS)])
def test_a_call_with_a_wrong_argument_names_it(
    argument: str, call: Callable[[Workspace], object], workspace: Workspace
) -> None:
    with pytest.raises(ConfigError) as caught:
        call(workspace)
    assert str(caught.value).startswith(f"{argument}: ")


OTHERWISE = ("reasons", "demo")  # docs/api.md says what does the same


def counterpart(verb: str) -> Callable[..., object]:
    name = verb.replace("-", "_")
    function = getattr(Workspace, name, None) or getattr(ggt_tools, name)
    assert callable(function)
    return function  # type: ignore[no-any-return]


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in OTHERWISE])
def test_each_verb_has_a_typed_and_documented_counterpart(verb: str) -> None:
    function = counterpart(verb)
    documented = inspect.getdoc(function) or ""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name != "self":
            assert parameter.annotation is not parameter.empty
            assert re.search(rf"^    \*?{parameter.name}: ", documented.replace("\\", ""), re.MULTILINE), parameter.name


MODULES = {  # of the verbs whose Config is not in stages/VERB/run.py
    "review": "ggt_tools.review.serve",
    "view": "ggt_tools.viewing.serve",
    "train-fidelity": "ggt_tools.training.fidelity_run",
    "train-classes": "ggt_tools.training.classes_run",
}
WITHOUT_CONFIG = ("export-ledger", "status", *OTHERWISE)
ELSEWHERE = {
    "ingest": {"images"},  # Workspace.create takes it
    "push": {"attempts", "pause"},  # not an option of the command either
}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in WITHOUT_CONFIG])
def test_each_field_of_a_config_is_an_argument_of_the_function(verb: str) -> None:
    module = importlib.import_module(MODULES.get(verb, f"ggt_tools.stages.{verb}.run"))
    config = getattr(module, f"{verb.title().replace('-', '')}Config")
    fields = {field.name for field in dataclasses.fields(config)} - ELSEWHERE.get(verb, set())
    assert fields <= inspect.signature(counterpart(verb)).parameters.keys()
