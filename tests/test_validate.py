"""validate: for every rule of the format a folder that breaks only this rule, and the finding for it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ggt100k
from ggt_format.jpeg import encode_jpeg
from ggt_format.png import encode_png
from ggt_format.shard import encode_json, member_extensions, member_header
from ggt_tools.cli import main
from ggt_tools.errors import ConfigError
from ggt_tools.executors import Cluster
from ggt_tools.executors.local import Local
from ggt_tools.policy.verdicts import verdict
from ggt_tools.policy.votes import Votes
from ggt_tools.records import Adopted, Aligned, Finding, HeldOutPair, Verdict, Withdrawal
from ggt_tools.stages.pack import PackConfig, pack
from ggt_tools.stages.validate import validate, why_not_passed
from ggt_tools.stages.validate.evidence import evidence_faults, read_gate
from ggt_tools.stages.validate.findings import DOWNLOAD_SHARD, PACK, split_message
from ggt_tools.stages.validate.likeness import MIN_LIKENESS, cells, find_mismatches, sketches
from ggt_tools.stages.validate.passing import NOTE
from ggt_tools.stages.validate.run import ValidateConfig, lock_tasks, run
from ggt_tools.stages.validate.shards import ShardCheck, check_shard
from ggt_tools.workspace.codec import to_row
from ggt_tools.workspace.ledger import Ledger
from ggt_tools.workspace.store import Store as Tasks

from .benchmarks.remote import serve
from .making import (
    GATE,
    Store,
    change_shard,
    evidence,
    lines_of,
    make_dataset,
    make_pair,
    make_pairs,
    make_workspace,
    picture,
)
from .photographs import SAMPLE, at_night, blurred, noisy, photograph, veiled

NAME = "data/rain/train-00000.tar"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three pairs in one shard."""
    return make_dataset(tmp_path / "ggt-100k", count=3, degradations=["rain"], test=0.0)


def keys(root: Path) -> list[str]:
    return [str(key) for key in pq.read_table(root / "index/train.parquet")["key"].to_pylist()]


def findings(root: Path) -> list[tuple[str, str]]:
    return [(finding.reason, str(finding)) for finding in validate(str(root))]


def test_a_good_folder_has_no_findings(root: Path) -> None:
    assert findings(root) == []


def test_progress_counts_the_pairs(root: Path) -> None:
    done: list[int] = []
    assert list(validate(str(root), progress=done.append)) == []
    assert sum(done) == 3


# --- the tar --------------------------------------------------------------------------------------------------------

Member = tuple[tarfile.TarInfo, bytes]


