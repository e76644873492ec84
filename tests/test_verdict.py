"""Verdicts: every reason, unsure candidates, the best of many, changes with another gate, and synthetic faults."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.cli import main
from ggt_tools.imaging.degradations import classify, measure
from ggt_tools.metrics.scorer import score
from ggt_tools.policy.decision import Fact
from ggt_tools.policy.gate import Gate, Rule, load_gate, parse_gate
from ggt_tools.policy.verdicts import DEFAULT_GATE, asked_gains, verdict
from ggt_tools.policy.what_if import NOT_JUDGED, Example, what_if
from ggt_tools.records import Aligned, Candidate, Score, Verdict
from ggt_tools.restorers import restorer
from ggt_tools.stages.verdict import compare
from ggt_tools.stages.verdict.run import VerdictConfig, run
from ggt_tools.workspace.ledger import Ledger
from tests.photographs import (
    Photograph,
    blurred,
    credits,
    jpeg,
    noisy,
    painted_over,
    photograph,
    shifted,
    tinted,
)

from .making import Store, evidence, lines_of, make_pair

GATE = load_gate(DEFAULT_GATE)
TEXT = """
[must]
structure = { min = 0.3, reason = "not_the_same_scene", why = "w" }
shift = { max = 1.0, reason = "shifted", why = "w" }
halo = { max = 5.0, unsure_above = 3.0, reason = "halos", why = "w" }
tile_worst = { min = 0.6, unsure_below = 0.7, reason = "object_changed", why = "w" }
vlm_fidelity = { min = 40, unsure_below = 70, reason = "unfaithful", why = "w" }

[degradation.haze]
vlm_fidelity = false
tile_worst = { min = 0.5 }

[gain.haze]
reason = "haze_stays"
why = "w"
any = { haze_gain = { min = 0.05 }, contrast_gain = { min = 0.25 } }

[gain.noise]
reason = "noise_stays"
why = "w"
any = { noise_gain = { min = 0.2, unsure_below = 0.5 }, chroma_noise_gain = { min = 0.3 } }

[gain.other]
reason = "no_gain"
why = "w"
any = { sharpness_gain = { min = 0.1 } }

[best]
by = ["quality_gain", "structure"]
"""
SMALL = parse_gate(Path("small.toml"), TEXT)
GOOD = {
    "structure": 0.95, "shift": 0.02, "halo": 1.0, "tile_worst": 0.9, "vlm_fidelity": 90.0, "haze_gain": 0.1,
    "contrast_gain": 0.4, "noise_gain": 0.6, "chroma_noise_gain": 0.4, "sharpness_gain": 0.4, "quality_gain": 1.0,
}  # fmt: skip


def candidate(name: str, key: str = "k", image: str = "0" * 64, reason: str = "") -> Candidate:
    return Candidate(
        id=name, key=key, restorer="classical-1", strategy="", prompt="", round=0, seed=0,
        created="2026-01-01T00:00:00Z", image=image, reason=reason,
    )  # fmt: skip


def judged(wrong: str | tuple[str, ...] = "mixed", gate: Gate = SMALL, **changes: float) -> Verdict:
    (said,) = verdict([candidate("c")], {"c": {**GOOD, **changes}}, {"k": wrong}, gate)
    return said


# --- the package's gate -----------------------------------------------------------------------------------------------


def inside(gate: Gate, wrong: tuple[str, ...]) -> dict[str, float]:
    """Scores that break no rule of a class, and of which no fact adds anything."""
    rules = gate.must[wrong[0]]
    values = {}
    for model in gate.decision[wrong[0]].models:
        for fact in model.facts:
            worst = max if fact.full > fact.start else min
            for metric in fact.metrics:
                values[metric] = -worst(-values.get(metric, fact.start), -fact.start)
    for metric in {rule.metric for rule in rules}:
        low = max(rule.unsure_below for rule in rules if rule.metric == metric)
        high = min(rule.unsure_above for rule in rules if rule.metric == metric)
        assert low <= high, f"{wrong}: no value of {metric} is good"
        middle = (low + high) / 2 if math.isfinite(low + high) else low if math.isfinite(low) else high
        values[metric] = min(max(values.get(metric, middle), low), high)
    return values


def breaches() -> Iterator[tuple[str, tuple[str, ...], dict[str, float], str]]:
    """For each rule of the package's gate scores that break it alone: just outside one of its bounds."""
    for degradation, rules in GATE.must.items():
        for rule in rules:
            soft = _is_soft(rule)
            bounds = (rule.unsure_below, rule.unsure_above) if soft else (rule.min, rule.max)
            for name, bound, away in zip(("min", "max"), bounds, (-1, 1), strict=True):
                if math.isfinite(bound):
                    value = bound + away * max(abs(bound), 1.0) / 1000
                    yield f"{degradation} {rule.metric} {name}", (degradation,), {rule.metric: value}, rule.reason


