"""The core metrics, which are measured on a pair with numpy and OpenCV alone.

Metrics of faithfulness compare the scene at a scale, or by a measure, on which the degradation of the photograph has
little effect. A gain is the strength of a degradation in lq minus its strength in gt: above 0, gt is better.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.degradations import Indices, blur_at, strong_edges
from ggt_tools.imaging.planes import Plane, opencv
from ggt_tools.metrics import planes as plane_ops
from ggt_tools.metrics.pair import Pair as Pair
from ggt_tools.metrics.pair import Side as Side
from ggt_tools.metrics.pair import resize_to as resize_to
from ggt_tools.metrics.pair import to_grey as to_grey
from ggt_tools.metrics.ssim import moments, ssim_map, ssim_of_moments

VERSION = "core-4"  # raise it whenever a value may change
NAN = float("nan")


def structure(pair: Pair) -> float:
    """Measure whether both images show the same scene: SSIM of luma at 192 px long edge, -1..1.

    Wang, Bovik, Sheikh, Simoncelli, TIP 13, 2004.
    """
    return float(ssim_map(*pair.small_grey).mean())


def tile_worst(pair: Pair) -> float:
    """Measure the agreement of structure in the worst tile, -1..1: low where an object is missing.

    It uses the contrast and structure terms of SSIM at 256 px long edge, where noise and blur have little effect, after
    one gain for the whole image. The value is the lowest mean, weighted by contrast, of a 32 x 32 px tile.
    """
    lq, gt = pair.grey256
    gain = float(np.clip(gt.std() / max(float(lq.std()), 1.0), 0.25, 4.0))
    _, _, var_l, var_g, cov = moments(lq * gain, gt)
    agreement = (2 * cov + 60.0) / (var_l + var_g + 60.0)
    weight = np.sqrt(var_l + var_g) + 1.0
    cv2 = opencv()
    tile_means = cv2.blur(agreement * weight, (32, 32)) / cv2.blur(weight, (32, 32))
    inside = tile_means[16:-16, 16:-16] if min(tile_means.shape) > 40 else tile_means
    return float(inside.min())


def chroma_drift(pair: Pair) -> float:
    """Measure the mean distance of chromaticities (r, g) = (R, G) / (R + G + B) at 192 px long edge; 0 is none.

    Luminance has no effect, but pixels are weighted by brightness, because dark pixels have no reliable hue.
    """
    shift, weight, _ = _chromaticity(pair)
    return float((np.hypot(shift[..., 0], shift[..., 1]) * weight).sum() / weight.sum())


def colour_cast(pair: Pair) -> float:
    """Measure the length of the mean shift of chromaticity where the photograph is nearest to grey; 0 is none.

    More saturation keeps grey unchanged, while a cast shifts grey too. An image with hardly any grey, such as a meadow
    or a flower, does not tell the two apart, and the value goes to 0.
    """
    shift, weight, distance = _chromaticity(pair)
    grey = weight * np.exp(-((distance / 0.05) ** 2))
    share = float(grey.sum() / weight.sum())
    weight = grey + 0.01 * weight
    mean = (shift * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
    return float(np.hypot(mean[0], mean[1])) * share / (share + 0.05)


def hue_turn(pair: Pair) -> float:
    """Measure by how many degrees all hues turned; 0 for a photograph with too little colour.

    It is the rotation of the colour map from lq to gt (colours.py). Saturation, contrast and airlight leave it at 0.
    """
    linear, _, confidence = pair.colours
    turn = np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1]))
    return float(abs(turn) * confidence)


def patch_colour(pair: Pair) -> float:
    """Measure the largest local change of colour that the colour map of the whole image does not explain; 0 is none.

    It is high if an object has another colour. The area is about 5 % of the long edge wide.
    """
    residual = opencv().blur(pair.colours.residual.astype(np.float32), (9, 9))
    return float(np.quantile(np.hypot(residual[..., 0], residual[..., 1]), 0.995))


def colour_kept(pair: Pair) -> float:
    """Measure the colourfulness of gt relative to lq at 192 px as log2: -1 is half, a grey image far less."""
    lq, gt = (_colourfulness(small) for small in pair.small)
    return float(np.log2((gt + 0.01) / (lq + 0.01)))


def pattern(pair: Pair) -> float:
    """Measure periodic patterns that gt has and lq lacks: hatching, checkerboards, seams of tiles.

    The value is the highest peak of the spectrum of gt minus that of lq at periods of 20 px or less. A peak is the
    natural logarithm of power, averaged over 128 px tiles with a Hann window (Welch, IEEE Trans. AU 15, 1967), minus
    the median of its surroundings. Ordinary detail has no such peak, and a periodic object has it in both images.
    """
    lq, gt = pair.of_each(plane_ops.peaks)
    rows, columns = np.meshgrid(np.fft.fftfreq(plane_ops.WELCH), np.fft.rfftfreq(plane_ops.WELCH), indexing="ij")
    fine = np.hypot(rows, columns) > 1 / 20
    lq_peaks = np.maximum(opencv().dilate(lq, np.ones((3, 3), np.uint8)), 0.0)
    return float((gt - lq_peaks)[fine].max())


def unchanged(pair: Pair) -> float:
    """Measure whether gt equals lq: mean SSIM of luma at full resolution, weighted by contrast; 1 is unchanged.

    Without weights, a large clear sky would hide changes at the edges.
    """
    local = moments(*pair.grey)
    weight = np.sqrt(local.variance_a + local.variance_b) + 1.0
    return float((ssim_of_moments(local) * weight).sum() / weight.sum())


def shift(pair: Pair) -> float:
    """Measure the displacement of the whole image in pixels by phase correlation of slopes; NaN if uncertain.

    Kuglin and Hines 1975; sub-pixel by the centroid of the peak. A peak below a tenth of that of a copy is uncertain.
    """
    cv2 = opencv()
    lq, gt = pair.of_each(plane_ops.slopes)
    window = cv2.createHanningWindow(lq.shape[::-1], cv2.CV_32F)
    # copies, because OpenCV applies the window in place
    (right, down), response = cv2.phaseCorrelate(lq.copy(), gt.copy(), window)
    return float(np.hypot(right, down)) if response >= 0.10 else NAN


def detail_kept(pair: Pair) -> float:
    """Measure the fraction of the photograph's fine structure that gt keeps, in the worse half of the tiles; 1 is all.

    It is the regression of gt on lq after a band-pass of 1 to 3 px, in 32 x 32 px tiles whose structure exceeds the
    noise. Above 1, contrast or sharpness increased. Without such tiles it is 1.
    """
    cv2 = opencv()
    lq, gt = pair.of_each(_band_pass)
    power, common = cv2.blur(lq * lq, (32, 32))[16::32, 16::32], cv2.blur(lq * gt, (32, 32))[16::32, 16::32]
    textured = power > (1.0 + 0.5 * pair.degradations[0].noise) ** 2
    if textured.sum() < 4:
        return 1.0
    kept = np.sort((common[textured] / power[textured]).ravel())
    return float(kept[: max(kept.size // 2, 1)].mean())


def halo(pair: Pair) -> float:
    """Measure by how many grey levels gt overshoots lq next to edges, as the mean of the worst twentieth.

    gt first gets the local mean and contrast of lq (33 px), so that light and haze have no effect.
    """
    cv2 = opencv()
    lq, gt = pair.grey
    (mean_l, std_l), (mean_g, std_g) = pair.of_each(_local_mean_and_std)
    level = (gt - mean_g) * np.minimum((std_l + 2.0) / (std_g + 2.0), 1.0) + mean_l
    window = np.ones((7, 7), np.uint8)
    over = np.maximum(level - cv2.dilate(lq, window), cv2.erode(lq, window) - level)
    count = (over.size + 19) // 20
    return float(np.maximum(np.partition(over.ravel(), -count)[-count:], 0.0).mean())


def sharpness_gain(pair: Pair) -> float:
    """Measure by how many pixels the blur at edges of lq decreased; NaN without edges."""
    edges, before = pair.sides[0].compute_once(_blur_at_edges)
    after = blur_at(pair.grey[1], edges)
    return float(np.median(before) - np.median(after)) if before.size >= 50 else NAN


def _band_pass(grey: Plane) -> Plane:
    """Return structure of 1 to 3 px."""
    cv2 = opencv()
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.0) - cv2.GaussianBlur(grey, (0, 0), 3.0), np.float32)


def _local_mean_and_std(grey: Plane) -> tuple[Plane, Plane]:
    """Return the mean and the standard deviation in 33 x 33 px around each pixel."""
    mean = opencv().blur(grey, (33, 33))
    return mean, plane_ops.std(grey, mean)


def _blur_at_edges(grey: Plane) -> tuple[Indices, Plane]:
    """Return the strong edges, and the blur at each of them in pixels."""
    edges = strong_edges(opencv().GaussianBlur(grey, (0, 0), 1.0))
    return edges, blur_at(grey, edges)


def contrast_gain(pair: Pair) -> float:
    """Measure the growth of local contrast at 192 px long edge, as log2 of its ratio: 1 is twice."""
    cv2 = opencv()
    stds = []
    for grey in pair.small_grey:
        stds.append(float(np.median(plane_ops.std(grey, cv2.blur(grey, (9, 9)), 9))) + 0.5)
    return float(np.log2(stds[1] / stds[0]))


def degradation_gain(name: str, scale: float = 1.0) -> Callable[[Pair], float]:
    """Return a metric: a degradation of lq minus that of gt, in its unit in imaging/degradations.py, times `scale`."""

    def gain(pair: Pair) -> float:
        lq, gt = pair.degradations
        return scale * (float(getattr(lq, name)) - float(getattr(gt, name)))

    return gain


# a clearly visible amount of each degradation, by which quality_gain divides it (ours)
SEVERITY = {"noise": 4.0, "chroma_noise": 3.0, "blur": 1.0, "blockiness": 3.0, "haze": 0.4, "darkness": 0.3}


def quality_gain(pair: Pair) -> float:
    """Sum the degradations of lq minus those of gt, each in units of a clearly visible amount (ours).

    It adds different quantities. It serves to choose among accepted results, not to accept one.
    """
    gains = (degradation_gain(name)(pair) / unit for name, unit in SEVERITY.items())
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
    "noise_gain": degradation_gain("noise"),
    "chroma_noise_gain": degradation_gain("chroma_noise"),
    "blockiness_gain": degradation_gain("blockiness"),
    "haze_gain": degradation_gain("haze"),
    "light_gain": degradation_gain("darkness"),
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
    """Return the mean distance from grey relative to brightness, without the noise of single pixels."""
    light = small.astype(np.float32)
    luma = light.mean(axis=2, keepdims=True)
    return float(np.sqrt((opencv().blur((light - luma) / (luma + 24.0), (5, 5)) ** 2).sum(axis=2)).mean())
