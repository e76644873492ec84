"""ingest: what is taken, as which pixels, and each reason why a file is not."""

from __future__ import annotations

import hashlib
import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps

import ggt100k
from ggt_tools.errors import ConfigError
from ggt_tools.ingest import Credit, IngestConfig, find_photos, ingest, read_credits
from ggt_tools.records import Photo, Refusal

from .making import picture

Pixels = npt.NDArray[np.uint8]
SMALL = IngestConfig(licence="CC0-1.0", least=64, most=128)


def png(image: Image.Image | Pixels, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def take(folder: Path, config: IngestConfig = SMALL) -> list[tuple[Photo, Pixels] | Refusal]:
    return list(ingest(find_photos(folder), config, root=folder, credits=read_credits(folder)))


def take_one(folder: Path, config: IngestConfig = SMALL) -> tuple[Photo, Pixels]:
    (found,) = take(folder, config)
    assert not isinstance(found, Refusal), found
    return found


def refuse_one(folder: Path, config: IngestConfig = SMALL) -> Refusal:
    (found,) = take(folder, config)
    assert isinstance(found, Refusal)
    return found


# --- what is taken --------------------------------------------------------------------------------------------------


def test_a_photograph_is_taken_as_it_is_and_its_key_is_the_digest_of_its_pixels(tmp_path: Path) -> None:
    image = picture(1, 80, 100)
    (tmp_path / "haze").mkdir()
    (tmp_path / "haze" / "a.PNG").write_bytes(png(image))
    found, pixels = take_one(tmp_path, IngestConfig(licence="CC0-1.0", source_name="tests", least=64))
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
def test_a_photograph_stands_upright(tmp_path: Path, orientation: int) -> None:
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


def test_the_colours_are_brought_to_srgb(tmp_path: Path) -> None:
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


def test_grey_is_taken_as_rgb(tmp_path: Path) -> None:
    grey = picture(4, 80, 100)[..., 0]
    (tmp_path / "a.png").write_bytes(png(grey))
    (tmp_path / "b.png").write_bytes(png(grey, icc_profile=_profile_with_red_and_blue_swapped()))
    for found in take(tmp_path):
        assert not isinstance(found, Refusal), "a grey photograph with a profile for colours has no colours to bring"
        assert np.array_equal(found[1], np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1100, 1301), (38, 138, 1062, 1162)),
        ((512, 1024), (0, 0, 512, 1024)),
        ((512, 1025), (0, 0, 512, 1024)),
        ((1027, 600), (1, 0, 1025, 600)),
    ],
)
def test_of_a_larger_photograph_the_centre_is_kept(
    tmp_path: Path, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    width, height = size
    image = picture(5, height, width)
    Image.fromarray(image).save(tmp_path / "a.bmp")
    found, pixels = take_one(tmp_path, IngestConfig(licence="CC0-1.0"))
    left, top, right, bottom = box
    assert np.array_equal(pixels, image[top:bottom, left:right])
    assert (found.width, found.height) == (right - left, bottom - top)


# --- what is not ----------------------------------------------------------------------------------------------------


def test_without_a_licence(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(picture(1, 80, 100)))
    assert refuse_one(tmp_path, IngestConfig(least=64)) == Refusal(
        file="a.png",
        reason="no_licence",
        detail="a.png: no licence is known; add it to credits.csv, or give --licence",
    )


def test_too_small(tmp_path: Path) -> None:
    Image.fromarray(picture(1, 511, 600)).save(tmp_path / "a.bmp")
    assert refuse_one(tmp_path, IngestConfig(licence="CC0-1.0")) == Refusal(
        file="a.bmp", reason="too_small", detail="a.bmp: 600 x 511; the short side must have 512 pixels"
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
    assert found.detail.endswith("; crop it first")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda image: png(Image.fromarray(image).convert("RGBA")), "RGBA"),
        (lambda image: png(Image.fromarray(image).convert("LA")), "LA"),
        (lambda image: png(Image.fromarray(image).convert("P")), "P"),
        (lambda image: png(Image.fromarray(image).convert("1")), "1"),
        (lambda image: png(image, transparency=(0, 0, 0)), "RGB with transparency"),
        (lambda image: cv2.imencode(".png", image.astype(np.uint16) * 257)[1].tobytes(), "16-bit"),
        (lambda image: cv2.imencode(".png", image[..., 0].astype(np.uint16) * 257)[1].tobytes(), "16-bit"),
        (lambda image: cv2.imencode(".tiff", image.astype(np.uint16) * 257)[1].tobytes(), "16-bit"),
    ],
    ids=["alpha", "grey alpha", "palette", "bits", "transparent colour", "16-bit", "16-bit grey", "16-bit tiff"],
)
def test_pixels_that_are_not_8_bit_rgb_or_grey(tmp_path: Path, make: Callable[[Pixels], bytes], said: str) -> None:
    (tmp_path / "a.png").write_bytes(make(picture(6, 80, 100)))
    assert refuse_one(tmp_path) == Refusal(
        file="a.png",
        reason="unsupported_mode",
        detail=f"a.png: its pixels are {said}; save it as 8-bit RGB or grey",
    )