def _is_soft(rule: Rule) -> bool:
    """Whether it sends to people, and rejects nothing."""
    return math.isinf(rule.min) and math.isinf(rule.max)


BREACHES = {name: (wrong, changes, reason) for name, wrong, changes, reason in breaches()}


@pytest.mark.parametrize("breach", BREACHES)
def test_each_rule_of_the_default_gate_gives_its_reason(breach: str) -> None:
    wrong, changes, reason = BREACHES[breach]
    good = inside(GATE, wrong)
    said = [next(verdict([candidate("c")], {"c": s}, {"k": wrong}, GATE)) for s in (good, {**good, **changes})]
    (metric,) = changes
    soft = any(_is_soft(rule) for rule in GATE.must[wrong[0]] if rule.metric == metric)
    decision = "unsure" if soft else "reject"
    assert [(v.decision, v.reason) for v in said] == [("keep", ""), (decision, reason)]


FACTS = [
    (degradation, model.name, fact)
    for degradation, decided in GATE.decision.items()
    for model in decided.models
    for fact in model.facts
]


@pytest.mark.parametrize(("degradation", "name", "fact"), FACTS, ids=lambda value: getattr(value, "name", value))
def test_each_fact_of_the_default_gate_gives_its_reason(degradation: str, name: str, fact: Fact) -> None:
    """Where it alone adds anything to a probability, and that is too high."""
    scores = inside(GATE, (degradation,))
    excuses = [excuse for model in GATE.decision[degradation].models for excuse in model.unless]
    scores |= {excuse.metric: excuse.full for excuse in excuses}  # nothing that excuses
    others = {fact.metric, *(excuse.metric for excuse in excuses)}  # of these, other facts may add something
    worse = max if fact.full > fact.start else min
    scores[fact.metric] = worse(fact.full, scores.get(fact.metric, fact.full) if name == "no_gain" else fact.full)
    decided = GATE.decision[degradation]
    strict = tuple(replace(model, unsure_above=0.0 if model.name == name else 1.0, max=1.0) for model in decided.models)
    alone = tuple(
        replace(model, facts=tuple(each for each in model.facts if each.name == fact.name or each.metric not in others))
        for model in strict
    )
    gate = replace(GATE, decision={**GATE.decision, degradation: replace(decided, models=alone)})
    (said,) = verdict([candidate("c")], {"c": scores}, {"k": degradation}, gate)
    hard = {rule.metric for rule in GATE.must[degradation]}
    assert said.reason == fact.reason or fact.metric in hard
    assert f"{name}: {fact.metric} {scores[fact.metric]:.3f} adds {fact.weight:.3f}" in lines_of(said)


def test_every_reason_of_the_default_gate_is_tested() -> None:
    told = {reason for _, _, reason in BREACHES.values()} | {fact.reason for _, _, fact in FACTS}
    assert set(GATE.reasons) - told <= {"unfaithful", "no_gain", "class_not_fitted"}


def test_unscreened_candidates_need_no_screening_scores() -> None:
    good = inside(GATE, ("haze",))
    unseen = {metric: value for metric, value in good.items() if not metric.startswith("vlm_")}
    assert len(unseen) == len(good) - 4
    (said,) = verdict([candidate("c")], {"c": unseen}, {"k": "haze"}, GATE)
    assert said.decision == "keep"
    assert not [line for line in lines_of(said) if line.startswith("vlm_")]
    (said,) = verdict([candidate("c")], {"c": unseen | {"vlm_votes": 0.0}}, {"k": "haze"}, GATE)
    assert (said.decision, said.stage, said.reason) == ("unsure", "screen", "vlm_unusable")


