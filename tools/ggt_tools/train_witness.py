"""train-witness: makes the learned witness out of clean photographs, faults planted in them, and nothing else.

    train_witness([folder_of_photographs], out, TrainConfig(), print)

The photographs become pairs (degrading.py), more than half of the pairs get a fault (planting.py), each is measured by
cells (evidence.py), and a few small networks learn to say for each tile of 16 px, and for the whole, which group of
faults is there, or none. They differ by their beginnings, and by their photographs where there are several folders; the
mean of their answers is what counts, since each takes other good pairs for bad ones. What is exported is ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ggt_tools.degradations import Image, opencv
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.folders import find_images
from ggt_tools.processes import in_processes
from ggt_tools.witnesses import degrading, planting
from ggt_tools.witnesses.degrading import to_bytes
from ggt_tools.witnesses.evidence import CELL, COUNT, evidence
from ggt_tools.witnesses.learned import CLASSES, TILE

if TYPE_CHECKING:
    import torch

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp")
SIDE, MARGIN = 256, 32  # pixels of a sample, and what is cut off on each side, so that no border betrays a shift
LEAST = SIDE + 2 * MARGIN  # pixels of a photograph's shorter side
MOST = 1600  # of it: larger ones are soft, and each process has all of them in memory
WIDTH = 64  # channels of a network
PAIRS, EACH = 25, 8  # of a job: pairs made, and samples of each
IGNORE = -100  # a label that counts for nothing
SHARES = {"content": 0.30, "colour": 0.23, "detail": 0.17, "artefact": 0.21, "unrestored": 0.09}  # of the faults


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    samples: int = 48_000
    networks: int = 2  # of each folder
    epochs: int = 7  # of each network
    batch: int = 64
    rate: float = 3e-3
    workers: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "networks", "epochs", "batch", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train-witness: --{name} {getattr(self, name)}: at least 1 is wanted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """measures: float16 n x COUNT x 32 x 32. tiles: int64 n x 16 x 16, the class of each. whole: int64 n."""

    measures: npt.NDArray[np.float16]
    tiles: npt.NDArray[np.int64]
    whole: npt.NDArray[np.int64]


def train_witness(folders: Sequence[Path], out: Path, config: TrainConfig, report: Callable[[str], None]) -> None:
    """Trains some networks on the photographs of each folder, and writes one ONNX file of them all.

    Raises ConfigError where a folder holds too few.
    """
    import torch

    for path in chain.from_iterable(files(folder)[1] for folder in folders):
        report(f"{path}: has fewer than {LEAST} px a side, and is left out")
    for folder in folders:
        if passed := str(find_images(folder, suffixes=SUFFIXES).passed_over):
            report(f"{folder}: passed over: {passed}")
    for folder in folders:
        read(folder)  # so that a fault of the last one shows before the first one's hour
    read.cache_clear()
    nets: list[torch.nn.Module] = []
    for folder in folders:
        samples = make_samples(folder, config)
        report(f"{folder}: {len(samples.whole)} samples, of them {int((samples.whole > 0).sum())} with a fault")
        for _ in range(config.networks):
            seed = config.seed + len(nets)
            torch.manual_seed(seed)
            nets.append(network())
            fit(nets[-1], samples, replace(config, seed=seed), report)
        del samples  # 48,000 are 6 GB
    export(together(nets), out)


def make_samples(photographs: Path, config: TrainConfig) -> Samples:
    """The same whatever the number of workers."""
    jobs = [(config.seed, at) for at in range(-(-config.samples // (PAIRS * EACH)))]
    parts = list(in_processes(partial(_job, photographs), jobs, config.workers, int))
    return Samples(
        measures=np.concatenate([part.measures for part in parts])[: config.samples],
        tiles=np.concatenate([part.tiles for part in parts])[: config.samples],
        whole=np.concatenate([part.whole for part in parts])[: config.samples],
    )


@cache  # a process works on many jobs
def read(folder: Path) -> list[Image]:
    """Every picture of a folder that has LEAST px a side, as uint8 RGB; of MOST px a side where it is larger."""
    from PIL import Image as Pillow

    found = []
    for path in files(folder)[0]:
        with Pillow.open(path) as file:
            image = file.convert("RGB")
        if (more := min(image.size) / MOST) > 1.0:
            size = round(image.width / more), round(image.height / more)
            image = image.resize(size, Pillow.Resampling.LANCZOS)
        found.append(np.asarray(image))
    if len(found) < 2:
        raise ConfigError(
            f"{folder}: holds {len(found)} photographs of {LEAST} px a side or more; put clean ones there"
        )
    return found


def files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder that are large enough, and those that are not."""
    from PIL import Image as Pillow

    found: tuple[list[Path], list[Path]] = [], []
    for path in find_images(folder, suffixes=SUFFIXES).paths:
        with Pillow.open(path) as file:
            found[min(file.size) < LEAST].append(path)
    return found


