"""PairDataset: the right windows of the right pairs, for any number of workers, local or remote, resumed exactly."""

from __future__ import annotations

import copy
import gc
import hashlib
import http.server
import io
import json
import logging
import pickle
import random
import re
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ggt100k
import ggt_format.bands
import ggt_format.jpeg
from ggt100k import PairDataset
from ggt_format.ranges import RangeReader
from ggt_format.shard import member_header
from ggt_tools.errors import ConfigError, ShardError
from ggt_tools.stages.pack import PackConfig, pack

from .hub import Hub
from .making import GATE, Store, change_shard, make_dataset, make_pairs, run_python

COUNT, TEST = 14, 3


@pytest.fixture(scope="module", params=["png", "jpeg"])
def root(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Fourteen pairs of rain and snow, 90 x 70, three of them in the test split, several shards."""
    out = tmp_path_factory.mktemp(request.param) / "ggt-100k"
    return make_dataset(out, count=COUNT, shard_bytes=60_000, codec=request.param)


@pytest.fixture(scope="module")
def png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("only") / "ggt-100k", count=COUNT, shard_bytes=60_000)


def truth(root: Path) -> dict[str, dict[str, npt.NDArray[np.uint8]]]:
    """By key both images, read by tarfile and Pillow alone."""
    found: dict[str, dict[str, npt.NDArray[np.uint8]]] = {}
    for path in sorted(root.glob("data/*/*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, name, end = member.name.split(".", 2) if member.name.count(".") == 2 else ("", "", "")
                if end:
                    data = tar.extractfile(member).read()  # type: ignore[union-attr]
                    found.setdefault(key, {})[name] = np.asarray(Image.open(io.BytesIO(data)))
    return found


def found_in(item: dict[str, Any], images: dict[str, npt.NDArray[np.uint8]]) -> tuple[int, int] | None:
    """Where the item's windows lie in both images; None where they are no window, or two."""
    side = item["lq"].shape[0]
    for top in range(images["lq"].shape[0] - side + 1):
        for left in range(images["lq"].shape[1] - side + 1):
            box = (slice(top, top + side), slice(left, left + side))
            if all(np.array_equal(item[name], images[name][box]) for name in ("lq", "gt")):
                return top, left
    return None


# --- a sequence -----------------------------------------------------------------------------------------------------


def test_it_is_a_sequence_of_whole_pairs(root: Path) -> None:
    pairs, images = PairDataset(root), truth(root)
    assert len(pairs) == COUNT - TEST
    assert {item["key"] for item in pairs} <= set(images)
    for item in pairs:
        assert item["lq"].dtype == np.uint8 and item["lq"].shape == (70, 90, 3)
        assert all(np.array_equal(item[name], images[item["key"]][name]) for name in ("lq", "gt"))
    keys = [item["key"] for item in pairs]
    assert pairs[-1]["key"] == pairs[np.int64(len(pairs) - 1)]["key"] == keys[-1]
    assert [item["key"] for item in pairs[2:5]] == keys[2:5]
    assert [item["key"] for item in pairs[::-4]] == keys[::-4]
    assert [item["key"] for item in pairs.__getitems__([3, 0, 3])] == [keys[3], keys[0], keys[3]]
    with pytest.raises(TypeError):
        pairs[1.5]
    for number in (len(pairs), -len(pairs) - 1):
        with pytest.raises(IndexError, match=rf"^pair {number} does not exist: the dataset has 11 pairs$"):
            pairs[number]


def test_an_item_has_what_it_should(root: Path) -> None:
    item = PairDataset(root, columns=["prompt", "scores.structure", "author"])[0]
    names = ["key", "degradation", "source", "scores", "lq", "gt", "prompt", "scores.structure", "author"]
    assert list(item) == names
    assert (item["degradation"], item["source"], item["prompt"]) == ("rain", "internet", "Remove the rain.")
    assert item["scores"]["structure"] == item["scores.structure"]


def test_splits_configs_and_the_sample(root: Path) -> None:
    assert len(PairDataset(root, "test")) == TEST
    both = [PairDataset(root, name=name) for name in ("rain", "snow")]
    assert sum(map(len, both)) == COUNT - TEST
    assert {item["degradation"] for item in both[1]} == {"snow"}
    assert len(PairDataset(name="sample")) >= 8


def test_transform_and_bytes(root: Path) -> None:
    assert PairDataset(root, transform=lambda item: item["key"])[0] == PairDataset(root)[0]["key"]
    stored = PairDataset(root, decode=False)[0]
    assert isinstance(stored["lq"], bytes)
    whole = PairDataset(root)[0]
    for name in ("lq", "gt"):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(stored[name]))), whole[name])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "val"}, r": has no split 'val'\. Choose one of: train, test\.$"),
        ({"name": "fog"}, r"^config 'fog' is unknown\. Choose one of: all, sample, mixed, "),
        ({"name": "haze"}, r"^where: none of 11 pairs is left: config haze leaves 0\. Relax a condition\.$"),
        (
            {"columns": ["prompts"]},
            r"^the index has no column 'prompts' \(did you mean prompt\?\)\. The columns are: key, ",
        ),
        ({"crop": 0}, r"^crop=0: must be a number of pixels, 1 or more, or a function\.$"),
        ({"crop": True}, r"^crop=True: must be "),
        ({"seed": "a"}, r"^seed='a': must be a signed 64-bit integer, from -2\*\*63 to 2\*\*63 - 1\.$"),
        ({"crop": "x"}, r"^crop='x': must be "),
        ({"where": "haze"}, r"^where='haze': must be a dict from column to condition, or a pyarrow expression\.$"),
        ({"crop": 8, "decode": False}, r"^crop: cannot be combined with decode=False"),
        ({"on_error": "ignore"}, r"^on_error='ignore': must be \"raise\" or \"skip\"\.$"),
    ],
)
def test_wrong_arguments_are_errors_at_once(png: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PairDataset(png, **options)


# --- windows --------------------------------------------------------------------------------------------------------


def test_a_crop_is_the_same_window_of_both(root: Path) -> None:
    images = truth(root)
    pairs = PairDataset(root, crop=16)
    windows = [found_in(item, images[item["key"]]) for item in pairs]
    assert None not in windows
    assert len(set(windows)) > 8, "they are drawn, not fixed"


def test_a_crop_depends_on_seed_epoch_and_number_alone(root: Path) -> None:
    def digest(pairs: PairDataset) -> list[bytes]:
        return [item["lq"].tobytes() for item in pairs]

    pairs = PairDataset(root, crop=32, seed=5)
    first = digest(pairs)
    assert digest(PairDataset(root, crop=32, seed=5)) == first
    assert [item["lq"].tobytes() for item in pairs.__getitems__(range(len(pairs)))] == first
    assert digest(PairDataset(root, crop=32, seed=6)) != first
    pairs.set_epoch(1)
    assert digest(pairs) != first
    pairs.set_epoch(0)
    assert digest(pairs) == first


def test_every_window_can_be_drawn(png: Path) -> None:
    pairs = PairDataset(png, crop=69)
    images, drawn = truth(png), set()
    for epoch in range(60):
        pairs.set_epoch(epoch)
        for item in pairs[:2]:
            drawn.add(found_in(item, images[item["key"]]))
    assert {top for top, _ in drawn} == {0, 1}  # type: ignore[misc]
    assert {left for _, left in drawn} == set(range(22))  # type: ignore[misc]


def test_a_function_picks_the_window(root: Path) -> None:
    def lowest(row: Any, random: np.random.Generator) -> tuple[int, int, int, int]:
        assert row["key"] and row["author"] and (row["height"], row["width"]) == (70, 90)
        return row["height"] - 10, int(random.integers(50)), 10, 40

    pairs, images = PairDataset(root, crop=lowest, columns=["author"]), truth(root)
    for item in pairs:
        assert item["lq"].shape == (10, 40, 3)
        lefts = [
            left for left in range(50) if np.array_equal(images[item["key"]]["lq"][60:, left : left + 40], item["lq"])
        ]
        assert lefts
        assert np.array_equal(images[item["key"]]["gt"][60:, lefts[0] : lefts[0] + 40], item["gt"])


def test_a_window_that_does_not_fit_is_an_error(png: Path) -> None:
    said = r"^key [0-9a-f]{16}: the window \(top, left, height, width\) = \(\d+, \d+, 71, 71\) is not inside its "
    with pytest.raises(ConfigError, match=said) as caught:
        PairDataset(png, crop=71)[0]
    assert str(caught.value).endswith(
        " 70 x 90 pixels. Use a smaller crop, or select larger images: "
        'where={"height": (71, None), "width": (71, None)}.'
    )
    with pytest.raises(ConfigError, match=r"= \(-1, 0, 5, 5\) is not inside"):
        PairDataset(png, crop=lambda row, random: (-1, 0, 5, 5))[0]


def test_only_the_bands_that_a_window_touches_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = RangeReader._check_length

    def counting(self: Any, each: Any, data: bytes) -> bytes:
        read.append(len(data))
        return original(self, each, data)

    monkeypatch.setattr(RangeReader, "_check_length", counting)
    pairs = PairDataset(root, crop=lambda row, random: (65, 0, 5, 20))
    stored = PairDataset(root, decode=False)[0]
    read.clear()
    pairs[0]
    whole = sum(len(stored[name]) for name in ("lq", "gt"))
    heads, bands = read[:2], read[2:]
    assert (len(bands), max(heads)) == (2, ggt100k.HEAD)
    assert sum(bands) < 0.15 * whole, "6 of 70 rows lie in the second band"


# --- where ----------------------------------------------------------------------------------------------------------


def rows(root: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(root / "index/train.parquet").to_pylist())


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"degradation": "rain"}, lambda row: row["degradation"] == "rain"),
        ({"degradation": ["rain", "haze"]}, lambda row: row["degradation"] == "rain"),
        ({"scores.structure": (0.505, None)}, lambda row: row["scores"]["structure"] >= 0.505),
        ({"scores.structure": (None, 0.505)}, lambda row: row["scores"]["structure"] <= 0.505),
        ({"scores.gmsd": (0.2, 0.3)}, lambda row: row["scores"]["gmsd"] == 0.25),
        ({"degradations": ["snow"]}, lambda row: "snow" in row["degradations"]),
        ({"degradations": "mixed", "degradation": "snow"}, lambda row: row["degradation"] == "snow"),
        ({"scores.structure": (0.506, 0.506)}, lambda row: row["scores"]["structure"] == np.float32(0.506)),
        ({"width": (90, 90), "height": 70}, lambda row: True),
        (pc.field("scores", "structure") > 0.505, lambda row: row["scores"]["structure"] > 0.505),
        (
            (pc.field("degradation") == "snow") & (pc.field("scores", "structure") < 0.51),
            lambda row: row["degradation"] == "snow" and row["scores"]["structure"] < 0.51,
        ),
        (None, lambda row: True),
        ({}, lambda row: True),
    ],
)
def test_where_selects_the_right_pairs(png: Path, where: Any, holds: Any) -> None:
    wanted = [row["key"] for row in rows(png) if holds(row)]
    assert wanted
    assert [item["key"] for item in PairDataset(png, where=where)] == wanted
    assert [
        pair["key"] for pair in ggt100k.load_dataset(data_dir=str(png), split="train", streaming=True, where=where)
    ] == wanted
    assert ggt100k.index(png, where=where, columns=["key"])["key"].to_pylist() == wanted
    assert len(pickle.loads(pickle.dumps(PairDataset(png, where=where)))) == len(wanted)


