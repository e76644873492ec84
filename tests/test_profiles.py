"""The package's gates by name: the metrics of pyiqa that `full` needs, and what it does without them."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError
from ggt_tools.metrics import iqa
from ggt_tools.metrics.scorer import SETS, score
from ggt_tools.policy.calibration import LabelledCandidates, calibrate
from ggt_tools.policy.fitted_gate import fitted_gate_text
from ggt_tools.policy.gate import load_gate, parse_gate
from ggt_tools.policy.profiles import PROFILES, load_profile, starting_points
from ggt_tools.policy.verdicts import DEFAULT_GATE, verdict
from ggt_tools.reasons import load_reasons
from ggt_tools.records import Verdict

from .photographs import crop, noisy
from .test_verdict import candidate, inside

OFFLINE, FULL = load_profile(), load_profile(Path("full"))
LIGHT = ("low_light", "haze", "underwater", "shadow")
GAINS = {"musiq_gain": 12.0, "maniqa_gain": 0.2, "clipiqa+_gain": 0.2, "topiq_nr_gain": 0.2, "liqe_gain": 0.6}
FAITHFUL = {"stlpips": 0.2, "lpips": 0.2, "dists": 0.1, "topiq_fr": 0.7}
PYIQA = {**GAINS, **FAITHFUL}


def judged(degradation: str = "mixed", without: str = "", **changes: float) -> Verdict:
    """Judge a candidate that `offline` keeps, with good values of pyiqa's metrics and with these changes."""
    scores = {
        **inside(OFFLINE, (degradation,)),
        **PYIQA,
        **{name.replace("clipiqa_", "clipiqa+_"): value for name, value in changes.items()},
    }
    scores.pop(without, None)
    (found,) = verdict([candidate("c")], {"c": scores}, {"k": degradation}, FULL)
    return found


def test_names_lead_to_the_gates_of_the_package(tmp_path: Path) -> None:
    assert load_profile(Path("offline")).id == load_profile().id == load_gate(DEFAULT_GATE).id
    assert FULL.text.startswith(OFFLINE.text) and FULL.id != OFFLINE.id
    shutil.copy(DEFAULT_GATE, tmp_path / "full")
    assert load_profile(tmp_path / "full").id == OFFLINE.id
    with pytest.raises(ConfigError, match="absent"):
        load_profile(Path("absent"))
    with pytest.raises(
        ConfigError, match=r"ful: there is no such gate file\. Did you mean the gate full of the package"
    ):
        load_profile(Path("ful"))
    assert set(PROFILES) == {"offline", "full"}


def test_full_is_a_gate_file_that_stands_alone() -> None:
    assert parse_gate(Path("copy"), FULL.text) == FULL
    assert FULL.decision == OFFLINE.decision and FULL.best == OFFLINE.best


def test_full_asks_for_what_its_set_measures() -> None:
    added = set(FULL.metrics) - set(OFFLINE.metrics)
    assert added == {*PYIQA, "afine_fr", "afine_nr_gain"}
    assert added <= set(SETS["full"])
    assert {iqa.model_of(name) for name in SETS["full"]} == {iqa.model_of(name) for name in added}
    codes = {reason.code for reason in load_reasons() if reason.stage == "verdict"}
    assert set(FULL.reasons) - set(OFFLINE.reasons) <= codes


def test_what_was_not_fitted_is_marked() -> None:
    assert starting_points(OFFLINE) == ()
    assert set(starting_points(FULL)) == {*PYIQA, "afine_fr", "afine_nr_gain"} - {"stlpips"}


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_good_values_are_kept(degradation: str) -> None:
    assert judged(degradation).decision == "keep"


@pytest.mark.parametrize("metric", [*PYIQA, "afine_fr", "afine_nr_gain"])
@pytest.mark.parametrize("degradation", ["mixed", "low_light"])
def test_an_unmeasured_metric_makes_unsure(metric: str, degradation: str) -> None:
    found = judged(degradation, without=metric)
    is_asked = metric in GAINS or (metric in FAITHFUL and degradation not in LIGHT)
    assert (found.decision, found.reason) == (("unsure", f"unmeasured_{metric}") if is_asked else ("keep", ""))


