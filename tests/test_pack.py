"""pack: its output is deterministic, complete or absent, and follows every rule of the format."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import json
import math
import multiprocessing
import os
import shlex
import shutil
import signal
import tarfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ggt100k
from ggt_format.png import encode_png
from ggt_format.shard import ShardWriter, encode_json
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError, PairError, ShardError
from ggt_tools.executors import Cluster
from ggt_tools.executors.local import Local
from ggt_tools.imaging.perceptual_hash import phash
from ggt_tools.records import Aligned, HeldOutPair, PackedPair, Pair, PerceptualHash, Score, Stage, Verdict
from ggt_tools.stages.pack import PackConfig, lock_folder, pack, pair_facts, plan_release, write_release, writing
from ggt_tools.stages.pack.cutting import cut_shards
from ggt_tools.stages.pack.run import run
from ggt_tools.stages.pack.splits import draw_test
from ggt_tools.stages.validate import validate
from ggt_tools.stages.validate.passing import NOTE
from ggt_tools.workspace.ledger import ImageFolder, Ledger
from ggt_tools.workspace.store import Store as Tasks

from .benchmarks.remote import serve
from .making import FORKED, GATE, Store, make_dataset, make_pair, make_pairs, make_workspace, picture
from .packing import SMALL, first_version, key_of, next_version


def tree(root: Path) -> dict[str, bytes]:
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != NOTE]  # the note holds their times
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def test_the_release_has_the_documented_files(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6)
    assert sorted(tree(root)) == [
        "README.md",
        "data/rain/train-00000.tar",
        "data/snow/test-00000.tar",
        "data/snow/train-00000.tar",
        "index/manifest.json",
        "index/test.parquet",
        "index/train.parquet",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"], "nothing is left beside it"


def test_equal_pairs_give_equal_bytes_in_any_order(tmp_path: Path) -> None:
    store = Store()
    pairs = make_pairs(store, 5)
    for name, order in (("a", pairs), ("b", pairs[::-1])):
        pack(order, store, tmp_path / name, PackConfig(test=0.3), gate=GATE)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_shard_is_plain_ustar_with_three_members_a_pair(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=2, degradations=["rain"], test=0.0)
    with tarfile.open(root / "data/rain/train-00000.tar") as tar:
        members = tar.getmembers()
    keys = sorted(member.name[:16] for member in members[::3])
    assert [m.name for m in members] == [f"{key}.{end}" for key in keys for end in ("json", "lq.png", "gt.png")]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
        (0, 0, 0, "", "", 0o644, tarfile.REGTYPE)
    }
    assert not any(m.pax_headers for m in members)


def test_the_index_locates_the_bytes(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6)
    rows = [row for split in ggt100k.SPLITS for row in pq.read_table(root / f"index/{split}.parquet").to_pylist()]
    assert len(rows) == 6
    for row in rows:
        data = (root / row["shard"]).read_bytes()
        part = {name: data[row[f"{name}_offset"] :][: row[f"{name}_size"]] for name in ("json", "lq", "gt")}
        lq = np.asarray(Image.open(io.BytesIO(part["lq"])))
        assert ggt100k.pair_key(lq) == row["key"] == json.loads(part["json"])["key"]
        for name in ("lq", "gt"):
            bands = ggt100k.read_bands(part[name])
            assert bands is not None
            assert (list(bands.offsets), bands.rows) == (row[f"{name}_bands"], row["band_rows"]) and bands.rows == 32
            assert (bands.width, bands.height) == (row["width"], row["height"]) == (90, 70)


def test_scores_are_nan_where_not_measured_in_json_and_index(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=2, degradations=["rain"], test=0.0)
    table = pq.read_table(root / "index/train.parquet")
    scores = table["scores"].to_pylist()
    assert sorted(math.isnan(score["gmsd"]) for score in scores) == [False, True]
    assert table["scores"].combine_chunks().field("gmsd").null_count == 0
    with tarfile.open(root / "data/rain/train-00000.tar") as tar:
        texts = [tar.extractfile(m).read() for m in tar if m.name.endswith(".json")]  # type: ignore[union-attr]
    assert sorted(math.isnan(json.loads(text)["scores"]["gmsd"]) for text in texts) == [False, True]


def test_a_row_group_of_the_index_holds_one_degradation(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=9, degradations=["rain", "snow", "haze"], test=0.0)
    file = pq.ParquetFile(root / "index/train.parquet")
    column = file.schema_arrow.names.index("degradation")
    bounds = [file.metadata.row_group(i).column(column).statistics for i in range(file.num_row_groups)]
    assert [(b.min, b.max) for b in bounds] == [("haze", "haze"), ("rain", "rain"), ("snow", "snow")]


def test_the_manifest_holds_counts_hashes_gate_and_funnel(tmp_path: Path) -> None:
    store, out = Store(), tmp_path / "out"
    funnel = [Stage(stage="ingest", entered=7, left=6, reasons=(("too_small", 1),))]
    returned = pack(make_pairs(store, 6), store, out, PackConfig(test=0.3), gate=GATE, funnel=funnel)
    manifest = json.loads((out / ggt100k.MANIFEST).read_text())
    assert manifest == json.loads(json.dumps(returned))
    assert (manifest["format_version"], manifest["dataset_version"], manifest["gate"]) == (1, "1.0.0", GATE)
    libraries = {name: importlib.metadata.version(name) for name in ("zlib-ng", "pillow", "pyarrow")}
    assert manifest["written_with"] == {"ggt100k": ggt100k.__version__, **libraries}
    assert manifest["metrics"] == ["gmsd", "structure"]
    assert manifest["funnel"] == [{"stage": "ingest", "entered": 7, "left": 6, "reasons": [["too_small", 1]]}]
    assert {split: about["pairs"] for split, about in manifest["splits"].items()} == {"train": 5, "test": 1}
    for name, about in manifest["shards"].items():
        data = (out / name).read_bytes()
        assert (about["bytes"], about["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert sum(about["pairs"] for about in manifest["shards"].values()) == 6


def test_shards_are_cut_at_their_size(tmp_path: Path) -> None:
    store = Store()
    pairs = make_pairs(store, 5, ["rain"])
    sizes = [store.image_size(pair.photo.image) + store.image_size(pair.candidate.image) for pair in pairs]
    root = make_dataset(tmp_path / "out", count=5, degradations=["rain"], test=0.0, shard_bytes=2 * max(sizes))
    assert 3 * min(sizes) > 2 * max(sizes)
    shards = json.loads((root / ggt100k.MANIFEST).read_text())["shards"]
    assert [(name, about["pairs"]) for name, about in shards.items()] == [
        ("data/rain/train-00000.tar", 2),
        ("data/rain/train-00001.tar", 2),
        ("data/rain/train-00002.tar", 1),
    ]
    assert list(validate(str(root))) == []


# --- a tar that breaks a rule cannot be written ---------------------------------------------------------------------


def parts(**facts: Any) -> tuple[dict[str, Any], bytes, bytes]:
    store = Store()
    pair = make_pair(store, 0)
    return (
        pair_facts(pair, ["structure"]) | facts,
        store.image(pair.photo.image),
        store.image(pair.image),
    )


def plain_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(0)).save(buffer, "PNG")
    return buffer.getvalue()


KEY = ggt100k.pair_key(picture(0))
AT = f"data/rain/train-00000.tar: key {KEY}: "


@pytest.mark.parametrize(
    ("facts", "reason", "said"),
    [
        (
            {"key": "a.b"},
            "bad_key",
            "data/rain/train-00000.tar: key 'a.b': is not 16 hexadecimal digits. Ingest the photograph again.",
        ),
        ({"key": "0" * 16}, "wrong_key", "is not the digest of its LQ pixels. Ingest the photograph again."),
        ({"licence": ""}, "bad_facts", "it has no licence. Ingest the photograph again with --licence."),
        ({"author": None}, "bad_facts", "author is None, and must be of the type string. Pack the release again."),
        ({"round": "0"}, "bad_facts", "round is '0', and must be of the type int32. Pack the release again."),
        (
            {"degradations": [1]},
            "bad_facts",
            "degradations is [1], and must be of the type list<item: string>. Pack the release again.",
        ),
        (
            {"scores": {"structure": None}},
            "bad_facts",
            "its scores must all be numbers, and NaN where not measured. Pack the release again.",
        ),
        ({"degradations": ["mixed"]}, "bad_facts", "and must begin with its class rain. Ingest the photograph again."),
        ({"degradations": []}, "bad_facts", "and must begin with its class rain. Ingest the photograph again."),
        (
            {"round": 2**40},
            "bad_facts",
            "round 1099511627776 or created '2026-01-01T00:00:00Z' is out of range. Restore the photograph again.",
        ),
        (
            {"created": "yesterday"},
            "bad_facts",
            "round 0 or created 'yesterday' is out of range. Restore the photograph again.",
        ),
        ({"author": "a\0b"}, "bad_facts", "'a\\x00b' has characters that are not text. Ingest the photograph again."),
        ({"prompt": "\ud800"}, "bad_facts", "'\\ud800' has characters that are not text. Ingest the photograph again."),
        ({"more": 1}, "bad_facts", "its facts are not those of the format (['more']). Pack the release again."),
        (
            {"degradation": "fog"},
            "bad_facts",
            "degradation 'fog' or source 'internet' is unknown. Ingest the photograph again.",
        ),
        ({"width": 91}, "wrong_size", "its facts state another size than its images have. Pack the release again."),
    ],
)
def test_wrong_facts_are_not_written(tmp_path: Path, facts: dict[str, Any], reason: str, said: str) -> None:
    path = tmp_path / "train-00000.tar"
    changed, lq, gt = parts(**facts)
    with pytest.raises(PairError) as fault, ShardWriter(path, "data/rain/train-00000.tar") as shard:
        shard.add(changed, lq, gt)
    assert fault.value.reason == reason
    assert str(fault.value).endswith(said)
    assert list(tmp_path.iterdir()) == [], "no half shard stays"


def other_size() -> bytes:
    return encode_png(picture(1, 71, 90))


@pytest.mark.parametrize(
    ("lq", "gt", "error", "said"),
    [
        (
            None,
            other_size(),
            PairError,
            f"{AT}lq and gt have different sizes: 90 x 70 and 90 x 71. Align the candidate.",
        ),
        (None, encode_png(picture(0)), PairError, f"{AT}lq and gt are the same image. Judge the pair again."),
        (
            plain_png(),
            None,
            ShardError,
            f"data/rain/train-00000.tar: {KEY}.lq.png: is not a banded PNG. Pack the release again.",
        ),
        (
            None,
            b"GIF89a",
            ShardError,
            f"data/rain/train-00000.tar: {KEY}.gt.png: is not a banded PNG. Pack the release again.",
        ),
    ],
)
def test_wrong_images_are_not_written(
    tmp_path: Path, lq: bytes | None, gt: bytes | None, error: type[Exception], said: str
) -> None:
    facts, good_lq, good_gt = parts()
    path = tmp_path / "train-00000.tar"
    with pytest.raises(error) as fault, ShardWriter(path, "data/rain/train-00000.tar") as shard:
        shard.add(facts, lq or good_lq, gt or good_gt)
    assert str(fault.value) == said


def test_a_pair_is_not_written_twice(tmp_path: Path) -> None:
    with pytest.raises(PairError) as fault, ShardWriter(tmp_path / "a.tar", "data/rain/train-00000.tar") as shard:
        shard.add(*parts())
        shard.add(*parts())
    assert fault.value.reason == "duplicate_key"
    assert str(fault.value) == f"{AT}the shard has this key twice. Ingest each photograph once."


def test_a_shard_needs_pairs_of_its_class(tmp_path: Path) -> None:
    for name in ("data/snow/train-00000.tar", "x.tar"):
        said = f"{name}: key {KEY}: its degradation rain is not that of the shard. Add it to another shard."
        with pytest.raises(PairError) as fault, ShardWriter(tmp_path / "a.tar", name) as shard:
            shard.add(*parts())
        assert (fault.value.reason, str(fault.value)) == ("wrong_shard", said)
    said = r"^a\.tar: has no pair\. Add at least one pair\.$"
    with pytest.raises(ShardError, match=said), ShardWriter(tmp_path / "a.tar", "a.tar"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_images_of_a_pair_have_the_same_band_height(tmp_path: Path) -> None:
    facts, lq, gt = parts()
    taller = encode_png(ggt100k.decode_image(gt), 64)
    with pytest.raises(PairError) as fault, ShardWriter(tmp_path / "a.tar", "data/rain/train-00000.tar") as shard:
        shard.add(facts, lq, taller)
    assert (fault.value.reason, str(fault.value)) == (
        "wrong_bands",
        f"{AT}its lq has bands of 32 rows and its gt of 64. Pack the release again.",
    )
    with ShardWriter(tmp_path / "a.tar", "data/rain/train-00000.tar") as shard:
        row = shard.add(facts, encode_png(ggt100k.decode_image(lq), 64), taller)
    assert row["band_rows"] == 64 and len(row["lq_bands"]) == len(row["gt_bands"]) == 3


def test_shards_are_compressed_harder_than_the_workspaces_images(tmp_path: Path) -> None:
    store = Store()
    photograph = np.asarray(Image.open(sorted(ggt100k.sample_folder().glob("*.jpg"))[0]).convert("RGB"))[:300, :300]
    images = [encode_png(image) for image in (photograph, np.ascontiguousarray(photograph[::-1]))]
    pair = make_pair(store, 0, key=ggt100k.pair_key(photograph))
    photo = dataclasses.replace(pair.photo, image=store.put(images[0]), width=300, height=300)
    image = store.put(images[1])
    pair = dataclasses.replace(
        pair, photo=photo, image=image, candidate=dataclasses.replace(pair.candidate, image=image)
    )
    pack([pair], store, tmp_path / "out", PackConfig(test=0), gate=GATE)
    (row,) = ggt100k.index(tmp_path / "out").to_pylist()
    shard = (tmp_path / "out" / row["shard"]).read_bytes()
    for name, stored in zip(("lq", "gt"), images, strict=True):
        packed = shard[row[f"{name}_offset"] :][: row[f"{name}_size"]]
        assert packed == encode_png(ggt100k.decode_image(stored), profile="shard")
        assert len(packed) < 0.97 * len(stored)


# --- an older layout ------------------------------------------------------------------------------------------------


@pytest.fixture
def old_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release in bands of 64 rows, as earlier versions wrote it."""
    with monkeypatch.context() as patch:
        patch.setattr(writing, "encode_png", functools.partial(encode_png, band_rows=64))
        root = make_dataset(tmp_path / "old", count=6)
    assert {row["band_rows"] for row in rows_of(root)} == {64}
    assert list(validate(str(root))) == []
    return root


