"""Gating: the time of the verdicts on many candidates, from records and from a workspace."""

from __future__ import annotations

import io
import random
import resource
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ggt100k import DEGRADATIONS
from ggt_tools.cli import main
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate, verdict
from ggt_tools.records import Candidate, Photo, Score, Verdict
from ggt_tools.workspace.ledger import Ledger

from .field import Options

T = TypeVar("T")
OF_ONE = 2  # candidates a photograph
PHOTO = Photo(
    key="", image="0" * 64, width=1024, height=1024, degradation="", degradations=(), source="internet",
    source_name="bench", licence="CC0-1.0", author="Nobody", url="", file="", original="0" * 64,
)  # fmt: skip


def bench(options: Options) -> str:
    """A table in Markdown, of synthetic candidates with a score for each metric that the gate asks for."""
    count = 10_000 if options.quick else 100_000
    gate = load_gate(DEFAULT_GATE)
    candidates, scores, seen = _rows(count, gate.metrics)
    took = []

    def step(name: str, work: Callable[[], T]) -> T:
        began, spent = time.perf_counter(), _spent()
        result = work()
        took.append((name, time.perf_counter() - began, _spent() - spent))
        return result

    judged = step("verdict, from records", lambda: list(verdict(candidates, scores, seen, gate)))
    with tempfile.TemporaryDirectory() as home, Ledger(Path(home) / "w", create=True) as ledger:
        photos = [replace(PHOTO, key=key, degradation=wrong[0], degradations=wrong) for key, wrong in seen.items()]
        step("writing the scores to a workspace", lambda: ledger.add(*photos, *candidates, *scores))
        with redirect_stdout(io.StringIO()):
            assert step("`ggt100k verdict` of the workspace", lambda: main(["verdict", str(Path(home) / "w")])) == 0
        assert list(ledger.all(Verdict)) == judged
    lines = [f"Gating: {count} candidates of {count // OF_ONE} photographs, {len(scores)} scores", ""]
    lines += ["| step | seconds | of a core |", "| --- | --- | --- |"]
    lines += [f"| {name} | {seconds:.1f} | {spent:.1f} |" for name, seconds, spent in took]
    lines += ["", f"{sum(v.decision == 'keep' for v in judged)} kept; {_peak():.0f} MB at most", ""]
    return "\n".join(lines)


def _rows(count: int, metrics: tuple[str, ...]) -> tuple[list[Candidate], list[Score], dict[str, tuple[str, ...]]]:
    drawn = random.Random(1)
    candidates, scores = [], []
    seen: dict[str, tuple[str, ...]] = {}
    for at in range(count):
        key, name = f"{at // OF_ONE:016x}", f"{at:016x}"
        seen[key] = (drawn.choice(DEGRADATIONS), "noise")
        candidates.append(
            Candidate(
                id=name, key=key, restorer="synthetic", strategy="", prompt="", round=0, seed=0,
                created="2026-01-01T00:00:00Z", image="0" * 64, reason="",
            )
        )  # fmt: skip
        scores += [Score(candidate=name, metric=m, metric_version="1", value=drawn.gauss(0.6, 0.3)) for m in metrics]
    return candidates, scores, seen


def _spent() -> float:
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + theirs.ru_utime + theirs.ru_stime


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
