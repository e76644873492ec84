"""Synthetic faults: typical errors of generative models, added to good candidates.

FAULTS has those of synthetic_faults.py and more: pasted, copied and removed objects, redrawn regions, written, changed
and removed text, painted smooth areas, other views and styles, gradual changes of light, other seasons, invented
colours, ringing, seams, banding, texture removed as noise, changed tones, and missing restoration.

The module is long because it has one function for each fault, and a table of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.training import scene_regions, synthetic_faults
from ggt_tools.training.restored import change_tones, displace
from ggt_tools.training.scene_regions import blend, bounding_box, draw_outline, match_tone, warp
from ggt_tools.training.synthetic_degradations import (
    Plane,
    blur_gaussian,
    draw_clouds,
    draw_slope,
    encode_jpeg,
    interpolate,
    streak_kernel,
    to_bytes,
)
from ggt_tools.training.synthetic_faults import Fault, Scene

Random = np.random.Generator
GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScene(Scene):
    """A scene whose photograph shows text. `gt` may be any restoration of the photograph.

    Attributes:
        truth: The ground truth with the text.
        rewritten: The same with another text.
        blank: The same without text.
    """

    truth: Image
    rewritten: Image
    blank: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class GreyScene(Scene):
    """A scene of a grey print.

    Attributes:
        colours: The scene in colour.
    """

    colours: Image


# --- content ---------------------------------------------------------------------------------------------------------


def paste_object(scene: Scene, strength: float, random: Random) -> Image:
    """Paste an object of 24 to 160 px from another photograph, blended at its borders."""
    cv2 = opencv()
    blob = draw_outline(scene.other, interpolate(24, 160, strength), random)
    rows, columns = bounding_box(blob, 4)
    patch = np.ascontiguousarray(scene.other[rows, columns])
    mask = np.ascontiguousarray(blob[rows, columns].astype(np.uint8) * 255)
    height, width = patch.shape[:2]
    if height >= scene.gt.shape[0] - 8 or width >= scene.gt.shape[1] - 8:
        return synthetic_faults.replace_region(scene, strength, random)
    x = int(random.integers(width // 2 + 3, scene.gt.shape[1] - width // 2 - 3))
    y = int(random.integers(height // 2 + 3, scene.gt.shape[0] - height // 2 - 3))
    if random.random() < 0.6:
        way = cv2.NORMAL_CLONE if random.random() < 0.6 else cv2.MIXED_CLONE
        return np.asarray(cv2.seamlessClone(patch, scene.gt, mask, (x, y), way))
    out = scene.gt.copy()
    top, left = y - height // 2, x - width // 2
    share = blur_gaussian((mask > 0).astype(np.float32), 1.2)[..., None]
    box = out[top : top + height, left : left + width]
    box[:] = to_bytes(box + (patch.astype(np.float32) - box) * share)
    return out


def copy_object(scene: Scene, strength: float, random: Random) -> Image:
    """Copy an object of 24 to 128 px to another position, sometimes mirrored or resized."""
    blob = draw_outline(scene.gt, interpolate(24, 128, strength), random)
    height, width = scene.gt.shape[:2]
    rows, columns = bounding_box(blob, 0)
    x, y = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
    size = random.uniform(0.7, 1.4)
    turn = -1.0 if random.random() < 0.4 else 1.0
    to_x, to_y = random.uniform(0.15, 0.85) * width, random.uniform(0.15, 0.85) * height
    matrix = np.array([[size * turn, 0, to_x - size * turn * x], [0, size, to_y - size * y]], np.float32)
    over, where = warp(scene.gt, matrix), warp(blob.astype(np.uint8), matrix) > 0
    return blend(scene.gt, match_tone(over, scene.gt, where) if random.random() < 0.5 and where.any() else over, where)


def redraw_region(scene: Scene, strength: float, random: Random) -> Image:
    """Displace the shapes within a region of 40 to 200 px by 4 to 16 px in different directions."""
    cv2 = opencv()
    blob = draw_outline(scene.gt, interpolate(40, 200, random.random()), random)
    fields = [draw_clouds(blob.shape, random.uniform(0.03, 0.15), random) for _ in range(2)]
    if random.random() < 0.3:  # scales the region from its centre, as eyes and cheeks may change
        rows, columns = bounding_box(blob, 0)
        down, right = np.mgrid[0 : blob.shape[0], 0 : blob.shape[1]].astype(np.float32)
        way = random.choice((-1.0, 1.0))
        fields = [
            way * (right - (columns.start + columns.stop) / 2) * np.float32(random.uniform(0.3, 1.0)),
            way * (down - (rows.start + rows.stop) / 2) * np.float32(random.uniform(0.3, 1.0)),
        ]
    by: float | Plane = interpolate(4, 16, strength) / (float(np.quantile(np.hypot(*fields)[blob], 0.9)) + 1e-3)
    if seamless := random.random() < 0.7:  # no displacement at the border of the region
        by = by * blur_gaussian(blob.astype(np.float32), random.uniform(4, 12))
    y, x = np.mgrid[0 : blob.shape[0], 0 : blob.shape[1]].astype(np.float32)
    off = [(place + field * by).astype(np.float32) for place, field in zip((x, y), fields, strict=True)]
    image = np.asarray(cv2.remap(scene.gt, *off, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))
    return image if seamless else blend(scene.gt, image, blob)


def stretch(scene: Scene, strength: float, random: Random) -> Image:
    """Displace the whole image smoothly by 5 to 18 px, which changes proportions."""
    return displace(scene.gt, interpolate(5, 18, strength), random)


def reframe(scene: Scene, strength: float, random: Random) -> Image:
    """Change the view: enlarge by 4 to 40 %, rotate, mirror or shift by 8 to 80 px."""
    height, width = scene.gt.shape[:2]
    if random.random() < 0.12:
        return np.ascontiguousarray(scene.gt[:, ::-1])
    size = 1.0 + interpolate(0.04, 0.4, strength) * random.random()
    angle = np.radians(random.normal(0, 1.0 + 6.0 * strength))
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width / 2, height / 2])
    direction = random.uniform(0, 2 * np.pi)
    off = interpolate(8, 80, strength) * random.uniform(0.5, 1.0) * np.array([np.cos(direction), np.sin(direction)])
    return warp(scene.gt, np.hstack([turn, (middle - turn @ middle + off)[:, None]]).astype(np.float32))


def mirror_region(scene: Scene, strength: float, random: Random) -> Image:
    """Mirror a region of 32 to 180 px in place, like a head that looks the other way."""
    blob = draw_outline(scene.gt, interpolate(32, 180, strength), random)
    rows, columns = bounding_box(blob, 0)
    box = blob.copy()
    box[rows, columns] |= blob[rows, columns][:, ::-1]
    image = scene.gt.copy()
    image[rows, columns] = scene.gt[rows, columns][:, ::-1]
    cv2 = opencv()
    if random.random() < 0.5:
        return blend(scene.gt, image, box)
    share = blur_gaussian(cv2.erode(box.astype(np.float32), np.ones((7, 7), np.uint8)), 4.0)[..., None]
    return to_bytes(scene.gt + (image.astype(np.float32) - scene.gt) * share)


def rewrite_text(scene: Scene, strength: float, random: Random) -> Image:
    """Change or remove the text of a scene. Without text in the scene, write some."""
    if isinstance(scene, TextScene):
        other = scene.rewritten if random.random() < 0.7 else scene.blank
        where = opencv().dilate((other != scene.truth).any(axis=2).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        return blend(scene.gt, other, where)
    return write_text(scene, strength, random)


def write_text(scene: Scene, strength: float, random: Random) -> Image:
    """Write a word across a part of the image."""
    return draw_text(scene.gt, random_word(random), random, size=interpolate(12, 56, strength))


def annotate(scene: Scene, strength: float, random: Random) -> Image:
    """Draw lines, arrows, boxes or circles in a strong colour."""
    cv2 = opencv()
    out = scene.gt.copy()
    height, width = out.shape[:2]
    for _ in range(int(random.integers(1, 3 + round(4 * strength)))):
        colour = tuple(int(level) for level in random.choice(np.array([0, 40, 200, 255]), 3))
        first, second = (tuple(int(v) for v in random.uniform(0, (width, height))) for _ in range(2))
        thick = int(random.integers(1, 6))
        which = random.integers(4)
        if which == 0:
            cv2.line(out, first, second, colour, thick, cv2.LINE_AA)
        elif which == 1:
            cv2.arrowedLine(out, first, second, colour, thick, cv2.LINE_AA)
        elif which == 2:
            cv2.rectangle(out, first, second, colour, thick)
        else:
            cv2.circle(out, first, int(random.integers(8, 80)), colour, thick, cv2.LINE_AA)
    return out


def repaint_smooth_area(scene: Scene, strength: float, random: Random) -> Image:
    """Paint a smooth area anew: clouds instead of a gradient, or a gradient instead of clouds."""
    cv2 = opencv()
    light = scene.gt.astype(np.float32)
    luma = light.mean(axis=2)
    rough = blur_gaussian(np.abs(luma - blur_gaussian(luma, 3.0)), 6.0)
    level = np.quantile(rough, interpolate(0.3, 0.5, random.random()))
    smooth = (rough <= level).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cv2.erode(smooth, np.ones((9, 9), np.uint8)))
    if count < 2:
        return write_text(scene, strength, random)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    where = blur_gaussian(cv2.dilate((labels == largest).astype(np.float32), np.ones((5, 5), np.uint8)), 5.0)[..., None]
    if random.random() < 0.65:
        field = sum(draw_clouds(luma.shape, scale, random) * scale**0.6 for scale in (0.5, 0.25, 0.12, 0.06, 0.03))
        field = np.asarray(field / np.std(field), np.float32)
        if random.random() < 0.5:
            field = np.maximum(field, 0)
        colour = np.array([1.0, 1.0, random.uniform(0.85, 1.0)], np.float32)
        anew = light + interpolate(6, 45, strength) * field[..., None] * colour
    else:
        weight = where + 1e-3
        anew = blur_gaussian(light * weight, 40.0) / blur_gaussian(np.repeat(weight, 3, axis=2), 40.0)
        anew = anew + interpolate(0, 12, strength) * draw_slope(luma.shape, random)[..., None]
    return to_bytes(light + (anew - light) * where)


def retexture_region(scene: Scene, strength: float, random: Random) -> Image:
    """Give a region of 48 to 220 px the texture of another position or photograph."""
    blob = draw_outline(scene.gt, interpolate(48, 220, random.random()), random)
    source = (
        scene.other
        if random.random() < 0.5
        else np.roll(scene.gt, tuple(int(v) for v in random.integers(40, 140, 2)), axis=(0, 1))
    )
    light, other = scene.gt.astype(np.float32), source.astype(np.float32)
    sigma = interpolate(2.0, 8.0, strength)
    fine = other - blur_gaussian(other, sigma)
    own = light - blur_gaussian(light, sigma)
    gain = (np.sqrt((own[blob] ** 2).mean()) + 1.0) / (np.sqrt((fine[blob] ** 2).mean()) + 1.0)
    return blend(scene.gt, to_bytes(light - own + np.clip(gain, 0.4, 2.5) * fine), blob)


def restyle(scene: Scene, strength: float, random: Random) -> Image:
    """Turn the image into a drawing, a cartoon, a poster or a painting."""
    cv2 = opencv()
    which = random.integers(4)
    if which == 0:
        grey = cv2.cvtColor(scene.gt, cv2.COLOR_RGB2GRAY)
        inverse = 255 - cv2.GaussianBlur(255 - grey, (0, 0), interpolate(3, 9, strength))
        drawing = cv2.divide(grey, np.maximum(inverse, 1), scale=256)
        return np.repeat(drawing[..., None], 3, axis=2)
    smooth = scene.gt
    for _ in range(2):
        smooth = cv2.bilateralFilter(smooth, 9, interpolate(30, 80, strength), 5)
    if which == 1:
        grey = cv2.medianBlur(cv2.cvtColor(scene.gt, cv2.COLOR_RGB2GRAY), 5)
        edges = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 4)
        return np.asarray(np.minimum(smooth, np.maximum(edges, 30)[..., None]))
    if which == 2:
        steps = round(interpolate(10, 4, strength))
        return to_bytes(np.rint(smooth / 255.0 * steps) / steps * 255.0)
    few = cv2.resize(scene.gt, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    size = max(3, 2 * round(interpolate(1, 3, strength)) + 1)
    brush = cv2.medianBlur(few, size)
    return np.asarray(cv2.resize(brush, scene.gt.shape[1::-1], interpolation=cv2.INTER_CUBIC))


def show_another_photo(scene: Scene, strength: float, random: Random) -> Image:
    """Return another photograph with the tones of this one."""
    return synthetic_faults.replace_photo(scene, 0.5 * strength, random)


# --- colour and light ------------------------------------------------------------------------------------------------


def add_light_trend(scene: Scene, strength: float, random: Random) -> Image:
    """Change the light gradually across the image by 12 to 50 %."""
    field = draw_slope(scene.gt.shape[:2], random) + 0.3 * draw_clouds(scene.gt.shape[:2], 0.7, random)
    tint = np.exp(random.uniform(-0.15, 0.15, 3) * strength)
    gain = np.exp(interpolate(0.12, 0.5, strength) * field[..., None] * tint)
    return to_bytes(scene.gt.astype(np.float32) * gain)


def shift_white_balance(scene: Scene, strength: float, random: Random) -> Image:
    """Shift the white balance by 5 to 30 %: warmer, colder, greener or more magenta."""
    by = interpolate(0.05, 0.3, strength)
    way = random.choice((-1.0, 1.0)) * by
    gains = np.array([way, 0.0, -way]) if random.random() < 0.7 else np.array([way, -way, way]) * 0.7
    return to_bytes(scene.gt.astype(np.float32) * np.exp(gains))


def change_time_of_day(scene: Scene, strength: float, random: Random) -> Image:
    """Change the time of day: light, its colour and its direction together."""
    light = scene.gt.astype(np.float32) / 255.0
    field = draw_clouds(light.shape[:2], 0.5, random)[..., None]
    warm = np.exp(np.array([1.0, 0.1, -1.0]) * random.choice((-1, 1)) * interpolate(0.08, 0.35, strength))
    gain = np.exp(field * interpolate(0.15, 0.5, strength))
    gamma = np.exp(random.choice((-1, 1)) * interpolate(0.2, 0.8, strength))
    return to_bytes(255.0 * np.clip(light**gamma * gain * warm, 0, 1))


def change_season(scene: Scene, strength: float, random: Random) -> Image:
    """Turn greens into yellow and red, or colours of one hue into another."""
    cv2 = opencv()
    hsv = cv2.cvtColor(scene.gt, cv2.COLOR_RGB2HSV_FULL).astype(np.float32)
    vivid = hsv[..., 0][hsv[..., 1] >= np.quantile(hsv[..., 1], 0.7)]
    centre = 75.0 if random.random() < 0.4 else float(vivid[int(random.integers(len(vivid)))])
    apart = np.abs((hsv[..., 0] - centre + 128.0) % 256.0 - 128.0)
    share = np.clip(1.6 - apart / 32.0, 0.0, 1.0)
    hsv[..., 0] = (hsv[..., 0] + random.choice((-1, 1)) * interpolate(14, 60, strength) * share) % 256.0
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB_FULL))


def recolour_object(scene: Scene, strength: float, random: Random) -> Image:
    """Give an object of 40 to 220 px another hue, or a colour instead of grey."""
    blob = draw_outline(scene.gt, interpolate(40, 220, random.random()), random)
    light = scene.gt.astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    chroma = light - grey
    angle = random.choice((-1, 1)) * interpolate(0.35, 2.6, strength)
    axis = np.ones(3) / np.sqrt(3.0)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross
    tint = random.normal(0, 1, 3)
    tint = (tint - tint.mean()) / (np.abs(tint - tint.mean()).max() + 1e-3) * interpolate(6, 45, strength)
    return blend(scene.gt, to_bytes(grey + chroma @ turn.T + tint * grey / 140.0), blob)


def invent_colours(scene: Scene, strength: float, random: Random) -> Image:
    """Invent colours of regions by their brightness and position."""
    cv2 = opencv()
    light = scene.gt.astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    smooth = cv2.bilateralFilter(scene.gt, 9, 40, 7).mean(axis=2) / 255.0
    bands = [
        draw_clouds(smooth.shape, 0.4, random)
        + 3.0 * np.sin(2 * np.pi * (random.uniform(0.5, 2.0) * smooth + random.random()))
        for _ in range(2)
    ]
    by = interpolate(6, 34, strength)
    first = by * np.tanh(bands[0])[..., None] * np.array([1.0, 0.0, -1.0])
    second = 0.6 * by * np.tanh(bands[1])[..., None] * np.array([0.5, -1.0, 0.5])
    return to_bytes(grey + 0.3 * (light - grey) + (first + second) * np.clip(grey / 90.0, 0.2, 1.0))


def add_true_colours(scene: Scene, strength: float, random: Random) -> Image:
    """Add the true colours of the scene to a grey print, which does not show them; else invent colours."""
    if not isinstance(scene, GreyScene):
        return invent_colours(scene, strength, random)
    cv2 = opencv()
    luma = cv2.cvtColor(scene.gt, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    colours = scene.colours.astype(np.float32)
    grey = colours @ np.array([[0.299], [0.587], [0.114]], np.float32)
    return to_bytes(
        luma + interpolate(0.4, 1.1, strength) * (colours - grey) * np.clip((luma + 12.0) / (grey + 12.0), 0.4, 2.0)
    )


def recolour_material(scene: Scene, strength: float, random: Random) -> Image:
    """Give everything of one colour another colour or brightness, like asphalt instead of snow."""
    cv2 = opencv()
    small = cv2.resize(scene.gt, (64, 64), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    centre = lab[int(random.integers(len(lab)))]
    distance = np.linalg.norm(cv2.cvtColor(scene.gt, cv2.COLOR_RGB2LAB).astype(np.float32) - centre, axis=2)
    share = blur_gaussian(np.clip(1.8 - distance / random.uniform(15, 35), 0.0, 1.0).astype(np.float32), 1.5)[..., None]
    gain = np.exp(random.choice((-1, 1)) * interpolate(0.15, 0.8, strength) * random.random())
    tint = random.normal(0, 1, 3)
    tint = (tint - tint.mean()) / (np.abs(tint - tint.mean()).max() + 1e-3) * interpolate(8, 45, strength)
    return to_bytes(scene.gt + share * (scene.gt * (gain - 1.0) + tint))


def clip_tones(scene: Scene, strength: float, random: Random) -> Image:
    """Clip shadows to black and highlights to white by a steep curve."""
    steep, middle = interpolate(1.6, 4.0, strength), random.uniform(0.3, 0.65)
    light = scene.gt.astype(np.float32) / 255.0
    return to_bytes(255.0 * (0.5 + steep * (light - middle)))


# --- detail, artefacts, no restoration -------------------------------------------------------------------------------


def add_ringing(scene: Scene, strength: float, random: Random) -> Image:
    """Add ripples of 3 to 8 px beside every edge."""
    cv2 = opencv()
    period = random.uniform(3.0, 8.0)
    reach = int(2.5 * period)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float64)
    distance = np.hypot(x, y)
    kernel = np.cos(2 * np.pi * distance / period) * np.exp(-distance / (0.8 * period))
    kernel -= kernel.mean()
    kernel /= np.abs(kernel).sum()
    light = scene.gt.astype(np.float32)
    ripple = cv2.filter2D(light, -1, kernel.astype(np.float32))
    return to_bytes(light + interpolate(0.8, 4.0, strength) * ripple)


def add_grid(scene: Scene, strength: float, random: Random) -> Image:
    """Add a regular pattern of 2 to 12 px, like that of upsampling layers, or moire."""
    height, width = scene.gt.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wave = np.zeros((height, width), np.float32)
    for _ in range(int(random.integers(1, 3))):
        angle, period = random.uniform(0, np.pi), random.uniform(2.0, 12.0)
        wave += np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period).astype(np.float32)
    if random.random() < 0.5:
        wave *= 1.0 / (1.0 + np.exp(-3.0 * draw_clouds((height, width), 0.3, random)))
    return to_bytes(scene.gt + interpolate(3, 14, strength) * wave[..., None])


def add_false_detail(scene: Scene, strength: float, random: Random) -> Image:
    """Add false detail: the fine structure of another photograph or position, everywhere or in parts."""
    cv2 = opencv()
    source = scene.other if random.random() < 0.6 else np.ascontiguousarray(scene.gt[::-1])
    grey = cv2.cvtColor(source, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = grey - blur_gaussian(grey, random.uniform(1.0, 3.5))
    fine *= interpolate(6, 24, strength) / (np.sqrt(blur_gaussian(fine * fine, 20.0)) + 3.0)
    if random.random() < 0.6:
        fine *= blur_gaussian((draw_clouds(fine.shape, 0.3, random) > 0).astype(np.float32), 6.0)
    return to_bytes(scene.gt + fine[..., None])


def compose_of_tiles(scene: Scene, strength: float, random: Random) -> Image:
    """Compose the image of tiles of 64 to 200 px that differ in brightness and by up to 3 px in position."""
    out = scene.gt.copy()
    size = int(random.integers(64, 201))
    start = random.integers(0, size, 2)
    for top in range(-int(start[0]), out.shape[0], size):
        for left in range(-int(start[1]), out.shape[1], size):
            box = slice(max(top, 0), top + size), slice(max(left, 0), left + size)
            off = random.uniform(-1, 1, 2) * interpolate(0.0, 3.0, strength)
            part = warp(scene.gt, np.array([[1, 0, off[0]], [0, 1, off[1]]], np.float32))[box]
            out[box] = to_bytes(part + random.uniform(-1, 1, 3) * interpolate(3, 14, strength))
    return out


def flatten_texture(scene: Scene, strength: float, random: Random) -> Image:
    """Smooth everything between the edges, like wax."""
    cv2 = opencv()
    if random.random() < 0.5:
        return np.asarray(cv2.bilateralFilter(scene.gt, 11, interpolate(20, 75, strength), interpolate(3, 7, strength)))
    return scene_regions.diffuse(scene.gt, interpolate(8, 30, strength), round(interpolate(3, 9, strength)))


def remove_texture(scene: Scene, strength: float, random: Random) -> Image:
    """Remove fine texture as noise by non-local means, sometimes of colour only."""
    light, colour = interpolate(6, 22, strength), interpolate(6, 30, strength)
    if random.random() < 0.25:
        light = 1.0
    return np.asarray(opencv().fastNlMeansDenoisingColored(scene.gt, None, light, colour, 5, 11))


def add_banding(scene: Scene, strength: float, random: Random) -> Image:
    """Quantise smooth areas to steps of 6 to 20 levels."""
    light = scene.gt.astype(np.float32)
    step = interpolate(6, 20, strength)
    steps = np.rint((blur_gaussian(light, 2.0) + random.uniform(0, step)) / step) * step
    rough = blur_gaussian(np.abs(light - blur_gaussian(light, 2.0)).mean(axis=2), 4.0)
    where = np.clip(2.0 - rough / np.quantile(rough, random.uniform(0.3, 0.7)), 0, 1)[..., None]
    return to_bytes(light + (steps - light) * where)


def smear(scene: Scene, strength: float, random: Random) -> Image:
    """Smear in one direction."""
    cv2 = opencv()
    size = 2 * round(interpolate(2, 8, strength)) + 1
    return np.asarray(cv2.filter2D(scene.gt, -1, streak_kernel(size, random.uniform(0, 180))))


def change_tones_only(scene: Scene, strength: float, random: Random) -> Image:
    """Return the photograph with other tones, slightly sharper, and with its degradation."""
    image = change_tones(scene.lq, random.uniform(0.1, 1.0), random)
    if random.random() < 0.5:
        light = image.astype(np.float32)
        image = to_bytes(light + random.uniform(0.0, 0.8) * (light - blur_gaussian(light, 1.2)))
    if random.random() < 0.3:
        image = displace(image, random.uniform(0, 1.5), random)
    return encode_jpeg(image, int(random.integers(80, 98))) if random.random() < 0.5 else image


def restore_little(scene: Scene, strength: float, random: Random) -> Image:
    """Leave more than half of the degradation everywhere."""
    share = interpolate(0.55, 0.95, strength)
    light = scene.gt.astype(np.float32)
    return to_bytes(light + share * (scene.lq.astype(np.float32) - light))


# --- text ------------------------------------------------------------------------------------------------------------


def random_word(random: Random) -> str:
    """Return a random word of 3 to 11 letters and digits."""
    return "".join(GLYPHS[int(n)] for n in random.integers(len(GLYPHS), size=int(random.integers(3, 12))))


def change_word(word: str, random: Random) -> str:
    """Change one or more letters of a word."""
    letters = list(word)
    for position in random.permutation(len(letters))[: int(random.integers(1, len(letters) + 1))]:
        letters[position] = GLYPHS[
            (GLYPHS.index(letters[position]) + int(random.integers(1, len(GLYPHS)))) % len(GLYPHS)
        ]
    return "".join(letters)


def draw_text(image: Image, text: str, random: Random, *, size: float) -> Image:
    """Write a line of text of `size` px at a random position, angle and colour, with or without a plate."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    cv2 = opencv()
    height, width = image.shape[:2]
    font = ImageFont.load_default(max(size, 8.0))
    left, top, right, bottom = (round(edge) for edge in font.getbbox(text))
    shape = bottom - top + 12, right - left + 14
    dark = random.random() < 0.5
    ink = random.integers(0, 110, 3) if dark else random.integers(150, 256, 3)
    plate = random.integers(160, 256, 3) if dark else random.integers(0, 110, 3)
    if random.random() < 0.25:
        ink = random.choice(np.array([0, 30, 220, 255]), 3)
    letters = Pillow.new("L", shape[::-1], 0)
    ImageDraw.Draw(letters).text((7 - left, 6 - top), text, font=font, fill=255)
    cover = np.asarray(letters, np.float32) / 255.0
    if random.random() < 0.2:
        cover = np.asarray(cv2.dilate(cover, np.ones((2, 2), np.uint8)))  # bold
    board = np.full(shape, float(random.random() < 0.4), np.float32)
    angle = random.normal(0, 12) if random.random() < 0.5 else 0.0
    matrix = cv2.getRotationMatrix2D((0, 0), angle, 1.0)
    matrix[:, 2] = random.uniform(0, 0.6) * width, random.uniform(0.05, 0.85) * height
    cover, board = (cv2.warpAffine(plane, matrix, (width, height), flags=cv2.INTER_LINEAR) for plane in (cover, board))
    opaque = random.uniform(0.35, 1.0) if random.random() < 0.3 else 1.0
    out = image + opaque * board[..., None] * (plate - image.astype(np.float32))
    return to_bytes(out + opaque * cover[..., None] * (ink - out))


