"""The bench of real pairs and the fit of the decision: input, counts, and the separation of fit and test."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ggt_format.schema import DEGRADATIONS
from ggt_tools.policy.gate import parse_gate
from ggt_tools.records import Verdict
from ggt_tools.workspace.ledger import Ledger
from tests.benchmarks import chains, deciding, real, synthetic
from tests.benchmarks.real import Item, Judged, Measured
from tests.photographs import blurred, crop, psnr

from .making import evidence
from .test_verdict import candidate

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def item(key: str, judgement: str = "keep", **changes: str) -> Item:
    facts = {"kind": "model", "repository": "r/one", "degradation": "mixed", "edit": "", "note": "", **changes}
    return Item(key=key, judgement=judgement, lq=Path("lq"), gt=Path("gt"), **facts)


def judged(key: str, judgement: str, decision: str, **changes: str) -> Judged:
    one = item(key, judgement, **changes)
    measured = Measured(item=one, candidate=candidate(key), wrong=(one.degradation,), scores={})
    lines = ("structure 0.900 >= 0.100", "unfaithful 0.900 > 0.800", "unfaithful: halo 9.000 adds 4.000")
    said = Verdict(candidate=key, gate="g", decision=decision, stage="score", reason="halos", evidence=evidence(*lines))
    return Judged(measured=measured, verdict=said)


# --- the folder -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("real")
    rows = []
    for number, (kind, name) in enumerate((("model", "friends-1"), ("truth", "life-1"), ("photo", "wine-1"))):
        gt = crop(name, 200, 100, 100)
        Image.fromarray(blurred(gt, 1.5)).save(home / f"{number}.webp", lossless=True)
        Image.fromarray(gt).save(home / f"{number}o.webp", lossless=True)
        out = "" if kind == "photo" else f"{number}o.webp"
        rows.append([kind, name, "r/one", "mixed", "restore", "keep", "", f"{number}.webp", out])
    with (home / "real.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "key", "repository", "class", "edit", "judgement", "note", "in", "out"])
        writer.writerows(rows)
    return home


def test_measurements_of_pairs_are_cached(folder: Path, tmp_path: Path) -> None:
    items = real.read_items(folder)
    assert [(each.kind, each.key, each.gt is None) for each in items] == [
        ("model", "friends-1", False), ("truth", "life-1", False), ("photo", "wine-1", True),
    ]  # fmt: skip
    first = real.measure(items, tmp_path / "w")
    assert [each.item.key for each in first] == ["friends-1", "life-1"]
    assert all({"structure", "fidelity_content", "align_confidence"} <= set(each.scores) for each in first)
    times = (tmp_path / "w" / "ledger.sqlite").stat().st_size
    again = real.measure(items, tmp_path / "w")
    assert [each.scores for each in again] == [each.scores for each in first]
    assert (tmp_path / "w" / "ledger.sqlite").stat().st_size == times


def test_an_unknown_kind_is_an_error(folder: Path, tmp_path: Path) -> None:
    text = (folder / "real.csv").read_text(encoding="utf-8").replace("truth,", "thruth,")
    (tmp_path / "real.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"real\.csv: life-1: kind 'thruth' is not one of"):
        real.read_items(tmp_path)


def test_the_command_says_how_to_name_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(real.FOLDER_VARIABLE, raising=False)
    assert real.bench(real.Options(pairs=6)).startswith("real: no folder is named.")
    run = [sys.executable, "-m", "tests.benchmarks", "real"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2 and "real takes a folder: real FOLDER" in done.stderr


# --- the tables -------------------------------------------------------------------------------------------------------


def test_the_confusion_table_counts_people_against_the_gate() -> None:
    said = [
        judged("a", "keep", "keep"), judged("b", "keep", "reject"), judged("c", "keep", "unsure"),
        judged("d", "reject", "reject"), judged("e", "reject", "keep", note="a hand added"),
        judged("f", "unsure", "unsure"),
    ]  # fmt: skip
    text = real.tables(said)
    assert "| a person: keep | 1 | 1 | 1 |" in text
    assert "| a person: reject | 1 | 0 | 1 |" in text
    rates = real.target_rates(said)
    assert [(rate.count, rate.of) for rate, _ in rates.values()] == [(1, 3), (1, 3), (1, 2), (1, 2), (2, 6)]
    errors = text.partition("The worst errors, 2 of 2:\n")[2].splitlines()
    assert errors[0].startswith("- e (mixed; a hand added): a person reject, the gate keep")
    assert errors[1].startswith("- b (mixed; no note): a person keep, the gate reject halos: unfaithful 0.900 > 0.800")
    assert "halo 9.000 adds 4.000" in errors[1]


def test_real_ground_truths_are_counted_by_class() -> None:
    said = [judged("a", "keep", "reject", kind="truth", degradation="rain"), judged("b", "keep", "keep", kind="truth")]
    text = real.tables(said)
    assert "| rain | 0 | 0 | 1 | 100.0 %" in text and "| all | 1 | 0 | 1 | 50.0 %" in text


def test_rows_used_for_fitting_are_counted_separately() -> None:
    gate = parse_gate(Path("x"), DECIDED)
    text = real.report([judged("a", "keep", "keep"), judged("b", "keep", "keep", repository="r/two")], [], gate)
    other, fitted = text.split("## ")[1:]
    assert other.startswith("Repositories that nothing was fitted to") and "| 1 outputs of models" in other
    assert fitted.startswith("Repositories whose rows the gate was fitted to: these figures say little")


def test_photographs_are_counted_by_class() -> None:
    said = [(item("a", degradation="rain"), "rain"), (item("b", degradation="rain"), "mixed")]
    assert "| rain | 1 of 2 | 50.0 % (95 %: 9.5-90.5 %) | mixed 1 |" in real.class_table(said)


# --- the fit ----------------------------------------------------------------------------------------------------------

BASE = """
[must]
structure = { min = 0.1, reason = "not_the_same_scene", why = "w" }
[gain.other]
reason = "no_gain"
why = "w"
any = { noise_gain = { min = -9 } }
[best]
by = ["structure"]
"""
DECIDED = (
    BASE.partition("[gain.other]")[0]
    + '[best]\nby = ["structure"]\n'
    + """
