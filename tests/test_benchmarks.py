"""The bench of loaders: every contestant delivers every pair once, with the pixels that were packed."""

from __future__ import annotations

import importlib.util
import io
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks import adopting, basicsr, crops, decoders, loaders, material, pipeline
from tests.benchmarks.field import Field, Options
from tests.benchmarks.processes import ContestantFailed
from tests.benchmarks.progress import Progress
from tests.benchmarks.remote import serve

pytestmark = pytest.mark.slow

HERE = ["ours", "webdataset", "datasets, tar", "datasets, parquet", "datasets, map-style"]
QUICK = Options(pairs=6, rounds=1, quick=True, seconds=0.0)
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    folder = tmp_path_factory.mktemp("bench")
    material.make(folder, 6)
    with Field(folder, QUICK, [*HERE, "pure bound"]) as field:
        yield field


@pytest.fixture(scope="module")
def tables(field: Field) -> str:
    return loaders.tables(field)


def test_each_contestant_delivers_every_pair_once_with_the_right_pixels(field: Field, tables: str) -> None:
    assert not set(field.notes) & set(HERE), tables
    for codec in material.CODECS:
        facts = material.facts(field.folder, codec)
        for name in HERE:
            whole = field.checked[name, codec, 0, 0]
            assert sorted(whole["keys"]) == sorted(facts["keys"]), name
            assert whole["digest"] == facts["digest"], name
    for name in HERE:
        assert len(set(field.checked[name, "png", 256, 0]["keys"])) == 6, name


def test_all_tables_are_printed(tables: str) -> None:
    for title in ("PNG, ", "JPEG, ", "256 crops, one core", "from nothing", "rows of the index", "to be reached"):
        assert title in tables
    assert "against the pure bound" in tables and "nan" not in tables


