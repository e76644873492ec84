"""The reason codes: what each means, and what to do. docs/reasons.md and `ggt100k reasons` show them.

The texts are in reasons.toml, which is read when they are asked for.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ggt_tools.errors import ConfigError
from ggt_tools.toml import read_toml

FILE = Path(__file__).with_name("reasons.toml")


class Reason(NamedTuple):
    """A reason code of a stage."""

    stage: str  # the command that gives it
    code: str
    meaning: str
    hint: str  # what to do


@lru_cache(maxsize=1)
def load_reasons() -> tuple[Reason, ...]:
    """Return every reason code, in the order of the stages.

    Raises:
        ConfigError: reasons.toml cannot be read, or on Python 3.10 tomli is not installed.
    """
    return tuple(
        Reason(stage, code, texts["meaning"], texts["hint"])
        for stage, codes in read_toml(FILE).items()
        for code, texts in codes.items()
    )


def explain(code: str) -> list[Reason]:
    """Return what a reason code means, once for each stage that gives it.

    Raises:
        ConfigError: The code is unknown; the message suggests the nearest one.
    """
    listed_code = "unmeasured_METRIC" if code.startswith("unmeasured_") else code
    reasons = [reason for reason in load_reasons() if reason.code == listed_code]
    if not reasons:
        near = get_close_matches(code, {reason.code for reason in load_reasons()}, n=1)
        hint = f"Did you mean {near[0]}?" if near else "List all codes: ggt100k reasons"
        raise ConfigError(f"{code}: is not a reason code. {hint}")
    return reasons
