"""The dataset builder and the three ways to load it, through the real `datasets`."""

from __future__ import annotations

import hashlib
import io
import json
import math
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import webdataset
from datasets.distributed import split_dataset_by_node
from PIL import Image

import ggt100k
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.stages.push.files import reader_files

from .hub import Hub
from .making import change_shard, make_dataset, run_python

COUNT, TEST = 14, 3


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen pairs of rain and snow, three of them in the test split, several shards."""
    return make_dataset(tmp_path_factory.mktemp("here") / "ggt-100k", count=COUNT, shard_bytes=60_000)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


def load(root: Path, name: str | None = None, **options: Any) -> Any:
    return datasets.load_dataset("ggt-100k", name, data_dir=str(root), **options)


Pixels = dict[str, tuple[bytes, bytes]]


def pixels(pairs: Any, lq: str = "lq", gt: str = "gt") -> Pixels:
    """By key, the pixels of both images."""
    return {
        pair["key"] if "key" in pair else pair["json"]["key"]: tuple(np.asarray(pair[n]).tobytes() for n in (lq, gt))
        for pair in pairs
    }


@pytest.fixture(scope="module")
def truth(root: Path) -> Pixels:
    """The pixels of every pair, read by tarfile and Pillow alone."""
    found: dict[str, dict[str, bytes]] = {}
    for path in root.glob("data/*/*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, rest = member.name.partition(".")
                if rest.endswith(".png"):
                    image = Image.open(io.BytesIO(tar.extractfile(member).read()))  # type: ignore[union-attr]
                    found.setdefault(key, {})[rest] = np.asarray(image).tobytes()
    return {key: (images["lq.png"], images["gt.png"]) for key, images in found.items()}


# --- what is loaded -------------------------------------------------------------------------------------------------


def test_every_reader_gives_the_same_pixels(root: Path, truth: Pixels, cache: str) -> None:
    assert len(truth) == COUNT
    ours = load(root, cache_dir=cache)
    assert {**pixels(ours["train"]), **pixels(ours["test"])} == truth
    streamed = load(root, streaming=True)
    assert {**pixels(streamed["train"]), **pixels(streamed["test"])} == truth
    plain = datasets.load_dataset(str(root), cache_dir=cache)
    assert {**pixels(plain["train"], "lq.png", "gt.png"), **pixels(plain["test"], "lq.png", "gt.png")} == truth
    shards = sorted(map(str, root.glob("data/*/*.tar")))
    by_webdataset = webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8")
    read = {s["__key__"]: (s["lq.png"].tobytes(), s["gt.png"].tobytes()) for s in by_webdataset}
    assert read == truth
    listed = subprocess.run(["tar", "-tf", shards[0]], capture_output=True, text=True, check=True).stdout.split()
    assert {name.partition(".")[0] for name in listed} <= set(truth) and len(listed) % 3 == 0
    ours_alone = {}
    for path in root.glob("data/*/*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".png"):
                    data = tar.extractfile(member).read()  # type: ignore[union-attr]
                    ours_alone[member.name] = ggt100k.decode_image(data).tobytes()
    assert ours_alone == {f"{k}.{n}.png": p for k, (lq, gt) in truth.items() for n, p in (("lq", lq), ("gt", gt))}


def test_the_features_are_typed(root: Path, cache: str) -> None:
    pairs = load(root, split="train", cache_dir=cache)
    assert pairs.features["lq"] == pairs.features["gt"] == datasets.Image()
    assert pairs.features["degradation"].names == list(ggt100k.DEGRADATIONS)
    assert pairs.features["source"].names == ["dataset", "internet", "captured"]
    assert pairs.features["scores"] == {"gmsd": datasets.Value("float32"), "structure": datasets.Value("float32")}
    row = pairs.sort("key")[0]
    assert row["degradation"] in (1, 3) and row["source"] == 1
    assert row["degradations"][1] == "mixed" and row["author"] == "Zoë «the author»"
    assert (row["width"], row["height"]) == row["lq"].size == (90, 70)
    assert row["evidence"] == ["structure 0.501 >= 0.300"]


def test_scores_that_were_not_measured_are_nan_and_survive_parquet(root: Path, cache: str, tmp_path: Path) -> None:
    pairs = load(root, split="train", cache_dir=cache)
    values = [row["gmsd"] for row in pairs["scores"]]
    assert {math.isnan(value) for value in values} == {True, False}
    assert None not in values
    pairs.to_parquet(str(tmp_path / "out.parquet"))
    back = datasets.Dataset.from_parquet(str(tmp_path / "out.parquet"), cache_dir=cache)
    assert [math.isnan(row["gmsd"]) for row in back["scores"]] == [math.isnan(value) for value in values]


def test_images_have_no_path(root: Path, cache: str) -> None:
    undecoded = load(root, split="train", cache_dir=cache).cast_column("lq", datasets.Image(decode=False))
    assert {row["lq"]["path"] for row in undecoded} == {None}


def test_configs_and_splits_have_names(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GGT100K_HOME", str(root))
    assert datasets.get_dataset_config_names("ggt-100k") == ["all", "sample", *ggt100k.DEGRADATIONS]
    assert datasets.get_dataset_default_config_name("ggt-100k") == "all"
    assert datasets.get_dataset_split_names("ggt-100k", "rain") == ["train", "test"]
    info = datasets.get_dataset_config_info("ggt-100k", "snow")
    assert list(info.features) == list(ggt100k.features(["gmsd", "structure"]))


def test_a_degradation_is_a_config(root: Path, cache: str) -> None:
    rain, snow = (load(root, name, cache_dir=cache) for name in ("rain", "snow"))
    assert {row for part in rain.values() for row in part["degradation"]} == {1}
    assert {row for part in snow.values() for row in part["degradation"]} == {3}
    assert sum(map(len, rain.values())) + sum(map(len, snow.values())) == COUNT
    with pytest.raises(ConfigError, match=r": has no pair of haze\. It has: rain, snow\.$"):
        load(root, "haze", cache_dir=cache)
    with pytest.raises(ConfigError, match=r"^config 'fog' is unknown\. Choose one of: all, sample, mixed, rain, "):
        load(root, "fog", cache_dir=cache)


def test_split_slices_and_processes(root: Path, cache: str) -> None:
    assert len(load(root, split="train", cache_dir=cache)) == COUNT - TEST
    assert len(load(root, split="train[:10%]", cache_dir=cache)) == 1
    assert len(load(root, split="train+test", cache_dir=cache)) == COUNT
    both = load(root, split="train", cache_dir=cache + "-2", num_proc=2)
    assert pixels(both) == pixels(load(root, split="train", cache_dir=cache))


def test_streaming_resumes_where_it_stopped(root: Path) -> None:
    keys = [pair["key"] for pair in load(root, split="train", streaming=True)]
    assert len(set(keys)) == COUNT - TEST
    for stop in (1, 4, 8):
        stream = load(root, split="train", streaming=True)
        seen = []
        for pair in stream:
            seen.append(pair["key"])
            if len(seen) == stop:
                state = stream.state_dict()
                break
        again = load(root, split="train", streaming=True)
        again.load_state_dict(state)
        assert seen + [pair["key"] for pair in again] == keys


def test_nodes_share_the_stream_without_overlap(root: Path) -> None:
    stream = load(root, split="train", streaming=True)
    parts = [[pair["key"] for pair in split_dataset_by_node(stream, rank=rank, world_size=2)] for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(pair["key"] for pair in stream)
    assert parts[0] and parts[1]


def test_builder_and_streams_are_pickled(root: Path) -> None:
    builder = datasets.load_dataset_builder("ggt-100k", "rain", data_dir=str(root))
    copy = pickle.loads(pickle.dumps(builder))
    assert copy.info.features == builder.info.features and copy.root.identity == builder.root.identity
    stream = load(root, split="train", streaming=True)
    assert pixels(pickle.loads(pickle.dumps(stream))) == pixels(stream)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_dataloader_workers(root: Path, start: str) -> None:
    pytest.importorskip("torch", reason="wants torch: pip install 'ggt100k[quality]'")
    from torch.utils.data import DataLoader

    stream = load(root, split="train", streaming=True).select_columns(["key"])
    loader = DataLoader(stream, batch_size=2, num_workers=2, multiprocessing_context=start)
    keys = [key for batch in loader for key in batch["key"]]
    assert sorted(keys) == sorted(pair["key"] for pair in stream)


# --- the cache ------------------------------------------------------------------------------------------------------


def test_the_cache_distinguishes_versions_and_locations(tmp_path: Path, cache: str) -> None:
    a = make_dataset(tmp_path / "a", count=4, degradations=["rain"], test=0.0)
    assert len(load(a, split="train", cache_dir=cache)) == 4
    make_dataset(tmp_path / "a", count=3, degradations=["rain"], test=0.0)
    assert len(load(a, split="train", cache_dir=cache)) == 3, "the same folder, another release"
    b = make_dataset(tmp_path / "b", count=2, degradations=["rain"], test=0.0)
    assert len(load(b, split="train", cache_dir=cache)) == 2


def test_a_second_load_comes_from_the_cache(root: Path, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(root, split="train", cache_dir=cache)

    def never(*_: Any) -> Iterator[Any]:
        raise AssertionError("generated again")
        yield

    monkeypatch.setattr(ggt100k.GGT100K, "_generate_examples", never)
    assert pixels(load(root, split="train", cache_dir=cache)) == pixels(first)


def test_revision_of_a_folder_is_its_version(root: Path, cache: str) -> None:
    for revision in ("1.0.0", "v1.0.0"):
        assert len(load(root, split="train", revision=revision, cache_dir=cache)) == COUNT - TEST
    with pytest.raises(
        ConfigError, match=r": has version 1\.0\.0, not v2\.0\.0\. Leave revision out or name another one\.$"
    ):
        load(root, split="train", revision="v2.0.0", cache_dir=cache)


# --- the three ways to load -----------------------------------------------------------------------------------------

DOOR_A = """
from datasets import load_dataset   # before us
import ggt100k
pairs = load_dataset("ggt-100k", "rain", split="train", streaming=True)
print(len(list(pairs)), load_dataset("ggt-100k", "sample", split="train")[0]["lq"].size[0] >= 512)
"""
DOOR_C = """
import sys, datasets
assert "ggt100k" not in sys.modules
pairs = datasets.load_dataset(sys.argv[1] if len(sys.argv) > 1 else PLACE, "rain", split="train")
assert pairs.column_names == ["json", "lq.png", "gt.png", "__key__", "__url__"], pairs.column_names
assert "ggt100k" not in sys.modules
name = pairs.features["json"]["degradation"].int2str(pairs[0]["json"]["degradation"])
print(len(pairs), pairs[0]["lq.png"].size, name)
"""


def foreign(folder: Path) -> Path:
    """A working directory full of what is not ours, named like what is."""
    folder.mkdir()
    for name in ("train.csv", "data.json", "ggt100k.json", "rain.tar", "README.md", "0.lq.png", "metadata.jsonl"):
        (folder / name).write_text("a,b\n1,2\n")
    for name in ("tests", "data", "index"):
        (folder / name).mkdir()
        (folder / name / "test-00000.tar").write_text("nothing")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("place", ["empty", "foreign"])
def test_load_dataset_and_pair_dataset_work_in_any_working_directory(root: Path, tmp_path: Path, place: str) -> None:
    cwd = tmp_path / "cwd"
    foreign(cwd) if place == "foreign" else cwd.mkdir()
    rain = sum(1 for _ in load(root, "rain", split="train", streaming=True))
    a = run_python(DOOR_A, cwd, GGT100K_HOME=str(root))
    assert a.stdout == f"{rain} True\n", a.stderr
    c = run_python(DOOR_C.replace("PLACE", repr(str(root))), cwd)
    assert c.stdout == f"{rain} (90, 70) rain\n", c.stderr


def test_a_folder_ggt_100k_in_the_working_directory_comes_first(root: Path, tmp_path: Path) -> None:
    code = 'import ggt100k, datasets; print(len(datasets.load_dataset("ggt-100k", split="train")))'
    result = run_python(code, root.parent)
    assert result.stdout == f"{COUNT - TEST}\n", result.stderr


@pytest.mark.slow
def test_other_names_are_resolved_by_datasets(tmp_path: Path) -> None:
    code = """
