"""The gate's decision: its table in gate.toml, probabilities from facts, evidence, and the fit to labels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError
from ggt_tools.policy.bounds import read_bounds
from ggt_tools.policy.calibration import LabelledCandidates, calibrate
from ggt_tools.policy.fitted_gate import fitted_gate_text
from ggt_tools.policy.gate import Gate, parse_gate
from ggt_tools.policy.logistic import Fit, fit_logistic
from ggt_tools.policy.refit import refit
from ggt_tools.policy.verdicts import verdict
from ggt_tools.records import Verdict
from ggt_tools.stages.pack.priors import without_frame
from ggt_tools.stages.validate.evidence import evidence_faults
from ggt_tools.workspace.verdict_table import to_verdict, to_verdict_row

from .making import lines_of
from .test_verdict import candidate

FACTS = """
[must]
structure = { min = 0.1, reason = "not_the_same_scene", why = "w" }

[best]
by = ["structure"]

[decision]
fitted_to = ["owner/pairs"]

[decision.unfaithful]
halo = { from = 2.0, to = 6.0, weight = 4.0, reason = "halos" }
tile_worst = { from = 0.8, to = 0.3, weight = 3.0, reason = "object_changed" }
colourised = { metric = "colour_kept", from = 0.5, to = 1.5, weight = 1.0, reason = "colours_changed" }
shift = { from = 1.0, to = 3.0, weight = 2.0, reason = "shifted", if_measured = true }

