"""Faults and degradations in a form that the fidelity model was not trained on, and harmless changes."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ggt_format.schema import Image
from ggt_tools.training.scene_regions import blend, bounding_box, draw_outline, warp
from ggt_tools.training.synthetic_degradations import (
    KINDS,
    Light,
    blur,
    blur_gaussian,
    draw_clouds,
    encode_jpeg,
    interpolate,
    to_bytes,
)  # fmt: skip
from ggt_tools.training.synthetic_faults import FAULTS, Fault, Scene, change_harmlessly

Random = np.random.Generator


def added(scene: Scene, strength: float, random: Random) -> Image:
    """A thing of 24 to 128 px stands in a second place, or the other way round."""
    blob = draw_outline(scene.gt, interpolate(24, 128, strength), random)
    rows, columns = bounding_box(blob, 0)
    height, width = blob.shape
    free = [(0, height - (rows.stop - rows.start)), (0, width - (columns.stop - columns.start))]
    down, right = (int(random.integers(*free[side])) - (rows, columns)[side].start for side in (0, 1))
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    source = scene.gt[:, ::-1] if random.random() < 0.3 else scene.gt
    return blend(scene.gt, warp(np.ascontiguousarray(source), matrix), warp(blob.astype(np.uint8), matrix) > 0)


def features(scene: Scene, strength: float, random: Random) -> Image:
    """The features of a region of 80 to 160 px are drawn otherwise, by up to 3 to 14 px, as a face that changes."""
    blob = draw_outline(scene.gt, random.uniform(80, 160), random)
    size = random.uniform(0.02, 0.05)
    image = _displaced(scene.gt, interpolate(3, 14, strength), size, random)
    return blend(scene.gt, image, blob)


def local_warp(scene: Scene, strength: float, random: Random) -> Image:
    """All lies off by up to 2 to 14 px, here in one direction, there in another."""
    return _displaced(scene.gt, interpolate(2, 14, strength), random.uniform(0.15, 0.4), random)


def scaled(scene: Scene, strength: float, random: Random) -> Image:
    """Larger or smaller by 0.5 to 4 %, about a corner."""
    by = 1.0 + random.choice((-1, 1)) * interpolate(0.005, 0.04, strength)
    return _affine(scene.gt, np.array([[by, 0], [0, by]]), random)


def aspect(scene: Scene, strength: float, random: Random) -> Image:
    """Wider or higher by 0.5 to 4 %, about a corner."""
    by = 1.0 + random.choice((-1, 1)) * interpolate(0.005, 0.04, strength)
    return _affine(scene.gt, np.diag((by, 1.0) if random.random() < 0.5 else (1.0, by)), random)


def sheared(scene: Scene, strength: float, random: Random) -> Image:
    """By 0.5 to 4 % of the side."""
    by = random.choice((-1, 1)) * interpolate(0.005, 0.04, strength)
    return _affine(scene.gt, np.array([[1, by], [0, 1]] if random.random() < 0.5 else [[1, 0], [by, 1]]), random)


def hue(scene: Scene, strength: float, random: Random) -> Image:
    """All hues turned by 8 to 50 degrees."""
    return _turned(scene.gt, random.choice((-1, 1)) * interpolate(8, 50, strength))


def recoloured(scene: Scene, strength: float, random: Random) -> Image:
    """A thing of 64 to 200 px has another colour: two channels apart by 12 to 60 %."""
    blob = draw_outline(scene.gt, random.uniform(64, 200), random)
    gains = random.permutation(np.array([0.5, random.uniform(-0.2, 0.2), -0.5])) * interpolate(0.12, 0.6, strength)
    return blend(scene.gt, to_bytes(scene.gt * (1.0 + gains)), blob)


def painted(scene: Scene, strength: float, random: Random) -> Image:
    """Smoothed as by a brush that keeps edges: a bilateral filter of 3 to 9 px and 20 to 70 levels."""
    wide, levels = interpolate(3, 9, strength), interpolate(20, 70, strength)
    return np.asarray(cv2.bilateralFilter(scene.gt, 2 * round(wide) + 1, levels, wide))


def shrunk(scene: Scene, strength: float, random: Random) -> Image:
    """As if restored at 1 / 1.5 to 1 / 4 of the size."""
    scale = 1.0 / interpolate(1.5, 4.0, strength)
    small = cv2.resize(scene.gt, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, scene.gt.shape[1::-1], interpolation=cv2.INTER_CUBIC))


def invented(scene: Scene, strength: float, random: Random) -> Image:
    """The fine structure of another photograph, of 5 to 22 grey levels, everywhere or in parts."""
    light = cv2.cvtColor(scene.other, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = light - blur_gaussian(light, random.uniform(1.5, 4.0))
    fine *= interpolate(5, 22, strength) / (np.sqrt(blur_gaussian(fine * fine, 24.0)) + 2.0)
    if random.random() < 0.5:
        fine *= blur_gaussian((draw_clouds(fine.shape, 0.3, random) > 0).astype(np.float32), 6.0)
    return to_bytes(scene.gt + fine[..., None])


def seams(scene: Scene, strength: float, random: Random) -> Image:
    """Tiles of 96 to 256 px that differ by some levels and lie up to 3 px off."""
    out = scene.gt.copy()
    size = int(random.integers(96, 257))
    for top in range(0, out.shape[0], size):
        for left in range(0, out.shape[1], size):
            box = slice(top, top + size), slice(left, left + size)
            off = random.uniform(-1, 1, 2) * interpolate(0.5, 3.0, strength)
            tile = warp(scene.gt, np.array([[1, 0, off[0]], [0, 1, off[1]]], np.float32))[box]
            levels = random.uniform(-1, 1, 3) * interpolate(2, 10, strength)
            out[box] = to_bytes(tile * random.uniform(1 - 0.08 * strength, 1 + 0.08 * strength) + levels)
    return out


def ghost(scene: Scene, strength: float, random: Random) -> Image:
    """A second picture of it, 4 to 24 px off, of 12 to 50 %."""
    by, angle = random.uniform(4, 24), random.uniform(0, 2 * np.pi)
    second = warp(scene.gt, np.array([[1, 0, by * np.cos(angle)], [0, 1, by * np.sin(angle)]], np.float32))
    share = interpolate(0.12, 0.5, strength)
    return to_bytes(scene.gt * (1 - share) + second.astype(np.float32) * share)


def hardly(scene: Scene, strength: float, random: Random) -> Image:
    """The photograph with one per cent more light, or a tenth of the way less: the weaker, the more was done."""
    light = scene.lq + (scene.gt.astype(np.float32) - scene.lq) * interpolate(0.10, 0.0, strength)
    return encode_jpeg(to_bytes(light * random.uniform(1.0, 1.01)), 97)


UNSEEN: dict[str, tuple[str, Fault]] = {
    "added": ("content", added),
    "features altered": ("content", features),
    "local warp": ("content", local_warp),
    "scaled": ("content", scaled),
    "aspect": ("content", aspect),
    "sheared": ("content", sheared),
    "hue": ("colour", hue),
    "recoloured": ("colour", recoloured),
    "painted": ("detail", painted),
    "shrunk": ("detail", shrunk),
    "invented texture": ("artefact", invented),
    "seams": ("artefact", seams),
    "ghost": ("artefact", ghost),
    "hardly restored": ("unrestored", hardly),
}
TEXT = "text altered"  # unseen too; made by lettered(), since the letters must stand in the photograph
SEEN = tuple(FAULTS)
MAJOR = (  # of the first row; the others that are no copies are of its second
    "removed", "moved", "swapped", "shifted", "perspective", "wrong photo", "half restored", "added",
    "features altered", "local warp", "scaled", "aspect", "sheared", TEXT,
)  # fmt: skip
COPIES = ("unchanged", "hardly restored")
LETTERS = "ABCDEFGHJKLMNPRSTUVXYZ2345678"


def lettered(gt: Image, strength: float, random: Random) -> tuple[Image, Image]:
    """The photograph with a sign of letters 14 to 40 px high, and with another sign: 1 to 6 of 6 letters differ."""
    height = round(interpolate(14, 40, strength))
    text = [LETTERS[number] for number in random.integers(len(LETTERS), size=6)]
    other = text.copy()
    for place in random.permutation(6)[: round(interpolate(1, 6, strength))]:
        other[place] = LETTERS[(LETTERS.index(text[place]) + int(random.integers(1, len(LETTERS)))) % len(LETTERS)]
    scale = height / 22.0
    wide, high = round(6 * 24 * scale), round(40 * scale)
    left = int(random.integers(40, max(gt.shape[1] - wide - 40, 41)))
    top = int(random.integers(40, max(gt.shape[0] - high - 40, 41)))
    plate, ink = ((230, 230, 225), (30, 30, 60)) if random.random() < 0.5 else ((40, 70, 50), (235, 235, 230))
    made = []
    for letters in (text, other):
        image = gt.copy()
        cv2.rectangle(image, (left - 6, top), (left + wide, top + high), plate, -1)
        for number, letter in enumerate(letters):
            at = left + round(24 * scale * number), top + round(31 * scale)
            cv2.putText(
                image, letter, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, max(1, round(2.2 * scale)), cv2.LINE_AA
            )
        made.append(image)
    return made[0], made[1]


# --- degradations that training did not have --------------------------------------------------------------------------


def snow(light: Light, strength: float, random: Random) -> Light:
    """Flakes of 1 to 4 px, some out of focus."""
    veil = np.zeros(light.shape[:2], np.float32)
    for radius in (1, 2, 3, 4):
        centres = (random.random(veil.shape) < interpolate(0.0003, 0.0015, strength)).astype(np.float32)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        veil = np.maximum(veil, blur_gaussian(cv2.dilate(centres, disc), 0.4 * radius))
    return np.asarray(light * (1 - 0.9 * veil[..., None]) + 245.0 * 0.9 * veil[..., None], np.float32)


NEW = {
    "snow": (snow,),
    "snow and blur": (lambda light, s, r: blur(light, 0.4 * s, r), snow),
}
CLASS = {  # of DEGRADATIONS; where a name says it, it is its own
    "blur": ("defocus_blur",), "resized": ("mixed", "defocus_blur"), "noise": ("mixed", "noise"),
    "compression": ("mixed", "compression"), "blur and noise": ("mixed",), "resized and compression": ("mixed",),
    "haze and noise": ("haze",), "motion blur and noise": ("motion_blur",), "snow and blur": ("snow",),
}  # fmt: skip
USUAL = (  # of those that training has
    "blur", "resized", "noise", "compression", "haze", "low_light", "old_photo", "rain", "blur and noise",
    "resized and compression", "haze and noise", "motion_blur", "motion blur and noise",
)  # fmt: skip
DEGRADING = {name: {**KINDS, **NEW}[name] for name in (*USUAL[:11], "snow", *USUAL[11:], "snow and blur")}


# --- what is no fault -------------------------------------------------------------------------------------------------


def _tone(scene: Scene, random: Random) -> Image:
    return to_bytes(255.0 * (scene.gt / 255.0) ** random.choice((0.88, 0.94, 1.06, 1.12)))


def _contrast(scene: Scene, random: Random) -> Image:
    middle = scene.gt.mean()
    return to_bytes(middle + (scene.gt - middle) * random.choice((0.92, 1.06, 1.1)))


def _saturation(scene: Scene, random: Random) -> Image:
    grey = scene.gt.mean(axis=2, keepdims=True)
    return to_bytes(grey + (scene.gt - grey) * random.choice((0.88, 1.1, 1.2)))


def _denoised(scene: Scene, random: Random) -> Image:
    return np.asarray(cv2.fastNlMeansDenoisingColored(scene.gt, None, 2, 2, 5, 11))


def _sharpened(scene: Scene, random: Random) -> Image:
    light = scene.gt.astype(np.float32)
    return to_bytes(light + 0.3 * (light - blur_gaussian(light, 1.0)))


def _shift(scene: Scene, random: Random) -> Image:
    angle = random.uniform(0, 2 * np.pi)
    return warp(scene.gt, np.array([[1, 0, 0.25 * np.cos(angle)], [0, 1, 0.25 * np.sin(angle)]], np.float32))


def _all(scene: Scene, random: Random) -> Image:
    for change in (_tone, _saturation):
        scene = Scene(gt=change(scene, random), lq=scene.lq, other=scene.other)
    return encode_jpeg(scene.gt, 95)


GOOD: dict[str, Callable[[Scene, Random], Image]] = {
    "the true gt": lambda scene, random: scene.gt,
    "jpeg q95": lambda scene, random: encode_jpeg(scene.gt, 95),
    "1 % gain": lambda scene, random: to_bytes(scene.gt * random.choice((0.99, 1.01))),
    "0.25 px shift": _shift,
    "tone": _tone,
    "contrast": _contrast,
    "saturation": _saturation,
    "denoised": _denoised,
    "sharpened": _sharpened,
    "tone, saturation, q95": _all,
    "all of these at random": change_harmlessly,
}


# --- tools ------------------------------------------------------------------------------------------------------------


def _affine(image: Image, matrix: np.ndarray, random: Random) -> Image:
    corner = np.array([random.choice((0, image.shape[1])), random.choice((0, image.shape[0]))], np.float64)
    return warp(image, np.hstack([matrix, (corner - matrix @ corner)[:, None]]).astype(np.float32))


def _displaced(image: Image, most: float, scale: float, random: Random) -> Image:
    fields = [draw_clouds(image.shape[:2], scale, random) for _ in range(2)]
    size = np.hypot(*fields)
    y, x = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
    x, y = (place + field * (most / np.quantile(size, 0.99)) for place, field in zip((x, y), fields, strict=True))
    return np.asarray(
        cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    )


def _turned(image: Image, degrees: float) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + round(degrees * 256 / 360)) % 256
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))
