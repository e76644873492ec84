"""The kinds of options: each `add_` function declares one option, and its help ends with the default."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

Parser = argparse._ActionsContainer  # a parser or a group of it


def add_path(parser: Parser, name: str, text: str, metavar: str, *, shown: str = "", required: bool = False) -> None:
    """Declare an option that takes a file or folder. `shown`: its default, in words."""
    parser.add_argument(name, type=Path, metavar=metavar, required=required, help=_help(text, shown))


def add_text(
    parser: Parser,
    name: str,
    text: str,
    metavar: str | None = None,
    *,
    default: str | None = "",
    shown: str = "",
    dest: str | None = None,
) -> None:
    """Declare an option that takes text. `shown`: its default in words, where that is not `default` itself."""
    shown = shown or default or ""
    parser.add_argument(name, dest=dest, default=default, metavar=metavar, help=_help(text, shown))


def add_number(
    parser: Parser,
    name: str,
    text: str,
    metavar: str = "N",
    *,
    default: float | None,
    shown: str = "",
    kind: Callable[[str], float] | None = None,
    dest: str | None = None,
) -> None:
    """Declare an option that takes a number. `kind`: reads and checks it; None for `count`."""
    shown = shown or ("" if default is None else str(default))
    parser.add_argument(name, dest=dest, type=kind or count, default=default, metavar=metavar, help=_help(text, shown))


def add_choice(
    parser: Parser,
    name: str,
    text: str,
    choices: Collection[str],
    default: str = "",
    metavar: str | None = None,
    *,
    shown: str = "",
    dest: str | None = None,
) -> None:
    """Declare an option that takes one of some words."""
    parser.add_argument(
        name, dest=dest, choices=choices, default=default, metavar=metavar, help=_help(text, shown or default)
    )


def add_flag(parser: Parser, name: str, text: str, *, dest: str | None = None) -> None:
    """Declare an option that takes no value."""
    parser.add_argument(name, dest=dest, action="store_true", help=_help(text))


def add_repeated(parser: Parser, name: str, text: str, metavar: str | None, *, dest: str, **settings: Any) -> None:
    """Declare an option that can be given several times: its values are a list, or None where it is not given."""
    parser.add_argument(name, dest=dest, action="append", metavar=metavar, help=_help(text), **settings)


def add_pairs(parser: Parser, name: str, text: str, metavar: str, *, dest: str) -> None:
    """Declare an option NAME=VALUE that can be given several times: its values are a dict."""
    parser.add_argument(name, dest=dest, action=_CollectPairs, default={}, metavar=metavar, help=_help(text))


class _CollectPairs(argparse.Action):
    """Collects NAME=VALUE options in a dict."""

    def __call__(self, parser: Any, options: argparse.Namespace, value: Any, option: str | None = None) -> None:
        name, mark, text = str(value).partition("=")
        if not mark:
            parser.error(f"argument {option}: {value}: = is missing. Write {option} NAME=VALUE.")
        setattr(options, self.dest, {**(getattr(options, self.dest) or {}), name: text})


def _help(text: str, shown: str = "") -> str:
    return f"{text} (default: {shown})." if shown else f"{text}."


def names(text: str) -> tuple[str, ...]:
    """Read names that are separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def seed(text: str) -> int:
    """Read a seed, 0 to 2**63 - 1."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2**63 - 1")
    return number


def count(text: str) -> int:
    """Read a whole number of 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def positive(text: str) -> float:
    """Read a finite number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def usd(text: str) -> float:
    """Read an amount of money: "250usd", "250 usd", "$250", "0.07"."""
    return positive(text.lower().replace("usd", "").replace("$", "").strip())


def share(text: str) -> float:
    """Read a share: "2%" or "0.02"."""
    number = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 100%")
    return number