import ggt100k, datasets
open("table.csv", "w").write("a,b\\n1,2\\n")
print(datasets.load_dataset("csv", data_files="table.csv", split="train")[0])
try:
    datasets.load_dataset("some/other-name")
except ggt100k.GGTError:
    print("ours")
except Exception as fault:
    print(type(fault).__name__, "some/other-name" in str(fault))
"""
    with Hub() as hub:
        result = run_python(code, tmp_path / "cwd", HF_ENDPOINT=hub.url)
    assert result.stdout == "{'a': 1, 'b': 2}\nDatasetNotFoundError True\n", result.stderr


@pytest.mark.slow
def test_ggt100k_load_dataset_needs_no_hook(root: Path, tmp_path: Path) -> None:
    code = f"""
import datasets.load, datasets.inspect
original = datasets.load.dataset_module_factory
from ggt100k import load_dataset
for module in (datasets.load, datasets.inspect):
    assert module.dataset_module_factory.__wrapped__ is original
    module.dataset_module_factory = original
pairs = load_dataset("ggt-100k", "rain", split="train", data_dir={str(root)!r})
stream = load_dataset("ggt-100k", "rain", split="train", data_dir={str(root)!r}, streaming=True)
both = load_dataset(data_dir={str(root)!r}, num_proc=2)
print(len(pairs), len(list(stream)), sorted(both))
open("a.csv", "w").write("a\\n1\\n")
print(load_dataset("csv", data_files="a.csv", split="train")[0])
"""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    rain = sum(1 for _ in load(root, "rain", split="train", streaming=True))
    result = run_python(code, cwd)
    assert result.stdout == f"{rain} {rain} ['test', 'train']\n{{'a': 1}}\n", result.stderr


def test_another_resolution_of_datasets_is_kept_with_a_warning(tmp_path: Path) -> None:
    code = """
