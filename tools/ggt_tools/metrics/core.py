"""The core metrics: what is measured on a pair with numpy and OpenCV alone.

Metrics of faithfulness compare the scene at a scale, or by a measure, that the degradation of the photograph disturbs
little. A gain is the strength of one degradation in lq minus its strength in gt: above 0 is better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.degradations import Degradations, blur_at, measure, measure_once, strong_edges
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.metrics import planes as plane_ops
from ggt_tools.metrics.colours import ColourMap, colour_map
from ggt_tools.metrics.ssim import moments, ssim_map, ssim_of_moments

VERSION = "core-4"  # raise it whenever a value may change
NAN = float("nan")
Value = TypeVar("Value")
Picture = TypeVar("Picture", Image, Plane)


@dataclass(frozen=True)
class Pair:
    """One pair, and what several metrics need of it, made once. Both uint8 RGB (height, width, 3), of one size."""

    lq: Image
    gt: Image

    @cached_property
    def grey_bytes(self) -> tuple[Image, Image]:
        """Luma, uint8."""
        cv2 = opencv()
        return cv2.cvtColor(self.lq, cv2.COLOR_RGB2GRAY), cv2.cvtColor(self.gt, cv2.COLOR_RGB2GRAY)

    @cached_property
    def grey(self) -> tuple[Plane, Plane]:
        """Luma in 0..255."""
        lq, gt = self.grey_bytes
        return lq.astype(np.float32), gt.astype(np.float32)

    @cached_property
    def small(self) -> tuple[Image, Image]:
        """At 192 px long edge."""
        return resize_to(self.lq, 192), resize_to(self.gt, 192)

    @cached_property
    def small_grey(self) -> tuple[Plane, Plane]:
        """Luma in 0..255 at 192 px long edge."""
        return to_grey(self.small[0]), to_grey(self.small[1])

    @cached_property
    def grey256(self) -> tuple[Plane, Plane]:
        """Luma in 0..255 at 256 px long edge."""
        return to_grey(resize_to(self.lq, 256)), to_grey(resize_to(self.gt, 256))

    @cached_property
    def colours(self) -> ColourMap:
        """At 192 px long edge."""
        cv2 = opencv()
        lq, gt = (np.asarray(cv2.blur(small, (3, 3)), np.float32) for small in self.small)
        return colour_map(lq, gt)

    @cached_property
    def degradations(self) -> tuple[Degradations, Degradations]:
        return measure_once(self.lq), measure(self.gt)

    @cached_property
    def _computed(self) -> dict[Callable[[Pair], Any], Any]:
        return {}

    def computed(self, compute: Callable[[Pair], Value]) -> Value:
        """compute(self), kept: for what several metrics of another module share."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        value: Value = self._computed[compute]
        return value


def structure(pair: Pair) -> float:
    """SSIM of luma at 192 px long edge, -1..1 (Wang, Bovik, Sheikh, Simoncelli, TIP 13, 2004): the same scene?"""
    return float(ssim_map(*pair.small_grey).mean())


def tile_worst(pair: Pair) -> float:
    """Agreement of structure in the worst tile, -1..1: something that is missing is missing at one place.

    The contrast and structure terms of SSIM at 256 px long edge, where noise and blur are mostly gone, after one
    gain for the whole picture; the mean of each 32 x 32 px tile by the contrast in it, the lowest of them.
    """
    lq, gt = pair.grey256
    gain = float(np.clip(gt.std() / max(float(lq.std()), 1.0), 0.25, 4.0))
    _, _, var_l, var_g, cov = moments(lq * gain, gt)
    agreement = (2 * cov + 60.0) / (var_l + var_g + 60.0)
    weight = np.sqrt(var_l + var_g) + 1.0
    cv2 = opencv()
    share = cv2.blur(agreement * weight, (32, 32)) / cv2.blur(weight, (32, 32))
    inside = share[16:-16, 16:-16] if min(share.shape) > 40 else share
    return float(inside.min())


def chroma_drift(pair: Pair) -> float:
    """Mean distance of the chromaticities (r, g) = (R, G) / (R + G + B) at 192 px long edge, free of luminance.

    0 is none. Where it is dark a hue says little: pixels count by their brightness.
    """
    shift, weight, _ = _chromaticity(pair)
    return float((np.hypot(shift[..., 0], shift[..., 1]) * weight).sum() / weight.sum())


