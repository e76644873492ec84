"""adopt --from: releases as authors publish them, in several layouts, from folders and the Hub, and with faults."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.events import Recorded
from ggt_tools.records import Adopted, AdoptedOrigin, Candidate, HeldOutPair, Photo
from ggt_tools.stages.adopt import AlreadyDone, ExternalPair, ImportedPair, PairOptions, adopt
from ggt_tools.stages.adopt.image_files import ImageSource
from ggt_tools.stages.adopt.image_source import open_image_source
from ggt_tools.stages.adopt.matching import match
from ggt_tools.stages.adopt.pair_rows import PairRow, PairRows
from ggt_tools.stages.adopt.plans import COLUMNS, warnings_of
from ggt_tools.stages.adopt.run import AdoptConfig, run
from ggt_tools.stages.adopt.sets import GGT_100K
from ggt_tools.stages.adopt.templates import read_layout
from ggt_tools.stages.adopt.trees import TailIndex, read_place
from ggt_tools.summary import Summary
from ggt_tools.workspace.ledger import Ledger

from .hub import Hub
from .making import run_python
from .releases import cut, image, numbered, tar_of, write, zip_of
from .test_cli import ggt

FACTS: dict[str, Any] = {"restorer": "m", "licence": "CC0-1.0"}
ND = "CC-BY-NC-ND-4.0 forbids to pass on what is made of it"
Files = Mapping[str, bytes]


def sides(
    names: Mapping[str, int], lq: str, gt: str, gt_suffix: str = ".png"
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The images of both sides, by templates of their names and the seeds of their pixels."""
    return (
        {lq.format(name) + ".png": image(seed) for name, seed in names.items()},
        {gt.format(name) + gt_suffix: image(seed + 500) for name, seed in names.items()},
    )


def imported(workspace: Path) -> dict[str, tuple[str, str]]:
    """By file of the photograph, without the set: output and class."""
    with Ledger(workspace) as ledger:
        photos = {photo.key: photo for photo in ledger.all(Photo)}
        return {
            photos[fact.key].file.partition("/")[2]: (fact.output, photos[fact.key].degradation)
            for fact in ledger.all(Adopted)
        }


def held_out(workspace: Path) -> set[str]:
    """Files of the photographs in the test split."""
    with Ledger(workspace) as ledger:
        photos = {photo.key: photo.file.partition("/")[2] for photo in ledger.all(Photo)}
        return {photos[held.key] for held in ledger.all(HeldOutPair)}


# --- GGT-100K, in layouts that fit what is known of it ----------------------------------------------------------------

AROUND = {
    "README.md": b"---\nlicense: cc-by-nc-nd-4.0\n---\n# GGT-100K\n",
    ".gitattributes": b"*.tar filter=lfs\n",
    "demo_video.mp4": b"\0",
    "Existing-dataset/existing.zip": zip_of({"LQ/9.png": b"no image"}),
    "pretrained-model/model.pth": b"\0",
}


def plain_folders() -> dict[str, bytes]:
    """Classes as folders, splits above them, HQ as JPEG under the same names."""
    files = {}
    for seed, (split, name) in enumerate((("train", "Rain"), ("train", "Low-light"), ("test", "Old photos"))):
        lq, gt = sides({"0001": seed, "0002": seed + 10}, f"{split}/{name}/LQ/{{}}", f"{split}/{name}/HQ/{{}}")
        files |= lq | gt
    return files


def parts_of_each_side() -> dict[str, bytes]:
    """One tar for each side and split, cut into parts, as `split -d -a 3` cuts them."""
    files = {}
    for seed, split in enumerate(("train", "test")):
        lq, gt = sides({"Rain/0001": seed, "Snow/0001": seed + 10}, "{}", "{}")
        files |= numbered(f"{split}_LQ.tar", cut(tar_of(lq), 3), ".split.{:03d}")
        files |= numbered(f"{split}_HQ.tar", cut(tar_of(gt), 2), ".split.{:03d}")
    return files


def zip_of_each_class() -> dict[str, bytes]:
    """A zip for each class, in parts, with both sides in it."""
    files = {}
    for seed, name in enumerate(("rain", "haze", "old_photo")):
        lq, gt = sides({"1": seed, "2": seed + 10}, "input/{}", "target/{}")
        files |= numbered(f"{name}.zip", cut(zip_of(lq | gt), 3), ".{:03d}", 1)
    test = sides({"a": 77}, "input/{}", "target/{}")
    return files | {"test/mixed.zip": zip_of(test[0] | test[1])}


