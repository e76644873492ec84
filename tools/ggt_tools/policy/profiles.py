"""Gates that ship with the package, by name: `offline`, which needs no download, and `full`, which asks pyiqa too."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from ggt_tools.errors import ConfigError
from ggt_tools.policy.gate import Gate, parse_gate
from ggt_tools.toml import read_text

OFFLINE = "offline"
PROFILES: dict[str, tuple[str, ...]] = {  # files of this package, whose texts follow each other
    OFFLINE: ("gate.toml",),
    "full": ("gate.toml", "gate_full.toml"),
}
STARTING_POINT = "starting point"  # so begins the "why" of a bound that was not fitted to anything


def load_profile(gate: Path | None = None) -> Gate:
    """Read a gate: one of the package by its name, or a file.

    Args:
        gate: A name of PROFILES or the path of a gate file; None for `offline`. A file of such a name is ./full.

    Raises:
        ConfigError: The file cannot be read or is wrong.
    """
    name = OFFLINE if gate is None else str(gate)
    if gate is not None and name not in PROFILES:
        if not gate.exists() and (near := get_close_matches(name, PROFILES, n=1)):
            raise ConfigError(f"{name}: there is no such gate file. Did you mean the gate {near[0]} of the package?")
        return parse_gate(gate, read_text(gate, "the gate"))
    files = [Path(__file__).with_name(file) for file in PROFILES[name]]
    return parse_gate(files[-1], "".join(read_text(file, "the gate") for file in files))


def starting_points(gate: Gate) -> tuple[str, ...]:
    """Return the metrics of the gate's bounds that are starting points, sorted: they were fitted to nothing."""
    rules = [rule for rules in gate.must.values() for rule in rules]
    rules += [rule for gain in gate.gains.values() for rule in gain.any]
    return tuple(sorted({rule.metric for rule in rules if rule.why.startswith(STARTING_POINT)}))
