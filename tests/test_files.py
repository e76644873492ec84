"""files: names, texts, folders, tars and zips from outside, by the faults that users report."""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import itertools
import json
import lzma
import os
import struct
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_format import pair_key
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import tars, zips
from ggt_tools.files.blobs import FileBlob
from ggt_tools.files.folders import find_images, read_file
from ggt_tools.files.names import NameIndex, clean_name
from ggt_tools.files.passed_over import PassedOver, merge
from ggt_tools.files.rows import RowFiles
from ggt_tools.files.texts import decode_text
from ggt_tools.policy.labels import read_labels
from ggt_tools.providers.fetch import FetchConfig
from ggt_tools.providers.protocol import Setting
from ggt_tools.restorers import restorer
from ggt_tools.stages import evaluate
from ggt_tools.stages.adopt.datasets import list_by_dataset
from ggt_tools.stages.adopt.image_source import open_image_source
from ggt_tools.stages.adopt.layouts import list_by_name, list_by_suffix
from ggt_tools.stages.adopt.lists import list_by_meta_info, list_by_metadata
from ggt_tools.stages.adopt.matching import match
from ggt_tools.stages.adopt.sets import SETS
from ggt_tools.stages.evaluate import find_outputs
from ggt_tools.stages.ingest import is_imported
from ggt_tools.stages.ingest.archives import from_tar
from ggt_tools.stages.ingest.lists import from_dataset, from_list
from ggt_tools.stages.ingest.sources import SourceFile, from_folder
from ggt_tools.toml import read_toml

from .hub import Hub
from .making import picture, run_python
from .test_adopt import encoded

PNG = encoded(picture(1, 64, 64))


def nfc(text: str) -> str:
    return normalize("NFC", text)


def nfd(text: str) -> str:
    return normalize("NFD", text)


def put(root: Path, *names: str, data: bytes = b"x") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def reasons(found: list[SourceFile]) -> dict[str, str]:
    return {one.name: one.fault.reason if one.fault else "" for one in found}


# --- tars that end early, are damaged, or hold several members of a stream ------------------------------------------


def tar_of(*members: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


TWO = tar_of(("a.png", b"a" * 700), ("b.png", b"b" * 700))  # headers at 0 and 1536, the end at 3072
THREE = tar_of(("a.png", b"a" * 700), ("b.png", b"b" * 700), ("c.png", b"c" * 700))
PACKS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}


def damaged(data: bytes, at: int, by: bytes = b"\xff") -> bytes:
    return data[:at] + by + data[at + len(by) :]


@pytest.mark.parametrize(
    ("data", "said", "last"),
    [
        (TWO[:3072], "the blocks of zeros are missing that end a tar", "b.png"),
        (TWO[:1536], "the blocks of zeros are missing that end a tar", "a.png"),
        (TWO[:3072] + bytes(100), "the blocks of zeros are missing that end a tar", "b.png"),
        (TWO[:1700], "the blocks of zeros are missing that end a tar", "a.png"),
        (TWO[:1400], "unexpected end of data", ""),
        (TWO[:2100], "unexpected end of data", "a.png"),
        (damaged(TWO, 1600), "the header at byte 1536 is damaged: bad checksum", "a.png"),
        (damaged(THREE, 3072 + 148, b"0000000\0"), "the header at byte 3072 is damaged: bad checksum", "b.png"),
        (damaged(TWO, 4096), "the bytes after its end at byte 3072 are not a tar", "b.png"),
        (damaged(TWO, 3), "the header at byte 0 is damaged: bad checksum", ""),
        *((pack(TWO)[:-6], None, "b.png") for pack in (gzip.compress,)),
        *((pack(TWO)[:-20], None, None) for pack in (lzma.compress, bz2.compress)),
        (damaged(gzip.compress(TWO), len(gzip.compress(TWO)) - 8), "CRC check failed", "b.png"),
        (gzip.compress(TWO[:1536]), "the blocks of zeros are missing that end a tar", "a.png"),
        (gzip.compress(TWO[:3000]) + gzip.compress(TWO[3000:])[:-30], None, None),
        (lzma.compress(TWO[:1536]) + damaged(lzma.compress(TWO[1536:]), 0), None, "a.png"),
        (bz2.compress(TWO[:1536]) + b"no bzip2", None, "a.png"),
        (gzip.compress(TWO) + b"more", None, "b.png"),
    ],
)
def test_a_truncated_tar_names_the_last_good_member(
    tmp_path: Path, data: bytes, said: str | None, last: str | None
) -> None:
    path = tmp_path / "photos.tar"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as fault:
        from_tar(path)
    text = str(fault.value)
    assert text.startswith(f"{path}: the file cannot be read as a tar: {said or ''}")
    if last is not None:
        where = f"the last complete member is {last!r}" if last else "no member is complete"
        assert text.endswith(f"; {where}. Fetch it again.")


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("cuts", [(), (512,), (1000, 3000), (3072,)])
def test_every_member_of_a_compressed_stream_is_read(tmp_path: Path, pack: str, cuts: tuple[int, ...]) -> None:
    """pigz, bgzip, pixz and `cat a.tar.gz b.tar.gz` write several members; Python's tarfile reads the first."""
    edges = (0, *cuts, len(THREE))
    parts = [THREE[start:end] for start, end in itertools.pairwise(edges)]
    path = tmp_path / f"photos.tar.{pack}"
    path.write_bytes(b"".join(map(PACKS[pack], parts)))
    source = from_tar(path)
    assert (source.count, [one.data[:1] for one in source.files]) == (3, [b"a", b"b", b"c"])


