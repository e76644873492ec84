"""Synthetic faults in good ground truths: the fidelity model is trained on these and on those of training/faults.py.

    random = np.random.default_rng(7)
    faulted = add_named_fault("removed", Scene(gt=gt, lq=lq, other=another_photograph), strength=0.5, random=random)

`strength` is 0 to 1, from hardly visible to obvious. A fault that changes nothing visible, such as an object removed
from a plain sky, does not count: `FaultedImage.seen` is the mask of the visible change, and other places are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ggt_format.schema import Image
from ggt_tools.imaging.planes import opencv
from ggt_tools.restorers.classical import guided
from ggt_tools.training.scene_regions import around, blended, filled, flattened, outline, toned, warped
from ggt_tools.training.synthetic_degradations import between, clouds, filtered, jpeg, soft, streak, to_bytes

Mask = npt.NDArray[np.bool_]
VISIBLE = 4.0  # grey levels, the mean over 9 px: a smaller change is none
GROUPS = ("content", "colour", "detail", "artefact", "unrestored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A good pair and another photograph, all uint8 RGB (height, width, 3) of one size."""

    gt: Image
    lq: Image
    other: Image


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultedImage:
    """A ground truth with a fault, uint8 RGB (height, width, 3), and the mask (height, width) where it is visible."""

    image: Image
    seen: Mask


Fault = Callable[[Scene, float, np.random.Generator], Image]


def add_named_fault(kind: str, scene: Scene, *, strength: float, random: np.random.Generator) -> FaultedImage:
    """Return the gt with a fault of FAULTS, at the first of four places where 1/2000 of the image changes visibly."""
    return add_fault(FAULTS[kind][1], scene, strength, random)


def add_fault(fault: Fault, scene: Scene, strength: float, random: np.random.Generator) -> FaultedImage:
    """Return the gt with any fault, as add_named_fault() does."""
    for _ in range(4):
        image = fault(scene, strength, random)
        seen = differs(scene.gt, image)
        if seen.mean() >= 1 / 2000:
            break
    return FaultedImage(image=image, seen=seen)


def differs(before: Image, after: Image) -> Mask:
    cv2 = opencv()
    difference = cv2.transform(cv2.absdiff(before, after), np.full((1, 3), 1 / 3, np.float32))
    return np.asarray(cv2.blur(difference.astype(np.float32), (9, 9)) > VISIBLE)


# --- content ----------------------------------------------------------------------------------------------------------


