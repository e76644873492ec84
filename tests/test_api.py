"""The Python API: the whole pipeline in a program, killed at any stage and continued."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ggt_format.png import encode_png
from ggt_tools import ExecutorConfig, Workspace, card, export, validate
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Recorded
from ggt_tools.records import Aligned, Photo
from ggt_tools.summary import Summary

from .making import GATE
from .photographs import crop

PHOTOS = ("life-1", "friends-1", "wine-1")
METRICS = ("structure", "unchanged")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three photographs and a gate that keeps all of them."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "photos").mkdir()
    for name in PHOTOS:
        (folder / "photos" / f"{name}.png").write_bytes(encode_png(crop(name, 512)))
    (folder / "gate.toml").write_text(GATE, encoding="utf-8")
    return folder


def run_pipeline(inputs: Path, out: Path, events: object = SILENT) -> list[Summary]:
    """Every stage up to the release."""
    workspace = Workspace.create(out / "workspace", events=events)  # type: ignore[arg-type]
    return [
        workspace.ingest(inputs / "photos", licence="CC0-1.0", classes="measured"),
        workspace.restore("classical"),
        workspace.align(),
        workspace.score(METRICS),
        workspace.verdict(inputs / "gate.toml"),
        workspace.pack(out / "ggt-100k", test=0),
    ]


@pytest.fixture(scope="module")
def made(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made")
    ingest, restore, align, score, verdict, pack = run_pipeline(inputs, out)
    assert [ingest.count("imported"), restore.count("made"), align.count("aligned")] == [3, 3, 3]
    assert (score.count("scores"), verdict.count("kept"), pack.stage) == (6, 3, "pack")
    assert not any(summary.is_failed for summary in (ingest, restore, align, score, verdict, pack))
    return out


def images(out: Path) -> dict[str, bytes]:
    """The image members of a release by name."""
    found = {}
    for path in (out / "ggt-100k" / "data").rglob("*.tar"):
        with tarfile.open(path) as shard:
            for member in shard:
                if member.name.endswith(".png"):
                    file = shard.extractfile(member)
                    assert file is not None
                    found[member.name] = file.read()
    return found


@pytest.mark.slow
def test_a_second_run_has_nothing_left_to_do(inputs: Path, made: Path) -> None:
    ingest, restore, align, score, _, _ = run_pipeline(inputs, made)
    assert [s.count("already done") for s in (ingest, restore, align, score)] == [3, 3, 3, 3]
    assert [ingest.count("imported"), restore.count("made"), align.count("aligned"), score.count("scores")] == [0] * 4


def test_records_tables_and_images_are_read_through_the_workspace(made: Path) -> None:
    workspace = Workspace.open(made / "workspace")
    photos = list(workspace.photos())
    assert sorted(photo.file for photo in photos) == [f"{name}.png" for name in sorted(PHOTOS)]
    assert {photo.licence for photo in photos} == {"CC0-1.0"}
    assert {candidate.key for candidate in workspace.candidates()} == {photo.key for photo in photos}
    assert {score.metric for score in workspace.scores()} == set(METRICS)
    assert [verdict.decision for verdict in workspace.verdicts()] == ["keep"] * 3
    table = workspace.to_arrow(Aligned)
    assert table.num_rows == 3 and table["image"].to_pylist() == [a.image for a in workspace.aligned()]
    assert list(workspace.to_pandas(Photo)["width"]) == [512] * 3
    assert workspace.image(photos[0].image)[:4] == b"\x89PNG"
    funnel = {stage.stage: stage.left for stage in workspace.status().funnel}
    assert funnel == {"ingest": 3, "restore": 3, "align": 3, "verdict": 3}


def test_a_release_is_checked_described_and_exported(made: Path, tmp_path: Path) -> None:
    release = made / "ggt-100k"
    validation = validate(release, events=SILENT)
    assert validation.is_valid and validation.summary.count("findings") == 0
    assert card(release).stage == "card" and (release / "README.md").is_file()
    exported = export(release, tmp_path / "basicsr", "basicsr", events=SILENT)
    assert not exported.is_failed and len(list((tmp_path / "basicsr").rglob("*.png"))) == 6
    (release / "data" / "stray.txt").write_text("x")
    assert validate(release, quick=True, events=SILENT).summary.is_failed
    (release / "data" / "stray.txt").unlink()


def test_a_dry_run_returns_a_plan_and_changes_nothing(inputs: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", events=SILENT)
    summary = workspace.ingest(inputs / "photos", licence="CC0-1.0", dry_run=True)
    assert summary.plan and not summary.counts and list(workspace.photos()) == []


def test_warnings_reach_the_events_of_the_workspace(inputs: Path, tmp_path: Path) -> None:
    events = Recorded()
    workspace = Workspace.create(tmp_path / "w", events=events)
    summary = workspace.ingest(inputs / "photos", classes="measured")  # no licence is stated
    assert summary.is_failed and summary.count("rejected", "no_licence") == 3
    assert len(events.warnings) == 3 and "life-1.png" in " ".join(events.warnings)


def test_without_events_progress_bars_and_python_warnings_are_used(inputs: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    with pytest.warns(UserWarning, match="licence"):
        workspace.ingest(inputs / "photos", classes="measured")


def test_a_folder_that_is_not_a_workspace_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no workspace"):
        Workspace(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, -1, "2"])
def test_a_limit_below_one_is_refused_by_every_stage(made: Path, inputs: Path, limit: int) -> None:
    workspace = Workspace(made / "workspace", events=SILENT)
    for run in (
        lambda: workspace.ingest(inputs / "photos", licence="CC0-1.0", limit=limit),
        lambda: workspace.restore("classical", limit=limit),
        lambda: workspace.prompt(limit=limit),
        lambda: workspace.align(limit=limit),
        lambda: workspace.score(METRICS, limit=limit),
        lambda: workspace.verdict(inputs / "gate.toml", limit=limit),
        lambda: workspace.pack(made / "elsewhere", limit=limit),
    ):
        with pytest.raises(ConfigError, match=r"^limit: "):
            run()


def test_worker_processes_measure_the_same(inputs: Path, made: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", events=SILENT, executor=ExecutorConfig(workers=2))
    workspace.ingest(inputs / "photos", licence="CC0-1.0", classes="measured")
    workspace.restore("classical")
    workspace.align()
    workspace.score(METRICS)
    here = {(s.metric, s.value) for s in Workspace(made / "workspace").scores()}
    assert {(s.metric, s.value) for s in workspace.scores()} == here


# --- kill -9 --------------------------------------------------------------------------------------------------------

KILLED = """
import contextlib, os, signal, sys
from pathlib import Path
from tests.test_api import run_pipeline