@pytest.mark.parametrize(
    "data",
    [
        TWO + tar_of(("c.png", b"c")),
        gzip.compress(TWO) + gzip.compress(tar_of(("c.png", b"c"))),
        TWO[: 3072 + 512] + tar_of(("c.png", b"c")),
        lzma.compress(TWO) + bytes(8) + lzma.compress(tar_of(("c.png", b"c"))),
    ],
)
def test_tars_behind_one_another_are_all_read(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "photos.tar"
    path.write_bytes(data)
    assert [one.name for one in from_tar(path).files] == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize("data", [TWO[: 3072 + 512], TWO[: 3072 + 1024], TWO, TWO + bytes(100_000), TWO + bytes(100)])
def test_any_number_of_zero_blocks_ends_a_tar(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "photos.tar").write_bytes(data)
    assert from_tar(tmp_path / "photos.tar").count == 2


FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = {tarfile.USTAR_FORMAT: f"{'x' * 90}/y.png"}  # a name that takes headers of its own in the two others


def members(data: bytes) -> list[tuple[str, bytes]]:
    tar = tars.Tar(io.BytesIO(data), "x.tar")
    return [(member.name, tar.read(member)) for member in tar]


@pytest.mark.parametrize("form", FORMATS)
def test_a_tar_truncated_anywhere_is_detected(form: int) -> None:
    content = [("a.png", b"a" * 700), (LONG.get(form, f"{'x' * 90}/{'é' * 40}.png"), b"b" * 600), ("c.png", b"")]
    whole = tar_of(*content, form=form)
    assert members(whole) == content
    blocks = [at for at in range(0, len(whole), 512) if any(whole[at : at + 512])]
    for cut in range(1, blocks[-1] + 513):
        with pytest.raises(ConfigError):
            members(whole[:cut])
    for at in (at + offset for at in blocks if whole[at + 257 : at + 262] == b"ustar" for offset in range(0, 512, 3)):
        with pytest.raises(ConfigError):
            members(damaged(whole, at, bytes([whole[at] ^ 0x55])))


@given(st.lists(st.binary(max_size=2000), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_a_stream_truncated_anywhere_is_detected(contents: list[bytes], data: st.DataObject) -> None:
    whole = tar_of(*((f"{n}.png", content) for n, content in enumerate(contents)))
    split = data.draw(st.integers(0, len(whole)))
    pack = data.draw(st.sampled_from(list(PACKS.values())))
    packed = pack(whole[:split]) + pack(whole[split:])
    assert [content for _, content in members(packed)] == contents
    with pytest.raises(ConfigError):
        members(packed[: data.draw(st.integers(len(pack(whole[:split])) + 1, len(packed) - 1))])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-30], "the file is not a zip, or its end is missing"),
        (
            lambda data: data + data,
            "the zip begins with {size} bytes of another zip, whose members are not in the list",
        ),
        (
            lambda data: data[:-18] + b"\1\0" + data[-16:],
            "the zip is the last of several parts. Join them: zip -s 0 x.zip",
        ),
        (lambda data: data[100:], "the first 100 bytes of the zip are missing. Fetch it again."),
    ],
)
def test_incomplete_zips_are_errors(tmp_path: Path, change: Callable[[bytes], bytes], said: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", PNG)
    data = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(change(data))
    with pytest.raises(ConfigError) as fault:
        open_image_source(tmp_path / "x.zip")
    assert str(fault.value).startswith(f"{tmp_path / 'x.zip'}: {said.format(size=len(data))}")


def test_a_self_extracting_program_is_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.png", PNG)
    (tmp_path / "x.zip").write_bytes(b"#!/bin/sh\n" + (tmp_path / "x.zip").read_bytes())
    assert open_image_source(tmp_path / "x.zip").read("a.png") == PNG


@pytest.mark.parametrize("verb", ["ingest", "adopt"])
@pytest.mark.parametrize("cut", [3072, 2100, 1536, 3072 + 100])
def test_a_truncated_webdataset_is_detected(tmp_path: Path, verb: str, cut: int) -> None:
    """`datasets` reads it as `tarfile` does."""
    (tmp_path / "d").mkdir()
    data = tar_of(*((f"{n}.{side}.png", PNG[:700].ljust(700)) for n in range(2) for side in ("lq", "gt")))
    whole, damage = data[: 4 * 1536], data[4 * 1536 :]
    (tmp_path / "d" / "train.tar").write_bytes((whole + damage) if not cut else data[: 1536 * 2 + cut])
    with pytest.raises(ConfigError) as fault:
        if verb == "ingest":
            list(from_dataset(str(tmp_path / "d"), "lq.png").files)
        else:
            list(list_by_dataset(str(tmp_path / "d"), ["lq", "gt"]).pairs)
    assert str(fault.value).startswith(f"{tmp_path / 'd' / 'train.tar'}: the file cannot be read as a tar: ")


def test_samples_of_a_webdataset_are_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    members = [(f"./{n}.{end}", PNG) for n in range(3) for end in ("lq.png", "gt.png")]
    (tmp_path / "d" / "train-0.tar").write_bytes(tar_of(*members[:4], (".hidden.png", b"")))
    (tmp_path / "d" / "train-1.tar").write_bytes(tar_of(*members[4:]))
    assert [one.data for one in from_dataset(str(tmp_path / "d"), "lq.png").files] == [PNG] * 3
    pairs = list(list_by_dataset(str(tmp_path / "d"), []).pairs)
    assert [(pair.name, pair.lq(), pair.gt()) for pair in pairs] == [(f"d/{n}", PNG, PNG) for n in range(3)]


# --- files that are too large ----------------------------------------------------------------------------------------


def huge(path: Path, size: int = 4 << 30) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x89PNG")
        file.truncate(size)  # a sparse file: it takes no space
    return path


def _in_folder(root: Path) -> str:
    huge(root / "p" / "a.png")
    (found,) = from_folder(root / "p").files
    return reasons([found])["a.png"]


def _in_tar(root: Path) -> str:
    info = tarfile.TarInfo("a.png")
    info.size = 4 << 30
    with (root / "x.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + (4 << 30) + 1024)
    (found,) = from_tar(root / "x.tar").files
    return reasons([found])["a.png"]


def _in_zip(root: Path) -> str:
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        archive.writestr("a.png", PNG)
    data = bytearray((root / "x.zip").read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 3 << 30, 3 << 30)
    (root / "x.zip").write_bytes(data)
    return open_image_source(root / "x.zip").refused["a.png"].reason


def _adopted(root: Path) -> str:
    huge(root / "p" / "a.png")
    return _reason(lambda: open_image_source(root / "p").read("a.png"))


def _restored(root: Path) -> str:
    image = picture(1, 40, 50)
    huge(root / "p" / f"{pair_key(image)}.png")
    return _reason(lambda: restorer(f"folder:{root / 'p'}", Setting()).restore(image, "", seed=0))


def _evaluated(root: Path) -> str:
    return _reason(lambda: evaluate.read_output(huge(root / "a.png"), (64, 64, 3)))


def _of_a_row(root: Path) -> str:
    huge(root / "p" / "a.png")
    return _reason(lambda: RowFiles(folder=root / "p").read({"bytes": None, "path": "a.png"}, "row 1"))


def _of_a_sample(root: Path) -> str:
    info = tarfile.TarInfo("a.png")
    info.size = 4 << 30
    with (root / "x.tar").open("wb") as file:
        file.write(tar_of(("0.png", PNG))[: 512 + len(PNG) + -len(PNG) % 512] + info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(file.tell() + (4 << 30) + 1024)
    from ggt_tools.files.rows import read_tar_rows

    *_, row = read_tar_rows([str(root / "x.tar")], ["png"])
    return _reason(lambda: RowFiles().read(row["png"], "row 1"))


def _reason(do: Callable[[], object]) -> str:
    with pytest.raises(PairError) as fault:
        do()
    return fault.value.reason


@pytest.mark.parametrize(
    "way", [_in_folder, _in_tar, _in_zip, _adopted, _restored, _evaluated, _of_a_row, _of_a_sample]
)
def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, way: Callable[[Path], str]) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        assert way(tmp_path) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_file(tmp_path / "a", "a", max_bytes=5) == b"12345"
    with pytest.raises(PairError) as fault:
        read_file(tmp_path / "a", "a", max_bytes=4)
    assert str(fault.value) == "a: the file has 5 bytes, above 4. Leave it out."
    assert _reason(lambda: read_file(tmp_path / "b", "b")) == "unreadable"


# --- lists with a byte order mark, in subfolders, with ./ ------------------------------------------------------------

MARKS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]
TABLE = "file,licence\na.png,CC0-1.0\n"


@pytest.mark.parametrize("encoding", MARKS)
@pytest.mark.parametrize("reader", ["folder", "tar", "list", "labels", "toml", "map", "metadata", "manifest"])
def test_lists_are_read_with_any_byte_order_mark(tmp_path: Path, reader: str, encoding: str) -> None:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return path

    if reader == "folder":
        write("p/credits.csv", TABLE)
        (found,) = from_folder(put(tmp_path / "p", "a.png")).files
        assert found.credit.licence == "CC0-1.0"
    elif reader == "tar":
        (tmp_path / "x.tar").write_bytes(tar_of(("a.png", b"x"), ("credits.csv", TABLE.encode(encoding))))
        (found,) = from_tar(tmp_path / "x.tar").files
        assert found.credit.licence == "CC0-1.0"
    elif reader == "list":
        path = write("list.jsonl", '{"url": "http://localhost/a.png", "licence": "MIT"}\n\n')
        source = from_list(path, FetchConfig(), lambda name, credit: False, has_licence=True, dry_run=True)
        assert [(one.name, one.credit.licence) for one in source.files] == [("http://localhost/a.png", "MIT")]
    elif reader == "labels":
        for name, text in (("l.csv", "candidate,decision\r\nx,keep\r\n"), ("l.jsonl", '{"key":"k","decision":"keep"}')):
            assert [each.candidate for each in read_labels(write(name, text), {"x": "k"}).labels] == ["x"]
    elif reader == "toml":
        assert read_toml(write("gate.toml", 'a = "b"\r\n')) == {"a": "b"}
    elif reader == "map":
        place = open_image_source(put(tmp_path / "p", "a.png"))
        path = write("map.csv", "original,output\na.png,a.png\n")
        assert list_by_name(place, place, SETS["gpt4o-restore/lol"], map_path=path).count == 1
    elif reader == "metadata":
        path = write("metadata.jsonl", '{"lq_file_name": "a.png", "gt_file_name": "b.png"}')
        assert list_by_metadata(open_image_source(put(tmp_path / "p", "a.png", "b.png")), path, []).count == 1
    else:
        write("p/manifest.jsonl", '{"key": "0123456789abcdef", "result": "a.png"}\n')
        maker = restorer(f"folder:{put(tmp_path / 'p', 'a.png')}", Setting())
        assert list(maker.results) == ["0123456789abcdef"]  # type: ignore[attr-defined]


@given(st.text(), st.sampled_from(MARKS))
def test_a_text_is_read_without_its_byte_order_mark(text: str, encoding: str) -> None:
    try:
        data = text.encode(encoding)
    except UnicodeEncodeError:
        return
    if encoding == "utf-8" and data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return  # such a text has a mark of its own
    assert decode_text(data) == text


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("tables", "licences"),
    [
        ({"credits.csv": "./a.png,MIT"}, {"a.png": "MIT"}),
        ({"rain/credits.csv": "b.png,MIT"}, {"rain/b.png": "MIT"}),
        ({"rain/credits.csv": "rain/b.png,MIT"}, {"rain/b.png": "MIT"}),
        ({"rain/credits.csv": "a.png,MIT"}, {}),
        ({"credits.csv": "rain/b.png,MIT", "rain/credits.csv": "b.png,0BSD"}, {"rain/b.png": "0BSD"}),
        ({"rain/deep/credits.csv": ".//c.png,MIT", "credits.csv": "rain//deep/c.png,0BSD"}, {"rain/deep/c.png": "MIT"}),
        ({"@eaDir/credits.csv": "a.png,MIT", ".git/credits.csv": "../a.png,MIT"}, {}),
    ],
)
def test_credits_apply_to_their_folder(
    tmp_path: Path, packed: bool, tables: dict[str, str], licences: dict[str, str]
) -> None:
    root = put(tmp_path / "p", "a.png", "rain/b.png", "rain/deep/c.png")
    for name, line in tables.items():
        put(root, name, data=f"file,licence\n{line}\n".encode())
    if packed:
        members = [(f"./{path.relative_to(root).as_posix()}", path) for path in sorted(root.rglob("*"))]
        (tmp_path / "x.tar").write_bytes(tar_of(*((name, p.read_bytes()) for name, p in members if p.is_file())))
    found = (from_tar(tmp_path / "x.tar") if packed else from_folder(root)).files
    assert {one.name: one.credit.licence for one in found if one.credit.licence} == licences


