"""panels: pages with a photograph as background are detected, and photographs are not taken for pages."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFont

from ggt_tools.imaging.perceptual_hash import HashIndex
from ggt_tools.records import Refusal
from ggt_tools.stages.ingest import PhotoOptions, ingest
from ggt_tools.stages.ingest.panels import find_panels, is_page_over_photograph
from ggt_tools.stages.ingest.sources import from_folder

from .photographs import credits, jpeg, photograph

Pixels = npt.NDArray[np.uint8]
NAMES = sorted(credits())
SIZE = (1280, 960)


def background(name: str) -> Image.Image:
    return Image.fromarray(photograph(name)).resize(SIZE, Image.Resampling.LANCZOS)


def write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: str, size: int) -> None:
    draw.text(place, text, colour, ImageFont.load_default(size))


def hero(image: Image.Image) -> None:
    """A bar, a heading and two round buttons."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, SIZE[0], 64), "#ffffff")
    for number, text in enumerate(("Home", "Tours", "Prices")):
        write(draw, (700 + number * 130, 18), text, "#333333", 24)
    write(draw, (80, 200), "Discover the mountains", "white", 64)
    for left, colour, ink, text in ((80, "#1a73e8", "white", "Get started"), (330, "#ffffff", "#222222", "Learn more")):
        draw.rounded_rectangle((left, 360, left + 220, 420), 12, colour)
        write(draw, (left + 30, 372), text, ink, 28)


def cards(image: Image.Image) -> None:
    """A heading and three panels of text, each with a button."""
    draw = ImageDraw.Draw(image)
    write(draw, (300, 200), "Choose a plan", "#ffffff", 80)
    for left in (100, 480, 860):
        draw.rectangle((left, 500, left + 320, 860), "#f4f4f2")
        for line in range(7):
            write(draw, (left + 20, 520 + line * 38), "some words of text", "#444444", 20)
        draw.rectangle((left + 20, 800, left + 200, 840), "#e05a2b")


def form(image: Image.Image) -> None:
    """A white panel with two fields and a button."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((440, 250, 840, 720), "#ffffff")
    write(draw, (480, 280), "Sign in with your name and password", "#111111", 22)
    for top in (370, 450):
        draw.rectangle((480, top, 800, top + 50), "#f0f0f0", outline="#888888")
        write(draw, (490, top + 12), "Name or number", "#777777", 20)
    draw.rectangle((480, 560, 800, 620), "#0a8f3c")


def sidebar(image: Image.Image) -> None:
    """A column of entries, a heading and two square buttons."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 260, SIZE[1]), "#22262b")
    for number in range(12):
        write(draw, (20, 40 + number * 50), f"Entry {number}", "#cccccc", 22)
    write(draw, (330, 300), "Welcome back", "white", 72)
    draw.rectangle((330, 420, 520, 480), "#ff5a5f")
    draw.rectangle((560, 420, 750, 480), "#3b3bd6")