[decision]
fitted_to = ["r/two"]
[decision.unfaithful]
halo = { from = 1, to = 2, weight = 1, reason = "halos" }
[decision.no_gain]
unchanged = { from = 1, to = 2, weight = 1, reason = "unchanged" }
"""
    + "".join(
        f"""
[decision.class.{name}]
fit = "none"
unfaithful = {{ intercept = 0 }}
no_gain = {{ intercept = 0 }}
"""
        for name in DEGRADATIONS
    )
)


def rows(count: int = 240, seed: int = 3) -> list[Measured]:
    """Synthetic rows of 12 photographs, and real ones of 3 repositories: `learned_content` tells good from bad."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        which = number % 4  # good, good, unfaithful, unrestored
        is_real = number % 5 == 0
        scores = {
            "structure": 0.9,
            "fidelity_content": (6.0 if which == 2 else -3.0) + random.normal(),
            "fidelity_gain": (-3.0 if which == 3 else 6.0) + random.normal(),
        }
        one = item(
            f"{number}", "keep" if which < 2 else "reject", kind="model" if is_real else "synthetic",
            repository=f"r/{number % 3}" if is_real else f"photograph {number % 12}",
            edit="unrestored" if which == 3 else "good" if which < 2 else "content", note="removed 0.75",
        )  # fmt: skip
        found.append(Measured(item=one, candidate=candidate(one.key), wrong=("mixed",), scores=scores))
    return found


def test_a_fit_keeps_the_good_and_names_what_is_wrong_with_the_others() -> None:
    gate = deciding.decided(parse_gate(Path("x"), BASE), rows())
    assert gate.fitted_to == ("r/0", "r/1", "r/2")
    assert {fact.name for model in gate.decision["mixed"].models for fact in model.facts} == {
        "fidelity_any", "fidelity_gain",
    }  # fmt: skip
    for each in real.judge(rows(seed=4), gate):
        bad = each.measured.item.judgement == "reject"
        assert each.verdict.decision in (("reject", "unsure") if bad else ("keep", "unsure"))
        if bad and each.measured.item.edit == "content":
            assert each.verdict.reason == "object_changed"
    again = deciding.decided(gate, rows())
    assert again.text == gate.text, "the decision is replaced, and nothing else"


