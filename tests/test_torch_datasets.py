"""`GGTPairDataset`, `GGTDataModule` and `PairStream`: against BasicSR's own reader, and in PyTorch's DataLoader."""

from __future__ import annotations

import itertools
import pickle
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ggt100k
from ggt_format.augment import Orientation, draw_orientation
from ggt_tools.errors import ConfigError
from ggt_tools.stages.export import ExportConfig, export
from tests.benchmarks.remote import serve

from .making import make_dataset

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader  # noqa: E402

from ggt_format.basicsr import GGTPairDataset  # noqa: E402
from ggt_format.stream import PairStream  # noqa: E402

pytestmark = pytest.mark.slow
TRAIN = {"phase": "train", "gt_size": 32, "scale": 1, "use_hflip": True, "use_rot": True}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("release") / "ggt-100k", count=12)


def numbered(height: int = 3, width: int = 2) -> np.ndarray:
    return np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)


def as_bytes(tensor: Any) -> np.ndarray:
    return np.rint(tensor.numpy().transpose(1, 2, 0) * 255).astype(np.uint8)


# --- orientations -----------------------------------------------------------------------------------------------------


def test_each_orientation_is_what_numpy_makes() -> None:
    pixels = numbered()
    assert np.array_equal(Orientation(is_mirrored=True).apply(pixels), np.fliplr(pixels))
    assert np.array_equal(Orientation(is_upside_down=True).apply(pixels), np.flipud(pixels))
    assert np.array_equal(Orientation(is_transposed=True).apply(pixels), pixels.swapaxes(0, 1))
    turned = Orientation(is_mirrored=True, is_transposed=True).apply(pixels)
    assert np.array_equal(turned, np.rot90(pixels, 1)) and turned.flags.c_contiguous
    flags = list(itertools.product((False, True), repeat=3))
    assert len({Orientation(*each).apply(pixels).tobytes() for each in flags}) == 8


def test_orientations_are_drawn_as_basicsr_draws_them() -> None:
    transforms = pytest.importorskip("basicsr.data.transforms")
    for seed, (hflip, rotation) in itertools.product(range(20), itertools.product((False, True), repeat=2)):
        random.seed(seed)
        (expected,) = (transforms.augment([numbered(4, 4)], hflip, rotation),)
        random.seed(seed)
        assert np.array_equal(draw_orientation(hflip, rotation).apply(numbered(4, 4)), expected)


# --- BasicSR ----------------------------------------------------------------------------------------------------------


def test_basicsr_builds_it_from_options(root: Path) -> None:
    """By the name in an option file, with BasicSR's own builder and loader."""
    data = pytest.importorskip("basicsr.data")
    opt = TRAIN | {
        "name": "GGT-100K", "type": "GGTPairDataset", "dataroot": str(root), "io_backend": {"type": "disk"},
        "batch_size_per_gpu": 4, "num_worker_per_gpu": 0, "dataset_enlarge_ratio": 1,
    }  # fmt: skip
    dataset = data.build_dataset(opt)
    assert isinstance(dataset, GGTPairDataset) and len(dataset) == len(ggt100k.PairDataset(root))
    batch = next(iter(data.build_dataloader(dataset, opt, num_gpu=1, seed=1)))
    assert batch["lq"].shape == batch["gt"].shape == (4, 3, 32, 32)


def test_windows_and_orientations_are_those_of_basicsr(root: Path, tmp_path: Path) -> None:
    """The same seed gives what BasicSR's reader gives of an export: bytes, window, flips and value range."""
    module = pytest.importorskip("basicsr.data.paired_image_dataset")
    export(root, tmp_path / "x", ExportConfig(to="basicsr", splits=("train",)))
    folders = {f"dataroot_{side}": str(tmp_path / "x" / "train" / side) for side in ("lq", "gt")}
    theirs = module.PairedImageDataset(TRAIN | folders | {"use_flip": True, "io_backend": {"type": "disk"}})
    by_key = {Path(path["gt_path"]).stem: number for number, path in enumerate(theirs.paths)}
    ours = GGTPairDataset(TRAIN | {"dataroot": root})
    keys = ggt100k.index(root, columns=["key"])["key"].to_pylist()
    assert sorted(keys) == sorted(by_key)
    for number, key in enumerate(keys):
        random.seed(number)
        expected = theirs[by_key[key]]
        random.seed(number)
        item = ours[number]
        assert item["key"] == key and Path(item["lq_path"]).stem == Path(item["gt_path"]).stem == key
        for side in ("lq", "gt"):
            assert item[side].dtype == torch.float32 and torch.allclose(item[side], expected[side], atol=1e-6)


