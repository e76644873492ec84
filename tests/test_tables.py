"""Tables of text, and text from outside on a terminal."""

from __future__ import annotations

from ggt_tools.tables import format_table, printable


def test_texts_are_left_and_numbers_right_aligned() -> None:
    rows = [("haze", "7", "1.50"), ("low_light", "12", "-")]
    assert format_table(("class", "pairs", "usd"), rows) == [
        "class      pairs  usd",
        "haze           7  1.50",
        "low_light     12  -",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert format_table(("a", "b"), []) == ["a  b"]


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b[2J\nb\u202e") == "a\\x1b[2J\\nb\\u202e"
    assert format_table(("a",), [("x\ny",)]) == ["a", "x\\ny"]
