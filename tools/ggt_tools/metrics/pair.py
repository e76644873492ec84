"""A pair as the metrics see it, with intermediate results that several metrics or several candidates share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.degradations import Degradations, measure
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.metrics.colours import ChromaMap, fit_chroma_map

Value = TypeVar("Value")
Picture = TypeVar("Picture", Image, Plane)


class Side:
    """One image of a pair, and intermediate results of it that several metrics or several candidates share.

    Args:
        image: uint8 RGB (height, width, 3).
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self._computed: dict[Callable[[Plane], Any], Any] = {}

    @cached_property
    def grey_bytes(self) -> Image:
        """Luma, uint8 (height, width)."""
        grey: Image = opencv().cvtColor(self.image, opencv().COLOR_RGB2GRAY)
        return grey

    @cached_property
    def grey(self) -> Plane:
        """Luma, float32 (height, width), 0..255."""
        return self.grey_bytes.astype(np.float32)

    @cached_property
    def small(self) -> Image:
        """The image, uint8 RGB, reduced to a long edge of at most 192 px."""
        return resize_to(self.image, 192)

    @cached_property
    def small_grey(self) -> Plane:
        """Luma, float32 (height, width), 0..255, of the image reduced to a long edge of at most 192 px."""
        return to_grey(self.small)

    @cached_property
    def grey256(self) -> Plane:
        """Luma, float32 (height, width), 0..255, of the image reduced to a long edge of at most 256 px."""
        return to_grey(resize_to(self.image, 256))

    @cached_property
    def degradations(self) -> Degradations:
        """The measured degradations."""
        return measure(self.image)

    def compute_once(self, compute: Callable[[Plane], Value]) -> Value:
        """Return compute(self.grey), which is called once and cached."""
        if compute not in self._computed:
            self._computed[compute] = compute(self.grey)
        value: Value = self._computed[compute]
        return value


@dataclass(frozen=True)
class Pair:
    """A pair, and intermediate results that several metrics share.

    Attributes:
        lq, gt: uint8 RGB (height, width, 3), of the same size.
        lq_side: What was computed of `lq` for another candidate; None where nothing was.
    """

    lq: Image
    gt: Image
    lq_side: Side | None = None

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """Intermediate results of lq and of gt."""
        return self.lq_side or Side(self.lq), Side(self.gt)

    @property
    def grey_bytes(self) -> tuple[Image, Image]:
        """Luma of lq and gt, uint8 (height, width)."""
        return self.sides[0].grey_bytes, self.sides[1].grey_bytes

    @property
    def grey(self) -> tuple[Plane, Plane]:
        """Luma of lq and gt, float32 (height, width), 0..255."""
        return self.sides[0].grey, self.sides[1].grey

    @property
    def small(self) -> tuple[Image, Image]:
        """lq and gt with a long edge of 192 px at most."""
        return self.sides[0].small, self.sides[1].small

    @property
    def small_grey(self) -> tuple[Plane, Plane]:
        """Luma in 0..255 at 192 px long edge."""
        return self.sides[0].small_grey, self.sides[1].small_grey

    @property
    def grey256(self) -> tuple[Plane, Plane]:
        """Luma of lq and gt, each float32 (height, width), 0..255, with a long edge of at most 256 px."""
        return self.sides[0].grey256, self.sides[1].grey256

    @property
    def degradations(self) -> tuple[Degradations, Degradations]:
        """The measured degradations of lq and gt."""
        return self.sides[0].degradations, self.sides[1].degradations

    def of_each(self, compute: Callable[[Plane], Value]) -> tuple[Value, Value]:
        """Return compute(luma) of lq and of gt, each computed once and cached."""
        return self.sides[0].compute_once(compute), self.sides[1].compute_once(compute)

    @cached_property
    def colours(self) -> ChromaMap:
        """The colour map from lq to gt, fitted at 192 px long edge."""
        cv2 = opencv()
        lq, gt = (np.asarray(cv2.blur(small, (3, 3)), np.float32) for small in self.small)
        return fit_chroma_map(lq, gt)

    @cached_property
    def _computed(self) -> dict[Callable[[Pair], Any], Any]:
        return {}

    def compute_once(self, compute: Callable[[Pair], Value]) -> Value:
        """Return compute(self), which is called once and cached, for metrics of other modules."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        value: Value = self._computed[compute]
        return value


def to_grey(image: Image) -> Plane:
    """Return the luma of a uint8 RGB image: float32 (height, width), 0..255."""
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def resize_to(image: Picture, long_edge: int) -> Picture:
    """Reduce an image or a plane to a long edge of so many pixels; return it unchanged if it is not larger."""
    cv2 = opencv()
    scale = long_edge / max(image.shape[:2])
    if scale >= 1.0:
        return image
    small: Picture = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small