def removed(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """An object of 24 to 128 px is gone, and its surroundings grown over it."""
    blob = outline(scene.gt, between(24, 128, strength), random)
    light = scene.gt.astype(np.float32)
    fine = np.roll(light - soft(light, 1.5), (7, 11), axis=(0, 1))  # so that it is no plain patch
    return blended(scene.gt, to_bytes(filled(scene.gt, blob, random) + random.uniform(0, 1) * fine), blob)


def moved(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """An object of 48 to 112 px stands 4 to 64 px further; its old place is filled."""
    by = 4.0 * 16.0**strength
    blob = outline(scene.gt, random.uniform(48, 112), random)
    without = filled(scene.gt, blob, random)
    angle = random.uniform(0, 2 * np.pi)
    matrix = np.array([[1, 0, by * np.cos(angle)], [0, 1, by * np.sin(angle)]], np.float32)
    return blended(without, warped(scene.gt, matrix), warped(blob.astype(np.uint8), matrix) > 0)


def swapped(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """A region of 24 to 160 px is of another photograph, in the tone of this one."""
    blob = outline(scene.gt, between(24, 160, strength), random)
    return blended(scene.gt, toned(scene.other, scene.gt, blob), blob)


def scrambled(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """A region of 32 to 128 px whose blocks of 6 to 20 px have changed places."""
    blob = outline(scene.gt, between(32, 128, strength), random)
    rows, columns = around(blob, 0)
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
    return blended(scene.gt, out, blob)


def shifted(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """All lies 1 to 16 px off."""
    by, angle = 16.0**strength, random.uniform(0, 2 * np.pi)
    return warped(scene.gt, np.array([[1, 0, by * np.cos(angle)], [0, 1, by * np.sin(angle)]], np.float32))


def perspective(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """The corners of a picture of 1024 px, of which this is a part, move by up to 6 to 40 px."""
    height, width = scene.gt.shape[:2]
    left, top = random.uniform(0, max(1024 - width, 1)), random.uniform(0, max(1024 - height, 1))
    corners = np.array([[0, 0], [1024, 0], [1024, 1024], [0, 1024]], np.float32) - np.array([left, top], np.float32)
    off = random.uniform(-1, 1, (4, 2)).astype(np.float32)
    off *= between(6, 40, strength) / np.abs(off).max()
    cv2 = opencv()
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), (corners + off).astype(np.float32))
    size = width, height
    return np.asarray(cv2.warpPerspective(scene.gt, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))


def wrong_photo(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Another photograph; the weaker, the more its tones are those of the right one."""
    everywhere = np.ones(scene.gt.shape[:2], np.bool_)
    same = toned(scene.other, scene.gt, everywhere).astype(np.float32)
    return to_bytes(same + (scene.other.astype(np.float32) - same) * strength)


# --- colour, detail, artefacts, no restoration ------------------------------------------------------------------------


def cast(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Two channels go apart by 5 to 30 %, everywhere or in a part with soft borders."""
    gains = random.permutation(np.array([1.0, random.uniform(0.3, 0.7), 0.0], np.float32)) - 0.5
    tinted = scene.gt * (1.0 + between(0.05, 0.30, strength) * gains)
    if random.random() < 0.25:
        where = 1.0 / (1.0 + np.exp(-6.0 * clouds(scene.gt.shape[:2], 0.4, random)))[..., None]
        tinted = scene.gt + (tinted - scene.gt) * where
    return to_bytes(tinted)


def drained(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """A thing of 48 to 200 px has lost 30 to 90 % of its colour, or got as much again, or has that of its opposite."""
    blob = outline(scene.gt, random.uniform(48, 200), random)
    by = (1.0 - between(0.3, 0.9, strength), 1.0 + between(0.6, 1.8, strength), -between(0.2, 1.0, strength))
    grey = scene.gt.mean(axis=2, keepdims=True)
    return blended(scene.gt, to_bytes(grey + (scene.gt - grey) * by[random.integers(3)]), blob)


def toned_apart(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Each channel has a curve of its own, gammas apart by 0.1 to 0.7: other hues in shade than in light."""
    gammas = np.exp(random.permutation(np.array([0.5, random.uniform(-0.2, 0.2), -0.5])) * between(0.1, 0.7, strength))
    return to_bytes(255.0 * (scene.gt / 255.0) ** gammas)


def smoothed(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """A Gaussian, a median, a guided filter of 0.9 to 3 px, or fine detail taken off; everywhere or in a part."""
    cv2 = opencv()
    sigma = between(0.9, 3.0, strength)
    which = random.integers(4)
    if which == 0:
        out = soft(scene.gt.astype(np.float32), sigma)
    elif which == 3:
        out = flattened(scene.gt, between(6, 30, strength), round(1 + 2 * sigma)).astype(np.float32)
    elif which == 1:
        out = cv2.medianBlur(scene.gt, 2 * round(sigma + 0.3) + 1).astype(np.float32)
    else:
        planes = [np.asarray(plane, np.float32) / 255.0 for plane in cv2.split(scene.gt)]
        radius, smooth = round(2 * sigma), (between(0.03, 0.15, strength)) ** 2
        out = 255.0 * cv2.merge([guided(plane, plane, radius=radius, smooth=smooth) for plane in planes])
    return _partly(scene.gt, to_bytes(out), random)


def texture(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Random texture of 4 to 20 grey levels and a size of 1 to 8 px, with a direction or none, here or all over."""
    grain = random.standard_normal(scene.gt.shape[:2], np.float32)
    grain = soft(grain, random.uniform(0.5, 2.5))
    if random.random() < 0.5:
        grain -= soft(grain, random.uniform(2.5, 5.0))
    if random.random() < 0.4:
        grain = filtered(grain, streak(2 * int(random.integers(2, 10)) + 1, random.uniform(0, 180)))
    grain *= between(4, 20, strength) / grain.std()
    if random.random() < 0.4:  # where there is something already
        light = scene.gt.astype(np.float32).mean(axis=2)
        energy = soft((light - soft(light, 2.0)) ** 2, 8.0)
        grain *= np.clip(energy / energy.mean(), 0.1, 2.0)
    return _partly(scene.gt, to_bytes(scene.gt + grain[..., None]), random)


def double(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """Another photograph shines through, by 10 to 40 %."""
    share = between(0.10, 0.40, strength)
    return to_bytes(scene.gt * (1 - share) + scene.other.astype(np.float32) * share)


def halos(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """An unsharp mask of 2 to 5 px and 80 to 350 %."""
    light = scene.gt.astype(np.float32)
    detail = light - soft(light, random.uniform(2.0, 5.0))
    return to_bytes(light + between(0.8, 3.5, strength) * detail)


def compressed(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """JPEG of quality 40 down to 8."""
    return jpeg(scene.gt, round(between(40, 8, strength)))


def half_restored(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """A part of 10 to 60 % of the picture is as the photograph was; the border is hard or soft."""
    field = clouds(scene.gt.shape[:2], random.uniform(0.3, 0.8), random)
    if random.random() < 0.5:
        y, x = np.mgrid[0 : scene.gt.shape[0], 0 : scene.gt.shape[1]]
        angle = random.uniform(0, 2 * np.pi)
        field = np.asarray(np.cos(angle) * x + np.sin(angle) * y, np.float32)
    level = np.quantile(field, between(0.10, 0.60, strength))
    where = (field <= level).astype(np.float32)
    if random.random() < 0.5:
        where = soft(where, random.uniform(2, 12))
    return to_bytes(scene.gt + (scene.lq.astype(np.float32) - scene.gt) * where[..., None])


def unchanged(scene: Scene, strength: float, random: np.random.Generator) -> Image:
    """The photograph again; the stronger, the fewer traces of a new encoding."""
    return scene.lq.copy() if strength > 0.7 else jpeg(scene.lq, round(between(88, 98, strength)))


FAULTS: dict[str, tuple[str, Fault]] = {  # the kinds that training has, by name: group, function
    "removed": ("content", removed),
    "moved": ("content", moved),
    "swapped": ("content", swapped),
    "scrambled": ("content", scrambled),
    "shifted": ("content", shifted),
    "perspective": ("content", perspective),
    "wrong photo": ("content", wrong_photo),
    "cast": ("colour", cast),
    "drained": ("colour", drained),
    "toned apart": ("colour", toned_apart),
    "smoothed": ("detail", smoothed),
    "texture": ("artefact", texture),
    "double exposure": ("artefact", double),
    "halos": ("artefact", halos),
    "compressed": ("artefact", compressed),
    "half restored": ("unrestored", half_restored),
    "unchanged": ("unrestored", unchanged),
}


# --- what is no fault -------------------------------------------------------------------------------------------------


def harmless(scene: Scene, random: np.random.Generator) -> Image:
    """A restorer's freedom: a little other tone, contrast, saturation, sharpness, noise; a trace of the photograph."""
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
        light = light + random.uniform(0.0, 0.5) * (light - soft(light, random.uniform(0.8, 1.3)))
    elif random.random() < 0.3:
        light = soft(light, random.uniform(0.3, 0.55))
    if random.random() < 0.3:
        light = cv2.addWeighted(light, 1 - (trace := random.uniform(0.0, 0.12)), scene.lq.astype(np.float32), trace, 0)
    if random.random() < 0.3:
        off = random.uniform(-0.25, 0.25, 2)
        light = np.asarray(warped(light, np.array([[1, 0, off[0]], [0, 1, off[1]]], np.float32)), np.float32)
    image = to_bytes(light)
    if random.random() < 0.2:
        image = np.asarray(opencv().bilateralFilter(image, 5, 8, 1.5))
    if random.random() < 0.4:
        image = jpeg(image, int(random.integers(90, 99)))
    return image


# --- tools ------------------------------------------------------------------------------------------------------------


def _partly(before: Image, after: Image, random: np.random.Generator) -> Image:
    """Everywhere in half of the cases, else in some regions with soft borders."""
    if random.random() < 0.5:
        return after
    field = clouds(before.shape[:2], random.uniform(0.2, 0.5), random)
    where = soft((field > np.quantile(field, random.uniform(0.3, 0.8))).astype(np.float32), 4.0)[..., None]
    return to_bytes(before + (after.astype(np.float32) - before) * where)
