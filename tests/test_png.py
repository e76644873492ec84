"""Banded PNG: every image survives it, every decoder reads it, and damage is detected; with or without the C code."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ggt100k
import ggt_format.bands
import ggt_format.png
from ggt_format.native import native
from ggt_format.png import PROFILES, ZLIB_HEADER, _chunk, _compress, _filter, check_banded, encode_png, undo_filters
from ggt_tools.errors import ShardError

from .making import picture

SAMPLE = sorted(ggt100k.sample_folder().glob("*.jpg"))


@pytest.fixture(scope="module", params=["numpy", "native"], autouse=True)
def undone_by(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every test runs twice: filters are undone by numpy, and by the C extension where it is built."""
    if request.param == "native" and native is None:
        pytest.skip("the C extension is not built here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ggt_format.png, "native", native if request.param == "native" else None)
        yield request.param


@pytest.fixture(scope="module")
def photographs() -> list[npt.NDArray[np.uint8]]:
    return [np.asarray(Image.open(path).convert("RGB")) for path in SAMPLE]


@st.composite
def images(draw: st.DrawFn) -> npt.NDArray[np.uint8]:
    """Noise, flat areas and ramps of any small size: each row filter is the best one somewhere."""
    height, width = draw(st.integers(1, 200)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["noise", "flat", "across", "down", "rows"]))
    if kind == "noise":
        return random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "flat":
        return np.full((height, width, 3), random.integers(256), np.uint8)
    y, x = np.mgrid[:height, :width]
    ramp = {"across": 7 * x, "down": 5 * y, "rows": np.where(y % 3 == 0, 9 * x, 11 * y)}[kind]
    return np.repeat(ramp[..., None] % 256, 3, axis=2).astype(np.uint8)


def with_filters(image: npt.NDArray[np.uint8], band_rows: int, filters: npt.NDArray[np.uint8]) -> bytes:
    """Write an image with the filter that each row names, in bands of any height, as older releases have them."""
    rows = image.reshape(len(image), -1)
    sub, up = rows.copy(), rows.copy()
    sub[:, 3:] -= rows[:, :-3]
    up[1:] -= rows[:-1]
    choices = np.stack([rows, sub, up])
    return _compress(np.column_stack([filters, choices[filters, np.arange(len(rows))]]), band_rows, 4)


@given(images(), st.integers(1, 70), st.sampled_from(sorted(PROFILES)))
@settings(max_examples=150, deadline=None)
def test_any_image_round_trips_through_every_decoder(
    image: npt.NDArray[np.uint8], band_rows: int, profile: str
) -> None:
    data = encode_png(image, band_rows, profile=profile)
    assert np.array_equal(ggt100k.decode_image(data), image)
    assert np.array_equal(check_banded(data, "image"), image)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
    assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1], image)


@given(images(), st.integers(1, 70), st.data())
@settings(max_examples=150, deadline=None)
def test_any_window_is_the_window_of_the_image(
    image: npt.NDArray[np.uint8], band_rows: int, data: st.DataObject
) -> None:
    filters = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, len(image), dtype=np.uint8)
    filters[::band_rows] %= 2
    file = data.draw(st.sampled_from([encode_png(image, band_rows), with_filters(image, band_rows, filters)]))
    bands = ggt100k.read_bands(file)
    assert bands is not None
    height, width = image.shape[:2]
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    first, last = top // band_rows, -(-(top + rows) // band_rows)
    part = file[bands.offsets[first] : bands.offsets[last]]
    window = ggt100k.decode_bands(part, bands, top, left, rows, columns)
    assert np.array_equal(window, image[top : top + rows, left : left + columns])


