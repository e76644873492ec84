"""Build a Config from arguments: each value is checked against the type of its field, and converted where that is safe.

    build(ScoreConfig, metrics=["core"], weights="weights", batch=8)

The command line and the Python API build every Config here, so that a wrong type is reported in one way.
"""

from __future__ import annotations

import operator
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ggt_tools.errors import ConfigError

Config = TypeVar("Config")


def build(config_class: type[Config], /, **values: object) -> Config:
    """Return a Config with these values.

    Paths may be text, numbers may be those of numpy, and any iterable may stand for a tuple.

    Args:
        config_class: A dataclass.
        values: The values of its fields; a field that is not named keeps its default.

    Raises:
        ConfigError: A value has a wrong type, or the Config refuses it.
    """
    hints = get_type_hints(config_class)
    return config_class(**{name: convert(name, value, hints[name]) for name, value in values.items()})


def check_types(config: object) -> None:
    """Check the fields of a Config that users build themselves: call it first in `__post_init__`.

    Raises:
        ConfigError: A value has a wrong type.
    """
    for name, hint in get_type_hints(type(config)).items():
        convert(name, getattr(config, name), hint)


def check_choice(argument: str, value: str, choices: Iterable[str]) -> None:
    """Raise ConfigError where a word is none of the choices. An empty choice is not listed in the message."""
    words = list(choices)
    if value not in words:
        raise ConfigError(f"{argument}: {value!r} is not known. Choose one of: {', '.join(filter(None, words))}.")


def check_minimum(argument: str, value: float, minimum: int = 1) -> None:
    """Raise ConfigError where a number is below a minimum."""
    if not value >= minimum:
        raise ConfigError(f"{argument}: {value:g} is below {minimum}. Give {minimum} or more.")


def convert(argument: str, value: object, hint: Any) -> Any:
    """Return the value of an argument as its type hint asks.

    Args:
        argument: Name of the argument, for the message.
        value: What was passed.
        hint: str, int, float, bool, Path, Any, a class, or a union, mapping or tuple of them.

    Raises:
        ConfigError: The value has another type, or is an empty path.
    """
    try:
        return _convert(value, hint)
    except _WrongItemError as error:
        problem = f"item {error.number} {_describe(error.value)}. Pass {_name(error.hint)} for each item"
    except TypeError:
        problem = f"{_describe(value)}. Pass {_name(hint)}"
    raise ConfigError(f"{argument}: {problem}.")


class _WrongItemError(TypeError):
    def __init__(self, number: int, value: object, hint: Any) -> None:
        super().__init__()
        self.number, self.value, self.hint = number, value, hint


def _convert(value: object, hint: Any) -> Any:
    """Return the value as the hint asks. Raises TypeError where it cannot be converted."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, UnionType):
        return _convert_to_union(value, arguments)
    if origin is tuple:
        return _convert_to_tuple(value, arguments[0])
    if hint in _SIMPLE:
        return _SIMPLE[hint](value)
    if isinstance(value, origin or hint):
        if issubclass(origin or hint, Mapping):
            return {_convert(key, arguments[0]): _convert(item, arguments[1]) for key, item in value.items()}
        return value
    raise TypeError


def _convert_to_union(value: object, hints: tuple[Any, ...]) -> Any:
    if value is None and NoneType in hints:
        return None
    *others, last = (hint for hint in hints if hint is not NoneType)
    for hint in others:
        try:
            return _convert(value, hint)
        except TypeError:
            continue
    return _convert(value, last)


def _convert_to_tuple(value: object, item_hint: Any) -> tuple[Any, ...]:
    if isinstance(value, str | bytes | Mapping | os.PathLike) or not isinstance(value, Iterable):
        raise TypeError
    items = []
    for number, item in enumerate(value, 1):
        try:
            items.append(_convert(item, item_hint))
        except TypeError as error:
            raise _WrongItemError(number, item, item_hint) from error
    return tuple(items)


def _to_text(value: object) -> str:
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str):
        raise TypeError
    return text


def _to_path(value: object) -> Path:
    if not _to_text(value):
        raise TypeError  # the empty path would be the current folder
    return Path(_to_text(value))


def _to_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise TypeError


def _to_int(value: object) -> int:
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)  # type: ignore[arg-type]


def _to_float(value: object) -> float:
    if isinstance(value, bool | str | bytes) or not hasattr(value, "__float__"):
        raise TypeError
    return float(value)


_SIMPLE: dict[Any, Callable[[object], Any]] = {
    str: _to_text,
    Path: _to_path,
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
}
_NAMES = {
    str: "text (str)",
    Path: "a path (str or pathlib.Path)",
    bool: "True or False",
    int: "a whole number (int)",
    float: "a number (float)",
    NoneType: "None",
}


def _describe(value: object) -> str:
    if isinstance(value, str) and not value:
        return "is empty"
    return f"is of type {type(value).__name__}: {reprlib.repr(value)}"


def _name(hint: Any) -> str:
    """Return what to pass for a type hint, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_name, arguments))
    if origin is tuple:
        return f"a list, with {_name(arguments[0])} for each item"
    if origin is not None and issubclass(origin, Mapping):
        return f"a dict from {_name(arguments[0])} to {_name(arguments[1])}" if Any not in arguments else "a dict"
    return _NAMES.get(hint) or f"an object of the class {hint.__name__}"
