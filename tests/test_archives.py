"""files: archives in parts, members of tars by position, compressed tars, split zips, and what is wrong with them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.errors import ConfigError
from ggt_tools.files.blobs import FileBlob, JoinedBlob, LocalBlob
from ggt_tools.files.decompress import DecompressedBlob, compression_of
from ggt_tools.files.parts import Archive, group_archives, series_of
from ggt_tools.files.tar_members import list_tar, open_tar_blob
from ggt_tools.files.zips import ImageZip

from .releases import cut, image, spanned_zip, tar_of, write

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}


def blob(data: bytes, label: str = "x") -> FileBlob:
    return FileBlob(io.BytesIO(data), label)


def joined(parts: list[bytes]) -> JoinedBlob:
    return JoinedBlob("x.tar", [blob(part, f"x.tar.{number}") for number, part in enumerate(parts)])


# --- which files are parts of what ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("whole", "parts"),
    [
        ("a.tar", ["a.tar.split.000", "a.tar.split.001", "a.tar.split.002"]),
        ("a.tar.gz", ["a.tar.gz.00", "a.tar.gz.01"]),
        ("d/a.zip", ["d/a.zip.001", "d/a.zip.002"]),
        ("a.tgz", ["a.tgz.part1", "a.tgz.part2", "a.tgz.part10"][:2]),
        ("a.tar", ["a.tar.part-aa", "a.tar.part-ab"]),
        ("a.tar.xz", ["a.tar.xz.aaa", "a.tar.xz.aab"]),
        ("A.TAR", ["A.TAR.000", "A.TAR.001"]),
    ],
)
def test_the_parts_of_an_archive_by_their_names(whole: str, parts: list[str]) -> None:
    assert group_archives([*reversed(parts), "README.md"]) == (
        [Archive(name=whole, parts=tuple(parts))],
        [],
        ["README.md"],
    )


def test_numbers_order_parts_and_not_letters() -> None:
    names = [f"a.tar.{number}" for number in range(12)]
    ((archive,), faults, _) = group_archives(sorted(names))
    assert archive.parts == tuple(names) and not faults
    ((archive,), faults, _) = group_archives([f"b.z{number:02d}" for number in (2, 1)] + ["b.zip"])
    assert (archive.parts, archive.is_spanned, archive.name) == (("b.z01", "b.z02", "b.zip"), True, "b.zip")
    assert not faults


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (
            ["a.tar.000", "a.tar.001", "a.tar.003", "a.tar.005"],
            "a.tar: 2 parts are missing: number 2, 4 of those up to a.tar.005. Fetch what is missing.",
        ),
        (
            ["a.zip.002", "a.zip.003"],
            "a.zip: 1 part is missing: number 1 of those up to a.zip.003. Fetch what is missing.",
        ),
        (["a.tar.1", "a.tar.01", "a.tar.2"], "a.tar: a.tar.01 and a.tar.1 are the same part. Remove one of them."),
        (
            ["a.tar", "a.tar.000"],
            "a.tar: the folder holds the archive and 1 parts of it too, such as a.tar.000. Remove one of the two.",
        ),
        (["a.z01", "a.z02"], "a.zip: this part is missing: it is the last one, after a.z02. Fetch it."),
        (["a.z02", "a.zip"], "a.zip: 1 part is missing: number 1 of those up to a.z02. Fetch what is missing."),
    ],
)
def test_parts_that_are_missing_or_twice_there(names: list[str], fault: str) -> None:
    assert group_archives(names)[1] == [fault]


def test_files_beside_archives_are_no_parts() -> None:
    others = ["a.tar.sha", "a.zip.tmp", "a.tar.gz.md5sum", "1.png", "x.z"]
    assert group_archives(others) == ([], [], sorted(others, key=others.index)) or set(
        group_archives(others)[2]
    ) == set(others)
    assert group_archives(["a.tar", "a.tar.sha"])[0] == [Archive(name="a.tar", parts=("a.tar",))]


def test_archives_that_are_numbered_are_a_series() -> None:
    names = ["d/lq_000.tar", "d/lq_001.tar", "d/gt-1.zip", "d/gt-2.zip", "y_2020.zip", "y_2021.zip", "one_0.tar"]
    assert series_of(names) == {
        "d/lq_000.tar": "d/lq", "d/lq_001.tar": "d/lq", "d/gt-1.zip": "d/gt", "d/gt-2.zip": "d/gt",
        "y_2020.zip": "y_2020", "y_2021.zip": "y_2021", "one_0.tar": "one_0",
    }  # fmt: skip


# --- tars -------------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1)


@given(
    st.dictionaries(NAMES.map(lambda name: f"d/{name}"[:300]), st.binary(max_size=2000), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.integers(1, 5),
    st.sampled_from(["", *COMPRESS]),
)
@settings(max_examples=60, deadline=None)
def test_members_are_those_that_tarfile_finds(files: dict[str, bytes], form: int, parts: int, compression: str) -> None:
    data = tar_of(files, form=form)
    data = COMPRESS[compression](data) if compression else data
    tar = open_tar_blob(joined(cut(data, parts)))
    found = list(list_tar(tar, window=1024))
    with tarfile.open(fileobj=io.BytesIO(tar_of(files, form=form))) as archive:
        expected = [(member.name, member.offset_data, member.size) for member in archive]
    assert [(entry.name, entry.start, entry.size) for entry in found] == expected
    assert {entry.kind for entry in found} <= {"file"}
    for entry in reversed(found):  # backward too
        assert tar.read_at(entry.start, entry.size) == files[entry.name]


def test_folders_links_and_devices_are_no_files() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, kind in (
            ("d", tarfile.DIRTYPE),
            ("s", tarfile.SYMTYPE),
            ("h", tarfile.LNKTYPE),
            ("p", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "../../etc/passwd"
            archive.addfile(member)
    assert [entry.kind for entry in list_tar(blob(made.getvalue()))] == ["other", "link", "link", "other"]


def damaged(tar: bytes, case: str) -> list[bytes]:
    parts = cut(tar, 4)
    if case == "swapped":
        return [parts[0], parts[2], parts[1], parts[3]]
    if case == "first missing":
        return parts[1:]
    if case == "last missing":
        return parts[:-1]
    if case == "middle missing":
        return [parts[0], *parts[2:]]
    return [*parts[:3], parts[3][:-2000]]


@pytest.mark.parametrize(
    ("case", "part"),
    [
        ("swapped", "x.tar.1"),
        ("first missing", "x.tar.0"),
        ("last missing", "x.tar.2"),
        ("middle missing", "x.tar.1"),
        ("cut off", "x.tar.3"),
    ],
)
def test_parts_in_a_wrong_order_or_missing_are_told_by_the_bytes(case: str, part: str) -> None:
    """Where names tell nothing: parts that were renamed, or whose last one was never fetched."""
    tar = tar_of({f"{number}.png": bytes(range(256)) * 9 for number in range(16)})
    with pytest.raises(ConfigError) as caught:
        list(list_tar(joined(damaged(tar, case))))
    message = str(caught.value)
    assert message.startswith("x.tar: the file cannot be read as a tar: ") and message.endswith("Fetch it again.")
    assert case != "last missing" or "it ends within '" in message
    assert f"It is in the part {part}: a part may be missing, incomplete or under the name of another part." in message


@pytest.mark.parametrize("name", COMPRESS)
def test_a_compressed_tar_that_lacks_a_part(name: str) -> None:
    data = COMPRESS[name](tar_of({"1.png": image(1), "2.png": image(2)}))
    for parts in (cut(data, 3)[:-1], [cut(data, 3)[number] for number in (0, 2, 1)]):
        with pytest.raises(ConfigError) as caught:
            list(list_tar(open_tar_blob(joined(parts))))
        assert "It is in the part x.tar." in str(caught.value)


def test_a_tar_that_unpacks_to_too_much_is_stopped() -> None:
    data = gzip.compress(tar_of({"1.png": bytes(1 << 20)}))
    with pytest.raises(ConfigError, match="unpacks to more than 100000 bytes"):
        list(list_tar(open_tar_blob(blob(data), max_bytes=100_000)))


# --- compressed files -------------------------------------------------------------------------------------------------


@given(
    st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=3),
    st.sampled_from(list(COMPRESS)),
    st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 500)), max_size=12),
)
@settings(max_examples=60, deadline=None)
def test_any_read_of_a_compressed_file_is_a_slice(
    streams: list[bytes], name: str, reads: list[tuple[int, int]]
) -> None:
    """Also of several streams that follow each other, as `pigz` and `cat` make them."""
    data = b"".join(map(COMPRESS[name], streams))
    whole = b"".join(streams)
    assert compression_of(data) == name
    file = DecompressedBlob(blob(data), name, max_bytes=1 << 20, _copy_bytes=700)
    for start, size in reads:
        assert file.read_at(start, size) == whole[start : start + size]


def test_a_read_that_goes_backward_continues_from_a_copy() -> None:
    whole = np.random.default_rng(1).integers(0, 256, 100_000, np.uint8).tobytes()
    file = DecompressedBlob(blob(gzip.compress(whole)), "gzip", max_bytes=1 << 20, _copy_bytes=5000)
    for start in (*range(0, 95_000, 6000), 90_000, 10, 40_000, 6_000, 95_000, 39_999, 4_999, 60_001):
        assert file.read_at(start, 700) == whole[start : start + 700], start
    assert len(file._copies) > 3 and not any(copy.pending for copy in file._copies), "they take little memory"


def test_two_sequences_of_reads_decompress_the_file_twice_and_not_for_each_read() -> None:
    whole = np.random.default_rng(0).integers(0, 4, 8 << 20, np.uint8).tobytes()
    compressed = blob(gzip.compress(whole, 1))
    read_bytes = 0

    class Counting:
        label, identity, size = "x", "", compressed.size

        def read_at(self, start: int, size: int) -> bytes:
            nonlocal read_bytes
            data = compressed.read_at(start, size)
            read_bytes += len(data)
            return data

    file = DecompressedBlob(Counting(), "gzip", max_bytes=1 << 30)
    half, step = len(whole) // 2, 1 << 15
    for start in range(0, half, step):
        assert file.read_at(start, 10) == whole[start : start + 10]
        assert file.read_at(half + start, 10) == whole[half + start : half + start + 10]
    assert read_bytes < 2.2 * compressed.size


# --- split zips -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zip64", [False, True])
def test_a_split_zip_is_read_as_one(zip64: bool) -> None:
    files = {f"d/{number}.png": image(number) for number in range(6)}
    parts = spanned_zip(files, 20_000, zip64=zip64)
    assert len(parts) > 3
    found = ImageZip(joined(parts), "x.zip", is_spanned=True)
    assert found.names == tuple(sorted(files))
    assert {name: found.read(name) for name in found.names} == files


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zip") is None, reason="zip is not installed")
@pytest.mark.parametrize("options", [(), ("-fz",)])
def test_what_zip_itself_splits_comes_back(options: tuple[str, ...], tmp_path: Path) -> None:
    files = {f"{number}.png": image(number) * 4 for number in range(9)}
    write(tmp_path, files)
    subprocess.run(["zip", "-q", "-0", "-s", "64k", *options, "x.zip", *files], cwd=tmp_path, check=True)
    ((archive,), faults, _) = group_archives(path.name for path in tmp_path.glob("x.z*"))
    assert archive.is_spanned and len(archive.parts) > 3 and not faults
    whole = JoinedBlob("x.zip", [LocalBlob(tmp_path / part) for part in archive.parts])
    found = ImageZip(whole, "x.zip", is_spanned=True)
    assert {name: found.read(name) for name in found.names} == files


def test_members_that_overlap_are_not_read() -> None:
    """The list may name the same bytes again and again: a bomb of a few kilobytes."""
    data = bytearray(spanned_zip({"a.png": image(1), "b.png": image(2)}, 1 << 30)[0])
    central = data.rindex(b"a.png") - 46
    size = len(image(1)) + 200
    data[central + 20 : central + 28] = size.to_bytes(4, "little") * 2
    data[4:4] = b""
    found = ImageZip(JoinedBlob("x.zip", [blob(bytes(data))]), "x.zip", is_spanned=True)
    from ggt_tools.errors import PairError

    with pytest.raises(PairError) as caught:
        found.read("a.png")
    assert caught.value.reason == "damaged" and "it overlaps another member" in str(caught.value)
    assert found.read("b.png") == image(2)
