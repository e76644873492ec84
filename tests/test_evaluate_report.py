"""evaluate: the Y channel, borders, DF-Score, tables for papers, and comparisons of models."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ggt100k
from ggt_tools.errors import ConfigError
from ggt_tools.events import Recorded
from ggt_tools.metrics.y_channel import luma, psnr_y, ssim_y
from ggt_tools.stages.evaluate import EvaluateConfig, is_lower_better
from ggt_tools.stages.evaluate.compare import compare, paired_difference
from ggt_tools.stages.evaluate.df_score import read_df_scores
from ggt_tools.stages.evaluate.fs_score import FS_METRICS, read_fs_scores
from ggt_tools.stages.evaluate.run import run, run_comparison
from ggt_tools.stages.evaluate.tables import latex, markdown

from .making import make_dataset, picture
from .test_cli import ggt, well

Y = EvaluateConfig(metrics=("psnr_y", "ssim_y"), worst=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("release") / "ggt-100k", count=16, test=0.5)


def write_outputs(root: Path, folder: Path, noise: int) -> dict[str, np.ndarray]:
    """Write an output for each test pair: its GT image with this much noise. Returned by key."""
    folder.mkdir()
    random = np.random.default_rng(noise)
    outputs = {}
    for pair in ggt100k.PairDataset(root, "test"):
        change = random.integers(-noise, noise + 1, pair["gt"].shape)
        outputs[pair["key"]] = np.clip(pair["gt"] + change, 0, 255).astype(np.uint8)
        Image.fromarray(outputs[pair["key"]]).save(folder / f"{pair['key']}.png")
    return outputs


def gts(root: Path) -> dict[str, np.ndarray]:
    return {pair["key"]: pair["gt"] for pair in ggt100k.PairDataset(root, "test")}


# --- the Y channel ----------------------------------------------------------------------------------------------------


def test_luma_spans_the_studio_range() -> None:
    shades = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert luma(shades)[0] == pytest.approx([16, 235, 81.481, 144.553, 40.966])


@pytest.mark.slow
@pytest.mark.parametrize("border", [0, 4])
def test_psnr_and_ssim_are_those_of_basicsr(border: int, root: Path, tmp_path: Path) -> None:
    """Of whole and of cropped images, by the command's own path through files."""
    metrics = pytest.importorskip("basicsr.metrics.psnr_ssim")
    outputs, truths = write_outputs(root, tmp_path / "m", 9), gts(root)
    config = EvaluateConfig(metrics=("psnr_y", "ssim_y"), crop_border=border, worst=0)
    values = run(root, tmp_path / "m", config).evaluation.values
    for key, output in outputs.items():
        bgr = output[..., ::-1], truths[key][..., ::-1]
        expected = {
            "psnr_y": metrics.calculate_psnr(*bgr, border, test_y_channel=True),
            "ssim_y": metrics.calculate_ssim(*bgr, border, test_y_channel=True),
        }
        assert values[key] == pytest.approx(expected, abs=1e-4)


def test_equal_and_small_images() -> None:
    pixels = picture(1, 12, 12)
    assert psnr_y(pixels, pixels) == math.inf and ssim_y(pixels, pixels) == pytest.approx(1)
    assert math.isnan(ssim_y(pixels[:10], pixels[:10]))


