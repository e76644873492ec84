"""The global fit of a reply to its photograph: blocks that are found again, and the one motion that explains them.

A photograph and its restoration share no tones, only structure. So both become local contrast (luma less its
neighbourhood, over the contrast there), from coarse to fine each block of the photograph is looked for in the reply by
normalised correlation, and one motion of the whole frame is fitted to what was found. Each block counts as much, and in
the direction, as its correlation peak is sharp; what moves on its own is an outlier and stays where it is.

Units: pixels of the photograph, whose centres have whole coordinates, unless "at 1024" is said: there its long edge
has 1024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ggt_tools.imaging.planes import opencv
from ggt_tools.stages.align.blocks import LEVELS, Blocks, Level, Photograph, Pyramid
from ggt_tools.stages.align.geometry import Matrix, Points, Warp, moved, places

MODELS = {"translation": 2, "similarity": 4, "affine": 6, "homography": 8}  # and the numbers each has


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the photograph lies in the reply."""

    matrix: Matrix  # reply <- photograph
    model: str  # one of MODELS: of what had to be added to the start that led here
    error: float  # px at 1024: how far the matrix is likely to be off, RMS over the structure and, half, the frame
    support: float  # 0..1, share of the photograph's blocks that it explains
    scatter: float  # px at 1024: median distance of the blocks from where the fit has them, which no motion explains
    motion: float  # px at 1024: how far it is from the first start, RMS over the photograph's structure
    agreement: float  # -1..1, mean correlation of local contrast over the cells of the frame, under `matrix`
    improvement: float  # by how much that is more than under the first start, in its standard errors
    warp: Warp | None = None  # what is applied before `matrix`, as warp.py adds it


def _jacobian(points: Points, numbers: int) -> npt.NDArray[np.float64]:
    """(n, 2, numbers): how points of the unit frame move with the numbers of a model."""
    x, y = points[:, 0], points[:, 1]
    one, none = np.ones_like(x), np.zeros_like(x)
    columns = [(one, none), (none, one)]
    if numbers == 4:
        columns += [(x, y), (-y, x)]
    if numbers >= 6:
        columns += [(x, none), (y, none), (none, x), (none, y)]
    if numbers == 8:
        columns += [(-x * x, -x * y), (-x * y, -y * y)]
    return np.stack([np.stack(pair, axis=1) for pair in columns], axis=2)


def _step(theta: npt.NDArray[np.float64]) -> Matrix:
    """The matrix of the unit frame that these numbers stand for, to first order."""
    step = np.eye(3)
    step[:2, 2] = theta[:2]
    if len(theta) == 4:
        step[:2, :2] += [[theta[2], -theta[3]], [theta[3], theta[2]]]
    if len(theta) >= 6:
        step[0, :2] += theta[2:4]
        step[1, :2] += theta[4:6]
    if len(theta) == 8:
        step[2, :2] = theta[6:8]
    return step


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solution:
    """One level's fit."""

    motion: Matrix  # level's frame as the start has it <- level's frame
    model: str
    error: float  # px of the level
    support: float
    scatter: float  # px of the level, median distance of the blocks that were found from where the fit has them


