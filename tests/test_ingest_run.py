"""ingest as a stage: zips of photographs, results of a run, and which options exclude each other."""

from __future__ import annotations

import dataclasses
import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.events import Recorded
from ggt_tools.policy.licences import licence_warning
from ggt_tools.records import Photo, Refusal
from ggt_tools.stages.ingest.archives import from_tar, from_zip
from ggt_tools.stages.ingest.run import IngestConfig, run
from ggt_tools.stages.ingest.sources import Source, from_folder
from ggt_tools.workspace.ledger import Ledger

from .making import picture
from .photographs import photograph
from .test_adopt import encoded


def zip_of(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def photograph_file(name: str = "wine-1") -> bytes:
    return encoded(photograph(name)[:512, :512])


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def read_all(source: Source) -> list[tuple[str, str, bytes, str]]:
    return [(file.name, file.folder, file.data, file.credit.licence) for file in source.files]


# --- zips -----------------------------------------------------------------------------------------------------------


def test_images_of_a_zip_are_read_with_credits_and_others_are_counted(tmp_path: Path) -> None:
    files = {
        "rain/b.JPG": b"b",
        "a.png": b"a",
        "credits.csv": b"file,licence\na.png,CC0-1.0\nrain/b.JPG,CC0-1.0\n",
        "rain/credits.csv": b"file,licence\nb.JPG,MIT\n",
        "notes.txt": b"",
        "__MACOSX/._a.png": b"",
    }
    source = from_zip(zip_of(tmp_path / "x.zip", files))
    assert read_all(source) == [("a.png", "", b"a", "CC0-1.0"), ("rain/b.JPG", "rain", b"b", "MIT")]
    assert source.count == 2
    assert source.passed_over.lines() == {".txt": 1, "hidden_folder: __MACOSX": 1}


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_table_of_credits_may_have_capital_letters_in_its_name(tmp_path: Path, kind: str) -> None:
    files = {"a.png": b"a", "Credits.CSV": b"file,licence\na.png,MIT\n"}
    if kind == "folder":
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        source = from_folder(tmp_path)
    elif kind == "zip":
        source = from_zip(zip_of(tmp_path / "x.zip", files))
    else:
        source = from_tar(tar_of(tmp_path / "x.tar", files))
    assert [licence for _, _, _, licence in read_all(source)] == ["MIT"]
    assert source.passed_over.lines() == {}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_two_tables_of_credits_in_one_folder(tmp_path: Path, kind: str) -> None:
    table = b"file,licence\na.png,MIT\n"
    files = {"rain/a.png": b"a", "rain/credits.csv": table, "rain/CREDITS.csv": table}
    path = tmp_path / f"x.{kind}"
    with pytest.raises(ConfigError) as caught:
        from_zip(zip_of(path, files)) if kind == "zip" else from_tar(tar_of(path, files))
    assert str(caught.value) == f"{path}: rain: there are two tables of credits. Keep one credits.csv."


@given(
    st.dictionaries(
        st.from_regex(r"([a-c]/)?[a-e]{1,3}\.(png|jpg)", fullmatch=True), st.binary(max_size=99), min_size=1, max_size=6
    ),
    st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)),
)
@settings(deadline=None, max_examples=40)
def test_a_zip_gives_what_a_tar_and_a_folder_of_the_same_files_give(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], method: int
) -> None:
    root = tmp_path_factory.mktemp("same")
    for name, data in files.items():
        path = root / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    tar_of(root / "x.tar", files)
    from_a_zip = sorted(read_all(from_zip(zip_of(root / "x.zip", files, method))))
    assert from_a_zip == sorted(read_all(from_tar(root / "x.tar")))
    assert [(name, data) for name, _, data, _ in from_a_zip] == sorted(
        (file.name, file.data) for file in from_folder(root / "folder").files
    )