def test_the_layout_of_earlier_releases_is_read(photographs: list[npt.NDArray[np.uint8]]) -> None:
    """They have bands of 64 rows, and in each row the filter of None, Sub and Up with the least absolute sum."""
    image = photographs[0]
    rows = image.reshape(len(image), -1).astype(np.int8)
    none, sub, up = rows, rows.copy(), rows.copy()
    sub[:, 3:] -= rows[:, :-3]
    up[1:] -= rows[:-1]
    costs = np.stack([np.abs(coded.astype(int)).sum(axis=1) for coded in (none, sub, up)])
    costs[2, ::64] = costs.max() + 1
    filters = costs.argmin(axis=0).astype(np.uint8)
    assert {1, 2} <= set(filters.tolist())
    data = with_filters(image, 64, filters)
    bands = ggt100k.read_bands(data)
    assert bands is not None and bands.rows == 64
    assert np.array_equal(ggt100k.decode_image(data), image)
    assert np.array_equal(check_banded(data, "image"), image)
    part = data[bands.offsets[1] : bands.offsets[4]]
    assert np.array_equal(ggt100k.decode_bands(part, bands, 100, 37, 140, 256), image[100:240, 37:293])


@pytest.mark.skipif(shutil.which("pngcheck") is None, reason="wants the program pngcheck")
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (64, 3), (65, 64), (200, 130)])
def test_pngcheck_accepts_it(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(encode_png(picture(1, *size)))
    result = subprocess.run(["pngcheck", "-v", path], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert "unknown private, ancillary, unsafe-to-copy chunk" in result.stdout
    assert "No errors detected" in result.stdout


def test_bands_begin_where_the_chunk_says() -> None:
    image = picture(2, 130, 20)
    data = encode_png(image)
    bands = ggt100k.read_bands(data)
    assert bands is not None
    assert (bands.width, bands.height, bands.rows, len(bands.offsets)) == (20, 130, 32, 6)
    for band, start in enumerate(bands.offsets[:-1]):
        assert data[start + 4 : start + 8] == b"IDAT"
        (size,) = struct.unpack_from(">I", data, start)
        lines = zlib.decompressobj(-15).decompress(data[start + 8 : start + 8 + size] + b"\x03\x00")
        assert len(lines) == min(32, 130 - 32 * band) * 61
        assert lines[0] in (0, 1), "a band's first row looks at no row above"


@pytest.mark.parametrize(("profile", "within_bands"), [("ledger", {2}), ("shard", {1, 2})])
def test_which_filters_a_profile_uses(
    profile: str, within_bands: set[int], photographs: list[npt.NDArray[np.uint8]]
) -> None:
    image = photographs[0]
    data = encode_png(image, profile=profile)
    bands = ggt100k.read_bands(data)
    assert bands is not None
    stream = b"".join(data[a + 8 : b - 4] for a, b in zip(bands.offsets, bands.offsets[1:], strict=False))
    lines = zlib.decompressobj(-15).decompress(stream + b"\x03\x00")
    filters = lines[:: 1 + 3 * image.shape[1]]
    assert set(filters[:: bands.rows]) <= {0, 1}
    assert {kind for row, kind in enumerate(filters) if row % bands.rows} == within_bands


@pytest.mark.slow
@pytest.mark.parametrize(("profile", "most"), [("ledger", 1.10), ("shard", 1.00)])
def test_the_size_of_photographs_against_pillows_default(
    profile: str, most: float, photographs: list[npt.NDArray[np.uint8]]
) -> None:
    ours = pillows = 0
    for image in photographs:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        pillows += len(buffer.getvalue())
        ours += len(encode_png(image, profile=profile))
    assert ours <= most * pillows, ours / pillows


def test_equal_pixels_give_equal_bytes() -> None:
    assert encode_png(picture(3)) == encode_png(picture(3).copy())


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4), np.uint8), "image: must be uint8, height x width x 3, and is uint8, (4, 4)."),
        (np.zeros((4, 4, 4), np.uint8), "image: must be uint8, height x width x 3, and is uint8, (4, 4, 4)."),
        (np.zeros((4, 4, 3), np.float32), "image: must be uint8, height x width x 3, and is float32, (4, 4, 3)."),
        (np.zeros((0, 4, 3), np.uint8), "image: must be uint8, height x width x 3, and is uint8, (0, 4, 3)."),
    ],
)
def test_an_array_that_is_not_an_image_is_refused(array: npt.NDArray[np.uint8], said: str) -> None:
    with pytest.raises(ValueError) as fault:
        encode_png(array)
    assert str(fault.value) == said


