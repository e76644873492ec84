"""The bench of synthetic faults: faults are visible, harmless changes are not, and its tables count correctly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate
from ggt_tools.training import synthetic_degradations as degrading
from ggt_tools.training import synthetic_faults
from ggt_tools.training.synthetic_faults import (
    FAULTS,
    GROUPS,
    FaultedImage,
    Scene,
    add_fault,
    add_named_fault,
    change_harmlessly,
)
from tests.benchmarks import faults, faults_kinds, faults_photographs
from tests.benchmarks.faults_kinds import CLASS, DEGRADING, GOOD, NEW, TEXT, UNSEEN, USUAL, lettered
from tests.benchmarks.field import Options
from tests.photographs import Photograph, crop, psnr

EVERY = {**FAULTS, **UNSEEN}


@pytest.fixture(scope="module")
def scene() -> Scene:
    gt, other = crop("friends-1", 288, 150, 150), crop("picosdeeuropa-1", 288, 100, 100)
    return Scene(gt=gt, lq=degrading.degrade(gt, "blur and noise", strength=0.5, seed=1), other=other)


def made(scene: Scene, kind: str, strength: float, seed: int = 3) -> FaultedImage:
    return add_fault(EVERY[kind][1], scene, strength, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", EVERY)
def test_a_synthetic_fault_is_visible_and_deterministic(scene: Scene, kind: str) -> None:
    before = scene.gt.copy()
    one, again = made(scene, kind, 0.75), made(scene, kind, 0.75)
    assert np.array_equal(one.image, again.image) and np.array_equal(one.seen, again.seen)
    assert one.image.shape == scene.gt.shape and one.image.dtype == np.uint8
    assert one.seen.mean() >= 1 / 2000
    assert np.array_equal(scene.gt, before)
    outside = np.abs(one.image.astype(int) - scene.gt).mean(axis=2)[~one.seen]
    assert outside.size == 0 or outside.mean() < synthetic_faults.VISIBLE


GROWS = [kind for kind in EVERY if kind not in ("unchanged", "wrong photo")]  # those two show whole at any strength


@pytest.mark.parametrize("kind", GROWS)
def test_a_stronger_fault_differs_more_from_the_ground_truth(scene: Scene, kind: str) -> None:
    weak, strong = (
        np.mean([psnr(scene.gt, made(scene, kind, strength, seed).image) for seed in range(6)])
        for strength in (0.0, 1.0)
    )
    assert strong < weak


def test_every_kind_belongs_to_a_group() -> None:
    assert {group for group, _ in EVERY.values()} == set(GROUPS)
    assert not set(FAULTS) & set(UNSEEN)
    assert len(EVERY) + 1 >= 16
    assert {*faults_kinds.MAJOR, *faults_kinds.COPIES} <= {*EVERY, TEXT}


@pytest.mark.parametrize("kind", {**DEGRADING, **degrading.KINDS})
def test_a_degradation_is_deterministic_and_grows_with_its_strength(kind: str) -> None:
    gt = crop("life-1", 256, 100, 100)
    light, heavy, again = (faults.make_lq(gt, kind, strength, seed=5) for strength in (0.0, 1.0, 1.0))
    assert np.array_equal(heavy, again)
    assert psnr(gt, heavy) < psnr(gt, light)


def test_the_bench_has_degradations_that_training_has_not() -> None:
    assert {*USUAL} < {*degrading.KINDS} and not {*NEW} & {*degrading.KINDS} and {*DEGRADING} == {*USUAL, *NEW}
    for kind in DEGRADING:
        assert set(CLASS.get(kind, (kind,))) <= {*CLASS, *DEGRADING, "mixed", "defocus_blur", "motion_blur"}


def test_harmless_changes_stay_near_the_ground_truth(scene: Scene) -> None:
    for change in GOOD.values():
        assert psnr(scene.gt, change(scene, np.random.default_rng(1))) > 20
    for seed in range(20):
        image = change_harmlessly(scene, np.random.default_rng(seed))
        grey, truth = (np.asarray(one, np.float64).mean(axis=2).ravel() for one in (image, scene.gt))
        assert np.corrcoef(grey, truth)[0, 1] > 0.97, seed


def test_signs_differ_in_letters_alone() -> None:
    gt = crop("life-1", 320, 100, 100)
    right, wrong = lettered(gt, 0.5, np.random.default_rng(4))
    assert not np.array_equal(right, gt) and not np.array_equal(right, wrong)
    assert (right != wrong).any(axis=2).mean() < 0.2


def row(kind: str, strength: float, good: bool, scores: dict[str, float]) -> faults.Row:
    return faults.Row(
        photograph="p", degradation="haze", heavy=0.5, kind=kind, strength=strength, good=good, wrong=("mixed",),
        scores=scores,
    )  # fmt: skip


def test_the_tables_count_unsure_as_half() -> None:
    kept: dict[str, float] = {"structure": 0.9}
    gate = load_gate(DEFAULT_GATE)
    rows = [
        row("removed", 0.5, False, {"structure": 0.0}),
        row("removed", 1.0, False, kept),
        row("tone", 0, True, kept),
    ]
    shares = [share for share, _ in faults.lost(rows, gate)]
    assert shares == [1.0, 0.5, 0.5]  # rejected; unsure, since the rest was not measured
    text = faults.report(rows, faults.lost(rows, gate), 1, gate)
    assert "| removed | 100 % | 50 % | 75 % |" in text
    assert "| tone | 1 | 50.0 % |" in text
    assert "| good candidates lost | 50.0 % |" in text


def test_without_photographs_the_bench_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GGT100K_PHOTOGRAPHS", raising=False)
    assert faults.bench(Options(pairs=6)).startswith("faults: no photographs are named. apt-get download lomiri-")


def test_a_folder_that_lacks_photographs_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no Dune, Garden\. apt-get download"):
        faults.jobs(tmp_path, ("Dune", "Garden"))


def test_no_photograph_is_in_two_parts() -> None:
    of = faults_photographs
    parts: Sequence[tuple[str, ...]] = (of.REPORT, of.FIT, of.TRAIN, of.TRAIN_TOO)
    assert sum(map(len, parts)) == len({name for part in parts for name in part})
    assert len(faults_photographs.REPORT) >= 30


@pytest.mark.slow
def test_a_photograph_goes_through_the_bench(tmp_path: Path) -> None:
    from PIL import Image

    for name, source in (("Dune", "friends-1"), ("Garden", "life-1")):
        Image.fromarray(crop(source, 400)).save(tmp_path / f"{name}.png")
    job = faults.jobs(tmp_path, ("Dune", "Garden"), strengths=(1.0,), lqs=1, side=256)[0]
    rows = faults.measured([job], workers=1)
    assert sum(row.good for row in rows) == 2 * len(GOOD)
    assert {row.kind for row in rows if not row.good} == {*EVERY, TEXT}
    said = dict(zip((row.kind for row in rows), faults.lost(rows, load_gate(DEFAULT_GATE)), strict=True))
    assert said["wrong photo"][0] == 1.0 and said["unchanged"][0] == 1.0


def test_a_fault_is_added_where_it_is_visible(scene: Scene) -> None:
    plain: Photograph = np.full((256, 256, 3), 128, np.uint8)
    plain[100:160, 100:160] = crop("life-1", 60, 200, 200)
    flat = Scene(gt=plain, lq=plain, other=plain)
    found = [
        add_named_fault("removed", flat, strength=0.2, random=np.random.default_rng(seed)).seen.any()
        for seed in range(8)
    ]
    assert sum(found) >= 6