def rewritten(old: Path, out: Path, **options: Any) -> dict[str, Any]:
    store = Store()
    pairs = make_pairs(store, 6)
    return pack(pairs, store, out, PackConfig(version="1.1.0", base=str(old), test=0, **options), gate=GATE)


def test_a_release_of_the_older_layout_stays_the_base_byte_for_byte(old_release: Path, tmp_path: Path) -> None:
    before = json.loads((old_release / ggt100k.MANIFEST).read_text())["shards"]
    assert rewritten(old_release, tmp_path / "new")["shards"] == before


def test_recompress_writes_the_older_layout_anew_and_keeps_every_pixel(old_release: Path, tmp_path: Path) -> None:
    rewritten(old_release, tmp_path / "new", recompress=True)
    assert list(validate(str(tmp_path / "new"))) == []
    assert {row["band_rows"] for row in rows_of(tmp_path / "new")} == {32}
    for split in ggt100k.SPLITS:
        old, new = (ggt100k.PairDataset(root, split)[:] for root in (old_release, tmp_path / "new"))
        assert [item["key"] for item in old] == [item["key"] for item in new]
        for one, other in zip(old, new, strict=True):
            assert np.array_equal(one["lq"], other["lq"]) and np.array_equal(one["gt"], other["gt"])
    again = rewritten(tmp_path / "new", tmp_path / "again", recompress=True)
    assert again["shards"] == json.loads((tmp_path / "new" / ggt100k.MANIFEST).read_text())["shards"]