def test_a_flipped_bit_is_reported_with_band_and_byte() -> None:
    data = bytearray(encode_png(picture(4, 200, 30)))
    bands = ggt100k.read_bands(bytes(data))
    assert bands is not None
    at = bands.offsets[2]
    data[at + 20] ^= 1
    with pytest.raises(ShardError) as fault:
        ggt100k.decode_image(bytes(data), "a.tar: key k")
    assert str(fault.value) == f"a.tar: key k: band 2, byte {at}: the checksum is wrong. Download the shard again."
    window = data[bands.offsets[0] : bands.offsets[2]]
    assert ggt100k.decode_bands(bytes(window), bands, 0, 0, 64, 30).shape == (64, 30, 3), "other bands stay readable"


def test_every_flipped_bit_is_detected() -> None:
    image = picture(5, 66, 8)
    data = encode_png(image)
    for at in range(len(data)):
        for bit in (0, 3, 7):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            with pytest.raises(ShardError):
                check_banded(bytes(damaged), "image")


def test_a_png_without_bands_is_read_but_does_not_validate() -> None:
    image = picture(6)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    assert ggt100k.read_bands(buffer.getvalue()) is None
    assert np.array_equal(ggt100k.decode_image(buffer.getvalue()), image)
    with pytest.raises(ShardError, match=r"^image: is not a banded PNG\. Pack the release again\.$"):
        check_banded(buffer.getvalue(), "image")


def test_bytes_after_the_image_do_not_validate() -> None:
    with pytest.raises(ShardError, match="are not those of a banded PNG, or bytes follow the last one"):
        check_banded(encode_png(picture(7)) + bytes(5), "image")


def test_a_header_that_claims_more_than_its_bytes_can_hold_takes_no_memory() -> None:
    data = bytearray(encode_png(picture(7)))
    data[16:20] = (1 << 27).to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    with pytest.raises(ShardError, match=r"^image: its gbND chunk does not fit its header\. Pack the release again\.$"):
        ggt100k.decode_image(bytes(data))


def test_bytes_that_are_not_an_image_are_an_error() -> None:
    with pytest.raises(ShardError, match=r"^image: cannot be decoded: .*\. Download the shard again\.$"):
        ggt100k.decode_image(b"not an image", "image")


def test_without_the_fast_library_the_pixels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(8, 150, 33)
    monkeypatch.setattr(ggt_format.bands, "deflate", None)
    assert np.array_equal(ggt100k.decode_image(encode_png(image)), image)


@pytest.mark.parametrize(("band", "kind"), [(0, 2), (1, 2), (1, 3)])
def test_a_band_that_begins_with_up_is_an_error(band: int, kind: int) -> None:
    chunks, offsets = b"", [0]
    for number in range(2):
        deflater = zlib.compressobj(wbits=-15)
        line = bytes([kind if number == band else 0, 1, 2, 3])
        body = b"IDAT" + deflater.compress(line * 4) + deflater.flush(zlib.Z_FULL_FLUSH)
        chunks += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        offsets.append(len(chunks))
    bands = ggt100k.Bands(1, 8, 4, tuple(offsets))
    with pytest.raises(ShardError, match=r"filter.* band\. Download the shard again\.$"):
        ggt100k.decode_bands(chunks, bands, 0, 0, 8, 1)


def test_a_band_that_refers_to_the_previous_one_does_not_validate() -> None:
    """As a writer makes it that ends bands with a sync flush: its decoders see nothing, and a crop would be wrong."""
    image = np.tile(picture(3, 64, 60), (3, 1, 1))  # bands alike, so that the second finds itself in the first
    lines = _filter(image.reshape(192, 180), 64)
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    bands = [deflater.compress(lines[top : top + 64]) + deflater.flush(zlib.Z_SYNC_FLUSH) for top in (0, 64, 128)]
    bad = b"".join(
        [
            encode_png(image)[:33],
            _chunk(b"gbND", struct.pack(">4I", 64, *map(len, bands))),
            _chunk(b"IDAT", ZLIB_HEADER),
            *(_chunk(b"IDAT", band) for band in bands),
            _chunk(b"IDAT", ggt_format.png.END_OF_DEFLATE + struct.pack(">I", zlib.adler32(lines))),
            _chunk(b"IEND", b""),
        ]
    )
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(bad))), image), "other decoders read it"
    with pytest.raises(ShardError, match=r"^a\.png: band 1"):
        check_banded(bad, "a.png")


