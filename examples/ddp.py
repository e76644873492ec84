"""Train on several processes with accelerate (DistributedDataParallel).

    accelerate launch --num_processes 8 examples/ddp.py --data-dir /data/ggt-100k --steps 1000   # GPUs
    torchrun --nproc_per_node 2 examples/ddp.py --cpu                                            # two cores

A plain DataLoader is enough: accelerate divides its batches among the processes, and passes the epoch to the pairs.
After each epoch the program prints whether all processes together read each pair once, and at the end whether their
weights are equal. Started with plain `python`, it is one process.
"""

import argparse
import itertools

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

import ggt100k


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=ggt100k.sample_folder() / "packed")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=2, help="Batch size of each process.")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--cpu", action="store_true", help="Use the CPU, even if there is a GPU.")
    options = parser.parse_args()

    accelerator = Accelerator(cpu=options.cpu)
    torch.manual_seed(0)
    pairs = ggt100k.PairDataset(options.data_dir, crop=options.crop)
    net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 3, 3, padding=1))
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    loader = DataLoader(pairs, options.batch, shuffle=True)
    net, optimizer, loader = accelerator.prepare(net, optimizer, loader)

    step, losses = 0, []
    for epoch in itertools.count():
        loader.set_epoch(epoch)  # draws another order, and calls pairs.set_epoch, which draws other windows
        seen = []
        for batch in loader:
            lq, gt = (batch[name].permute(0, 3, 1, 2).float() / 255 for name in ("lq", "gt"))
            loss = nn.functional.l1_loss(net(lq), gt)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            losses.append(accelerator.gather(loss.detach()).mean().item())
            # the keys of all processes, without the duplicates that fill up the last batch
            seen += accelerator.gather_for_metrics(batch["key"], use_gather_object=True)
            step += 1
            if step == options.steps:
                break
        if len(seen) >= len(pairs):
            once = len(seen) == len(set(seen)) == len(pairs)
            accelerator.print(
                f"epoch {epoch}: loss {losses[-1]:.4f}; {accelerator.num_processes} processes saw {len(seen)} pairs, "
                f"each once: {once}"
            )
        if step == options.steps:
            break
    weights = accelerator.gather(
        torch.stack([weight.detach().double().sum() for weight in net.parameters()]).sum()[None]
    )
    accelerator.print(
        f"loss {losses[0]:.4f} -> {losses[-1]:.4f} in {step} steps; equal weights: {len(weights.unique()) == 1}"
    )
    accelerator.wait_for_everyone()  # a process that ends early may take the others' connection with it
    accelerator.end_training()


if __name__ == "__main__":
    main()
