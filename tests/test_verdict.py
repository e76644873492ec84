"""The gate: every reason, every error in its file, and what it makes of faults planted in good results."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from ggt100k import DEGRADATIONS
from ggt_tools.degradations import classify, measure
from ggt_tools.errors import ConfigError
from ggt_tools.gate import Gate
from ggt_tools.records import Candidate, Score, Verdict
from ggt_tools.restorers import restorer
from ggt_tools.score import METRICS, SETS, score
from ggt_tools.verdict import DEFAULT_GATE, load_gate, verdict
from tests.photographs import (
    Photograph,
    blurred,
    credits,
    haloed,
    jpeg,
    noisy,
    painted_over,
    photograph,
    shifted,
    tinted,
)

GATE = load_gate(DEFAULT_GATE)
GOOD = {
    "structure": 0.95, "shift": 0.02, "tile_worst": 0.9, "colour_cast": 0.002, "chroma_drift": 0.01,
    "detail_kept": 1.1, "sharpness_gain": 0.4, "halo": 1.0, "noise_gain": 0.6, "unchanged": 0.93,
    "chroma_noise_gain": 0.4, "blockiness_gain": 1.5, "light_gain": 0.1, "haze_gain": 0.1, "contrast_gain": 0.4,
    "quality_gain": 1.0,
}  # fmt: skip


def candidate(name: str, key: str = "k", image: str = "0" * 64, reason: str = "") -> Candidate:
    return Candidate(
        id=name, key=key, restorer="classical-1", strategy="", prompt="", round=0, seed=0,
        created="2026-01-01T00:00:00Z", image=image, reason=reason,
    )  # fmt: skip


def judged(wrong: str | tuple[str, ...] = "mixed", gate: Gate = GATE, **changes: float) -> Verdict:
    (said,) = verdict([candidate("c")], {"c": {**GOOD, **changes}}, {"k": wrong}, gate)
    return said


NO_GAIN = dict.fromkeys(
    ("noise_gain", "chroma_noise_gain", "sharpness_gain", "blockiness_gain", "light_gain", "haze_gain"), 0.0
)
REASONS: dict[str, tuple[str | tuple[str, ...], dict[str, float]]] = {
    "not_the_same_scene": ("mixed", {"structure": 0.2}),
    "shifted": ("mixed", {"shift": 1.4}),
    "object_changed": ("mixed", {"tile_worst": 0.5}),
    "colour_cast": ("mixed", {"colour_cast": 0.03}),
    "colours_changed": ("mixed", {"chroma_drift": 0.07}),
    "over_smoothed": ("mixed", {"detail_kept": 0.6}),
    "blurrier": ("mixed", {"sharpness_gain": -0.3}),
    "halos": ("mixed", {"halo": 6.0}),
    "noisier": ("mixed", {"noise_gain": -2.0}),
    "unchanged": ("mixed", {"unchanged": 0.99}),
    "haze_stays": ("haze", {"haze_gain": 0.01, "contrast_gain": 0.1}),
    "dark_stays": ("low_light", {"light_gain": 0.02}),
    "shadow_stays": ("shadow", {"light_gain": 0.04}),
    "blur_stays": ("defocus_blur", {"sharpness_gain": 0.2}),
    "motion_blur_stays": ("motion_blur", {"sharpness_gain": 0.2}),
    "noise_stays": (("mixed", "noise"), {"noise_gain": 0.4, "chroma_noise_gain": 0.2}),
    "blocks_stay": (("mixed", "compression"), {"blockiness_gain": 0.9}),
    "no_gain": ("mixed", NO_GAIN),
}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason(reason: str) -> None:
    wrong, changes = REASONS[reason]
    kept, rejected = judged(wrong), judged(wrong, **changes)
    assert (kept.decision, kept.stage, kept.reason) == ("keep", "", "")
    assert (rejected.decision, rejected.stage, rejected.reason) == ("reject", "score", reason)


def test_no_reason_is_without_its_test() -> None:
    assert tuple(sorted(REASONS)) == GATE.reasons


def test_evidence_tells_each_rule_that_was_asked() -> None:
    said = judged(("haze", "noise"), structure=0.2, shift=math.nan, noise_gain=0.2)
    assert said.evidence == (
        "structure 0.200 < 0.300", "shift unmeasured", "tile_worst 0.900 >= 0.500", "colour_cast 0.002 <= 0.030",
        "detail_kept 1.100 >= 0.700", "sharpness_gain 0.400 >= -0.250", "halo 1.000 <= 5.000",
        "noise_gain 0.200 >= -1.000", "unchanged 0.930 <= 0.985", "haze_gain 0.100 >= 0.050",
        "contrast_gain 0.400 >= 0.250", "noise_gain 0.200 < 0.500", "chroma_noise_gain 0.400 >= 0.300",
    )  # fmt: skip
    assert said.reason == "not_the_same_scene"
    assert said.gate == GATE.id


def test_a_gain_is_asked_for_each_thing_that_is_wrong() -> None:
    assert judged("haze", noise_gain=0, chroma_noise_gain=0).decision == "keep"
    assert judged(("haze", "noise"), noise_gain=0, chroma_noise_gain=0).reason == "noise_stays"
    assert judged("mixed", **{**NO_GAIN, "sharpness_gain": 0.2}).decision == "keep"
    assert judged("mixed", **NO_GAIN).evidence[-1] == "haze_gain 0.000 < 0.050"


def test_the_class_chooses_the_rules() -> None:
    assert judged("mixed", structure=0.2).reason == "not_the_same_scene"
    assert judged("low_light", structure=0.2).decision == "keep"
    assert judged("haze", chroma_drift=0.5).decision == "keep"  # a rule that is taken out
    for degradation in DEGRADATIONS:
        assert judged(degradation).decision == "keep"


@pytest.mark.parametrize("metric", sorted({rule.metric for rule in GATE.must["mixed"]}))
def test_what_was_not_measured_is_unsure(metric: str) -> None:
    said = judged(**{metric: math.nan})
    assert (said.decision, said.stage, said.reason) == ("unsure", "score", f"unmeasured_{metric}")
    scores = {name: value for name, value in GOOD.items() if name != metric}
    assert next(verdict([candidate("c")], {"c": scores}, {"k": "mixed"}, GATE)).reason == f"unmeasured_{metric}"


def test_an_unmeasured_gain_is_unsure_only_where_no_other_is_reached() -> None:
    assert judged("haze", haze_gain=math.nan).decision == "keep"
    said = judged("haze", haze_gain=math.nan, contrast_gain=0.0)
    assert (said.decision, said.reason) == ("unsure", "unmeasured_haze_gain")


def test_a_broken_rule_outweighs_an_unmeasured_one() -> None:
    assert judged(structure=math.nan, halo=9.0).reason == "halos"


def test_no_scores_at_all() -> None:
    (said,) = verdict([candidate("c")], [], {"k": "mixed"}, GATE)
    assert (said.decision, said.reason) == ("unsure", "unmeasured_structure")


def test_a_candidate_without_an_image() -> None:
    refused, empty = verdict(
        [candidate("a", image="", reason="safety"), candidate("b", image="")], {}, {"k": "mixed"}, GATE
    )
    assert (refused.decision, refused.stage, refused.reason) == ("reject", "restore", "safety")
    assert (empty.decision, empty.stage, empty.reason) == ("reject", "restore", "no_image")


def test_the_best_of_many() -> None:
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
        for v in verdict([candidate(n, k) for n, k in keys.items()], scores, {"k": "mixed", "other": "mixed"}, GATE)
    }
    assert list(said) == list(keys)
    assert {n: v.reason for n, v in said.items()} == {
        "a": "not_the_best", "b": "not_the_best", "c": "", "d": "halos", "e": "", "f": "not_the_best",
    }  # fmt: skip
    assert (said["a"].decision, said["a"].stage) == ("reject", "verdict")
    assert said["a"].evidence[-1] == "the best is c"


def test_at_a_tie_the_lower_id_is_kept_whatever_the_order() -> None:
    scores = {"x": GOOD, "y": GOOD}
    for order in ("xy", "yx"):
        said = verdict([candidate(name) for name in order], scores, {"k": "mixed"}, GATE)
        assert [v.candidate for v in said if v.decision == "keep"] == ["x"]


def test_scores_as_records_and_as_a_mapping_say_the_same() -> None:
    records = [Score(candidate="c", metric=m, metric_version="core-1", value=v) for m, v in GOOD.items()]
    stale = Score(candidate="c", metric="halo", metric_version="core-0", value=99.0)
    (said,) = verdict([candidate("c")], [stale, *records], {"k": "mixed"}, GATE)  # the later record holds
    assert said == judged()


def test_a_gate_is_named_by_its_text(tmp_path: Path) -> None:
    text = DEFAULT_GATE.read_text(encoding="utf-8")
    assert GATE.policy == hashlib.sha256(text.encode()).hexdigest()
    assert GATE.id == GATE.policy[:16]
    other = tmp_path / "gate.toml"
    other.write_text(text + "# another\n", encoding="utf-8")
    changed = load_gate(other)
    assert changed.id != GATE.id
    assert dataclasses.replace(changed, id=GATE.id, policy=GATE.policy) == GATE


def test_the_gate_asks_only_for_core_metrics() -> None:
    assert set(GATE.metrics) <= set(SETS["core"]) <= set(METRICS)


MUST = 'structure = { min = 0.3, reason = "another", why = "w" }'
GAIN = '[gain.other]\nreason = "no_gain"\nwhy = "w"\nany = { noise_gain = { min = 0.5 } }'
BEST = '[best]\nby = ["quality_gain"]'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"[must]\nstructur = {{ min = 0.3 }}\n{GAIN}\n{BEST}", ": [must]: 'structur' is not known; near: structure"),
        (f"[must]\nqqqq = {{ min = 0.3 }}\n{GAIN}\n{BEST}", ": [must]: 'qqqq' is not known; known: blockiness_gain, "),
        (
            f'[must]\nstructure = {{ mim = 0.3, reason = "a", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure: 'mim' is not known; near: min",
        ),
        (f"[musst]\n{MUST}\n{GAIN}\n{BEST}", ": 'musst' is not known; near: must"),
        (f"[must]\n{MUST}\n{BEST}", ": 'gain' is missing"),
        (f"[must]\n{MUST}\n{GAIN}", ": 'best' is missing"),
        (f"[must]\n{MUST}\n[gain]\n{BEST}", ": [gain]: 'other' is missing"),
        (
            f"[must]\n{MUST}\n{GAIN.replace('other', 'hase')}\n{BEST}",
            ": [gain]: 'hase' is not known; near: haze",
        ),
        (
            f"[must]\n{MUST}\n{GAIN.replace('noise_gain', 'nose_gain')}\n{BEST}",
            ": [gain.other] any: 'nose_gain' is not known; near: noise_gain",
        ),
        (
            f"[must]\n{MUST}\n{GAIN.replace('{ noise_gain = { min = 0.5 } }', '{}')}\n{BEST}",
            ": [gain.other] any: no rule; a gain without one could never be reached",
        ),
        (
            f"[must]\n{MUST}\n[degradation.lowlight]\nstructure = {{ min = 0.1 }}\n{GAIN}\n{BEST}",
            ": [degradation]: 'lowlight' is not known; near: low_light",
        ),
        (
            f"[must]\n{MUST}\n[degradation.haze]\nhalo = {{ max = 0.1 }}\n{GAIN}\n{BEST}",
            ": [degradation.haze]: 'halo' is not known; known: structure",
        ),
        (
            f'[must]\nstructure = {{ min = "0.3", reason = "a", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure min: a number is wanted, not '0.3'",
        ),
        (
            f'[must]\nstructure = {{ reason = "a", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure: min, max or both are wanted, min not above max",
        ),
        (
            f'[must]\nstructure = {{ min = 2, max = 1, reason = "a", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure: min, max or both are wanted, min not above max",
        ),
        (
            f'[must]\nstructure = {{ min = 0.3, reason = "Not stable", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure reason: small letters, digits and _ are wanted, not 'Not stable'",
        ),
        (
            f'[must]\nstructure = {{ min = 0.3, reason = "a" }}\n{GAIN}\n{BEST}',
            ": [must] structure why: the ground of the threshold is wanted, in words",
        ),
        (f"[must]\nstructure = 0.3\n{GAIN}\n{BEST}", ": [must] structure: a table is wanted, not 0.3"),
        (f"[must]\n{MUST}\n{GAIN}\n[best]\nby = []", ": [best] by: a list of metrics is wanted, not []"),
        (f'[must]\n{MUST}\n{GAIN}\n[best]\nby = ["qality_gain"]', ": [best] by: 'qality_gain' is not known; near: "),
        ("[must", ": not TOML: "),
    ],
)
def test_errors_in_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_gate(path)
    assert str(caught.value).startswith(f"{path}{message}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: the gate cannot be read: .*No such file"):
        load_gate(tmp_path / "absent.toml")


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


def reason(name: str, lq: Photograph, gt: Photograph) -> str:
    wrong = (credits()[name], *classify(measure(lq))[1])
    (said,) = verdict([candidate(name)], score([(name, lq, gt)], ["core"]), {"k": wrong}, GATE)
    return said.reason


HARMLESS: dict[str, Callable[[Photograph, Photograph], Photograph]] = {
    "as it is": lambda lq, gt: gt,
    "jpeg q95": lambda lq, gt: jpeg(gt, 95),
    "1 % brighter": lambda lq, gt: tinted(gt, 1.01, 1.01, 1.01),
}
FAULTS: dict[str, tuple[Callable[[Photograph, Photograph], Photograph], set[str]]] = {
    "unchanged": (lambda lq, gt: lq, {"unchanged"}),
    "unchanged, jpeg q95": (lambda lq, gt: jpeg(lq, 95), {"unchanged"}),
    "upside down": (lambda lq, gt: gt[::-1].copy(), {"not_the_same_scene", "object_changed"}),
    "Gaussian of 2 px": (lambda lq, gt: blurred(gt, 2.0), {"over_smoothed", "blurrier"}),
    "red cast of 10 %": (lambda lq, gt: tinted(gt, 1.1, 1.0, 0.9), {"colour_cast"}),
    "96 px painted over": (lambda lq, gt: painted_over(gt, 220, 220, 96), {"object_changed"}),
    "moved by 2 px": (lambda lq, gt: shifted(gt, 2), {"shifted", "over_smoothed"}),
    "moved by 8 px": (lambda lq, gt: shifted(gt, 0, 8), {"shifted", "not_the_same_scene", "object_changed"}),
    "halos": (lambda lq, gt: haloed(gt), {"halos", "object_changed"}),
    "noise of 6": (lambda lq, gt: noisy(gt, 6), {"noisier", "halos"}),
}


@pytest.mark.parametrize("change", HARMLESS)
def test_good_results_and_harmless_changes_are_kept(
    change: str, results: dict[str, tuple[Photograph, Photograph]]
) -> None:
    assert {name: reason(name, lq, HARMLESS[change](lq, gt)) for name, (lq, gt) in results.items()} == dict.fromkeys(
        PHOTOGRAPHS, ""
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_rejected(fault: str, results: dict[str, tuple[Photograph, Photograph]]) -> None:
    plant, fitting = FAULTS[fault]
    for name, (lq, gt) in results.items():
        assert reason(name, lq, plant(lq, gt)) in fitting, name


def test_the_wrong_photograph_is_rejected(results: dict[str, tuple[Photograph, Photograph]]) -> None:
    names = list(results)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        lq, gt = results[name][0], results[other][1]
        height, width = min(lq.shape[0], gt.shape[0]), min(lq.shape[1], gt.shape[1])
        assert reason(name, lq[:height, :width], gt[:height, :width]) in {"not_the_same_scene", "object_changed"}


def test_what_these_first_witnesses_let_through(results: dict[str, tuple[Photograph, Photograph]]) -> None:
    """Not what is wanted: a cast of 5 %, and 40 px painted over."""
    lq, gt = results["friends-1"]
    assert reason("friends-1", lq, tinted(gt, 1.05, 1.0, 0.95)) == ""
    assert reason("friends-1", lq, painted_over(gt, 220, 220, 40)) == ""