@pytest.mark.slow
def test_both_images_are_turned_equally(root: Path) -> None:
    """Each window of LQ, turned, lies where the window of GT lies; all eight orientations occur."""
    dataset = GGTPairDataset(TRAIN | {"dataroot": root, "gt_size": 70})
    whole = ggt100k.PairDataset(root)[0]
    flags = [Orientation(*each) for each in itertools.product((False, True), repeat=3)]
    seen: Counter[Orientation] = Counter()
    random.seed(0)
    for _ in range(200):
        item = dataset[0]
        places = [
            (orientation, left)
            for orientation in flags
            for left in range(whole["lq"].shape[1] - 69)
            if np.array_equal(orientation.apply(whole["lq"][:, left : left + 70]), as_bytes(item["lq"]))
        ]
        assert len(places) == 1
        ((orientation, left),) = places
        assert np.array_equal(orientation.apply(whole["gt"][:, left : left + 70]), as_bytes(item["gt"]))
        seen[orientation] += 1
    assert len(seen) == 8 and min(seen.values()) > 8


def test_validation_uses_whole_images_of_the_test_split(root: Path) -> None:
    dataset = GGTPairDataset(TRAIN | {"dataroot": root, "phase": "val"})
    pairs = ggt100k.PairDataset(root, "test")
    assert len(dataset) == len(pairs) > 0
    for item, pair in zip(DataLoader(dataset, batch_size=1), pairs, strict=True):
        assert np.array_equal(as_bytes(item["lq"][0]), pair["lq"])
        assert np.array_equal(as_bytes(item["gt"][0]), pair["gt"])


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"use_flip": True}, (True, False)),
        ({"use_hflip": False, "use_flip": True}, (False, False)),
        ({"geometric_augs": True}, (True, True)),
        ({"geometric_augs": True, "use_rot": False}, (True, False)),
        ({}, (False, False)),
    ],
)
def test_names_of_options_of_basicsr_and_restormer(
    options: dict[str, Any], flags: tuple[bool, bool], root: Path
) -> None:
    dataset = GGTPairDataset({"phase": "train", "dataroot_gt": str(root)} | options)
    assert (dataset.use_hflip, dataset.use_rot) == flags


