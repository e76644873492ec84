"""Synthetic faults in good ground truths, on which the fidelity model is trained, with those of training/faults.py.

    random = np.random.default_rng(7)
    faulted = add_named_fault("removed", Scene(gt=gt, lq=lq, other=another_photograph), strength=0.5, random=random)

`strength` is 0 to 1, from hardly visible to obvious. A fault without a visible effect, such as an object removed from a
plain sky, does not count: another position is tried then. `FaultedImage.seen` is the mask of the visible change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.restorers.classical import guided
from ggt_tools.training.scene_regions import blend, bounding_box, diffuse, draw_outline, inpaint, match_tone, warp
from ggt_tools.training.synthetic_degradations import (
    blur_gaussian,
    convolve,
    draw_clouds,
    encode_jpeg,
    interpolate,
    streak_kernel,
    to_bytes,
)

Mask = npt.NDArray[np.bool_]
VISIBLE = 4.0  # grey levels, mean over 9 px: smaller changes are not visible
GROUPS = ("content", "colour", "detail", "artefact", "unrestored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A good pair and another photograph: uint8 RGB (height, width, 3), all of the same size."""

    gt: Image
    lq: Image
    other: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultedImage:
    """A ground truth with a fault.

    Attributes:
        image: uint8 RGB (height, width, 3).
        seen: Mask (height, width) of the visible change.
    """

    image: Image
    seen: Mask


Fault = Callable[[Scene, float, np.random.Generator], Image]


def add_named_fault(kind: str, scene: Scene, *, strength: float, random: np.random.Generator) -> FaultedImage:
    """Return the gt with a fault of FAULTS; see add_fault()."""
    return add_fault(FAULTS[kind][1], scene, strength, random)


def add_fault(fault: Fault, scene: Scene, strength: float, random: np.random.Generator) -> FaultedImage:
    """Return the gt with a fault. Up to four positions are tried, until 1/2000 of the image changes visibly.

    Args:
        fault: Function that adds the fault.
        scene: The pair.
        strength: 0 (hardly visible) to 1 (obvious).
        random: Source of every random choice.
    """
    for _ in range(4):
        image = fault(scene, strength, random)
        seen = find_visible_change(scene.gt, image)
        if seen.mean() >= 1 / 2000:
            break
    return FaultedImage(image=image, seen=seen)


def find_visible_change(before: Image, after: Image) -> Mask:
    """Return the mask of visible differences between two images."""
    cv2 = opencv()
    difference = cv2.transform(cv2.absdiff(before, after), np.full((1, 3), 1 / 3, np.float32))
    return np.asarray(cv2.blur(difference.astype(np.float32), (9, 9)) > VISIBLE)


# --- content ----------------------------------------------------------------------------------------------------------