def test_the_command_names_the_benches() -> None:
    run = [sys.executable, "-m", "tests.benchmarks", "nothing"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2 and "there are: png, loaders" in done.stderr


def test_workers_deliver_the_same(field: Field) -> None:
    workers = {workers for _, _, workers in crops.conditions(quick=False)}
    assert workers == ({0, 2} if importlib.util.find_spec("torch") else {0})
    for name in ("ours", "datasets, map-style"):
        answer = field.check(name, field.job(codec="jpeg", crop=256, workers=max(workers)))
        assert len(set(answer["keys"])) == 6


def test_a_wrong_window_is_detected(field: Field) -> None:
    truth = material.Truth(field.folder, "png")
    pair = next(material.stored(field.folder, "png"))
    lq, gt = np.load(field.folder / "png.npy")[0]
    assert truth.fault(pair.key, lq, gt, material.SIZE) == ""
    assert truth.fault(pair.key, *material.cut(lq, gt, 70, 31, 256), 256) == ""
    assert "of no window" in truth.fault(pair.key, lq[70:326, 31:287], gt[70:326, 32:288], 256)
    assert "of no window" in truth.fault(pair.key, gt, lq, material.SIZE)
    assert "(255, 256, 3)" in truth.fault(pair.key, lq[:255, :256], gt[:255, :256], 256)
    assert "no pair has" in truth.fault("0" * 16, lq, gt, material.SIZE)


def _absent() -> decoders.Decode:
    raise ImportError


def test_the_fastest_decoder_is_one_with_the_right_pixels(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = np.zeros(1, np.uint8)
    makers = {"Pillow": lambda: decoders.pillow, "wrong": lambda: lambda data: nothing, "absent": _absent}
    monkeypatch.setitem(decoders._MAKERS, "png", makers)
    images = [pair.lq for pair in material.stored(field.folder, "png")][:2]
    assert decoders.fastest("png", images, rounds=1) == {"Pillow": 1.0}


def test_a_failing_contestant_leaves_the_field_with_its_reason(field: Field) -> None:
    with Field(field.folder, QUICK, ["webdataset"]) as few:
        few.gather(lambda name: few.processes[name].ask("round", job=field.job(codec="gif"), seconds=0.0))
    assert few.processes == {} and few.notes["webdataset"]
    with Field(field.folder, QUICK, ["ours"]) as alone, pytest.raises(ContestantFailed, match="ours: "):
        alone.gather(lambda name: alone.processes[name].ask("round", job=field.job(codec="gif"), seconds=0.0))


def test_the_server_sends_ranges_and_counts_them(tmp_path: Path) -> None:
    (tmp_path / "ten").write_bytes(b"0123456789")
    with serve(tmp_path) as server:
        for asked, got in (("bytes=2-4", b"234"), ("bytes=8-", b"89"), ("bytes=-3", b"789"), ("", b"0123456789")):
            request = urllib.request.Request(f"{server.url}/ten", headers={"Range": asked} if asked else {})
            with urllib.request.urlopen(request) as answer:
                assert (answer.status, answer.read()) == (206 if asked else 200, got)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{server.url}/../ten")
    assert (server.sent, server.requests) == (18, 5)


def test_a_run_reports_progress_and_ends_in_time() -> None:
    out, now = io.StringIO(), [100.0]
    progress = Progress(out, clock=lambda: now[0])
    progress.begin(["png", "loaders", "faults"], minutes=3)
    assert progress.next_bench()
    now[0] += 61
    progress.say("PNG, 256 crops, one core: round 2 of 3")
    assert progress.next_bench() and progress.seconds_left() == 119 and progress.seconds_left(0.5) == 29
    progress.say("begins")
    now[0] += 120
    assert not progress.next_bench()
    assert out.getvalue() == (
        "[ 1:01] png, 1 of 3: PNG, 256 crops, one core: round 2 of 3. Left: loaders, faults\n"
        "[ 1:01] loaders, 2 of 3: begins. Left: faults\n"
        "[ 3:01] faults is left out, the 3 minutes are over: python -m tests.benchmarks faults\n"
    )


def test_differing_rounds_are_repeated_once(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake:
        def __init__(self, *seconds: float) -> None:
            self.seconds = list(seconds)

        def ask(self, do: str, **about: object) -> dict[str, float]:
            return {"seconds": self.seconds.pop(0)}

    def race(*seconds: float) -> list[float]:
        fake = Fake(*seconds)
        monkeypatch.setattr(field, "options", Options(pairs=6, rounds=2))
        monkeypatch.setattr(field, "processes", {"pure bound": fake})
        return field.race(["pure bound"], {})["pure bound"]

    assert race(1.0, 1.1) == [1.0, 1.1]
    assert race(1.0, 1.2, 1.0, 1.3) == [1.0, 1.3]


def test_the_pipeline_tells_the_cpu_seconds_of_each_stage() -> None:
    text = pipeline.bench(QUICK)
    for stage in ("ingest", "align, in place", "align, drifting", "score, core", "pack", "validate"):
        assert re.search(rf"^\| {stage} \| \d+\.\d{{3}} \|$", text, re.MULTILINE), text


def test_adopt_of_a_release_in_40_parts(tmp_path: Path) -> None:
    """In small: every pair is imported once, and the second run reads none again."""
    release = tmp_path / "r"
    release.mkdir()
    adopting.make(release, 60)
    assert len(list(release.iterdir())) == 40
    runs = {how: adopting.measure(tmp_path / "w", release, how) for how in ("dry", "run", "again")}
    assert (runs["run"].counts, runs["again"].counts) == ((60, 0), (0, 60))
    assert max(run.memory for run in runs.values()) < adopting.MOST_MEMORY
    assert len((tmp_path / "w.csv").read_text().splitlines()) == 61


def test_basicsr_reads_the_same_crops(field: Field) -> None:
    for name in ("torch", "basicsr", "lmdb"):
        pytest.importorskip(name)
    text = basicsr.report(basicsr.measure(field.folder, QUICK), QUICK.pairs)
    assert all(name in text for name in basicsr.READERS) and "to be reached: 6" in text
