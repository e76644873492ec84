"""Train on the shards with webdataset, without code of this project, since shards are plain tars.

    python examples/with_webdataset.py --data-dir /data/ggt-100k --steps 1000

A shard has the adjacent members KEY.json, KEY.lq.png and KEY.gt.png (or .jpg, in a JPEG release). PairDataset decodes
only the needed window, selects by the index and resumes exactly; webdataset reads and decodes everything. The program
prints a falling loss.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
import webdataset
from torch import nn

SAMPLE = Path(__file__).parents[1] / "dataset_card" / "sample" / "packed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=SAMPLE)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=128)
    options = parser.parse_args()

    def window(lq: np.ndarray, gt: np.ndarray, facts: dict) -> tuple[np.ndarray, np.ndarray, str]:
        """Return the same window of both images, and the degradation."""
        top, left = (random.randint(0, edge - options.crop) for edge in lq.shape[:2])
        part = np.s_[top : top + options.crop, left : left + options.crop]
        return lq[part].copy(), gt[part].copy(), facts["degradation"]

    random.seed(0)
    torch.manual_seed(0)
    shards = sorted(map(str, options.data_dir.glob("data/*/train-*.tar")))  # data/rain/ has only rain
    pairs = (
        webdataset.WebDataset(shards, shardshuffle=100)
        .shuffle(16)  # number of pairs in memory; use more for a larger dataset
        .decode("rgb8")
        .to_tuple("lq.png;lq.jpg", "gt.png;gt.jpg", "json")
        .map(lambda pair: window(*pair))
        .repeat()
    )
    loader = webdataset.WebLoader(pairs, batch_size=options.batch)
    net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 3, 3, padding=1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)

    losses = []
    for step, (lq, gt, degradations) in zip(range(1, options.steps + 1), loader, strict=False):
        lq, gt = (image.permute(0, 3, 1, 2).float() / 255 for image in (lq, gt))
        loss = nn.functional.l1_loss(net(lq), gt)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step}: loss {sum(losses[-20:]) / 20:.4f}, of {', '.join(degradations)}")
    tenth = -(-options.steps // 10)
    print(f"loss {sum(losses[:tenth]) / tenth:.4f} -> {sum(losses[-tenth:]) / tenth:.4f} in {options.steps} steps")


if __name__ == "__main__":
    main()