@pytest.mark.parametrize(
    ("metric", "value", "reason"),
    [
        ("stlpips", 0.71, "differs_too_much"),
        ("lpips", 0.71, "differs_too_much"),
        ("dists", 0.36, "differs_too_much"),
        ("topiq_fr", 0.34, "differs_too_much"),
        ("afine_fr", 1.1, "differs_too_much"),
        ("musiq_gain", -10.1, "quality_dropped"),
        ("maniqa_gain", -0.11, "quality_dropped"),
        ("clipiqa_gain", -0.11, "quality_dropped"),
        ("topiq_nr_gain", -0.11, "quality_dropped"),
        ("liqe_gain", -0.41, "quality_dropped"),
        ("afine_nr_gain", -0.41, "quality_dropped"),
    ],
)
def test_a_bad_value_goes_to_people(metric: str, value: float, reason: str) -> None:
    found = judged(**{metric: value})
    assert (found.decision, found.stage, found.reason) == ("unsure", "score", reason)
    for degradation in LIGHT:
        light = judged(degradation, **{metric: value})
        assert light.decision == ("keep" if reason == "differs_too_much" else "unsure")


def test_one_gain_is_enough_and_blur_asks_for_more() -> None:
    none = {"musiq_gain": 1.9, "maniqa_gain": 0.01, "clipiqa_gain": 0.01, "topiq_nr_gain": 0.01, "liqe_gain": 0.05}
    found = judged(**none)
    assert (found.decision, found.reason) == ("unsure", "no_quality_gain")
    assert judged(**{**none, "liqe_gain": 0.1}).decision == "keep"
    assert judged("motion_blur", **{**none, "liqe_gain": 0.1}).reason == "no_quality_gain"
    assert judged("motion_blur", **{**none, "liqe_gain": 0.5}).decision == "keep"


def test_no_metric_of_pyiqa_rejects_alone() -> None:
    awful = dict.fromkeys(GAINS, -1e6) | {"stlpips": 1e6, "lpips": 1e6, "dists": 1e6, "topiq_fr": -1e6}
    scores = {**inside(OFFLINE, ("mixed",)), **awful}
    (found,) = verdict([candidate("c")], {"c": scores}, {"k": "mixed"}, FULL)
    assert found.decision == "unsure"


def test_calibrate_replaces_starting_points() -> None:
    """Good candidates rise by 20 of MUSIQ, bad ones fall by 5: the bound at -10 is moved between them."""
    draw = random.Random(0)
    rows, is_kept = [], []
    for number in range(40):
        is_good = number % 2 == 0
        gain = draw.gauss(20, 1) if is_good else draw.gauss(-5, 1)
        rows.append({**inside(OFFLINE, ("mixed",)), **PYIQA, "musiq_gain": gain})
        is_kept.append(is_good)
    keys = [f"k{number}" for number in range(40)]
    labelled = LabelledCandidates(FULL, [("mixed",)] * 40, rows, np.array(is_kept), keys)
    fitted = calibrate(labelled, target=0.02)
    assert fitted.is_target_held
    text = fitted_gate_text(FULL, fitted, "2026-01-01")
    gate = parse_gate(Path("fitted"), text)
    assert "musiq_gain" not in {
        rule.metric for rule in gate.must["mixed"] if rule.why.startswith("starting point")
    } and "lpips" in starting_points(gate)
    (rule,) = (rule for rule in gate.must["mixed"] if rule.metric == "musiq_gain")
    assert -5 < rule.unsure_below < 20 and rule.why.startswith("fitted to 40 labels on 2026-01-01")


@pytest.mark.slow
@pytest.mark.slow
def test_stlpips_is_measured_and_judged() -> None:
    """The learned metric whose weights a wheel ships, from the pixels to the verdict."""
    pytest.importorskip("pyiqa")
    photograph = crop("life-1", 224)
    pairs = {
        "faithful": (noisy(photograph, 6.0), photograph),
        "another": (noisy(photograph, 6.0), np.full_like(photograph, 128)),
    }
    listed = [(name, lq, gt) for name, (lq, gt) in pairs.items()]
    scores = {
        s.candidate: {**inside(OFFLINE, ("mixed",)), **PYIQA, s.metric: s.value} for s in score(listed, ["stlpips"])
    }
    keys = dict.fromkeys(pairs, "mixed")
    found = {v.candidate: v for v in verdict([candidate(name, key=name) for name in pairs], scores, keys, FULL)}
    assert found["faithful"].decision == "keep"
    assert (found["another"].decision, found["another"].reason) == ("unsure", "differs_too_much")
