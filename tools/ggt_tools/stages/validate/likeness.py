"""Compare what a gt shows with what its lq shows, at low resolution, and find the lq that it belongs to instead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ggt_tools.records import Finding
from ggt_tools.stages.validate.findings import JUDGE, finding

SIDE = 32  # cells along each side of a photograph
CELL = 8  # samples along each side of a cell
NEIGHBOURS = 5  # cells along each side of the square that a cell is compared with
MIN_LIKENESS = 0.2
CLEAR_LIKENESS = 0.5  # below it, the gt may belong to another pair

# Measured on the sample's pairs, and on its photographs at night, in thick haze, out of focus, with noise of 50 levels,
# and at a tenth of their light with noise of 10: likeness 0.33 to 1.00. Of 210 pairs of different photographs: -0.13 to
# 0.09.


def cells(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the means of the green channel over SIDE x SIDE cells.

    Args:
        pixels: A photograph: uint8, height x width x 3.

    Returns:
        float32, SIDE x SIDE, 0 to 255.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < SIDE * CELL:
        rows, columns = (np.linspace(0, length - 1, SIDE * CELL).astype(int) for length in (height, width))
        samples = pixels[rows][:, columns, 1]
    else:
        samples = _strided(pixels)
    # rows first: numpy adds whole rows, and one axis after the other is five times as fast as both
    row_sums = samples.reshape(SIDE, CELL, -1).sum(axis=1, dtype=np.uint16)
    return np.asarray(row_sums.reshape(SIDE, SIDE, CELL).sum(axis=2, dtype=np.float32) / CELL**2, np.float32)


def sketches(all_cells: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Return vectors of what photographs show, whatever the light.

    Each cell less the mean of its neighbours, over their standard deviation: this cancels what haze, night and colour
    change, and noise and blur are smaller than a cell.

    Args:
        all_cells: What `cells` returned, of each photograph.

    Returns:
        float32, count x SIDE * SIDE; each vector has the length 1, or 0 for an even surface.
    """
    means = np.stack(all_cells)
    margin = NEIGHBOURS // 2
    padded = np.pad(means, ((0, 0), (margin, margin), (margin, margin)), mode="edge").astype(np.float64)
    mean, square = _box_means(padded), _box_means(padded * padded)
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
    local = ((means - mean) / (spread + 1.0)).reshape(len(means), -1)
    local -= local.mean(axis=1, keepdims=True)
    length = np.linalg.norm(local, axis=1, keepdims=True)
    return np.where(length > 1e-3, local / np.maximum(length, 1e-3), 0.0).astype(np.float32)


def _box_means(padded: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the means of the NEIGHBOURS x NEIGHBOURS cells around each cell of each photograph."""
    sums = np.pad(padded, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    n = NEIGHBOURS
    inner = sums[:, n:, n:] - sums[:, :-n, n:] - sums[:, n:, :-n] + sums[:, :-n, :-n]
    return np.asarray(inner / n**2, np.float64)


def _strided(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return SIDE * CELL samples along each side, at equal steps."""
    row_step, column_step = (length // (SIDE * CELL) for length in pixels.shape[:2])
    # a copy: the samples are far apart in memory, and so are read once
    return np.ascontiguousarray(pixels[::row_step, ::column_step, 1][: SIDE * CELL, : SIDE * CELL])


def find_mismatches(
    shard: str,
    keys: list[str],
    lq_cells: Sequence[npt.NDArray[np.float32]],
    gt_cells: Sequence[npt.NDArray[np.float32]],
) -> list[Finding]:
    """Return a finding for each pair of a shard whose gt does not show what its lq shows.

    Args:
        shard: Name of the shard.
        keys: Keys of its pairs.
        lq_cells: What `cells` returned, of each lq.
        gt_cells: The same of each gt.
    """
    if not keys:
        return []
    lq, gt = sketches(lq_cells), sketches(gt_cells)
    likeness = gt @ lq.T
    findings = []
    for number, key in enumerate(keys):
        own = float(likeness[number, number])
        if not (gt[number].any() or lq[number].any()):  # two even surfaces show nothing; a single one is a mismatch
            continue
        other = int(likeness[number].argmax())
        is_other_nearer = other != number and likeness[number, other] > own + MIN_LIKENESS
        if own < MIN_LIKENESS or (own < CLEAR_LIKENESS and is_other_nearer):
            other_likeness = f"{likeness[number, other]:.2f}"
            owner = f", but what the lq of {keys[other]} shows ({other_likeness})" if is_other_nearer else ""
            detail = f"its gt does not show what its lq shows (likeness {own:.2f}){owner}"
            findings.append(finding(shard, "another_pair", detail, JUDGE, key=key))
    return findings
