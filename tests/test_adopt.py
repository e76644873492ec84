"""adopt: published file names of each set, every layout, harmful archives, and no guessed partners."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ggt100k
from ggt_format.png import encode_png
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.events import Recorded
from ggt_tools.files import zips
from ggt_tools.metrics.reference import psnr, ssim
from ggt_tools.records import Adopted, Aligned, Candidate, Photo, Refusal, Score, Verdict
from ggt_tools.stages.adopt.datasets import find_columns
from ggt_tools.stages.adopt.drift import drift, shift
from ggt_tools.stages.adopt.image_files import ImageSource
from ggt_tools.stages.adopt.image_source import open_image_source
from ggt_tools.stages.adopt.layouts import list_by_name
from ggt_tools.stages.adopt.lists import list_by_meta_info, list_by_metadata
from ggt_tools.stages.adopt.matching import STEPS, Step, match, useful_steps
from ggt_tools.stages.adopt.names import ImageName
from ggt_tools.stages.adopt.run import AdoptConfig
from ggt_tools.stages.adopt.run import run as run_adopt
from ggt_tools.stages.adopt.sets import SETS, local_only_reason, split_by_role
from ggt_tools.workspace.ledger import Ledger

from .hub import Hub
from .making import GATE, run_python
from .photographs import Photograph, crop, dimmed, hazed, noisy, shifted
from .test_cli import Done, ggt, well

NAMES = ("life-1", "wine-1", "sunset-1")


def files() -> list[Photograph]:
    return [crop(name, 256) for name in _names()]


def _names() -> list[str]:
    from .photographs import credits

    return sorted(credits())[:3]


def encoded(image: Photograph, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def archive(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def folder(path: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def adopted(workspace: Path) -> dict[str, Adopted]:
    with Ledger(workspace) as ledger:
        files = {photo.key: photo.file for photo in ledger.all(Photo)}
        return {files[each.key]: each for each in ledger.all(Adopted)}


def said(done: Done) -> list[str]:
    """What it complained of."""
    return [line.removeprefix("ggt100k adopt: ") for line in done.err.splitlines()]


# --- the nine sets, as they are named where they are published --------------------------------------------------------

# set: outputs; originals, each with its true ground truth (the first photograph's, then the second's)
PUBLISHED = {
    "o-haze": (
        ("O-HAZE_gpt/01_outdoor_hazy.png", "O-HAZE_gpt/02_outdoor_hazy_output.png"),
        {
            "O-HAZE/hazy/01_outdoor_hazy.jpg": "O-HAZE/GT/01_outdoor_GT.jpg",
            "O-HAZE/hazy/02_outdoor_hazy.jpg": "O-HAZE/GT/02_outdoor_GT.jpg",
        },
    ),
    "rain800": (
        ("001.png", "2-1.png"),
        {"rain800/rainy/1.jpg": "rain800/norain/1.jpg", "rain800/rainy/2.jpg": "rain800/norain/2.jpg"},
    ),
    "lol": (
        ("low/1_output.png", "low/22_output.png"),
        {
            "LOLdataset/eval15/low/1.png": "LOLdataset/eval15/high/1.png",
            "LOLdataset/eval15/low/22.png": "LOLdataset/eval15/high/22.png",
        },
    ),
    "raindrop": (
        ("0_rain.png", "1_rain.png"),
        {"test_a/data/0_rain.png": "test_a/gt/0_clean.png", "test_a/data/1_rain.png": "test_a/gt/1_clean.png"},
    ),
    "uieb": (
        ("2_img_.jpg", "3_img__output.jpg"),
        {"raw-890/2_img_.png": "reference-890/2_img_.png", "raw-890/3_img_.png": "reference-890/3_img_.png"},
    ),
    "nature20": (
        ("1_output.png", "02.png"),
        {
            "nature20/blended/1.jpg": "nature20/transmission_layer/1.jpg",
            "nature20/blended/2.jpg": "nature20/transmission_layer/2.jpg",
        },
    ),
    "istd": (
        ("90-1.png", "90-10_output.png"),
        {
            "ISTD_Dataset/test/test_A/90-1.png": "ISTD_Dataset/test/test_C/90-1.png",
            "ISTD_Dataset/test/test_A/90-10.png": "ISTD_Dataset/test/test_C/90-10.png",
        },
    ),
    "gopro": (
        ("GOPR0384_11_00_000001.png", "GOPR0385_11_01/000001.png"),
        {
            "GOPRO_Large/test/GOPR0384_11_00/blur/000001.png": "GOPRO_Large/test/GOPR0384_11_00/sharp/000001.png",
            "GOPRO_Large/test/GOPR0385_11_01/blur/000001.png": "GOPRO_Large/test/GOPR0385_11_01/sharp/000001.png",
        },
    ),
    "dpdd": (
        ("1P0A0917.PNG", "1p0a0926_output.jpg"),
        {
            "dd_dp_dataset_canon/test_c/source/1P0A0917.png": "dd_dp_dataset_canon/test_c/target/1P0A0917.png",
            "dd_dp_dataset_canon/test_c/source/1P0A0926.png": "dd_dp_dataset_canon/test_c/target/1P0A0926.png",
        },
    ),
}  # fmt: skip
OTHER = {"istd": "ISTD_Dataset/test/test_B/90-1.png", "gopro": "GOPRO_Large/test/GOPR0384_11_00/blur_gamma/000001.png"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_set_is_adopted_under_its_published_file_names(name: str, tmp_path: Path) -> None:
    outputs, originals = PUBLISHED[name]
    contents: dict[str, bytes] = {"readme.txt": b"read me", "__MACOSX/._1.png": b"\0"}
    made: dict[str, bytes] = {}
    for (lq, gt), output, image in zip(originals.items(), outputs, files(), strict=False):
        form = {"jpg": "JPEG", "png": "PNG"}
        contents[lq] = encoded(hazed(image, 0.5), form[lq[-3:].lower()])
        contents[gt] = encoded(image, form[gt[-3:].lower()])
        made[output] = encoded(image, form[output[-3:].lower()])
    if name in OTHER:
        contents[OTHER[name]] = encoded(crop("life-1", 64))
    argv = (f"gpt4o-restore/{name}", tmp_path / "w", "--licence", "CC-BY-4.0")
    argv += ("--outputs", archive(tmp_path / "x.zip", made), "--originals", archive(tmp_path / "y.zip", contents))
    pairs = dict(zip(originals, outputs, strict=True))
    done = ggt("adopt", *argv, "--dry-run")
    dry = done.out
    assert (done.code, done.err) == (0, "".join(f"ggt100k adopt: {line}\n" for line in withdrawn(argv[0])))
    assert [line.strip() for line in dry.splitlines()[:2]] == [
        f"{lq} <- {pairs[lq]}, with its true gt" for lq in sorted(pairs)
    ]
    assert not (tmp_path / "w").exists()
    passed = "  passed over      1  .txt\n  passed over      1  hidden_folder: __MACOSX\n"
    if name in OTHER:  # of an original set what is neither photograph nor ground truth
        passed += "  passed over      1  other_role\n"
    assert dry.endswith(passed)
    assert ggt("adopt", *argv).out == f"adopt: 2 imported, 0 already done\n{passed}"
    for lq, each in adopted(tmp_path / "w").items():
        assert each.set == f"gpt4o-restore/{name}"
        assert each.output == pairs[lq.removeprefix(f"{each.set}/")]
        assert each.reference and each.local_only == "" and (each.width, each.height) == (256, 256)
    with Ledger(tmp_path / "w") as ledger:
        for photo in ledger.all(Photo):
            assert (photo.degradation, photo.licence, photo.source) == (
                SETS[argv[0]].degradation,
                "CC-BY-4.0",
                "dataset",
            )
            assert photo.source_name == SETS[argv[0]].title
        assert {(c.restorer, c.restorer_name) for c in ledger.all(Candidate)} == {
            ("gpt-4o", f"adopted:gpt4o-restore/{name}")
        }
    assert ggt("adopt", *argv).out == f"adopt: 0 imported, 2 already done\n{passed}"


def withdrawn(name: str) -> list[str]:
    if SETS[name].is_released:
        return []
    return [
        f"{name}: the authors of GPT-4o-Restore announced these outputs and withdrew them: since July 2025 their "
        "README names six sets without this one. Check where your files come from, and their licence."
    ]


def test_the_nine_sets_are_those_of_the_paper() -> None:
    assert {name.partition("/")[2] for name in SETS if "/" in name} == set(PUBLISHED)
    assert {name.partition("/")[2] for name, each in SETS.items() if not each.is_released} == {"istd", "gopro", "dpdd"}
    done = ggt("adopt", "gpt4o-restore/sots", "w")
    assert done.code == 2 and "GPT-4o-Restore has no such set. Choose one of: gpt4o-restore/o-haze," in done.err


# --- matching ---------------------------------------------------------------------------------------------------------


def matched(outputs: list[str], originals: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Original by output, and the reason by name of what was left alone."""
    found = match(outputs, originals)
    return dict(found.pairs), {each.name: each.reason for each in (*found.outputs, *found.originals)}


