"""The sample's photographs: number, sizes, credits, and the statement of what they lack."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

import ggt100k

SAMPLE = Path(__file__).parents[1] / "dataset_card" / "sample"
COLUMNS = ["file", "title", "author", "licence", "url", "source", "source_name", "degradation"]
LICENCE_URL = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "LicenseRef-public-domain": "https://creativecommons.org/publicdomain/mark/1.0/",
}


def photographs() -> list[Path]:
    return sorted(SAMPLE.glob("*.jpg"))


def credits_table() -> list[dict[str, str]]:
    with (SAMPLE / "credits.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def notice() -> str:
    return (SAMPLE / "NOTICE").read_text(encoding="utf-8")


def notice_entry(name: str) -> str:
    """The lines of NOTICE on one photograph: from its file name to the next blank line."""
    return notice().split(f"\n{name}\n", 1)[1].split("\n\n", 1)[0]


def test_count_and_bytes() -> None:
    assert 12 <= len(photographs()) <= 20
    assert sum(path.stat().st_size for path in SAMPLE.iterdir()) <= 4_000_000


def test_holds_only_photographs_credits_and_what_is_packed_of_them() -> None:
    names = {path.name for path in SAMPLE.iterdir()}
    assert names == {path.name for path in photographs()} | {"credits.csv", "NOTICE", "packed"}


@pytest.mark.parametrize("path", photographs(), ids=lambda path: path.stem)
def test_photograph(path: Path) -> None:
    assert path.name == path.name.lower()
    with Image.open(path) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"
        assert all(512 <= side <= 1024 for side in image.size)
        assert not {"exif", "icc_profile", "comment", "xmp"} & image.info.keys()
        image.load()


def test_photographs_differ() -> None:
    assert len({path.read_bytes() for path in photographs()}) == len(photographs())


def test_every_photograph_is_credited_once() -> None:
    rows = credits_table()
    assert list(rows[0]) == COLUMNS
    assert [row["file"] for row in rows] == [path.name for path in photographs()]
    assert all(value for row in rows for value in row.values())


@pytest.mark.parametrize("row", credits_table(), ids=lambda row: row["file"])
def test_credit(row: dict[str, str]) -> None:
    assert row["licence"] in LICENCE_URL
    assert row["source"] in ggt100k.SOURCES
    assert row["degradation"] in ggt100k.DEGRADATIONS
    assert row["url"].startswith(("http://", "https://"))
    entry = notice_entry(row["file"])
    for fact in (row["title"], row["author"], row["licence"], LICENCE_URL[row["licence"]], row["source_name"]):
        assert fact in entry
    assert f"{row['degradation']}:" in entry
    assert row["url"] in notice()


def test_notice_names_no_other_photograph() -> None:
    entries = [line for line in notice().splitlines() if line.endswith(".jpg") and not line.startswith(" ")]
    assert entries == [path.name for path in photographs()]


def test_notice_names_the_classes_the_sample_lacks() -> None:
    shown = {row["degradation"] for row in credits_table()}
    lacks = notice().split("Classes it lacks: ", 1)[1].split(".", 1)[0]
    assert lacks.split(", ") == [name for name in ggt100k.DEGRADATIONS if name not in shown]