def remove_object(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Remove an object of 24 to 128 px, and fill the area from its surroundings."""
    blob = draw_outline(scene.gt, interpolate(24, 128, strength), random)
    light = scene.gt.astype(np.float32)
    fine = np.roll(
        light - blur_gaussian(light, 1.5), (7, 11), axis=(0, 1)
    )  # fine structure, so that the patch is not plain
    return blend(scene.gt, to_bytes(inpaint(scene.gt, blob, random) + random.uniform(0, 1) * fine), blob)


def move_object(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Move an object of 48 to 112 px by 4 to 64 px, and fill its old area."""
    by = 4.0 * 16.0**strength
    blob = draw_outline(scene.gt, random.uniform(48, 112), random)
    without = inpaint(scene.gt, blob, random)
    angle = random.uniform(0, 2 * np.pi)
    matrix = np.array([[1, 0, by * np.cos(angle)], [0, 1, by * np.sin(angle)]], np.float32)
    return blend(without, warp(scene.gt, matrix), warp(blob.astype(np.uint8), matrix) > 0)


def replace_region(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Replace a region of 24 to 160 px by another photograph, with the tone of this one."""
    blob = draw_outline(scene.gt, interpolate(24, 160, strength), random)
    return blend(scene.gt, match_tone(scene.other, scene.gt, blob), blob)


def scramble_region(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Exchange blocks of 6 to 20 px within a region of 32 to 128 px."""
    blob = draw_outline(scene.gt, interpolate(32, 128, strength), random)
    rows, columns = bounding_box(blob, 0)
    size = int(random.integers(6, 21))
    out = scene.gt.copy()
    spots = [
        (top, left)
        for top in range(rows.start, rows.stop - size, size)
        for left in range(columns.start, columns.stop - size, size)
    ]
    for (top, left), place in zip(spots, random.permutation(len(spots)), strict=True):
        old_top, old_left = spots[place]
        block = scene.gt[old_top : old_top + size, old_left : old_left + size]
        out[top : top + block.shape[0], left : left + block.shape[1]] = block
    return blend(scene.gt, out, blob)


def shift_image(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Shift the whole image by 1 to 16 px."""
    by, angle = 16.0**strength, random.uniform(0, 2 * np.pi)
    return warp(scene.gt, np.array([[1, 0, by * np.cos(angle)], [0, 1, by * np.sin(angle)]], np.float32))


def change_perspective(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Move the corners of an image of 1024 px, of which this is a part, by up to 6 to 40 px."""
    height, width = scene.gt.shape[:2]
    left, top = random.uniform(0, max(1024 - width, 1)), random.uniform(0, max(1024 - height, 1))
    corners = np.array([[0, 0], [1024, 0], [1024, 1024], [0, 1024]], np.float32) - np.array([left, top], np.float32)
    off = random.uniform(-1, 1, (4, 2)).astype(np.float32)
    off *= interpolate(6, 40, strength) / np.abs(off).max()
    cv2 = opencv()
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), (corners + off).astype(np.float32))
    size = width, height
    return np.asarray(cv2.warpPerspective(scene.gt, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))


def replace_photo(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Return another photograph. At low strength it has the tones of the right one."""
    everywhere = np.ones(scene.gt.shape[:2], np.bool_)
    same = match_tone(scene.other, scene.gt, everywhere).astype(np.float32)
    return to_bytes(same + (scene.other.astype(np.float32) - same) * strength)


# --- colour, detail, artefacts, no restoration ------------------------------------------------------------------------


def add_cast(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Change two channels in opposite directions by 5 to 30 %, everywhere or in an area with soft borders."""
    gains = random.permutation(np.array([1.0, random.uniform(0.3, 0.7), 0.0], np.float32)) - 0.5
    tinted = scene.gt * (1.0 + interpolate(0.05, 0.30, strength) * gains)
    if random.random() < 0.25:
        where = 1.0 / (1.0 + np.exp(-6.0 * draw_clouds(scene.gt.shape[:2], 0.4, random)))[..., None]
        tinted = scene.gt + (tinted - scene.gt) * where
    return to_bytes(tinted)


def change_saturation(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Reduce, increase or invert the saturation of an object of 48 to 200 px."""
    blob = draw_outline(scene.gt, random.uniform(48, 200), random)
    by = (
        1.0 - interpolate(0.3, 0.9, strength),
        1.0 + interpolate(0.6, 1.8, strength),
        -interpolate(0.2, 1.0, strength),
    )
    grey = scene.gt.mean(axis=2, keepdims=True)
    return blend(scene.gt, to_bytes(grey + (scene.gt - grey) * by[random.integers(3)]), blob)


def tone_channels_apart(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Apply different gammas to the channels, so that hues differ between shadows and highlights."""
    gammas = np.exp(
        random.permutation(np.array([0.5, random.uniform(-0.2, 0.2), -0.5])) * interpolate(0.1, 0.7, strength)
    )
    return to_bytes(255.0 * (scene.gt / 255.0) ** gammas)


def smooth_image(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Smooth by a Gaussian, a median, a guided filter or diffusion, everywhere or in an area."""
    cv2 = opencv()
    sigma = interpolate(0.9, 3.0, strength)
    which = random.integers(4)
    if which == 0:
        out = blur_gaussian(scene.gt.astype(np.float32), sigma)
    elif which == 3:
        out = diffuse(scene.gt, interpolate(6, 30, strength), round(1 + 2 * sigma)).astype(np.float32)
    elif which == 1:
        out = cv2.medianBlur(scene.gt, 2 * round(sigma + 0.3) + 1).astype(np.float32)
    else:
        planes = [np.asarray(plane, np.float32) / 255.0 for plane in cv2.split(scene.gt)]
        radius, smooth = round(2 * sigma), (interpolate(0.03, 0.15, strength)) ** 2
        out = 255.0 * cv2.merge([guided(plane, plane, radius=radius, smooth=smooth) for plane in planes])
    return _apply_partly(scene.gt, to_bytes(out), random)


def add_texture(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Add random texture of 4 to 20 grey levels and 1 to 8 px, directed or not, everywhere or in an area."""
    grain = random.standard_normal(scene.gt.shape[:2], np.float32)
    grain = blur_gaussian(grain, random.uniform(0.5, 2.5))
    if random.random() < 0.5:
        grain -= blur_gaussian(grain, random.uniform(2.5, 5.0))
    if random.random() < 0.4:
        grain = convolve(grain, streak_kernel(2 * int(random.integers(2, 10)) + 1, random.uniform(0, 180)))
    grain *= interpolate(4, 20, strength) / grain.std()
    if random.random() < 0.4:  # stronger where the image has structure
        light = scene.gt.astype(np.float32).mean(axis=2)
        energy = blur_gaussian((light - blur_gaussian(light, 2.0)) ** 2, 8.0)
        grain *= np.clip(energy / energy.mean(), 0.1, 2.0)
    return _apply_partly(scene.gt, to_bytes(scene.gt + grain[..., None]), random)


def double_expose(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Blend in another photograph by 10 to 40 %."""
    share = interpolate(0.10, 0.40, strength)
    return to_bytes(scene.gt * (1 - share) + scene.other.astype(np.float32) * share)


def add_halos(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Apply an unsharp mask of 2 to 5 px and 80 to 350 %."""
    light = scene.gt.astype(np.float32)
    detail = light - blur_gaussian(light, random.uniform(2.0, 5.0))
    return to_bytes(light + interpolate(0.8, 3.5, strength) * detail)


def compress(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Compress as JPEG of quality 40 down to 8."""
    return encode_jpeg(scene.gt, round(interpolate(40, 8, strength)))


def leave_part_unrestored(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Leave 10 to 60 % of the image as in the photograph, with a hard or soft border."""
    field = draw_clouds(scene.gt.shape[:2], random.uniform(0.3, 0.8), random)
    if random.random() < 0.5:
        y, x = np.mgrid[0 : scene.gt.shape[0], 0 : scene.gt.shape[1]]
        angle = random.uniform(0, 2 * np.pi)
        field = np.asarray(np.cos(angle) * x + np.sin(angle) * y, np.float32)
    level = np.quantile(field, interpolate(0.10, 0.60, strength))
    where = (field <= level).astype(np.float32)
    if random.random() < 0.5:
        where = blur_gaussian(where, random.uniform(2, 12))
    return to_bytes(scene.gt + (scene.lq.astype(np.float32) - scene.gt) * where[..., None])


def return_photograph(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Return the photograph, at low strength with traces of a new encoding."""
    return scene.lq.copy() if strength > 0.7 else encode_jpeg(scene.lq, round(interpolate(88, 98, strength)))


FAULTS: dict[str, tuple[str, Fault]] = {  # by name: (group, function)
    "removed": ("content", remove_object),
    "moved": ("content", move_object),
    "swapped": ("content", replace_region),
    "scrambled": ("content", scramble_region),
    "shifted": ("content", shift_image),
    "perspective": ("content", change_perspective),
    "wrong photo": ("content", replace_photo),
    "cast": ("colour", add_cast),
    "drained": ("colour", change_saturation),
    "toned apart": ("colour", tone_channels_apart),
    "smoothed": ("detail", smooth_image),
    "texture": ("artefact", add_texture),
    "double exposure": ("artefact", double_expose),
    "halos": ("artefact", add_halos),
    "compressed": ("artefact", compress),
    "half restored": ("unrestored", leave_part_unrestored),
    "unchanged": ("unrestored", return_photograph),
}


# --- harmless changes -------------------------------------------------------------------------------------------------


def change_harmlessly(scene: Scene, random: np.random.Generator) -> Image:
    """Make changes that a faithful restorer may make: slight tone, contrast, saturation, sharpness or noise."""
    cv2 = opencv()
    tones = np.arange(256, dtype=np.float32)
    if random.random() < 0.5:
        tones = np.asarray(255.0 * (tones / 255.0) ** random.uniform(0.87, 1.15), np.float32)
    if random.random() < 0.5:
        middle = float(scene.gt[::4, ::4].mean())
        tones = middle + (tones - middle) * random.uniform(0.9, 1.12)
    light = np.asarray(cv2.LUT(scene.gt, to_bytes(tones)), np.float32)
    if random.random() < 0.6:
        colour = random.uniform(0.85, 1.25) if random.random() < 0.7 else 1.0
        gains = random.uniform(0.985, 1.015, 3) if random.random() < 0.5 else np.ones(3)
        mix = np.diag(gains) @ (np.eye(3) * colour + (1 - colour) / 3)
        light = np.asarray(cv2.transform(light, mix.astype(np.float32)), np.float32)
    if random.random() < 0.3:
        light = light + random.uniform(0.0, 0.5) * (light - blur_gaussian(light, random.uniform(0.8, 1.3)))
    elif random.random() < 0.3:
        light = blur_gaussian(light, random.uniform(0.3, 0.55))
    if random.random() < 0.3:
        light = cv2.addWeighted(light, 1 - (trace := random.uniform(0.0, 0.12)), scene.lq.astype(np.float32), trace, 0)
    if random.random() < 0.3:
        off = random.uniform(-0.25, 0.25, 2)
        light = np.asarray(warp(light, np.array([[1, 0, off[0]], [0, 1, off[1]]], np.float32)), np.float32)
    image = to_bytes(light)
    if random.random() < 0.2:
        image = np.asarray(opencv().bilateralFilter(image, 5, 8, 1.5))
    if random.random() < 0.4:
        image = encode_jpeg(image, int(random.integers(90, 99)))
    return image


# --- helpers ----------------------------------------------------------------------------------------------------------


def _apply_partly(before: Image, after: Image, random: np.random.Generator) -> Image:
    """Return `after` everywhere in half of the cases, else in some regions with soft borders."""
    if random.random() < 0.5:
        return after
    field = draw_clouds(before.shape[:2], random.uniform(0.2, 0.5), random)
    where = blur_gaussian((field > np.quantile(field, random.uniform(0.3, 0.8))).astype(np.float32), 4.0)[..., None]
    return to_bytes(before + (after.astype(np.float32) - before) * where)