def _job(photographs: Path, seed: tuple[int, int], tell: Callable[[int], object]) -> Samples:
    opencv().setNumThreads(1)
    clean = read(photographs)
    random = np.random.default_rng([2, *seed])
    pairs = [make_pair(clean, at, random) for at in range(PAIRS)]
    made = [sample(pairs, at, random) for at in range(PAIRS) for _ in range(EACH)]
    return Samples(
        measures=np.stack([one[0] for one in made]),
        tiles=np.stack([one[1] for one in made]),
        whole=np.array([one[2] for one in made]),
    )


def make_pair(clean: list[Image], at: int, random: np.random.Generator) -> tuple[Image, Image]:
    """gt and lq, 320 x 320 x 3. Every twelfth is real: a photograph as it is, and what `classical` makes of it."""
    side = SIDE + 2 * MARGIN
    photograph = clean[int(random.integers(len(clean)))]
    least = min(photograph.shape[:2])
    if at % 12 == 0:
        from ggt_tools.restorers import restorer

        lq = _window(photograph, 1.0, side, random)
        try:
            gt = restorer("classical").restore(lq, "", seed=0).image
        except PairError:
            gt = None
        return lq if gt is None else gt, lq
    # large ones are soft at their full size
    shrink = float(np.exp(random.uniform(np.log(1.6 if least > 1100 else 1.0), np.log(least / side) + 1e-6)))
    gt = _other_light(_window(photograph, min(max(shrink, 1.0), least / side), side, random), random)
    kind = list(degrading.KINDS)[int(random.integers(len(degrading.KINDS)))]
    return gt, degrading.degrade(gt, kind, strength=random.random(), seed=int(random.integers(2**31)))


def _other_light(image: Image, random: np.random.Generator) -> Image:
    """In most cases other hues, more or less colour, another light: so that no scene's own colours are learnt."""
    if random.random() < 0.3:
        return image
    cv2 = opencv()
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(random.integers(256)) if random.random() < 0.5 else np.uint8(0)  # goes round at 256
    light = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    light = np.clip(grey + (light - grey) * random.uniform(0.1, 1.5), 0, 255) * np.exp(random.uniform(-0.2, 0.1, 3))
    return to_bytes(255.0 * np.clip(light / 255.0, 0, 1) ** random.uniform(0.75, 1.3))


def _window(photograph: Image, shrink: float, side: int, random: np.random.Generator) -> Image:
    cv2 = opencv()
    size = min(round(side * shrink), *photograph.shape[:2])
    top, left = (int(random.integers(0, edge - size + 1)) for edge in photograph.shape[:2])
    window = np.ascontiguousarray(photograph[top : top + size, left : left + size])
    if size == side:
        return window
    return np.asarray(cv2.resize(window, (side, side), interpolation=cv2.INTER_AREA))


