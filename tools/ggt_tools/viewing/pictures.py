"""The pictures of pairs: thumbnails made of a few bands or of the whole images, and the images as they are stored."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ggt_format.errors import ShardError
from ggt_format.pairs import PairDataset
from ggt_format.png import BAND_ROWS
from ggt_format.roots import Root

DETAIL = 192  # pixels of a detail's side
SIDE = 240  # pixels that a side of a thumbnail has at least, where the image has as many
SEAM = 2  # pixels between both images of a thumbnail
CACHED = 1500  # thumbnails that are kept in memory: about 40 MB
QUALITY = 82
KINDS = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg"}  # by how a file begins

Pixels = npt.NDArray[np.uint8]


class Pictures:
    """The pictures of a release. Its methods may be called from several threads.

    Args:
        root: The release.
        opening: Is held while columns of the index are opened; see `Catalogue`.
    """

    def __init__(self, root: Root, opening: AbstractContextManager[Any]) -> None:
        self._root, self._opening = root, opening
        self._dataset = lru_cache(maxsize=16)(self._open)
        self.thumbnail = lru_cache(maxsize=CACHED)(self._thumbnail)

    def _open(self, split: str, mode: str) -> PairDataset:
        """Open a split to read details, whole images, or stored bytes."""
        options: dict[str, Any] = {"storage_options": self._root.storage_options, "threads": 1}
        if mode == "detail":
            options |= {"crop": _middle, "columns": ["width", "height", "band_rows"]}
        with self._opening:
            return PairDataset(self._root.url, split, decode=mode != "stored", **options)

    def _thumbnail(self, split: str, row: int, mode: str) -> bytes:
        """Return a JPEG with both images of a pair side by side.

        Args:
            split: Split of the pair.
            row: Number of the pair.
            mode: "whole", or "detail" for the middle at full size, of which only the bands it touches are read.

        Raises:
            ShardError: The pair is damaged.
        """
        pair = self._dataset(split, mode)[row]
        lq, gt = (_reduced(pair[side]) for side in ("lq", "gt"))
        if lq.size != gt.size:
            gt = gt.resize(lq.size)
        strip = Image.new("RGB", (2 * lq.width + SEAM, lq.height), "white")
        strip.paste(lq, (0, 0))
        strip.paste(gt, (lq.width + SEAM, 0))
        file = io.BytesIO()
        strip.save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    def image(self, split: str, row: int, side: str) -> tuple[bytes, str]:
        """Return an image as it is stored, and its media type.

        Raises:
            ShardError: The pair is damaged.
        """
        pair = self._dataset(split, "stored")[row]
        data = bytes(pair[side])
        kind = next((kind for start, kind in KINDS.items() if data.startswith(start)), "")
        if not kind:
            raise ShardError(f"key {pair['key']}: {side} is neither a PNG nor a JPEG. Fetch the shard again.")
        return data, kind


def _middle(row: Mapping[str, Any], random: np.random.Generator) -> tuple[int, int, int, int]:
    """Return the window of a detail: the middle, from the start of a band."""
    height, width = min(DETAIL, row["height"]), min(DETAIL, row["width"])
    top = (row["height"] - height) // 2
    return top - top % (row["band_rows"] or BAND_ROWS), (row["width"] - width) // 2, height, width


def _reduced(pixels: Pixels) -> Image.Image:
    """Return an image made smaller by a whole factor, by means over blocks."""
    image = Image.fromarray(pixels)
    factor = max(1, min(image.size) // SIDE)
    return image.reduce(factor) if factor > 1 else image
