"""The global change of tone and colour by a restoration: a monotone curve for each channel, and one saturation.

    tone = fit_tone(lq, gt)
    toned = tone.apply(lq)  # the photograph with the tones of its restoration

A gamma, a white balance, more contrast or less haze changes the whole image alike. The fidelity model reads `toned`
instead of the photograph, so that it does not take such changes for changed content. `Tone.facts` describes the
change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv

Values = npt.NDArray[np.float64]
VERSION = "tone-1"  # raise it whenever a value may change
LONG_EDGE = 128  # px of the long edge at which the curves are fitted
BINS = 24  # bins of equal numbers of pixels
LEVELS = np.arange(256, dtype=np.float32)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FACTS = 3 * len(QUANTILES) + len(QUANTILES) + 9  # number of values in Tone.facts


@dataclass(frozen=True, slots=True)
class Tone:
    """A fitted change of tone.

    Attributes:
        curves: float32 (3, 256), the output level of each input level.
        saturation: Factor of the colour differences.
        facts: float32 (FACTS,), about -3..3: the gain of each channel at five quantiles of the photograph's levels
            (natural logarithm), the gain of luma at them, the saturation, the variance of luma and colour differences
            that curves and saturation do not explain, and the colourfulness, brightness and contrast of both images.
    """

    curves: npt.NDArray[np.float32]
    saturation: float
    facts: npt.NDArray[np.float32]

    def apply(self, image: Image) -> Image:
        """Apply curves and saturation to an image, uint8 RGB (height, width, 3)."""
        cv2 = opencv()
        table = np.rint(np.clip(self.curves.T, 0, 255)).astype(np.uint8)[None]
        toned = cv2.LUT(np.ascontiguousarray(image), table)
        if abs(self.saturation - 1.0) < 0.02:
            return np.asarray(toned, np.uint8)
        luma = np.array([0.299, 0.587, 0.114], np.float32)
        mix = self.saturation * np.eye(3, dtype=np.float32) + (1.0 - self.saturation) * luma[None]
        return np.asarray(cv2.transform(toned, mix.astype(np.float32)), np.uint8)


def fit_tone(lq: Image, gt: Image) -> Tone:
    """Fit curves and saturation that bring `lq` nearest to `gt`.

    Both images are reduced and blurred first, so that noise and fine detail have no effect. Each curve passes through
    the medians of gt in bins of lq, made monotone by pooling adjacent violators (Barlow et al., 1972).

    Args:
        lq, gt: uint8 RGB (height, width, 3), of the same size.
    """
    small_lq, small_gt = (_small(image) for image in (lq, gt))
    curves = np.stack([_curve(small_lq[..., c].ravel(), small_gt[..., c].ravel()) for c in range(3)])
    toned = np.stack([np.interp(small_lq[..., c], LEVELS, curves[c]) for c in range(3)], -1)
    luma_weights = np.array([0.299, 0.587, 0.114])
    luma_toned, luma_gt = toned @ luma_weights, small_gt @ luma_weights
    chroma_toned, chroma_gt = toned - luma_toned[..., None], small_gt - luma_gt[..., None]
    chroma_toned_spread = chroma_toned - chroma_toned.mean(axis=(0, 1))
    chroma_gt_spread = chroma_gt - chroma_gt.mean(axis=(0, 1))
    power = float((chroma_toned_spread**2).sum())
    saturation = float((chroma_toned_spread * chroma_gt_spread).sum()) / (power + 4.0 * chroma_toned.size / 3.0)
    saturation = float(np.clip(saturation + 4.0 / (4.0 + 3.0 * power / chroma_toned.size), 0.5, 2.2))
    final = luma_toned[..., None] + saturation * chroma_toned
    chroma_final = final - (final @ luma_weights)[..., None]

    levels = np.quantile(small_lq @ luma_weights, QUANTILES)
    luma_curve = np.interp(levels, LEVELS, curves.T @ luma_weights)
    gains = [np.log((np.interp(levels, LEVELS, curve) + 8.0) / (luma_curve + 8.0)) for curve in curves]
    facts = np.concatenate(
        [
            *(4.0 * gain for gain in gains),
            np.log((luma_curve + 8.0) / (levels + 8.0)),
            [
                2.0 * np.log(saturation),
                4.0 * _unexplained(luma_gt, luma_toned, 20.0),
                4.0 * _unexplained(chroma_gt, chroma_final, 6.0),
                _log_rms(small_lq - (small_lq @ luma_weights)[..., None]),
                _log_rms(chroma_gt),
                (small_lq @ luma_weights).mean() / 64.0 - 2.0,
                luma_gt.mean() / 64.0 - 2.0,
                _log_rms(small_lq @ luma_weights - (small_lq @ luma_weights).mean()),
                _log_rms(luma_gt - luma_gt.mean()),
            ],
        ]
    )
    return Tone(curves.astype(np.float32), saturation, np.clip(facts, -4.0, 4.0).astype(np.float32))


def _small(image: Image) -> Values:
    cv2 = opencv()
    scale = LONG_EDGE / max(image.shape[:2])
    if scale < 1.0:
        size = max(round(image.shape[1] * scale), 4), max(round(image.shape[0] * scale), 4)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0), np.float64)


def _curve(before: Values, after: Values) -> Values:
    """Return the level 0..255 of `after` for each level of `before`: monotone, with slopes 0.2..4 beyond the bins."""
    order = np.argsort(before, kind="stable")[: len(before) // BINS * BINS].reshape(BINS, -1)
    inputs = np.median(before[order], axis=1)
    outputs = _make_monotone(np.median(after[order], axis=1))
    keep = np.concatenate([[True], np.diff(inputs) > 0.25])
    inputs, outputs = inputs[keep], outputs[keep]
    if len(inputs) < 2:
        return np.asarray(np.clip(LEVELS - inputs[0] + outputs[0], 0, 255), np.float64)
    quarter = max(len(inputs) // 4, 1)
    low = np.clip((outputs[quarter] - outputs[0]) / max(inputs[quarter] - inputs[0], 1.0), 0.2, 4.0)
    high = np.clip((outputs[-1] - outputs[-1 - quarter]) / max(inputs[-1] - inputs[-1 - quarter], 1.0), 0.2, 4.0)
    curve = np.interp(LEVELS, inputs, outputs)
    curve = np.where(inputs[0] > LEVELS, outputs[0] - low * (inputs[0] - LEVELS), curve)
    curve = np.where(inputs[-1] < LEVELS, outputs[-1] + high * (LEVELS - inputs[-1]), curve)
    smooth = np.convolve(np.pad(curve, 4, mode="edge"), np.ones(9) / 9.0, mode="valid")
    return np.asarray(np.clip(smooth, 0, 255), np.float64)


def _make_monotone(values: Values) -> Values:
    """Return the nearest monotone sequence (isotonic regression)."""
    means: list[float] = []
    counts: list[int] = []
    for value in values:
        means.append(float(value))
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            count = counts[-2] + counts[-1]
            means[-2] = (means[-2] * counts[-2] + means[-1] * counts[-1]) / count
            counts[-2] = count
            del means[-1], counts[-1]
    return np.repeat(means, counts)


def _unexplained(values: Values, fitted: Values, floor: float) -> float:
    spread = float(((values - values.mean(axis=(0, 1))) ** 2).mean())
    residual = values - fitted
    return float(np.sqrt(((residual - residual.mean(axis=(0, 1))) ** 2).mean() / (spread + floor)))


def _log_rms(values: Values) -> float:
    return float(np.log(np.sqrt((values**2).mean()) + 1.0)) - 2.0
