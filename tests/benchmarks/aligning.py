"""How well real outputs of models are aligned: `python -m tests.benchmarks.aligning FOLDER`.

FOLDER/real.csv is as in the bench `real`. Each output of a model, and each real ground truth, is aligned to its
photograph. What is left is measured apart from the fit: by SIFT keypoints that are matched both ways, at 1024 px of the
long edge, the median in each square of 96 px. The fit uses block matches of local contrast and never sees a keypoint.
"""

from __future__ import annotations

import csv
import io
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from ggt_tools.records import Candidate
from ggt_tools.stages.align import CONFIDENT, RATIO, align

from .field import table

Pixels = npt.NDArray[np.uint8]
LONG = 1024
SQUARE, FEWEST = 96, 3  # px at 1024, and the matches that a square needs
FARTHEST = 24.0  # px at 1024: what is farther off is a wrong match
ELSEWHERE = 6.0  # px at 1024
RATIO_OF_DISTANCES = 0.8  # of the best match to the best one that lies elsewhere (Lowe 2004)
_EMPTY: dict[str, Any] = {"str": "", "int": 0, "float": 0.0}
_FIELDS: dict[str, Any] = {name: _EMPTY.get(str(kind), ()) for name, kind in Candidate.__annotations__.items()}
CANDIDATE = Candidate(**_FIELDS)


def left(lq: Pixels, gt: Pixels) -> npt.NDArray[np.float64]:
    """Px at 1024 by which the content of two pictures lies apart, in each square where keypoints tell."""
    (here, described), (there, other) = _keypoints(lq), _keypoints(gt)
    if len(here) < 2 or len(there) < 2:
        return np.zeros(0)
    squared = (described**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2.0 * described @ other.T
    apart = np.sqrt(np.maximum(squared, 0.0))
    best, back = apart.argmin(axis=1), apart.argmin(axis=0)
    count = np.arange(len(here))
    nearest = np.argpartition(apart, min(7, len(there) - 1), axis=1)[:, :8]  # the same place may have several keypoints
    elsewhere = np.linalg.norm(there[nearest] - there[best][:, None], axis=2) > ELSEWHERE
    rival = np.where(elsewhere, np.take_along_axis(apart, nearest, axis=1), np.inf).min(axis=1)
    offset = there[best] - here
    counts = (back[best] == count) & (apart[count, best] < RATIO_OF_DISTANCES * rival)
    counts &= np.linalg.norm(offset, axis=1) < FARTHEST
    square = (here[counts] // SQUARE).astype(int)
    medians = []
    for name in np.unique(square, axis=0):
        inside = offset[counts][(square == name).all(axis=1)]
        if len(inside) >= FEWEST:
            medians.append(float(np.linalg.norm(np.median(inside, axis=0))))
    return np.array(medians)


def _keypoints(image: Pixels) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    scale = LONG / max(image.shape[:2])
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    grey = cv2.resize(grey, (round(image.shape[1] * scale), round(image.shape[0] * scale)), interpolation=way)
    grey = cv2.createCLAHE(4.0, (8, 8)).apply(grey)  # dark and hazy pictures have keypoints, too
    sift: Any = cv2  # whose stubs have no SIFT_create
    points, described = sift.SIFT_create(2000, contrastThreshold=0.02).detectAndCompute(grey, None)
    if described is None:
        return np.zeros((0, 2)), np.zeros((0, 128), np.float32)
    return np.array([point.pt for point in points]), described


def measure(lq: Pixels, reply: bytes) -> dict[str, Any]:
    """Align one output and measure what is left."""
    found = align(reply, lq, CANDIDATE)
    decoded: Any = np.asarray(Image.open(io.BytesIO(reply)).convert("RGB"))
    came = cv2.resize(decoded, lq.shape[1::-1], interpolation=cv2.INTER_AREA)
    is_sure = found.image is not None and found.confidence >= CONFIDENT
    return {
        "outcome": "aligned" if is_sure else found.reason or "unsure",
        "has right aspect": abs(decoded.shape[1] * lq.shape[0] / (decoded.shape[0] * lq.shape[1]) - 1) <= RATIO,
        "fit": found,
        "came": left(lq, came),
        "left": left(lq, found.image) if found.image is not None else np.zeros(0),
    }


def report(folder: Path) -> str:
    """Align every pair of real.csv that has an output, and tell of each and of all."""
    rows, counted, medians = [], Counter[tuple[str, str]](), []
    with (folder / "real.csv").open(encoding="utf-8", newline="") as file:
        items = [item for item in csv.DictReader(file) if item["kind"] in ("model", "truth")]
    for item in items:
        lq = np.asarray(Image.open(folder / item["in"]).convert("RGB"))
        told = measure(lq, (folder / item["out"]).read_bytes())
        outcome, fit = told["outcome"], told["fit"]
        kind = item["kind"] if told["has right aspect"] else "of another aspect"
        counted[kind, outcome] += 1
        if outcome == "aligned" and len(told["left"]) >= 4:
            medians.append(float(np.median(told["left"])))
        shown = [_told(told[name]) for name in ("came", "left")]
        rows.append([item["key"], item["edit"] or kind, outcome, fit.model, f"{fit.confidence:.2f}", *shown])
    head = ["key", "edit", "outcome", "model", "confidence", "as it came: median, worst tenth (px)", "left"]
    text = "Alignment of real pairs, px at 1024\n\n" + table(head, rows) + "\n"
    for kind in dict.fromkeys(name for name, _ in counted):
        ways = {way: count for (name, way), count in sorted(counted.items()) if name == kind}
        text += f"{kind}: " + ", ".join(f"{count} {way}" for way, count in ways.items()) + "\n"
    text += f"left in {len(medians)} aligned pairs with keypoints in 4 squares or more: "
    text += f"median {np.median(medians):.2f} px, worst {max(medians):.2f} px, "
    return text + f"{sum(median <= 1.0 for median in medians)} within 1 px\n"


def _told(distances: npt.NDArray[np.float64]) -> str:
    if len(distances) < 4:
        return "-"
    return f"{np.median(distances):.2f}, {np.percentile(distances, 90):.2f}"


if __name__ == "__main__":
    print(report(Path(sys.argv[1])))