@pytest.mark.parametrize(
    ("output", "original"),
    [
        ("IMG_7.PNG", "img_7.jpg"),
        ("7.png", "0007.png"),
        ("0007_output.webp", "7.png"),
        ("7-1.png", "7.png"),
        ("7 (1).png", "7.png"),
        ("7_output-1.png", "7.png"),
        ("7-gpt4o.png", "7_hazy.png"),
        ("seq_000007.png", "test/seq/blur/000007.png"),
        ("Out/sub/7.png", "sub/7.png"),
    ],
)
def test_a_name_finds_its_partner(output: str, original: str) -> None:
    """Among others: alone, all of its folders would be shared, and tell nothing."""
    others = (["Out/zzz/99.png"], ["zzz/99.png"]) if "sub" in original else (["99.png"], ["99.png"])
    pairs, alone = matched([output, *others[0]], [original, *others[1]])
    assert pairs[output] == original and len(pairs) == 2 and not alone


def test_ambiguous_partners_are_listed() -> None:
    assert matched(["1.png"], ["1.jpg", "1.png"]) == ({}, dict.fromkeys(["1.png", "1.jpg"], "ambiguous"))
    assert matched(["1.jpg", "1.png"], ["1.bmp"])[1] == dict.fromkeys(["1.jpg", "1.png", "1.bmp"], "ambiguous")
    assert matched(["1-1.png", "1-2.png"], ["1.png"])[1] == dict.fromkeys(["1-1.png", "1-2.png", "1.png"], "ambiguous")
    assert matched(["a1.png", "a01.png"], ["A1.png", "A01.png"])[0] == {"a1.png": "A1.png", "a01.png": "A01.png"}
    assert matched(["01.png"], ["1.png", "001.png"])[0] == {}
    listed = match(["1.png"], ["x/1.png", "y/1.png"])
    assert (
        not listed.pairs
        and listed.outputs[0].detail == "1.png: it is not clear which of x/1.png, y/1.png belongs to it"
    )


def test_a_more_similar_name_has_precedence() -> None:
    pairs, alone = matched(["1.png", "1_output.png"], ["1.png"])
    assert pairs == {"1.png": "1.png"} and alone == {"1_output.png": "taken"}
    assert match(["1.png", "1_output.png"], ["1.png"]).outputs[0].detail == (
        "1_output.png: 1.png is paired with 1.png, whose name is more similar"
    )


def test_a_number_after_a_hyphen_is_part_of_the_name_if_originals_have_one() -> None:
    pairs, alone = matched(["90-1_output.png", "90-2.png"], ["90-1.png", "90.png", "90-3.png"])
    assert pairs == {"90-1_output.png": "90-1.png"}
    assert alone == {"90-2.png": "no_original", "90.png": "no_output", "90-3.png": "no_output"}


def test_folders_that_differ_are_never_overlooked() -> None:
    pairs, alone = matched(["b/1.png", "c/2.png"], ["a/1.png", "c/2.png"])
    assert pairs == {"c/2.png": "c/2.png"} and alone == {"b/1.png": "no_original", "a/1.png": "no_output"}


