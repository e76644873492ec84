"""A smooth warp on top of the motion of the whole frame.

A generative model redraws what it restores: regions of a faithful output lie a pixel or two away from where one motion
has them, and the offset changes slowly over the picture. The warp is a displacement field on a coarse grid (cubic
B-splines), fitted to the block matches with a penalty on its bending. It must not hide content that was moved or
reshaped:

* It moves no point by more than LARGEST, and stretches or shears no place by more than STRETCH.
* Each match counts by how well the warp predicts it from the matches elsewhere. An object that moved on its own is not
  predicted by its surroundings, so it does not count, and stays where the model put it.
* It is used only if it predicts matches that it was not fitted to better than no warp does, by more than chance, and if
  the local correlation of both pictures rises.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ggt_tools.stages.align.blocks import RIVAL_MARGIN, Blocks, Level, Photograph, Pyramid
from ggt_tools.stages.align.fit import Fit, improvement_from
from ggt_tools.stages.align.geometry import Floats, Matrix, Points, Warp, moved, spline_basis

WARP_LEVEL = (512, 40, 20, 6)  # long edge, side of a block, step and reach of the search, as blocks.LEVELS has them
CELLS = 8  # of the grid, along the long edge
LARGEST = 5.0  # px at 1024 by which the warp may move a point beyond the motion of the frame
STRETCH = 0.02  # by which it may change a length or an angle (in radians) anywhere
PENALTIES = (0.03, 0.3, 3.0, 30.0)  # on bending, of which the one that predicts best is used
FOLDS = 8  # parts of the matches, of which each is predicted from the others
HALVES = ((0, 1, 2, 3), (0, 1, 4, 5), (0, 1, 6, 7), (0, 2, 4, 6), (0, 2, 5, 7), (0, 3, 4, 7), (0, 3, 5, 6))
FOLD_CELL = 1.0  # side, in blocks, of the squares that stay together in one part
FEWEST = 24  # matches
ROUNDS = 4  # of weighting the matches by how well they are predicted
CAPPED = 3.0  # times the median distance: a prediction that is farther off counts as this far off
WORTH = 0.15  # px at 1024 of `scatter`: below it a warp is not looked for
LEAST_SUPPORT = 0.1  # of the fit
# A warp is used where it brings the matches, as predicted from the others, nearer by PREDICTED standard errors and by
# WORTH_SHARE of their distance, and raises the correlation by RISE standard errors.
PREDICTED = 2.0
WORTH_SHARE = 0.1
RISE = 1.5
FARTHEST = 0.8  # px at 1024 of `scatter`: beyond, the drift is not smooth, or the matches are wrong
PASSES = 2  # the second looks for the blocks again, through the warp of the first


@dataclass(frozen=True, slots=True, kw_only=True)
class WarpFit:
    """A warp and measures of its quality. Lengths are px at 1024."""

    warp: Warp
    error: float  # RMS over the structure, by which the warp may be off
    support: float  # 0..1, share of the photograph's blocks that lie within a pixel of the level of it
    scatter: float  # median distance of the matches from where a warp fitted to other matches has them
    scatter_without: float  # and from where they would be without a warp
    predicted: float  # by how much nearer the matches lie to those predictions, in standard errors
    structured: Points  # (n, 2) centres of the blocks that have structure in the photograph, px of the level


def add_warp(lq: Photograph, reply: Pyramid, start: Matrix, fit: Fit, least_gain: float) -> Fit | None:
    """Add a smooth warp to a fit.

    Args:
        lq: the photograph.
        reply: luma of the reply, of any size.
        start: reply <- photograph, as the call itself made it; `motion` and `improvement` are measured from there.
        fit: the motion of the whole frame.
        least_gain: px at 1024 by which the warp must bring the matches nearer.

    Returns:
        The fit with its warp and with the facts of both together. None where no warp within the bounds certainly
        brings the reply nearer to the photograph.
    """
    if fit.scatter < WORTH or fit.support < LEAST_SUPPORT:
        return None
    level = Level(lq, reply, WARP_LEVEL)
    found = fit_warp(level, fit.matrix)
    if found is None or found.predicted < PREDICTED or found.scatter > FARTHEST:
        return None
    if found.scatter_without - found.scatter < max(least_gain, WORTH_SHARE * found.scatter_without):
        return None
    _, rise = improvement_from(level, fit.matrix, fit.matrix, found.warp)
    if rise < RISE:
        return None
    agreement, improvement = improvement_from(level, start, fit.matrix, found.warp)
    shown = found.structured + found.warp.displacement(found.structured, (level.height, level.width))
    far = moved(np.linalg.inv(start) @ fit.matrix @ level.up, shown) - moved(level.up, found.structured)
    return replace(
        fit,
        warp=found.warp,
        error=found.error,
        support=found.support,
        scatter=found.scatter,
        motion=float(np.sqrt((far**2).sum(axis=1).mean())) * 1024.0 / max(lq.shape),
        agreement=agreement,
        improvement=improvement,
    )


def fit_warp(level: Level, matrix: Matrix) -> WarpFit | None:
    """Fit a warp to what is left after a motion.

    Args:
        level: made with WARP_LEVEL.
        matrix: reply <- photograph.

    Returns:
        None where there are too few matches, or where every warp breaks a bound.
    """
    fitted: WarpFit | None = None
    for _ in range(PASSES):
        warp = fitted.warp if fitted else None
        fitted = _fit_blocks(level, level.blocks(matrix, warp), warp)
        if fitted is None or fitted.predicted < PREDICTED / 2.0:  # there is nothing to refine
            break
    return fitted


def _fit_blocks(level: Level, blocks: Blocks, warp: Warp | None) -> WarpFit | None:
    """Fit a warp to blocks that were looked for through `warp`."""
    clear = blocks.found & (blocks.peak - blocks.rival > RIVAL_MARGIN)
    if clear.sum() < FEWEST:
        return None
    at, displacement, weight = blocks.at[clear], blocks.moved[clear], blocks.weight[clear]
    shape = level.height, level.width
    if warp is not None:
        displacement = displacement + warp.displacement(at + displacement, shape)
    rows, columns = _grid(level)
    square = (at // (FOLD_CELL * level.block)).astype(int)
    squares, member = np.unique(square[:, 0] * 1000 + square[:, 1], return_inverse=True)
    fold = (np.random.default_rng(0).permutation(len(squares)) % FOLDS)[member]
    system = _System(spline_basis(at, shape, rows, columns), displacement, weight, fold, _bending(rows, columns))
    without = system.distance(displacement)
    cap = CAPPED * max(float(np.median(without)), 0.02)
    held_out, order = without, [0]
    for _ in range(ROUNDS):
        scale = 2.0 * max(1.5 * float(np.median(held_out)), 0.05)
        system.weigh(1.0 / (1.0 + (held_out / scale) ** 2) ** 2)  # Geman and McClure 1985
        every = system.held_out()
        order = sorted(range(len(PENALTIES)), key=lambda number: float(np.minimum(every[number], cap).mean()))
        held_out = every[order[0]]
    for number in order:
        solution = system.solve(number, tuple(range(FOLDS)))
        found = Warp(solution.reshape(rows, columns, 2) / max(shape))
        if found.size * 1024.0 <= LARGEST and found.stretch(shape) <= STRETCH:
            break
    else:
        return None
    held_out = every[number]
    gained = np.bincount(member, np.minimum(without, cap) - np.minimum(held_out, cap)) / np.bincount(member)
    structured = spline_basis(blocks.structured, shape, rows, columns)
    variances = []
    for half in HALVES:
        other = tuple(part for part in range(FOLDS) if part not in half)
        apart = structured @ (system.solve(number, half) - system.solve(number, other)).reshape(-1, 2)
        variances.append(float((apart**2).sum(axis=1).mean()) / 4.0)  # halves differ by twice the deviation of all
    explained = system.distance(displacement - system.basis @ solution.reshape(-1, 2)) < 1.0
    return WarpFit(
        warp=found,
        error=float(np.sqrt(np.mean(variances))) * level.unit,
        support=float(explained.sum()) / max(blocks.total, 1),
        scatter=float(np.median(held_out)) * level.unit,
        scatter_without=float(np.median(without)) * level.unit,
        structured=blocks.structured,
        predicted=float(gained.mean()) / max(float(gained.std()) / np.sqrt(len(gained)), 1e-6),
    )


class _System:
    """Penalised least squares of the displacements of n matches, kept apart by fold.

    Args:
        basis: (n, k) weights of the coefficients at the matches.
        displacement: (n, 2).
        information: (n, 2, 2), large where a match is sharp; single matches are capped.
        fold: (n,) in 0..FOLDS - 1.
        bending: (2k, 2k).
    """

    def __init__(
        self, basis: Floats, displacement: Points, information: Floats, fold: npt.NDArray[np.int_], bending: Matrix
    ) -> None:
        trace = np.trace(information, axis1=1, axis2=2)
        capped = np.minimum(1.0, np.quantile(trace, 0.75) / np.maximum(trace, 1e-12))
        self.information = information * capped[:, None, None]
        self.sharpest = np.maximum(np.linalg.eigvalsh(self.information)[:, -1], 1e-12)
        self.basis, self.displacement, self.fold, self.bending = basis, displacement, fold, bending
        self.normal = np.zeros((FOLDS, *bending.shape))  # x and y of a coefficient are neighbours
        self.right = np.zeros((FOLDS, len(bending)))
        self._sums: dict[tuple[int, ...], tuple[Matrix, Floats]] = {}

    def weigh(self, weights: Floats) -> None:
        """Set the weights (n,) of the matches."""
        self._sums.clear()
        inner = self.information * (weights / float(self.sharpest.mean()))[:, None, None]
        toward = np.matmul(inner, self.displacement[:, :, None])[:, :, 0]
        for part in range(FOLDS):
            chosen = self.fold == part
            basis = self.basis[chosen]
            for first in range(2):
                self.right[part, first::2] = basis.T @ toward[chosen, first]
                for second in range(2):
                    weighted = basis * inner[chosen, first, second, None]
                    self.normal[part, first::2, second::2] = basis.T @ weighted

    def solve(self, penalty: int, folds: tuple[int, ...]) -> Floats:
        """The coefficients (2k,) that fit some of the folds best. `penalty`: which of PENALTIES."""
        normal, right = self._sum(folds)
        bending = PENALTIES[penalty] * len(folds) / FOLDS * self.bending
        return np.asarray(np.linalg.solve(normal + bending, right), np.float64)

    def _sum(self, folds: tuple[int, ...]) -> tuple[Matrix, Floats]:
        """The normal equations of some folds, with a small ridge; kept, since each penalty asks for them."""
        if folds not in self._sums:
            normal, right = self.normal[list(folds)].sum(axis=0), self.right[list(folds)].sum(axis=0)
            normal[np.diag_indices_from(normal)] += 1e-6 * float(np.trace(normal)) / len(right)
            self._sums[folds] = normal, right
        return self._sums[folds]

    def held_out(self) -> list[Floats]:
        """For each penalty, the distance (n,) of the matches from what a fit to the other folds predicts."""
        predicted = np.empty((len(PENALTIES), *self.displacement.shape))
        for part in range(FOLDS):
            others = tuple(other for other in range(FOLDS) if other != part)
            mine = self.fold == part
            basis = self.basis[mine]
            for penalty in range(len(PENALTIES)):
                predicted[penalty, mine] = basis @ self.solve(penalty, others).reshape(-1, 2)
        return [self.distance(self.displacement - points) for points in predicted]

    def distance(self, residual: Points) -> Floats:
        """(n,) pixels along the directions in which a match can tell."""
        toward = np.matmul(self.information, residual[:, :, None])[:, :, 0]
        distance: Floats = np.sqrt(np.maximum((toward * residual).sum(axis=1), 0.0) / self.sharpest)
        return distance


def _grid(level: Level) -> tuple[int, int]:
    """Rows and columns of the coefficients."""
    long = max(level.width, level.height)
    return max(2, round(CELLS * level.height / long)) + 3, max(2, round(CELLS * level.width / long)) + 3


def _bending(rows: int, columns: int) -> Matrix:
    """The penalty (2k, 2k): squared second differences of the coefficients. It is 0 for an affine field."""
    across, down = np.eye(columns), np.eye(rows)
    parts = (
        np.kron(np.diff(down, 2, axis=0), across),
        np.kron(down, np.diff(across, 2, axis=0)),
        np.sqrt(2.0) * np.kron(np.diff(down, axis=0), np.diff(across, axis=0)),
    )
    return np.asarray(np.kron(np.sum([part.T @ part for part in parts], axis=0), np.eye(2)))