def test_where_in_load_dataset_is_part_of_the_caches_name(png: Path, tmp_path: Path) -> None:
    import datasets

    cache = str(tmp_path)
    for where, count in (({"degradation": "rain"}, 6), ({"degradation": "snow"}, 5), (None, 11)):
        loaded = datasets.load_dataset("ggt-100k", data_dir=str(png), split="train", where=where, cache_dir=cache)
        assert len(loaded) == count


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (
            {"degradatoin": "rain"},
            r"^the index has no column 'degradatoin' \(did you mean degradation\?\)\. ",
        ),
        ({"scores.lpips": (0, 1)}, r"^the index has no column 'scores\.lpips'"),
        (pc.field("nothing") == 1, r"nothing.*\. The columns are: key, .*scores\.structure\.$"),
        ({"width": 90.5}, r"^where: width is int32 and cannot be compared with 90\.5"),
        ({"width": "wide"}, r"^where: width is int32 and cannot be compared with 'wide'"),
        (
            {"degradation": "rain", "scores.structure": (9, None)},
            r"^where: none of 11 pairs is left: degradation 'rain' leaves 6, scores\.structure \(9, None\) leaves 0\.",
        ),
        (
            pc.field("width") > 1000,
            r"^where: none of 11 pairs is left: where \(width > 1000\) leaves 0\.",
        ),
    ],
)
def test_wrong_or_empty_where_conditions_are_errors(png: Path, where: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PairDataset(png, where=where)
    with pytest.raises(ConfigError, match=said):
        ggt100k.load_dataset(data_dir=str(png), streaming=True, where=where)


# --- training -------------------------------------------------------------------------------------------------------


def told(item: dict[str, Any]) -> str:
    return f"{item['key']} {hashlib.sha256(item['lq'].tobytes() + item['gt'].tobytes()).hexdigest()}"


def as_list(items: list[Any]) -> list[Any]:
    return items


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="wants torch: pip install 'ggt100k[quality]'")


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_two_epochs_are_the_same_on_any_number_of_workers_and_ranks(torch: Any, root: Path, start: str) -> None:
    from torch.utils.data import DataLoader, DistributedSampler

    def epochs(workers: int, ranks: int) -> list[Counter[str]]:
        found = [Counter[str](), Counter[str]()]
        for rank in range(ranks):
            pairs = PairDataset(root, crop=32, transform=told)
            sampler = DistributedSampler(pairs, ranks, rank, shuffle=True)  # type: ignore[var-annotated,arg-type]
            context = start if workers else None
            loader = DataLoader(
                pairs, batch_size=3, sampler=sampler, num_workers=workers, multiprocessing_context=context,
                collate_fn=as_list, persistent_workers=workers > 0,
            )  # type: ignore[var-annotated,arg-type]  # fmt: skip
            for epoch in range(2):
                pairs.set_epoch(epoch)
                sampler.set_epoch(epoch)
                for batch in loader:
                    found[epoch].update(batch)
        return found

    alone = epochs(0, 1)
    assert [len(epoch) for epoch in alone] == [COUNT - TEST] * 2
    assert not set(alone[0]) & set(alone[1]), "another window each epoch"
    for workers in (1, 3) if start == "fork" else (1,):
        assert epochs(workers, 1) == alone
    assert [set(epoch) for epoch in epochs(0, 2)] == [set(epoch) for epoch in alone]


