"""What is wrong with a photograph, measured without a model.

Each measure looks at one fault and says nothing of what caused it: a grey wall looks like haze to the dark channel, a
black stone like darkness. They are first evidence, for the choice of a class, of a prompt and of a restorer's steps;
the limits in `classify` are ours.

Rain and snow are not measured. What was tried: bright lines of 15 px that share one direction everywhere, in
thousandths of the pixels, and round bright specks in ten thousandths. A brick wall measured 116 and grass 20 where
planted rain of good visibility measured 39 to 102; leaves 54 and gravel 88 where planted snow measured 32 to 70. A
vision-language model, credits.csv or the folder's name says it (prompts.py, vlm.py, ingest.py).
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ggt_format.schema import DEGRADATIONS, Image
from ggt_tools.errors import ConfigError, PairError

Plane = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]

SEEN = (  # what classify() can see
    "low_light", "haze", "old_photo", "noise", "grain", "defocus_blur", "compression", "fading"
)  # fmt: skip
EDGE_SLOPE = 2.0  # grey levels a pixel: a slope below it says nothing of blur in an 8-bit photograph
KEPT = 64  # photographs whose measurements are kept, in each process
PRE_BLUR = 0.5  # pixels, so that noise does not pass for sharpness
PROBE_BLUR = 1.0  # pixels, the known blur added to an edge to learn how blurred it was before


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradations:
    """Each measure grows with its fault, all else equal. NaN: nothing in the photograph tells.

    Those with a default are no faults by themselves: `classify` puts them together.
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
    """Measure one photograph: uint8 RGB (height, width, 3), at least 32 px on each side.

    Raises PairError `too_small` below that, ConfigError where OpenCV is not installed.
    """
    height, width = image.shape[:2]
    if min(height, width) < 32:
        raise PairError("too_small", f"the photograph is {width} x {height} px; measuring needs 32 px on each side")
    cv2 = opencv()
    bytes_of = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    luma, cr, cb = (plane.astype(np.float32) for plane in bytes_of)
    (low, high), (median_cr,), (median_cb,) = map(_percentiles, bytes_of, ((0.5, 99.5), (50.0,), (50.0,)))
    return Degradations(
        haze=haze(image),
        darkness=darkness(image),
        noise=noise(luma),
        chroma_noise=max(noise(_half(cr)), noise(_half(cb))),
        blur=blur(luma),
        blockiness=blockiness(luma),
        fading=1.0 - float(high - low) / 255.0,
        grain=grain(luma),
        monochrome=monochrome(image),
        warmth=(median_cr - median_cb) / 2.0,
        night=night(image),
    )


_measured: OrderedDict[bytes, Degradations] = OrderedDict()


def measure_once(image: Image) -> Degradations:
    """As measure(); the last KEPT photographs are recognised by their pixels and not measured again.

    A photograph has several candidates, and each is compared with the same measurements.
    """
    key = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16, key=str(image.shape).encode()).digest()
    if key not in _measured:
        _measured[key] = measure(image)
        if len(_measured) > KEPT:
            _measured.popitem(last=False)
    _measured.move_to_end(key)
    return _measured[key]


def classify(d: Degradations) -> tuple[str, tuple[str, ...]]:
    """The class of a photograph, one of DEGRADATIONS, and all that is seen in it, of SEEN, the worst first.

    The class is the worst fault that has one, by `strengths`; but a print that has aged is an old photograph, whatever
    else is wrong with it.
    """
    excess = strengths(d)
    seen = tuple(sorted((name for name in SEEN if excess[name] >= 1.0), key=lambda name: -excess[name]))
    classes = [name for name in seen if name in DEGRADATIONS]
    if "old_photo" in classes:
        return "old_photo", seen
    return (classes[0] if classes else "mixed"), seen