import warnings
import datasets.load
def other(name, where): ...
datasets.load.dataset_module_factory = other
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    import ggt100k
assert datasets.load.dataset_module_factory is other
print([str(w.message) for w in said if "ggt100k" in str(w.message)])
print(ggt100k.load_dataset("ggt-100k", "sample", split="train").num_rows > 5)
"""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    result = run_python(code, cwd)
    line = (
        f"datasets {datasets.__version__} resolves names in another way than ggt100k {ggt100k.__version__} expects. "
        'Use: from ggt100k import load_dataset; load_dataset("ggt-100k")'
    )
    assert result.stdout == f"{[line]}\nTrue\n", result.stderr


def test_importing_again_hooks_once() -> None:
    before = datasets.load.dataset_module_factory
    ggt100k.register_with_datasets()
    assert datasets.load.dataset_module_factory is before


# --- nothing there --------------------------------------------------------------------------------------------------

NOWHERE = """
import datasets, ggt100k
try:
    datasets.load_dataset("ggt-100k"{})
except ggt100k.ConfigError as fault:
    print(fault)
"""


def test_a_missing_dataset_lists_locations_and_remedies(tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    with Hub() as hub:
        result = run_python(NOWHERE.format(""), cwd, HF_ENDPOINT=hub.url)
    lines = result.stdout.splitlines()
    assert lines[0] == "no dataset ggt-100k was found. Tried in this order:", result.stderr
    assert lines[1] == f"  {cwd}/ggt-100k: it does not exist"
    assert lines[2].startswith("  hf://datasets/ggt-100k/ggt-100k: ")
    assert lines[3:] == [
        "Use one of these:",
        '  load_dataset("ggt-100k", data_dir="/path/to/ggt-100k")   # a folder or URL; or set GGT100K_HOME to it',
        '  load_dataset("ggt-100k", "sample")   # the pairs that are installed with the package',
    ]


@pytest.mark.slow
def test_a_checkout_without_data_is_an_error(tmp_path: Path) -> None:
    cwd = tmp_path / "cwd"
    checkout = cwd / "ggt-100k"
    (checkout / "tests").mkdir(parents=True)
    (checkout / "tests" / "test_x.py").write_text("")
    (checkout / "ggt100k.py").write_text("")
    (checkout / "README.md").write_bytes((Path(__file__).parents[1] / "README.md").read_bytes())
    result = run_python(NOWHERE.format(""), cwd)
    assert f"  {checkout}: the folder has no index/manifest.json" in result.stdout, result.stderr
    plain = run_python('import datasets; print(datasets.load_dataset("./ggt-100k"))', cwd)
    assert plain.returncode == 1
    assert plain.stderr.endswith("DataFilesNotFoundError: No (supported) data files found in ggt-100k\n"), plain.stderr


def test_a_named_location_is_the_only_one_tried(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)  # with a ./ggt-100k in it
    with pytest.raises(ConfigError) as fault:
        datasets.load_dataset("ggt-100k", data_dir=str(tmp_path / "none"))
    assert str(fault.value).splitlines()[1] == f"  {tmp_path}/none: it does not exist"
    monkeypatch.setenv("GGT100K_HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match=r"home: it does not exist"):
        datasets.load_dataset("ggt-100k")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", r"index/manifest.json cannot be read \(JSONDecodeError"),
        ("[]", r"index/manifest.json cannot be read \(TypeError"),
        (
            '{"format_version": 2}',
            r"format version 2, and this package reads 1\. Install a version of ggt100k that reads it\.$",
        ),
        (
            '{"format_version": 1, "metrics": ["a b"], "splits": {}, "codec": "png", "dataset_version": "1"}',
            r"the name of a metric has other characters than a-z",
        ),
        (
            '{"format_version": 1, "metrics": [], "splits": {"../x": {}}, "dataset_version": "1"}',
            r"KeyError|split '../x' is unknown",
        ),
    ],
)
def test_an_invalid_manifest_is_an_error(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / ggt100k.MANIFEST).write_text(text)
    with pytest.raises(ConfigError, match=said):
        datasets.load_dataset("ggt-100k", data_dir=str(tmp_path))


def test_data_files_are_not_supported(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^data_files: ggt-100k does not support it\. Name the dataset folder with data_dir\.$"
    ):
        datasets.load_dataset("ggt-100k", data_dir=str(root), data_files="*.tar")


# --- damage ---------------------------------------------------------------------------------------------------------


def damaged(tmp_path: Path) -> Path:
    return make_dataset(tmp_path / "ggt-100k", count=3, degradations=["rain"], test=0.0)


def test_a_missing_or_truncated_shard_is_named(tmp_path: Path) -> None:
    root = damaged(tmp_path)
    name = change_shard(root, lambda data: data[: len(data) // 2])
    with pytest.raises(
        ShardError,
        match=rf"^{name}: key [0-9a-f]{{16}}: the shard ends early, at byte \d+\. Download the shard again\.$",
    ):
        list(load(root, split="train", streaming=True))
    (root / name).unlink()
    said = rf"{name}: key [0-9a-f]{{16}}: the index names this shard, but it is missing\. Download it\.$"
    with pytest.raises(ShardError, match=said):
        list(load(root, split="train", streaming=True))


@pytest.mark.parametrize("streaming", [True, False])
def test_a_flipped_bit_is_an_error(tmp_path: Path, cache: str, streaming: bool) -> None:
    root = damaged(tmp_path)
    row = ggt100k.index(root, columns=["key", "lq_offset", "lq_bands"]).to_pylist()[1]
    at = row["lq_offset"] + row["lq_bands"][0] + 1000
    name = change_shard(root, lambda data: data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :])
    options = {} if streaming else {"cache_dir": cache}
    with pytest.raises(Exception) as fault:
        list(load(root, split="train", streaming=streaming, **options))
    told = fault.value if streaming else fault.value.__cause__
    assert isinstance(told, ShardError)
    said = rf"^{name}: key {row['key']}: lq: byte \d+: the checksum of its chunk b'IDAT' is wrong\. Download the shard"
    assert re.match(said, str(told))


def test_streaming_leaves_the_module_as_it_is(root: Path) -> None:
    list(load(root, split="test", streaming=True))
    assert getattr(ggt100k, "open", open) is open and ggt100k.open_root.__globals__["Path"] is Path
    with pytest.raises(ConfigError, match="foo://x: cannot be read"):
        ggt100k.load_dataset(data_dir="foo://x")


def test_arguments_that_do_not_go_with_the_sample_are_refused() -> None:
    said = r"^the config 'sample' is installed with the package\. Leave data_dir and revision out\.$"
    for options in ({"revision": "v9"}, {"data_dir": "/nowhere"}):
        with pytest.raises(ConfigError, match=said):
            datasets.load_dataset("ggt-100k", "sample", **options)
        with pytest.raises(ConfigError, match=said):
            ggt100k.index(name="sample", **options)
    assert ggt100k.index(name="sample").num_rows >= 8


def test_a_hostile_index_reads_no_other_file(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    root = damaged(tmp_path)
    (tmp_path / "secret.tar").write_bytes(b"secret" * 100_000)
    path = root / "index/train.parquet"
    table = pq.read_table(path)
    rows = [row | {"shard": "data/../../secret.tar"} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    with pytest.raises(ShardError, match=r": index/train.parquet: its bytes are not those that the manifest names\. "):
        list(load(root, split="train", streaming=True))
    manifest = json.loads((root / ggt100k.MANIFEST).read_text())
    manifest["splits"]["train"]["index"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (root / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(
        ShardError,
        match=r": the index names 'data/../../secret.tar', which is not a shard\. Download the index again\.$",
    ):
        list(load(root, split="train", streaming=True))


# --- the Hub --------------------------------------------------------------------------------------------------------


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[tuple[Hub, Path]]:
    """A Hub with version 1.0.0 of four pairs, tagged, and 1.1.0 of five on main; and a folder to work in."""
    with Hub() as hub:
        for version, count in (("1.0.0", 4), ("1.1.0", 5)):
            folder = make_dataset(tmp_path / version, count=count, degradations=["rain"], test=0.0, version=version)
            hub.publish(ggt100k.REPO_ID, folder, tag=f"v{version}")
        cwd = tmp_path / "cwd"
        cwd.mkdir()
        yield hub, cwd


@pytest.mark.slow
def test_the_hub_by_name_by_tag_and_after_a_new_version(releases: tuple[Hub, Path]) -> None:
    hub, cwd = releases
    code = """
