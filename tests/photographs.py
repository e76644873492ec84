"""The sample's photographs, and synthetic faults of known kind and strength."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

Photograph = npt.NDArray[np.uint8]
SAMPLE = Path(__file__).parent.parent / "dataset_card" / "sample"


@cache
def credits() -> dict[str, str]:
    """The class of each photograph of the sample, by its name without the ending."""
    with (SAMPLE / "credits.csv").open(encoding="utf-8", newline="") as file:
        return {Path(row["file"]).stem: row["degradation"] for row in csv.DictReader(file)}


@cache
def photograph(name: str) -> Photograph:
    with Image.open(SAMPLE / f"{name}.jpg") as image:
        return np.asarray(image.convert("RGB"))


def crop(name: str, size: int, left: int = 0, top: int = 0) -> Photograph:
    return np.ascontiguousarray(photograph(name)[top : top + size, left : left + size])


def hazed(image: Photograph, share: float) -> Photograph:
    return _bytes(image * (1 - share) + np.array([205.0, 215.0, 225.0]) * share)


def dimmed(image: Photograph, gain: float) -> Photograph:
    return _bytes(image * gain)


def noisy(image: Photograph, sigma: float) -> Photograph:
    return _bytes(image + np.random.default_rng(7).normal(0, sigma, image.shape))


def blurred(image: Photograph, sigma: float) -> Photograph:
    return cv2.GaussianBlur(image, (0, 0), sigma) if sigma else image


def veiled(image: Photograph, share: float) -> Photograph:
    """Haze that thickens with distance, which is taken to grow upwards: `share` of airlight at the top edge."""
    depth = np.linspace(1.0, 0.35, image.shape[0])[:, None, None]
    through = (1.0 - share) ** depth
    return _bytes(image * through + np.array([205.0, 212.0, 220.0]) * (1.0 - through))


def at_night(image: Photograph, gain: float) -> Photograph:
    """Underexposed, with the noise of a sensor that got little light: shot noise and 2 grey levels of read noise."""
    light = 255.0 * gain * (image / 255.0) ** 1.6
    random = np.random.default_rng(7)
    return _bytes(light + random.normal(0, 1, image.shape) * np.sqrt(4.0 + 0.3 * light))


def grained(image: Photograph, sigma: float, size: float = 1.2) -> Photograph:
    """Film grain: the same in all channels, correlated over `size` pixels, strongest in the mid-tones."""
    grain = cv2.GaussianBlur(np.random.default_rng(7).normal(0, 1, image.shape[:2]), (0, 0), size)
    tone = image.mean(axis=2) / 255.0
    weight = 2.0 * np.sqrt(tone * (1.0 - tone))
    return _bytes(image + (sigma * grain / grain.std() * weight)[..., None])


def aged(image: Photograph, strength: float) -> Photograph:
    """A print gone brown and pale, of grainy film: `strength` 0..1."""
    grey = image @ np.array([0.299, 0.587, 0.114])
    tone = (grey / 255.0)[..., None]
    brown = np.array([255.0, 236.0, 200.0]) * tone + np.array([58.0, 40.0, 24.0]) * (1 - tone)
    black, white = 40.0 * strength, 255.0 - 50.0 * strength
    return grained(_bytes(black + (white - black) / 255.0 * brown), 4.0 + 6.0 * strength)


def monochrome(image: Photograph) -> Photograph:
    """A modern black and white photograph: nothing is wrong with it."""
    return np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def rained_on(image: Photograph, share: float) -> Photograph:
    """Streaks of falling rain, 12 degrees off the vertical: `share` of the pixels starts one."""
    drops = (np.random.default_rng(7).random(image.shape[:2]) < share).astype(np.float32)
    kernel = cv2.warpAffine(
        np.eye(1, 31, 15, np.float32).repeat(31, axis=0), cv2.getRotationMatrix2D((15, 15), 12, 1), (31, 31)
    )
    streaks = np.clip(cv2.GaussianBlur(cv2.filter2D(drops, -1, kernel), (0, 0), 0.6) * 0.7, 0, 0.7)[..., None]
    return _bytes(image * (1 - streaks) + 225.0 * streaks)


def snowed_on(image: Photograph, share: float) -> Photograph:
    """Falling flakes of 1 to 4 px, some out of focus: `share` of the pixels is the centre of one."""
    random = np.random.default_rng(7)
    veil = np.zeros(image.shape[:2], np.float32)
    for radius in (1, 2, 3, 4):
        centres = (random.random(veil.shape) < share / 4).astype(np.float32)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        veil = np.maximum(veil, cv2.GaussianBlur(cv2.dilate(centres, disc), (0, 0), 0.4 * radius))
    return _bytes(image * (1 - 0.9 * veil[..., None]) + 245.0 * 0.9 * veil[..., None])


def jpeg(image: Photograph, quality: int) -> Photograph:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def shifted(image: Photograph, right: float, down: float = 0.0) -> Photograph:
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = image.shape[1], image.shape[0]
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def tinted(image: Photograph, red: float, green: float, blue: float) -> Photograph:
    return _bytes(image * np.array([red, green, blue]))


def painted_over(image: Photograph, left: int, top: int, size: int) -> Photograph:
    mask = np.zeros(image.shape[:2], np.uint8)
    mask[top : top + size, left : left + size] = 1
    return cv2.inpaint(image, mask, 5, cv2.INPAINT_TELEA)


def haloed(image: Photograph) -> Photograph:
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 3.0)
    return _bytes(image + 2.0 * (image - soft))


def psnr(a: Photograph, b: Photograph) -> float:
    return float(10 * np.log10(255.0**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def _bytes(values: npt.NDArray[np.float64]) -> Photograph:
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)