def strengths(d: Degradations) -> dict[str, float]:
    """Each fault of SEEN in units of its limit: 1 and above is seen, 2 is twice the limit. NaN: nothing tells.

    The dark channel says nothing of a dark scene, so darkness rules haze out. Age is said only of what has no colours
    of its own, in daylight: pale or grainy where it is brown, both where it is grey. Then grain goes by its own name,
    and not as noise: texture and the smoothed noise of a camera measure as grain does. A faded colour print is not
    seen: a hazy view and a plain wall have its tones.
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
    """The mean share of airlight in a photograph, 0..1 (dark channel prior: He, Sun, Tang, CVPR 2009).

    Without haze some channel is near zero almost everywhere. The dark channel over 15 x 15 px at 512 px long edge,
    divided by the airlight (the brightest of its top thousandth).
    """
    cv2 = opencv()
    small = _at_most(image, 512)
    red, green, blue = cv2.split(small)
    darkest = cv2.min(cv2.min(red, green), blue)
    dark = cv2.erode(darkest, np.ones((15, 15), np.uint8)).astype(np.float32)
    top = small[dark >= np.quantile(dark, 0.999)]
    airlight = max(float(top.max()), 1.0)
    return float(dark.mean()) / airlight


def darkness(image: Image) -> float:
    """How deep a photograph lies in the dark, 0..1: each pixel's shortfall of its brightest channel below 96 of 255.

    Ours. A grey rock in daylight is no darkness, so the mean brightness would not do.
    """
    counts = _histogram(_brightest(image))
    return float(counts @ np.maximum(0.0, 1.0 - np.arange(256) / 96.0)) / float(counts.sum())


def night(image: Image) -> float:
    """The share of a photograph that lies in the dark, 0..1, where lamps stand in that dark; 0 where none do. Ours.

    A night with lamps is not dark in the mean. Dark is a luma below 64, a lamp a clipped pixel whose surroundings,
    65 px at 512 px long edge, are below 100 in the mean; it takes a thousandth of the pixels.
    """
    cv2 = opencv()
    small = _at_most(image, 512)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    lamps = (_brightest(small) >= 250) & (cv2.blur(luma, (65, 65)) < 100)
    return float((luma < 64).mean()) if lamps.mean() >= 1e-3 else 0.0


def monochrome(image: Image) -> float:
    """1 where the colours of a photograph follow from its brightness, 0 where they differ freely. Ours.

    Grey, sepia and any other toning have one colour for each level. The root mean square of what the mean colour
    of a pixel's level (steps of 8) leaves of Cr and Cb at 128 x 128 px, where noise is gone: 0 gives 1, 8 gives 0.
    """
    cv2 = opencv()
    small = cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA)
    luma, *chroma = (plane.astype(np.float64).ravel() for plane in cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb)))
    level = (luma / 8).astype(np.int64)
    count = np.maximum(np.bincount(level), 1)
    left = sum(np.mean((plane - (np.bincount(level, plane) / count)[level]) ** 2) for plane in chroma)
    return float(max(0.0, 1.0 - np.sqrt(left) / 8.0))


def grain(luma: Plane) -> float:
    """Standard deviation of the noise that is coarser than a pixel, in grey levels at half resolution.

    The grains of film are blurred discs of several pixels once they are scanned (Newson, Delon, Galerne, Computer
    Graphics Forum 36, 2017), a sensor's noise is white: averaging 2 x 2 px halves white noise, and leaves grain. What
    is more than 0.6 of the noise at full resolution is grain. Texture without a calm area counts as well.
    """
    if min(luma.shape) < 64:
        return 0.0
    fine, coarse = _noise_at(luma), _noise_at(_half(luma))
    return float(np.sqrt(max(0.0, coarse**2 - (0.6 * fine) ** 2)))


def noise(plane: Plane) -> float:
    """Standard deviation of the noise in a plane, in its own units.

    Immerkaer's difference of Laplacians (CVIU 64, 1996), which no straight edge passes, over 16 x 16 px blocks; of the
    blocks that are not clipped, the median of the calmer quarter, so that texture does not count.
    Noise that a camera has smoothed or compressed is seen at half resolution: the larger of both is returned.
    """
    return max(_noise_at(plane), _noise_at(_half(plane)) if min(plane.shape) >= 64 else 0.0)


def _noise_at(plane: Plane) -> float:
    cv2 = opencv()
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    response = np.abs(cv2.filter2D(plane, cv2.CV_32F, kernel))[1:-1, 1:-1]
    sigma = _blocks(response) * (np.sqrt(np.pi / 2) / 6)
    level = _blocks(plane[1:-1, 1:-1])
    usable = sigma[(level > 8) & (level < 247)]
    if usable.size == 0:
        return 0.0
    calm = np.sort(usable)[: max(usable.size // 4, 1)]
    return float(np.median(calm))


def blur(luma: Plane) -> float:
    """The blur of the sharper edges as the standard deviation of a Gaussian, in pixels; NaN without edges.

    Blurring once more by a known amount weakens a sharp edge more than a soft one; the ratio of the slopes gives the
    blur (Zhuo and Sim, Pattern Recognition 44, 2011). Of the strongest edges the quarter sharpest, since what lies
    out of focus on purpose is no fault. What pixels themselves blur counts: a step between two measures about 0.7.
    """
    at_edges = edge_blur(luma, luma)
    return float(np.quantile(at_edges, 0.25)) if at_edges.size >= 50 else float("nan")


def edge_blur(luma: Plane, where: Plane) -> Plane:
    """The blur in pixels of `luma` at each strong edge of `where`, both (height, width) in 0..255."""
    return blur_at(luma, strong_edges(where))


def strong_edges(luma: Plane) -> Indices:
    """The crests of the steepest fiftieth of the slopes, as indices of the flat plane.

    Their threshold is taken of every other row and column.
    """
    cv2 = opencv()
    slope = _slope(cv2.GaussianBlur(luma, (0, 0), PROBE_BLUR))
    strong = slope >= max(EDGE_SLOPE, float(np.quantile(slope[::2, ::2], 0.98)))
    return np.flatnonzero(strong & (slope >= 0.98 * cv2.dilate(slope, np.ones((3, 3), np.uint8))))


def blur_at(luma: Plane, edges: Indices) -> Plane:
    """The blur in pixels at each of the pixels that strong_edges() gave."""
    cv2 = opencv()
    once = cv2.GaussianBlur(luma, (0, 0), PRE_BLUR)
    before, after = (_slope(plane).ravel()[edges] for plane in (once, cv2.GaussianBlur(once, (0, 0), PROBE_BLUR)))
    ratio = np.maximum(before / np.maximum(after, 1e-3), 1.0 + 1e-3)
    variance = PROBE_BLUR**2 / (ratio**2 - 1.0) - PRE_BLUR**2
    return np.asarray(np.sqrt(np.clip(variance, 0.0, 100.0)), np.float32)


def blockiness(luma: Plane) -> float:
    """Grey levels by which the steps on an 8 x 8 grid exceed those off it; about 0 without compression.

    The step at a boundary less the mean slope at both its sides (after Wang, Sheikh, Bovik, ICIP 2002), cut off at
    real edges; the grid may start anywhere, since photographs are cropped.
    """
    return max(_grid_excess(luma), _grid_excess(luma.T))


def _grid_excess(luma: Plane) -> float:
    step = np.diff(luma, axis=1)
    excess = np.abs(step[:, 1:-1] - 0.5 * (step[:, :-2] + step[:, 2:]))
    columns = np.minimum(excess, 12.0).mean(axis=0)
    columns = columns[: columns.size // 8 * 8].reshape(-1, 8)
    phases = np.sort(np.median(columns, axis=0))
    return float(phases[-1] - np.median(phases))


def _blocks(plane: Plane, size: int = 16) -> Plane:
    height, width = (side // size * size for side in plane.shape)
    tiles = plane[:height, :width].reshape(height // size, size, width // size, size)
    return np.asarray(tiles.mean(axis=(1, 3)), np.float32)


def _brightest(image: Image) -> Image:
    """The largest channel of each pixel: numpy's max over so short an axis takes ten times as long."""
    cv2 = opencv()
    red, green, blue = cv2.split(image)
    brightest: Image = cv2.max(cv2.max(red, green), blue)
    return brightest