@pytest.mark.parametrize("packed", [False, True])
def test_credits_of_missing_files_are_named(tmp_path: Path, packed: bool, caplog: pytest.LogCaptureFixture) -> None:
    names = ["a.png", "film.mp4", "typo.pgn", *(f"{n}.png" for n in range(5))]
    table = "file,licence\n" + "".join(f"{name},MIT\n" for name in names)
    root = put(tmp_path / "p", "a.png", "film.mp4")
    put(root, "credits.csv", data=table.encode())
    if packed:
        contents = (("a.png", b"x"), ("film.mp4", b"x"), ("credits.csv", table.encode()))
        root = tmp_path / "x.tar"
        root.write_bytes(tar_of(*contents))
    source = from_tar(root) if packed else from_folder(root)
    assert [one.credit.licence for one in source.files] == ["MIT"]
    said = "6 of the listed files do not exist: typo.pgn, 0.png, 1.png, 2.png, 3.png and 1 more"
    assert caplog.messages == [f"{root}/credits.csv: {said}"]


def test_two_lines_for_the_same_photograph_are_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    put(tmp_path, "credits.csv", data=b"file,licence\na.png,MIT\n./a.png,0BSD\n")
    with pytest.raises(ConfigError) as fault:
        from_folder(tmp_path)
    said = "'a.png' and './a.png' are the same file. Remove one of the lines."
    assert str(fault.value) == f"{tmp_path}/credits.csv: {said}"