# --- what is said of one candidate ------------------------------------------------------------------------------------


def test_evidence_lists_each_applied_rule() -> None:
    said = judged(("haze", "noise"), structure=0.2, shift=math.nan, halo=4.0, noise_gain=0.3, chroma_noise_gain=0.0)
    assert lines_of(said) == (
        "structure 0.200 < 0.300", "shift unmeasured", "halo 4.000 > 3.000 unsure", "tile_worst 0.900 >= 0.700",
        "haze_gain 0.100 >= 0.050", "contrast_gain 0.400 >= 0.250",
        "noise_gain 0.300 < 0.500 unsure", "chroma_noise_gain 0.000 < 0.300",
    )  # fmt: skip
    assert (said.decision, said.stage, said.reason) == ("reject", "score", "not_the_same_scene")
    assert said.gate == SMALL.id


def test_a_gain_is_required_for_each_degradation() -> None:
    assert judged("haze", noise_gain=0, chroma_noise_gain=0).decision == "keep"
    assert judged(("haze", "noise"), noise_gain=0, chroma_noise_gain=0).reason == "noise_stays"
    assert judged(("haze", "noise"), noise_gain=0).decision == "keep"  # one of the two is enough
    assert judged("mixed", sharpness_gain=0.0).reason == "no_gain"


def test_the_class_selects_the_rules() -> None:
    assert judged("mixed", vlm_fidelity=10).reason == "unfaithful"
    assert judged("haze", vlm_fidelity=10).decision == "keep"  # a rule that is taken out
    assert judged("mixed", tile_worst=0.55).decision == "reject"
    assert judged("haze", tile_worst=0.55).decision == "unsure"  # the class moves min, and the band with it


@pytest.mark.parametrize(
    ("changes", "decision", "stage", "reason"),
    [
        ({"halo": 3.0}, "keep", "", ""),
        ({"halo": 3.1}, "unsure", "score", "halos"),
        ({"halo": 5.0}, "unsure", "score", "halos"),
        ({"halo": 5.1}, "reject", "score", "halos"),
        ({"tile_worst": 0.7}, "keep", "", ""),
        ({"tile_worst": 0.69}, "unsure", "score", "object_changed"),
        ({"tile_worst": 0.59}, "reject", "score", "object_changed"),
        ({"vlm_fidelity": 60}, "unsure", "screen", "unfaithful"),
        ({"vlm_fidelity": 30}, "reject", "screen", "unfaithful"),
        ({"vlm_fidelity": math.nan}, "unsure", "screen", "unmeasured_vlm_fidelity"),
        ({"halo": 4.0, "tile_worst": 0.5}, "reject", "score", "object_changed"),
        ({"halo": 4.0, "shift": math.nan}, "unsure", "score", "unmeasured_shift"),
    ],
)
def test_values_between_good_and_bad_are_unsure(
    changes: dict[str, float], decision: str, stage: str, reason: str
) -> None:
    said = judged(**changes)
    assert (said.decision, said.stage, said.reason) == (decision, stage, reason)


def test_a_gain_in_the_band_is_unsure_without_another_gain() -> None:
    wrong = ("mixed", "noise")
    assert judged(wrong, noise_gain=0.3).decision == "keep"
    said = judged(wrong, noise_gain=0.3, chroma_noise_gain=0.0)
    assert (said.decision, said.stage, said.reason) == ("unsure", "score", "noise_stays")
    assert judged(wrong, noise_gain=0.1, chroma_noise_gain=0.0).decision == "reject"
    said = judged(wrong, noise_gain=0.1, chroma_noise_gain=math.nan)
    assert (said.decision, said.reason) == ("unsure", "unmeasured_chroma_noise_gain")


@pytest.mark.parametrize("metric", [rule.metric for rule in SMALL.must["mixed"]])
def test_unmeasured_metrics_are_unsure(metric: str) -> None:
    said = judged(**{metric: math.nan})
    assert (said.decision, said.reason) == ("unsure", f"unmeasured_{metric}")
    scores = {name: value for name, value in GOOD.items() if name != metric}
    assert next(verdict([candidate("c")], {"c": scores}, {"k": "mixed"}, SMALL)) == said


