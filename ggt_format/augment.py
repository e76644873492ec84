"""Flips and rotations that are the same for the LQ image and the GT image of a pair."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Orientation:
    """One of the eight orientations of an image: flips first, then an exchange of rows and columns.

    Attributes:
        is_mirrored: Left and right are exchanged.
        is_upside_down: Top and bottom are exchanged.
        is_transposed: Rows and columns are exchanged.
    """

    is_mirrored: bool = False
    is_upside_down: bool = False
    is_transposed: bool = False

    def apply(self, pixels: Pixels) -> Pixels:
        """Return an image (height, width, 3) in this orientation, as a contiguous copy.

        Args:
            pixels: uint8, height x width x 3.
        """
        rows = slice(None, None, -1 if self.is_upside_down else 1)
        columns = slice(None, None, -1 if self.is_mirrored else 1)
        flipped = pixels[rows, columns]
        return np.ascontiguousarray(flipped.transpose(1, 0, 2) if self.is_transposed else flipped)


def draw_orientation(use_hflip: bool, use_rot: bool) -> Orientation:
    """Draw an orientation from Python's `random`, as `basicsr.data.transforms.augment` does.

    Args:
        use_hflip: Exchange left and right with probability 0.5.
        use_rot: Exchange top and bottom, and rows and columns, each with probability 0.5. Together with `use_hflip`
            all flips and all rotations by multiples of 90 degrees are equally probable.
    """
    return Orientation(
        is_mirrored=use_hflip and random.random() < 0.5,
        is_upside_down=use_rot and random.random() < 0.5,
        is_transposed=use_rot and random.random() < 0.5,
    )
