"""Restorers: makers of ground truth, each behind one method.

restorer("classical").restore(image, prompt, seed=0).image

Another one is added from outside by an entry point of the group "ggt100k.restorers": a function that takes a Setting
and gives a Restorer, under the name that --with is to know it by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from importlib.metadata import entry_points

from ggt_tools.errors import ConfigError
from ggt_tools.providers.protocol import Setting
from ggt_tools.restorers.protocol import Restorer

GROUP = "ggt100k.restorers"


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