def members(data: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def retar(change: Callable[[list[Member]], list[Member] | None], form: int = tarfile.USTAR_FORMAT) -> Any:
    """A change of a shard's bytes: its members changed, and written anew by tarfile."""

    def changed(data: bytes) -> bytes:
        found = members(data)
        found = change(found) or found
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            for info, body in found:
                info.size = len(body) if info.isreg() else 0
                tar.addfile(info, io.BytesIO(body) if info.isreg() else None)
        return buffer.getvalue()

    return changed


def info_of(found: list[Member], which: int = 0, **values: Any) -> None:
    for name, value in values.items():
        setattr(found[which][0], name, value)


def swapped(found: list[Member]) -> list[Member]:
    return [found[0], found[2], found[1], *found[3:]]


def apart(found: list[Member]) -> list[Member]:
    return [*found[:2], *found[3:6], found[2], *found[6:]]


def renamed(which: int, name: str) -> Any:
    return retar(lambda found: info_of(found, which, name=name))


def shown(name: str, *lines: tuple[str, str, str, str]) -> list[tuple[str, str]]:
    """(reason, key, detail, fix) as findings of a shard."""
    return [
        (reason, f"{name}:{' key ' + key + ':' if key else ''} {detail}. {fix}") for reason, key, detail, fix in lines
    ]


def only(root: Path, reason: str) -> list[str]:
    """The texts of one reason: a member out of place moves what is behind it too, and the index tells that as well."""
    return [text for found, text in findings(root) if found == reason]


def test_lq_and_gt_in_another_order(root: Path) -> None:
    key = keys(root)[0]
    change_shard(root, retar(swapped))
    json_end, lq, gt = member_extensions("png")
    right, found = (", ".join(f"{key}.{m}" for m in order) for order in ((json_end, lq, gt), (json_end, gt, lq)))
    assert only(root, "broken_pair") == [
        f"{NAME}: key {key}: its members are {found}, not {right}. Pack the release again."
    ]
    assert only(root, "not_in_shard") == [
        f"{NAME}: key {key}: the index names it, but the shard holds no complete pair of it. Pack the release again."
    ]


def test_members_of_a_pair_that_are_not_adjacent(root: Path) -> None:
    one = keys(root)[0]
    change_shard(root, retar(apart))
    right = f"{one}.json, {one}.lq.png, {one}.gt.png"
    assert only(root, "broken_pair") == [
        f"{NAME}: key {one}: its members are {one}.json, {one}.lq.png, not {right}. Pack the release again.",
        f"{NAME}: key {one}: its members are {one}.gt.png, not {right}. Pack the release again.",
    ]


def test_a_missing_member(root: Path) -> None:
    key = keys(root)[2]
    change_shard(root, retar(lambda found: found[:-1]))
    assert findings(root) == shown(
        NAME,
        (
            "broken_pair",
            key,
            f"its members are {key}.json, {key}.lq.png, not {key}.json, {key}.lq.png, {key}.gt.png",
            "Pack the release again.",
        ),
        (
            "not_in_shard",
            key,
            "the index names it, but the shard holds no complete pair of it",
            "Pack the release again.",
        ),
    )


@pytest.mark.parametrize("name", ["../../evil.json", "/etc/passwd", "a.b.json", "dir/{key}.json", "{key}.JSON"])
def test_a_member_with_a_wrong_name(root: Path, name: str) -> None:
    name = name.format(key=keys(root)[0])
    change_shard(root, renamed(0, name))
    found = only(root, "broken_pair")
    assert any(f"its members are {name}" in text for text in found), found
    assert len(only(root, "not_in_shard")) == 1


@pytest.mark.parametrize(
    "values", [{"mtime": 1}, {"uid": 1}, {"gid": 1}, {"uname": "zoe"}, {"gname": "zoe"}, {"mode": 0o600}]
)
def test_a_header_with_owner_or_time(root: Path, values: dict[str, Any]) -> None:
    change_shard(root, retar(lambda found: info_of(found, **values)))
    name = f"{keys(root)[0]}.json"
    assert findings(root) == [
        (
            "bad_header",
            f"{NAME}: byte 0: the header of '{name}' is not plain ustar with mode 644, no time, owner or group. "
            "Pack the release again.",
        )
    ]


def test_gnu_headers_are_not_plain_ustar(root: Path) -> None:
    change_shard(root, retar(lambda found: None, tarfile.GNU_FORMAT))
    assert {reason for reason, _ in findings(root)} == {"bad_header"}
    assert len(findings(root)) == 9


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_only_plain_files(root: Path, kind: bytes) -> None:
    change_shard(root, retar(lambda found: info_of(found, type=kind, linkname="/etc/passwd")))
    name = f"{keys(root)[0]}.json"
    assert only(root, "not_a_file") == [
        f"{NAME}: byte 0: {name!r} is not a plain file but of type {kind!r}. Pack the release again."
    ]


def test_a_pair_twice(root: Path) -> None:
    key = keys(root)[2]
    size = len((root / NAME).read_bytes())
    change_shard(root, retar(lambda found: [*found, *found[-3:]]))
    [text] = only(root, "duplicate_key")
    assert text.startswith(f"{NAME}: key {key}: byte ") and text.endswith(
        ": is in the shard twice. Pack the release again."
    )
    assert int(text.split("byte ")[1].split(":")[0]) < size


def test_a_pair_that_the_index_does_not_name(root: Path, tmp_path: Path) -> None:
    more = make_dataset(tmp_path / "more", count=4, degradations=["rain"], test=0.0)
    (extra,) = set(keys(more)) - set(keys(root))
    (root / NAME).write_bytes((more / NAME).read_bytes())
    change_shard(root, lambda data: data)
    assert [text.split("byte")[0] for text in only(root, "not_in_index")] == [f"{NAME}: key {extra}: "]


def test_a_tar_truncated_within_a_member(root: Path) -> None:
    change_shard(root, lambda data: data[: len(data) // 2])
    [text] = only(root, "truncated")
    assert text.endswith(". Download the shard again.") and "ends within" in text


def test_a_tar_without_end_blocks(root: Path) -> None:
    at = 0

    def cut(data: bytes) -> bytes:
        nonlocal at
        at = len(data.rstrip(b"\0")) + 511 & ~511
        return data[:at]

    change_shard(root, cut)
    assert findings(root) == [
        (
            "truncated",
            f"{NAME}: byte {at}: ends without the blocks of zeros that end a tar. Download the shard again.",
        )
    ]


@pytest.mark.parametrize("more", [bytes(10240), b"x" + bytes(511)])
def test_bytes_after_the_end(root: Path, more: bytes) -> None:
    change_shard(root, lambda data: data + more)
    [(reason, text)] = findings(root)
    assert reason == "trailing_bytes"
    assert text.endswith(": has bytes after the end of its tar. Pack the release again.")


def test_bytes_in_the_padding(root: Path) -> None:
    place = 0

    def change(data: bytes) -> bytes:
        nonlocal place
        size = len(members(data)[0][1])
        place = 512 + size
        return data[:place] + b"x" + data[place + 1 :]

    change_shard(root, change)
    assert findings(root) == [
        (
            "bad_padding",
            f"{NAME}: byte {place}: there are bytes after '{keys(root)[0]}.json' where zeros should be. "
            "Pack the release again.",
        )
    ]


def test_a_header_with_a_wrong_checksum(root: Path) -> None:
    change_shard(root, lambda data: b"y" + data[1:])
    said = f"{NAME}: byte 0: there is no tar header: bad checksum. Download the shard again."
    assert findings(root)[0] == ("bad_header", said)


@pytest.mark.parametrize("field", [b"\x80" + b"\0" * 3 + b"\xff" * 8, b"\xff" * 12], ids=["huge", "negative"])
def test_a_size_in_base_256(root: Path, field: bytes) -> None:
    def change(data: bytes) -> bytes:
        header = bytearray(data[:512])
        header[124:136] = field
        header[148:156] = b" " * 8
        header[148:156] = f"{sum(header):06o}\0 ".encode()
        return bytes(header) + data[512:]

    change_shard(root, change)
    assert findings(root)[0][0] in ("bad_header", "truncated")


# --- the pair -------------------------------------------------------------------------------------------------------


def put(which: int, body: Callable[[bytes], bytes]) -> Any:
    """Changes a member's bytes; a change of length moves those behind it, so tests of these look at one reason."""

    def change(found: list[Member]) -> list[Member]:
        found[which] = (found[which][0], body(found[which][1]))
        return found

    return retar(change)


def test_json_that_differs_from_the_index(root: Path) -> None:
    change_shard(root, put(0, lambda text: text.replace(b"CC0-1.0", b"CC0-2.0")))
    key = keys(root)[0]
    assert findings(root) == [
        (
            "json_differs",
            f"{NAME}: key {key}: byte 512: its JSON has other facts than the index. Pack the release again.",
        )
    ]


def test_invalid_json(root: Path) -> None:
    change_shard(root, put(0, lambda text: b"?" + text[1:]))
    [(reason, text)] = findings(root)
    assert (reason, "its JSON cannot be read: Expecting value: line 1 column 1 (char 0)" in text) == (
        "json_differs",
        True,
    )


def test_a_damaged_band(root: Path) -> None:
    change_shard(root, put(2, lambda png: png[:2000] + bytes([png[2000] ^ 1]) + png[2001:]))
    [(reason, text)] = findings(root)
    assert reason == "damaged_image"
    assert text.startswith(f"{NAME}: key {keys(root)[0]}: byte ")
    assert text.endswith(".gt.png: band 0, byte 88: the checksum is wrong. Download the shard again.")


def test_an_image_that_is_not_banded(root: Path) -> None:
    from PIL import Image

    def plain(png: bytes) -> bytes:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(png)).save(buffer, "PNG")
        return buffer.getvalue()

    change_shard(root, put(1, plain))
    assert any(
        text.endswith(".lq.png: is not a banded PNG. Pack the release again.") for text in only(root, "damaged_image")
    )


def test_an_image_with_alpha(root: Path) -> None:
    from PIL import Image

    def alpha(png: bytes) -> bytes:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(png)).convert("RGBA").save(buffer, "PNG")
        return buffer.getvalue()

    change_shard(root, put(1, alpha))
    assert any(
        text.endswith(".lq.png: is not a banded PNG. Pack the release again.") for text in only(root, "damaged_image")
    )


def test_bands_that_differ_from_the_index(root: Path) -> None:
    change_shard(root, put(2, lambda png: encode_png(ggt100k.decode_image(png), 64)))
    [text] = only(root, "wrong_bands")
    assert ": the index has other bands of " in text and text.endswith(".gt.png. Pack the release again.")


def test_lq_that_is_another_photograph(root: Path) -> None:
    change_shard(root, put(1, lambda png: encode_png(picture(77))))
    assert any("is not the digest of its LQ pixels. " in text for text in only(root, "wrong_key"))


def test_lq_and_gt_swapped(root: Path) -> None:
    def swap(found: list[Member]) -> list[Member]:
        (lq, one), (gt, other) = found[1], found[2]
        return [found[0], (lq, other), (gt, one), *found[3:]]

    change_shard(root, retar(swap))
    assert any(text.endswith(": lq and gt are swapped. Pack the release again.") for text in only(root, "swapped"))


def test_equal_lq_and_gt(root: Path) -> None:
    def same(found: list[Member]) -> list[Member]:
        return [*found[:2], (found[2][0], found[1][1]), *found[3:]]

    change_shard(root, retar(same))
    assert any("lq and gt are the same image. Judge the pair again." in text for text in only(root, "identical"))


def test_lq_and_gt_of_other_sizes(root: Path) -> None:
    change_shard(root, put(2, lambda png: encode_png(picture(1, 71, 90))))
    assert any("lq and gt have different sizes: 90 x 70 and 90 x 71. " in text for text in only(root, "size_differs"))


# --- index and manifest ---------------------------------------------------------------------------------------------


def change_index(root: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]] | None]) -> None:
    """Changes the rows of the index, and the manifest's hash of it."""
    path = root / "index/train.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    write_index(root, pa.Table.from_pylist(change(rows) or rows, schema=table.schema))


def write_index(root: Path, table: pa.Table) -> None:
    path = root / "index/train.parquet"
    pq.write_table(table, path)
    data = path.read_bytes()

    def told(manifest: dict[str, Any]) -> None:
        manifest["splits"]["train"]["index"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    change_manifest(root, told)


def change_manifest(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = root / ggt100k.MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def first(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0].update(values)

    return change


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        (first(lq_offset=4), "wrong_offset", "the index has another offset or size of {key}.lq.png"),
        (first(gt_size=4), "wrong_offset", "the index has another offset or size of {key}.gt.png"),
        (first(lq_bands=[1, 2]), "wrong_bands", "the index has other bands of {key}.lq.png"),
        (first(author="another"), "json_differs", "its JSON has other facts than the index"),
        (first(shard="../x.tar"), "unknown_shard", "its shard '../x.tar' is not in the manifest"),
        (first(degradation="snow"), "wrong_shard", "is snow of train, but its shard is data/rain/train-00000.tar"),
        (lambda rows: [*rows, rows[2]], "duplicate_key", "is in the index of train too"),
        (lambda rows: rows[::-1], "not_sorted", "its rows are not in the order of degradation and key"),
        (lambda rows: rows[:2], "wrong_count", "has 2 pairs {{'rain': 2}}, the manifest says 3"),
        (lambda rows: rows[:2], "wrong_count", "the index names 2 pairs in it, the manifest 3"),
        (first(author=None), "null", 'has nulls (author), where unknown values are "" or NaN'),
        (
            first(scores={"gmsd": None, "structure": 0.5}),
            "null",
            'has nulls (scores), where unknown values are "" or NaN',
        ),
    ],
)
def test_an_index_with_other_values(root: Path, change: Any, reason: str, said: str) -> None:
    said = said.format(key=keys(root)[0])
    change_index(root, change)
    assert any(said in text and text.endswith(". Pack the release again.") for text in only(root, reason)), findings(
        root
    )


