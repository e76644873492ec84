"""What `status` tells: always what the facts say, whatever came in, in which order, and from which version."""

from __future__ import annotations

import math
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.records import IN_FLIGHT, Aligned, Call, Candidate, Photo, Refusal, Verdict
from ggt_tools.workspace.ledger import Ledger

from .test_ledger import call, candidate, photo, verdict

KEYS, IDS = "ab", "1234"


def facts() -> st.SearchStrategy[Any]:
    """A fact, or a verdict, on one of two photographs and four candidates."""
    name = st.sampled_from(IDS)
    attempts = [("i" * 64, ""), ("", IN_FLIGHT), ("", "refused"), ("", "timeout")]
    return st.one_of(
        st.builds(lambda key, c: photo(key, degradation=c), st.sampled_from(KEYS), st.sampled_from(["rain", "haze"])),
        st.builds(
            lambda name, attempt: candidate(
                name, KEYS[int(name) % 2], restorer=f"m{int(name) // 3}", image=attempt[0], reason=attempt[1]
            ),
            name, st.sampled_from(attempts),
        ),
        st.builds(
            lambda name, lost: Aligned(candidate=name, version="1", image="" if lost else "i" * 64, reason=lost),
            name, st.sampled_from(["", "misaligned"]),
        ),
        st.builds(lambda name, of, usd: call(name, of, "ok", usd), name, name, st.sampled_from([0.1, 0.2, math.nan])),
        st.builds(lambda name: Refusal(file=f"{name}.jpg", reason="too_small", detail=""), name),
        st.builds(
            verdict, name, st.sampled_from(["keep", "reject", "unsure"]), st.sampled_from(["", "align", "restore"]),
            st.sampled_from(["", "halos"]),
        ),
    )  # fmt: skip


def told(ledger: Ledger) -> list[Any]:
    """All that `status` shows, told by the records alone."""
    photos = {one.key: one for one in ledger.all(Photo)}
    candidates = {one.id: one for one in ledger.all(Candidate)}
    aligned = {one.candidate: one for one in ledger.all(Aligned) if one.candidate in candidates}
    verdicts = {one.candidate: one for one in ledger.all(Verdict) if one.candidate in candidates}
    made = [one for one in candidates.values() if one.image]
    funnel = []
    for left, out in (
        (len(photos), [one.reason for one in ledger.all(Refusal)]),
        (len(made), [c.reason for c in candidates.values() if not c.image and c.reason != IN_FLIGHT]),
        (sum(bool(a.image) for a in aligned.values()), [a.reason for a in aligned.values() if not a.image]),
        (
            sum(v.decision == "keep" for v in verdicts.values() if v.stage == ""),
            [v.reason for v in verdicts.values() if v.stage == "" and v.decision != "keep"],
        ),
    ):
        funnel.append((left + len(out), left, tuple(sorted(Counter(out).items()))))
    standing = []
    groups = {(photos[c.key].degradation, c.restorer) for c in candidates.values() if c.key in photos}
    for degradation, maker in sorted(groups):
        some = [
            c
            for c in candidates.values()
            if c.key in photos and (photos[c.key].degradation, c.restorer) == (degradation, maker)
        ]
        said = [verdicts[c.id].decision for c in some if c.id in verdicts]
        usd = [one.usd for c in some for one in ledger.all(Call) if one.work == c.id and not math.isnan(one.usd)]
        standing.append(
            (
                degradation, maker, sum(p.degradation == degradation for p in photos.values()), len(some),
                sum(bool(c.image) for c in some), sum(c.reason == IN_FLIGHT for c in some),
                sum(not c.image and c.reason != IN_FLIGHT for c in some), said.count("keep"),
                sum(bool(c.image) and c.id in verdicts and verdicts[c.id].decision == "reject" for c in some),
                said.count("unsure"), pytest.approx(math.fsum(usd)),
            )
        )  # fmt: skip
    classes = []
    for degradation in sorted({one.degradation for one in photos.values()}):
        row = [0] * 5
        for key in (key for key, one in photos.items() if one.degradation == degradation):
            of = [c for c in candidates.values() if c.key == key]
            decisions = {verdicts[c.id].decision for c in of if c.id in verdicts}
            best = next((at for at, name in ((2, "keep"), (4, "unsure"), (3, "reject")) if name in decisions), None)
            row[0] += 1
            row[1] += any(c.image for c in of)
            if best is not None:
                row[best] += 1
        classes.append((degradation, *row))
    return [funnel, standing, classes]


def shown(ledger: Ledger) -> list[Any]:
    return [
        [(one.entered, one.left, one.reasons) for one in ledger.funnel()],
        [
            (s.degradation, s.restorer, s.photos, s.candidates, s.made, s.in_flight, s.failed, s.kept, s.rejected,
             s.unsure, s.usd)
            for s in ledger.restorer_counts()
        ],
        ledger.class_counts(),
    ]  # fmt: skip


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(facts(), min_size=1, max_size=4), max_size=8))
def test_status_agrees_with_the_facts(batches: list[list[Any]]) -> None:
    with tempfile.TemporaryDirectory() as home, Ledger(Path(home) / "w", create=True) as ledger:
        for batch in batches:
            ledger.add(*(each for each in batch if not isinstance(each, Verdict)))
            ledger.judge("g", "", [each for each in batch if isinstance(each, Verdict)])
        assert shown(ledger) == told(ledger)
        counts = ledger._db.execute("SELECT * FROM funnel_count ORDER BY 1").fetchall()
        ledger.recount()
        assert ledger._db.execute("SELECT * FROM funnel_count ORDER BY 1").fetchall() == counts


def test_a_call_that_turns_out_to_be_of_other_work_takes_its_cost_along(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(photo("a"), photo("b", degradation="haze"), candidate("1", "a"), candidate("2", "b"))
        ledger.add(call("x", "1", "ok", 0.1))
        ledger.add(call("x", "2", "ok", 0.2))
        assert [(s.degradation, s.usd) for s in ledger.restorer_counts()] == [("haze", 0.2), ("rain", 0.0)]
        assert shown(ledger) == told(ledger)


def test_a_change_that_fails_is_not_counted(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(photo("a"), candidate("1", "a"))
        before = shown(ledger)
        with pytest.raises(OverflowError):
            ledger.add(candidate("2", "a"), photo("b", width=2**70))
        with pytest.raises(ValueError):
            ledger.judge("g", "", (verdict(name) if name == "1" else [][1:].remove(0) for name in "12"))
        assert shown(ledger) == before == told(ledger)


def test_status_reads_no_table_of_candidates(tmp_path: Path) -> None:
    """What it takes does not grow with them."""
    with Ledger(tmp_path, create=True) as ledger:
        ledger.add(photo("a"), candidate("1", "a"), call("x", "1"))
        read = set[str]()

        def note(action: int, table: str | None, *_: Any) -> int:
            if action == sqlite3.SQLITE_READ:
                read.add(str(table))
            return sqlite3.SQLITE_OK

        ledger._db.set_authorizer(note)
        shown(ledger)
        assert read == {"funnel_count", "refusal"}
        said: list[str] = []
        ledger._db.set_trace_callback(said.append)
        ledger.call_counts()
        ledger.funnel()
        plans = [row["detail"] for sql in said for row in ledger._db.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall()]
        assert plans == [
            "SCAN call USING COVERING INDEX call_outcome", "SCAN refusal USING COVERING INDEX refusal_reason",
            "SCAN funnel_count",
        ]  # fmt: skip
