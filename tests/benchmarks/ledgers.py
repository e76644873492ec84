"""A ledger of very many photographs, as the stages would write it, and the time of the commands on it."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, cycle, islice
from pathlib import Path

import numpy as np

import ggt100k
from ggt_tools.policy.gate import BOUNDS, Rule
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate
from ggt_tools.records import Aligned, Call, Candidate, Photo, Score
from ggt_tools.workspace.codec import to_values
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.score_table import to_text

CANDIDATES, SCORES = 3, 12
BATCH = 60_000  # rows


def make(folder: Path, photographs: int) -> dict[str, float]:
    """Fills a workspace: seconds, and bytes on disk.

    Keys are digests, and ids begin as their keys do.
    """
    began = time.perf_counter()
    with Ledger(folder, create=True) as ledger:
        ledger.put_image(b"")
    db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
    for pragma in ("synchronous=OFF", "journal_mode=WAL", "cache_size=-200000"):
        db.execute(f"PRAGMA {pragma}")
    (folder / "gate.toml").write_text(gate(), encoding="utf-8")
    layout = json.dumps([[rule.metric, "core-1"] for rule, _ in rules()])
    db.execute("INSERT INTO layout (id, metrics) VALUES (1, ?)", (layout,))
    for kind, rows in _tables(photographs, [good for _, good in rules()]):
        while some := list(islice(rows, BATCH)):
            db.execute("BEGIN")
            db.executemany(f"INSERT INTO {kind} VALUES ({', '.join('?' * len(some[0]))})", some)
            db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    with Ledger(folder) as ledger:
        ledger.recount()
    return {"seconds": time.perf_counter() - began, "bytes": float((folder / "ledger.sqlite").stat().st_size)}


def rules() -> list[tuple[Rule, float]]:
    """The first twelve of the package's gate for one class, and a value that each is content with."""
    found = []
    for rule in load_gate(DEFAULT_GATE).must[ggt100k.DEGRADATIONS[0]][:SCORES]:
        low, high = rule.unsure_below, rule.unsure_above
        middle = (low + high) / 2 if math.isfinite(low + high) else low + 0.1 if math.isfinite(low) else high - 0.1
        found.append((rule, middle))
    return found


def gate() -> str:
    """A gate that asks for these alone, so that some are kept."""
    lines = ["[must]"]
    for rule, _ in rules():
        named = {name: getattr(rule, name) for name in BOUNDS}
        limits = ", ".join(f"{name} = {value}" for name, value in named.items() if math.isfinite(value))
        lines.append(f'{rule.metric} = {{ {limits}, reason = "{rule.reason}", why = "as in the package\'s" }}')
    first = rules()[0][0].metric
    lines += ["[gain.other]", 'reason = "no_gain"', 'why = "any"', f"any = {{ {first} = {{ min = 0.3 }} }}"]
    return "\n".join([*lines, "[best]", f'by = ["{first}"]', ""])


def _tables(photographs: int, good: list[float]) -> Iterator[tuple[str, Iterator[tuple[object, ...]]]]:
    """The rows of each table in the order in which the stages add them: restore by key, what follows by id."""
    random = np.random.default_rng(0)
    keys, ends = _digests(photographs, random), _digests(photographs * CANDIDATES, random)
    nothing = hashlib.sha256(b"").hexdigest()
    photo = Photo(
        key="", image=nothing, width=1024, height=1024, degradation="", degradations=(), source="internet",
        source_name="bench", licence="CC0-1.0", author="Nobody", url="https://example.org/photograph", file="",
        original="0" * 64,
    )  # fmt: skip
    classes = ggt100k.DEGRADATIONS[:6]
    yield (
        "photo",
        (
            to_values(replace(photo, key=key, degradation=name, degradations=(name,), file=f"{key}.jpg"))
            for key, name in zip(keys, cycle(classes), strict=False)
        ),
    )
    keys.sort()
    one = Candidate(
        id="", key="", restorer="gemini-3.1-flash-image-preview", strategy="vlm", prompt="Remove the haze. " * 8,
        round=0, seed=0, created="2026-01-01T00:00:00Z", image=nothing, reason="", restorer_name="gemini",
    )  # fmt: skip
    each = list(chain.from_iterable(zip(*[keys] * CANDIDATES, strict=True)))
    ids = [key[:8] + end for key, end in zip(each, ends, strict=True)]
    yield "candidate", (to_values(replace(one, id=name, key=key)) for name, key in zip(ids, each, strict=True))
    call = Call(
        id="", work="", stage="restore", model=one.restorer, started=one.created, seconds=9.0, outcome="ok", detail="",
        usd=0.05, tokens_in=1500, tokens_out=1290,
    )  # fmt: skip
    calls = _digests(len(ids), random)
    yield "call", (to_values(replace(call, id=name, work=work)) for name, work in zip(calls, ids, strict=True))
    ids.sort()
    aligned = Aligned(candidate="", version="align-1", image=nothing, reason="", confidence=0.9, residual_median=0.3,
                      residual_p99=0.8)  # fmt: skip
    yield "aligned", (to_values(replace(aligned, candidate=name)) for name in ids)
    yield (
        "scores",
        ((name, 1, to_text(values)) for name, values in zip(ids, _values(len(ids), good, random), strict=True)),
    )


def _digests(count: int, random: np.random.Generator) -> list[str]:
    text = random.bytes(8 * count).hex()
    return [text[at : at + 16] for at in range(0, 16 * count, 16)]


def _values(count: int, good: list[float], random: np.random.Generator) -> Iterator[list[float]]:
    """About good ones, of which one of twenty is any number from 0 to 1."""
    for begin in range(0, count, BATCH):
        size = (min(BATCH, count - begin), len(good))
        near = np.array(good) + random.uniform(-0.01, 0.01, size)
        yield from np.where(random.uniform(size=size) < 0.95, near, random.uniform(0, 1, size)).tolist()


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
        ledger._db.execute("DELETE FROM scores WHERE candidate >= 'x'").fetchall()
    return count / seconds


RUN = """
import contextlib, glob, resource, sys, threading, time
from ggt_tools.cli import main
most = 0
def look():
    # what is theirs alone: a ledger that is mapped is the system's memory
    global most
    found = 0
    of = [name for file in glob.glob("/proc/self/task/*/children") for name in open(file).read().split()]
    for process in ("self", *of):
        with contextlib.suppress(OSError):
            lines = open(f"/proc/{process}/status").read().splitlines()
            found += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    most = max(most, found)
def watch():
    while True:
        look()
        time.sleep(0.5)
threading.Thread(target=watch, daemon=True).start()
began, used = time.perf_counter(), time.process_time()
code = main(sys.argv[1:])
seconds, theirs = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
used = time.process_time() - used + theirs.ru_utime + theirs.ru_stime
look()
print("FIGURES", code, seconds, used, most)
"""


def verb(*argv: str | Path) -> dict[str, float]:
    """What a verb takes in a process of its own: seconds, seconds of CPU, bytes of memory of it and its children."""
    done = subprocess.run([sys.executable, "-c", RUN, *map(str, argv)], capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("FIGURES 0")), "")
    if not line:
        raise RuntimeError(f"{argv}: {done.stdout[-1000:]} {done.stderr[-2000:]}")
    seconds, cpu, peak = map(float, line.split()[2:])
    return {"seconds": seconds, "cpu": cpu, "bytes": peak * 1024}