def test_an_index_with_other_columns(root: Path) -> None:
    write_index(root, pq.read_table(root / "index/train.parquet").drop_columns(["author"]))
    assert "index/train.parquet: its columns are not those of the format. Pack the release again." in only(
        root, "wrong_schema"
    )


def test_an_index_that_cannot_be_read(root: Path) -> None:
    path = root / "index/train.parquet"
    path.write_bytes(b"no parquet")
    assert "index/train.parquet: its bytes are not those that the manifest names. Download it again." in only(
        root, "wrong_hash"
    )
    assert len(only(root, "not_parquet")) == 1


def test_a_pair_in_both_splits(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "out", count=6, degradations=["rain"], test=0.3)
    other = make_dataset(tmp_path / "other", count=6, degradations=["rain"], test=0.0)
    (key,) = set(keys(other)) - set(keys(root))
    (root / NAME).write_bytes((other / NAME).read_bytes())
    (root / "index/train.parquet").write_bytes((other / "index/train.parquet").read_bytes())
    mine, its = (json.loads((folder / ggt100k.MANIFEST).read_text()) for folder in (root, other))
    mine["splits"]["train"] = its["splits"]["train"]
    mine["shards"][NAME] = its["shards"][NAME]
    (root / ggt100k.MANIFEST).write_text(json.dumps(mine))
    assert only(root, "both_splits") == [
        f"index/test.parquet: key {key}: is in the index of train too. Pack the release again."
    ]


def test_a_row_group_of_two_degradations(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "two", count=4, test=0.0)
    write_index(root, pq.read_table(root / "index/train.parquet"))
    assert findings(root) == [
        ("mixed_row_group", "index/train.parquet: row group 0 holds 2 degradations. Pack the release again.")
    ]


def test_links_and_other_files_in_the_folder(root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.tar").write_bytes((root / NAME).read_bytes())
    (root / NAME).unlink()
    (root / NAME).symlink_to(tmp_path / "outside.tar")
    (root / "index/val.parquet").write_bytes(b"")
    assert findings(root) == [
        ("link", f"{NAME}: is a link, which may lead anywhere. Put the file itself there."),
        ("unknown_file", "index/val.parquet: the manifest does not name it. Delete it, or pack the release again."),
    ]


@pytest.mark.parametrize("top", ["data", "index", "data/rain"])
def test_a_folder_that_is_a_link(root: Path, tmp_path: Path, top: str) -> None:
    (root / top).rename(tmp_path / "elsewhere")
    (root / top).symlink_to(tmp_path / "elsewhere")
    assert findings(root) == [("link", f"{top}: is a link, which may lead anywhere. Put the file itself there.")]


def test_a_shard_that_is_a_folder(root: Path) -> None:
    (root / NAME).unlink()
    (root / NAME).mkdir()
    assert findings(root) == [("unreadable", f"{NAME}: cannot be read: Is a directory. Download the shard again.")]


def test_a_readme_that_would_mislead_plain_datasets(root: Path) -> None:
    text = (root / "README.md").read_text()
    (root / "README.md").write_text(text.replace("data/rain/train-*.tar", "data/snow/train-*.tar"))
    found = [("readme_differs", "README.md: does not begin with the YAML of this dataset. Pack the release again.")]
    assert findings(root) == found
    (root / "README.md").unlink()
    assert findings(root) == found
    (root / "README.md").write_text(text + "more words")
    assert findings(root) == []


def test_a_manifest_with_a_missing_value_is_invalid(root: Path) -> None:
    good = (root / ggt100k.MANIFEST).read_text()
    for path in ("shards", "gate", "funnel", "codec", "dataset_version", "splits.train.pairs", "splits.train.index"):
        manifest = json.loads(good)
        *above, last = path.split(".")
        inner = manifest
        for name in above:
            inner = inner[name]
        del inner[last]
        (root / ggt100k.MANIFEST).write_text(json.dumps(manifest))
        said = f"index/manifest.json: cannot be read (KeyError('{last}')). Download it again."
        assert findings(root) == [("bad_manifest", said)]
    (root / ggt100k.MANIFEST).write_text("[" * 100_000)
    assert "cannot be read (RecursionError(" in only(root, "bad_manifest")[0]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"dataset_version": "1.0.0\n"}, r"""ValueError("version '1.0.0\\n' does not consist of three numbers")"""),
        ({"shards": []}, """AttributeError("'list' object has no attribute 'items'")"""),
        (
            {"shards": {NAME: {"pairs": -1, "bytes": 1}}},
            f'ValueError("pairs of {NAME!r} is -1, and must be a whole number from 0")',
        ),
    ],
)
def test_the_verb_prints_and_writes_what_is_wrong_with_a_manifest(
    root: Path, tmp_path: Path, facts: dict[str, Any], said: str, capsys: Any
) -> None:
    change_manifest(root, lambda manifest: manifest.update(facts))
    assert main(["validate", str(root), "--findings", str(tmp_path / "found.jsonl")]) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"bad_manifest: index/manifest.json: cannot be read ({said}). Download it again.\n")
    assert "0 pairs, 1 findings" in out
    (line,) = (tmp_path / "found.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "shard": "index/manifest.json", "key": "", "offset": -1, "reason": "bad_manifest",
        "detail": f"cannot be read ({said})", "fix": "Download it again.",
    }  # fmt: skip


def test_another_format_version_is_an_error(root: Path) -> None:
    change_manifest(root, lambda manifest: manifest.update(format_version=99))
    with pytest.raises(ConfigError, match=r"has format version 99, and this package reads "):
        findings(root)


def test_a_name_twice_in_the_manifest(root: Path) -> None:
    path = root / ggt100k.MANIFEST
    path.write_text(path.read_text().replace('"codec": "png",', '"codec": "jpeg", "codec": "png",'))
    said = "index/manifest.json: names 'codec' twice in one object. Pack the release again."
    assert findings(root) == [("bad_manifest", said)]
    path.write_text(path.read_text().replace('"codec": "jpeg", ', "").replace('"pairs": 3', '"pairs": 4, "pairs": 3'))
    assert findings(root) == [("bad_manifest", said.replace("codec", "pairs"))]


STAGE = {"stage": "ingest", "entered": 7, "left": 4, "reasons": [["duplicate", 2], ["too_small", 1]]}


@pytest.mark.parametrize(
    "row",
    [
        "ingest",
        {"stage": "ingest", "in": 7, "out": 4},
        {**STAGE, "more": 1},
        STAGE | {"stage": 1},
        STAGE | {"left": -1, "entered": 2},
        STAGE | {"left": 4.0},
        STAGE | {"left": True, "entered": 4},
        STAGE | {"entered": 8},
        STAGE | {"reasons": {"duplicate": 3}},
        STAGE | {"reasons": [["duplicate", 3, 4]]},
        STAGE | {"reasons": [[3, 3]]},
        STAGE | {"reasons": [["duplicate", "3"]]},
    ],
)
def test_a_funnel_with_other_rows_than_that_of_pack(root: Path, row: Any) -> None:
    change_manifest(root, lambda manifest: manifest.update(funnel=[STAGE, row]))
    said = "row 1 of its funnel is not a stage whose counts add up"
    assert findings(root) == [("bad_funnel", f"index/manifest.json: {said}. Pack the release again.")]
    change_manifest(root, lambda manifest: manifest.update(funnel=[STAGE, STAGE | {"reasons": [], "entered": 4}]))
    assert findings(root) == []


