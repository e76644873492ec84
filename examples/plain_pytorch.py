"""Train a restoration network on the pairs, with PyTorch alone.

    python examples/plain_pytorch.py --data-dir /data/ggt-100k --steps 100000

A batch is a dict of uint8 tensors, n x height x width x 3: `lq` and `gt` show the same window, and each epoch has other
windows. Without --data-dir, the program uses the sample that is installed with the package. It prints a falling loss.
"""

import argparse
import itertools

import torch
from torch import nn
from torch.utils.data import DataLoader

import ggt100k


class Net(nn.Module):
    """A placeholder for your network: input and output are (n, 3, height, width), 0..1."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        middle = [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), *middle, nn.Conv2d(width, 3, 3, padding=1)
        )

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        return lq + self.body(lq)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=ggt100k.sample_folder() / "packed")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = ggt100k.PairDataset(options.data_dir, crop=options.crop)  # where={"degradation": "rain"} selects a class
    loader = DataLoader(
        pairs,
        options.batch,
        shuffle=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=device == "cuda",
    )
    net = Net().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)

    def batches():
        for epoch in itertools.count():
            pairs.set_epoch(epoch)  # draws other windows, also in workers that have already started
            yield from loader

    losses = []
    for step, batch in zip(range(1, options.steps + 1), batches(), strict=False):
        lq, gt = (batch[name].to(device).permute(0, 3, 1, 2).float() / 255 for name in ("lq", "gt"))
        loss = nn.functional.l1_loss(net(lq), gt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step}: loss {sum(losses[-20:]) / 20:.4f}")
    tenth = -(-options.steps // 10)
    print(f"loss {sum(losses[:tenth]) / tenth:.4f} -> {sum(losses[-tenth:]) / tenth:.4f} in {options.steps} steps")


if __name__ == "__main__":
    main()