def test_cmyk(tmp_path: Path) -> None:
    Image.fromarray(picture(6, 80, 100)).convert("CMYK").save(tmp_path / "a.jpg")
    found = refuse_one(tmp_path)
    assert (found.reason, found.detail) == (
        "unsupported_mode",
        "a.jpg: its pixels are CMYK; save it as 8-bit RGB or grey",
    )


@pytest.mark.parametrize("data", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n"])
def test_what_is_no_image(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    said = "a.jpg: is none of JPEG, PNG, WEBP, TIFF, BMP; fetch it again"
    assert refuse_one(tmp_path) == Refusal(file="a.jpg", reason="not_an_image", detail=said)


def test_an_image_of_a_format_that_is_not_read_is_not_opened_whatever_its_suffix(tmp_path: Path) -> None:
    Image.fromarray(picture(1, 80, 100)).save(tmp_path / "a.jpg", "EPS")
    assert refuse_one(tmp_path).reason == "not_an_image"


def test_an_image_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(picture(6, 80, 100))[:-3000])
    found = refuse_one(tmp_path)
    assert found.reason == "not_an_image"
    assert found.detail.startswith("a.png: cannot be decoded: ")
    assert found.detail.endswith("; fetch it again")


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
def test_damaged_bytes_are_taken_or_refused_and_stop_nothing(
    tmp_path_factory: pytest.TempPathFactory, which: int, seed: int
) -> None:
    chance = random.Random(seed)
    data = bytearray(WHOLE[which])
    for _ in range(chance.choice([1, 2, 20])):
        data[chance.randrange(chance.choice([60, 400, len(data)]))] = chance.choice([0, 255, chance.randrange(256)])
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "a.jpg").write_bytes(data[: chance.randrange(len(data))] if chance.random() < 0.2 else data)
    (found,) = take(folder)
    if isinstance(found, Refusal):
        assert found.reason in ("not_an_image", "too_large", "too_small", "unsupported_mode")
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


def test_hostile_names_are_names_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, name in enumerate(HOSTILE):
        (folder / name).write_bytes(png(picture(seed, 80, 100)))
    assert sorted(found[0].file for found in take(folder) if not isinstance(found, Refusal)) == sorted(HOSTILE)
    assert sorted(path.name for path in folder.iterdir()) == sorted(HOSTILE)


def test_a_credit_for_a_file_outside_brings_nothing_in(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (tmp_path / "x.png").write_bytes(png(picture(1, 80, 100)))
    (folder / "a.png").write_bytes(png(picture(2, 80, 100)))
    (folder / "credits.csv").write_text("file,licence\n../x.png,CC0-1.0\n/etc/passwd,CC0-1.0\n../photos/a.png,MIT\n")
    assert refuse_one(folder, IngestConfig(least=64)).file == "a.png"
    assert take_one(folder)[0].licence == "CC0-1.0"


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"a\xff.png")).write_bytes(png(picture(1, 80, 100)))
    except OSError:
        pytest.skip("wants a file system that takes any bytes for a name")
    said = "a\\udcff.png: has bytes that are no text; rename it"
    assert refuse_one(tmp_path) == Refusal(file="a\\udcff.png", reason="bad_name", detail=said)


def test_photographs_are_found_below_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPEG", "a/b/c.tiff", "c.txt", "d.gif", "e.png.part"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path)]
    assert found == ["a/b/c.tiff", "a/z.JPEG", "b.png"]


