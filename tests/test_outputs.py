"""Output files of a command: if one cannot be written, one message is raised before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.files.outputs import check_output_file, check_output_folder, why_unwritable
from ggt_tools.workspace.ledger import Ledger

FILES = (  # verbs with an option or argument that is a file to write
    ("report", "WORKSPACE", "--out", "OUT"),
    ("review", "WORKSPACE", "--export", "OUT"),
    ("study", "WORKSPACE", "--out", "OUT"),
    ("calibrate", "WORKSPACE", "--labels", "none.csv", "--out", "OUT"),
    ("calibrate", "WORKSPACE", "--labels", "none.csv", "--out", "x.toml", "--plot", "OUT"),
    ("diff", "sample", "sample", "--changelog", "OUT"),
    ("diff", "sample", "sample", "--sheet", "OUT"),
    ("evaluate", "sample", "--model", "outputs", "--out", "OUT"),
    ("evaluate", "sample", "--model", "outputs", "--sheet", "OUT"),
    ("evaluate", "sample", "--model", "outputs", "--table", "OUT.md"),
    ("validate", "sample", "--findings", "OUT"),
    ("train-classes", "photographs", "OUT"),
    ("train-fidelity", "photographs", "OUT"),
)
FOLDERS = (
    ("export", "sample", "--to", "pairs", "--out", "OUT"),
    ("export-ledger", "WORKSPACE", "OUT"),
    ("weights", "--fetch", "--metrics", "core", "--folder", "OUT"),
)
IDS = [" ".join(argv) for argv in FILES]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with Ledger(tmp_path / "WORKSPACE", create=True):
        pass
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("argv", FILES, ids=IDS)
def test_a_file_in_a_folder_that_is_missing(
    argv: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.replace("OUT", "no/OUT") for word in argv]) == 2
    line = capsys.readouterr().err
    assert "OUT" in line and line.endswith(": its folder does not exist. Create the folder first.\n")


@pytest.mark.parametrize("argv", FILES, ids=IDS)
def test_a_file_that_is_a_folder(argv: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / argv[-1]).mkdir()
    assert main(list(argv)) == 2
    assert capsys.readouterr().err == f"ggt100k {argv[0]}: {argv[-1]}: is a folder. Name a file in it.\n"


@pytest.mark.parametrize("argv", FOLDERS, ids=[" ".join(argv) for argv in FOLDERS])
def test_a_folder_that_is_a_file(argv: tuple[str, ...], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "OUT").touch()
    assert main(list(argv)) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"ggt100k {argv[0]}: ") and "a file. Name a" in err


def test_what_may_not_be_written() -> None:
    proc = Path("/proc/self")  # even root makes no file there
    if not proc.is_dir() or not why_unwritable(proc):
        pytest.skip("there is no folder that nobody can write")
    with pytest.raises(ConfigError, match=r"^/proc/self/x: cannot be written: .*\. Name another file\.$"):
        check_output_file(proc / "x")
    with pytest.raises(ConfigError, match=r"^/proc/self/x: cannot be written: .*\. Name another folder\.$"):
        check_output_folder(proc / "x")


def test_what_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    check_output_file(tmp_path / "old")
    check_output_file(tmp_path / "new")
    check_output_folder(tmp_path / "a" / "b")
    check_output_folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]
