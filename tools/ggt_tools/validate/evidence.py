"""What a pair's evidence says, held against the gate that the release names."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ggt100k import MANIFEST
from ggt_tools.gate import Gate, Rule, parse_gate
from ggt_tools.verdict import asked_gains

LINE = re.compile(r"(\w+) (-?\d+\.\d+) (>=|<=|<|>) (-?\d+\.\d+)( unsure)?")
PERSON = re.compile(r"\b(person|people|review|reviewer)\b")
ROUNDED = 0.00051  # evidence has three decimals


def read_gate(text: str) -> Gate:
    """The gate whose text a manifest holds. Raises ConfigError."""
    return parse_gate(Path(MANIFEST), text)


def evidence_faults(row: Mapping[str, Any], gate: Gate) -> Iterator[tuple[str, str]]:
    """(reason, what is wrong) of a row of the index: evidence that the gate asks for and that is not there, or that
    does not pass it, or that says another value than the score. What a rule does not clear, a person may have."""
    said = _by_metric(row["evidence"])
    scores, people = row["scores"], any(PERSON.search(line) for line in row["evidence"])
    for rule in gate.must[row["degradation"]]:
        if found := _fault(rule, said, scores, people):
            yield found
    for name in asked_gains(tuple(row["degradations"]), gate):
        found_all = [_fault(rule, said, scores, people) for rule in gate.gains[name].any]
        if all(found_all):
            yield next(found for found in found_all if found)


def _by_metric(evidence: list[str]) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {}
    for line in evidence:
        said.setdefault(line.partition(" ")[0], []).append(line)
    return said


def _fault(
    rule: Rule, said: Mapping[str, list[str]], scores: Mapping[str, float], people: bool
) -> tuple[str, str] | None:
    lines = said.get(rule.metric, [])
    if not lines and rule.if_measured:
        return None
    if not lines or lines == [f"{rule.metric} unmeasured"]:
        if people and lines:
            return None
        return "no_evidence", f"has no evidence of {rule.metric}, which the gate asks for"
    sides = ((">=", rule.unsure_below, rule.min), ("<=", rule.unsure_above, rule.max))
    for holds, inner, outer in sides:
        if not math.isfinite(inner):
            continue
        found = next((match for line in lines if (match := LINE.fullmatch(line)) and _holds(match, holds, inner)), None)
        if found is None and people:
            unsure = {">=": "<", "<=": ">"}[holds]
            found = next((m for line in lines if (m := LINE.fullmatch(line)) and m[3] == unsure and m[5]), None)
            if found is not None and not (float(found[2]) - outer) * (1 if holds == ">=" else -1) >= -ROUNDED:
                found = None
        if found is None:
            said_instead = ", ".join(lines)
            return "fails_gate", f"its evidence is {said_instead!r}; the gate wants {rule.metric} {holds} {inner:.3f}"
        score = scores.get(rule.metric, math.nan)
        if not math.isnan(score) and abs(score - float(found[2])) > ROUNDED + 1e-6 * abs(score):
            return "evidence_differs", f"its evidence says {rule.metric} {found[2]}, its score {score:.3f}"
    return None


def _holds(match: re.Match[str], holds: str, bound: float) -> bool:
    """Whether a line says that the rule's own bound holds, and the value that it names bears that out."""
    _, value, operator, named, unsure = match.groups()
    right = operator == holds and not unsure and named == f"{bound:.3f}"
    return right and (float(value) - bound) * (1 if holds == ">=" else -1) >= -ROUNDED
