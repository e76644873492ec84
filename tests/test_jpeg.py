"""JPEG with restart intervals: windows equal those of the whole decode, and other readers read it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import datasets
import numpy as np
import numpy.typing as npt
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ggt100k
import ggt_format.jpeg
from ggt_format.jpeg import check_jpeg, encode_jpeg
from ggt_format.png import encode_png
from ggt_tools.errors import PairError, ShardError
from ggt_tools.stages.pack import PackConfig, pack
from ggt_tools.stages.validate import validate

from .making import GATE, Store, change_shard, make_dataset, make_pair, picture

SAMPLE = sorted(ggt100k.sample_folder().glob("*.jpg"))


def pillow(data: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(data)))


@given(st.integers(1, 150), st.integers(1, 300), st.integers(1, 9), st.data())
@settings(max_examples=150, deadline=None)
def test_any_window_is_the_window_of_pillows_decode(height: int, width: int, band: int, data: st.DataObject) -> None:
    file = encode_jpeg(picture(height * 1000 + width, height, width), 8 * band)
    whole = pillow(file)
    assert np.array_equal(ggt100k.decode_image(file), whole)
    assert np.array_equal(check_jpeg(file, "image"), whole)
    bands = ggt100k.read_bands(file[: ggt100k.HEAD])
    assert bands is not None and (bands.height, bands.width, bands.rows) == (height, width, 8 * band)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    first, last = top // bands.rows, -(-(top + rows) // bands.rows)
    part = file[bands.offsets[first] : bands.offsets[last]]
    window = ggt100k.decode_bands(part, bands, top, left, rows, columns)
    assert np.array_equal(window, whole[top : top + rows, left : left + columns])


def test_without_the_fast_library_the_pixels_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    file = encode_jpeg(np.asarray(Image.open(SAMPLE[0]).convert("RGB")))
    bands = ggt100k.read_bands(file)
    assert bands is not None
    part = file[bands.offsets[1] : bands.offsets[5]]
    fast = ggt100k.decode_bands(part, bands, 70, 33, 200, 256)
    monkeypatch.setattr(ggt_format.jpeg, "simplejpeg", None)
    assert np.array_equal(ggt100k.decode_bands(part, bands, 70, 33, 200, 256), fast)
    assert np.array_equal(ggt100k.decode_image(file), pillow(file))


def test_every_decoder_reads_it_and_it_is_close_to_the_photograph() -> None:
    for path in SAMPLE[:4]:
        image = np.asarray(Image.open(path).convert("RGB"))
        file = encode_jpeg(image)
        error = np.mean((pillow(file).astype(float) - image) ** 2)
        assert 10 * np.log10(255**2 / error) > 38
        by_opencv = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(by_opencv.astype(int) - pillow(file)).max() <= 1
        assert len(file) < 0.5 * len(encode_png(image))


def test_restarts_and_bands_cost_little() -> None:
    ours = plain = 0
    for path in SAMPLE:
        image = Image.open(path).convert("RGB")
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95, subsampling=0)
        plain += len(buffer.getvalue())
        ours += len(encode_jpeg(np.asarray(image)))
    assert ours < 1.03 * plain


def test_a_band_is_a_multiple_of_a_block() -> None:
    for rows in (0, 7, 12):
        with pytest.raises(ValueError, match=rf"^band_rows={rows}: must be a positive multiple of 8\.$"):
            encode_jpeg(picture(1), rows)


def test_damage_is_reported_with_band_and_byte() -> None:
    file = encode_jpeg(picture(3, 200, 100))
    bands = ggt100k.read_bands(file)
    assert bands is not None
    at = bands.offsets[2] + 9
    bad = file[:at] + bytes([file[at] ^ 2]) + file[at + 1 :]
    said = f"image: band 2, byte {bands.offsets[2]}: the checksum is wrong. Download the shard again."
    with pytest.raises(ShardError) as fault:
        ggt100k.decode_bands(bad[bands.offsets[1] : bands.offsets[3]], bands, 100, 0, 50, 50, "image")
    assert str(fault.value) == said
    for check in (ggt100k.decode_image, check_jpeg):
        with pytest.raises(
            ShardError, match=rf"byte {bands.offsets[2]}: the checksum is wrong\. Download the shard again\.$"
        ):
            check(bad, "image")
    with pytest.raises(ShardError, match=r"is not a banded JPEG\. Pack the release again\.$"):
        check_jpeg(encode_png(picture(1)), "image")
    with pytest.raises(ShardError, match="its last band does not end at the end of the image"):
        check_jpeg(file + b"more", "image")


def test_any_flipped_bit_of_the_header_is_detected() -> None:
    file = encode_jpeg(picture(3, 100, 100))
    bands = ggt100k.read_bands(file)
    assert bands is not None
    whole = pillow(file)
    for at in range(bands.offsets[0]):
        bad = file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :]
        try:
            again = ggt100k.read_bands(bad, "image")
        except ShardError:
            continue
        assert again is None, f"byte {at}: it says that it is banded, and is not what was packed"
        with pytest.raises(ShardError):
            check_jpeg(bad, "image")
    assert np.array_equal(ggt100k.decode_image(file), whole)


# --- a dataset of it ------------------------------------------------------------------------------------------------


def test_plain_readers_read_the_jpeg_dataset(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6, codec="jpeg")
    assert list(validate(str(root))) == []
    assert json.loads((root / ggt100k.MANIFEST).read_text())["codec"] == "jpeg"
    ours = {p["key"]: p for p in ggt100k.load_dataset(data_dir=str(root), split="train", streaming=True)}
    plain = datasets.load_dataset(str(root), split="train", cache_dir=str(tmp_path / "cache"))
    assert plain.column_names == ["json", "lq.jpg", "gt.jpg", "__key__", "__url__"]
    shards = sorted(map(str, root.glob("data/*/train-*.tar")))
    by_webdataset = {s["__key__"]: s for s in webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")}
    assert len(ours) == len(plain) == len(by_webdataset) == 5
    for row in plain:
        key = row["__key__"]
        for name in ("lq", "gt"):
            assert np.array_equal(np.asarray(ours[key][name]), np.asarray(row[f"{name}.jpg"]))
            assert np.array_equal(np.asarray(ours[key][name]), by_webdataset[key][f"{name}.jpg"])


def test_keys_and_splits_equal_those_of_png(tmp_path: Path) -> None:
    tables = []
    for codec in ("png", "jpeg"):
        root = make_dataset(tmp_path / codec, count=6, codec=codec)
        tables.append({s: ggt100k.index(root, s, columns=["key", "degradation"]).to_pylist() for s in ggt100k.SPLITS})
    assert tables[0] == tables[1]


def test_a_pair_whose_key_is_not_its_pixels_is_not_packed(tmp_path: Path) -> None:
    store = Store()
    pair = make_pair(store, 0, key="0" * 16)
    with pytest.raises(PairError, match="is not the digest of its LQ pixels"):
        pack([pair], store, tmp_path / "out", PackConfig(codec="jpeg"), gate=GATE)


def test_validate_finds_a_flipped_bit_of_a_jpeg_without_the_shards_hash(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=1, degradations=["rain"], test=0.0, codec="jpeg")
    (row,) = ggt100k.index(root).to_pylist()
    at = row["gt_offset"] + row["gt_size"] // 2
    change_shard(root, lambda data: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    assert [finding.reason for finding in validate(str(root))] == ["damaged_image"]
