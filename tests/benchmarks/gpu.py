"""The work of a GPU and the share of time that it waits: `python -m tests.benchmarks gpu`. Nothing is downloaded.

It runs with whatever is installed, on the CPU where there is no GPU. It begins no new table after seven minutes and
leaves out what there is no time for. Metrics whose weights are missing run with random ones, which cost the same.
"""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ggt_format.cores import core_count
from ggt_format.images import decode_image
from ggt_format.png import encode_png
from ggt_tools.metrics import fidelity, iqa
from ggt_tools.metrics.iqa.device import TorchDevice
from ggt_tools.metrics.iqa.feed import feed
from ggt_tools.metrics.scorer import SETS

from . import material
from .field import Options, table
from .gpu_models import load_model, nafnet

Networks = dict[str, tuple[Any, str]]  # of models of pyiqa, and whether their weights are real or random
MODELS = tuple(dict.fromkeys(map(iqa.model_of, SETS["full"])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured, and how long.

    Attributes:
        device: Device as torch names it.
        models: Models of pyiqa.
        side: Side of the square pairs, in pixels.
        batches: Numbers of pairs at a time.
        seconds: Time for each figure.
        budget: Time for all tables, in seconds. What does not fit is left out.
        crop: Side of the crops that the network is trained on.
        crops: Crops in a batch.
        pairs: Pairs of the release that is read.
        workers: Processes that read it; 0 for none.
        network: Width, blocks on the way down and in the middle of the network.
    """

    device: str = "cuda"
    models: tuple[str, ...] = MODELS
    side: int = 1024
    batches: tuple[int, ...] = (1, 4, 8)
    seconds: float = 1.5
    budget: float = 420.0
    crop: int = 256
    crops: int = 16
    pairs: int = 24
    workers: int = 12
    network: tuple[int, tuple[int, ...], int] = (32, (1, 1, 1, 28), 1)


TINY = Plan(
    device="cpu", models=("gmsd", "topiq_nr", "no such model"), side=64, batches=(1, 2), seconds=0.0, crop=32, crops=2,
    pairs=6, workers=0, network=(4, (1,), 1),
)  # fmt: skip


@dataclass
class Clock:
    """How much time is left."""

    budget: float
    begun: float = field(default_factory=time.monotonic)

    def is_over(self, share: float = 1.0) -> bool:
        """Return whether this share of the budget is spent."""
        return time.monotonic() - self.begun > self.budget * share


def bench(options: Options) -> str:
    """Return the tables in Markdown."""
    if importlib.util.find_spec("torch") is None:
        return "gpu: torch is not installed. Install it: pip install 'ggt100k[quality]'\n"
    # before a library reads them: A-FINE looks for CLIP's weights on the network where they are missing
    dead = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    os.environ |= {**dead, "NO_PROXY": "127.0.0.1,localhost", "HF_HUB_OFFLINE": "1"}
    import torch

    if torch.cuda.is_available():
        plan = Plan(workers=min(12, core_count()))
    else:
        plan = TINY if options.quick else Plan(device="cpu", side=256, batches=(1,), network=(8, (1, 1), 1), workers=0)
    return tables(plan)


def tables(plan: Plan) -> str:
    """Run everything that the plan names, and return the tables."""
    clock = Clock(plan.budget)
    parts = [f"## {device_name(plan.device)}, {time.strftime('%Y-%m-%d')}"]
    networks: Networks = {}
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        for title, make, share in (
            (f"Metrics, pairs of {plan.side} px", partial(metrics_table, networks=networks), 0.5),
            ("Waiting for decoding", partial(decoding_table, networks=networks), 0.65),
            ("The fidelity model", fidelity_table, 0.7),
            (f"Training at crops of {plan.crop}", training_table, 0.95),
            ("diffusers", diffusers_line, 1.0),
        ):
            if clock.is_over():
                parts.append(f"### {title}\n\nleft out: no time")
                continue
            try:
                parts.append(f"### {title}\n\n{make(plan, folder, lambda share=share: clock.is_over(share))}")
            except Exception as error:  # one table that fails must not cost the others, on a machine that is lent
                parts.append(f"### {title}\n\nfailed: {type(error).__name__}: {str(error).splitlines()[:1]}")
    parts.append(f"{time.monotonic() - clock.begun:.0f} s in all.")
    return "\n\n".join(parts) + "\n"


def device_name(device: str) -> str:
    """Return what the device is."""
    import torch

    return torch.cuda.get_device_name() if device.startswith("cuda") else f"CPU, {core_count()} cores"


def synchronize(device: str) -> None:
    """Wait until the device has done all that was asked."""
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()


def rate(run: Callable[[], Any], device: str, count: int, seconds: float) -> float:
    """Return how many items a second a function does that does `count` each time."""
    run()
    synchronize(device)
    begun, done = time.perf_counter(), 0
    while not done or time.perf_counter() - begun < seconds:
        run()
        synchronize(device)
        done += count
    return done / (time.perf_counter() - begun)


@contextmanager
def utilisation(device: str) -> Iterator[list[float]]:
    """Collect how busy the GPU is, in percent, as nvidia-smi samples it; nothing where it is not installed."""
    samples: list[float] = []
    if not device.startswith("cuda"):
        yield samples
        return
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"]
    try:
        process = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield samples
        return

    def read() -> None:
        for line in process.stdout or ():
            if line.strip().isdigit():
                samples.append(float(line))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield samples
    finally:
        process.terminate()
        process.wait()
        reader.join(1)


def busy(samples: Sequence[float]) -> str:
    """Return the middle sample as a percentage."""
    return f"{np.median(samples):.0f} %" if samples else "-"


# --- metrics ----------------------------------------------------------------------------------------------------------


def metrics_table(plan: Plan, folder: Path, is_late: Callable[[], bool], networks: Networks) -> str:
    """Pairs a second of each metric by batch size, in half precision, and the largest difference that makes.

    What it loads is added to `networks`.
    """
    import torch

    half = torch.float16 if plan.device.startswith("cuda") else torch.bfloat16
    TorchDevice(plan.device, core_count())  # sets the precision of full precision as `score` does
    rows = []
    for name in plan.models:
        if is_late():
            rows.append([name, "left out: no time", *[""] * (len(plan.batches) + 4)])
            continue
        try:
            model, weights = load_model(name, plan.device, folder)
        except Exception as error:  # pyiqa's models fail in many ways
            rows.append([name, f"not here: {type(error).__name__}", *[""] * (len(plan.batches) + 4)])
            continue
        try:
            rows.append([name, weights, *_figures(model, name, plan, half)])
        except Exception as error:
            rows.append([name, f"failed: {type(error).__name__}", *[""] * (len(plan.batches) + 4)])
        networks[name] = model, weights
        if plan.device.startswith("cuda"):
            torch.cuda.empty_cache()
    head = ["metric", "weights", *(f"pairs/s, {size} at a time" for size in plan.batches)]
    head += ["GPU busy", f"pairs/s, {str(half).removeprefix('torch.')}", "largest difference", "alone against batch"]
    return table(head, rows)


def _figures(model: Any, name: str, plan: Plan, half: Any) -> list[str]:
    import torch

    largest = max(plan.batches)
    torch.manual_seed(0)
    pairs = torch.rand(2, largest, 3, plan.side, plan.side, device=plan.device)
    is_full_reference = iqa.models()[name][0] == "FR"

    def run(size: int) -> Any:
        with torch.inference_mode():
            if is_full_reference:
                return model(pairs[1, :size], pairs[0, :size]).reshape(size, -1)[:, 0]
            return torch.cat([model(images[:size]).reshape(size, -1)[:, 0] for images in pairs])

    rates, fitting = [], [1]
    with utilisation(plan.device) as samples:
        for size in plan.batches:
            try:
                rates.append(f"{rate(lambda size=size: run(size), plan.device, size, plan.seconds):.3g}")
                fitting.append(size)
            except torch.OutOfMemoryError:
                rates.append("out of memory")
            if rates[-1] == "out of memory":  # after the except block: its traceback keeps the memory in use
                torch.cuda.empty_cache()
    whole, largest = run(1).float().cpu(), max(fitting)
    batch = run(largest).float().cpu()[:: largest if not is_full_reference else 1][: len(whole)]
    with torch.autocast(plan.device.partition(":")[0], half):
        fast = f"{rate(lambda: run(1), plan.device, 1, plan.seconds):.3g}"
        difference = float((run(1).float().cpu() - whole).abs().max())
    return [*rates, busy(samples), fast, f"{difference:.2g}", f"{float((batch - whole).abs().max()):.2g}"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Load a pair from bytes, as the process of the models does from files."""

    data: bytes

    def __call__(self) -> tuple[Any, Any]:
        return decode_image(self.data, "lq"), decode_image(self.data, "gt")


def decoding_table(plan: Plan, folder: Path, is_late: Callable[[], bool], networks: Networks) -> str:
    """How long a GPU waits for decoding if it measures all metrics, by the code with which `score` feeds it."""
    draw = np.random.default_rng(0)
    smooth = draw.integers(0, 255, (plan.side // 8, plan.side // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    data = encode_png(smooth)
    device = TorchDevice(plan.device, core_count())
    size = max(plan.batches)
    for name, (network, _) in networks.items():
        device.add(name, network)
    rows = []

    def measure(lq: Any, gt: Any) -> None:
        for name in networks:
            step = size if name in iqa.BATCHED else 1
            for columns in ((gt, lq),) if iqa.models()[name][0] == "FR" else ((lq,), (gt,)):
                for first in range(0, size, step):
                    device.measure(name, [column[first : first + step] for column in columns])

    for threads in sorted({1, min(4, core_count()), core_count()}):
        if is_late():
            break
        begun, waited, done = time.perf_counter(), 0.0, 0
        end = begun + 2 * plan.seconds

        def batches(end: float = end) -> Iterator[list[Loaded]]:
            yield [Loaded(data)] * size
            while time.perf_counter() < end:
                yield [Loaded(data)] * size

        def stage(pairs: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
            return device.stage([lq for lq, _ in pairs]), device.stage([gt for _, gt in pairs])

        asked = time.perf_counter()
        with utilisation(plan.device) as samples:
            for pairs, staged in feed(batches(), stage, threads=threads):
                lq, gt = staged.result()
                waited += time.perf_counter() - asked
                measure(lq, gt)
                done += len(pairs)
                asked = time.perf_counter()
        total = time.perf_counter() - begun
        rows.append([str(threads), f"{done / total:.3g}", f"{waited / total:.0%}", busy(samples)])
    title = f"all of {', '.join(networks)}; {size} pairs are loaded at a time"
    return f"{title}\n\n" + table(["threads", "pairs/s", "of the time waiting", "GPU busy"], rows)


def fidelity_table(plan: Plan, folder: Path, is_late: Callable[[], bool]) -> str:
    """Pairs a second of the fidelity model, by onnxruntime's provider."""
    if why := fidelity.explain_missing():
        return f"not here: {why}"
    import onnxruntime

    draw = np.random.default_rng(0)
    lq, gt = draw.integers(0, 255, (2, plan.side, plan.side, 3), np.uint8)
    inputs = fidelity.feed_of(fidelity.prepare(lq, gt, fidelity.working_size(lq)))
    rows = [
        ["preparation, one core", f"{rate(lambda: fidelity.prepare(lq, gt, (384, 384)), 'cpu', 1, plan.seconds):.1f}"]
    ]
    for provider in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        if provider not in onnxruntime.get_available_providers():
            rows.append([provider, "not installed"])
            continue
        session = onnxruntime.InferenceSession(fidelity.WEIGHTS.read_bytes(), providers=[provider])
        rows.append([provider, f"{rate(lambda s=session: s.run(None, inputs), 'cpu', 1, plan.seconds):.1f}"])
    fidelity.use_device(plan.device)
    begun = time.perf_counter()
    is_gpu_used = fidelity.is_on_gpu()
    rows.append(["score uses the GPU", f"{is_gpu_used} (decided in {time.perf_counter() - begun:.1f} s)"])
    fidelity.use_device("cpu")
    return table(["provider", "pairs/s"], rows)


# --- training ---------------------------------------------------------------------------------------------------------


def images_of(item: dict[str, Any]) -> tuple[Any, Any]:
    """Return the images of an item alone, for torch's collation."""
    return np.ascontiguousarray(item["lq"]), np.ascontiguousarray(item["gt"])


@dataclass(frozen=True, slots=True)
class Crop:
    """Cut the same window out of both images of a sample of webdataset."""

    size: int

    def __call__(self, sample: dict[str, Any]) -> tuple[Any, Any]:
        draw = np.random.default_rng()
        height, width = sample["lq.png"].shape[:2]
        top, left = draw.integers(height - self.size + 1), draw.integers(width - self.size + 1)
        window = np.s_[top : top + self.size, left : left + self.size]
        return np.ascontiguousarray(sample["lq.png"][window]), np.ascontiguousarray(sample["gt.png"][window])


def training_table(plan: Plan, folder: Path, is_late: Callable[[], bool]) -> str:
    """Crops a second of a network that is trained, by what feeds it."""
    import torch
    from torch.utils.data import DataLoader

    import ggt100k

    material.make(folder, plan.pairs, ["png"])
    options = {"batch_size": plan.crops, "num_workers": plan.workers, "pin_memory": plan.device.startswith("cuda")}
    if plan.workers:
        options |= {"persistent_workers": True}

    def ours() -> Any:
        pairs = ggt100k.PairDataset(folder / "png", crop=plan.crop, transform=images_of)
        sampler = torch.utils.data.RandomSampler(pairs, replacement=True, num_samples=100_000)
        return DataLoader(pairs, sampler=sampler, **options)

    def webdataset() -> Any:
        import webdataset

        tars = [str(path) for path in sorted((folder / "png").rglob("*.tar"))]
        pairs = webdataset.WebDataset(
            tars, resampled=True, shardshuffle=False, nodesplitter=webdataset.split_by_node, empty_check=False
        )
        return DataLoader(pairs.shuffle(100).decode("rgb8").map(Crop(plan.crop)), **options)

    network = nafnet(*plan.network).to(plan.device)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)

    def step(lq: Any, gt: Any) -> None:
        lq, gt = (x.to(plan.device, non_blocking=True).permute(0, 3, 1, 2).float() / 255 for x in (lq, gt))
        loss = (network(lq) - gt).abs().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    still = torch.randint(0, 255, (2, plan.crops, plan.crop, plan.crop, 3), dtype=torch.uint8, device=plan.device)
    with utilisation(plan.device) as samples:
        bound = rate(lambda: step(*still), plan.device, plan.crops, 4 * plan.seconds)
    rows = [["data that is on the GPU", f"{bound:.1f}", "1.00", busy(samples)]]
    for name, make in (("PairDataset", ours), ("webdataset", webdataset)):
        if is_late() or (name == "webdataset" and importlib.util.find_spec(name) is None):
            rows.append([name, "left out", "", ""])
            continue
        batches = iter(make())
        for _ in range(2):
            step(*next(batches))
        with utilisation(plan.device) as samples:
            fed = rate(lambda b=batches: step(*next(b)), plan.device, plan.crops, 6 * plan.seconds)
        rows.append([name, f"{fed:.1f}", f"{fed / bound:.2f}", busy(samples)])
        del batches
    parameters = sum(each.numel() for each in network.parameters()) / 1e6
    title = f"{plan.crops} crops at a time, {plan.workers} workers, {parameters:.1f} M parameters"
    return f"{title}\n\n" + table(["fed by", "crops/s", "of the bound", "GPU busy"], rows)


def diffusers_line(plan: Plan, folder: Path, is_late: Callable[[], bool]) -> str:
    """Show that a pipeline of diffusers runs on the device."""
    if importlib.util.find_spec("diffusers") is None:
        return "not here: diffusers is not installed"
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=32, block_out_channels=(8, 16), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    pipeline = DDPMPipeline(unet=network, scheduler=DDPMScheduler()).to(plan.device)
    pipeline.set_progress_bar_config(disable=True)
    begun = time.perf_counter()
    (image,) = pipeline(num_inference_steps=2, output_type="np").images
    is_finite = math.isfinite(float(np.sum(image)))
    return f"a tiny pipeline ran on {plan.device} in {time.perf_counter() - begun:.1f} s, values finite: {is_finite}"
