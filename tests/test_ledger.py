"""The ledger: facts persist, images match their names, readers do not wait, and a kill loses nothing committed."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.evidence import BetterCandidate, Contribution, Evidence, OtherEvidence, ReviewVotes
from ggt_tools.records import (
    ALIGN_SCORES,
    IN_FLIGHT,
    TABLES,
    AdoptedOrigin,
    Aligned,
    Call,
    Candidate,
    Conversion,
    Decision,
    HeldOutPair,
    Job,
    Opinion,
    PackedPair,
    PerceptualHash,
    Photo,
    PhotoClass,
    Refusal,
    Score,
    Stage,
    Verdict,
    Withdrawal,
)
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.locks import PAYING
from ggt_tools.workspace.schema import SCHEMA_VERSION

from .making import FORKED, evidence, lines_of, make_workspace


def photo(key: str, **other: Any) -> Photo:
    facts: dict[str, Any] = {
        "key": key,
        "image": "0" * 64,
        "width": 90,
        "height": 70,
        "degradation": "rain",
        "degradations": ("rain", "noise"),
        "source": "internet",
        "source_name": "tests",
        "licence": "CC0-1.0",
        "author": "Zoë «the author»",
        "url": "",
        "file": f"{key}.jpg",
        "original": "1" * 64,
    }
    return Photo(**(facts | other))


def candidate(name: str, key: str, **other: Any) -> Candidate:
    facts: dict[str, Any] = {
        "id": name,
        "key": key,
        "restorer": "classical-1",
        "strategy": "none",
        "prompt": "",
        "round": 0,
        "seed": 0,
        "created": "2026-01-01T00:00:00Z",
        "image": "1" * 64,
        "reason": "",
    }
    return Candidate(**(facts | other))


def score(name: str, value: float, metric: str = "structure", version: str = "1") -> Score:
    return Score(candidate=name, metric=metric, metric_version=version, value=value)


def verdict(name: str, decision: str = "keep", stage: str = "", reason: str = "") -> Verdict:
    return Verdict(
        candidate=name,
        gate="g",
        decision=decision,
        stage=stage,
        reason=reason,
        evidence=evidence("a 0.500 >= 0.250", "b unmeasured"),
    )


# --- opening --------------------------------------------------------------------------------------------------------


def test_a_folder_without_a_ledger_is_not_a_workspace_and_is_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        Ledger(tmp_path / "w")
    w = tmp_path / "w"
    assert (
        str(fault.value)
        == f"{w}: has no ledger.sqlite, so it is not a workspace. Create one: ggt100k ingest PHOTOS {w}"
    )
    assert list(tmp_path.iterdir()) == []


def test_facts_persist_after_reopening(tmp_path: Path) -> None:
    facts: list[Any] = [
        photo("b"),
        photo("a"),
        Refusal(file="x.jpg", reason="too_small", detail="é"),
        candidate("c", "a"),
    ]
    numbers = [score("c", 0.1), score("c", math.inf, "gmsd"), score("c", math.nan, "shift")]
    with Ledger(tmp_path / "deep" / "w", create=True) as ledger:
        ledger.add(*facts, *numbers)
        ledger.judge("g", "the gate\n", [verdict("c")])
        name = ledger.put_image(b"pixels")
    with Ledger(tmp_path / "deep" / "w", create=True) as ledger:
        assert list(ledger.all(Photo)) == [photo("a"), photo("b")]
        assert list(ledger.all(Refusal)) == [facts[2]]
        assert list(ledger.all(Candidate)) == [facts[3]]
        assert [s.metric for s in ledger.all(Score)] == ["gmsd", "shift", "structure"]
        values = [s.value for s in ledger.all(Score)]
        assert (values[0], math.isnan(values[1]), values[2]) == (math.inf, True, 0.1)
        assert list(ledger.all(Verdict)) == [verdict("c")]
        assert ledger.gate_text("g") == "the gate\n"
        assert (ledger.image(name), ledger.image_size(name)) == (b"pixels", 6)


def test_a_newer_schema_is_refused_and_unchanged(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(photo("a"))
    file = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(file)
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    db.close()
    before = file.read_bytes()
    for create in (False, True):
        with pytest.raises(ConfigError) as fault:
            Ledger(tmp_path, create=create)
        assert str(fault.value) == (
            f"{file}: schema version {SCHEMA_VERSION + 1}, and this ggt100k reads {SCHEMA_VERSION}. "
            "Install the version that wrote it."
        )
    assert file.read_bytes() == before


FIRST = """
CREATE TABLE photo ("key" TEXT NOT NULL, "image" TEXT NOT NULL, "width" INTEGER NOT NULL, "height" INTEGER NOT NULL,
    "degradation" TEXT NOT NULL, "degradations" TEXT NOT NULL, "source" TEXT NOT NULL, "source_name" TEXT NOT NULL,
    "licence" TEXT NOT NULL, "author" TEXT NOT NULL, "url" TEXT NOT NULL, "file" TEXT NOT NULL,
    "original" TEXT NOT NULL, PRIMARY KEY (key));