def test_a_broken_rule_outweighs_an_unmeasured_one() -> None:
    assert judged(structure=math.nan, halo=9.0).reason == "halos"


def test_no_scores_at_all() -> None:
    (said,) = verdict([candidate("c")], [], {"k": "mixed"}, SMALL)
    assert (said.decision, said.reason) == ("unsure", "unmeasured_structure")


def test_a_candidate_without_an_image_or_out_of_its_frame() -> None:
    listed = [candidate("a", image="", reason="safety"), candidate("b", image=""), candidate("c")]
    said = verdict(listed, {"c": GOOD}, {"k": "mixed"}, SMALL, not_aligned={"c": "misaligned"})
    assert [(v.decision, v.stage, v.reason) for v in said] == [
        ("reject", "restore", "safety"), ("reject", "restore", "no_image"), ("reject", "align", "misaligned"),
    ]  # fmt: skip


VALUE = st.floats(-10, 100) | st.just(math.nan)


@given(st.fixed_dictionaries(dict.fromkeys(GOOD, VALUE)), st.sampled_from(["mixed", "haze"]), st.booleans())
def test_a_worse_score_never_improves_the_verdict(scores: dict[str, float], degradation: str, noisy: bool) -> None:
    """One value more on the bad side of a lower bound: the verdict stays, or goes down."""
    order = ["reject", "unsure", "keep"]
    wrong = (degradation, "noise") if noisy else (degradation,)
    (before,) = verdict([candidate("c")], {"c": scores}, {"k": wrong}, SMALL)
    for metric in ("structure", "tile_worst", "vlm_fidelity", "noise_gain", "haze_gain", "sharpness_gain"):
        (after,) = verdict([candidate("c")], {"c": {**scores, metric: scores[metric] - 1.0}}, {"k": wrong}, SMALL)
        assert order.index(after.decision) <= order.index(before.decision)


def plainly(scores: Mapping[str, float], wrong: tuple[str, ...], gate: Gate) -> tuple[str, str, str, list[str]]:
    """What is to be said of one candidate: rule by rule and value by value."""
    evidence: list[str] = []
    failed: list[tuple[str, str]] = []
    doubts: list[tuple[str, str]] = []

    def ask(rule: Rule) -> str:
        value = scores.get(rule.metric, math.nan)
        if math.isnan(value):
            if not rule.if_measured:
                evidence.append(f"{rule.metric} unmeasured")
            return "holds" if rule.if_measured else "unmeasured"
        answers = ["holds"]
        for inner, outer, sign, holds, breaks in (
            (rule.unsure_below, rule.min, -1, ">=", "<"), (rule.unsure_above, rule.max, 1, "<=", ">"),
        ):  # fmt: skip
            if math.isfinite(inner):
                answer = "holds" if sign * value <= sign * inner else "unsure"
                if sign * value > sign * outer:
                    answer = "breaks"
                bound = f"{holds} {inner:.3f}" if answer == "holds" else f"{breaks} {inner:.3f} unsure"
                evidence.append(f"{rule.metric} {value:.3f} {f'{breaks} {outer:.3f}' if answer == 'breaks' else bound}")
                answers.append(answer)
        return next(answer for answer in ("breaks", "unsure", "holds") if answer in answers)

    def note(rule: Rule, answer: str) -> None:
        if answer == "breaks":
            failed.append((rule.stage, rule.reason))
        elif answer != "holds":
            doubts.append((rule.stage, rule.reason if answer == "unsure" else f"unmeasured_{rule.metric}"))

    for rule in gate.must[wrong[0]]:
        note(rule, ask(rule))
    for fault in asked_gains(wrong, gate):
        rules = gate.gains[fault].any
        said = [ask(rule) for rule in rules]
        if "holds" not in said:
            open_ones = [at for at, answer in enumerate(said) if answer != "breaks"]
            for at in open_ones or [0]:
                note(rules[at], said[at])
    decision = "reject" if failed else "unsure" if doubts else "keep"
    return decision, *(failed or doubts or [("", "")])[0], evidence


