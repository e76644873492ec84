"""Degrade clean photographs for the classifier's training set, with one function for each class.

    lq = degrade(clean, "rain", np.random.default_rng(7), other=second_photograph)

No function is a physical model. Each one draws its parameters from wide ranges, so that the classifier cannot learn one
renderer. Every class gets the same capture chain (resizing, softness, noise, tone, grey, JPEG), so that none of these
indicates a class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.training import photo_effects as fx

Plane = npt.NDArray[np.float32]  # (height, width)
Light = npt.NDArray[np.float32]  # (height, width, 3), RGB, 0..1
Random = np.random.Generator
GREY_SHARES = {
    "mixed": 0.05,
    "rain": 0.25,
    "snow": 0.15,
}  # fraction of grey samples, so that grey alone does not indicate an old photograph
GREY_SHARE = 0.08  # the same for the other classes


def degrade(image: Image, name: str, random: Random, *, other: Image | None = None) -> Image:
    """Degrade one photograph.

    Args:
        image: uint8 RGB (height, width, 3), clean.
        name: A key of CLASSES.
        random: Source of every random choice.
        other: A second photograph for the reflection; None for the image itself, mirrored.

    Returns:
        uint8 RGB of the same size.
    """
    light = image.astype(np.float32) / 255.0
    if name == "reflection":
        light = _reflection(light, random, image if other is None else other)
    else:
        light = CLASSES[name](light, random)
    if name != "old_photo" and random.random() < GREY_SHARES.get(name, GREY_SHARE):
        light = fx.tint(fx.to_grey(light), random.uniform(-0.01, 0.03))
    return fx.add_capture(light, random)


def _mixed(light: Light, random: Random) -> Light:
    """Add blur, noise and compression in random order, none or several of them."""
    if random.random() < 0.3:
        return fx.change_tone(light, random)
    steps: list[Callable[[Light, Random], Light]] = [
        fx.soften,
        fx.reduce_and_enlarge,
        fx.add_noise,
        fx.compress,
    ]
    for index in random.permutation(len(steps))[: int(random.integers(1, 5))]:
        light = steps[int(index)](light, random)
    return fx.change_tone(light, random)


def _rain(light: Light, random: Random) -> Light:
    """Add one to three layers of streaks of one direction, a veil that grows with distance, and dull light."""
    shape = light.shape[:2]
    light = fx.dull_light(light, random, random.uniform(0.2, 0.8))
    depth = fx.invent_depth(light, random)
    veil = random.uniform(0.0, 0.45) * (0.5 + 0.5 * depth)[..., None]
    light = light * (1 - veil) + random.uniform(0.6, 0.85) * veil
    scale = max(shape) / 600.0
    angle = random.normal(0, 14)
    layers = int(random.integers(1, 4))
    strength = random.uniform(0.35, 1.0)
    for layer in range(layers):
        length = random.uniform(8, 30) * scale * (1.0 + layer * random.uniform(0.3, 1.2))
        width = random.uniform(0.35, 0.8) * scale * (1.0 + 0.6 * layer)
        density = random.uniform(0.002, 0.02) / (1.0 + 1.5 * layer) / max(scale, 0.3)
        streaks = fx.draw_streaks(shape, length, width, angle + random.normal(0, 3), density, random)
        if random.random() < 0.5:
            streaks = streaks * (0.6 + 0.4 * fx.draw_clouds(shape, 0.3, random)).clip(0, 1.2)
        opacity = (streaks * strength * random.uniform(0.5, 1.0)).clip(0, 0.85)[..., None]
        light = light * (1 - opacity) + random.uniform(0.75, 1.0) * opacity
    if random.random() < 0.3:  # splashes on the ground
        ground = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None].clip(0, 1)
        dots = fx.draw_flakes(shape, 0.8 * scale + 0.3, random.uniform(0.002, 0.01), random) * ground
        light = light + 0.6 * (1 - light) * dots.clip(0, 1)[..., None]
    return light


def _snow(light: Light, random: Random) -> Light:
    """Add three layers of flakes, from far and small to near, large and out of focus, and a white veil."""
    shape = light.shape[:2]
    light = fx.dull_light(light, random, random.uniform(0.0, 0.7))
    depth = fx.invent_depth(light, random)
    veil = random.uniform(0.0, 0.5) * (0.4 + 0.6 * depth)[..., None]
    light = light * (1 - veil) + random.uniform(0.7, 0.95) * veil
    if random.random() < 0.4:  # snow that lies on the lighter and lower parts
        lying = ((light.mean(axis=2) - random.uniform(0.2, 0.5)) * 4).clip(0, 1)
        lying = lying * np.linspace(-0.3, 1.3, shape[0], dtype=np.float32)[:, None].clip(0, 1)
        lying = (fx.blur_gaussian(lying, 1.0) * random.uniform(0.3, 0.9))[..., None]
        light = light * (1 - lying) + np.array([0.86, 0.89, 0.94], np.float32) * lying
    scale = max(shape) / 600.0
    drift = random.uniform(0, 360)
    for radius, density in ((0.8, 0.012), (1.8, 0.0022), (4.5, 0.00022)):
        size = radius * scale * random.uniform(0.7, 1.5)
        flakes = fx.draw_flakes(shape, size, density * random.uniform(0.2, 1.6) / max(scale, 0.4) ** 2, random)
        if random.random() < 0.6:
            flakes = fx.convolve(flakes, fx.line_kernel(random.uniform(1.5, 5.0) * size, drift + random.normal(0, 15)))
            flakes = flakes * random.uniform(1.2, 2.2)
        opacity = (flakes * random.uniform(0.55, 1.0)).clip(0, 0.97)[..., None]
        light = light * (1 - opacity) + random.uniform(0.85, 1.0) * opacity
    return light


def _haze(light: Light, random: Random) -> Light:
    """Add airlight by Koschmieder's law, with a depth that follows the edges of the image."""
    through = np.exp(-random.uniform(0.7, 2.6) * (0.25 + fx.invent_depth(light, random)))[..., None]
    level = random.uniform(0.55, 0.95)
    tint = np.array([1.0, 1.0, 1.0], np.float32) + random.normal(0, 0.03) * np.array([1.0, 0.1, -1.2], np.float32)
    if random.random() < 0.2:  # smog and dust
        tint = tint * np.array([1.0, 0.94, random.uniform(0.68, 0.9)], np.float32)
    return np.asarray(light * through + level * tint * (1 - through), np.float32)


