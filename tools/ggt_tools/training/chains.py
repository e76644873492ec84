"""Random chains of degradations, because real photographs have several at once.

    chain = random_chain(random, other)
    lq = chain.apply(gt)

A chain starts with a kind (rain, haze, night, an old print, ...). Then follow blur, a smaller size, noise and
compression, in the order of cameras and networks, up to twice (second order, as Real-ESRGAN: Wang et al., ICCVW 2021).
A chain gives equal pixels each time, so it also shows how a change of gt would have changed lq.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.training import synthetic_degradations as degrading
from ggt_tools.training.synthetic_degradations import (
    Light,
    Step,
    blur_gaussian,
    convolve,
    draw_clouds,
    encode_jpeg,
    interpolate,
    to_bytes,
)
from ggt_tools.training.video import compress_frame

Random = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain of degradations.

    Attributes:
        kind: The degradation that it starts with, a key of KINDS.
        steps: (function, strength 0..1, seed) of each step.
    """

    kind: str
    steps: tuple[tuple[Step, float, int], ...]

    def apply(self, image: Image) -> Image:
        """Degrade an image, uint8 RGB (height, width, 3). Equal images give equal pixels."""
        light = image.astype(np.float32)
        for step, strength, seed in self.steps:
            light = step(light, strength, np.random.default_rng(seed))
        return to_bytes(light)


def random_chain(random: Random, other: Image, kind: str = "") -> Chain:
    """Draw a chain.

    Args:
        random: Source of every random choice.
        other: Another photograph of the same size, for reflections and shadows.
        kind: A key of KINDS; "" to draw one by its share.
    """
    names = list(KINDS)
    kind = kind or names[int(random.choice(len(names), p=[KINDS[name][0] for name in names]))]
    first = KINDS[kind][1]
    severity = random.uniform(0.0, 1.0)
    steps: list[Step] = [partial(WITH_ANOTHER[kind], other)] if kind in WITH_ANOTHER else list(first)
    if kind == "mixed":
        steps = _draw_camera_steps(random, 0.75)
        if random.random() < 0.5:
            steps += _draw_camera_steps(random, 0.45)
    elif random.random() < 0.6:
        steps += _draw_camera_steps(random, 0.35)
    steps.append(save)
    strengths = [float(np.clip(severity + random.normal(0, 0.2), 0, 1)) for _ in steps]
    return Chain(
        kind=kind,
        steps=tuple(
            (step, strength, int(random.integers(2**31))) for step, strength in zip(steps, strengths, strict=True)
        ),
    )


def _draw_camera_steps(random: Random, chance: float) -> list[Step]:
    """Draw the steps of a camera, each with the same probability."""
    return [step for step in (soften, reduce_size, add_grain, compress) if random.random() < chance]


# --- steps of every camera ----------------------------------------------------------------------------------------


def soften(light: Light, strength: float, random: Random) -> Light:
    """Blur by a round or oval Gaussian, a disc, or a sinc, which rings."""
    which = random.random()
    if which < 0.45:
        return blur_gaussian(light, interpolate(0.5, 3.0, strength))
    if which < 0.65:
        return degrading.blur_oval(light, strength, random)
    if which < 0.85:
        return degrading.defocus(light, strength, random)
    reach = int(random.integers(4, 11))
    cutoff = interpolate(2.4, 1.0, strength)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    kernel = np.sinc(cutoff * x / np.pi) * np.sinc(cutoff * y / np.pi)
    return convolve(light, np.asarray(kernel / kernel.sum(), np.float32))


def reduce_size(light: Light, strength: float, random: Random) -> Light:
    """Reduce by 1.2 to 4 and enlarge again, with random interpolations."""
    cv2 = opencv()
    ways = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    scale = 1.0 / interpolate(1.2, 4.0, strength)
    small = cv2.resize(light, None, fx=scale, fy=scale, interpolation=ways[random.integers(3)])
    size = light.shape[1], light.shape[0]
    return np.asarray(cv2.resize(small, size, interpolation=ways[random.integers(1, 3)]), np.float32)


