"""Synthetic faults: what generative models do wrong, put into good candidates.

FAULTS holds those of synthetic_faults.py and more: objects pasted, copied and taken away, regions drawn anew, text
written, changed and lost, smooth areas painted, other views, other styles, slow changes of light, other seasons,
colours put into a grey print, ringing, seams, bands, texture taken for noise, tones lifted and nothing restored.

The module is long because it is a list: one function for each kind of fault, and the table that names them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.training import scene_regions, synthetic_faults
from ggt_tools.training.restored import drifted, retoned
from ggt_tools.training.scene_regions import around, blended, outline, toned, warped
from ggt_tools.training.synthetic_degradations import Plane, between, clouds, jpeg, slope, soft, streak, to_bytes
from ggt_tools.training.synthetic_faults import Fault, Scene

Random = np.random.Generator
GLYPHS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScene(Scene):
    """A scene whose photograph shows some text: `truth` has it, `rewritten` has other text, `blank` none.

    `gt` may be any restoration of the photograph.
    """

    truth: Image
    rewritten: Image
    blank: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class GreyScene(Scene):
    """A scene of a grey print: `colours` is what the scene looked like."""

    colours: Image


# --- content ---------------------------------------------------------------------------------------------------------


def pasted(scene: Scene, strength: float, random: Random) -> Image:
    """A thing of another photograph of 24 to 160 px, its borders melted into this one."""
    cv2 = opencv()
    blob = outline(scene.other, between(24, 160, strength), random)
    rows, columns = around(blob, 4)
    patch = np.ascontiguousarray(scene.other[rows, columns])
    mask = np.ascontiguousarray(blob[rows, columns].astype(np.uint8) * 255)
    height, width = patch.shape[:2]
    if height >= scene.gt.shape[0] - 8 or width >= scene.gt.shape[1] - 8:
        return synthetic_faults.swapped(scene, strength, random)
    x = int(random.integers(width // 2 + 3, scene.gt.shape[1] - width // 2 - 3))
    y = int(random.integers(height // 2 + 3, scene.gt.shape[0] - height // 2 - 3))
    if random.random() < 0.6:
        way = cv2.NORMAL_CLONE if random.random() < 0.6 else cv2.MIXED_CLONE
        return np.asarray(cv2.seamlessClone(patch, scene.gt, mask, (x, y), way))
    out = scene.gt.copy()
    top, left = y - height // 2, x - width // 2
    share = soft((mask > 0).astype(np.float32), 1.2)[..., None]
    box = out[top : top + height, left : left + width]
    box[:] = to_bytes(box + (patch.astype(np.float32) - box) * share)
    return out


def copied(scene: Scene, strength: float, random: Random) -> Image:
    """A thing of 24 to 128 px stands there twice, or in place of another, at times mirrored or resized."""
    blob = outline(scene.gt, between(24, 128, strength), random)
    height, width = scene.gt.shape[:2]
    rows, columns = around(blob, 0)
    x, y = (columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2
    size = random.uniform(0.7, 1.4)
    turn = -1.0 if random.random() < 0.4 else 1.0
    to_x, to_y = random.uniform(0.15, 0.85) * width, random.uniform(0.15, 0.85) * height
    matrix = np.array([[size * turn, 0, to_x - size * turn * x], [0, size, to_y - size * y]], np.float32)
    over, where = warped(scene.gt, matrix), warped(blob.astype(np.uint8), matrix) > 0
    return blended(scene.gt, toned(over, scene.gt, where) if random.random() < 0.5 and where.any() else over, where)


def redrawn(scene: Scene, strength: float, random: Random) -> Image:
    """The shapes within a region of 40 to 200 px are displaced by 4 to 16 px, each in its own direction."""
    cv2 = opencv()
    blob = outline(scene.gt, between(40, 200, random.random()), random)
    fields = [clouds(blob.shape, random.uniform(0.03, 0.15), random) for _ in range(2)]
    if random.random() < 0.3:  # larger or smaller from its middle, as eyes and cheeks change
        rows, columns = around(blob, 0)
        down, right = np.mgrid[0 : blob.shape[0], 0 : blob.shape[1]].astype(np.float32)
        way = random.choice((-1.0, 1.0))
        fields = [
            way * (right - (columns.start + columns.stop) / 2) * np.float32(random.uniform(0.3, 1.0)),
            way * (down - (rows.start + rows.stop) / 2) * np.float32(random.uniform(0.3, 1.0)),
        ]
    by: float | Plane = between(4, 16, strength) / (float(np.quantile(np.hypot(*fields)[blob], 0.9)) + 1e-3)
    if seamless := random.random() < 0.7:  # nothing moves at the region's border
        by = by * soft(blob.astype(np.float32), random.uniform(4, 12))
    y, x = np.mgrid[0 : blob.shape[0], 0 : blob.shape[1]].astype(np.float32)
    off = [(place + field * by).astype(np.float32) for place, field in zip((x, y), fields, strict=True)]
    image = np.asarray(cv2.remap(scene.gt, *off, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))
    return image if seamless else blended(scene.gt, image, blob)


def stretched(scene: Scene, strength: float, random: Random) -> Image:
    """Everything lies 4 to 18 px elsewhere, smoothly: proportions have changed."""
    return drifted(scene.gt, between(5, 18, strength), random)


def reframed(scene: Scene, strength: float, random: Random) -> Image:
    """Another view: larger by 4 to 40 %, turned, mirrored or shifted by 8 to 80 px."""
    height, width = scene.gt.shape[:2]
    if random.random() < 0.12:
        return np.ascontiguousarray(scene.gt[:, ::-1])
    size = 1.0 + between(0.04, 0.4, strength) * random.random()
    angle = np.radians(random.normal(0, 1.0 + 6.0 * strength))
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([width / 2, height / 2])
    direction = random.uniform(0, 2 * np.pi)
    off = between(8, 80, strength) * random.uniform(0.5, 1.0) * np.array([np.cos(direction), np.sin(direction)])
    return warped(scene.gt, np.hstack([turn, (middle - turn @ middle + off)[:, None]]).astype(np.float32))


def turned_over(scene: Scene, strength: float, random: Random) -> Image:
    """A region of 32 to 180 px is mirrored where it stands: a head looks the other way."""
    blob = outline(scene.gt, between(32, 180, strength), random)
    rows, columns = around(blob, 0)
    box = blob.copy()
    box[rows, columns] |= blob[rows, columns][:, ::-1]
    image = scene.gt.copy()
    image[rows, columns] = scene.gt[rows, columns][:, ::-1]
    cv2 = opencv()
    if random.random() < 0.5:
        return blended(scene.gt, image, box)
    share = soft(cv2.erode(box.astype(np.float32), np.ones((7, 7), np.uint8)), 4.0)[..., None]
    return to_bytes(scene.gt + (image.astype(np.float32) - scene.gt) * share)


def rewritten(scene: Scene, strength: float, random: Random) -> Image:
    """The text has changed, or is gone; without text in the scene, text is written into it."""
    if isinstance(scene, TextScene):
        other = scene.rewritten if random.random() < 0.7 else scene.blank
        where = opencv().dilate((other != scene.truth).any(axis=2).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        return blended(scene.gt, other, where)
    return written(scene, strength, random)


def written(scene: Scene, strength: float, random: Random) -> Image:
    """A word, a caption or a mark is written across a part of the picture."""
    return draw_text(scene.gt, random_word(random), random, size=between(12, 56, strength))


def annotated(scene: Scene, strength: float, random: Random) -> Image:
    """Lines, arrows, boxes or circles in a loud colour."""
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


def repainted(scene: Scene, strength: float, random: Random) -> Image:
    """A smooth area is painted anew: clouds where there was a gradient, a gradient where there were clouds."""
    cv2 = opencv()
    light = scene.gt.astype(np.float32)
    luma = light.mean(axis=2)
    rough = soft(np.abs(luma - soft(luma, 3.0)), 6.0)
    level = np.quantile(rough, between(0.3, 0.5, random.random()))
    smooth = (rough <= level).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(cv2.erode(smooth, np.ones((9, 9), np.uint8)))
    if count < 2:
        return written(scene, strength, random)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    where = soft(cv2.dilate((labels == largest).astype(np.float32), np.ones((5, 5), np.uint8)), 5.0)[..., None]
    if random.random() < 0.65:
        field = sum(clouds(luma.shape, scale, random) * scale**0.6 for scale in (0.5, 0.25, 0.12, 0.06, 0.03))
        field = np.asarray(field / np.std(field), np.float32)
        if random.random() < 0.5:
            field = np.maximum(field, 0)
        colour = np.array([1.0, 1.0, random.uniform(0.85, 1.0)], np.float32)
        anew = light + between(6, 45, strength) * field[..., None] * colour
    else:
        weight = where + 1e-3
        anew = soft(light * weight, 40.0) / soft(np.repeat(weight, 3, axis=2), 40.0)
        anew = anew + between(0, 12, strength) * slope(luma.shape, random)[..., None]
    return to_bytes(light + (anew - light) * where)


def retiled(scene: Scene, strength: float, random: Random) -> Image:
    """A region of 48 to 220 px has the texture of another place, of this photograph or another."""
    blob = outline(scene.gt, between(48, 220, random.random()), random)
    source = (
        scene.other
        if random.random() < 0.5
        else np.roll(scene.gt, tuple(int(v) for v in random.integers(40, 140, 2)), axis=(0, 1))
    )
    light, other = scene.gt.astype(np.float32), source.astype(np.float32)
    sigma = between(2.0, 8.0, strength)
    fine = other - soft(other, sigma)
    own = light - soft(light, sigma)
    gain = (np.sqrt((own[blob] ** 2).mean()) + 1.0) / (np.sqrt((fine[blob] ** 2).mean()) + 1.0)
    return blended(scene.gt, to_bytes(light - own + np.clip(gain, 0.4, 2.5) * fine), blob)


def restyled(scene: Scene, strength: float, random: Random) -> Image:
    """A drawing, a cartoon, a poster or a painting of it."""
    cv2 = opencv()
    which = random.integers(4)
    if which == 0:
        grey = cv2.cvtColor(scene.gt, cv2.COLOR_RGB2GRAY)
        inverse = 255 - cv2.GaussianBlur(255 - grey, (0, 0), between(3, 9, strength))
        drawing = cv2.divide(grey, np.maximum(inverse, 1), scale=256)
        return np.repeat(drawing[..., None], 3, axis=2)
    smooth = scene.gt
    for _ in range(2):
        smooth = cv2.bilateralFilter(smooth, 9, between(30, 80, strength), 5)
    if which == 1:
        grey = cv2.medianBlur(cv2.cvtColor(scene.gt, cv2.COLOR_RGB2GRAY), 5)
        edges = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY, 9, 4)
        return np.asarray(np.minimum(smooth, np.maximum(edges, 30)[..., None]))
    if which == 2:
        steps = round(between(10, 4, strength))
        return to_bytes(np.rint(smooth / 255.0 * steps) / steps * 255.0)
    few = cv2.resize(scene.gt, None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    size = max(3, 2 * round(between(1, 3, strength)) + 1)
    brush = cv2.medianBlur(few, size)
    return np.asarray(cv2.resize(brush, scene.gt.shape[1::-1], interpolation=cv2.INTER_CUBIC))


def another_view(scene: Scene, strength: float, random: Random) -> Image:
    """Another photograph or another part of this one, in the tones of this one."""
    return synthetic_faults.wrong_photo(scene, 0.5 * strength, random)


# --- colour and light ------------------------------------------------------------------------------------------------


def light_trend(scene: Scene, strength: float, random: Random) -> Image:
    """Light changes slowly across the picture, by 15 to 90 %."""
    field = slope(scene.gt.shape[:2], random) + 0.3 * clouds(scene.gt.shape[:2], 0.7, random)
    tint = np.exp(random.uniform(-0.15, 0.15, 3) * strength)
    gain = np.exp(between(0.12, 0.5, strength) * field[..., None] * tint)
    return to_bytes(scene.gt.astype(np.float32) * gain)


def rebalanced(scene: Scene, strength: float, random: Random) -> Image:
    """The white balance is off by 4 to 30 %: warmer, colder, or towards green or magenta."""
    by = between(0.05, 0.3, strength)
    way = random.choice((-1.0, 1.0)) * by
    gains = np.array([way, 0.0, -way]) if random.random() < 0.7 else np.array([way, -way, way]) * 0.7
    return to_bytes(scene.gt.astype(np.float32) * np.exp(gains))


def another_hour(scene: Scene, strength: float, random: Random) -> Image:
    """Day to dusk, or dusk to day: light, its colour and its direction together."""
    light = scene.gt.astype(np.float32) / 255.0
    field = clouds(light.shape[:2], 0.5, random)[..., None]
    warm = np.exp(np.array([1.0, 0.1, -1.0]) * random.choice((-1, 1)) * between(0.08, 0.35, strength))
    gain = np.exp(field * between(0.15, 0.5, strength))
    gamma = np.exp(random.choice((-1, 1)) * between(0.2, 0.8, strength))
    return to_bytes(255.0 * np.clip(light**gamma * gain * warm, 0, 1))


def another_season(scene: Scene, strength: float, random: Random) -> Image:
    """Greens turn to yellow and red, or colours of one hue to another."""
    cv2 = opencv()
    hsv = cv2.cvtColor(scene.gt, cv2.COLOR_RGB2HSV_FULL).astype(np.float32)
    vivid = hsv[..., 0][hsv[..., 1] >= np.quantile(hsv[..., 1], 0.7)]
    centre = 75.0 if random.random() < 0.4 else float(vivid[int(random.integers(len(vivid)))])
    apart = np.abs((hsv[..., 0] - centre + 128.0) % 256.0 - 128.0)
    share = np.clip(1.6 - apart / 32.0, 0.0, 1.0)
    hsv[..., 0] = (hsv[..., 0] + random.choice((-1, 1)) * between(14, 60, strength) * share) % 256.0
    return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB_FULL))


def recoloured(scene: Scene, strength: float, random: Random) -> Image:
    """A thing of 40 to 220 px has another hue, or colour instead of grey."""
    blob = outline(scene.gt, between(40, 220, random.random()), random)
    light = scene.gt.astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    chroma = light - grey
    angle = random.choice((-1, 1)) * between(0.35, 2.6, strength)
    axis = np.ones(3) / np.sqrt(3.0)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn = np.cos(angle) * np.eye(3) + np.sin(angle) * cross
    tint = random.normal(0, 1, 3)
    tint = (tint - tint.mean()) / (np.abs(tint - tint.mean()).max() + 1e-3) * between(6, 45, strength)
    return blended(scene.gt, to_bytes(grey + chroma @ turn.T + tint * grey / 140.0), blob)


def colourised(scene: Scene, strength: float, random: Random) -> Image:
    """Colours that nobody knows: of regions, by their light and place."""
    cv2 = opencv()
    light = scene.gt.astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    smooth = cv2.bilateralFilter(scene.gt, 9, 40, 7).mean(axis=2) / 255.0
    bands = [
        clouds(smooth.shape, 0.4, random)
        + 3.0 * np.sin(2 * np.pi * (random.uniform(0.5, 2.0) * smooth + random.random()))
        for _ in range(2)
    ]
    by = between(6, 34, strength)
    first = by * np.tanh(bands[0])[..., None] * np.array([1.0, 0.0, -1.0])
    second = 0.6 * by * np.tanh(bands[1])[..., None] * np.array([0.5, -1.0, 0.5])
    return to_bytes(grey + 0.3 * (light - grey) + (first + second) * np.clip(grey / 90.0, 0.2, 1.0))


def true_colours(scene: Scene, strength: float, random: Random) -> Image:
    """The colours that the scene had and a grey print does not tell; invented ones where the scene is no such print."""
    if not isinstance(scene, GreyScene):
        return colourised(scene, strength, random)
    cv2 = opencv()
    luma = cv2.cvtColor(scene.gt, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    colours = scene.colours.astype(np.float32)
    grey = colours @ np.array([[0.299], [0.587], [0.114]], np.float32)
    return to_bytes(
        luma + between(0.4, 1.1, strength) * (colours - grey) * np.clip((luma + 12.0) / (grey + 12.0), 0.4, 2.0)
    )


def rematerialised(scene: Scene, strength: float, random: Random) -> Image:
    """All that has one colour gets another, or another brightness: snow becomes asphalt, a sky another sky."""
    cv2 = opencv()
    small = cv2.resize(scene.gt, (64, 64), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float32)
    centre = lab[int(random.integers(len(lab)))]
    distance = np.linalg.norm(cv2.cvtColor(scene.gt, cv2.COLOR_RGB2LAB).astype(np.float32) - centre, axis=2)
    share = soft(np.clip(1.8 - distance / random.uniform(15, 35), 0.0, 1.0).astype(np.float32), 1.5)[..., None]
    gain = np.exp(random.choice((-1, 1)) * between(0.15, 0.8, strength) * random.random())
    tint = random.normal(0, 1, 3)
    tint = (tint - tint.mean()) / (np.abs(tint - tint.mean()).max() + 1e-3) * between(8, 45, strength)
    return to_bytes(scene.gt + share * (scene.gt * (gain - 1.0) + tint))


def crushed(scene: Scene, strength: float, random: Random) -> Image:
    """Shade goes to black and light to white: a steep curve that loses what it clips."""
    steep, middle = between(1.6, 4.0, strength), random.uniform(0.3, 0.65)
    light = scene.gt.astype(np.float32) / 255.0
    return to_bytes(255.0 * (0.5 + steep * (light - middle)))


# --- detail, artefacts, no restoration -------------------------------------------------------------------------------


def ringing(scene: Scene, strength: float, random: Random) -> Image:
    """Ripples of 3 to 8 px beside every edge."""
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
    return to_bytes(light + between(0.8, 4.0, strength) * ripple)


def gridded(scene: Scene, strength: float, random: Random) -> Image:
    """A regular pattern of 2 to 12 px, as upsampling layers leave it, or moire."""
    height, width = scene.gt.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wave = np.zeros((height, width), np.float32)
    for _ in range(int(random.integers(1, 3))):
        angle, period = random.uniform(0, np.pi), random.uniform(2.0, 12.0)
        wave += np.sin(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period).astype(np.float32)
    if random.random() < 0.5:
        wave *= 1.0 / (1.0 + np.exp(-3.0 * clouds((height, width), 0.3, random)))
    return to_bytes(scene.gt + between(3, 14, strength) * wave[..., None])


def overdrawn(scene: Scene, strength: float, random: Random) -> Image:
    """Detail that is not there: the fine structure of another photograph or place, in parts or everywhere."""
    cv2 = opencv()
    source = scene.other if random.random() < 0.6 else np.ascontiguousarray(scene.gt[::-1])
    grey = cv2.cvtColor(source, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = grey - soft(grey, random.uniform(1.0, 3.5))
    fine *= between(6, 24, strength) / (np.sqrt(soft(fine * fine, 20.0)) + 3.0)
    if random.random() < 0.6:
        fine *= soft((clouds(fine.shape, 0.3, random) > 0).astype(np.float32), 6.0)
    return to_bytes(scene.gt + fine[..., None])


def tiled(scene: Scene, strength: float, random: Random) -> Image:
    """Made in tiles of 64 to 200 px, each a little brighter or darker and up to 3 px off."""
    out = scene.gt.copy()
    size = int(random.integers(64, 201))
    start = random.integers(0, size, 2)
    for top in range(-int(start[0]), out.shape[0], size):
        for left in range(-int(start[1]), out.shape[1], size):
            box = slice(max(top, 0), top + size), slice(max(left, 0), left + size)
            off = random.uniform(-1, 1, 2) * between(0.0, 3.0, strength)
            part = warped(scene.gt, np.array([[1, 0, off[0]], [0, 1, off[1]]], np.float32))[box]
            out[box] = to_bytes(part + random.uniform(-1, 1, 3) * between(3, 14, strength))
    return out


def painterly(scene: Scene, strength: float, random: Random) -> Image:
    """Waxen: edges stay, everything between them is smooth."""
    cv2 = opencv()
    if random.random() < 0.5:
        return np.asarray(cv2.bilateralFilter(scene.gt, 11, between(20, 75, strength), between(3, 7, strength)))
    return scene_regions.flattened(scene.gt, between(8, 30, strength), round(between(3, 9, strength)))


def denoised(scene: Scene, strength: float, random: Random) -> Image:
    """Fine texture taken for noise: non-local means, at times of colour alone."""
    light, colour = between(6, 22, strength), between(6, 30, strength)
    if random.random() < 0.25:
        light = 1.0
    return np.asarray(opencv().fastNlMeansDenoisingColored(scene.gt, None, light, colour, 5, 11))


def banded(scene: Scene, strength: float, random: Random) -> Image:
    """What is smooth falls into steps of 6 to 20 levels."""
    light = scene.gt.astype(np.float32)
    step = between(6, 20, strength)
    steps = np.rint((soft(light, 2.0) + random.uniform(0, step)) / step) * step
    rough = soft(np.abs(light - soft(light, 2.0)).mean(axis=2), 4.0)
    where = np.clip(2.0 - rough / np.quantile(rough, random.uniform(0.3, 0.7)), 0, 1)[..., None]
    return to_bytes(light + (steps - light) * where)


def streaked(scene: Scene, strength: float, random: Random) -> Image:
    """Smeared in one direction."""
    cv2 = opencv()
    size = 2 * round(between(2, 8, strength)) + 1
    return np.asarray(cv2.filter2D(scene.gt, -1, streak(size, random.uniform(0, 180))))


def only_toned(scene: Scene, strength: float, random: Random) -> Image:
    """The photograph in other tones, a little sharper, and with its degradation still there."""
    image = retoned(scene.lq, random.uniform(0.1, 1.0), random)
    if random.random() < 0.5:
        light = image.astype(np.float32)
        image = to_bytes(light + random.uniform(0.0, 0.8) * (light - soft(light, 1.2)))
    if random.random() < 0.3:
        image = drifted(image, random.uniform(0, 1.5), random)
    return jpeg(image, int(random.integers(80, 98))) if random.random() < 0.5 else image


def little_done(scene: Scene, strength: float, random: Random) -> Image:
    """Half of the degradation or more is still there, everywhere."""
    share = between(0.55, 0.95, strength)
    light = scene.gt.astype(np.float32)
    return to_bytes(light + share * (scene.lq.astype(np.float32) - light))


# --- text ------------------------------------------------------------------------------------------------------------


def random_word(random: Random) -> str:
    return "".join(GLYPHS[int(n)] for n in random.integers(len(GLYPHS), size=int(random.integers(3, 12))))


def other_word(word: str, random: Random) -> str:
    """The word with one letter changed, or more."""
    letters = list(word)
    for place in random.permutation(len(letters))[: int(random.integers(1, len(letters) + 1))]:
        letters[place] = GLYPHS[(GLYPHS.index(letters[place]) + int(random.integers(1, len(GLYPHS)))) % len(GLYPHS)]
    return "".join(letters)


def draw_text(image: Image, text: str, random: Random, *, size: float) -> Image:
    """Write a line of text of `size` px, turned at random, in a random colour, on a plate or on the picture itself."""
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


def with_text(scene_gt: Image, random: Random) -> tuple[Image, Image]:
    """The picture with one to three lines of text, and the same with other text."""
    first, second = scene_gt, scene_gt
    for _ in range(int(random.integers(1, 4))):
        word, seed, size = random_word(random), int(random.integers(2**31)), random.uniform(12, 48)
        first = draw_text(first, word, np.random.default_rng(seed), size=size)
        second = draw_text(second, other_word(word, random), np.random.default_rng(seed), size=size)
    return first, second


FAULTS: dict[str, tuple[str, float, Fault]] = {  # class, share within it, function
    "removed": ("content", 1.0, synthetic_faults.removed),
    "moved": ("content", 1.0, synthetic_faults.moved),
    "swapped": ("content", 1.0, synthetic_faults.swapped),
    "scrambled": ("content", 0.5, synthetic_faults.scrambled),
    "perspective": ("content", 0.5, synthetic_faults.perspective),
    "shifted": ("content", 0.4, lambda scene, s, r: synthetic_faults.shifted(scene, 0.6 + 0.4 * s, r)),
    "pasted": ("content", 1.5, pasted),
    "copied": ("content", 1.0, copied),
    "redrawn": ("content", 2.0, redrawn),
    "turned over": ("content", 0.7, turned_over),
    "stretched": ("content", 1.0, stretched),
    "reframed": ("content", 0.8, reframed),
    "rewritten": ("content", 1.5, rewritten),
    "written": ("content", 1.0, written),
    "annotated": ("content", 0.4, annotated),
    "repainted": ("content", 0.8, repainted),
    "retiled": ("content", 1.0, retiled),
    "restyled": ("content", 0.8, restyled),
    "wrong photo": ("content", 0.5, synthetic_faults.wrong_photo),
    "another view": ("content", 0.5, another_view),
    "cast": ("colour", 1.0, synthetic_faults.cast),
    "drained": ("colour", 1.5, synthetic_faults.drained),
    "toned apart": ("colour", 0.7, synthetic_faults.toned_apart),
    "light trend": ("colour", 1.3, light_trend),
    "rebalanced": ("colour", 1.0, rebalanced),
    "another hour": ("colour", 1.0, another_hour),
    "another season": ("colour", 1.0, another_season),
    "recoloured": ("colour", 1.4, recoloured),
    "colourised": ("colour", 0.6, colourised),
    "true colours": ("colour", 0.6, true_colours),
    "rematerialised": ("colour", 1.0, rematerialised),
    "crushed": ("colour", 0.8, crushed),
    "smoothed": ("detail", 1.0, synthetic_faults.smoothed),
    "painterly": ("detail", 0.7, painterly),
    "denoised": ("detail", 0.7, denoised),
    "streaked": ("detail", 0.3, streaked),
    "texture": ("artefact", 1.0, synthetic_faults.texture),
    "double exposure": ("artefact", 1.2, synthetic_faults.double),
    "halos": ("artefact", 1.0, synthetic_faults.halos),
    "compressed": ("artefact", 0.7, synthetic_faults.compressed),
    "ringing": ("artefact", 1.0, ringing),
    "banded": ("artefact", 0.4, banded),
    "gridded": ("artefact", 0.6, gridded),
    "overdrawn": ("artefact", 1.0, overdrawn),
    "tiled": ("artefact", 0.5, tiled),
    "half restored": ("unrestored", 1.3, synthetic_faults.half_restored),
    "unchanged": ("unrestored", 0.7, synthetic_faults.unchanged),
    "only toned": ("unrestored", 1.0, only_toned),
    "little done": ("unrestored", 1.0, little_done),
}
SHARES = {"content": 0.36, "colour": 0.22, "detail": 0.13, "artefact": 0.17, "unrestored": 0.12}


def random_fault(random: Random) -> str:
    """Draw the name of a fault: first its class by SHARES, then the fault by its share."""
    group = list(SHARES)[int(random.choice(len(SHARES), p=list(SHARES.values())))]
    names = [name for name, (of, _, _) in FAULTS.items() if of == group]
    weights = np.array([FAULTS[name][1] for name in names])
    return names[int(random.choice(len(names), p=weights / weights.sum()))]