def _low_light(light: Light, random: Random) -> Light:
    """Darken, and add shot and read noise and a colour cast; lamps stay bright in a third of the cases."""
    linear = np.power(light.clip(0, 1), 2.2)
    gain = np.exp(random.uniform(np.log(0.002), np.log(0.14)))
    dim = linear * gain * random.uniform(0.8, 1.2, 3).astype(np.float32)
    if random.random() < 0.35:
        shape = light.shape[:2]
        pool = fx.blur_gaussian(
            fx.draw_flakes(shape, max(shape) / 200, 6e-5, random), max(shape) / random.uniform(12, 40)
        )
        pool = pool / max(float(pool.max()), 1e-6)
        lamp = np.array([1.0, random.uniform(0.65, 0.95), random.uniform(0.3, 0.9)], np.float32)
        dim = dim + (linear * random.uniform(0.2, 0.8) + 0.02) * pool[..., None] * lamp
    if random.random() < 0.35:
        lights = (linear.max(axis=2) > random.uniform(0.8, 0.97)).astype(np.float32)
        glow = fx.blur_gaussian(lights, random.uniform(2, 10)) * random.uniform(0.05, 0.3)
        dim = dim + np.maximum(lights * random.uniform(0.2, 1.0), glow)[..., None]
    read, shot = random.uniform(0.0002, 0.003), random.uniform(0.0001, 0.0015)
    noise = random.standard_normal(light.shape, np.float32) * np.sqrt(read**2 + shot * dim.clip(0, 1))
    if random.random() < 0.5:
        noise = fx.blur_gaussian(noise, 0.7) * 1.6
    return np.asarray(np.power((dim + noise).clip(0, 1), 1 / random.uniform(1.9, 2.4)), np.float32)


