"""review: the order of pairs, the effect of decisions, the page in a real browser, and access control."""

from __future__ import annotations

import base64
import html
import http.client
import io
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ggt_format.png import encode_png
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.policy.agreement import cohen, fleiss, summarize_reviews
from ggt_tools.policy.gate import parse_gate
from ggt_tools.policy.labels import majority, read_labels
from ggt_tools.policy.rates import Rate
from ggt_tools.policy.verdicts import by_rules, verdict
from ggt_tools.policy.votes import Votes, count_votes, decisions_in_force, read_decisions
from ggt_tools.records import Aligned, Candidate, Decision, Opinion, Photo, Score, Verdict
from ggt_tools.review import Review, ReviewConfig
from ggt_tools.review.decisions import COLUMNS, export_decisions, summarize
from ggt_tools.review.desk import Desk, DeskConfig
from ggt_tools.review.gallery import Filter, list_cards, list_keys, read_filter
from ggt_tools.review.queue import AUDIT, GALLERY, UNSURE, KnownAnswers, list_items
from ggt_tools.review.submissions import InvalidSubmission, SubmittedDecision
from ggt_tools.stages.screen import VERSION as SCREEN
from ggt_tools.workspace.ledger import Ledger

from .browsing import DONE, SHOWN, Site, browser, served
from .making import Store, evidence, lines_of, make_pair, picture
from .test_verdict import GOOD, TEXT, candidate

NASTY = '<script>alert("1")</script><img src=x onerror=alert(2)>"\'{{7*7}}'
PAGE = "a" * 32


