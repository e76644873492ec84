"""ingest: which files are imported, with which pixels, and each reason why a file is rejected."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import io
import os
import random
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import datasets
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

import ggt100k
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.imaging import FORMATS, read_image
from ggt_tools.imaging.perceptual_hash import HashIndex
from ggt_tools.records import Candidate, Conversion, PerceptualHash, Photo, Prompt, Refusal
from ggt_tools.stages.ingest import PhotoOptions, classify_by_folder, ingest
from ggt_tools.stages.ingest.crop import find_window, fit
from ggt_tools.stages.ingest.sources import SourceFile, from_folder
from ggt_tools.workspace.ledger import Ledger

from .making import make_pair, picture
from .photographs import photograph

Pixels = npt.NDArray[np.uint8]
SMALL = PhotoOptions(licence="CC0-1.0", min_side=64, max_side=128)


def png(image: Image.Image | Pixels, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def take(
    folder: Path, config: PhotoOptions = SMALL, looks: HashIndex | None = None
) -> list[tuple[Photo, Pixels] | Refusal]:
    taken = ingest(from_folder(folder).files, config, looks or HashIndex())
    return [one if isinstance(one, Refusal) else (one[0], one[2]) for one in taken]


def take_one(folder: Path, config: PhotoOptions = SMALL) -> tuple[Photo, Pixels]:
    (found,) = take(folder, config)
    assert not isinstance(found, Refusal), found
    return found


def refuse_one(folder: Path, config: PhotoOptions = SMALL) -> Refusal:
    (found,) = take(folder, config)
    assert isinstance(found, Refusal)
    return found


# --- what is taken --------------------------------------------------------------------------------------------------


def test_a_photograph_is_unchanged_and_its_key_is_the_hash_of_its_pixels(tmp_path: Path) -> None:
    image = picture(1, 80, 100)
    (tmp_path / "haze").mkdir()
    (tmp_path / "haze" / "a.PNG").write_bytes(png(image))
    found, pixels = take_one(tmp_path, PhotoOptions(licence="CC0-1.0", source_name="tests", min_side=64))
    assert np.array_equal(pixels, image)
    assert found == Photo(
        key=ggt100k.pair_key(image),
        image="",
        width=100,
        height=80,
        degradation="haze",
        degradations=found.degradations,
        source="captured",
        source_name="tests",
        licence="CC0-1.0",
        author="",
        url="",
        file="haze/a.PNG",
        original=hashlib.sha256(png(image)).hexdigest(),
    )
    assert found.degradations[0] == "haze"
    assert len(set(found.degradations)) == len(found.degradations)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp", "jpg"])
def test_the_file_format_and_the_file_name_are_not_part_of_the_key(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray(picture(1, 80, 100))
    options: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    image.save(tmp_path / f"some name.{suffix}", **options)
    found, pixels = take_one(tmp_path)
    decoded = np.asarray(Image.open(tmp_path / f"some name.{suffix}"))
    assert np.array_equal(pixels, decoded)
    assert found.key == ggt100k.pair_key(decoded)
    assert (found.key == ggt100k.pair_key(picture(1, 80, 100))) == (suffix != "jpg")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = picture(2, 70, 100)
    (tmp_path / "a.png").write_bytes(png(image, exif=exif))
    turned = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.swapaxes(0, 1),
        6: np.rot90(image, -1),
        7: image[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(image),
    }[orientation]
    found, pixels = take_one(tmp_path)
    assert np.array_equal(pixels, turned)
    assert (found.height, found.width) == turned.shape[:2]


def _profile_with_red_and_blue_swapped() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tXYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tXYZ", b"bXYZ", 1)


def test_colours_are_converted_to_srgb(tmp_path: Path) -> None:
    image = picture(3, 80, 100)
    (tmp_path / "a.png").write_bytes(png(image, icc_profile=_profile_with_red_and_blue_swapped()))
    _, pixels = take_one(tmp_path)
    assert np.abs(pixels.astype(int) - image[..., ::-1]).max() <= 1


def test_a_profile_that_is_srgb_changes_next_to_nothing(tmp_path: Path) -> None:
    image = picture(3, 80, 100)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    (tmp_path / "a.png").write_bytes(png(image, icc_profile=profile))
    _, pixels = take_one(tmp_path)
    assert np.abs(pixels.astype(int) - image).max() <= 1


def test_grey_images_become_rgb(tmp_path: Path) -> None:
    grey = picture(4, 80, 100)[..., 0]
    (tmp_path / "a.png").write_bytes(png(grey))
    assert np.array_equal(take_one(tmp_path)[1], np.repeat(grey[..., None], 3, axis=2))
    (tmp_path / "a.png").write_bytes(png(grey, icc_profile=_profile_with_red_and_blue_swapped()))
    pixels = take_one(tmp_path)[1]
    assert np.array_equal(pixels, np.repeat(grey[..., None], 3, axis=2)), "a profile for colours that it has not"


# --- to size --------------------------------------------------------------------------------------------------------


def _image(width: int, height: int, seed: int = 5) -> Image.Image:
    return Image.fromarray(picture(seed, height, width))


@pytest.mark.parametrize(
    ("rule", "size", "wanted"),
    [
        ("crop", (1100, 1301), (1024, 1024)),
        ("crop", (512, 1025), (512, 1024)),
        ("crop", (1024, 600), (1024, 600)),
        ("resize", (600, 900), (1024, 1024)),
        ("resize", (2100, 1050), (1024, 1024)),
        ("pad", (2048, 1024), (1024, 512)),
        ("pad", (600, 800), (768, 1024)),
        ("pad", (1024, 700), (1024, 700)),
    ],
)
def test_a_photograph_is_resized_by_the_rule(rule: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    pixels = fit(_image(*size), "a", rule)
    assert (pixels.shape[1], pixels.shape[0]) == wanted


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    image = _image(1024, 700)
    for rule in ("crop", "pad"):
        assert np.array_equal(fit(image, "a", rule), np.asarray(image))
    crop = fit(_image(1300, 1200), "a")
    whole = picture(5, 1200, 1300)
    assert any(
        np.array_equal(crop, whole[t : t + 1024, x : x + 1024]) for t in range(0, 177, 16) for x in range(0, 277, 16)
    )


def test_a_resized_photograph_is_lanczos_of_the_whole() -> None:
    image = _image(512, 512)
    wanted = image.resize((1024, 1024), Image.Resampling.LANCZOS)
    assert np.array_equal(fit(image, "a", "resize"), np.asarray(wanted))


@pytest.mark.parametrize(
    ("size", "rule", "said"),
    [
        ((600, 511), "resize", "a: the image is 600 x 511, and its shorter side needs 512 pixels. Use a larger one."),
        (
            (6000, 600),
            "pad",
            "a: resized for padding the image is 1024 x 102, and its shorter side needs 256 pixels. "
            "Choose another --fit.",
        ),
    ],
)
def test_images_that_stay_too_small_are_refused(size: tuple[int, int], rule: str, said: str) -> None:
    with pytest.raises(PairError) as fault:
        fit(_image(*size), "a", rule)
    assert (fault.value.reason, str(fault.value)) == ("too_small", said)


def test_images_too_long_to_enlarge_are_refused() -> None:
    with pytest.raises(PairError) as fault:
        fit(_image(600, 60), "a", "resize", min_side=60, max_pixels=1_000_000)
    said = "a: the image is 600 x 60, too long to be enlarged. Crop it first."
    assert (fault.value.reason, str(fault.value)) == ("too_large", said)


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_the_window_has_the_most_detail_of_all_on_the_grid(width: int, height: int, most: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    left, top, right, bottom = find_window(pixels, most)
    assert 0 <= left <= right <= width and 0 <= top <= bottom <= height
    assert (right - left, bottom - top) == (min(width, most), min(height, most))
    assert find_window(pixels.copy(), most) == (left, top, right, bottom)
    assert left % 16 == top % 16 == 0
    luma = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.int64)
    across, down = np.zeros_like(luma), np.zeros_like(luma)
    across[:, 1:], down[1:] = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    detail = across + down
    tops, lefts = range(0, height - (bottom - top) + 1, 16), range(0, width - (right - left) + 1, 16)
    sums = [detail[t : t + bottom - top, x : x + right - left].sum() for t in tops for x in lefts]
    assert detail[top:bottom, left:right].sum() == max(sums)


def test_the_window_goes_to_the_texture_and_stays_in_the_middle_where_there_is_none() -> None:
    pixels = np.full((1024, 1600, 3), 90, np.uint8)
    assert find_window(pixels, 1024) == (288, 0, 1312, 1024)
    pixels[400:700, 1200:1590] = picture(1, 300, 390)
    assert find_window(pixels, 1024)[2] == 1600


# --- what is not ----------------------------------------------------------------------------------------------------


def test_without_a_licence(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(picture(1, 80, 100)))
    assert refuse_one(tmp_path, PhotoOptions(min_side=64)) == Refusal(
        file="a.png",
        reason="no_licence",
        detail="a.png: no licence is stated. Add it to credits.csv, or pass --licence.",
    )


def test_too_small(tmp_path: Path) -> None:
    Image.fromarray(picture(1, 511, 600)).save(tmp_path / "a.bmp")
    assert refuse_one(tmp_path, PhotoOptions(licence="CC0-1.0")) == Refusal(
        file="a.bmp",
        reason="too_small",
        detail="a.bmp: the image is 600 x 511, and its shorter side needs 512 pixels. Use a larger one.",
    )


def _claim(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = chunk(b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT" + zlib.compress(bytes(100))) + chunk(b"IEND")


def test_too_large(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_claim(20_000, 20_000))
    found = refuse_one(tmp_path)
    assert found.reason == "too_large"
    assert found.detail.startswith("a.png: Image size (400000000 pixels) exceeds limit of ")
    assert found.detail.endswith(". Crop the image first.")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda image: png(Image.fromarray(np.dstack([image, image[..., 0] | 1]))), "some pixels are transparent"),
        (lambda image: png(Image.fromarray(image[..., :2], "LA")), "some pixels are transparent"),
        (
            lambda image: png((p := Image.fromarray(image).convert("P")), transparency=p.getpixel((0, 0))),
            "some pixels are transparent",
        ),
        (lambda image: png(Image.fromarray(image).convert("1")), "the pixels are 1"),
        (lambda image: png(image, transparency=tuple(image[0, 0].tolist())), "some pixels are transparent"),
    ],
    ids=[
        "alpha",
        "grey alpha",
        "palette with a hole",
        "bits",
        "transparent colour",
    ],
)
def test_pixels_that_are_not_8_bit_rgb_or_grey(tmp_path: Path, make: Callable[[Pixels], bytes], said: str) -> None:
    (tmp_path / "a.png").write_bytes(make(picture(6, 80, 100)))
    assert refuse_one(tmp_path) == Refusal(
        file="a.png",
        reason="unsupported_mode",
        detail=f"a.png: {said}. Save the image as 8-bit RGB or grey.",
    )


def test_an_opaque_alpha_channel_is_dropped(tmp_path: Path) -> None:
    image = picture(6, 80, 100)
    exif = Image.Exif()
    exif[0x0112] = 3
    (tmp_path / "a.png").write_bytes(png(Image.fromarray(image).convert("RGBA"), exif=exif))
    (tmp_path / "b.png").write_bytes(png(Image.fromarray(image[..., 1]).convert("LA")))
    (a, b) = (found for found in take(tmp_path) if not isinstance(found, Refusal))
    assert np.array_equal(a[1], image[::-1, ::-1])
    assert np.array_equal(b[1], np.repeat(image[..., 1:2], 3, axis=2))


def test_a_palette_is_converted_to_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(picture(6, 80, 100)).convert("P", palette=Image.Palette.ADAPTIVE)
    (tmp_path / "a.png").write_bytes(png(image, icc_profile=_profile_with_red_and_blue_swapped()))
    _, pixels = take_one(tmp_path)
    assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))[..., ::-1]).max() <= 1


def _cmyk_profile() -> bytes:
    """A printer's profile in which only black counts: L* = 100 - 100 K, a* = b* = 0 (ICC.1:2001-04, lut8Type)."""
    curve = bytes(range(256))
    grid = b"".join(bytes([0 if k else 255, 128, 128]) for _ in range(8) for k in (0, 1))  # black varies fastest
    unit = struct.pack(">9i", *(65536 * (at % 4 == 0) for at in range(9)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + unit + curve * 4 + grid + curve * 3
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\2t\0" + bytes(79), b"cprt": b"text\0\0\0\0t\0", b"A2B0": lut}
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    table, body = b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = bytearray(128)
    struct.pack_into(
        ">I4sI4s4s4s", head, 0, 132 + len(table) + len(body), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    struct.pack_into(">4s", head, 36, b"acsp")
    struct.pack_into(">3i", head, 68, 63190, 65536, 54061)
    return bytes(head) + struct.pack(">I", len(tags)) + table + body


def test_cmyk_goes_through_its_profile(tmp_path: Path) -> None:
    image = picture(6, 80, 100)
    inks = np.dstack([image, image[..., 0]])
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.tif", icc_profile=_cmyk_profile())
    _, pixels = take_one(tmp_path)
    lightness = 100 - inks[..., 3] / 2.55
    y = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    wanted = np.where(y > 0.0031308, 1.055 * y ** (1 / 2.4) - 0.055, 12.92 * y) * 255
    assert np.ptp(pixels, axis=2).max() <= 3, "no colour"
    assert np.abs(pixels[..., 1] - wanted).max() <= 4


def test_cmyk_without_a_profile(tmp_path: Path) -> None:
    Image.fromarray(picture(6, 80, 100)).convert("CMYK").save(tmp_path / "a.jpg")
    said = "a.jpg: the pixels are CMYK without a profile for their colours. Save the image as 8-bit RGB or grey."
    assert refuse_one(tmp_path) == Refusal(file="a.jpg", reason="unsupported_mode", detail=said)


def test_heic_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    said = "a.heic: the file is HEIC, whose decoders are under patents. Convert it to PNG, for example by heif-convert."
    assert refuse_one(tmp_path) == Refusal(file="a.heic", reason="unsupported_format", detail=said)


@pytest.mark.skipif("AVIF" not in FORMATS, reason="wants a Pillow with AVIF")
def test_avif_is_read_unless_its_colours_are_of_a_high_range(tmp_path: Path) -> None:
    Image.fromarray(picture(6, 80, 100)).save(tmp_path / "a.avif", quality=90)
    _, pixels = take_one(tmp_path)
    assert np.abs(pixels.astype(int) - picture(6, 80, 100)).mean() < 6
    data = (tmp_path / "a.avif").read_bytes()
    assert b"colrnclx" in data
    at = data.index(b"colrnclx") + 8
    (tmp_path / "a.avif").write_bytes(data[:at] + struct.pack(">HH", 9, 16) + data[at + 4 :])
    said = "a.avif: the pixels are of a wide gamut or high dynamic range. Save the image as 8-bit RGB or grey."
    assert refuse_one(tmp_path) == Refusal(file="a.avif", reason="unsupported_mode", detail=said)


def test_a_file_of_several_images(tmp_path: Path) -> None:
    first, *others = (Image.fromarray(picture(seed, 80, 100)) for seed in range(3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, lossless=True)
    said = "a.webp: the file holds 3 images. Save one of them as a file of its own."
    assert refuse_one(tmp_path) == Refusal(file="a.webp", reason="unsupported_format", detail=said)


def test_the_first_image_of_a_camera_jpeg_is_read(tmp_path: Path) -> None:
    first, second = (Image.fromarray(picture(seed, 80, 100)) for seed in range(2))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    _, pixels = take_one(tmp_path)
    assert np.abs(pixels.astype(int) - picture(0, 80, 100)).mean() < 10


def test_more_pixels_than_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_claim(3000, 1000))
    with pytest.raises(PairError) as fault:
        read_image((tmp_path / "a.png").read_bytes(), "a.png", 2_999_999)
    said = "a.png: the image has 3000 x 1000 pixels, above 2999999. Crop it first."
    assert (fault.value.reason, str(fault.value)) == ("too_large", said)


def test_flat_and_drawn_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.full((80, 100, 3), 30, np.uint8)))
    drawn = np.full((80, 100, 3), 255, np.uint8)
    drawn[20:60, 10:30], drawn[40:60, 40:60], drawn[10:60, 70:90] = (200, 0, 0), (0, 90, 0), (0, 0, 90)
    (tmp_path / "b.png").write_bytes(png(drawn))
    assert take(tmp_path) == [
        Refusal(file="a.png", reason="too_flat", detail="a.png: the image shows almost nothing. Leave it out."),
        Refusal(
            file="b.png",
            reason="screenshot",
            detail="b.png: a computer drew this: a page, a chart or a window. Leave it out.",
        ),
    ]


def test_duplicates_and_near_duplicates_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(photograph("wine-1")[:512, :512])
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.bmp")
    image.save(tmp_path / "c.jpg", quality=80)
    Image.fromarray(photograph("wine-2")[:512, :512]).save(tmp_path / "d.png")
    a, b, c, d = take(tmp_path)
    assert not isinstance(a, Refusal) and not isinstance(d, Refusal)
    said = "b.bmp: a.png has the same pixels. Leave one of them out."
    assert b == Refusal(file="b.bmp", reason="duplicate", detail=said)
    assert isinstance(c, Refusal) and c.reason == "near_duplicate"
    assert re.fullmatch(
        r"c\.jpg: a\.png looks the same \(\d+ of 144 bits of their perceptual hashes differ\)\. "
        r"Leave one of them out\.",
        c.detail,
    )


@pytest.mark.parametrize("data", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n"])
def test_files_that_are_not_images_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    said = f"a.jpg: the format is none of {', '.join(FORMATS)}. Fetch the file again."
    assert refuse_one(tmp_path) == Refusal(file="a.jpg", reason="not_an_image", detail=said)


def test_an_image_of_a_format_that_is_not_read_is_not_opened_whatever_its_suffix(tmp_path: Path) -> None:
    Image.fromarray(picture(1, 80, 100)).save(tmp_path / "a.jpg", "EPS")
    assert refuse_one(tmp_path).reason == "not_an_image"


def test_an_image_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(picture(6, 80, 100))[:-3000])
    found = refuse_one(tmp_path)
    assert found.reason == "not_an_image"
    assert found.detail.startswith("a.png: the file cannot be decoded: ")
    assert found.detail.endswith(". Fetch it again.")


def test_one_bad_file_does_not_stop_the_others(tmp_path: Path) -> None:
    for name in ("a.png", "c.png"):
        (tmp_path / name).write_bytes(png(picture(ord(name[0]), 80, 100)))
    (tmp_path / "b.png").write_bytes(b"")
    found = [f.reason if isinstance(f, Refusal) else f[0].file for f in take(tmp_path)]
    assert found == ["a.png", "not_an_image", "c.png"]


def _whole_files() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(picture(7, 64, 66))
    files = []
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        image.save(buffer, kind, exif=exif, icc_profile=_profile_with_red_and_blue_swapped())
        files.append(buffer.getvalue())
    return files


WHOLE = _whole_files()


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, over damaged tags
@given(st.sampled_from(range(len(WHOLE))), st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_never_stop_a_run(tmp_path_factory: pytest.TempPathFactory, which: int, seed: int) -> None:
    chance = random.Random(seed)
    data = bytearray(WHOLE[which])
    for _ in range(chance.choice([1, 2, 20])):
        data[chance.randrange(chance.choice([60, 400, len(data)]))] = chance.choice([0, 255, chance.randrange(256)])
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a.jpg").write_bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data)
    (found,) = take(folder)
    if isinstance(found, Refusal):
        assert found.reason in (
            "damaged",
            "not_an_image",
            "too_large",
            "too_small",
            "unsupported_mode",
            "unsupported_format",
            "too_flat",
            "screenshot",
        )
    else:
        assert found[0].key == ggt100k.pair_key(found[1])


# --- names ----------------------------------------------------------------------------------------------------------

HOSTILE = [
    "-rf.png",
    "a\nb.png",
    "..png.png",
    ".hidden.png",
    "$(touch x).png",
    "Zoë 雨.png",
    "'; DROP TABLE photo; --.png",
]


def test_hostile_names_cause_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(HOSTILE):
        (folder / name).write_bytes(png(picture(seed, 80, 100)))
    found = take(folder)
    seen = [one[0].file for one in found if not isinstance(one, Refusal)]
    assert sorted(seen) == sorted(name for name in HOSTILE if name.isprintable() and not name.startswith("."))
    refused = {one.file: one.reason for one in found if isinstance(one, Refusal)}
    assert refused == {ascii(name)[1:-1]: "bad_name" for name in HOSTILE if not name.isprintable()}
    assert sorted(path.name for path in folder.iterdir()) == sorted(HOSTILE)


def test_a_credit_for_a_file_outside_imports_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (tmp_path / "x.png").write_bytes(png(picture(1, 80, 100)))
    (folder / "a.png").write_bytes(png(picture(2, 80, 100)))
    (folder / "credits.csv").write_text("file,licence\n../x.png,CC0-1.0\n/etc/passwd,CC0-1.0\n../photos/a.png,MIT\n")
    assert refuse_one(folder, PhotoOptions(min_side=64)).file == "a.png"
    assert take_one(folder)[0].licence == "CC0-1.0"


# --- where they come from -------------------------------------------------------------------------------------------


def test_credits_win_over_options_and_over_the_folders_name(tmp_path: Path) -> None:
    (tmp_path / "rain").mkdir()
    for seed, name in enumerate("ab"):
        (tmp_path / "rain" / f"{name}.png").write_bytes(png(picture(seed, 80, 100)))
    (tmp_path / "credits.csv").write_text(
        "file,title,licence,author,url,source,source_name,degradation\n"
        "rain/a.png,ignored, CC-BY-4.0 ,Zoë,https://example.org/1,dataset,a set,snow\n",
        encoding="utf-8",
    )
    config = PhotoOptions(licence="CC0-1.0", source="internet", source_name="an option", min_side=64)
    (a, _), (b, _) = (found for found in take(tmp_path, config) if not isinstance(found, Refusal))
    wanted = ("CC-BY-4.0", "Zoë", "https://example.org/1", "dataset", "a set", "snow")
    assert (a.licence, a.author, a.url, a.source, a.source_name, a.degradation) == wanted
    assert a.degradations[0] == "snow"
    wanted = ("CC0-1.0", "", "", "internet", "an option", "rain")
    assert (b.licence, b.author, b.url, b.source, b.source_name, b.degradation) == wanted


def test_the_folders_name_is_the_class_if_it_is_a_degradation(tmp_path: Path) -> None:
    for seed, name in enumerate(("snow", "summer")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(png(picture(seed, 80, 100)))
    found = {f[0].file: f[0].degradation for f in take(tmp_path) if not isinstance(f, Refusal)}
    assert found["snow/a.png"] == "snow"
    assert found["summer/a.png"] in ggt100k.DEGRADATIONS, "it is measured"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "moon"}, "source: 'moon' is not known. Choose one of: dataset, internet, captured."),
        ({"fit": "squeeze"}, "fit: 'squeeze' is not known. Choose one of: crop, resize, pad."),
        ({"min_side": 0}, "min_side: 0 is not between 1 and max_side, 1024. Choose a smaller one."),
        ({"min_side": 9, "max_side": 8}, "min_side: 9 is not between 1 and max_side, 8. Choose a smaller one."),
    ],
)
def test_wrong_options_are_errors(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        PhotoOptions(**options)
    assert str(fault.value) == said


def test_the_samples_photographs_are_imported_with_their_credits() -> None:
    folder = ggt100k.sample_folder()
    found = take(folder, PhotoOptions())
    assert len(found) == 17
    for one in found:
        assert not isinstance(one, Refusal), one
        original = ImageOps.exif_transpose(Image.open(folder / one[0].file)).convert("RGB")
        assert np.array_equal(one[1], np.asarray(original))
        assert one[0].licence


def test_a_classifier_names_the_class_without_credit_and_folder(tmp_path: Path) -> None:
    (tmp_path / "snow").mkdir()
    for seed, name in enumerate(("snow/a.png", "b.png")):
        (tmp_path / name).write_bytes(png(picture(seed, 80, 100)))
    asked = []

    def old(pixels: Pixels) -> tuple[str, tuple[str, ...]]:
        asked.append(pixels.shape)
        return "old_photo", ("old_photo", "noise")

    config = dataclasses.replace(SMALL, classify=old)
    found = {f[0].file: f[0] for f in take(tmp_path, config) if not isinstance(f, Refusal)}
    assert asked == [(80, 100, 3)]
    assert (found["b.png"].degradation, found["b.png"].degradations) == ("old_photo", ("old_photo", "noise"))
    assert found["snow/a.png"].degradation == "snow"
    refused = [
        f for f in take(tmp_path, dataclasses.replace(SMALL, classify=classify_by_folder)) if isinstance(f, Refusal)
    ]
    said = (
        "b.png: neither a credit nor the folder's name states the class. Name the folder after a degradation, or "
        "classify the photographs: --classes measured."
    )
    assert refused == [Refusal(file="b.png", reason="no_class", detail=said)]


def test_a_fault_of_the_source_is_a_refusal_and_the_order_is_kept() -> None:
    def found() -> Iterator[SourceFile]:
        for seed in range(12):
            fault = PairError("unreachable", f"{seed}: gone") if seed % 5 == 2 else None
            yield SourceFile(
                name=str(seed), data=b"" if fault else png(picture(seed, 64 + 9 * (seed % 3), 64)), fault=fault
            )

    taken = list(ingest(found(), SMALL, HashIndex()))
    assert [one.file if isinstance(one, Refusal) else one[0].file for one in taken] == [str(n) for n in range(12)]
    assert [one.detail for one in taken if isinstance(one, Refusal)] == ["2: gone", "7: gone"]


# --- the command ----------------------------------------------------------------------------------------------------


def command(*argv: str | Path) -> tuple[int, list[str], list[str]]:
    """Runs `ggt100k ingest` in this process: its exit status, and the lines of stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["ingest", *(str(arg) for arg in argv)])
    return code, out.getvalue().splitlines(), err.getvalue().splitlines()


def facts(workspace: Path) -> tuple[list[Photo], list[Refusal], list[PerceptualHash]]:
    with Ledger(workspace) as ledger:
        return list(ledger.all(Photo)), list(ledger.all(Refusal)), list(ledger.all(PerceptualHash))


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The files of a folder over HTTP: the URL, and what was asked for. "busy" is not to be had now."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(503) if "busy" in self.path else super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_list_is_imported_and_not_fetched_again(tmp_path: Path) -> None:
    files, w = tmp_path / "files", tmp_path / "w"
    files.mkdir()
    for name in ("wine-1", "sunset-1"):
        (files / f"{name}.jpg").write_bytes((ggt100k.sample_folder() / f"{name}.jpg").read_bytes())
    (files / "page.html").write_text("<html>no image</html>")
    with serving(files) as (url, asked):
        names = ("wine-1.jpg?token=s3cret", "page.html", "busy.jpg", "gone.jpg", "sunset-1.jpg")
        rows = [f"{url}/{name},{'' if name.startswith('sunset') else 'CC0-1.0'},Zoë" for name in names]
        table = tmp_path / "list.csv"
        table.write_text("\n".join(["url,licence,author", *rows]), encoding="utf-8")
        assert command(table, w, "--dry-run") == (0, ["would look at 5 files"], [])
        refused = ["no_licence", "not_an_image", "not_served", "unreachable"]
        code, out, err = command(table, w, "--allow-private")
        lines = [f"  rejected      1  {reason}" for reason in refused]
        assert (code, out) == (0, ["ingest: 1 imported, 0 already done", *lines])
        assert sorted(line.split()[2] for line in err) == [f"{reason}:" for reason in refused]
        assert "s3cret" not in "".join(err)
        assert len(asked) == 4, "what has no licence is not fetched"
        (photo,), _, _ = facts(w)
        assert (photo.url, photo.source, photo.author) == (f"{url}/wine-1.jpg", "internet", "Zoë")
        assert photo.file == f"{url}/wine-1.jpg#{hashlib.sha256(b'token=s3cret').hexdigest()[:12]}"
        asked.clear()
        assert command(table, w, "--dry-run") == (0, ["would look at 3 files"], [])
        code, out, _ = command(table, w, "--allow-private", "--licence", "MIT")
        line = "ingest: 1 imported, 1 already done, 1 rejected earlier"
        assert (code, out) == (0, [line, "  rejected      1  not_an_image", "  rejected      1  unreachable"])
        assert sorted(asked) == ["/busy.jpg", "/page.html", "/sunset-1.jpg"]
        assert sorted(refusal.reason for refusal in facts(w)[1]) == refused[1:]
        code, out, _ = command(table, tmp_path / "v")
        assert out == [
            "ingest: 0 imported, 0 already done",
            "  rejected      4  bad_url",
            "  rejected      1  no_licence",
        ]


def test_a_tar_and_a_dataset_are_imported_like_a_folder(tmp_path: Path) -> None:
    sample, w = ggt100k.sample_folder(), tmp_path / "w"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name in ("wine-1.jpg", "sunset-1.jpg", "credits.csv"):
            tar.add(sample / name, name)
    code, out, _ = command(tmp_path / "a.tar.gz", w)
    assert (code, out) == (0, ["ingest: 2 imported, 0 already done"])
    assert command(tmp_path / "a.tar.gz", w)[1] == ["ingest: 0 imported, 2 already done"]
    assert [photo.licence for photo in facts(w)[0]] == ["CC-BY-4.0"] * 2
    data = [(sample / f"{name}.jpg").read_bytes() for name in ("wine-2", "wine-1")]
    made = datasets.Dataset.from_dict({"photo": [{"bytes": each, "path": None} for each in data]})
    made.cast_column("photo", datasets.Image()).to_parquet(tmp_path / "d" / "train.parquet")
    options: list[str | Path] = ["--dataset", tmp_path / "d", "--column", "photo", "--licence", "CC-BY-4.0"]
    assert command(w, *options, "--dry-run") == (0, ["would look at all files"], [])
    code, out, _ = command(*options, w)
    assert (code, out) == (0, ["ingest: 1 imported, 0 already done", "  rejected      1  duplicate"])
    photo = next(photo for photo in facts(w)[0] if photo.source == "dataset")
    assert (photo.file, photo.source_name) == (f"{tmp_path / 'd'}/train/0", str(tmp_path / "d"))


def test_published_photographs_are_refused_and_hashed_once(tmp_path: Path) -> None:
    sample, photos, w = ggt100k.sample_folder(), tmp_path / "photos", tmp_path / "w"
    photos.mkdir()
    Image.open(sample / "wine-1.jpg").save(photos / "near.jpg", quality=80)
    (photos / "same.jpg").write_bytes((sample / "wine-2.jpg").read_bytes())
    code, out, err = command(photos, w, "--licence", "CC-BY-4.0", "--published", sample / "packed")
    rejected = ["  rejected      1  duplicate", "  rejected      1  near_duplicate"]
    assert (code, out) == (1, ["ingest: 0 imported, 0 already done", *rejected])
    wanted = (
        r"ggt100k ingest: near_duplicate: near.jpg: [0-9a-f]{16} of the published (train|test) split looks the same.*"
    )
    assert re.fullmatch(wanted, err[0])
    rows = facts(w)[2]
    assert len(rows) == sum(len(ggt100k.index(sample / "packed", split=split)) for split in ("train", "test"))
    broken = Path(shutil.copytree(sample / "packed", tmp_path / "packed"))
    for shard in broken.glob("data/*/*.tar"):
        shard.unlink()
    assert command(photos, w, "--licence", "CC-BY-4.0", "--published", broken)[1] == out, "no image is read again"
    assert command(photos, w, "--licence", "CC-BY-4.0")[1] == out, "it holds without being named again"
    assert facts(w)[2] == rows


def test_missing_hashes_of_a_workspace_are_computed(tmp_path: Path) -> None:
    photos, w = tmp_path / "photos", tmp_path / "w"
    photos.mkdir()
    Image.open(ggt100k.sample_folder() / "wine-1.jpg").save(photos / "a.png")
    command(photos, w, "--licence", "MIT")
    seen = facts(w)[2]
    with contextlib.closing(sqlite3.connect(w / "ledger.sqlite")) as db, db:
        db.execute("DELETE FROM perceptual_hash")
    Image.open(photos / "a.png").save(photos / "b.jpg", quality=80)
    lines = ["ingest: 0 imported, 1 already done", "  rejected      1  near_duplicate"]
    assert command(photos, w, "--licence", "MIT")[1] == lines
    assert facts(w)[2] == seen


# --- near duplicates: the larger is kept ----------------------------------------------------------------------------


def sized(side: int, quality: int = 90) -> bytes:
    """A photograph of so many pixels a side."""
    buffer = io.BytesIO()
    original = Image.fromarray(photograph("wine-1")[:640, :640])
    original.resize((side, side), Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def kept_of(workspace: Path) -> list[str]:
    return sorted(photo.file for photo in facts(workspace)[0])


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"a-small.jpg": 600, "b.jpg": 900}, "b.jpg"),
        ({"a.jpg": 900, "b-small.jpg": 600}, "a.jpg"),
        ({"Previews/a.jpg": 620, "a.jpg": 960}, "a.jpg"),
        ({"a-600.jpg": 600, "b-800.jpg": 800, "c-1000.jpg": 1000}, "c-1000.jpg"),
        ({"a-800.jpg": 800, "b-600.jpg": 600, "c-1000.jpg": 1000}, "c-1000.jpg"),
        ({"a-1000.jpg": 1000, "b-600.jpg": 600, "c-800.jpg": 800}, "a-1000.jpg"),
        ({"a-thumb.jpg": 640, "b.jpg": 2400}, "b.jpg"),
        ({"a.jpg": 2400, "b-thumb.jpg": 640}, "a.jpg"),
        ({"a-half.jpg": 1300, "b.jpg": 2400, "c-thumb.jpg": 640}, "b.jpg"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_of_near_duplicates_the_largest_is_kept(tmp_path: Path, files: dict[str, int], wanted: str, fit: str) -> None:
    photos, w = tmp_path / "photos", tmp_path / "w"
    for name, side in files.items():
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(sized(side))
    code, out, err = command(photos, w, "--licence", "MIT", "--fit", fit)
    gone = len(files) - 1
    assert (code, out) == (0, ["ingest: 1 imported, 0 already done", f"  rejected {gone:>6}  near_duplicate"])
    assert len(err) == gone
    found, refused, seen = facts(w)
    assert [photo.file for photo in found] == [wanted]
    assert {(one.file, one.reason) for one in refused} == {(name, "near_duplicate") for name in files if name != wanted}
    assert [one.key for one in seen] == [found[0].key]
    with Ledger(w) as ledger:
        (conversion,) = ledger.all(Conversion)
        assert (conversion.key, conversion.width) == (found[0].key, files[wanted])
        assert [(stage.entered, stage.left) for stage in ledger.funnel()][:1] == [(len(files), 1)]


@pytest.mark.parametrize("side", [900, 2400], ids=["whole", "cropped"])
def test_an_original_that_comes_in_a_later_run_replaces_its_thumbnail(tmp_path: Path, side: int) -> None:
    photos, w = tmp_path / "photos", tmp_path / "w"
    photos.mkdir()
    (photos / "z-thumb.jpg").write_bytes(sized(600))
    command(photos, w, "--licence", "MIT")
    (photos / "a.jpg").write_bytes(sized(side))
    code, out, err = command(photos, w, "--licence", "MIT")
    assert (code, out) == (0, ["ingest: 1 imported, 1 already done", "  rejected      1  near_duplicate"])
    said = "z-thumb.jpg: a.jpg looks the same and is larger. Leave one of them out."
    assert err == [f"ggt100k ingest: near_duplicate: {said}"]
    assert kept_of(w) == ["a.jpg"]
    (photos / "small.jpg").write_bytes(sized(700))
    code, out, err = command(photos, w, "--licence", "MIT")
    assert err[0].startswith("ggt100k ingest: near_duplicate: small.jpg: a.jpg looks the same")
    assert kept_of(w) == ["a.jpg"]


@pytest.mark.parametrize("fact", ["candidate", "prompt"])
def test_a_thumbnail_with_candidates_is_kept_with_a_message(tmp_path: Path, fact: str) -> None:
    photos, w = tmp_path / "photos", tmp_path / "w"
    photos.mkdir()
    (photos / "a-thumb.jpg").write_bytes(sized(600))
    command(photos, w, "--licence", "MIT")
    with Ledger(w) as ledger:
        (photo,) = ledger.all(Photo)
        made = Prompt(id="p", key=photo.key, strategy="fixed", version="1", text="t", note="", created="2026")
        candidate = Candidate(
            id="c", key=photo.key, restorer="r", strategy="none", prompt="", round=0, seed=0, created="2026",
            image=photo.image, reason="",
        )  # fmt: skip
        ledger.add(made if fact == "prompt" else candidate)
    (photos / "b.jpg").write_bytes(sized(900))
    _, out, err = command(photos, w, "--licence", "MIT")
    assert out == ["ingest: 0 imported, 1 already done", "  rejected      1  near_duplicate"]
    assert re.fullmatch(
        r"ggt100k ingest: near_duplicate: b\.jpg: a-thumb\.jpg looks the same \(\d+ of 144 bits of their perceptual "
        r"hashes differ; this file is larger, but other stages have worked on the first one already\)\. "
        r"Leave one of them out\.",
        err[0],
    )
    assert kept_of(w) == ["a-thumb.jpg"]


def test_a_photograph_that_was_worked_on_meanwhile_is_not_removed(tmp_path: Path) -> None:
    with Ledger(tmp_path, create=True) as ledger:
        photos = [make_pair(ledger.images, seed).photo for seed in range(3)]
        ledger.add(*photos[:2])
        ledger.add(make_pair(ledger.images, 0).candidate)
        ledger.replace_photos([photos[0].key, photos[1].key], photos[2])
        assert {photo.key for photo in ledger.all(Photo)} == {photos[0].key, photos[2].key}


# --- what was changed is a fact -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda image: cv2.imencode(".png", image.astype(np.uint16) * 257)[1].tobytes(), "16_bit_to_8_bit"),
        (lambda image: cv2.imencode(".tiff", image.astype(np.uint16) * 257)[1].tobytes(), "16_bit_to_8_bit"),
        (lambda image: png(image[..., ::-1], icc_profile=b"junk"), "broken_profile_as_srgb"),
        (
            lambda image: (
                (data := png(image[..., ::-1]))[:33]
                + struct.pack(">I4s4sI", 4, b"cICP", b"\x0c\x0d\0\1", zlib.crc32(b"cICP\x0c\x0d\0\1"))
                + data[33:]
            ),
            "colour_from_png_cicp",
        ),
    ],
    ids=["16-bit PNG", "16-bit TIFF", "broken profile", "cICP"],
)
def test_conversions_of_photographs_are_recorded_and_counted(
    tmp_path: Path, make: Callable[[Pixels], bytes], change: str
) -> None:
    photos, w = tmp_path / "photos", tmp_path / "w"
    photos.mkdir()
    image = picture(3, 1100, 1300)
    (photos / "a.img.png").write_bytes(make(image))
    (photos / "b.png").write_bytes(png(picture(4, 600, 700)))
    code, out, _ = command(photos, w, "--licence", "MIT")
    assert (code, out) == (0, ["ingest: 2 imported, 0 already done", f"  converted      1  {change}"])
    with Ledger(w) as ledger:
        found = {photo.file: ledger.frames()[photo.key] for photo in ledger.all(Photo)}
        changes = {conversion.key: conversion for conversion in ledger.all(Conversion)}
        keys = {photo.file: photo.key for photo in ledger.all(Photo)}
    a = changes[keys["a.img.png"]]
    assert (a.candidate, a.width, a.height, a.changes) == ("", 1300, 1100, (change,))
    left, top = a.frame[2:4]
    assert a.frame == (1300, 1100, left, top, 1024, 1024) == found["a.img.png"]
    assert changes[keys["b.png"]].frame == (700, 600, 0, 0, 700, 600)
    if change == "16_bit_to_8_bit":
        wanted = image[top : top + 1024, left : left + 1024, ::-1]
        assert keys["a.img.png"] == ggt100k.pair_key(np.ascontiguousarray(wanted))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="wants kill -9")
def test_a_killed_ingest_continues_without_repetition(tmp_path: Path) -> None:
    w = tmp_path / "w"
    process = subprocess.Popen([sys.executable, "-m", "ggt_tools.cli", "ingest", ggt100k.sample_folder(), w])
    try:
        while not (w / "ledger.sqlite").exists() or len(facts(w)[0]) < 2:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    photos, _, seen = facts(w)
    assert 2 <= len(photos) < 17, "it was killed in the middle"
    assert {photo.key for photo in photos} == {one.key for one in seen}
    code, out, _ = command(ggt100k.sample_folder(), w)
    assert (code, out[0]) == (0, f"ingest: {17 - len(photos)} imported, {len(photos)} already done")
    assert all(line.startswith("  passed over ") for line in out[1:]), "the sample holds its release too"
    assert len(facts(w)[0]) == len(facts(w)[2]) == 17


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["p", "w", "--dataset", "x"], "p: --dataset x takes the place of the photographs. Leave one of them out."),
        (["p", "--dataset", "x", "w"], "p: --dataset x takes the place of the photographs. Leave one of them out."),
        (["a.zip", "w"], "a.zip: the file is not a zip, or its end is missing. "),
        (["a.tar", "w"], "a.tar: the file cannot be read as a tar: "),
        (["no.csv", "w"], "no.csv: there is no such folder or file. Name the folder that holds the photographs."),
        (["a.csv", "w", "--max-bytes", "0"], "max_bytes: 0 is not above 0. Give a number of bytes."),
    ],
)
def test_a_wrong_source_creates_no_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.zip", "a.tar", "a.csv"):
        Path(name).write_text("url\n")
    code, out, err = command(*argv)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(f"ggt100k ingest: {said}")
    assert not Path("w").exists()
