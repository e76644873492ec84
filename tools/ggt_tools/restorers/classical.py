"""A restorer without a model: steps of image processing, which are chosen and tuned by the measured degradations.

The steps are, in order: deblock, dehaze, relight, denoise, deblur. A photograph without measured degradations is
returned unchanged, and the gate then rejects it as unchanged. No step adds content that the photograph does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.degradations import classify, measure
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.providers.protocol import Restored

Colour = npt.NDArray[np.float32]  # (height, width, 3), RGB in 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Classical:
    """The restorer. It is deterministic: prompt and seed have no effect."""

    name: str = "classical"
    model: str = "classical-1"
    version: str = "1"
    is_remote: bool = False
    needs_square: bool = False
    takes_prompt: bool = False

    def restore(self, image: Image, prompt: str, *, seed: int) -> Restored:
        """Restore a photograph, uint8 RGB (height, width, 3).

        Raises:
            PairError: A side is shorter than 32 px.
            ConfigError: OpenCV is not installed.
        """
        d = measure(image)
        kind, _ = classify(d)
        result = image
        if d.blockiness >= 0.8:
            result = deblock(result, quality=int(np.clip(92 - 12 * d.blockiness, 50, 85)))
        if kind == "haze":
            result = dehaze(result, strength=min(0.85, 1.5 * d.haze))
        if d.darkness >= 0.12:
            result = relight(result, darkness=d.darkness)
        if kind == "haze" or d.darkness >= 0.12 or max(d.noise, d.chroma_noise) >= 0.5:
            result = denoise(result, before=image)
        if d.blur >= 0.5:
            result = deblur(result, blur=d.blur)
        return Restored(image=result)


def deblock(image: Image, *, quality: int) -> Image:
    """Compress again on 16 shifted grids and average (Nosratinia, Journal of VLSI Signal Processing 27, 2001).

    Blocks and ringing depend on the position of the grid, so the average removes them and keeps everything else.

    Args:
        image: uint8 RGB (height, width, 3).
        quality: Quality of the JPEG, 1..100: a lower one smooths more.
    """
    cv2 = opencv()
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, 8, 8, 8, 8, cv2.BORDER_REFLECT_101)
    total = np.zeros(image.shape, np.float32)
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    for down in range(0, 8, 2):
        for right in range(0, 8, 2):
            view = np.ascontiguousarray(padded[down:, right:])
            decoded = cv2.imdecode(cv2.imencode(".jpg", view, flags)[1], cv2.IMREAD_COLOR)
            total += decoded[8 - down : 8 - down + height, 8 - right : 8 - right + width]
    return np.asarray(np.rint(total / 16), np.uint8)


def denoise(image: Image, *, before: Image) -> Image:
    """Apply non-local means (Buades, Coll, Morel, CVPR 2005) to luma, and more strongly to colour at half resolution.

    The strength follows the measured noise. It is higher where an earlier step brightened the image, and so increased
    its noise. A fifth of what is removed from luma is added back, since a picture without any noise looks like plastic.

    Args:
        image: uint8 RGB (height, width, 3).
        before: The photograph before the earlier steps.
    """
    cv2 = opencv()
    height, width = image.shape[:2]
    measured = measure(image)
    luma, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    old = cv2.GaussianBlur(cv2.cvtColor(before, cv2.COLOR_RGB2GRAY), (0, 0), 4.0).astype(np.float32)
    brightening = (cv2.GaussianBlur(luma, (0, 0), 4.0).astype(np.float32) + 4.0) / (old + 4.0)
    weight = np.clip((brightening - 1.2) / 1.0, 0.0, 1.0)
    light = _means(luma, 1.0 + 1.1 * measured.noise)
    strong = _means(luma, 3.0 + 2.5 * measured.noise)
    clean = light * (1.0 - weight) + strong * weight
    planes = [np.asarray(np.rint(0.8 * clean + 0.2 * luma), np.uint8)]
    for plane in (cr, cb):
        half = cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        light, strong = _means(half, 2.0 + 2.0 * measured.chroma_noise), _means(half, 5.0 + 4.0 * measured.chroma_noise)
        share = cv2.resize(weight, half.shape[::-1], interpolation=cv2.INTER_AREA)
        half = np.asarray(np.rint(light * (1.0 - share) + strong * share), np.uint8)
        planes.append(cv2.resize(half, (width, height), interpolation=cv2.INTER_CUBIC))
    result: Image = cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2RGB)
    return result


def _means(plane: Image, strength: float) -> Plane:
    clean = opencv().fastNlMeansDenoising(plane, None, h=strength, templateWindowSize=5, searchWindowSize=15)
    return np.asarray(clean, np.float32)


def dehaze(image: Image, *, strength: float) -> Image:
    """Remove the airlight by the dark channel prior (He, Sun, Tang, CVPR 2009), refined by the guided filter.

    Air scatters blue light, so the airlight is grey or blue. It is as blue as the local minima in thick haze, since
    distant objects are bluer than the sky. Half of the darkening that results is undone.

    Args:
        image: uint8 RGB (height, width, 3).
        strength: Share of the haze to remove, 0..1.
    """
    cv2 = opencv()
    colour: Colour = image.astype(np.float32) / 255.0
    window = np.ones((15, 15), np.uint8)
    lowest = cv2.erode(colour, window)
    dark = lowest.min(axis=2)
    level = float(colour[dark >= np.quantile(dark, 0.999)].max())
    thick = (dark >= np.median(dark)) & (lowest.max(axis=2) < 0.9 * level)
    red, _, blue = lowest[thick].mean(axis=0) if thick.any() else (1.0, 1.0, 1.0)
    blueness = float(np.clip(1.0 - red / max(float(blue), 1e-3), 0.0, 0.2))
    airlight = level * np.array([1.0 - blueness, 1.0 - 0.5 * blueness, 1.0], np.float32)
    veil = cv2.erode((colour / airlight).min(axis=2), window)
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    through = np.clip(guided(grey, 1.0 - strength * veil, radius=40, smooth=1e-3), 0.3, 1.0)[..., None]
    clear: Colour = np.clip((colour - airlight) / through + airlight, 0.0, 1.0).astype(np.float32)
    gamma = float(np.clip(np.log(grey.mean()) / np.log(max(float(clear.mean()), 0.05)), 0.4, 1.0))
    return _bytes(clear ** (0.5 + 0.5 * gamma))


def relight(image: Image, *, darkness: float) -> Image:
    """Brighten dark areas and keep bright ones (after LIME: Guo, Li, Ling, TIP 26, 2017).

    The illumination is the brightest channel, smoothed along edges, and is raised by a gamma. All channels of a pixel
    are multiplied by the same factor, so colours stay the same. The factor is bounded, so that night stays night.

    Args:
        image: uint8 RGB (height, width, 3).
        darkness: The measured darkness, 0..1.
    """
    cv2 = opencv()
    colour: Colour = image.astype(np.float32) / 255.0
    bright = colour.max(axis=2)
    light = np.clip(guided(bright, cv2.blur(bright, (15, 15)), radius=15, smooth=1e-2), 0.02, 1.0)
    gamma = float(np.clip(1.0 - 1.6 * (darkness - 0.03), 0.5, 1.0))
    toe = np.clip((light - 0.02) / 0.13, 0.0, 1.0)  # black stays black, since it contains only noise
    factor = 1.0 + toe * (np.minimum(light ** (gamma - 1.0), 3.0) - 1.0)
    factor = np.minimum(factor, np.maximum(1.0 / np.maximum(bright, 1e-3), 1.0))
    return _bytes(colour * factor[..., None])


def deblur(image: Image, *, blur: float) -> Image:
    """Undo a Gaussian blur of luma (Richardson 1972, Lucy 1974) where there is more structure than noise.

    Each pixel stays near the range of its 5 x 5 neighbours, which prevents halos.

    Args:
        image: uint8 RGB (height, width, 3).
        blur: The measured blur in pixels.
    """
    cv2 = opencv()
    ycc = cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_RGB2YCrCb)
    luma = np.ascontiguousarray(ycc[..., 0])
    sigma = min(blur, 2.5)
    estimate = luma
    for _ in range(20):
        ratio = luma / np.maximum(cv2.GaussianBlur(estimate, (0, 0), sigma), 1e-3)
        estimate = estimate * cv2.GaussianBlur(ratio, (0, 0), sigma)
    window = np.ones((5, 5), np.uint8)
    slack = 0.02
    estimate = np.clip(estimate, cv2.erode(luma, window) - slack, cv2.dilate(luma, window) + slack)
    mean = cv2.blur(luma, (7, 7))
    spread = np.maximum(cv2.blur(luma * luma, (7, 7)) - mean * mean, 0.0)
    flat = float(np.quantile(spread, 0.2)) + (1.5 / 255.0) ** 2
    trust = spread**2 / (spread**2 + (3.0 * flat) ** 2)
    ycc[..., 0] = luma + cv2.blur(trust, (5, 5)) * (estimate - luma)
    return _bytes(cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB))


def guided(guide: Plane, plane: Plane, *, radius: int, smooth: float) -> Plane:
    """Smooth `plane`, but not across edges of `guide` (guided filter: He, Sun, Tang, ECCV 2010).

    Args:
        guide, plane: (height, width), 0..1.
        radius: Radius of the window in pixels.
        smooth: Variance of `guide` below which an area is smoothed.
    """
    cv2 = opencv()
    window = (2 * radius + 1, 2 * radius + 1)
    mean_g, mean_p = cv2.blur(guide, window), cv2.blur(plane, window)
    slope = (cv2.blur(guide * plane, window) - mean_g * mean_p) / (
        cv2.blur(guide * guide, window) - mean_g * mean_g + smooth
    )
    offset = mean_p - slope * mean_g
    result: Plane = cv2.blur(slope, window) * guide + cv2.blur(offset, window)
    return result


def _bytes(colour: Colour) -> Image:
    return np.asarray(np.rint(np.clip(colour, 0.0, 1.0) * 255.0), np.uint8)