@pytest.mark.slow
def test_a_stateful_dataloader_cut_at_any_batch_resumes_exactly(torch: Any, png: Path) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader", reason="wants torchdata")

    def loader(workers: int) -> Any:
        generator = torch.Generator()
        generator.manual_seed(0)
        pairs = PairDataset(png, crop=32, transform=told)
        pairs.set_epoch(3)
        return stateful.StatefulDataLoader(
            pairs, batch_size=2, shuffle=True, generator=generator, num_workers=workers, collate_fn=as_list
        )

    for workers in (0, 2):
        whole = [batch for batch in loader(workers)]
        assert sum(map(len, whole)) == COUNT - TEST
        for cut in (0, 1, 2, 4, 5):
            first = loader(workers)
            iterator = iter(first)
            seen = [next(iterator) for _ in range(cut)]
            state = first.state_dict()
            again = loader(workers)
            again.load_state_dict(state)
            assert seen + list(again) == whole, (workers, cut)


def test_state_holds_epoch_and_seed(png: Path) -> None:
    one, other = PairDataset(png, crop=16, seed=3), PairDataset(png, crop=16)
    one.set_epoch(7)
    assert one.state_dict() == {"epoch": 7, "seed": 3}
    other.load_state_dict(one.state_dict())
    assert [told(item) for item in other] == [told(item) for item in one]


