"""How far a fit is to be believed, and what is certain where it is not.

Real models redraw what they restore: even in a faithful output, things lie a pixel or two away from where one motion of
the frame has them. So the error of a fit is held against the motion that it undoes, not against a fixed bound alone:
an output that was 5 px off and may still be 1 px off has gained. Figures below: grid of tests/test_align.py, and real
outputs of seven models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ggt_tools.stages.align.blocks import CLEAR, OFFSET_LEVEL, Level, Photograph, Pyramid
from ggt_tools.stages.align.fit import Fit
from ggt_tools.stages.align.geometry import Matrix

CONFIDENT = 0.5  # from here an output is taken to be aligned, or in place, to about a pixel
STILL = 0.25  # px at 1024: less motion than this anywhere does less harm than a resampling
# Each of these alone makes the confidence 0.5; the first five count together.
ERROR = 0.15  # px at 1024, of a fit that moves little
ERROR_SHARE = 0.4  # of the motion that a fit undoes
LARGEST_ERROR = 0.8  # px at 1024, of any fit
SUPPORT = 0.25  # share of the blocks
SCATTER = 1.0  # px at 1024
IMPROVEMENT = (1.65, 4.5)  # standard errors by which the correlation of local contrast must have risen: least, most
IMPROVEMENT_PER_PIXEL = 0.45  # and between them, for each px at 1024 of motion: undoing much must show clearly
IN_PLACE = 0.6  # px at 1024, motion and error together, of an output that is left where it is
# An uncertain fit is still applied where the rise is certain; the confidence then says that it may be off.
CERTAIN_IMPROVEMENT = 2.5
OFF = 4.0  # px at 1024: an output whose clear matches lie farther away, most of them, is misaligned
OFF_SHARE = 0.5
FEWEST_MATCHES = 8  # and at least MATCHED of the blocks
MATCHED = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What to do with a fit."""

    confidence: float  # 0..1, that after it the output is aligned or in place
    apply: bool  # whether to resample the output by it


def believe(fit: Fit | None, largest: float) -> Belief:
    """Judge a fit. `largest`: px at 1024 that it moves any point of the frame."""
    if fit is None:
        return Belief(confidence=0.0, apply=False)
    weakness = (SUPPORT / max(fit.support, 1e-6)) ** 2 + (fit.scatter / SCATTER) ** 2
    moves = largest > max(STILL, 2.0 * fit.error)
    moved = 0.0
    if moves:
        allowed = float(np.clip(ERROR_SHARE * fit.motion, ERROR, LARGEST_ERROR))
        asked = float(np.clip(IMPROVEMENT_PER_PIXEL * fit.motion, *IMPROVEMENT))
        shown = max(fit.improvement, 1e-6)
        moved = min(_half_at_one((fit.error / allowed) ** 2 + weakness), _half_at_one((asked / shown) ** 2))
        if moved >= CONFIDENT:
            return Belief(confidence=moved, apply=True)
    in_place = _half_at_one((fit.motion**2 + fit.error**2) / IN_PLACE**2 + weakness)
    if in_place >= CONFIDENT:
        return Belief(confidence=in_place, apply=False)
    better = (
        moves
        and fit.improvement >= CERTAIN_IMPROVEMENT
        and fit.support >= SUPPORT
        and fit.error <= ERROR_SHARE * fit.motion
    )
    return Belief(confidence=max(moved, in_place), apply=better)


def _half_at_one(badness: float) -> float:
    """0..1: 1 for no badness, 0.5 for 1."""
    return 1.0 / (1.0 + badness)


def clear_offset(lq: Photograph, reply: Pyramid, matrix: Matrix) -> tuple[float, bool]:
    """How far clearly matched blocks of the photograph are off in the reply as `matrix` places it, without any fit.

    A block is clearly matched where its correlation is high and no other place comes near it: repeated structure and
    texture do not count.

    Args:
        lq: the photograph.
        reply: luma of the reply, of any size.
        matrix: reply <- photograph.

    Returns:
        The median distance in px at 1024 (NaN where fewer than FEWEST_MATCHES blocks match), and whether the output is
        certainly off: enough blocks match, and most of them lie farther away than OFF.
    """
    level = Level(lq, reply, OFFSET_LEVEL)
    blocks = level.blocks(matrix)
    correlation, margin = CLEAR
    clear = blocks.found & (blocks.peak > correlation) & (blocks.peak - blocks.rival > margin)
    count = int(clear.sum())
    if count < FEWEST_MATCHES:
        return float("nan"), False
    distance = np.linalg.norm(blocks.moved[clear], axis=1) * level.unit
    is_off = count >= MATCHED * blocks.total and float((distance > OFF).mean()) >= OFF_SHARE
    return float(np.median(distance)), is_off