@pytest.mark.slow
@given(
    st.lists(st.from_regex(r"(?:[ab]/)?[a-c]?0{0,2}[1-3](?:-1|_output|_gt)?\.(?:png|JPG)", fullmatch=True), max_size=8),
    st.lists(st.from_regex(r"(?:[ab]/)?[a-c]?0{0,2}[1-3](?:-1|_hazy)?\.(?:png|jpg)", fullmatch=True), max_size=8),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_match_reports_each_name_once_in_any_order(outputs: list[str], originals: list[str], drawn: object) -> None:
    found = match(outputs, originals)
    left, right = [pair[0] for pair in found.pairs], [pair[1] for pair in found.pairs]
    assert sorted([*left, *(each.name for each in found.outputs)]) == sorted(set(outputs))
    assert sorted([*right, *(each.name for each in found.originals)]) == sorted(set(originals))
    others = list(outputs), list(originals)
    for some in others:
        drawn.shuffle(some)  # type: ignore[attr-defined]
    assert match(*others) == found  # the order in which names come decides nothing
    assert match(outputs, originals, choose_steps=lambda names: STEPS) == found  # nor do the steps that are left out


@pytest.mark.slow
def test_a_long_list_of_pairs_is_read_in_linear_time(tmp_path: Path) -> None:
    count = 20_000
    originals, outputs = (
        ImageSource(path=tmp_path, names=names, refused={}, read=lambda name: b"")
        for names in (tuple(f"{side}{number}.png" for number in range(count)) for side in "ab")
    )
    lines = [f"a{number}.png,b{(number + 1) % count}.png\n" for number in range(count)]
    (tmp_path / "map.csv").write_text("original,output\n" + "".join(lines))
    started = time.process_time()
    found = list_by_name(outputs, originals, SETS["gpt4o-restore/lol"], map_path=tmp_path / "map.csv")
    assert (found.count, found.unmatched) == (count, ())
    assert time.process_time() - started < 5, "each name against each other takes some 20 s"


@pytest.mark.parametrize(
    ("output", "original", "step_count"),
    [("1.png", "1.jpg", 2), ("01.png", "1.jpg", 3), ("1_output.png", "1.jpg", 3), ("a/1.png", "gt/a/1.png", 4)],
)
def test_steps_that_find_nothing_new_are_left_out(output: str, original: str, step_count: int) -> None:
    """Each step takes seconds for 100,000 names."""
    step_counts = []

    def choose_steps(names: Sequence[ImageName]) -> list[Step]:
        steps = useful_steps(names)
        step_counts.append(len(steps))
        return steps

    assert match([output], [original], choose_steps=choose_steps).pairs == ((output, original),)
    assert step_counts == [step_count]


# published as train, test_a and test_b, in each of which the numbers begin anew
RAINDROP = [
    f"{part}/data/{n}_rain.png" for part, count in (("train", 4), ("test_a", 2), ("test_b", 3)) for n in range(count)
]


@pytest.mark.parametrize(
    ("output", "original"),
    [
        ("train/5.png", "test/5.png"),
        ("test_a/5.png", "test_b/5.png"),
        ("eval/5.png", "val/5.png"),
        ("haze/1.png", "rain/1.png"),
        ("1_haze.png", "1_rain.png"),
        ("1_test.png", "1_train.png"),
        ("2020/1.png", "2021/1.png"),
        ("test_a/data/0_rain_output.png", "train/data/0_rain.png"),
        ("eval15/1.png", "LOLdataset/our485/low/1.png"),
        ("input1/1.png", "input2/1.png"),
    ],
)
def test_folders_are_never_ignored_to_make_a_pair(output: str, original: str) -> None:
    pairs, alone = matched([output], [original])
    assert not pairs and alone == {output: "no_original", original: "no_output"}
    assert match([output], [original]).outputs[0].detail.startswith(f"{output}: no original has this name")


def test_a_folder_on_one_side_only_distinguishes_its_files() -> None:
    pairs, alone = matched(["set1/1.png", "set2/2.png"], ["set2/1.png", "set2/2.png"])
    assert pairs == {"set2/2.png": "set2/2.png"} and alone == {"set1/1.png": "no_original", "set2/1.png": "no_output"}
    assert match(["set1/1.png"], ["set2/1.png"]).outputs[0].detail == (
        "set1/1.png: no original has this name in the same folders, only set2/1.png"
    )
    assert matched(["train/1.png", "test/2.png"], ["train/2.png", "test/1.png"])[0] == {}
    # what is left over is no partner of what else is left over: 1.png may be of either
    pairs, alone = matched(["1.png", "a/1.png"], ["a/1.png", "b/1.png"])
    assert pairs == {"a/1.png": "a/1.png"} and alone == {"1.png": "ambiguous", "b/1.png": "ambiguous"}


def test_the_same_paths_are_pairs() -> None:
    for names in (["train/1.png", "test/1.png"], ["low/1.png", "high/1.png"], RAINDROP):
        assert matched(names, names) == ({name: name for name in names}, {})


def test_a_folder_with_the_name_of_the_set_is_ignored() -> None:
    names = ["GPT-4o-Restore/LOL/low/1.png"], ["LOLdataset/eval15/low/1.png"]
    assert not match(*names).pairs
    assert match(*names, set_names=("gpt4o-restore", "lol", "LOL")).pairs == ((names[0][0], names[1][0]),)
    both = ["LOL/1.png"], ["LOL/1.png", "LOL/2.png"]
    assert match(*both, set_names=("LOL",)).pairs == (("LOL/1.png", "LOL/1.png"),)
    # a folder name that only some files of the other side share is significant
    assert not match(["a/1.png", "LOL/2.png"], ["LOL/1.png", "LOL/3.png"], set_names=("LOL",)).pairs


def test_raindrop_is_adopted_in_the_folders_of_its_originals(tmp_path: Path) -> None:
    image = encoded(crop("life-1", 64))
    trees = {name: image for lq in RAINDROP for name in (lq, lq.replace("data", "gt").replace("_rain", "_clean"))}
    made = dict.fromkeys((f"test_a/data/{n}_rain_output.png" for n in range(2)), image)
    outputs, about = open_image_source(archive(tmp_path / "x.zip", made)), SETS["gpt4o-restore/raindrop"]
    found = list_by_name(outputs, open_image_source(archive(tmp_path / "y.zip", trees)), about)
    pairs = list(found.pairs)
    assert [(each.output, each.name) for each in pairs] == [
        (f"test_a/data/{n}_rain_output.png", f"test_a/data/{n}_rain.png") for n in range(2)
    ]
    assert all(each.ref for each in pairs)
    assert {each.reason for each in found.unmatched} == {"no_output"} and len(found.unmatched) == len(RAINDROP) - 2
    train = {name: data for name, data in trees.items() if name.startswith("train/")}
    found = list_by_name(outputs, open_image_source(archive(tmp_path / "z.zip", train)), about)
    assert found.count == 0
    assert sorted(each.reason for each in found.unmatched) == ["no_original"] * 2 + ["no_output"] * 4


def test_istd_is_adopted_in_the_folders_of_its_originals(tmp_path: Path) -> None:
    """Its folders A, B and C are roles, and stand in those of its split."""
    tree = [f"ISTD_Dataset/{part}/{part}_{role}/90-1.png" for part in ("train", "test") for role in "ABC"]
    originals = open_image_source(archive(tmp_path / "y.zip", dict.fromkeys(tree, b"")))
    for output in ("test_A/90-1.png", "test/test_A/90-1_output.png", "test/90-1.png"):
        outputs = open_image_source(archive(tmp_path / "x.zip", {output: b""}))
        found = list_by_name(outputs, originals, SETS["gpt4o-restore/istd"])
        assert [(each.output, each.name, bool(each.ref)) for each in found.pairs] == [
            (output, "ISTD_Dataset/test/test_A/90-1.png", True)
        ]


def test_ground_truths_of_another_split_are_not_used(tmp_path: Path) -> None:
    image = encoded(crop("life-1", 128))
    place = folder(tmp_path / "a", {"test_a/0.png": image})
    done = mine(
        tmp_path, "--outputs", place, "--originals", place, "--dry-run",
        "--refs", folder(tmp_path / "refs", {"train/0.png": image}),
    )  # fmt: skip
    assert done.out.splitlines()[0] == "  test_a/0.png <- test_a/0.png"
    assert said(done) == [
        "no_ground_truth: test_a/0.png: no ground truth has this name in the same folders, only train/0.png. "
        "The pair is imported without its true ground truth.",
        "no_original: train/0.png: no original has this name in the same folders, only test_a/0.png",
    ]


def test_the_role_of_each_original() -> None:
    names = ["a/hazy/1.png", "a/GT/1.png", "2_hazy.png", "2_GT.png", "test_B/3.png", "reference-890/4.png", "5.png"]
    lqs, refs = split_by_role(names, SETS["gpt4o-restore/istd"])
    assert lqs == ["a/hazy/1.png", "2_hazy.png", "5.png"]
    assert refs == ["a/GT/1.png", "2_GT.png", "reference-890/4.png"]


def test_partners_that_are_missing_are_listed_before_anything_is_written(tmp_path: Path) -> None:
    image = encoded(crop("life-1", 128))
    outputs = archive(tmp_path / "x.zip", {"1.png": image, "5.png": image, "7-1.png": image, "7-2.png": image})
    originals = archive(tmp_path / "y.zip", {"rain/1.png": image, "rain/2.png": image, "rain/7.png": image})
    argv = ("adopt", "gpt4o-restore/rain800", tmp_path / "w", "--outputs", outputs, "--originals", originals)
    done = ggt(*argv, "--dry-run")
    assert done.code == 0 and not (tmp_path / "w").exists()
    assert said(done) == [
        "no_original: 5.png: no original has this name",
        "ambiguous: 7-1.png: it is not clear which of 7-2.png, rain/7.png belongs to it",
        "ambiguous: 7-2.png: it is not clear which of 7-1.png, rain/7.png belongs to it",
        "no_output: rain/2.png: no output has this name",
        "ambiguous: rain/7.png: it is not clear which of 7-1.png, 7-2.png belongs to it",
    ]
    assert done.out.splitlines() == [
        "  rain/1.png <- 1.png",
        "class  split  pairs  licence              may be pushed",
        "rain   train      1  LicenseRef-unstated  no",
        "would adopt 1 pairs as gpt4o-restore/rain800 by gpt-4o, rain",
        "licence LicenseRef-unstated; local only: no licence was stated",
        "  unmatched      3  ambiguous",
        "  unmatched      1  no_original",
        "  unmatched      1  no_output",
    ]
    truths = {f"norain/{name}.png": image for name in ("1", "2", "9")}  # of one without output, and of none
    both = archive(tmp_path / "z.zip", {"rain/1.png": image, "rain/2.png": image, **truths})
    done = ggt(*argv[:-1], both, "--dry-run")
    assert said(done)[-2:] == [
        "no_output: rain/2.png: no output has this name",
        "no_original: norain/9.png: no original has this name",
    ]
    assert done.out.splitlines()[0] == "  rain/1.png <- 1.png, with its true gt"
    told = tmp_path / "map.csv"
    told.write_text("original,output\nrain/7.png,7-2.png\n")
    done = ggt(*argv, "--dry-run", "--map", told)
    assert done.out.splitlines() == [
        "  rain/7.png <- 7-2.png",
        "class  split  pairs  licence              may be pushed",
        "rain   train      1  LicenseRef-unstated  no",
        "would adopt 1 pairs as gpt4o-restore/rain800 by gpt-4o, rain",
        "licence LicenseRef-unstated; local only: no licence was stated",
        "  passed over      5  not_in_map",
    ]
    assert said(done) == [], "what the map does not name is counted, not complained of"
    told.write_text("original,output\nrain/7.png,8.png\n")
    assert ggt(*argv, "--map", told).err == (
        f"ggt100k adopt: {told}: line 2: there is no output '8.png'. Write the name as --dry-run shows it.\n"
    )


MAPS = {
    "a part of them": ("original,output\nb.png,2.png\n", {"b.png": ("2.png", "mixed")}, 4),
    "crossed": (
        "original,output\na.png,2.png\nb.png,1.png\n",
        {"a.png": ("2.png", "mixed"), "b.png": ("1.png", "mixed")},
        2,
    ),
    "a class": ("original,output,class\nb.png,2.png,snow\n", {"b.png": ("2.png", "snow")}, 4),
    "classes, and none": (
        "class,output,original\nhaze,1.png,a.png\n,2.png,b.png\nrain,3.png,c.png\n",
        {"a.png": ("1.png", "haze"), "b.png": ("2.png", "mixed"), "c.png": ("3.png", "rain")},
        0,
    ),
    "a BOM and further columns": (
        "\ufefforiginal,output,class,remark\r\nc.png,1.png, low_light ,x\r\n",
        {"c.png": ("1.png", "low_light")},
        4,
    ),
}


@pytest.mark.parametrize("case", MAPS)
def test_a_map_names_all_that_is_imported(case: str, tmp_path: Path) -> None:
    text, expected, others = MAPS[case]
    names = ("life-1", "wine-1", "friends-1", "sunset-1", "seeding-1", "aitzgorri-1")
    crops = [encoded(crop(name, 128)) for name in names]
    originals = folder(tmp_path / "in", dict(zip(("a.png", "b.png", "c.png"), crops[:3], strict=True)))
    outputs = folder(tmp_path / "out", dict(zip(("1.png", "2.png", "3.png"), crops[3:], strict=True)))
    (tmp_path / "map.csv").write_text(text, newline="")
    argv = ("adopt", "mine", tmp_path / "w", "--outputs", outputs, "--originals", originals)
    done = ggt(*argv, "--map", tmp_path / "map.csv", "--restorer", "m", "--licence", "CC0-1.0")
    assert done.out == f"adopt: {len(expected)} imported, 0 already done\n" + (
        f"  passed over {others:>6}  not_in_map\n" if others else ""
    )
    with Ledger(tmp_path / "w") as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        found = {photos[each.key].file: (each.output, photos[each.key].degradation) for each in ledger.all(Adopted)}
    assert found == {f"mine/{name}": value for name, value in expected.items()}
    assert all(photo.degradations == (photo.degradation,) for photo in photos.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "original,output,class\na.png,1.png,foggy\n",
            "{map}: line 2: the class 'foggy' is not known. Choose one of: mixed, rain, ",
        ),
        ("original,output\na.png,1.png\na.png,2.png\n", "{map}: line 3: 'a.png' or '2.png' is listed twice"),
        ("original,output\na.png,1.png\nb.png,1.png\n", "{map}: line 3: 'b.png' or '1.png' is listed twice"),
        ("original,output\nz.png,1.png\n", "{map}: line 2: there is no original 'z.png'"),
        ("original,output\n", "{map}: no pair is listed. Add a line for each"),
        ("", "{map}: no pair is listed. Add a line for each"),
    ],
)
def test_an_error_in_a_map_names_its_line(text: str, said: str, tmp_path: Path) -> None:
    both = folder(tmp_path / "both", {f"{name}.png": b"" for name in "ab12"})
    told = tmp_path / "map.csv"
    told.write_text(text)
    with pytest.raises(ConfigError) as caught:
        list_by_name(open_image_source(both), open_image_source(both), SETS["gpt4o-restore/lol"], map_path=told)
    assert str(caught.value).startswith(said.format(map=told))