def add_text_pair(scene_gt: Image, random: Random) -> tuple[Image, Image]:
    """Return an image with one to three lines of text, and the same image with other text."""
    first, second = scene_gt, scene_gt
    for _ in range(int(random.integers(1, 4))):
        word, seed, size = random_word(random), int(random.integers(2**31)), random.uniform(12, 48)
        first = draw_text(first, word, np.random.default_rng(seed), size=size)
        second = draw_text(second, change_word(word, random), np.random.default_rng(seed), size=size)
    return first, second


FAULTS: dict[str, tuple[str, float, Fault]] = {  # class, share within it, function
    "removed": ("content", 1.0, synthetic_faults.remove_object),
    "moved": ("content", 1.0, synthetic_faults.move_object),
    "swapped": ("content", 1.0, synthetic_faults.replace_region),
    "scrambled": ("content", 0.5, synthetic_faults.scramble_region),
    "perspective": ("content", 0.5, synthetic_faults.change_perspective),
    "shifted": ("content", 0.4, lambda scene, s, r: synthetic_faults.shift_image(scene, 0.6 + 0.4 * s, r)),
    "pasted": ("content", 1.5, paste_object),
    "copied": ("content", 1.0, copy_object),
    "redrawn": ("content", 2.0, redraw_region),
    "turned over": ("content", 0.7, mirror_region),
    "stretched": ("content", 1.0, stretch),
    "reframed": ("content", 0.8, reframe),
    "rewritten": ("content", 1.5, rewrite_text),
    "written": ("content", 1.0, write_text),
    "annotated": ("content", 0.4, annotate),
    "repainted": ("content", 0.8, repaint_smooth_area),
    "retiled": ("content", 1.0, retexture_region),
    "restyled": ("content", 0.8, restyle),
    "wrong photo": ("content", 0.5, synthetic_faults.replace_photo),
    "another view": ("content", 0.5, show_another_photo),
    "cast": ("colour", 1.0, synthetic_faults.add_cast),
    "drained": ("colour", 1.5, synthetic_faults.change_saturation),
    "toned apart": ("colour", 0.7, synthetic_faults.tone_channels_apart),
    "light trend": ("colour", 1.3, add_light_trend),
    "rebalanced": ("colour", 1.0, shift_white_balance),
    "another hour": ("colour", 1.0, change_time_of_day),
    "another season": ("colour", 1.0, change_season),
    "recoloured": ("colour", 1.4, recolour_object),
    "colourised": ("colour", 0.6, invent_colours),
    "true colours": ("colour", 0.6, add_true_colours),
    "rematerialised": ("colour", 1.0, recolour_material),
    "crushed": ("colour", 0.8, clip_tones),
    "smoothed": ("detail", 1.0, synthetic_faults.smooth_image),
    "painterly": ("detail", 0.7, flatten_texture),
    "denoised": ("detail", 0.7, remove_texture),
    "streaked": ("detail", 0.3, smear),
    "texture": ("artefact", 1.0, synthetic_faults.add_texture),
    "double exposure": ("artefact", 1.2, synthetic_faults.double_expose),
    "halos": ("artefact", 1.0, synthetic_faults.add_halos),
    "compressed": ("artefact", 0.7, synthetic_faults.compress),
    "ringing": ("artefact", 1.0, add_ringing),
    "banded": ("artefact", 0.4, add_banding),
    "gridded": ("artefact", 0.6, add_grid),
    "overdrawn": ("artefact", 1.0, add_false_detail),
    "tiled": ("artefact", 0.5, compose_of_tiles),
    "half restored": ("unrestored", 1.3, synthetic_faults.leave_part_unrestored),
    "unchanged": ("unrestored", 0.7, synthetic_faults.return_photograph),
    "only toned": ("unrestored", 1.0, change_tones_only),
    "little done": ("unrestored", 1.0, restore_little),
}
SHARES = {"content": 0.36, "colour": 0.22, "detail": 0.13, "artefact": 0.17, "unrestored": 0.12}


def random_fault(random: Random) -> str:
    """Draw the name of a fault: first its class by SHARES, then the fault by its share within the class."""
    group = list(SHARES)[int(random.choice(len(SHARES), p=list(SHARES.values())))]
    names = [name for name, (of, _, _) in FAULTS.items() if of == group]
    weights = np.array([FAULTS[name][1] for name in names])
    return names[int(random.choice(len(names), p=weights / weights.sum()))]
