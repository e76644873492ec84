"""What --cluster NAME=VALUE says of an engine."""

from __future__ import annotations

from collections.abc import Mapping

from ggt_tools.errors import ConfigError


class Options(dict[str, str]):
    """Values by name."""

    def number(self, name: str) -> float:
        try:
            found = float(self[name])
        except ValueError as fault:
            raise ConfigError(f"--cluster {name}={self[name]}: is no number") from fault
        if not 0 <= found < float("inf"):
            raise ConfigError(f"--cluster {name}={self[name]}: is not 0 or more")
        return found

    def whole(self, name: str) -> int:
        found = self.number(name)
        if found != int(found):
            raise ConfigError(f"--cluster {name}={self[name]}: is no whole number")
        return int(found)


def chosen(engine: str, given: Mapping[str, str], **known: str) -> Options:
    """The options with their defaults, `known`; ConfigError lists them where another one is given."""
    for name in given:
        if name not in known:
            raise ConfigError(f"--cluster {name}: --engine {engine} knows {', '.join(sorted(known))}")
    return Options(known | dict(given))
