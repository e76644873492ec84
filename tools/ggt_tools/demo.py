"""demo: the whole pipeline once, from the sample's photographs to a training batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
from PIL import Image

import ggt100k  # its import registers load_dataset("ggt-100k")
from ggt_format.images import decode_image
from ggt_tools.api import Workspace, card, validate
from ggt_tools.errors import ConfigError
from ggt_tools.events import SILENT, Events
from ggt_tools.imaging.contact_sheet import Tile, contact_sheet
from ggt_tools.metrics.meanings import meaning_of
from ggt_tools.policy.evidence_words import strongest_evidence
from ggt_tools.records import Aligned, Candidate, Photo, Score, Verdict
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger

# What a restoration of a class has to gain first
GAINS = {
    **{"haze": "haze_gain", "low_light": "light_gain", "shadow": "light_gain"},
    **{"motion_blur": "sharpness_gain", "defocus_blur": "sharpness_gain", "underwater": "cast_gain"},
}
TEST_SHARE = 0.25  # of a few dozen pairs: with the default, the test split would be empty


def demo(folder: Path, *, events: Events = SILENT) -> Iterator[str]:
    """Run every stage on the sample's photographs, load the release, and yield what a user reads.

    Leaves in `folder`: workspace, the release ggt-100k, contact_sheet.png.

    Args:
        folder: Folder to write to; it is created if need be. Run again, it continues.
        events: Receives progress, and of each photograph that is rejected.

    Raises:
        ConfigError: A stage failed.
    """
    photos, release = ggt100k.sample_folder(), folder / "ggt-100k"
    workspace = Workspace.create(folder / "workspace", events=events)
    path = workspace.path
    yield from _shown(f"ingest {photos} {path}", workspace.ingest(photos))
    yield from _shown(f"restore {path} --with classical", workspace.restore("classical"))
    yield from _shown(f"align {path}", workspace.align())
    # The release shall have the same bytes whether or not rapidocr is installed
    yield from _shown(f"score {path} --metrics core", workspace.score(["core"]))
    yield from _shown(f"verdict {path}", workspace.verdict())
    yield from _shown(f"pack {path} {release} --test {TEST_SHARE}", workspace.pack(release, test=TEST_SHARE))
    validation = validate(release, events=events)
    yield from _shown(f"validate {release}", validation.summary, text=str(validation))
    yield from _shown(f"card {release}", card(release))
    yield f"\n$ ggt100k status {path}\n{workspace.status()}"

    yield f'\n>>> load_dataset("ggt-100k", data_dir="{release}")'
    pairs = datasets.load_dataset("ggt-100k", data_dir=str(release))
    for split, rows in pairs.items():
        yield f"{split}: {len(rows)} pairs, columns {', '.join(rows.column_names)}"
    lq, gt = batch(pairs["train"], size=256, count=8, seed=0)
    yield f"one batch: lq {lq.shape} {lq.dtype}, gt {gt.shape} {gt.dtype}, the same windows of both"
    sheet = folder / "contact_sheet.png"
    tiles = sheet_tiles(path)
    kept = sum(tile.decision == "keep" for tile in tiles)
    contact_sheet(
        tiles,
        title=f"ggt-100k demo: {kept} of {len(tiles)} restorations kept",
        sides="left: photograph (LQ), right: restoration (GT)",
    ).save(sheet)
    yield f"look at {sheet}, and at the release's card, {release}/README.md"


def sheet_tiles(workspace: Path) -> list[Tile]:
    """Return the judged candidates of a workspace for a contact sheet, by class, the kept ones of a class first."""
    with Ledger(workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        candidates = {candidate.id: candidate for candidate in ledger.all(Candidate)}
        images = {aligned.candidate: aligned.image for aligned in ledger.all(Aligned) if aligned.image}
        verdicts = [verdict for verdict in ledger.all(Verdict) if verdict.candidate in images]

        def order(verdict: Verdict) -> tuple[str, bool, str]:
            photo = photos[candidates[verdict.candidate].key]
            return photo.degradation, verdict.decision != "keep", photo.file

        tiles = []
        for verdict in sorted(verdicts, key=order):
            candidate = candidates[verdict.candidate]
            photo = photos[candidate.key]
            lq, gt = (_image(ledger.image(name)) for name in (photo.image, images[candidate.id]))
            tiles.append(
                Tile(
                    lq=lq,
                    gt=gt,
                    heading=photo.degradation.replace("_", " "),
                    decision=verdict.decision,
                    reason=verdict.reason,
                    numbers=_numbers(verdict, photo.degradation, ledger.scores_of(candidate.id)),
                    note=candidate.restorer,
                )
            )
    return tiles


def _numbers(verdict: Verdict, degradation: str, scores: Iterable[Score]) -> list[str]:
    """Return the numbers that matter: the two that the gate weighed most, and what was gained."""
    metric = GAINS.get(degradation, "quality_gain")
    gains = [score.value for score in scores if score.metric == metric and math.isfinite(score.value)]
    numbers = [words.short for words in strongest_evidence(verdict.evidence)]
    return [*numbers[:2], *(f"{meaning_of(metric).label} {value:.2g}" for value in gains), *numbers[2:]][:3]


def _image(png: bytes) -> Image.Image:
    return Image.fromarray(decode_image(png))


def _shown(command: str, summary: Summary, *, text: str = "") -> Iterator[str]:
    """Yield a command and what it prints. Raise ConfigError where it failed."""
    yield f"\n$ ggt100k {command}\n{text or summary}"
    if summary.is_failed:
        raise ConfigError(f"demo: ggt100k {summary.stage} failed. Read its messages above.")


def batch(pairs: Any, *, size: int, count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return random windows of random pairs, the same windows of both images.

    Args:
        pairs: Rows with PIL images in `lq` and `gt`.
        size: Side of a window in pixels.
        count: Number of windows.
        seed: Seed of the choice.

    Returns:
        The windows of lq and of gt: uint8, (count, size, size, 3).
    """
    random = np.random.default_rng(seed)
    lq_crops: list[npt.NDArray[np.uint8]] = []
    gt_crops: list[npt.NDArray[np.uint8]] = []
    for number in random.integers(len(pairs), size=count):
        pair = pairs[int(number)]
        width, height = pair["lq"].size
        left, top = random.integers(width - size + 1), random.integers(height - size + 1)
        window = (int(left), int(top), int(left) + size, int(top) + size)
        lq_crops.append(np.asarray(pair["lq"].crop(window)))
        gt_crops.append(np.asarray(pair["gt"].crop(window)))
    return np.stack(lq_crops), np.stack(gt_crops)