def test_recompress_needs_a_base() -> None:
    with pytest.raises(ConfigError) as fault:
        PackConfig(recompress=True)
    assert str(fault.value) == "--recompress: there is no previous release to write anew. Name it: --base PREVIOUS."


# --- bad input, interruptions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"version": "1.0"}, "--version 1.0: is not a version. Give three numbers, for example 1.1.0."),
        ({"test": 1.5}, "--test 1.5: is neither a number of pairs nor a share. Give 500, or 0.1."),
        ({"test": math.nan}, "--test nan: is neither a number of pairs nor a share. Give 500, or 0.1."),
        ({"test": math.inf}, "--test inf: is neither a number of pairs nor a share. Give 500, or 0.1."),
        ({"test": -0.1}, "--test -0.1: is neither a number of pairs nor a share. Give 500, or 0.1."),
        ({"shard_bytes": 0}, "--shard-bytes 0: is not 1 or more. Give a number of bytes."),
    ],
)
def test_a_wrong_configuration(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        PackConfig(**config)
    assert str(fault.value) == said


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the gate keeps no pair, so there is nothing to pack"):
        pack([], Store(), tmp_path / "out", PackConfig(), gate=GATE)


def test_a_folder_with_other_files_is_unchanged(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"out: holds other files than a release\. Name another folder\.$"):
        make_dataset(out)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_other_files_in_a_release_are_kept(tmp_path: Path) -> None:
    out = make_dataset(tmp_path / "out", count=3)
    (out / ".git").mkdir()
    (out / ".git/config").write_text("years of work")
    (out / "ggt100k.py").write_text("the module")
    make_dataset(out, count=4, version="1.1.0")
    assert list(validate(str(out))) == []
    assert (out / ".git/config").read_text() == "years of work" and (out / "ggt100k.py").exists()


def test_a_link_and_the_folder_one_stands_in_are_packed_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = make_dataset(tmp_path / "real", count=3)
    link = tmp_path / "link"
    link.symlink_to(real)
    make_dataset(link, count=4)
    assert link.is_symlink() and list(validate(str(real))) == []
    monkeypatch.chdir(real)
    make_dataset(Path(), count=5)
    assert list(validate(str(real))) == []


def test_two_packs_of_a_folder_exclude_each_other(tmp_path: Path) -> None:
    out = (tmp_path / "out").resolve()
    said = rf"^{out}: .*process.* packs it\. Wait until it ends, then run this again\.$"
    with FileLock(tmp_path / ".out.lock"), pytest.raises(ConfigError, match=said):
        make_dataset(out)
    make_dataset(out)


def test_a_kill_while_moving_the_folder_is_recovered(tmp_path: Path) -> None:
    out = make_dataset(tmp_path / "out", count=3)
    (tmp_path / "out.old").mkdir()
    (out / "index").rename(tmp_path / "out.old/index")
    with pytest.raises(ConfigError, match=r"the folder has no index/manifest\.json"):
        list(validate(str(out)))
    make_dataset(out, count=4)
    assert list(validate(str(out))) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_metric_that_cannot_name_a_column_is_an_error(tmp_path: Path) -> None:
    store = Store()
    pair = make_pair(store, 0)
    odd = dataclasses.replace(pair, scores=(dataclasses.replace(pair.scores[0], metric="a.b"),))
    with pytest.raises(ConfigError, match=r"metric 'a.b' cannot name a column\. Give it a name of the characters"):
        pack([odd], store, tmp_path / "out", PackConfig(), gate=GATE)


class Counting(Store):
    """Counts what is read, and fails at the `fail`th read."""

    def __init__(self, fail: int = 0) -> None:
        super().__init__()
        self.read, self.fail = 0, fail

    def image(self, name: str) -> bytes:
        self.read += 1
        if self.read == self.fail:
            raise ShardError("the disk is gone")
        return super().image(name)


def packed(pairs: list[Pair], store: Store, out: Path) -> None:
    pack(pairs, store, out, PackConfig(test=0.0, shard_bytes=1), gate=GATE)


def test_finished_shards_of_an_interrupted_run_are_kept(tmp_path: Path) -> None:
    store = Counting(fail=8)
    pairs = make_pairs(store, 6)
    with pytest.raises(ShardError, match="the disk is gone"):
        packed(pairs, store, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "a release is whole or absent"
    before = store.read
    packed(pairs, store, tmp_path / "out")
    assert store.read - before == 12 - 6, "three of six shards stood already"
    packed(pairs, store, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize("clustered", [False, True])
def test_a_finished_shard_whose_bytes_changed_meanwhile_is_written_again(tmp_path: Path, clustered: bool) -> None:
    store = Counting(fail=8)
    pairs = make_pairs(store, 6)
    with pytest.raises(ShardError, match="the disk is gone"):
        packed(pairs, store, tmp_path / "out")
    first, second, third = sorted((tmp_path / "out.part/data").rglob("*.tar"))
    first.write_bytes(first.read_bytes()[:3000] + b"rot" + first.read_bytes()[3003:])
    second.write_bytes(second.read_bytes()[:-512])
    before, good = store.read, third.stat().st_ino
    config = PackConfig(test=0.0, shard_bytes=1)
    cluster = Cluster(Local(()), Tasks(str(tmp_path / "tasks"))) if clustered else None
    with lock_folder(tmp_path / "out") as place:
        write_release(plan_release(pairs, store, config, gate=GATE), place, config, gate=GATE, cluster=cluster)
    assert store.read - before == 12 - 2, "one of six shards stood already, whole"
    assert good in {path.stat().st_ino for path in (tmp_path / "out").rglob("*.tar")}
    packed(pairs, store, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


@pytest.mark.parametrize("clustered", [False, True])
def test_a_damaged_note_of_a_finished_shard_is_ignored(tmp_path: Path, clustered: bool) -> None:
    store = Counting(fail=12)
    pairs = make_pairs(store, 6)
    with pytest.raises(ShardError, match="the disk is gone"):
        packed(pairs, store, tmp_path / "out")
    notes = sorted(path for path in (tmp_path / "out.part/done").rglob("*") if path.is_file())
    assert len(notes) == 5
    rotted = notes[0].read_bytes()
    notes[0].write_bytes(rotted.replace(b'"round": 0', b'"round": 7'))
    notes[1].write_bytes(b"")
    notes[2].write_bytes(bytes(200))
    notes[3].write_bytes(notes[3].read_bytes()[:-9])
    assert notes[0].read_bytes() != rotted
    before = store.read
    config = PackConfig(test=0.0, shard_bytes=1)
    cluster = Cluster(Local(()), Tasks(str(tmp_path / "tasks"))) if clustered else None
    with lock_folder(tmp_path / "out") as place:
        write_release(plan_release(pairs, store, config, gate=GATE), place, config, gate=GATE, cluster=cluster)
    assert store.read - before == 12 - 2, "one of six shards stood already, with a whole note"
    packed(pairs, store, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_another_plan_starts_again(tmp_path: Path) -> None:
    store = Counting(fail=8)
    pairs = make_pairs(store, 6)
    with pytest.raises(ShardError):
        packed(pairs, store, tmp_path / "out")
    before = store.read
    packed(pairs[:5], store, tmp_path / "out")
    assert store.read - before == 10
    assert list(validate(str(tmp_path / "out"))) == []


# --- a version upon the one before ----------------------------------------------------------------------------------


def version(
    out: Path, pairs: list[Pair], store: Store, base: Path | str = "", number: str = "1.1.0", **more: Any
) -> tuple[dict[str, Any], set[str], set[str]]:
    """Packs upon a base. The manifest, and the names of the shards that were written and that were kept."""
    about = {name: more.pop(name) for name in ("removed", "test_keys", "phashes") if name in more}
    processes = more.pop("processes", 0)
    config = PackConfig(version=number, base=str(base), **({"test": 0.2, "shard_bytes": SMALL} | more))
    with lock_folder(out) as place:
        plan = plan_release(pairs, store, config, gate=GATE, **about)
        manifest, done = write_release(plan, place, config, gate=GATE, processes=processes)
    assert [finding.reason for finding in validate(str(out))] == []
    return (
        manifest,
        {shard.name for shard in done if not shard.is_kept},
        {shard.name for shard in done if shard.is_kept},
    )


@pytest.fixture(scope="module")
def store() -> Store:
    return Store()


@pytest.fixture(scope="module")
def pairs(store: Store) -> list[Pair]:
    return make_pairs(store, 24, ["rain", "snow", "haze"])


@pytest.fixture
def base(tmp_path: Path, pairs: list[Pair], store: Store) -> Path:
    """Eighteen pairs of three classes, three of them test."""
    version(tmp_path / "base", pairs[:18], store, number="1.0.0")
    return tmp_path / "base"


def most_of_a_shard(pairs: list[Pair], store: Store) -> int:
    """How many of these pairs a shard takes at least."""
    return SMALL // max(store.image_size(p.photo.image) + store.image_size(p.image) for p in pairs)


def shards(root: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and inode of each shard, by its name."""
    found = root.glob("data/*/*.tar")
    return {path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_ino) for path in found}


@pytest.mark.parametrize("seed", range(5))
def test_only_changed_shards_are_written(
    tmp_path: Path, base: Path, pairs: list[Pair], store: Store, seed: int
) -> None:
    random = np.random.default_rng(seed)
    gone = {key_of(pair) for pair in random.choice(np.array(pairs[:18], object), random.integers(0, 4), replace=False)}
    new = [pairs[at] for at in 18 + random.choice(6, random.integers(0, 7), replace=False)]
    before = shards(base)
    kept_pairs = [pair for pair in pairs[:18] if key_of(pair) not in gone]
    manifest, written, kept = version(tmp_path / "out", [*new, *kept_pairs], store, base, removed=gone)
    after = shards(tmp_path / "out")
    assert written | kept == set(after) == set(manifest["shards"])
    assert all(after[name] == before[name] for name in kept), "the very same file"
    rewritten, added = written & set(before), written - set(before)
    assert len(rewritten) <= len(gone)
    each = most_of_a_shard(pairs, store)
    for degradation in ("rain", "snow", "haze"):
        count = sum(pair.photo.degradation == degradation for pair in new)
        assert sum(f"/{degradation}/" in name for name in added) <= count // each + (count > 0)
    holding = {row["shard"] for row in rows_of(base) if row["key"] in gone}
    assert rewritten | (set(before) - set(after)) == holding, "a shard whose pairs all go, goes"
    assert {row["key"] for row in rows_of(tmp_path / "out")} == {key_of(pair) for pair in [*new, *kept_pairs]}


def rows_of(root: Path) -> list[dict[str, Any]]:
    there = [path for split in ggt100k.SPLITS if (path := root / f"index/{split}.parquet").exists()]
    return [row for path in there for row in pq.read_table(path).to_pylist()]


def split_by_key(root: Path) -> dict[str, str]:
    return {row["key"]: row["shard"].split("/")[2].split("-")[0] for row in rows_of(root)}


def test_an_unchanged_release_writes_nothing(tmp_path: Path, base: Path, pairs: list[Pair], store: Store) -> None:
    before = tree(base)
    _, written, kept = version(tmp_path / "out", pairs[:18], store, base, number="1.0.0")
    assert (written, kept) == (set(), set(shards(base)))
    assert tree(tmp_path / "out") == before
    version(base, pairs[:18], store, base, number="1.0.0")
    assert tree(base) == before


def test_pairs_of_other_workspaces_are_kept(tmp_path: Path, base: Path, pairs: list[Pair], store: Store) -> None:
    _, _, kept = version(tmp_path / "out", pairs[18:20], store, base)
    assert kept == set(shards(base)) and len(rows_of(tmp_path / "out")) == 20
    config = PackConfig(version="1.1.0", base=str(base))
    with pytest.raises(
        ConfigError, match=r"18 of its pairs, \w{16} first, are not of this workspace, and were judged by "
    ):
        plan_release(pairs[18:], store, config, gate=GATE + "# another")


def other_gt(pair: Pair, store: Store) -> Pair:
    """The same facts over other pixels, as align makes them when it gets better."""
    image = store.put(encode_png((ggt100k.decode_image(store.image(pair.image)) ^ 1).astype(np.uint8)))
    return dataclasses.replace(pair, image=image)


def other_author(pair: Pair, store: Store) -> Pair:
    return dataclasses.replace(pair, photo=dataclasses.replace(pair.photo, author="Ann"))


def other_class(pair: Pair, store: Store) -> Pair:
    photo = dataclasses.replace(pair.photo, degradation="low_light", degradations=("low_light",))
    return dataclasses.replace(pair, photo=photo)


@pytest.mark.parametrize("change", [other_gt, other_author, other_class])
def test_a_changed_pair_rewrites_its_own_shard(
    tmp_path: Path, base: Path, pairs: list[Pair], store: Store, change: Any
) -> None:
    test = {key for key, split in split_by_key(base).items() if split == "test"}
    at = next(at for at, pair in enumerate(pairs[:18]) if key_of(pair) not in test)
    (was,) = [row for row in rows_of(base) if row["key"] == key_of(pairs[at])]
    changed = [*pairs[:at], change(pairs[at], store), *pairs[at + 1 : 18]]
    _, written, kept = version(tmp_path / "out", changed, store, base)
    (now,) = [row for row in rows_of(tmp_path / "out") if row["key"] == key_of(pairs[at])]
    assert written == {was["shard"], now["shard"]} and written.isdisjoint(kept)
    data = (tmp_path / "out" / now["shard"]).read_bytes()
    gt = data[now["gt_offset"] :][: now["gt_size"]]
    assert np.array_equal(ggt100k.decode_image(gt), ggt100k.decode_image(store.image(changed[at].image)))
    assert (now["author"], now["degradation"]) == (changed[at].photo.author, changed[at].photo.degradation)


def test_the_test_split_is_drawn_once_and_never_gives_to_train(
    tmp_path: Path, base: Path, pairs: list[Pair], store: Store
) -> None:
    before = split_by_key(base)
    test = {key for key, split in before.items() if split == "test"}
    assert len(test) == 3
    withdrawn = min(test)
    rest = [pair for pair in pairs if key_of(pair) != withdrawn]
    version(tmp_path / "v2", rest, store, base, removed={withdrawn}, test=0.9)
    after = split_by_key(tmp_path / "v2")
    assert {key for key, split in after.items() if split == "test"} == test - {withdrawn}
    assert all(after[key] == split for key, split in before.items() if key in after)
    version(
        tmp_path / "v3", pairs, store, tmp_path / "v2", number="1.2.0", test_keys=test
    )  # the photograph may stay after all
    assert {key for key, split in split_by_key(tmp_path / "v3").items() if split == "test"} == test
    version(tmp_path / "anew", pairs, store, number="2.0.0", test_keys=test, test=0.9)
    assert {key for key, split in split_by_key(tmp_path / "anew").items() if split == "test"} == test
    moved_key = next(key for key, split in before.items() if split == "train")
    with pytest.raises(
        ConfigError, match=f"key {moved_key}: is of the test split of this workspace, and is in train there"
    ):
        plan_release(pairs, store, PackConfig(base=str(base)), gate=GATE, test_keys={moved_key})


def release_of(workspace: Path, out: Path, *argv: str) -> dict[str, str]:
    assert main(["pack", str(workspace), str(out), *argv]) == 0
    assert list(validate(str(out), against=None if "--limit" in argv else workspace)) == []
    return split_by_key(out)


def add(workspace: Path, *pairs: Pair) -> None:
    """Approves more pairs of a workspace; their images are there, or made here."""
    with Ledger(workspace) as ledger:
        for pair in pairs:
            aligned = Aligned(candidate=pair.candidate.id, version="1", image=pair.image, reason="")
            looks = PerceptualHash(
                key=key_of(pair), phash=phash(ggt100k.decode_image(ledger.image(pair.photo.image))), split=""
            )
            ledger.add(pair.photo, pair.candidate, aligned, looks, *pair.scores)
        judged = {verdict.candidate: verdict for verdict in ledger.all(Verdict)}
        ledger.judge("0" * 16, GATE, [*judged.values(), *(pair.verdict for pair in pairs)])


def forget(workspace: Path) -> None:
    """Makes the workspace as one that has packed nothing."""
    with Ledger(workspace) as ledger:
        ledger._db.execute("DELETE FROM packed_pair")


def test_the_keys_of_a_release_without_a_test_split_are_facts_and_can_be_forgotten(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 6)
    keys = release_of(workspace, tmp_path / "1").keys()
    with Ledger(workspace) as ledger:
        assert {packed.key for packed in ledger.all(PackedPair)} == keys
    assert set(release_of(workspace, tmp_path / "2", "--test", "0.5").values()) == {"train"}
    assert set(release_of(workspace, tmp_path / "3", "--test", "0.5", "--forget-packed").values()) == {"train", "test"}
    assert set(release_of(workspace, tmp_path / "4").values()) == {"train", "test"}, "drawn once, for all releases"


@pytest.mark.parametrize("upon", [False, True])
def test_pairs_of_a_release_without_test_split_never_enter_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], upon: bool
) -> None:
    workspace, first = make_workspace(tmp_path / "w", 0), tmp_path / "1"
    with Ledger(workspace) as ledger:
        old, new = make_pairs(ledger.images, 6), [make_pair(ledger.images, seed) for seed in range(6, 12)]
        kin = [like(pair, ledger.images) for pair in old[:3]]
    add(workspace, *old)
    base = ("--base", str(first), "--version", "1.1.0") if upon else ()
    assert set(release_of(workspace, first).values()) == {"train"}
    again = f"type: ggt100k pack {workspace}"
    assert capsys.readouterr().out.splitlines()[1] == (
        "All 6 pairs are in the train split, since a test split takes at most a tenth of the pairs and so needs 10 of "
        f"them. To have a test split all the same, {again} {first} --test 0.3 --forget-packed"
    )
    if upon:  # another workspace knows of the base alone
        forget(workspace)
    assert set(release_of(workspace, tmp_path / "2", *base).values()) == {"train"}
    again = f"{again} {tmp_path / '2'}" + (" --version 1.1.0" if upon else "")
    assert capsys.readouterr().out.splitlines()[1] == (
        "All 6 pairs are in the train split, since an earlier release without a test split had them and models may be "
        f"trained on them. If no model was, {again} --test 0.3 --forget-packed"
    )
    if upon:
        forget(workspace)
    add(workspace, *kin, *new)
    assert main(["pack", str(workspace), str(tmp_path / "3"), *base]) == 2
    assert capsys.readouterr().err == (
        "ggt100k pack: --test: earlier releases had no test split, and models may be trained on the pairs that they "
        "had, so only the 9 new pairs can be drawn for one. Give --test 0.3 to draw a share of them, once for all "
        "later releases, or --test 0 to continue without a test split.\n"
    )
    after = release_of(workspace, tmp_path / "3", "--test", "0.9", *base)
    test = {key for key, split in after.items() if split == "test"}
    assert test and test <= set(map(key_of, new)), "neither what stood in train, nor what looks like it"
    assert release_of(workspace, tmp_path / "4", "--test", "0") == after, "drawn once"


@pytest.mark.parametrize(
    ("pairs", "argv", "why"),
    [
        (2, (), "a test split takes at most a tenth of the pairs and so needs 10 of them"),
        (3, (), "a test split takes at most a tenth of the pairs and so needs 10 of them"),
        (9, ("--test", "4"), "a test split takes at most a tenth of the pairs and so needs 10 of them"),
        (6, ("--test", "0.1"), "--test 0.1 of 6 pairs is less than one pair"),
        (6, ("--version", "2.0.0"), "a test split takes at most a tenth of the pairs and so needs 10 of them"),
    ],
)
def test_the_proposed_command_makes_a_test_split(
    pairs: int, argv: tuple[str, ...], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, out = make_workspace(tmp_path / "w", pairs), tmp_path / "out"
    assert main(["pack", str(workspace), str(out), *argv, "--dry-run"]) == 0
    assert f"All {pairs} pairs would be in the train split, since {why}. " in capsys.readouterr().out
    assert main(["pack", str(workspace), str(out), *argv]) == 0
    told, typed = capsys.readouterr().out.splitlines()[1].split(" type: ggt100k ")
    assert told.startswith(f"All {pairs} pairs are in the train split, since {why}. ")
    assert main(shlex.split(typed)) == 0
    assert "test" in set(split_by_key(out).values())


def test_a_single_pair_is_not_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(make_workspace(tmp_path / "w", 1)), str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        "The one pair is in the train split, since one pair cannot be divided. Add photographs to the workspace, then "
        "pack again."
    )


def test_near_duplicates_of_held_out_pairs_stay_out_of_train(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", 0)
    with Ledger(workspace) as ledger:
        pairs = make_pairs(ledger.images, 10)
        kin = like(pairs[0], ledger.images)
    add(workspace, *pairs[1:], kin)
    with Ledger(workspace) as ledger:
        looks = phash(ggt100k.decode_image(ledger.image(pairs[0].photo.image)))
        held = pairs[0].photo
        ledger.add(
            held, HeldOutPair(key=held.key, version="1.0.0"), PerceptualHash(key=held.key, phash=looks, split="")
        )
    assert main(["pack", str(workspace), str(tmp_path / "out")]) == 0
    assert set(split_by_key(tmp_path / "out")) == set(map(key_of, pairs[1:]))


def test_a_partial_release_with_its_own_split_is_local_only(tmp_path: Path) -> None:
    workspace, out = make_workspace(tmp_path / "w", 12), tmp_path / "out"
    trial = release_of(workspace, out, "--limit", "4", "--test", "0.5")
    assert list(trial.values()).count("test") == 2
    said = "packed with --limit, with a test split of its own"
    assert json.loads((out / ggt100k.MANIFEST).read_text())["local_only"] == said
    release_of(workspace, out, "--test", "0.25")
    manifest = json.loads((out / ggt100k.MANIFEST).read_text())
    assert "local_only" not in manifest and manifest["splits"]["test"]["pairs"] == 3
    release_of(workspace, out, "--limit", "4")
    assert "local_only" not in json.loads((out / ggt100k.MANIFEST).read_text()), "it is the workspace's own split"


def like(pair: Pair, store: Store | ImageFolder) -> Pair:
    """The same photograph, a little brighter."""
    lq = (ggt100k.decode_image(store.image(pair.photo.image)).astype(int) + 2).clip(0, 255).astype(np.uint8)
    key = ggt100k.pair_key(lq)
    photo = dataclasses.replace(pair.photo, key=key, image=store.put(encode_png(lq)))
    candidate = dataclasses.replace(pair.candidate, id=f"{pair.candidate.id}-like", key=key)
    verdict = dataclasses.replace(pair.verdict, candidate=candidate.id)
    scores = tuple(dataclasses.replace(score, candidate=candidate.id) for score in pair.scores)
    return dataclasses.replace(pair, photo=photo, candidate=candidate, verdict=verdict, scores=scores)


@pytest.mark.parametrize("known", [False, True])
def test_near_duplicates_of_the_other_split_are_refused(
    base: Path, pairs: list[Pair], store: Store, known: bool
) -> None:
    splits = split_by_key(base)
    for split, other in (("test", "train"), ("train", "test")):
        shown = next(pair for pair in pairs[:18] if splits[key_of(pair)] == split)
        second = like(shown, store)
        held = {key_of(second)} if other == "test" else set()
        looks = {key_of(p): phash(ggt100k.decode_image(store.image(p.photo.image))) for p in pairs} if known else {}
        config = PackConfig(version="1.1.0", base=str(base))
        plan = plan_release([*pairs[:18], second], store, config, gate=GATE, test_keys=held, phashes=looks)
        (refused,) = plan.refused
        assert refused.reason == f"near_duplicate_in_{split}"
        assert str(refused).startswith(f"key {key_of(second)}: {key_of(shown)} in {split} looks the same (")
        assert all(job.is_unchanged for job in plan.shards) and plan.counts["new"] == 0


def test_the_test_split_keeps_its_pair_of_two_near_duplicates(pairs: list[Pair], store: Store) -> None:
    second = like(pairs[0], store)
    config = PackConfig(test=0.5)
    for one, other in ((pairs[0], second), (second, pairs[0])):
        plan = plan_release([one, other], store, config, gate=GATE, test_keys={key_of(one)})
        assert [list(job.pairs) for job in plan.shards] == [[key_of(one)]]
        assert [fault.reason for fault in plan.refused] == ["near_duplicate_in_test"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"version": "0.9.9"}, r"--version 0\.9\.9: the base has 1\.0\.0\. Give a higher version"),
        (
            {"version": "1.0.0"},
            r"--version 1\.0\.0: is the version of the base, which holds other pairs\. Give a higher version",
        ),
        ({"version": "1.1.0", "codec": "jpeg"}, r"--codec jpeg: the base .*base has png images"),
        ({"version": "1.1.0", "base": "nowhere"}, r"nowhere: it does not exist\. Name a folder"),
    ],
)
def test_a_wrong_base_is_an_error(
    base: Path, pairs: list[Pair], store: Store, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        plan_release(pairs, store, PackConfig(**({"base": str(base)} | config)), gate=GATE)


def test_a_damaged_base_is_an_error(tmp_path: Path, base: Path, pairs: list[Pair], store: Store) -> None:
    name = next(name for name in shards(base) if "train" in name)
    data = (base / name).read_bytes()
    (base / name).write_bytes(data[:-1] + b"x")
    said = rf"{name}: its bytes are not those that the manifest names\. Download the base again\.$"
    with pytest.raises(ShardError, match=said):
        version(tmp_path / "out", pairs, store, base)
    (base / name).unlink()
    with pytest.raises(ShardError, match=rf"{name}: the manifest names it, but it is missing\. Download the base"):
        version(tmp_path / "out", pairs, store, base)
    assert not (tmp_path / "out").exists()


def test_a_metric_that_the_base_lacks_is_left_out_and_named(base: Path, pairs: list[Pair], store: Store) -> None:
    score = Score(candidate=pairs[20].candidate.id, metric="lpips", metric_version="1", value=0.1)
    measured = dataclasses.replace(pairs[20], scores=(*pairs[20].scores, score))
    config = PackConfig(version="1.1.0", base=str(base))
    plan = plan_release([*pairs[:18], measured], store, config, gate=GATE)
    assert (plan.left_out, plan.metrics) == (["lpips"], ["gmsd", "structure"])


@pytest.mark.slow
def test_a_remote_base_and_more_processes_give_equal_bytes(
    tmp_path: Path, base: Path, pairs: list[Pair], store: Store
) -> None:
    gone = {key_of(pairs[0])}
    version(tmp_path / "one", pairs[1:], store, base, removed=gone)
    version(tmp_path / "two", pairs[1:], store, base, removed=gone, processes=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    with serve(base) as server:
        version(tmp_path / "far", pairs[1:], store, server.url, removed=gone)
    assert tree(tmp_path / "one") == tree(tmp_path / "far")


@pytest.mark.slow
def test_an_error_of_another_process_is_the_same_error(tmp_path: Path, pairs: list[Pair], store: Store) -> None:
    wrong = dataclasses.replace(pairs[3], image=pairs[3].photo.image)
    with pytest.raises(PairError, match="lq and gt are the same image") as fault:
        version(tmp_path / "out", [*pairs[:3], wrong, *pairs[4:8]], store, number="1.0.0", processes=2)
    assert fault.value.reason == "identical"
    assert not (tmp_path / "out").exists()


sizes = st.lists(st.integers(1, 1000), min_size=1, max_size=60)


@given(sizes, st.integers(1, 3000), st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_pairs_are_divided_into_as_few_shards_as_possible(weights: list[int], most: int, taken: int) -> None:
    class Weights(Store):
        def image_size(self, name: str) -> int:
            return int(name)

    one = make_pair(Store(), 0)
    cutting = []
    for at, weight in enumerate(weights):
        photo = dataclasses.replace(
            one.photo, key=f"{at:016x}", image=str(weight), degradation=("rain", "snow")[at % 3 == 0]
        )
        cutting.append(dataclasses.replace(one, photo=photo, image="0"))
    there = [f"data/rain/train-{number:05d}.tar" for number in range(taken)]
    planned = list(cut_shards(cutting[::-1], "train", most, Weights(), there))
    assert planned == list(cut_shards(cutting, "train", most, Weights(), there)), "in any order the same"
    assert sorted(key_of(pair) for _, those in planned for pair in those) == [key_of(pair) for pair in cutting]
    for degradation, first in (("rain", taken), ("snow", 0)):
        mine = [(name, those) for name, those in planned if f"/{degradation}/" in name]
        assert [name for name, _ in mine] == [
            f"data/{degradation}/train-{first + at:05d}.tar" for at in range(len(mine))
        ]
        heavy = [int(pair.photo.image) for _, those in mine for pair in those]
        each = max(1, most // max(heavy, default=1))  # pairs a shard
        assert len(mine) <= len(heavy) // each + 1
        for _, those in mine:
            assert {pair.photo.degradation for pair in those} == {degradation}
            assert len(those) == 1 or sum(int(pair.photo.image) for pair in those) <= most


@given(
    st.lists(
        st.tuples(st.integers(0, 2**64 - 1), st.sampled_from(["rain", "snow", "haze"]), st.booleans()),
        unique_by=lambda drawn: drawn[0],
        min_size=1,
        max_size=200,
    ),
    st.one_of(st.floats(0, 0.99), st.integers(1, 500)),
)
@settings(max_examples=100, deadline=None)
def test_the_draw_is_by_degradation_and_source(drawn: list[tuple[int, str, bool]], test: float) -> None:
    one = make_pair(Store(), 0).photo
    photos = [
        dataclasses.replace(one, key=f"{key:016x}", degradation=name, source=("internet", "captured")[own])
        for key, name, own in drawn
    ]
    keys = draw_test(photos, test)
    assert keys == draw_test(photos[::-1], test)
    count = min(test, len(photos) // 10) if test >= 1 else int(test * len(photos))
    assert len(keys) == count
    for stratum in {(photo.degradation, photo.source) for photo in photos}:
        mine = sorted(photo.key for photo in photos if (photo.degradation, photo.source) == stratum)
        got = sorted(keys & set(mine))
        assert got == mine[: len(got)], "the lowest"
        assert abs(len(got) - count * len(mine) / len(photos)) < 1


# --- kill -9 --------------------------------------------------------------------------------------------------------


def half(out: Path) -> str:
    """What is wrong for one who reads `out` just now: "" where it is absent, or whole as its manifest says."""
    try:
        world = out.stat().st_ino
        text = (out / ggt100k.MANIFEST).read_bytes()
    except FileNotFoundError:
        return ""
    manifest = json.loads(text)
    files = {name: about["sha256"] for name, about in manifest["shards"].items()}
    files |= {f"index/{split}.parquet": about["index"]["sha256"] for split, about in manifest["splits"].items()}
    try:
        wrong = [
            name for name, digest in files.items() if hashlib.sha256((out / name).read_bytes()).hexdigest() != digest
        ]
    except FileNotFoundError as absent:
        wrong = [str(absent)]
    try:
        same = (out / ggt100k.MANIFEST).read_bytes() == text and out.stat().st_ino == world
    except FileNotFoundError:
        same = False
    return f"{manifest['dataset_version']}: {wrong}" if wrong and same else ""  # else it was moved meanwhile


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="wants kill -9")
def test_a_kill_at_any_step_is_recovered(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(FORKED)
    good, out = tmp_path / "good/out", tmp_path / "w/out"
    first_version(good)
    shutil.copytree(good, tmp_path / "first")
    with ProcessPoolExecutor(1, context) as pool:
        steps = pool.submit(next_version, good).result()
    wanted = tree(good)
    assert json.loads(wanted[ggt100k.MANIFEST])["dataset_version"] == "1.1.0"
    random = np.random.default_rng(0)
    moving = range(steps - 22, steps)  # where the new one is moved in
    moments = sorted({*random.choice(steps, 15, replace=False).tolist(), *moving} - {0})
    assert len(moments) >= 30
    seen: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.append(half(out))
            time.sleep(0.001)

    reader = threading.Thread(target=read)
    reader.start()
    killed = old = new = absent = 0
    try:
        for number, moment in enumerate(moments):
            shutil.copytree(tmp_path / "first", tmp_path / "next/out")
            if out.exists():
                (tmp_path / "w").rename(tmp_path / f"was-{number}")  # at once, so that the reader sees no half copy
            (tmp_path / "next").rename(tmp_path / "w")
            # sometimes a second run is killed too, while it goes on with what the first one left
            for die_at in (moment, int(random.integers(1, steps)))[: 1 + number % 3 // 2]:
                process = context.Process(target=next_version, args=(out, die_at))
                process.start()
                process.join()
                killed += process.exitcode == -signal.SIGKILL
                assert half(out) == ""
                left = json.loads((out / ggt100k.MANIFEST).read_text()) if (out / ggt100k.MANIFEST).exists() else {}
                old += left.get("dataset_version") == "1.0.0"
                new += left.get("dataset_version") == "1.1.0"
                absent += not left
            next_version(out)
            assert tree(out) == wanted, moment
            assert [path.name for path in (tmp_path / "w").iterdir()] == ["out"]
    finally:
        ended.set()
        reader.join()
    assert killed >= 30
    assert min(old, new, absent) > 0, "all three were left by some kill"
    assert len(seen) > 50 and set(seen) == {""}


@given(st.text(max_size=30), st.floats(width=32))
@settings(max_examples=60)
def test_json_members_equal_the_facts(author: str, value: float) -> None:
    store = Store()
    pair = make_pair(store, 1, author=author)
    score = dataclasses.replace(pair.scores[0], value=value)
    facts = pair_facts(dataclasses.replace(pair, scores=(score,)), ["structure"])
    back = json.loads(encode_json(facts))
    assert back["author"] == author
    assert back["scores"]["structure"] == value or math.isnan(value)


def test_the_stage_packs_a_workspace_without_a_command_line(tmp_path: Path) -> None:
    workspace, out = make_workspace(tmp_path / "w", 10), tmp_path / "out"
    planned = run(workspace, out, PackConfig(dry_run=True))
    assert len(planned.plan) == 1 and planned.counts == {} and not out.exists()
    summary = run(workspace, out, PackConfig())
    assert {name: summary.counts[name] for name in ("train", "test")} == {"train": 9, "test": 1}
    assert (summary.notes, summary.paths, summary.is_failed) == ((), (str(out),), False)
    assert list(validate(str(out), against=workspace)) == []
    with Ledger(workspace) as ledger:
        (held,) = ledger.all(HeldOutPair)
    assert split_by_key(out)[held.key] == "test"


# --- a release that stands in the folder ----------------------------------------------------------------------------


def test_another_version_is_not_written_over_a_release_without_base(tmp_path: Path) -> None:
    workspace, out = tmp_path / "w", tmp_path / "out"
    make_workspace(workspace, 2)
    run(workspace, out, PackConfig(version="2.0.0", test=0))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError) as caught:
        run(workspace, out, PackConfig(version="1.5.0", test=0))
    next_step = f"Give --base {out} to make its next version, or name another folder."
    assert str(caught.value) == f"{out}: holds version 2.0.0, and 1.5.0 is packed. {next_step}"
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_release_of_another_workspace_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_workspace(tmp_path / "w1", 3)
    make_workspace(tmp_path / "w2", 2)  # two of the three photographs
    run(tmp_path / "w1", out, PackConfig(test=0))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="1 of its pairs are of photographs that the workspace does not have"):
        run(tmp_path / "w2", out, PackConfig(test=0))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