def sample(
    pairs: list[tuple[Image, Image]], at: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int64], int]:
    """One pair with a fault or none, cut and turned at random: its measures, the class of each tile, of the whole."""
    gt, lq = pairs[at]
    other = pairs[(at + 1 + int(random.integers(len(pairs) - 1))) % len(pairs)][0]
    scene = planting.Scene(gt=gt, lq=lq, other=other)
    if random.random() < 0.75:
        scene = planting.Scene(gt=planting.harmless(scene, random), lq=lq, other=other)
    image, whole, seen = scene.gt, 0, np.zeros(gt.shape[:2], np.bool_)
    if random.random() < 0.6:
        group = planting.GROUPS[int(random.choice(len(SHARES), p=list(SHARES.values())))]
        kinds = [kind for kind, (of, _) in planting.FAULTS.items() if of == group]
        kind = kinds[int(random.integers(len(kinds)))]
        done = planting.plant(kind, scene, strength=random.uniform(0.1, 1.0), random=random)
        image, seen, whole = done.image, done.seen, CLASSES.index(group)
    # on the grid of 8 px, which JPEG's blocks stand on in a candidate too
    top, left = (CELL * int(number) for number in random.integers(2, 2 * MARGIN // CELL - 2, size=2, endpoint=True))
    turns, mirrored = int(random.integers(4)), random.random() < 0.5

    def cut(plane: npt.NDArray[Any]) -> npt.NDArray[Any]:
        turned = np.rot90(plane[top : top + SIDE, left : left + SIDE], turns)
        return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)

    change = np.abs(cut(image).astype(np.int16) - cut(scene.gt)).mean(axis=2)
    share, mean = (_tiles(plane.astype(np.float32)) for plane in (cut(seen), change))
    tiles = np.where(share > 0.25, whole, np.where(mean < 1.0, 0, IGNORE)).astype(np.int64)
    if whole and not (tiles == whole).any():
        whole = IGNORE  # it hardly shows within the cut: neither good nor to be learnt from
    return evidence(cut(lq), cut(image)).astype(np.float16), tiles, whole


def _tiles(plane: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    few = SIDE // TILE
    return np.asarray(plane.reshape(few, TILE, few, TILE).mean(axis=(1, 3)), np.float32)


def network() -> torch.nn.Module:
    """Measures (n, COUNT, 2 h, 2 w) to logits of the classes: (n, classes, h, w) by tile, (n, classes) of the whole."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, width: int, dilation: int) -> None:
            super().__init__()
            self.one = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
            self.two = nn.Conv2d(width, width, 3, padding=1, bias=False)
            self.norm_one, self.norm_two = nn.BatchNorm2d(width), nn.BatchNorm2d(width)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = functional.relu(self.norm_one(self.one(x)))
            return functional.relu(x + self.norm_two(self.two(y)))

    class Witness(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.BatchNorm2d(COUNT), nn.Conv2d(COUNT, 64, 1), nn.ReLU(), nn.Conv2d(64, 48, 1), nn.ReLU(),
                nn.Conv2d(48, WIDTH, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(),
                Block(WIDTH, 1), Block(WIDTH, 2), nn.Dropout2d(0.1),
            )  # fmt: skip
            self.tiles = nn.Conv2d(WIDTH, len(CLASSES), 1)
            self.mix = nn.Linear(2 * WIDTH + 2 * len(CLASSES), 64)
            self.whole = nn.Linear(64, len(CLASSES))

        def forward(self, measures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            found = self.body(measures)
            tiles = self.tiles(found)
            smooth = functional.avg_pool2d(tiles, 3, 1, 1, count_include_pad=False)
            seen = [found.mean(dim=(2, 3)), found.amax(dim=(2, 3)), tiles.mean(dim=(2, 3)), smooth.amax(dim=(2, 3))]
            return tiles, self.whole(functional.relu(self.mix(torch.cat(seen, dim=1))))

    return Witness()


def together(nets: Sequence[torch.nn.Module]) -> torch.nn.Module:
    """One that answers with their mean."""
    import torch
    from torch import nn

    class Together(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nets = nn.ModuleList(nets)

        def forward(self, measures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            tiles, whole = zip(*(net(measures) for net in self.nets), strict=True)
            return torch.stack(tiles).mean(dim=0), torch.stack(whole).mean(dim=0)

    return Together()


def fit(net: torch.nn.Module, samples: Samples, config: TrainConfig, report: Callable[[str], None]) -> None:
    """Cross entropy of the tiles and of the whole; AdamW, the rate in one cycle."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(config.workers)
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    steps = len(samples.whole) // config.batch
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=2e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.rate, total_steps=max(steps, 1) * config.epochs)
    net.train()
    for epoch in range(config.epochs):
        losses = []
        for some in np.array_split(random.permutation(len(samples.whole))[: steps * config.batch], steps):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                by_tile, by_whole = net(torch.from_numpy(samples.measures[some]).float())
            tiles, whole = torch.from_numpy(samples.tiles[some]), torch.from_numpy(samples.whole[some])
            loss = functional.cross_entropy(by_tile.float(), tiles, ignore_index=IGNORE)
            loss = loss + functional.cross_entropy(by_whole.float(), whole, ignore_index=IGNORE)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
            losses.append(float(loss.detach()))
        report(f"epoch {epoch + 1} of {config.epochs}: loss {np.mean(losses):.3f}")


def export(net: torch.nn.Module, out: Path) -> None:
    """One ONNX file with the weights in it, for pictures of any size."""
    import torch

    net.eval()
    part = out.with_suffix(".part")
    torch.onnx.export(
        net, (torch.zeros(1, COUNT, 32, 48),), str(part), input_names=["measures"], output_names=["tiles", "whole"],
        opset_version=17, dynamic_axes={"measures": {2: "height", 3: "width"}, "tiles": {2: "rows", 3: "columns"}},
        dynamo=False,
    )  # fmt: skip
    part.replace(out)
