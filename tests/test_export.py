"""export: other projects' readers read what the release holds; kills, other exports, hostile keys."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import signal
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ggt100k
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.events import Recorded
from ggt_tools.stages.export import FORMATS, ExportConfig, _credits, export, parse_where
from ggt_tools.stages.export.run import run
from ggt_tools.stages.pack import PackConfig, pack
from ggt_tools.workspace import locks

from .making import GATE, Store, change_shard, make_dataset, make_pair
from .test_cli import files, ggt, well


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("release") / "ggt-100k", count=8)


def items(root: Path, split: str = "train", **options: Any) -> dict[str, dict[str, Any]]:
    return {item["key"]: item for item in ggt100k.PairDataset(root, split, **options)}


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def read_basicsr(folder: Path, **options: Any) -> dict[str, dict[str, Any]]:
    """What BasicSR's own reader gives, as uint8 RGB by key."""
    pytest.importorskip("torch")
    module = pytest.importorskip("basicsr.data.paired_image_dataset")
    asked = {"io_backend": {"type": "disk"}, "phase": "val", "scale": 1} | options
    end = ".lmdb" if asked["io_backend"]["type"] == "lmdb" else ""
    dataset = module.PairedImageDataset(
        asked | {"dataroot_lq": str(folder / f"lq{end}"), "dataroot_gt": str(folder / f"gt{end}")}
    )
    found = {}
    for pair in (dataset[number] for number in range(len(dataset))):
        assert Path(pair["lq_path"]).stem == Path(pair["gt_path"]).stem
        found[Path(pair["lq_path"]).stem] = {
            side: np.rint(pair[side].numpy().transpose(1, 2, 0) * 255).astype(np.uint8) for side in ("lq", "gt")
        }
    return found