ODD = parse_gate(
    Path("odd.toml"),
    TEXT.replace("unsure_below = 70,", "unsure_below = 70, max = 95, if_measured = true,")
    .replace("max = 1.0, reason", "unsure_above = 1.0, min = -1.0, unsure_below = -0.5, reason")
    .replace('"structure"]', '"vlm_votes"]'),
)
EDGES = [0.3, 0.6, 0.7, 1.0, 3.0, 5.0, 40.0, 70.0, 95.0, -0.0004, math.inf, -math.inf]
ATTEMPT = st.tuples(
    st.sampled_from("klm"), st.sampled_from(["", "", "", "no image", "misaligned"]), st.booleans(),
    st.dictionaries(st.sampled_from([*GOOD, "vlm_votes", "other"]), VALUE | st.sampled_from(EDGES), max_size=5),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(ATTEMPT, max_size=12), st.sampled_from([SMALL, ODD]))
def test_judging_many_equals_judging_each(listed: list[tuple[str, str, bool, dict[str, float]]], gate: Gate) -> None:
    seen = {"k": ("haze", "noise"), "l": ("mixed",), "m": ("haze", "noise")}
    candidates, scores, not_aligned, expected = [], {}, {}, []
    for at, (key, lost, good, values) in enumerate(listed):
        name = f"{at:02}"
        candidates.append(candidate(name, key, image="" if lost == "no image" else "i", reason="safety"))
        scores[name] = {**(GOOD if good else {}), **values}
        said = plainly(scores[name], seen[key], gate)
        if lost:
            not_aligned |= {name: lost} if lost == "misaligned" else {}
            said = ("reject", "align", lost, []) if lost == "misaligned" else ("reject", "restore", "safety", [])
        expected.append(said)
    for key in seen:
        kept = [at for at, said in enumerate(expected) if said[0] == "keep" and listed[at][0] == key]
        by = [[scores[f"{at:02}"].get(metric, math.nan) for metric in gate.best] for at in kept]
        ranks = [tuple(math.inf if math.isnan(value) else -value for value in values) for values in by]
        for _, at in sorted(zip(ranks, kept, strict=True))[1:]:
            best = f"the best is {min(zip(ranks, kept, strict=True))[1]:02}"
            expected[at] = ("reject", "verdict", "not_the_best", [*expected[at][3], best])
    found = list(verdict(candidates, scores, seen, gate, not_aligned=not_aligned))
    assert [(v.candidate, v.gate) for v in found] == [(c.id, gate.id) for c in candidates]
    assert [(v.decision, v.stage, v.reason, list(lines_of(v))) for v in found] == expected


def test_the_best_of_several_is_kept() -> None:
    scores = {
        "a": {**GOOD, "quality_gain": 1.0, "structure": 0.9},
        "b": {**GOOD, "quality_gain": 2.0, "structure": 0.8},
        "c": {**GOOD, "quality_gain": 2.0, "structure": 0.9},
        "d": {**GOOD, "quality_gain": 9.0, "halo": 9.0},
        "e": {**GOOD, "quality_gain": 0.1},
        "f": {**GOOD, "quality_gain": math.nan},
    }
    keys = {"a": "k", "b": "k", "c": "k", "d": "k", "e": "other", "f": "k"}
    said = {
        v.candidate: v
        for v in verdict([candidate(n, k) for n, k in keys.items()], scores, {"k": "mixed", "other": "mixed"}, SMALL)
    }
    assert list(said) == list(keys)
    assert {n: v.reason for n, v in said.items()} == {
        "a": "not_the_best", "b": "not_the_best", "c": "", "d": "halos", "e": "", "f": "not_the_best",
    }  # fmt: skip
    assert (said["a"].decision, said["a"].stage) == ("reject", "verdict")
    assert lines_of(said["a"])[-1] == "the best is c"


def test_ties_keep_the_lower_id() -> None:
    scores = {"x": GOOD, "y": GOOD}
    for order in ("xy", "yx"):
        said = verdict([candidate(name) for name in order], scores, {"k": "mixed"}, SMALL)
        assert [v.candidate for v in said if v.decision == "keep"] == ["x"]


def test_scores_as_records_or_mapping_are_equal() -> None:
    records = [Score(candidate="c", metric=m, metric_version="core-1", value=v) for m, v in GOOD.items()]
    stale = Score(candidate="c", metric="halo", metric_version="core-0", value=99.0)
    (said,) = verdict([candidate("c")], [stale, *records], {"k": "mixed"}, SMALL)  # the later record holds
    assert said == judged()