def test_unsafe_members_of_a_zip_are_rejected_one_by_one(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"../a.png": b"x", "b.png": b"b", "bomb.png": bytes(4 << 20)})
    data = bytearray(zip_of(tmp_path / "y.zip", {"damaged.png": b"0123456789"}, zipfile.ZIP_STORED).read_bytes())
    data[data.index(b"0123456789")] ^= 1
    source, (damaged,) = from_zip(path), from_zip(_write(tmp_path / "z.zip", bytes(data))).files
    files = list(source.files)
    assert [(file.name, file.fault.reason if file.fault else "") for file in files] == [
        ("../a.png", "bad_name"),
        ("b.png", ""),
        ("bomb.png", "bomb"),
    ]
    assert [file.data for file in files] == [b"", b"b", b""]
    assert damaged.fault is not None and damaged.fault.reason == "damaged"


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_zip_without_photographs(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a.gif": b"", "credits.csv": b"file\n"})
    with pytest.raises(ConfigError) as caught:
        from_zip(path)
    assert str(caught.value).startswith(f"{path}: no photograph is in it. ")
    assert str(caught.value).endswith(" Passed over: .gif 1.")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"file,degradation\na.png,fog\n", "line 2: the degradation 'fog' is not known."),
        (b"file\na.png\n./a.png\n", "'a.png' and './a.png' are the same file."),
    ],
)
def test_credits_of_a_zip_are_checked_as_any(tmp_path: Path, table: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=r"credits\.csv: ") as caught:
        from_zip(zip_of(tmp_path / "x.zip", {"a.png": b"a", "credits.csv": table}))
    assert message in str(caught.value)


# --- run ------------------------------------------------------------------------------------------------------------


def test_a_run_on_a_zip_imports_once_and_lists_rejections(tmp_path: Path) -> None:
    files = {"rain/a.png": photograph_file(), "small.png": encoded(picture(1, 64, 64)), "x.gif": b""}
    config = IngestConfig(photos=zip_of(tmp_path / "x.zip", files), licence="CC0-1.0", classes="measured")
    events = Recorded()
    summary = run(tmp_path / "w", config, events=events)
    assert summary.counts == {"imported": 1, "already done": 0} and not summary.is_failed
    assert (summary.count("rejected", "too_small"), summary.count("passed over", ".gif")) == (1, 1)
    assert [message.partition(": ")[0] for message in events.warnings] == ["too_small"]
    with Ledger(tmp_path / "w") as ledger:
        (photo,), (refusal,) = ledger.all(Photo), ledger.all(Refusal)
    assert (photo.file, photo.degradation, photo.source) == ("rain/a.png", "rain", "captured")
    assert refusal.file == "small.png"
    again = run(tmp_path / "w", config)
    assert again.counts == {"imported": 0, "already done": 1} and not again.is_failed


def test_a_run_that_rejects_every_file_is_failed(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a.png": b"no image", "b.png": photograph_file()})
    config = IngestConfig(photos=path, classes="measured")
    summary = run(tmp_path / "w", config)
    assert summary.is_failed and summary.count("rejected", "no_licence") == 2
    assert not run(tmp_path / "w", IngestConfig(photos=path, licence="MIT", classes="measured")).is_failed
    assert not run(tmp_path / "w", IngestConfig(photos=path, licence="MIT", classes="measured")).is_failed


def test_the_command_ends_with_1_if_every_file_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = zip_of(tmp_path / "x.zip", {"a.png": b"no image"})
    assert main(["ingest", str(path), str(tmp_path / "w"), "--licence", "MIT"]) == 1
    assert capsys.readouterr().out == "ingest: 0 imported, 0 already done\n  rejected      1  not_an_image\n"
    assert main(["ingest", str(path), str(tmp_path / "v"), "--licence", "MIT", "--dry-run"]) == 0
    assert not (tmp_path / "v").exists()


def test_a_dry_run_names_ignored_files(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "x.zip", {"a.png": b"a", "b.gif": b""})
    summary = run(tmp_path / "w", IngestConfig(photos=path, dry_run=True))
    assert str(summary).splitlines() == ["would look at 1 files", "  passed over      1  .gif"]
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "photos: nothing is named to import."),
        ({"photos": Path("p"), "dataset": "a/b"}, "p: --dataset a/b takes the place of the photographs."),
        ({"photos": Path("p"), "classes": "guess"}, "classes: 'guess' is not known. Choose one of: classifier, "),
        ({"photos": Path("p"), "source": "moon"}, "source: 'moon' is not known. Choose one of: dataset, "),
        ({"photos": Path("p"), "fit": "squeeze"}, "fit: 'squeeze' is not known. Choose one of: crop, "),
    ],
)
def test_conflicting_options_are_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        IngestConfig(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"photos": Path("p")}, "captured"),
        ({"photos": Path("p.tar")}, "captured"),
        ({"photos": Path("p.CSV")}, "internet"),
        ({"dataset": "a/b"}, "dataset"),
        ({"dataset": "a/b", "source": "internet"}, "internet"),
    ],
)
def test_the_kind_of_source_follows_from_what_is_imported(options: dict[str, Any], kind: str) -> None:
    assert IngestConfig(**options).source_kind == kind


