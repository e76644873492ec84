"""Restoring with a model that takes a second: the time of the command beside the bound of its concurrent calls."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ggt_format.png import encode_png

from ..making import picture
from ..test_regenerate import elsewhere, paid, workspace
from .field import Options

LATENCY, IN_FLIGHT, SIDE = 1.0, 64, 96


def bench(options: Options) -> str:
    """A table in Markdown. The photographs are small: a real one's bytes are the network's matter, not the loop's."""
    count = 320 if options.quick else 2000
    os.environ["GEMINI_API_KEY"] = "sk-test-4f7c1d8a90e2b3"
    with tempfile.TemporaryDirectory() as home:
        folder = workspace(Path(home) / "w", count, size=(SIDE, SIDE))
        fixed = Path(home) / "fixed.png"
        fixed.write_bytes(encode_png(picture(1, SIDE, SIDE)))
        rows = []
        for latency in (LATENCY, 0.0):
            with elsewhere("--latency", str(latency), "--fixed", str(fixed)) as models:
                argv = ["restore", str(folder), "--with", "gemini", "--base-url", models["url"], "--seed"]
                argv += [str(int(latency)), "--in-flight", str(IN_FLIGHT)]
                rows.append((latency, *_run(argv, models["url"], count)))
    bound = IN_FLIGHT / LATENCY
    lines = [
        f"Restoring: {count} photographs, {IN_FLIGHT} calls in flight, a model on loopback",
        "",
        "| seconds a call | photographs a second | of what the calls in flight allow | MB at a fifth | MB at the end |",
        "| --- | --- | --- | --- | --- |",
    ]
    for latency, rate, early, late in rows:
        share = f"{rate / bound:.2f}" if latency else "-"
        lines.append(f"| {latency:g} | {rate:.0f} | {share} | {early:.0f} | {late:.0f} |")
    return "\n".join([*lines, ""])


def _run(argv: list[str], url: str, count: int) -> tuple[float, float, float]:
    """Photographs a second in the steady state (from a fifth to four fifths), and the memory at a fifth and the end."""
    process = subprocess.Popen([sys.executable, "-m", "ggt_tools.cli", *argv], stdout=subprocess.DEVNULL)
    marks: list[tuple[float, int, float]] = []
    while process.poll() is None:
        memory = float(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        marks.append((time.monotonic(), paid(url)["answered"], memory))
        time.sleep(0.2)
    assert process.returncode == 0
    steady = [mark for mark in marks if count / 5 <= mark[1] <= count * 4 / 5]
    (began, first, early), (ended, last, _) = steady[0], steady[-1]
    return (last - first) / (ended - began), early, max(memory for _, _, memory in marks)
