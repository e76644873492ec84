"""Effects that the synthetic degradations of photographs share: capture, tone, depth, streaks, flakes, blur."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv

Plane = npt.NDArray[np.float32]  # (height, width)
Light = npt.NDArray[np.float32]  # (height, width, 3), RGB, 0..1
Random = np.random.Generator
GREY_SHARES = {
    "mixed": 0.05,
    "rain": 0.25,
    "snow": 0.15,
}  # fraction of grey samples, so that grey alone does not indicate an old photograph
GREY_SHARE = 0.08  # the same for the other classes


def add_capture(light: Light, random: Random) -> Image:
    """Add what cameras and web pages add to photographs of any class: tone, blur, noise, resizing, JPEG."""
    if random.random() < 0.4:
        light = change_tone(light, random)
    if random.random() < 0.4:
        light = blur_gaussian(light, random.uniform(0.3, 0.9))
    if random.random() < 0.25:
        light = reduce_and_enlarge(light, random, most=1.8)
    if random.random() < 0.6:
        light = light + random.uniform(0.002, 0.025) * random.standard_normal(light.shape, np.float32)
    return encode_jpeg(to_bytes(light), int(random.integers(45, 98)))


def change_tone(light: Light, random: Random) -> Light:
    """Change gamma, contrast and white balance slightly."""
    curve = np.power(light.clip(0, 1), random.uniform(0.75, 1.35))
    return np.asarray(
        change_contrast(curve, random.uniform(0.8, 1.2)) * random.normal(1, 0.03, 3).astype(np.float32), np.float32
    )


def soften(light: Light, random: Random) -> Light:
    """Blur by a Gaussian of 0.6 to 1.8 px."""
    return blur_gaussian(light, random.uniform(0.6, 1.8))


def reduce_and_enlarge(light: Light, random: Random, most: float = 3.5) -> Light:
    """Reduce and enlarge again, like a small image that was enlarged."""
    cv2 = opencv()
    scale = 1 / random.uniform(1.2, most)
    ways = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    down = cv2.resize(light, None, fx=scale, fy=scale, interpolation=ways[int(random.integers(3))])
    size = light.shape[1], light.shape[0]
    return np.asarray(cv2.resize(down, size, interpolation=ways[int(random.integers(1, 3))]), np.float32)


def add_noise(light: Light, random: Random) -> Light:
    """Add noise, grey or coloured, fine or smoothed."""
    noise = random.standard_normal(light.shape, np.float32)
    if random.random() < 0.3:
        noise = np.repeat(noise[..., :1], 3, axis=2)
    if random.random() < 0.5:
        noise = blur_gaussian(noise, random.uniform(0.5, 1.0))
        noise = noise / max(float(noise.std()), 1e-6)
    return np.asarray(light + np.exp(random.uniform(np.log(0.012), np.log(0.18))) * noise, np.float32)


def compress(light: Light, random: Random) -> Light:
    """Compress as JPEG of quality 8 to 59."""
    return encode_jpeg(to_bytes(light), int(random.integers(8, 60))).astype(np.float32) / 255.0


def dull_light(light: Light, random: Random, amount: float) -> Light:
    """Make the light flat and grey, as in bad weather."""
    grey_light = to_grey(light)
    dull = grey_light + (light - grey_light) * random.uniform(0.3, 0.9)
    dull = change_contrast(dull, random.uniform(0.6, 1.0)) * random.uniform(0.75, 1.1)
    return np.asarray(light + (dull - light) * amount, np.float32)


def invent_depth(light: Light, random: Random) -> Plane:
    """Invent a distance, 0..1, that follows the edges of the image and is larger at the top."""
    cv2 = opencv()
    height, width = light.shape[:2]
    size = max(8, width // 4), max(8, height // 4)
    small = cv2.resize(light, size, interpolation=cv2.INTER_AREA)
    up = np.linspace(1, 0, size[1], dtype=np.float32)[:, None] * np.ones((1, size[0]), np.float32)
    rough = random.uniform(0.2, 0.9) * up + random.uniform(0.0, 0.25) * draw_clouds((size[1], size[0]), 0.3, random)
    rough = rough + random.uniform(-0.2, 0.5) * small.mean(axis=2)
    smooth_depth = guided(small.mean(axis=2), rough, max(4, size[1] // 12))
    depth = cv2.resize(smooth_depth, (width, height), interpolation=cv2.INTER_LINEAR)
    low, high = np.percentile(depth, (1, 99))
    return np.asarray(((depth - low) / max(float(high - low), 1e-3)).clip(0, 1), np.float32)


def guided(guide: Plane, plane: Plane, radius: int, regular: float = 1e-3) -> Plane:
    """Apply the guided filter (He, Sun, Tang, ECCV 2010)."""
    cv2 = opencv()

    def mean(values: Plane) -> Plane:
        return np.asarray(cv2.blur(values, (2 * radius + 1, 2 * radius + 1)), np.float32)

    mean_guide, mean_plane = mean(guide), mean(plane)
    slope = (mean(guide * plane) - mean_guide * mean_plane) / (mean(guide * guide) - mean_guide**2 + regular)
    return np.asarray(mean(slope) * guide + mean(mean_plane - slope * mean_guide), np.float32)


def draw_streaks(
    shape: tuple[int, int], length: float, width: float, degrees: float, density: float, random: Random
) -> Plane:
    """Return a plane of streaks; `length` and `width` in px, `density` as the fraction of pixels that start one."""
    seeds = (random.random(shape) < density).astype(np.float32) * random.uniform(0.4, 1.0, shape).astype(np.float32)
    lines = convolve(blur_gaussian(seeds, max(width, 0.3)), line_kernel(max(length, 3.0), degrees + 90))
    top = float(np.percentile(lines, 99.8))
    return np.asarray((lines / max(top, 1e-6)).clip(0, 1.2), np.float32)


def draw_flakes(shape: tuple[int, int], radius: float, density: float, random: Random) -> Plane:
    """Return a plane of soft discs of about `radius` px; `density` is the fraction of pixels that start one."""
    cv2 = opencv()
    seeds = (random.random(shape) < density).astype(np.float32) * random.uniform(0.4, 1.0, shape).astype(np.float32)
    if radius >= 1.2:
        side = 2 * round(radius) + 1
        seeds = cv2.dilate(seeds, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
        return blur_gaussian(seeds, 0.45 * radius)
    spread = blur_gaussian(seeds, max(radius, 0.3))
    return np.asarray(spread * (6.28 * max(radius, 0.3) ** 2), np.float32)


def draw_scratches(marks: Plane, random: Random) -> None:
    """Draw thin lines and creases through the whole image on `marks`, in place."""
    cv2 = opencv()
    height, width = marks.shape
    for _ in range(int(random.integers(0, 25))):
        start = random.uniform(0, 1, 2) * (width, height)
        step = random.normal(0, 0.12, 2) * max(width, height)
        bend = start + step / 2 + random.normal(0, 3, 2)
        points = np.asarray([start, bend, start + step], np.int32)
        cv2.polylines(marks, [points], False, float(random.uniform(0.3, 1.0)), 1, cv2.LINE_AA)
    for _ in range(int(random.integers(0, 4))):
        along = np.linspace(0, 1, 12)[:, None]
        ends = random.uniform(0, 1, (2, 2)) * (width, height)
        points = ends[0] + (ends[1] - ends[0]) * (1.6 * along - 0.3) + random.normal(0, 0.008 * width, (12, 2))
        thick = int(random.integers(1, max(2, width // 150) + 1))
        cv2.polylines(marks, [np.asarray(points, np.int32)], False, float(random.uniform(0.6, 1.0)), thick, cv2.LINE_AA)


def draw_border(light: Light, random: Random) -> None:
    """Draw the white or cream border of a print, in place."""
    height, width = light.shape[:2]
    wide = max(2, int(random.uniform(0.015, 0.07) * min(height, width)))
    colour = random.uniform(0.75, 0.97) * np.array(
        [1.0, random.uniform(0.93, 1.0), random.uniform(0.8, 1.0)], np.float32
    )
    for edge in (np.s_[:wide], np.s_[-wide:], np.s_[:, :wide], np.s_[:, -wide:]):
        light[edge] = colour


def draw_vignette(shape: tuple[int, int]) -> Plane:
    """Return a plane that grows from the centre to the corners, 0..1."""
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return np.asarray(((x**2 + y**2) / 2.0) ** 1.5, np.float32)


def path_kernel(length: float, random: Random) -> Plane:
    """Return the kernel of a point's path during the exposure: straight, or a smooth random walk."""
    cv2 = opencv()
    if random.random() < 0.5:
        return line_kernel(length, random.uniform(0, 180))
    count = 40
    turns = np.cumsum(random.normal(0, 0.22, count)) + random.uniform(0, 2 * np.pi)
    points = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], axis=1), axis=0)
    points = (points - points.mean(axis=0)) * (length / max(float(np.ptp(points, axis=0).max()), 1e-6))
    reach = int(np.ceil(np.abs(points).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    scaled = np.asarray(np.rint((points + reach) * 16), np.int32)
    cv2.polylines(kernel, [scaled], False, 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(kernel / max(float(kernel.sum()), 1e-6), np.float32)


def line_kernel(length: float, degrees: float) -> Plane:
    """Return the kernel of a straight line, of sum 1; 0 degrees is horizontal."""
    cv2 = opencv()
    reach = max(1, int(np.ceil(length / 2)))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    along = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]) * length / 2
    ends = [(round((reach + sign * along[0]) * 16), round((reach + sign * along[1]) * 16)) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA, 4)
    return np.asarray(kernel / max(float(kernel.sum()), 1e-6), np.float32)


def disc_kernel(radius: float) -> Plane:
    """Return the kernel of a disc, of sum 1; `radius` in pixels."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return np.asarray(disc / disc.sum(), np.float32)


def draw_clouds(shape: tuple[int, int], scale: float, random: Random) -> Plane:
    """Return smooth random values of standard deviation 1 that change over `scale` of the image's sides."""
    few = max(2, round(1 / scale) + 2)
    small = random.normal(0, 1, (few, few)).astype(np.float32)
    return np.asarray(opencv().resize(small, (shape[1], shape[0]), interpolation=opencv().INTER_CUBIC), np.float32)


def to_grey(light: Light) -> Light:
    """Return the luma of an image in all three channels."""
    return np.repeat(light @ np.array([[0.299], [0.587], [0.114]], np.float32), 3, axis=2)


def tint(light: Light, warmth: float) -> Light:
    """Multiply by a warm tint; a negative `warmth` is cold."""
    return np.asarray(light * np.array([1 + 0.4 * warmth, 1 - 0.1 * warmth, 1 - 1.4 * warmth], np.float32), np.float32)


def change_contrast(light: Light, factor: float) -> Light:
    """Multiply the distance from the mean by `factor`, and clip to 0..1."""
    middle = float(light.mean())
    return np.asarray((middle + (light - middle) * factor).clip(0, 1), np.float32)


def blur_gaussian(plane: Plane | Light, sigma: float) -> npt.NDArray[np.float32]:
    """Blur by a Gaussian; `sigma` in pixels."""
    return np.asarray(opencv().GaussianBlur(np.ascontiguousarray(plane), (0, 0), max(sigma, 0.2)), np.float32)


def convolve(plane: Plane | Light, kernel: Plane) -> npt.NDArray[np.float32]:
    """Convolve a plane or an image with a kernel."""
    cv2 = opencv()
    return np.asarray(cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_REFLECT_101), np.float32)


def encode_jpeg(image: Image, quality: int) -> Image:
    """Compress an image as JPEG, uint8 RGB (height, width, 3), and decode it again."""
    cv2 = opencv()
    data = cv2.imencode(".jpg", np.ascontiguousarray(image[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def to_bytes(light: npt.NDArray[np.floating]) -> Image:
    """Convert 0..1 to uint8, 0..255."""
    return np.asarray(np.rint(light.clip(0, 1) * 255), np.uint8)