def test_an_emptied_licence(root: Path) -> None:
    (root / "LICENSE").write_bytes(b"")
    assert findings(root) == [("empty_licence", "LICENSE: is empty. Write it again: ggt100k card")]
    (root / "LICENSE").write_text("CC0-1.0")
    assert findings(root) == []


def test_a_missing_shard(root: Path) -> None:
    (root / NAME).unlink()
    assert findings(root) == [
        ("missing_file", f"{NAME}: the manifest names it, but it is missing. Download the shard again.")
    ]


def test_a_missing_index(root: Path) -> None:
    (root / "index/train.parquet").unlink()
    assert only(root, "missing_file") == [
        "index/train.parquet: the manifest names it, but it is missing. Download it again."
    ]


def test_an_unlisted_file(root: Path) -> None:
    (root / "data/rain/train-00009.tar").write_bytes(b"")
    assert findings(root) == [
        (
            "unknown_file",
            "data/rain/train-00009.tar: the manifest does not name it. Delete it, or pack the release again.",
        )
    ]


def test_bytes_that_differ_from_the_manifest(root: Path) -> None:
    path = root / NAME
    data = path.read_bytes()
    path.write_bytes(data + bytes(10240))
    reasons = [reason for reason, _ in findings(root)]
    assert reasons == ["wrong_bytes", "wrong_hash", "trailing_bytes"]
    assert findings(root)[0][1] == (
        f"{NAME}: has {len(data) + 10240} bytes, the manifest says {len(data)}. Download the shard again."
    )


def test_a_shards_name_in_the_manifest_is_checked_before_it_is_a_path(root: Path) -> None:
    def hostile(manifest: dict[str, Any]) -> None:
        manifest["shards"]["../../etc/passwd"] = manifest["shards"].pop(NAME)

    change_manifest(root, hostile)
    assert only(root, "bad_name") == [
        "../../etc/passwd: is not the name of a shard, data/DEGRADATION/SPLIT-00000.tar. Pack the release again."
    ]


def test_a_folder_without_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"the folder has no index/manifest\.json\. Name a folder that `ggt100k pack` has written, or its URL\.$",
    ):
        list(validate(str(tmp_path)))


@pytest.mark.slow
def test_any_flipped_bit_is_detected(root: Path) -> None:
    """Through the whole verb, with the shard's hash to help, and without it; and a shard alone, 200 times."""
    random = np.random.default_rng(1)
    path = root / NAME
    good = path.read_bytes()
    flips = list(
        zip(random.integers(0, len(good), size=200).tolist(), random.integers(8, size=200).tolist(), strict=True)
    )
    place = ggt100k.open_root(str(root))
    job = ShardCheck(
        root=str(root), options={}, name=NAME, facts=place.manifest["shards"][NAME], codec="png", gate=GATE,
        rows=pq.read_table(root / "index/train.parquet"), quick=False, images={},
    )  # fmt: skip
    assert check_shard(job, lambda done: None) == []
    for number, (at, bit) in enumerate(flips):
        bad = bytearray(good)
        bad[at] ^= 1 << bit
        path.write_bytes(bad)
        assert "wrong_hash" in {finding.reason for finding in check_shard(job, lambda done: None)}
        about = dict(job.facts) | {"sha256": hashlib.sha256(bad).hexdigest()}
        assert check_shard(dataclasses.replace(job, facts=about), lambda done: None) != [], (at, bit)
        if number < 10:
            assert findings(root) != [], (at, bit)
    path.write_bytes(good)
    assert findings(root) == []


# --- what speaks for a pair -----------------------------------------------------------------------------------------


def change_pair(root: Path, **facts: Any) -> str:
    """Changes facts of the first pair, in its JSON and the index alike. Its key."""
    key = keys(root)[0]
    length = 0

    def json_member(text: bytes) -> bytes:
        nonlocal length
        changed = encode_json(json.loads(text) | facts)
        length = len(changed) - len(text)
        return changed

    before = len((root / NAME).read_bytes())
    change_shard(root, put(0, json_member))
    moved = (len((root / NAME).read_bytes()) - before) and 0
    assert moved == 0 and abs(length) < 400, "within its block"

    def row(rows: list[dict[str, Any]]) -> None:
        rows[0].update(facts)
        rows[0]["json_size"] += length

    change_index(root, row)
    return key


@pytest.mark.parametrize(
    ("facts", "reason", "said"),
    [
        (
            {"evidence": []},
            "no_evidence",
            "has no evidence of structure, which the gate asks for. Judge the pair again.",
        ),
        (
            {"evidence": ["structure unmeasured"]},
            "no_evidence",
            "has no evidence of structure, which the gate asks for",
        ),
        (
            {"evidence": ["structure 0.250 >= 0.300"], "scores": {"gmsd": 0.25, "structure": 0.25}},
            "fails_gate",
            "its evidence is 'structure 0.250 >= 0.300'; the gate wants structure >= 0.300. Judge the pair again.",
        ),
        (
            {"evidence": ["structure 0.500 >= 0.100"], "scores": {"gmsd": 0.25, "structure": 0.5}},
            "fails_gate",
            "its evidence is 'structure 0.500 >= 0.100'; the gate wants structure >= 0.300. Judge the pair again.",
        ),
        (
            {"evidence": ["structure 0.900 >= 0.300"]},
            "evidence_differs",
            "its evidence says structure 0.900, its score 0.50",
        ),
        ({"licence": ""}, "bad_facts", "it has no licence. Ingest the photograph again with --licence."),
        (
            {"source": "dataset", "source_name": "", "url": ""},
            "bad_facts",
            "its source, dataset, has neither name nor URL. Ingest the photograph again with its credits.",
        ),
    ],
)
def test_a_pair_without_evidence_or_required_facts(root: Path, facts: dict[str, Any], reason: str, said: str) -> None:
    key = change_pair(root, **facts)
    found = findings(root)
    assert {each for each, _ in found} == {reason}
    assert f"{NAME}: key {key}: byte 512: " in found[0][1] or reason == "bad_facts"
    assert said in found[0][1]


BANDED = GATE.replace("min = 0.3, reason", "min = 0.3, unsure_below = 0.9, reason")


def test_unsure_pairs_need_a_reviewer(root: Path) -> None:
    change_manifest(root, lambda manifest: manifest.update(gate=BANDED.replace("min = 0.3 }", "min = 0.0 }")))
    assert len(only(root, "fails_gate")) == 6, "the rule, and the gain"


def judged(gate: str, *evidence: str, **scores: float) -> list[tuple[str, str]]:
    """What is found in the evidence of a pair of rain."""
    row = {"degradation": "rain", "degradations": ["rain"], "scores": scores, "evidence": list(evidence)}
    return list(evidence_faults(row, read_gate(gate)))


PEOPLED = BANDED.replace("any = { structure = { min = 0.3 }", "any = { gmsd = { max = 0.2 }")
KEPT = "gmsd 0.100 <= 0.200"


@pytest.mark.parametrize(
    ("line", "clears"),
    [
        ("people: 1 keep, 0 reject; the rules say unsure", True),
        ("people: 3 keep, 2 reject; the rules say unsure", True),
        ("people: 1 keep, 1 reject; the rules say unsure", False),
        ("people: 0 keep, 0 reject; the rules say unsure", False),
        ("people: 1 keep, 0 reject; the rules say reject", False),
        ("people: 1 keep, 0 reject; the rules say keep", False),
        ("people: 1 keep, 0 reject; the rules say unsure, or so", False),
        ("no people: 1 keep, 0 reject; the rules say unsure", False),
        ("review keep by Ann", False),
        ("no person has had a look; review pending", False),
    ],
)
def test_only_votes_in_the_form_of_verdict_clear_unsure_pairs(line: str, clears: bool) -> None:
    said = "its evidence is 'structure 0.501 < 0.900 unsure'; the gate wants structure >= 0.900"
    wanted = [] if clears else [("fails_gate", said)]
    assert judged(PEOPLED, "structure 0.501 < 0.900 unsure", line, KEPT, structure=0.501, gmsd=0.1) == wanted
    nothing = [] if clears else [("no_evidence", "has no evidence of structure, which the gate asks for")]
    assert judged(PEOPLED, "structure unmeasured", line, KEPT, structure=math.nan, gmsd=0.1) == nothing