@pytest.mark.parametrize("name", ["./a.png", ".//a.png", "./././a.png"])
def test_names_with_a_leading_dot_slash_are_matched(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(name, PNG)
        archive.writestr(name.replace("a.png", "b.png"), PNG)
    place = open_image_source(tmp_path / "x.zip")
    assert place.names == ("a.png", "b.png") and place.read("a.png") == PNG
    (tmp_path / "map.csv").write_text(f"original,output\n{name},{name}\n")
    assert [
        pair.lq() for pair in list_by_name(place, place, SETS["gpt4o-restore/lol"], map_path=tmp_path / "map.csv").pairs
    ]
    (tmp_path / "meta.txt").write_text(f"{name} (64,64,3)\n")
    assert [pair.name for pair in list_by_meta_info(tmp_path / "meta.txt", place, place).pairs] == ["a.png"]
    (tmp_path / "m.jsonl").write_text(json.dumps({"lq_file_name": name, "gt_file_name": "b.png"}))
    assert [pair.gt() for pair in list_by_metadata(place, tmp_path / "m.jsonl", []).pairs] == [PNG]
    out = put(tmp_path / "out", "a.png")
    put(out, "manifest.csv", data=f"file,result\n{name},{name}\n".encode())
    maker = restorer(f"folder:{out}", Setting(names={"k": "a.png"}))
    assert list(maker.results) == ["k"]  # type: ignore[attr-defined]


@given(st.text(alphabet="a/."))
def test_a_clean_name_is_clean(name: str) -> None:
    clean = clean_name(name)
    assert clean_name(clean) == clean and clean.startswith("/") == name.startswith("/")
    assert [part for part in clean.split("/") if part] == [part for part in name.split("/") if part not in ("", ".")]


# --- names in two Unicode forms ---------------------------------------------------------------------------------------

WORDS = ["café", "Müller", "Ångström", "Señor", "ガラス", "한국어"]


def _in_credits(root: Path, here: str, there: str) -> bool:
    put(root, f"{here}.png")
    put(root, "credits.csv", data=f"file,licence\n{there}.png,MIT\n".encode())
    return [one.credit.licence for one in from_folder(root).files] == ["MIT"]


def _in_a_tar(root: Path, here: str, there: str) -> bool:
    table = f"file,licence\n{there}.png,MIT\n".encode()
    (root / "x.tar").write_bytes(tar_of((f"{here}/{here}.png", b"x"), (f"{here}/credits.csv", table)))
    return [one.credit.licence for one in from_tar(root / "x.tar").files] == ["MIT"]


def _matched(root: Path, here: str, there: str) -> bool:
    return match([f"{here}/{here}_output.png"], [f"{there}/{there}.png"]).pairs == (
        (f"{here}/{here}_output.png", f"{there}/{there}.png"),
    )


def _by_suffix(root: Path, here: str, there: str) -> bool:
    place = open_image_source(put(root / "p", f"{here}_lq.png", f"{there}_gt.png"))
    return [(pair.name, pair.output) for pair in list_by_suffix(place, ["_lq", "_gt"]).pairs] == [
        (f"{here}_lq.png", f"{there}_gt.png")
    ]


def _by_suffix_of_letters(root: Path, here: str, there: str) -> bool:
    place = open_image_source(put(root / "p", f"1_{here}.png", "1_gt.png"))
    return list_by_suffix(place, [f"_{there}", "_gt"]).count == 1


def _by_map(root: Path, here: str, there: str) -> bool:
    place = open_image_source(put(root / "p", f"{here}.png"))
    (root / "map.csv").write_text(f"original,output\n{there}.png,{there}.png\n", encoding="utf-8")
    return list_by_name(place, place, SETS["gpt4o-restore/lol"], map_path=root / "map.csv").count == 1


def _by_meta_info(root: Path, here: str, there: str) -> bool:
    originals, outputs = (
        open_image_source(put(root / "a", f"{here}.png")),
        open_image_source(put(root / "b", f"x/{there}.png")),
    )
    (root / "meta.txt").write_text(f"x/{here}.png (9,9,3)\n", encoding="utf-8")
    pairs = list_by_meta_info(root / "meta.txt", originals, outputs).pairs
    return [(pair.name, pair.output, pair.gt()) for pair in pairs] == [(f"{here}.png", f"x/{there}.png", b"x")]


def _by_metadata(root: Path, here: str, there: str) -> bool:
    place = open_image_source(put(root / "p", f"{here}.png", f"{here}2.png"))
    (root / "m.jsonl").write_text(json.dumps({"lq_file_name": f"{there}.png", "gt_file_name": f"{there}2.png"}))
    return [(pair.lq(), pair.gt()) for pair in list_by_metadata(place, root / "m.jsonl", []).pairs] == [(b"x", b"x")]


def _results(root: Path, here: str, there: str) -> bool:
    maker = restorer(f"folder:{put(root / 'r', f'{there}/{there}.png')}", Setting(names={"k": f"{here}/{here}.jpg"}))
    return list(maker.results) == ["k"]  # type: ignore[attr-defined]


def _results_without_folders(root: Path, here: str, there: str) -> bool:
    maker = restorer(f"folder:{put(root / 'r', f'{there}.png')}", Setting(names={"k": f"{here}/{here}.jpg"}))
    return list(maker.results) == ["k"]  # type: ignore[attr-defined]


def _results_of_a_manifest(root: Path, here: str, there: str) -> bool:
    out = put(root / "r", f"{there}.png")
    put(out, "manifest.csv", data=f"file,result\n{there}.jpg,{here}.png\n".encode())
    maker = restorer(f"folder:{out}", Setting(names={"k": f"{here}.jpg"}))
    return list(maker.results) == ["k"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("forms", [(nfc, nfd), (nfd, nfc)])
@pytest.mark.parametrize(
    "way",
    [
        *(_in_credits, _in_a_tar, _matched, _by_suffix, _by_suffix_of_letters, _by_map, _by_meta_info, _by_metadata),
        *(_results, _results_without_folders, _results_of_a_manifest),
    ],
)
def test_unicode_forms_of_a_name_are_equal(
    tmp_path: Path, way: Callable[[Path, str, str], bool], forms: tuple[Callable[[str], str], ...], word: str
) -> None:
    here, there = (form(word) for form in forms)
    assert here != there and way(tmp_path, here, there)


@pytest.mark.parametrize("word", WORDS)
def test_a_photograph_is_recognised_in_both_unicode_forms(word: str) -> None:
    names = {hashlib.sha256(b"x").hexdigest(): f"{nfc(word)}.png"}
    assert is_imported(SourceFile(name=f"{nfd(word)}.png", data=b"x"), names)
    assert not is_imported(SourceFile(name=f"{nfd(word)}2.png", data=b"x"), names)
    assert not is_imported(SourceFile(name=f"{nfd(word)}.png", data=b"y"), names)


def test_files_that_differ_only_in_unicode_form_stay_separate(tmp_path: Path) -> None:
    names = [f"{nfc('é')}.png", f"{nfd('é')}.png"]
    index = NameIndex(names)
    assert [index.find(name) for name in names] == names
    assert NameIndex([f"./{names[0]}", names[1]]).find(f".//{names[0]}") is None, "it may be either"
    assert match(names, names).pairs == tuple((name, name) for name in sorted(names))
    assert match([names[0]], [f"a/{names[1]}", f"a/{names[0]}"]).pairs == ()
    four = [f"{form('é')}_{side}.png" for form in (nfc, nfd) for side in ("lq", "gt")]
    pairs = list_by_suffix(open_image_source(put(tmp_path / "p", *four)), ["_lq", "_gt"]).pairs
    assert sorted((pair.name, pair.output) for pair in pairs) == sorted([(four[0], four[1]), (four[2], four[3])])
    three = list_by_suffix(open_image_source(put(tmp_path / "q", four[0], four[1], four[3])), ["_lq", "_gt"])
    assert [(pair.name, pair.output) for pair in three.pairs] == [(four[0], four[1])]
    maker = restorer(
        f"folder:{put(tmp_path / 'r', *names)}", Setting(names={"a": f"{nfc('é')}.jpg", "b": f"{nfd('é')}.jpg"})
    )
    assert {key: path.name for key, path in maker.results.items()} == {"a": names[0], "b": names[1]}  # type: ignore[attr-defined]
    maker = restorer(
        f"folder:{put(tmp_path / 's', names[1])}", Setting(names={"a": f"{nfc('é')}.jpg", "b": f"{nfd('é')}.jpg"})
    )
    assert list(maker.results) == ["b"]  # type: ignore[attr-defined]


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=1))
def test_an_index_finds_each_name_in_each_form(name: str) -> None:
    name = clean_name(name.replace("\0", "")) or "x"
    index = NameIndex([name, "other"])
    assert index.find(name) == index.find(f"./{name}" if name[0] != "/" else name) == name
    assert index.find(nfc(name)) in (name, "other") and index.find(nfd(name)) in (name, "other")


