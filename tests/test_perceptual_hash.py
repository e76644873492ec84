"""Perceptual hashes: copies are recognised and others are not; images without content; drawings."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

import ggt100k
from ggt_tools.errors import ConfigError, PairError, ShardError
from ggt_tools.imaging.perceptual_hash import (
    DISTANCE,
    HashIndex,
    check_hashes,
    hash_published_pairs,
    is_flat,
    is_screenshot,
    phash,
    stored_hashes,
)
from ggt_tools.records import PerceptualHash, Photo
from ggt_tools.workspace.ledger import Ledger

from .making import change_shard, make_dataset, make_workspace, picture
from .photographs import credits, dimmed, hazed, jpeg, noisy, photograph

Pixels = npt.NDArray[np.uint8]
NAMES = sorted(credits())


def apart(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def resized(image: Pixels, scale: float) -> Pixels:
    size = round(image.shape[1] * scale), round(image.shape[0] * scale)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG 60": lambda image: jpeg(image, 60),
    "JPEG 95": lambda image: jpeg(image, 95),
    "half size": lambda image: resized(image, 0.5),
    "double size": lambda image: resized(image, 2.0),
    "darker": lambda image: dimmed(image, 0.8),
    "cut by 1 %": lambda image: image[image.shape[0] // 100 :, image.shape[1] // 100 :],
}


@functools.cache
def hashes() -> dict[str, str]:
    return {name: phash(photograph(name)) for name in NAMES}


@pytest.mark.parametrize("change", CHANGES)
def test_a_slightly_changed_photograph_is_a_near_duplicate(change: str) -> None:
    found = [apart(phash(CHANGES[change](photograph(name))), hashes()[name]) <= DISTANCE for name in NAMES]
    assert sum(found) >= 16, dict(zip(NAMES, found, strict=True))


def test_other_photographs_and_parts_are_not_near_duplicates() -> None:
    parts = [
        photograph(name)[top : top + 256, left : left + 256] for name in NAMES for top, left in ((0, 0), (256, 256))
    ]
    looks = [*hashes().values(), *(phash(part) for part in parts)]
    nearest = min(apart(a, b) for at, a in enumerate(looks) for b in looks[:at])
    assert nearest > DISTANCE


def reference_phash(pixels: Pixels) -> str:
    """The hash by its definition, in Python's integers: no library and no processor can round it otherwise."""
    height, width = pixels.shape[:2]

    def overlap(cell: int, pixel: int, length: int) -> int:
        return max(min((cell + 1) * length, (pixel + 1) * 48) - max(cell * length, pixel * 48), 0)

    luma = [[299 * int(r) + 587 * int(g) + 114 * int(b) for r, g, b in row] for row in pixels]
    across = [[sum(overlap(cell, x, width) * row[x] for x in range(width)) for cell in range(48)] for row in luma]
    sums = [
        [sum(overlap(cell, y, height) * across[y][x] for y in range(height)) for x in range(48)] for cell in range(48)
    ]
    cells = [[value * 64 // (1000 * height * width) for value in row] for row in sums]
    basis = [
        [round(math.cos(math.pi * (2 * x + 1) * k / 96) * math.sqrt((1 if k else 0.5) / 24) * 2**14) for x in range(48)]
        for k in range(12)
    ]
    half = [[sum(basis[k][y] * cells[y][x] for y in range(48)) for x in range(48)] for k in range(12)]
    low = [sum(half[k][x] * basis[m][x] for x in range(48)) for k in range(12) for m in range(12)]
    low = [(value + 2**30) // 2**31 for value in low]
    median = sorted(low[1:])[71]
    return f"{int(''.join(str(int(value > median)) for value in low), 2):036x}"


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1), st.sampled_from([1, 40, 255]))
def test_the_hash_is_that_of_exact_integers(height: int, width: int, seed: int, contrast: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, contrast, (height, width, 3), np.uint8, endpoint=True)
    assert phash(pixels) == reference_phash(pixels)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("periodic", "800000000000000000000000000000000000"),
        ("ramp", "d55000000000000000000000000000000000"),
        ("flat", "8" + "0" * 35),
        ("picture", "aae2aa7fec054ebc4a53fc1c4a1d054fccc0"),
    ],
)
def test_the_stored_hash_is_the_same_on_every_processor(name: str, expected: str) -> None:
    y, x = np.mgrid[:96, :96]
    pixels = {
        "periodic": np.dstack([(x * 2 + y // 2) % 256] * 3).astype(np.uint8),  # most coefficients are next to equal
        "ramp": np.dstack([255 - x * 2, y * 2, 100 + x - y]).astype(np.uint8),
        "flat": np.full((96, 96, 3), 7, np.uint8),
        "picture": picture(1),
    }[name]
    assert phash(pixels) == expected
    assert re.fullmatch("[0-9a-f]{36}", expected)


def test_hashes_of_an_older_version_are_computed_again_and_those_of_releases_are_asked_for(tmp_path: Path) -> None:
    make_workspace(tmp_path, 2)
    with Ledger(tmp_path) as ledger:
        keys = [photo.key for photo in ledger.all(Photo)]
        ledger.add(*(PerceptualHash(key=key, phash="0" * 36, split="") for key in keys))
        ledger.add(PerceptualHash(key="f" * 16, phash="0" * 36, split="test"))
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        for statement in ("DELETE FROM verdicts", "DELETE FROM outcome", "PRAGMA user_version=4"):
            db.execute(statement)
        db.commit()
    with Ledger(tmp_path) as ledger:
        stored = stored_hashes(ledger)
        own = {record.key: record.phash for record in stored if not record.split}
        assert own == {photo.key: phash(decoded(ledger, photo)) for photo in ledger.all(Photo)}
        assert [(record.key, record.phash) for record in stored if record.split] == [("f" * 16, "")]
        with pytest.raises(ConfigError, match="of 1 published pairs were computed by an older version"):
            check_hashes(stored, tmp_path)
        ledger.add(PerceptualHash(key="f" * 16, phash="1" * 36, split="test"))
        check_hashes(stored_hashes(ledger), tmp_path)
        assert sorted(record.phash for record in ledger.all(PerceptualHash)) == sorted([*own.values(), "1" * 36])


def decoded(ledger: Ledger, photo: Photo) -> Pixels:
    return ggt100k.decode_image(ledger.image(photo.image), "lq")


# --- what is known --------------------------------------------------------------------------------------------------


def seen(key: str, bits: int) -> PerceptualHash:
    return PerceptualHash(key=key, phash=f"{bits:036x}", split="")


def test_duplicates_and_near_duplicates_are_refused() -> None:
    looks = HashIndex()
    bits = int("5a" * 18, 16)
    looks.add(seen("a", bits), "a.jpg")
    looks.add(seen("b", ~bits & (1 << 144) - 1), "b.jpg")
    looks.check(seen("c", bits ^ (1 << 25) - 1), "c.jpg")
    for one, reason, said in (
        (seen("a", 0), "duplicate", "c.jpg: a.jpg has the same pixels. Leave one of them out."),
        (
            seen("c", bits ^ 7 << 90),
            "near_duplicate",
            "c.jpg: a.jpg looks the same (3 of 144 bits of their perceptual hashes differ). Leave one of them out.",
        ),
        (
            seen("c", bits ^ (1 << 24) - 1),
            "near_duplicate",
            "c.jpg: a.jpg looks the same (24 of 144 bits of their perceptual hashes differ). Leave one of them out.",
        ),
    ):
        with pytest.raises(PairError) as fault:
            looks.check(one, "c.jpg")
        assert (fault.value.reason, str(fault.value)) == (reason, said)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, (1 << 144) - 1)), min_size=1, max_size=60), st.data())
