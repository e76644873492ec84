"""Synthetic pairs as files, listed as real.csv lists real ones: what the gate's decision is fitted to.

    write_pairs(photographs, FOLDER, cases=4)     # FOLDER/real.csv and the images

The columns are those of real.py: `repository` is the photograph's number and name, so that photographs can be left out
as repositories are; `edit` is the group of the fault, or "good"; `note` is the kind of the fault and its strength.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pillow

from ggt_format.schema import Image
from ggt_tools.processes import in_processes
from ggt_tools.restorers.classical import Classical
from ggt_tools.training.synthetic_faults import Scene, add_fault

from .chains import CHAINS, EVERY_FAULT, NO_FAULT, degrade, restored
from .faults_kinds import TEXT, lettered

SIDES = (320, 448, 576, 704)  # px of the longer side, drawn
MARGIN = 24  # px that are cut off on each side after a fault was added
GOOD_COUNT, FAULT_COUNT = 4, 6  # candidates of one degraded photograph
LEAST_SEEN = 1 / 2000  # share of the picture in which a fault changes more than is overlooked
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
GOOD, CLASSICAL = "good", "classical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the list. Its fields are the columns, in their order."""

    kind: str
    key: str
    repository: str
    degradation: str
    edit: str
    judgement: str
    note: str
    lq: str
    gt: str


def write_pairs(photographs: Sequence[Path], folder: Path, *, cases: int, workers: int = 2) -> list[Row]:
    """Write `cases` degraded photographs of each, with their candidates, and the list. Equal input, equal pixels."""
    (folder / "lq").mkdir(parents=True, exist_ok=True)
    (folder / "gt").mkdir(exist_ok=True)
    jobs = [(number, path, photographs[(number + 7) % len(photographs)]) for number, path in enumerate(photographs)]
    work = partial(_write, folder, cases)
    rows = [row for some in in_processes(work, jobs, workers, int) for row in some]
    head = ["kind", "key", "repository", "class", "edit", "judgement", "note", "in", "out"]
    with (folder / "real.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows([getattr(row, column.name) for column in fields(row)] for row in rows)
    return rows


def _write(folder: Path, cases: int, job: tuple[int, Path, Path], tell: Callable[[int], object]) -> list[Row]:
    cv2.setNumThreads(1)
    number, path, other = job
    names = list(CHAINS)
    rows = []
    for case in range(cases):
        degradation = names[(number * cases + case) % len(names)]
        random = np.random.default_rng([11, number, case])
        stem = f"{number:03}{case}"
        for place, (edit, judgement, note, lq, gt) in enumerate(_candidates(path, other, degradation, random)):
            lq_name, gt_name = (
                f"lq/{stem}t.png" if note.startswith(TEXT) else f"lq/{stem}.png",
                f"gt/{stem}{place:02}.png",
            )
            for name, image in ((lq_name, lq), (gt_name, gt)):
                if not (folder / name).exists():
                    Pillow.fromarray(image[MARGIN:-MARGIN, MARGIN:-MARGIN]).save(folder / name, compress_level=1)
            rows.append(
                Row(
                    kind="synthetic", key=f"{stem}{place:02}", repository=f"{number:02} {path.stem}",
                    degradation=degradation, edit=edit, judgement=judgement, note=note, lq=lq_name, gt=gt_name,
                )
            )  # fmt: skip
    return rows


def _candidates(
    path: Path, other: Path, degradation: str, random: np.random.Generator
) -> Iterator[tuple[str, str, str, Image, Image]]:
    """edit, judgement, note, lq, gt of every candidate of one degraded photograph."""
    side = int(random.choice(SIDES)) + 2 * MARGIN
    gt = clean(path, side)
    other_gt = cv2.resize(clean(other, side), gt.shape[1::-1], interpolation=cv2.INTER_AREA)
    forced: list[str] = []
    if degradation == "old_photo" and random.random() < 0.6:  # a black and white print, whose colours nobody knows
        gt = np.repeat(cv2.cvtColor(gt, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
        forced = ["colourised"]
    heavy = random.uniform(0.1, 1.0)
    chain = int(random.integers(2**31))
    lq = degrade(gt, other_gt, degradation, heavy, np.random.default_rng(chain))
    scene = Scene(gt=gt, lq=lq, other=np.asarray(other_gt))
    yield GOOD, "keep", "the true gt", lq, gt
    for _ in range(GOOD_COUNT - 1):
        name, image = restored(scene, random)
        yield GOOD, "keep", name, lq, image
    kinds = [kind for kind in EVERY_FAULT if kind not in NO_FAULT.get(degradation, ())]
    drawn = [kind for kind in random.permutation([*kinds, TEXT]).tolist() if kind not in forced]
    for kind in [*forced, *drawn][:FAULT_COUNT]:
        strength = float(random.choice(STRENGTHS))
        if kind == TEXT:
            right, wrong = lettered(gt, strength, random)
            degraded = degrade(right, scene.other, degradation, heavy, np.random.default_rng(chain))
            yield "content", "reject", f"{TEXT} {strength:g}", degraded, wrong
            continue
        base = restored(scene, random)[1] if random.random() < 0.6 else gt
        group, fault = EVERY_FAULT[kind]
        done = add_fault(fault, Scene(gt=base, lq=lq, other=scene.other), strength, random)
        if done.seen.mean() < LEAST_SEEN:
            continue  # nothing is smooth, or nothing has a colour: there is no fault
        yield group, "reject", f"{kind} {strength:g}", lq, done.image
    yield CLASSICAL, "", "the classical restorer", lq, Classical().restore(lq, "", seed=0).image


def number_of(key: str) -> int:
    """The place of a pair's photograph in the list, of its key."""
    return int(key[:3])


def clean(path: Path, side: int) -> Image:
    """A square or less of so many pixels, reduced until it is sharp, its middle cut out."""
    with Pillow.open(path) as file:
        image = file.convert("RGB")
    scale = side / min(image.size)
    if scale < 0.75:
        scale = max(scale, 0.4)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Pillow.Resampling.LANCZOS)
    width, height = (min(side, length) // 8 * 8 for length in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.ascontiguousarray(np.asarray(image.crop((left, top, left + width, top + height))))
