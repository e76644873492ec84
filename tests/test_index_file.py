"""The index is opened with the columns that are needed, and each column is decoded once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import ggt100k
from ggt_format import index_file
from ggt_format.index_file import needed_columns, open_index
from ggt_format.roots import open_root
from ggt_format.schema import index_schema

from .making import make_dataset


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(index_file, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(index_file, "_COLUMNS", {})
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("index") / "out", count=6, test=0)


def kept(cache: Path) -> set[str]:
    return {path.stem.rpartition("-")[2] for path in cache.glob("*.arrow")}


def test_only_requested_columns_are_decoded(root: Path, cache: Path) -> None:
    table = open_index(open_root(str(root)), "train", ["shard", "key"])
    assert table.column_names == ["key", "shard"] and kept(cache) == {"key", "shard"}
    open_index(open_root(str(root)), "train", ["key", "scores"])
    assert kept(cache) == {"key", "shard", "scores"}
    whole = open_index(open_root(str(root)), "train")
    # as text, since NaN does not equal NaN
    assert repr(whole.to_pylist()) == repr(pq.read_table(root / "index/train.parquet").to_pylist())
    assert kept(cache) == set(whole.column_names)
    assert not list(cache.glob("*.part"))


def test_a_reader_of_pairs_opens_neither_prompts_nor_bands(root: Path, cache: Path) -> None:
    ggt100k.PairDataset(root, crop=16, where={"restorer": "classical-1", "round": (0, 9)})[0]
    assert {"key", "shard", "restorer", "round"} <= kept(cache)
    assert not {"prompt", "evidence", "lq_bands", "gt_bands"} & kept(cache)


def test_a_column_that_was_decoded_is_not_decoded_again(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_index(open_root(str(root)), "train", ["key"])
    monkeypatch.setattr(index_file, "_COLUMNS", {})
    monkeypatch.setattr(index_file, "_decode_columns", None)
    assert open_index(open_root(str(root)), "train", ["key"]).equals(first)


def test_many_row_groups_become_few_chunks_of_equal_rows(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cache / "many.parquet"
    cache.mkdir()
    table = pq.read_table(root / "index/train.parquet")
    pq.write_table(table, path, row_group_size=1)
    monkeypatch.setattr(index_file, "CHUNK_ROWS", 4)
    paths = {name: cache / f"x-{name}.arrow" for name in ("key", "lq_bands")}
    index_file._decode_columns(pq.ParquetFile(path), paths)
    for name, file in paths.items():
        column = index_file.pa.ipc.open_file(str(file)).read_all()[0]
        assert [len(chunk) for chunk in column.chunks] == [4, 2] and column.equals(table[name])


def test_threads_that_open_the_same_columns_do_not_get_in_each_others_way(
    root: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_root(str(root))
    barrier = threading.Barrier(8)

    def read(_: int) -> int:
        barrier.wait(timeout=30)
        return int(open_index(opened, "train").num_rows)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(read, range(8)))) == 1
    assert caplog.messages == [] and list(cache.glob("*.part")) == []


def test_the_columns_that_a_filter_needs() -> None:
    schema = index_schema(["structure"])
    assert needed_columns(schema, None) == []
    assert needed_columns(schema, {"scores.structure": (0.5, None), "round": 1}) == ["scores", "round"]
    wanted = needed_columns(schema, (pc.field("round") > 1) & (pc.field("scores", "structure") > 0.5))
    assert {"key", "round", "scores"} <= set(wanted) and "prompt" not in wanted
    assert set(needed_columns(schema, pc.field(0) == "a")) == set(schema.names)


@pytest.mark.parametrize("where", [None, {"degradation": "rain"}, pc.field("width") > 0, pc.scalar(True)])
def test_selected_columns_are_those_of_the_whole_index(root: Path, cache: Path, where: ggt100k.Where) -> None:
    whole = ggt100k.index(root, where=where)
    few = ggt100k.index(root, where=where, columns=["prompt", "scores.structure", "key"])
    assert few.column_names == ["prompt", "scores.structure", "key"]
    assert few["prompt"].equals(whole["prompt"]) and few["key"].equals(whole["key"])
    assert few["scores.structure"].equals(pc.struct_field(whole["scores"], "structure"))
