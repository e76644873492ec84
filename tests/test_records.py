"""Records: each is restored from its row unchanged, and equal works have equal ids."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.evidence import (
    BetterCandidate,
    Contribution,
    Evidence,
    OtherEvidence,
    PriorReason,
    ReviewVotes,
)
from ggt_tools.records import (
    AdoptedOrigin,
    Aligned,
    Call,
    Candidate,
    Conversion,
    Finding,
    Flag,
    Job,
    Opinion,
    PerceptualHash,
    Photo,
    PhotoClass,
    Prompt,
    Refusal,
    Score,
    Stage,
    Verdict,
    work_id,
)
from ggt_tools.workspace.arrow import from_parquet, to_parquet
from ggt_tools.workspace.codec import from_row, to_row

TEXT = st.text(max_size=8)
INT64 = st.integers(-(2**63), 2**63 - 1)
ITEMS = st.one_of(
    st.builds(Evidence, TEXT, st.floats(allow_nan=False), st.floats(allow_nan=False), st.just("holds"), st.just("min")),
    st.builds(Evidence.unmeasured, TEXT),
    st.builds(Contribution, TEXT, TEXT, st.floats(allow_nan=False), st.floats(allow_nan=False)),
    st.builds(ReviewVotes, st.integers(0, 99), st.integers(0, 99), st.just("unsure")),
    st.builds(BetterCandidate, TEXT),
    st.builds(PriorReason, TEXT),
    st.builds(OtherEvidence, TEXT),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "int": INT64,
    "float": st.floats(),
    "tuple[int, ...]": st.lists(INT64, max_size=6).map(tuple),
    "tuple[float, ...]": st.lists(st.floats(allow_nan=False), max_size=9).map(tuple),
    "tuple[str, ...]": st.lists(TEXT, max_size=3).map(tuple),
    "tuple[EvidenceItem, ...]": st.lists(ITEMS, max_size=4).map(tuple),
    "tuple[tuple[str, int], ...]": st.lists(st.tuples(TEXT, INT64), max_size=3).map(tuple),
}


def records(kind: type[Any]) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{field.name: FIELDS[str(field.type)] for field in dataclasses.fields(kind)})


def alike(a: Any, b: Any) -> bool:
    """Equal, and NaN equals NaN."""
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


KINDS = [
    Photo, Flag, Refusal, PerceptualHash, PhotoClass, Conversion, Prompt, Candidate, Call, Job, Aligned, Score, Opinion,
    Verdict, Stage, Finding, AdoptedOrigin,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_any_record_round_trips_through_its_row(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(records(kind))
    row = to_row(record)
    assert list(row) == [field.name for field in dataclasses.fields(kind)]
    assert {type(value) for value in row.values()} <= {str, int, float}
    back = from_row(kind, row)
    assert type(back) is kind
    for name in row:
        assert alike(getattr(back, name), getattr(record, name)), name
        assert type(getattr(back, name)) is type(getattr(record, name)), name


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_record_round_trips_through_parquet(kind: type[Any], data: st.DataObject) -> None:
    if kind is Stage:
        return  # no task makes one
    record = data.draw(records(kind))
    (back,) = from_parquet(to_parquet([record]))
    assert type(back) is kind
    for field in dataclasses.fields(kind):
        assert alike(getattr(back, field.name), getattr(record, field.name)), field.name


def test_what_a_row_looks_like() -> None:
    verdict = Verdict(
        candidate="c",
        gate="g",
        decision="reject",
        stage="score",
        reason="unchanged",
        evidence=(Evidence("é", 0.5, 0.25, "breaks", "max"), OtherEvidence('a "b"')),
    )
    assert to_row(verdict) == {
        "candidate": "c",
        "gate": "g",
        "decision": "reject",
        "stage": "score",
        "reason": "unchanged",
        "evidence": '[["rule", "\\u00e9", 0.5, 0.25, "breaks", "max"], ["other", "a \\"b\\""]]',
    }
    assert to_row(dataclasses.replace(verdict, evidence=()))["evidence"] == "[]"
    assert from_row(Verdict, to_row(dataclasses.replace(verdict, evidence=()))).evidence == ()


def test_a_null_in_place_of_a_number_is_nan() -> None:
    row = {"candidate": "c", "metric": "gmsd", "metric_version": "1", "value": None}
    assert math.isnan(from_row(Score, row).value)


def test_records_cannot_be_edited() -> None:
    refusal = Refusal(file="a.jpg", reason="too_small", detail="")
    with pytest.raises(dataclasses.FrozenInstanceError):
        refusal.file = "b.jpg"  # type: ignore[misc]


def test_work_ids_are_stable() -> None:
    assert work_id("0123456789abcdef", "classical-1", "none", "", 0, 0) == "fe8fc1e9bd9024bf"


@given(st.lists(TEXT | st.integers(), max_size=5), st.lists(TEXT | st.integers(), max_size=5))
def test_work_ids_differ_where_the_work_does(one: list[str | int], other: list[str | int]) -> None:
    assert (work_id(*one) == work_id(*other)) == (one == other)


def test_work_ids_distinguish_boundaries_and_types() -> None:
    parts: list[tuple[str | int, ...]] = [("a", "bc"), ("ab", "c"), ("abc",), ("a", "bc", ""), ("1",), (1,), ()]
    assert len({work_id(*p) for p in parts}) == len(parts)
    assert all(len(work_id(*p)) == 16 and int(work_id(*p), 16) >= 0 for p in parts)


@pytest.mark.parametrize(
    ("finding", "said"),
    [
        (
            Finding(shard="a.tar", key="k", offset=512, reason="r", detail="wrong", fix="Pack it again."),
            "a.tar: key k: byte 512: wrong. Pack it again.",
        ),
        (
            Finding(shard="a.tar", key="", offset=-1, reason="r", detail="wrong", fix="Pack it again."),
            "a.tar: wrong. Pack it again.",
        ),
        (
            Finding(shard="a.tar", key="", offset=0, reason="r", detail="wrong", fix="Pack it again."),
            "a.tar: byte 0: wrong. Pack it again.",
        ),
    ],
)
def test_a_finding_as_text(finding: Finding, said: str) -> None:
    assert str(finding) == said
