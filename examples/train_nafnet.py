"""Train NAFNet (Chen et al., ECCV 2022) on the pairs: mixed precision, EMA, resume, several GPUs, evaluation.

    python examples/train_nafnet.py --data-dir /data/ggt-100k --out nafnet --steps 200000
    torchrun --nproc_per_node 8 examples/train_nafnet.py --data-dir /data/ggt-100k --out nafnet --steps 200000
    python examples/train_nafnet.py --tiny --steps 200          # the sample, on one core, in about a minute

Run the same command again after a kill: it continues from `OUT/last.pt`, at the next batch of the same epoch, also on
another number of GPUs. At every `--eval-every` steps and at the end the average of the weights (EMA) restores the test
split, and prints PSNR of its outputs and of the LQ images; `OUT/best.pt` keeps the best average. `--tensorboard` writes
the same values for TensorBoard (`pip install tensorboard`).
"""

import argparse
import copy
import math
import os
import time
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

import ggt100k

# --- the network ------------------------------------------------------------------------------------------------------


class LayerNorm2d(nn.Module):
    """Normalises the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels_last = x.permute(0, 2, 3, 1)
        return functional.layer_norm(channels_last, self.weight.shape, self.weight, self.bias, 1e-6).permute(0, 3, 1, 2)


class SimpleGate(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = x.chunk(2, dim=1)
        return a * b


class Block(nn.Module):
    """NAFNet's block: a gated depthwise convolution with channel attention, then a gated pointwise one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            LayerNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width),
            SimpleGate(),
        )
        self.attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1))
        self.merge = nn.Conv2d(width, width, 1)
        self.channels = nn.Sequential(
            LayerNorm2d(width), nn.Conv2d(width, 2 * width, 1), SimpleGate(), nn.Conv2d(width, width, 1)
        )
        self.beta, self.gamma = (nn.Parameter(torch.zeros(1, width, 1, 1)) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.spatial(x)
        x = x + self.beta * self.merge(y * self.attention(y))
        return x + self.gamma * self.channels(x)


class NAFNet(nn.Module):
    """A U-net of these blocks that adds its output to the LQ image.

    Args:
        width: Channels at full size; each level below has twice as many.
        encoder: Number of blocks at each level on the way down.
        middle: Number of blocks at the lowest level.
        decoder: Number of blocks at each level on the way up, the lowest first.
    """

    def __init__(self, width: int, encoder: list[int], middle: int, decoder: list[int]) -> None:
        super().__init__()
        self.intro, self.ending = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.encoders, self.decoders, self.downs, self.ups = (nn.ModuleList() for _ in range(4))
        for count in encoder:
            self.encoders.append(nn.Sequential(*(Block(width) for _ in range(count))))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width *= 2
        self.middle = nn.Sequential(*(Block(width) for _ in range(middle)))
        for count in decoder:
            self.ups.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)))
            width //= 2
            self.decoders.append(nn.Sequential(*(Block(width) for _ in range(count))))
        nn.init.zeros_(self.ending.weight)
        nn.init.zeros_(self.ending.bias)
        self.multiple = 2 ** len(encoder)

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        height, width = lq.shape[2:]
        padded = functional.pad(lq, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        x, skips = self.intro(padded), []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle(x)
        for decoder, up in zip(self.decoders, self.ups, strict=True):
            x = decoder(up(x) + skips.pop())
        return (padded + self.ending(x))[:, :, :height, :width]


SIZES = {  # width, encoder, middle, decoder
    "width32": (32, [1, 1, 1, 28], 1, [1, 1, 1, 1]),  # of the paper, for denoising
    "tiny": (8, [1, 1], 1, [1, 1]),
}


# --- data and evaluation ----------------------------------------------------------------------------------------------


def to_float(images: torch.Tensor, device: str) -> torch.Tensor:
    """Return uint8 images, n x height x width x 3, as float, n x 3 x height x width, 0 to 1."""
    return images.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255


def flip(lq: torch.Tensor, gt: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Flip and transpose a batch at random, both sides alike."""
    for dims in ((2,), (3,)):
        if torch.rand((), generator=generator) < 0.5:
            lq, gt = lq.flip(dims), gt.flip(dims)
    if torch.rand((), generator=generator) < 0.5:
        lq, gt = lq.transpose(2, 3), gt.transpose(2, 3)
    return lq, gt


def psnr(image: torch.Tensor, gt: torch.Tensor) -> float:
    """Return the PSNR in dB of two images, 0 to 1, as they are stored in 8 bits."""
    error = (image.clamp(0, 1) * 255).round() - (gt * 255).round()
    return float(10 * torch.log10(255**2 / error.square().mean().clamp_min(1e-10)))


def psnr_loss(images: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
    """Return the mean of minus PSNR over the batch in dB: the paper's loss, in which every pair weighs the same."""
    return 10 * torch.log10((images - gt).square().mean((1, 2, 3)) + 1e-4).mean()


@torch.no_grad()
def evaluate(net: nn.Module, pairs: ggt100k.PairDataset, device: str, rank: int, ranks: int) -> tuple[float, float]:
    """Return the mean PSNR of the outputs and of the LQ images over all pairs, which the ranks share out."""
    net.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    for number in range(rank, len(pairs), ranks):
        lq, gt = (to_float(torch.from_numpy(pairs[number][name])[None], device) for name in ("lq", "gt"))
        sums += torch.tensor([psnr(net(lq), gt), psnr(lq, gt), 1.0], dtype=torch.float64, device=device)
    if ranks > 1:
        distributed.all_reduce(sums)
    outputs, inputs, count = sums.tolist()
    return outputs / count, inputs / count


def average(ema: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards those of the network; at the beginning faster than `decay` says."""
    decay = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        for kept, new in zip(ema.parameters(), net.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)


def save(path: Path, state: dict) -> None:
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)  # whole or not at all


# --- training ---------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", default=ggt100k.sample_folder() / "packed", help="a release; else the sample")
    parser.add_argument("--out", type=Path, default=Path("nafnet"), help="folder of the checkpoints")
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=4, help="of each process")
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate, which falls along a cosine")
    parser.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--save-every", type=int, default=1000)
    parser.add_argument("--eval-every", type=int, default=5000)
    parser.add_argument("--tensorboard", type=Path, metavar="FOLDER")
    parser.add_argument("--no-amp", action="store_true", help="32 bits on a GPU too")
    parser.add_argument("--tiny", action="store_true", help="a width of 8, crops of 96, for one core")
    options = parser.parse_args()
    size = SIZES["tiny" if options.tiny else "width32"]
    if options.tiny:
        options.crop, options.rate, options.ema, options.workers = 96, 3e-3, 0.98, 0

    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = "cpu"
    if torch.cuda.is_available():
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        torch.cuda.set_device(device)
    if ranks > 1:
        distributed.init_process_group("nccl" if device != "cpu" else "gloo")
    use_amp = device != "cpu" and not options.no_amp
    amp_type = torch.bfloat16 if use_amp and torch.cuda.is_bf16_supported() else torch.float16

    torch.manual_seed(0)
    train = ggt100k.PairDataset(options.data_dir, "train", crop=options.crop)
    test = ggt100k.PairDataset(options.data_dir, "test")
    if len(train) < options.batch * ranks:
        raise SystemExit(f"--batch {options.batch}: {ranks} processes take more than the {len(train)} pairs. Lower it.")
    batches = ggt100k.ElasticBatchSampler(train, options.batch, rank=rank, ranks=ranks, drop_last=True)
    loader = DataLoader(
        train,
        batch_sampler=batches,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
        pin_memory=device != "cpu",
    )
    net = NAFNet(*size).to(device)
    ema = copy.deepcopy(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, betas=(0.9, 0.9), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: max(1e-4, 0.5 * (1 + math.cos(math.pi * min(1.0, step / options.steps))))
    )
    scaler = torch.amp.GradScaler("cuda", enabled=use_amp and amp_type is torch.float16)
    parts = {"net": net, "ema": ema, "optimizer": optimizer, "schedule": schedule, "scaler": scaler, "batches": batches}

    options.out.mkdir(parents=True, exist_ok=True)
    last, step, best = options.out / "last.pt", 0, -math.inf
    if last.exists():
        state = torch.load(last, map_location=device)
        step, best = state["step"], state["best"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
        print(f"continue after step {step}", flush=True)
    model = DistributedDataParallel(net) if ranks > 1 else net
    writer = None
    if options.tensorboard and rank == 0:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(options.tensorboard))

    losses, began = [], time.monotonic()
    while step < options.steps:
        epoch = batches.epoch if len(batches) else batches.epoch + 1
        batches.set_epoch(epoch)  # other windows, in another order
        for batch in batches.count(loader):
            # the same number on all ranks would flip all batches alike
            generator = torch.Generator().manual_seed(step * ranks + rank)
            lq, gt = flip(to_float(batch["lq"], device), to_float(batch["gt"], device), generator)
            model.train()
            with torch.autocast(device.partition(":")[0], dtype=amp_type, enabled=use_amp):
                restored = model(lq)
            loss = psnr_loss(restored.float(), gt)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            step += 1
            average(ema, net, options.ema, step)
            losses.append(loss.item())
            is_end = step == options.steps
            if rank == 0 and (step % 50 == 0 or is_end):
                shown = sum(losses[-50:]) / len(losses[-50:])
                print(f"step {step}: loss {shown:.2f}, {time.monotonic() - began:.0f} s", flush=True)
                if writer:
                    writer.add_scalar("loss", shown, step)
            if step % options.eval_every == 0 or is_end:
                outputs, inputs = evaluate(ema, test, device, rank, ranks)
                if rank == 0:
                    gain = f"PSNR {outputs:.2f} dB, of the LQ images {inputs:.2f} dB"
                    print(f"step {step}: {gain}, {len(test)} held-out pairs", flush=True)
                    if writer:
                        writer.add_scalar("psnr", outputs, step)
                    if outputs > best:
                        save(options.out / "best.pt", {"net": ema.state_dict(), "size": size, "psnr": outputs})
                best = max(best, outputs)
            if rank == 0 and (step % options.save_every == 0 or is_end):
                save(last, {"step": step, "best": best} | {name: part.state_dict() for name, part in parts.items()})
            if is_end:
                break
    if writer:
        writer.close()
    if ranks > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