class _System:
    """Weighted least squares of the displacements of blocks, prepared once for many weightings.

    Args:
        jacobian: (n, 2, k), how each block moves with the numbers of a model.
        blocks: n blocks.
    """

    def __init__(self, jacobian: npt.NDArray[np.float64], blocks: Blocks) -> None:
        self.jacobian, self.blocks = jacobian, blocks
        weighted = np.matmul(jacobian.transpose(0, 2, 1), blocks.weight)  # (n, k, 2)
        numbers = jacobian.shape[2]
        self.normal = np.matmul(weighted, jacobian).reshape(len(jacobian), numbers * numbers)
        self.right = np.matmul(weighted, blocks.moved[:, :, None])[:, :, 0]
        self.largest = np.maximum(np.linalg.eigvalsh(blocks.weight)[:, -1], 1e-12)

    def solve(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The numbers (m, k) of the model that fit best, for each row of `weights` (m, n)."""
        numbers = self.jacobian.shape[2]
        # row by row, so that a row's result does not depend on the others
        normal = np.array([row @ self.normal for row in weights]).reshape(-1, numbers, numbers)
        right = np.array([row @ self.right for row in weights])
        diagonal = np.arange(numbers)
        normal[:, diagonal, diagonal] += (1e-9 * np.trace(normal, axis1=1, axis2=2) + 1e-12)[:, None]
        solution: npt.NDArray[np.float64] = np.linalg.solve(normal, right[:, :, None])[:, :, 0]
        return solution

    def robust(self, weights: npt.NDArray[np.float64], *, rounds: int) -> npt.NDArray[np.float64]:
        """The weights (m, n) with those of outliers reduced (Geman and McClure 1985), row by row and round by round."""
        theta, part = self.solve(weights), weights > 0.05
        for _ in range(rounds):
            distance = self.distance([self.jacobian @ row for row in theta])
            scale = np.maximum(1.5 * _medians(distance, part), 0.05)[:, None]
            weights = np.where(part, 1.0 / (1.0 + (distance / (2.0 * scale)) ** 2) ** 2, 0.0)
            theta = self.solve(weights)
        return weights

    def distance(self, predicted: Points | list[Points]) -> npt.NDArray[np.float64]:
        """Pixels between found and predicted (..., n, 2), for each block along the directions in which it can tell."""
        residual = self.blocks.moved - predicted
        toward = np.matmul(self.blocks.weight, residual[..., None])[..., 0]
        distance: npt.NDArray[np.float64] = np.sqrt(np.maximum((toward * residual).sum(axis=-1), 0.0) / self.largest)
        return distance


def _medians(values: npt.NDArray[np.float64], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """The median (m,) of the chosen values of each row (m, n), 2/3 where none is chosen; no row needs a call."""
    ordered = np.sort(np.where(chosen, values, np.inf), axis=1)
    count, rows = chosen.sum(axis=1), np.arange(len(values))
    medians = (ordered[rows, np.maximum(count - 1, 0) // 2] + ordered[rows, np.minimum(count // 2, count - 1)]) / 2.0
    return np.asarray(np.where(count > 0, medians, 2.0 / 3.0))


def _fit_level(
    level: Level, blocks: Blocks, so_far: Matrix, models: Sequence[str], *, ransac: bool
) -> _Solution | None:
    """The model that is likely to be off least, or None where too few blocks were found.

    `so_far`: the motion under which the blocks were looked for. Each model is fitted to the whole motion, so that a
    simple one forgets what a richer one believed before.
    """
    keep = blocks.found
    if keep.sum() < 6:
        return None
    weight = blocks.weight[keep]
    trace = np.trace(weight, axis1=1, axis2=2)
    weight = weight * np.minimum(1.0, np.quantile(trace, 0.75) / np.maximum(trace, 1e-12))[:, None, None]
    step = replace(blocks, at=blocks.at[keep], moved=blocks.moved[keep], weight=weight, found=keep[keep])
    whole = replace(step, moved=moved(so_far, step.at + step.moved) - step.at)
    half = max(level.width, level.height) / 2.0
    to_unit = np.array(
        [[1 / half, 0, -(level.width - 1) / 2 / half], [0, 1 / half, -(level.height - 1) / 2 / half], [0, 0, 1]]
    )
    units = moved(to_unit, step.at)
    # errors count where the photograph has structure, and half as much over the whole frame
    over = np.concatenate([blocks.structured, places(level.width, level.height)])
    share = np.full(len(over), 1.0 / (1.5 * max(blocks.total, 1)))
    share[blocks.total :] = 0.5 / (1.5 * (len(over) - blocks.total))
    frame = moved(to_unit, over)
    weights = np.ones(len(units))
    if ransac:
        cv2 = opencv()
        ends = step.at + step.moved
        _, inliers = cv2.estimateAffinePartial2D(step.at, ends, method=cv2.RANSAC, ransacReprojThreshold=1.5)
        if inliers is not None and inliers.sum() >= 4:
            weights = np.where(inliers[:, 0] > 0, 1.0, 1e-3)
    usable = [model for model in models if 2 * len(units) >= 3 * MODELS[model]]
    richest = usable[-1]
    first = _System(_jacobian(units, MODELS[richest]), step)
    weights = first.robust(weights[None], rounds=12)
    parts = _halves(step.at, 2.0 * level.block, 4 if ransac else 8)
    halves = weights * np.concatenate([parts, ~parts])
    halves = first.robust(halves, rounds=4) * (halves > 0.0)
    motions, variances = {}, {}
    for model in usable:
        linear = model != "homography"  # which is linear for small steps only
        system = _System(_jacobian(units, MODELS[model]), whole if linear else step)
        there = _jacobian(frame, MODELS[model])
        matrix = np.linalg.inv(to_unit) @ _step(system.solve(weights)[0] / half) @ to_unit
        motions[model] = matrix if linear else so_far @ matrix
        ones, others = np.split(system.solve(halves), 2)
        apart = [there @ numbers for numbers in ones - others]
        # two halves differ by twice the deviation of the whole
        variances[model] = float(np.mean([share @ (a**2).sum(axis=1) for a in apart])) / 4.0
    errors = {}
    for number, model in enumerate(usable):
        bias = float(share @ ((moved(motions[model], over) - moved(motions[richest], over)) ** 2).sum(axis=1))
        # a simple model is preferred until the richest one, which errs itself, clearly contradicts it
        surplus = 0.0 if model == richest else max(0.0, bias - 2.0 * variances[richest])
        richer = usable[min(number + 1, len(usable) - 1)]
        errors[model] = float(np.sqrt(variances[model] + surplus + 0.25 * variances[richer]))
    model = min(usable, key=lambda name: errors[name])
    there = moved(np.linalg.inv(so_far) @ motions[model], step.at) - step.at
    distance = first.distance(there)
    return _Solution(
        motion=motions[model],
        model=model,
        error=errors[model],
        support=float((distance < 1.0).sum()) / max(blocks.total, 1),
        scatter=float(np.median(distance)),
    )


def _halves(points: Points, side: float, count: int) -> npt.NDArray[np.bool_]:
    """(count, n) ways to part the blocks in two, neighbours together: what they share must not pass for agreement."""
    cell = (points // side).astype(int)
    names = cell[:, 0] * 1000 + cell[:, 1]
    every = np.unique(names)
    random = np.random.default_rng(0)
    parts = [np.isin(names, random.permutation(every)[: len(every) // 2]) for _ in range(count)]
    return np.array(parts)


def fit(lq: Photograph, reply: Pyramid, starts: Sequence[Matrix]) -> Fit | None:
    """The motion that brings the reply, of any size, onto the photograph.

    `starts`: matrices reply <- photograph to begin from, the one that the call itself made first; the one that ends
    best is gone on with. None: nothing fits.
    """
    first = Level(lq, reply, LEVELS[0])
    best: tuple[float, Matrix, Matrix] | None = None
    for start in starts:
        motion, likeness = np.eye(3), first.likeness(start)
        for _ in range(4):
            blocks = first.blocks(start @ first.lifted(motion))
            solution = _fit_level(first, blocks, motion, ("translation", "similarity", "affine"), ransac=True)
            if solution is None:
                break
            now = first.likeness(start @ first.lifted(solution.motion))
            if now <= likeness:
                break
            motion, likeness = solution.motion, now
        if best is None or likeness > best[0] + 0.01:
            best = (likeness, start, first.lifted(motion))
    if best is None:
        return None
    likeness, start, motion = best
    found: tuple[Level, _Solution, Matrix, Points] | None = None
    seen_at = first  # the level at which the agreement before and after is compared: not finer than 512, for speed
    for number, spec in enumerate(LEVELS[1:]):
        if number > 0 and max(lq.shape) <= LEVELS[number][0]:
            break
        level = Level(lq, reply, spec)
        solution = None
        for _ in range(1 if number == 2 else 2):
            blocks = level.blocks(start @ motion)
            solution = _fit_level(level, blocks, level.lowered(motion), tuple(MODELS), ransac=False)
            if solution is None:
                break
            motion = level.lifted(solution.motion)
        if solution is None or (found is not None and solution.error * level.unit > found[1].error * found[0].unit):
            break
        found = level, solution, motion, moved(level.up, blocks.structured)
        seen_at = level if number < 2 else seen_at
    if found is None:
        return None
    level, solution, motion, structured = found
    matrix = start @ motion / (start @ motion)[2, 2]
    agreement, improvement = improvement_from(seen_at, starts[0], matrix)
    far = moved(np.linalg.inv(starts[0]) @ matrix, structured) - structured
    return Fit(
        matrix=matrix,
        model=solution.model,
        error=solution.error * level.unit,
        support=solution.support,
        scatter=solution.scatter * level.unit,
        motion=float(np.sqrt((far**2).sum(axis=1).mean())) * 1024.0 / max(lq.shape),
        agreement=agreement,
        improvement=improvement,
    )


def improvement_from(level: Level, start: Matrix, matrix: Matrix, warp: Warp | None = None) -> tuple[float, float]:
    """Mean correlation of the cells of the frame under `matrix`, and its rise from `start` in standard errors."""
    (before, covered), (after, counts) = level.agreement(start), level.agreement(matrix, warp)
    both = covered & counts
    if both.sum() < 4:
        return 0.0, 0.0
    gained = (after - before)[both]
    # neighbouring cells are not independent: a quarter of them counts
    spread = float(np.std(gained)) / np.sqrt(len(gained) / 4.0)
    return float(after[both].mean()), float(gained.mean()) / max(spread, 1e-6)