def _old_photo(light: Light, random: Random) -> Light:
    """Age like a scanned print: grey, brown or faded, with grain, dust, scratches, creases, stains, a border."""
    shape = light.shape[:2]
    light = fx.change_contrast(light, random.uniform(0.7, 1.5))
    kind = random.random()
    if random.random() < 0.4:
        light = fx.reduce_and_enlarge(light, random, most=5.0)
    if kind < 0.80:
        light = fx.change_contrast(
            fx.blur_gaussian(fx.to_grey(light), random.uniform(0.3, 1.3)), random.uniform(0.8, 1.5)
        )
        light = fx.tint(light, random.uniform(-0.02, 0.02) if kind < 0.32 else random.uniform(0.04, 0.22))
    else:  # a colour print
        light = fx.to_grey(light) + (light - fx.to_grey(light)) * random.uniform(0.15, 0.75)
        cast = np.array([1.05, random.uniform(0.85, 1.0), random.uniform(0.6, 0.95)], np.float32)
        light = light * (cast if random.random() < 0.7 else cast[::-1])
    black, white = random.uniform(0.0, 0.28), random.uniform(0.68, 1.0)
    light = np.asarray(black + (white - black) * light.clip(0, 1), np.float32)
    grain = fx.blur_gaussian(random.standard_normal(shape, np.float32), random.uniform(0.4, 1.4))
    light = light + (random.uniform(0.0, 0.07) * grain / max(float(grain.std()), 1e-6))[..., None]
    light = light + (random.uniform(0.0, 0.06) * fx.draw_clouds(shape, random.uniform(0.1, 0.5), random))[..., None]
    marks = np.zeros(shape, np.float32)
    if random.random() < 0.7:
        fx.draw_scratches(marks, random)
    if random.random() < 0.6:
        marks = np.maximum(
            marks, fx.draw_flakes(shape, random.uniform(0.4, 1.5), random.uniform(0.0001, 0.002), random)
        )
    ink = random.uniform(0.75, 1.0) if random.random() < 0.75 else random.uniform(0.0, 0.3)
    light = light + (ink - light) * (marks * random.uniform(0.3, 1.0)).clip(0, 1)[..., None]
    if random.random() < 0.4:
        stain = (fx.draw_clouds(shape, random.uniform(0.15, 0.4), random) - random.uniform(0.7, 1.6)).clip(0, 0.5)
        light = light + (np.array([0.75, 0.66, 0.5], np.float32) - light) * stain[..., None]
    if random.random() < 0.5:
        light = light * (1 - random.uniform(0.1, 0.6) * fx.draw_vignette(shape))[..., None]
    if random.random() < 0.3:
        fx.draw_border(light, random)
    return np.asarray(light, np.float32)