def test_a_folder_of_photographs_does_not_become_its_own_workspace(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"photographs and workspace are one folder\. Name another folder"):
        run(tmp_path / "photos" / "..", IngestConfig(photos=tmp_path, licence="MIT"))
    assert not (tmp_path / "ledger.sqlite").exists()


@pytest.mark.parametrize(
    ("licence", "hint"),
    [
        ("CC-BY-4", "Did you mean CC-BY-4.0?"),
        ("cc by 4.0", "Did you mean CC-BY-4.0?"),
        ("CC0", "Did you mean CC0-1.0?"),
        ("Apache 2.0", "Did you mean Apache-2.0?"),
        ("my own terms", "Write LicenseRef-NAME for a licence of another kind."),
    ],
)
def test_a_licence_that_spdx_does_not_know_has_a_warning(licence: str, hint: str) -> None:
    assert licence_warning(licence) == (
        f"licence {licence!r} is not an SPDX identifier, so that readers cannot look it up. {hint}"
    )


@pytest.mark.parametrize("licence", ["CC-BY-4.0", "cc0-1.0", "MIT OR Apache-2.0", "LicenseRef-own", "CC-PDDC"])
def test_a_licence_that_spdx_knows_has_no_warning(licence: str) -> None:
    assert licence_warning(licence) == ""


def test_ingest_warns_once_of_each_unknown_licence(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, photo in (("a", "wine-1"), ("b", "life-1"), ("c", "friends-1")):
        (tmp_path / "photos" / f"{name}.png").write_bytes(photograph_file(photo))
    (tmp_path / "photos" / "credits.csv").write_text("file,licence\na.png,CC-BY-4\nb.png,CC-BY-4\n")
    events = Recorded()
    config = IngestConfig(photos=tmp_path / "photos", licence="MIT", classes="measured")
    assert run(tmp_path / "workspace", config, events=events).counts["imported"] == 3
    (warning,) = events.warnings
    assert warning.startswith("a.png: key ") and "licence 'CC-BY-4' is not an SPDX identifier" in warning


@pytest.mark.parametrize(("name", "content"), [("x.jsonl", ""), ("x.jsonl", "\n\n"), ("x.csv", "url,licence\n")])
def test_a_list_without_rows(tmp_path: Path, name: str, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert main(["ingest", str(path), str(tmp_path / "workspace")]) == 2
    message = f"{path}: the list has no rows. Add a row with a url for each photograph."
    assert capsys.readouterr().err == f"ggt100k ingest: {message}\n"
    assert not (tmp_path / "workspace").exists()


@pytest.mark.parametrize(("credit", "licence"), [("CC0-1.0", "MIT"), ("", "CC0-1.0")])
def test_another_licence_of_an_imported_photograph_is_reported(tmp_path: Path, credit: str, licence: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(photograph_file("wine-1"))
    config = IngestConfig(photos=tmp_path / "photos", licence="MIT", classes="measured")
    run(tmp_path / "workspace", config)
    (tmp_path / "photos/credits.csv").write_text(f"file,licence\na.png,{credit}\n")
    events = Recorded()
    counts = run(tmp_path / "workspace", dataclasses.replace(config, licence=licence), events=events).counts
    assert counts == {"imported": 0, "already done": 1}
    assert events.warnings == [
        "a.png: the photograph was imported with the licence MIT, and CC0-1.0 is stated now. "
        "Import it into a new workspace."
    ]