def test_an_index_finds_names_of_windows_and_of_tables_typed_by_hand() -> None:
    index = NameIndex(["a/b.png", "c\\d.png", " e.png"])
    assert [index.find(name) for name in ("a\\b.png", ".\\a\\b.png", " a/b.png ")] == ["a/b.png"] * 3
    assert [index.find(name) for name in ("c\\d.png", " e.png", "e.png")] == ["c\\d.png", " e.png", None]
    assert [index.find(name) for name in ("", " ", "\\")] == [None] * 3


def test_a_table_of_windows_credits_files_in_subfolders(tmp_path: Path) -> None:
    put(tmp_path, "a/b.png", "c.png")
    (tmp_path / "credits.csv").write_text("file,licence\na\\b.png,CC0-1.0\n c.png,CC0-1.0\n")
    assert {each.name: each.credit.licence for each in from_folder(tmp_path).files} == {
        "a/b.png": "CC0-1.0", "c.png": "CC0-1.0",
    }  # fmt: skip


def zip_of(path: Path, *names: bytes, flag: bool = False) -> Path:
    """A zip whose members have these bytes for names, with or without the flag that says UTF-8."""
    with zipfile.ZipFile(path, "w") as archive:
        for n, name in enumerate(names):
            archive.writestr("x" * (len(name) - 1) + str(n), PNG)
    data = path.read_bytes()
    for n, name in enumerate(names):
        data = data.replace(b"x" * (len(name) - 1) + str(n).encode(), name)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        *((nfd(word).encode() + b".png", f"{nfd(word)}.png") for word in WORDS[:3]),
        ("Übung/写真.jpg".encode(), "Übung/写真.jpg"),
        ("naïve.webp".encode("cp437"), "naïve.webp"),
        ("Größe.png".encode("cp437"), "Größe.png"),
        (b"plain.png", "plain.png"),
    ],
)
def test_names_of_zips_without_the_utf8_flag(tmp_path: Path, stored: bytes, name: str) -> None:
    place = open_image_source(zip_of(tmp_path / "x.zip", stored))
    assert place.names == (name,) and place.read(name) == PNG
    originals = open_image_source(put(tmp_path / "o", nfc(name)))
    assert [pair.output for pair in list_by_name(place, originals, SETS["gpt4o-restore/lol"]).pairs] == [name]