CREATE TABLE refusal ("file" TEXT NOT NULL, "reason" TEXT NOT NULL, "detail" TEXT NOT NULL, PRIMARY KEY (file));
CREATE TABLE candidate ("id" TEXT NOT NULL, "key" TEXT NOT NULL, "restorer" TEXT NOT NULL, "strategy" TEXT NOT NULL,
    "prompt" TEXT NOT NULL, "round" INTEGER NOT NULL, "seed" INTEGER NOT NULL, "created" TEXT NOT NULL,
    "image" TEXT NOT NULL, "reason" TEXT NOT NULL, PRIMARY KEY (id));
CREATE TABLE score ("candidate" TEXT NOT NULL, "metric" TEXT NOT NULL, "metric_version" TEXT NOT NULL, "value" REAL,
    PRIMARY KEY (candidate, metric, metric_version));
CREATE TABLE verdict ("candidate" TEXT NOT NULL, "gate" TEXT NOT NULL, "decision" TEXT NOT NULL,
    "stage" TEXT NOT NULL, "reason" TEXT NOT NULL, "evidence" TEXT NOT NULL, PRIMARY KEY (candidate));
CREATE TABLE gates (id TEXT PRIMARY KEY, text TEXT);
INSERT INTO candidate VALUES ('c', 'a', 'classical-1', 'none', '', 0, 0, '2026-01-01T00:00:00Z', 'abc', '');
PRAGMA user_version=1;
"""  # as version 1 wrote it


THIRD = (
    FIRST.replace("user_version=1", "user_version=3")
    + """
ALTER TABLE candidate ADD COLUMN maker TEXT NOT NULL DEFAULT '';
ALTER TABLE candidate ADD COLUMN frame TEXT NOT NULL DEFAULT '[]';
INSERT INTO photo VALUES ('a', 'i', 9, 9, 'rain', '["rain"]', 'internet', '', '', '', '', 'a.jpg', 'o');
INSERT INTO score VALUES ('d', 'structure', '1', 0.1), ('c', 'structure', '2', 9e999), ('c', 'vlm_votes', 'm', NULL),
    ('c', 'structure', '1', 0.30000000000000004), ('d', 'shift', '1', -9e999), ('e', 'gmsd', '1', 5e-324);
INSERT INTO verdict VALUES ('c', 'g', 'reject', 'score', 'halos', '["halo 9.000 > 5.000"]');
"""
)  # as version 3 wrote it


SEVENTH = Path(__file__).with_name("ledger_version_7.sql").read_text(encoding="utf-8")


def write(workspace: Path, sql: str) -> None:
    """A ledger as an older version left it."""
    db = sqlite3.connect(workspace / "ledger.sqlite")
    db.executescript(sql)
    db.close()


def test_a_ledger_of_the_third_version_keeps_every_score_and_its_order_and_is_counted(tmp_path: Path) -> None:
    write(tmp_path, THIRD)
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            assert [(s.candidate, s.metric, s.metric_version, str(s.value)) for s in ledger.all(Score)] == [
                ("c", "structure", "1", "0.30000000000000004"), ("c", "structure", "2", "inf"),
                ("c", "vlm_votes", "m", "nan"), ("d", "shift", "1", "-inf"), ("d", "structure", "1", "0.1"),
                ("e", "gmsd", "1", "5e-324"),
            ]  # fmt: skip
            newest = ledger.scores()["c"]["structure"]
            assert newest == 0.30000000000000004, "the one that was added last, whatever its version is called"
            assert ledger.class_counts() == [("rain", 1, 1, 0, 1, 0)]
            assert [(stage.entered, stage.left) for stage in ledger.funnel()] == [(1, 1), (1, 1), (0, 0), (1, 0)]
            assert [(s.candidates, s.made, s.rejected, s.usd) for s in ledger.restorer_counts()] == [(1, 1, 1, 0.0)]
            tables = {
                row["name"]
                for row in ledger._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            }
            assert not tables & {"score", "score_3", "verdict", "verdict_3"}
            assert [(v.candidate, v.reason, lines_of(v)) for v in ledger.all(Verdict)] == [
                ("c", "halos", ("halo 9.000 > 5.000",))
            ]


FOURTH = """
CREATE TABLE aligned ("candidate" TEXT NOT NULL, "version" TEXT NOT NULL, "image" TEXT NOT NULL,
    "reason" TEXT NOT NULL, "model" TEXT NOT NULL, "transform" TEXT NOT NULL, "confidence" REAL,
    "residual_median" REAL, "residual_p99" REAL, "missing" REAL, "resampled" INTEGER NOT NULL, PRIMARY KEY (candidate));
