"""TOML files: unreadable files and unknown names are reported with their place and near names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ggt_tools.errors import ConfigError
from ggt_tools.toml import as_table, check_names, read_text, read_toml


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[one]\ntwo = 3\nname = "\u00e9"\n', encoding="utf-8")
    assert read_toml(file) == {"one": {"two": 3, "name": "é"}}


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    with pytest.raises(ConfigError, match=r"a\.toml: cannot be read: .*No such file"):
        read_toml(file)
    with pytest.raises(ConfigError, match=r"a\.toml: the plan cannot be read: .*No such file"):
        read_text(file, "the plan")
    file.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"a\.toml: cannot be read: 'utf-8' codec"):
        read_toml(file)
    file.write_text("a = ")
    with pytest.raises(ConfigError, match=r"a\.toml: is not valid TOML: Invalid value"):
        read_toml(file)


def test_a_value_instead_of_a_table_is_an_error() -> None:
    assert as_table("here", {"a": 1}) == {"a": 1}
    with pytest.raises(ConfigError) as fault:
        as_table("here", 3)
    assert str(fault.value) == "here: must be a table, not 3."


@pytest.mark.parametrize(
    ("name", "choices", "hint"),
    [
        ("structur", ("shift", "structure"), "Did you mean structure?"),
        ("q", ("b", "a"), "Known: a, b."),
        (
            "q",
            [f"{number:03}" for number in range(50)],
            f"Known: {', '.join(f'{n:03}' for n in range(40))} and 10 more.",
        ),
    ],
)
def test_an_unknown_name_is_an_error_that_suggests_similar_ones(name: str, choices: list[str], hint: str) -> None:
    check_names("here", choices, choices)
    with pytest.raises(ConfigError) as fault:
        check_names("here", [*choices, name], choices)
    assert str(fault.value) == f"here: {name!r} is not known. {hint}"
