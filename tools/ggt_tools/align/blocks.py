"""Blocks of a photograph, looked for in a reply: tone-free, at several sizes, with how sure each place is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_tools.degradations import Plane, opencv

Matrix = npt.NDArray[np.float64]  # 3 x 3, of homogeneous (x, y, 1)
Points = npt.NDArray[np.float64]  # (n, 2)

# (long edge, side of a block, step, reach of the search), all in pixels of that level
LEVELS = ((128, 32, 12, 12), (256, 40, 20, 6), (512, 48, 40, 4), (1024, 64, 64, 3))
SMALLEST = 96  # pixels of the long edge: below it a fit has too few blocks to check itself by
FOUND = 0.25  # correlation from which a block counts as found
PLACES = 12  # the frame is judged at PLACES x PLACES points


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """What was found of the blocks of one level. Coordinates are those of the level."""

    at: Points  # centres
    moved: Points  # by how much each was found displaced
    weight: npt.NDArray[np.float64]  # (n, 2, 2) information: large where the peak is sharp, in that direction
    found: npt.NDArray[np.bool_]  # correlation above FOUND, and not at the border of the search
    total: int  # blocks with structure in the photograph


def local_contrast(luma: Plane) -> Plane:
    """Luma less its neighbourhood's mean, over the contrast there: tones, haze and darkness cancel.

    Contrast of less than half the picture's usual one counts as that: bare noise is not blown up.
    """
    cv2 = opencv()
    fine = cv2.GaussianBlur(luma, (0, 0), 1.0)
    detail = fine - cv2.GaussianBlur(luma, (0, 0), 6.0)
    spread = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 10.0))
    contrast: Plane = detail / (spread + 0.5 * float(np.median(spread)) + 0.05)
    return contrast


def scaling(x: float, y: float) -> Matrix:
    """Scales about the corner of the picture, half a pixel above and left of the first pixel's centre."""
    return np.array([[x, 0.0, 0.5 * x - 0.5], [0.0, y, 0.5 * y - 0.5], [0.0, 0.0, 1.0]])


def moved(matrix: Matrix, points: Points) -> Points:
    """Where the matrix takes points."""
    homogeneous = np.c_[points, np.ones(len(points))] @ matrix.T
    result: Points = homogeneous[:, :2] / homogeneous[:, 2:]
    return result


def places(width: int, height: int) -> Points:
    """PLACES x PLACES points over the frame, its corners included."""
    x, y = np.meshgrid(np.linspace(0, width - 1, PLACES), np.linspace(0, height - 1, PLACES))
    points: Points = np.stack([x.ravel(), y.ravel()], axis=1)
    return points


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


class Level:
    """The photograph at one size, and the reply brought there."""

    def __init__(self, lq: Plane, reply: Pyramid, level: tuple[int, int, int, int]) -> None:
        cv2 = opencv()
        side, self.block, self.step, self.reach = level
        height, width = lq.shape
        scale = min(1.0, side / max(height, width))
        self.width, self.height = max(1, round(width * scale)), max(1, round(height * scale))
        small = lq if scale == 1.0 else cv2.resize(lq, (self.width, self.height), interpolation=cv2.INTER_AREA)
        self.up = scaling(width / self.width, height / self.height)  # photograph <- level
        self.unit = 1024.0 / max(self.width, self.height)  # px at 1024 for a px of the level
        self.contrast = local_contrast(small)
        self.reply = reply

    def lifted(self, motion: Matrix) -> Matrix:
        """A motion in the level's pixels, in the photograph's."""
        return np.asarray(self.up @ motion @ np.linalg.inv(self.up))

    def lowered(self, motion: Matrix) -> Matrix:
        return np.asarray(np.linalg.inv(self.up) @ motion @ self.up)

    def warped(self, matrix: Matrix, margin: int) -> tuple[Plane, npt.NDArray[np.bool_]]:
        """The reply's local contrast in the level's frame and `margin` pixels around it, and where there is any."""
        cv2 = opencv()
        back = matrix @ self.up @ np.array([[1.0, 0, -margin], [0, 1.0, -margin], [0, 0, 1.0]])
        density = np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) * self.up[0, 0]
        plane, down = self.reply.at(1.0 / max(float(density), 1e-3))
        size = (self.width + 2 * margin, self.height + 2 * margin)
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

    def blocks(self, matrix: Matrix) -> Blocks:
        """Looks for each block of the photograph in the reply, as `matrix` (reply <- photograph) brings it here."""
        cv2 = opencv()
        reach, block = self.reach, self.block
        contrast, inside = self.warped(matrix, reach)
        at, displaced, weight, found = [], [], [], []
        total = 0
        tops, lefts = _starts(self.height, block, self.step), _starts(self.width, block, self.step)
        for top in tops:
            for left in lefts:
                template = self.contrast[top : top + block, left : left + block]
                if float(template.std()) < 0.15:
                    continue
                total += 1
                around = (slice(top, top + block + 2 * reach), slice(left, left + block + 2 * reach))
                if not inside[around].mean() > 0.8:
                    continue
                surface = cv2.matchTemplate(contrast[around], template, cv2.TM_CCOEFF_NORMED)
                peak = _peak(surface)
                at.append((left + (template.shape[1] - 1) / 2, top + (template.shape[0] - 1) / 2))
                displaced.append(peak[0] - reach)
                weight.append(peak[1])
                found.append(peak[2])
        return Blocks(
            at=np.array(at).reshape(-1, 2),
            moved=np.array(displaced).reshape(-1, 2),
            weight=np.array(weight).reshape(-1, 2, 2),
            found=np.array(found, bool),
            total=total,
        )


def _starts(size: int, block: int, step: int) -> list[int]:
    """Where blocks begin, so that they cover the side evenly."""
    if size <= block:
        return [0]
    count = max(2, round((size - block) / step) + 1)
    return [round(start) for start in np.linspace(0, size - block, count)]


def _peak(surface: Plane) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], bool]:
    """The peak's place (x, y) by a paraboloid through its 3 x 3 neighbours, its information, and whether it is one."""
    row, column = divmod(int(surface.argmax()), surface.shape[1])
    value = float(surface[row, column])
    here = np.array([column, row], np.float64)
    if not (value > FOUND and 0 < row < surface.shape[0] - 1 and 0 < column < surface.shape[1] - 1):
        return here, np.zeros((2, 2)), False
    s = surface[row - 1 : row + 2, column - 1 : column + 2].astype(np.float64)
    slope = np.array([(s[:, 2] - s[:, 0]).mean() / 2, (s[2] - s[0]).mean() / 2])
    xx, yy = (s[:, 2] - 2 * s[:, 1] + s[:, 0]).mean(), (s[2] - 2 * s[1] + s[0]).mean()
    xy = (s[2, 2] - s[2, 0] - s[0, 2] + s[0, 0]) / 4
    values, vectors = np.linalg.eigh(-np.array([[xx, xy], [xy, yy]]))
    values = np.maximum(values, 1e-4)
    step = vectors @ ((vectors.T @ slope) / values)
    information = (vectors * values) @ vectors.T * value / (1.02 - value**2)
    return here + np.clip(step, -1.0, 1.0), information, True
