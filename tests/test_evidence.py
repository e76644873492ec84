"""Evidence: each item is rendered as a line of format 1, and read back from it."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggt_tools.evidence import (
    BREAKS,
    HOLDS,
    MAX,
    MIN,
    UNSURE,
    BetterCandidate,
    Contribution,
    Evidence,
    EvidenceItem,
    OtherEvidence,
    PriorReason,
    ReviewVotes,
    from_list,
    parse_evidence,
    to_list,
)
from ggt_tools.records import Verdict
from ggt_tools.workspace.verdict_table import finite_json, to_verdict, to_verdict_row

LINES: list[tuple[str, EvidenceItem]] = [
    ("structure 0.512 >= 0.300", Evidence("structure", 0.512, 0.3, HOLDS, MIN)),
    ("structure 0.250 < 0.300 unsure", Evidence("structure", 0.25, 0.3, UNSURE, MIN)),
    ("structure -0.250 < 0.300", Evidence("structure", -0.25, 0.3, BREAKS, MIN)),
    ("halo 2.250 <= 3.000", Evidence("halo", 2.25, 3.0, HOLDS, MAX)),
    ("halo 4.000 > 3.000 unsure", Evidence("halo", 4.0, 3.0, UNSURE, MAX)),
    ("halo inf > 5.000", Evidence("halo", math.inf, 5.0, BREAKS, MAX)),
    ("shift unmeasured", Evidence.unmeasured("shift")),
    ("unfaithful: halo 2.250 adds 0.531", Contribution("unfaithful", "halo", 2.25, 0.531)),
    ("people: 2 keep, 1 reject; the rules say unsure", ReviewVotes(2, 1, "unsure")),
    ("the best is c1", BetterCandidate("c1")),
    ("prior: misaligned", PriorReason("misaligned")),
    ("halo 4.0 > 3.000", OtherEvidence("halo 4.0 > 3.000")),
    ("halo 04.000 > 3.000", OtherEvidence("halo 04.000 > 3.000")),
    ("halo 4.000 == 3.000", OtherEvidence("halo 4.000 == 3.000")),
    ("people: all keep", OtherEvidence("people: all keep")),
    ("", OtherEvidence("")),
]

NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
NUMBERS = st.floats(-1e9, 1e9).map(lambda value: float(f"{value:.3f}")) | st.sampled_from([math.inf, -math.inf, -0.0])
ITEMS = st.one_of(
    st.builds(Evidence, NAMES, NUMBERS, NUMBERS, st.sampled_from([HOLDS, UNSURE, BREAKS]), st.sampled_from([MIN, MAX])),
    st.builds(Evidence.unmeasured, NAMES),
    st.builds(Contribution, NAMES, NAMES, NUMBERS, NUMBERS),
    st.builds(ReviewVotes, st.integers(0, 999), st.integers(0, 999), st.sampled_from(["keep", "reject", "unsure"])),
    st.builds(BetterCandidate, NAMES),
    st.builds(PriorReason, NAMES),
)


@pytest.mark.parametrize(("line", "item"), LINES)
def test_a_line_is_read_as_its_item_and_the_item_renders_the_line(line: str, item: EvidenceItem) -> None:
    assert parse_evidence(line) == item
    assert str(item) == line


@given(ITEMS)
def test_any_item_comes_back_from_its_line_and_from_json(item: EvidenceItem) -> None:
    assert parse_evidence(str(item)) == item
    assert from_list(json.loads(json.dumps(to_list(item)))) == item


@given(st.text(max_size=30))
def test_any_text_is_rendered_as_it_was_read(text: str) -> None:
    assert str(parse_evidence(text)) == text


@given(st.lists(ITEMS | st.builds(OtherEvidence, st.text(max_size=8)), max_size=6))
def test_any_evidence_comes_back_from_the_row_of_its_verdict(items: list[EvidenceItem]) -> None:
    verdict = Verdict(candidate="c", gate="g", decision="keep", stage="", reason="", evidence=tuple(items))
    row = to_verdict_row(verdict)
    assert to_verdict(row) == verdict
    for text in row[5:]:
        json.loads(text, parse_constant=pytest.fail)  # what is no JSON, as NaN, SQLite would refuse


def test_numbers_that_json_does_not_have_are_replaced_outside_strings() -> None:
    assert finite_json('[inf, -inf, nan, "inf", "a \\" nan"]') == '[9e999, -9e999, null, "inf", "a \\" nan"]'