def test_votes_count_as_the_gate_allows_in_validation() -> None:
    low, said = "structure 0.200 < 0.300", "people: 2 keep, 0 reject; the rules say reject"
    found = [("fails_gate", f"its evidence is {low!r}; the gate wants structure >= 0.900")]
    assert judged(PEOPLED, low, KEPT, said, structure=0.2, gmsd=0.1) == found
    over = PEOPLED + '[people]\nvotes = 2\nkeep_over = ["unsure", "reject"]\n'
    assert judged(over, low, KEPT, said, structure=0.2, gmsd=0.1) == []
    assert judged(over, low, KEPT, said.replace("2", "1"), structure=0.2, gmsd=0.1) == found
    assert judged(over, low, KEPT, said, said, structure=0.2, gmsd=0.1) == found, "who says it twice says nothing"
    unsure = "structure 0.200 < 0.900 unsure"  # which is not so: it is below min
    assert judged(over, unsure, KEPT, said.replace("reject;", "unsure;"), structure=0.2, gmsd=0.1) != []


TWO_SIDED = GATE.replace("structure = { min = 0.3, reason", "structure = { min = 0.3, max = 0.8, reason").replace(
    "any = { structure", "any = { gmsd = { max = 0.2 }, structure"
)
LOW, HIGH, NO_GAIN = "structure 0.500 >= 0.300", "structure 0.500 <= 0.800", "gmsd 0.400 > 0.200"


@pytest.mark.parametrize(
    ("evidence", "reason", "said"),
    [
        ((LOW, HIGH, NO_GAIN, LOW), "", ""),
        ((LOW, HIGH, NO_GAIN), "", ""),
        ((LOW, NO_GAIN), "fails_gate", "its evidence is 'structure 0.500 >= 0.300'; the gate wants structure <= 0.800"),
        ((LOW, HIGH, "structure 99.000 > 0.800"), "evidence_differs", "says structure 0.500, 99.000, its score 0.500"),
        ((LOW, HIGH, "structure 0.500 > 0.800"), "fails_gate", "'structure 0.500 > 0.800', which no rule of the gate"),
        ((LOW, HIGH, "structure 0.500 > 0.400"), "fails_gate", "'structure 0.500 > 0.400', which no rule of the gate"),
        ((LOW, HIGH, "structure is fine"), "fails_gate", "'structure is fine', which no rule of the gate"),
        ((LOW, HIGH, "structure unmeasured"), "evidence_differs", "says structure 0.500, unmeasured, its score 0.500"),
        ((LOW, HIGH, "gmsd 0.100 <= 0.200"), "evidence_differs", "its evidence says gmsd 0.100, its score 0.400"),
    ],
)
def test_all_evidence_of_a_metric_must_agree(evidence: tuple[str, ...], reason: str, said: str) -> None:
    found = judged(TWO_SIDED, *evidence, structure=0.5, gmsd=0.4)
    assert [each for each, _ in found] == ([reason] if reason else [])
    assert all(said in text for _, text in found)


def test_without_a_score_evidence_must_agree_with_itself() -> None:
    assert judged(TWO_SIDED, LOW, HIGH) == []
    said = "its evidence says structure 0.500, 0.600, which contradicts itself"
    assert judged(TWO_SIDED, LOW, "structure 0.600 <= 0.800") == [("evidence_differs", said)]
    said = "its evidence says structure 0.500, its score nan"
    assert judged(TWO_SIDED, LOW, HIGH, structure=math.nan) == [("evidence_differs", said)]


def test_rules_for_measured_metrics_apply_if_a_score_exists() -> None:
    rule = 'vlm_fidelity = { min = 50, if_measured = true, reason = "vlm_unfaithful", why = "Where it was looked at." }'
    gate = GATE.replace("[gain.other]", f"{rule}\n[gain.other]")
    assert judged(gate, LOW, structure=0.5) == []
    assert judged(gate, LOW, structure=0.5, vlm_fidelity=math.nan) == []
    missing = [("no_evidence", "has no evidence of vlm_fidelity, which the gate asks for")]
    assert judged(gate, LOW, structure=0.5, vlm_fidelity=3.0) == missing
    assert judged(gate, LOW, "vlm_fidelity unmeasured", structure=0.5, vlm_fidelity=3.0) == missing
    assert judged(gate, LOW, "vlm_fidelity 60.000 >= 50.000", structure=0.5, vlm_fidelity=60.0) == []


CANDIDATE = make_pair(Store(), 0).candidate


@given(values=st.fixed_dictionaries({name: st.floats(-1, 2) | st.just(math.nan) for name in ("structure", "gmsd")}))
@settings(max_examples=200, deadline=None)
def test_validate_agrees_with_verdict(values: dict[str, float]) -> None:
    values = {name: float(np.float32(value)) for name, value in values.items()}
    for text in (TWO_SIDED, PEOPLED):
        gate = read_gate(text)
        for people in (None, Votes(keep=1, reject=0, unsure=0, reason="")):
            heard = {CANDIDATE.id: people} if people else None
            (said,) = verdict([CANDIDATE], {CANDIDATE.id: values}, {CANDIDATE.key: "rain"}, gate, people=heard)
            row = {"degradation": "rain", "degradations": ["rain"], "scores": values, "evidence": lines_of(said)}
            assert (list(evidence_faults(row, gate)) == []) == (said.decision == "keep"), said


def rows_of(root: Path) -> list[dict[str, Any]]:
    return [dict(row) for row in pq.read_table(root / "index/train.parquet").to_pylist()]


def test_an_invalid_gate(root: Path) -> None:
    change_manifest(root, lambda manifest: manifest.update(gate="[must]\nstructur = { min = 0.3 }\n"))
    [(reason, text)] = findings(root)
    assert reason == "bad_gate" and text.startswith("index/manifest.json: its gate cannot be read: index/manifest.json")


def test_an_inconsistent_manifest(root: Path) -> None:
    change_manifest(root, lambda manifest: manifest["splits"]["train"]["degradations"].update(snow=1))
    assert only(root, "wrong_count")[0] == (
        "index/manifest.json: train: 3 pairs, by shard 3, by degradation 4. Pack the release again."
    )


# --- whose gt it is -------------------------------------------------------------------------------------------------


def test_gts_of_two_pairs_exchanged(root: Path) -> None:
    def exchange(found: list[Member]) -> list[Member]:
        one, other = found[2][1], found[5][1]
        found[2], found[5] = (found[2][0], other), (found[5][0], one)
        return found

    change_shard(root, retar(exchange))
    one, other = keys(root)[:2]
    texts = only(root, "another_pair")
    assert len(texts) == 2
    assert texts[0].startswith(f"{NAME}: key {one}: its gt does not show what its lq shows (likeness ")
    assert f", but what the lq of {other} shows (" in texts[0] and texts[0].endswith(". Judge the pair again.")


def test_only_pairs_of_the_sample_match() -> None:
    pictures = [photograph(path.stem)[:512, :512] for path in sorted(SAMPLE.glob("*.jpg"))]
    shown = sketches([cells(picture) for picture in pictures])
    for change in (at_night, veiled, noisy, blurred):
        strength = {at_night: 0.12, veiled: 0.85, noisy: 40, blurred: 8}[change]
        worse = sketches([cells(change(picture, strength)) for picture in pictures])
        alike = shown @ worse.T
        own, others = np.diag(alike), alike[~np.eye(len(pictures), dtype=bool)]
        assert own.min() > MIN_LIKENESS + 0.1 and others.max() < MIN_LIKENESS - 0.03, (change, own.min(), others.max())
    even = np.full((64, 64, 3), 7, np.uint8)
    assert not sketches([cells(even), cells(even[:9, :5])]).any()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_gt(tmp_path: Path, value: int) -> None:
    root = make_dataset(tmp_path / "even", count=3, degradations=["rain"], test=0.0)
    swap_everywhere(root, lambda lq, gt: (lq, encode_png(np.full((70, 90, 3), value, np.uint8))))
    said = f"{NAME}: key {keys(root)[0]}: its gt does not show what its lq shows (likeness 0.00). Judge the pair again."
    assert findings(root) == [("another_pair", said)]


