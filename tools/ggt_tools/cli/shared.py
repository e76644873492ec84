"""Options that several verbs share, each declared once, and how the values of options become a Config."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ggt_tools.cli.show import count, per_minute, usd

Config = TypeVar("Config")
EXECUTORS = ("local", "slurm", "ray")


def build(kind: type[Config], values: Mapping[str, Any], *, prefix: str = "", **known: Any) -> Config:
    """Return a Config of the values of the options that have the names of its fields.

    Args:
        kind: A dataclass whose fields are named as the options are.
        values: The values of the options, by name: `vars(options)`.
        prefix: What the options' names have before the fields' names.
        known: Fields whose values come from elsewhere.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: values[prefix + name] for name in names - known.keys() if prefix + name in values} | known)


def names(text: str) -> tuple[str, ...]:
    """Names that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


class NameValue(argparse.Action):
    """Collects NAME=VALUE options in a dict."""

    def __call__(self, parser: Any, options: argparse.Namespace, value: Any, option: str | None = None) -> None:
        name, mark, text = str(value).partition("=")
        if not mark:
            parser.error(f"argument {option}: {value}: = is missing. Write {option} NAME=VALUE.")
        setattr(options, self.dest, {**(getattr(options, self.dest) or {}), name: text})


def add_executor(parser: argparse.ArgumentParser) -> None:
    """Options of `ExecutorConfig`: read them with ``build(ExecutorConfig, values, prefix="executor_")``."""
    execution = parser.add_argument_group("execution")
    execution.add_argument(
        "--engine",
        dest="executor_name",
        choices=EXECUTORS,
        default="local",
        help="Run on this machine or on a cluster (default: local).",
    )
    execution.add_argument(
        "--workers",
        dest="executor_workers",
        type=count,
        metavar="N",
        help="Number of worker processes (default: one for each GPU or core).",
    )
    execution.add_argument(
        "--cluster",
        dest="executor_options",
        action=NameValue,
        default={},
        metavar="NAME=VALUE",
        help="Setting of the cluster: partition, time, gpus_per_task (slurm); address, cpus_per_task, gpus_per_task "
        "(ray). A wrong name lists all.",
    )


def add_vlm(parser: argparse._ActionsContainer, purpose: str) -> None:
    """The option --vlm, in a parser or a group of it. `purpose`: what the model is for, as the help says it."""
    parser.add_argument(
        "--vlm",
        default="gemini",
        metavar="PROVIDER[:MODEL]",
        help=f"Vision-language model {purpose} (default: gemini).",
    )


def add_service(parser: argparse.ArgumentParser) -> None:
    """Options of `ServiceConfig`: read them with ``build(ServiceConfig, values)``."""
    money = parser.add_argument_group("budget and rate limits of calls to a provider")
    money.add_argument(
        "--budget",
        type=usd,
        default=math.inf,
        metavar="USD",
        help="Stop before all calls cost more than this (default: none).",
    )
    money.add_argument(
        "--price", type=usd, metavar="USD", help="Price of one call, for a model that prices.toml does not list."
    )
    money.add_argument(
        "--in-flight", type=count, metavar="N", help="Number of simultaneous calls (default: 16 to a server)."
    )
    money.add_argument(
        "--rpm",
        dest="requests_per_minute",
        type=per_minute,
        default=math.inf,
        metavar="N",
        help="Most requests in a minute (default: no limit).",
    )
    money.add_argument(
        "--tpm",
        dest="tokens_per_minute",
        type=per_minute,
        default=math.inf,
        metavar="N",
        help="Most tokens in a minute (default: no limit).",
    )
    money.add_argument(
        "--attempts", type=count, default=6, metavar="N", help="Attempts at a call that fails temporarily (default: 6)."
    )
    money.add_argument(
        "--timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="Give up on a call after this many seconds (default: 300).",
    )
    model = parser.add_argument_group("model")
    model.add_argument("--base-url", default="", metavar="URL", help="Address of another server with the same API.")
    model.add_argument(
        "--option",
        dest="options",
        action=NameValue,
        default={},
        metavar="NAME=VALUE",
        help="Option of the model or restorer; can be given several times.",
    )


def add_where(parser: argparse.ArgumentParser) -> None:
    """Conditions on pairs: read them with ``ggt_tools.stages.export.parse_where(options.where)``."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="COLUMN=VALUE[,VALUE], COLUMN>=NUMBER or COLUMN<=NUMBER, for example degradation=rain,snow or "
        "scores.structure>=0.5; with several, all must hold.",
    )
