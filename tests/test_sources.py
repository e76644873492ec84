"""sources: folders, tars, lists and datasets; their photographs, and rejected entries."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import io
import json
import lzma
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import ggt100k
from ggt_tools.errors import ConfigError
from ggt_tools.providers.fetch import FetchConfig
from ggt_tools.stages.ingest.archives import from_tar
from ggt_tools.stages.ingest.credits import Credit, read_credits
from ggt_tools.stages.ingest.lists import from_dataset, from_list, name_of_url
from ggt_tools.stages.ingest.sources import Source, SourceFile, find_photos, from_folder, map_in_order

from .making import picture

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def reason(found: SourceFile) -> str:
    return found.fault.reason if found.fault else ""


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"a\xff.png")).write_bytes(b"x")
    except OSError:
        pytest.skip("wants a file system that takes any bytes for a name")
    (found,) = from_folder(tmp_path).files
    assert (found.name, found.data, reason(found)) == ("a\\udcff.png", b"", "bad_name")
    assert str(found.fault) == "a\\udcff.png: the name has bytes that are not UTF-8. Rename the file."


def test_photographs_are_found_in_subfolders_sorted_by_name(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPEG", "a/b/c.avif", "c.txt", "d.gif", "e.png.part"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "folder.png").mkdir()
    found = [path.relative_to(tmp_path).as_posix() for path in find_photos(tmp_path).paths]
    assert found == ["a/b/c.avif", "a/z.JPEG", "b.png"]


def test_a_folder_without_photographs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(ConfigError) as fault:
        find_photos(tmp_path)
    read = ".jpg, .jpeg, .jpe, .jfif, .mpo, .png, .webp, .tif, .tiff, .bmp, .avif, .heic, .heif"
    assert str(fault.value) == f"{tmp_path}: no photograph is in it. ingest reads {read}. Passed over: .txt 1."


def test_files_of_a_folder_have_folder_and_credit(tmp_path: Path) -> None:
    (tmp_path / "rain").mkdir()
    (tmp_path / "rain" / "a.png").write_bytes(b"a")
    (tmp_path / "b.jpg").write_bytes(b"b")
    (tmp_path / "credits.csv").write_text("file,licence\nrain/a.png,MIT\n")
    source = from_folder(tmp_path)
    assert source.count == 2
    assert list(source.files) == [
        SourceFile(name="b.jpg", folder=tmp_path.name, data=b"b"),
        SourceFile(name="rain/a.png", folder="rain", data=b"a", credit=Credit(licence="MIT")),
    ]


def test_a_file_deleted_meanwhile_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    source = from_folder(tmp_path)
    (tmp_path / "a.png").unlink()
    (found,) = source.files
    assert (reason(found), str(found.fault)) == (
        "unreadable",
        "a.png: the file cannot be read: No such file or directory. Check the file, and run the command again.",
    )


# --- credits --------------------------------------------------------------------------------------------------------


def credits_of(folder: Path) -> dict[str, Credit]:
    """Return the credits of a table at the top of a folder with the photograph a.png."""
    return read_credits(folder, [path for path in (folder / "credits.csv",) if path.exists()], ["a.png"])


def test_credits_as_a_spreadsheet_saves_them(tmp_path: Path) -> None:
    (tmp_path / "credits.csv").write_bytes('\ufefffile,author\r\na.png,"Zoë, the\r\nauthor"\r\n'.encode())
    assert credits_of(tmp_path) == {"a.png": Credit(author="Zoë, the\r\nauthor")}


def test_without_credits(tmp_path: Path) -> None:
    assert credits_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name,licence\na.png,CC0-1.0\n",
            "the column 'name' is not known. The first line names columns, separated by commas, out of: file, title, "
            "licence, author, url, source, source_name, degradation.",
        ),
        ("file,licence\na.png,MIT\n\n,MIT\n", "line 4: the column 'file' is empty. Add the name of the file."),
        (
            'file,author,source\na.png,"two\nlines",\nb.png,,moon\n',
            "line 4: the source 'moon' is not known. Choose one of: dataset, internet, captured.",
        ),
        (
            "file,degradation\na.png,rain\nb.png,drizzle\n",
            f"line 3: the degradation 'drizzle' is not known. Choose one of: {', '.join(ggt100k.DEGRADATIONS)}.",
        ),
        (
            "file,licence\na.png,MIT,2026\n",
            "line 2: there are more fields than in the first line. Quote fields with commas.",
        ),
        ("file,licence\na.png,MIT\na.png,CC0-1.0\n", "line 3: 'a.png' is listed twice. Remove one of the lines."),
    ],
)
def test_errors_in_credits_name_their_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "credits.csv").write_text(text)
    with pytest.raises(ConfigError) as fault:
        credits_of(tmp_path)
    assert str(fault.value) == f"{tmp_path / 'credits.csv'}: {said}"


@pytest.mark.parametrize("data", [b"file\na\xff.png\n", b"file\n" + b"a" * 200_000])
def test_credits_that_are_not_a_text_table_are_errors(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "credits.csv").write_bytes(data)
    with pytest.raises(ConfigError) as fault:
        credits_of(tmp_path)
    assert str(fault.value).startswith(f"{tmp_path / 'credits.csv'}: the file cannot be read: ")
    assert str(fault.value).endswith(". Save it as CSV in UTF-8.")


# --- tars -----------------------------------------------------------------------------------------------------------


def make_tar(path: Path, *members: tuple[str, bytes | bytes], mode: str = "w") -> Path:
    """A tar of files; a member without bytes is one of another kind, which its name states."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.xz", "w:xz")])