# --- many candidates --------------------------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's: work, whatever the machine."""
    count = 0

    def count_call(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count_call)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("of_one", [True, False])
def test_the_work_grows_linearly(of_one: bool) -> None:
    def work(count: int) -> int:
        listed = [candidate(f"{at:05}", "k" if of_one else f"k{at}") for at in range(count)]
        scores = {c.id: GOOD for c in listed}
        seen = {c.key: ("haze", "noise") for c in listed}
        return calls(lambda: list(verdict(listed, scores, seen, SMALL)))

    few, many = work(400), work(1600)
    assert many < 4.2 * few
    assert many / 1600 < 100  # calls a candidate, of 8 rules


# --- what another gate would change -----------------------------------------------------------------------------------


def under(text: str, scores: Mapping[str, Mapping[str, float]]) -> dict[str, Verdict]:
    listed = [candidate(name, f"key-{name}") for name in scores]
    gate = parse_gate(Path("other.toml"), text)
    return {v.candidate: v for v in verdict(listed, scores, {c.key: "mixed" for c in listed}, gate)}


def test_what_if_counts_changes_and_shows_decisive_values() -> None:
    scores = {f"c{at}": {**GOOD, "halo": float(at), "shift": math.nan if at == 9 else 0.0} for at in range(10)}
    now = under(TEXT, scores)
    then = under(TEXT.replace("max = 5.0, unsure_above = 3.0", "max = 2.5"), scores)
    changes = what_if(now, then.values(), examples=1)
    assert [(c.before, c.after, c.count) for c in changes] == [
        ("unsure halos", "reject halos", 2),
        ("keep", "reject halos", 1),
    ]
    assert changes[1].examples == (
        Example(candidate="c3", before=evidence("halo 3.000 <= 3.000"), after=evidence("halo 3.000 > 2.500")),
    )
    assert changes[0].examples[0].before == evidence("halo 4.000 > 3.000 unsure")
    assert what_if(now, now.values()) == ()
    back = what_if(then, now.values())
    assert [(c.before, c.after, c.count) for c in back] == [
        ("reject halos", "unsure halos", 2),
        ("reject halos", "keep", 1),
    ]


def test_what_if_shows_another_best_and_what_was_not_judged() -> None:
    listed = [candidate("a"), candidate("b")]
    scores = {
        "a": {**GOOD, "quality_gain": 2.0, "structure": 0.5},
        "b": {**GOOD, "quality_gain": 1.0, "structure": 0.9},
    }
    other = parse_gate(Path("other.toml"), TEXT.replace('"quality_gain", "structure"', '"structure"'))
    now, then = ({v.candidate: v for v in verdict(listed, scores, {"k": "mixed"}, gate)} for gate in (SMALL, other))
    changes = what_if(now, then.values())
    assert [(c.before, c.after, c.examples[0].candidate) for c in changes] == [
        ("keep", "reject not_the_best", "a"), ("reject not_the_best", "keep", "b"),
    ]  # fmt: skip
    assert changes[0].examples[0] == Example(candidate="a", before=(), after=evidence("the best is b"))
    assert [(c.before, c.after) for c in what_if({}, [now["a"]])] == [(NOT_JUDGED, "keep")]


# --- the verb ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Three photographs; of the first two candidates, a the better one."""
    with Ledger(tmp_path / "w", create=True) as ledger:
        for seed, names in enumerate((("a", "b"), ("c",), ("d",))):
            photo = make_pair(Store(), seed, "mixed").photo
            ledger.add(photo)
            for name in names:
                changes = {"quality_gain": 2.0 if name == "a" else 1.0, "halo": {"c": 4.0, "d": 9.0}.get(name, 1.0)}
                values = {**GOOD, **changes}
                ledger.add(
                    candidate(name, photo.key),
                    Aligned(candidate=name, version="1", image="0" * 64, reason=""),
                    *(Score(candidate=name, metric=m, metric_version="1", value=v) for m, v in values.items()),
                )
    (tmp_path / "gate.toml").write_text(TEXT, encoding="utf-8")
    return tmp_path / "w"


def verdicts(workspace: Path) -> dict[str, str]:
    with Ledger(workspace) as ledger:
        return {v.candidate: f"{v.decision} {v.reason}".strip() for v in ledger.all(Verdict)}