def same(found: dict[str, dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> None:
    assert sorted(found) == sorted(wanted) and wanted
    for key, item in wanted.items():
        assert np.array_equal(found[key]["lq"], item["lq"]) and np.array_equal(found[key]["gt"], item["gt"]), key
        assert not np.array_equal(item["lq"], item["gt"])


# --- each reader ------------------------------------------------------------------------------------------------------


def test_basicsr_reads_its_folders_and_its_list(root: Path, tmp_path: Path) -> None:
    done = export(root, tmp_path / "x", ExportConfig(to="basicsr"))
    assert done == {split: len(items(root, split)) for split in ggt100k.SPLITS}
    listed = tmp_path / "x" / "meta_info_train.txt"
    assert listed.read_text().splitlines() == [f"{key}.png (70,90,3)" for key in items(root)]
    same(read_basicsr(tmp_path / "x" / "train"), items(root))
    same(
        read_basicsr(tmp_path / "x" / "test", meta_info_file=str(tmp_path / "x" / "meta_info_test.txt")),
        items(root, "test"),
    )


def test_basicsr_reads_its_lmdb(root: Path, tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    export(root, tmp_path / "x", ExportConfig(to="lmdb"))
    meta = tmp_path / "x" / "train" / "lq.lmdb" / "meta_info.txt"
    assert meta.read_text().splitlines() == [f"{key}.png (70,90,3) 1" for key in items(root)]
    same(read_basicsr(tmp_path / "x" / "train", io_backend={"type": "lmdb"}), items(root))


def test_datasets_reads_the_imagefolder(root: Path, tmp_path: Path) -> None:
    import datasets

    export(root, tmp_path / "x", ExportConfig(to="imagefolder"))
    read = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "x"))
    assert set(read) == {"train", "test"}
    for split in read:
        found = {
            row["key"]: {side: np.asarray(row[side].convert("RGB")) for side in ("lq", "gt")} for row in read[split]
        }
        same(found, items(root, split))
    row = next(row for row in read["train"] if row["score_gmsd"] is not None)
    assert row["score_gmsd"] == 0.25 and row["licence"] == "CC0-1.0" and row["author"] == "Zoë «the author»"
    assert any(row["score_gmsd"] is None for row in read["train"])


def test_datasets_reads_the_parquet(root: Path, tmp_path: Path) -> None:
    import datasets

    export(root, tmp_path / "x", ExportConfig(to="parquet", file_bytes=30_000))
    names = sorted(path.name for path in (tmp_path / "x" / "data").iterdir())
    assert len([name for name in names if name.startswith("train-")]) > 1
    assert all("-of-" in name for name in names)
    read = datasets.load_dataset(str(tmp_path / "x"), split="train")
    assert isinstance(read.features["lq"], datasets.Image) and isinstance(read.features["gt"], datasets.Image)
    same({row["key"]: {side: np.asarray(row[side]) for side in ("lq", "gt")} for row in read}, items(root))
    table = pq.read_table(tmp_path / "x" / "data" / names[0])
    key = table["key"][0].as_py()
    assert table["lq"][0].as_py()["bytes"] == items(root, "test", decode=False)[key]["lq"]
    assert not any(score is None for score in table["scores"].combine_chunks().field("gmsd").to_pylist())


def test_datasets_and_webdataset_read_the_tars(root: Path, tmp_path: Path) -> None:
    import datasets
    import webdataset

    export(root, tmp_path / "x", ExportConfig(to="webdataset", file_bytes=30_000))
    tars = sorted(str(path) for path in (tmp_path / "x").glob("train-*.tar"))
    assert len(tars) > 1
    read = datasets.load_dataset("webdataset", data_files={"train": tars}, split="train")
    same({row["__key__"]: {side: np.asarray(row[f"{side}.png"]) for side in ("lq", "gt")} for row in read}, items(root))
    plain = webdataset.WebDataset(tars, shardshuffle=False)
    found = {row["__key__"]: {side: pixels(row[f"{side}.png"]) for side in ("lq", "gt")} for row in plain}
    same(found, items(root))
    with tarfile.open(tars[0]) as tar:
        first = tar.getmembers()[:3]
        assert [member.name.partition(".")[2] for member in first] == ["json", "lq.png", "gt.png"]
        facts = json.load(tar.extractfile(first[0]))  # type: ignore[arg-type]
        assert facts["key"] == first[0].name.partition(".")[0] and facts["degradation"] == "rain"


def test_adopt_reads_the_pairs_and_the_imagefolder_back(tmp_path: Path) -> None:
    """Of the sample, since photographs must show something: its own gates would refuse the small waves."""
    where = parse_where(["degradation=haze"])
    sample = ggt100k.sample_folder() / "packed"
    adopting = ("--restorer", "m", "--licence", "CC0-1.0", "--class", "haze", "--dry-run")
    for to, more in (("pairs", ("--suffixes", "_lq,_gt")), ("imagefolder", ())):
        export(sample, tmp_path / to, ExportConfig(to=to, where=where, splits=("train",)))
        said = well("adopt", "mine", tmp_path / "w", *adopting, "--pairs", tmp_path / to / "train", *more)
        keys = [row["key"] for row in ggt100k.index(sample, where=where, columns=["key"]).to_pylist()]
        assert f"would adopt {len(keys)} pairs" in said and keys and all(key in said for key in keys)


def test_the_light_flavour(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "ggt-100k", count=4, codec="jpeg")
    export(root, tmp_path / "x", ExportConfig(to="basicsr", splits=("train",)))
    same(read_basicsr(tmp_path / "x" / "train"), {
        key: {side: pixels(item[side]) for side in ("lq", "gt")} for key, item in items(root, decode=False).items()
    })  # fmt: skip
    assert all(path.suffix == ".jpg" for path in (tmp_path / "x" / "train" / "lq").iterdir())


# --- what is left of it, and what goes along --------------------------------------------------------------------------


@pytest.mark.parametrize("to", FORMATS)
def test_every_layout_takes_where_and_gives_credit(to: str, root: Path, tmp_path: Path) -> None:
    if to == "lmdb":
        pytest.importorskip("lmdb")
    where = parse_where(["degradation=rain", "scores.structure<=0.503"])
    wanted = items(root, where=where)
    assert 0 < len(wanted) < len(items(root))
    done = export(root, tmp_path / "x", ExportConfig(to=to, where=where, splits=("train",)))
    assert done == {"train": len(wanted)}
    text = b"".join(data for data in files(tmp_path / "x").values())
    for key in items(root):
        assert (key.encode() in text or any(key in name for name in files(tmp_path / "x"))) == (key in wanted)
    with (tmp_path / "x" / "credits.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["key"] for row in rows] == list(wanted)
    assert {(row["licence"], row["author"], row["split"]) for row in rows} == {("CC0-1.0", "Zoë «the author»", "train")}
    about = json.loads((tmp_path / "x" / "export.json").read_text())
    assert about["done"] and about["pairs"] == done and about["where"]["degradation"] == ["rain"]


@pytest.mark.parametrize(
    ("clauses", "where"),
    [
        ([], None),
        (["degradation=rain, snow"], {"degradation": ["rain", "snow"]}),
        (["scores.structure>=0.5", "scores.structure<=0.9"], {"scores.structure": (0.5, 0.9)}),
        (["height>=512", "round=0"], {"height": (512, None), "round": ["0"]}),
    ],
)
def test_where_conditions_are_parsed(clauses: list[str], where: dict[str, Any] | None) -> None:
    assert parse_where(clauses) == where


@pytest.mark.parametrize(
    ("clauses", "text"),
    [
        (["rain"], "--where rain: cannot be read. Write COLUMN=VALUE[,VALUE], COLUMN>=NUMBER or COLUMN<=NUMBER."),
        (["height>=tall"], "--where height>=tall: 'tall' is not a number. Write one, for example 0.5."),
        (
            ["a=1", "a=2"],
            "--where a=2: there is another condition on a. Write all its values in one condition, with commas between "
            "them.",
        ),
        (["a=1", "a>=2"], "--where a>=2: another condition gives values of a. Give either values or a bound."),
    ],
)
def test_wrong_where_conditions_are_errors(clauses: list[str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_where(clauses)
    assert str(caught.value) == text


def test_the_command(root: Path, tmp_path: Path) -> None:
    argv = ("export", root, "--to", "pairs", "--out", tmp_path / "x", "--where", "degradation=snow")
    counts = {split: len(items(root, split, where={"degradation": "snow"})) for split in ggt100k.SPLITS}
    said = well(*argv, "--dry-run")
    assert said.startswith(f"would export {sum(counts.values())} pairs, ") and not (tmp_path / "x").exists()
    assert well(*argv) == f"export: {counts['train']} train, {counts['test']} test\n"
    before = files(tmp_path / "x")
    assert well(*argv) == f"export: {counts['train']} train, {counts['test']} test\n"
    assert files(tmp_path / "x") == before
    done = ggt(*argv[:-1], "degradation=haze")
    assert done.code == 2 and "nothing is left of" in done.err
    done = ggt(*argv[:-1], "degradation=rain")
    assert done.err == (
        f"ggt100k export: {tmp_path / 'x'}: holds another export, or an export of another release. Name a new folder.\n"
    )
    assert ggt("export", root, "--to", "hdf5", "--out", tmp_path / "y").err == (
        f"ggt100k export: --to hdf5: is not a layout. Give one of {', '.join(sorted([*FORMATS, 'preference']))}.\n"
    )
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "mine.txt").write_text("mine")
    assert (
        ggt(*argv[:5], tmp_path / "z").err
        == f"ggt100k export: {tmp_path / 'z'}: holds other files. Name a new folder.\n"
    )


def test_a_local_only_release_is_reported(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "ggt-100k", count=4)
    path = root / ggt100k.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"local_only": "no licence was stated"}))
    done = ggt("export", root, "--to", "pairs", "--out", tmp_path / "x")
    assert done.code == 0
    assert done.err == f"ggt100k export: {tmp_path / 'x'}: must stay on this machine too: no licence was stated\n"
    assert json.loads((tmp_path / "x" / "export.json").read_text())["local_only"] == "no licence was stated"