@given(st.from_regex(r"[a-zé写ガ]{1,8}\.png", fullmatch=True))
@settings(deadline=None)
def test_zips_written_by_python_round_trip(name: str) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x")
    assert zips.ImageZip(FileBlob(file, "x.zip"), "x.zip").names == (name,)


# --- what is passed over ----------------------------------------------------------------------------------------------

TREE = (
    *("a.jpg", "b.jfif", "c.JPE", "d.mpo", "deep/e.png"),
    *(f"{n}.gif" for n in range(18)), "x.jp2", "y.JP2", "README",
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "deep/.thumbnails/e.png", "__MACOSX/._a.jpg", ".git/x.png",
    "deep/thumbs/e.png", "._a.jpg", ".hidden.png", "deep/.DS_Store",
)  # fmt: skip
TAKEN = ["a.jpg", "b.jfif", "c.JPE", "d.mpo", "deep/e.png"]
PASSED = {
    ".gif": 18,
    ".jp2": 2,
    "no suffix": 1,
    "hidden_file": 3,
    "hidden_folder: .git, __MACOSX": 2,
    "thumbnail_folder: @eaDir, deep/.thumbnails, deep/thumbs": 3,
}


def _folder_tree(root: Path) -> tuple[list[str], Counter[str]]:
    source = from_folder(put(root / "p", *TREE))
    return [one.name for one in source.files], source.passed_over.lines()


def _tar_tree(root: Path) -> tuple[list[str], Counter[str]]:
    (root / "x.tar").write_bytes(tar_of(*((f"./{name}", b"x") for name in TREE)))
    source = from_tar(root / "x.tar")
    return sorted(one.name for one in source.files), source.passed_over.lines()