def test_where_mean_and_std(root: Path) -> None:
    options = {"dataroot": root, "phase": "test", "split": "train", "where": {"degradation": ["snow"]}}
    dataset = GGTPairDataset(options | {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 2.0]})
    plain = GGTPairDataset(options)
    assert {item["degradation"] for item in map(plain.__getitem__, range(len(plain)))} == {"snow"}
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 0.25), (0.3, 2.0)]):
        assert torch.allclose(dataset[0]["gt"][channel], (plain[0]["gt"][channel] - mean) / std, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 4}, "scale: 4: LQ and GT image have the same size. Write scale: 1."),
        ({"gt_size": 0}, "gt_size: 0: must be a number of pixels, 1 or more. Write for example gt_size: 256."),
        ({"mean": [0.5]}, "mean: [0.5]: has 1 numbers. Write three, for red, green and blue."),
    ],
)
def test_options_that_cannot_be_used(options: dict[str, Any], message: str, root: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        GGTPairDataset(TRAIN | {"dataroot": root} | options)
    assert str(caught.value) == message


def test_a_window_that_is_larger_than_the_images_names_the_pair(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"key [0-9a-f]{16}: the window"):
        GGTPairDataset(TRAIN | {"dataroot": root, "gt_size": 91})[0]


def test_workers_draw_other_windows_in_each_epoch(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(GGTPairDataset(TRAIN | {"dataroot": root})))
    loader = DataLoader(dataset, batch_size=3, num_workers=1)
    epochs = [[item.numpy().tobytes() for batch in loader for item in batch["lq"]] for _ in range(2)]
    assert len(epochs[0]) == len(epochs[1]) == len(dataset)
    assert not set(epochs[0]) & set(epochs[1])


# --- lightning --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_lightning_trains_and_validates(root: Path, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    from ggt_format.lightning import GGTDataModule

    class Net(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 3, 1)
            self.shapes: dict[str, list[tuple[int, ...]]] = {"train": [], "val": []}

        def _loss(self, batch: dict[str, Any], phase: str) -> Any:
            self.shapes[phase].append(tuple(batch["lq"].shape))
            return torch.nn.functional.l1_loss(self.layer(batch["lq"]), batch["gt"])

        def training_step(self, batch: dict[str, Any]) -> Any:
            return self._loss(batch, "train")

        def validation_step(self, batch: dict[str, Any]) -> None:
            self._loss(batch, "val")

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.01)

    net = Net()
    module = GGTDataModule(root, batch_size=2, workers=0, options={"gt_size": 48})
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(net, datamodule=module)
    counts = {split: len(ggt100k.PairDataset(root, split)) for split in ggt100k.SPLITS}
    assert net.shapes["train"] == [(2, 3, 48, 48)] * (counts["train"] // 2)
    assert net.shapes["val"] == [(1, 3, 70, 90)] * counts["test"]


# --- the stream -------------------------------------------------------------------------------------------------------


def keys(stream: PairStream, workers: int = 0) -> list[str]:
    loader = DataLoader(stream, batch_size=None, num_workers=workers)
    return [item["key"] for item in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_yields_each_pair_once(workers: int, root: Path) -> None:
    pairs = ggt100k.PairDataset(root)
    assert sorted(keys(PairStream(pairs), workers)) == sorted(item["key"] for item in pairs)
    assert keys(PairStream(pairs, shuffle=False)) == [item["key"] for item in pairs]


def test_the_order_depends_on_seed_and_epoch_alone(root: Path) -> None:
    orders = {}
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        stream = PairStream(ggt100k.PairDataset(root, seed=seed))
        stream.set_epoch(epoch)
        orders[seed, epoch] = keys(stream)
        assert keys(stream) == orders[seed, epoch]
    assert len({tuple(order) for order in orders.values()}) == 3
    stream.set_epoch(5)
    stream.set_epoch(0)
    assert keys(stream) == orders[1, 0]


@pytest.mark.parametrize(("world_size", "is_even"), [(2, True), (2, False), (4, True), (4, False)])
def test_processes_share_the_pairs(world_size: int, is_even: bool, root: Path) -> None:
    pairs = ggt100k.PairDataset(root)
    streams = [PairStream(pairs, rank=rank, world_size=world_size, is_even=is_even) for rank in range(world_size)]
    shares = [keys(stream) for stream in streams]
    assert [len(share) for share in shares] == [len(stream) for stream in streams]
    everything = [key for share in shares for key in share]
    assert len(set(everything)) == len(everything)
    if is_even:
        assert {len(share) for share in shares} == {len(pairs) // world_size}
    else:
        assert len(everything) == len(pairs)


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 0)])
def test_a_rank_that_does_not_exist(rank: int, world_size: int, root: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^rank={rank}: must be from 0 to "):
        PairStream(ggt100k.PairDataset(root), rank=rank, world_size=world_size)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_that_reads_ahead_has_the_same_order(root: Path, workers: int) -> None:
    pairs = ggt100k.PairDataset(root)
    assert PairStream(pairs).prefetch == 0
    assert keys(PairStream(pairs, prefetch=2), workers) == keys(PairStream(pairs), workers)
    with serve(root) as server:
        stream = PairStream(ggt100k.PairDataset(server.url))
        assert stream.prefetch == 1
        assert keys(stream, workers) == keys(PairStream(pairs), workers)
    with pytest.raises(ConfigError, match="prefetch=-1"):
        PairStream(pairs, prefetch=-1)
