"""Use generated images as visual priors: compare a restoration network with and without this further input.

    ggt100k pack WORKSPACE RELEASE --priors
    python examples/visual_prior.py --data-dir RELEASE --steps 10000

GPT-4o-Restore shows this use (arXiv 2505.05621): an output that looks good but drifts from its photograph is a poor
ground truth, but a helpful input, from which the network takes what fits. Both networks are equal, with six input
channels; the one without the prior gets lq twice. The program prints their PSNR on held-out windows.

It uses the photographs for which the release has a pair and a prior of the same key. Without --data-dir, it makes
substitutes from the sample: the truth is the gt of a pair, lq is the truth with haze, and the prior is the truth with
another position, size and colour. The figures then show only that the code works.
"""

import argparse
import itertools

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

import ggt100k
from ggt_tools.training.synthetic_degradations import degrade


class Packed:
    """Windows of (lq, prior, truth), uint8 (height, width, 3); every tenth photograph is held out."""

    def __init__(self, folder: str, split: str, crop: int) -> None:
        train, prior = (ggt100k.index(folder, name, columns=["key"])["key"].to_pylist() for name in ("train", "prior"))
        both = sorted({*train} & {*prior})
        keys = both[::10] if split == "test" else [key for number, key in enumerate(both) if number % 10]
        # both indices have the same order, and a window depends only on (seed, epoch, number), so both windows agree
        self.pairs, self.priors = (
            ggt100k.PairDataset(folder, name, where={"key": keys}, crop=crop) for name in ("train", "prior")
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> list[np.ndarray]:
        pair, prior = self.pairs[number], self.priors[number]
        assert pair["key"] == prior["key"]
        return [pair["lq"], prior["gt"], pair["gt"]]

    def set_epoch(self, epoch: int) -> None:
        self.pairs.set_epoch(epoch)
        self.priors.set_epoch(epoch)


def make_substitutes(pair: dict) -> list[np.ndarray]:
    """Make (lq, prior, truth) from a pair of the sample."""
    draw, truth = np.random.default_rng(int(pair["key"], 16)), pair["gt"]
    lq = degrade(truth, "haze", strength=draw.random(), seed=int(draw.integers(2**31)))
    moved = np.eye(2, 3) * draw.uniform(0.97, 1.03) + [[0, 0, draw.uniform(-3, 3)], [0, 0, draw.uniform(-3, 3)]]
    drifted = cv2.warpAffine(truth, moved, truth.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    return [lq, np.clip(drifted * draw.uniform(0.9, 1.1, 3), 0, 255).astype(np.uint8), truth]


class Net(nn.Module):
    """A network whose output is added to lq, the first three channels of its input."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        middle = [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        first, last = nn.Conv2d(6, width, 5, padding=2), nn.Conv2d(width, 3, 3, padding=1)
        self.body = nn.Sequential(first, nn.ReLU(), *middle, last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3] + self.body(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data-dir", help="A release of `ggt100k pack --priors` (default: substitutes from the sample)."
    )
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--crop", type=int, default=128)
    options = parser.parse_args()

    def batches(split: str, epochs: int | None = None):
        """Yield the inputs by network, (n, 6, height, width), and the truth, epoch by epoch."""
        if options.data_dir:
            images = Packed(options.data_dir, split, options.crop)
        else:
            images = ggt100k.PairDataset(name="sample", split=split, crop=options.crop, transform=make_substitutes)
        loader = DataLoader(images, batch_size=4, shuffle=split == "train")
        for epoch in itertools.count() if epochs is None else range(epochs):
            images.set_epoch(epoch)
            for batch in loader:
                lq, prior, truth = (image.permute(0, 3, 1, 2).float() / 255 for image in batch)
                yield {"without": torch.cat([lq, lq], dim=1), "with": torch.cat([lq, prior], dim=1)}, truth

    torch.manual_seed(0)
    nets = {"without": Net(), "with": Net()}
    nets["with"].load_state_dict(nets["without"].state_dict())
    optimizers = {name: torch.optim.AdamW(net.parameters(), lr=2e-3) for name, net in nets.items()}
    for _, (inputs, truth) in zip(range(options.steps), batches("train"), strict=False):
        for name, net in nets.items():
            loss = nn.functional.l1_loss(net(inputs[name]), truth)
            optimizers[name].zero_grad()
            loss.backward()
            optimizers[name].step()

    psnr = {name: [] for name in nets}
    for inputs, truth in batches("test", epochs=8):
        for name, net in nets.items():
            with torch.no_grad():
                error = (net(inputs[name]).clamp(0, 1) - truth).square().mean((1, 2, 3))
            psnr[name] += (-10 * error.log10()).tolist()
    for name, values in psnr.items():
        print(f"{name} the prior: {np.mean(values):.2f} dB on {len(values)} held-out windows")


if __name__ == "__main__":
    main()
