"""What each stage of the pipeline costs: CPU seconds for a photograph of 1024 x 1024, start-up excluded.

The CPU time of this process and of its children is measured, so that other work on the machine counts little. The
photographs are mosaics of the sample's, imported from JPEG files. Each has two candidates: that of `classical`, in its
place, and the sample's ground truth with a smooth drift of a few pixels, as generative models draw it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ggt_format.png import encode_png
from ggt_tools.api import Workspace, validate
from ggt_tools.events import SILENT
from tests import making

from . import material
from .field import Options, table
from .progress import PROGRESS

DRIFT = 2.5  # px, standard deviation at the nodes of the drift
LIMIT = 1.5  # CPU seconds for align and core of a pair


def bench(options: Options) -> str:
    """A table in Markdown: CPU seconds a photograph, by stage."""
    count = 2 if options.quick else max(options.pairs // 2, 2)
    with tempfile.TemporaryDirectory(prefix="ggt100k-pipeline-") as home:
        folder = Path(home)
        PROGRESS.say("a first photograph loads modules and models")
        _run(_make_sources(folder / "first", 1))
        PROGRESS.say(f"{count} photographs go through the pipeline")
        seconds = _run(_make_sources(folder / "counted", count))
    rows = [(stage, f"{spent / count:.3f}") for stage, spent in seconds.items()]
    align = max(spent for stage, spent in seconds.items() if stage.startswith("align"))
    rows.append((f"align and core together (at most {LIMIT})", f"{(align + seconds['score, core']) / count:.3f}"))
    return f"Pipeline: {count} photographs of {material.SIZE} x {material.SIZE}\n\n" + table(
        ("stage", "CPU seconds a photograph"), rows
    )


def _make_sources(folder: Path, count: int) -> Path:
    """Write photographs, the results of a model that lets them drift, and a gate that every pair passes."""
    for name in ("photos", "results"):
        (folder / name).mkdir(parents=True)
    (folder / "gate.toml").write_text(making.GATE)
    for number, (lq, gt) in enumerate(material.mosaics(count)):
        photograph = cv2.imencode(".jpg", np.ascontiguousarray(lq[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
        (folder / "photos" / f"{number}.jpg").write_bytes(photograph.tobytes())
        (folder / "results" / f"{number}.png").write_bytes(encode_png(_drifted(gt, number)))
    return folder


def _drifted(image: material.Pixels, seed: int) -> material.Pixels:
    height, width = image.shape[:2]
    nodes = np.random.default_rng(seed).normal(0.0, DRIFT, (5, 5, 2)).astype(np.float32)
    field = cv2.resize(nodes, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.asarray(
        cv2.remap(image, x + field[..., 0], y + field[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    )


def _run(folder: Path) -> dict[str, float]:
    """Run all stages, and return the CPU seconds of each."""
    workspace = Workspace.create(folder / "workspace", events=SILENT)
    release = folder / "ggt-100k"
    drifting = f"folder:{folder / 'results'}"
    stages: dict[str, Callable[[], object]] = {
        "ingest": lambda: workspace.ingest(folder / "photos", licence="CC0-1.0"),
        "restore, classical": lambda: workspace.restore("classical"),
        "align, in place": workspace.align,
        "restore, drifting": lambda: workspace.restore(drifting),
        "align, drifting": workspace.align,
        "score, core": lambda: workspace.score(["core"]),
        "verdict": lambda: workspace.verdict(folder / "gate.toml"),
        "pack": lambda: workspace.pack(release, test=0),
        "validate": lambda: validate(release, events=SILENT),
    }
    seconds = {}
    for stage, run in stages.items():
        begin = _cpu_seconds()
        run()
        seconds[stage] = _cpu_seconds() - begin
    seconds["score, core"] /= 2  # of a pair: there are two candidates
    return seconds


def _cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    return time.process_time() + sum(os.times()[2:4])