def test_fifty_steps_of_training_on_the_sample_lower_the_loss(torch: Any) -> None:
    from torch.utils.data import DataLoader, RandomSampler

    torch.manual_seed(0)
    pairs = PairDataset(name="sample", crop=64)
    sampler = RandomSampler(pairs, replacement=True, num_samples=200)  # type: ignore[arg-type]
    loader = DataLoader(pairs, batch_size=4, sampler=sampler)  # type: ignore[var-annotated,arg-type]
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(16, 3, 3, padding=1)
    )
    optimizer, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for batch in loader:
        lq, gt = (batch[name].permute(0, 3, 1, 2).float() / 255 for name in ("lq", "gt"))
        loss = torch.nn.functional.l1_loss(model(lq), gt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert len(losses) == 50
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    assert isinstance(batch["scores"]["structure"], torch.Tensor) and not batch["scores"]["structure"].isnan().any()


def test_a_copy_has_an_epoch_of_its_own(png: Path) -> None:
    one = PairDataset(png, crop=16)
    other, stored = copy.deepcopy(one), pickle.dumps(one)
    other.set_epoch(7)
    assert (one.state_dict()["epoch"], other.state_dict()["epoch"]) == (0, 7)
    one.set_epoch(np.int64(3))
    del one
    gc.collect()
    again = pickle.loads(stored)
    again.set_epoch(4)
    assert again.state_dict() == {"epoch": 4, "seed": 0}
    assert [told(item) for item in again] != [told(item) for item in other]


# --- from elsewhere -------------------------------------------------------------------------------------------------


class Ranges(http.server.BaseHTTPRequestHandler):
    """Serves the byte ranges of a folder; `server.fail` says of each request's number whether to cut it off."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        path = server.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, stop = (int(asked[1]), int(asked[2]) + 1) if asked else (0, len(data))
        body = data[start:stop]
        with server.lock:
            server.count += 1
            server.sent.append((self.path, start, len(body)))
            fail = server.fail(server.count) and self.path.endswith(".tar")
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fail else body)
        self.close_connection = fail

    def do_HEAD(self) -> None:
        self.send_error(405)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(root: Path) -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    server.folder, server.count, server.sent, server.lock = root, 0, [], threading.Lock()
    server.fail = lambda number: False
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_over_http_items_are_equal_and_only_needed_bytes_are_read(served: Any, root: Path) -> None:
    here, there = (PairDataset(place, crop=16) for place in (root, served.url))
    assert [told(item) for item in there] == [told(item) for item in here]
    whole = PairDataset(served.url, where={"degradation": "snow"})
    served.sent.clear()
    items = whole[:]
    assert [told(item) for item in items] == [told(item) for item in PairDataset(root, where={"degradation": "snow"})]
    sent = sum(size for path, _, size in served.sent if path.endswith(".tar"))
    wanted = sum(row["lq_size"] + row["gt_size"] for row in rows(root) if row["degradation"] == "snow")
    # neighbours are joined over what lies between them: the headers and the JSON
    assert wanted <= sent <= wanted + 3072 * len(items)
    assert len(served.sent) < len(items), "a shard's pairs in one request"
    assert {path.split("/")[2] for path, _, _ in served.sent} == {"snow"}


@pytest.mark.slow
def test_a_dropped_connection_is_retried_with_a_warning(
    served: Any, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = PairDataset(served.url)
    served.fail = lambda number: number % 3 == 0
    with caplog.at_level(logging.WARNING, "ggt-100k"):
        assert [told(item) for item in pairs] == [told(item) for item in PairDataset(root)]
    assert any(". Trying again." in record.message for record in caplog.records)
    served.fail = lambda number: True
    with pytest.raises(
        ShardError,
        match=r"^data/rain/train-00000\.tar: key [0-9a-f]{16}: byte \d+: .* \(4 attempts failed\)\. Try again later\.$",
    ):
        pairs[0]


@pytest.mark.slow
def test_the_cache_is_limited_in_size(served: Any, root: Path, tmp_path: Path) -> None:
    pairs = PairDataset(served.url, cache=tmp_path / "cache")
    first = [told(item) for item in pairs]
    served.sent.clear()
    assert [told(item) for item in pairs] == first
    assert [told(item) for item in PairDataset(served.url, cache=tmp_path / "cache")] == first
    assert [path for path, _, _ in served.sent if path.endswith(".tar")] == []
    small = PairDataset(served.url, cache=tmp_path / "small", cache_bytes=40_000)
    assert [told(item) for item in small] == first
    assert sum(path.stat().st_size for path in (tmp_path / "small").iterdir()) <= 40_000


@pytest.mark.slow
def test_a_damaged_cache_is_repaired_and_an_unwritable_one_ignored(
    served: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = PairDataset(served.url, cache=tmp_path / "cache")
    first = [told(item) for item in pairs]
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert [told(item) for item in pairs] == first
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "ggt-100k"):
        assert [told(item) for item in PairDataset(served.url, cache=tmp_path / "file")] == first
    assert any("cannot be written to the cache" in record.message for record in caplog.records)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_workers_read_over_http(torch: Any, served: Any, start: str) -> None:
    from torch.utils.data import DataLoader

    pairs = PairDataset(served.url, crop=16, transform=told)
    alone = Counter(item for item in pairs)
    loader = DataLoader(pairs, batch_size=3, num_workers=2, collate_fn=as_list, multiprocessing_context=start)  # type: ignore[var-annotated,arg-type]
    assert Counter(item for batch in loader for item in batch) == alone


@pytest.mark.slow
def test_a_revision_on_the_hub_is_resolved_once(tmp_path: Path) -> None:
    with Hub() as hub:
        for version, count in (("1.0.0", 4), ("1.1.0", 5)):
            folder = make_dataset(tmp_path / version, count=count, degradations=["rain"], test=0.0, version=version)
            hub.publish(ggt100k.REPO_ID, folder, tag=f"v{version}")
        code = """
import pickle
from ggt100k import PairDataset
pairs = PairDataset("hf://datasets/ggt-100k/ggt-100k@v1.0.0", crop=16)
print(len(pairs), pairs[0]["lq"].shape, "@v" in pairs.root.url, len(PairDataset(crop=16)))
print(len(pickle.loads(pickle.dumps(pairs))))
"""
        hub.requests.clear()
        result = run_python(code, tmp_path / "cwd", HF_ENDPOINT=hub.url)
        assert result.stdout == "4 (16, 16, 3) False 5\n4\n", result.stderr
        row = pq.read_table(tmp_path / "1.0.0" / "index/train.parquet").to_pylist()[0]
        assert hub.sent("train-00000.tar") <= row["lq_size"] + row["gt_size"] + 1024


# --- damage ---------------------------------------------------------------------------------------------------------


def broken(root: Path, tmp_path: Path) -> tuple[Path, str, int, str]:
    """A dataset in which one bit of the second pair's first band of gt is flipped: place, shard, offset, key."""
    codec = json.loads((root / ggt100k.MANIFEST).read_text())["codec"]
    out = make_dataset(tmp_path / "broken", count=4, degradations=["rain"], test=0.0, codec=codec)
    row = rows(out)[1]
    at = row["gt_offset"] + row["gt_bands"][0] + 100
    name = change_shard(out, lambda data: data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
    return out, name, row["gt_bands"][0], row["key"]


def test_a_damaged_band_names_shard_key_and_byte(root: Path, tmp_path: Path) -> None:
    out, name, at, key = broken(root, tmp_path)
    pairs = PairDataset(out, crop=lambda row, random: (0, 0, 60, 60))
    said = rf"^{name}: key {key}: gt: band 0, byte {at}: the checksum is wrong\. Download the shard again\.$"
    for read in (lambda: pairs[1], lambda: pairs[:], lambda: pairs.__getitems__([0, 1])):
        with pytest.raises(ShardError, match=said):
            read()
    with pytest.raises(ShardError, match=rf"^{name}: key {key}: gt"):
        PairDataset(out)[1]
    below = PairDataset(out, crop=lambda row, random: (65, 0, 5, 5))
    assert below[1]["key"] == key, "other bands are as good as before"


def test_skipping_is_counted_and_logged(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out, _, _, key = broken(root, tmp_path)
    pairs = PairDataset(out, on_error="skip")
    with caplog.at_level(logging.WARNING, "ggt-100k"):
        assert key not in [item["key"] for item in pairs[:]] and len(pairs[:]) == 3
    assert sum(pairs.skipped.values()) == 2 and all(key in reason for reason in pairs.skipped)
    assert any(record.message.startswith("skipped: ") and key in record.message for record in caplog.records)
    with pytest.raises(ShardError):
        pairs[1]
    with pytest.raises(ShardError, match=r"^every pair of a batch is damaged\. The last one: "):
        pairs.__getitems__([1, 1])


def test_any_flipped_bit_of_a_band_is_detected(root: Path, tmp_path: Path) -> None:
    out = make_dataset(tmp_path / "bits", count=1, degradations=["rain"], test=0.0,
                       codec=json.loads((root / ggt100k.MANIFEST).read_text())["codec"])  # fmt: skip
    (row,) = rows(out)
    path = out / row["shard"]
    good, pairs = path.read_bytes(), PairDataset(out)
    start, stop = row["lq_offset"] + row["lq_bands"][0], row["lq_offset"] + row["lq_bands"][-1]
    for at in random.Random(0).sample(range(start, stop), 40):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(ShardError):
            pairs[0]


# --- images that are not banded -------------------------------------------------------------------------------------


def plain_dataset(out: Path, form: str, **save: Any) -> Path:
    """A dataset whose images some other program has written, and packed in the format's order."""
    make_dataset(out, count=3, degradations=["rain"], test=0.0)
    manifest = json.loads((out / ggt100k.MANIFEST).read_text())
    table = pq.read_table(out / "index/train.parquet")
    shard, found = io.BytesIO(), []
    (name,) = manifest["shards"]
    old = (out / name).read_bytes()
    for row in table.to_pylist():
        for part in ("json", "lq", "gt"):
            data = old[row[f"{part}_offset"] :][: row[f"{part}_size"]]
            if part != "json":
                buffer = io.BytesIO()
                Image.open(io.BytesIO(data)).save(buffer, form, **save)
                data = buffer.getvalue()
                row[f"{part}_bands"] = []
            shard.write(member_header(f"{row['key']}.{part}", len(data)))
            row |= {f"{part}_offset": shard.tell(), f"{part}_size": len(data)}
            shard.write(data + bytes(-len(data) % 512))
        found.append(row)
    (out / name).write_bytes(shard.getvalue() + bytes(1024))
    pq.write_table(pa.Table.from_pylist(found, schema=table.schema), out / "index/train.parquet")
    data = (out / "index/train.parquet").read_bytes()
    manifest["splits"]["train"]["index"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (out / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    return out


@pytest.mark.parametrize(("form", "save"), [("PNG", {}), ("JPEG", {"quality": 90}), ("WEBP", {"lossless": True})])
def test_images_without_bands_are_read_with_one_warning(
    tmp_path: Path, form: str, save: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    out = plain_dataset(tmp_path / "out", form, **save)
    whole = {item["key"]: item for item in PairDataset(out)}
    pairs = PairDataset(out, crop=16)
    with caplog.at_level(logging.WARNING, "ggt-100k"):
        for item in pairs:
            assert found_in(item, whole[item["key"]]) is not None
    slow = [record.message for record in caplog.records if "is not banded" in record.message]
    assert len(slow) == 1
    assert re.fullmatch(
        r"data/rain/train-00000\.tar: key [0-9a-f]{16}: is not banded, so crops need the whole image decoded.*", slow[0]
    )


# --- arrays that the caller may change -------------------------------------------------------------------------------

FLAVOURS = {
    "banded PNG": lambda out: make_dataset(out, count=3, degradations=["rain"], test=0.0),
    "banded JPEG": lambda out: make_dataset(out, count=3, degradations=["rain"], test=0.0, codec="jpeg"),
    "plain PNG": lambda out: plain_dataset(out, "PNG"),
    "plain JPEG": lambda out: plain_dataset(out, "JPEG", quality=90),
    "plain WebP": lambda out: plain_dataset(out, "WEBP", lossless=True),
}
WINDOWS = {
    "whole image": None,
    "square": 16,
    "one row": lambda row, random: (37, 0, 1, row["width"]),
    "the first row": lambda row, random: (0, 0, 1, row["width"]),
    "part of the last row": lambda row, random: (row["height"] - 1, 21, 1, 30),
    "one column": lambda row, random: (0, 89, row["height"], 1),
    "one pixel": lambda row, random: (64, 5, 1, 1),
    "all of it": lambda row, random: (0, 0, row["height"], row["width"]),
}


@pytest.mark.parametrize("library", ["with its libraries", "without them"])
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_arrays_are_writable_and_of_the_caller_alone_in_every_flavour_and_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flavour: str, library: str
) -> None:
    out = FLAVOURS[flavour](tmp_path / "out")
    if library == "without them":
        monkeypatch.setattr(ggt_format.bands, "deflate", None)
        monkeypatch.setattr(ggt_format.jpeg, "simplejpeg", None)
    whole = {item["key"]: item for item in PairDataset(out)}
    for name, crop in WINDOWS.items():
        pairs = PairDataset(out, crop=crop, seed=4, columns=["width", "height"])
        for number, item in enumerate(pairs):
            shape = item["lq"].shape
            for part in ("lq", "gt"):
                before, array = item[part].copy(), item[part]
                assert array.flags.writeable, name
                array[...] = 255 - array
                assert np.array_equal(pairs[number][part], before), (name, part)
                if callable(crop):
                    top, left, height, width = crop({"width": 90, "height": 70}, None)
                    assert shape == (height, width, 3)
                    window = whole[item["key"]][part][top : top + height, left : left + width]
                    assert np.array_equal(window, before), (name, part)


@pytest.mark.parametrize("place", ["the band", "its checksum"])
def test_a_damaged_one_row_window_without_the_inflate_extra_is_a_shard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(ggt_format.bands, "deflate", None)
    out = make_dataset(tmp_path / "out", count=1, degradations=["rain"], test=0.0)
    row = ggt100k.index(out).to_pylist()[0]
    at = {"the band": row["lq_offset"] + row["lq_bands"][0] + 40}
    at["its checksum"] = row["lq_offset"] + row["lq_bands"][1] - 2
    flip = at[place]
    change_shard(out, lambda data: data[:flip] + bytes([data[flip] ^ 255]) + data[flip + 1 :])
    with pytest.raises(ShardError, match=f"key {row['key']}: lq"):
        PairDataset(out, crop=lambda row, random: (3, 0, 1, 90))[0]


def test_a_shard_image_of_16_bits_is_refused_and_not_cut_to_8(tmp_path: Path) -> None:
    deep = np.full((20, 30, 3), 0x1234, np.uint16)
    with pytest.raises(ShardError, match="16 bits"):
        ggt_format.decode_image(cv2.imencode(".png", deep)[1].tobytes(), "a.tar: key 0")


@pytest.mark.slow
def test_a_damaged_cached_index_is_written_again(png: Path, tmp_path: Path) -> None:
    code = f"import ggt100k; print(len(ggt100k.PairDataset({str(png)!r})))"
    assert run_python(code, tmp_path / "cwd").stdout == f"{COUNT - TEST}\n"
    columns = sorted((tmp_path / "cwd-home").rglob("index-*.arrow"))
    assert "key" in {path.stem.rpartition("-")[2] for path in columns}
    for path in columns[::2]:
        path.write_bytes(path.read_bytes()[:200])
    again = run_python(code, tmp_path / "cwd")
    assert again.stdout == f"{COUNT - TEST}\n" and "The file is written again" in again.stderr


def test_where_the_cache_cannot_be_written_the_index_stays_in_memory(png: Path, tmp_path: Path) -> None:
    code = f"""
import ggt100k
print(len(ggt100k.PairDataset({str(png)!r}, crop=16)[:]))
"""
    (tmp_path / "blocked").write_text("a file where the cache's folder should be")
    result = run_python(code, tmp_path / "work", HF_DATASETS_CACHE=str(tmp_path / "blocked"))
    assert result.stdout == f"{COUNT - TEST}\n", result.stderr
    assert "so each process keeps it in memory: " in result.stderr


# --- size -----------------------------------------------------------------------------------------------------------


def test_a_pickled_dataset_of_the_reference_sets_size_stays_small(tmp_path: Path) -> None:
    count, a_shard = 103_707, 190
    make_dataset(tmp_path, count=2, degradations=["rain"], test=0.0)
    manifest = json.loads((tmp_path / ggt100k.MANIFEST).read_text())
    table = pq.read_table(tmp_path / "index/train.parquet")
    many = table.take(np.arange(count) % 2)
    shards = [f"data/rain/train-{number // a_shard:05d}.tar" for number in range(count)]
    many = many.set_column(many.column_names.index("shard"), "shard", pa.array(shards))
    pq.write_table(many, tmp_path / "index/train.parquet")
    data = (tmp_path / "index/train.parquet").read_bytes()
    manifest["splits"]["train"] |= {"index": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}}
    (about,) = manifest["shards"].values()
    manifest["shards"] = dict.fromkeys(sorted(set(shards)), about)
    (tmp_path / ggt100k.MANIFEST).write_text(json.dumps(manifest))
    pairs = PairDataset(tmp_path, crop=16, where={"scores.structure": (0, 1)})
    assert len(pairs) == count
    pairs._rows()
    assert len(pickle.dumps(pairs)) < 1_000_000


def test_a_stream_resumes_at_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    out = tmp_path / "out"
    pack(make_pairs(store, 40, ["rain"]), store, out, PackConfig(test=0.0), gate=GATE)
    stream = ggt100k.load_dataset(data_dir=str(out), split="train", streaming=True)
    assert stream.num_shards == 3
    keys = [pair["key"] for pair in stream]
    seen = []
    for pair in stream:
        seen.append(pair["key"])
        if len(seen) == 35:
            state = stream.state_dict()
            break
    again = ggt100k.load_dataset(data_dir=str(out), split="train", streaming=True)
    again.load_state_dict(state)
    read: list[str] = []
    original = RangeReader._check_length

    def noting(self: Any, each: Any, data: bytes) -> bytes:
        read.append(each.key)
        return original(self, each, data)

    monkeypatch.setattr(RangeReader, "_check_length", noting)
    assert seen + [pair["key"] for pair in again] == keys
    assert read == keys[32:], "nothing before the block is read again"
