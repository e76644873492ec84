"""Block matching between a photograph and a reply: independent of tones, at several sizes, with its uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.stages.align.geometry import Matrix, Points, Warp, scaling, warp_maps

# (long edge, side of a block, step, reach of the search), all in pixels of that level
LEVELS = ((128, 32, 12, 12), (256, 40, 20, 6), (512, 48, 40, 4), (1024, 64, 64, 3))
SMALLEST = 96  # pixels of the long edge: below it a fit has too few blocks to check itself by
FOUND = 0.25  # correlation from which a block counts as found, if its rival is lower by RIVAL_MARGIN
FOUND_ALONE = 0.5  # or whatever its rival is: along an edge many places are alike
RIVAL_MARGIN = 0.03
OFFSET_LEVEL = (256, 48, 24, 16)  # the level at which `offset` looks, up to 64 px at 1024 away
CLEAR = (0.5, 0.1)  # correlation of a clear match, and by how much its rival must be below it
RIVAL = 4  # pixels of a level from which another peak of the correlation is another place
AGREEMENT_CELL = 24  # pixels of a level
EDGE = 0.01  # of the long edge: what lies nearer to the border of a picture is not compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The blocks of one level and where the reply has them. Coordinates are those of the level."""

    at: Points  # (n, 2) centres
    moved: Points  # (n, 2) by how much each was found displaced
    weight: npt.NDArray[np.float64]  # (n, 2, 2) information: large where the peak is sharp, in that direction
    found: npt.NDArray[np.bool_]  # (n,) a peak that noise alone hardly makes, and not at the border of the search
    peak: npt.NDArray[np.float64]  # (n,) correlation where it is highest
    rival: npt.NDArray[np.float64]  # (n,) the highest correlation at least RIVAL pixels away from there
    structured: Points  # (total, 2) centres of all blocks that have structure in the photograph

    @property
    def total(self) -> int:
        """Blocks with structure in the photograph, whether the reply has pixels there or not."""
        return len(self.structured)


def luma_of(image: Image) -> Plane:
    """Return luma in 0..255, float32, of uint8 RGB."""
    luma: Plane = opencv().cvtColor(image, opencv().COLOR_RGB2GRAY).astype(np.float32)
    return luma