def _raindrop(light: Light, random: Random) -> Light:
    """Add drops on a pane. Each shows the scene small and upside down, with a dark rim and a highlight."""
    cv2 = opencv()
    height, width = light.shape[:2]
    scale = max(height, width) / 600.0
    background = fx.blur_gaussian(light, random.uniform(0.8, 4.0) * scale) if random.random() < 0.4 else light
    background = fx.dull_light(background, random, random.uniform(0.0, 0.8))
    map_y, map_x = (plane.astype(np.float32) for plane in np.mgrid[0:height, 0:width])
    inside, rim = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    shine = np.zeros((height, width), np.float32)
    near = random.random() < 0.45  # the drops are near the camera and so out of focus
    largest = random.uniform(8, 34) * scale * (1.3 if near else 1.0)
    for _ in range(int(random.integers(12, 160))):
        radius = largest * random.uniform(0.15, 1.0) ** 1.6 + 1.5
        x0, y0 = random.uniform(0, width), random.uniform(0, height)
        tall = random.uniform(0.8, 1.9)
        top, left = int(max(0, y0 - radius * tall - 2)), int(max(0, x0 - radius - 2))
        bottom, right = int(min(height, y0 + radius * tall + 3)), int(min(width, x0 + radius + 3))
        if bottom - top < 3 or right - left < 3:
            continue
        y, x = np.mgrid[top:bottom, left:right].astype(np.float32)
        u, v = (x - x0) / radius, (y - y0) / (radius * tall)
        u = u + 0.15 * np.sin(3 * v + random.uniform(0, 6)) * random.uniform(0, 1)
        away = np.hypot(u, v)
        within = (away < 1).astype(np.float32)
        window = np.s_[top:bottom, left:right]
        reach = random.uniform(2.0, 7.0) * radius
        flip = -1.0 if random.random() < 0.8 else 1.0
        map_x[window] = np.where(within > 0, x0 + flip * u * reach, map_x[window])
        map_y[window] = np.where(within > 0, y0 + flip * v * reach, map_y[window])
        inside[window] = np.maximum(inside[window], within)
        rim[window] = np.where(within > 0, away**4, rim[window])
        spot = np.exp(-((u + 0.35) ** 2 + (v + 0.4) ** 2) / 0.06)
        shine[window] = np.where(within > 0, spot, shine[window])
    lens = cv2.remap(light, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    softness = random.uniform(2.5, 8.0) * scale if near else random.uniform(0.6, 2.0)
    lens = fx.blur_gaussian(lens, softness) * random.uniform(0.85, 1.3) + random.uniform(-0.02, 0.15)
    contrast = 0.4 if near else 1.0
    lens = lens * (1 - contrast * random.uniform(0.1, 0.7) * rim)[..., None]
    lens = lens + (contrast * random.uniform(0.0, 0.6) * shine)[..., None]
    edge = random.uniform(1.5, 4.0) if near else random.uniform(0.5, 1.5)
    mask = (fx.blur_gaussian(inside, edge * scale) * random.uniform(0.6, 1.0))[..., None]
    return np.asarray(background * (1 - mask) + lens * mask, np.float32)


def _underwater(light: Light, random: Random) -> Light:
    """Reduce red most, and add a blue to green veil that grows with distance, blur and particles."""
    depth = fx.invent_depth(light, random)
    hue = random.random()  # 0 is blue, 1 is green
    water = np.array(
        [random.uniform(0.0, 0.25), random.uniform(0.35, 0.6) + 0.2 * hue, random.uniform(0.5, 0.75) - 0.3 * hue + 0.05]
    ).astype(np.float32) * random.uniform(0.6, 1.15)
    loss = np.array([random.uniform(1.0, 3.0), 0.3 + 0.3 * (1 - hue), 0.25 + 0.5 * hue]) * random.uniform(0.5, 1.3)
    path = (random.uniform(0.3, 0.7) + depth)[..., None]
    direct = np.exp(-path * loss.astype(np.float32))
    veil = 1 - np.exp(-path * random.uniform(0.3, 1.1))
    light = light * direct + water * veil
    light = fx.blur_gaussian(light, random.uniform(0.2, 1.6)) if random.random() < 0.7 else light
    if random.random() < 0.3:
        dust = fx.draw_flakes(light.shape[:2], random.uniform(0.6, 2.0), random.uniform(0.0002, 0.002), random)
        light = light + 0.4 * dust.clip(0, 1)[..., None] * (water + 0.3)
    return np.asarray(fx.change_contrast(light, random.uniform(0.8, 1.4)), np.float32)


def _reflection(light: Light, random: Random, other: Image) -> Light:
    """Add a second scene, reflected in a pane: soft, everywhere or in a part, sometimes as a double image."""
    cv2 = opencv()
    height, width = light.shape[:2]
    second = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255.0
    second = fx.blur_gaussian(second[:, ::-1], random.uniform(0.5, 5.0) * max(height, width) / 600)
    if random.random() < 0.4:
        shift = tuple(int(by) for by in random.integers(-12, 13, size=2))
        second = 0.6 * second + 0.4 * np.roll(second, shift, axis=(0, 1))
    where = (0.55 + 0.6 * fx.draw_clouds((height, width), random.uniform(0.3, 0.8), random)).clip(0.0, 1)[..., None]
    share = random.uniform(0.25, 0.65)
    mixed = light * (1 - share * where * random.uniform(0.2, 1.0)) + second * share * where
    return np.asarray(1 - (1 - mixed).clip(0, 1), np.float32)


def _shadow(light: Light, random: Random) -> Light:
    """Darken a shape with soft edges, slightly bluer than the sunlit part."""
    cv2 = opencv()
    shape = light.shape[:2]
    mask = np.zeros(shape, np.float32)
    for _ in range(int(random.integers(1, 4))):
        centre = random.uniform(0.1, 0.9, 2) * (shape[1], shape[0])
        corners = int(random.integers(3, 9))
        angles = np.sort(random.uniform(0, 2 * np.pi, corners))
        radii = random.uniform(0.15, 0.6, corners) * max(shape)
        points = centre + np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)
        cv2.fillPoly(mask, [np.asarray(points, np.int32)], 1.0)
    mask = fx.blur_gaussian(mask, random.uniform(0.8, 8.0))[..., None]
    shade = random.uniform(0.2, 0.6) * np.array([0.92, 1.0, 1.1], np.float32)
    linear = np.power(light.clip(0, 1), 2.2) * random.uniform(1.0, 1.3)
    return np.asarray(np.power((linear * (1 + (shade - 1) * mask)).clip(0, 1), 1 / 2.2), np.float32)