[decision.no_gain]
noise_gain = { from = 1.0, to = 0.0, weight = 6.0, reason = "noise_stays" }
"""
CLASS = """
[decision.class.{name}]
fit = "own"
data = "ten candidates"
false_accepts = "0 of 5"
false_rejects = "0 of 5"
unfaithful = {{ intercept = -3.0, unsure_above = 0.2, max = 0.8 }}
no_gain = {{ intercept = -4.0, unsure_above = 0.2, max = 0.8 }}
"""
HAZE = """
[decision.class.haze]
fit = "pooled"
data = "ten candidates"
false_accepts = "0 of 5"
false_rejects = "0 of 5"
unfaithful = { intercept = -3.0, unsure_above = 0.2, max = 0.8, from = { halo = 4.0 }, weights = { tile_worst = 0.0 } }
no_gain = { intercept = -4.0, unsure_above = 0.2, max = 0.8 }
"""
SNOW = """
[decision.class.snow]
fit = "none"
unfaithful = { intercept = -3.0 }
no_gain = { intercept = -4.0 }
"""
TEXT = FACTS + "".join(CLASS.format(name=name) for name in DEGRADATIONS if name not in ("haze", "snow")) + HAZE + SNOW
GATE = parse_gate(Path("decision.toml"), TEXT)
GOOD = {"structure": 0.9, "halo": 1.0, "tile_worst": 0.9, "colour_kept": 0.0, "shift": 0.1, "noise_gain": 2.0}


def judged(wrong: str = "mixed", gate: Gate = GATE, **changes: float) -> Verdict:
    (found,) = verdict([candidate("c")], {"c": {**GOOD, **changes}}, {"k": wrong}, gate)
    return found


def chance(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


# --- what it says of a candidate --------------------------------------------------------------------------------------


def test_a_good_candidate_is_kept_and_nothing_adds_to_its_probabilities() -> None:
    found = judged()
    assert (found.decision, found.reason) == ("keep", "")
    assert lines_of(found) == (
        "structure 0.900 >= 0.100",
        f"unfaithful {chance(-3):.3f} <= 0.200",
        f"no_gain {chance(-4):.3f} <= 0.200",
    )


@pytest.mark.parametrize(
    ("changes", "decision", "reason"),
    [
        ({"halo": 3.0}, "keep", ""),  # a quarter of 4.0: -2.0, 0.12
        ({"halo": 5.0}, "unsure", "halos"),  # 0.5
        ({"halo": 7.0, "tile_worst": 0.5}, "reject", "halos"),  # 4.0 + 1.8: 0.94
        ({"halo": 3.0, "tile_worst": 0.2}, "unsure", "object_changed"),  # 1.0 + 3.0: 0.73
        ({"halo": 5.5, "tile_worst": 0.2}, "reject", "halos"),  # 3.5 + 3.0
        ({"noise_gain": 0.4}, "unsure", "noise_stays"),  # 3.6
        ({"noise_gain": -1.0}, "reject", "noise_stays"),
        ({"halo": 5.0, "noise_gain": -1.0}, "reject", "noise_stays"),
        ({"structure": 0.0, "halo": 9.0}, "reject", "not_the_same_scene"),
        ({"shift": math.nan}, "keep", ""),
        ({"halo": math.nan}, "unsure", "unmeasured_halo"),
        ({"halo": math.nan, "noise_gain": -1.0}, "reject", "noise_stays"),
    ],
)
def test_the_reason_names_the_fact_that_adds_most(changes: dict[str, float], decision: str, reason: str) -> None:
    found = judged(**changes)
    assert (found.decision, found.reason) == (decision, reason)
    assert found.stage == ("score" if reason else "")


def test_the_evidence_lists_the_three_facts_that_add_most() -> None:
    found = judged(halo=4.0, tile_worst=0.7, colour_kept=1.0, shift=2.5)
    odds = -3 + 2.0 + 0.6 + 0.5 + 1.5
    assert lines_of(found)[1:] == (
        f"unfaithful {chance(odds):.3f} > 0.800",
        f"no_gain {chance(-4):.3f} <= 0.200",
        "unfaithful: halo 4.000 adds 2.000",
        "unfaithful: shift 2.500 adds 1.500",
        "unfaithful: tile_worst 0.700 adds 0.600",
    )


def test_a_class_may_begin_elsewhere_and_leave_a_fact_out() -> None:
    assert judged("mixed", halo=5.0).decision == "unsure"
    assert judged("haze", halo=5.0).decision == "keep"
    assert judged("haze", tile_worst=math.nan).decision == "keep"


def test_of_several_metrics_of_one_fact_the_worst_counts() -> None:
    text = TEXT.replace("halo = { from", 'halo = { metric = ["halo", "pattern"], from')
    gate = parse_gate(Path("several.toml"), text)
    assert judged(gate=gate, pattern=1.0).decision == "keep"
    found = judged(gate=gate, pattern=5.0)
    assert (found.decision, found.reason) == ("unsure", "halos")
    assert "unfaithful: pattern 5.000 adds 3.000" in lines_of(found)
    assert judged(gate=gate, pattern=math.nan, halo=3.0).decision == "keep", "what was measured counts"
    named = parse_gate(Path("named.toml"), text.replace('reason = "halos"', 'reason = ["halos", "artefacts"]'))
    assert (
        judged(gate=named, pattern=5.0).reason == "artefacts"
        and judged(gate=named, pattern=0.0, halo=5.0).reason == "halos"
    )
    assert {"halos", "artefacts"} <= set(named.reasons)
    assert judged(gate=named, tile_worst=0.2, halo=3.0, pattern=0.0).reason == "object_changed"
    assert judged(gate=named, tile_worst=math.nan, pattern=0.0).reason == "unmeasured_tile_worst"
    scores = {**GOOD, "halo": 2.5, "pattern": 1.0}
    assert list(evidence_faults(row(scores, lines_of(judged(gate=gate, **scores))), gate)) == []
    low = parse_gate(
        Path("low.toml"),
        TEXT.replace("tile_worst = { from", 'tile_worst = { metric = ["tile_worst", "structure"], from'),
    )
    assert "unfaithful: structure 0.400 adds 2.400" in lines_of(judged(gate=low, structure=0.4))


def test_one_of_several_gains_is_enough() -> None:
    before = "no_gain = { intercept = -4.0, unsure_above = 0.2, max = 0.8 }"
    text = TEXT.replace(before, before[:-2] + ", unless = { light_gain = { from = 0.4, to = 0.2 } } }", 1)
    gate = parse_gate(Path("unless.toml"), text)
    assert judged(gate=gate, noise_gain=-1.0).decision == "reject", "it was not measured"
    assert judged(gate=gate, noise_gain=-1.0, light_gain=0.1).decision == "reject"
    assert judged(gate=gate, noise_gain=-1.0, light_gain=0.5).decision == "keep"
    half = judged(gate=gate, noise_gain=-1.0, light_gain=0.3)
    assert (half.decision, half.reason) == ("unsure", "noise_stays")
    assert "no_gain: noise_gain -1.000 adds 3.000" in lines_of(half)
    assert "light_gain" in gate.metrics
    scores = {**GOOD, "noise_gain": -1.0, "light_gain": 0.5}
    assert list(evidence_faults(row(scores, lines_of(judged(gate=gate, **scores))), gate)) == []


def test_a_class_without_a_fit_sends_everything_to_people() -> None:
    found = judged("snow")
    assert (found.decision, found.reason) == ("unsure", "class_not_fitted")
    assert judged("snow", halo=9.0, tile_worst=0.0).decision == "unsure"
    assert judged("snow", structure=0.0).decision == "reject"


def test_probabilities_without_a_cause_give_their_own_name() -> None:
    gate = parse_gate(
        Path("x"), TEXT.replace("intercept = -3.0, unsure_above = 0.2", "intercept = 0.0, unsure_above = 0.2")
    )
    assert judged(gate=gate).reason == "unfaithful"


def test_the_gate_knows_the_metrics_and_reasons_of_its_facts() -> None:
    assert {"halo", "colour_kept", "noise_gain"} <= set(GATE.metrics) and "colourised" not in GATE.metrics
    assert {"halos", "noise_stays", "unfaithful", "no_gain", "class_not_fitted"} <= set(GATE.reasons)
    assert GATE.fitted_to == ("owner/pairs",)


VALUE = st.floats(-10, 10) | st.just(math.nan)


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(GOOD, VALUE)), st.sampled_from(["mixed", "haze", "snow"]))
def test_a_worse_fact_never_makes_a_better_verdict(scores: dict[str, float], degradation: str) -> None:
    order = ["reject", "unsure", "keep"]
    before = judged(degradation, **scores)
    for metric, by in {"halo": 1.0, "shift": 1.0, "tile_worst": -0.5, "noise_gain": -1.0, "colour_kept": 1.0}.items():
        after = judged(degradation, **{**scores, metric: scores[metric] + by})
        assert order.index(after.decision) <= order.index(before.decision), metric


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(GOOD, VALUE)), st.sampled_from(["mixed", "haze", "snow"]))
def test_verdicts_are_stored_and_read_back(scores: dict[str, float], degradation: str) -> None:
    found = judged(degradation, **scores)
    assert to_verdict(to_verdict_row(found)) == found
    lines = json.loads(to_verdict_row(found)[5])
    assert all(line in ("unfaithful: %s", "no_gain: %s") for line in lines if ": " in line), "few outcomes are stored"


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(GOOD, VALUE)), min_size=1, max_size=12))
def test_many_are_judged_as_each_alone(rows: list[dict[str, float]]) -> None:
    names = [f"{number:02}" for number in range(len(rows))]
    classes = ["mixed", "haze", "snow"]
    wrong = {f"k{name}": classes[at % 3] for at, name in enumerate(names)}
    listed = [candidate(name, f"k{name}") for name in names]
    together = list(verdict(listed, dict(zip(names, rows, strict=True)), wrong, GATE))
    for each, row in zip(together, rows, strict=True):
        (alone,) = verdict([candidate("c")], {"c": row}, {"k": wrong[f"k{each.candidate}"]}, GATE)
        assert (each.decision, each.reason, each.evidence) == (alone.decision, alone.reason, alone.evidence)
    found = read_bounds(GATE, [(wrong[each.key],) for each in listed], rows)
    assert [bool(m >= 0) for m in found.margins(found.limits)] == [each.decision == "keep" for each in together]


# --- the table in the file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("halo = {", "hallo = {", "[decision.unfaithful] hallo: 'hallo' is not known. Did you mean halo"),
        ("from = 2.0, to = 6.0", "from = 2.0, to = 2.0", "[decision.unfaithful] halo: from and to are both 2."),
        ("weight = 4.0", "weight = -4.0", "[decision.unfaithful] halo: weight -4 is below 0."),
        ("weight = 4.0", "weight = nan", "[decision.unfaithful] halo weight: nan is not a finite number."),
        ('"halos"', '"No Code"', "[decision.unfaithful] halo reason: 'No Code' is not a reason code."),
        ("if_measured = true", "if_measured = 1", "[decision.unfaithful] shift if_measured: 1 is not a boolean."),
        ('fit = "pooled"', 'fit = "good"', "[decision.class.haze] fit: 'good' is not one of own, pooled, none."),
        ('fit = "none"', 'fit = "own"', "[decision.class.snow] data: '' is not a text."),
        (
            "from = { halo = 4.0 }",
            "from = { hallo = 4.0 }",
            "[decision.class.haze] unfaithful from: 'hallo' is not known",
        ),
        ("[decision.class.snow]", "[decision.class.sow]", "[decision.class]: 'sow' is not known. Did you mean snow"),
        (SNOW, "", "[decision.class]: snow missing."),
        (
            'metric = "colour_kept"',
            'metric = ["colour_kept", "no"]',
            "[decision.unfaithful] colourised: 'no' is not known",
        ),
        (
            "from = { halo = 4.0 }",
            "unless = { hallo = { from = 1, to = 0 } }",
            "unless: 'hallo' is not known. Did you mean halo",
        ),
        ("from = { halo = 4.0 }", "unless = { halo = { from = 1, to = 1 } }", "unless halo: from and to are both 1."),
        ("fitted_to = [", "fitted_to = 1 # [", "[decision] fitted_to: 1 is not a list of names."),
        (
            "no_gain = { intercept = -4.0, unsure_above = 0.2, max = 0.8 }",
            "no_gain = { intercept = -4.0, unsure_above = 0.9, max = 0.8 }",
            "[decision.class.mixed] no_gain: 0 <= unsure_above <= max <= 1 does not hold: 0.9 and 0.8.",
        ),
    ],
)
def test_errors_in_the_table(before: str, after: str, message: str) -> None:
    text = TEXT.replace(before, after)
    assert text != TEXT
    with pytest.raises(ConfigError) as caught:
        parse_gate(Path("gate.toml"), text)
    assert message in str(caught.value) and str(caught.value).startswith("gate.toml: [decision")


# --- the evidence of a release ----------------------------------------------------------------------------------------


def row(scores: Mapping[str, float], evidence: tuple[str, ...], wrong: str = "mixed") -> dict[str, Any]:
    return {"degradation": wrong, "degradations": [wrong], "scores": dict(scores), "evidence": list(evidence)}


def test_the_evidence_of_a_kept_pair_passes_the_gate() -> None:
    scores = {**GOOD, "halo": 2.5, "tile_worst": 0.75}
    found = judged(**scores)
    assert found.decision == "keep" and len(lines_of(found)) == 5
    assert list(evidence_faults(row(scores, lines_of(found)), GATE)) == []


@pytest.mark.parametrize(
    ("index", "line", "reason"),
    [
        (1, "unfaithful 0.150 <= 0.200", "evidence_differs"),
        (1, None, "no_evidence"),
        (3, "unfaithful: halo 2.500 adds 0.700", "evidence_differs"),
        (3, "unfaithful: halo 2.400 adds 0.500", "evidence_differs"),
        (3, None, "no_evidence"),
    ],
)
def test_evidence_that_the_gate_does_not_say_is_a_fault(index: int, line: str | None, reason: str) -> None:
    scores = {**GOOD, "halo": 2.5, "tile_worst": 0.75}
    evidence = list(lines_of(judged(**scores)))
    evidence[index : index + 1] = [line] if line else []
    assert [found for found, _ in evidence_faults(row(scores, tuple(evidence)), GATE)] == [reason]


def test_a_pair_that_the_decision_does_not_keep_fails_the_gate() -> None:
    scores = {**GOOD, "halo": 5.0}
    assert [found for found, _ in evidence_faults(row(scores, lines_of(judged(**scores))), GATE)] == ["fails_gate"]


def test_a_prior_is_judged_without_the_facts_on_its_frame() -> None:
    assert judged(shift=3.0, halo=3.0).decision == "unsure"
    assert judged(gate=without_frame(GATE), shift=3.0, halo=3.0).decision == "keep"


# --- the fit ----------------------------------------------------------------------------------------------------------


def test_the_fit_finds_the_weights_that_made_the_labels_and_none_below_0() -> None:
    random = np.random.default_rng(1)
    shares, classes = random.random((6000, 4)), random.integers(0, 2, 6000)
    odds = shares @ np.array([4.0, 2.0, 0.0, -2.0]) + np.array([-3.0, -2.0])[classes]
    is_bad = random.random(6000) < 1 / (1 + np.exp(-odds))
    prior = Fit(np.zeros(4), np.zeros(2))
    found = fit_logistic(shares, is_bad, classes, prior, weight_pull=0.1, offset_pull=0.1)
    assert found.weights[:2] == pytest.approx([4.0, 2.0], abs=0.35)
    assert found.weights[3] == 0.0
    assert found.offsets[1] - found.offsets[0] == pytest.approx(1.0, abs=0.3)


def test_without_labels_that_tell_the_fit_stays_at_the_prior() -> None:
    prior = Fit(np.array([2.0, 1.0]), np.array([-1.0]))
    nothing = np.zeros((0, 2))
    found = fit_logistic(nothing, np.zeros(0, bool), np.zeros(0, np.int64), prior, weight_pull=1.0, offset_pull=1.0)
    assert found.weights.tolist() == [2.0, 1.0] and found.offsets.tolist() == [-1.0]


def people(count: int, wrong: str = "mixed", reason: str = "") -> LabelledCandidates:
    """Labels of people who bear halos up to 6, where the gate begins at 2."""
    rows = [{**GOOD, "halo": 12.0 * number / count} for number in range(count)]
    kept = np.array([values["halo"] < 6 for values in rows])
    keys = [f"k{number}" for number in range(count)]
    reasons = ["" if keep else reason for keep in kept]
    return LabelledCandidates(GATE, [(wrong,)] * count, rows, kept, keys, reasons)


def test_labels_of_one_class_change_its_decision_alone() -> None:
    labelled = people(40)
    after = labelled.refit_gate()
    assert {name for name in DEGRADATIONS if after.decision[name] != GATE.decision[name]} == {"mixed"}
    assert after.decision["mixed"].models[0].intercept < GATE.decision["mixed"].models[0].intercept
    assert after.decision["mixed"].models[1].intercept <= GATE.decision["mixed"].models[1].intercept


def test_a_reason_says_which_probability_a_rejection_counts_for() -> None:
    rows = [GOOD] * 8
    kept = np.zeros(8, bool)
    blamed = {
        reason: refit(GATE, ["mixed"] * 8, rows, kept, [reason] * 8).decision["mixed"].models
        for reason in ("halos", "noise_stays", "no_gain")
    }
    before = GATE.decision["mixed"].models
    for reason, number in (("halos", 0), ("noise_stays", 1), ("no_gain", 1)):
        assert blamed[reason][number].intercept > before[number].intercept
        assert blamed[reason][1 - number] == before[1 - number]


def test_a_few_labels_move_the_intercept_more_than_the_weights() -> None:
    rows = [{**GOOD, "halo": 5.0}] * 6
    after = refit(GATE, ["mixed"] * 6, rows, np.ones(6, bool)).decision["mixed"].models[0]
    before = GATE.decision["mixed"].models[0]
    change = before.intercept - after.intercept
    assert 0.5 < change < 3.0
    assert all(abs(old.weight - new.weight) < change / 4 for old, new in zip(before.facts, after.facts, strict=True))


def test_a_class_without_a_fit_gets_one_from_labels() -> None:
    labelled = people(60, "snow")
    found = calibrate(labelled, target=0.1)
    text = fitted_gate_text(GATE, found, "2026-02-03")
    again = parse_gate(Path("again.toml"), text)
    assert again.decision["snow"].fit == "own"
    assert again.decision["snow"].data == "fitted to 60 labels on 2026-02-03; before: nothing"
    kept = judged("snow", gate=again, halo=2.0)
    assert kept.decision == "keep"
    assert judged("snow", gate=again, halo=12.0).decision != "keep"


def test_the_file_holds_the_decision_that_was_fitted() -> None:
    found = calibrate(people(80), target=0.05)
    assert found.refitted_classes == ("mixed",)
    again = parse_gate(Path("again.toml"), fitted_gate_text(GATE, found, "2026-02-03"))
    written, fitted = again.decision["mixed"].models[0], found.gate.decision["mixed"].models[0]
    assert written.intercept == pytest.approx(fitted.intercept, rel=1e-3)
    assert [fact.weight for fact in written.facts] == pytest.approx(
        [max(f.weight, 0.001) for f in fitted.facts], rel=1e-3
    )
    assert "80 labels" in again.decision["mixed"].data
    assert str(found.fitted.false_accepts) == again.decision["mixed"].false_accepts
    twice = fitted_gate_text(again, found, "2026-03-04")
    assert twice.count("fitted to 80 labels") == 1


def test_people_who_bear_more_loosen_the_decision() -> None:
    labelled = people(200)
    found = calibrate(labelled, target=0.05)
    assert found.present.kept.share < 0.8 < found.fitted.kept.share
    assert found.fitted.false_accepts.share <= 0.05
