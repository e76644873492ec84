"""Restorers: makers of ground truth, each behind one method.

restorer("classical").restore(image, prompt, seed=0).image

Another one is added from outside by an entry point of the group "ggt100k.restorers": a function that takes a Setting
and gives a Restorer, under the name that --with is to know it by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ggt_tools.errors import ConfigError

Image = npt.NDArray[np.uint8]
GROUP = "ggt100k.restorers"


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
    options: dict[str, str] = field(default_factory=dict)  # NAME=VALUE of --option, as the restorer documents them


class Restorer(Protocol):
    """Restores one photograph at a time; what it changes besides its faults is for the gate to find."""

    @property
    def name(self) -> str:
        """The name it is called by, e.g. "classical"."""

    @property
    def model(self) -> str:
        """What made the image, as it is written with every pair, e.g. "classical-1", "gpt-image-2"."""

    @property
    def version(self) -> str:
        """Changes whenever the same photograph, prompt and seed may come out otherwise: code, options."""

    @property
    def remote(self) -> bool:
        """It asks a server, which takes many calls at a time, and money."""

    @property
    def square(self) -> bool:
        """It keeps the sides' ratio of square images only: others are padded for it, and cut back by align."""

    @property
    def prompted(self) -> bool:
        """It reads the prompt."""

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """Restore uint8 RGB (height, width, 3). A refusal is a Restored with a reason, not an error.

        Threads may call it side by side where it is remote. Raises ConfigError where a package or a key is missing,
        PairError where this photograph cannot be worked on, TransientError where the outside world failed for now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One photograph of a batch."""

    id: str
    image: Image
    prompt: str
    seed: int


@runtime_checkable
class BatchRestorer(Restorer, Protocol):
    """A restorer that also takes many photographs at once, and answers within a day."""

    @property
    def batch_bytes(self) -> int:
        """How large one job may be, in bytes of its requests."""

    def send(self, job: str, requests: Iterable[Request]) -> str:
        """Hands a job over under our id and gives the provider's name for it. Errors as of restore()."""

    def find(self, job: str) -> str:
        """The provider's name for the job that was handed over under our id; "" where there is none."""

    def state(self, name: str) -> str:
        """running | done | failed: what the provider said."""

    def results(self, name: str) -> Iterator[tuple[str, Restored]]:
        """What came of each request of a job that is done, by its id. A request that failed has its reason."""


def _classical(setting: Setting) -> Restorer:
    from ggt_tools.restorers.classical import Classical

    return Classical()


def _realesrgan(setting: Setting) -> Restorer:
    from ggt_tools.restorers.realesrgan import RealESRGAN

    return RealESRGAN()


def _gemini(setting: Setting) -> Restorer:
    from ggt_tools.restorers.gemini import gemini

    return gemini(setting)


def _openai(setting: Setting) -> Restorer:
    from ggt_tools.restorers.openai import openai

    return openai(setting)


def _compatible(setting: Setting) -> Restorer:
    from ggt_tools.restorers.openai import compatible

    return compatible(setting)


def _diffusers(setting: Setting) -> Restorer:
    from ggt_tools.restorers.diffusers import diffusers

    return diffusers(setting)


def _folder(setting: Setting) -> Restorer:
    from ggt_tools.restorers.folder import folder

    return folder(setting)


RESTORERS: dict[str, Callable[[Setting], Restorer]] = {
    "classical": _classical,
    "diffusers": _diffusers,
    "folder": _folder,
    "gemini": _gemini,
    "openai": _openai,
    "openai-compatible": _compatible,
    "realesrgan": _realesrgan,
}


def options(maker: str, setting: Setting, **known: str) -> dict[str, str]:
    """The options of `maker` with their defaults, `known`; ConfigError lists them where another one is given."""
    for name in setting.options:
        if name not in known:
            raise ConfigError(f"{maker}: no option is named {name!r}; known: {', '.join(sorted(known))}")
    return known | setting.options


def restorers() -> dict[str, Callable[[Setting], Restorer]]:
    """Every restorer by name: ours, and what other packages bring. Ours cannot be replaced from outside."""
    found = {point.name: point.load for point in entry_points(group=GROUP)}
    return {name: _loaded(name, load) for name, load in found.items()} | RESTORERS  # ours last: they stay


def _loaded(name: str, load: Callable[[], Callable[[Setting], Restorer]]) -> Callable[[Setting], Restorer]:
    def make(setting: Setting) -> Restorer:
        try:
            maker = load()
        except Exception as fault:  # importing a stranger's module may raise anything
            raise ConfigError(f"restorer {name!r}: its package cannot be loaded: {fault}; install it again") from fault
        return maker(setting)

    return make


def restorer(name: str, setting: Setting | None = None) -> Restorer:
    """The restorer of that name, or of "NAME:MODEL"; ConfigError lists the known ones."""
    known = restorers()
    name, _, model = name.partition(":")
    if name not in known:
        near = get_close_matches(name, known, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"no restorer is named {name!r}{meant}; known: {', '.join(sorted(known))}")
    setting = setting or Setting()
    return known[name](replace(setting, model=model) if model else setting)
