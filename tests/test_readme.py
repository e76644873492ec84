"""README: its snippets run, its YAML is the schema's, its lists are the code's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ggt100k
from ggt_tools.card import front_matter
from ggt_tools.cli import main
from ggt_tools.score import SETS
from ggt_tools.verdict import DEFAULT_GATE, load_gate

from .making import run_python

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_snippet_runs_as_it_stands(snippet: str, tmp_path: Path) -> None:
    result = run_python(snippet, tmp_path / "cwd")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_it_starts_with_the_hubs_yaml() -> None:
    six = list(ggt100k.DEGRADATIONS[:6])
    assert README.startswith(front_matter(sorted(SETS["core"]), {"train": six, "test": six}) + "---\n")


def test_every_reason_is_listed() -> None:
    listed = set(re.findall(r"`([a-z_]+)`", README.split("| stage | reasons |")[1].split("\n\n")[0]))
    ingest = {
        "no_licence",
        "not_an_image",
        "unsupported_mode",
        "unsupported_format",
        "too_small",
        "too_large",
        "too_flat",
        "screenshot",
        "unreadable",
        "bad_name",
        "duplicate_name",
        "duplicate",
        "near_duplicate",
        "no_class",
        "bad_url",
        "not_served",
        "unreachable",
    }
    restore = {"refused", "not_an_image", "no_result", "bad_request", "bad_reply", "expired", "model_failed"}
    retry = {"rate_limited", "server_error", "timeout", "cut_off", "unavailable"}
    adopt = {"no_original", "no_output", "no_ground_truth", "no_role", "ambiguous", "taken"}
    adopt |= {"link", "encrypted", "damaged", "bomb"}
    align = {"aspect_changed", "misaligned", "transparent", "retry", "roles_confused"}
    assert listed == set(load_gate(DEFAULT_GATE).reasons) | ingest | adopt | restore | retry | align | {
        "not_the_best",
        "no_image",
    }


def test_every_verb_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    verbs = set(re.findall(r"^    ([a-z-]+)\b", capsys.readouterr().out, re.MULTILINE)) - {"demo"}
    shown = set(re.findall(r"^ggt100k ([a-z-]+)", README, re.MULTILINE))
    assert verbs == shown
