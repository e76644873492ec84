"""Resume training exactly: stop this program at any moment, run it again, and it continues with the same next batch.

    python examples/resume.py --data-dir /data/ggt-100k --steps 1000 --checkpoint run.pt

A checkpoint has the state of the network, the optimizer, the loader (torchdata's StatefulDataLoader) and the pairs (the
epoch). With dropout and similar layers, save torch.get_rng_state() too. Each step prints its pairs and its loss, which
are the same with and without an interruption.
"""

import argparse
import itertools
from pathlib import Path

import torch
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader

import ggt100k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=ggt100k.sample_folder() / "packed")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="Steps between two checkpoints.")
    parser.add_argument("--checkpoint", type=Path, default=Path("run.pt"))
    options = parser.parse_args()

    torch.manual_seed(0)
    pairs = ggt100k.PairDataset(options.data_dir, crop=options.crop)
    loader = StatefulDataLoader(
        pairs,
        options.batch,
        shuffle=True,
        num_workers=options.workers,
        generator=torch.Generator().manual_seed(0),
    )
    net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 3, 3, padding=1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    parts = {"net": net, "optimizer": optimizer, "loader": loader, "pairs": pairs}

    step = 0
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint)
        step = state["step"]
        for name, part in parts.items():
            part.load_state_dict(state[name])

    for epoch in itertools.count(pairs.state_dict()["epoch"]):
        pairs.set_epoch(epoch)
        for batch in loader:
            if step >= options.steps:
                return
            lq, gt = (batch[name].permute(0, 3, 1, 2).float() / 255 for name in ("lq", "gt"))
            loss = nn.functional.l1_loss(net(lq), gt)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % options.every == 0:
                unfinished = options.checkpoint.with_suffix(".part")
                torch.save({"step": step} | {name: part.state_dict() for name, part in parts.items()}, unfinished)
                unfinished.replace(options.checkpoint)  # the checkpoint appears complete or not at all
            print(f"step {step}: loss {loss.item():.6f}: {' '.join(batch['key'])}", flush=True)


if __name__ == "__main__":
    main()