def smoothed(plane: Plane, sigma: float) -> Plane:
    """A Gaussian blur; a wide one is applied to a smaller copy, which differs little and costs much less."""
    cv2 = opencv()
    factor = 4 if sigma >= 5.0 else 1
    height, width = plane.shape
    if factor == 1 or min(height, width) < 32:
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), sigma), np.float32)
    size = (-(-width // factor), -(-height // factor))
    small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    x, y = sigma * size[0] / width, sigma * size[1] / height
    small = cv2.GaussianBlur(small, (0, 0), sigmaX=x, sigmaY=y, borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def without_edge(luma: Plane) -> Plane:
    """The picture with its outermost EDGE replaced by the pixels next to it.

    Screenshots, scans and figures have thin borders of their own, which stay in place whatever the content does.
    """
    edge = max(2, round(EDGE * max(luma.shape)))
    cv2 = opencv()
    inner = luma[edge:-edge, edge:-edge].copy()  # OpenCV would look beyond a view of it
    return np.asarray(cv2.copyMakeBorder(inner, edge, edge, edge, edge, cv2.BORDER_REPLICATE), np.float32)


def local_contrast(luma: Plane) -> Plane:
    """Luma minus the mean of its neighbourhood, divided by the contrast there: tones, haze and darkness cancel.

    Contrast below half of the picture's median contrast counts as that half, so that plain noise is not amplified.
    """
    fine = smoothed(luma, 1.0)
    detail = fine - smoothed(luma, 6.0)
    spread = np.sqrt(np.maximum(smoothed(detail * detail, 10.0), 0.0))
    return np.asarray(detail / (spread + (0.5 * float(np.median(spread[::2, ::2])) + 0.05)), np.float32)


class Pyramid:
    """Luma of a picture at any smaller scale, each made once."""

    def __init__(self, luma: Plane) -> None:
        self.luma = luma
        self._made: dict[int, Plane] = {0: luma}

    def at(self, scale: float) -> tuple[Plane, Matrix]:
        """Luma with at least `scale` pixels for a pixel, less than twice as many, and the matrix from full size."""
        steps = max(0, int(np.floor(-np.log2(max(scale, 1e-3)) + 1e-6)))
        cv2 = opencv()
        for step in range(1, steps + 1):
            if step not in self._made:
                size = (max(1, round(self.luma.shape[1] / 2**step)), max(1, round(self.luma.shape[0] / 2**step)))
                self._made[step] = cv2.resize(self.luma, size, interpolation=cv2.INTER_AREA)
        plane = self._made[steps]
        return plane, scaling(plane.shape[1] / self.luma.shape[1], plane.shape[0] / self.luma.shape[0])


class Photograph:
    """A photograph, and what was computed of it: all of its candidates are compared with the same.

    Args:
        image: uint8 RGB (height, width, 3).
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self._contrasts: dict[tuple[int, int], Plane] = {}
        self._structured: dict[tuple[int, int, int, int], npt.NDArray[np.int_]] = {}

    @cached_property
    def luma(self) -> Plane:
        """Luma in 0..255, float32."""
        return luma_of(self.image)

    @cached_property
    def _inner_luma(self) -> Plane:
        return without_edge(self.luma)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.image.shape[0], self.image.shape[1]

    def contrast(self, width: int, height: int) -> Plane:
        """Return the local contrast of the luma, without its edge, at a size."""
        if (width, height) not in self._contrasts:
            small = self._inner_luma
            if small.shape != (height, width):
                small = opencv().resize(small, (width, height), interpolation=opencv().INTER_AREA)
            self._contrasts[width, height] = local_contrast(small)
        return self._contrasts[width, height]

    def structured_blocks(self, width: int, height: int, block: int, step: int) -> npt.NDArray[np.int_]:
        """Return top and left (n, 2), at a size, of the blocks that have structure."""
        spec = width, height, block, step
        if spec not in self._structured:
            cv2, contrast = opencv(), self.contrast(width, height)
            corners = [
                (top, left)
                for top in _starts(height, block, step)
                for left in _starts(width, block, step)
                if cv2.meanStdDev(contrast[top : top + block, left : left + block])[1][0, 0] >= 0.15
            ]
            self._structured[spec] = np.array(corners, np.int_).reshape(-1, 2)
        return self._structured[spec]


class Level:
    """The photograph at one size, and the reply brought there."""

    def __init__(self, lq: Photograph, reply: Pyramid, level: tuple[int, int, int, int]) -> None:
        side, self.block, self.step, self.reach = level
        height, width = lq.shape
        scale = min(1.0, side / max(height, width))
        self.width, self.height = max(1, round(width * scale)), max(1, round(height * scale))
        self.up = scaling(width / self.width, height / self.height)  # photograph <- level
        self.unit = 1024.0 / max(self.width, self.height)  # px at 1024 for a px of the level
        self.contrast = lq.contrast(self.width, self.height)
        self.lq, self.reply = lq, reply

    def lifted(self, motion: Matrix) -> Matrix:
        """A motion in the level's pixels, in the photograph's."""
        return np.asarray(self.up @ motion @ np.linalg.inv(self.up))

    def lowered(self, motion: Matrix) -> Matrix:
        return np.asarray(np.linalg.inv(self.up) @ motion @ self.up)

    def warped(self, matrix: Matrix, margin: int, warp: Warp | None = None) -> tuple[Plane, npt.NDArray[np.bool_]]:
        """The reply's local contrast in the level's frame and `margin` pixels around it, and where there is any."""
        cv2 = opencv()
        back = matrix @ self.up @ np.array([[1.0, 0, -margin], [0, 1.0, -margin], [0, 0, 1.0]])
        density = np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) * self.up[0, 0]
        plane, down = self.reply.at(1.0 / max(float(density), 1e-3))
        size = (self.width + 2 * margin, self.height + 2 * margin)
        if warp is not None:
            x, y = warp_maps(down @ matrix @ self.up, warp, (self.height, self.width), margin)
            luma = cv2.remap(plane, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            inside = (np.minimum(x, y) > -0.5) & (x < plane.shape[1] - 0.5) & (y < plane.shape[0] - 0.5)
            return local_contrast(luma), inside
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        luma = cv2.warpPerspective(plane, down @ back, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        there = np.full(plane.shape, 255, np.uint8)
        inside = cv2.warpPerspective(there, down @ back, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) > 0
        return local_contrast(luma), inside

    def likeness(self, matrix: Matrix) -> float:
        """Correlation of local contrast, -1..1, over the whole frame: where the reply has nothing, it is unlike."""
        contrast, inside = self.warped(matrix, 0)
        other = np.where(inside, contrast, 0.0)
        norm = float(np.sqrt((self.contrast**2).sum() * (other**2).sum()))
        return float((self.contrast * other).sum()) / norm if norm > 0 else 0.0

    def agreement(
        self, matrix: Matrix, warp: Warp | None = None
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Correlation of each cell of the frame with the reply's pixels at the same place, and where it counts.

        Returns:
            (n,) correlations, -1..1, of cells of AGREEMENT_CELL pixels in a fixed order, so that two matrices can be
            compared cell by cell; and (n,) whether the reply covers the cell and the photograph has structure there.
        """
        cv2 = opencv()
        contrast, inside = self.warped(matrix, 0, warp)
        edge = max(2, AGREEMENT_CELL // 8)  # replies and figures often have a border of their own
        inside[:edge], inside[-edge:], inside[:, :edge], inside[:, -edge:] = False, False, False, False
        size = (max(1, self.width // AGREEMENT_CELL), max(1, self.height // AGREEMENT_CELL))

        def mean(plane: Plane) -> npt.NDArray[np.float64]:
            return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float64).ravel()

        mask = inside.astype(np.float32)
        lq, gt = self.contrast * mask, contrast * mask
        here, there = mean(lq * lq), mean(gt * gt)
        correlation: npt.NDArray[np.float64] = mean(lq * gt) / np.sqrt(np.maximum(here * there, 0.02**2))
        return correlation, (mean(mask) > 0.6) & (here > 0.15**2)

    def blocks(self, matrix: Matrix, warp: Warp | None = None) -> Blocks:
        """Look for each block of the photograph in the reply, as `matrix` (reply <- photograph) brings it here."""
        cv2 = opencv()
        reach = self.reach
        contrast, inside = self.warped(matrix, reach, warp)
        height, width = min(self.block, self.height) + 2 * reach, min(self.block, self.width) + 2 * reach
        structured = self.lq.structured_blocks(self.width, self.height, self.block, self.step)
        tops, lefts = structured.T
        bottoms, rights = tops + height, lefts + width
        sums = cv2.integral(inside.astype(np.uint8))
        covered = sums[bottoms, rights] - sums[tops, rights] - sums[bottoms, lefts] + sums[tops, lefts]
        kept = structured[covered > 0.8 * height * width]
        surfaces = [
            cv2.matchTemplate(
                contrast[top : top + height, left : left + width],
                self.contrast[top : top + height - 2 * reach, left : left + width - 2 * reach],
                cv2.TM_CCOEFF_NORMED,
            )
            for top, left in kept.tolist()
        ]
        stack = np.array(surfaces, np.float64).reshape(-1, 2 * reach + 1, 2 * reach + 1)
        place, weight, found, peak, rival = _peaks(stack)
        return Blocks(
            at=self._centres(kept),
            moved=place - reach,
            weight=weight,
            found=found,
            peak=peak,
            rival=rival,
            structured=self._centres(structured),
        )

    def _centres(self, corners: npt.NDArray[np.int_]) -> Points:
        """(n, 2), x before y, of blocks by their top and left."""
        size = np.array([min(self.block, self.width) - 1, min(self.block, self.height) - 1])
        centres: Points = corners[:, ::-1] + size / 2
        return centres


def _starts(size: int, block: int, step: int) -> list[int]:
    """Where blocks begin, so that they cover the side evenly."""
    if size <= block:
        return [0]
    count = max(2, round((size - block) / step) + 1)
    return [round(start) for start in np.linspace(0, size - block, count)]


def _peaks(
    surfaces: npt.NDArray[np.float64],
) -> tuple[Points, npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Each surface's peak (x, y) by a paraboloid through its 3 x 3 neighbours, its information, and whether it is one.

    `surfaces`: (n, side, side) correlations. Also returns the correlation at the peak, and the highest one that is at
    least RIVAL pixels away from it.
    """
    count, side = len(surfaces), surfaces.shape[1]
    if count == 0:
        return np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros(0, bool), np.zeros(0), np.zeros(0)
    every = np.arange(count)
    row, column = np.divmod(surfaces.reshape(count, -1).argmax(axis=1), side)
    value = surfaces[every, row, column]
    found = (value > FOUND) & (row > 0) & (row < side - 1) & (column > 0) & (column < side - 1)
    line = np.arange(side)
    away = np.maximum(abs(line[None, :, None] - row[:, None, None]), abs(line[None, None, :] - column[:, None, None]))
    rival = np.where(away >= RIVAL, surfaces, -1.0).reshape(count, -1).max(axis=1)
    inner_row, inner_column = np.clip(row, 1, side - 2), np.clip(column, 1, side - 2)
    around = np.arange(-1, 2)
    s = surfaces[
        every[:, None, None], inner_row[:, None, None] + around[:, None], inner_column[:, None, None] + around[None, :]
    ]
    slope = np.stack([(s[:, :, 2] - s[:, :, 0]).mean(axis=1) / 2, (s[:, 2] - s[:, 0]).mean(axis=1) / 2], axis=1)
    xx = (s[:, :, 2] - 2 * s[:, :, 1] + s[:, :, 0]).mean(axis=1)
    yy = (s[:, 2] - 2 * s[:, 1] + s[:, 0]).mean(axis=1)
    xy = (s[:, 2, 2] - s[:, 2, 0] - s[:, 0, 2] + s[:, 0, 0]) / 4
    values, vectors = np.linalg.eigh(-np.stack([np.stack([xx, xy], axis=1), np.stack([xy, yy], axis=1)], axis=1))
    values = np.maximum(values, 1e-4)
    along = np.einsum("nij,ni->nj", vectors, slope) / values
    step = np.clip(np.einsum("nij,nj->ni", vectors, along), -1.0, 1.0)
    information = np.einsum("nij,nj,nkj->nik", vectors, values, vectors)
    information *= (value / (1.02 - np.minimum(value, 1.0) ** 2))[:, None, None]
    found &= (value > FOUND_ALONE) | (value - rival > RIVAL_MARGIN)
    place = np.stack([column, row], axis=1) + np.where(found[:, None], step, 0.0)
    return place, np.where(found[:, None, None], information, 0.0), found, value, rival
