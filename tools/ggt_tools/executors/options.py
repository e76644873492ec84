"""Read the options of a cluster, which the command line takes as --cluster NAME=VALUE."""

from __future__ import annotations

from collections.abc import Mapping

from ggt_tools.errors import ConfigError


class Options(dict[str, str]):
    """Values by name."""

    def number(self, name: str) -> float:
        """Return an option as a finite number of 0 or more.

        Raises:
            ConfigError: It is not one.
        """
        try:
            number = float(self[name])
        except ValueError as fault:
            raise ConfigError(f"--cluster {name}={self[name]}: is not a number. Give a number of 0 or more.") from fault
        if not 0 <= number < float("inf"):
            raise ConfigError(f"--cluster {name}={self[name]}: is out of range. Give a number of 0 or more.")
        return number

    def integer(self, name: str) -> int:
        """Return an option as an integer of 0 or more.

        Raises:
            ConfigError: It is not one.
        """
        number = self.number(name)
        if number != int(number):
            raise ConfigError(f"--cluster {name}={self[name]}: is not an integer. Give an integer of 0 or more.")
        return int(number)


def parse_options(executor_name: str, given: Mapping[str, str], **defaults: str) -> Options:
    """Return the given options, and the defaults of the others.

    Raises:
        ConfigError: An option is not known; the message lists those that are.
    """
    for name in given:
        if name not in defaults:
            raise ConfigError(
                f"--cluster {name}: --engine {executor_name} has no such option. Known: {', '.join(sorted(defaults))}."
            )
    return Options(defaults | dict(given))