def test_two_flat_images_are_not_compared() -> None:
    even, shown = cells(np.full((64, 64, 3), 7, np.uint8)), cells(picture(1))
    assert find_mismatches(NAME, ["a", "b"], [even, shown], [even, shown]) == []
    assert [finding.key for finding in find_mismatches(NAME, ["a", "b"], [even, shown], [shown, even])] == ["a", "b"]


@pytest.fixture
def light(tmp_path: Path) -> Path:
    """Three pairs in one shard of JPEG."""
    return make_dataset(tmp_path / "light", count=3, degradations=["rain"], test=0.0, codec="jpeg")


def test_jpegs_swapped_in_shard_and_index(light: Path) -> None:
    key = keys(light)[0]
    swap_everywhere(light, lambda lq, gt: (gt, lq))
    found = findings(light)
    assert [reason for reason, _ in found] == ["swapped"]
    assert found[0][1].startswith(f"{NAME}: key {key}: byte ") and found[0][1].endswith(
        ": lq and gt are swapped. Pack the release again."
    )


def test_a_jpeg_of_another_pair_or_without_comment(light: Path) -> None:
    other = keys(light)[1]
    data = (light / NAME).read_bytes()
    (row,) = [row for row in rows_of(light) if row["key"] == other]
    stranger = data[row["gt_offset"] :][: row["gt_size"]]
    swap_everywhere(light, lambda lq, gt: (lq, stranger))
    [text] = only(light, "another_pair")
    assert f"a JPEG has the comment 'ggt-100k {other} gt' instead of 'ggt-100k {keys(light)[0]} gt'. " in text
    swap_everywhere(light, lambda lq, gt: (lq, encode_jpeg(picture(5))))
    [text] = only(light, "unmarked")
    assert f"a JPEG has the comment '' instead of 'ggt-100k {keys(light)[0]} gt'. " in text


