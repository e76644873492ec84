"""The settings and results of models, which clients of hosted models and all restorers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The result of a restorer: pixels, an image file, or the reason why there is neither.

    Attributes:
        image: uint8 RGB (height, width, 3).
        data: An image file that has not been decoded yet.
        reason: Reason code if there is neither, such as "refused".
        detail: Explanation of the reason.
        tokens_in: Input tokens as the provider counts them; both counts are 0 if it states none.
        tokens_out: Output tokens.
    """

    image: Image | None = None
    data: bytes = b""
    reason: str = ""
    detail: str = ""
    tokens_in: int = 0
    tokens_out: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The settings of a restorer or a vision-language model.

    Attributes:
        model: Name of the model; "" for the default.
        base_url: Address of another server with the same API; "" for the provider's own.
        timeout: Timeout of a call in seconds.
        names: The file that each photograph was imported from, by key.
        frames: Conversion.frame of each photograph with a known frame, by key.
        options: Values of --option, by the names that the restorer documents.
    """

    model: str = ""
    base_url: str = ""
    timeout: float = 300.0
    names: Mapping[str, str] = field(default_factory=dict)
    frames: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


def read_options(owner: str, setting: Setting, **defaults: str) -> dict[str, str]:
    """Return the options of a setting, with defaults for the missing ones.

    Args:
        owner: Name of the restorer or model, for the error.
        setting: The setting.
        **defaults: The options that the owner has, with their defaults.

    Raises:
        ConfigError: The owner has no such option. The message lists its options.
    """
    for name in setting.options:
        if name not in defaults:
            raise ConfigError(f"{owner}: has no option {name!r}. Its options are: {', '.join(sorted(defaults))}.")
    return defaults | setting.options