def _motion_blur(light: Light, random: Random) -> Light:
    """Blur along the path of a shaking hand or a pan, everywhere or in a moving part."""
    scale = max(light.shape[:2]) / 600.0
    moved = fx.convolve(light, fx.path_kernel(random.uniform(7, 34) * scale, random))
    if random.random() < 0.35:
        mask = (0.5 + 1.5 * fx.draw_clouds(light.shape[:2], random.uniform(0.3, 0.7), random)).clip(0, 1)[..., None]
        still = fx.convolve(light, fx.path_kernel(random.uniform(3, 9) * scale, random))
        return np.asarray(still * (1 - mask) + moved * mask, np.float32)
    return moved


def _defocus_blur(light: Light, random: Random) -> Light:
    """Blur by a disc, everywhere or growing towards one side."""
    scale = max(light.shape[:2]) / 600.0
    near, far = sorted(random.uniform(1.8, 8.0, 2) * scale)
    far_image = fx.convolve(light, fx.disc_kernel(far))
    if random.random() < 0.6:
        return far_image
    mask = (0.5 + 0.9 * fx.draw_clouds(light.shape[:2], 0.6, random)).clip(0, 1)[..., None]
    return np.asarray(fx.convolve(light, fx.disc_kernel(near)) * (1 - mask) + far_image * mask, np.float32)


CLASSES: dict[str, Callable[[Light, Random], Light]] = {
    "mixed": _mixed,
    "rain": _rain,
    "haze": _haze,
    "snow": _snow,
    "low_light": _low_light,
    "old_photo": _old_photo,
    "raindrop": _raindrop,
    "underwater": _underwater,
    "reflection": lambda light, random: light,  # degrade() calls _reflection, which needs a second photograph
    "shadow": _shadow,
    "motion_blur": _motion_blur,
    "defocus_blur": _defocus_blur,
}
