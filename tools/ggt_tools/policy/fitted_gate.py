"""Write a fitted gate into the text of a gate file, whose comments stay."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.policy.calibration import BoundChange, Calibration
from ggt_tools.policy.decision import Model
from ggt_tools.policy.gate import Gate, parse_gate

LEAST_WEIGHT = 0.001  # a weight of 0 would remove its fact from the gate file


def fitted_gate_text(gate: Gate, calibration: Calibration, day: str) -> str:
    """Return the text of the gate file with the fitted decision and bounds, and with notes that say what was fitted.

    Args:
        gate: The gate that the fit started from.
        calibration: The fit.
        day: The date that the notes name, as YYYY-MM-DD.

    Raises:
        ConfigError: tomlkit is not installed.
    """
    try:
        import tomlkit
    except ImportError as error:
        raise ConfigError("tomlkit is not installed. Install it: pip install 'ggt100k[report]'") from error
    document: Any = tomlkit.parse(gate.text)
    for degradation in calibration.refitted_classes:
        table = document["decision"]["class"][degradation]
        for model in calibration.gate.decision[degradation].models:
            _write_model(table[model.name], model, tomlkit.inline_table())
        _describe_class(table, calibration, day)
    for change in calibration.changes:
        table = document
        for name in change.bound.path[:-1]:
            table = table[name]
        table[change.bound.path[-1]] = change.limit
        if change.bound.path[0] != "decision":
            _describe_bound(table, change, calibration, day)
    text = tomlkit.dumps(document)
    parse_gate(Path("the fitted gate"), text)
    return text


def _write_model(table: Any, model: Model, empty_table: Any) -> None:
    table["intercept"] = _round(model.intercept)
    weights = table.setdefault("weights", empty_table)
    for fact in model.facts:
        weights[fact.name] = _round(max(fact.weight, LEAST_WEIGHT))
    table["unsure_above"], table["max"] = model.unsure_above, model.max


def _describe_class(table: Any, calibration: Calibration, day: str) -> None:
    """Write into the class of a decision what it was fitted to, and the rates."""
    held_out = "" if calibration.is_held_out else ", not held out"
    table["fit"] = "own"
    before = re.sub(r"^fitted to .*? labels on [0-9-]*; before: ", "", str(table.get("data", "")))
    table["data"] = f"fitted to {calibration.label_count} labels on {day}; before: {before or 'nothing'}"
    table["false_accepts"] = str(calibration.fitted.false_accepts) + held_out
    table["false_rejects"] = f"kept of what people keep: {calibration.fitted.kept}{held_out}"


def _describe_bound(table: Any, change: BoundChange, calibration: Calibration, day: str) -> None:
    """Write into a rule's "why" what its bound was fitted to, and its limit before."""
    held_out = "" if calibration.is_held_out else ", not held out"
    before = re.sub(r"^fitted to .*?; was [^:]*(: |$)", "", str(table.get("why", "")))
    note = (
        f"fitted to {calibration.label_count} labels on {day}, false accepts {calibration.fitted.false_accepts}"
        f"{held_out}; was {change.bound.limit:g}"
    )
    table["why"] = f"{note}: {before}" if before else note


def _round(number: float) -> float:
    return float(f"{number:.4g}")
