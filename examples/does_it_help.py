"""Does it help to train on GGT pairs? The paper's question, at a size for one core and seven minutes.

    python examples/does_it_help.py --out does_it_help.json
    python examples/does_it_help.py --quick                    # a few steps: shows that it runs, and nothing else

Two equal NAFNet-like networks (Chen et al., ECCV 2022) start from equal weights and take equally many steps:

    synthetic        each input is made out of a training pair's gt, by ggt_tools.training.synthetic_degradations
    synthetic + GGT  half of each batch is made so; the other half is the real lq with its gt

Targets and photographs are the same for both; only what the inputs are differs. Both are tested on real pairs of
photographs that neither has seen: the photographs are dealt into folds anew for each seed, and each fold is held out
once. Crops of one photograph never stand on both sides.

What the answer means: a held-out gt is what the restorer of the data made. The sample's is `classical`, a chain of
image processing, so on the sample this measures how well a network learns what `classical` does to real photographs
that are new to it. It says nothing of whether that is nearer to the truth, and nothing of a foundation model's pairs.
With --data-dir it asks the same of any release that fits in memory.
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

NETWORKS = {"synthetic": 0.0, "synthetic + GGT": 0.5}  # the share of real pairs in a batch


class Block(nn.Module):
    """NAFNet's: the only non-linear steps are products of two halves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.spread = nn.Sequential(
            nn.Conv2d(width, 2 * width, 1), nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        )
        self.attend = nn.Conv2d(width, width, 1)
        self.merge, self.widen, self.narrow = (nn.Conv2d(width, out, 1) for out in (width, 2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = gate(self.spread(normed(self.norms[0], x)))
        x = x + self.merge(y * self.attend(y.mean((2, 3), keepdim=True)))
        return x + self.narrow(gate(self.widen(normed(self.norms[1], x))))


def gate(x: torch.Tensor) -> torch.Tensor:
    one, other = x.chunk(2, dim=1)
    return one * other


def normed(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Net(nn.Module):
    """Works at 1/2, 1/4 and 1/8 of the size; what comes out is added to what went in, and is nothing at first."""

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
        x, kept = self.first(functional.pixel_unshuffle(padded, 2)), []
        for before, down in zip(self.before, self.down, strict=True):
            kept.append(before(x))
            x = down(kept[-1])
        x = self.middle(x)
        for at in (1, 0):
            x = self.after[at](self.up[at](x) + kept[at])
        return (padded + functional.pixel_shuffle(self.last(x), 2))[:, :, :height, :width]


def read(data_dir: str | Path) -> list[dict]:
    """All pairs of a release, whole, each with the photograph that it is of: {key, degradation, lq, gt, photograph}."""
    photographs = {}  # the sample's crops are named PHOTOGRAPH-1.jpg, PHOTOGRAPH-2.jpg, ...; else each pair is its own
    for path in ggt100k.sample_folder().glob("*.jpg"):
        key = ggt100k.pair_key(np.asarray(Image.open(path).convert("RGB")))
        photographs[key] = path.stem.rpartition("-")[0]
    splits = ggt100k.open_root(str(data_dir)).manifest["splits"]
    pairs = [pair for split in splits for pair in ggt100k.PairDataset(data_dir, split)]
    pairs = [pair | {"photograph": photographs.get(pair["key"], pair["key"])} for pair in pairs]
    return sorted(pairs, key=lambda pair: (pair["photograph"], pair["key"]))  # however they are split


def batch(pairs: list[dict], real: float, size: int, crop: int, random: np.random.Generator) -> tuple:
    """(lq, gt), each float32, size x 3 x crop x crop, in 0..1: the first `real * size` as stored, the rest degraded."""
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
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def train(pairs: list[dict], real: float, seed: int, options: argparse.Namespace) -> Net:
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(  # up in 20 steps, then down along a cosine
        optimizer, lambda at: min(1.0, (at + 1) / 20) * 0.5 * (1 + math.cos(math.pi * at / options.steps))
    )
    for _ in range(options.steps):
        lq, gt = batch(pairs, real, options.batch, options.crop, random)
        loss = functional.l1_loss(net(lq), gt)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def restored(net: Net, lq: np.ndarray) -> np.ndarray:
    return (net(to_tensor([lq]))[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Of RGB, in dB."""
    return float(10 * np.log10(255**2 / max(np.mean((one.astype(float) - other) ** 2), 1e-9)))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Of luma, 0..1 (Wang et al., TIP 2004: Gaussian window of 11, sigma 1.5)."""
    x, y = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float) for image in (one, other))
    mx, my, xx, yy, xy = (cv2.GaussianBlur(plane, (11, 11), 1.5) for plane in (x, y, x * x, y * y, x * y))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    top = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    return float(np.mean(top / ((mx * mx + my * my + c1) * (xx - mx * mx + yy - my * my + c2))))


def run(pairs: list[dict], options: argparse.Namespace) -> list[dict]:
    """A row for each seed, held-out pair and network; "untouched" is the lq as it is."""
    rows, begun = [], time.monotonic()
    names = sorted({pair["photograph"] for pair in pairs})
    for seed in range(options.seeds):
        dealt = np.array_split(np.random.default_rng(seed).permutation(names), options.folds)
        for fold, held in enumerate(dealt):
            test = [pair for pair in pairs if pair["photograph"] in held]
            rest = [pair for pair in pairs if pair["photograph"] not in held]
            nets = {name: train(rest, real, 100 * seed + fold, options) for name, real in NETWORKS.items()}
            for pair in test:
                about = {name: pair[name] for name in ("key", "photograph", "degradation")}
                about |= {"seed": seed, "fold": fold}
                for name in ("untouched", *NETWORKS):
                    image = pair["lq"] if name == "untouched" else restored(nets[name], pair["lq"])
                    scores = {"psnr": psnr(image, pair["gt"]), "ssim": ssim(image, pair["gt"])}
                    rows.append(about | {"network": name} | scores)
            done = f"seed {seed}, fold {fold + 1} of {len(dealt)}, without {', '.join(held)}"
            print(f"{time.monotonic() - begun:5.0f} s  {done}", file=sys.stderr)
    return rows


def of_seeds(rows: list[dict], metric: str, network: str, degradation: str | None = None) -> np.ndarray:
    """The mean over the held-out pairs, for each seed."""
    found = defaultdict(list)
    for row in rows:
        if row["network"] == network and degradation in (None, row["degradation"]):
            found[row["seed"]].append(row[metric])
    return np.array([np.mean(values) for values in found.values()])


def table(rows: list[dict]) -> str:
    """Mean ± standard deviation over the seeds, by degradation; then what it comes to."""
    lines = [
        "| held out | pairs | untouched | synthetic | synthetic + GGT | gain by GGT, dB | SSIM: synthetic | with GGT |",
        "|---|---|---|---|---|---|---|---|",
    ]
    keys = {row["key"]: row["degradation"] for row in rows}
    for degradation in (*sorted(set(keys.values())), None):
        count = sum(degradation in (None, of) for of in keys.values())
        plain, one, both = (of_seeds(rows, "psnr", name, degradation) for name in ("untouched", *NETWORKS))
        likeness = [of_seeds(rows, "ssim", name, degradation) for name in NETWORKS]
        values = [f"{plain.mean():.2f}", *(spread(each) for each in (one, both, both - one))]
        values += [spread(each, 3) for each in likeness]
        lines.append(f"| {degradation or 'all'} | {count} | {' | '.join(values)} |")
    return "\n".join([*lines, "", conclusion(rows)])


def spread(values: np.ndarray, digits: int = 2) -> str:
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1) if len(values) > 1 else 0:.{digits}f}"


def conclusion(rows: list[dict]) -> str:
    names = sorted({row["photograph"] for row in rows})
    gains = []
    for name in names:
        one, both = (of_seeds([row for row in rows if row["photograph"] == name], "psnr", net) for net in NETWORKS)
        gains.append(both.mean() - one.mean())
    seeds = of_seeds(rows, "psnr", "synthetic + GGT") - of_seeds(rows, "psnr", "synthetic")
    better = sum(gain > 0 for gain in gains)
    told = "it cannot be told whether GGT pairs help"
    if abs(seeds.mean()) > 2 * seeds.std() and max(better, len(names) - better) > 0.75 * len(names):
        told = "GGT pairs help" if seeds.mean() > 0 else "GGT pairs harm"
    return (
        f"{told}: {spread(seeds)} dB over {len(seeds)} seeds (mean ± standard deviation), better on {better} of "
        f"{len(names)} photographs. Held-out gt is the restorer's: this is how well its work is learnt, not the truth."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=ggt100k.sample_folder() / "packed", help="a release; else the sample")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=200, help="of each network")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="6 pairs, 2 seeds, 2 folds, 2 steps")
    parser.add_argument("--out", type=Path, help="a JSON file for the rows")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.folds, options.steps, options.batch = 2, 2, 2, 2
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    pairs = read(options.data_dir)
    rows = run(pairs[:6] if options.quick else pairs, options)
    print(table(rows))
    if options.out:
        about = {name: getattr(options, name) for name in ("seeds", "folds", "steps", "batch", "crop")}
        options.out.write_text(json.dumps({"setting": about, "conclusion": conclusion(rows), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