def colour_cast(pair: Pair) -> float:
    """Length of the mean shift of chromaticity where the photograph is nearest to grey; 0 is none.

    More colour moves hues apart and leaves grey where it is; a cast moves all, grey as well. Where there is hardly any
    grey, in a meadow or a flower that fills the picture, nothing tells the two apart, and the value goes to 0.
    """
    shift, weight, distance = _chromaticity(pair)
    grey = weight * np.exp(-((distance / 0.05) ** 2))
    share = float(grey.sum() / weight.sum())
    weight = grey + 0.01 * weight
    mean = (shift * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
    return float(np.hypot(mean[0], mean[1])) * share / (share + 0.05)


def hue_turn(pair: Pair) -> float:
    """Degrees by which all hues turned; 0 where the photograph has too little colour to tell.

    Colour over brightness of gt is fitted to that of lq by a linear map and an offset (colours.py), and the map's
    rotation is taken: saturation, contrast and a veil of airlight leave it at 0.
    """
    linear, _, trust = pair.colours
    turn = np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    return float(abs(turn) * trust)


def patch_colour(pair: Pair) -> float:
    """The largest change of colour over brightness in one place, about 5 % of the long edge across, beyond what the
    whole picture's colours did: something has another colour. 0 is none.
    """
    rest = opencv().blur(pair.colours.rest.astype(np.float32), (9, 9))
    return float(np.quantile(np.hypot(rest[..., 0], rest[..., 1]), 0.995))


def colour_kept(pair: Pair) -> float:
    """Twofolds of colourfulness that gt has over lq, at 192 px: -1 is half the colour, and a grey picture far below."""
    lq, gt = (_colourfulness(small) for small in pair.small)
    return float(np.log2((gt + 0.01) / (lq + 0.01)))


def pattern(pair: Pair) -> float:
    """How far a periodic pattern stands out of gt's spectrum and not of lq's: hatching, checkerboards, seams of tiles.

    Power of luma in 128 px tiles under a Hann window, averaged (Welch, IEEE Trans. AU 15, 1967); the logarithm over
    the median of its surroundings, of gt less lq, its highest at 20 px a period or less. Detail has no such peak;
    what is periodic in the scene has it in both.
    """
    lq, gt = (plane_ops.peaks(plane) for plane in pair.grey)
    rows, columns = np.meshgrid(np.fft.fftfreq(plane_ops.WELCH), np.fft.rfftfreq(plane_ops.WELCH), indexing="ij")
    fine = np.hypot(rows, columns) > 1 / 20
    known = np.maximum(opencv().dilate(lq, np.ones((3, 3), np.uint8)), 0.0)
    return float((gt - known)[fine].max())


def unchanged(pair: Pair) -> float:
    """SSIM of luma at full resolution, its mean by the contrast that either picture has there: 1 is the same again.

    A plain mean hides in a clear sky what was sharpened at the edges.
    """
    local = moments(*pair.grey)
    weight = np.sqrt(local.variance_a + local.variance_b) + 1.0
    return float((ssim_of_moments(local) * weight).sum() / weight.sum())


def shift(pair: Pair) -> float:
    """Length of the displacement of the whole picture in pixels, by phase correlation of slopes; NaN where unsure.

    Kuglin and Hines 1975; sub-pixel by the centroid of the peak. Unsure is a peak of under a tenth of a copy's.
    """
    cv2 = opencv()
    lq, gt = (plane_ops.slopes(plane) for plane in pair.grey)
    window = cv2.createHanningWindow(lq.shape[::-1], cv2.CV_32F)
    (right, down), response = cv2.phaseCorrelate(lq, gt, window)
    return float(np.hypot(right, down)) if response >= 0.10 else NAN


def detail_kept(pair: Pair) -> float:
    """Share of the photograph's own fine structure that gt still holds, in the worse textured half; 1 is all.

    Regression of gt on lq after a band-pass of 1 to 3 px, by 32 x 32 px tiles whose structure stands out of the
    noise. Above 1: contrast or sharpness was raised. 1 where no tile has such structure: there is nothing to lose.
    """
    cv2 = opencv()
    lq, gt = (cv2.GaussianBlur(p, (0, 0), 1.0) - cv2.GaussianBlur(p, (0, 0), 3.0) for p in pair.grey)
    power, common = cv2.blur(lq * lq, (32, 32))[16::32, 16::32], cv2.blur(lq * gt, (32, 32))[16::32, 16::32]
    textured = power > (1.0 + 0.5 * pair.degradations[0].noise) ** 2
    if textured.sum() < 4:
        return 1.0
    kept = np.sort((common[textured] / power[textured]).ravel())
    return float(kept[: max(kept.size // 2, 1)].mean())


def halo(pair: Pair) -> float:
    """Grey levels by which gt overshoots its surroundings in lq next to edges, the mean of the worse twentieth.

    gt is brought to the local mean and contrast of lq first (33 px), so that light and haze do not count.
    """
    cv2 = opencv()
    lq, gt = pair.grey
    mean_l, mean_g = cv2.blur(lq, (33, 33)), cv2.blur(gt, (33, 33))
    std_l, std_g = plane_ops.std(lq, mean_l), plane_ops.std(gt, mean_g)
    level = (gt - mean_g) * np.minimum((std_l + 2.0) / (std_g + 2.0), 1.0) + mean_l
    window = np.ones((7, 7), np.uint8)
    over = np.maximum(level - cv2.dilate(lq, window), cv2.erode(lq, window) - level)
    count = (over.size + 19) // 20
    return float(np.maximum(np.partition(over.ravel(), -count)[-count:], 0.0).mean())


def sharpness_gain(pair: Pair) -> float:
    """Pixels of blur taken away at the edges that lq shows; NaN without edges."""
    cv2 = opencv()
    lq, gt = pair.grey
    where = cv2.GaussianBlur(lq, (0, 0), 1.0)
    edges = strong_edges(where)
    before, after = blur_at(lq, edges), blur_at(gt, edges)
    return float(np.median(before) - np.median(after)) if before.size >= 50 else NAN


def contrast_gain(pair: Pair) -> float:
    """Growth of local contrast at 192 px long edge, as the logarithm to 2 of its ratio: 1 is twice."""
    cv2 = opencv()
    stds = []
    for grey in pair.small_grey:
        stds.append(float(np.median(plane_ops.std(grey, cv2.blur(grey, (9, 9)), 9))) + 0.5)
    return float(np.log2(stds[1] / stds[0]))


def fault(name: str, scale: float = 1.0) -> Callable[[Pair], float]:
    """The gain in one of the measures of degradations.py: lq less gt, in the measure's unit."""

    def gain(pair: Pair) -> float:
        lq, gt = pair.degradations
        return scale * (float(getattr(lq, name)) - float(getattr(gt, name)))

    return gain


# What one unit of severity is, for each fault: a clearly visible amount (ours).
SEVERITY = {"noise": 4.0, "chroma_noise": 3.0, "blur": 1.0, "blockiness": 3.0, "haze": 0.4, "darkness": 0.3}


def quality_gain(pair: Pair) -> float:
    """Sum of all faults in lq less that in gt, each in units of a clearly visible amount. Ours.

    It adds unlike things, and serves to choose among results that are kept, not to keep one.
    """
    gains = (fault(name)(pair) / unit for name, unit in SEVERITY.items())
    return float(np.nansum(list(gains)))


CORE: dict[str, Callable[[Pair], float]] = {
    "structure": structure,
    "tile_worst": tile_worst,
    "chroma_drift": chroma_drift,
    "colour_cast": colour_cast,
    "hue_turn": hue_turn,
    "patch_colour": patch_colour,
    "colour_kept": colour_kept,
    "pattern": pattern,
    "unchanged": unchanged,
    "shift": shift,
    "detail_kept": detail_kept,
    "halo": halo,
    "noise_gain": fault("noise"),
    "chroma_noise_gain": fault("chroma_noise"),
    "blockiness_gain": fault("blockiness"),
    "haze_gain": fault("haze"),
    "light_gain": fault("darkness"),
    "sharpness_gain": sharpness_gain,
    "contrast_gain": contrast_gain,
    "quality_gain": quality_gain,
}


def _chromaticity(pair: Pair) -> tuple[Plane, Plane, Plane]:
    lq, gt = (small.astype(np.float32) for small in pair.small)
    sums = [p.sum(axis=2, keepdims=True) + 3.0 for p in (lq, gt)]
    before, after = lq[..., :2] / sums[0], gt[..., :2] / sums[1]
    weight = np.minimum(sums[0], sums[1])[..., 0] / 765.0
    distance = np.hypot(before[..., 0] - 1 / 3, before[..., 1] - 1 / 3)
    return after - before, weight, distance


def _colourfulness(small: Image) -> float:
    """Mean distance from grey, over brightness; noise of single pixels is gone."""
    light = small.astype(np.float32)
    luma = light.mean(axis=2, keepdims=True)
    return float(np.sqrt((opencv().blur((light - luma) / (luma + 24.0), (5, 5)) ** 2).sum(axis=2)).mean())


def to_grey(image: Image) -> Plane:
    """Luma in 0..255 of uint8 RGB."""
    cv2 = opencv()
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def resize_to(image: Picture, long_edge: int) -> Picture:
    """The picture, or a plane, with a long edge of so many pixels; itself where it has no more."""
    cv2 = opencv()
    scale = long_edge / max(image.shape[:2])
    if scale >= 1.0:
        return image
    small: Picture = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return small
