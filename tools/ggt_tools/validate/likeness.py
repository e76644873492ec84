"""Whether a gt shows what its lq shows, at low resolution, and whose it is where it does not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ggt_tools.records import Finding
from ggt_tools.validate.findings import fault

SIDE = 32  # cells a side
CELL = 8  # samples a side of a cell
AROUND = 5  # cells a side that a cell is held against
LEAST = 0.2
CLEARLY = 0.5  # below it another pair's photograph may be the nearer one

# Measured on the sample's pairs and on its photographs at night, in thick haze, out of focus, with noise of 50 levels,
# at a tenth of their light with noise of 10: alike 0.33..1.00; 210 couples of different photographs: -0.13..0.09.


def sketch(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """What a photograph (uint8, height x width x 3) shows, of any light: float32, SIDE * SIDE, of length 1 or 0.

    Means of green over SIDE x SIDE cells, each less the mean around it and over the deviation there: what haze, night
    and colour change falls out of it, and noise and blur are too small for it.
    """
    height, width = pixels.shape[:2]
    rows, columns = (np.linspace(0, length - 1, SIDE * CELL).astype(int) for length in (height, width))
    step = pixels[rows][:, columns, 1] if min(height, width) < SIDE * CELL else _strided(pixels)
    # rows first: numpy adds whole rows at once, and one axis after the other is five times as fast as both
    columns_of = step.reshape(SIDE, CELL, -1).sum(axis=1, dtype=np.uint16)
    cells = columns_of.reshape(SIDE, SIDE, CELL).sum(axis=2, dtype=np.float32) / CELL**2
    wide = np.pad(cells, AROUND // 2, mode="edge").astype(np.float64)
    mean, square = _boxes(wide), _boxes(wide * wide)
    spread = np.sqrt(np.maximum(square - mean * mean, 0.0))
    local = ((cells - mean) / (spread + 1.0)).ravel()
    local -= local.mean()
    length = float(np.linalg.norm(local))
    return np.asarray(local / length if length > 1e-3 else np.zeros_like(local), np.float32)


def _boxes(wide: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Means of the AROUND x AROUND cells around each cell."""
    sums = np.pad(wide, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    n = AROUND
    return np.asarray((sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]) / n**2, np.float64)


def _strided(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """SIDE * CELL samples a side, at equal steps."""
    down, right = (length // (SIDE * CELL) for length in pixels.shape[:2])
    return pixels[::down, ::right, 1][: SIDE * CELL, : SIDE * CELL]


def unlike(
    shard: str, keys: list[str], lq: list[npt.NDArray[np.float32]], gt: list[npt.NDArray[np.float32]]
) -> list[Finding]:
    """The pairs of a shard whose gt shows something else than their lq; by their sketches."""
    if not keys:
        return []
    alike = np.stack(gt) @ np.stack(lq).T
    found = []
    for at, key in enumerate(keys):
        own = float(alike[at, at])
        if not (gt[at].any() and lq[at].any()):  # an even surface shows nothing to compare
            continue
        other = int(alike[at].argmax())
        nearer = other != at and alike[at, other] > own + LEAST
        if own < LEAST or (own < CLEARLY and nearer):
            whose = f", and what the lq of {keys[other]} shows ({alike[at, other]:.2f})" if nearer else ""
            said = f"its gt does not show what its lq shows (likeness {own:.2f}){whose}"
            found.append(fault(shard, "another_pair", said, "judge it again", key=key))
    return found