def consent(image: Image.Image) -> None:
    """A bar at the foot with two buttons on it, and one in the picture."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, SIZE[1] - 90, *SIZE), "#202020")
    write(draw, (30, SIZE[1] - 65), "We use cookies to improve this site.", "#eeeeee", 22)
    for left, colour in ((960, "#33aa77"), (1120, "#888888")):
        draw.rectangle((left, SIZE[1] - 70, left + 140, SIZE[1] - 20), colour)
    draw.rectangle((100, 250, 280, 300), "#cc0000")


PAGES: dict[str, Callable[[Image.Image], None]] = {
    "hero": hero, "cards": cards, "form": form, "sidebar": sidebar, "consent": consent,
}  # fmt: skip


def page(draw: str, over: str = "friends-2") -> Pixels:
    image = background(over)
    PAGES[draw](image)
    return np.asarray(image)


@pytest.mark.parametrize("over", ["friends-2", "wine-1", "sunset-1", NAMES[0]])
@pytest.mark.parametrize("draw", PAGES)
def test_a_page_over_a_photograph_is_detected(draw: str, over: str) -> None:
    assert is_page_over_photograph(page(draw, over))


@pytest.mark.parametrize("quality", [95, 80, 60])
@pytest.mark.parametrize("draw", ["hero", "cards", "form"])
def test_a_page_over_a_photograph_is_detected_in_a_jpeg(draw: str, quality: int) -> None:
    assert is_page_over_photograph(jpeg(page(draw), quality))


def test_a_part_of_a_page_is_detected() -> None:
    assert is_page_over_photograph(page("hero")[150:900, 40:1100])


@pytest.mark.parametrize("quality", [None, 95, 40, 15, 6])
@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_has_no_two_panels(name: str, quality: int | None) -> None:
    image = photograph(name) if quality is None else jpeg(photograph(name), quality)
    assert not is_page_over_photograph(image)


def windows(image: Pixels) -> Pixels:
    """Eight panes that are blown out, as a lens shows them."""
    light = image.astype(np.float32)
    for left in range(60, 560, 130):
        for top in (80, 300):
            light[top : top + 170, left : left + 90] = 400.0
    return np.asarray(np.clip(cv2.GaussianBlur(light, (0, 0), 0.9), 0, 255), np.uint8)


def chart(image: Pixels) -> Pixels:
    """A chart of colours that was photographed."""
    light = image.astype(np.float32)
    for number, colour in enumerate(((180, 40, 40), (40, 160, 60), (40, 60, 170), (200, 190, 40))):
        light[200:320, 60 + 140 * number : 170 + 140 * number] = colour
    return np.asarray(np.clip(cv2.GaussianBlur(light, (0, 0), 1.0), 0, 255), np.uint8)


def framed(image: Pixels) -> Pixels:
    return cv2.copyMakeBorder(image, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def letterboxed(image: Pixels) -> Pixels:
    return cv2.copyMakeBorder(image, 90, 90, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))


def dated(image: Pixels) -> Pixels:
    picture = Image.fromarray(image)
    write(ImageDraw.Draw(picture), (image.shape[1] - 240, image.shape[0] - 60), "2019 07 14", "#ff9a20", 32)
    return np.asarray(picture)


def boxed(image: Pixels) -> Pixels:
    """A dashboard camera's box with speed and time."""
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((20, 20, 300, 50), "#101010")
    write(draw, (26, 24), "2019-07-14 12:04 63 km/h", "#eeeeee", 18)
    return np.asarray(picture)


@pytest.mark.parametrize("change", [windows, chart, framed, letterboxed, dated, boxed])
@pytest.mark.parametrize("name", ["friends-2", "wine-1"])
def test_photographs_are_not_taken_for_pages(name: str, change: Callable[[Pixels], Pixels]) -> None:
    assert not is_page_over_photograph(change(photograph(name)))


def test_which_parts_of_a_form_are_detected() -> None:
    found = find_panels(page("form"))
    assert any(panel.has_text and panel.is_clipped and panel.share > 0.1 and not panel.is_bar for panel in found)
    assert find_panels(np.zeros((8, 8, 3), np.uint8)) == []


@pytest.mark.parametrize(("draw", "save"), [("hero", {}), ("cards", {"quality": 90}), ("sidebar", {})])
@pytest.mark.parametrize("fit", ["crop", "resize", "pad"])
def test_ingest_refuses_a_page_over_a_photograph_with_every_fit(
    tmp_path: Path, draw: str, save: dict[str, int], fit: str
) -> None:
    buffer = io.BytesIO()
    Image.fromarray(page(draw)).save(buffer, "JPEG" if save else "PNG", **save)
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    (found,) = ingest(from_folder(tmp_path).files, PhotoOptions(licence="CC0-1.0", fit=fit), HashIndex())
    assert isinstance(found, Refusal)
    assert found.reason == "screenshot"
    assert found.detail == "a.png: this is a page with panels or buttons over a photograph. Leave it out."