def add_grain(light: Light, strength: float, random: Random) -> Light:
    """Add sensor noise: of one or three colours, fine or coarse, uniform or by brightness."""
    cv2 = opencv()
    sigma = interpolate(2.0, 28.0, strength**1.5)
    height, width = light.shape[:2]
    coarse = random.choice((1.0, 1.0, 1.5, 2.5))
    shape = int(height / coarse) + 1, int(width / coarse) + 1
    grain = random.standard_normal((*shape, 3), np.float32)
    if random.random() < 0.3:
        grain = np.repeat(grain[..., :1], 3, axis=2)
    if coarse > 1.0:
        grain = np.asarray(cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    else:
        grain = grain[:height, :width]
    level = np.sqrt(np.clip(light, 0, 255) / 128.0 * 0.8 + 0.2) if random.random() < 0.5 else 1.0
    return np.asarray(light + sigma * grain * level, np.float32)


def compress(light: Light, strength: float, random: Random) -> Light:
    """Compress as JPEG of quality 90 down to 18, or as a video frame of QP 24 to 40."""
    if random.random() < 0.2:
        return compress_frame(to_bytes(light), qp=round(interpolate(24, 40, strength))).astype(np.float32)
    return encode_jpeg(to_bytes(light), round(interpolate(90, 18, strength**0.8))).astype(np.float32)


def save(light: Light, strength: float, random: Random) -> Light:
    """Add slight noise, and in most cases JPEG of quality 40 to 97."""
    light = light + random.uniform(0.0, 1.0) * random.standard_normal(light.shape, np.float32)
    if random.random() < 0.3:
        return light
    return encode_jpeg(to_bytes(light), int(random.integers(40 if random.random() < 0.3 else 75, 98))).astype(
        np.float32
    )


# --- kinds -----------------------------------------------------------------------------------------------------------


def darken(light: Light, strength: float, random: Random) -> Light:
    """Darken by a gamma of 1.2 to 3 and a gain, tint, and add noise that grows as the light falls."""
    gamma = random.uniform(1.2, 1.5 + 1.5 * strength)
    gain = interpolate(0.8, 0.2, strength)
    tint = np.exp(random.uniform(-0.05, 0.05, 3))
    dim = 255.0 * gain * np.power(np.clip(light, 0, 255) / 255.0, gamma) * tint
    if random.random() < 0.25:  # lamps
        glow = draw_clouds(light.shape[:2], 0.3, random)[..., None]
        dim = dim * np.exp(0.5 * np.clip(glow, -1.5, 1.5))
    noise = interpolate(0.0, 6.0, random.random() * strength)
    shot = interpolate(0.05, 0.5, strength)
    return np.asarray(
        dim + random.standard_normal(light.shape, np.float32) * np.sqrt(noise**2 + shot * np.maximum(dim, 0)),
        np.float32,
    )


def fade_print(light: Light, strength: float, random: Random) -> Light:
    """Age like a colour print: pale, with dyes that faded differently, soft, with grain."""
    grey = light.mean(axis=2, keepdims=True)
    pale = grey + (light - grey) * interpolate(0.9, 0.25, strength)
    gains = np.array([1.0, random.uniform(0.85, 1.0), random.uniform(0.6, 1.0)], np.float32)
    black = np.array([random.uniform(10, 60), random.uniform(5, 45), random.uniform(0, 45)], np.float32) * strength
    white = random.uniform(200, 255)
    return _age(black + (white - black) / 255.0 * pale * gains, strength, random)


def make_grey_print(light: Light, strength: float, random: Random) -> Light:
    """Age like a print without colours, toned brown or not."""
    grey = np.repeat(light @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)
    tone = np.array([1.0, 0.93, 0.8], np.float32)
    tone = 1.0 + (tone - 1.0) * (random.uniform(0.2, 1.2) if random.random() < 0.6 else 0.0)
    black, white = random.uniform(0, 60) * strength, random.uniform(205, 255)
    return _age(black + (white - black) / 255.0 * grey * tone, strength, random)


def _age(light: Light, strength: float, random: Random) -> Light:
    """Add blur, grain, stains, scratches, creases and specks of a print."""
    cv2 = opencv()
    height, width = light.shape[:2]
    if random.random() < 0.6:
        light = blur_gaussian(light, random.uniform(0.6, 2.2))
    grain = blur_gaussian(random.standard_normal((height, width), np.float32), random.uniform(0.5, 1.3))
    light = light + (random.uniform(0, 10) * grain / grain.std())[..., None]
    if random.random() < 0.4:
        stain = np.clip(draw_clouds((height, width), random.uniform(0.15, 0.4), random), 0, 2)[..., None]
        light = light * (1.0 + random.uniform(-0.25, 0.2) * stain * np.array([0.7, 0.9, 1.1], np.float32))
    marks = np.zeros((height, width), np.float32)
    for _ in range(int(random.integers(0, 2 + round(18 * strength)))):
        start = random.uniform(0, (width, height))
        along = random.normal(0, 10 + 120 * random.random() ** 3, 2)
        points = np.linspace(0, 1, 5)[:, None] * along + start + np.cumsum(random.normal(0, 2.0, (5, 2)), axis=0)
        cv2.polylines(
            marks, [np.rint(points).astype(np.int32)], False, float(random.uniform(0.3, 1.0)),
            int(random.integers(1, 4 if random.random() < 0.3 else 2)), cv2.LINE_AA,
        )  # fmt: skip
    specks = (random.random((height, width)) < 0.0008 * strength).astype(np.float32)
    marks = np.maximum(marks, cv2.dilate(specks, np.ones((2, 2), np.uint8)))
    marks = blur_gaussian(marks, 0.6)[..., None]
    colour = random.uniform(200, 250) if random.random() < 0.75 else random.uniform(0, 50)
    return np.asarray(light + (colour - light) * marks, np.float32)


def add_haze(light: Light, strength: float, random: Random) -> Light:
    """Add airlight, thin to nearly opaque, denser to one side."""
    height, width = light.shape[:2]
    if random.random() < 0.5:  # denser towards the upper border
        depth = np.repeat(np.linspace(1.4, 0.2, height, dtype=np.float32)[:, None], width, axis=1)
    else:
        depth = 0.6 + 0.4 * degrading.draw_slope((height, width), random)
    depth = depth + 0.2 * draw_clouds((height, width), 0.25, random)
    through = np.power(1.0 - interpolate(0.3, 0.92, strength), np.clip(depth, 0.15, 1.6))[..., None]
    airlight = random.uniform(140, 240) + random.uniform(-15, 15, 3)
    return np.asarray(light * through + airlight * (1.0 - through), np.float32)


def add_rain(light: Light, strength: float, random: Random) -> Light:
    """Add one to three layers of streaks and a veil. Near streaks are longer, wider and softer."""
    angle = random.uniform(-35, 35)
    veil = interpolate(0.0, 0.3, strength)
    light = light * (1 - veil) + random.uniform(150, 220) * veil
    for _ in range(int(random.integers(1, 4))):
        size = int(random.integers(9, 50)) | 1
        kernel = degrading.streak_kernel(size, angle + random.normal(0, 3))
        seeds = (random.random(light.shape[:2]) < interpolate(0.001, 0.012, strength) * 20 / size).astype(np.float32)
        lines = blur_gaussian(convolve(seeds, kernel) * random.uniform(4, 12), random.uniform(0.4, 1.4))
        lines = np.clip(lines, 0, random.uniform(0.3, 0.8))[..., None]
        light = np.asarray(light * (1 - lines) + random.uniform(190, 250) * lines, np.float32)
    return light


def add_snow(light: Light, strength: float, random: Random) -> Light:
    """Add flakes of three distances, each drawn out along the wind, and a veil."""
    cv2 = opencv()
    veil = interpolate(0.0, 0.35, strength)
    light = light * (1 - veil) + 225.0 * veil
    wind = random.uniform(0, 180)
    for radius in (1, 2, int(random.integers(3, 8))):
        chance = interpolate(0.0006, 0.006, strength) / radius**1.6
        centres = (random.random(light.shape[:2]) < chance).astype(np.float32)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        flakes = blur_gaussian(cv2.dilate(centres, disc), 0.35 * radius + 0.3)
        if random.random() < 0.5:
            flakes = 1.4 * convolve(flakes, degrading.streak_kernel(2 * radius + 3, wind))
        flakes = np.clip(flakes, 0, random.uniform(0.5, 0.95))[..., None]
        light = np.asarray(light + (random.uniform(225, 255) - light) * flakes, np.float32)
    return light


def add_water(light: Light, strength: float, random: Random) -> Light:
    """Add water as degrading.add_water does, sometimes until only one colour is left."""
    out = degrading.add_water(light, random.uniform(0.6, 1.6) * strength, random)
    if random.random() < 0.4:  # the water transmits only one colour
        luma = out @ np.array([[0.2], [0.6], [0.2]], np.float32)
        through = np.array([random.uniform(0.1, 0.5), 1.0, random.uniform(0.4, 1.0)], np.float32)
        out = out + interpolate(0.3, 0.9, strength) * (luma * through - out)
    return blur_gaussian(out, random.uniform(0.4, 1.6)) if random.random() < 0.5 else out


def shake(light: Light, strength: float, random: Random) -> Light:
    """Blur along a random path or a line, like camera shake."""
    if random.random() < 0.4:
        return degrading.blur_by_motion(light, strength, random)
    cv2 = opencv()
    reach = round(interpolate(3, 14, strength))
    steps = random.normal(0, 1, (24, 2))
    path = np.cumsum(np.cumsum(steps, axis=0) * 0.3 + random.normal(0, 1, 2), axis=0)
    path = (path - path.mean(axis=0)) / max(float(np.abs(path - path.mean(axis=0)).max()), 1e-3) * reach
    kernel = np.zeros((2 * reach + 3,) * 2, np.float32)
    cv2.polylines(kernel, [np.rint((path + reach + 1) * 16).astype(np.int32)], False, 1.0, 1, cv2.LINE_AA, 4)
    return convolve(light, kernel / kernel.sum())


def add_reflection(other: Image, light: Light, strength: float, random: Random) -> Light:
    """Add the reflection of another scene in a pane, soft or sharp, everywhere or in parts."""
    image = blur_gaussian(other.astype(np.float32), random.uniform(0.5, 4.0))
    share = interpolate(0.12, 0.5, strength)
    where = 1.0
    if random.random() < 0.5:
        where = 1.0 / (1.0 + np.exp(-4.0 * draw_clouds(light.shape[:2], 0.4, random)))[..., None]
    return np.asarray(light * (1.0 - 0.5 * share * where) + image * share * where, np.float32)


def add_glare(light: Light, strength: float, random: Random) -> Light:
    """Add a lamp in the image: a halo, rays and a veil."""
    height, width = light.shape[:2]
    x, y = random.uniform(0, width), random.uniform(0, height)
    yy, xx = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot(xx - x, yy - y)
    glow = np.exp(-distance / random.uniform(20, 120)) * interpolate(80, 300, strength)
    rays = np.zeros((height, width), np.float32)
    for _ in range(int(random.integers(0, 7))):
        angle = random.uniform(0, np.pi)
        across = np.abs(np.sin(angle) * (xx - x) - np.cos(angle) * (yy - y))
        rays += np.exp(-across / random.uniform(1, 5)) * np.exp(-distance / random.uniform(60, 300))
    colour = np.array([1.0, random.uniform(0.8, 1.0), random.uniform(0.6, 1.0)], np.float32)
    return np.asarray(light + (glow + rays * interpolate(40, 160, strength))[..., None] * colour, np.float32)


def add_shadow(other: Image, light: Light, strength: float, random: Random) -> Light:
    """Add the shadow of an object: an outline from another photograph, or a smooth one, slightly bluer."""
    if random.random() < 0.3:
        return degrading.add_shadow(light, strength, random)
    cv2 = opencv()
    grey = blur_gaussian(cv2.cvtColor(other, cv2.COLOR_RGB2GRAY).astype(np.float32), random.uniform(4, 14))
    where = (grey < np.quantile(grey, random.uniform(0.2, 0.5))).astype(np.float32)
    where = blur_gaussian(where, random.uniform(0.6, 6.0))[..., None]
    shade = interpolate(0.75, 0.25, strength) * np.array([0.95, 1.0, 1.07], np.float32)
    return np.asarray(light * (1.0 + (shade - 1.0) * where), np.float32)


KINDS: dict[str, tuple[float, tuple[Step, ...]]] = {  # (share, steps before the steps of a camera)
    "mixed": (0.26, ()),
    "low_light": (0.13, (darken,)),
    "old_photo": (0.06, (fade_print,)),
    "old_photo_grey": (0.06, (make_grey_print,)),
    "haze": (0.08, (add_haze,)),
    "rain": (0.07, (add_rain,)),
    "snow": (0.05, (add_snow,)),
    "raindrop": (0.03, (degrading.add_drops,)),
    "underwater": (0.06, (add_water,)),
    "motion_blur": (0.05, (shake,)),
    "defocus_blur": (0.03, (degrading.defocus,)),
    "reflection": (0.05, ()),  # see WITH_ANOTHER
    "shadow": (0.04, ()),
    "glare": (0.03, (add_glare,)),
}
WITH_ANOTHER: dict[str, Callable[[Image, Light, float, Random], Light]] = {  # kinds that need another photograph
    "reflection": add_reflection,
    "shadow": add_shadow,
}
FREE = ("low_light", "haze", "underwater", "old_photo", "old_photo_grey")  # kinds that hide tone and white balance