def _zip_tree(root: Path) -> tuple[list[str], Counter[str]]:
    with zipfile.ZipFile(root / "x.zip", "w") as archive:
        for name in TREE:
            archive.writestr(name, b"x")
    place = open_image_source(root / "x.zip")
    return list(place.names), place.passed_over.lines()


def _place_tree(root: Path) -> tuple[list[str], Counter[str]]:
    place = open_image_source(put(root / "p", *TREE))
    return sorted(place.names), place.passed_over.lines()


def _pairs_tree(root: Path) -> tuple[list[str], Counter[str]]:
    originals, outputs = open_image_source(put(root / "p", *TREE)), open_image_source(put(root / "q", *TAKEN))
    listing = list_by_name(outputs, originals, SETS["gpt4o-restore/lol"])
    return sorted(pair.name for pair in listing.pairs), listing.passed_over.lines()


@pytest.mark.parametrize("way", [_folder_tree, _tar_tree, _zip_tree, _place_tree, _pairs_tree])
def test_ignored_files_are_counted_and_named(
    tmp_path: Path, way: Callable[[Path], tuple[list[str], Counter[str]]]
) -> None:
    taken, passed = way(tmp_path)
    assert (taken, dict(passed)) == (TAKEN, PASSED)


def test_links_and_special_files_are_named(tmp_path: Path) -> None:
    root = put(tmp_path / "p", "a.png")
    put(tmp_path / "real", "b.png")
    (root / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    (root / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "c.png").symlink_to(tmp_path / "real" / "b.png")
    os.mkfifo(root / "pipe.png")  # reading it would wait for ever
    source = from_folder(root)
    assert [one.name for one in source.files] == ["a.png", "c.png"]
    assert dict(source.passed_over.lines()) == {
        "linked_folder: linked, loop": 2,
        "broken_link: gone.png": 1,
        "special_file": 1,
    }
    assert find_images(root, links=False).passed_over.lines()["link: c.png, gone.png"] == 2


def test_links_in_a_tar_are_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("a.png", tarfile.REGTYPE), ("b.png", tarfile.SYMTYPE), ("c.png", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.png"
            tar.addfile(info)
    assert dict(from_tar(tmp_path / "x.tar").passed_over.lines()) == {"link: b.png, c.png": 2}


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """In a process of its own, which gives up root's right to read everything."""
    # pytest's own folders may be entered by their owner alone
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        _cannot_be_read(Path(place) / "p", tmp_path)


def _cannot_be_read(root: Path, tmp_path: Path) -> None:
    put(root, "a.png", "locked/b.png", "deep/locked/c.png", "half/d.png")
    for path in (root / "locked", root / "deep" / "locked"):
        path.chmod(0)
    (root / "half").chmod(0o444)  # its names may be read, its files not
    program = f"""
import os
from pathlib import Path
from ggt_tools.stages.ingest.sources import from_folder
from ggt_tools.stages.adopt.image_source import open_image_source
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
source = from_folder(Path({str(root)!r}))
print([(one.name, one.fault.reason if one.fault else "") for one in source.files])
print(dict(source.passed_over.lines()))
print(source.faults == open_image_source(Path({str(root)!r})).faults, *source.faults, sep="\\n")
"""
    try:
        done = run_python(program, tmp_path / "run")
    finally:
        for path in (root / "locked", root / "deep" / "locked", root / "half"):
            path.chmod(0o755)
    said = "the folder cannot be read: Permission denied. Give read permission, and run the command again."
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[('a.png', ''), ('half/d.png', 'unreadable')]",
        "{'unreadable_folder: deep/locked, locked': 2}",
        "True",
        f"{root}/deep/locked: {said}",
        f"{root}/locked: {said}",
    ]


def test_a_source_without_images_lists_its_contents(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        from_folder(put(tmp_path / "p", "1.gif", "2.gif", "3.jp2", "@eaDir/4.jpg"))
    assert str(fault.value).endswith(". Passed over: .gif 2, .jp2 1, thumbnail_folder: @eaDir.")


def test_evaluate_and_folder_name_ignored_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    key = "0123456789abcdef"
    root = put(tmp_path / "p", f"{key}.jfif", "x.gif", f".cache/{key}.png", f"thumbs/{key}.png")
    files, faults, unknown = find_outputs(root, [key])
    assert ({name: path.name for name, path in files.items()}, faults, unknown) == ({key: f"{key}.jfif"}, {}, ())
    maker = restorer(f"folder:{root}", Setting())
    assert [path.name for path in maker.results.values()] == [f"{key}.jfif"]  # type: ignore[attr-defined]
    passed = f"{root}: passed over: .gif 1, hidden_folder: .cache, thumbnail_folder: thumbs"
    assert caplog.messages == [passed]
    caplog.clear()
    restorer(f"folder:{root}", Setting(names={"k": "other.png"}))
    put(root, "manifest.csv", data=f"key,result\nk,{key}.jfif\n".encode())
    put(root, *(f"{n}.png" for n in range(7)))
    restorer(f"folder:{root}", Setting(names={"k": "other.png"}))
    assert caplog.messages == [
        passed,
        passed,
        f"{root}: 7 results belong to no photograph of the workspace: 0.png, 1.png, 2.png, 3.png, 4.png and 2 more",
    ]


def test_names_are_shown_up_to_a_number() -> None:
    passed = PassedOver()
    for n in range(8):
        passed.add("linked_folder", f"{n}\n")
        passed.add("linked_folder", f"{n}\n")
    assert dict(passed.lines()) == {"linked_folder: 0\\n, 1\\n, 2\\n, 3\\n, 4\\n and 3 more": 8}
    both = merge([passed, passed])
    assert both.counts == {"linked_folder": 16} and passed.counts == {"linked_folder": 8}


# --- datasets whose rows name files -----------------------------------------------------------------------------------


def imagefolder(root: Path) -> None:
    for n in range(2):
        put(root, f"train/{n}.png", data=encoded(picture(n, 64, 64)))


def zipped(root: Path) -> None:
    root.mkdir()
    with zipfile.ZipFile(root / "train.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(2):
            archive.writestr(f"deep/{n}.png", encoded(picture(n, 64, 64)))


def listed(root: Path) -> None:
    imagefolder(root)
    rows = [{"file_name": f"{n}.png", "licence": "MIT"} for n in range(2)]
    (root / "train" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def two_zips(root: Path) -> None:
    root.mkdir()
    for n in range(2):
        with zipfile.ZipFile(root / f"part-{n}.zip", "w") as archive:
            archive.writestr(f"{n}.png", encoded(picture(n, 64, 64)))


def named_in_utf8(root: Path) -> None:
    root.mkdir()
    names = ["é0.png".encode(), "é1.png".encode()]
    zip_of(root / "train.zip", *names)
    data = (root / "train.zip").read_bytes()
    assert names[0] in data


LAYOUTS = [imagefolder, zipped, listed, two_zips, named_in_utf8]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_whose_images_are_files_is_a_dataset(tmp_path: Path, layout: Callable[[Path], None]) -> None:
    layout(tmp_path / "d")
    found = list(from_dataset(str(tmp_path / "d"), "image").files)
    expected = [PNG] * 2 if layout is named_in_utf8 else [encoded(picture(n, 64, 64)) for n in range(2)]
    assert ([one.data for one in found], [one.fault for one in found]) == (expected, [None, None])
    assert [one.credit.licence for one in found] == (["MIT"] * 2 if layout is listed else [""] * 2)


@pytest.mark.slow
def test_a_repository_whose_images_are_files_is_a_dataset(tmp_path: Path) -> None:
    program = ["from ggt_tools.stages.ingest.lists import from_dataset"]
    with Hub() as hub:
        for layout in LAYOUTS:
            layout(tmp_path / layout.__name__)
            hub.publish(f"org/{layout.__name__}", tmp_path / layout.__name__)
            program.append(f"found = list(from_dataset('org/{layout.__name__}', 'image').files)")
            program.append("print([(len(one.data), one.fault) for one in found])")
        put(
            tmp_path / "cut",
            "train.tar",
            data=tar_of(("0.png", PNG), ("1.png", PNG))[: 512 + len(PNG) + -len(PNG) % 512],
        )
        hub.publish("org/cut", tmp_path / "cut")
        program.append("list(from_dataset('org/cut', 'png').files)")
        done = run_python("\n".join(program), tmp_path / "run", **hub.env(tmp_path / "home"))
    sizes = [len(encoded(picture(n, 64, 64))) for n in range(2)]
    plain = str([(size, None) for size in sizes])
    assert done.stdout.splitlines() == [*[plain] * 4, str([(len(PNG), None)] * 2)], done.stderr
    assert "train.tar: the file cannot be read as a tar: " in done.stderr.splitlines()[-1]
    assert done.stderr.endswith("; the last complete member is '0.png'. Fetch it again.\n")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "unreadable"),
        ("../secret.png", "unreadable"),
        ("zip://a.png::/etc/passwd", "unreadable"),
        ("zip://a.png::../secret.zip", "unreadable"),
        ("zip://a.png::zip://b.zip::x.zip", "unreadable"),
        ("zip://nowhere.png::x.zip", "unreadable"),
        ("zip://huge.png::x.zip", "too_large"),
        ("zip://a.png::broken.zip", "unreadable"),
        ("hf://datasets/org/other@main/a.png", "unreadable"),
        ("https://localhost/a.png", "unreadable"),
        ("simplecache::https://localhost/a.png", "unreadable"),
        ("file:///etc/passwd", "unreadable"),
        ("", "unreadable"),
        (None, "unreadable"),
    ],
)
def test_a_row_opens_only_files_of_its_own_dataset(tmp_path: Path, path: str | None, reason: str) -> None:
    root = put(tmp_path / "d", "broken.zip")
    put(tmp_path, "secret.png")
    for place in (root / "x.zip", tmp_path / "secret.zip"):
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr("a.png", PNG)
            archive.writestr("huge.png", PNG)
        data = bytearray(place.read_bytes())
        at = data.rindex(b"huge.png") - 46
        data[at + 24 : at + 28] = struct.pack("<I", 1 << 30)
        place.write_bytes(data)
    opening = RowFiles(folder=root)
    assert opening.read({"bytes": None, "path": "zip://a.png::x.zip"}, "row 1") == PNG
    assert opening.read({"bytes": None, "path": f"zip://a.png::{root}/x.zip"}, "row 1") == PNG
    with pytest.raises(PairError) as fault:
        opening.read({"bytes": None, "path": path}, "row 1")
    assert fault.value.reason == reason and str(fault.value).startswith("row 1: ")
    hub = RowFiles(repo="org/own")
    for other in ("hf://datasets/org/own-2@main/a.png", "hf://datasets/org/own@main/../other/a.png", "x.zip"):
        with pytest.raises(PairError, match="not in the dataset's repository"):
            hub.read({"bytes": None, "path": other}, "row 1")
