"""examples/: each is run on the sample for a few steps."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.stages.pack import PackConfig, pack

from .making import GATE, Store, evidence, make_pairs, picture
from .test_diffusers import model as pix2pix  # a tiny one, with weights of chance

pytest.importorskip("torch")
__all__ = ["pix2pix"]
EXAMPLES = Path(__file__).parents[1] / "examples"
PAIRS = len(ggt100k.PairDataset(name="sample"))


def start(cwd: Path, name: str, *arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    settings = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, *launcher, str(EXAMPLES / f"{name}.py"), *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def run_here(cwd: Path, name: str, *arguments: object) -> str:
    """Without a process of its own, where the libraries are loaded already and take longer than the steps."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return out.getvalue()


def fell(out: str) -> float:
    """The loss of the last steps, as a share of the first steps'."""
    first, last = re.search(r"^loss ([\d.]+) -> ([\d.]+) in \d+ steps", out, re.MULTILINE).groups()  # type: ignore[union-attr]
    return float(last) / float(first)


def test_all_examples_are_run_here() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.stem}"' in here, path.name


@pytest.mark.slow
def test_the_pipeline_by_the_python_api_ends_with_training_pairs(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("friends", "wine-1"):  # three photographs are enough
        for path in ggt100k.sample_folder().glob(f"{name}*"):
            (photos / path.name).write_bytes(path.read_bytes())
    taken = sorted(path.name for path in photos.iterdir())
    out = run_here(tmp_path, "pipeline", photos, tmp_path / "made", "--licence", "CC0-1.0", "--test", "0")
    lines = out.splitlines()
    assert f"ingest: {len(taken)} imported, 0 already done" in lines
    assert any(re.fullmatch(r"validate: .*0 findings.*", line) for line in lines), out
    assert re.search(r"^[123] training pairs; the first: [0-9a-f]{16}, lq \(256, 256, 3\)", out, re.MULTILINE), out
    again = run_here(tmp_path, "pipeline", photos, tmp_path / "made", "--licence", "CC0-1.0", "--test", "0")
    assert f"ingest: 0 imported, {len(taken)} already done" in again.splitlines()


@pytest.mark.slow
def test_plain_pytorch(tmp_path: Path) -> None:
    out = ended(start(tmp_path, "plain_pytorch", "--steps", 20, "--crop", 64, "--workers", 1))
    assert re.search(r"^step 20: loss 0\.\d{4}$", out, re.MULTILINE), out
    assert fell(out) < 0.9, out


@pytest.mark.slow
def test_ddp_on_two_processes_sees_each_pair_once_and_keeps_weights_equal(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    # a free port for the two to meet at, not the one that another run may hold
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    out = ended(start(tmp_path, "ddp", "--cpu", "--steps", 9, "--crop", 64, launcher=launcher))
    epochs = re.findall(
        r"^epoch (\d): loss 0\.\d+; (\d) processes saw (\d+) pairs, each once: (\w+)$", out, re.MULTILINE
    )
    assert epochs == [(str(epoch), "2", str(PAIRS), "True") for epoch in range(9 // -(-PAIRS // 4))], out
    assert out.endswith("in 9 steps; equal weights: True\n"), out
    assert fell(out) < 0.9, out


@pytest.mark.slow
def test_resume_continues_after_a_kill_exactly(tmp_path: Path) -> None:
    pytest.importorskip("torchdata")
    arguments = ("--steps", 6, "--crop", 64, "--workers", 1, "--checkpoint")  # more than an epoch
    whole = start(tmp_path, "resume", *arguments, "whole.pt")
    cut = start(tmp_path, "resume", *arguments, "cut.pt")
    assert cut.stdout is not None
    seen = [cut.stdout.readline() for _ in range(3)]
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    # a loader's worker may wait for ever for a lock that died with its parent, and keeps stdout open
    with contextlib.suppress(ProcessLookupError):
        os.killpg(cut.pid, signal.SIGKILL)
    seen += cut.stdout.read().splitlines(keepends=True)  # what it still did before it died
    again = ended(start(tmp_path, "resume", *arguments, "cut.pt"))
    lines = ended(whole).splitlines(keepends=True)
    assert [re.match(r"step \d: loss 0\.\d{6}: [0-9a-f]{16}", line) is not None for line in lines] == [True] * 6
    # it may have died between a checkpoint and its line
    assert again.splitlines(keepends=True) in (lines[len(seen) :], lines[len(seen) + 1 :]), (seen, again, lines)
    assert seen == lines[: len(seen)]


@pytest.mark.slow
def test_with_webdataset(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    assert "ggt100k" not in re.findall(
        r"^(?:import|from) (\w+)", (EXAMPLES / "with_webdataset.py").read_text(), re.MULTILINE
    )
    out = ended(start(tmp_path, "with_webdataset", "--steps", 20, "--crop", 64))
    assert re.search(r"^step 20: loss 0\.\d{4}, of \w+, \w+, \w+, \w+$", out, re.MULTILINE), out
    assert fell(out) < 0.9, out


@pytest.mark.slow
def test_finetune_diffusers_changes_only_the_unet(tmp_path: Path, pix2pix: Path) -> None:
    arguments = ("--model", pix2pix, "--steps", 30, "--crop", 64, "--rate", 1e-2, "--out", "tuned")
    out = run_here(tmp_path, "finetune_diffusers", *arguments)
    assert fell(out) < 0.95, out
    changed = {
        path.parent.name
        for path in pix2pix.glob("*/*.safetensors")
        if path.read_bytes() != (tmp_path / "tuned" / path.relative_to(pix2pix)).read_bytes()
    }
    assert changed == {"unet"}
    assert (tmp_path / "tuned" / "model_index.json").is_file()


@pytest.mark.slow
def test_train_nafnet_evaluates_its_average_and_continues_on_another_number_of_processes(tmp_path: Path) -> None:
    import torch

    tiny: tuple[object, ...] = ("--tiny", "--batch", 2, "--save-every", 2, "--out", "n")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    out = ended(start(tmp_path, "train_nafnet", *tiny, "--steps", 2, launcher=launcher))
    (values,) = re.findall(r"^step 2: PSNR ([\d.]+) dB, of the LQ images ([\d.]+) dB, 4 held-out pairs$", out, re.M)
    assert abs(float(values[0]) - float(values[1])) < 3
    first = torch.load(tmp_path / "n" / "last.pt")
    tiny += ("--tensorboard", "board") if importlib.util.find_spec("tensorboard") else ()
    out = run_here(tmp_path, "train_nafnet", *tiny, "--steps", 4)
    assert out.startswith("continue after step 2\n") and "step 4: PSNR " in out
    last = torch.load(tmp_path / "n" / "last.pt")
    assert (last["step"], last["batches"]["epoch"]) == (4, 0)
    moved = {name for name in last["net"] if not torch.equal(last["net"][name], last["ema"][name])}
    assert len(moved) > 10 and any(not torch.equal(first["ema"][name], last["ema"][name]) for name in moved)
    assert (tmp_path / "n" / "best.pt").is_file() and not list((tmp_path / "n").glob("*.part"))


@pytest.mark.slow
def test_finetune_edit_model_on_an_exported_set(tmp_path: Path) -> None:
    from ggt_tools.stages.export import ExportConfig, export

    export(ggt100k.sample_folder() / "packed", tmp_path / "edits", ExportConfig(to="diffusers", prompt="fixed"))
    assert "import ggt" not in (EXAMPLES / "finetune_edit_model.py").read_text()
    tiny = ("--set", "edits", "--model", "tiny", "--crop", 32, "--rate", 1e-2, "--out", "tuned")
    out = run_here(tmp_path, "finetune_edit_model", *tiny, "--steps", 30)
    assert fell(out) < 0.8, out
    assert run_here(tmp_path, "finetune_edit_model", *tiny, "--steps", 31).startswith("continue after step 30\n")
    assert (tmp_path / "tuned" / "model_index.json").is_file()


def test_visual_prior_of_a_release_with_priors(tmp_path: Path) -> None:
    store = Store()
    pairs = make_pairs(store, 24)
    beside = [
        dataclasses.replace(
            pair,
            verdict=dataclasses.replace(pair.verdict, decision="reject", evidence=evidence("prior: misaligned")),
            candidate=dataclasses.replace(pair.candidate, image=store.put(encode_png(picture(at + 100, 100, 90)))),
        )
        for at, pair in enumerate(pairs[2:])
    ]
    beside = [dataclasses.replace(each, image=each.candidate.image) for each in beside]
    pack(pairs, store, tmp_path / "release", PackConfig(test=0), gate=GATE, priors=beside)
    out = run_here(tmp_path, "visual_prior", "--data-dir", "release", "--steps", 2, "--crop", 64)
    assert re.findall(r"^(\w+) the prior: [\d.]+ dB on (\d+) held-out", out, re.MULTILINE) == [
        (name, str(8 * 3))  # eight windows of one photograph in ten of 22
        for name in ("without", "with")
    ], out


@pytest.mark.slow
def test_visual_prior(tmp_path: Path) -> None:
    out = ended(start(tmp_path, "visual_prior", "--steps", 30, "--crop", 64))
    windows = 8 * len(ggt100k.PairDataset(name="sample", split="test"))
    found = re.findall(r"^(with\w*) the prior: ([\d.]+) dB on (\d+) held-out windows$", out, re.MULTILINE)
    assert [(name, count) for name, _, count in found] == [("without", str(windows)), ("with", str(windows))], out
    assert float(found[1][1]) > float(found[0][1]) + 1, out


@pytest.mark.slow
def test_does_it_help(tmp_path: Path) -> None:
    out = ended(start(tmp_path, "does_it_help", "--quick", "--out", "rows.json"))
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    held = {(row["seed"], row["key"]) for row in rows}
    assert len(rows) == 3 * len(held) and len(held) == 2 * len({key for _, key in held})
    assert {row["network"] for row in rows} == {"untouched", "synthetic", "synthetic + GGT"}
    photographs = {row["photograph"] for row in rows}
    assert len(photographs) == 3 < len({key for _, key in held})
    folds = {(row["seed"], row["photograph"], row["fold"]) for row in rows}
    assert len(folds) == 2 * len(photographs), "crops of one photograph are held out together"
    untouched = [row for row in rows if row["network"] == "untouched"]
    assert {row["key"] for row in untouched} == {row["key"] for row in rows}
    mean = sum(row["psnr"] for row in untouched) / len(untouched)
    assert f"| all | {len(untouched) // 2} | {mean:.2f} |" in out
    assert out.strip().endswith("The held-out gt is the output of the restorer, not the true scene.")