INSERT INTO aligned VALUES ('c', 'align-3', 'i', '', 'affine', '[1.5]', 0.75, 0.25, NULL, 0.125, 1);
PRAGMA user_version=4;
"""  # as version 4 wrote it


def test_a_ledger_of_version_4_keeps_facts_of_align(tmp_path: Path) -> None:
    write(tmp_path, FOURTH)
    later = Aligned(
        candidate="d", version="align-4", image="j", reason="", error=0.5, support=0.25, scatter=0.75, motion=2.0,
        improvement=4.0, offset=1.5, colour=(1.0,) * 9,
    )  # fmt: skip
    with Ledger(tmp_path) as ledger:
        ledger.add(later)
    with Ledger(tmp_path) as ledger:
        before, after = ledger.all(Aligned)
        assert (before.model, before.transform, before.confidence, before.missing) == ("affine", (1.5,), 0.75, 0.125)
        assert all(math.isnan(value) for value in (before.error, before.scatter, before.offset, before.residual_p99))
        assert (before.colour, before.resampled) == ((), 1)
        assert (after.error, after.offset, after.colour) == (0.5, 1.5, (1.0,) * 9)
        scores = ledger.scores()
        assert scores["c"].keys() == ALIGN_SCORES.keys() and scores["c"]["align_confidence"] == 0.75
        assert (scores["d"]["align_motion"], scores["d"]["align_improvement"]) == (2.0, 4.0)


def test_a_ledger_of_version_8_gets_the_table_of_origins(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(score("c", 0.5, "shift"))
    write(tmp_path, "DROP TABLE adopted_origin; PRAGMA user_version=10;")
    origin = AdoptedOrigin(id="o", candidate="c")
    with Ledger(tmp_path) as ledger:
        ledger.add(origin)
        assert list(ledger.all(AdoptedOrigin)) == [origin] and ledger.scores()["c"]["shift"] == 0.5


def test_scores_are_deleted_when_a_candidate_is_aligned_again(tmp_path: Path) -> None:
    first = Aligned(candidate="c", version="1", image="i", reason="")
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(first, score("c", 0.5, "shift"), score("d", 0.25, "shift"))
        ledger.add(replace(first, version="2"))
        assert ledger.scores()["c"]["shift"] == 0.5, "the same pixels"
        ledger.add(replace(first, version="3", image="j"), score("c", 0.75, "gmsd"))
        scores = ledger.scores()
        assert "shift" not in scores["c"] and scores["c"]["gmsd"] == 0.75
        assert scores["d"] == {"shift": 0.25}


@pytest.mark.parametrize("version", [5, 6])
def test_a_ledger_without_conversions_gets_their_table(tmp_path: Path, version: int) -> None:
    write(tmp_path, SEVENTH + f"DROP TABLE conversion; PRAGMA user_version={version};")
    made = Conversion(key="a", candidate="", width=9, height=8, frame=(9, 8, 1, 2, 3, 4), changes=("x", "y"))
    with Ledger(tmp_path) as ledger:
        assert (ledger.frames(), [one.key for one in ledger.all(Photo)]) == ({}, ["a", "b"])
        ledger.add(made)
        assert list(ledger.all(Conversion)) == [made]
        assert ledger.frames() == {"a": (9, 8, 1, 2, 3, 4)}


def test_a_ledger_of_the_seventh_version_keeps_its_verdicts_with_typed_evidence(tmp_path: Path) -> None:
    write(tmp_path, SEVENTH)
    with Ledger(tmp_path) as ledger:
        first, second, third = ledger.all(Verdict)
        counts = [stage.left for stage in ledger.funnel()]
    assert first.evidence == (
        Evidence("structure", 0.512, 0.3, "holds", "min"),
        Evidence("halo", 2.25, 3.0, "holds", "max"),
        Evidence.unmeasured("ssim"),
        Evidence("unfaithful", 0.25, 0.2, "unsure", "max"),
        Contribution("unfaithful", "halo", 2.25, 0.531),
        ReviewVotes(2, 1, "unsure"),
    )
    assert second.evidence == (Evidence("structure", math.inf, 0.3, "holds", "min"), BetterCandidate("c1"))
    assert third.evidence == (Evidence("halo", 9.0, 5.0, "breaks", "max"), OtherEvidence("of an unknown kind"))
    assert [(v.gate, v.decision, v.stage, v.reason) for v in (first, second, third)] == [
        ("g", "keep", "", ""), ("g", "reject", "verdict", "not_the_best"), ("g", "reject", "score", "halos"),
    ]  # fmt: skip
    with Ledger(tmp_path) as ledger:
        assert list(ledger.all(Verdict)) == [first, second, third], "opening it again changes nothing"
        assert ledger.find(Verdict, candidate="c2") == [second]
        ledger.judge("g", "the gate", [first, second, third])
        assert [stage.left for stage in ledger.funnel()] == counts == [2, 3, 3, 1]
        (shown,) = ledger._db.execute("SELECT evidence FROM verdict WHERE candidate = 'c3'").fetchone()
        assert json.loads(shown) == [["rule", "halo", "max", 5.0, "breaks", 9.0], ["other", "of an unknown kind"]]
        tables = {row[0] for row in ledger._db.execute("SELECT name FROM sqlite_master")}
    assert not tables & {"tally", "verdicts_7", "outcome_7"}


def test_the_columns_that_version_8_renamed_keep_their_values(tmp_path: Path) -> None:
    write(tmp_path, SEVENTH)
    with Ledger(tmp_path) as ledger:
        assert [(one.key, one.split) for one in ledger.all(PerceptualHash)] == [("a", ""), ("x", "test")]
        assert [(one.key, one.degradations) for one in ledger.all(PhotoClass)] == [("a", ("rain",))]
        assert [one.restorer_name for one in ledger.all(Candidate)] == ["classical", "gemini:m", "classical"]
        assert [(one.restorer_name, one.works) for one in ledger.all(Job)] == [("gemini:m", ("c2",))]
        assert [one.instruction for one in ledger.all(Opinion)] == ["keep the sign"]
        assert [(one.id, one.gate_decision, one.known_answer) for one in ledger.in_order(Decision)] == [
            ("d2", "keep", ""), ("d1", "keep", "unchanged"),
        ]  # fmt: skip
        assert [one.key for one in ledger.all(HeldOutPair)] == ["b"]
        ledger.add(Withdrawal(key="a", reason="a face", withdrawn_by="Ann", created="2026-01-01T00:00:00Z"))
        assert ledger.withdrawn() == {"a": "a face"}
        stored = {table.name: _columns_of(ledger, table.name) for table in TABLES.values() if not table.is_view}
    with Ledger(tmp_path / "new", create=True) as ledger:
        assert {name: _columns_of(ledger, name) for name in stored} == stored, "as a new ledger has them"


def _columns_of(ledger: Ledger, table: str) -> set[str]:
    return {row["name"] for row in ledger._db.execute(f"PRAGMA table_info({table})")}


def test_a_ledger_of_the_seventh_version_takes_in_packed_txt_once(tmp_path: Path) -> None:
    write(tmp_path, SEVENTH)
    (tmp_path / "packed.txt").write_text("a\nx\na\n")
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            assert list(ledger.all(PackedPair)) == [PackedPair(key="a"), PackedPair(key="x")]
        assert not (tmp_path / "packed.txt").exists()


def test_packed_txt_stays_where_the_migration_fails(tmp_path: Path) -> None:
    write(tmp_path, SEVENTH + "UPDATE verdicts SET \"values\" = 'no list';")
    (tmp_path / "packed.txt").write_text("a\n")
    with pytest.raises(ValueError):
        Ledger(tmp_path)
    assert (tmp_path / "packed.txt").read_text() == "a\n"


def test_an_interrupted_migration_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(file)
    db.executescript(THIRD + "UPDATE score SET value = 'no number' WHERE metric = 'gmsd'")
    before = list(db.iterdump())
    with pytest.raises(ValueError):
        Ledger(tmp_path)
    assert list(db.iterdump()) == before
    assert db.execute("PRAGMA user_version").fetchone() == (3,)
    db.close()


# --- scores -----------------------------------------------------------------------------------------------------------

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
SCORES = st.builds(
    score, st.sampled_from("cd"), NUMBERS, st.sampled_from(["structure", "shift", "vlm_votes", "é\"'"]),
    st.sampled_from("12"),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(SCORES, max_size=6), max_size=4))
def test_scores_are_stored_exactly(batches: list[list[Score]]) -> None:
    there: dict[tuple[str, str, str], float] = {}
    for one in chain.from_iterable(batches):
        of = one.candidate, one.metric, one.metric_version
        if one.metric == "vlm_votes":
            there.pop(of, None)
        there.setdefault(of, one.value)
    newest: dict[str, dict[str, float]] = {}
    for (name, metric, _), value in there.items():
        newest.setdefault(name, {})[metric] = value
    with tempfile.TemporaryDirectory() as home, Ledger(Path(home) / "w", create=True) as ledger:
        for batch in batches:
            ledger.add(*batch)
        found = [((s.candidate, s.metric, s.metric_version), repr(s.value)) for s in ledger.all(Score)]
        assert found == sorted((name, repr(value)) for name, value in there.items())
        assert repr(sorted((c, sorted(v.items())) for c, v in ledger.scores().items())) == repr(
            sorted((c, sorted(v.items())) for c, v in newest.items())
        )
        ledger.add(photo("k"), *(candidate(name, "k") for name in "cd"))
        (share,) = ledger.shares(10)
        batch = ledger.candidate_batch(*share)
        for place, each in enumerate(batch.candidates):
            known = {metric: repr(float(values[place])) for metric, values in batch.measured.items()}
            wanted = {metric: repr(value) for metric, value in newest.get(each, {}).items()}
            assert known == dict.fromkeys(known, "nan") | wanted
        # by SQL: what is no number is NULL, and SQLite may round the last bit of a number otherwise
        rows = ledger._db.execute("SELECT * FROM score ORDER BY candidate, rowid").fetchall()
        assert [tuple(row)[:3] for row in rows] == sorted(there, key=lambda name: name[0])
        assert [math.nan if row["value"] is None else row["value"] for row in rows] == pytest.approx(
            [there[tuple(row)[:3]] for row in rows], rel=1e-12, nan_ok=True
        )


def test_a_ledger_of_version_1_is_migrated_with_its_facts(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    for _ in range(2):
        with Ledger(tmp_path) as ledger:
            assert list(ledger.all(Candidate)) == [candidate("c", "a", image="abc", restorer_name="", frame=())]
            assert (list(ledger.all(Call)), ledger.withdrawn()) == ([], {})
    with Ledger(tmp_path) as ledger:
        framed = candidate("d", "a", restorer_name="gemini:m", frame=(4, 4, 0, 1, 4, 2))
        ledger.add(framed)
        assert list(ledger.all(Candidate))[1] == framed


def test_a_file_that_is_not_a_database_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "ledger.sqlite"
    file.write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError) as fault:
        Ledger(tmp_path)
    assert str(fault.value) == f"{file}: cannot be read: file is not a database. Restore the workspace from its backup."


def test_a_file_instead_of_a_workspace_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("a file")
    with pytest.raises(ConfigError) as fault:
        Ledger(tmp_path / "w", create=True)
    assert str(fault.value) == f"{tmp_path / 'w'}: cannot be a workspace: it is a file. Name another folder."


def test_opening_and_reading_changes_no_byte(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(photo("a"))
    before = (tmp_path / "ledger.sqlite").read_bytes()
    with Ledger(tmp_path) as ledger:
        assert [p.key for p in ledger.all(Photo)] == ["a"]
    assert (tmp_path / "ledger.sqlite").read_bytes() == before


# --- facts ----------------------------------------------------------------------------------------------------------


def test_a_fact_that_is_added_twice_stays_the_first(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        first = (photo("a"), candidate("c", "a"), score("c", 0.5))
        ledger.add(*first)
        ledger.add(photo("a", author="another"), candidate("c", "a", prompt="another"), score("c", 0.75))
        assert [*ledger.all(Photo), *ledger.all(Candidate), *ledger.all(Score)] == list(first)
        ledger.add(score("c", 0.75, version="2"))
        assert [s.value for s in ledger.all(Score)] == [0.5, 0.75], "another version of a metric is another fact"


def test_withdrawals_keep_their_first_reason(tmp_path: Path) -> None:
    def withdrawal(key: str, reason: str, by: str) -> Withdrawal:
        return Withdrawal(key=key, reason=reason, withdrawn_by=by, created="2026-01-01T00:00:00Z")

    with Ledger(tmp_path, create=True) as ledger:
        assert ledger.withdrawn() == {}
        ledger.add(withdrawal("b", "the author asks", "Zoë"), withdrawal("a", "a face", "Ann"))
        ledger.add(withdrawal("b", "a number plate", "Ann"), withdrawal("b", "the author asks", "Ann"))
    with Ledger(tmp_path) as ledger:
        assert ledger.withdrawn() == {"a": "a face", "b": "the author asks"}
        assert [(w.key, w.reason, w.withdrawn_by) for w in ledger.all(Withdrawal)] == [
            ("a", "a face", "Ann"),
            ("b", "a number plate", "Ann"),
            ("b", "the author asks", "Zoë"),
        ]


def test_a_refusal_is_replaced_and_deleted_after_import(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(Refusal(file="a.jpg", reason="no_licence", detail="1"))
        ledger.add(Refusal(file="b.jpg", reason="no_licence", detail="2"))
        newer = Refusal(file="a.jpg", reason="too_small", detail="3")
        ledger.add(newer)
        assert [r.reason for r in ledger.all(Refusal)] == ["too_small", "no_licence"]
        ledger.add(photo("k", file="b.jpg"))
        assert list(ledger.all(Refusal)) == [newer]


def test_facts_are_added_all_or_none(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        with pytest.raises(OverflowError):
            ledger.add(photo("a"), photo("b", width=2**70))
        assert list(ledger.all(Photo)) == []
        ledger.add(photo("a"))
        assert [p.key for p in ledger.all(Photo)] == ["a"], "the ledger goes on after it"


def test_judging_replaces_the_verdicts_on_these_candidates(tmp_path: Path) -> None:
    def fail() -> Any:
        yield verdict("3")
        raise ConfigError("the gate is wrong")

    with Ledger(tmp_path, create=True) as ledger:
        ledger.judge("g", "first", [verdict("1"), verdict("2")])
        ledger.judge("h", "second", [verdict("2", "reject", "score", "unchanged")])
        now = [verdict("1"), verdict("2", "reject", "score", "unchanged")]
        assert list(ledger.all(Verdict)) == now
        assert (ledger.gate_text("g"), ledger.gate_text("h")) == ("first", "second")
        with pytest.raises(ConfigError):
            ledger.judge("i", "third", fail())
        assert list(ledger.all(Verdict)) == now, "half a judgement is none"


def test_the_pairs_are_what_is_kept_in_the_order_of_the_keys(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(*[photo(key) for key in "dbca"])
        ledger.add(candidate("1", "d"), candidate("2", "b"), candidate("3", "c"), candidate("4", "a"))
        ledger.add(score("1", 0.5), score("1", 0.25, "gmsd"), score("2", 0.75), score("3", 1.0))
        ledger.judge(
            "g", "", [verdict("1"), verdict("2", "reject", "score", "halos"), verdict("3", "unsure"), verdict("4")]
        )
        with pytest.raises(ConfigError) as fault:
            list(ledger.pairs())
        said = f"{tmp_path}: candidate 4 is not aligned. Run: ggt100k align {tmp_path}"
        assert str(fault.value) == said
        ledger.add(*(Aligned(candidate=name, version="1", image=name * 64, reason="") for name in "1234"))
        pairs = list(ledger.pairs())
    assert [p.image for p in pairs] == ["4" * 64, "1" * 64]
    assert [(p.photo.key, p.candidate.id, p.verdict.candidate) for p in pairs] == [("a", "4", "4"), ("d", "1", "1")]
    assert pairs[0].scores == ()
    assert pairs[1].scores == (score("1", 0.25, "gmsd"), score("1", 0.5))


def test_a_pair_has_the_score_that_was_measured_last_whatever_its_versions_name(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "work", 1)
    with Ledger(workspace) as ledger:
        pair = next(ledger.pairs())
        for version, value in (("z", 0.1), ("a", 0.7)):
            ledger.add(Score(candidate=pair.candidate.id, metric="again", metric_version=version, value=value))
        found = {(score.metric, score.metric_version): score.value for score in next(ledger.pairs()).scores}
        assert found == {(s.metric, s.metric_version): s.value for s in pair.scores} | {("again", "a"): 0.7}
        assert ledger.scores_of(pair.candidate.id) == next(ledger.pairs()).scores and ledger.scores_of("nobody") == ()
        assert ledger.scores()[pair.candidate.id]["again"] == 0.7  # as the gate sees it


def test_without_a_verdict_there_are_no_pairs_and_the_verb_is_named(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger, pytest.raises(ConfigError) as fault:
        list(ledger.pairs())
    assert str(fault.value) == f"{tmp_path}: nothing has been judged. Run: ggt100k verdict {tmp_path}"


def test_the_funnel_counts_entered_left_and_reasons(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        empty = Stage(stage="ingest", entered=0, left=0, reasons=())
        assert ledger.funnel()[0] == empty
        ledger.add(*[photo(key) for key in "abcde"])
        for file, reason in (("1", "too_small"), ("2", "no_licence"), ("3", "too_small")):
            ledger.add(Refusal(file=file, reason=reason, detail=""))
        ledger.add(*[candidate(key, key) for key in "abcd"], candidate("e", "e", image="", reason="refused"))
        ledger.add(candidate("f", "e", image="", reason=IN_FLIGHT), candidate("g", "e"))
        ledger.add(*[Aligned(candidate=key, version="1", image="0" * 64, reason="") for key in "abcd"])
        ledger.add(Aligned(candidate="g", version="1", image="", reason="aspect_changed"))
        ledger.judge(
            "g",
            "",
            [
                verdict("a"),
                verdict("b", "reject", "score", "unchanged"),
                verdict("c", "unsure", "score", "unmeasured_shift"),
                verdict("d", "reject", "score", "unchanged"),
                verdict("e", "reject", "restore", "refused"),
                verdict("g", "reject", "align", "aspect_changed"),
            ],
        )
        assert ledger.funnel() == (
            Stage(stage="ingest", entered=8, left=5, reasons=(("no_licence", 1), ("too_small", 2))),
            Stage(stage="restore", entered=6, left=5, reasons=(("refused", 1),)),
            Stage(stage="align", entered=5, left=4, reasons=(("aspect_changed", 1),)),
            Stage(stage="verdict", entered=4, left=1, reasons=(("unchanged", 2), ("unmeasured_shift", 1))),
        )


# --- what is under way ----------------------------------------------------------------------------------------------


def call(name: str, work: str, outcome: str = IN_FLIGHT, usd: float = 0.5) -> Call:
    return Call(
        id=name, work=work, stage="restore", model="m", started="2026-01-01T00:00:00Z", seconds=math.nan,
        outcome=outcome, detail="", usd=usd, tokens_in=0, tokens_out=0,
    )  # fmt: skip


def test_a_candidate_without_an_image_is_replaced(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        for reason in (IN_FLIGHT, "timeout", "refused"):
            ledger.add(candidate("c", "a", image="", reason=reason))
            assert [c.reason for c in ledger.all(Candidate)] == [reason]
        ledger.add(candidate("c", "a", image="abc"))
        ledger.add(candidate("c", "a", image="", reason="timeout"), candidate("c", "a", image="def"))
        assert [c.image for c in ledger.all(Candidate)] == ["abc"]


def test_calls_are_recorded_twice_and_count_as_spent_in_flight(
    tmp_path: Path,
) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        assert ledger.spent() == 0.0
        ledger.add(call("1", "c"), call("2", "d", usd=math.nan))
        assert ledger.spent() == 0.5
        ledger.add(call("1", "c", "ok", 0.2))
        assert ledger.spent() == pytest.approx(0.2)
        assert [c.outcome for c in ledger.all(Call)] == ["ok", IN_FLIGHT]
        assert ledger.call_counts() == [("restore", "m", IN_FLIGHT, 1, 0.0), ("restore", "m", "ok", 1, 0.2)]


def test_a_received_image_is_renamed_when_it_is_stored(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.receive("c", b"pixels")
        ledger.receive("d", b"pixels")
        assert ledger.received() == ["c", "d"]
        ledger.settle(candidate("c", "a", image=""), candidate("d", "b", image=""), call("1", "c", "ok"))
        name = hashlib.sha256(b"pixels").hexdigest()
        assert [(c.id, c.image) for c in ledger.all(Candidate)] == [("c", name), ("d", name)]
        assert ledger.image(name) == b"pixels"
        assert ledger.received() == []
        assert len(list((tmp_path / "images").glob("*/*"))) == 1


def test_a_refusal_is_settled_without_a_file(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.settle(candidate("c", "a", image="", reason="refused"))
        assert [c.reason for c in ledger.all(Candidate)] == ["refused"]


@pytest.mark.parametrize("links", [True, False])
def test_a_kill_between_the_link_and_the_row_loses_nothing(tmp_path: Path, links: bool) -> None:
    """What a kill leaves: the file among the images or not yet, in incoming/ in any case, and no row."""
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(candidate("c", "a", image="", reason=IN_FLIGHT))
        ledger.receive("c", b"pixels")
        if links:
            ledger.put_image(b"pixels")
    (tmp_path / "incoming" / "e.part").write_bytes(b"half a")
    with Ledger(tmp_path) as ledger:
        assert ledger.received() == ["c"], "and what came in half is gone"
        ledger.settle(candidate("c", "a", image=""))
        assert ledger.image(next(ledger.all(Candidate)).image) == b"pixels"
        assert list((tmp_path / "incoming").iterdir()) == []


def test_only_one_process_may_make_paid_calls(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as one, Ledger(tmp_path) as other:
        with one.lock(PAYING), one.lock("align"):
            with pytest.raises(ConfigError) as fault, other.lock(PAYING):
                pass
            said = f"{tmp_path}: process {os.getpid()} (this very process) works in it and may make paid calls. "
            assert str(fault.value) == said + "Wait until it ends, or stop it, then run this again."
        with other.lock(PAYING):
            pass


def test_how_far_each_class_is_with_each_restorer(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(*[photo(key) for key in "ab"], photo("c", degradation="haze"))
        ledger.add(candidate("1", "a"), candidate("2", "a", restorer="m", strategy="fixed"), candidate("3", "b"))
        ledger.add(candidate("4", "c", restorer="m", strategy="fixed", image="", reason="refused"))
        ledger.add(candidate("5", "c", restorer="m", strategy="fixed", image="", reason=IN_FLIGHT))
        ledger.add(call("x", "2", "ok", 0.25), call("y", "2", "timeout", 0.25), call("z", "4", "refused", 0.0))
        ledger.judge("g", "", [verdict("1"), verdict("2", "reject"), verdict("3", "unsure")])
        rows = [
            (s.degradation, s.restorer, s.strategy, s.photos, s.candidates, s.made, s.in_flight, s.failed, s.usd)
            for s in ledger.restorer_counts()
        ]
        assert rows == [
            ("haze", "m", "fixed", 1, 2, 0, 1, 1, 0.0),
            ("rain", "classical-1", "none", 2, 2, 2, 0, 0, 0.0),
            ("rain", "m", "fixed", 2, 1, 1, 0, 0, 0.5),
        ]
        assert [(s.kept, s.rejected, s.unsure) for s in ledger.restorer_counts()] == [(0, 0, 0), (1, 0, 1), (0, 1, 0)]
        assert ledger.class_counts() == [("haze", 1, 0, 0, 0, 0), ("rain", 2, 2, 1, 0, 1)]


# --- images ---------------------------------------------------------------------------------------------------------


def test_an_image_is_named_by_its_bytes_and_stored_once(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        name = ledger.put_image(b"pixels")
        assert name == hashlib.sha256(b"pixels").hexdigest()
        path = tmp_path / "images" / name[:2] / name
        before = path.stat().st_mtime_ns, path.stat().st_ino
        assert ledger.put_image(b"pixels") == name
        assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
        assert ledger.put_image(b"other") != name
    assert sorted(p.read_bytes() for p in (tmp_path / "images").glob("*/*")) == [b"other", b"pixels"]


def test_a_damaged_image_is_an_error(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        name = ledger.put_image(b"pixels")
        path = tmp_path / "images" / name[:2] / name
        path.write_bytes(b"pixel5")
        with pytest.raises(ShardError) as fault:
            ledger.image(name)
    assert (
        str(fault.value) == f"{path}: its bytes are not those that were stored. Restore the workspace from its backup."
    )


def test_a_missing_image_is_an_error(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        name = ledger.put_image(b"pixels")
        path = tmp_path / "images" / name[:2] / name
        path.unlink()
        for look in (ledger.image, ledger.image_size):
            with pytest.raises(ShardError) as fault:
                look(name)
            said = f"{path}: the ledger names it, but it is missing. Restore the workspace from its backup."
            assert str(fault.value) == said


# --- more than one process ------------------------------------------------------------------------------------------

posix = pytest.mark.skipif(os.name != "posix", reason="wants kill -9, fork and limits")
PROCESSES: Any = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
if os.name == "posix":
    PROCESSES.set_forkserver_preload([*FORKED, __name__])

HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("INSERT INTO refusal VALUES ('half', 'too_small', '')")
print("held", flush=True)
sys.stdin.readline()
db.execute("COMMIT")
"""