def test_the_verb_judges_and_ends_with_a_table(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verdict", str(workspace), "--gate", str(workspace.parent / "gate.toml")]) == 0
    assert capsys.readouterr().out == (
        "verdict: 1 kept\n  rejected      1  halos\n  rejected      1  not_the_best\n  unsure      1  halos\n"
    )
    assert verdicts(workspace) == {"a": "keep", "b": "reject not_the_best", "c": "unsure halos", "d": "reject halos"}
    with Ledger(workspace) as ledger:
        assert ledger.gate_text(SMALL.id) == TEXT


def test_what_if_changes_nothing_and_reports_changes(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gate, other = workspace.parent / "gate.toml", workspace.parent / "other.toml"
    other.write_text(TEXT.replace("max = 5.0, unsure_above = 3.0", "max = 9.5"), encoding="utf-8")
    assert main(["verdict", str(workspace), "--gate", str(gate)]) == 0
    before, keys = verdicts(workspace), {}
    with Ledger(workspace) as ledger:
        keys = {c.id: c.key for c in ledger.all(Candidate)}
    capsys.readouterr()
    assert main(["verdict", str(workspace), "--what-if", str(other)]) == 0
    said = capsys.readouterr().out
    assert said == (
        f"verdict: with {other} 2 of 4 would change\n"
        "      keep  reject  unsure  not judged\n"
        "now      1       2       1           0\n"
        "then     3       1       0           0\n"
        "     1  reject halos -> keep\n"
        f"          {keys['d']} d: halo 9.000 > 5.000; then halo 9.000 <= 9.500\n"
        "     1  unsure halos -> keep\n"
        f"          {keys['c']} c: halo 4.000 > 3.000 unsure; then halo 4.000 <= 9.500\n"
    )
    assert verdicts(workspace) == before
    assert main(["verdict", str(workspace), "--gate", str(other), "--what-if", str(other)]) == 0
    assert capsys.readouterr().out.startswith(f"verdict: with {other} 0 of 4 would change\n")


def test_what_if_on_what_was_never_judged(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verdict", str(workspace), "--what-if", str(workspace.parent / "gate.toml")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["now", "0", "0", "0", "4"] and lines[3].split() == ["then", "1", "2", "1", "0"]
    assert "     1  not judged -> reject halos" in lines
    assert verdicts(workspace) == {}


def test_run_counts_by_reason_and_a_dry_run_stores_nothing(workspace: Path) -> None:
    config = VerdictConfig(gate=workspace.parent / "gate.toml", dry_run=True)
    for limit in (None, 10):
        summary = run(workspace, dataclasses.replace(config, limit=limit))
        assert (summary.count("kept"), summary.count("rejected"), summary.count("unsure", "halos")) == (1, 2, 1)
        assert summary.reasons["rejected"] == {"halos": 1, "not_the_best": 1} and verdicts(workspace) == {}
    assert run(workspace, dataclasses.replace(config, dry_run=False)).count("kept") == 1
    assert len(verdicts(workspace)) == 4


def test_a_comparison_of_two_gates_holds_counts_changes_and_keys(workspace: Path) -> None:
    gate, other = workspace.parent / "gate.toml", workspace.parent / "other.toml"
    other.write_text(TEXT.replace("max = 5.0, unsure_above = 3.0", "max = 9.5"), encoding="utf-8")
    comparison = compare.run(workspace, compare.CompareConfig(what_if=other, gate=gate))
    assert comparison.candidates == 4 and verdicts(workspace) == {}
    assert comparison.before == {"keep": 1, "reject": 2, "unsure": 1} and comparison.after == {"keep": 3, "reject": 1}
    assert [(change.before, change.after, change.count) for change in comparison.changes] == [
        ("reject halos", "keep", 1), ("unsure halos", "keep", 1),
    ]  # fmt: skip
    assert comparison.keys.keys() == {"c", "d"}, "of the examples alone"
    assert compare.run(workspace, compare.CompareConfig(what_if=other, limit=1)).before == {NOT_JUDGED: 1}


def test_a_limit_never_keeps_two_candidates_of_a_photograph(workspace: Path) -> None:
    gate = str(workspace.parent / "gate.toml")
    for _ in range(4):
        assert main(["verdict", str(workspace), "--gate", gate, "--limit", "1"]) == 0
        assert list(verdicts(workspace).values()).count("keep") <= 1
    assert verdicts(workspace) == {"a": "keep", "b": "reject not_the_best", "c": "unsure halos", "d": "reject halos"}
    with Ledger(workspace) as ledger:  # a better one of the first photograph arrives
        key = next(c.key for c in ledger.all(Candidate) if c.id == "a")
        better = {**GOOD, "quality_gain": 3.0}
        ledger.add(
            candidate("e", key),
            *(Score(candidate="e", metric=m, metric_version="1", value=v) for m, v in better.items()),
        )
    kept = []
    for _ in range(3):  # first a and b hear of it, as e is not kept before the other is no more
        assert main(["verdict", str(workspace), "--gate", gate, "--limit", "1"]) == 0
        kept.append([name for name, said in verdicts(workspace).items() if said == "keep"])
    assert kept == [[], [], ["e"]]


# --- what the witnesses catch -----------------------------------------------------------------------------------------

PHOTOGRAPHS = ("friends-1", "picosdeeuropa-1", "sunset-2", "wine-1")


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[Photograph, Photograph]]:
    """Photographs and results of them that are kept."""
    maker = restorer("classical")
    pairs = {}
    for name in PHOTOGRAPHS:
        lq = photograph(name)
        gt = maker.restore(lq, "", seed=0).image
        assert gt is not None
        pairs[name] = lq, gt
    return pairs


def decided(name: str, lq: Photograph, gt: Photograph) -> Verdict:
    wrong = (credits()[name], *classify(measure(lq))[1])
    (said,) = verdict([candidate(name)], score([(name, lq, gt)], ["core"]), {"k": wrong}, GATE)
    return said


def hatched(image: Photograph, levels: int) -> Photograph:
    """With a diagonal square wave of 7 px over it."""
    rows, columns = np.indices(image.shape[:2])
    wave = np.where((rows + columns) / 7 % 1 < 0.5, levels, -levels)[..., None]
    return np.asarray(np.clip(image.astype(int) + wave, 0, 255), np.uint8)


def greyed(image: Photograph) -> Photograph:
    return np.repeat(image.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)


HARMLESS: dict[str, Callable[[Photograph, Photograph], Photograph]] = {
    "as it is": lambda lq, gt: gt,
    "jpeg q95": lambda lq, gt: jpeg(gt, 95),
    "1 % brighter": lambda lq, gt: tinted(gt, 1.01, 1.01, 1.01),
}
FAULTS: dict[str, Callable[[Photograph, Photograph], Photograph]] = {
    "unchanged": lambda lq, gt: lq,
    "upside down": lambda lq, gt: gt[::-1].copy(),
    "Gaussian of 3 px": lambda lq, gt: blurred(gt, 3.0),
    "96 px painted over": lambda lq, gt: painted_over(gt, 220, 220, 96),
    "moved by 8 px": lambda lq, gt: shifted(gt, 0, 8),
    "hatched": lambda lq, gt: hatched(gt, 12),
    "grey": lambda lq, gt: greyed(gt),
    "noise of 25": lambda lq, gt: noisy(gt, 25),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", HARMLESS)
def test_good_results_and_harmless_changes_are_not_rejected(
    change: str, results: dict[str, tuple[Photograph, Photograph]]
) -> None:
    said = {name: decided(name, lq, HARMLESS[change](lq, gt)) for name, (lq, gt) in results.items()}
    assert "reject" not in {found.decision for found in said.values()}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_synthetic_fault_is_not_kept(fault: str, results: dict[str, tuple[Photograph, Photograph]]) -> None:
    for name, (lq, gt) in results.items():
        assert decided(name, lq, FAULTS[fault](lq, gt)).decision != "keep", name


def test_the_wrong_photograph_is_not_kept(results: dict[str, tuple[Photograph, Photograph]]) -> None:
    names = list(results)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        lq, gt = results[name][0], results[other][1]
        height, width = min(lq.shape[0], gt.shape[0]), min(lq.shape[1], gt.shape[1])
        assert decided(name, lq[:height, :width], gt[:height, :width]).decision != "keep"
