"""What a model is made with, and what it returns: shared by the clients of hosted models and by all restorers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restorer made of a photograph: pixels, or a file as it came from elsewhere, or the reason why nothing."""

    image: Image | None = None  # uint8 RGB (height, width, 3)
    data: bytes = b""  # an image file, not looked into yet
    reason: str = ""  # stable, where there is neither: a refusal, say
    detail: str = ""  # what was said of it
    tokens_in: int = 0  # as the provider counts; 0 and 0 where it does not say
    tokens_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a restorer is made with. "" and {}: its own defaults."""

    model: str = ""
    base_url: str = ""
    timeout: float = 300.0  # seconds a call
    names: Mapping[str, str] = field(default_factory=dict)  # key -> the file that the photograph came in as
    frames: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # key -> Conversion.frame, where it is known
    options: dict[str, str] = field(default_factory=dict)  # NAME=VALUE of --option, as the restorer documents them


def options(maker: str, setting: Setting, **known: str) -> dict[str, str]:
    """The options of `maker` with their defaults, `known`; ConfigError lists them where another one is given."""
    for name in setting.options:
        if name not in known:
            raise ConfigError(f"{maker}: no option is named {name!r}; known: {', '.join(sorted(known))}")
    return known | setting.options