def swap_everywhere(root: Path, change: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> None:
    """Other images for the first pair, and an index and a manifest that agree with them."""
    end = "jpg" if json.loads((root / ggt100k.MANIFEST).read_text())["codec"] == "jpeg" else "png"
    data = (root / NAME).read_bytes()
    parts, rows = [], rows_of(root)
    for number, row in enumerate(rows):
        at = {name: data[row[f"{name}_offset"] :][: row[f"{name}_size"]] for name in ("json", "lq", "gt")}
        if number == 0:
            at["lq"], at["gt"] = change(at["lq"], at["gt"])
        for name in ("json", "lq", "gt"):
            member = member_header(f"{row['key']}.{name if name == 'json' else f'{name}.{end}'}", len(at[name]))
            row[f"{name}_offset"] = sum(map(len, parts)) + len(member)
            row[f"{name}_size"] = len(at[name])
            if name != "json":
                row[f"{name}_bands"] = list(ggt100k.read_bands(at[name]).offsets)  # type: ignore[union-attr]
            parts += [member, at[name], bytes(-len(at[name]) % 512)]
    whole = b"".join(parts) + bytes(1024)
    whole += bytes(-len(whole) % tarfile.RECORDSIZE)
    (root / NAME).write_bytes(whole)
    change_shard(root, lambda _: whole)
    change_index(root, lambda _: rows)


# --- where it lies, how much of it ----------------------------------------------------------------------------------


def damaged(root: Path) -> None:
    change_shard(root, put(2, lambda png: png[:2000] + bytes([png[2000] ^ 1]) + png[2001:]))
    (root / "index/val.parquet").write_bytes(b"")


def test_findings_over_http_are_equal(root: Path) -> None:
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    with serve(root) as server:
        assert list(validate(server.url)) == []
        assert list(validate(server.url, quick=True)) == []
        assert server.sent < 3 * size
        damaged(root)
        assert [finding.reason for finding in validate(server.url)] == ["damaged_image"], "HTTP lists no folders"
        (root / NAME).unlink()
        assert [finding.reason for finding in validate(server.url)] == ["missing_file"]


def test_findings_in_memory_are_equal(root: Path) -> None:
    system = fsspec.filesystem("memory")
    damaged(root)
    system.put(str(root), "/validated", recursive=True)
    try:
        found = [(f.reason, str(f)) for f in validate("memory://validated", processes=2)]
        assert sorted(found) == sorted(findings(root))
        assert {reason for reason, _ in found} == {"damaged_image", "unknown_file"}
    finally:
        system.rm("/validated", recursive=True)


def test_quick_checks_everything_but_checksums_and_pixels(root: Path) -> None:
    assert list(validate(str(root), quick=True)) == []
    assert why_not_passed(root) != "", "a quick look passes nothing"
    good = (root / NAME).read_bytes()
    change_shard(root, put(2, lambda png: png[:5000] + bytes([png[5000] ^ 1]) + png[5001:]))
    assert list(validate(str(root), quick=True)) == []
    for change, reason in (
        (retar(swapped), "broken_pair"),
        (lambda data: data + bytes(512), "wrong_bytes"),
        (lambda data: b"y" + data[1:], "bad_header"),
        (put(0, lambda text: text.replace(b"CC0-1.0", b"CC0-2.0")), "json_differs"),
        (put(1, lambda png: encode_png(picture(4, 70, 80))), "wrong_bands"),
    ):
        (root / NAME).write_bytes(good)
        change_shard(root, change)  # type: ignore[arg-type]
        if reason == "wrong_bytes":
            change_manifest(root, lambda manifest: manifest["shards"][NAME].update(bytes=len(good)))
        assert reason in {finding.reason for finding in validate(str(root), quick=True)}


@pytest.mark.slow
def test_more_processes_give_equal_findings(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "many", count=8)
    change_shard(root, lambda data: data[:-512] + b"x" + bytes(511))
    change_shard(root, put(0, lambda text: b"?" + text[1:]), 1)
    alone = findings(root)
    done: list[int] = []
    together = [(f.reason, str(f)) for f in validate(str(root), processes=2, progress=done.append)]
    assert together == alone and {reason for reason, _ in alone} == {"trailing_bytes", "json_differs"}
    assert sum(done) == 8


# --- what has passed ------------------------------------------------------------------------------------------------


def test_a_pass_is_valid_for_exact_bytes(root: Path) -> None:
    again = f". Run: ggt100k validate {root}"
    assert why_not_passed(root) == f"{root}: has not passed validate{again}"
    assert findings(root) == []
    assert why_not_passed(root) == ""
    assert why_not_passed(Path(f"{root}/../{root.name}")) == ""
    for name in (NAME, "index/train.parquet"):
        path = root / name
        data, when = path.read_bytes(), path.stat().st_mtime_ns
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert why_not_passed(root) == f"{root}: {name} has changed since the release passed validate{again}"
        path.write_bytes(data)
        os.utime(path, ns=(when, when))
        assert why_not_passed(root) == ""
    (root / "README.md").write_text("what card makes of it")
    assert why_not_passed(root) == ""
    (root / "data/rain/more.tar").write_bytes(b"")
    assert why_not_passed(root) == f"{root}: data/rain/more.tar has changed since the release passed validate{again}"
    (root / "data/rain/more.tar").unlink()
    assert why_not_passed(root) == ""
    change_manifest(root, lambda manifest: manifest.update(dataset_version="1.0.1"))
    assert why_not_passed(root) == f"{root}: index/manifest.json has changed since the release passed validate{again}"


def another_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From here on the caches are those of another machine."""
    monkeypatch.setattr("ggt_tools.stages.validate.passing.constants.HF_HOME", str(tmp_path / "another-home"))


def copied(root: Path, place: Path) -> Path:
    return Path(shutil.copytree(root, place / "copy")).resolve()


def archived(root: Path, place: Path) -> Path:
    """Packed and unpacked: of whole seconds, with other inodes."""
    with tarfile.open(place / "release.tar", "w") as tar:
        tar.add(root, "release")
    with tarfile.open(place / "release.tar") as tar:
        tar.extractall(place, filter="data")
    return (place / "release").resolve()


def moved(root: Path, place: Path) -> Path:
    return root.rename(place / "moved").resolve()


@pytest.mark.parametrize("travel", [lambda root, place: root, copied, archived, moved])
def test_a_pass_moves_with_the_folder(travel: Any, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(root) == []
    place = tmp_path / "place"
    place.mkdir()
    there = travel(root, place)
    another_home(monkeypatch, tmp_path)
    assert why_not_passed(there) == ""
    shard = there / NAME
    data = shard.read_bytes()
    for bad in (data[:-1] + bytes([data[-1] ^ 1]), data + bytes(512), b""):
        shard.write_bytes(bad)
        assert why_not_passed(there).startswith(f"{there}: {NAME} has changed since the release passed validate")
    shard.write_bytes(data)
    assert why_not_passed(there) == ""
    (there / "index" / "more.parquet").write_bytes(b"")
    assert "index/more.parquet has changed" in why_not_passed(there)
    (there / "index" / "more.parquet").unlink()
    (there / NOTE).unlink()
    assert "has not passed" in why_not_passed(there)


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"rules": 3}', b'{"rules": 3, "state": 7}', b"\xff"])
def test_a_damaged_pass_is_invalid(note: bytes, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(root) == []
    another_home(monkeypatch, tmp_path)
    (root / NOTE).write_bytes(note)
    assert "has not passed" in why_not_passed(root)


def test_a_pass_of_another_release_is_invalid(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(root) == []
    another_home(monkeypatch, tmp_path)
    change_manifest(root, lambda manifest: manifest.update(dataset_version="1.0.1"))
    assert "index/manifest.json has changed" in why_not_passed(root)
    (root / NOTE).write_text('{"rules": 3, "state": {}}')
    assert "has changed" in why_not_passed(root)


def test_a_finding_revokes_an_earlier_pass(root: Path) -> None:
    for quick in (False, True):
        assert findings(root) == [] and why_not_passed(root) == ""
        (root / "LICENSE").write_text("  ")
        assert why_not_passed(root) == "", "what lies beside the release is not among the bytes that are told apart"
        next(validate(str(root), quick=quick))  # and whoever asked for the findings stops at the first
        assert "has not passed" in why_not_passed(root)
        (root / "LICENSE").unlink()
    assert findings(root) == [] and why_not_passed(root) == ""
    manifest = (root / ggt100k.MANIFEST).read_bytes()
    (root / ggt100k.MANIFEST).write_bytes(b"?")
    assert [finding.reason for finding in validate(str(root))] == ["bad_manifest"]
    (root / ggt100k.MANIFEST).write_bytes(manifest)
    assert "has not passed" in why_not_passed(root)


def test_a_changed_file_time_or_a_link_does_not_fake_a_pass(root: Path, tmp_path: Path) -> None:
    assert findings(root) == [] and why_not_passed(root) == ""
    cluster = Cluster(Local(()), Tasks(str(tmp_path / "tasks")))
    told: list[int] = []

    def interrupt(done: int) -> None:
        told.append(done)
        if sum(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(validate(str(root), cluster=cluster, progress=interrupt))
    assert list((tmp_path / "tasks").rglob("*.parquet")), "what its tasks found is kept"
    path = root / NAME
    data, about = path.read_bytes(), path.stat()
    (tmp_path / "link").hardlink_to(path)
    assert path.stat().st_ctime_ns != about.st_ctime_ns and why_not_passed(root) == ""
    with path.open("r+b") as file:
        file.seek(len(data) // 2)
        file.write(bytes([data[len(data) // 2] ^ 1]))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert why_not_passed(root).startswith(f"{root}: {NAME} has changed since the release passed validate")
    assert "wrong_hash" in {finding.reason for finding in validate(str(root), cluster=cluster)}


def test_a_pass_of_older_rules_is_invalid(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules were added since those of number 2."""
    with monkeypatch.context() as older:
        older.setattr("ggt_tools.stages.validate.passing.RULES", 2)
        assert findings(root) == [] and why_not_passed(root) == ""
    assert why_not_passed(root) == f"{root}: has passed older rules of validate. Run: ggt100k validate {root}"


def test_findings_and_concurrent_changes_prevent_a_pass(root: Path) -> None:
    good = (root / NAME).read_bytes()
    (root / NAME).write_bytes(good + bytes(10240))
    assert findings(root) != [] and "has not passed" in why_not_passed(root)
    (root / NAME).write_bytes(good)
    changing = validate(str(root), progress=lambda done: (root / NAME).touch())
    assert list(changing) == [] and "has not passed" in why_not_passed(root)


@pytest.mark.parametrize("named", [False, True])
def test_two_runs_with_one_task_folder_exclude_each_other(root: Path, tmp_path: Path, capsys: Any, named: bool) -> None:
    tasks = tmp_path / "tasks" if named else root.with_name(f"{root.name}.tasks")
    argv = ["validate", str(root), "--engine", "slurm", *(["--tasks", str(tasks)] if named else [])]
    with lock_tasks(str(tasks), str(root)):
        assert main(argv) == 2
        said = (
            f"{tasks}: process {os.getpid()} (this very process) validates {root} and has its tasks in this folder. "
            "Wait until it ends, or give this run a folder of its own with --tasks."
        )
        assert capsys.readouterr().err == f"ggt100k validate: {said}\n"
        with lock_tasks(str(tasks), f"{root}2"):
            assert len(list(tasks.glob("*.lock"))) == 2
    assert list(tasks.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert main([*argv, "--tasks", str(tmp_path / "file/x")]) == 2
    assert "file/x: cannot be written: " in capsys.readouterr().err


# --- against the ledger ---------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make_workspace(tmp_path / "workspace", 6, ["rain"])


def packed(workspace: Path, out: Path, *more: str) -> Path:
    assert main(["pack", str(workspace), str(out), "--test", "0.2", *more]) == 0
    return out


def against(root: Path, workspace: Path) -> list[tuple[str, str]]:
    return [(finding.reason, str(finding)) for finding in validate(str(root), against=workspace)]


def test_a_release_agrees_with_its_ledger(workspace: Path, tmp_path: Path, capsys: Any) -> None:
    out = packed(workspace, tmp_path / "out")
    assert main(["validate", str(out), "--against", str(workspace / "ledger.sqlite")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "validate: 6 pairs, 0 findings"
    with pytest.raises(ConfigError, match=r": holds no ledger\.sqlite\. Name the folder of a workspace\."):
        against(out, tmp_path)


def test_differences_from_the_ledger_are_found(workspace: Path, tmp_path: Path) -> None:
    out = packed(workspace, tmp_path / "out")
    with Ledger(workspace) as ledger:
        (test,) = ledger.all(HeldOutPair)
        pairs = [pair for pair in ledger.pairs() if pair.photo.key != test.key]
        for_all = dict(gate="0" * 16, stage="score", reason="another_scene", evidence=())
        now = "2026-01-01T00:00:00Z"
        ledger.add(Withdrawal(key=pairs[0].photo.key, reason="the author asks", withdrawn_by="Ann", created=now))
        rejected = Verdict(candidate=pairs[1].candidate.id, decision="reject", **for_all)  # type: ignore[arg-type]
        judged = Verdict(
            candidate=pairs[2].candidate.id,
            gate="0" * 16,
            decision="keep",
            stage="",
            reason="",
            evidence=evidence("other"),
        )
        ledger.judge("0" * 16, GATE, [rejected, judged])
        ledger.add(HeldOutPair(key=pairs[3].photo.key, version="1.0.0"))
        moved = ledger.put_image(encode_png(picture(5)))
        aligned = Aligned(candidate=pairs[4].candidate.id, version="2", image=moved, reason="")
        ledger.add(aligned)
    at = NAME
    assert sorted(against(out, workspace)) == sorted(
        [
            ("withdrawn", f"{at}: key {pairs[0].photo.key}: is withdrawn: the author asks. Pack the release again."),
            ("not_approved", f"{at}: key {pairs[1].photo.key}: the gate does not keep it. Pack the release again."),
            (
                "ledger_differs",
                f"{at}: key {pairs[2].photo.key}: the ledger has other values of evidence. Pack the release again.",
            ),
            (
                "both_splits",
                f"{at}: key {pairs[3].photo.key}: the ledger has it in the test split. Pack the release again.",
            ),
            # its scores went with the pixels that they were measured on
            (
                "ledger_differs",
                f"{at}: key {pairs[4].photo.key}: the ledger has other values of scores. Pack the release again.",
            ),
            *[
                (reason, text)
                for reason, text in against(out, workspace)
                if reason == "other_image" and f"key {pairs[4].photo.key}: byte " in text
            ],
        ]
    )
    assert [reason for reason, _ in against(out, workspace)].count("other_image") == 1
    with Ledger(tmp_path / "empty", create=True) as ledger:
        ledger.judge("0" * 16, GATE, [dataclasses.replace(pairs[0].verdict, candidate="none")])
    assert {reason for reason, _ in against(out, tmp_path / "empty")} == {"not_in_ledger"}


def test_a_set_that_must_not_be_redistributed_is_in_the_manifest(workspace: Path, tmp_path: Path) -> None:
    manifest = json.loads((packed(workspace, tmp_path / "free") / ggt100k.MANIFEST).read_text())
    assert "local_only" not in manifest
    with Ledger(workspace) as ledger:
        pair = next(ledger.pairs())
        adopted = dict(output="1.png", width=90, height=70, reference="", local_only="CC-BY-NC-ND-4.0")
        ledger.add(Adopted(candidate=pair.candidate.id, key=pair.photo.key, set="x/rain", **adopted))  # type: ignore[arg-type]
    said = (
        "must stay on this machine (CC-BY-NC-ND-4.0 of set x/rain), and the manifest does not say so. "
        "Pack the release again."
    )
    ((reason, told),) = against(tmp_path / "free", workspace)  # packed before that was known
    assert reason == "must_stay" and told.endswith(f": key {pair.photo.key}: {said}")
    out = packed(workspace, tmp_path / "out")
    assert against(out, workspace) == []
    said = "CC-BY-NC-ND-4.0 of set x/rain"
    assert json.loads((out / ggt100k.MANIFEST).read_text())["local_only"] == said
    version = ("--version", "1.1.0", "--base", str(out))
    assert (
        json.loads((packed(workspace, tmp_path / "2", *version) / ggt100k.MANIFEST).read_text())["local_only"] == said
    )
    with Ledger(workspace) as ledger:
        ledger.add(Withdrawal(key=pair.photo.key, reason="asked", withdrawn_by="Ann", created="2026-01-01T00:00:00Z"))
    last = packed(workspace, tmp_path / "3", *version)
    assert "local_only" not in json.loads((last / ggt100k.MANIFEST).read_text()), "its last such pair is gone"
    assert against(last, workspace) == []
    # what only the base knows may be what must stay
    store, config = Store(), PackConfig(version="1.1.0", base=str(out), test=0.2)
    pack(make_pairs(store, 3, ["rain"]), store, tmp_path / "4", config, gate=GATE)
    assert json.loads((tmp_path / "4" / ggt100k.MANIFEST).read_text())["local_only"] == said


@pytest.mark.parametrize(
    ("licence", "free"),
    [
        ("CC-BY-ND-4.0", False),
        ("CC BY-NC-ND 2.0", False),
        ("https://creativecommons.org/licenses/by-nd/4.0/", False),
        ("Attribution-NoDerivs", False),
        ("All rights reserved", False),
        ("(c) 2024 Ann, all rights reserved.", False),
        ("LicenseRef-unstated", False),
        ("CC-BY-NC-SA-4.0", True),
        ("LicenseRef-public-domain", True),
        ("Land of Andalusia open licence", True),
    ],
)
def test_a_licence_against_redistribution_makes_a_release_local(tmp_path: Path, licence: str, free: bool) -> None:
    store = Store()
    pairs = [*make_pairs(store, 2, ["rain"]), make_pair(store, 2, licence=licence)]
    out = tmp_path / "out"
    why = pack(pairs, store, out, PackConfig(test=0), gate=GATE).get("local_only", "")
    assert (why == "") == free and (free or licence in why or why == "no licence was stated")
    path = out / ggt100k.MANIFEST
    manifest = json.loads(path.read_text())
    manifest.pop("local_only", "")
    path.write_text(json.dumps(manifest))
    found = [] if free else [("must_stay", pairs[2].photo.key)]
    assert [(finding.reason, finding.key) for finding in validate(str(out))] == found
    assert ("has not passed" in why_not_passed(out)) != free


def test_the_verb_packs_the_next_version_of_the_ledger(workspace: Path, tmp_path: Path, capsys: Any) -> None:
    out = packed(workspace, tmp_path / "out", "--shard-bytes", "60000")
    with Ledger(workspace) as ledger:
        (held,) = ledger.all(HeldOutPair)
        key = next(pair.photo.key for pair in ledger.pairs() if pair.photo.key != held.key)
        ledger.add(Withdrawal(key=key, reason="the author asks", withdrawn_by="Ann", created="2026-01-01T00:00:00Z"))
        more = make_pair(ledger.images, 9)
        aligned = Aligned(candidate=more.candidate.id, version="1", image=more.image, reason="")
        ledger.add(more.photo, more.candidate, aligned, *more.scores)
        ledger.judge("0" * 16, GATE, [more.verdict])
    capsys.readouterr()
    argv = ["pack", str(workspace), str(out), "--version", "1.1.0", "--base", str(out), "--shard-bytes", "60000"]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main([*argv, "--dry-run"]) == 0
    said = f"would pack 6 pairs into {out}: 1 new, 0 changed, 1 gone, 5 unchanged; 2 shards written, 3 unchanged\n"
    assert capsys.readouterr().out == said
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert main(argv) == 0
    assert capsys.readouterr().out.splitlines() == [
        "pack: 5 train, 1 test, 5 shards",
        "since the base: 1 new, 0 changed, 1 gone, 5 unchanged, 2 shards written, 3 shards unchanged",
    ]
    assert against(out, workspace) == []
    with Ledger(workspace) as ledger:
        assert list(ledger.all(HeldOutPair)) == [held]


# --- the stage ------------------------------------------------------------------------------------------------------


def test_the_stage_reports_each_finding_once(root: Path, tmp_path: Path) -> None:
    (root / "data" / "stray.txt").write_text("x")
    told: list[Finding] = []
    config = ValidateConfig(quick=True, findings=tmp_path / "findings.jsonl")
    validation = run(root, config, on_finding=told.append)
    assert tuple(told) == validation.findings and not validation.is_valid
    assert validation.summary.count("found", "unknown_file") == 1
    assert validation.summary.is_failed and validation.summary.counts["findings"] == 1
    (line,) = (tmp_path / "findings.jsonl").read_text().splitlines()
    assert json.loads(line) == to_row(told[0])
    (root / "data" / "stray.txt").unlink()
    validation = run(root, ValidateConfig())
    assert validation.is_valid and not validation.summary.is_failed and why_not_passed(root) == ""


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("band 0: the checksum is wrong. Download the shard again.", ("band 0: the checksum is wrong", DOWNLOAD_SHARD)),
        ("it is 7; it must be 8. Align the candidate.", ("it is 7; it must be 8", "Align the candidate.")),
        ("it is 7. Align the candidate.", ("it is 7", "Align the candidate.")),
        ("it is 7.", ("it is 7", PACK)),
    ],
)
def test_the_message_of_an_error_is_divided_into_detail_and_fix(message: str, parts: tuple[str, str]) -> None:
    assert split_message(message) == parts