label = sys.argv[3]

class Bar:
    def advance(self, count=1):
        os.kill(os.getpid(), signal.SIGKILL)
    def show(self, **values): ...

class KillAtFirstResult:
    def progress(self, name, total):
        return contextlib.nullcontext(Bar() if name.startswith(label) else Quiet())
    def warning(self, message): ...

class Quiet(Bar):
    def advance(self, count=1): ...

run_pipeline(Path(sys.argv[1]), Path(sys.argv[2]), KillAtFirstResult())
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs kill -9")
def test_a_pipeline_killed_in_each_stage_continues_to_the_same_images(inputs: Path, made: Path, tmp_path: Path) -> None:
    for label in ("ingest", "restore", "align", "score"):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(inputs), str(tmp_path), label],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
    summaries = {summary.stage: summary for summary in run_pipeline(inputs, tmp_path)}
    assert summaries["ingest"].count("already done") == 3
    assert summaries["restore"].count("already done") == 3
    assert summaries["align"].count("already done") == 3, "what the killed run had aligned is not aligned again"
    assert summaries["score"].count("already done") >= 1
    assert summaries["verdict"].count("kept") == 3
    assert images(tmp_path) == images(made) and len(images(made)) == 6
    assert validate(tmp_path / "ggt-100k", events=SILENT).is_valid
