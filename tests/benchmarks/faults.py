"""Synthetic faults in good ground truths: which of them the shipped gate rejects, and how many good ones it loses.

`python -m tests.benchmarks faults --photographs FOLDER`. Offline metrics alone, and the pairs as they are: `align` does
not run. The fidelity model was trained on other photographs. The decision of the gate was fitted to other degradations
and other faults (chains.py, synthetic.py) of photographs that are in part these; deciding.py reports it on photographs
that were left out.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.degradations import classify, measure
from ggt_tools.metrics import fidelity
from ggt_tools.metrics.scorer import score
from ggt_tools.policy.gate import Gate
from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate, verdict
from ggt_tools.processes import in_processes
from ggt_tools.records import Candidate
from ggt_tools.training import synthetic_degradations as degrading
from ggt_tools.training import synthetic_faults

from . import faults_kinds as kinds
from . import faults_photographs as photographs
from .field import Options, table

SIDE = 512
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
MIDDLE = 0.5
LQS = 4  # of each photograph
FEW: dict[str, Any] = {"strengths": (0.5, 1.0), "lqs": 2}
GOOD = "good"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One candidate, and what was measured of it."""

    photograph: str
    degradation: str
    heavy: float  # 0..1, strength of the degradation
    kind: str
    strength: float  # of the fault; 0 where it is good
    good: bool
    wrong: tuple[str, ...]  # class, and what is seen
    scores: dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One photograph with everything that is made of it."""

    name: str
    path: Path
    other: Path
    number: int
    strengths: tuple[float, ...]
    lqs: int
    side: int


def bench(options: Options) -> str:
    """Tables in Markdown; without photographs, how to get them."""
    folder = os.environ.get("GGT100K_PHOTOGRAPHS", "")
    if not folder:
        return f"faults: no photographs are named. {photographs.FILL}\n"
    names, some = photographs.REPORT, {}
    if options.quick:
        names, some = names[:6], FEW
    listed = jobs(Path(folder), names, **some)
    rows = measured(listed)
    gate = load_gate(DEFAULT_GATE)
    took = _seconds(photographs.clean(listed[0].path, 1024)[:1024, :1024])
    return f"The fidelity model takes {took:.2f} s of one core for a pair of 1024 px.\n\n" + report(
        rows, lost(rows, gate), len(names), gate
    )


def _seconds(image: Image) -> float:
    """CPU time of the fidelity model on a pair, the median of five, its weights loaded."""
    fidelity.run_model(image, image)
    taken = []
    for _ in range(5):
        begin = time.process_time()
        fidelity.run_model(image, image)
        taken.append(time.process_time() - begin)
    return statistics.median(taken)


def jobs(
    folder: Path, names: Sequence[str], strengths: tuple[float, ...] = STRENGTHS, lqs: int = LQS, side: int = SIDE
) -> list[Job]:
    found = photographs.find(folder)
    if missing := [name for name in names if name not in found]:
        raise FileNotFoundError(f"{folder}: has no {', '.join(missing)}. {photographs.FILL}")
    return [
        Job(
            name=name, path=found[name], other=found[names[(number + 7) % len(names)]], number=number,
            strengths=strengths, lqs=lqs, side=side,
        )
        for number, name in enumerate(names)
    ]  # fmt: skip


def measured(listed: Sequence[Job], workers: int = 2) -> list[Row]:
    return [row for rows in in_processes(_rows, listed, workers, int) for row in rows]


def _rows(job: Job, tell: Callable[[int], object]) -> list[Row]:
    cv2.setNumThreads(1)
    gt = photographs.clean(job.path, job.side)
    other = photographs.fitted(photographs.clean(job.other, job.side), gt.shape[:2])
    names = list(kinds.DEGRADING)
    rows = []
    for turn in range(job.lqs):
        degradation = names[(job.number * job.lqs + turn) * 4 % len(names)]  # 4 and 15 have no common divisor
        heavy = (job.number * 3 + turn * 2) % 5 / 4
        seed = job.number * 100 + turn
        cases = list(_cases(job, turn, gt, other, degradation, heavy, seed))
        wrong: dict[bytes, tuple[str, ...]] = {}
        for kind, strength, lq, image in cases:
            lq, image = photographs.inner(lq), photographs.inner(image)
            if (data := lq.tobytes()) not in wrong:
                named = kinds.CLASS.get(degradation, (degradation,))
                wrong[data] = (*named, *(name for name in classify(measure(lq))[1] if name not in named))
            rows.append(
                Row(
                    photograph=job.name, degradation=degradation, heavy=heavy, kind=kind, strength=strength,
                    good=kind in kinds.GOOD, wrong=wrong[data],
                    scores={one.metric: one.value for one in score([(kind, lq, image)], ["core"])},
                )
            )  # fmt: skip
    return rows


def _cases(
    job: Job, turn: int, gt: Image, other: Image, degradation: str, heavy: float, seed: int
) -> Iterator[tuple[str, float, Image, Image]]:
    """kind, strength, lq, candidate: the good ones, and this turn's share of the faults."""
    lq = make_lq(gt, degradation, heavy, seed)
    scene = synthetic_faults.Scene(gt=gt, lq=lq, other=other)
    random = np.random.default_rng([7, seed])
    for kind, change in kinds.GOOD.items():
        for _ in range(2):
            yield kind, 0.0, lq, change(scene, random)
    everything = {**synthetic_faults.FAULTS, **kinds.UNSEEN}
    for number, (kind, (_, fault)) in enumerate(everything.items()):
        for level, strength in enumerate(job.strengths):
            if (number + level) % job.lqs == turn:
                yield kind, strength, lq, synthetic_faults.add_fault(fault, scene, strength, random).image
    for level, strength in enumerate(job.strengths):
        if level % job.lqs == turn:
            right, wrong = kinds.lettered(gt, strength, random)
            yield kinds.TEXT, strength, make_lq(right, degradation, heavy, seed), wrong


