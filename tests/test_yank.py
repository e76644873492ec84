"""yank: pairs that are withdrawn, refused requests, and that the first reason is kept."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.records import Photo, Withdrawal
from ggt_tools.stages.yank.run import YankConfig, run
from ggt_tools.workspace.ledger import Ledger

from .making import Store, make_pairs


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    with Ledger(tmp_path / "w", create=True) as ledger:
        ledger.add(*(pair.photo for pair in make_pairs(Store(), 3)))
    return tmp_path / "w"


def keys(workspace: Path) -> list[str]:
    with Ledger(workspace) as ledger:
        return [photo.key for photo in ledger.all(Photo)]


def withdrawn(workspace: Path) -> list[tuple[str, str, str]]:
    with Ledger(workspace) as ledger:
        return [(each.key, each.reason, each.withdrawn_by) for each in ledger.all(Withdrawal)]


def yank(workspace: Path, *argv: str) -> int:
    return main(["yank", str(workspace), *argv])


def test_pairs_are_withdrawn_once_and_the_first_reason_stands(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, c = keys(workspace)
    assert yank(workspace, a, b, a, "--reason", " the author asks ", "--by", "Zoë") == 0
    assert yank(workspace, b, c, "--reason", "a face") == 0
    assert capsys.readouterr().out == "yank: 2 withdrawn, 0 already done\nyank: 1 withdrawn, 1 already done\n"
    assert withdrawn(workspace) == [
        (a, "the author asks", "Zoë"),
        (b, "the author asks", "Zoë"),
        (c, "a face", getpass.getuser()),
    ]
    assert len(keys(workspace)) == 3, "the photographs stay"


def test_a_key_that_is_not_there_withdraws_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, *_ = keys(workspace)
    assert yank(workspace, a, "0" * 16, "--reason", "a face") == 2
    assert capsys.readouterr().err == (
        f"ggt100k yank: {workspace}: key {'0' * 16}: no photograph in this workspace has this key, "
        "so nothing was withdrawn. Copy the keys from the index.\n"
    )
    assert withdrawn(workspace) == []


def test_a_reason_is_required(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert yank(workspace, keys(workspace)[0], "--reason", "  ") == 2
    assert capsys.readouterr().err == (
        "ggt100k yank: --reason: is empty. Say why the pairs are withdrawn, for people who ask about them in a year.\n"
    )
    with pytest.raises(SystemExit):
        yank(workspace, keys(workspace)[0])
    assert withdrawn(workspace) == []


def test_a_dry_run_withdraws_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert yank(workspace, *keys(workspace), "--reason", "a face", "--dry-run", "--limit", "2") == 0
    assert capsys.readouterr().out == "would withdraw 2 pairs, 0 already done\n"
    assert withdrawn(workspace) == []


def test_the_stage_runs_without_a_command_line(workspace: Path) -> None:
    a, b, c = keys(workspace)
    config = YankConfig(keys=(a, b, c, a), reason="a face", by="Zoë", limit=2)
    assert run(workspace, config).counts == {"withdrawn": 2, "already done": 0}
    assert run(workspace, config).counts == {"withdrawn": 1, "already done": 2}
    assert withdrawn(workspace) == [(key, "a face", "Zoë") for key in (a, b, c)]
    with pytest.raises(ConfigError):
        YankConfig(keys=(a,), reason=" ")
