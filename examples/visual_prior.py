"""A generated image as a visual prior: further input channels of a restoration network, with it and without.

    ggt100k pack WORKSPACE RELEASE --priors
    python examples/visual_prior.py --data-dir RELEASE --steps 10000

The use that GPT-4o-Restore shows (arXiv 2505.05621): an output that looks good but has drifted off its photograph is a
poor ground truth, and still a help as an input: the network takes from it what fits. Both networks here are the same,
with six input channels; the one without the prior gets lq twice. What is printed is their PSNR on held-out windows.

A photograph trains where the release has both of it: a pair, and by the same key a prior. Without --data-dir stand-ins
are made of the sample: the truth is a pair's gt, lq is the truth behind haze, the prior is the truth off in place, size
and colour. Then the figures show that the code works, and nothing of any model.
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
    """Windows of (lq, prior, truth), uint8, height x width x 3; one photograph in ten is held out."""

    def __init__(self, folder: str, split: str, crop: int) -> None:
        train, prior = (ggt100k.index(folder, name, columns=["key"])["key"].to_pylist() for name in ("train", "prior"))
        both = sorted({*train} & {*prior})
        wanted = both[::10] if split == "test" else [key for at, key in enumerate(both) if at % 10]
        # both indices are in one order, and a window is drawn from (seed, epoch, number) alone: the same of both
        self.pairs, self.priors = (
            ggt100k.PairDataset(folder, name, where={"key": wanted}, crop=crop) for name in ("train", "prior")
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


def stand_ins(pair: dict) -> list[np.ndarray]:
    """The same, made of a pair of the sample."""
    draw, truth = np.random.default_rng(int(pair["key"], 16)), pair["gt"]
    lq = degrade(truth, "haze", strength=draw.random(), seed=int(draw.integers(2**31)))
    moved = np.eye(2, 3) * draw.uniform(0.97, 1.03) + [[0, 0, draw.uniform(-3, 3)], [0, 0, draw.uniform(-3, 3)]]
    drifted = cv2.warpAffine(truth, moved, truth.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    return [lq, np.clip(drifted * draw.uniform(0.9, 1.1, 3), 0, 255).astype(np.uint8), truth]


class Net(nn.Module):
    """lq is the first three channels, and what comes out is added to it."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        middle = [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        first, last = nn.Conv2d(6, width, 5, padding=2), nn.Conv2d(width, 3, 3, padding=1)
        self.body = nn.Sequential(first, nn.ReLU(), *middle, last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3] + self.body(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", help="a release of `ggt100k pack --priors`; default: stand-ins of the sample")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--crop", type=int, default=128)
    options = parser.parse_args()

    def batches(split: str, epochs: int | None = None):
        """Epoch by epoch: {network's name: its input, n x 6 x height x width}, and the truth."""
        if options.data_dir:
            images = Packed(options.data_dir, split, options.crop)
        else:
            images = ggt100k.PairDataset(name="sample", split=split, crop=options.crop, transform=stand_ins)
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

    found = {name: [] for name in nets}
    for inputs, truth in batches("test", epochs=8):
        for name, net in nets.items():
            with torch.no_grad():
                error = (net(inputs[name]).clamp(0, 1) - truth).square().mean((1, 2, 3))
            found[name] += (-10 * error.log10()).tolist()
    for name, values in found.items():
        print(f"{name} the prior: {np.mean(values):.2f} dB on {len(values)} held-out windows")


if __name__ == "__main__":
    main()
