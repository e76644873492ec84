"""Options that several verbs share, each declared once, and how the values of options become a Config."""

from __future__ import annotations

import argparse
import math
import webbrowser
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from ggt_tools import configs
from ggt_tools.choices import EXECUTORS
from ggt_tools.cli.options import (
    Parser,
    add_choice,
    add_flag,
    add_number,
    add_pairs,
    add_path,
    add_repeated,
    add_text,
    positive,
    usd,
)

if TYPE_CHECKING:
    from ggt_tools.executors import ExecutorConfig

Config = TypeVar("Config")


def build(config_class: type[Config], options: argparse.Namespace, *, prefix: str = "", **values: Any) -> Config:
    """Return a Config of the values of the options that have the names of its fields.

    A field that is a Config itself is built of the same options.

    Args:
        config_class: A dataclass whose fields are named as the options are.
        options: The parsed options. A list that was not given keeps the default of its field.
        prefix: What the options' names have before the fields' names.
        values: Fields whose values come from elsewhere.
    """
    given = vars(options)
    for name, hint in get_type_hints(config_class).items():
        if name in values:
            continue
        if isinstance(hint, type) and is_dataclass(hint):
            values[name] = build(hint, options)
        elif given.get(prefix + name) is not None:
            values[name] = given[prefix + name]
    return configs.build(config_class, **values)


def executor_of(options: argparse.Namespace) -> ExecutorConfig:
    """Return the executor that the options of `add_executor` ask for."""
    from ggt_tools.executors import ExecutorConfig

    return build(ExecutorConfig, options, prefix="executor_")


def add_workspace(parser: Parser) -> None:
    """The folder of a workspace, which most verbs work in."""
    parser.add_argument("workspace", type=Path, help="Folder of the workspace.")


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Options of `ExecutorConfig`: read them with `executor_of(options)`."""
    execution = parser.add_argument_group("execution")
    add_choice(execution, "--engine", "Run on this machine or on a cluster", EXECUTORS, "local", dest="executor_name")
    add_number(
        execution,
        "--workers",
        "Number of worker processes",
        default=None,
        shown="one for each GPU or core",
        dest="executor_workers",
    )
    settings = "partition, time, gpus_per_task (slurm); address, cpus_per_task, gpus_per_task (ray)"
    text = f"Setting of the cluster: {settings}. A wrong name lists all"
    add_pairs(execution, "--cluster", text, "NAME=VALUE", dest="executor_options")


def add_hub_dataset(group: Parser) -> None:
    """Which part of a dataset on the Hub is read."""
    text = "Configuration of a dataset on the Hub"
    add_text(group, "--config", text, "CONFIG", default=None, shown="its only one", dest="dataset_config")
    add_text(group, "--split", "Split of a dataset on the Hub", default="train")
    add_text(group, "--revision", "Branch, tag or commit of a dataset on the Hub", default=None, shown="main")


def add_models(group: Parser) -> None:
    """Where metrics with models run, and where their weights are."""
    add_text(group, "--device", "Device as torch names it", default="auto", shown="cuda if there is one, else cpu")
    add_path(group, "--weights", "Folder with downloaded weights", "FOLDER", shown="torch's cache")


def add_vlm(group: Parser, purpose: str) -> None:
    """The option --vlm. `purpose`: what the model is for, as the help says it."""
    add_text(group, "--vlm", f"Vision-language model {purpose}", "PROVIDER[:MODEL]", default="gemini")


def add_service(parser: argparse.ArgumentParser) -> None:
    """Options of `ServiceConfig`, which `build` makes of them where a Config has such a field."""
    add_limits(parser)
    model = parser.add_argument_group("model")
    add_text(model, "--base-url", "Address of another server with the same API", "URL")
    text = "Option of the model or restorer; can be given several times"
    add_pairs(model, "--option", text, "NAME=VALUE", dest="options")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Options of `ServiceConfig` that do not depend on the model."""
    money = parser.add_argument_group("budget and rate limits of calls to a provider")
    text = "Stop before the calls of this workspace, earlier runs included, cost more than this, for example 20usd"
    add_number(money, "--budget", text, "USD", default=math.inf, shown="none", kind=usd)
    text = "Price of one call, for a model that prices.toml does not list"
    add_number(money, "--price", text, "USD", default=None, kind=usd)
    add_number(money, "--in-flight", "Number of simultaneous calls", default=None, shown="16 to a server")
    for name, unit in (("--rpm", "requests"), ("--tpm", "tokens")):
        add_number(
            money,
            name,
            f"Most {unit} in a minute",
            default=math.inf,
            shown="no limit",
            kind=positive,
            dest=f"{unit}_per_minute",
        )
    add_number(money, "--attempts", "Attempts at a call that fails temporarily", default=6)
    text = "Give up on a call after this many seconds"
    add_number(money, "--timeout", text, "SECONDS", default=300.0, shown="300", kind=positive)


def add_where(parser: Parser) -> None:
    """Conditions on pairs: read them with ``ggt_tools.stages.export.parse_where(options.where)``."""
    text = (
        "COLUMN=VALUE[,VALUE], COLUMN>=NUMBER or COLUMN<=NUMBER, for example degradation=rain,snow or "
        "scores.structure>=0.5; with several, all must hold"
    )
    add_repeated(parser, "--where", text, "CONDITION", dest="where", default=[])


def add_server(parser: argparse.ArgumentParser, port: int) -> None:
    """Options of the server of a local page, and --open."""
    server = parser.add_argument_group("server")
    text = "Address to listen on; other machines should use ssh -L"
    add_text(server, "--host", text, "ADDRESS", default="127.0.0.1", shown="127.0.0.1, this machine only")
    add_number(server, "--port", "Port; 0 takes any free one", default=port, kind=int)
    add_repeated(server, "--name", "A further host name by which the page is reached", "HOST", dest="names")
    add_flag(server, "--open", "Open the browser")


def page_opener(verb: str, *, opens_browser: bool) -> Callable[[str], None]:
    """Return a function that prints the URL of a page, and opens it in the browser where that is asked for."""

    def open_page(url: str) -> None:
        print(f"{verb}: open {url}", flush=True)
        if opens_browser:
            webbrowser.open(url)

    return open_page