def test_a_run_returns_counts_and_is_failed_if_no_pair_is_imported(tmp_path: Path) -> None:
    (lq, gt), _ = pairs_of()
    sources = {
        "originals": archive(tmp_path / "y.zip", {"1.png": lq, "2.png": lq}),
        "outputs": archive(tmp_path / "x.zip", {"1.png": gt, "3.png": gt}),
    }
    config = AdoptConfig(set="mine", restorer="m", licence="CC0-1.0", degradation="rain", **sources)
    events = Recorded()
    plan = run_adopt(tmp_path / "w", dataclasses.replace(config, dry_run=True), events=events)
    assert plan.plan[0] == "  1.png <- 1.png" and not (tmp_path / "w").exists()
    assert len(events.warnings) == 2
    summary = run_adopt(tmp_path / "w", config)
    assert summary.counts == {"imported": 1, "already done": 0} and not summary.is_failed
    assert (summary.count("unmatched", "no_output"), summary.count("unmatched", "no_original")) == (1, 1)
    again = run_adopt(tmp_path / "w", config)
    assert again.counts == {"imported": 0, "already done": 1} and not again.is_failed
    wrong = dataclasses.replace(config, outputs=archive(tmp_path / "z.zip", {"7.png": gt}))
    nothing = run_adopt(tmp_path / "v", wrong)
    assert nothing.is_failed and nothing.count("unmatched") == 3


def test_a_set_without_image_columns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^org/set: has no image columns\. Choose another dataset or file\.$"):
        find_columns([], [], "org/set")


@pytest.mark.parametrize("other", [("--pairs", "x"), ("--meta-info", "x.txt")])
def test_a_map_and_another_list_exclude_each_other(other: tuple[str, str], tmp_path: Path) -> None:
    done = ggt("adopt", "mine", tmp_path / "w", "--map", "map.csv", *other, "--restorer", "m")
    assert (done.code, f"cannot be combined with {other[0]}. Leave one" in done.err) == (2, True)


# --- archives from outside --------------------------------------------------------------------------------------------


def hostile(path: Path) -> Path:
    """A zip with a good member and one of each fault."""
    image = encoded(crop("life-1", 64))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("good.png", "../slip.png", "/etc/slip.png", "C:/slip.png", "a/../../slip.png", "back\\slip.png"):
            made.writestr(name, image)
        for name in ("damaged.png", "encrypted.png", "liar.png", "method.png"):
            made.writestr(name, image)
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        made.writestr(link, "/etc/passwd")
        made.writestr("bomb.png", bytes(4 << 20))
        made.writestr("line\nbreak.png", image)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as made:
        for name, change in (("encrypted.png", "flag"), ("method.png", "method"), ("liar.png", "size")):
            info = made.getinfo(name)
            local, central = info.header_offset, data.rindex(name.encode()) - 46
            assert data[central : central + 4] == b"PK\x01\x02"
            if change == "flag":
                data[local + 6] |= 1
                data[central + 8] |= 1
            elif change == "method":
                data[local + 8 : local + 10] = data[central + 10 : central + 12] = struct.pack("<H", 97)
            else:
                data[central + 24 : central + 28] = struct.pack("<I", 100)  # the header states 100 bytes
        info = made.getinfo("damaged.png")
        at = info.header_offset + 30 + len("damaged.png") + info.compress_size // 2
        data[at] ^= 0xFF
    path.write_bytes(data)
    return path


def test_each_unsafe_member_of_a_zip_is_rejected_alone(tmp_path: Path) -> None:
    place = open_image_source(hostile(tmp_path / "x.zip"))
    assert place.names == ("damaged.png", "good.png", "liar.png")
    assert {name: fault.reason for name, fault in place.refused.items()} == {
        "../slip.png": "bad_name",
        "/etc/slip.png": "bad_name",
        "C:/slip.png": "bad_name",
        "a/../../slip.png": "bad_name",
        "back\\slip.png": "bad_name",
        "line\\nbreak.png": "bad_name",
        "link.png": "link",
        "encrypted.png": "encrypted",
        "method.png": "unreadable",
        "bomb.png": "bomb",
    }
    assert str(place.refused["../slip.png"]) == "../slip.png: the name leads out of its folder. Rename the file."
    assert str(place.refused["encrypted.png"]) == (
        "encrypted.png: the member is encrypted. Unpack the zip with its password, and name the folder."
    )
    assert str(place.refused["bomb.png"]).startswith("bomb.png: the member unpacks from 4")
    assert place.read("good.png") == encoded(crop("life-1", 64))
    for name, start in (("damaged.png", "damaged.png: the file cannot be unpacked"), ("liar.png", "liar.png: ")):
        with pytest.raises(PairError) as caught:
            place.read(name)
        assert caught.value.reason == "damaged" and str(caught.value).startswith(start)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.zip"]


def test_safe_members_of_a_hostile_zip_are_adopted(tmp_path: Path) -> None:
    good = encoded(crop("life-1", 128))
    originals = archive(tmp_path / "y.zip", {f"{name}.png": good for name in ("good", "damaged", "slip")})
    argv = ("adopt", "mine", tmp_path / "w", "--restorer", "m", "--licence", "CC0-1.0", "--class", "rain")
    done = ggt(*argv, "--outputs", hostile(tmp_path / "x.zip"), "--originals", originals)
    assert done.code == 0 and not (tmp_path.parent / "slip.png").exists()
    reasons = [line.partition(":")[0] for line in said(done)]
    assert sorted(reasons) == sorted(
        [*["bad_name"] * 6, "link", "encrypted", "unreadable", "bomb", "damaged", "no_original", "no_output"]
    )
    with Ledger(tmp_path / "w") as ledger:
        (refusal,) = ledger.all(Refusal)
        assert (refusal.file, refusal.reason) == ("mine/damaged.png", "damaged")
        assert [photo.file for photo in ledger.all(Photo)] == ["mine/good.png"]


def test_untrusted_zips_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = encoded(crop("life-1", 64))
    path = archive(tmp_path / "x.zip", {f"{n}.png": image for n in range(4)})

    def fault() -> str:
        with pytest.raises(ConfigError) as caught:
            open_image_source(path)
        return str(caught.value)

    monkeypatch.setattr(zips, "MAX_MEMBERS", 3)
    assert fault() == f"{path}: the zip has 4 members, above 3. Split it."
    monkeypatch.undo()
    monkeypatch.setattr(zips, "MAX_TOTAL_BYTES", 100)
    assert fault() == f"{path}: the zip unpacks to {4 * len(image)} bytes, above 100. Split it."
    monkeypatch.undo()
    monkeypatch.setattr(zips, "MAX_LIST_BYTES", 100)
    assert fault() == f"{path}: the list of members has {4 * (46 + 5)} bytes, above 100. Split it."
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:-30])
    assert fault() == (
        f"{path}: the file is not a zip, or its end is missing. Fetch it again, or name the folder it unpacks to."
    )
    path.unlink()
    assert fault() == f"{path}: there is no such file or folder. Name the zip or the folder with the images."