def test_borders_are_left_out_of_every_value(root: Path, tmp_path: Path) -> None:
    """Outputs that differ from GT at the border alone are perfect without it."""
    (tmp_path / "m").mkdir()
    for key, gt in gts(root).items():
        output = np.zeros_like(gt)
        output[3:-3, 3:-3] = gt[3:-3, 3:-3]
        Image.fromarray(output).save(tmp_path / "m" / f"{key}.png")
    values = run(root, tmp_path / "m", EvaluateConfig(metrics=("ssim_y",), crop_border=3, worst=0)).evaluation.values
    assert all(scores["ssim_y"] == pytest.approx(1) for scores in values.values())
    values = run(root, tmp_path / "m", EvaluateConfig(metrics=("ssim_y",), crop_border=2, worst=0)).evaluation.values
    assert all(scores["ssim_y"] < 0.999 for scores in values.values())
    with pytest.raises(ConfigError, match=r"^--crop-border 35: key [0-9a-f]{16}: nothing is left of 90 x 70 pixels\."):
        run(root, tmp_path / "m", EvaluateConfig(metrics=("ssim_y",), crop_border=35))
    with pytest.raises(ConfigError, match=r"^--crop-border -1: is below 0\."):
        EvaluateConfig(crop_border=-1)


# --- DF-Score ---------------------------------------------------------------------------------------------------------


def test_df_score_is_the_mean_of_the_roots(root: Path, tmp_path: Path) -> None:
    """Not the root of the means; by class and over all; a copy of LQ has 0 beside it."""
    keys = list(write_outputs(root, tmp_path / "m", 5))
    scores = {key: (20.0 * (number % 5), 100.0 - 10 * (number % 3)) for number, key in enumerate(keys)}
    file = tmp_path / "df.json"
    file.write_text(json.dumps([{"id": f"m/{key}", "D": d, "F": f} for key, (d, f) in scores.items()]))
    evaluation = run(root, tmp_path / "m", EvaluateConfig(metrics=("psnr_y",), df_scores=file, worst=0)).evaluation
    classes = {pair["key"]: pair["degradation"] for pair in ggt100k.PairDataset(root, "test")}
    for name in ("rain", "snow", "all"):
        chosen = [scores[key] for key in keys if name in (classes[key], "all")]
        row = evaluation.rows[name]
        assert row["d_score"]["output"] == pytest.approx(np.mean([d for d, _ in chosen]))
        assert row["f_score"]["output"] == pytest.approx(np.mean([f for _, f in chosen]))
        assert row["df_score"]["output"] == pytest.approx(np.mean([math.sqrt(d * f) for d, f in chosen]))
        assert [row[f"{part}_score"]["lq"] for part in ("d", "f", "df")] == [0, 100, 0]
    assert evaluation.metrics == ("psnr_y", "d_score", "f_score", "df_score")


def test_outputs_without_df_scores_are_counted(root: Path, tmp_path: Path) -> None:
    keys = list(write_outputs(root, tmp_path / "m", 5))
    file = tmp_path / "df.csv"
    file.write_text(f"key,D,F\n{keys[0]},50,100\n{keys[1]},,\n")
    events = Recorded()
    config = EvaluateConfig(metrics=("psnr_y",), df_scores=file, worst=0)
    evaluation = run(root, tmp_path / "m", config, events=events).evaluation
    assert evaluation.rows["all"]["df_score"]["output"] == pytest.approx(math.sqrt(5000))
    assert events.warnings == [
        f"{tmp_path / 'm'}: {len(keys) - 1} of {len(keys)} outputs have no D and F, the first is {keys[1]}. "
        "Let the evaluator score them too."
    ]