def make_lq(gt: Image, degradation: str, heavy: float, seed: int) -> Image:
    if degradation in degrading.KINDS:
        return degrading.degrade(gt, degradation, strength=heavy, seed=seed)
    random = np.random.default_rng([seed, 1])
    light = gt.astype(np.float32)
    for step in kinds.NEW[degradation]:
        light = step(light, heavy, random)
    return degrading.finish(light, random)


# --- what the gate says -----------------------------------------------------------------------------------------------


def lost(rows: Sequence[Row], gate: Gate) -> list[tuple[float, str]]:
    """Of each row what it counts as rejected, 1, 0, or a half where the gate is unsure, and the reason."""
    listed = [
        Candidate(
            id=str(at), key=str(at), restorer="", strategy="", prompt="", round=0, seed=0, created="", image="x",
            reason="",
        )
        for at in range(len(rows))
    ]  # fmt: skip
    said = verdict(
        listed, {str(at): row.scores for at, row in enumerate(rows)},
        {str(at): row.wrong for at, row in enumerate(rows)}, gate,
    )  # fmt: skip
    return [({"keep": 0.0, "unsure": 0.5, "reject": 1.0}[one.decision], one.reason) for one in said]


def report(rows: Sequence[Row], said: Sequence[tuple[float, str]], count: int, gate: Gate) -> str:
    """All tables, of what a gate says."""
    shares = [share for share, _ in said]
    faults = sum(not row.good for row in rows)
    parts = [
        f"Synthetic faults: {faults} in {count} photographs, and {len(rows) - faults} good candidates, judged by gate "
        f"{gate.id}; unsure counts a half:",
        _targets(rows, shares),
        _recall("kinds that training had, on photographs that it had not", rows, shares, kinds.SEEN),
        _recall("kinds that training had not", rows, shares, (*kinds.UNSEEN, kinds.TEXT)),
        _by("good candidates lost", rows, shares, lambda row: row.kind if row.good else None),
        _by("good candidates lost, by photograph", rows, shares, lambda row: row.photograph if row.good else None),
        _by("good candidates lost, by degradation", rows, shares, lambda row: row.degradation if row.good else None),
        _by("found at middle strength and above, by degradation", rows, shares, _when(lambda row: row.degradation)),
        _by(
            "found at middle strength and above, by strength of the degradation", rows, shares,
            _when(lambda row: f"{row.heavy:.2f}"),
        ),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _when(name: Callable[[Row], str]) -> Callable[[Row], str | None]:
    return lambda row: name(row) if not row.good and row.strength >= MIDDLE else None


def _mean(shares: Iterable[float]) -> float:
    listed = list(shares)
    return float(np.mean(listed)) if listed else float("nan")


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.0f} %"


def _targets(rows: Sequence[Row], shares: Sequence[float]) -> str:
    unseen = (*kinds.UNSEEN, kinds.TEXT)
    named = {
        "objects, text, geometry, wrong photograph, half restored": (kinds.MAJOR, "90 %, no kind under 75 %"),
        "colour, smoothing, texture, halos, seams, ghosts": (
            [kind for kind in (*kinds.SEEN, *unseen) if kind not in (*kinds.MAJOR, *kinds.COPIES)],
            "70 %, no kind under 50 %",
        ),
        "unchanged, hardly restored": (kinds.COPIES, "98 %"),
    }
    lines = []
    for name, (members, wanted) in named.items():
        by_kind = {kind: _at(rows, shares, kind) for kind in members}
        seen, new = (_mean(by_kind[kind] for kind in members if kind in those) for those in (kinds.SEEN, unseen))
        worst = min(by_kind, key=lambda kind: by_kind[kind])
        lines.append([name, _percent(seen), _percent(new), f"{worst}: {_percent(by_kind[worst])}", wanted])
    of_good = [share for row, share in zip(rows, shares, strict=True) if row.good]
    lines.append(["good candidates lost", f"{100 * _mean(of_good):.1f} %", "", "", "at most 3 %"])
    return table(
        ["at middle strength and above", "kinds seen", "kinds unseen", "the worst kind", "to be reached"], lines
    )


def _at(rows: Sequence[Row], shares: Sequence[float], kind: str) -> float:
    """Recall of one kind: each strength from the middle up weighs the same."""
    strengths = sorted({row.strength for row in rows if row.kind == kind and row.strength >= MIDDLE})
    return _mean(
        _mean(s for row, s in zip(rows, shares, strict=True) if (row.kind, row.strength) == (kind, strength))
        for strength in strengths
    )


def _recall(title: str, rows: Sequence[Row], shares: Sequence[float], names: Iterable[str]) -> str:
    strengths = sorted({row.strength for row in rows if not row.good})
    lines = []
    for kind in names:
        found = [
            _mean(s for row, s in zip(rows, shares, strict=True) if (row.kind, row.strength) == (kind, strength))
            for strength in strengths
        ]
        lines.append([kind, *map(_percent, found), _percent(_at(rows, shares, kind))])
    head = [title, *(f"strength {STRENGTHS.index(strength) + 1}" for strength in strengths), "3 and above"]
    return table(head, lines)


def _by(title: str, rows: Sequence[Row], shares: Sequence[float], name: Callable[[Row], str | None]) -> str:
    groups: dict[str, list[float]] = {}
    for row, share in zip(rows, shares, strict=True):
        if (of := name(row)) is not None:
            groups.setdefault(of, []).append(share)
    lines = [[of, str(len(some)), f"{100 * _mean(some):.1f} %"] for of, some in sorted(groups.items())]
    return table([title, "candidates", "share"], lines)