def test_duplicate_members_are_not_adopted(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made, pytest.warns(UserWarning, match="Duplicate name"):
        made.writestr("1.png", encoded(crop("life-1", 64)))
        made.writestr("1.png", encoded(crop("life-1", 32)))
    place = open_image_source(tmp_path / "x.zip")
    assert place.names == () and place.refused["1.png"].reason == "duplicate_name"


def test_a_link_that_leads_out_of_its_folder(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", {"1.png": encoded(crop("life-1", 64))})
    (tmp_path / "secret.png").write_bytes(b"secret")
    (root / "2.png").symlink_to(tmp_path / "secret.png")
    place = open_image_source(root)
    assert place.names == ("1.png",)
    assert str(place.refused["2.png"]) == "2.png: the link leads out of its folder. Copy the file there."


# --- other layouts ----------------------------------------------------------------------------------------------------


def pairs_of(count: int = 2) -> list[tuple[bytes, bytes]]:
    return [(encoded(hazed(image, 0.4)), encoded(image)) for image in files()[:count]]


def mine(tmp_path: Path, *argv: str | Path) -> Done:
    return ggt("adopt", "mine", tmp_path / "w", "--restorer", "m", "--licence", "CC0-1.0", "--class", "haze", *argv)


def taken(tmp_path: Path) -> list[tuple[str, str, bool]]:
    """Original, output, and whether there is a true ground truth."""
    found = adopted(tmp_path / "w").items()
    return sorted((file.removeprefix("mine/"), each.output, bool(each.reference)) for file, each in found)


def test_two_folders(tmp_path: Path) -> None:
    some = pairs_of()
    folder(tmp_path / "a", {f"{n}.png": lq for n, (lq, _) in enumerate(some)})
    folder(tmp_path / "b", {f"{n}.png": gt for n, (_, gt) in enumerate(some)})
    folder(tmp_path / "c", {"1_gt.png": some[1][1]})
    done = mine(tmp_path, "--originals", tmp_path / "a", "--outputs", tmp_path / "b", "--refs", tmp_path / "c")
    assert said(done) == [
        "no_ground_truth: 0.png: no ground truth has this name. The pair is imported without its true ground truth."
    ]
    assert taken(tmp_path) == [("0.png", "0.png", False), ("1.png", "1.png", True)]


def test_one_folder_with_suffixes(tmp_path: Path) -> None:
    (lq, gt), (lq2, gt2) = pairs_of()
    contents = {"a_lq.png": lq, "a_gt.jpg": encoded(crop("life-1", 256), "JPEG"), "a_true.png": gt, "b_lq.png": lq2}
    place = folder(tmp_path / "a", contents | {"b_gt.png": gt2, "c_lq.png": lq, "d.png": lq, "e_lq.png": lq})
    folder(place, {"e_lq.jpg": encoded(crop("life-1", 64), "JPEG"), "e_gt.png": gt, "f_true.png": gt})
    done = mine(tmp_path, "--pairs", place, "--suffixes", "_lq,_gt,_true")
    assert said(done) == [
        "no_role: d.png: the name ends in none of _lq, _gt, _true",
        "no_ground_truth: b_lq.png: there is no image whose name ends in _true. The pair is "
        "imported without its true ground truth.",
        "no_output: c_lq.png: there is no image whose name ends in _gt",
        *("ambiguous: e: it is not clear which of e_lq.jpg, e_lq.png, e_gt.png belong together" for _ in range(3)),
        "no_original: f_true.png: there is no image whose name ends in _lq",
    ]
    assert taken(tmp_path) == [("a_lq.png", "a_gt.jpg", True), ("b_lq.png", "b_gt.png", False)]
    assert mine(tmp_path, "--pairs", place).err == (
        f"ggt100k adopt: {place}: it is not clear which images are LQ and which are GT. "
        "State it, for example: --suffixes _lq,_gt\n"
    )


def test_meta_info_of_basicsr(tmp_path: Path) -> None:
    (lq, gt), (lq2, gt2) = pairs_of()
    originals = folder(tmp_path / "a", {"1.png": lq, "my 2.jpg": lq2})
    outputs = folder(tmp_path / "b", {"1.png": gt, "my 2.png": gt2, "3.png": gt})
    listed = tmp_path / "meta_info.txt"
    listed.write_text(
        "1.png (256,256,3)\nmy 2.png (256,256,3)\n\n3.png (256,256,3)\n4.png (9,9,3)\n1.png (256,256,3)\n"
    )
    done = mine(tmp_path, "--originals", originals, "--outputs", outputs, "--meta-info", listed)
    assert said(done) == [
        f"no_output: {listed}: 4.png is not in {outputs}",
        f"duplicate_name: {listed}: 1.png is listed twice",
        f"no_original: {listed}: 3.png is not in {originals}",
    ]
    assert taken(tmp_path) == [("1.png", "1.png", False), ("my 2.jpg", "my 2.png", False)]


def test_meta_info_never_guesses(tmp_path: Path) -> None:
    originals = folder(
        tmp_path / "a", dict.fromkeys(("2.bmp", "2.tif", "3.bmp", "3.png", "7.png", "8.png", "9.png"), b"")
    )
    names = ("2.png", "3.png", "a/7.png", "b/7.png", "c/8.png")
    outputs = folder(tmp_path / "b", dict.fromkeys((*names, "5.png"), b""))
    listed = tmp_path / "meta_info.txt"
    listed.write_text("".join(f"{name} (256,256,3)\n" for name in names))
    found = list_by_meta_info(listed, open_image_source(originals), open_image_source(outputs))
    assert [(pair.output, pair.name) for pair in found.pairs] == [("3.png", "3.png"), ("c/8.png", "8.png")]
    two, seven = (f"{listed}: it is not clear which of {names} belong together" for names in
                  ("2.bmp, 2.tif, 2.png", "7.png, a/7.png, b/7.png"))  # fmt: skip
    assert {(each.name, each.reason, each.detail) for each in found.unmatched} == {
        *((name, "ambiguous", two) for name in ("2.png", "2.bmp", "2.tif")),
        *((name, "ambiguous", seven) for name in ("a/7.png", "b/7.png", "7.png")),
        ("5.png", "no_original", f"{listed}: 5.png is in {outputs}, but on no line"),
        *((n, "no_output", f"{listed}: {n} is in {originals}, but on no line") for n in ("3.bmp", "9.png")),
    }


def test_names_in_meta_info_may_have_brackets_and_u2028(tmp_path: Path) -> None:
    names = ("a (1).png", "a (2).png", "b (1,2,3) c.png", "line\u2028break.png", "d.png", "e.png", "f.png")
    place = open_image_source(folder(tmp_path / "a", dict.fromkeys(names, b"")))
    where = dataclasses.replace(place, names=names)
    listed = tmp_path / "meta_info.txt"
    shapes = (" (9,9,3)", "", " (9,9,3)", " (9,9,3)", " (9, 9, 3) 1", " (9,9)\r", "")
    listed.write_bytes("\n".join(map("".join, zip(names, shapes, strict=True))).encode())
    found = list_by_meta_info(listed, where, where)
    assert [(pair.output, pair.name) for pair in found.pairs] == [(name, name) for name in names]
    assert not [each for each in found.unmatched if each.reason != "bad_name"]


def test_lines_of_metadata_end_at_line_feeds_and_name_two_files(tmp_path: Path) -> None:
    place = open_image_source(folder(tmp_path / "a", dict.fromkeys(("1.png", "2.png", "3.png"), b"")))
    listed = tmp_path / "metadata.jsonl"
    rows = [
        {"lq_file_name": "1.png", "gt_file_name": "2.png", "text": "one\u2028two\u0085three"},
        {"lq_file_name": "3.png", "gt_file_name": "3.png"},
    ]
    listed.write_bytes("\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode())
    found = list_by_metadata(place, listed, [])
    assert [(pair.name, pair.output) for pair in found.pairs] == [("1.png", "2.png")]
    assert [(each.reason, each.detail) for each in found.unmatched] == [
        ("one_file", f"{listed}: line 2: lq and gt name the same file, 3.png. Name its ground truth.")
    ]


def test_metadata_of_an_imagefolder(tmp_path: Path) -> None:
    (lq, gt), (lq2, gt2) = pairs_of()
    contents = {"in/1.png": lq, "out/1.png": gt, "in/2.png": lq2, "out/2.png": gt2, "in/3.png": lq2, "out/3.png": gt2}
    place = folder(tmp_path / "a", contents | {"stray.png": gt, "notes.txt": b"x"})
    (place / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (place / "linked").symlink_to(tmp_path)
    rows = [
        {"input_file_name": "in/1.png", "output_file_name": "out/1.png", "reference_file_name": "out/1.png"},
        {"input_file_name": "in/2.png", "output_file_name": "../2.png"},
        {"input_file_name": "in/9.png", "output_file_name": "out/2.png"},
        {"input_file_name": "in/3.png", "output_file_name": "out/3.png", "reference_file_name": "true/3.png"},
        {"input_file_name": "in/2.png", "output_file_name": "out/2.png"},
    ]
    (place / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = mine(tmp_path, "--pairs", place)
    where = place / "metadata.jsonl"
    assert said(done) == [
        f"no_output: {where}: line 2: gt: '../2.png' is not in {place}",
        f"no_original: {where}: line 3: lq: 'in/9.png' is not in {place}",
        f"no_ground_truth: {where}: line 4: reference: 'true/3.png' is not in {place}. The pair is "
        "imported without its true ground truth.",
        f"no_ground_truth: {where}: line 5: reference: no file is named. The pair is imported without "
        "its true ground truth.",
        f"no_role: {where}: stray.png is in {place}, but on no line",
    ]
    assert done.out.startswith("adopt: 2 imported, 1 already done\n"), done.out  # in/3.png is in/2.png again
    assert [line for line in done.out.splitlines() if "passed over" in line] == [
        "  passed over      1  .txt",
        "  passed over      1  broken_link: gone.png",
        "  passed over      1  linked_folder: linked",
    ]
    assert taken(tmp_path) == [
        ("in/1.png", "out/1.png", True),
        ("in/3.png", "out/3.png", False),
    ]
    (place / "metadata.jsonl").write_text(json.dumps({"a_file_name": "in/1.png", "b_file_name": "out/1.png"}))
    assert mine(tmp_path, "--pairs", place).err == (
        f"ggt100k adopt: {where}: cannot tell which of the columns a, b hold the degraded and the restored images. "
        "Name them, degraded first: --columns lq,gt\n"
    )
    assert mine(tmp_path, "--pairs", place, "--columns", "a,c").err == (
        f"ggt100k adopt: {where}: 'c' is not an image column. Image columns: a, b.\n"
    )


def test_an_error_in_a_list_names_its_line(tmp_path: Path) -> None:
    place = folder(tmp_path / "a", {"1.png": b"", "2.png": b""})
    listed, told = place / "metadata.jsonl", tmp_path / "map.csv"
    for line in ("[1]", "7", '"x"', "null", "{"):
        listed.write_text('{"lq_file_name": "1.png", "gt_file_name": "2.png"}\n' + line + "\n")
        with pytest.raises(ConfigError) as caught:
            list_by_metadata(open_image_source(place), listed, [])
        assert str(caught.value) == f"{listed}: line 2: this is not a JSON object. Correct the line."
    told.write_text('original,output\n1.png,"2.png\n3.png,4.png\n')
    with pytest.raises(ConfigError) as caught:
        list_by_name(open_image_source(place), open_image_source(place), SETS["gpt4o-restore/lol"], map_path=told)
    assert str(caught.value) == f"{told}: line 2: this is not CSV: unexpected end of data. Check its quotes."


def test_parquet_webdataset_and_a_folder_of_them(tmp_path: Path) -> None:
    import datasets

    some = pairs_of()
    cells = [
        {"input": {"bytes": lq, "path": "../../x"}, "edited_image": {"bytes": gt, "path": None}} for lq, gt in some
    ]
    cells.append(
        {"input": {"bytes": None, "path": "/etc/hostname"}, "edited_image": {"bytes": some[0][1], "path": None}}
    )
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.Table.from_pylist(cells, schema=pa.schema({"input": image, "edited_image": image}))
    features = datasets.Features({"input": datasets.Image(), "edited_image": datasets.Image()})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features.to_dict()}})})
    (tmp_path / "p").mkdir()
    pq.write_table(table, tmp_path / "p" / "one.parquet")
    done = mine(tmp_path, "--pairs", tmp_path / "p" / "one.parquet")
    assert said(done) == [
        "no_image: mine: one.parquet/2: input: the row names '/etc/hostname', but may not name files of "
        "this machine. Name the folder of the dataset, or put the bytes into the row."
    ]
    assert taken(tmp_path) == [(f"one.parquet/{n}", f"one.parquet/{n}:edited_image", False) for n in range(2)]
    done = mine(tmp_path, "--pairs", tmp_path / "p")
    assert "2 already done" in done.out
    threes = [
        cell | {"true": {"bytes": gt, "path": None} if n else None}
        for n, (cell, (_, gt)) in enumerate(zip(cells, some, strict=False))
    ]
    features["true"] = datasets.Image()
    table = pa.Table.from_pylist(threes, schema=pa.schema({name: image for name in features}))
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features.to_dict()}})})
    pq.write_table(table, tmp_path / "three.parquet")
    done = mine(tmp_path / "three", "--pairs", tmp_path / "three.parquet", "--dry-run")
    assert done.out.splitlines()[:2] == [
        "  three.parquet/0 <- three.parquet/0:edited_image, three.parquet/0: true: the cell is empty",
        "  three.parquet/1 <- three.parquet/1:edited_image, with its true gt",
    ]
    done = mine(tmp_path / "three", "--pairs", tmp_path / "three.parquet")
    assert said(done) == [
        "three.parquet/0: true: the cell is empty. The pair is imported without its true ground truth."
    ]
    assert [has for *_, has in taken(tmp_path / "three")] == [False, True]
    with tarfile.open(tmp_path / "two.tar", "w") as tar:
        for n, (lq, gt) in enumerate(some):
            for end, data in (("lq.png", lq), ("gt.png", gt)):
                info = tarfile.TarInfo(f"pair{n}.{end}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    done = mine(tmp_path / "tar", "--pairs", tmp_path / "two.tar")
    assert (done.code, done.err) == (0, "")
    assert taken(tmp_path / "tar") == [(f"two.tar/pair{n}", f"two.tar/pair{n}:gt.png", False) for n in range(2)]
    assert mine(tmp_path, "--pairs", tmp_path / "two.tar", "--columns", "lq,hq").err == (
        f"ggt100k adopt: {tmp_path / 'two.tar'}: 'hq' is not an image column. Image columns: lq, gt.\n"
    )


@pytest.mark.slow
def test_datasets_of_the_hub(tmp_path: Path) -> None:
    """One whose images lie beside a list, and one whose rows name a file of another dataset, which nobody opens."""
    (lq, gt), (lq2, gt2) = pairs_of()
    listed = folder(tmp_path / "listed", {"lq/1.png": lq, "gt/1.png": gt, "lq/2.png": lq2, "gt/2.png": gt2})
    lines = [{f"{side}_file_name": f"{side}/{n}.png" for side in ("lq", "gt")} for n in (1, 2)]
    (listed / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    cells = [{"bytes": gt, "path": None}, {"bytes": None, "path": "hf://datasets/org/secret/x.png"}]
    rows = [{"lq": {"bytes": lq, "path": None}, "gt": cell} for cell in cells]
    kind = {"_type": "Image"}
    info = {"huggingface": json.dumps({"info": {"features": {"lq": kind, "gt": kind}}})}
    (tmp_path / "rows").mkdir()
    table = pa.Table.from_pylist(rows, schema=pa.schema({"lq": image, "gt": image})).replace_schema_metadata(info)
    pq.write_table(table, tmp_path / "rows" / "train.parquet")
    adopted = ["from ggt_tools.cli import main"]
    with Hub() as hub:
        for name in ("listed", "rows", "secret"):
            hub.publish(f"org/{name}", folder(tmp_path / name, {"x.png": gt} if name == "secret" else {}))
            if name != "secret":
                adopted.append(f"main(['adopt', {name!r}, 'w', '--pairs', 'org/{name}', '--restorer', 'm'])")
        done = run_python("\n".join(adopted), tmp_path / "run", **hub.env(tmp_path / "home"))
        asked = [request.path for request in hub.requests]
    assert [line for line in done.stderr.splitlines() if "no_image" in line] == [
        "ggt100k adopt: no_image: rows: org/rows/1: gt: the row names 'hf://datasets/org/secret/x.png', which is not "
        "in the dataset's repository. Put the file there, or put the bytes into the row."
    ]
    assert done.stdout.splitlines() == [
        "adopt: 2 imported, 0 already done",
        "adopt: 1 imported, 0 already done",  # another output of the same photograph
        "  rejected      1  no_image",
    ]
    assert not any("secret" in path for path in asked)


def test_a_missing_file_or_dataset_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b" / "none.parquet"
    assert mine(tmp_path, "--pairs", place).err == (
        f"ggt100k adopt: {place}: there is no such file or folder. Name one, or a dataset on the Hub as ORG/NAME.\n"
    )
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no parquet PAR1")
    done = mine(tmp_path, "--pairs", tmp_path / "bad.parquet")
    assert done.code == 2 and done.err.startswith(
        f"ggt100k adopt: {tmp_path / 'bad.parquet'}: the dataset cannot be loaded: "
    )


# --- what is taken in -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sizes_and_formats_that_are_accepted_and_rejected(tmp_path: Path) -> None:
    image = crop("life-1", 256)
    large = cv2.resize(image, (1500, 1000))
    originals = {
        "large.png": encoded(large), "flat.png": encoded(np.full((128, 128, 3), 90, np.uint8)),
        "small.png": encoded(image[:40, :80]), "page.png": b"<html>", "good.png": encoded(noisy(image, 9)),
        "badref.png": encoded(dimmed(image, 0.4)), "badout.png": encoded(dimmed(image, 0.6)),
    }  # fmt: skip
    outputs = {name: encoded(image) for name in originals} | {"badout.png": b"no image at all"}
    outputs["good.png"] = encoded(image, "TIFF")
    names = {name.replace(".png", ".tif" if name == "good.png" else ".png"): data for name, data in outputs.items()}
    refs = {"large.png": encoded(large[::-1].copy()), "badref.png": encoded(image[:200])}
    done = mine(
        tmp_path, "--originals", folder(tmp_path / "a", originals), "--outputs", folder(tmp_path / "b", names),
        "--refs", folder(tmp_path / "c", refs),
    )  # fmt: skip
    errors = said(done)
    assert (
        "badref.png: the true ground truth is 256 x 200, and the photograph is 256 x 256. The pair is imported "
        "without it." in errors
    )
    assert any(line.startswith("output_not_an_image: mine: badout.png: the format is none of JPEG") for line in errors)
    assert any(line.startswith("too_flat: mine: flat.png: the image shows almost nothing") for line in errors)
    assert any(line.startswith("not_an_image: mine: page.png: the format is none of") for line in errors)
    assert any(line.startswith("too_small: mine: small.png: the image is 80 x 40") for line in errors)
    with Ledger(tmp_path / "w") as ledger:
        photos = {photo.file: photo for photo in ledger.all(Photo)}
        assert sorted(photos) == ["mine/badref.png", "mine/good.png", "mine/large.png"]
        assert (photos["mine/large.png"].width, photos["mine/large.png"].height) == (1024, 683)
        (good,) = [c for c in ledger.all(Candidate) if c.key == photos["mine/good.png"].key]
        assert ledger.image(good.image)[:4] == b"\x89PNG"  # align reads no TIFF
        references = {each.output: each.reference for each in ledger.all(Adopted)}
        assert references["large.png"] and not references["badref.png"]
        assert Image.open(io.BytesIO(ledger.image(references["large.png"]))).size == (1024, 683)


def test_a_photograph_of_another_set_and_a_second_restorer(tmp_path: Path) -> None:
    (lq, gt), _ = pairs_of()
    originals = archive(tmp_path / "y.zip", {"1.png": lq})
    outputs = archive(tmp_path / "x.zip", {"1.png": gt})
    both = ("--originals", originals, "--outputs", outputs)
    assert mine(tmp_path, *both).code == 0
    assert "1 imported" in mine(tmp_path, *both, "--restorer", "n").out
    assert "1 already done" in mine(tmp_path, *both, "--restorer", "n").out
    with Ledger(tmp_path / "w") as ledger:
        assert len(list(ledger.all(Photo))) == 1
        assert sorted(candidate.restorer for candidate in ledger.all(Candidate)) == ["m", "n"]
    argv = ("adopt", "other", tmp_path / "w", "--restorer", "m", "--licence", "MIT", "--class", "haze")
    done = ggt(*argv, *both)
    assert said(done) == [
        "duplicate: other/1.png: mine/1.png is the same photograph, of the class haze and with the licence CC0-1.0. "
        "Import the pair into a workspace of its own."
    ]
    near = archive(tmp_path / "z.zip", {"1.png": encoded(noisy(crop(_names()[0], 256), 3))})
    done = ggt(*argv, "--originals", near, "--outputs", outputs)
    assert said(done)[0].startswith("near_duplicate: other/1.png: mine/1.png looks the same")


def test_adopt_continues_after_a_kill_between_two_pairs(tmp_path: Path) -> None:
    some = pairs_of(3)
    originals = archive(tmp_path / "y.zip", {f"{n}.png": lq for n, (lq, _) in enumerate(some)})
    outputs = archive(tmp_path / "x.zip", {f"{n}.png": gt for n, (_, gt) in enumerate(some)})
    both = ("--originals", originals, "--outputs", outputs)
    assert mine(tmp_path, *both, "--limit", "1").out == "adopt: 1 imported, 0 already done\n"
    assert mine(tmp_path, *both).out == "adopt: 2 imported, 1 already done\n"


# --- licences ---------------------------------------------------------------------------------------------------------


def test_licences_that_forbid_redistribution() -> None:
    for free in ("CC0-1.0", "CC-BY-4.0", "CC-BY-NC-SA-4.0", "MIT", "public domain"):
        assert local_only_reason(free) == ""
    assert local_only_reason("CC-BY-NC-ND-4.0") == "CC-BY-NC-ND-4.0 forbids to pass on what is made of it"
    assert local_only_reason("") == "no licence was stated"
    assert local_only_reason("research only") == "research only is not known to let it be passed on"


def test_a_set_that_must_not_be_redistributed_is_reported(tmp_path: Path) -> None:
    (lq, gt), _ = pairs_of()
    both = (
        "--originals",
        archive(tmp_path / "y.zip", {"1.png": lq}),
        "--outputs",
        archive(tmp_path / "x.zip", {"1.png": gt}),
    )
    for licence, why in (
        (("--licence", "CC-BY-NC-ND-4.0"), "CC-BY-NC-ND-4.0 forbids to pass on what is made of it"),
        ((), "no licence was stated"),
        (("--licence", "CC0-1.0", "--local-only", "the author asked"), "the author asked"),
    ):
        workspace = tmp_path / str(len(licence))
        done = ggt("adopt", "gpt4o-restore/lol", workspace, *licence, *both)
        assert done.err == f"ggt100k adopt: gpt4o-restore/lol: nothing of it can be pushed: {why}\n"
        assert [each.local_only for each in adopted(workspace).values()] == [why]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--licence", "CC-BY-ND-4.0"), "CC-BY-ND-4.0 forbids to pass on what is made of it"),
        (("--local-only", "the author asked"), "the author asked"),
    ],
)
def test_a_second_run_records_a_licence_that_forbids_redistribution(
    options: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    """For pairs that are imported already: recorded as a further fact, in pack's manifest, and in export's output."""
    (lq, gt), _ = pairs_of()
    workspace = tmp_path / "w"
    originals, outputs = archive(tmp_path / "y.zip", {"1.png": lq}), archive(tmp_path / "x.zip", {"1.png": gt})
    both = ("--originals", originals, "--outputs", outputs)
    assert mine(tmp_path, *both).err == ""
    with Ledger(workspace) as ledger:
        (candidate,) = ledger.all(Candidate)
        (first,) = ledger.all(Adopted)
        image = ledger.put_image(encode_png(crop("life-1", 256)))
        structure = Score(candidate=candidate.id, metric="structure", metric_version="1", value=0.5)
        ledger.add(structure, Aligned(candidate=candidate.id, version="align-2", image=image, reason=""))
        verdict = {"candidate": candidate.id, "gate": "0" * 16, "stage": "", "reason": "", "evidence": ()}
        ledger.judge("0" * 16, GATE, [Verdict(decision="keep", **verdict)])  # type: ignore[arg-type]
    # without a licence the second time, nothing is recorded or reported
    again = ("adopt", "mine", workspace, "--restorer", "m", "--class", "haze", *both)
    assert ggt(*again).err == ""
    for _ in range(2):
        done = mine(tmp_path, *both, *options)
        assert done.out == "adopt: 0 imported, 1 already done\n"
        assert done.err == f"ggt100k adopt: mine: nothing of it can be pushed: {why}\n"
    with Ledger(workspace) as ledger:
        found = list(ledger.all(Adopted))
        assert first in found and sorted(each.local_only for each in found) == ["", why]
    assert mine(tmp_path, *both).err == done.err  # nothing loosens it
    well("pack", workspace, tmp_path / "out")
    assert json.loads((tmp_path / "out" / ggt100k.MANIFEST).read_text())["local_only"] == f"{why} of set mine"
    well("report", workspace)
    assert why in (workspace / "report.html").read_text(encoding="utf-8")
    done = ggt("export", tmp_path / "out", "--to", "pairs", "--out", tmp_path / "p")
    assert done.err == f"ggt100k export: {tmp_path / 'p'}: must stay on this machine too: {why} of set mine\n"


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ((), "mine: the model that made the outputs is not stated. Name it: --restorer MODEL"),
        (
            ("--restorer", "m", "--outputs", "x"),
            "x: there is no such file or folder. Name the zip or the folder with the images.",
        ),
        (("--restorer", "m"), "--outputs: this option is missing. Name the zip or the folder."),
        (
            ("--restorer", "m", "--pairs", "x", "--outputs", "y"),
            "--pairs x: this takes the place of --outputs and --originals. Leave one of them out.",
        ),
    ],
)  # fmt: skip
def test_missing_options_are_errors(argv: tuple[str, ...], text: str, tmp_path: Path) -> None:
    done = ggt("adopt", "mine", tmp_path / "w", *argv)
    assert (done.code, done.err) == (2, f"ggt100k adopt: {text}\n")
    assert not (tmp_path / "w").exists()