def test_no_cell_of_the_credits_is_a_formula(tmp_path: Path) -> None:
    store = Store()
    authors = ["=1+1", "+1", "-1", "@SUM(1)", "\t=1+1", "\n=1+1", "Ann = Zoë", "'=1"]
    pairs = [make_pair(store, number, author=author) for number, author in enumerate(authors)]
    pack(pairs, store, tmp_path / "r", PackConfig(test=0), gate=GATE)
    export(tmp_path / "r", tmp_path / "x", ExportConfig(to="pairs"))
    with (tmp_path / "x" / "credits.csv").open(newline="", encoding="utf-8") as file:
        said = {row["key"]: row["author"] for row in csv.DictReader(file)}
    wanted = [*(f"'{author}" for author in authors[:6]), *authors[6:]]
    assert said == {pair.photo.key: author for pair, author in zip(pairs, wanted, strict=True)}
    names = ("key", "licence", "author", "source", "source_name", "url", "restorer")
    assert _credits([("train", dict.fromkeys(names, "\r=1"))]).count("'\r=1") == 7, (
        "of no pair, but of an index from outside"
    )


# --- harm -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["../../../escaped", "/tmp/escaped", "0123456789abcdef/../x", "aux\n"])
def test_a_hostile_key_cannot_leave_the_folder(key: str, tmp_path: Path) -> None:
    """The index of a release from elsewhere, with its checksum put right."""
    import hashlib

    root = make_dataset(tmp_path / "a" / "ggt-100k", count=4)
    path = root / "index" / "train.parquet"
    table = pq.read_table(path)
    names = table["key"].to_pylist()
    pq.write_table(table.set_column(0, "key", [[key, *names[1:]]]), path)
    manifest = json.loads((root / ggt100k.MANIFEST).read_text())
    data = path.read_bytes()
    manifest["splits"]["train"]["index"] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (root / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    before = set(tmp_path.rglob("*"))
    for to in FORMATS:
        with pytest.raises(ShardError, match=r"is not a key\. Do not use this release"):
            export(root, tmp_path / "a" / "out", ExportConfig(to=to))
    assert set(tmp_path.rglob("*")) == before and not Path("/tmp/escaped.png").exists()


def test_a_damaged_pair_is_never_written(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "ggt-100k", count=6, degradations=("rain",))
    rows = ggt100k.index(root, columns=["key", "gt_offset", "gt_size"]).to_pylist()
    hurt = rows[2]

    def damage(data: bytes) -> bytes:
        at = hurt["gt_offset"] + hurt["gt_size"] // 2
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]

    change_shard(
        root,
        damage,
        which=[n for n in sorted(json.loads((root / ggt100k.MANIFEST).read_text())["shards"])].index(
            "data/rain/train-00000.tar"
        ),
    )
    for to in ("basicsr", "webdataset", "parquet"):
        out = tmp_path / to
        with pytest.raises(ShardError, match=f"key {hurt['key']}: gt: "):
            export(root, out, ExportConfig(to=to, splits=("train",)))
        assert not any(hurt["key"] in name for name in files(out))
        assert not any(name.endswith((".tar", ".parquet")) for name in files(out))