def make_workspace(
    folder: Path, count: int, *, decisions: tuple[str, ...] = ("unsure",), images: bool = True, **photo: Any
) -> Path:
    """`count` pairs of 90 x 70, judged in turn as `decisions` say; with scores, and an opinion with a box on each."""
    gate = parse_gate(Path("small.toml"), TEXT)
    with Ledger(folder, create=True) as ledger:
        blank = ledger.put_image(encode_png(picture(0)))
        facts: list[Any] = []
        verdicts = []
        for number in range(count):
            pixels = picture(number) if images else picture(0)
            lq = ledger.put_image(encode_png(pixels)) if images else blank
            gt = ledger.put_image(encode_png((pixels // 2 + 60).astype(np.uint8))) if images else blank
            decision, name = decisions[number % len(decisions)], f"c{number:05}"
            source = make_pair(Store(), number % 50, "haze" if number % 3 == 0 else "mixed").photo
            made = replace(source, key=f"{number:016x}", image=lq, **photo)
            reason = {"reject": "halos", "unsure": "shifted"}.get(decision, "")
            defect = {"kind": "halos", "severity": "clear", "x0": 0.1, "y0": 0.2, "x1": 0.4, "y1": 0.6}
            facts += [
                made,
                replace(candidate(name, made.key), prompt=NASTY, restorer="model<b>"),
                Aligned(candidate=name, version="1", image=gt, reason=""),
                *(Score(candidate=name, metric=m, metric_version="1", value=v + number) for m, v in GOOD.items()),
                Opinion(
                    id=f"o{number}", candidate=name, image=gt, model="vlm", version=SCREEN, order="lq_first",
                    vote=0, fidelity=80.0, quality=70.0, mode="none", redo=0, instruction=NASTY,
                    defects=(json.dumps(defect),), fault="", created="2026-01-01T00:00:00Z",
                ),
            ]  # fmt: skip
            verdicts.append(
                Verdict(candidate=name, gate=gate.id, decision=decision, stage="score" if reason else "",
                        reason=reason, evidence=evidence("halo 1.000 <= 3.000"))
            )  # fmt: skip
        ledger.add(*facts)
        ledger.judge(gate.id, gate.text, verdicts)
    return folder


def facts(workspace: Path) -> list[Decision]:
    with Ledger(workspace) as ledger:
        return read_decisions(ledger)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pairs each that are unsure, kept and rejected, all of one picture."""
    folder = tmp_path_factory.mktemp("sixty") / "w"
    return make_workspace(folder, 60, decisions=("unsure", "keep", "reject"), images=False)


@pytest.fixture
def ledger(sixty: Path, tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(Path(shutil.copytree(sixty, tmp_path / "w"))) as opened:
        yield opened


def desk(ledger: Ledger, clock: Clock | None = None, **config: Any) -> Desk:
    chosen = DeskConfig(**({"known": 0.0} | config))
    return Desk(ledger, chosen, clock=lambda: "2026-01-01T00:00:00Z", monotonic=clock or Clock())


def hexes(seed: int = 1) -> Iterator[str]:
    drawn = random.Random(seed)
    while True:
        yield f"{drawn.getrandbits(128):032x}"


IDS = hexes()


def made(look: str, decision: str = "keep", reason: str = "", seconds: float = 2.0, id: str = "") -> SubmittedDecision:
    return SubmittedDecision(id=id or next(IDS), view=look, decision=decision, reason=reason, seconds=seconds)


# --- who is shown what -----------------------------------------------------------------------------------------------


def test_unsure_first_then_a_sample_of_the_kept_and_the_rejected(ledger: Ledger) -> None:
    one = desk(ledger, audit=0.2)
    shown = [look.item for look in one.hand_out("Anna", PAGE, 1000)]
    assert [item.queue for item in shown] == [UNSURE] * 20 + [AUDIT] * 8
    assert Counter(item.gate_decision for item in shown) == {"unsure": 20, "keep": 4, "reject": 4}
    assert [item.candidate for item in shown] != sorted(item.candidate for item in shown)
    again = [look.item.candidate for look in desk(ledger, audit=0.2).hand_out("Ben", "b" * 32, 1000)]
    assert again == [item.candidate for item in shown], "the same at every start"
    more = {look.item.candidate for look in desk(ledger, audit=0.4).hand_out("Ben", "b" * 32, 1000)}
    assert set(again) < more, "a larger sample holds the smaller one"
    assert len(desk(ledger, audit=0.0).hand_out("Ben", "b" * 32, 1000)) == 20


def test_a_candidate_that_is_not_the_best_is_not_audited_and_the_rules_decide_the_queue(ledger: Ledger) -> None:
    verdicts = {one.candidate: one for one in ledger.all(Verdict)}
    kept = [name for name, one in verdicts.items() if one.decision == "keep"]
    best = {name: replace(verdicts[name], decision="reject", reason="not_the_best") for name in kept}
    overruled = replace(
        verdicts[kept[0]], decision="reject", stage="review", reason="halos",
        evidence=evidence("people: 0 keep, 1 reject; the rules say keep"),
    )  # fmt: skip
    assert by_rules(overruled) == "keep" and by_rules(verdicts[kept[0]]) == "keep"
    listed = list_items(
        ledger.all(Candidate), {p.key: p for p in ledger.all(Photo)}, ledger.all(Aligned),
        verdicts | best | {kept[0]: overruled}, audit=1.0,
    )  # fmt: skip
    queues = {item.candidate: (item.queue, item.gate_decision) for item in listed}
    assert queues[kept[0]] == (AUDIT, "keep"), "what people overruled stays in the sample it was drawn into"
    assert {queues[name][0] for name in kept[1:]} == {GALLERY}


def test_no_pair_is_handed_out_twice_at_a_time(ledger: Ledger) -> None:
    clock = Clock()
    one = desk(ledger, clock, reviewers=3, audit=0.0)
    pages = {name: [look.item.candidate for look in one.hand_out(name, name * 16, 8)] for name in ("Anna", "Ben")}
    pages["other page"] = [look.item.candidate for look in one.hand_out("Anna", "c" * 32, 8)]
    everything = [candidate for some in pages.values() for candidate in some]
    assert Counter(map(len, pages.values())) == {8: 2, 4: 1} and len(set(everything)) == 20
    assert [look.item.candidate for look in one.hand_out("Anna", "Anna" * 16, 8)] == pages["Anna"], (
        "a page keeps its own"
    )
    clock.now = 500.0
    one.hand_out("Anna", "Anna" * 16, 8)
    clock.now = 700.0  # Ben has sent nothing for longer than a lease lasts
    found = {look.item.candidate for look in one.hand_out("Cleo", "d" * 32, 20)}
    assert found == set(pages["Ben"]) | set(pages["other page"])
    one.release_page("d" * 32)
    assert len(one.hand_out("Dan", "e" * 32, 20)) == 12


def test_each_pair_gets_as_many_votes_as_asked_and_one_more_at_a_tie(ledger: Ledger) -> None:
    one = desk(ledger, reviewers=2, audit=0.0)
    first = {look.item.candidate: look for look in one.hand_out("Anna", PAGE, 100)}
    assert one.store("Anna", [made(look.id) for look in first.values()]) == [True] * 20
    assert one.hand_out("Anna", PAGE, 100) == [] and one.progress("Anna") == {"judged": 20, "waiting": 0}
    second = one.hand_out("Ben", "b" * 32, 100)
    assert {look.item.candidate for look in second} == set(first)
    ids = {look.id for look in first.values()} & {look.id for look in second}
    assert not ids, "nobody can decide in another's name"
    said = [made(look.id, *(("reject", "halos") if at < 3 else ("keep", ""))) for at, look in enumerate(second)]
    one.store("Ben", [*said[:-1], made(second[-1].id, "unsure")])
    disputed = {look.item.candidate for look in second[:3]}
    third = {look.item.candidate for look in one.hand_out("Cleo", "c" * 32, 100)}
    assert third == disputed | {second[-1].item.candidate}, "who is unsure has not decided"
    restarted = desk(ledger, reviewers=2, audit=0.0)
    assert {look.item.candidate for look in restarted.hand_out("Cleo", "c" * 32, 100)} == third


@pytest.mark.parametrize("what", ["decide", "later", "own other page"])
def test_only_the_page_itself_ends_its_lease(ledger: Ledger, what: str) -> None:
    one = desk(ledger, reviewers=2, audit=0.0)
    held = one.hand_out("Anna", PAGE, 1)[0]
    reviewer = "Anna" if what == "own other page" else "Ben"
    opened, _ = one.open_pair(reviewer, "b" * 32, held.item.candidate)
    assert opened is not None and opened.item == held.item, "a link of the gallery opens it nevertheless"
    if what == "decide":
        assert one.store("Ben", [made(opened.id)]) == [True]
    else:
        one.postpone(reviewer, opened.id, "b" * 32)
    found = {look.item.candidate for look in one.hand_out("Cleo", "c" * 32, 100)}
    assert len(found) == 19 and held.item.candidate not in found
    assert one.hand_out("Anna", PAGE, 1) == [held]
    one.release_page(PAGE)
    assert held.item.candidate in {look.item.candidate for look in one.hand_out("Dan", "d" * 32, 100)}


def test_leases_of_pairs_survive_a_restart(ledger: Ledger) -> None:
    clock = Clock()
    anna = [look.id for look in desk(ledger, clock, known=0.5).hand_out("Anna", "a" * 32, 4)]
    restarted = desk(ledger, clock, known=0.5)
    restarted.restore_leases("Anna", "a" * 32, [*anna, "f" * 16])
    ben = {look.item.candidate for look in restarted.hand_out("Ben", "b" * 32, 8)}
    held = restarted.hand_out("Anna", "a" * 32, 4)
    assert [look.id for look in held] == anna
    assert len(ben) == 8 and ben.isdisjoint(look.item.candidate for look in held)
    late = desk(ledger, clock)
    taken = late.hand_out("Ben", "b" * 32, 1)[0].item
    late.store("Ben", [made(late.hand_out("Ben", "b" * 32, 1)[0].id)])
    late.hand_out("Ben", "b" * 32, 60)
    late.restore_leases("Anna", "a" * 32, anna)
    assert late.hand_out("Anna", "a" * 32, 4) == [], "others have them, or have judged them"
    assert taken.candidate not in {look.item.candidate for look in late.hand_out("Ben", "b" * 32, 1)}


def test_a_postponed_pair_comes_after_all_others(ledger: Ledger) -> None:
    one = desk(ledger, audit=0.0)
    shown = one.hand_out("Anna", PAGE, 3)
    one.postpone("Anna", shown[0].id, PAGE)
    rest = [look.item.candidate for look in one.hand_out("Anna", PAGE, 100)]
    assert len(rest) == 20 and rest[-1] == shown[0].item.candidate


def test_pairs_with_a_known_answer_are_a_fixed_share_and_no_votes(ledger: Ledger) -> None:
    one = desk(ledger, known=0.25, audit=0.0)
    seen: list[Any] = []
    while looks := one.hand_out("Anna", PAGE, 4):
        seen += looks
        one.store("Anna", [made(look.id, "reject", "halos") for look in looks])
    known_answers = [look for look in seen if look.known_answer]
    assert len(seen) - len(known_answers) == 20 and len(known_answers) == 7
    assert {look.known_answer for look in known_answers} <= {"unchanged", "another_photograph"}
    images = {a.candidate: a.image for a in ledger.all(Aligned)}
    found = count_votes(decisions_in_force(read_decisions(ledger)), images)
    assert len(found) == 20, "they count for no pair"
    reviewer = summarize_reviews(read_decisions(ledger), images).reviewers[0]
    assert (reviewer.known_answers, reviewer.decisions) == (Rate(count=7, of=7), 20)


def test_pairs_with_a_known_answer_show_an_unchanged_copy_or_another_photograph(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 12, decisions=("unsure", "keep"))
    with Ledger(workspace) as ledger:
        one = desk(ledger, known=0.5, audit=0.0)
        kinds = set()
        for name in ("Anna", "Ben", "Cleo"):
            for look in one.hand_out(name, name * 16, 8):
                if look.known_answer == "unchanged":
                    assert look.gt == look.item.lq
                elif look.known_answer:
                    owner = next(item for item in one.items.values() if item.gt == look.gt)
                    assert owner.key != look.item.key
                else:
                    assert look.gt == look.item.gt
                kinds.add(look.known_answer)
            one.release_page(name * 16)
        assert kinds == {"", "unchanged", "another_photograph"}


# --- what becomes of decisions ----------------------------------------------------------------------------------------


def test_undoing_adds_a_fact_and_deletes_none(ledger: Ledger) -> None:
    one = desk(ledger, audit=0.0)
    looks = one.hand_out("Anna", PAGE, 3)
    one.store("Anna", [made(looks[0].id, "keep")])
    one.store("Anna", [made(looks[1].id, "reject", "halos", seconds=3.25)])
    undoing = next(IDS)
    back = one.undo("Anna", undoing, PAGE)
    assert back is not None and back.id == looks[1].id
    assert one.undo("Anna", undoing, PAGE) == back, "sent twice, it takes one back"
    said = read_decisions(ledger)
    assert [(d.decision, d.reason, d.seconds) for d in said] == [
        ("keep", "", 2.0), ("reject", "halos", 3.25), ("undone", "", 0.0),
    ]  # fmt: skip
    assert said[2].undoes == said[1].id and decisions_in_force(said) == said[:1]
    assert one.store("Anna", [made(looks[1].id, "unsure")]) == [True]
    assert [d.decision for d in decisions_in_force(read_decisions(ledger))] == ["keep", "unsure"]
    restarted = desk(ledger, audit=0.0)
    assert [restarted.undo("Anna", next(IDS), PAGE) is not None for _ in range(3)] == [True, True, False]
    assert len(restarted.hand_out("Ben", "b" * 32, 100)) == 18, "Anna has the two at hand again"


def test_a_decision_that_is_sent_twice_is_stored_once(ledger: Ledger) -> None:
    one = desk(ledger, audit=0.0)
    look = one.hand_out("Anna", PAGE, 1)[0]
    first = made(look.id)
    assert one.store("Anna", [first, first, made(look.id)]) == [True, False, False]
    assert one.store("Anna", [first]) == [False] == one.store("Anna", [made(look.id, "reject", "halos")])
    restarted = desk(ledger, audit=0.0)
    assert restarted.store("Anna", [first, made(look.id)]) == [False, False]
    other = restarted.hand_out("Ben", "b" * 32, 1)[0]
    assert desk(ledger, audit=0.0).store("Ben", [made(other.id)]) == [True], "handed out before a restart"
    assert len(read_decisions(ledger)) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"id": "x"}, "The id has to be 16 to 64 hexadecimal characters."),
        ({"decision": "maybe"}, "The decision has to be one of keep, reject, unsure."),
        ({"decision": "undone"}, "The decision has to be one of keep, reject, unsure."),
        ({"decision": "reject"}, "A rejection needs a reason, and no other decision has one."),
        ({"reason": "halos"}, "A rejection needs a reason, and no other decision has one."),
        ({"decision": "reject", "reason": "ugly"}, "The reason is not one of the gate."),
        ({"seconds": math.nan}, "seconds has to be between 0 and 86400."),
        ({"seconds": -1.0}, "seconds has to be between 0 and 86400."),
        ({"view": "0" * 16}, "This pair is not shown to this reviewer. It may have been aligned again."),
    ],
)
def test_a_wrong_decision_is_refused(ledger: Ledger, changes: dict[str, Any], said: str) -> None:
    one = desk(ledger)
    look = one.hand_out("Anna", PAGE, 1)[0]
    with pytest.raises(InvalidSubmission) as caught:
        one.store("Anna", [replace(made(look.id), **changes)])
    assert str(caught.value) == said
    with pytest.raises(InvalidSubmission):
        one.store("Ben", [made(look.id)])  # Anna's look
    assert read_decisions(ledger) == []


def test_the_desk_reads_what_other_processes_write(ledger: Ledger) -> None:
    clock = Clock()
    one = desk(ledger, clock, audit=0.0)
    assert len(one.hand_out("Anna", PAGE, 100)) == 20
    with Ledger(ledger.workspace) as other:
        other.add(replace(next(iter(other.all(Aligned))), candidate="new", image="1" * 64), candidate("new", "0" * 16))
    assert one.hand_out("Ben", "b" * 32, 100) == [], "not at every turn: it takes seconds"
    clock.now = 31.0
    assert "new" in {look.item.candidate for look in one.hand_out("Ben", "b" * 32, 100)}


def test_the_reasons_are_those_of_the_gate(ledger: Ledger) -> None:
    gate = parse_gate(Path("small.toml"), TEXT)
    assert desk(ledger).reasons == gate.reasons and "halos" in gate.reasons


@given(share=st.floats(0.001, 0.5), reviewer=st.text(max_size=5), block=st.integers(0, 50))
def test_one_known_answer_is_due_in_each_block(share: float, reviewer: str, block: int) -> None:
    known = KnownAnswers(share)
    numbers = range(block * known.block_size, (block + 1) * known.block_size)
    assert [due for number in numbers if (due := known.block_due(reviewer, number)) is not None] == [block]
    assert KnownAnswers(0.0).block_due(reviewer, block) is None and KnownAnswers(0.0).views([], reviewer, 9) == []


def test_exported_decisions_are_those_in_force_on_the_present_images(ledger: Ledger, tmp_path: Path) -> None:
    one = desk(ledger, audit=0.0)
    first, second, third = one.hand_out("Anna", PAGE, 3)
    one.store("Anna", [made(first.id), made(second.id, "unsure"), made(third.id, "reject", "halos")])
    ledger.add(replace(next(a for a in ledger.all(Aligned) if a.candidate == first.item.candidate), image="9" * 64))
    out = tmp_path / "labels.csv"
    summary = export_decisions(ledger.workspace, out)
    assert summary.counts == {"decisions exported": 1} and summary.paths == (str(out),)
    row = f"{third.item.candidate},{third.item.key},reject,halos,Anna,2.0,2026-01-01T00:00:00Z"
    assert out.read_text(encoding="utf-8").splitlines() == [",".join(COLUMNS), row]
    assert summarize(ledger.workspace).reviewers[0].decisions == 3
    with pytest.raises(ConfigError, match="its folder does not exist"):
        export_decisions(ledger.workspace, tmp_path / "no" / "labels.csv")


# --- agreement --------------------------------------------------------------------------------------------------------


def test_cohens_kappa_by_hand() -> None:
    a, b = ["keep"] * 25 + ["reject"] * 25, ["keep"] * 20 + ["reject"] * 5 + ["keep"] * 10 + ["reject"] * 15
    assert cohen(a, b) == pytest.approx(0.4)  # 0.7 agree, 0.5 by chance
    assert cohen(a, a) == 1.0 and math.isnan(cohen(["keep"], ["keep"])) and math.isnan(cohen([], []))


def test_fleiss_kappa_of_the_textbook() -> None:
    counts = [  # Fleiss (1971), as given by Wikipedia: 10 things, 14 raters, 5 answers
        (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
    ]  # fmt: skip
    ratings = [[str(answer) for answer, n in enumerate(row) for _ in range(n)] for row in counts]
    assert fleiss(ratings) == pytest.approx(0.210, abs=0.0005)
    assert math.isnan(fleiss([])) and math.isnan(fleiss([["keep"]])) and math.isnan(fleiss([["keep", "keep"]]))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_kappas_stay_in_their_range_and_are_symmetric(both: list[tuple[str, str]]) -> None:
    a, b = zip(*both, strict=True)
    for kappa in (cohen(a, b), fleiss(both)):
        assert math.isnan(kappa) or -1.0 - 1e-9 <= kappa <= 1.0 + 1e-9
    assert cohen(a, b) == pytest.approx(cohen(b, a), nan_ok=True)


def test_wilsons_interval() -> None:
    low, high = Rate(count=0, of=10).interval
    assert low == 0.0 and high == pytest.approx(0.2775, abs=1e-3)
    assert Rate(count=1, of=4).counted == "1 of 4 (4.6 to 69.9 %)" and Rate(count=0, of=0).counted == "none yet"


def decision(candidate: str, reviewer: str, what: str, **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "id": next(IDS), "candidate": candidate, "image": "i", "reviewer": reviewer, "decision": what,
        "reason": "halos" if what == "reject" else "", "seconds": 4.0, "queue": "audit", "gate_decision": "keep",
        "known_answer": "", "undoes": "", "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return Decision(**(values | changes))


def test_the_summary_says_who_disagrees_and_how_often_the_gate_is_wrong() -> None:
    said = [
        decision("c1", "Anna", "keep"), decision("c1", "Ben", "reject"),
        decision("c2", "Anna", "reject"), decision("c2", "Ben", "reject"), decision("c2", "Cleo", "keep"),
        decision("c3", "Anna", "keep", gate_decision="reject"), decision("c3", "Ben", "keep", gate_decision="reject"),
        decision("c4", "Ben", "keep", image="before it was aligned anew"),
        decision("c5", "Anna", "reject", known_answer="unchanged"),
        decision("c6", "Anna", "keep", known_answer="unchanged"),
    ]  # fmt: skip
    found = summarize_reviews(said, dict.fromkeys(["c1", "c2", "c3", "c4"], "i"))
    assert [(d.candidate, [name for name, *_ in d.decisions]) for d in found.disputes] == [
        ("c1", ["Anna", "Ben"]), ("c2", ["Anna", "Ben", "Cleo"]),
    ]  # fmt: skip
    assert (found.kept_wrongly, found.rejected_wrongly) == (Rate(count=1, of=1), Rate(count=1, of=1))
    pair = found.agreements[0]
    assert (pair.first, pair.second, pair.pairs, pair.same) == ("Anna", "Ben", 3, 2)
    assert pair.kappa == pytest.approx(0.4)  # 2/3 agree, 4/9 by chance
    assert [(r.name, r.known_answers, r.against_majority) for r in found.reviewers] == [
        ("Anna", Rate(count=1, of=2), Rate(count=1, of=2)),
        ("Ben", Rate(count=0, of=0), Rate(count=1, of=2)),
        ("Cleo", Rate(count=0, of=0), Rate(count=1, of=1)),
    ]  # fmt: skip


def test_of_a_known_answer_the_first_decision_counts(ledger: Ledger) -> None:
    one = desk(ledger, audit=0.0, known=0.5)
    look = next(look for look in one.hand_out("Anna", PAGE, 8) if look.known_answer)
    one.store("Anna", [made(look.id, "keep")])
    assert one.undo("Anna", next(IDS), PAGE) == look
    found = summarize_reviews(read_decisions(ledger), {}).reviewers[0]
    assert (found.known_answers, found.decisions, found.undone) == (Rate(count=0, of=1), 0, 1)
    one.store("Anna", [made(look.id, "reject", "halos")])
    found = summarize_reviews(read_decisions(ledger), {}).reviewers[0]
    assert (found.known_answers, found.decisions, found.undone) == (Rate(count=0, of=1), 0, 1)


def test_a_reviewer_without_decisions_in_force_has_no_figures(
    ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    one = desk(ledger, audit=0.0)
    one.store("Anna", [made(one.hand_out("Anna", PAGE, 1)[0].id)])
    one.undo("Anna", next(IDS), PAGE)
    assert main(["review", str(ledger.workspace), "--summary"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^Anna +0 +- +- +none yet +none yet$", said, re.MULTILINE) and "nan" not in said


# --- people in the verdict --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("halo", "keep", "reject", "table", "expected"),
    [
        (4.0, 1, 0, "", ("keep", "", "")),  # the rules are unsure
        (4.0, 0, 1, "", ("reject", "review", "shifted")),
        (4.0, 1, 1, "", ("unsure", "score", "halos")),
        (1.0, 0, 1, "", ("reject", "review", "shifted")),  # they keep
        (9.0, 1, 0, "", ("reject", "score", "halos")),  # they reject
        (9.0, 1, 0, '[people]\nkeep_over = ["unsure", "reject"]', ("keep", "", "")),
        (4.0, 1, 0, "[people]\nvotes = 2", ("unsure", "score", "halos")),
        (4.0, 2, 0, "[people]\nvotes = 2", ("keep", "", "")),
        (1.0, 0, 1, '[people]\nreject_over = ["unsure"]', ("keep", "", "")),
        (1.0, 0, 0, "", ("unsure", "review", "people_unsure")),  # somebody is unsure of what the rules keep
        (1.0, 1, 1, "", ("unsure", "review", "people_unsure")),
        (1.0, 0, 1, "[people]\nvotes = 2", ("unsure", "review", "people_unsure")),
        (1.0, 1, 0, "[people]\nvotes = 2", ("keep", "", "")),
        (9.0, 0, 0, "", ("reject", "score", "halos")),
    ],
)
def test_votes_count_as_far_as_the_gate_allows(
    halo: float, keep: int, reject: int, table: str, expected: tuple[str, str, str]
) -> None:
    gate = parse_gate(Path("small.toml"), f"{TEXT}\n{table}")
    said = Votes(keep=keep, reject=reject, unsure=int(not keep + reject), reason="shifted" if reject else "")
    one = candidate("c", "k")
    judged = next(verdict([one], {"c": {**GOOD, "halo": halo}}, {"k": "mixed"}, gate, people={"c": said}))
    assert (judged.decision, judged.stage, judged.reason) == expected
    rules = {4.0: "unsure", 1.0: "keep", 9.0: "reject"}[halo]
    assert lines_of(judged)[-1] == f"people: {keep} keep, {reject} reject; the rules say {rules}"
    assert by_rules(judged) == rules


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("votes = 0", "[people] votes: 0 is not a whole number of 1 or more."),
        ('keep_over = "unsure"', "[people] keep_over: 'unsure' is not a list. Write a list of decisions."),
        ('reject_over = ["unsur"]', "[people] reject_over: 'unsur' is not known. Did you mean unsure"),
        ("vote = 1", "[people]: 'vote' is not known. Did you mean votes"),
    ],
)
def test_wrong_values_in_the_gates_people_table(table: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_gate(Path("g.toml"), f"{TEXT}\n[people]\n{table}")


def test_verdict_applies_votes_and_calibrate_reads_the_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = make_workspace(tmp_path / "w", 6, images=False)
    (tmp_path / "gate.toml").write_text(TEXT, encoding="utf-8")
    with Ledger(workspace) as ledger:
        for number in range(6):
            ledger.add(*(Score(candidate=f"c{number:05}", metric=m, metric_version="2", value=v) for m, v in
                         {**GOOD, "halo": 4.0, "haze_gain": 1.0}.items()))  # fmt: skip
        one = desk(ledger, audit=0.0, known=0.5)
        looks = [look for look in one.hand_out("Anna", PAGE, 100) if not look.known_answer][:3]
        one.store("Anna", [made(looks[0].id), made(looks[1].id, "reject", "shifted"), made(looks[2].id, "unsure")])
    assert main(["verdict", str(workspace), "--gate", str(tmp_path / "gate.toml")]) == 0
    assert "1 kept" in capsys.readouterr().out
    with Ledger(workspace) as ledger:
        judged = {one.candidate: (one.decision, one.reason) for one in ledger.all(Verdict)}
    assert judged[looks[0].item.candidate] == ("keep", "")
    assert judged[looks[1].item.candidate] == ("reject", "shifted")
    assert Counter(said for said, _ in judged.values()) == {"unsure": 4, "keep": 1, "reject": 1}
    out = tmp_path / "labels.csv"
    assert main(["review", str(workspace), "--export", str(out), "--summary"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"review: 2 decisions exported\n  written: {out}\n") and "Anna" in said
    found = read_labels(out, {f"c{number:05}": f"{number:016x}" for number in range(6)})
    assert majority(found.labels) == ({looks[0].item.candidate: True, looks[1].item.candidate: False}, 0)


# --- gallery ----------------------------------------------------------------------------------------------------------


def test_the_gallery_filters_and_sorts(ledger: Ledger) -> None:
    cards, total = list_cards(ledger, Filter())
    assert (len(cards), total) == (48, 60)
    assert list_cards(ledger, Filter(page=2))[0][0].candidate == "c00048"
    cards, total = list_cards(ledger, Filter(degradation="haze", verdict="unsure"))
    assert total == 20 and {(card.degradation, card.verdict) for card in cards} == {("haze", "unsure shifted")}
    low = GOOD["halo"] + 10
    wanted = read_filter(
        [("metric", "halo"), ("low", str(low)), ("high", str(low + 5)), ("sort", "-halo"), ("page", "x")]
    )
    cards, total = list_cards(ledger, wanted)
    assert [card.candidate for card in cards] == [f"c{number:05}" for number in range(15, 9, -1)]
    assert [card.value for card in cards] == pytest.approx([low + 5 - at for at in range(6)])
    assert list_keys(ledger, replace(wanted, reason="halos")) == [f"{number:016x}" for number in (11, 14)]
    assert (
        list_cards(ledger, Filter(verdict="none"))[1] == 0 == list_cards(ledger, Filter(restorer="'; DROP TABLE x"))[1]
    )
    query = replace(wanted, degradation="haze").query(page=2)
    assert read_filter(tuple(pair.split("=")) for pair in query.split("&")) == replace(
        wanted, degradation="haze", page=2
    )


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            "metric=halo&low=0,9",
            "halo: '0,9' is not a number. Write one like 0.5, or leave the field empty.",
        ),
        ("metric=halo&low=nan&high=", "halo: 'nan' is not a number"),
        ("metric=halo&low=&high=-inf", "halo: '-inf' is not a number"),
        ("metric=halo&low=" + "9" * 5000, "is not a number"),
        ("metric=&low=0.5&high=", "The range from 0.5 to (open) has no metric. Choose one."),
        ("low=0.5", "low=0.5 belongs to no metric. Write metric=NAME before it."),
        ("verdict=kept", "'kept' is not a verdict. Choose one of keep, unsure, reject, none."),
        ("metric=halo&low=1&" * 9, "There are 9 ranges of scores. Give at most 8."),
        ("metric=%3Cb%3E&low=x", "<b>: 'x' is not a number"),
    ],
)
def test_a_filter_that_cannot_be_read_shows_and_exports_nothing(site: Site, query: str, said: str) -> None:
    status, _, page = site.ask("GET", f"/gallery?{query}", headers=site.cookie())
    assert (status, said in html.unescape(page.decode())) == (400, True) and b"<b>" not in page
    status, _, text = site.ask("GET", f"/gallery.txt?{query}", headers=site.cookie())
    assert (status, said in text.decode()) == (400, True)


def test_a_range_can_be_open_and_a_page_any_number(site: Site, ledger: Ledger) -> None:
    def shown(query: str) -> str:
        status, _, page = site.ask("GET", f"/gallery?{query}", headers=site.cookie())
        assert status == 200
        return re.findall(r"<strong>(\d+)</strong> candidates", page.decode())[0]

    high = GOOD["halo"] + 54.5
    assert shown(f"metric=halo&low={high}") == "5" == shown(f"metric=halo&low={high}&metric=&low=&high=")
    assert shown(f"metric=halo&high={high}") == "55" and shown(f"metric=halo&low={high}&high=-9") == "0"
    assert shown("page=" + "9" * 5000) == "60" == shown("page=-1&sort=--x")


def test_a_range_is_of_the_newest_version_of_a_metric(ledger: Ledger) -> None:
    ledger.add(Score(candidate="c00000", metric="halo", metric_version="2", value=1000.0))
    found, _ = list_cards(ledger, Filter(ranges=(("halo", 500.0, math.inf),)))
    assert [card.candidate for card in found] == ["c00000"]
    assert list_cards(ledger, Filter(ranges=(("halo", GOOD["halo"], GOOD["halo"]),)))[1] == 0


# --- strangers stay out -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(sixty: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    copy = Path(shutil.copytree(sixty, tmp_path_factory.mktemp("site") / "w"))
    (copy.parent / "secret.txt").write_text("not of the workspace")
    with served(copy) as found:
        yield found


def test_only_the_token_of_the_first_url_gives_access(site: Site) -> None:
    status, headers, body = site.ask("GET", site.url.removeprefix(site.origin))
    assert status == 200 and b'content="0;url=/"' in body
    door = headers["set-cookie"]
    assert re.fullmatch(rf"ggt100k-{site.port}=[0-9a-f]{{64}}; HttpOnly; Path=/; SameSite=strict", door)
    token = site.url.partition("token=")[2]
    assert token not in door and len(token) == 32
    for path in ("/", "/gallery", "/static/sitting.js", "/who", "/nowhere"):
        assert site.ask("GET", path)[0] == 403
        assert site.ask("GET", path, headers={"Cookie": f"ggt100k-{site.port}={token}"})[0] == 403
    assert site.ask("GET", "/?token=wrong")[0] == 403
    assert site.ask("GET", f"/gallery?token={token}")[0] == 403, "the token opens one door"
    assert site.ask("GET", "/", headers=site.cookie())[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.evil.example", ""])
def test_a_foreign_host_name_is_refused(site: Site, host: str) -> None:
    sent = site.cookie() | {"Host": host.format(port=site.port)}
    for method, body in (("GET", None), ("POST", {})):
        assert site.ask(method, "/api/sitting" if body else "/gallery", body, sent)[0] in (400, 421)
    assert site.ask("GET", site.url.removeprefix(site.origin), headers={"Host": host.format(port=site.port)})[0] != 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1", "http://localhost:{port}"])
def test_a_request_from_another_page_is_refused(site: Site, origin: str) -> None:
    sent = site.cookie() | {"Origin": origin.format(port=site.port)}
    for path in ("/api/sitting", "/api/undo", "/api/release", "/who"):
        assert site.ask("POST", path, {"page": PAGE, "want": 1}, sent)[0] == 403
    framed = site.cookie() | {"Sec-Fetch-Site": "cross-site"}
    assert site.ask("GET", "/gallery", headers=framed)[0] == 403
    assert site.ask("GET", "/gallery", headers=site.cookie() | {"Sec-Fetch-Site": "same-origin"})[0] == 200


def test_every_answer_has_a_strict_content_security_policy(site: Site) -> None:
    for path, sent in (
        ("/", site.cookie()),
        ("/gallery", site.cookie()),
        ("/", {}),
        ("/shared/style.css", site.cookie()),
    ):
        _, headers, _ = site.ask("GET", path, headers=sent)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert site.ask("GET", "/", headers=site.cookie())[1]["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../../etc/passwd",
        "/static/%2e%2e/app.py",
        "/static/..%2f..%2fapp.py",
        "/thumbnail/../ledger.sqlite",
        "/thumbnail/..%2f..%2fledger.sqlite",
        "/thumbnail/" + "0" * 64,
        "/look/" + "0" * 16 + "/0",
        "/look/x/1",
        "/look/x/" + "9" * 5000,
        "/ledger.sqlite",
        "/pair/../../secret.txt",
    ],
)
def test_nothing_but_the_workspaces_images_is_served(site: Site, path: str) -> None:
    status, _, body = site.ask("GET", path, headers=site.cookie())
    assert status == 404 and b"root:" not in body and b"SQLite" not in body and b"import" not in body


def test_an_image_is_served_only_to_the_reviewer_it_was_shown_to(site: Site) -> None:
    anna, ben = site.cookie("Anna"), site.cookie("Ben")
    answer = json.loads(site.ask("POST", "/api/sitting", {"page": PAGE, "want": 1}, anna)[2])
    address = answer["looks"][0]["images"][1]
    status, headers, body = site.ask("GET", address, headers=anna)
    assert (status, headers["content-type"]) == (200, "image/png") and body.startswith(b"\x89PNG")
    assert "immutable" in headers["cache-control"]
    assert site.ask("GET", address, headers=ben)[0] == 404
    assert site.ask("GET", address[:-1] + "7", headers=anna)[0] == 404
    look = answer["looks"][0]["id"]
    assert site.ask("GET", f"/api/evidence/{look}", headers=anna)[0] == 403, "hidden until one has judged"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "The request is not JSON."),
        (b"[" * 100_000, "The request is not JSON."),
        (b"[]", "page has to be an id of 16 to 64 hexadecimal characters."),
        (b'{"page": "../x"}', "page has to be an id of 16 to 64 hexadecimal characters."),
        (b'{"page": "aaaaaaaaaaaaaaaa", "decisions": 7}', "A list of at most 1000 items is expected."),
    ],
)
def test_a_foreign_request_is_refused_with_a_sentence(site: Site, body: bytes, said: str) -> None:
    status, _, answer = site.ask("POST", "/api/sitting", body, site.cookie())
    assert (status, json.loads(answer)) == (400, {"error": said})
    assert site.ask("POST", "/api/sitting", b"x" * 300_000, site.cookie())[0] == 413
    assert site.ask("POST", "/api/sitting", {}, site.cookie() | {"Content-Length": ""})[0] in (400, 411)
    assert site.ask("PUT", "/api/sitting", {}, site.cookie())[0] == 405


def test_a_decision_that_is_refused_does_not_hold_up_the_others(site: Site) -> None:
    ben = site.cookie("Ben")
    looks = json.loads(site.ask("POST", "/api/sitting", {"page": "b" * 32, "want": 2}, ben)[2])["looks"]
    sent = [
        {"id": next(IDS), "look": looks[0]["id"], "decision": "reject", "reason": "<script>", "seconds": 1},
        {"id": next(IDS), "look": looks[1]["id"], "decision": "keep", "reason": "", "seconds": 1},
        "nonsense",
        {"id": next(IDS), "look": looks[0]["id"], "decision": "keep", "reason": "", "seconds": 10**400},
    ]
    answer = json.loads(site.ask("POST", "/api/sitting", {"page": "b" * 32, "decisions": sent}, ben)[2])
    assert answer["saved"] == [sent[1]["id"]]
    assert [one["error"] for one in answer["refused"]] == [
        "The reason is not one of the gate.", "An object is expected.", "seconds has to be between 0 and 86400.",
    ]  # fmt: skip


def test_a_decision_that_is_not_stored_is_not_called_saved(site: Site) -> None:
    def send(who: str, *sent: dict[str, Any]) -> dict[str, Any]:
        status, _, body = site.ask(
            "POST", "/api/sitting", {"page": "d" * 32, "want": 1, "decisions": sent}, site.cookie(who)
        )
        assert status == 200
        return dict(json.loads(body))

    look = send("Dora")["looks"][0]["id"]
    first = {"id": next(IDS), "look": look, "decision": "reject", "reason": "halos", "seconds": 1}
    other = {"id": next(IDS), "look": look, "decision": "keep", "reason": "", "seconds": 1}
    stands = {"id": other["id"], "look": look, "decision": "reject", "reason": "halos"}
    answer = send("Dora", first, other)
    assert (answer["saved"], answer["replaced"], answer["refused"]) == ([first["id"]], [stands], [])
    answer = send("Dora", other, first)
    assert (answer["saved"], answer["replaced"]) == ([first["id"]], [stands]), "sent again, it is in"
    fault = "Another decision has this id."
    own = send("Emil")["looks"][0]["id"]
    for who, taken in (("Emil", first | {"look": own}), ("Dora", first | {"reason": "", "decision": "keep"})):
        answer = send(who, taken)
        assert (answer["saved"], answer["refused"]) == ([], [{"id": first["id"], "error": fault}])


def test_texts_from_outside_are_escaped(site: Site) -> None:
    body = site.ask("GET", "/gallery?degradation=" + "%22%3E%3Cscript%3E", headers=site.cookie())[2].decode()
    assert "<script>" not in body and "model<b>" not in body
    body = site.ask("GET", "/gallery", headers=site.cookie())[2].decode()
    assert body.count("model&lt;b&gt;") > 48 and "model<b>" not in body
    name = site.cookie("%3Cscript%3Ealert(1)%3C%2Fscript%3E%0A%00")
    body = site.ask("GET", "/people", headers=name)[2].decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body and "<script>" not in body


def test_the_gallery_hides_verdicts_of_pairs_that_wait(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 4, decisions=("unsure", "keep"), images=False)

    def cards(site: Site, who: str) -> list[str]:
        body = site.ask("GET", "/gallery?sort=halo", headers=site.cookie(who))[2].decode()
        found = re.findall(r"<strong>([^<0-9]+)</strong>([^<]*)<", body)
        return [f"{verdict}{value}" for verdict, value in found]

    hidden, shown = "waits for you · halo –", [f"unsure shifted · halo {GOOD['halo'] + n:.3f}" for n in (0, 2)]
    kept = [f"keep · halo {GOOD['halo'] + n:.3f}" for n in (1, 3)]
    with served(workspace, audit=0.0, known=0.0, reviewers=2) as site:
        assert cards(site, "Anna") == [hidden, kept[0], hidden, kept[1]]
        looks = json.loads(site.ask("POST", "/api/sitting", {"page": PAGE, "want": 2}, site.cookie("Anna"))[2])["looks"]
        made = [{"id": next(IDS), "look": look["id"], "decision": "keep", "seconds": 1} for look in looks]
        site.ask("POST", "/api/sitting", {"page": PAGE, "decisions": made}, site.cookie("Anna"))
        assert cards(site, "Anna") == [shown[0], kept[0], shown[1], kept[1]]
        assert cards(site, "Ben") == [hidden, kept[0], hidden, kept[1]]
    with served(workspace, audit=0.0, reviewers=2, show_evidence=True) as site:
        assert cards(site, "Ben") == [shown[0], kept[0], shown[1], kept[1]]


def test_a_second_review_beside_the_first_is_refused(site: Site, sixty: Path) -> None:
    workspace = sixty.parent  # no workspace
    with pytest.raises(ConfigError, match="so it is not a workspace"):
        Review(workspace, ReviewConfig(port=0))
    with Review(sixty, ReviewConfig(port=0)) as first:
        with pytest.raises(ConfigError) as caught:
            Review(sixty, ReviewConfig(port=0))
        assert str(caught.value) == (
            f"{sixty}: process {os.getpid()} (this very process) serves it for review. Open that address, or stop "
            "that process."
        )
        assert first.url.startswith("http://127.0.0.1:")
    with pytest.raises(
        ConfigError, match=rf"^127\.0\.0\.1, port {site.port}: cannot listen there: .*\. Choose another --port or"
    ):
        Review(sixty, ReviewConfig(port=site.port))
    with Review(sixty, ReviewConfig(port=0)):
        pass


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"audit": 1.5}, "--audit 1.5: is not a share. Give a number between 0 and 1."),
        ({"known": 0.7}, "--known 0.7: is too large. Give at most 0.5."),
        ({"reviewers": 0}, "--reviewers 0: is too small. Give 1 or more."),
        ({"port": 99999}, "--port 99999: is not a port. Give 0 to 65535; 0 takes any free one."),
        ({"port": -1}, "--port -1: is not a port. Give 0 to 65535; 0 takes any free one."),
    ],
)
def test_wrong_options(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ReviewConfig(**config)
    assert str(caught.value) == said


def test_an_unknown_class_or_port_is_refused(sixty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["review", str(sixty), "--degradation", "fog"])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and "--degradation: invalid choice: 'fog'" in said and "haze" in said
    assert main(["review", str(sixty), "--port", "99999"]) == 2
    assert "--port 99999: is not a port" in capsys.readouterr().err


@pytest.mark.parametrize("token", ["short", "with spaces in it, and more", "a" * 20 + "&b"])
def test_a_token_that_cannot_be_used_is_refused(sixty: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("GGT100K_REVIEW_TOKEN", token)
    with pytest.raises(ConfigError, match="GGT100K_REVIEW_TOKEN: cannot be used in a URL"):
        Review(sixty, ReviewConfig(port=0))
    monkeypatch.delenv("GGT100K_REVIEW_TOKEN")
    with Review(sixty, ReviewConfig(port=0)):  # the lock was given back
        pass


# --- many at once -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_5000_decisions_by_four_clients_none_lost_none_doubled(tmp_path: Path) -> None:
    workspace = make_many(tmp_path / "w", 5000)
    handed: list[list[str]] = [[], [], [], []]

    def judge(number: int, site: Site) -> None:
        sent = site.cookie(f"reviewer{number}") | {"Connection": "keep-alive"}
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
        ids, made = hexes(number), []
        drawn = random.Random(number)
        while True:
            body = {"page": f"{number:032x}", "want": 8, "decisions": made}
            for _ in range(1 + (drawn.random() < 0.05)):  # some come twice, as after a cut connection
                connection.request("POST", "/api/sitting", json.dumps(body), sent)
                answer = json.loads(connection.getresponse().read())
            assert not answer["refused"]
            if not answer["looks"]:
                break
            handed[number] += [look["key"] for look in answer["looks"]]
            made = [
                {"id": next(ids), "look": look["id"], "decision": "keep", "reason": "", "seconds": 1.5}
                for look in answer["looks"]
            ]
        connection.close()

    with served(workspace) as site:
        threads = [threading.Thread(target=judge, args=(number, site)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    keys = [key for some in handed for key in some]
    assert len(keys) == len(set(keys)) == 5000, "each pair was handed out once"
    said = facts(workspace)
    assert len(said) == 5000 == len({d.candidate for d in said}) and all(len(some) > 500 for some in handed)
    assert {d.reviewer for d in said} == {f"reviewer{number}" for number in range(4)}


def make_many(folder: Path, count: int) -> Path:
    """`count` candidates of one picture that nobody has judged."""
    with Ledger(folder, create=True) as ledger:
        image = ledger.put_image(encode_png(picture(0)))
        photo, records = make_pair(Store(), 1).photo, list[Any]()
        for number in range(count):
            key, name = f"{number:016x}", f"c{number:05}"
            records.append(replace(photo, key=key, image=image))
            records.append(candidate(name, key))
            records.append(Aligned(candidate=name, version="1", image=image, reason=""))
        ledger.add(*records)
    return folder


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


def press(page: Any, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def look_of(page: Any) -> str:
    return str(page.get_attribute("#sitting", "data-look"))


def judge(page: Any, *keys: str) -> str:
    """Presses keys that decide the pair shown, waits for the next one, and gives the look that was decided."""
    page.wait_for_selector(SHOWN)  # a key that is pressed while the next pair loads decides nothing
    before = look_of(page)
    press(page, *keys)
    page.wait_for_function("before => document.getElementById('sitting').dataset.look !== before", arg=before)
    return before


def judge_all(page: Any, *keys: str) -> None:
    while page.wait_for_selector(f"{SHOWN}, {DONE}").get_attribute("data-state") == "shown":
        judge(page, *keys)


def saved(page: Any) -> None:
    page.wait_for_selector('#sitting[data-pending="0"]')


class Process:
    """ggt100k review in a process of its own, killed hard at the end."""

    def __init__(self, workspace: Path, *options: str, token: str = "") -> None:
        environment = os.environ | {"GGT100K_REVIEW_TOKEN": token, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ggt_tools.cli", "review", str(workspace), *options],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("review: open http://127.0.0.1:"), line
        self.site = Site(line.split()[-1])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_whole_review_by_keyboard_with_a_restart_in_the_middle(tmp_path: Path, chromium: Any) -> None:
    workspace = make_workspace(tmp_path / "w", 30, decisions=("unsure", "unsure", "keep", "reject"), file=NASTY)
    token, options = "t" * 24, ("--audit", "50%", "--known", "20%", "--reviewers", "2", "--port")
    process = Process(workspace, *options, "0", token=token)
    try:
        port = str(process.site.port)
        page = process.site.enter(chromium, "Anna")
        decided, waited = [], []
        for number in range(12):
            keys = (("k",), ("r", "3"), ("u",))[number % 3]
            decided.append(judge(page, *keys))
            waited.append(float(page.get_attribute("#sitting", "data-latency")))
            page.wait_for_timeout(50)  # nobody is faster
        saved(page)
        assert sorted(waited)[-2] < 100, f"the next pair showed after {waited} ms"
        assert len(decisions_in_force(facts(workspace))) == 12
        before = look_of(page)
        press(page, "z")
        page.wait_for_selector(f'#sitting[data-look="{decided[-1]}"]')
        assert "Undone" in page.inner_text("#status")
        assert len(facts(workspace)) == 13 and len(decisions_in_force(facts(workspace))) == 11
        judge(page, "k")
        assert look_of(page) == before
        saved(page)
        process.kill()
        for _ in range(3):  # what was fetched before is judged while nobody is there
            judge(page, "k")
        page.wait_for_selector("#warning:not([hidden])")
        assert "kept in this browser" in page.inner_text("#warning")
        assert len(decisions_in_force(facts(workspace))) == 12
        process = Process(workspace, *options, port, token=token)
        saved(page)  # without anybody's doing
        assert len(decisions_in_force(facts(workspace))) == 15
        page.wait_for_selector("#warning", state="hidden")
        page.wait_for_selector(SHOWN)
        for _ in range(5):
            judge(page, "k")
        saved(page)
        said = facts(workspace)
        assert len(decisions_in_force(said)) == 20 and len(said) == 22
        assert all(0 < d.seconds < 60 for d in said if d.decision != "undone")
        assert {d.reason for d in said if d.decision == "reject"} == {parse_gate(Path("g"), TEXT).reasons[2]}
        page.reload()
        page.wait_for_selector(SHOWN)
        judge_all(page, "r", "1")
        assert "All pairs are judged" in page.inner_text("#status")
        saved(page)
        assert page.wrong == [] or all("ERR_CONNECTION" in text or "Failed to" in text for text in page.wrong)

        ben = process.site.enter(chromium, "Ben")
        judge_all(ben, "k")
        saved(ben)
        assert ben.wrong == []
        said = decisions_in_force(facts(workspace))
        real = [d for d in said if not d.known_answer]
        queues = Counter((d.reviewer, d.queue) for d in real)
        assert queues == {(name, queue): 16 if queue == UNSURE else 8 for name in ("Anna", "Ben")
                          for queue in (UNSURE, AUDIT)}  # fmt: skip
        assert sum(bool(d.known_answer) for d in said if d.reviewer == "Ben") >= 4
        ben.goto(f"{process.site.origin}/people")
        text = ben.inner_text("main")
        assert "Cohen's kappa" in text and "Anna: reject" in text and "Ben: keep" in text
        known = sum(bool(d.known_answer) for d in said if d.reviewer == "Ben")
        assert f"0 of {known} (" in text, "Ben kept the known answers"
    finally:
        process.kill()


def painted(page: Any) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pixels_of(page: Any) -> Any:
    """What the canvas shows."""
    shot = page.evaluate("document.getElementById('canvas').toDataURL()").partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(shot))) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.slow
def test_pixels_are_the_files_own_at_1_to_1_and_at_8_to_1(tmp_path: Path, chromium: Any) -> None:
    workspace = make_workspace(tmp_path / "w", 1)
    lq = picture(0)
    gt = (lq // 2 + 60).astype(np.uint8)
    with served(workspace) as site:
        page = site.enter(chromium, "Anna", viewport={"width": 900, "height": 1000}, device_scale_factor=1)
        for key, image in (("f", lq), ("g", gt)):
            for zoom in (1, 8):
                press(page, "w")
                for _ in range(8 if zoom == 8 else 0):
                    press(page, "+")
                page.keyboard.down(key)
                painted(page)
                shown = pixels_of(page)
                page.keyboard.up(key)
                large = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
                top, left = (shown.shape[0] - large.shape[0]) // 2, (shown.shape[1] - large.shape[1]) // 2
                inner = shown[top + 40 : top + large.shape[0], left : left + large.shape[1]]
                if zoom == 1:  # below the label's line
                    inner = shown[top : top + large.shape[0], left : left + large.shape[1]]
                    assert (inner == large).all()
                else:
                    assert (inner == large[40:]).all(), "no resampling, no other colours"
        press(page, "3", ",", ",")
        painted(page)
        shown = pixels_of(page)
        difference = np.abs(lq.astype(int) - gt).repeat(8, axis=0).repeat(8, axis=1)
        top, left = (shown.shape[0] - difference.shape[0]) // 2, (shown.shape[1] - difference.shape[1]) // 2
        assert (shown[top + 40 : top + difference.shape[0], left : left + difference.shape[1]] == difference[40:]).all()
        press(page, "2")
        painted(page)
        both = pixels_of(page)
        half = (both.shape[1] - 2) // 2
        halves = both[40:, :half], both[40:, half + 2 : 2 * half + 2]
        assert not (halves[0] == halves[1]).all()
        before = halves[0]
        press(page, "ArrowRight")
        painted(page)
        moved = pixels_of(page)[40:, :half]
        assert (moved[:, :-60] == before[:, 60:]).all(), "60 of the screen's pixels further"


@pytest.mark.slow
def test_evidence_is_hidden_until_one_has_judged_and_written_as_text(tmp_path: Path, chromium: Any) -> None:
    workspace = make_workspace(tmp_path / "w", 4, file=NASTY, author=NASTY)
    with served(workspace) as site:
        page = site.enter(chromium, "Anna")
        press(page, "e")
        assert page.is_hidden("#evidence") and "that you have judged" in page.inner_text("#status")
        first = judge(page, "k")
        second = look_of(page)
        press(page, "e")
        page.wait_for_selector("#evidence", state="visible")
        assert look_of(page) == first
        text = page.inner_text("#evidence")
        assert NASTY in text and "model<b>" in text and "halo 1.000 <= 3.000" in text and "unsure shifted" in text
        assert page.query_selector("#evidence script, #evidence img, #evidence b") is None
        painted(page)
        boxed = pixels_of(page)
        assert (boxed.reshape(-1, 3) == (255, 210, 63)).all(axis=1).any(), "the box of the defect is drawn"
        press(page, "k")
        assert len(facts(workspace)) == 1, "what is looked back at is not judged again"
        press(page, "e")
        page.wait_for_selector(f'#sitting[data-look="{second}"]')
        judge(page, "k")
        saved(page)
        assert len(facts(workspace)) == 2 and page.wrong == []

        page.goto(f"{site.origin}/gallery?verdict=unsure&sort=-halo")
        assert page.locator(".cards li").count() == 4
        with page.expect_download() as waiting:
            page.click("text=download the keys")
        assert Path(waiting.value.path()).read_text().split() == [f"{number:016x}" for number in range(4)]
        page.click(".cards a >> nth=0")
        page.wait_for_selector(SHOWN)
        assert page.wrong == []
    with served(workspace, show_evidence=True) as site:
        page = site.enter(chromium, "Ben")
        press(page, "e")
        page.wait_for_selector("#evidence", state="visible")
        assert NASTY in page.inner_text("#evidence") and page.wrong == []


@pytest.mark.slow
def test_a_single_pair_is_judged_undone_and_judged_again(tmp_path: Path, chromium: Any) -> None:
    workspace = make_workspace(tmp_path / "w", 2, decisions=("keep",))
    with served(workspace, audit=0.0) as site:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(site.url)
        page.fill("#name", "  Anna \n ")
        page.press("#name", "Enter")
        page.wait_for_selector("text=All pairs are judged")
        page.goto(f"{site.origin}/pair/c00001")
        page.wait_for_selector(SHOWN)
        press(page, "r", "Escape", "r", "Enter")
        saved(page)
        assert "Rejected" in page.inner_text("#status")
        press(page, "e")
        page.wait_for_selector("#evidence", state="visible")
        page.reload()
        page.wait_for_selector("text=Rejected. Z undoes it")
        press(page, "z")
        page.wait_for_selector("text=Undone")
        press(page, "u")
        page.wait_for_selector("text=Unsure. Z undoes it")
        saved(page)
        assert [(d.decision, d.queue, d.reviewer) for d in facts(workspace)] == [
            ("reject", "gallery", "Anna"), ("undone", "gallery", "Anna"), ("unsure", "gallery", "Anna"),
        ]  # fmt: skip


@pytest.mark.slow
def test_a_second_page_shows_the_decision_that_counts(tmp_path: Path, chromium: Any) -> None:
    workspace = make_workspace(tmp_path / "w", 1)
    with served(workspace) as site:
        first = site.enter(chromium, "Anna")
        first.wait_for_selector(SHOWN)
        second = first.context.new_page()
        second.goto(f"{site.origin}/pair/c00000")
        second.wait_for_selector(SHOWN)
        press(first, "k")
        saved(first)
        first.wait_for_selector(DONE)
        press(second, "u")
        second.wait_for_selector("#warning:visible")
        assert second.inner_text("#warning") == "You judged this pair before, and that decision counts: keep."
        assert second.inner_text("#status").startswith("Kept.")
        saved(second)
    assert [d.decision for d in facts(workspace)] == ["keep"]


@pytest.mark.slow
def test_pages_keep_decisions_while_the_server_is_away(tmp_path: Path, chromium: Any) -> None:
    here, there = (make_workspace(tmp_path / name, 16, decisions=("unsure", "keep")) for name in ("here", "there"))
    token, options = "t" * 24, ("--audit", "0", "--known", "0", "--port")
    process = Process(here, *options, "0", token=token)
    try:
        options = (*options, str(process.site.port))
        first = process.site.enter(chromium, "Anna")
        second, third = first.context.new_page(), first.context.new_page()
        second.goto(process.site.origin)
        third.goto(f"{process.site.origin}/pair/c00007")
        for page in (first, second, third):
            page.wait_for_selector(SHOWN)
            saved(page)
        judge(first, "k")
        saved(first)
        process.kill()
        press(first, "z")
        first.wait_for_selector("text=The server does not answer")
        judge(first, "k")
        judge(second, "u")
        press(third, "r", "1")
        for page in (first, second, third):
            page.wait_for_selector('#sitting[data-pending="1"]')
            page.close()
        process = Process(there, *options, token=token)
        page = second = first.context.new_page()
        page.goto(process.site.origin)
        page.wait_for_selector(SHOWN)
        saved(page)
        process.kill()
        page.close()
        assert facts(there) == [], "another workspace's"
        process = Process(here, *options, token=token)
        page = first.context.new_page()
        page.goto(process.site.origin)
        page.wait_for_selector(SHOWN)
        saved(page)
        assert Counter(one.decision for one in facts(here)) == {"keep": 2, "unsure": 1, "reject": 1}
        process.kill()
        press(page, "z")
        page.wait_for_selector("text=The server does not answer")
        judge(page, "k")
        process = Process(here, *options, token=token)
        page.wait_for_selector("text=Nothing was undone")
        saved(page)
        assert len(decisions_in_force(facts(here))) == 5 == len(facts(here))
    finally:
        process.kill()


@pytest.mark.slow
def test_an_image_that_cannot_be_fetched_is_fetched_again(tmp_path: Path, chromium: Any) -> None:
    workspace = make_workspace(tmp_path / "w", 8)
    with served(workspace) as site:
        page = site.enter(chromium, "Anna")
        way, waiting = "abort", list[Any]()

        def route(asked: Any) -> None:
            waiting.append(asked) if way == "slow" else getattr(asked, way)()

        page.context.route("**/look/**", route)
        while page.get_attribute("#sitting", "data-state") == "shown":
            first = look_of(page)
            press(page, "k")
        page.wait_for_selector("text=Failed to fetch Trying again; N postpones it.")
        saved(page)
        assert page.inner_text("#about") == "Loading." and page.is_disabled("[data-action=keep]")
        painted(page)
        assert len(np.unique(pixels_of(page).reshape(-1, 3), axis=0)) == 1, "nothing of the pair before"
        before = len(facts(workspace))
        press(page, "k", "u")
        way = "slow"
        while not waiting:
            page.wait_for_timeout(50)
        press(page, "e")
        page.wait_for_selector("#evidence", state="visible")
        assert look_of(page) == first
        way = "continue_"
        for asked in waiting:
            asked.continue_()
        page.wait_for_timeout(500)
        assert look_of(page) == first and page.is_visible("#evidence"), "what comes late is not shown beside it"
        press(page, "e")
        page.wait_for_selector(f"{SHOWN}:not([data-look='{first}'])")
        page.wait_for_selector("#warning", state="hidden")
        assert len(facts(workspace)) == before
        judge_all(page, "k")
        saved(page)
        assert len(facts(workspace)) == 8


NAMELESS = """() => [...document.querySelectorAll("button, input, select, img, canvas, a, dialog")].filter(
    (one) => !(one.textContent.trim() || one.getAttribute("aria-label") || one.labels?.length
    || one.getAttribute("alt") || one.getAttribute("aria-labelledby"))).map((one) => one.outerHTML)"""


@pytest.mark.slow
def test_every_control_has_a_name_and_no_page_is_too_wide(tmp_path: Path, chromium: Any) -> None:
    workspace = make_workspace(tmp_path / "w", 3, file="x" * 300 + NASTY)
    with served(workspace) as site:
        for width, height, scheme in ((1280, 800, "light"), (2560, 1440, "dark"), (820, 1180, "light")):
            page = site.enter(
                chromium, "Zoë «the reviewer»", viewport={"width": width, "height": height}, color_scheme=scheme,
                has_touch=width == 820, is_mobile=width == 820,
            )  # fmt: skip
            press(page, "?")
            assert page.is_visible("#help td kbd"), "the list of keys names them, also on a tablet"
            assert page.is_visible("button kbd") == (width != 820)
            for path in ("/", "/gallery", "/people", "/pair/c00000"):
                page.goto(site.origin + path)
                page.wait_for_load_state()
                wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                assert wide <= 0, f"{path} at {width} is {wide} px too wide"
                nameless = page.evaluate(NAMELESS)
                assert nameless == []
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            light = sum(map(int, re.findall(r"\d+", ground)[:3])) > 380
            assert light == (scheme == "light")
            assert page.evaluate("document.activeElement.tagName") == "BODY"
            assert page.wrong == []