def test_a_folder_without_photographs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(ConfigError) as fault:
        find_photos(tmp_path)
    said = f"{tmp_path}: no photograph in it; ingest reads .jpg, .jpeg, .png, .webp, .tif, .tiff, .bmp"
    assert str(fault.value) == said


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
    config = IngestConfig(licence="CC0-1.0", source="internet", source_name="an option", least=64)
    (a, _), (b, _) = (found for found in take(tmp_path, config) if not isinstance(found, Refusal))
    wanted = ("CC-BY-4.0", "Zoë", "https://example.org/1", "dataset", "a set", "snow")
    assert (a.licence, a.author, a.url, a.source, a.source_name, a.degradation) == wanted
    assert a.degradations[0] == "snow"
    wanted = ("CC0-1.0", "", "", "internet", "an option", "rain")
    assert (b.licence, b.author, b.url, b.source, b.source_name, b.degradation) == wanted


def test_the_folders_name_is_the_class_only_where_it_is_one(tmp_path: Path) -> None:
    for seed, name in enumerate(("snow", "summer")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(png(picture(seed, 80, 100)))
    found = {f[0].file: f[0].degradation for f in take(tmp_path) if not isinstance(f, Refusal)}
    assert found["snow/a.png"] == "snow"
    assert found["summer/a.png"] in ggt100k.DEGRADATIONS, "it is measured"


def test_credits_as_a_spreadsheet_saves_them(tmp_path: Path) -> None:
    (tmp_path / "credits.csv").write_bytes('\ufefffile,author\r\na.png,"Zoë, the\r\nauthor"\r\n'.encode())
    assert read_credits(tmp_path) == {"a.png": Credit(author="Zoë, the\r\nauthor")}


def test_without_credits(tmp_path: Path) -> None:
    assert read_credits(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name,licence\na.png,CC0-1.0\n",
            "no column 'name' is known; the first line names columns, with commas between, of file, title, licence, "
            "author, url, source, source_name, degradation",
        ),
        ("file,licence\na.png,MIT\n\n,MIT\n", "line 4: the column 'file' is empty; name the file there"),
        (
            'file,author,source\na.png,"two\nlines",\nb.png,,moon\n',
            "line 4: source 'moon' is none of dataset, internet, captured",
        ),
        (
            "file,degradation\na.png,rain\nb.png,drizzle\n",
            f"line 3: degradation 'drizzle' is none of {', '.join(ggt100k.DEGRADATIONS)}",
        ),
        (
            "file,licence\na.png,MIT,2026\n",
            "line 2: has more fields than the first line; quote one with commas",
        ),
        ("file,licence\na.png,MIT\na.png,CC0-1.0\n", "line 3: 'a.png' stands there twice; leave one line of it"),
    ],
)
def test_bad_credits_are_told_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "credits.csv").write_text(text)
    with pytest.raises(ConfigError) as fault:
        read_credits(tmp_path)
    assert str(fault.value) == f"{tmp_path / 'credits.csv'}: {said}"


@pytest.mark.parametrize("data", [b"file\na\xff.png\n", b"file\n" + b"a" * 200_000])
def test_credits_that_are_no_text_table(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "credits.csv").write_bytes(data)
    with pytest.raises(ConfigError) as fault:
        read_credits(tmp_path)
    assert str(fault.value).startswith(f"{tmp_path / 'credits.csv'}: cannot be read: ")
    assert str(fault.value).endswith("; save it as CSV in UTF-8")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "moon"}, "--source moon: is none of dataset, internet, captured"),
        ({"least": 0}, "the least side, 0, is not between 1 and the most, 1024"),
        ({"least": 9, "most": 8}, "the least side, 9, is not between 1 and the most, 8"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        IngestConfig(**options)
    assert str(fault.value) == said


def test_the_samples_photographs_are_taken_with_their_credits() -> None:
    folder = ggt100k.sample_folder()
    found = list(ingest(find_photos(folder)[:2], IngestConfig(), root=folder, credits=read_credits(folder)))
    for one in found:
        assert not isinstance(one, Refusal)
        original = ImageOps.exif_transpose(Image.open(folder / one[0].file)).convert("RGB")
        assert np.array_equal(one[1], np.asarray(original))
        assert one[0].licence