def _slowly(root: Path, out: Path, to: str) -> None:
    """An export that comes to its second pair, and waits there to be killed."""
    seen = 0

    def wait(done: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 2:
            (out / "waits").touch()
            time.sleep(60)

    export(root, out, ExportConfig(to=to, file_bytes=30_000), progress=wait)


@pytest.mark.parametrize("to", ["basicsr", "lmdb", "webdataset"])
def test_a_killed_export_continues_to_the_same_result(to: str, root: Path, tmp_path: Path) -> None:
    if to == "lmdb":
        pytest.importorskip("lmdb")
    whole, out = tmp_path / "whole", tmp_path / "x"
    export(root, whole, ExportConfig(to=to, file_bytes=30_000))
    process = multiprocessing.get_context("fork").Process(target=_slowly, args=(root, out, to))
    process.start()
    deadline = time.monotonic() + 60
    while not (out / "waits").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (out / "waits").unlink()
    there = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in (".png", ".tar")}
    (out / "leftover.part").write_bytes(b"half")  # what dies in the middle of a file leaves
    export(root, out, ExportConfig(to=to, file_bytes=30_000))
    (out / "leftover.part").unlink()
    mine, others = files(out), files(whole)
    for name in list(mine):
        if name.endswith(".mdb"):  # its pages depend on what was committed when
            del mine[name], others[name]
    assert mine == others
    assert all(path.stat().st_mtime_ns == then for path, then in there.items())
    if to == "lmdb":
        same(read_basicsr(out / "train", io_backend={"type": "lmdb"}), items(root))
    else:
        assert there