def _histogram(plane: Image) -> npt.NDArray[np.int64]:
    counts = opencv().calcHist([np.ascontiguousarray(plane)], [0], None, [256], [0, 256])
    return np.asarray(np.rint(counts).ravel(), np.int64)  # OpenCV 4 gives a column, 5 a row


def _percentiles(plane: Image, percents: tuple[float, ...]) -> list[float]:
    """As np.percentile: counting whole numbers takes a tenth of the time of sorting them."""
    counts = np.cumsum(_histogram(plane))
    values = []
    for percent in percents:
        position = (int(counts[-1]) - 1) * percent / 100.0
        around = math.floor(position), math.ceil(position)
        low, high = (int(np.searchsorted(counts, index, side="right")) for index in around)
        values.append(low + (high - low) * (position % 1.0))
    return values


def _half(plane: Plane) -> Plane:
    cv2 = opencv()
    half: Plane = cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return half


def _at_most(image: Image, long_edge: int) -> Image:
    scale = long_edge / max(image.shape[:2])
    if scale >= 1:
        return image
    small: Image = opencv().resize(image, None, fx=scale, fy=scale, interpolation=opencv().INTER_AREA)
    return small


def _slope(plane: Plane) -> Plane:
    cv2 = opencv()
    along_x = cv2.Sobel(plane, cv2.CV_32F, 1, 0, scale=0.125)
    along_y = cv2.Sobel(plane, cv2.CV_32F, 0, 1, scale=0.125)
    slope: Plane = cv2.magnitude(along_x, along_y)
    return slope


def opencv() -> Any:
    """OpenCV, or ConfigError with the way to install it."""
    try:
        import cv2
    except ImportError as error:
        raise ConfigError("OpenCV is not installed: pip install 'ggt100k[generate]'") from error
    return cv2