# --- the C extension alone ------------------------------------------------------------------------------------------

needs_native = pytest.mark.skipif(native is None, reason="the C extension is not built here")
GUARD = 64  # bytes on both sides of a buffer that nobody may change


@pytest.mark.slow
@needs_native
@given(st.data())
@settings(max_examples=1000, deadline=None)
def test_numbers_that_do_not_fit_their_buffers_are_refused_and_touch_nothing(data: st.DataObject) -> None:
    """The extension does as numpy does where all numbers fit; where one does not, it raises and writes nothing."""

    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    image_width, rows = draw(1, 9), draw(1, 8)
    band_rows, skip, left = draw(1, 9), draw(0, rows - 1), draw(0, image_width - 1)
    width, out_row = draw(1, image_width - left), draw(0, 3)
    random = np.random.default_rng(draw(0, 999))
    lines = random.integers(0, 256, (rows, 1 + 3 * image_width), dtype=np.uint8)
    lines[:, 0] = random.integers(0, 3, rows)
    lines[::band_rows, 0] %= 2
    out_rows = out_row + rows - skip
    numbers = {"image_width": image_width, "rows": rows, "band_rows": band_rows, "skip": skip, "left": left}
    numbers |= {"width": width, "out_row": out_row}
    change = data.draw(st.sampled_from(["", *numbers, "lines", "out", "filter"]))
    out_bytes, line_bytes = 3 * width * out_rows, lines.size
    if change in numbers:
        numbers[change] = data.draw(
            st.one_of(st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**61, 2**62, -1]))
        )
    elif change == "lines":
        line_bytes -= draw(1, line_bytes)
    elif change == "out":
        out_bytes -= draw(1, out_bytes)
    elif change == "filter":
        lines[draw(0, rows - 1), 0] = draw(3, 255)
    image_width, rows, band_rows, skip, left, width, out_row = numbers.values()
    fits = 0 <= skip < rows and band_rows > 0 and 0 <= left < left + width <= image_width and out_row >= 0
    fits = fits and width > 0 and rows * (1 + 3 * image_width) <= line_bytes
    fits = fits and 3 * width * (out_row + rows - skip) <= out_bytes
    if fits:
        kinds = np.frombuffer(lines.tobytes(), np.uint8)[: rows * (1 + 3 * image_width) : 1 + 3 * image_width]
        fits = kinds.max() <= 2 and 2 not in kinds[::band_rows]
    whole = np.full(GUARD + out_bytes + GUARD, 0xA5, np.uint8)
    out = whole[GUARD : GUARD + out_bytes]
    arguments = lines.tobytes()[:line_bytes], image_width, rows, band_rows, skip, left, width
    if fits:
        native.undo_filters(*arguments, out, out_row)
        shape = out_bytes // (3 * width), 3 * width
        expected = np.full(shape, 0xA5, np.uint8)
        undo_filters(*arguments, expected, out_row)
        assert np.array_equal(out[: expected.size].reshape(shape), expected)
    else:
        with pytest.raises(ValueError):
            native.undo_filters(*arguments, out, out_row)
        assert change in ("filter", "image_width", "band_rows", "rows") or (whole == 0xA5).all()
    assert (whole[:GUARD] == 0xA5).all() and (whole[GUARD + out_bytes :] == 0xA5).all()


@needs_native
def test_a_read_only_or_scattered_output_is_refused() -> None:
    lines = bytes([0, 1, 2, 3] * 4)
    for out in (bytes(12), np.zeros((8, 3), np.uint8)[::2]):
        with pytest.raises((TypeError, ValueError, BufferError)):
            native.undo_filters(lines, 1, 4, 4, 0, 0, 1, out, 0)


@pytest.mark.parametrize("value", ["0", "1"])
def test_the_environment_variable_disables_the_extension(value: str) -> None:
    code = "from ggt_format.native import native; print(native is not None)"
    environment = os.environ | {"GGT100K_NATIVE": value}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout == f"{value != '0' and native is not None}\n"
