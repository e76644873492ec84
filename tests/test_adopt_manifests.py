"""adopt: the manifests of HarnessIR, DiffSynth-Studio, musubi-tuner and Pico-Banana-400K, and faults in them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.errors import ConfigError
from ggt_tools.records import Candidate, Photo
from ggt_tools.stages.adopt.image_source import open_image_source
from ggt_tools.stages.adopt.layouts import Listing
from ggt_tools.stages.adopt.manifests import list_by_manifest
from ggt_tools.stages.adopt.run import AdoptConfig, run
from ggt_tools.stages.export import ExportConfig, export
from ggt_tools.workspace.ledger import Ledger

from .making import make_dataset, picture
from .test_cli import ggt, well

FACTS: dict[str, Any] = {"set": "mine", "restorer": "model-x", "licence": "CC0-1.0"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with in/1.png to in/4.png and out/1.png to out/4.png."""
    root = tmp_path / "set"
    for number in range(1, 5):
        lq = picture(number)
        for side, pixels in (("in", lq), ("out", lq // 2 + 60)):
            (root / side).mkdir(parents=True, exist_ok=True)
            (root / side / f"{number}.png").write_bytes(encode_png(pixels.astype("uint8")))
    return root


def listing(root: Path, rows: Any, name: str = "manifest.json", columns: tuple[str, ...] = ()) -> Listing:
    path = root / name
    path.write_text(rows if isinstance(rows, str) else json.dumps(rows), encoding="utf-8")
    return list_by_manifest(open_image_source(root), path, columns)


def summary(found: Listing) -> list[tuple[str, str, str, str, str]]:
    return [(pair.name, pair.output, pair.degradation, pair.prompt, pair.restorer) for pair in found.pairs]


def imported(workspace: Path) -> dict[str, tuple[str, str, str, str]]:
    """By file of the photograph: class, restorer, strategy and prompt."""
    with Ledger(workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        return {
            photos[each.key].file: (photos[each.key].degradation, each.restorer, each.strategy, each.prompt)
            for each in ledger.all(Candidate)
        }


# --- each form --------------------------------------------------------------------------------------------------------


def test_harnessir(folder: Path) -> None:
    """Absolute and relative names, several types, no type, and our own names of classes."""
    rows = [
        {"lq": str(folder / "in/1.png"), "gt": "out/1.png", "type": ["lowlight", "haze"], "prompt": "Remove haze."},
        {"lq": "./in/2.png", "gt": "out\\2.png", "type": ["mix"], "prompt": ""},
        {"lq": "in/3.png", "gt": "out/3.png", "type": []},
        {"lq": "in/4.png", "gt": "out/4.png", "type": "old_photo", "model": "nb2"},
    ]
    expected = [
        ("in/1.png", "out/1.png", "haze", "Remove haze.", ""),
        ("in/2.png", "out/2.png", "mixed", "", ""),
        ("in/3.png", "out/3.png", "", "", ""),
        ("in/4.png", "out/4.png", "old_photo", "", "nb2"),
    ]
    lines = "\n".join(map(json.dumps, rows))
    for name, text in (("a.json", json.dumps(rows)), ("a.jsonl", lines), ("b.json", lines + "\n\n")):
        found = listing(folder, text, name)
        assert summary(found) == expected and found.count == 4 and not found.unmatched


@pytest.mark.parametrize(
    "row",
    [
        {"image": "out/1.png", "edit_image": "in/1.png", "prompt": "P: ü"},
        {"image": "out/1.png", "edit_image": ["in/1.png"], "prompt": "P: ü"},
        {"image_path": "out/1.png", "control_path": "in/1.png", "caption": "P: ü"},
        {"image_path": "out/1.png", "control_path_0": "in/1.png", "caption": "P: ü"},
        {
            "open_image_input_url": "https://example.org/1.jpg", "output_image": "out/1.png", "text": "P: ü",
            "local_input_image": "in/1.png", "edit_type": "Add an object", "summarized_text": "short",
        },
    ],
)  # fmt: skip
def test_diffsynth_musubi_and_pico_banana(row: dict[str, Any], folder: Path) -> None:
    found = listing(folder, json.dumps(row) + "\n", "metadata.jsonl")
    assert summary(found) == [("in/1.png", "out/1.png", "", "P: ü", "")]
    assert found.passed_over.counts["not_in_manifest"] == 6


def test_csv(folder: Path) -> None:
    text = 'image,edit_image,prompt\nout/1.png,in/1.png,"One,\ntwo"\nout/2.png,in/2.png,\n'
    assert summary(listing(folder, text, "m.csv")) == [
        ("in/1.png", "out/1.png", "", "One,\ntwo", ""),
        ("in/2.png", "out/2.png", "", "", ""),
    ]


def test_named_columns_are_read(folder: Path) -> None:
    rows = [{"a": "in/1.png", "b": "out/1.png", "lq": "in/2.png", "gt": "out/2.png"}]
    assert summary(listing(folder, rows, columns=("a", "b")))[0][:2] == ("in/1.png", "out/1.png")
    assert summary(listing(folder, rows))[0][:2] == ("in/2.png", "out/2.png")


@pytest.mark.parametrize("to", ["diffsynth", "musubi"])
def test_adopt_reads_the_manifests_of_export(to: str, tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "ggt-100k", count=6)
    export(root, tmp_path / "x", ExportConfig(to=to))
    path = tmp_path / "x" / "train" / "metadata.jsonl"
    found = list_by_manifest(open_image_source(path.parent), path, [])
    items = {item["key"]: item for item in ggt100k.PairDataset(root, decode=False)}
    assert {Path(pair.name).stem for pair in found.pairs} == set(items) and not found.unmatched
    for pair in found.pairs:
        item = items[Path(pair.name).stem]
        assert (pair.lq(), pair.gt(), pair.prompt) == (item["lq"], item["gt"], "Remove the rain.")


# --- the stage --------------------------------------------------------------------------------------------------------


def test_prompt_model_and_class_become_facts(folder: Path, tmp_path: Path) -> None:
    rows = [
        {"lq": "in/1.png", "gt": "out/1.png", "type": ["rain"], "prompt": "No rain.", "model": "nb2"},
        {"lq": "in/2.png", "gt": "out/2.png"},
    ]
    (folder / "m.json").write_text(json.dumps(rows))
    config = AdoptConfig(**FACTS, pairs=str(folder / "m.json"), degradation="snow")
    assert run(tmp_path / "w", config).counts == {"imported": 2, "already done": 0}
    assert imported(tmp_path / "w") == {
        "mine/in/1.png": ("rain", "nb2", "stated", "No rain."),
        "mine/in/2.png": ("snow", "model-x", "none", ""),
    }
    assert run(tmp_path / "w", config).counts == {"imported": 0, "already done": 2}


def test_a_manifest_beside_its_images_or_a_zip_of_them(folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    manifest.write_text(json.dumps([{"lq": "in/1.png", "gt": "out/1.png"}]))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("in/1.png", "out/1.png"):
            archive.write(folder / name, name)
    argv = ("--restorer", "m", "--licence", "CC0-1.0", "--pairs", manifest, "--dry-run")
    for images in (folder, tmp_path / "set.zip"):
        printed = well("adopt", "mine", tmp_path / "w", *argv, "--images", images)
        assert printed.startswith("  in/1.png <- out/1.png\n")
        assert "would adopt 1 pairs as mine by m, mixed\n" in printed
    done = ggt("adopt", "mine", tmp_path / "w", *argv[:-3], "--pairs", folder, "--images", folder)
    assert done.err == (
        f"ggt100k adopt: --images {folder}: this works with a manifest only. Name one: --pairs FILE.json\n"
    )


# --- what is wrong ----------------------------------------------------------------------------------------------------

GOOD = {"lq": "in/4.png", "gt": "out/4.png"}


@pytest.mark.parametrize(
    ("row", "reason", "name"),
    [
        ({"lq": "in/9.png", "gt": "out/1.png"}, "no_original", "in/9.png"),
        ({"lq": "in/1.png", "gt": "out/9.png"}, "no_output", "in/1.png"),
        ({"lq": "in/1.png"}, "no_output", "in/1.png"),
        ({"lq": None, "gt": "out/1.png"}, "no_original", "None"),
        ({"lq": "in/1.png", "gt": "in/1.png"}, "one_file", "in/1.png"),
        ({"lq": "in/1.png", "gt": "out/1.png", "type": ["fog"]}, "unknown_class", "in/1.png"),
        ({"lq": "../outside.png", "gt": "out/1.png"}, "no_original", "../outside.png"),
        ({"lq": "in/../../outside.png", "gt": "out/1.png"}, "no_original", "in/../../outside.png"),
        ({"lq": ["in/1.png", "in/2.png"], "gt": "out/1.png"}, "no_original", "['in/1.png', 'in/2.png']"),
        ({"lq": "https://example.org/1.png", "gt": "out/1.png"}, "no_original", "https://example.org/1.png"),
        (GOOD, "duplicate_name", "in/4.png"),
    ],
)
def test_wrong_rows_do_not_affect_other_rows(row: dict[str, Any], reason: str, name: str, folder: Path) -> None:
    (folder.parent / "outside.png").write_bytes((folder / "in/1.png").read_bytes())
    found = listing(folder, [GOOD, row])
    assert [pair.name for pair in found.pairs] == ["in/4.png"]
    (image,) = found.unmatched
    assert (image.reason, image.name) == (reason, name)
    assert image.detail.startswith(f"{folder / 'manifest.json'}: row 2: ")


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("[]", "m.json", "there is no row. Name the manifest that lists the pairs."),
        ("[1]", "m.json", "row 1: this is not a JSON object. Correct the row."),
        ("[", "m.json", "this is not JSON. Correct it."),
        ('{"lq": 1}\n{', "m.jsonl", "line 2: this is not JSON. Correct it."),
        (
            '[{"a": "in/1.png", "b": 2}]',
            "m.json",
            "it is not clear which columns hold the pairs: the rows have 'a', 'b'. Name them: --columns LQ,GT",
        ),
    ],
)
def test_unreadable_manifests_are_errors(text: str, name: str, message: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        listing(folder, text, name)
    assert str(caught.value) == f"{folder / name}: {message}"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("a",), "--columns a: a manifest has two sides. Name two columns: LQ,GT"),
        (("lq", "x"), "there is no column 'x'. The rows have 'lq', 'gt'."),
    ],
)
def test_missing_columns_are_errors(columns: tuple[str, ...], message: str, folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        listing(folder, [GOOD], columns=columns)
    assert str(caught.value).endswith(message)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(["in/1.png", "../outside.png", "/etc/hosts"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(["type", "prompt", "model", "extra"]), json_values), max_size=4),
    json_values,
)
def test_no_cell_opens_another_file(rows: list[dict[str, Any]], cell: Any) -> None:
    """Whatever the cells hold, each row is a pair of files of the folder or is reported."""
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "set"
        for name in ("in/1.png", "out/1.png", "../outside.png"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"")
        rows = [{"lq": cell, "gt": "out/1.png"}, *({"lq": "in/1.png", "gt": "out/1.png"} | row for row in rows)]
        found = listing(root, rows)
        assert {(pair.name, pair.output) for pair in found.pairs} <= {("in/1.png", "out/1.png")}
        assert len(found.unmatched) + found.count == len(rows)
