"""What each metric means, in words for people who read a page. The texts are in meanings.toml."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ggt_tools.records import UNCORRECTED
from ggt_tools.toml import read_toml

FILE = Path(__file__).with_name("meanings.toml")


class Meaning(NamedTuple):
    """What a metric is called on a page, and one sentence that says what it means."""

    label: str
    meaning: str


@lru_cache(maxsize=1)
def load_meanings() -> dict[str, Meaning]:
    """Return the listed metrics and probabilities with their meaning, by name."""
    return {name: Meaning(texts["label"], texts["meaning"]) for name, texts in read_toml(FILE).items()}


def meaning_of(metric: str) -> Meaning:
    """Return what a metric or probability means. A metric that is not listed is one of pyiqa."""
    listed = load_meanings()
    if metric in listed:
        return listed[metric]
    if metric in UNCORRECTED:
        label, meaning = listed[UNCORRECTED[metric]]
        return Meaning(
            f"{label}, uncorrected", f"Before align corrected the colours: {meaning[0].lower()}{meaning[1:]}"
        )
    label = metric.replace("_", " ")
    for ending, sentence in (
        ("_gain", "of the candidate less that of the photograph"),
        ("_lq", "of the photograph"),
    ):
        if metric.endswith(ending):
            return Meaning(label, f"Value of the metric {metric.removesuffix(ending)} (pyiqa) {sentence}.")
    return Meaning(label, f"Value of the metric {metric} (pyiqa).")
