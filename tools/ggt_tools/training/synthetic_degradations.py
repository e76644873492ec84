"""Degrade clean photographs, so that benches and training have pairs with a known ground truth.

    lq = degrade(gt, "haze", strength=0.5, seed=7)

No function models the real degradation exactly, and no such pair is published. Each result also has slight noise and
compression, as real photographs have.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv

Plane = npt.NDArray[np.float32]  # (height, width)
Light = npt.NDArray[np.float32]  # (height, width, 3), 0..255, not yet rounded
Step = Callable[[Light, float, np.random.Generator], Light]


def degrade(image: Image, kind: str, *, strength: float, seed: int) -> Image:
    """Degrade a photograph. Equal seeds give equal pixels.

    Args:
        image: uint8 RGB (height, width, 3).
        kind: A key of KINDS.
        strength: 0 (slight) to 1 (strong).
        seed: Seed of all random choices.
    """
    random = np.random.default_rng([seed, 1])
    light = image.astype(np.float32)
    for step in KINDS[kind]:
        light = step(light, strength, random)
    return finish(light, random)


def finish(light: Light, random: np.random.Generator) -> Image:
    """Add what every camera adds: slight noise and JPEG of a good quality."""
    light = light + random.uniform(0.2, 1.2) * random.standard_normal(light.shape, np.float32)
    return encode_jpeg(to_bytes(light), int(random.integers(84, 97)))


def blur(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Blur by a Gaussian of 0.8 to 2.8 px."""
    return blur_gaussian(light, interpolate(0.8, 2.8, strength) * random.uniform(0.9, 1.1))


