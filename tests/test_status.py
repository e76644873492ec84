"""The status of a workspace as a value, and as the command prints it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ggt_tools.cli import main
from ggt_tools.records import Aligned, Call, Refusal
from ggt_tools.stages.status import CallCounts, ClassCounts, run
from ggt_tools.workspace.ledger import Ledger
from tests.making import Store, make_pair
from tests.test_verdict import candidate


def filled(folder: Path) -> Path:
    photo = dataclasses.replace(make_pair(Store(), 1, "haze").photo)
    call = Call(
        id="1", work="a", stage="restore", model="m\x1b", started="", seconds=1.0, outcome="ok", detail="", usd=0.25,
        tokens_in=0, tokens_out=0,
    )  # fmt: skip
    with Ledger(folder, create=True) as ledger:
        ledger.add(
            photo,
            candidate("a", photo.key),
            Aligned(candidate="a", version="1", image="0" * 64, reason=""),
            Refusal(file="b.jpg", reason="too_small", detail=""),
            call,
            dataclasses.replace(call, id="2", outcome="blocked", usd=0.0),
        )
    return folder


def test_a_status_holds_the_counts(tmp_path: Path) -> None:
    status = run(filled(tmp_path / "w"))
    assert [(stage.stage, stage.entered, stage.left) for stage in status.funnel] == [
        ("ingest", 2, 1), ("restore", 1, 1), ("align", 1, 1), ("verdict", 0, 0),
    ]  # fmt: skip
    assert status.funnel[0].reasons == (("too_small", 1),)
    assert status.classes == (ClassCounts(degradation="haze", photographs=1, made=1, kept=0, rejected=0, unsure=0),)
    assert [(row.degradation, row.candidates, row.made) for row in status.restorers] == [("haze", 1, 1)]
    assert status.calls == (
        CallCounts(stage="restore", model="m\x1b", outcome="blocked", count=1, usd=0.0),
        CallCounts(stage="restore", model="m\x1b", outcome="ok", count=1, usd=0.25),
    )


def test_the_command_prints_it_without_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(filled(tmp_path / "w"))]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[:2] == [
        "stage       entered   left   why the others did not",
        "ingest            2      1   1 too_small",
    ]
    assert "\x1b" not in printed and "restore   m\\x1b  ok            1  0.25\n" in printed