import ggt100k, datasets
revisions = (None, "v1.0.0", "v1.1.0", "main", "v1.0.0")
print([len(datasets.load_dataset("ggt-100k", split="train", revision=revision)) for revision in revisions])
print(len(list(datasets.load_dataset("ggt-100k", split="train", streaming=True, revision="v1.0.0"))))
print(len(datasets.load_dataset("ggt-100k", split="train", data_dir="hf://datasets/ggt-100k/ggt-100k@v1.0.0")))
print(ggt100k.index(revision="v1.0.0", columns=["key"]).num_rows)
"""
    result = run_python(code, cwd, HF_ENDPOINT=hub.url)
    assert result.stdout == "[5, 4, 5, 5, 4]\n4\n4\n4\n", result.stderr


@pytest.mark.slow
def test_from_the_hub_only_the_wanted_bytes_are_read(releases: tuple[Hub, Path]) -> None:
    hub, cwd = releases
    hub.requests.clear()
    code = (
        'import ggt100k, datasets; print(len(list(datasets.load_dataset("ggt-100k", split="train", streaming=True))))'
    )
    result = run_python(code, cwd, HF_ENDPOINT=hub.url)
    assert result.stdout == "5\n", result.stderr
    index = ggt100k.index(cwd.parent / "1.1.0", columns=["lq_size", "gt_size"])
    wanted = sum(index["lq_size"].to_pylist()) + sum(index["gt_size"].to_pylist())
    sent = hub.sent("train-00000.tar")
    assert wanted <= sent <= wanted + 5 * 1536, "the images, and what lies between two of them"


@pytest.mark.slow
def test_plain_datasets_reads_the_hubs_repository(releases: tuple[Hub, Path]) -> None:
    hub, cwd = releases
    code = DOOR_C.replace("PLACE", repr(ggt100k.REPO_ID))
    result = run_python(code, cwd, HF_ENDPOINT=hub.url)
    assert result.stdout == "5 (90, 70) rain\n", result.stderr


@pytest.mark.slow
def test_an_unknown_revision_is_an_error(releases: tuple[Hub, Path]) -> None:
    hub, cwd = releases
    result = run_python(NOWHERE.format(', revision="v9"'), cwd, HF_ENDPOINT=hub.url)
    line = "  hf://datasets/ggt-100k/ggt-100k: revision v9 does not exist"
    assert line in result.stdout.splitlines(), result.stderr


def test_the_index_is_read_by_column(root: Path) -> None:
    table = ggt100k.index(root, columns=["key", "degradation"])
    assert (table.num_rows, table.column_names) == (COUNT - TEST, ["key", "degradation"])
    with pytest.raises(
        ConfigError,
        match=r"^the index has no column 'kee' \(did you mean key\?\)\. The columns are: key, degradation, ",
    ):
        ggt100k.index(root, columns=["kee"])
    with pytest.raises(ConfigError, match=r": has no split 'val'\. "):
        ggt100k.index(root, "val")


@pytest.mark.slow
def test_the_files_that_push_uploads_load_a_release_by_themselves(root: Path, tmp_path: Path) -> None:
    """`ggt100k.py` and `ggt_format` lie beside README.md in the Hub's repository, without ggt_tools."""
    for name, path in reader_files().items():
        (tmp_path / "repository" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, tmp_path / "repository" / name)
    code = f"""
import sys, ggt100k, ggt_format
print(ggt100k.__file__, ggt_format.__file__)
print(len(ggt100k.PairDataset({str(root)!r})), ggt100k.load_dataset(data_dir={str(root)!r}, split="test")[0]["lq"].size)
print([name for name in sys.modules if name.startswith("ggt_tools")])
"""
    done = run_python(code, tmp_path / "cwd", PYTHONPATH=str(tmp_path / "repository"))
    files, found, tools = done.stdout.splitlines()
    assert files == f"{tmp_path}/repository/ggt100k.py {tmp_path}/repository/ggt_format/__init__.py"
    pairs = ggt100k.PairDataset(root)
    height, width, _ = ggt100k.PairDataset(root, "test")[0]["lq"].shape
    assert (found, tools) == (f"{len(pairs)} ({width}, {height})", "[]")


def test_the_format_package_imports_no_heavy_library() -> None:
    code = (
        "import sys; from ggt_format import PairDataset, ShardWriter, open_root; "
        "print([name for name in ('datasets', 'pandas', 'torch', 'cv2', 'pyarrow.dataset', 'ggt_tools') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