# --- fidelity and drift -----------------------------------------------------------------------------------------------


def test_scores_against_a_reference_have_known_values() -> None:
    image = crop("life-1", 128)
    assert psnr(image, image) == 100.0 and ssim(image, image) == pytest.approx(1.0)
    other = np.where(image < 128, image + 5, image - 5).astype(np.uint8)
    assert psnr(image, other) == pytest.approx(20 * math.log10(255 / 5))
    assert ssim(image, noisy(image, 40)) < ssim(image, noisy(image, 10)) < 1
    constant = np.full((64, 64, 3), 100, np.uint8), np.full((64, 64, 3), 110, np.uint8)
    c1 = (0.01 * 255) ** 2  # of two constants only the means count
    assert ssim(*constant) == pytest.approx((2 * 100 * 110 + c1) / (100**2 + 110**2 + c1))


@pytest.mark.slow
def test_synthetic_drift_of_a_set_appears_in_the_report(tmp_path: Path) -> None:
    """Six photographs: one as it was, one shifted, one cut to other proportions, one from elsewhere, one changed."""
    from .photographs import credits, photograph

    names = [name for name in sorted(credits()) if min(photograph(name).shape[:2]) >= 512][:5]
    truth = {name: crop(name, 512) for name in names}
    originals = {f"test/rain/{n}.png": encoded(noisy(image, 12)) for n, image in truth.items()}
    originals |= {f"test/norain/{n}.png": encoded(image) for n, image in truth.items()}
    same, moved, wide, tilted, altered = (truth[name] for name in names)
    wide = cv2.resize(wide, (768, 512))
    corners = np.array([[0, 0], [511, 0], [511, 511], [0, 511]], np.float32)
    view = cv2.getPerspectiveTransform(corners, corners + np.array([[60, 30], [0, 0], [-50, 0], [0, -60]], np.float32))
    altered = altered.copy()
    altered[150:330, 150:330] = crop(names[0], 180)
    tilted = cv2.warpPerspective(tilted, view, (512, 512), borderMode=cv2.BORDER_REFLECT)
    outputs = [same, shifted(moved, 6, 4), wide, tilted, altered]
    made = {f"{name}_output.png": encoded(image) for name, image in zip(names, outputs, strict=True)}
    workspace = tmp_path / "w"
    well(
        "adopt", "gpt4o-restore/rain800", workspace, "--licence", "CC0-1.0",
        "--outputs", archive(tmp_path / "x.zip", made), "--originals", archive(tmp_path / "y.zip", originals),
    )  # fmt: skip
    for verb in ("align", "score", "verdict", "report"):
        assert ggt(verb, workspace).code == 0
    with Ledger(workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        fits = {aligned.candidate: aligned for aligned in ledger.all(Aligned)}
        of = {Path(each.output).name.removesuffix("_output.png"): each for each in ledger.all(Adopted)}
        far = [shift(of[name], photos[of[name].key], fits[of[name].candidate]) for name in names]
        assert far[0] < 0.5 and far[1] == pytest.approx(math.hypot(6, 4) * 2, abs=0.6) and far[2] < 1.0
        assert fits[of[names[3]].candidate].model in ("affine", "homography")
        scores = ledger.scores()
        near = scores[of[names[0]].candidate]
        assert (
            near["ref_psnr"] == 100
            and near["ref_psnr_gain"] == pytest.approx(100 - psnr(noisy(same, 12), same))
            and near["ref_ssim"] == pytest.approx(1)
        )
        assert len([s for s in ledger.all(Score) if s.metric_version == "ref-1"]) == 4 * len(
            [fit for fit in fits.values() if fit.image]
        )
        from ggt_tools.policy.verdicts import DEFAULT_GATE, load_gate

        makers = {candidate.id: candidate.restorer for candidate in ledger.all(Candidate)}
        verdicts = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
        (found,) = drift(of.values(), makers, photos, fits, scores, verdicts, load_gate(DEFAULT_GATE))
    assert (found.set, found.restorer, found.outputs) == ("gpt4o-restore/rain800", "gpt-4o", 5)
    assert found.proportion == pytest.approx(1 / 5)
    assert found.viewpoint == pytest.approx(1 / 5)
    assert found.objects >= 1 / 5
    assert found.psnr > 20
    page = (workspace / "report.html").read_text()
    assert "Adopted sets" in page and "gpt4o-restore/rain800" in page
    again = ggt("score", workspace)
    assert again.out.startswith("score: 0 scores")


def test_a_report_without_adopted_sets_has_no_section_on_them(tmp_path: Path) -> None:
    from ggt_tools.stages.report import report

    from .test_report import facts

    assert "Adopted sets" not in report(facts(3), created="2026-01-01T00:00:00Z")


@pytest.mark.slow
def test_drifted_outputs_become_priors_of_pairs_with_true_ground_truth(tmp_path: Path) -> None:
    """Adopted once with a model's outputs, once with the true ground truths: these are the pairs, those the priors."""
    from .photographs import credits, photograph

    names = [name for name in sorted(credits()) if min(photograph(name).shape[:2]) >= 512][:3]
    truth = {name: crop(name, 512) for name in names}
    corners = np.array([[0, 0], [511, 0], [511, 511], [0, 511]], np.float32)
    view = cv2.getPerspectiveTransform(corners, corners + np.array([[60, 30], [0, 0], [-50, 0], [0, -60]], np.float32))
    seen = {name: cv2.warpPerspective(image, view, (512, 512), flags=cv2.INTER_LINEAR) for name, image in truth.items()}
    lqs = archive(tmp_path / "y.zip", {f"{name}.png": encoded(noisy(image, 12)) for name, image in truth.items()})
    workspace, out = tmp_path / "w", tmp_path / "out"
    for name, images, maker in (("drifted", seen, "gpt-4o"), ("true", truth, "camera")):
        outputs = archive(tmp_path / f"{name}.zip", {f"{n}.png": encoded(image) for n, image in images.items()})
        well(
            "adopt", name, workspace, "--outputs", outputs, "--originals", lqs, "--restorer", maker, "--class", "mixed",
            "--licence", "CC0-1.0",
        )  # fmt: skip
    for verb in ("align", "score", "verdict"):
        assert ggt(verb, workspace).code == 0
    well("pack", workspace, out, "--priors")
    well("validate", out, "--against", workspace)
    pairs, priors = (list(ggt100k.PairDataset(out, name, columns=["restorer"])) for name in ("train", "prior"))
    assert {pair["restorer"] for pair in pairs} == {"camera"} and {prior["restorer"] for prior in priors} == {"gpt-4o"}
    assert {pair["key"] for pair in pairs} <= {prior["key"] for prior in priors} and len(priors) == 3
    for prior in priors:
        assert any(np.array_equal(prior["gt"], image) for image in seen.values())


def test_the_licence_of_a_photograph_applies_to_every_restorer(tmp_path: Path) -> None:
    """What another restorer makes of a photograph that may not be passed on may not either."""
    (lq, gt), _ = pairs_of()
    workspace = tmp_path / "w"
    both = (
        "--originals",
        archive(tmp_path / "y.zip", {"1.png": lq}),
        "--outputs",
        archive(tmp_path / "x.zip", {"1.png": gt}),
    )
    assert ggt("adopt", "gpt4o-restore/lol", workspace, "--licence", "CC-BY-ND-4.0", *both).code == 0
    with Ledger(workspace) as ledger:
        (adopted,) = ledger.all(Candidate)
        image = ledger.put_image(encode_png(crop("life-1", 256)))
        own = dataclasses.replace(adopted, id="own", restorer="classical-1", restorer_name="classical", image=image)
        structure = Score(candidate="own", metric="structure", metric_version="1", value=0.5)
        ledger.add(own, structure, Aligned(candidate="own", version="align-2", image=image, reason=""))
        verdict = {"candidate": "own", "gate": "0" * 16, "stage": "", "reason": "", "evidence": ()}
        ledger.judge("0" * 16, GATE, [Verdict(decision="keep", **verdict)])  # type: ignore[arg-type]
    out = well("pack", workspace, tmp_path / "out")
    assert "must stay on this machine: CC-BY-ND-4.0 forbids to pass on what is made of it" in out
    assert json.loads((tmp_path / "out" / ggt100k.MANIFEST).read_text())["local_only"].startswith("CC-BY-ND-4.0")
