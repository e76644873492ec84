"""Measure the degradations of a photograph without a model.

Each metric measures one degradation and cannot tell its cause: a grey wall looks like haze to the dark channel, and a
black stone looks like darkness. The values are a first estimate for the choice of a class, of a prompt and of the steps
of a restorer. The limits in `strengths` are our own.

Rain and snow are not measured, because no simple metric separates them from texture. Two were tried: the share of
pixels (in thousandths) on bright lines of 15 px that have the same direction everywhere, and the share (in ten
thousandths) on round bright specks. A brick wall measured 116 and grass 20, where clearly visible synthetic rain
measured 39 to 102. Leaves measured 54 and gravel 88, where synthetic snow measured 32 to 70. Rain and snow are named by
the classifier (photo_classes), by a vision-language model, or in credits.csv.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_format.schema import DEGRADATIONS, Image
from ggt_tools.errors import PairError
from ggt_tools.imaging import planes as plane_ops
from ggt_tools.imaging.planes import Plane, opencv

Indices = npt.NDArray[np.intp]

DETECTABLE = (  # degradations that classify() can detect
    "low_light", "haze", "old_photo", "noise", "grain", "defocus_blur", "compression", "fading"
)  # fmt: skip
EDGE_SLOPE = 2.0  # grey levels per pixel: lower slopes of an 8-bit photograph do not show how blurred it is
PRE_BLUR = 0.5  # pixels, so that noise is not measured as sharpness
PROBE_BLUR = 1.0  # pixels, the known blur that is added to an edge to find out how blurred it was


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradations:
    """The measured degradations of a photograph. Each value increases with its degradation; NaN: cannot be measured.

    The values with a default are not degradations by themselves: `classify` combines them.
    """

    haze: float  # 0..1, mean share of airlight
    darkness: float  # 0..1, mean depth of the brightest channel below 96
    noise: float  # standard deviation of luma noise, grey levels of 0..255
    chroma_noise: float  # the same of the noisier colour difference, at half resolution
    blur: float  # pixels, standard deviation of the Gaussian that blurs the sharper edges
    blockiness: float  # grey levels by which steps on the 8 x 8 grid exceed steps elsewhere
    fading: float  # 0..1, share of the tonal range that is not used
    grain: float = 0.0  # standard deviation of luma noise that is coarser than a pixel, grey levels, at half resolution
    monochrome: float = 0.0  # 0..1, 1 where colour follows from brightness alone: grey, or toned in one hue
    warmth: float = 0.0  # grey levels by which the middle colour leans to yellow and brown; below 0: to blue
    night: float = 0.0  # 0..1, share of the picture that lies in the dark around lamps; 0 without lamps


def measure(image: Image) -> Degradations:
    """Measure one photograph.

    Args:
        image: uint8 RGB (height, width, 3), at least 32 px on each side.

    Raises:
        PairError: `too_small`.
        ConfigError: OpenCV is not installed.
    """
    height, width = image.shape[:2]
    if min(height, width) < 32:
        raise PairError(
            "too_small", f"the photograph is {width} x {height} px. Leave it out: measuring needs 32 px on each side."
        )
    cv2 = opencv()
    planes = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    luma, cr, cb = (plane.astype(np.float32) for plane in planes)
    fine, coarse = _noise_levels(luma)
    (low, high), (median_cr,), (median_cb,) = map(plane_ops.percentiles, planes, ((0.5, 99.5), (50.0,), (50.0,)))
    return Degradations(
        haze=haze(image),
        darkness=darkness(image),
        noise=max(fine, coarse),
        chroma_noise=max(noise(plane_ops.half(cr)), noise(plane_ops.half(cb))),
        blur=blur(luma),
        blockiness=blockiness(luma),
        fading=1.0 - float(high - low) / 255.0,
        grain=_grain_beyond_noise(fine, coarse),
        monochrome=monochrome(image),
        warmth=(median_cr - median_cb) / 2.0,
        night=night(image),
    )


def classify(d: Degradations) -> tuple[str, tuple[str, ...]]:
    """Choose the class of a photograph from its measurements.

    The class is the strongest degradation that is a class. An aged print is always `old_photo`, whatever other
    degradations it has.

    Returns:
        The class, one of DEGRADATIONS, and all degradations that were detected, of DETECTABLE, the strongest first.
    """
    strength = strengths(d)
    detected = tuple(sorted((name for name in DETECTABLE if strength[name] >= 1.0), key=lambda name: -strength[name]))
    classes = [name for name in detected if name in DEGRADATIONS]
    if "old_photo" in classes:
        return "old_photo", detected
    return (classes[0] if classes else "mixed"), detected


def strengths(d: Degradations) -> dict[str, float]:
    """Return each degradation of DETECTABLE in units of its limit: from 1 on it is detected. NaN: cannot be measured.

    The dark channel is meaningless in a dark scene, so a dark photograph is never called hazy. Only a monochrome
    daylight photograph is called old: a brown one if it is faded or grainy, a grey one if it is both. Grain is reported
    for old photographs alone, and then not as noise as well, because texture and the smoothed noise of a camera have
    the same values. A faded colour print is not detected: a hazy view and a plain wall have the same tones.
    """
    dark = max(d.darkness / 0.20, d.night / 0.40)
    fading, grain = d.fading / 0.25, d.grain / 1.0
    brown = d.warmth >= 4.0
    aged = (max(fading, grain) if brown else min(fading / 1.6, grain)) if d.monochrome >= 0.9 and dark < 1.0 else 0.0
    old = aged >= 1.0
    haze = d.haze / 0.38 if dark < 1.0 and not old else 0.0
    return {
        "low_light": dark,
        "haze": haze,
        "old_photo": aged,
        "noise": max(0.0 if old else d.noise, d.chroma_noise) / 1.5,
        "grain": grain if old else 0.0,
        "defocus_blur": d.blur / 1.1,
        "compression": d.blockiness / 1.5,
        "fading": fading if old else 0.0,
    }


def haze(image: Image) -> float:
    """Return the mean share of airlight in a photograph, 0..1 (dark channel prior: He, Sun, Tang, CVPR 2009).

    Without haze, some channel is near zero almost everywhere. The dark channel is taken over 15 x 15 px at a long edge
    of 512 px, and divided by the airlight: the brightest value where the dark channel is in its top thousandth.
    """
    cv2 = opencv()
    small = plane_ops.shrink(image, 512)
    red, green, blue = cv2.split(small)
    darkest = cv2.min(cv2.min(red, green), blue)
    dark = cv2.erode(darkest, np.ones((15, 15), np.uint8)).astype(np.float32)
    top = small[dark >= np.quantile(dark, 0.999)]
    airlight = max(float(top.max()), 1.0)
    return float(dark.mean()) / airlight


def darkness(image: Image) -> float:
    """Return how dark a photograph is, 0..1: by how much the brightest channel of each pixel is below 96 of 255.

    This metric is our own. The mean brightness would call a grey rock in daylight dark.
    """
    counts = plane_ops.histogram(plane_ops.brightest(image))
    return float(counts @ np.maximum(0.0, 1.0 - np.arange(256) / 96.0)) / float(counts.sum())


def night(image: Image) -> float:
    """Return the share of a photograph that is dark, 0..1, if there are lamps in the dark; else 0.

    This metric is our own: a night scene with lamps is not dark on average. A pixel is dark if its luma is below 64. It
    belongs to a lamp if it is clipped and the mean of its surroundings (65 px at a long edge of 512 px) is below 100.
    At least a thousandth of the pixels must belong to lamps.
    """
    cv2 = opencv()
    small = plane_ops.shrink(image, 512)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    lamps = (plane_ops.brightest(small) >= 250) & (cv2.blur(luma, (65, 65)) < 100)
    return float((luma < 64).mean()) if lamps.mean() >= 1e-3 else 0.0


def monochrome(image: Image) -> float:
    """Return 1 if the colours of a photograph follow from its brightness alone, down to 0 if they vary freely.

    This metric is our own. A grey, sepia or otherwise toned picture has one colour for each grey level. The metric is
    the root mean square deviation of Cr and Cb from the mean colour of the pixel's level (in steps of 8) at
    128 x 128 px, where noise is averaged out: a deviation of 0 gives 1, and 8 gives 0.
    """
    cv2 = opencv()
    small = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
    luma, *chroma = (plane.astype(np.float64).ravel() for plane in cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)))
    level = (luma / 8).astype(np.int64)
    count = np.maximum(np.bincount(level), 1)
    variance = sum(np.mean((plane - (np.bincount(level, plane) / count)[level]) ** 2) for plane in chroma)
    return float(max(0.0, 1.0 - np.sqrt(variance) / 8.0))


def grain(luma: Plane) -> float:
    """Return the standard deviation of noise that is coarser than a pixel, in grey levels at half resolution.

    In a scan, film grains are blurred discs of several pixels (Newson, Delon, Galerne, Computer Graphics Forum 36,
    2017), while the noise of a sensor is white. Averaging 2 x 2 px halves white noise and keeps grain, so noise beyond
    0.6 of that at full resolution is grain. Texture counts too if the picture has no smooth area.
    """
    return _grain_beyond_noise(*_noise_levels(luma))


def _grain_beyond_noise(fine: float, coarse: float) -> float:
    return float(np.sqrt(max(0.0, coarse**2 - (0.6 * fine) ** 2)))


def noise(plane: Plane) -> float:
    """Return the standard deviation of the noise in a plane, in its own units.

    Immerkaer's difference of Laplacians (CVIU 64, 1996), which ignores straight edges, is taken over blocks of
    16 x 16 px. The result is the median of the smoothest quarter of the blocks that are not clipped, so that texture
    does not count. Noise that a camera has smoothed or compressed shows at half resolution: the larger value of both
    resolutions is returned.
    """
    return max(_noise_levels(plane))


def _noise_levels(plane: Plane) -> tuple[float, float]:
    """Return the noise at full and at half resolution; 0 at half resolution for a side of less than 64 px."""
    return _noise_at(plane), _noise_at(plane_ops.half(plane)) if min(plane.shape) >= 64 else 0.0


def _noise_at(plane: Plane) -> float:
    cv2 = opencv()
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(plane, cv2.CV_32F, kernel))[1:-1, 1:-1]
    sigma = plane_ops.blocks(response) * (np.sqrt(np.pi / 2) / 6)
    level = plane_ops.blocks(plane[1:-1, 1:-1])
    usable = sigma[(level > 8) & (level < 247)]
    if usable.size == 0:
        return 0.0
    smoothest = np.sort(usable)[: max(usable.size // 4, 1)]
    return float(np.median(smoothest))


def blur(luma: Plane) -> float:
    """Return the blur of the sharper edges as the standard deviation of a Gaussian, in pixels; NaN without edges.

    A further blur of known size weakens a sharp edge more than a soft one, so the ratio of the slopes gives the blur
    (Zhuo and Sim, Pattern Recognition 44, 2011). The result is the lower quartile over the strongest edges, since a
    background that is out of focus on purpose is not a degradation. The sampling by pixels counts as blur: a step
    between two pixels measures about 0.7.
    """
    at_edges = edge_blur(luma, luma)
    return float(np.quantile(at_edges, 0.25)) if at_edges.size >= 50 else float("nan")


def edge_blur(luma: Plane, where: Plane) -> Plane:
    """Return the blur in pixels of `luma` at each strong edge of `where`, both (height, width) in 0..255."""
    return blur_at(luma, strong_edges(where))


def strong_edges(luma: Plane) -> Indices:
    """Return the indices, in the flattened plane, of the local maxima among the steepest 2 % of the slopes.

    The threshold is taken from every other row and column, which is faster.
    """
    cv2 = opencv()
    slope = plane_ops.slope(cv2.GaussianBlur(luma, (0, 0), PROBE_BLUR))
    strong = slope >= max(EDGE_SLOPE, float(np.quantile(slope[::2, ::2], 0.98)))
    return np.flatnonzero(strong & (slope >= 0.98 * cv2.dilate(slope, np.ones((3, 3), np.uint8))))


def blur_at(luma: Plane, edges: Indices) -> Plane:
    """Return the blur in pixels at each of the pixels that strong_edges() returned."""
    cv2 = opencv()
    once = cv2.GaussianBlur(luma, (0, 0), PRE_BLUR)
    before, after = (
        plane_ops.slope(plane).ravel()[edges] for plane in (once, cv2.GaussianBlur(once, (0, 0), PROBE_BLUR))
    )
    ratio = np.maximum(before / np.maximum(after, 1e-3), 1.0 + 1e-3)
    variance = PROBE_BLUR**2 / (ratio**2 - 1.0) - PRE_BLUR**2
    return np.asarray(np.sqrt(np.clip(variance, 0.0, 100.0)), np.float32)


def blockiness(luma: Plane) -> float:
    """Return by how many grey levels the steps on an 8 x 8 grid exceed those elsewhere; about 0 without compression.

    A step is the difference at a boundary minus the mean slope on both sides (after Wang, Sheikh, Bovik, ICIP 2002),
    clipped so that real edges do not count. The grid may start anywhere, since photographs are cropped.
    """
    return max(_grid_excess(luma), _grid_excess(luma.T))


def _grid_excess(luma: Plane) -> float:
    step = np.diff(luma, axis=1)
    excess = np.abs(step[:, 1:-1] - 0.5 * (step[:, :-2] + step[:, 2:]))
    columns = np.minimum(excess, 12.0).mean(axis=0)
    columns = columns[: columns.size // 8 * 8].reshape(-1, 8)
    phases = np.sort(np.median(columns, axis=0))
    return float(phases[-1] - np.median(phases))
