"""The learned witness: what it says of faults and of good pairs, that it says it again, and how it is made."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ggt_tools.cli import train_witness as verb
from ggt_tools.errors import ConfigError
from ggt_tools.witnesses import Pair, degrading, learned
from ggt_tools.witnesses.evidence import COUNT, evidence
from ggt_tools.witnesses.planting import Scene, plant
from tests.photographs import Photograph, crop

pytest.importorskip("onnxruntime")
SIZE = 384


@pytest.fixture(scope="module", params=["haze", "noise", "blur", "low_light"])
def scene(request: pytest.FixtureRequest) -> Scene:
    gt, other = crop("friends-1", SIZE, 150, 150), crop("picosdeeuropa-1", SIZE, 100, 100)
    return Scene(gt=gt, lq=degrading.degrade(gt, request.param, strength=0.4, seed=1), other=other)


def said(lq: Photograph, gt: Photograph) -> dict[str, float]:
    pair = Pair(lq, gt)
    return {name: metric(pair) for name, metric in learned.METRICS.items()}


def worst(lq: Photograph, gt: Photograph) -> float:
    return max(said(lq, gt).values())


def test_the_weights_are_those_of_the_version() -> None:
    assert hashlib.sha256(learned.WEIGHTS.read_bytes()).hexdigest() == learned.SHA256
    assert learned.version() == f"learned {learned.SHA256[:8]} evidence-2"
    assert learned.WEIGHTS.stat().st_size < 4_000_000


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        ("wrong photo", "learned_content"), ("shifted", "learned_content"), ("swapped", "learned_worst"),
        ("half restored", "learned_gain"), ("unchanged", "learned_gain"),
    ],
)  # fmt: skip
def test_a_fault_counts_more_than_the_truth(scene: Scene, kind: str, metric: str) -> None:
    planted = plant(kind, scene, strength=0.8, random=np.random.default_rng(3)).image
    less = -1 if metric == "learned_gain" else 1
    assert less * (said(scene.lq, planted)[metric] - said(scene.lq, scene.gt)[metric]) > 2


def test_where_a_region_was_swapped_is_where_the_tiles_say(scene: Scene) -> None:
    planted = plant("swapped", scene, strength=0.9, random=np.random.default_rng(3))
    tiles = np.delete(learned.look(scene.lq, planted.image)[0], 0, axis=0).max(axis=0)
    inside = planted.seen.reshape(SIZE // 16, 16, SIZE // 16, 16).mean(axis=(1, 3)) > 0.5
    assert tiles[inside].mean() > tiles[~inside].mean() + 2


def test_it_says_the_same_again_whatever_came_between(scene: Scene) -> None:
    first = said(scene.lq, scene.gt)
    said(scene.gt, scene.lq)
    assert said(scene.lq.copy(), scene.gt.copy()) == pytest.approx(first, abs=2e-3)


@pytest.mark.parametrize("size", [(32, 32), (100, 333), (47, 512)])
def test_any_size_is_measured(size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(crop("life-1", 512)[: size[0], : size[1]])
    tiles, whole = learned.look(image, image)
    assert tiles.shape == (len(learned.CLASSES), size[0] // 16, size[1] // 16) and whole.shape == (6,)
    assert np.isfinite(tiles).all() and np.isfinite(whole).all()
    assert evidence(image, image).shape == (COUNT, size[0] // 16 * 2, size[1] // 16 * 2)


def test_a_flat_picture_is_measured() -> None:
    flat = np.full((64, 64, 3), 255, np.uint8)
    assert np.isfinite(evidence(flat, flat)).all() and np.isfinite(worst(flat, flat))


def test_a_pair_of_1024_takes_less_than_two_seconds() -> None:
    image = np.tile(crop("life-1", 512), (2, 2, 1))
    said(image[:64, :64], image[:64, :64])  # loads the weights
    begin = time.process_time()
    said(image, image)
    assert time.process_time() - begin < 2.0


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "learned.onnx"
    other.write_bytes(b"other")
    monkeypatch.setattr(learned, "WEIGHTS", other)
    learned._session.cache_clear()
    image = crop("life-1", 64)
    with pytest.raises(ConfigError) as caught:
        learned.look(image, image)
    digest = hashlib.sha256(b"other").hexdigest()[:16]
    assert str(caught.value) == (
        f"learned.onnx: its SHA-256 is {digest}, not {learned.SHA256[:16]}; install ggt100k again"
    )
    other.unlink()
    assert learned.missing() == "learned.onnx is missing: install ggt100k again"


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    learned._session.cache_clear()
    image = crop("life-1", 64)
    with pytest.raises(ConfigError, match=re.escape("onnxruntime is not installed: pip install 'ggt100k[generate]'")):
        learned.look(image, image)


def arguments(*argv: str) -> object:
    import argparse

    parser = argparse.ArgumentParser()
    verb.arguments(parser)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--limit", type=int)
    return parser.parse_args(argv)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from PIL import Image

    for name in ("friends-1", "life-1"):
        Image.fromarray(crop(name, 340)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_a_witness_is_trained_and_exported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    import onnxruntime
    from PIL import Image

    Image.fromarray(crop("life-1", 200)).save(folder / "small.png")
    out = folder / "witness.onnx"
    assert verb.run(arguments(str(folder), str(out), "--samples", "64", "--epochs", "1", "--workers", "1")) == 0
    printed = capsys.readouterr().out
    small, made, *_ = printed.splitlines()
    assert small == f"{folder / 'small.png'}: has fewer than 320 px a side, and is left out"
    assert made.startswith(f"{folder}: 64 samples, of them ") and printed.count("epoch 1 of 1: loss ") == 2
    assert printed.endswith(f"learned.SHA256 = {hashlib.sha256(out.read_bytes()).hexdigest()}\n")
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    image = crop("life-1", 128)
    tiles, whole = session.run(None, {"measures": evidence(image, image)[None]})
    assert tiles.shape == (1, 6, 8, 8) and whole.shape == (1, 6)


def test_what_counts_is_the_mean_of_the_networks() -> None:
    torch = pytest.importorskip("torch")
    from ggt_tools.train_witness import network, together

    nets = [network().eval(), network().eval()]
    measures = torch.randn(1, COUNT, 16, 16)
    (tiles, whole), (others, other) = (net(measures) for net in nets)
    for found, wanted in zip(together(nets)(measures), ((tiles + others) / 2, (whole + other) / 2), strict=True):
        assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(tiles, others, atol=0.1)


def test_a_dry_run_makes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb.run(arguments(str(folder), str(folder / "w.onnx"), "--dry-run", "--limit", "10")) == 0
    assert capsys.readouterr().out == "would make 10 samples of 2 photographs, and pass 2 networks over them 7 times\n"
    assert not (folder / "w.onnx").exists()


def test_too_few_photographs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds 0 photographs of 320 px a side or more; put clean ones there"):
        verb.run(arguments(str(tmp_path), str(tmp_path / "w.onnx")))


def test_samples_are_the_same_again(folder: Path) -> None:
    from ggt_tools.train_witness import TrainConfig, make_samples

    config = TrainConfig(samples=8, workers=1)
    one, again = make_samples(folder, config), make_samples(folder, config)
    assert np.array_equal(one.measures, again.measures) and np.array_equal(one.whole, again.whole)
    assert one.measures.shape == (8, COUNT, 32, 32) and one.tiles.shape == (8, 16, 16)


def test_settings_that_make_no_sense() -> None:
    from ggt_tools.train_witness import TrainConfig

    with pytest.raises(ConfigError, match="train-witness: --epochs 0: at least 1 is wanted"):
        TrainConfig(epochs=0)