def reduce_and_enlarge(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Reduce and enlarge again, like a small image that was enlarged."""
    cv2 = opencv()
    scale = 1.0 / (interpolate(1.4, 3.2, strength) * random.uniform(0.9, 1.1))
    size = light.shape[1], light.shape[0]
    small = cv2.resize(light, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.float32)


def add_noise(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Add shot noise and read noise of a sensor, slightly smoothed by demosaicing in half of the cases."""
    sigma = interpolate(5.0, 24.0, strength) * random.uniform(0.9, 1.1)
    grain = random.standard_normal(light.shape, np.float32)
    if random.random() < 0.5:
        grain = blur_gaussian(grain, 0.7)
        grain /= grain.std()
    shot = np.sqrt(np.clip(light, 0, 255) / 128.0 * 0.7 + 0.3)
    return np.asarray(light + sigma * grain * shot, np.float32)


def compress(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Compress as JPEG of quality 45 down to 12."""
    quality = interpolate(45.0, 12.0, strength) * random.uniform(0.9, 1.1)
    return encode_jpeg(to_bytes(light), int(quality)).astype(np.float32)


def add_haze(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Add airlight that grows with distance, which grows to one side and varies by regions."""
    depth = 0.6 + 0.4 * draw_slope(light.shape[:2], random) + 0.25 * draw_clouds(light.shape[:2], 0.25, random)
    through = np.power(1.0 - interpolate(0.3, 0.8, strength), np.clip(depth, 0.2, 1.6))[..., None]
    airlight = random.uniform(185, 235) + random.uniform(-10, 10, 3)
    return np.asarray(light * through + airlight * (1.0 - through), np.float32)


def darken(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Darken, tint slightly, and add noise that dark photographs have."""
    gain, gamma = interpolate(0.55, 0.12, strength), random.uniform(1.0, 1.5)
    tint = random.uniform(0.94, 1.06, 3)
    dim = 255.0 * gain * np.power(np.clip(light, 0, 255) / 255.0, gamma) * tint
    read, shot = interpolate(1.0, 3.0, strength), interpolate(0.08, 0.4, strength)
    return np.asarray(dim + random.standard_normal(light.shape, np.float32) * np.sqrt(read**2 + shot * dim), np.float32)


def fade_print(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Age like an old print: pale, partly without colour or brownish, with grain and dust."""
    cv2 = opencv()
    grey = np.repeat(light.mean(axis=2, keepdims=True), 3, axis=2)
    pale = grey + (light - grey) * interpolate(0.75, 0.1, strength)
    brown = np.array([1.0, 0.93, 0.78], np.float32) * interpolate(0.25, 1.0, strength)
    brown += 1.0 - interpolate(0.25, 1.0, strength)
    black, white = interpolate(12.0, 55.0, strength), interpolate(245.0, 205.0, strength)
    out = black + (white - black) / 255.0 * pale * brown
    grain = blur_gaussian(random.standard_normal(light.shape[:2], np.float32), random.uniform(0.5, 1.2))
    out = out + (interpolate(2.0, 9.0, strength) * grain / grain.std())[..., None]
    dust = np.zeros(light.shape[:2], np.float32)
    for _ in range(int(interpolate(0, 12, strength) * light.shape[0] * light.shape[1] / 2.6e5)):
        x, y = random.integers(0, light.shape[1]), random.integers(0, light.shape[0])
        along = random.normal(0, 18, 2)
        cv2.line(dust, (int(x), int(y)), (int(x + along[0]), int(y + along[1])), float(random.uniform(0.3, 0.9)), 1)
    return np.asarray(out + (235.0 - out) * dust[..., None], np.float32)


def defocus(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Blur by a disc of 1.5 to 5 px, like a lens out of focus."""
    radius = interpolate(1.5, 5.0, strength) * random.uniform(0.9, 1.1)
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return convolve(light, disc / disc.sum())


def blur_oval(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Blur by a Gaussian that is two to five times as long as wide, in any direction."""
    along = interpolate(1.2, 4.5, strength) * random.uniform(0.9, 1.1)
    across, angle = along * random.uniform(0.2, 0.5), random.uniform(0, np.pi)
    reach = int(np.ceil(3 * along))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    bell = np.exp(-0.5 * ((u / along) ** 2 + (v / max(across, 0.4)) ** 2)).astype(np.float32)
    return convolve(light, bell / bell.sum())


def add_drops(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Add drops of 6 to 28 px on the lens, behind which the scene is blurred, brighter and displaced."""
    cv2 = opencv()
    height, width = light.shape[:2]
    where = np.zeros((height, width), np.float32)
    for _ in range(round(interpolate(4, 24, strength) * height * width / 1e5)):
        axes = tuple(int(side) for side in random.integers(6, 29, size=2))
        spot = int(random.integers(width)), int(random.integers(height))
        cv2.ellipse(where, spot, axes, float(random.uniform(0, 180)), 0, 360, float(random.uniform(0.6, 1)), -1)
    where = blur_gaussian(where, random.uniform(1, 4))[..., None]
    off = tuple(int(by) for by in random.integers(-24, 25, size=2))
    behind = blur_gaussian(np.roll(light, off, axis=(0, 1)), random.uniform(2, 5)) * random.uniform(1.0, 1.15) + 6.0
    return np.asarray(light + (behind - light) * where, np.float32)


def add_specks(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Add dirt of a scan: dark or coloured specks of 1 to 4 px."""
    cv2 = opencv()
    veil = np.zeros(light.shape[:2], np.float32)
    for radius in (1, 2, 3):
        grains = (random.random(veil.shape) < interpolate(0.0002, 0.0015, strength)).astype(np.float32)
        window = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        veil = np.maximum(veil, blur_gaussian(cv2.dilate(grains, window), random.uniform(0.4, 0.9)))
    colour = random.uniform(0, 200, 3) if random.random() < 0.4 else np.full(3, random.uniform(0, 60))
    veil = np.minimum(veil * random.uniform(0.6, 1.0), 1.0)[..., None]
    return np.asarray(light + (colour - light) * veil, np.float32)


def add_shadow(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Darken an area with soft borders, and make it slightly bluer."""
    field = draw_clouds(light.shape[:2], random.uniform(0.25, 0.6), random)
    where = blur_gaussian(
        (field > np.quantile(field, random.uniform(0.3, 0.7))).astype(np.float32), random.uniform(1, 12)
    )
    shade = interpolate(0.7, 0.25, strength) * np.array([0.96, 1.0, 1.06], np.float32)
    return np.asarray(light * (1.0 + (shade - 1.0) * where[..., None]), np.float32)


def add_water(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Reduce red most, and add a blue and green veil that grows with distance."""
    depth = 0.6 + 0.4 * draw_slope(light.shape[:2], random) + 0.25 * draw_clouds(light.shape[:2], 0.25, random)
    fade = np.array([1.0, random.uniform(0.3, 0.6), random.uniform(0.2, 0.5)]) * interpolate(0.4, 1.4, strength)
    through = np.exp(-np.clip(depth, 0.1, 1.6)[..., None] * fade)
    veil = np.array([random.uniform(10, 60), random.uniform(110, 190), random.uniform(120, 200)])
    return np.asarray(light * through + veil * (1.0 - through), np.float32)


def add_reflection(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Add a reflection in a pane: the scene itself, rotated and blurred."""
    mirrored = blur_gaussian(np.ascontiguousarray(light[::-1, ::-1]), random.uniform(1.0, 5.0))
    return np.asarray(light * random.uniform(0.85, 1.0) + mirrored * interpolate(0.10, 0.40, strength), np.float32)


def add_rain(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Add streaks in one direction and a thin veil."""
    size = int(random.integers(15, 41)) | 1
    kernel = streak_kernel(size, random.uniform(-35, 35))
    seeds = (random.random(light.shape[:2]) < interpolate(0.004, 0.02, strength)).astype(np.float32)
    lines = np.clip(convolve(seeds, kernel) * random.uniform(6, 11), 0, 0.75)
    lines = blur_gaussian(lines, random.uniform(0.4, 0.9))[..., None]
    veil = interpolate(0.05, 0.25, strength)
    veiled = light * (1 - veil) + 200.0 * veil
    return np.asarray(veiled * (1 - lines) + random.uniform(205, 245) * lines, np.float32)


def blur_by_motion(light: Light, strength: float, random: np.random.Generator) -> Light:
    """Blur along a line of 7 to 23 px."""
    return convolve(light, streak_kernel(2 * round(interpolate(3, 11, strength)) + 1, random.uniform(0, 180)))


KINDS: dict[str, tuple[Step, ...]] = {
    "blur": (blur,),
    "resized": (reduce_and_enlarge,),
    "noise": (add_noise,),
    "compression": (compress,),
    "haze": (add_haze,),
    "low_light": (darken,),
    "old_photo": (fade_print,),
    "rain": (add_rain,),
    "blur and noise": (lambda light, s, r: blur(light, 0.6 * s, r), lambda light, s, r: add_noise(light, 0.5 * s, r)),
    "resized and compression": (
        lambda light, s, r: reduce_and_enlarge(light, 0.6 * s, r),
        lambda light, s, r: compress(light, 0.5 * s, r),
    ),
    "haze and noise": (add_haze, lambda light, s, r: add_noise(light, 0.3 * s, r)),
    "defocus": (defocus,),
    "oval blur": (blur_oval,),
    "oval blur and noise": (blur_oval, lambda light, s, r: add_noise(light, 0.4 * s, r)),
    "drops": (add_drops,),
    "specks": (add_specks,),
    "specks and blur": (lambda light, s, r: blur(light, 0.4 * s, r), add_specks),
    "shadow": (add_shadow,),
    "underwater": (add_water,),
    "reflection": (add_reflection,),
    "motion_blur": (blur_by_motion,),
    "motion blur and noise": (blur_by_motion, lambda light, s, r: add_noise(light, 0.3 * s, r)),
}


def encode_jpeg(image: Image, quality: int) -> Image:
    """Compress an image as JPEG, uint8 RGB (height, width, 3), and decode it again."""
    cv2 = opencv()
    data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def blur_gaussian(plane: Plane, sigma: float) -> Plane:
    """Blur by a Gaussian; `sigma` in pixels."""
    return np.asarray(opencv().GaussianBlur(plane, (0, 0), sigma), np.float32)


def convolve(plane: Plane, kernel: Plane) -> Plane:
    """Convolve a plane or an image with a kernel."""
    return np.asarray(opencv().filter2D(plane, -1, kernel), np.float32)


def streak_kernel(size: int, degrees: float) -> Plane:
    """Return a square kernel of sum 1 with a line through its centre; 0 degrees is vertical."""
    cv2 = opencv()
    upright = np.zeros((size, size), np.float32)
    upright[:, size // 2] = 1.0
    turned = cv2.warpAffine(upright, cv2.getRotationMatrix2D((size // 2, size // 2), degrees, 1.0), (size, size))
    return np.asarray(turned / turned.sum(), np.float32)


def draw_slope(shape: tuple[int, ...], random: np.random.Generator) -> Plane:
    """Return a plane that rises from -1 to 1 in a random direction."""
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return np.asarray((np.cos(angle) * x + np.sin(angle) * y) / (abs(np.cos(angle)) + abs(np.sin(angle))), np.float32)


def draw_clouds(shape: tuple[int, ...], scale: float, random: np.random.Generator) -> Plane:
    """Return smooth random values of standard deviation 1 that change over `scale` of the image's sides."""
    cv2 = opencv()
    few = max(2, round(1 / scale) + 2)
    small = random.normal(0, 1, (few, few)).astype(np.float32)
    return np.asarray(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def interpolate(low: float, high: float, share: float) -> float:
    """Interpolate linearly: `low` at share 0, `high` at share 1."""
    return low + (high - low) * share


def to_bytes(light: npt.NDArray[np.floating]) -> Image:
    """Round and clip to uint8, 0..255."""
    return np.asarray(np.rint(np.clip(light, 0, 255)), np.uint8)