@pytest.mark.parametrize("to", list(FORMATS))
def test_missing_and_wrong_files_are_written_again(to: str, root: Path, tmp_path: Path) -> None:
    """Of a finished export a missing and a shortened file; of one that was killed a wrong one of the right size."""
    if to == "lmdb":
        pytest.importorskip("lmdb")
    out, config = tmp_path / "x", ExportConfig(to=to, file_bytes=30_000, splits=("train",))
    export(root, out, config)
    whole = files(out)
    (one, *_, another) = sorted(
        out.rglob({"webdataset": "*.tar", "parquet": "*.parquet", "lmdb": "data.mdb"}.get(to, "*.png"))
    )
    lists = [path for path in out.rglob("*") if path.suffix in (".txt", ".csv", ".jsonl")]
    for path in (one, *lists):
        path.unlink()
    another.write_bytes(another.read_bytes()[:100])
    export(root, out, config)
    held(to, out, whole, root)
    about = json.loads((out / "export.json").read_text())
    (out / "export.json").write_text(json.dumps({k: v for k, v in about.items() if k not in ("done", "files")}))
    if to != "lmdb":
        one.write_bytes(bytes(one.stat().st_size))
    else:
        import lmdb

        with lmdb.open(str(one.parent)) as base, base.begin(write=True) as writing:
            key = ggt100k.index(root, columns=["key"])["key"][0].as_py().encode()
            writing.put(key, bytes(len(writing.get(key))))
    export(root, out, config)
    held(to, out, whole, root)


def held(to: str, out: Path, whole: dict[str, bytes], root: Path) -> None:
    if to == "lmdb":  # its pages depend on what was committed when
        same(read_basicsr(out / "train", io_backend={"type": "lmdb"}), items(root))
        names = [name for name in whole if not name.endswith((".mdb", "export.json"))]
    else:
        names = list(whole)
    found = files(out)
    assert set(found) == set(whole) and all(found[name] == whole[name] for name in names)


# --- the stage --------------------------------------------------------------------------------------------------------


def test_the_stage_plans_warns_and_counts(tmp_path: Path) -> None:
    root = make_dataset(tmp_path / "ggt-100k", count=4)
    path = root / ggt100k.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"local_only": "no licence was stated"}))
    counts = {"train": len(items(root))}
    planned = run(root, tmp_path / "x", ExportConfig(to="pairs", dry_run=True))
    assert planned.counts == {} and len(planned.plan) == 1 and not (tmp_path / "x").exists()
    events = Recorded()
    summary = run(str(root), tmp_path / "x", ExportConfig(to="pairs"), events=events)
    assert (summary.counts, summary.paths) == (counts, (str(tmp_path / "x"),))
    assert len(events.warnings) == 1 and events.warnings[0].endswith(": no licence was stated")


def test_two_exports_to_one_folder_at_a_time(tmp_path: Path) -> None:
    config = ExportConfig(to="pairs", splits=("test",))
    with locks.held(tmp_path / ".out.lock", ""), pytest.raises(ConfigError) as caught:
        run("sample", tmp_path / "out", config)
    assert str(caught.value).startswith(f"{tmp_path / 'out'}: process {os.getpid()} (this very process) exports to it.")
    assert not (tmp_path / "out").exists()
