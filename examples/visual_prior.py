"""A generated image as a visual prior: further input channels of a restoration network, with it and without.

    python examples/visual_prior.py --steps 100

The use that GPT-4o-Restore shows (arXiv 2505.05621): an output that looks good but has drifted off its photograph is a
poor ground truth, and still a help as an input: the network takes from it what fits. Both networks here are the same,
with six input channels; the one without the prior gets lq twice. What is printed is their PSNR on held-out pairs.

The sample has no set with a truth to learn from, so here one is made: the truth is a pair's gt, lq is the truth behind
haze, and the prior stands in for a model's output: the truth, off in place, size and colour. So the figures show that
the code works, and nothing of any model. With a set of your own, `images` returns photograph, generated image, truth.
"""

import argparse
import itertools

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

import ggt100k
from ggt_tools.witnesses.degrading import degrade


def images(pair: dict) -> list[np.ndarray]:
    """Photograph, prior and truth: uint8, height x width x 3."""
    random, truth = np.random.default_rng(int(pair["key"], 16)), pair["gt"]
    lq = degrade(truth, "haze", strength=random.random(), seed=int(random.integers(2**31)))
    moved = np.eye(2, 3) * random.uniform(0.97, 1.03) + [[0, 0, random.uniform(-3, 3)], [0, 0, random.uniform(-3, 3)]]
    drifted = cv2.warpAffine(truth, moved, truth.shape[1::-1], borderMode=cv2.BORDER_REFLECT)
    prior = np.clip(drifted * random.uniform(0.9, 1.1, 3), 0, 255).astype(np.uint8)
    return [lq, prior, truth]


class Net(nn.Module):
    """lq is the first three channels, and what comes out is added to it."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        middle = [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(
            nn.Conv2d(6, width, 5, padding=2), nn.ReLU(), *middle, nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :3] + self.body(x)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=ggt100k.sample_folder() / "packed")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--crop", type=int, default=128)
    options = parser.parse_args()

    def batches(split: str, epochs: int | None = None):
        """Epoch by epoch: {network's name: its input, n x 6 x height x width}, and the truth."""
        pairs = ggt100k.PairDataset(options.data_dir, split, crop=options.crop, transform=images)
        loader = DataLoader(pairs, batch_size=4, shuffle=split == "train")
        for epoch in itertools.count() if epochs is None else range(epochs):
            pairs.set_epoch(epoch)
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
