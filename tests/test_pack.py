"""pack: what comes out is deterministic, whole or absent, and cannot break a rule of the format."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import tarfile
import time
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
from ggt_tools.errors import ConfigError, PairError, ShardError
from ggt_tools.pack import PackConfig, pack, pair_facts
from ggt_tools.png import encode_png
from ggt_tools.records import Pair, Stage
from ggt_tools.shard import ShardWriter, encode_json
from ggt_tools.validate import validate

from .making import GATE, Store, make_dataset, make_pair, make_pairs, picture


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_folder_is_the_one_of_the_design(tmp_path: Path) -> None:
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


def test_the_index_says_where_the_bytes_lie(tmp_path: Path) -> None:
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
            assert (list(bands.offsets), bands.rows) == (row[f"{name}_bands"], row["band_rows"]) and bands.rows == 64
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
            "data/rain/train-00000.tar: key 'a.b': a key is 16 hex characters; ingest the photograph again",
        ),
        ({"key": "0" * 16}, "wrong_key", "is not the digest of its lq's pixels; ingest it again"),
        ({"licence": ""}, "bad_facts", "it has no licence; ingest it again with --licence"),
        ({"author": None}, "bad_facts", "author is None; it must be string; pack it again"),
        ({"round": "0"}, "bad_facts", "round is '0'; it must be int32; pack it again"),
        ({"degradations": [1]}, "bad_facts", "degradations is [1]; it must be list<item: string>; pack it again"),
        (
            {"scores": {"structure": None}},
            "bad_facts",
            "its scores are not all numbers; an unmeasured one is NaN; pack it again",
        ),
        ({"degradations": ["mixed"]}, "bad_facts", "its class rain comes first; ingest it again"),
        ({"degradations": []}, "bad_facts", "its class rain comes first; ingest it again"),
        (
            {"round": 2**40},
            "bad_facts",
            "round 1099511627776 or created '2026-01-01T00:00:00Z' cannot be; restore it again",
        ),
        ({"created": "yesterday"}, "bad_facts", "round 0 or created 'yesterday' cannot be; restore it again"),
        ({"author": "a\0b"}, "bad_facts", "'a\\x00b' holds what is no text; ingest it again"),
        ({"prompt": "\ud800"}, "bad_facts", "'\\ud800' holds what is no text; ingest it again"),
        ({"more": 1}, "bad_facts", "its facts are not those of the format (['more']); pack it again"),
        (
            {"degradation": "fog"},
            "bad_facts",
            "degradation 'fog' or source 'internet' is unknown; ingest it again",
        ),
        ({"width": 91}, "wrong_size", "its facts name another size than its images; pack it again"),
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
        (None, other_size(), PairError, f"{AT}lq and gt are 90 x 70 and 90 x 71; align the candidate"),
        (None, encode_png(picture(0)), PairError, f"{AT}lq and gt are the same image; judge it again"),
        (
            plain_png(),
            None,
            ShardError,
            f"data/rain/train-00000.tar: {KEY}.lq.png: is no banded PNG; pack it again",
        ),
        (None, b"GIF89a", ShardError, f"data/rain/train-00000.tar: {KEY}.gt.png: is no banded PNG; pack it again"),
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
    assert str(fault.value) == f"{AT}stands in it twice; ingest each photograph once"


def test_a_shard_takes_its_own_class_and_at_least_one_pair(tmp_path: Path) -> None:
    for name in ("data/snow/train-00000.tar", "x.tar"):
        said = f"{name}: key {KEY}: is of the class rain, which this shard does not hold; give it to another"
        with pytest.raises(PairError) as fault, ShardWriter(tmp_path / "a.tar", name) as shard:
            shard.add(*parts())
        assert (fault.value.reason, str(fault.value)) == ("wrong_shard", said)
    said = r"^a\.tar: a shard without a pair; plan it with one$"
    with pytest.raises(ShardError, match=said), ShardWriter(tmp_path / "a.tar", "a.tar"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_bands_than_the_formats_are_not_written(tmp_path: Path) -> None:
    facts, lq, gt = parts()
    with pytest.raises(PairError) as fault, ShardWriter(tmp_path / "a.tar", "data/rain/train-00000.tar") as shard:
        shard.add(facts, lq, encode_png(ggt100k.decode_image(gt), 32))
    assert (fault.value.reason, str(fault.value)) == (
        "wrong_bands",
        f"{AT}gt is not in bands of 64 rows; pack it again",
    )


# --- bad input, interruptions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"version": "1.0"}, "--version 1.0: a version is three numbers, e.g. 1.1.0"),
        ({"test": 1.5}, "--test 1.5: is neither a number of pairs nor a share below 1"),
        ({"test": -0.1}, "--test -0.1: is neither a number of pairs nor a share below 1"),
        ({"shard_bytes": 0}, "--shard-bytes 0: must be 1 or more"),
    ],
)
def test_a_wrong_configuration(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        PackConfig(**config)
    assert str(fault.value) == said


def test_nothing_to_pack(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the gate keeps no pair, so there is nothing to pack"):
        pack([], Store(), tmp_path / "out", PackConfig(), gate=GATE)


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"out: is no dataset folder and not empty; name another one$"):
        make_dataset(out)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_what_else_lies_in_a_dataset_folder_stays(tmp_path: Path) -> None:
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


def test_two_packs_of_one_folder_do_not_meet(tmp_path: Path) -> None:
    out = (tmp_path / "out").resolve()
    said = rf"^{out}: another pack is writing it; wait for its end$"
    with FileLock(tmp_path / ".out.lock"), pytest.raises(ConfigError, match=said):
        make_dataset(out)
    make_dataset(out)


def test_killed_while_it_moved_the_new_folder_in_the_next_run_finishes(tmp_path: Path) -> None:
    out = make_dataset(tmp_path / "out", count=3)
    (tmp_path / "out.old").mkdir()
    (out / "index").rename(tmp_path / "out.old/index")
    with pytest.raises(ConfigError, match=r"a folder without index/manifest\.json"):
        list(validate(str(out)))
    make_dataset(out, count=4)
    assert list(validate(str(out))) == []
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_metric_that_cannot_be_a_column(tmp_path: Path) -> None:
    store = Store()
    pair = make_pair(store, 0)
    odd = dataclasses.replace(pair, scores=(dataclasses.replace(pair.scores[0], metric="a.b"),))
    with pytest.raises(ConfigError, match=r"metric 'a.b' is no column's name; a name is of a-z, 0-9 and _$"):
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


def test_another_plan_starts_anew(tmp_path: Path) -> None:
    store = Counting(fail=8)
    pairs = make_pairs(store, 6)
    with pytest.raises(ShardError):
        packed(pairs, store, tmp_path / "out")
    before = store.read
    packed(pairs[:5], store, tmp_path / "out")
    assert store.read - before == 10
    assert list(validate(str(tmp_path / "out"))) == []


PACK_FOR_EVER = """
import sys
from pathlib import Path
from tests.making import GATE, Store, make_pairs
from ggt_tools.pack import PackConfig, pack
out, version = Path(sys.argv[1]), 0
store = Store()
pairs = make_pairs(store, 8)
print("ready", flush=True)
while True:
    version += 1
    pack(pairs[version % 4 :], store, out, PackConfig(version=f"1.0.{version}", test=0.3), gate=GATE)
"""


def test_killed_at_any_moment_the_folder_is_whole_or_absent_and_the_next_run_finishes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    random = np.random.default_rng(0)
    for _ in range(15):
        process = subprocess.Popen(
            [sys.executable, "-c", PACK_FOR_EVER, str(out)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(random.uniform(0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if (out / ggt100k.MANIFEST).exists():  # while a new one is moved in, the folder has none: it is absent
            assert list(validate(str(out))) == []
    make_dataset(out)
    assert list(validate(str(out))) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@given(st.text(max_size=30), st.floats(width=32))
@settings(max_examples=60)
def test_json_and_facts_say_the_same(author: str, value: float) -> None:
    store = Store()
    pair = make_pair(store, 1, author=author)
    score = dataclasses.replace(pair.scores[0], value=value)
    facts = pair_facts(dataclasses.replace(pair, scores=(score,)), ["structure"])
    back = json.loads(encode_json(facts))
    assert back["author"] == author
    assert back["scores"]["structure"] == value or math.isnan(value)