KEY = "0123456789abcdef"
EXPECTED = {KEY: {"d_score": 80.0, "f_score": 20.0, "df_score": 40.0}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", f'[{{"key": "{KEY}", "D": 80, "F": 20}}, {{"key": "another", "D": 1, "F": 1}}]'),
        ("a.jsonl", f'{{"output": "out/{KEY}_x.png", "d": 80, "f": 20}}\n\n{{"lq": "x.png", "D": 1, "F": 1}}\n'),
        ("a.csv", f"F,D,key\n20,80,{KEY}\n"),
        ("a.json", f'{{"overall": {{"D": 1}}, "per_item": [{{"id": "{KEY}", "vlm": {{"D": 80, "F": 20}}}}]}}'),
        ("a.json", f'[{{"id": "{KEY}", "error": "input missing"}}, {{"id": "{KEY[::-1]}"}}]'),
    ],
)
def test_files_of_df_scores(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_df_scores(tmp_path / name, [KEY, "f" * 16]) == ({} if "error" in text else EXPECTED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f'[{{"key": "{KEY}", "D": 101, "F": 20}}]',
            "row 1: D is 101. It must be a number from 0 to 100: correct the row, or leave it empty.",
        ),
        (
            f'[{{"key": "{KEY}", "D": 1, "F": "good"}}]',
            "row 1: F is 'good'. It must be a number from 0 to 100: correct the row, or leave it empty.",
        ),
        (
            f'[{{"key": "{KEY}", "D": 1, "F": 2}}, {{"key": "{KEY}", "D": 1, "F": 2}}]',
            f"row 2: key {KEY} occurs twice. Leave one of its rows.",
        ),
        ('{"a": 1}', "does not hold one object for each image. Give an array of objects."),
    ],
)
def test_files_of_df_scores_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_df_scores(file, [KEY])
    assert str(caught.value) == f"{file}: {message}"
    file.write_text("[")
    with pytest.raises(ConfigError, match="is not JSON"):
        read_df_scores(file, [KEY])


# --- FS ---------------------------------------------------------------------------------------------------------------


def test_fs_of_realir_bench_is_the_mean_over_images(root: Path, tmp_path: Path) -> None:
    """From the CSV of its evaluator, for the pairs that it has; a copy of LQ has 0 beside it."""
    keys = list(write_outputs(root, tmp_path / "m", 5))
    lines = ["\ufeffImageName,ReferencePath,PredictionPath,LPIPS_Score,VLM_Score_Diff,FS"]
    lines += [f"{key}.png,r,p,0.{number + 1}00000,{number % 3}.000000,9" for number, key in enumerate(keys[:-1])]
    (tmp_path / "fs.csv").write_text("\n".join([*lines, "other.png,r,p,0.5,1,9"]), encoding="utf-8")
    recorded = Recorded()
    config = EvaluateConfig(metrics=("psnr_y",), fs_scores=tmp_path / "fs.csv", worst=0)
    evaluation = run(root, tmp_path / "m", config, events=recorded).evaluation
    values = [0.2 * (number % 3) * (1 - (number + 1) / 10) for number in range(len(keys) - 1)]
    assert [evaluation.values[key]["fs"] for key in keys[:-1]] == pytest.approx(values)
    assert evaluation.rows["all"]["fs"] == pytest.approx({"output": np.mean(values), "lq": 0.0})
    assert evaluation.metrics == ("psnr_y", "fs_gain", "fs", "fs_lpips")
    assert [is_lower_better(name) for name in FS_METRICS] == [False, False, True]
    assert recorded.warnings == [
        f"{tmp_path / 'm'}: 1 of {len(keys)} outputs have no gain and LPIPS for FS, the first is {keys[-1]}. Let the "
        "evaluator score them too."
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'[{{"key": "{KEY}", "gain": 5, "lpips": 0.1}}]', "row 1: gain is 5. It must be a number from 0 to 4"),
        (f'[{{"key": "{KEY}", "gain": 1, "lpips": "x"}}]', "row 1: lpips is 'x'. It must be a number from 0 to 1"),
        (f'[{{"key": "{KEY}", "gain": 1, "lpips": 0}}, {{"key": "{KEY}"}}]', f"row 2: key {KEY} occurs twice."),
    ],
)
def test_files_of_fs_scores_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "fs.json").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_fs_scores(tmp_path / "fs.json", [KEY])
    assert str(caught.value).startswith(f"{tmp_path / 'fs.json'}: {message}")
    (tmp_path / "fs.json").write_text(f'[{{"key": "{KEY}", "gain": "", "lpips": 0}}]')
    assert read_fs_scores(tmp_path / "fs.json", [KEY]) == {}


# --- the page of the worst --------------------------------------------------------------------------------------------


