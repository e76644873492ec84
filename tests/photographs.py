"""The sample's photographs, and faults of known kind and strength planted in them."""

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
