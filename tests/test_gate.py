"""The gate file: its values, its defaults, and every error in it."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ggt100k import DEGRADATIONS
from ggt_tools.errors import ConfigError
from ggt_tools.policy.gate import METRICS, OTHER_METRICS, Rule, load_gate, parse_gate
from ggt_tools.policy.verdicts import DEFAULT_GATE
from ggt_tools.records import ALIGN_SCORES, UNCORRECTED

PATH = Path("gate.toml")


def test_a_gate_is_identified_by_its_text(tmp_path: Path) -> None:
    gate = load_gate(DEFAULT_GATE)
    text = DEFAULT_GATE.read_text(encoding="utf-8")
    assert (gate.text, gate.policy) == (text, hashlib.sha256(text.encode()).hexdigest())
    assert gate.id == gate.policy[:16]
    other = tmp_path / "gate.toml"
    other.write_text(text + "# another\n", encoding="utf-8")
    changed = load_gate(other)
    assert changed.id != gate.id
    assert dataclasses.replace(changed, id=gate.id, policy=gate.policy, text=text) == gate


def test_every_threshold_of_the_gate_is_explained_and_has_a_band() -> None:
    gate = load_gate(DEFAULT_GATE)
    rules = [*(r for rules in gate.must.values() for r in rules), *(r for g in gate.gains.values() for r in g.any)]
    assert all(rule.why and rule.reason for rule in rules)
    assert all(rule.unsure_below < rule.unsure_above for rule in rules)
    assert set(gate.metrics) <= set(METRICS)


MUST = 'structure = { min = 0.3, reason = "another", why = "w" }'
GAIN = '[gain.other]\nreason = "no_gain"\nwhy = "w"\nany = { noise_gain = { min = 0.5 } }'
BEST = '[best]\nby = ["quality_gain"]'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"[must]\nstructur = {{ min = 0.3 }}\n{GAIN}\n{BEST}",
            ": [must]: 'structur' is not known. Did you mean ",
        ),
        (f"[must]\nqqqq = {{ min = 0.3 }}\n{GAIN}\n{BEST}", ": [must]: 'qqqq' is not known. Known: "),
        (
            f'[must]\nstructure = {{ mim = 0.3, reason = "a", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure: 'mim' is not known. Did you mean min",
        ),
        (f"[musst]\n{MUST}\n{GAIN}\n{BEST}", ": 'musst' is not known. Did you mean must"),
        (f"[must]\n{MUST}\n{BEST}", ": 'gain' is missing"),
        (f"[must]\n{MUST}\n{GAIN}", ": 'best' is missing"),
        (f"[must]\n{MUST}\n[gain]\n{BEST}", ": [gain]: 'other' is missing"),
        (
            f"[must]\n{MUST}\n{GAIN.replace('other', 'hase')}\n{BEST}",
            ": [gain]: 'hase' is not known. Did you mean haze",
        ),
        (
            f"[must]\n{MUST}\n{GAIN.replace('noise_gain', 'nose_gain')}\n{BEST}",
            ": [gain.other] any: 'nose_gain' is not known. Did you mean noise_gain",
        ),
        (
            f"[must]\n{MUST}\n{GAIN.replace('{ noise_gain = { min = 0.5 } }', '{}')}\n{BEST}",
            ": [gain.other] any: has no rule, so the gain could never be reached. Add a rule.",
        ),
        (
            f"[must]\n{MUST}\n[degradation.lowlight]\nstructure = {{ min = 0.1 }}\n{GAIN}\n{BEST}",
            ": [degradation]: 'lowlight' is not known. Did you mean low_light",
        ),
        (
            f"[must]\n{MUST}\n[degradation.haze]\nhalo = {{ max = 0.1 }}\n{GAIN}\n{BEST}",
            ": [degradation.haze]: 'halo' is not known. Known: structure",
        ),
        (
            f'[must]\nstructure = {{ min = "0.3", reason = "a", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure min: '0.3' is not a number.",
        ),
        (
            f'[must]\nstructure = {{ reason = "a", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure: has no bound. Give one of min, unsure_below, unsure_above, max.",
        ),
        (
            f'[must]\nstructure = {{ min = 2, max = 1, reason = "a", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure: there is no value between its bounds 2 and 1",
        ),
        (
            f'[must]\nstructure = {{ min = 0.3, reason = "Not stable", why = "w" }}\n{GAIN}\n{BEST}',
            ": [must] structure reason: 'Not stable' is not a reason code. "
            "Start with a lower-case letter, then use lower-case letters, digits and _.",
        ),
        (
            f'[must]\nstructure = {{ min = 0.3, reason = "a" }}\n{GAIN}\n{BEST}',
            ": [must] structure why: is missing. Say why the threshold has this value.",
        ),
        (f"[must]\nstructure = 0.3\n{GAIN}\n{BEST}", ": [must] structure: must be a table, not 0.3."),
        (
            f"[must]\n{MUST}\n{GAIN}\n[best]\nby = []",
            ": [best] by: [] is not a list of metrics. Name one metric or more.",
        ),
        (
            f'[must]\n{MUST}\n{GAIN}\n[best]\nby = ["qality_gain"]',
            ": [best] by: 'qality_gain' is not known. ",
        ),
        ("[must", ": is not valid TOML: "),
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


# --- the band for review ----------------------------------------------------------------------------------------------


def rule(bounds: str, degradation: str = "mixed", more: str = "") -> Rule:
    """The rule over halo that a class gets of a gate with these bounds."""
    text = f'[must]\nhalo = {{ {bounds}, reason = "halos", why = "w" }}\n{more}\n{GAIN}\n{BEST}'
    (found,) = parse_gate(PATH, text).must[degradation]
    return found


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ("min = 1", (1, 1, math.inf, math.inf)),
        ("max = 5", (-math.inf, -math.inf, 5, 5)),
        ("max = 5, unsure_above = 3", (-math.inf, -math.inf, 3, 5)),
        ("min = 1, unsure_below = 2, max = 5", (1, 2, 5, 5)),
        ("unsure_above = 3", (-math.inf, -math.inf, 3, math.inf)),
        ("unsure_below = 0.5", (-math.inf, 0.5, math.inf, math.inf)),
        ("max = 5, unsure_above = 5", (-math.inf, -math.inf, 5, 5)),
        ("max = 5, min = -inf", (-math.inf, -math.inf, 5, 5)),
    ],
)
def test_a_rule_without_a_band_has_its_inner_bounds_at_the_outer_ones(
    bounds: str, expected: tuple[float, float, float, float]
) -> None:
    found = rule(bounds)
    assert (found.min, found.unsure_below, found.unsure_above, found.max) == expected


def test_a_class_may_move_a_bound_and_keep_the_band() -> None:
    more = "[degradation.haze]\nhalo = { max = 9 }\n[degradation.snow]\nhalo = { unsure_above = inf }"
    assert [rule("max = 5, unsure_above = 3", name, more).max for name in ("mixed", "haze", "snow")] == [5, 9, 5]
    assert [rule("max = 5, unsure_above = 3", name, more).unsure_above for name in ("mixed", "haze")] == [3, 3]


def test_several_classes_have_one_table_and_the_later_of_two_counts() -> None:
    more = """[degradation."haze, snow"]\nhalo = { max = 9 }\n[degradation.snow]\nhalo = { unsure_above = 2 }"""
    assert [rule("max = 5", name, more).max for name in ("mixed", "haze", "snow")] == [5, 9, 9]
    assert [rule("max = 5", name, more).unsure_above for name in ("haze", "snow")] == [9, 2]
    out = """[degradation."haze, snow"]\nhalo = false\n[degradation.snow]\nhalo = { max = 7 }"""
    text = f'[must]\nhalo = {{ max = 5, reason = "halos", why = "w" }}\n{out}\n{GAIN}\n{BEST}'
    assert [len(parse_gate(PATH, text).must[name]) for name in ("mixed", "haze", "snow")] == [1, 0, 1]
    with pytest.raises(ConfigError) as caught:
        rule("max = 5", more='[degradation."haze, snaw"]\nhalo = { max = 9 }')
    assert str(caught.value) == "gate.toml: [degradation]: 'snaw' is not known. Did you mean snow or shadow?"


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ("max = 5, unsure_above = 6", "unsure_above: is above max, where a candidate is rejected. Give 5 or less."),
        ("min = 5, unsure_below = 4", "unsure_below: is below min, where a candidate is rejected. Give 5 or more."),
        ("unsure_below = 4, unsure_above = 3", "there is no value between its bounds 4 and 3"),
        ("min = 4, unsure_above = 3", "there is no value between its bounds 4 and 3"),
        ("max = inf", "has no bound. Give one of min, unsure_below, unsure_above, max."),
        ("max = nan", "max: nan is not a number."),
        ("max = true", "max: True is not a number."),
        (f"max = 1{'0' * 400}", f"max: 1{'0' * 400} is not a number."),
        ("max = 5, unsure = 3", "'unsure' is not known. Did you mean unsure_below or unsure_above?"),
    ],
)
def test_wrong_bounds_are_errors(bounds: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        rule(bounds)
    said = str(caught.value)
    assert said.startswith("gate.toml: [must] halo") and said.partition("halo")[2].lstrip(": ") == message


def test_a_wrong_band_is_reported_for_its_class() -> None:
    with pytest.raises(ConfigError) as caught:
        rule("max = 5, unsure_above = 3", more="[degradation.haze]\nhalo = { max = 2 }")
    assert str(caught.value) == (
        "gate.toml: [degradation.haze] halo unsure_above: is above max, where a candidate is rejected. Give 2 or less."
    )


BOUND = st.floats(-1e6, 1e6) | st.sampled_from([-math.inf, math.inf])


@given(st.dictionaries(st.sampled_from(["min", "unsure_below", "unsure_above", "max"]), BOUND))
def test_any_bounds_give_an_ordered_rule_or_an_error(bounds: dict[str, float]) -> None:
    text = ", ".join(f"{name} = {value!r}" for name, value in bounds.items()) or "min = inf"
    try:
        found = rule(text)
    except ConfigError as fault:
        assert str(fault).startswith("gate.toml: [must] halo")
    else:
        assert found.min <= found.unsure_below <= found.unsure_above <= found.max
        assert any(map(math.isfinite, (found.min, found.unsure_below, found.unsure_above, found.max)))


# --- metrics of other stages ------------------------------------------------------------------------------------------


def test_rules_may_use_metrics_of_align_and_screen() -> None:
    lines = "\n".join(f'{name} = {{ min = 1, reason = "low", why = "w" }}' for name in OTHER_METRICS)
    gate = parse_gate(PATH, f'[must]\n{lines}\n{GAIN}\n[best]\nby = ["vlm_fidelity"]')
    assert {rule.metric: rule.stage for rule in gate.must["rain"]} == {
        **dict.fromkeys((*ALIGN_SCORES, *UNCORRECTED), "score"), "vlm_defects": "screen", "vlm_disagreement": "screen",
        "vlm_fidelity": "screen", "vlm_quality": "screen", "vlm_votes": "screen",
    }  # fmt: skip
    assert set(gate.must) == set(DEGRADATIONS)
    with pytest.raises(ConfigError, match=r"'vlm_fidelty' is not known\. Did you mean vlm_fidelity"):
        parse_gate(PATH, f"[must]\nvlm_fidelty = {{ min = 1 }}\n{GAIN}\n{BEST}")
