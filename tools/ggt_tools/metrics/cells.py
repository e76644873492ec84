"""Measures of a pair in a grid of cells, which are inputs of the fidelity model: structure, colour, edges, grain.

Most of them change little with the degradations of a photograph: structure is compared by correlation within one band
of frequencies, colour by ratios. The network learns how to combine them (training/).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.metrics.colours import fit_chroma_map

VERSION = "cells-1"  # raise it whenever a value may change; the network must then be trained again
BLOCK = 8  # side of a JPEG block in pixels
BANDS = 5
COUNT = 3 * BANDS + 6 + 17 + 6 + 9 + 8  # maps that measure_cells returns
Maps = npt.NDArray[np.float32]


def measure_cells(lq: Image, gt: Image, toned: Image, shape: tuple[int, int]) -> Maps:
    """Measure a pair in a grid of cells.

    Args:
        lq: The photograph, uint8 RGB, 32 px or more a side.
        gt: Its restoration, of the same size.
        toned: The photograph with the tones of `gt` (tone.py), of the same size.
        shape: Number of columns and rows of cells, which are about 8 px wide and high.

    Returns:
        float32 (COUNT, rows, columns).
    """
    cv2 = opencv()
    luma = tuple(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) for image in (toned, gt))
    lq_bands, gt_bands = (_bands(plane) for plane in luma)
    maps = [*_structure(lq_bands, gt_bands, shape), *_chroma((toned, gt), shape), *_colour((lq, gt), shape)]
    half_size = tuple(cv2.pyrDown(plane) for plane in luma)
    for planes in (half_size, tuple(cv2.pyrDown(plane) for plane in half_size)):
        maps += _displacement(planes, shape)
    maps += [_overshoot(luma, shape), *(_edges(plane, shape) for plane in luma)]
    maps += [_grid(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32), shape) for image in (lq, gt)]
    maps += [*_change(luma, shape), *_steps(luma, shape)]
    for bands in (lq_bands, gt_bands):
        maps += _grain(bands, shape)
    return np.asarray(np.stack(maps), np.float32)


def _cells(plane: Plane, shape: tuple[int, int], window: int = 3) -> Plane:
    """Average a plane over each cell, and then over `window` x `window` cells."""
    cv2 = opencv()
    down = plane.shape[1] >= shape[0]
    cells = cv2.resize(plane, shape, interpolation=cv2.INTER_AREA if down else cv2.INTER_LINEAR)
    return np.asarray(cv2.blur(cells, (window, window)) if window > 1 else cells, np.float32)


def _log(plane: Plane, floor: float) -> Plane:
    return np.asarray(np.log(np.maximum(plane, 0.0) + floor), np.float32)


def _bands(plane: Plane) -> list[Plane]:
    """Return the octaves of a Laplacian pyramid (Burt, Adelson 1983), the finest first."""
    cv2 = opencv()
    bands = []
    for _ in range(BANDS):
        below = cv2.pyrDown(plane)
        bands.append(plane - cv2.pyrUp(below, dstsize=plane.shape[1::-1]))
        plane = below
    return bands


def _structure(lq: list[Plane], gt: list[Plane], shape: tuple[int, int]) -> Iterator[Plane]:
    """Yield for each octave the logarithms of 1 - correlation and of both energies."""
    for pair in zip(lq, gt, strict=True):
        of_lq, of_gt, both = (_cells(a * b, shape) for a, b in ((pair[0],) * 2, (pair[1],) * 2, pair))
        yield _log(1.0 - both / np.sqrt(of_lq * of_gt + 0.05), 0.02)
        yield _log(of_lq, 0.1)
        yield _log(of_gt, 0.1)


def _chroma(pair: tuple[Image, ...], shape: tuple[int, int]) -> Iterator[Plane]:
    """Yield the same for the two colour differences, at a quarter of the size and without their means over 60 px."""
    cv2 = opencv()
    size = pair[0].shape[1] // 4, pair[0].shape[0] // 4
    planes = []
    for image in pair:
        small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2YCrCb)
        small = small[..., 1:].astype(np.float32)
        planes.append(small - cv2.blur(small, (15, 15)))
    for channel in range(2):
        lq, gt = (np.ascontiguousarray(plane[..., channel]) for plane in planes)
        of_lq, of_gt, both = _cells(lq * lq, shape), _cells(gt * gt, shape), _cells(lq * gt, shape)
        yield _log(1.0 - both / np.sqrt(of_lq * of_gt + 0.25), 0.02)
        yield _log(of_lq, 0.5)
        yield _log(of_gt, 0.5)


def _colour(pair: tuple[Image, ...], shape: tuple[int, int]) -> Iterator[Plane]:
    """Yield mean colours, and the changes of the channels' ratios: local, relative to the whole, and of grey areas."""
    cv2 = opencv()
    means = [cv2.resize(image, shape, interpolation=cv2.INTER_AREA).astype(np.float32) for image in pair]
    for mean in means:
        yield from (np.asarray(mean[..., channel] / 128.0 - 1.0, np.float32) for channel in range(3))
    before, after = (np.log(mean + 6.0) for mean in means)
    grey = np.abs(means[0] - means[0].mean(axis=2, keepdims=True)).max(axis=2) / (means[0].mean(axis=2) + 12.0)
    near = grey <= np.quantile(grey, 0.25)
    for channel in (0, 2):
        moved = (after[..., channel] - after[..., 1]) - (before[..., channel] - before[..., 1])
        yield 4.0 * moved
        middle, of_grey = float(np.median(moved)), float(np.median(moved[near]))
        yield 4.0 * (moved - middle)
        yield np.full_like(moved, 4.0 * middle)
        yield np.full_like(moved, 4.0 * of_grey)
    yield from _colour_residuals(means)