def test_no_row_is_judged_by_a_fit_that_had_its_repository() -> None:
    """A repository whose labels are turned round spoils the verdicts on the others, and not those on itself."""
    listed = rows()
    said = {
        each.measured.item.key: each.verdict.decision for each in deciding.held_out(listed, parse_gate(Path("x"), BASE))
    }
    assert len(said) == len(listed)
    mine = [row for row in listed if row.item.repository == "r/0"]
    without = deciding.decided(parse_gate(Path("x"), BASE), [row for row in listed if row not in mine])
    assert "r/0" not in without.fitted_to
    assert [said[row.item.key] for row in mine] == [each.verdict.decision for each in real.judge(mine, without)]


def test_rates_are_counted_by_class_for_real_and_synthetic_rows() -> None:
    said = [
        judged("a", "reject", "keep", kind="synthetic", note="removed 0.75"),
        judged("b", "reject", "keep", kind="synthetic", note="removed 0.25"),  # too weak to count
        judged("c", "reject", "reject", kind="synthetic", note="removed 1"),
        judged("d", "keep", "reject"),
        judged("e", "keep", "keep", degradation="rain"),
    ]
    found = deciding.rates(said, "mixed")
    assert found["false_accepts"].startswith("kept: synthetic 1 of 2, 50.0 %")
    assert "; real 0 of 0. not rejected: synthetic 1 of 2" in found["false_accepts"]
    assert "not kept: synthetic 0 of 0; real 1 of 1, 100.0 %" in found["false_rejects"]
    assert "rejected: synthetic 0 of 0; real 1 of 1, 100.0 %" in found["false_rejects"]


def is_fault(each: Item) -> bool:
    return each.judgement == "reject"


# --- synthetic pairs --------------------------------------------------------------------------------------------------


def test_a_photograph_becomes_rows_with_files(tmp_path: Path) -> None:
    for name in ("friends-1", "life-1"):
        Image.fromarray(crop(name, 420)).save(tmp_path / f"{name}.png")
    out = tmp_path / "out"
    photographs = [tmp_path / "friends-1.png", tmp_path / "life-1.png"]
    found = synthetic.write_pairs(photographs, out, cases=1, workers=1)
    items = real.read_items(out)
    assert [each.key for each in items] == [row.key for row in found]
    for each in items:
        assert each.gt is not None and Image.open(each.lq).size == Image.open(each.gt).size
    assert {each.judgement for each in items} == {"keep", "reject", ""}
    per_photograph = synthetic.GOOD_COUNT + synthetic.FAULT_COUNT + 1  # less faults that nobody would see
    assert 2 * (per_photograph - 2) <= len(items) <= 2 * per_photograph
    assert all(float(each.note.rpartition(" ")[2]) in synthetic.STRENGTHS for each in items if is_fault(each))
    before = {path.name: path.read_bytes() for path in (out / "gt").iterdir()}
    again = tmp_path / "again"
    synthetic.write_pairs(photographs, again, cases=1, workers=1)
    assert {path.name: path.read_bytes() for path in (again / "gt").iterdir()} == before


@pytest.mark.parametrize("off", [0.0, 2.0])
def test_geometry_undone_by_align_is_not_a_fault(off: float, tmp_path: Path) -> None:
    truth = crop("friends-1", 256, 150, 150)
    Image.fromarray(truth).save(tmp_path / "truth.png")
    moved = cv2.warpAffine(truth, np.array([[1, 0, off], [0, 1, 0]]), (256, 256), borderMode=cv2.BORDER_REFLECT)
    with Ledger(tmp_path / "w", create=True) as ledger:
        name = ledger.put_image(cv2.imencode(".png", moved[..., ::-1])[1].tobytes())
    facts = {"kind": "synthetic", "repository": "photograph", "edit": "content"}
    listed = [
        Measured(
            item=Item(
                key=key, judgement=judgement, lq=Path("lq"), gt=tmp_path / "truth.png", degradation="mixed", note=note,
                **facts,
            ),
            candidate=candidate(key), wrong=("mixed",), scores={}, aligned=name,
        )
        for key, judgement, note in (
            ("a", "keep", deciding.TRUTH), ("b", "reject", "sheared 0.5"), ("c", "reject", "removed 0.5"),
        )
    ]  # fmt: skip
    found = {row.item.key: (row.item.judgement, row.item.edit) for row in deciding.undone(listed, tmp_path / "w")}
    assert found["b"] == (("keep", deciding.UNDONE) if off == 0.0 else ("reject", "content"))
    assert found["c"] == ("reject", "content")


