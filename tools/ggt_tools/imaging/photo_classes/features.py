"""Describe a photograph by numbers: statistics of a pretrained network's maps, and the measures of degradations.py.

The network gets the whole photograph at a small size, and up to five tiles of it at a larger size: darkness, haze and
water show in the whole, and rain, grain and blur show in the tiles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.degradations import measure
from ggt_tools.imaging.planes import opencv

BACKBONE = Path(__file__).with_name("features.onnx")
BACKBONE_SHA256 = "c7aff1c3b630bb6ef15496627ed1c56cd4efe65f6b9f8452210f2b62f3d67d13"
CHANNELS = 1024  # of the network: means and standard deviations of 16 + 24 + 40 + 112 + 320 maps
TILE_CHANNELS = (
    384  # the first of them, up to stride 16: later ones describe objects, which say nothing about degradations
)
SIDE = 224  # pixels: the short side of the whole, and each side of a tile
LONG_SIDE = 640  # pixels: larger photographs are reduced to it before tiles are cut
MEASURED_SIDE = 320  # pixels: the long side at which the measures are taken
ASPECT = 2.0  # longest side of the whole in short sides; a longer photograph is cut off at both ends
MEASURES = 24
SIZE = CHANNELS + 2 * TILE_CHANNELS + MEASURES

Vector = npt.NDArray[np.float32]


def describe(image: Image) -> Vector:
    """Compute the SIZE features of a photograph.

    Args:
        image: uint8 RGB (height, width, 3), at least 32 px on each side.

    Raises:
        PairError: `too_small`.
        ConfigError: onnxruntime or OpenCV is not installed, or the network's file is missing or another one.
    """
    working = _reduced(image)
    whole = _statistics(_whole(working)[None])[0]
    tiles = _statistics(np.stack(_tiles(working)))[:, :TILE_CHANNELS]
    return np.concatenate([whole, tiles.mean(axis=0), tiles.max(axis=0), _measures(working)]).astype(np.float32)


def backbone_missing(find: Callable[[str], object] = find_spec) -> str:
    """Return why describe() cannot run here, "" if it can, without loading anything.

    Args:
        find: Returns None for a module that is not installed.
    """
    if find("onnxruntime") is None:
        return "onnxruntime is not installed. Install it: pip install 'ggt100k[generate]'"
    return "" if BACKBONE.is_file() else f"{BACKBONE.name} is missing. Install ggt100k again."


def _reduced(image: Image) -> Image:
    cv2 = opencv()
    height, width = image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    scale = max(scale, SIDE / min(height, width))
    if scale == 1.0:
        return image
    size = max(SIDE, round(width * scale)), max(SIDE, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def _whole(image: Image) -> Image:
    """Return the photograph with a short side of SIDE and a long side that is a multiple of 32."""
    cv2 = opencv()
    height, width = image.shape[:2]
    max_side = int(ASPECT * min(height, width))
    top, left = max(0, height - max_side) // 2, max(0, width - max_side) // 2
    cut = image[top : top + max_side, left : left + max_side]
    scale = SIDE / min(cut.shape[:2])
    size = tuple(max(SIDE, round(side * scale / 32) * 32) for side in (cut.shape[1], cut.shape[0]))
    return np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), np.uint8)


def _tiles(image: Image) -> list[Image]:
    """Return tiles at the corners and in the middle; those that differ by less than a quarter of a tile are one."""
    spare_y, spare_x = image.shape[0] - SIDE, image.shape[1] - SIDE
    rows = (0, spare_y) if spare_y >= SIDE // 4 else (spare_y // 2,)
    columns = (0, spare_x) if spare_x >= SIDE // 4 else (spare_x // 2,)
    corners = [(y, x) for y in rows for x in columns]
    if len(corners) > 1:
        corners.append((spare_y // 2, spare_x // 2))
    return [image[y : y + SIDE, x : x + SIDE] for y, x in corners]


def _measures(image: Image) -> Vector:
    """Return the values of degradations.py, and level, spread and range of brightness and colour, at a small size."""
    cv2 = opencv()
    scale = min(1.0, max(MEASURED_SIDE / max(image.shape[:2]), 64 / min(image.shape[:2])))
    small = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    d = measure(small)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32).reshape(-1, 3)
    low, middle, high = np.percentile(lab, (2, 50, 98), axis=0)
    chroma = np.hypot(lab[:, 1] - 128, lab[:, 2] - 128)
    values = np.array(
        [
            d.haze, d.darkness, np.log1p(d.noise), np.log1p(d.chroma_noise), np.log1p(d.blur), np.log1p(d.blockiness),
            d.fading, np.log1p(d.grain), d.monochrome, d.warmth / 10, d.night,
            *(low / 32), *(middle / 32), *(high / 32), *(lab.std(axis=0) / 16), chroma.mean() / 16,
        ]
    )  # fmt: skip
    return np.asarray(np.nan_to_num(values, nan=-1.0), np.float32)


def _statistics(images: Image) -> Vector:
    """Return the network's statistics of several pictures of one size, uint8 (n, height, width, 3)."""
    batch = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32)
    return np.asarray(_session().run(None, {"image": batch})[0], np.float32)


@cache
def _session() -> Any:
    if reason := backbone_missing():
        raise ConfigError(f"the classifier of photographs: {reason}")
    import onnxruntime

    content = BACKBONE.read_bytes()
    if hashlib.sha256(content).hexdigest() != BACKBONE_SHA256:
        raise ConfigError(f"{BACKBONE}: its SHA-256 is not the one that this version expects. Install ggt100k again.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