def _colour_residuals(means: list[Plane]) -> Iterator[Plane]:
    """Yield the residual of one colour map for the whole image: red, blue, and its size over 5 x 5 cells."""
    residual = fit_chroma_map(*means).residual.astype(np.float32)
    yield 8.0 * residual[..., 0]
    yield 8.0 * residual[..., 1]
    yield _log(np.asarray(opencv().blur(np.hypot(residual[..., 0], residual[..., 1]), (5, 5)), np.float32), 0.003)


def _displacement(planes: tuple[Plane, ...], shape: tuple[int, int]) -> Iterator[Plane]:
    """Yield the displacement in each cell in pixels of this size (Lucas, Kanade 1981), and its certainty."""
    cv2 = opencv()
    lq, gt = (_normalised(plane) for plane in planes)
    middle = 0.5 * (lq + gt)
    right, down = (cv2.Sobel(middle, cv2.CV_32F, *order, scale=0.125) for order in ((1, 0), (0, 1)))
    change = gt - lq
    xx, yy, xy, xt, yt = (
        _cells(a * b, shape) for a, b in ((right, right), (down, down), (right, down), (right, change), (down, change))
    )
    keep = 0.003 + 0.02 * (xx + yy)
    xx, yy = xx + keep, yy + keep
    area = xx * yy - xy * xy
    yield np.clip((xy * yt - yy * xt) / area, -4.0, 4.0)
    yield np.clip((xy * xt - xx * yt) / area, -4.0, 4.0)
    yield _log(0.5 * (xx + yy) - np.sqrt(0.25 * (xx - yy) ** 2 + xy * xy), 1e-3)


def _normalised(plane: Plane) -> Plane:
    cv2 = opencv()
    mean = cv2.blur(plane, (17, 17))
    spread = cv2.blur(plane * plane, (17, 17)) - mean * mean
    return np.asarray((plane - mean) / np.sqrt(np.maximum(spread, 0.0) + 4.0), np.float32)


