"""Evidence in words: the order of the items, and the sentence of each kind."""

from __future__ import annotations

import math

import pytest

from ggt_tools.evidence import Evidence, parse_evidence
from ggt_tools.metrics.meanings import load_meanings, meaning_of
from ggt_tools.metrics.scorer import METRICS, OWN
from ggt_tools.policy.decision import PROBABILITIES
from ggt_tools.policy.evidence_words import evidence_words, strongest_evidence, strongest_lines
from ggt_tools.policy.gate import OTHER_METRICS

KEPT = [
    "structure 0.823 >= 0.050", "unchanged 0.837 <= 0.997", "unfaithful 0.149 <= 0.430", "no_gain 0.233 <= 0.500",
    "unfaithful: colour_kept 0.212 adds 0.121", "unfaithful: colour_cast 0.004 adds 0.010",
]  # fmt: skip


def metrics_of(lines: list[str], count: int = 9) -> list[str]:
    return [words.metric for words in strongest_lines(lines, count)]


def test_of_a_kept_pair_the_probability_nearest_to_its_limit_stands_first() -> None:
    assert metrics_of(KEPT) == ["no_gain", "unfaithful", "colour_kept", "unchanged", "structure"]
    assert [words.short for words in strongest_lines(KEPT)] == [
        "no gain 23 % < 50 %", "unfaithful 15 % < 43 %", "colourfulness 0.212",
    ]  # fmt: skip


def test_of_a_rejected_one_what_broke_stands_before_what_is_unsure_and_unmeasured() -> None:
    lines = ["shift unmeasured", *KEPT, "halo 6.000 > 5.000", "noise_gain -13.000 < -12.000 unsure"]
    assert metrics_of(lines, 3) == ["halo", "noise_gain", "shift"]
    votes = "people: 2 keep, 1 reject; the rules say unsure"
    assert [words.short for words in strongest_lines([*lines, votes], 2)] == ["halos 6 > 5", "people: 2 keep, 1 reject"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("no_gain 0.920 > 0.950", "The probability that the candidate gains nothing is 92 %; the limit is 95 %."),
        ("no_gain 0.920 > 0.500 unsure",
         "The probability that the candidate gains nothing is 92 %; people decide above 50 %."),
        ("structure 0.030 < 0.050", "Same structure: 0.03; the minimum is 0.05."),
        ("halo 4.000 > 3.000 unsure", "Halos: 4; people decide above 3."),
        ("halo unmeasured", "Halos: not measured."),
        ("unfaithful: shift 2.000 adds 0.500",
         "Shift 2 makes it more probable that the candidate is unfaithful."),
        ("the best is c1", "Another candidate of this photograph is better."),
        ("prior: not_aligned", "It is shipped as a visual prior only: not aligned."),
        ("anything <b>else</b>", "anything <b>else</b>"),
    ],
)  # fmt: skip
def test_each_kind_of_item_has_a_sentence(line: str, sentence: str) -> None:
    assert evidence_words(parse_evidence(line)).sentence == sentence


def test_odd_values_are_written_too() -> None:
    item = Evidence("halo", math.inf, 3.0, "breaks", "max")
    assert strongest_evidence([item])[0].short == "halos inf > 3"
    assert strongest_evidence([]) == []


def test_every_metric_has_a_meaning() -> None:
    own = {*OWN, *OTHER_METRICS, *PROBABILITIES} - {name for name in OTHER_METRICS if name.startswith("uncorrected_")}
    assert load_meanings().keys() == own
    for name in (*own, *METRICS, *OTHER_METRICS):
        label, meaning = meaning_of(name)
        assert label and len(label) < 40 and meaning.endswith(".") and meaning[0].isupper()
    assert meaning_of("musiq_gain").meaning.endswith("of the candidate less that of the photograph.")
    assert meaning_of("uncorrected_hue_turn").label == "hue turn, uncorrected"