def manifest_in_a_compressed_tar() -> dict[str, bytes]:
    """Numbered files and a manifest as HarnessIR writes it, in a tar.gz in parts."""
    lq, gt = sides({"0": 1, "1": 2, "2": 3}, "images/lq_{}", "images/gt_{}")
    rows = [
        {"lq": f"images/lq_{n}.png", "gt": f"images/gt_{n}.png", "type": types, "prompt": f"P{n}"}
        for n, types in enumerate((["rain"], ["lowlight", "haze"], ["mix"]))
    ]
    rows[2]["split"] = "test"
    tar = tar_of({**lq, **gt, "metadata.json": json.dumps(rows).encode()})
    return numbered("data.tar.gz", cut(gzip.compress(tar), 3), ".{:02d}")


def many_archives_a_side() -> dict[str, bytes]:
    """Numbered tars a side, cut at other places, and the test split as a list."""
    files = {}
    lq, gt = sides({f"{number:05d}": number for number in range(12)}, "{}", "{}")
    for stem, images, count in (("lq", lq, 3), ("hq", gt, 4)):
        names = sorted(images)
        for part in range(count):
            some = names[part * len(names) // count : (part + 1) * len(names) // count]
            files[f"train/{stem}-{part:03d}-of-{count:03d}.tar"] = tar_of({name: images[name] for name in some})
    return files | {"test.txt": b"00003.png\n00007\n"}


def suffixes() -> dict[str, bytes]:
    """Both sides in one folder for each class, told apart by the ends of their names."""
    files = {}
    for seed, name in enumerate(("rain", "snow")):
        lq, gt = sides({"0001": seed, "0002": seed + 10}, f"{name}/{{}}_LQ", f"{name}/{{}}_HQ")
        files |= lq | gt
    return files


def below(files: Files) -> dict[str, bytes]:
    return {f"GGT-100K/{name}": data for name, data in files.items()} | AROUND


# by layout: how it is made, options, what is imported (file: output, class), and the test split
LAYOUTS: dict[str, tuple[Callable[[], Files], tuple[str, ...], dict[str, tuple[str, str]], set[str]]] = {
    "plain folders": (
        plain_folders,
        (),
        {
            f"{folder}/LQ/{n}.png": (f"{folder}/HQ/{n}.png", name)
            for folder, name in (
                ("train/Rain", "rain"),
                ("train/Low-light", "low_light"),
                ("test/Old photos", "old_photo"),
            )
            for n in ("0001", "0002")
        },
        {"test/Old photos/LQ/0001.png", "test/Old photos/LQ/0002.png"},
    ),
    "parts of each side": (
        parts_of_each_side,
        (),
        {
            f"{split}_LQ/{name}/0001.png": (f"{split}_HQ/{name}/0001.png", name.lower())
            for split in ("train", "test")
            for name in ("Rain", "Snow")
        },
        {"test_LQ/Rain/0001.png", "test_LQ/Snow/0001.png"},
    ),
    "zip of each class": (
        zip_of_each_class,
        (),
        {
            **{
                f"{name}/input/{n}.png": (f"{name}/target/{n}.png", name)
                for name in ("rain", "haze", "old_photo")
                for n in "12"
            },
            "test/mixed/input/a.png": ("test/mixed/target/a.png", "mixed"),
        },
        {"test/mixed/input/a.png"},
    ),
    "manifest in a compressed tar": (
        manifest_in_a_compressed_tar,
        (),
        {
            f"data/images/lq_{n}.png": (f"data/images/gt_{n}.png", name)
            for n, name in enumerate(("rain", "haze", "mixed"))
        },
        {"data/images/lq_2.png"},
    ),
    "many archives a side": (
        many_archives_a_side,
        ("--test-list", "test.txt", "--class", "snow"),
        {f"train/lq/{n:05d}.png": (f"train/hq/{n:05d}.png", "snow") for n in range(12)},
        {"train/lq/00003.png", "train/lq/00007.png"},
    ),
    "suffixes": (
        suffixes,
        (),
        {f"{name}/{n}_LQ.png": (f"{name}/{n}_HQ.png", name) for name in ("rain", "snow") for n in ("0001", "0002")},
        set(),
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_ggt_100k_in_each_layout(name: str, tmp_path: Path) -> None:
    make, options, expected, test = LAYOUTS[name]
    root = write(tmp_path / "r", below(make()))
    taken = sorted(path.name for path in tmp_path.rglob("*"))
    argv = ("adopt", "ggt-100k", tmp_path / "w", "--from", root, *options)
    dry = ggt(*argv, "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    done = ggt(*argv)
    assert done.out.startswith(f"adopt: {len(expected)} imported, 0 already done\n"), done
    assert done.err == f"ggt100k adopt: ggt-100k: nothing of it can be pushed: {ND}\n"
    assert sorted(path.name for path in root.parent.glob("r/**/*")) == [n for n in taken if n != "r"], (
        "nothing is unpacked"
    )
    files = {f"GGT-100K/{file}": (f"GGT-100K/{gt}", kind) for file, (gt, kind) in expected.items()}
    assert imported(tmp_path / "w") == files
    assert held_out(tmp_path / "w") == {f"GGT-100K/{file}" for file in test}
    with Ledger(tmp_path / "w") as ledger:
        assert {candidate.restorer for candidate in ledger.all(Candidate)} == {GGT_100K.restorer}
        assert {fact.local_only for fact in ledger.all(Adopted)} == {ND}
        assert {photo.licence for photo in ledger.all(Photo)} == {"CC-BY-NC-ND-4.0"}
    again = ggt(*argv)
    assert again.out.startswith(f"adopt: 0 imported, {len(expected)} already done\n")


def test_what_lies_at_the_root_is_explained(tmp_path: Path) -> None:
    root = write(tmp_path / "r", below(suffixes()) | {"extra/1.png": image(1)})
    found = run(tmp_path / "w", AdoptConfig(set="ggt-100k", root=root, dry_run=True))
    assert found.notes[:4] == (
        "Existing-dataset: 1 files: photographs of other datasets; not read",
        "GGT-100K/: 8 files: the pairs",
        "README.md: 1 files: the dataset card; not read",
        "extra: 1 files: not known",
    )
    assert found.count("passed over", "other_subtree") == 2
    del (bare := dict(below(suffixes())))["Existing-dataset/existing.zip"]
    found = run(tmp_path / "w", AdoptConfig(set="ggt-100k", root=write(tmp_path / "b", bare), dry_run=True))
    assert (
        f"{tmp_path / 'b'}: GGT-100K usually has Existing-dataset, pretrained-model too, which is not here"
        in found.notes
    )


def unclear() -> dict[str, bytes]:
    """Folders whose names state nothing, and names that begin anew in each."""
    lq, gt = sides({"1": 1, "2": 2}, "A/drizzle/{}", "B/drizzle/{}")
    more = sides({"1": 3, "2": 4}, "A/Snow/{}", "B/Snow/{}")
    return lq | gt | more[0] | more[1]


LAYOUT = """
[[pairs]]
lq = "GGT-100K/A/{class}/{name}.*"
gt = "GGT-100K/B/{class}/{name}.*"
[classes]
drizzle = "rain"
"""


def test_a_layout_that_is_not_known_asks_for_a_mapping_file(tmp_path: Path) -> None:
    root = write(tmp_path / "r", below(unclear()))
    with pytest.raises(ConfigError) as caught:
        run(tmp_path / "w", AdoptConfig(set="ggt-100k", root=root))
    message = str(caught.value)
    assert message.startswith(f"{root}: no pair was found (8 no_role). ")
    assert "GGT-100K/A/drizzle: 2 images (2 unknown)" in message and "--layout FILE.toml" in message
    template = message.partition("for example:\n")[2]
    (tmp_path / "x.toml").write_text(template)
    assert len(read_layout(tmp_path / "x.toml").templates) == 1, "what the message proposes can be read"
    assert not (tmp_path / "w").exists()
    (tmp_path / "l.toml").write_text(LAYOUT)
    run(tmp_path / "w", AdoptConfig(set="ggt-100k", root=root, layout=tmp_path / "l.toml"))
    assert imported(tmp_path / "w") == {
        f"GGT-100K/A/{folder}/{n}.png": (f"GGT-100K/B/{folder}/{n}.png", kind)
        for folder, kind in (("drizzle", "rain"), ("Snow", "snow"))
        for n in "12"
    }


def test_a_licence_that_forbids_it_is_not_overruled(tmp_path: Path) -> None:
    """Neither for the known set, nor where the card of another set states it."""
    root = write(tmp_path / "r", suffixes() | {"README.md": AROUND["README.md"]})
    for name in ("ggt-100k", "mine"):
        recorded = Recorded()
        config = AdoptConfig(set=name, root=root, limit=1, restorer="m", licence="CC0-1.0")
        run(tmp_path / name, config, events=recorded)
        assert recorded.warnings == [f"{name}: nothing of it can be pushed: {ND}"]


# --- faults -----------------------------------------------------------------------------------------------------------


def adopted_from(tmp_path: Path, files: Files, **options: Any) -> tuple[Summary, list[str]]:
    """What a run says, and its warnings."""
    recorded = Recorded()
    root = write(tmp_path / "r", files)
    return run(
        tmp_path / "w", AdoptConfig(set="mine", root=root, **{**FACTS, **options}), events=recorded
    ), recorded.warnings


def two_tars() -> dict[str, bytes]:
    lq, gt = sides({f"{n}": n for n in range(6)}, "{}", "{}")
    return numbered("lq.tar", cut(tar_of(lq), 3), ".split.{:03d}") | numbered("gt.tar", cut(tar_of(gt), 3), ".{:02d}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("lq.tar.split.001"), "lq.tar: 1 part is missing: number 1 of those up to"),
        (lambda files: files.pop("gt.tar.02"), "It is in the part "),
        (lambda files: files.update({"gt.tar.01": files["gt.tar.02"], "gt.tar.02": files["gt.tar.01"]}), "It is in"),
        (lambda files: files.update({"gt.tar.1": files["gt.tar.01"]}), "gt.tar.01 and gt.tar.1 are the same part."),
    ],
    ids=["missing", "last one missing", "wrong order", "twice"],
)  # fmt: skip
def test_parts_that_are_not_right_stop_the_run_before_any_work(
    change: Callable[[dict[str, bytes]], object], message: str, tmp_path: Path
) -> None:
    files = two_tars()
    change(files)
    with pytest.raises(ConfigError) as caught:
        adopted_from(tmp_path, files)
    assert message in str(caught.value) and not (tmp_path / "w").exists()


def test_all_missing_parts_are_named_at_once_and_a_subtree_leaves_them_out(tmp_path: Path) -> None:
    files = {f"{side}/{name}": data for side in "ab" for name, data in two_tars().items()}
    for name in ("b/lq.tar.split.001", "b/gt.tar.01"):
        del files[name]
    with pytest.raises(ConfigError) as caught:
        adopted_from(tmp_path, files)
    assert "b/gt.tar: 1 part is missing" in str(caught.value) and "b/lq.tar: 1 part is missing" in str(caught.value)
    done, _ = adopted_from(tmp_path, files, subtrees=("a/",))
    assert done.counts["imported"] == 6
    with pytest.raises(ConfigError, match=r"--subtree none: .* has no image or archive below it"):
        adopted_from(tmp_path, files, subtrees=("none",))


def test_two_images_for_one_name(tmp_path: Path) -> None:
    """In two archives of one series, in one tar, in an archive and a folder, and under two extensions."""
    lq, gt = sides({f"{n}": n for n in range(8)}, "lq/{}", "gt/{}")
    names = sorted(lq)
    files = {
        "lq_0.tar": tar_of({name[3:]: lq[name] for name in names[:5]}),
        "lq_1.tar": tar_of({name[3:]: lq[name] for name in names[4:]}),
        "gt.zip": zip_of({name[3:]: data for name, data in gt.items()} | {"7.jpg": image(3)}),
        "gt/0.png": image(9),
    }
    twice = io.BytesIO(tar_of({"1.png": image(1), "2.png": image(2)}))
    with tarfile.open(fileobj=twice, mode="a") as archive:
        archive.addfile(tarfile.TarInfo("1.png"))
    files["extra.tar"] = twice.getvalue()
    done, warnings = adopted_from(tmp_path, files)
    assert set(imported(tmp_path / "w")) == {f"lq/{n}.png" for n in (1, 2, 3, 5, 6)}
    assert done.reasons["unmatched"] == {
        "duplicate_name": 3,
        "ambiguous": 3,
        "no_output": 1,
        "no_original": 1,
        "no_role": 1,
    }
    assert any("lq_0.tar and lq_1.tar both hold an image of this name" in warning for warning in warnings)
    assert any("a file and an archive both have an image of this name" in warning for warning in warnings)
    assert any("extra.tar: 1.png: " in warning and "two members of this name" in warning for warning in warnings)


def test_a_class_that_is_not_known(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    for seed, name in enumerate(("rain", "sandstorm")):
        lq, gt = sides({"1": seed}, f"{name}/lq/{{}}", f"{name}/gt/{{}}")
        files |= lq | gt
    done, (warning,) = adopted_from(tmp_path, files)
    assert warning == (
        "unknown_class: sandstorm/lq/1.png: no folder names a known class. State it: --class-names FOLDER=CLASS, or "
        "--class CLASS for all"
    )
    assert done.counts["imported"] == 1 and done.count("unmatched", "unknown_class") == 1
    done, warnings = adopted_from(tmp_path, files, class_names={"Sandstorm": "haze"})
    assert (done.counts["imported"], warnings) == (1, [])
    assert {kind for _, kind in imported(tmp_path / "w").values()} == {"rain", "haze"}
    with pytest.raises(ConfigError, match="--class-names x=fog: the class 'fog' is not known"):
        AdoptConfig(set="mine", class_names={"x": "fog"})


def test_two_classes_in_one_path_are_not_chosen_from(tmp_path: Path) -> None:
    lq, gt = sides({"1": 1}, "rain/snow/lq/{}", "rain/snow/gt/{}")
    done, (warning,) = adopted_from(tmp_path, lq | gt)
    assert done.counts["imported"] == 0 and done.is_failed
    assert warning.startswith("unknown_class: rain/snow/lq/1.png: its folders name two classes, rain and snow.")


def test_without_any_class_folder_all_have_that_of_the_set_unless_folders_are_asked_for(tmp_path: Path) -> None:
    lq, gt = sides({"1": 1}, "x/lq/{}", "x/gt/{}")
    done, _ = adopted_from(tmp_path, lq | gt, degradation="folder", dry_run=True)
    assert done.count("unmatched", "unknown_class") == 1
    adopted_from(tmp_path, lq | gt)
    assert imported(tmp_path / "w") == {"x/lq/1.png": ("x/gt/1.png", "mixed")}


def test_class_by_folder_of_two_sources(tmp_path: Path) -> None:
    lq, gt = sides({"rain/1": 1, "snow/1": 2, "dust/1": 3}, "{}", "{}")
    config = AdoptConfig(
        set="mine",
        originals=write(tmp_path / "a", lq),
        outputs=write(tmp_path / "b", gt),
        degradation="folder",
        **FACTS,
    )
    done = run(tmp_path / "w", config)
    assert imported(tmp_path / "w") == {f"{n}/1.png": (f"{n}/1.png", n) for n in ("rain", "snow")}
    assert done.count("unmatched", "unknown_class") == 1


HOSTILE = (
    "../out.png", "/etc/out.png", "a/../../out.png", "C:/out.png", "a\\..\\out.png", "line\nbreak.png",
    "\x1b[31mred.png", "bell\x07.png", "\u202egnp.exe.png",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
def test_a_path_that_leaves_the_archive(kind: str, tmp_path: Path) -> None:
    lq, gt = sides({"1": 1}, "lq/{}", "gt/{}")
    bad = {name: image(5) for name in HOSTILE}
    data = zip_of(lq | gt | bad) if kind == "zip" else tar_of(lq | gt | bad)
    files = {f"x.{kind}": gzip.compress(data) if kind == "tar.gz" else data}
    done, warnings = adopted_from(tmp_path, files)
    assert done.counts["imported"] == 1
    assert done.count("unmatched", "bad_name") == len(HOSTILE)
    assert all(warning.isprintable() for warning in warnings)
    assert {path.name for path in tmp_path.iterdir()} == {"r", "w"} and not Path("/etc/out.png").exists()


def test_links_and_pipes_in_a_release_are_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.tar"
    secret.write_bytes(tar_of({"lq/9.png": image(9), "gt/9.png": image(10)}))
    lq, gt = sides({"1": 1}, "lq/{}", "gt/{}")
    root = write(tmp_path / "r", lq | gt)
    (root / "x.tar").symlink_to(secret)
    os.mkfifo(root / "y.zip")
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        link = tarfile.TarInfo("lq/2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (root / "z.tar").write_bytes(made.getvalue())
    done = run(tmp_path / "w", AdoptConfig(set="mine", root=root, **FACTS))
    assert set(imported(tmp_path / "w")) == {"lq/1.png"}
    assert done.count("unmatched", "link") == 1


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=6), st.sampled_from(["tar", "zip"]))
@settings(max_examples=40, deadline=None)
def test_no_name_in_an_archive_does_harm(tmp_path_factory: pytest.TempPathFactory, names: list[str], kind: str) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    files = {}
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            continue
        files[f"{name}.png"] = b"x"
    try:
        (folder / f"x.{kind}").write_bytes(zip_of(files) if kind == "zip" else tar_of(files, form=tarfile.PAX_FORMAT))
    except (ValueError, IndexError):  # a name that the format cannot hold
        return
    source = open_image_source(folder / f"x.{kind}")
    for name in source.names:
        assert name.isprintable() and ".." not in name.split("/") and not name.startswith("/")
        assert source.read(name) == b"x"
    for name, fault in source.refused.items():
        assert name.isprintable() and isinstance(fault, PairError) and str(fault).isprintable()


# --- going on after a kill --------------------------------------------------------------------------------------------


def options(**changes: Any) -> PairOptions:
    return PairOptions(**{"name": "mine", "restorer": "m", "licence": "CC0-1.0", "degradation": "rain", **changes})


def test_a_pair_whose_files_are_known_is_not_read_again() -> None:
    def never() -> bytes:
        raise AssertionError("read again")

    pair = ExternalPair(name="1", output="1", lq=lambda: image(1), gt=lambda: image(2), identity="a|b")
    (first,) = adopt([pair], options(), (), str)
    assert isinstance(first, ImportedPair) and first.origin is not None
    unread = ExternalPair(name="1", output="1", lq=never, gt=never, identity="a|b")
    assert list(adopt([unread], options(), (), str, origins={first.origin.id})) == [AlreadyDone()]
    # the same bytes from another archive are found by their hash, and the new archive is remembered
    moved = ExternalPair(name="1", output="1", lq=lambda: image(1), gt=lambda: image(2), identity="c|d")
    (found,) = adopt([moved], options(), {first.candidate.id}, str, origins={first.origin.id})
    assert isinstance(found, AlreadyDone) and found.origin is not None and found.origin.candidate == first.candidate.id
    # another restorer's output is another candidate
    assert isinstance(next(adopt([pair], options(restorer="n"), (), str, origins={first.origin.id})), ImportedPair)


def test_results_come_in_the_order_of_the_pairs_whatever_the_threads() -> None:
    def slow(number: int) -> Callable[[], bytes]:
        def read() -> bytes:
            time.sleep(0.02 * (3 - number % 4))
            return image(number)

        return read

    pairs = [ExternalPair(name=str(n), output=str(n), lq=slow(n), gt=lambda: image(99)) for n in range(8)]
    found = [
        result.photo.file for result in adopt(pairs, options(), (), str, threads=4) if isinstance(result, ImportedPair)
    ]
    assert found == [f"mine/{n}" for n in range(8)]


KILLED = """
import sys
from pathlib import Path
from ggt_tools.stages.adopt.run import AdoptConfig, run
run(Path(sys.argv[1]), AdoptConfig(set="mine", root=Path(sys.argv[2]), restorer="m", licence="CC0-1.0", threads=1))
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on(tmp_path: Path) -> None:
    lq, gt = sides({f"{n:03d}": n for n in range(60)}, "{}", "{}")
    root = write(
        tmp_path / "r",
        numbered("lq.tar", cut(tar_of(lq), 4), ".split.{:03d}") | numbered("gt.tar", cut(tar_of(gt), 5), ".{:02d}"),
    )
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "w"), str(root)])
    while not list((tmp_path / "w" / "images").glob("*/*"))[40:]:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(imported(tmp_path / "w"))
    assert 0 < before < 60
    done = run(tmp_path / "w", AdoptConfig(set="mine", root=root, **FACTS))
    assert done.counts == {"imported": 60 - before, "already done": before}
    assert imported(tmp_path / "w") == {f"lq/{n:03d}.png": (f"gt/{n:03d}.png", "mixed") for n in range(60)}
    with Ledger(tmp_path / "w") as ledger:
        assert len(list(ledger.all(AdoptedOrigin))) == 60


# --- the Hub ----------------------------------------------------------------------------------------------------------

HUB_RUN = """
from pathlib import Path
from ggt_tools.events import Recorded
from ggt_tools.stages.adopt.run import AdoptConfig, run
for limit in (2, None, None):
    config = AdoptConfig(set="mine", root="hf://datasets/org/big", subtrees=("GGT-100K/",), restorer="m",
                         licence="CC0-1.0", limit=limit)
    print(dict(run(Path("w"), config).counts))
"""


@pytest.mark.slow
def test_a_release_on_the_hub_is_read_in_place(tmp_path: Path) -> None:
    """By ranges: neither the other folders nor images that are imported already are fetched, and nothing is kept."""
    lq, gt = sides({f"{n}": n for n in range(5)}, "rain/{}", "rain/{}")
    files = {
        **numbered("GGT-100K/lq.tar", cut(tar_of(lq), 3), ".split.{:03d}"),
        "GGT-100K/gt.zip": zip_of(gt),
        "other/huge.tar": tar_of({"lq/1.png": bytes(3 << 20)}),
    }
    with Hub() as hub:
        sha = hub.publish("org/big", write(tmp_path / "r", files))
        done = run_python(HUB_RUN, tmp_path / "run", **hub.env(tmp_path / "home"))
        assert done.stdout.splitlines() == [
            "{'imported': 2, 'already done': 0}",
            "{'imported': 3, 'already done': 2}",
            "{'imported': 0, 'already done': 5}",
        ], done.stderr
        paths = [request.path for request in hub.requests if "/resolve/" in request.path]
        sent = sum(request.sent for request in hub.requests)
    assert all(f"/resolve/{sha}/GGT-100K/" in path for path in paths), "pinned to a commit, and nothing else is read"
    size = sum(len(data) for name, data in files.items() if name.startswith("GGT-100K"))
    assert sent < 8 * size, "three runs read headers, and each image once"
    assert imported(tmp_path / "run" / "w") == {
        f"GGT-100K/lq/rain/{n}.png": (f"GGT-100K/gt/rain/{n}.png", "rain") for n in range(5)
    }
    kept = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.stat().st_size > 4000]
    assert kept == []


def test_a_release_that_is_not_there(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path / "none" / "x.tar"):
        with pytest.raises(ConfigError, match="there is no such file or folder"):
            run(tmp_path / "w", AdoptConfig(set="mine", root=place, **FACTS))
    with pytest.raises(ConfigError, match="memory://none: "):
        run(tmp_path / "w", AdoptConfig(set="mine", root="memory://none", **FACTS))


# --- lists and tables -------------------------------------------------------------------------------------------------


def test_a_test_list_names_pairs_in_several_ways(tmp_path: Path) -> None:
    files: dict[str, bytes] = {}
    for seed, name in enumerate(("rain", "snow")):
        lq, gt = sides({"1": seed, f"{name}2": seed + 9}, f"{name}/lq/{{}}", f"{name}/gt/{{}}")
        files |= lq | gt
    (tmp_path / "list.csv").write_text("name,x\n# two\nsnow\\lq\\1.PNG,7\ngt/rain2.png\n1\nnone.png\n")
    done, warnings = adopted_from(tmp_path, files, test_list=str(tmp_path / "list.csv"))
    assert held_out(tmp_path / "w") == {"snow/lq/1.png", "rain/lq/rain2.png"}
    assert done.reasons["unmatched"] == {"not_in_set": 2, "ambiguous": 1}
    assert f"ambiguous: {tmp_path / 'list.csv'}: 1: two pairs have this name" in warnings
    with pytest.raises(ConfigError, match=r"--test-list t.txt: neither the release nor this machine has such a file"):
        adopted_from(tmp_path, files, test_list="t.txt")


def test_a_dry_run_as_a_table_and_as_csv(tmp_path: Path) -> None:
    lq, gt = sides({f"{n:02d}": n for n in range(25)}, "rain/lq/{}", "rain/gt/{}")
    test = sides({"1": 70}, "test/snow/lq/{}", "test/snow/gt/{}")
    files = lq | gt | test[0] | test[1] | {"rain/lq/=1+1.png": image(80), "notes.pdf": b""}
    done, _ = adopted_from(tmp_path, files, dry_run=True, csv=tmp_path / "plan.csv")
    assert len([line for line in done.plan if " <- " in line]) == 20
    assert [line.split() for line in done.plan[20:]] == [
        ["and", "6", "more", "pairs:", "--csv", "FILE", "lists", "them", "all"],
        ["class", "split", "pairs", "licence", "may", "be", "pushed"],
        ["rain", "train", "25", "CC0-1.0", "yes"],
        ["snow", "test", "1", "CC0-1.0", "yes"],
        ["would", "adopt", "26", "pairs", "as", "mine", "by", "m,", "mixed"],
        ["licence", "CC0-1.0"],
    ]
    assert done.reasons == {"unmatched": {"no_output": 1}, "passed over": {".pdf": 1}}
    assert done.paths == (str(tmp_path / "plan.csv"),) and not (tmp_path / "w").exists()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "plan.csv").read_text())))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 27
    assert rows[25] == {
        "status": "pair", "original": "test/snow/lq/1.png", "output": "test/snow/gt/1.png", "reference": "no",
        "class": "snow", "split": "test", "licence": "CC0-1.0", "may_be_pushed": "yes", "restorer": "m", "prompt": "",
        "reason": "", "detail": "",
    }  # fmt: skip
    assert (rows[26]["status"], rows[26]["original"], rows[26]["reason"]) == (
        "unmatched",
        "rain/lq/=1+1.png",
        "no_output",
    )
    with pytest.raises(ConfigError, match=r"--csv x.csv: this is the table of a dry run. Add --dry-run."):
        AdoptConfig(set="mine", csv=Path("x.csv"))


def test_many_images_of_one_reason_are_counted(tmp_path: Path) -> None:
    lq, _ = sides({f"{n}": n for n in range(3)}, "lq/{}", "gt/{}")
    files = {**{f"lq/{n}.png": b"" for n in range(30)}, **sides({"a": 1}, "lq/{}", "gt/{}")[0], "gt/a.png": image(9)}
    _, warnings = adopted_from(tmp_path, files)
    assert len(warnings) == 21
    assert warnings[-1] == "no_output: 10 more images have this reason. List them all: --dry-run --csv FILE"
    assert list(warnings_of(())) == [] and lq


# --- roles, classes and splits by names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("train/rain/LQ/0001.png", ("lq", "train/rain/0001", {"rain"}, "")),
        ("Test-HQ/Low_Light/0001.jpg", ("gt", "test/low light/0001", {"low_light"}, "test")),
        ("low_light/high/a.png", ("gt", "low light/a", {"low_light"}, "")),
        ("low/a.png", ("lq", "a", set(), "")),
        ("a_gt.png", ("gt", "a", set(), "")),
        ("x/my-image ground truth.png", ("gt", "x/my-image", set(), "")),
        ("gt/a_lq.png", ("gt", "a_lq", set(), "")),
        ("lq/a_lq.png", ("lq", "a", set(), "")),
        ("lq.png", ("lq", "", set(), "")),
        ("hazy/a.png", ("lq", "a", {"haze"}, "")),
        ("General mixed/input/a.png", ("lq", "general mixed/a", {"mixed"}, "")),
        ("clqx/a.png", ("", "clqx/a", set(), "")),
        ("contest/a.png", ("", "contest/a", set(), "")),
    ],
)
def test_what_a_name_states(name: str, place: tuple[str, str, set[str], str]) -> None:
    found = read_place(name)
    assert (found.role, found.key, set(found.classes), found.split) == place


def test_a_name_is_found_by_its_end_if_only_one_has_it() -> None:
    index = TailIndex(["a/x/1.png", "b/x/1.png", "b/y/2.png"], "b")
    assert [index.find(name) for name in ("x/1.png", "a/x/1.png", "2.png", "1.png", "y\\2.png", "none.png")] == [
        "b/x/1.png", "a/x/1.png", "b/y/2.png", None, "b/y/2.png", None
    ]  # fmt: skip


# --- mapping files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[pairs]]\nlq = 'a/{name}'\n", "pairs 1: gt is missing."),
        ("[[pairs]]\nlq = 'a/{name}'\ngt = 'b/{other}'\n", "pairs 1: lq has {name} and gt has {other}."),
        ("[[pairs]]\nlq = 'a/1.png'\ngt = 'b/1.png'\n", "pairs 1: lq has no field and gt has no field."),
        ("[[pairs]]\nlq = 'a/{name'\ngt = 'b/{name}'\n", "pairs 1: lq: a/{name: a brace is open."),
        ("[[pairs]]\nlq='{name}'\ngt='b/{name}'\nclass='fog'\n", "pairs 1: the class 'fog' is not known."),
        ("[[pairs]]\nlq='{name}'\ngt='b/{name}'\nsplit='val'\n", "pairs 1: the split 'val' is not known."),
        ("[[pairs]]\nlq='{name}'\ngt='b/{name}'\nhq='x'\n", "pairs 1: 'hq' is not known."),
        ("[classes]\nx = 'fog'\n", "classes: x: the class 'fog' is not known."),
        ("maps = 1\n", "'maps' is not known."),
        ("pairs = 1\n", "pairs are tables [[pairs]]"),
        ("[[pairs]\n", "is not valid TOML"),
    ],
)
def test_mapping_files_that_are_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "l.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_layout(tmp_path / "l.toml")
    assert str(caught.value).startswith(f"{tmp_path / 'l.toml'}") and message in str(caught.value)


def test_what_a_mapping_file_can_state(tmp_path: Path) -> None:
    """A class and a split on one side alone, wildcards, true ground truths, and what fits twice or not at all."""
    lq, gt = sides({"1": 1, "2": 2}, "p0/in/foggy/test/x{}", "deep/er/out/{}", ".webp.png")
    files = lq | gt | {"true/1.png": image(4), "p1/in/foggy/test/x2.png": image(5), "rest.png": image(6)}
    (tmp_path / "l.toml").write_text(
        "[[pairs]]\nlq = 'p*/in/{class}/{split}/x{name}.png'\ngt = '**/out/{name}.*'\nref = 'true/{name}.png'\n"
        "[classes]\nFoggy = 'haze'\n"
    )
    done, _ = adopted_from(tmp_path, files, layout=tmp_path / "l.toml")
    assert imported(tmp_path / "w") == {"p0/in/foggy/test/x1.png": ("deep/er/out/1.webp.png", "haze")}
    assert held_out(tmp_path / "w") == {"p0/in/foggy/test/x1.png"}
    with Ledger(tmp_path / "w") as ledger:
        (fact,) = ledger.all(Adopted)
        assert fact.reference
    assert done.reasons["unmatched"] == {"ambiguous": 3, "no_role": 1}
    (tmp_path / "l.toml").write_text("[[pairs]]\nlq = 'no/{name}'\ngt = '{name}'\n")
    with pytest.raises(ConfigError, match=r"pairs 1: no image fits the template of lq. There are: deep/er"):
        adopted_from(tmp_path, files, layout=tmp_path / "l.toml")


# --- how it scales ----------------------------------------------------------------------------------------------------


def test_pairs_are_read_in_the_order_of_their_archives() -> None:
    order = {"b": (0, 5), "a": (0, 9), "c": (-1, 0)}
    source = ImageSource(
        path="x", names=tuple(order), refused={}, read=lambda name: b"", locate=order.__getitem__, identify=str.upper
    )
    rows = PairRows(source, [PairRow(name, name) for name in "abc"]).in_reading_order()
    assert [pair.name for pair in rows] == ["c", "b", "a"]
    assert [pair.identity for pair in rows[:2]] == ["C|C", "B|B"] and len(rows) == 3


@given(
    st.lists(st.from_regex(r"(?:[ab]/)?[a-c]?0{0,2}[1-3](?:-1|_output|_gt)?\.(?:png|JPG)", fullmatch=True), max_size=8),
    st.lists(st.from_regex(r"(?:[ab]/)?[a-c]?0{0,2}[1-3](?:-1|_hazy)?\.(?:png|jpg)", fullmatch=True), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_names_that_are_compared_in_batches_match_as_at_once(outputs: list[str], originals: list[str]) -> None:
    assert match(outputs, originals, batch_size=1) == match(outputs, originals)