def test_a_distance_is_a_high_percentile() -> None:
    truth = crop("friends-1", 256, 150, 150)
    moved = cv2.warpAffine(truth, np.array([[1, 0, 3.0], [0, 1, 4.0]]), (256, 256), borderMode=cv2.BORDER_REFLECT)
    assert deciding.distance(moved, truth) == pytest.approx(5.0, abs=0.3)
    assert deciding.distance(truth, truth) < 0.1


def test_deciding_lists_its_requirements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (deciding.PHOTOGRAPHS_VARIABLE, deciding.SYNTHETIC_VARIABLE, real.FOLDER_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert deciding.bench(real.Options(pairs=6)).startswith("deciding: give a folder with real.csv and one with clean")
    monkeypatch.setenv(deciding.SYNTHETIC_VARIABLE, str(tmp_path / "made"))
    with pytest.raises(ValueError, match=r"photographs: Bridge_by_Sander_Klootwijk, .* missing\. To fill it: apt-get"):
        deciding.synthetic_pairs(tmp_path / "photographs")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "real.csv").touch()  # it is written last
    assert deciding.synthetic_pairs(tmp_path / "photographs") == tmp_path / "made"


@pytest.mark.parametrize("seed", range(4))
def test_a_shaken_photograph_is_aligned_with_the_sharp_one(seed: int) -> None:
    light = np.zeros((101, 101, 3), np.float32)
    light[50, 50] = 255.0
    blurred_light = chains.CHAINS["motion_blur"](light, light, 1.0, np.random.default_rng(seed))[..., 0]
    for places in np.mgrid[:101, :101]:
        assert (blurred_light * places).sum() / blurred_light.sum() == pytest.approx(50.0, abs=0.1)


@pytest.mark.parametrize("degradation", DEGRADATIONS)
def test_every_class_has_a_chain_that_grows_with_its_strength(degradation: str) -> None:
    gt, other = crop("friends-1", 256, 150, 150), crop("life-1", 256, 100, 100)
    light, heavy = (
        np.mean([
            psnr(gt, chains.degrade(gt, other, degradation, strength, np.random.default_rng(seed))) for seed in range(4)
        ])
        for strength in (0.0, 1.0)
    )  # fmt: skip
    assert heavy < light


@pytest.mark.parametrize("kind", chains.SLOW)
def test_a_gradual_fault_is_detected(kind: str) -> None:
    gt, other = crop("friends-1", 256, 150, 150), crop("life-1", 256, 100, 100)
    scene = chains.Scene(gt=gt, lq=blurred(gt, 2.0), other=other)
    image = chains.SLOW[kind][1](scene, 1.0, np.random.default_rng(3))
    assert image.shape == gt.shape and image.dtype == np.uint8
    assert np.abs(image.astype(int) - gt).mean() > 0.5


@pytest.mark.parametrize("freedom", chains.FREEDOMS)
def test_an_allowed_change_stays_near_the_ground_truth(freedom: str) -> None:
    gt, other = crop("friends-1", 256, 150, 150), crop("life-1", 256, 100, 100)
    scene = chains.Scene(gt=gt, lq=blurred(gt, 2.0), other=other)
    for seed in range(4):
        image = chains.FREEDOMS[freedom](scene, np.random.default_rng(seed))
        grey, truth = (np.asarray(one, np.float64).mean(axis=2).ravel() for one in (image, gt))
        assert np.corrcoef(grey, truth)[0, 1] > 0.9
