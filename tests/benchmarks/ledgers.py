"""A ledger of very many photographs, made as the stages would leave it, and what the verbs take over it."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import ggt100k
from ggt_tools.ledger import Ledger
from ggt_tools.records import Aligned, Candidate, Photo, Score, to_row
from ggt_tools.verdict import DEFAULT_GATE, load_gate

CANDIDATES, SCORES = 3, 12
BATCH = 20_000  # photographs


def make(folder: Path, photographs: int) -> dict[str, float]:
    """Fills a workspace: seconds, and bytes on disk."""
    began = time.perf_counter()
    names = metrics()
    with Ledger(folder, create=True):
        pass
    db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("PRAGMA journal_mode=WAL")
    random = np.random.default_rng(0)
    for begin in range(0, photographs, BATCH):
        count = min(BATCH, photographs - begin)
        db.execute("BEGIN")
        for kind, rows in _rows(begin, count, names, random):
            db.executemany(f"INSERT INTO {kind} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return {"seconds": time.perf_counter() - began, "bytes": float((folder / "ledger.sqlite").stat().st_size)}


def metrics() -> dict[str, float]:
    """Twelve that the gate asks for, and a value of each that it is content with."""
    gate = load_gate(DEFAULT_GATE)
    rules = [rule for rules in gate.must.values() for rule in rules]
    rules += [rule for gain in gate.gains.values() for rule in gain.any]
    found: dict[str, float] = {}
    for rule in rules:
        low, high = rule.unsure_below, rule.unsure_above
        good = (
            (low + high) / 2
            if math.isfinite(low) and math.isfinite(high)
            else low + 0.1
            if low > -math.inf
            else high - 0.1
        )
        found.setdefault(rule.metric, good)
    return dict(list(found.items())[:SCORES])


def _rows(
    begin: int, count: int, names: dict[str, float], random: np.random.Generator
) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    numbers = range(begin, begin + count)
    photo = Photo(
        key="", image="0" * 64, width=1024, height=1024, degradation="", degradations=(), source="internet",
        source_name="bench", licence="CC0-1.0", author="Nobody", url="https://example.org/photograph", file="",
        original="0" * 64,
    )  # fmt: skip
    row = to_row(photo)
    classes = ggt100k.DEGRADATIONS[:6]
    photos = []
    for i in numbers:
        name = classes[i % 6]
        photos.append(
            tuple(
                (
                    row | {"key": f"{i:016x}", "degradation": name, "degradations": f'["{name}"]', "file": f"{i}.jpg"}
                ).values()
            )
        )
    yield "photo", photos
    one = Candidate(
        id="", key="", restorer="gemini-3.1-flash-image-preview", strategy="vlm", prompt="Remove the haze. " * 8,
        round=0, seed=0, created="2026-01-01T00:00:00Z", image="0" * 64, reason="", maker="gemini",
    )  # fmt: skip
    row = to_row(one)
    ids = [(f"{i:016x}", f"{i * CANDIDATES + c:015x}{c:x}") for i in numbers for c in range(CANDIDATES)]
    yield "candidate", [tuple((row | {"id": name, "key": key}).values()) for key, name in ids]
    row = to_row(Aligned(candidate="", version="align-1", image="0" * 64, reason="", confidence=0.9,
                         residual_median=0.3, residual_p99=0.8))  # fmt: skip
    yield "aligned", [tuple((row | {"candidate": name}).values()) for _, name in ids]
    good = np.array(list(names.values())) + random.uniform(-0.01, 0.01, (len(ids), len(names)))
    values = np.where(random.uniform(size=good.shape) < 0.95, good, random.uniform(0, 1, good.shape)).tolist()
    yield (
        "score",
        [
            (name, metric, "core-1", value)
            for (_, name), some in zip(ids, values, strict=True)
            for metric, value in zip(names, some, strict=True)
        ],
    )


def adding(folder: Path, count: int = 100_000) -> float:
    """Facts a second that a stage adds, a thousand at a time."""
    facts = [
        Score(candidate=f"x{i // 12:015x}", metric=f"m{i % 12}", metric_version="1", value=0.5) for i in range(count)
    ]
    with Ledger(folder) as ledger:
        began = time.perf_counter()
        for at in range(0, count, 1000):
            ledger.add(*facts[at : at + 1000])
        seconds = time.perf_counter() - began
        ledger.query("DELETE FROM score WHERE candidate >= 'x'")
    return count / seconds


RUN = """
import resource, sys, time
from ggt_tools.cli import main
began, used = time.perf_counter(), time.process_time()
code = main(sys.argv[1:])
ours, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
used = time.process_time() - used + theirs.ru_utime + theirs.ru_stime
print("FIGURES", code, time.perf_counter() - began, used, max(ours.ru_maxrss, theirs.ru_maxrss))
"""


def verb(*argv: str | Path) -> dict[str, float]:
    """What a verb takes in a process of its own: seconds, seconds of CPU, bytes of memory."""
    done = subprocess.run([sys.executable, "-c", RUN, *map(str, argv)], capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("FIGURES 0")), "")
    if not line:
        raise RuntimeError(f"{argv}: {done.stdout[-1000:]} {done.stderr[-2000:]}")
    seconds, cpu, peak = map(float, line.split()[2:])
    return {"seconds": seconds, "cpu": cpu, "bytes": peak * 1024}
