"""imaging: 16 bits in any layout, odd metadata, colour profiles, and missing pixels."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from ggt_tools.errors import PairError
from ggt_tools.imaging import FORMATS, Decoded, read_image
from ggt_tools.imaging.colour import CICP_PRIMARIES, Colour, cicp_colour, profile_of
from ggt_tools.imaging.containers import read_metadata
from ggt_tools.imaging.png_metadata import has_all_rows
from ggt_tools.imaging.tiff_tags import read_camera_tags

from .making import picture

Pixels = npt.NDArray[np.uint8]
Deep = npt.NDArray[np.uint16]
MAX_PIXELS = 10**7
IMAGE = picture(3, 60, 90)


def read(data: bytes) -> Decoded:
    return read_image(data, "a", MAX_PIXELS)


def pixels(data: bytes) -> Pixels:
    return np.asarray(read(data).image)


def reason(data: bytes) -> str:
    with pytest.raises(PairError) as fault:
        read(data)
    return fault.value.reason


def saved(image: Pixels | Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, form, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def with_chunk(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with further chunks behind its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body + jpeg[2:]


# --- 16 bits --------------------------------------------------------------------------------------------------------


def deep_picture(seed: int = 3, height: int = 60, width: int = 90) -> Deep:
    """All 16 bits of it count."""
    low = np.random.default_rng(seed).integers(0, 257, (height, width, 3))
    return np.asarray(np.minimum(picture(seed, height, width).astype(np.uint32) * 257 + low, 65535), np.uint16)


DEEP = deep_picture()
ROUNDED: Pixels = np.rint(DEEP / 257.0).astype(np.uint8)


def tiff(image: npt.NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image, **({"photometric": "rgb"} | options))
    return buffer.getvalue()


def planes(image: npt.NDArray[Any], **options: Any) -> bytes:
    return tiff(image.transpose(2, 0, 1), planarconfig="separate", **options)


LAYOUTS: dict[str, Callable[[], bytes]] = {
    "one strip": lambda: tiff(DEEP),
    "strips": lambda: tiff(DEEP, rowsperstrip=7),
    "tiles": lambda: tiff(DEEP, tile=(32, 48)),
    "planes": lambda: planes(DEEP),
    "planes in strips": lambda: planes(DEEP, rowsperstrip=11),
    "planes in tiles": lambda: planes(DEEP, tile=(16, 32)),
    "big-endian": lambda: tiff(DEEP, byteorder=">"),
    "big-endian planes": lambda: planes(DEEP, byteorder=">"),
    "BigTIFF": lambda: tiff(DEEP, bigtiff=True),
    "BigTIFF planes, big-endian": lambda: planes(DEEP, bigtiff=True, byteorder=">"),
    "LZW": lambda: tiff(DEEP, compression="lzw", rowsperstrip=16),
    "LZW with a predictor, as RAW converters write it": lambda: tiff(DEEP, compression="lzw", predictor=True),
    "deflate planes with a predictor": lambda: planes(DEEP, compression="zlib", predictor=True),
    "zstd": lambda: tiff(DEEP, compression="zstd"),
    "PNG": lambda: imagecodecs.png_encode(DEEP),
    "alpha that hides nothing": lambda: tiff(
        np.dstack([DEEP, np.full(DEEP.shape[:2], 65535, np.uint16)]), extrasamples=["unassalpha"]
    ),
    "a sample of no stated meaning": lambda: tiff(
        np.dstack([DEEP, np.zeros(DEEP.shape[:2], np.uint16)]), extrasamples=["unspecified"]
    ),
    "PNG with alpha that hides nothing": lambda: imagecodecs.png_encode(
        np.dstack([DEEP, np.full(DEEP.shape[:2], 65535, np.uint16)])
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_16_bit_images_are_rounded_to_8_bits_and_recorded(layout: str) -> None:
    found = read(LAYOUTS[layout]())
    assert np.array_equal(np.asarray(found.image), ROUNDED)
    assert (found.changes, found.is_plain) == (("16_bit_to_8_bit",), False)


@pytest.mark.parametrize(
    "make",
    [
        lambda grey: imagecodecs.png_encode(grey),
        lambda grey: tiff(grey, photometric="minisblack"),
        lambda grey: tiff(65535 - grey, photometric="miniswhite"),
        lambda grey: imagecodecs.png_encode(np.dstack([grey, np.full(grey.shape, 65535, np.uint16)])),
    ],
    ids=["PNG", "TIFF", "TIFF in which white is zero", "PNG with alpha"],
)
def test_16_bit_grey_becomes_rgb(make: Callable[[Deep], bytes]) -> None:
    grey = ROUNDED[..., :1]
    found = read(make(np.ascontiguousarray(DEEP[..., 0])))
    assert np.array_equal(np.asarray(found.image), np.repeat(grey, 3, axis=2))
    assert found.changes == ("16_bit_to_8_bit",)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_16_bit_tiff_of_tifffile_is_rounded(
    height: int, width: int, seed: int, is_planar: bool, is_big: bool, is_compressed: bool
) -> None:
    image = np.random.default_rng(seed).integers(0, 65536, (height, width, 3)).astype(np.uint16)
    options = {"byteorder": ">" if is_big else "<", "compression": "zlib" if is_compressed else None}
    data = (planes if is_planar else tiff)(image, **options)
    assert np.array_equal(pixels(data), np.rint(image / 257.0).astype(np.uint8))


@pytest.mark.parametrize("is_planar", [False, True])
@pytest.mark.parametrize("options", [{}, {"compression": "lzw", "predictor": True}, {"tile": (16, 32)}], ids=str)
@pytest.mark.parametrize(
    "kind", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"bigtiff": True, "byteorder": ">"}], ids=str
)
def test_8_bit_tiff_of_any_layout_is_unchanged(is_planar: bool, options: dict[str, Any], kind: dict[str, Any]) -> None:
    found = read((planes if is_planar else tiff)(IMAGE, **options, **kind))
    assert np.array_equal(np.asarray(found.image), IMAGE)
    assert found.changes == ()
    four = np.dstack([IMAGE, IMAGE[..., 0]])
    found = read((planes if is_planar else tiff)(four, extrasamples=["unspecified"], **options, **kind))
    assert np.array_equal(np.asarray(found.image), IMAGE)


def test_a_16_bit_photograph_is_turned_upright() -> None:
    data = tiff(DEEP, extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(pixels(data), np.rot90(ROUNDED, -1))


@pytest.mark.parametrize(
    "make",
    [
        lambda profile: tiff(DEEP, iccprofile=profile),
        lambda profile: planes(DEEP, iccprofile=profile),
        lambda profile: with_chunk(imagecodecs.png_encode(DEEP), chunk(b"iCCP", b"wide\0\0" + zlib.compress(profile))),
    ],
    ids=["TIFF", "planes", "PNG"],
)
def test_the_profile_of_16_bits_is_applied_before_they_are_rounded(make: Callable[[bytes], bytes]) -> None:
    """In linear light the darkest tenth of 8 bits holds a third of what is seen."""
    found = read(make(profile_of(Colour(source="test", gamma=1.0))))
    linear = DEEP / 65535.0
    wanted = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear) * 255
    assert np.abs(np.asarray(found.image) - wanted).max() < 1.0
    assert found.changes == ("16_bit_to_8_bit",)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: tiff(DEEP.astype(np.int16)), "unsupported_mode"),
        (lambda: tiff((DEEP / 65535).astype(np.float32)), "unsupported_mode"),
        (lambda: tiff((DEEP / 65535).astype(np.float16)), "unsupported_mode"),
        (lambda: tiff(DEEP.astype(np.uint32)), "unsupported_mode"),
        (lambda: planes(DEEP.astype(np.int16)), "unsupported_mode"),
        (lambda: tiff(DEEP, photometric="cielab"), "unsupported_mode"),
        (lambda: imagecodecs.png_encode(np.dstack([DEEP, DEEP[..., 0]])), "unsupported_mode"),
        (lambda: tiff(np.dstack([DEEP, DEEP[..., 0]]), extrasamples=["unassalpha"]), "unsupported_mode"),
        (
            lambda: with_chunk(imagecodecs.png_encode(DEEP), chunk(b"tRNS", struct.pack(">3H", *DEEP[0, 0]))),
            "unsupported_mode",
        ),
        (lambda: tiff(np.dstack([DEEP, DEEP[..., 0]]), photometric="separated"), "unsupported_mode"),
        (lambda: tiff(DEEP, photometric="minisblack", planarconfig="contig"), "unsupported_mode"),
        (lambda: tiff(IMAGE, photometric="minisblack", planarconfig="contig"), "unsupported_mode"),
        (lambda: tiff(np.stack([DEEP, DEEP])), "unsupported_format"),
        (lambda: tiff(DEEP)[:-5000], "not_an_image"),
        (lambda: imagecodecs.png_encode(DEEP)[:-5000], "not_an_image"),
    ],
    ids=[
        *("signed", "float", "half float", "32 bits", "signed planes", "CIELAB", "PNG alpha", "TIFF alpha"),
        *("PNG transparent colour", "CMYK without a profile", "colours called grey", "8-bit colours called grey"),
        *("two images", "cut TIFF", "cut PNG"),
    ],
)
def test_deep_samples_that_cannot_be_converted_are_refused(make: Callable[[], bytes], why: str) -> None:
    assert reason(make()) == why


def test_a_deep_image_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(PairError) as fault:
        read_image(tiff(DEEP), "a", DEEP.shape[0] * DEEP.shape[1] - 1)
    assert fault.value.reason == "too_large"


def test_5_6_5_bit_bmp_is_no_16_bit_image() -> None:
    size = struct.pack("<IiiHHIIiiII", 40, 4, -2, 1, 16, 3, 0, 0, 0, 0, 0)
    masks = struct.pack("<3I", 0xF800, 0x07E0, 0x001F)
    body = struct.pack("<8H", 0xF800, 0x07E0, 0x001F, 0xFFFF, 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 14 + 52 + len(body), 0, 0, 14 + 52) + size + masks + body
    assert pixels(data)[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]


# --- metadata that is odd -------------------------------------------------------------------------------------------


def exif(*entries: tuple[int, int, int, bytes], orientation: int = 6, order: str = "<") -> bytes:
    """An EXIF block: the orientation, and each entry as tag, kind, count and the bytes of its value."""
    rows = sorted([(0x0112, 3, 1, struct.pack(order + "HH", orientation, 0)), *entries])
    at = 8 + 2 + 12 * len(rows) + 4
    table, body = struct.pack(order + "H", len(rows)), b""
    for tag, kind, count, value in rows:
        place = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(order + "I", at + len(body))
        table += struct.pack(order + "HHI", tag, kind, count) + place
        body += value if len(value) > 4 else b""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)
    return head + table + bytes(4) + body


ODD_TAGS = {
    "resolution below zero": exif((0x011A, 10, 1, struct.pack("<ii", -72, 1))),
    "resolution of text": exif((0x011A, 2, 4, b"72\0\0")),
    "resolution of no number": exif((0x011A, 11, 1, struct.pack("<f", float("nan")))),
    "resolution over zero": exif((0x011A, 5, 1, struct.pack("<II", 72, 0))),
    "width below zero": exif((0x0100, 9, 1, struct.pack("<i", -5))),
    "unit below zero": exif((0x0128, 8, 1, struct.pack("<hh", -3, 0))),
    "sub-directories of text": exif((330, 2, 4, b"abc\0")),
    "a camera directory outside the block": exif((0x8769, 4, 1, struct.pack("<I", 99_999))),
    "a camera directory that is the first one": exif((0x8769, 4, 1, struct.pack("<I", 8))),
    "a place on earth of text": exif((0x8825, 2, 4, b"abc\0")),
    "a value of four billion bytes": exif((0x010F, 2, 0xFFFFFFFF, b"abcd")),
    "a value of an unknown kind": exif((0x010F, 99, 1, b"abcd")),
    "a copyright that is no text": exif((0x8298, 2, 4, b"\xff\xfe\xfd\xfc")),
    "big-endian with a time of numbers": exif((0x0132, 3, 1, struct.pack(">HH", 7, 0)), order=">"),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("name", ODD_TAGS)
def test_a_photograph_is_turned_upright_despite_damaged_exif(name: str, form: str) -> None:
    block = ODD_TAGS[name]
    if form == "TIFF":  # its own directory holds the tags
        plain = tiff(IMAGE)
        entries = [row for row in _rows(block) if row[0] not in (0x0100,)]
        data = tiff(IMAGE, extratags=[(tag, kind, count, value, True) for tag, kind, count, value in entries])
        assert len(data) > len(plain)
    else:
        options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
        data = saved(IMAGE, form, exif=b"Exif\0\0" + block, **options)
    found = pixels(data)
    assert np.abs(found.astype(int) - np.rot90(IMAGE, -1)).mean() < 3.0


@pytest.mark.skipif("AVIF" not in FORMATS, reason="wants a Pillow with AVIF")
@pytest.mark.parametrize("name", ODD_TAGS)
def test_an_avif_is_turned_upright_whatever_its_exif_states(name: str) -> None:
    """A property of the container turns it. The decoder reads EXIF all the same, and writes it anew."""
    block = exif((0x010F, 2, 100, b"x" * 100))
    data = saved(IMAGE, "AVIF", quality=100, subsampling="4:4:4", exif=b"Exif\0\0" + block)
    at = max(data.find(b"II*\0"), data.find(b"MM\0*"))
    assert at > 0 and b"irot" in data
    # the tag says something else than the container, so that the decoder writes EXIF anew
    odd = ODD_TAGS[name].replace(struct.pack("<HHIH", 0x0112, 3, 1, 6), struct.pack("<HHIH", 0x0112, 3, 1, 1))
    odd = odd.replace(struct.pack(">HHIH", 0x0112, 3, 1, 6), struct.pack(">HHIH", 0x0112, 3, 1, 1))
    assert odd != ODD_TAGS[name]
    found = pixels(data[:at] + odd.ljust(100, b"\0") + data[at + max(100, len(odd)) :])
    assert np.abs(found.astype(int) - np.rot90(IMAGE, -1)).mean() < 3.0


def _rows(block: bytes) -> list[tuple[int, int, int, Any]]:
    """The entries of an EXIF block as tifffile takes them: numbers as they are, all else as bytes of no kind."""
    order = "<" if block[:2] == b"II" else ">"
    (count,) = struct.unpack_from(order + "H", block, 8)
    rows: list[tuple[int, int, int, Any]] = []
    for number in range(count):
        tag, kind, times, value = struct.unpack_from(order + "HHII", block, 10 + 12 * number)
        if tag == 0x0112:
            rows.append((tag, 3, 1, 6))
        elif kind in (3, 4, 8, 9) and times == 1:
            rows.append((tag, 4, 1, value))
        else:
            rows.append((tag, 2, 4, "abc"))
    return rows


def test_a_tiff_with_invalid_tags_is_read() -> None:
    data = tiff(IMAGE, resolution=(72, 72), extratags=[(274, 3, 1, 6, True)], metadata=None)
    order = data.index(struct.pack("<HHI", 282, 5, 1))
    data = data[:order] + struct.pack("<HHI", 282, 2, 4) + b"72\0\0" + data[order + 12 :]
    assert np.array_equal(pixels(data), np.rot90(IMAGE, -1))


LONG = b"x" * 3_000_000
PNG_EXTRAS = {
    "two megabytes of text": [chunk(b"tEXt", b"Comment\0" + LONG)],
    "deflated text of three megabytes": [chunk(b"zTXt", b"Comment\0\0" + zlib.compress(LONG))],
    "many long texts": [chunk(b"zTXt", b"c%d\0\0" % n + zlib.compress(LONG)) for n in range(40)],
    "international text of three megabytes": [chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(LONG))],
    "text that does not inflate": [chunk(b"zTXt", b"Comment\0\0junk")],
    "a wrong checksum of a text": [chunk(b"tEXt", b"Comment\0hello", crc=1)],
    "a wrong checksum of the time": [chunk(b"tIME", bytes(7), crc=1)],
    "a resolution that is cut": [chunk(b"pHYs", b"\0\0")],
    "a time that is cut": [chunk(b"tIME", b"")],
    "chunks that nobody knows": [chunk(b"prVt", LONG), chunk(b"abCd", b"")],
    "EXIF that is no TIFF": [chunk(b"eXIf", b"junk")],
    "an empty EXIF": [chunk(b"eXIf", b"")],
    "XMP that is no XML": [chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"<<<<" * 1000)],
    "a colour that is cut": [chunk(b"gAMA", b"\0"), chunk(b"cHRM", b"\0\0"), chunk(b"cICP", b"\1")],
    "a colour of zeros": [chunk(b"gAMA", bytes(4)), chunk(b"cHRM", bytes(32))],
    "an exponent that no display has": [chunk(b"gAMA", struct.pack(">I", 1))],
    "another exponent that no display has": [chunk(b"gAMA", struct.pack(">I", 2**31 - 1))],
    "a white that its primaries cannot give": [
        chunk(b"cHRM", struct.pack(">8I", 90_000, 5_000, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000))
    ],
}


@pytest.mark.parametrize("name", PNG_EXTRAS)
def test_a_png_is_read_with_any_other_chunks(name: str) -> None:
    found = read(with_chunk(saved(IMAGE, "PNG"), *PNG_EXTRAS[name]))
    assert np.array_equal(np.asarray(found.image), IMAGE)
    assert found.changes == ()


JPEG_EXTRAS = {
    "long comments": [(0xFE, b"x" * 65_000)] * 40,
    "an index of further images that is cut": [(0xE2, b"MPF\0II*\0")],
    "an index of further images that is none": [(0xE2, b"MPF\0" + b"junk" * 10)],
    "resources of a program that are cut": [(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff")],
    "EXIF that is no TIFF": [(0xE1, b"Exif\0\0junk")],
    "an empty EXIF": [(0xE1, b"Exif\0\0")],
    "a profile of which the second half is missing": [(0xE2, b"ICC_PROFILE\0\1\2" + bytes(200))],
    "an application's segment that is empty": [(0xEE, b""), (0xE0, b"JFIF\0"), (0xE1, b"")],
}


@pytest.mark.parametrize("name", JPEG_EXTRAS)
def test_a_jpeg_is_read_with_any_other_segments(name: str) -> None:
    data = plain = saved(IMAGE, "JPEG", quality=90)
    for marker, body in JPEG_EXTRAS[name]:
        data = with_segment(data, marker, body)
    assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(plain))))


def test_the_pixels_of_a_file_are_the_same_with_and_without_its_metadata() -> None:
    for form, options in (("JPEG", {"progressive": True, "quality": 75}), ("PNG", {}), ("TIFF", {})):
        data = saved(IMAGE, form, exif=exif(orientation=1), dpi=(72, 72), **options)
        assert np.array_equal(pixels(data), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_invalid_orientation_is_ignored(orientation: int) -> None:
    data = saved(IMAGE, "PNG", exif=exif(orientation=orientation))
    assert np.array_equal(pixels(data), IMAGE)


def test_orientation_is_read_of_exif_as_text_and_of_xmp_too() -> None:
    text = b"\nexif\n%8d\n" % (6 + len(exif())) + (b"Exif\0\0" + exif()).hex().encode()
    for extra in (
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)),
        chunk(b"tEXt", b"Raw profile type APP1\0" + text),
        chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>'),
    ):
        assert np.array_equal(pixels(with_chunk(saved(IMAGE, "PNG"), extra)), np.rot90(IMAGE, -1))
    xmp = b"http://ns.adobe.com/xap/1.0/\0<tiff:Orientation>6</tiff:Orientation>"
    assert pixels(with_segment(saved(IMAGE, "JPEG"), 0xE1, xmp)).shape == (90, 60, 3)


def test_orientation_is_read_of_a_png_s_exif_that_has_the_head_of_a_jpeg_s() -> None:
    data = with_chunk(saved(IMAGE, "PNG"), chunk(b"eXIf", b"Exif\0\0" + exif()))
    assert np.array_equal(pixels(data), np.rot90(IMAGE, -1))


@pytest.mark.parametrize("stray", [b"\0", b"\0" * 40, b"\r\n", b"\xff\x01", b"\xff\0"])
def test_stray_bytes_between_segments_hide_neither_orientation_nor_profile(stray: bytes) -> None:
    profile = bytes(imagecodecs.cms_profile("adobergb"))
    plain = saved(IMAGE, "JPEG", quality=95, icc_profile=profile, exif=b"Exif\0\0" + exif())
    tables = plain.index(b"\xff\xdb")
    for at in (tables, plain.index(b"\xff\xe1")):
        found = read(plain[:at] + stray + plain[at:])
        assert np.array_equal(np.asarray(found.image), pixels(plain))
        assert found.image.size == (60, 90)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = bytes(imagecodecs.cms_profile("gray", gamma=2.2))
BROKEN = {"no profile at all": b"junk" * 200, "a head alone": SRGB[:128], "its table cut": SRGB[:200], "a byte": b"\0"}
CARRIERS: dict[str, Callable[[bytes], bytes]] = {
    "JPEG": lambda profile: saved(IMAGE, "JPEG", quality=100, subsampling=0, icc_profile=profile),
    "PNG": lambda profile: saved(IMAGE, "PNG", icc_profile=profile),
    "WebP": lambda profile: saved(IMAGE, "WEBP", lossless=True, icc_profile=profile),
    "TIFF": lambda profile: saved(IMAGE, "TIFF", icc_profile=profile),
    "16-bit TIFF": lambda profile: tiff(IMAGE.astype(np.uint16) * 257, iccprofile=profile),
    "16-bit PNG": lambda profile: with_chunk(
        imagecodecs.png_encode(IMAGE.astype(np.uint16) * 257), chunk(b"iCCP", b"p\0\0" + zlib.compress(profile))
    ),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_broken_profile_counts_as_srgb_and_is_recorded(carrier: str, name: str) -> None:
    found = read(CARRIERS[carrier](BROKEN[name]))
    assert np.abs(np.asarray(found.image).astype(int) - IMAGE).mean() < 2.0
    assert found.changes[-1] == "broken_profile_as_srgb"


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_profile_of_another_colour_space_counts_as_srgb_and_is_recorded(carrier: str) -> None:
    found = read(CARRIERS[carrier](GREY))
    assert np.abs(np.asarray(found.image).astype(int) - IMAGE).mean() < 2.0
    assert found.changes[-1] == "unfit_profile_as_srgb"


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_good_profile_is_applied_and_nothing_is_noted(carrier: str) -> None:
    found = read(CARRIERS[carrier](SRGB))
    assert np.abs(np.asarray(found.image).astype(int) - IMAGE).mean() < 2.0
    assert found.changes == (("16_bit_to_8_bit",) if "16" in carrier else ())


@pytest.mark.parametrize(
    "extra",
    [chunk(b"iCCP", b"p\0\0junk"), chunk(b"iCCP", b""), chunk(b"iCCP", b"p\0\0" + zlib.compress(SRGB), crc=5)],
    ids=["not deflated", "empty", "wrong checksum"],
)
def test_a_png_profile_that_cannot_be_read_counts_as_broken(extra: bytes) -> None:
    assert read(with_chunk(saved(IMAGE, "PNG"), extra)).changes == ("broken_profile_as_srgb",)


def test_a_profile_of_many_megabytes_is_applied() -> None:
    swapped = SRGB.replace(b"rXYZ", b"tXYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tXYZ", b"bXYZ", 1)
    long = swapped + bytes(3_000_000)
    found = read(with_chunk(saved(IMAGE, "PNG"), chunk(b"iCCP", b"p\0\0" + zlib.compress(long))))
    assert np.abs(np.asarray(found.image).astype(int) - IMAGE[..., ::-1]).max() <= 1


def test_a_tiff_with_a_thumbnail_beside_it_is_one_image() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(IMAGE, photometric="rgb")
        writer.write(IMAGE[::4, ::4], photometric="rgb", subfiletype=1)
    assert np.array_equal(pixels(buffer.getvalue()), IMAGE)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_for_exif_raise_nothing(data: bytes) -> None:
    read_camera_tags(data)
    for head in (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"RIFF0000WEBP"):
        read_camera_tags(head + data)
        read_metadata(head + data)


# --- colours that are named elsewhere -------------------------------------------------------------------------------


def in_adobe_rgb(image: Pixels) -> Pixels:
    """The values that Adobe RGB (1998) has for the colours of an sRGB image, by the matrices of both standards."""
    linear = image / 255.0
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    srgb = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    adobe = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])
    found = np.clip(linear @ srgb.T @ np.linalg.inv(adobe).T, 0, 1) ** (256 / 563)
    return np.rint(found * 255).astype(np.uint8)


def in_colour(colour: Colour, image: Pixels = IMAGE) -> Pixels:
    """The values of an sRGB image in another colour."""
    srgb = ImageCms.createProfile("sRGB")
    there = ImageCms.ImageCmsProfile(io.BytesIO(profile_of(colour)))
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(image), srgb, there, outputMode="RGB"))


def adobe_exif(*, by_index: bool = True) -> bytes:
    """EXIF whose camera directory names Adobe RGB: by the interoperability index, or by the colour space 2."""
    head = exif((0x8769, 4, 1, struct.pack("<I", 200)), orientation=1).ljust(200, b"\0")
    rows = [struct.pack("<HHIHH", 0xA001, 3, 1, 65535 if by_index else 2, 0)]
    if by_index:
        rows.append(struct.pack("<HHII", 0xA005, 4, 1, 300))
    camera = (struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4)).ljust(100, b"\0")
    return head + camera + struct.pack("<HHHI4sI", 1, 1, 2, 4, b"R03\0", 0)


P3, BT2020 = cicp_colour("test", 12, 13), cicp_colour("test", 9, 13)


def cicp_chunk(primaries: int, transfer: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, transfer, 0, 1]))


CHRM = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000))


def bmp_of(image: Pixels, space: bytes, rest: bytes = b"", profile: bytes = b"") -> bytes:
    height, width = image.shape[:2]
    rows = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in image[::-1, :, ::-1])
    head = struct.pack("<IiiHHIIiiII", 124, width, height, 1, 24, 0, len(rows), 0, 0, 0, 0) + bytes(16) + space
    head += rest.ljust(48, b"\0") + struct.pack("<IIII", 4, 124 + len(rows) if profile else 0, len(profile), 0)
    assert len(head) == 124
    return b"BM" + struct.pack("<IHHI", 138 + len(rows) + len(profile), 0, 0, 138) + head + rows + profile


def calibrated(colour: Colour) -> bytes:
    """The endpoints of a BMP header: XYZ of each primary as it stands in the sum that is white, and the exponents."""
    xy = np.array(colour.primaries).reshape(4, 2)
    xyz = np.column_stack([xy[:, 0] / xy[:, 1], np.ones(4), (1 - xy.sum(axis=1)) / xy[:, 1]])
    share = np.linalg.solve(xyz[:3].T, xyz[3])
    numbers = (xyz[:3] * share[:, None]).ravel()
    return struct.pack("<9I", *(round(n * (1 << 30)) for n in numbers)) + struct.pack("<3I", *[144179] * 3)


ADOBE = Colour(source="test", primaries=(0.64, 0.33, 0.21, 0.71, 0.15, 0.06, 0.3127, 0.3290), gamma=2.2)
NAMED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "JPEG, R03": (
        "exif",
        lambda: saved(in_adobe_rgb(IMAGE), "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + adobe_exif()),
    ),
    "JPEG, colour space 2": (
        "exif",
        lambda: saved(
            in_adobe_rgb(IMAGE), "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + adobe_exif(by_index=False)
        ),
    ),
    "WebP, R03": ("exif", lambda: saved(in_adobe_rgb(IMAGE), "WEBP", lossless=True, exif=adobe_exif())),
    "PNG, R03": ("exif", lambda: with_chunk(saved(in_adobe_rgb(IMAGE), "PNG"), chunk(b"eXIf", adobe_exif()))),
    "PNG, cICP of Display P3": ("png_cicp", lambda: with_chunk(saved(in_colour(P3), "PNG"), cicp_chunk(12, 13))),
    "PNG, cICP of BT.2020": ("png_cicp", lambda: with_chunk(saved(in_colour(BT2020), "PNG"), cicp_chunk(9, 13))),
    "PNG, cICP before a profile": (
        "png_cicp",
        lambda: with_chunk(saved(in_colour(P3), "PNG", icc_profile=SRGB), cicp_chunk(12, 13)),
    ),
    "PNG, linear by gAMA": (
        "png_chunks",
        lambda: with_chunk(
            saved(in_colour(Colour(source="test", gamma=1.0)), "PNG"), chunk(b"gAMA", struct.pack(">I", 100_000))
        ),
    ),
    "PNG, cHRM of Adobe RGB": (
        "png_chunks",
        lambda: with_chunk(saved(in_adobe_rgb(IMAGE), "PNG"), CHRM, chunk(b"gAMA", struct.pack(">I", 45_470))),
    ),
    "TIFF, chromaticities": (
        "tiff_tags",
        lambda: tiff(
            in_colour(Colour(source="test", primaries=ADOBE.primaries)),
            extratags=[
                (318, 5, 2, (3127, 10000, 3290, 10000), True),
                (319, 5, 6, (64, 100, 33, 100, 21, 100, 71, 100, 15, 100, 6, 100), True),
            ],
        ),
    ),
    "BMP, calibrated": ("bmp_header", lambda: bmp_of(in_adobe_rgb(IMAGE), bytes(4), calibrated(ADOBE))),
    "16-bit PNG, cICP of Display P3": (
        "png_cicp",
        lambda: with_chunk(imagecodecs.png_encode(in_colour(P3).astype(np.uint16) * 257), cicp_chunk(12, 13)),
    ),
}


@pytest.mark.parametrize("name", NAMED)
def test_a_named_colour_space_is_converted_to_srgb_and_recorded(name: str) -> None:
    source, make = NAMED[name]
    found = read(make())
    off = np.abs(np.asarray(found.image).astype(int) - IMAGE)
    assert off.mean() < (3.0 if found.format == "JPEG" else 1.2), "8 bits of a wider space are coarser"
    assert np.percentile(off, 99) <= 10
    assert found.changes[-1] == f"colour_from_{source}"
    assert not found.is_plain


@pytest.mark.skipif("AVIF" not in FORMATS, reason="wants a Pillow with AVIF")
def test_the_colour_of_an_avif_is_brought_to_srgb_as_that_of_a_png_is() -> None:
    data = saved(in_colour(P3), "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    found = read(data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :])
    assert np.abs(np.asarray(found.image).astype(int) - IMAGE).mean() < 3.0
    assert found.changes == ("colour_from_avif_nclx",)


def test_the_embedded_profile_of_a_bmp_is_applied() -> None:
    swapped = SRGB.replace(b"rXYZ", b"tXYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tXYZ", b"bXYZ", 1)
    found = pixels(bmp_of(IMAGE, b"DEBM", profile=swapped))
    assert np.abs(found.astype(int) - IMAGE[..., ::-1]).max() <= 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_chunk(saved(IMAGE, "PNG"), cicp_chunk(1, 13)),
        lambda: with_chunk(saved(IMAGE, "PNG"), cicp_chunk(2, 2)),
        lambda: with_chunk(saved(IMAGE, "PNG"), chunk(b"sRGB", b"\0"), CHRM),
        lambda: with_chunk(saved(IMAGE, "PNG"), chunk(b"gAMA", struct.pack(">I", 45_455))),
        lambda: bmp_of(IMAGE, b"BGRs"),
        lambda: bmp_of(IMAGE, bytes(4)),
        lambda: tiff(IMAGE, extratags=[(318, 5, 2, (0, 1, 0, 1), True), (319, 5, 6, (0, 1) * 6, True)]),
    ],
    ids=["cICP", "cICP unspecified", "sRGB chunk", "gAMA", "BMP", "BMP with zeros", "TIFF with zeros"],
)
def test_a_colour_that_is_srgb_changes_nothing(make: Callable[[], bytes]) -> None:
    found = read(make())
    assert np.array_equal(np.asarray(found.image), IMAGE)
    assert found.changes == ()


@pytest.mark.parametrize(
    "make",
    [
        lambda: with_chunk(saved(IMAGE, "PNG"), cicp_chunk(9, 16)),
        lambda: with_chunk(saved(IMAGE, "PNG"), cicp_chunk(9, 18)),
        lambda: with_chunk(saved(IMAGE, "PNG"), cicp_chunk(1, 16)),
        lambda: with_chunk(saved(IMAGE, "PNG"), chunk(b"cICP", bytes([12, 13, 0, 0]))),
        lambda: with_chunk(imagecodecs.png_encode(DEEP), cicp_chunk(9, 16)),
        lambda: with_chunk(saved(IMAGE, "PNG"), cicp_chunk(0, 13)),
        lambda: bmp_of(IMAGE, b"KNIL"),
    ],
    ids=["PQ", "HLG", "PQ of sRGB's primaries", "a narrow range", "16-bit PQ", "reserved", "BMP with a linked profile"],
)
def test_a_colour_that_cannot_be_converted_is_refused(make: Callable[[], bytes]) -> None:
    assert reason(make()) == "unsupported_mode"


def test_a_profile_has_precedence_over_exif() -> None:
    data = saved(IMAGE, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + adobe_exif(), icc_profile=SRGB)
    found = read(data)
    assert found.changes == ()
    assert np.abs(np.asarray(found.image).astype(int) - IMAGE).mean() < 2.0


@pytest.mark.parametrize("primaries", sorted(CICP_PRIMARIES))
def test_white_stays_white_in_every_colour(primaries: int) -> None:
    white = np.full((8, 8, 3), 255, np.uint8)
    found = pixels(with_chunk(saved(white, "PNG"), cicp_chunk(primaries, 13)))
    assert found.min() >= 254


# --- pixels that are missing ----------------------------------------------------------------------------------------

JPEG_KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "4:2:0": {"subsampling": 2},
    "4:4:4": {"subsampling": 0, "quality": 95},
    "progressive": {"progressive": True},
    "with restart markers": {"restart_marker_blocks": 4},
    "progressive with restart markers": {"progressive": True, "restart_marker_rows": 1},
}


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("kind", JPEG_KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_truncated_jpeg_with_an_end_marker_is_damaged(kind: str, share: float, mode: str) -> None:
    image = Image.fromarray(picture(5, 300, 400)).convert(mode)
    whole = saved(image, "JPEG", **JPEG_KINDS[kind])
    assert read(whole).image.size == (400, 300)
    start = whole.index(b"\xff\xda")
    cut = whole[: start + int((len(whole) - start) * share)].rstrip(b"\xff") + b"\xff\xd9"
    Image.open(io.BytesIO(cut)).load()  # the decoder says nothing
    assert reason(cut) == "damaged"


@pytest.mark.parametrize("scan", range(1, 10))
def test_a_progressive_jpeg_that_ends_between_two_scans_is_damaged(scan: int) -> None:
    whole = saved(picture(5, 300, 400), "JPEG", progressive=True)
    starts = [at for at in range(len(whole)) if whole[at : at + 2] == b"\xff\xda"]
    assert len(starts) == 10
    cut = whole[: starts[scan]] + b"\xff\xd9"
    Image.open(io.BytesIO(cut)).load()
    assert reason(cut) == "damaged"


@pytest.mark.parametrize("where", ["the middle", "near the end"])
def test_a_jpeg_with_a_marker_in_the_middle_of_its_data_is_damaged(where: str) -> None:
    whole = saved(picture(5, 300, 400), "JPEG")
    at = len(whole) // 2 if where == "the middle" else len(whole) - 60
    assert reason(whole[:at] + b"\xff\xd9" + whole[at:]) == "damaged"


@pytest.mark.parametrize(
    "make",
    [
        lambda image: tiff(image, compression="jpeg", rowsperstrip=304),
        lambda image: tiff(image, compression="jpeg", rowsperstrip=64),
        lambda image: tiff(image, compression="jpeg", tile=(128, 128)),
        lambda image: planes(image, compression="jpeg"),
        lambda image: saved(image, "TIFF", compression="jpeg"),
    ],
    ids=["one strip", "strips", "tiles", "planes", "strips that share their tables"],
)
def test_a_tiff_in_jpeg_whose_data_ends_early_is_damaged(make: Callable[[Pixels], bytes]) -> None:
    image = picture(5, 300, 400)
    whole = make(image)
    assert np.abs(pixels(whole).astype(int) - image).mean() < 20
    start = whole.rindex(b"\xff\xda")
    end = whole.index(b"\xff\xd9", start)
    middle = (start + end) // 2
    assert reason(whole[:middle] + b"\xff\xd9" + bytes(end - middle) + whole[end + 2 :]) == "damaged"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["baseline", "4:4:4", "progressive", "with restart markers"])
def test_a_truncated_jpeg_is_damaged(kind: str, share: float) -> None:
    whole = saved(picture(5, 300, 400), "JPEG", **JPEG_KINDS[kind])
    start = whole.index(b"\xff\xda")
    assert reason(whole[: start + int((len(whole) - start) * share)]) == "damaged"


@pytest.mark.parametrize("patch", [b"", bytes(900), b"\x55" * 900], ids=["cut out", "zeros", "other bytes"])
def test_a_jpeg_whose_data_is_lost_between_restart_markers_is_damaged(patch: bytes) -> None:
    whole = saved(picture(5, 300, 400), "JPEG", quality=95, restart_marker_rows=1)
    middle = len(whole) // 2
    assert reason(whole[:middle] + patch + whole[middle + 900 :]) == "damaged"


@pytest.mark.parametrize("is_interlaced", [False, True])
@pytest.mark.parametrize(("mode", "depth", "colour_type"), [("L", 8, 0), ("RGB", 8, 2), ("RGBA", 8, 6), ("1", 1, 0)])
def test_a_png_whose_data_is_too_short_for_its_rows_is_damaged(
    mode: str, depth: int, colour_type: int, is_interlaced: bool
) -> None:
    bits = depth * len(Image.new(mode, (1, 1)).getbands())
    steps = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = [
        1 + (len(range(left, 61, across)) * bits + 7) // 8
        for left, top, across, down in (steps if is_interlaced else [(0, 0, 1, 1)])
        for _ in range(top, 43, down)
    ]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 61, 43, depth, colour_type, 0, 0, is_interlaced))
    for missing in (0, 1, 5, len(rows) // 2):
        data = b"".join(b"\0" + b"\xff" * (length - 1) for length in rows[: len(rows) - missing])
        png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
        assert has_all_rows(png) == (not missing)
        if missing and depth == 8:
            assert reason(png) in ("damaged", "not_an_image")


def test_a_png_without_its_lower_half_is_damaged() -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in IMAGE[:30])
    whole = saved(IMAGE, "PNG")
    data = whole[:33] + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    Image.open(io.BytesIO(data)).load()  # the decoder says nothing
    assert reason(data) == "damaged"


def test_a_cmyk_jpeg_whose_data_ends_early_is_damaged() -> None:
    whole = saved(Image.fromarray(picture(5, 300, 400)).convert("CMYK"), "JPEG", quality=80)
    assert reason(whole[: len(whole) // 2] + b"\xff\xd9") == "damaged"


@pytest.mark.parametrize(
    "make",
    [
        lambda whole: whole[:-2] + b"\x00\x11\x22\x33" + whole[-2:],
        lambda whole: whole[:-2] + bytes(2000) + whole[-2:],
        lambda whole: whole[:-2],
        lambda whole: whole + b"a film behind the image" * 1000,
        lambda whole: whole[:2] + b"\xff\xff\xff" + whole[2:],
        lambda whole: whole + whole,
    ],
    ids=[
        "bytes too many before the end",
        "padding before the end",
        "no end",
        "bytes behind the end",
        "fill bytes",
        "a second image behind it",
    ],
)
def test_a_complete_jpeg_is_read_despite_warnings(make: Callable[[bytes], bytes]) -> None:
    whole = saved(picture(5, 300, 400), "JPEG")
    assert np.array_equal(pixels(make(whole)), np.asarray(Image.open(io.BytesIO(whole))))


def test_other_truncated_files_are_refused() -> None:
    png = saved(picture(5, 300, 400), "PNG", compress_level=1)
    parts = [at for at in range(len(png)) if png[at : at + 4] == b"IDAT"]
    assert len(parts) > 1
    closed = png[: parts[-1] - 4] + chunk(b"IEND", b"")
    webp = saved(picture(5, 300, 400), "WEBP", lossless=True)
    short = webp[: len(webp) // 2]
    short = short[:4] + struct.pack("<I", len(short) - 8) + short[8:]
    for data in (closed, short, tiff(picture(5, 300, 400), compression="zlib")[:-2000]):
        assert reason(data) in ("damaged", "not_an_image")