def _overshoot(luma: tuple[Plane, ...], shape: tuple[int, int]) -> Plane:
    """Return by how many grey levels gt exceeds the range of lq within 7 px, at equal local mean and contrast."""
    cv2 = opencv()
    lq, gt = luma
    mean_lq, mean_gt = cv2.blur(lq, (33, 33)), cv2.blur(gt, (33, 33))
    spread_lq = np.sqrt(np.maximum(cv2.blur(lq * lq, (33, 33)) - mean_lq**2, 0.0))
    spread_gt = np.sqrt(np.maximum(cv2.blur(gt * gt, (33, 33)) - mean_gt**2, 0.0))
    level = (gt - mean_gt) * (spread_lq + 2.0) / (spread_gt + 2.0) + mean_lq
    window = np.ones((7, 7), np.uint8)
    over = np.maximum(level - cv2.dilate(lq, window), cv2.erode(lq, window) - level)
    return _log(_cells(np.maximum(over, 0.0), shape), 0.1)


def _edges(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Return the sharpness of the sharpest edge of each cell: its slope relative to the range of levels around it."""
    cv2 = opencv()
    window = np.ones((9, 9), np.uint8)
    slope = cv2.magnitude(
        cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=0.125), cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=0.125)
    )
    level_range = cv2.dilate(plane, window) - cv2.erode(plane, window)
    return _cells(cv2.dilate(slope, window) / (level_range + 4.0), shape)


def _grid(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Return by how much steps at multiples of 8 px exceed steps within the blocks, in both directions."""
    cv2 = opencv()
    high, wide = plane.shape[0] // BLOCK, plane.shape[1] // BLOCK
    plane = plane[: high * BLOCK, : wide * BLOCK]
    across = np.abs(np.diff(plane, axis=1, prepend=plane[:, :1])).reshape(high, BLOCK, wide, BLOCK).mean(axis=1)
    along = np.abs(np.diff(plane, axis=0, prepend=plane[:1])).reshape(high, BLOCK, wide, BLOCK).mean(axis=3)
    excess = across[..., 0] - across[..., 3:6].mean(axis=-1) + along[:, 0] - along[:, 3:6].mean(axis=1)
    blocks = np.asarray(np.arcsinh(cv2.blur(excess, (3, 3))), np.float32)
    return np.asarray(cv2.resize(blocks, shape, interpolation=cv2.INTER_LINEAR), np.float32)


def _grain(bands: list[Plane], shape: tuple[int, int]) -> Iterator[Plane]:
    """Yield for two octaves the fine structure of the smoothest areas, and how sparse the fine structure is.

    Photographs have some structure everywhere. A painted image has it at edges only.
    """
    cv2 = opencv()
    for band in bands[:2]:
        fine = np.abs(band)
        smoothest = cv2.erode(cv2.blur(fine, (3, 3)), np.ones((7, 7), np.uint8))
        yield _log(_cells(smoothest, shape), 0.03)
        yield _log(_cells(fine * fine, shape), 0.02) - 2.0 * _log(_cells(fine, shape), 0.1)


def _change(luma: tuple[Plane, ...], shape: tuple[int, int]) -> Iterator[Plane]:
    """Yield the mean absolute difference, and that of the finest structure."""
    cv2 = opencv()
    difference = luma[1] - luma[0]
    yield _log(_cells(np.abs(difference), shape, 1), 0.1)
    yield _log(_cells(np.abs(difference - cv2.GaussianBlur(difference, (0, 0), 1.0)), shape), 0.05)


def _steps(luma: tuple[Plane, ...], shape: tuple[int, int]) -> Iterator[Plane]:
    """Yield steps of the difference along vertical and horizontal lines of 25 px, which are seams of tiles."""
    cv2 = opencv()
    difference = luma[1] - luma[0]
    window = np.ones((BLOCK + 1, BLOCK + 1), np.uint8)
    for line, order in (((1, 25), (1, 0)), ((25, 1), (0, 1))):
        step = np.abs(cv2.Sobel(cv2.blur(difference, line), cv2.CV_32F, *order, ksize=1))
        yield _log(_cells(cv2.dilate(step, window), shape, 1), 0.2)
