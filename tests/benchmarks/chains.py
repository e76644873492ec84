"""Synthetic pairs for the gate's decision: degradations of every class, good candidates as of restorers, faults.

The degradations are chains of random steps that training does not have: several causes come together, and each of them
is drawn anew. Good candidates hold the freedom that a restorer has: another tone curve, a smooth displacement of up to
3 px, fine texture of its own, compression of the reply. Faults are added to such candidates too, not only in the
clean photograph, so that no fault is recognised by what every restorer does.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ggt_format.schema import Image
from ggt_tools.training.scene_regions import blend, draw_outline
from ggt_tools.training.synthetic_degradations import (
    Light,
    blur_gaussian,
    convolve,
    draw_clouds,
    draw_slope,
    encode_jpeg,
    interpolate,
    to_bytes,
)
from ggt_tools.training.synthetic_faults import FAULTS, Fault, Scene

from .faults_kinds import GOOD, UNSEEN

Random = np.random.Generator
Step = Callable[[Light, Image, float, Random], Light]  # light, another photograph, strength 0..1


def degrade(gt: Image, other: Image, degradation: str, strength: float, random: Random) -> Image:
    """The photograph with a chain of its class, and with what cameras and networks add to all of them."""
    light = CHAINS[degradation](gt.astype(np.float32), other, strength, random)
    if random.random() < 0.5:
        light = blur_gaussian(light, random.uniform(0.3, 0.3 + 0.7 * strength))
    light = light + random.uniform(0.3, 1.0 + 4.0 * strength) * random.standard_normal(light.shape, np.float32)
    return encode_jpeg(to_bytes(light), int(random.integers(round(interpolate(85, 45, strength)), 97)))


def _mixed(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Blur, a smaller size, noise and JPEG, twice, as in Real-ESRGAN."""
    height, width = light.shape[:2]
    for turn in range(2):
        share = strength * (1.0, 0.5)[turn]
        if random.random() < 0.8:
            wide = interpolate(0.5, 2.2, share)
            light = cv2.GaussianBlur(light, (0, 0), wide, sigmaY=wide * random.uniform(0.6, 1.6))
        scale = random.uniform(1.0 / interpolate(1.1, 2.6, share), 1.1)
        light = cv2.resize(light, None, fx=scale, fy=scale, interpolation=int(random.choice((1, 2, 3))))
        grain = random.standard_normal((*light.shape[:2], 1 if random.random() < 0.4 else 3), np.float32)
        light = light + interpolate(1, 16, share) * random.random() * grain
        light = encode_jpeg(to_bytes(light), int(interpolate(90, 35, share * random.random()))).astype(np.float32)
    return np.asarray(cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def _rain(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Two layers of streaks, near and far, and a veil."""
    angle = random.uniform(-30, 30)
    for length, density, bright in ((9, 0.02, 90), (31, 0.004, 150)):
        seeds = (random.random(light.shape[:2]) < density * interpolate(0.3, 1.2, strength)).astype(np.float32)
        kernel = _line(length, angle + random.uniform(-4, 4))
        layer = blur_gaussian(convolve(seeds, kernel) * length, random.uniform(0.4, 0.8))
        light = light + bright * random.uniform(0.6, 1.2) * np.clip(layer, 0, 1)[..., None]
    veil = interpolate(0.0, 0.25, strength)
    return np.asarray(light * (1 - veil) + random.uniform(150, 210) * veil, np.float32)


def _haze(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Airlight that grows with a depth taken from the height in the picture and from its brightness."""
    height, width = light.shape[:2]
    depth = np.linspace(1.2, 0.4, height, dtype=np.float32)[:, None] * np.ones((1, width), np.float32)
    depth += 0.3 * draw_clouds((height, width), 0.3, random) + 0.3 * blur_gaussian(light.mean(axis=2), 12.0) / 255.0
    through = np.exp(-interpolate(0.4, 2.0, strength) * np.clip(depth, 0.1, 2.0))[..., None]
    airlight = random.uniform(150, 240) + random.uniform(-14, 14, 3)
    return np.asarray(light * through + airlight * (1 - through), np.float32)


def _snow(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Flakes near and far that fall while the shutter is open, over a thin veil."""
    veil = np.zeros(light.shape[:2], np.float32)
    for radius, density in ((1, 0.004), (2, 0.0012), (4, 0.00025)):
        seeds = (random.random(veil.shape) < density * interpolate(0.3, 1.0, strength)).astype(np.float32)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        flakes = convolve(cv2.dilate(seeds, disc), _line(2 * radius + 1, random.uniform(-50, 50)))
        veil = np.maximum(veil, blur_gaussian(flakes, 0.5 * radius) * random.uniform(0.6, 1.0))
    light = light * (1 - veil[..., None]) + 240.0 * veil[..., None]
    fog = interpolate(0.0, 0.2, strength)
    return np.asarray(light * (1 - fog) + 205.0 * fog, np.float32)


def _low_light(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Gamma up to 3, a tint, shot and read noise, at times a light that falls off."""
    dim = 255.0 * (np.clip(light, 0, 255) / 255.0) ** interpolate(1.2, 3.0, strength) * interpolate(0.9, 0.35, strength)
    dim *= random.uniform(0.9, 1.1, 3)
    if random.random() < 0.3:
        dim *= (1.0 - 0.4 * np.abs(draw_slope(light.shape[:2], random)))[..., None]
    noise = random.standard_normal(light.shape, np.float32) * np.sqrt(interpolate(1, 4, strength) ** 2 + 0.3 * dim)
    return np.asarray(dim + noise * random.uniform(0.3, 1.0), np.float32)


def _old_photo(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Grey or brown, faded, soft, with grain, scratches and stains."""
    grey = light.mean(axis=2, keepdims=True)
    colour = random.uniform(0.3, 0.9)
    light = grey + (light - grey) * colour
    light = blur_gaussian(np.asarray(light, np.float32), interpolate(0.6, 2.0, strength))
    black, white = interpolate(5, 55, strength), interpolate(250, 200, strength)
    light = (black + (white - black) * light / 255.0) * (1 + random.uniform(0, 1) * np.array([0.04, 0.0, -0.12]))
    grain = blur_gaussian(random.standard_normal(light.shape[:2], np.float32), random.uniform(0.5, 1.2))
    light = light + (interpolate(2, 10, strength) * grain / grain.std())[..., None]
    marks = np.zeros(light.shape[:2], np.float32)
    height, width = marks.shape
    for _ in range(int(random.integers(0, 4 + round(8 * strength)))):
        start = random.uniform(0, 1, 2) * (width, height)
        end = start + random.normal(0, 0.3, 2) * (width, height)
        cv2.line(marks, tuple(map(int, start)), tuple(map(int, end)), float(random.uniform(0.4, 1.0)), 1)
    if random.random() < 0.4:
        marks += 0.3 * (draw_clouds(marks.shape, 0.3, random) > 1.2)
    marks = np.clip(blur_gaussian(marks, 0.6), 0, 1)[..., None]
    return np.asarray(light + (random.choice((235.0, 40.0)) - light) * marks, np.float32)


def _raindrop(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Drops on the pane that show the scene upside down and small, with a bright and a dark rim."""
    height, width = light.shape[:2]
    turned = blur_gaussian(np.ascontiguousarray(light[::-1, ::-1]), 3.0)
    for _ in range(round(interpolate(5, 40, strength) * height * width / 2.6e5)):
        mask = np.zeros((height, width), np.float32)
        axes = tuple(int(side) for side in random.integers(5, 26, size=2))
        spot = int(random.integers(width)), int(random.integers(height))
        cv2.ellipse(mask, spot, axes, float(random.uniform(0, 180)), 0, 360, 1.0, -1)
        inner = blur_gaussian(mask, random.uniform(0.8, 2.5))
        shade = 1.0 + 0.25 * (np.mgrid[0:height, 0:width][0].astype(np.float32) - spot[1]) / max(axes)
        light = light + (turned * np.clip(shade, 0.7, 1.3)[..., None] - light) * inner[..., None]
    return np.asarray(light, np.float32)


def _underwater(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Red and contrast go, green or blue stay, particles scatter."""
    depth = np.clip(0.8 + 0.4 * draw_slope(light.shape[:2], random), 0.2, 1.6)[..., None]
    is_green = random.random() < 0.5
    fade = np.array([1.5, 0.35 if is_green else 0.6, 0.7 if is_green else 0.3]) * interpolate(0.3, 1.2, strength)
    through = np.exp(-depth * fade)
    veil = np.array([15, 130, 95] if is_green else [15, 95, 150]) * random.uniform(0.7, 1.3)
    out = light * through + veil * (1 - through)
    specks = (random.random(light.shape[:2]) < 0.0004 * strength).astype(np.float32)
    specks = np.clip(blur_gaussian(cv2.dilate(specks, np.ones((3, 3), np.uint8)), 1.5) * 2, 0, 1)[..., None]
    return np.asarray(
        blur_gaussian(np.asarray(out, np.float32), interpolate(0.4, 1.4, strength)) + 60 * specks, np.float32
    )


def _reflection(light: Light, other: Image, strength: float, random: Random) -> Light:
    """Another scene in the pane, soft, at times twice, stronger in parts."""
    mirrored = blur_gaussian(np.ascontiguousarray(other[:, ::-1]).astype(np.float32), random.uniform(0.8, 4.0))
    if random.random() < 0.4:
        mirrored = 0.6 * mirrored + 0.4 * np.roll(mirrored, (5, 7), axis=(0, 1))
    where = np.clip(0.5 + 0.5 * draw_clouds(light.shape[:2], 0.4, random), 0.0, 1.2)[..., None]
    return np.asarray(
        light * random.uniform(0.85, 1.0) + mirrored * where * interpolate(0.15, 0.5, strength), np.float32
    )


def _shadow(light: Light, other: Image, strength: float, random: Random) -> Light:
    """The shadow of something with straight or round borders, harder near it."""
    height, width = light.shape[:2]
    mask = np.zeros((height, width), np.float32)
    for _ in range(int(random.integers(1, 4))):
        corners = random.uniform(-0.1, 1.1, (int(random.integers(3, 7)), 2)) * (width, height)
        cv2.fillConvexPoly(mask, cv2.convexHull(corners.astype(np.int32)), 1.0)
    mask = blur_gaussian(mask, random.uniform(1, 8))[..., None]
    shade = interpolate(0.65, 0.25, strength) * np.array([0.94, 1.0, 1.08])
    return np.asarray(light * (1 + (shade - 1) * mask), np.float32)


def _motion_blur(light: Light, other: Image, strength: float, random: Random) -> Light:
    """The path of a hand that shakes: curved, and faster at one end."""
    size = 2 * round(interpolate(4, 14, strength)) + 1
    kernel = np.zeros((size, size), np.float32)
    place, angle = np.array([size / 2, size / 2]), random.uniform(0, 2 * np.pi)
    for _ in range(size * 2):
        angle += random.normal(0, 0.15)
        place = np.clip(place + 0.5 * np.array([np.cos(angle), np.sin(angle)]), 0, size - 1)
        kernel[int(place[1]), int(place[0])] += random.uniform(0.5, 1.5)
    return convolve(light, centred(kernel / kernel.sum()))


def centred(kernel: Light) -> Light:
    """The kernel with its centre of mass in its middle, so that the blurred picture lies where the sharp one does."""
    middle = (kernel.shape[0] - 1) / 2
    down, right = (middle - float((kernel * places).sum()) for places in np.mgrid[: len(kernel), : len(kernel)])
    reach = int(np.ceil(max(abs(down), abs(right)))) + 1
    wide = np.pad(kernel, reach)
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    moved = cv2.warpAffine(wide, matrix, wide.shape[::-1], flags=cv2.INTER_LINEAR)
    return np.asarray(moved / moved.sum(), np.float32)


def _defocus_blur(light: Light, other: Image, strength: float, random: Random) -> Light:
    """A disc, or one that grows towards a side."""
    radius = interpolate(1.5, 6.0, strength)
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    blurred = convolve(light, disc / disc.sum())
    if random.random() < 0.5:
        return blurred
    where = np.clip(0.7 + 0.6 * draw_slope(light.shape[:2], random), 0, 1)[..., None]
    return np.asarray(light + (blurred - light) * where, np.float32)


CHAINS: dict[str, Step] = {
    "mixed": _mixed, "rain": _rain, "haze": _haze, "snow": _snow, "low_light": _low_light, "old_photo": _old_photo,
    "raindrop": _raindrop, "underwater": _underwater, "reflection": _reflection, "shadow": _shadow,
    "motion_blur": _motion_blur, "defocus_blur": _defocus_blur,
}  # fmt: skip


def _line(size: int, degrees: float) -> Light:
    """A line through the middle of a square kernel, of sum 1; 0 degrees is upright."""
    size |= 1
    kernel = np.zeros((size, size), np.float32)
    kernel[:, size // 2] = 1.0
    kernel = cv2.warpAffine(kernel, cv2.getRotationMatrix2D((size // 2, size // 2), degrees, 1.0), (size, size))
    return np.asarray(kernel / kernel.sum(), np.float32)


# --- what restorers rightly do ----------------------------------------------------------------------------------------


def toned(scene: Scene, random: Random) -> Image:
    """A gamma of 0.6 to 1.7, or more or less contrast about the middle."""
    light = scene.gt.astype(np.float32) / 255.0
    if random.random() < 0.6:
        return to_bytes(255.0 * light ** np.exp(random.uniform(-0.5, 0.5)))
    bend = random.uniform(-0.35, 0.5)
    return to_bytes(255.0 * (light + bend * light * (1 - light) * (2 * light - 1)))


def displaced(scene: Scene, random: Random) -> Image:
    """A smooth displacement of at most 0.5 to 3 px."""
    height, width = scene.gt.shape[:2]
    fields = [draw_clouds((height, width), 0.8, random) + random.normal() for _ in range(2)]
    most = random.uniform(0.5, 3.0) * max(height, width) / 1024
    size = max(float(np.hypot(*fields).max()), 1e-6)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = (place + field * most / size for place, field in zip((x, y), fields, strict=True))
    return np.asarray(cv2.remap(scene.gt, np.float32(x), np.float32(y), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))


def resynthesised(scene: Scene, random: Random) -> Image:
    """Texture finer than about 1.5 px is drawn anew: the same energy in the same places, other values."""
    light = scene.gt.astype(np.float32)
    base = blur_gaussian(light, random.uniform(0.7, 1.5))
    fine = light - base
    height, width = fine.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    off = [blur_gaussian(random.standard_normal((height, width), np.float32), 3.0) for _ in range(2)]
    far = random.uniform(1.5, 4.0)
    x, y = (place + far * field / field.std() for place, field in zip((x, y), off, strict=True))
    other = cv2.remap(fine, np.float32(x), np.float32(y), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return to_bytes(base + other * random.uniform(0.7, 1.3))


def nearly(scene: Scene, random: Random) -> Image:
    """A tenth to a third of the degradation is left."""
    left = random.uniform(0.1, 0.3)
    return to_bytes(scene.gt * (1 - left) + scene.lq.astype(np.float32) * left)


def encoded(scene: Scene, random: Random) -> Image:
    """JPEG of quality 70 to 95, or WebP."""
    quality = int(random.integers(70, 96))
    if random.random() < 0.6:
        return encode_jpeg(scene.gt, quality)
    data = cv2.imencode(".webp", np.ascontiguousarray(scene.gt[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


FREEDOMS: dict[str, Callable[[Scene, Random], Image]] = {
    "toned": toned, "displaced": displaced, "resynthesised": resynthesised, "nearly": nearly, "encoded": encoded,
    **{name: GOOD[name] for name in ("contrast", "saturation", "denoised", "sharpened")},
}  # fmt: skip


def restored(scene: Scene, random: Random) -> tuple[str, Image]:
    """The true gt with one to three freedoms, each drawn anew, and their names."""
    names = [str(name) for name in random.permutation(list(FREEDOMS))[: int(random.integers(1, 4))]]
    for name in names:
        scene = Scene(gt=FREEDOMS[name](scene, random), lq=scene.lq, other=scene.other)
    return "+".join(names), scene.gt


# --- faults that neither training nor the other bench has -------------------------------------------------------------


def relit(scene: Scene, strength: float, random: Random) -> Image:
    """The light grows across the picture, by 15 to 80 % from side to side, or about a place."""
    field = (
        draw_slope(scene.gt.shape[:2], random)
        if random.random() < 0.5
        else draw_clouds(scene.gt.shape[:2], 0.7, random)
    )
    field = field / np.abs(field).max()
    return to_bytes(scene.gt * np.exp(interpolate(0.15, 0.6, strength) * field)[..., None])


def rebalanced(scene: Scene, strength: float, random: Random) -> Image:
    """Another white balance, warmer or colder, by 6 to 24 %."""
    by = interpolate(0.06, 0.24, strength) * random.choice((-1, 1))
    return to_bytes(scene.gt * np.array([1 + by, 1.0, 1 - by]))


def crushed(scene: Scene, strength: float, random: Random) -> Image:
    """Lights and shades are cut off: contrast grows by 50 to 160 %."""
    middle = random.uniform(90, 160)
    return to_bytes(middle + (scene.gt - middle) * interpolate(1.5, 2.6, strength))


def ringing(scene: Scene, strength: float, random: Random) -> Image:
    """Waves beside edges, as a sharp cut in the spectrum leaves them."""
    light = scene.gt.astype(np.float32)
    waves = blur_gaussian(light, 1.5) - 2 * blur_gaussian(light, 2.5) + blur_gaussian(light, 4.0)
    return to_bytes(light + interpolate(1.0, 4.0, strength) * waves)


def flattened(scene: Scene, strength: float, random: Random) -> Image:
    """What is smooth already, a sky or a wall, becomes a plain gradient."""
    light = scene.gt.astype(np.float32)
    activity = blur_gaussian(np.abs(light - blur_gaussian(light, 2.0)).mean(axis=2), 6.0)
    where = np.clip((np.quantile(activity, interpolate(0.2, 0.6, strength)) - activity) / 1.5 + 0.5, 0, 1)
    return to_bytes(
        light + (blur_gaussian(light, interpolate(6, 20, strength)) - light) * blur_gaussian(where, 3.0)[..., None]
    )


def colourised(scene: Scene, strength: float, random: Random) -> Image:
    """Colours that the photograph does not tell: regions by brightness get hues of their own."""
    grey = cv2.cvtColor(scene.gt, cv2.COLOR_RGB2GRAY)
    field = blur_gaussian(grey.astype(np.float32), 6.0) / 255.0 + 0.15 * draw_clouds(grey.shape, 0.3, random)
    hue = (random.uniform(0, 180) + 120 * field) % 180
    saturation = interpolate(50, 140, strength) * np.clip(0.6 + 0.4 * draw_clouds(grey.shape, 0.4, random), 0, 1)
    hsv = np.stack([hue, saturation, grey.astype(np.float32)], axis=2)
    return np.asarray(cv2.cvtColor(to_bytes(hsv), cv2.COLOR_HSV2RGB))


def redrawn(scene: Scene, strength: float, random: Random) -> Image:
    """All is drawn again from memory: things bend and move by 4 to 20 px, texture is invented."""
    height, width = scene.gt.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    fields = [draw_clouds((height, width), 0.12, random) for _ in range(2)]
    most = interpolate(4, 20, strength) * max(height, width) / 768
    x, y = (place + field * most / 2.5 for place, field in zip((x, y), fields, strict=True))
    bent = cv2.remap(scene.gt, np.float32(x), np.float32(y), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    base = blur_gaussian(bent.astype(np.float32), interpolate(1.0, 2.5, strength))
    fine = scene.other.astype(np.float32).mean(axis=2)
    fine -= blur_gaussian(fine, 2.0)
    return to_bytes(base + 0.7 * fine[..., None])


def patched(scene: Scene, strength: float, random: Random) -> Image:
    """A region of 20 to 70 % of the side is painted in a plain or graded colour, as what was covered or taken away."""
    blob = draw_outline(scene.gt, interpolate(0.2, 0.7, strength) * min(scene.gt.shape[:2]), random)
    light = blur_gaussian(scene.gt.astype(np.float32), 25.0)
    return blend(scene.gt, to_bytes(light + random.uniform(-20, 20, 3)), blob)


def retoned_copy(scene: Scene, strength: float, random: Random) -> Image:
    """The photograph as it was, only a little brighter, more colourful or smoother; the weaker, the more of it."""
    light = scene.lq.astype(np.float32)
    light = 255.0 * (np.clip(light, 0, 255) / 255.0) ** np.exp(random.uniform(-0.15, 0.15))
    grey = light.mean(axis=2, keepdims=True)
    light = grey + (light - grey) * random.uniform(0.9, 1.2)
    light += random.uniform(0.0, 0.25) * (light - blur_gaussian(np.asarray(light, np.float32), 1.0))
    return to_bytes(light + (scene.gt - light) * interpolate(0.15, 0.0, strength))


SLOW: dict[str, tuple[str, Fault]] = {
    "relit": ("colour", relit),
    "rebalanced": ("colour", rebalanced),
    "crushed": ("colour", crushed),
    "ringing": ("artefact", ringing),
    "flattened": ("detail", flattened),
    "colourised": ("colour", colourised),
    "redrawn": ("content", redrawn),
    "patched": ("content", patched),
    "retoned copy": ("unrestored", retoned_copy),
}
EVERY_FAULT: dict[str, tuple[str, Fault]] = {**FAULTS, **UNSEEN, **SLOW}
# Faults of colour that a class's own repair resembles: these do not count as faults there
NO_FAULT: dict[str, tuple[str, ...]] = {
    "underwater": ("rebalanced", "cast", "toned apart", "relit"),
    "haze": ("relit",),
    "low_light": ("relit", "crushed"),
    "old_photo": ("rebalanced", "cast", "toned apart", "drained", "hue", "recoloured"),
    "shadow": ("relit",),
}