def test_a_second_process_reads_while_one_writes(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(photo("a"))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "ledger.sqlite"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin and holder.stdout
    try:
        assert holder.stdout.readline() == "held\n"
        start = time.monotonic()
        with Ledger(tmp_path) as ledger:
            assert [p.key for p in ledger.all(Photo)] == ["a"]
            assert list(ledger.all(Refusal)) == [], "what is not committed is not there"
            assert time.monotonic() - start < 5, "a reader waits for no writer"
            holder.communicate("go on\n", timeout=30)
            assert [r.file for r in ledger.all(Refusal)] == ["half"]
    finally:
        holder.kill()
        holder.wait()


def _image_of(number: int) -> bytes:
    """The same number, the same bytes: some small, some as large as a photograph."""
    return random.Random(number).randbytes(1000 if number % 3 else 1_500_000)


def _work(workspace: Path, done: Connection) -> None:
    """What a verb does: each image, then the row that names it, then word that it is in."""
    with Ledger(workspace, create=True) as ledger:
        first = sum(1 for _ in ledger.all(Candidate))
        for number in range(first, first + 10_000):
            name = ledger.put_image(_image_of(number))
            ledger.add(candidate(f"{number:06d}", "k", image=name), score(f"{number:06d}", float(number)))
            done.send(number)


def _put_on_a_full_disk(workspace: Path) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # no file may grow past it
    with Ledger(workspace) as ledger:
        ledger.put_image(_image_of(0))


@posix
def test_an_image_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        process = PROCESSES.Process(target=_put_on_a_full_disk, args=(tmp_path,))
        process.start()
        process.join(60)
        assert process.exitcode == 1, "the disk was full in the middle of the image"
        name = hashlib.sha256(_image_of(0)).hexdigest()
        with pytest.raises(ShardError, match="but it is missing"):
            ledger.image(name)
        assert ledger.image(ledger.put_image(_image_of(0))) == _image_of(0)
        assert [path.name for path in (tmp_path / "images").glob("*/*")] == [name]


@pytest.mark.slow
@posix
def test_a_kill_at_any_moment_loses_no_committed_row_and_leaves_no_row_without_its_image(tmp_path: Path) -> None:
    moments, said, went_on, checked = random.Random(0), set[int](), 0, 0
    for _ in range(25):
        receive, send = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=_work, args=(tmp_path, send))
        process.start()
        send.close()
        receive.poll(30)  # the first row is in, or the worker died
        time.sleep(moments.uniform(0, 0.08))
        process.kill()
        process.join()
        assert process.exitcode == -9
        before = len(said)
        try:
            while True:
                said.add(receive.recv())
        except EOFError:
            pass
        went_on += len(said) > before
        with Ledger(tmp_path) as ledger:
            rows = list(ledger.all(Candidate))
            assert [row.id for row in rows] == [f"{number:06d}" for number in range(len(rows))], "nothing twice, no gap"
            assert said <= {int(row.id) for row in rows}, "a committed row is lost"
            assert [s.candidate for s in ledger.all(Score)] == [row.id for row in rows], "half a transaction"
            for row in rows[checked:]:
                assert ledger.image(row.image) == _image_of(int(row.id))
            checked, shown = len(rows), ledger.funnel()[1].left
        assert shown == len(rows), "what status tells is of another moment than the facts"
    assert went_on == 25
    with Ledger(tmp_path) as ledger:
        assert all(ledger.image(row.image) for row in ledger.all(Candidate)), "an earlier image was damaged later"
