"""Motions of a frame: 3 x 3 matrices, and smooth warps on top of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_tools.imaging.planes import Plane

Matrix = npt.NDArray[np.float64]  # 3 x 3, of homogeneous (x, y, 1)
Points = npt.NDArray[np.float64]  # (n, 2)
Floats = npt.NDArray[np.float64]  # of any shape
PLACES = 12  # the frame is judged at PLACES x PLACES points
SAMPLES = 48  # a warp's size and stretch are the largest of SAMPLES x SAMPLES points


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


def spline_weights(x: Floats, cells: int, derivative: bool = False) -> Floats:
    """(n, cells + 3) cubic B-splines, or their derivatives, at x in 0..cells; outside, those of the nearest end."""
    x = np.clip(x, 0.0, cells)
    cell = np.minimum(x.astype(int), cells - 1)
    t = x - cell
    if derivative:
        parts = [-3 * (1 - t) ** 2, 9 * t**2 - 12 * t, -9 * t**2 + 6 * t + 3, 3 * t**2]
    else:
        parts = [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]
    weights = np.zeros((len(x), cells + 3))
    for number, part in enumerate(parts):
        weights[np.arange(len(x)), cell + number] = part / 6.0
    return weights


def spline_basis(points: Points, shape: tuple[int, int], rows: int, columns: int) -> Floats:
    """(n, rows * columns) weights of a grid of coefficients that covers a picture of this height and width."""
    height, width = shape
    across = spline_weights((points[:, 0] + 0.5) / width * (columns - 3), columns - 3)
    down = spline_weights((points[:, 1] + 0.5) / height * (rows - 3), rows - 3)
    return np.asarray((down[:, :, None] * across[:, None, :]).reshape(len(points), -1))


@dataclass(frozen=True, slots=True)
class Warp:
    """A smooth displacement over the photograph: at p it shows what the motion alone has at p + displacement(p)."""

    coefficients: Floats  # (rows, columns, 2) of cubic B-splines, as shares of the long edge, x before y

    @classmethod
    def from_numbers(cls, numbers: Sequence[float]) -> Warp:
        """The warp that these numbers stand for, as `numbers` has them."""
        rows, columns = int(numbers[0]), int(numbers[1])
        return cls(np.array(numbers[2:], np.float64).reshape(rows, columns, 2))

    @property
    def numbers(self) -> tuple[float, ...]:
        """Rows, columns, and the coefficients row by row, x before y."""
        rows, columns, _ = self.coefficients.shape
        return (float(rows), float(columns), *map(float, self.coefficients.ravel()))

    def displacement(self, points: Points, shape: tuple[int, int]) -> Points:
        """(n, 2) at points of a picture of this height and width, in its pixels."""
        rows, columns, _ = self.coefficients.shape
        basis = spline_basis(points, shape, rows, columns)
        return np.asarray(basis @ self.coefficients.reshape(-1, 2) * max(shape))

    def dense(self, shape: tuple[int, int], margin: int = 0) -> Floats:
        """(height + 2 margin, width + 2 margin, 2), at every pixel of a picture and around it, in its pixels."""
        rows, columns, _ = self.coefficients.shape
        height, width = shape
        across = spline_weights((np.arange(-margin, width + margin) + 0.5) / width * (columns - 3), columns - 3)
        down = spline_weights((np.arange(-margin, height + margin) + 0.5) / height * (rows - 3), rows - 3)
        parts = [down @ self.coefficients[..., part] @ across.T for part in range(2)]
        return np.moveaxis(np.stack(parts) * max(shape), 0, 2)  # each part lies in one piece

    @property
    def size(self) -> float:
        """The largest displacement, as a share of the long edge."""
        return float(np.linalg.norm(self.dense((SAMPLES, SAMPLES)), axis=2).max()) / SAMPLES

    def stretch(self, shape: tuple[int, int]) -> float:
        """The largest norm of the field's derivative: by how much it changes a length, or an angle in radians."""
        rows, columns, _ = self.coefficients.shape
        across, down = ((np.arange(SAMPLES) + 0.5) / SAMPLES * (count - 3) for count in (columns, rows))
        flat = spline_weights(across, columns - 3), spline_weights(down, rows - 3)
        long = max(shape)
        slope = (
            spline_weights(across, columns - 3, derivative=True) * ((columns - 3) * long / shape[1]),
            spline_weights(down, rows - 3, derivative=True) * ((rows - 3) * long / shape[0]),
        )
        field = [self.coefficients[..., part] for part in range(2)]
        derivative = [[flat[1] @ part @ slope[0].T, slope[1] @ part @ flat[0].T] for part in field]
        return float(np.linalg.norm(np.moveaxis(np.array(derivative), (0, 1), (2, 3)), 2, axis=(2, 3)).max())


def warp_maps(matrix: Matrix, warp: Warp, shape: tuple[int, int], margin: int = 0) -> tuple[Plane, Plane]:
    """x and y in the reply, float32, of every pixel of a picture and `margin` around it. `matrix`: reply <- picture."""
    height, width = shape
    field = warp.dense(shape, margin)
    x = np.arange(-margin, width + margin) + field[..., 0]
    y = np.arange(-margin, height + margin)[:, None] + field[..., 1]
    (a, b, c), (d, e, f), (g, h, i) = matrix
    x_map, y_map = a * x + b * y + c, d * x + e * y + f
    if (g, h, i) != (0.0, 0.0, 1.0):
        depth = g * x + h * y + i
        x_map /= depth
        y_map /= depth
    return x_map.astype(np.float32), y_map.astype(np.float32)
