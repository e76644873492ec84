"""Does it help to train on GGT pairs? The paper's question, at a size for one core and seven minutes.

    python examples/does_it_help.py --out does_it_help.json
    python examples/does_it_help.py --quick                    # a few steps, to see that it runs

Two equal NAFNet-like networks (Chen et al., ECCV 2022) start with equal weights and are trained for equally many steps:

    synthetic        each input is a training pair's gt, degraded by ggt_tools.training.synthetic_degradations
    synthetic + GGT  half of each batch is such; the other half is the real lq with its gt

Targets and photographs are the same for both; only the inputs differ. Both are tested on real pairs of photographs that
neither was trained on: for each seed, the photographs are divided into folds, and each fold is held out once. Crops of
the same photograph are in the same fold.

Meaning of the result: a held-out gt is the output of the restorer of the data. That of the sample is `classical`, a
chain of image processing. So on the sample, the result is how well a network learns the output of `classical` for new
real photographs. It does not say whether that output is nearer to the true scene, nor anything about pairs of a
foundation model. --data-dir names any other release that fits into memory.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

import ggt100k
from ggt_tools.training.synthetic_degradations import KINDS, degrade

NETWORKS = {"synthetic": 0.0, "synthetic + GGT": 0.5}  # fraction of real pairs in a batch


class Block(nn.Module):
    """A block of NAFNet: its only non-linear steps are products of two halves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.spread = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        )
        self.attend = nn.Conv2d(width, width, 1)
        self.merge, self.widen, self.narrow = (nn.Conv2d(width, out, 1) for out in (width, 2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = gate(self.spread(normalise(self.norms[0], x)))
        x = x + self.merge(y * self.attend(y.mean((2, 3), keepdim=True)))
        return x + self.narrow(gate(self.widen(normalise(self.norms[1], x))))


def gate(x: torch.Tensor) -> torch.Tensor:
    """Multiply both halves of the channels."""
    first, second = x.chunk(2, dim=1)
    return first * second


def normalise(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply a layer normalisation over channels."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Net(nn.Module):
    """A network at 1/2, 1/4 and 1/8 of the size. Its output, 0 at first, is added to the input."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.first, self.last = nn.Conv2d(12, width, 3, padding=1), nn.Conv2d(width, 12, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(w, 2 * w, 2, stride=2) for w in widths[:2])
        self.before = nn.ModuleList(Block(w) for w in widths[:2])
        self.middle = nn.Sequential(Block(widths[2]), Block(widths[2]))
        self.up = nn.ModuleList(nn.Sequential(nn.Conv2d(2 * w, 4 * w, 1), nn.PixelShuffle(2)) for w in widths[:2])
        self.after = nn.ModuleList(Block(w) for w in widths[:2])
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        height, width = lq.shape[2:]
        padded = functional.pad(lq, (0, -width % 8, 0, -height % 8), mode="replicate")
        x, skips = self.first(functional.pixel_unshuffle(padded, 2)), []
        for before, down in zip(self.before, self.down, strict=True):
            skips.append(before(x))
            x = down(skips[-1])
        x = self.middle(x)
        for level in (1, 0):
            x = self.after[level](self.up[level](x) + skips[level])
        return (padded + functional.pixel_shuffle(self.last(x), 2))[:, :, :height, :width]


def read_pairs(data_dir: str | Path) -> list[dict]:
    """Return all pairs of a release, each with its photograph: {key, degradation, lq, gt, photograph}."""
    photographs = {}  # by key; crops of the sample are named PHOTOGRAPH-1.jpg, PHOTOGRAPH-2.jpg, ...
    for path in ggt100k.sample_folder().glob("*.jpg"):
        key = ggt100k.pair_key(np.asarray(Image.open(path).convert("RGB")))
        photographs[key] = path.stem.rpartition("-")[0]
    splits = ggt100k.open_root(str(data_dir)).manifest["splits"]
    pairs = [pair for split in splits for pair in ggt100k.PairDataset(data_dir, split)]
    pairs = [pair | {"photograph": photographs.get(pair["key"], pair["key"])} for pair in pairs]
    return sorted(pairs, key=lambda pair: (pair["photograph"], pair["key"]))  # the same order for any split


def draw_batch(pairs: list[dict], real: float, size: int, crop: int, random: np.random.Generator) -> tuple:
    """Return (lq, gt), float32 (size, 3, crop, crop), 0..1: `real * size` stored pairs, the rest degraded gt."""
    inputs, targets = [], []
    for number in range(size):
        pair = pairs[random.integers(len(pairs))]
        top, left = (random.integers(edge - crop + 1) for edge in pair["gt"].shape[:2])
        lq, gt = (pair[name][top : top + crop, left : left + crop] for name in ("lq", "gt"))
        kind, strength, seed = random.choice(list(KINDS)), random.random(), int(random.integers(2**31))
        if number >= real * size:
            lq = degrade(np.ascontiguousarray(gt), kind, strength=strength, seed=seed)
        turns, mirrored = random.integers(4), random.random() < 0.5
        for images, image in ((inputs, lq), (targets, gt)):
            turned = np.rot90(image, turns)
            images.append(turned[:, ::-1] if mirrored else turned)
    return to_tensor(inputs), to_tensor(targets)


def to_tensor(images: list) -> torch.Tensor:
    """Convert uint8 images (height, width, 3) to a float32 batch (n, 3, height, width), 0..1."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def train(pairs: list[dict], real: float, seed: int, options: argparse.Namespace) -> Net:
    """Train a network; `real` is the fraction of real pairs in a batch."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(  # rises for 20 steps, then falls along a cosine
        optimizer, lambda step: min(1.0, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / options.steps))
    )
    for _ in range(options.steps):
        lq, gt = draw_batch(pairs, real, options.batch, options.crop, random)
        loss = functional.l1_loss(net(lq), gt)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def restore(net: Net, lq: np.ndarray) -> np.ndarray:
    """Restore an image, uint8 (height, width, 3)."""
    return (net(to_tensor([lq]))[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def psnr(image: np.ndarray, gt: np.ndarray) -> float:
    """Return the PSNR of RGB in dB."""
    return float(10 * np.log10(255**2 / max(np.mean((image.astype(float) - gt) ** 2), 1e-9)))


def ssim(image: np.ndarray, gt: np.ndarray) -> float:
    """Return the SSIM of luma, 0..1 (Wang et al., TIP 2004: Gaussian window of 11, sigma 1.5)."""
    x, y = (cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(float) for pixels in (image, gt))
    mx, my, xx, yy, xy = (cv2.GaussianBlur(plane, (11, 11), 1.5) for plane in (x, y, x * x, y * y, x * y))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    return float(np.mean(top / ((mx * mx + my * my + c1) * (xx - mx * mx + yy - my * my + c2))))


def run(pairs: list[dict], options: argparse.Namespace) -> list[dict]:
    """Return a row for each seed, held-out pair and network; "untouched" is the unchanged lq."""
    rows, begun = [], time.monotonic()
    names = sorted({pair["photograph"] for pair in pairs})
    for seed in range(options.seeds):
        folds = np.array_split(np.random.default_rng(seed).permutation(names), options.folds)
        for fold, held_out in enumerate(folds):
            test_pairs = [pair for pair in pairs if pair["photograph"] in held_out]
            train_pairs = [pair for pair in pairs if pair["photograph"] not in held_out]
            nets = {name: train(train_pairs, real, 100 * seed + fold, options) for name, real in NETWORKS.items()}
            for pair in test_pairs:
                facts = {name: pair[name] for name in ("key", "photograph", "degradation")}
                facts |= {"seed": seed, "fold": fold}
                for name in ("untouched", *NETWORKS):
                    image = pair["lq"] if name == "untouched" else restore(nets[name], pair["lq"])
                    scores = {"psnr": psnr(image, pair["gt"]), "ssim": ssim(image, pair["gt"])}
                    rows.append(facts | {"network": name} | scores)
            progress = f"seed {seed}, fold {fold + 1} of {len(folds)}, without {', '.join(held_out)}"
            print(f"{time.monotonic() - begun:5.0f} s  {progress}", file=sys.stderr)
    return rows


def seed_means(rows: list[dict], metric: str, network: str, degradation: str | None = None) -> np.ndarray:
    """Return the mean over the held-out pairs for each seed."""
    by_seed = defaultdict(list)
    for row in rows:
        if row["network"] == network and degradation in (None, row["degradation"]):
            by_seed[row["seed"]].append(row[metric])
    return np.array([np.mean(values) for values in by_seed.values()])


def table(rows: list[dict]) -> str:
    """Return a table of mean ± standard deviation over the seeds by degradation, and the conclusion."""
    lines = [
        "| held out | pairs | untouched | synthetic | synthetic + GGT | gain by GGT, dB | SSIM: synthetic | with GGT |",
        "|---|---|---|---|---|---|---|---|",
    ]
    keys = {row["key"]: row["degradation"] for row in rows}
    for degradation in (*sorted(set(keys.values())), None):
        count = sum(degradation in (None, kind) for kind in keys.values())
        plain, synthetic, with_ggt = (seed_means(rows, "psnr", name, degradation) for name in ("untouched", *NETWORKS))
        similarities = [seed_means(rows, "ssim", name, degradation) for name in NETWORKS]
        values = [f"{plain.mean():.2f}", *(spread(column) for column in (synthetic, with_ggt, with_ggt - synthetic))]
        values += [spread(column, 3) for column in similarities]
        lines.append(f"| {degradation or 'all'} | {count} | {' | '.join(values)} |")
    return "\n".join([*lines, "", conclusion(rows)])


def spread(values: np.ndarray, digits: int = 2) -> str:
    """Return mean ± standard deviation."""
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1) if len(values) > 1 else 0:.{digits}f}"


def conclusion(rows: list[dict]) -> str:
    """Return in words whether GGT pairs help, and how large the gain is."""
    names = sorted({row["photograph"] for row in rows})
    gains = []
    for name in names:
        of_photo = [row for row in rows if row["photograph"] == name]
        synthetic, with_ggt = (seed_means(of_photo, "psnr", net) for net in NETWORKS)
        gains.append(with_ggt.mean() - synthetic.mean())
    seeds = seed_means(rows, "psnr", "synthetic + GGT") - seed_means(rows, "psnr", "synthetic")
    better = sum(gain > 0 for gain in gains)
    result = "The result does not show whether GGT pairs help"
    if abs(seeds.mean()) > 2 * seeds.std() and max(better, len(names) - better) > 0.75 * len(names):
        result = "GGT pairs help" if seeds.mean() > 0 else "GGT pairs harm"
    return (
        f"{result}: {spread(seeds)} dB over {len(seeds)} seeds (mean ± standard deviation), better on {better} of "
        f"{len(names)} photographs. The held-out gt is the output of the restorer, not the true scene."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir", default=ggt100k.sample_folder() / "packed", help="A release (default: the sample)."
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200, help="Training steps of each network.")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="Use 6 pairs, 2 seeds, 2 folds and 2 steps.")
    parser.add_argument("--out", type=Path, help="JSON file to write the rows to.")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.folds, options.steps, options.batch = 2, 2, 2, 2
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    pairs = read_pairs(options.data_dir)
    rows = run(pairs[:6] if options.quick else pairs, options)
    print(table(rows))
    if options.out:
        setting = {name: getattr(options, name) for name in ("seeds", "folds", "steps", "batch", "crop")}
        options.out.write_text(json.dumps({"setting": setting, "conclusion": conclusion(rows), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
