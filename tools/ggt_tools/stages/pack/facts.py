"""The facts of a pair: as a release holds them, and how they differ from those of an earlier release."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from ggt_format.schema import PRIOR
from ggt_tools.records import Pair


def pair_facts(pair: Pair, metrics: Sequence[str]) -> dict[str, Any]:
    """Return the facts of a pair, as its JSON member and its row of the index hold them."""
    photo, candidate = pair.photo, pair.candidate
    measured = {score.metric: score.value for score in pair.scores}
    return {
        "key": photo.key,
        "degradation": photo.degradation,
        "degradations": list(photo.degradations),
        "source": photo.source,
        "source_name": photo.source_name,
        "licence": photo.licence,
        "author": photo.author,
        "url": photo.url,
        "restorer": candidate.restorer,
        "strategy": candidate.strategy,
        "prompt": candidate.prompt,
        "round": candidate.round,
        "created": candidate.created,
        "width": photo.width,
        "height": photo.height,
        "scores": {name: _single(measured.get(name, math.nan)) for name in metrics},
        "evidence": list(map(str, pair.verdict.evidence)),
    }


def _single(value: float) -> float:
    """Return a value rounded to float32, so that JSON and index have the same."""
    return float(pa.scalar(value, pa.float32()).as_py())


def changed_facts(facts: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    """Return the names of the facts that a row of the index has otherwise. NaN equals NaN."""
    return [name for name, value in facts.items() if not _is_same(value, row[name])]


def _is_same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_is_same(value, b[name]) for name, value in a.items())
    return bool(a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b)))


def is_made_of_reply(pair: Pair, split: str) -> bool:
    """Return whether a pair's gt is made while it is packed: a prior's reply, scaled to its photograph's size."""
    return split == PRIOR and pair.image == pair.candidate.image