def test_the_worst_stand_under_sliders_in_a_page_that_asks_for_nothing(root: Path, tmp_path: Path) -> None:
    write_outputs(root, tmp_path / "<m>", 5)
    config = EvaluateConfig(metrics=("psnr_y",), worst=3, page=tmp_path / "w.html")
    result = run(root, tmp_path / "<m>", config)
    assert str(tmp_path / "w.html") in result.summary.paths
    text = (tmp_path / "w.html").read_text(encoding="utf-8")
    worst = result.evaluation.worst
    assert re.findall(r"<h2>(\d)\. [a-z ]+, <code>(\w+)</code></h2>", text) == [
        (str(number), key) for number, key in enumerate(worst, 1)
    ]
    assert "<h1>The worst outputs of &lt;m&gt;</h1>" in text and "http" not in text.replace("http-equiv", "")
    assert "default-src 'none'; img-src data:" in text
    sides = re.findall(r'<template data-side="(\w+)">data:image/jpeg;base64,([^<]+)</template>', text)
    assert [side for side, _ in sides] == ["lq", "output", "gt"] * 3
    gt = np.asarray(Image.open(io.BytesIO(base64.b64decode(sides[2][1]))))
    assert np.abs(gt.astype(int) - gts(root)[worst[0]]).mean() < 4
    with pytest.raises(ConfigError, match=r"^--page w.html: is for one model\."):
        run_comparison(root, [tmp_path / "<m>", tmp_path / "b"], EvaluateConfig(page=Path("w.html")))


# --- tables -----------------------------------------------------------------------------------------------------------

ROWS = [("class", "psnr_y"), ("low_light", "20.1 (5 %)"), ("a|b", "-")]


def test_markdown() -> None:
    assert markdown("my_model", ROWS) == (
        "## my\\_model\n\n| class | psnr\\_y |\n| --- | ---: |\n| low\\_light | 20.1 (5 %) |\n| a\\|b | - |\n"
    )


def test_latex() -> None:
    lines = latex("my_model & 50 %", ROWS).splitlines()
    assert lines[2:4] == [r"\caption{my\_model \& 50 \%}", r"\begin{tabular}{lr}"]
    assert lines[5:9] == [r"class & psnr\_y \\", r"\midrule", r"low\_light & 20.1 (5 \%) \\", r"a|b & - \\"]


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1))
def test_no_cell_breaks_a_table(rows: list[tuple[str, str]]) -> None:
    """Each row stays one row of two columns, whatever the cells hold."""
    rows = [tuple("".join(cell.split("\r")) for cell in row) for row in rows]  # type: ignore[misc]
    body = latex("t", rows).split("\n")[5:-4]
    assert len(body) == len(rows) + 1
    for line in (line for line in body if line != r"\midrule"):
        unescaped = line.replace(r"\\", "").replace(r"\&", "")
        assert line.endswith(r" \\") and unescaped.count("&") == 1
    table = markdown("t", rows).split("\n")[2:-1]
    assert len(table) == len(rows) + 1
    assert all(line.replace("\\|", "").count("|") == 3 for line in table)


@pytest.mark.parametrize("ending", [".md", ".tex"])
def test_a_table_is_written_beside_the_values(ending: str, root: Path, tmp_path: Path) -> None:
    write_outputs(root, tmp_path / "m", 5)
    file = tmp_path / f"t{ending}"
    well("evaluate", root, "--model", tmp_path / "m", "--metrics", "psnr_y", "--worst", "1", "--table", file)
    text = file.read_text()
    evaluation = json.loads((tmp_path / "m.evaluation.json").read_text())
    for name, row in evaluation["rows"].items():
        (line,) = [line for line in text.splitlines() if line.lstrip("| ").startswith(name)]
        assert f"{row['psnr_y']['output']:.3f} ({row['psnr_y']['lq']:.3f})" in line
    with pytest.raises(ConfigError, match=r"t\.xls: its ending names no kind of table\."):
        EvaluateConfig(table=tmp_path / "t.xls")
    with pytest.raises(ConfigError, match="its folder does not exist"):
        EvaluateConfig(table=tmp_path / "no" / "t.md")


