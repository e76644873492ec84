"""Restorers produce candidates, each behind one method.

    restorer("classical").restore(image, prompt, seed=0).image

Another package adds a restorer by an entry point of the group "ggt100k.restorers": a function that takes a Setting and
returns a Restorer. The name of the entry point is the name for --with.
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

    _refuse_model("classical", setting)
    return Classical()


def _realesrgan(setting: Setting) -> Restorer:
    from ggt_tools.restorers.realesrgan import RealESRGAN

    _refuse_model("realesrgan", setting)
    return RealESRGAN()


def _refuse_model(name: str, setting: Setting) -> None:
    """Raise ConfigError where a model is named for a restorer that has no choice of models."""
    if setting.model:
        raise ConfigError(f"{name}:{setting.model}: {name} has no models to choose from. Write {name} alone.")


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
    """Return the factory of every restorer by name: those of this package, and those of other packages.

    Another package cannot replace a restorer of this one.
    """
    loaders = {point.name: point.load for point in entry_points(group=GROUP)}
    return {name: _load_later(name, load) for name, load in loaders.items()} | RESTORERS


def _load_later(name: str, load: Callable[[], Callable[[Setting], Restorer]]) -> Callable[[Setting], Restorer]:
    """Return a factory that loads its package when it is called."""

    def make(setting: Setting) -> Restorer:
        try:
            factory = load()
        except Exception as fault:  # importing a module of another package may raise anything
            raise ConfigError(f"restorer {name!r}: its package cannot be loaded: {fault}. Install it again.") from fault
        return factory(setting)

    return make


def restorer(name: str, setting: Setting | None = None) -> Restorer:
    """Return a restorer.

    Args:
        name: Its name, or "NAME:MODEL".
        setting: Model, address and options; None for the defaults.

    Raises:
        ConfigError: No restorer has this name, or it lacks a package, a key or an option.
    """
    factories = restorers()
    name, _, model = name.partition(":")
    if name not in factories:
        near = get_close_matches(name, factories, n=1)
        suggestion = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(
            f"no restorer is named {name!r}.{suggestion} The restorers are: {', '.join(sorted(factories))}."
        )
    setting = setting or Setting()
    return factories[name](replace(setting, model=model) if model else setting)