@settings(deadline=None)
def test_the_nearest_hash_equals_that_of_a_full_search(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    looks = HashIndex()
    for at, (_, bits) in enumerate(rows):
        looks.add(seen(f"key {at}", bits), str(at))
    flips = data.draw(st.sets(st.integers(0, 143), max_size=40))
    asked = data.draw(st.sampled_from(rows))[1] ^ sum(1 << bit for bit in flips)
    least = min((asked ^ bits).bit_count() for _, bits in rows)
    if least > DISTANCE:
        looks.check(seen("new", asked), "new")
        return
    with pytest.raises(
        PairError, match=rf"^new: \d+ looks the same \({least} of 144 bits of their perceptual hashes differ\)\."
    ):
        looks.check(seen("new", asked), "new")


def test_many_hashes_are_searched_quickly() -> None:
    looks = HashIndex()
    random = np.random.default_rng(0)
    many = [int.from_bytes(row.tobytes(), "big") for row in random.integers(0, 256, (20_000, 18), dtype=np.uint8)]
    for at, bits in enumerate(many):
        looks.add(seen(str(at), bits), str(at))
    began = time.perf_counter()
    for bits in many[:100]:
        with pytest.raises(PairError):
            looks.check(seen("new", bits ^ 1), "new")
    assert time.perf_counter() - began < 2


# --- what is published ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_hashes_of_a_release_are_those_of_its_lq(tmp_path: Path, codec: str) -> None:
    root = make_dataset(tmp_path / "out", 8, codec=codec)
    found = list(hash_published_pairs(str(root), frozenset()))
    wanted = {}
    for split in ("train", "test"):
        for pair in ggt100k.PairDataset(root, split):
            wanted[pair["key"], split] = phash(pair["lq"])
    assert {(one.key, one.split): one.phash for one in found} == wanted
    assert len(found) == 8 and {one.split for one in found} == {"train", "test"}


def test_known_hashes_are_not_computed_again(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", 8)
    found = list(hash_published_pairs(str(root), frozenset()))
    known = {(one.key, one.split) for one in found[:5]}
    assert list(hash_published_pairs(str(root), known)) == found[5:]
    for shard in root.glob("data/*/*.tar"):
        shard.unlink()
    assert list(hash_published_pairs(str(root), {(one.key, one.split) for one in found})) == []
    with pytest.raises(ShardError, match=r"FileNotFoundError: .*\. Fetch the release again\.$"):
        list(hash_published_pairs(str(root), frozenset()))


def test_a_published_image_that_is_damaged(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", 3)
    change_shard(root, lambda data: data.replace(b"IDAT", b"IDAU"))
    with pytest.raises(ShardError):
        list(hash_published_pairs(str(root), frozenset()))


def test_a_folder_without_a_release_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no index/manifest\.json"):
        list(hash_published_pairs(str(tmp_path), frozenset()))


# --- what shows nothing ---------------------------------------------------------------------------------------------


def test_a_wall_the_sky_and_the_dark_are_flat() -> None:
    y, _ = np.mgrid[:512, :512]
    sky = np.dstack([90 + y // 8, 120 + y // 8, 200 + y // 16]).astype(np.uint8)
    for image in (
        np.zeros((512, 512, 3), np.uint8),
        sky,
        noisy(sky, 3.0),
        jpeg(noisy(sky, 3.0), 80),
        noisy(sky // 40, 2),
    ):
        assert is_flat(image)


@pytest.mark.parametrize("name", NAMES)
def test_photographs_are_not_flat_nor_drawn_even_in_fog_at_night_or_with_a_blown_sky(name: str) -> None:
    image = photograph(name)
    for one in (image, hazed(image, 0.8), dimmed(image, 0.15), jpeg(image, 40), jpeg(dimmed(image, 2.5), 75)):
        assert not is_flat(one)
        assert not is_screenshot(one)


# --- what is drawn --------------------------------------------------------------------------------------------------


def page(ground: str, ink: str, size: int = 16) -> Image.Image:
    """Lines of text."""
    image, random = Image.new("RGB", (1024, 900), ground), np.random.default_rng(size)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for y in range(40, 860, int(size * 1.6)):
        words = ("".join(chr(97 + random.integers(26)) for _ in range(random.integers(2, 10))) for _ in range(16))
        draw.text((60, y), " ".join(words), ink, font)
    return image


def terminal() -> Image.Image:
    image = page("#1e2228", "#c8d2c8", 14)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 1024, 32), "#3c4048")
    draw.rectangle((0, 0, 180, 900), "#2c3034")
    return image


def chart() -> Image.Image:
    image, random = Image.new("RGB", (1024, 800), "white"), np.random.default_rng(1)
    draw = ImageDraw.Draw(image)
    draw.line((80, 40, 80, 720, 980, 720), "black", 2)
    for at, colour in enumerate(("#1f77b4", "#ff7f0e", "#2ca02c")):
        heights = [400 + 100 * np.sin(x / 9 + at) + random.integers(-20, 20) for x in range(100)]
        draw.line([(80 + 9 * x, height) for x, height in enumerate(heights)], colour, 3)
    return image


def night() -> Pixels:
    """Black, with stars that lens and noise have spread a little."""
    random = np.random.default_rng(3)
    image = np.zeros((1024, 1024, 3), np.float32)
    image[random.integers(0, 1024, 400), random.integers(0, 1024, 400)] = random.uniform(80, 4000, (400, 1))
    return np.clip(cv2.GaussianBlur(image, (0, 0), 1.2), 0, 255).astype(np.uint8)


DRAWN = {
    "page": page("white", "#141414"),
    "dark page": page("#1e1e1e", "#dcdcdc"),
    "terminal": terminal(),
    "chart": chart(),
}


@pytest.mark.parametrize("name", DRAWN)
def test_pages_windows_and_charts_are_drawn(name: str) -> None:
    assert is_screenshot(np.asarray(DRAWN[name]))
    assert not is_flat(np.asarray(DRAWN[name]))


def test_a_page_in_a_jpeg_is_drawn_too() -> None:
    assert is_screenshot(jpeg(np.asarray(DRAWN["page"]), 75))


def test_noiseless_night_and_sky_are_not_drawings() -> None:
    assert not is_screenshot(night())
    assert not is_screenshot(jpeg(night(), 85))
    assert not is_flat(night())
    moon = np.zeros((512, 512, 3), np.uint8)
    cv2.circle(moon, (256, 256), 60, (255, 255, 255), -1)
    assert not is_screenshot(moon), "its hard rim is short"
    image = photograph("wine-1").copy()
    image[: image.shape[0] // 2] = 255
    assert not is_screenshot(image)
