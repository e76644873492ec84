"""Whether a gt shows what its lq shows, at low resolution, and whose it is where it does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ggt_tools.records import Finding
from ggt_tools.stages.validate.findings import fault

SIDE = 32  # cells a side
CELL = 8  # samples a side of a cell
AROUND = 5  # cells a side that a cell is held against
LEAST = 0.2
CLEARLY = 0.5  # below it another pair's photograph may be the nearer one

# Measured on the sample's pairs and on its photographs at night, in thick haze, out of focus, with noise of 50 levels,
# at a tenth of their light with noise of 10: alike 0.33..1.00; 210 couples of different photographs: -0.13..0.09.


def cells(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The means of green of a photograph (uint8, height x width x 3) over SIDE x SIDE cells: float32, 0..255."""
    height, width = pixels.shape[:2]
    if min(height, width) < SIDE * CELL:
        rows, columns = (np.linspace(0, length - 1, SIDE * CELL).astype(int) for length in (height, width))
        step = pixels[rows][:, columns, 1]
    else:
        step = _strided(pixels)
    # rows first: numpy adds whole rows at once, and one axis after the other is five times as fast as both
    columns_of = step.reshape(SIDE, CELL, -1).sum(axis=1, dtype=np.uint16)
    return np.asarray(columns_of.reshape(SIDE, SIDE, CELL).sum(axis=2, dtype=np.float32) / CELL**2, np.float32)


def sketches(of: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """What photographs show, of any light, by their cells(): float32, count x SIDE * SIDE, each of length 1 or 0.

    Each cell less the mean around it and over the deviation there: what haze, night and colour change falls out of it,
    and noise and blur are too small for it.
    """
    means = np.stack(of)
    around = AROUND // 2
    wide = np.pad(means, ((0, 0), (around, around), (around, around)), mode="edge").astype(np.float64)
    mean, square = _boxes(wide), _boxes(wide * wide)
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
    local = ((means - mean) / (spread + 1.0)).reshape(len(means), -1)
    local -= local.mean(axis=1, keepdims=True)
    length = np.linalg.norm(local, axis=1, keepdims=True)
    return np.where(length > 1e-3, local / np.maximum(length, 1e-3), 0.0).astype(np.float32)


def _boxes(wide: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of the AROUND x AROUND cells around each cell of each photograph."""
    sums = np.pad(wide, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2)
    n = AROUND
    inner = sums[:, n:, n:] - sums[:, :-n, n:] - sums[:, n:, :-n] + sums[:, :-n, :-n]
    return np.asarray(inner / n**2, np.float64)


def _strided(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """SIDE * CELL samples a side, at equal steps."""
    down, right = (length // (SIDE * CELL) for length in pixels.shape[:2])
    # one copy: what is far apart in memory is met once
    return np.ascontiguousarray(pixels[::down, ::right, 1][: SIDE * CELL, : SIDE * CELL])


def unlike(
    shard: str, keys: list[str], of_lq: Sequence[npt.NDArray[np.float32]], of_gt: Sequence[npt.NDArray[np.float32]]
) -> list[Finding]:
    """The pairs of a shard whose gt shows something else than their lq; by the cells() of both."""
    if not keys:
        return []
    lq, gt = sketches(of_lq), sketches(of_gt)
    alike = gt @ lq.T
    found = []
    for at, key in enumerate(keys):
        own = float(alike[at, at])
        if not (gt[at].any() or lq[at].any()):  # two even surfaces show nothing to compare; one alone is no likeness
            continue
        other = int(alike[at].argmax())
        nearer = other != at and alike[at, other] > own + LEAST
        if own < LEAST or (own < CLEARLY and nearer):
            whose = f", and what the lq of {keys[other]} shows ({alike[at, other]:.2f})" if nearer else ""
            said = f"its gt does not show what its lq shows (likeness {own:.2f}){whose}"
            found.append(fault(shard, "another_pair", said, "judge it again", key=key))
    return found