# --- comparison -------------------------------------------------------------------------------------------------------


def test_the_interval_covers_the_true_difference() -> None:
    """Of 200 samples with a known difference, about 95 % of the intervals hold it; pairing makes them narrow."""
    random = np.random.default_rng(3)
    hits, widths = 0, []
    for seed in range(200):
        common = random.normal(20, 5, 60)
        low_high = paired_difference(common + 0.5 + random.normal(0, 1, 60), common, resamples=400, seed=seed)[1:]
        hits += low_high[0] <= 0.5 <= low_high[1]
        widths.append(low_high[1] - low_high[0])
    assert 180 <= hits <= 198
    assert np.mean(widths) < 0.6, "unpaired intervals would be about 3.6 wide"


def test_differences_are_over_common_pairs_and_know_which_way_is_better() -> None:
    base = {"a": {"x": 1.0}, "b": {"x": 2.0}, "c": {"x": math.nan}, "d": {"x": 9.0}}
    other = {"a": {"x": 3.0}, "b": {"x": 2.0}, "c": {"x": 1.0}, "e": {"x": 0.0}}
    for is_lower, better in ((False, 0.75), (True, 0.25)):
        (difference,) = compare([("base", base), ("other", other)], [("x", is_lower)])
        assert (difference.pairs, difference.mean, difference.baseline_mean) == (2, 2.5, 1.5)
        assert difference.difference == 1.0 and difference.better == better and not difference.is_clear
    (difference,) = compare([("base", {}), ("other", other)], [("x", False)])
    assert difference.pairs == 0 and math.isnan(difference.difference) and math.isnan(difference.low)
    assert paired_difference([2.0], [1.0])[0] == 1.0 and math.isnan(paired_difference([2.0], [1.0])[1])


def test_several_models(root: Path, tmp_path: Path) -> None:
    for name, noise in (("good", 3), ("bad", 12)):
        write_outputs(root, tmp_path / name, noise)
    file = tmp_path / "t.md"
    models = [tmp_path / "good", tmp_path / "bad"]
    from dataclasses import replace

    result = run_comparison(root, models, replace(Y, table=file))
    differences = {each.metric: each for each in result.differences}
    assert set(differences) == {"psnr_y", "ssim_y"}
    psnr = differences["psnr_y"]
    assert (psnr.model, psnr.baseline, psnr.better) == ("bad", "good", 0.0)
    assert psnr.high < -5 and psnr.is_clear and psnr.low < psnr.difference < psnr.high
    rows = {name: evaluation.rows["all"]["psnr_y"]["output"] for name, evaluation in result.evaluations.items()}
    assert psnr.difference == pytest.approx(rows["bad"] - rows["good"])
    assert [line for line in file.read_text().splitlines() if line.startswith("## ")] == [
        "## good", "## bad", "## Comparison",
    ]  # fmt: skip
    assert all((tmp_path / f"{name}.evaluation.json").exists() for name in ("good", "bad"))
    printed = well("evaluate", root, "--metrics", "psnr_y", "--model", models[0], "--model", models[1], "--worst", "1")
    assert f"{psnr.difference:.3f} [{psnr.low:.3f}, {psnr.high:.3f}]" in printed


def test_options_that_are_for_one_model(root: Path, tmp_path: Path) -> None:
    argv = ("evaluate", root, "--metrics", "psnr_y", "--model", tmp_path / "a" / "m", "--model", tmp_path / "b" / "m")
    assert ": two folders have one name. Rename one of them.\n" in ggt(*argv).err
    argv = (*argv[:-1], tmp_path / "n", "--out", tmp_path / "x.json")
    assert ggt(*argv).err.endswith(": is for one model. Leave it out where you compare several.\n")
