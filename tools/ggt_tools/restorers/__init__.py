"""Restorers: makers of ground truth, each behind one method.

restorer("classical").restore(image, prompt, seed=0).image
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ggt_tools.errors import ConfigError

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restorer made of a photograph, or why it made nothing."""

    image: Image | None  # uint8 RGB (height, width, 3)
    reason: str = ""  # stable, where there is no image


class Restorer(Protocol):
    """Restores one photograph at a time; what it changes besides its faults is for the gate to find."""

    @property
    def name(self) -> str:
        """The name it is called by, e.g. "classical"."""

    @property
    def version(self) -> str:
        """Changes whenever the same photograph may come out otherwise."""

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """Restore uint8 RGB (height, width, 3). A refusal is a Restored with a reason, not an error.

        Raises ConfigError where a package is missing and TransientError where the outside world failed for now.
        """


def model_id(maker: Restorer) -> str:
    """The candidate's model id, e.g. "classical-1"."""
    return f"{maker.name}-{maker.version}"


def _classical() -> Restorer:
    from ggt_tools.restorers.classical import Classical

    return Classical()


def _realesrgan() -> Restorer:
    from ggt_tools.restorers.realesrgan import RealESRGAN

    return RealESRGAN()


RESTORERS: dict[str, Callable[[], Restorer]] = {"classical": _classical, "realesrgan": _realesrgan}


def restorer(name: str) -> Restorer:
    """The restorer of that name; ConfigError lists the known ones."""
    if name not in RESTORERS:
        near = get_close_matches(name, RESTORERS, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"no restorer is named {name!r}{meant}; known: {', '.join(sorted(RESTORERS))}")
    return RESTORERS[name]()