def test_images_of_a_tar_have_credits(tmp_path: Path, name: str, mode: str) -> None:
    table = b"file,licence\nrain/a.png,MIT\n"
    members = [("./rain/a.png", b"a"), ("notes.txt", b"no"), ("credits.csv", table), ("b.JPG", b"b")]
    source = from_tar(make_tar(tmp_path / name, *members, mode=mode))
    assert source.count == 2
    assert list(source.files) == [
        SourceFile(name="rain/a.png", folder="rain", data=b"a", credit=Credit(licence="MIT")),
        SourceFile(name="b.JPG", data=b"b"),
    ]


def test_hostile_members_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for kind, name in ((tarfile.SYMTYPE, "l.png"), (tarfile.LNKTYPE, "h.png"), (tarfile.CHRTYPE, "c.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name in ("/etc/x.png", "../x.png", "a/../../x.png", "a\\x.png", "a\nb.png", "ok.png", "ok.png", "big.png"):
            info = tarfile.TarInfo(name)
            info.size = 30 if name == "big.png" else 2
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    found = list(from_tar(path, max_member_bytes=20).files)
    assert [(one.name, reason(one), len(one.data)) for one in found] == [
        ("/etc/x.png", "bad_name", 0),
        ("../x.png", "bad_name", 0),
        ("a/../../x.png", "bad_name", 0),
        ("a\\x.png", "bad_name", 0),
        ("a\\nb.png", "bad_name", 0),
        ("ok.png", "", 2),
        ("ok.png", "duplicate_name", 0),
        ("big.png", "too_large", 0),
    ]
    assert [str(one.fault) for one in (found[1], found[6], found[7])] == [
        "../x.png: the name leads out of the tar. Rename the file.",
        "ok.png: the tar has two members of this name. Rename one.",
        "big.png: the file has 30 bytes, above 20. Leave it out.",
    ]
    assert [each.name for each in tmp_path.rglob("*")] == ["in", "a.tar"]


def test_a_tar_that_unpacks_to_too_much(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar.gz", ("a.png", bytes(3_000_000)), mode="w:gz")
    assert path.stat().st_size < 10_000
    with pytest.raises(ConfigError) as fault:
        from_tar(path, max_tar_bytes=1_000_000)
    assert str(fault.value) == f"{path}: the tar unpacks to more than 1000000 bytes. Split it."


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_a_truncated_or_invalid_tar_is_an_error(tmp_path: Path, pack: Any) -> None:
    whole = make_tar(tmp_path / "whole.tar", ("a.png", os.urandom(50_000))).read_bytes()
    path = tmp_path / "a.tar"
    for data in (pack(whole)[:20_000], b"no tar at all" * 100, b""):
        path.write_bytes(data)
        with pytest.raises(ConfigError) as fault:
            list(from_tar(path).files)
        assert str(fault.value).startswith(f"{path}: ")
    path.write_bytes(pack(make_tar(tmp_path / "none.tar", ("a.txt", b"")).read_bytes()))
    with pytest.raises(ConfigError, match=r"no photograph is in it. ingest reads \.jpg, "):
        from_tar(path)


def test_the_credits_of_a_tar_are_checked_like_any(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", ("a.png", b"a"), ("credits.csv", b"file,degradation\na.png,fog\n"))
    with pytest.raises(ConfigError) as fault:
        from_tar(path)
    said = f"line 2: the degradation 'fog' is not known. Choose one of: {', '.join(ggt100k.DEGRADATIONS)}."
    assert str(fault.value) == f"{path}: credits.csv: {said}"


# --- lists ----------------------------------------------------------------------------------------------------------


class _Echo(http.server.BaseHTTPRequestHandler):
    """Answer with the requested path; with 404 if the path contains it."""

    asked: ClassVar[list[str]]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(404 if "missing" in self.path else 200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def echo() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback: its URL, and what it was asked for."""

    class Handler(_Echo):
        asked: ClassVar[list[str]] = []

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Handler.asked
        server.shutdown()


def from_rows(path: Path, **options: Any) -> Source:
    asked: dict[str, Any] = {"is_known": lambda name, credit: False, "has_licence": True}
    return from_list(path, FetchConfig(allow_private=True, timeout=10), **(asked | options))


def write_list(path: Path, rows: list[dict[str, str]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_list_is_fetched_in_its_order_with_its_facts(tmp_path: Path, ending: str) -> None:
    with echo() as (url, _):
        rows = [
            {
                "url": f"{url}/{n}.png?token=s3cret",
                "file": f"rain/{n}.png" if n else "",
                "licence": "MIT",
                "author": "Zoë",
            }
            for n in range(30)
        ]
        source = from_rows(write_list(tmp_path / f"a.{ending}", rows))
        found = list(source.files)
    assert source.count == 30
    assert [one.data for one in found] == [f"/{n}.png?token=s3cret".encode() for n in range(30)]
    assert found[0].name.startswith(f"{url}/0.png#") and "s3cret" not in found[0].name and found[0].folder == ""
    assert (found[1].name, found[1].folder) == ("rain/1.png", "rain")
    assert found[1].credit == Credit(licence="MIT", author="Zoë", url=f"{url}/1.png"), "its secret stays here"


def test_known_and_unlicensed_files_are_not_fetched(tmp_path: Path) -> None:
    with echo() as (url, asked):
        rows = [{"url": f"{url}/{n}", "licence": "MIT" if n < 4 else ""} for n in range(6)]
        path = write_list(tmp_path / "a.csv", rows)
        source = from_rows(path, is_known=lambda name, credit: name.endswith(("/1", "/2")), has_licence=False)
        found = list(source.files)
        assert sorted(asked) == ["/0", "/3"]
        assert [reason(one) for one in found] == ["", "", "no_licence", "no_licence"]
        said = f"{url}/4: no licence is stated. Add it to credits.csv, or pass --licence."
        assert str(found[2].fault) == said
        assert [one.name for one in from_rows(path, dry_run=True).files] == [row["url"] for row in rows]
        assert len(asked) == 2


def test_missing_files_of_a_server_are_refusals(tmp_path: Path) -> None:
    with echo() as (url, _):
        path = write_list(tmp_path / "a.csv", [{"url": f"{url}/{name}"} for name in ("a", "missing?k=s3cret", "b")])
        found = list(from_rows(path).files)
    assert [reason(one) for one in found] == ["", "not_served", ""]
    assert str(found[1].fault) == f"{found[1].name}: the server answers HTTP 404. Remove it from the list."
    assert "s3cret" not in str(found[1].fault)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "a.csv",
            "link\nx\n",
            "the column 'link' is not known. The first line names columns, separated by commas, out of: url, ",
        ),
        (
            "a.csv",
            "file\nx\n",
            "the column 'url' is missing. The first line names columns, separated by commas, out of: url,",
        ),
        ("a.csv", "url,file\nhttp://x/1,\n,b\n", "line 3: the column 'url' is empty. Add the file's URL."),
        ("a.csv", "url\nhttp://x/1\nhttp://x/1\n", "line 3: 'http://x/1' is listed twice. Remove one of the lines."),
        (
            "a.csv",
            "url,source\nhttp://x/1,moon\n",
            "line 2: the source 'moon' is not known. Choose one of: dataset, internet, captured.",
        ),
        (
            "a.jsonl",
            '{"url": "http://x/1"}\n\n{"file": "b"}\n',
            "line 3: the column 'url' is missing. Columns are: url,",
        ),
        (
            "a.jsonl",
            '{"url": "http://x/1", "size": "2"}\n',
            "line 1: the column 'size' is not known. Columns are: url,",
        ),
        ("a.jsonl", '{"url": 7}\n', 'line 1: the row is not an object of texts. Write it as {"url": "https://..."}.'),
        ("a.jsonl", "[]\n", 'line 1: the row is not an object of texts. Write it as {"url": "https://..."}.'),
        ("a.jsonl", "{", "the list cannot be read: Expecting property name"),
        ("a.jsonl", '{"url": "http://x/1"}\n' + "\0" * (1 << 20), "line 2: has more than 1048576 characters."),
        ("a.parquet", "no parquet", "the list cannot be read: "),
    ],
)
def test_errors_in_lists_name_their_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as fault:
        from_rows(tmp_path / name)
    assert str(fault.value).startswith(f"{tmp_path / name}: {said}")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h.org/a/b.jpg", "https://h.org/a/b.jpg"),
        ("https://u:pw@h.org/a.jpg#top", "https://h.org/a.jpg"),
        ("https://h.org/?q=1", "https://h.org/#02f5e6e36c03"),
        ("https://[::1/u:pw@x", "x"),
    ],
)
def test_a_url_as_a_name_has_no_secret(url: str, name: str) -> None:
    assert name_of_url(url) == name


# --- datasets -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with an image column, in parquet as the Hub has it."""
    folder = tmp_path_factory.mktemp("saved")
    images = [Image.fromarray(picture(seed, 64, 70)) for seed in range(3)]
    rows = {
        "photo": images,
        "label": [1, 2, 3],
        "license": ["MIT", "CC0-1.0", None],
        "author": ["Zoë", "", "x"],
        "degradation": ["rain", "drizzle", "snow"],
    }
    made = datasets.Dataset.from_dict(rows).cast_column("photo", datasets.Image())
    (folder / "data").mkdir()
    made.to_parquet(folder / "data" / "train-00000.parquet")
    return folder


def test_images_of_a_dataset_are_read_unchanged(saved: Path) -> None:
    found = list(from_dataset(str(saved), "photo").files)
    assert [one.name for one in found] == [f"{saved}/train/{n}" for n in range(3)]
    for seed, one in enumerate(found):
        assert one.data.startswith(b"\x89PNG"), "not decoded on the way"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(one.data))), picture(seed, 64, 70))
    assert [one.credit for one in found] == [
        Credit(licence="MIT", author="Zoë", degradation="rain"),
        Credit(licence="CC0-1.0"),
        Credit(author="x", degradation="snow"),
    ]


@pytest.mark.parametrize(
    ("column", "options", "said"),
    [
        ("image", {}, "'image' is not an image column. Image columns are: photo."),
        ("label", {}, "'label' is not an image column. Image columns are: photo."),
        ("photo", {"split": "moon"}, "the dataset cannot be loaded: ValueError: "),
    ],
)
def test_a_missing_column_or_split_of_a_dataset_is_an_error(
    saved: Path, column: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as fault:
        from_dataset(str(saved), column, **options)
    assert str(fault.value).startswith(f"{saved}: {said}")


def test_a_row_of_a_dataset_opens_no_file_outside_its_folder(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    (folder / "images").mkdir(parents=True)
    mine = tmp_path / "mine.png"
    Image.fromarray(picture(1)).save(mine)
    for place in (folder / "a.png", folder / "images" / "b.png"):
        Image.fromarray(picture(2)).save(place)
    (folder / "link.png").symlink_to(mine)
    paths = [str(folder / "a.png"), "images/b.png", str(mine), "../mine.png", "link.png", "/etc/passwd", None, ""]
    image = pa.array([None if path is None else {"bytes": None, "path": path} for path in paths], IMAGE)
    schema = pa.schema({"photo": IMAGE}).with_metadata(
        {"huggingface": json.dumps({"info": {"features": {"photo": {"_type": "Image"}}}})}
    )
    pq.write_table(pa.table([image], schema=schema), folder / "train.parquet")
    found = list(from_dataset(str(folder), "photo").files)
    assert [bool(one.data) for one in found] == [True, True, False, False, False, False, False, False]
    assert found[0].data == (folder / "a.png").read_bytes()
    for one, path in zip(found[2:6], paths[2:6], strict=True):
        assert one.fault is not None and one.fault.reason == "unreadable"
        assert str(one.fault) == (
            f"{one.name}: the row names {path!r}, which is not in {folder.resolve()}. Put the file there, or put the "
            "bytes into the row."
        )
    for one in found[6:]:
        assert one.fault is not None and str(one.fault).endswith("the row has no image. Leave it out.")


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct({"bytes": pa.binary(), "path": pa.string()})]
)
def test_a_column_of_bytes_that_is_not_declared_as_images_holds_images(kind: pa.DataType, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(1)).save(buffer, "PNG")
    data = buffer.getvalue()
    cells = [{"bytes": data, "path": None} if pa.types.is_struct(kind) else data, None]
    columns = {"photo": pa.array(cells, kind), "text": ["a", "b"], "number": [1, 2]}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    first, second = from_dataset(str(tmp_path), "photo").files
    assert first.data == data
    assert second.fault is not None and second.fault.reason == "unreadable"
    with pytest.raises(ConfigError, match=r"'text' is not an image column\. Image columns are: photo\."):
        from_dataset(str(tmp_path), "text")


def test_a_missing_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as fault:
        from_dataset(str(tmp_path / "nowhere"), "image")
    assert str(fault.value).startswith(f"{tmp_path / 'nowhere'}: the dataset cannot be loaded: ")


# --- order ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers()), st.integers(1, 5))
def test_parallel_results_are_yielded_in_order(items: list[int], at_once: int) -> None:
    assert list(map_in_order(lambda item: item * 2, items, at_once)) == [item * 2 for item in items]


def test_parallel_work_is_limited() -> None:
    begun: list[int] = []
    results = map_in_order(begun.append, range(100), 3)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert len(begun) <= 3


def test_a_compression_bomb_takes_no_memory(tmp_path: Path) -> None:
    """A pax header of 64 MB, that packs to nothing: tarfile would read it whole."""
    member = tarfile.TarInfo("a.png")
    member.pax_headers = {"comment": "0" * 64_000_000}
    with tarfile.open(tmp_path / "a.tar.xz", "w:xz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(member, io.BytesIO(b""))
    assert (tmp_path / "a.tar.xz").stat().st_size < 100_000
    with pytest.raises(ConfigError, match="the extension of a header has 64000018 bytes, above 1048576"):
        from_tar(tmp_path / "a.tar.xz")
