"""The network of the fidelity model, which train-fidelity trains, and its export as an ONNX file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ggt_tools.metrics.cells import COUNT
from ggt_tools.metrics.fidelity import CLASSES
from ggt_tools.metrics.tone import FACTS
from ggt_tools.training.backbone import CHANNELS
from ggt_tools.training.samples import IGNORE

if TYPE_CHECKING:
    import torch
    from torch import nn

WIDTH = 64  # channels of the network
FIRST = 96  # channels after its first layer
Arrays = dict[str, npt.NDArray[Any]]
Report = Callable[[str], None]


def build_head(statistics: Sequence[npt.NDArray[np.float32]]) -> nn.Module:
    """Build a network: comparison, cells and facts to the log-odds of each class by tile and for the whole.

    Args:
        statistics: Means and standard deviations of the channels of comparison and pooled cells, then of the facts.

    Returns:
        A module that takes maps (n, CHANNELS, h, w), pooled cells (n, 2 * COUNT, h, w) and facts (n, FACTS), and
        returns tiles (n, classes, h, w) and whole (n, classes).
    """
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, dilation: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(WIDTH, WIDTH, 3, padding=dilation, dilation=dilation, bias=False)
            self.second = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
            self.first_norm, self.second_norm = nn.BatchNorm2d(WIDTH), nn.BatchNorm2d(WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = functional.relu(self.first_norm(self.first(x)))
            return functional.relu(x + self.second_norm(self.second(y)))

    class Head(nn.Module):
        mean: torch.Tensor
        scale: torch.Tensor
        fact_mean: torch.Tensor
        fact_scale: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            for name, values in zip(("mean", "scale", "fact_mean", "fact_scale"), statistics, strict=True):
                shape = (1, -1) if name.startswith("fact") else (1, -1, 1, 1)
                self.register_buffer(name, torch.from_numpy(values.astype(np.float32)).view(*shape))
            self.first = nn.Conv2d(CHANNELS + 2 * COUNT, FIRST, 1)
            self.of_facts = nn.Linear(FACTS, FIRST)
            self.body = nn.Sequential(
                nn.Conv2d(FIRST, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(),
                Block(1), Block(2), nn.Dropout2d(0.15),
            )  # fmt: skip
            self.tiles = nn.Conv2d(WIDTH, len(CLASSES), 1)
            self.mix = nn.Linear(2 * WIDTH + 3 * len(CLASSES) + FACTS, FIRST)
            self.whole = nn.Linear(FIRST, len(CLASSES))

        def forward(
            self, maps: torch.Tensor, cells: torch.Tensor, facts: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            facts = ((facts - self.fact_mean) / self.fact_scale).clamp(-4.0, 4.0)
            x = ((torch.cat([maps, cells], dim=1) - self.mean) / self.scale).clamp(-6.0, 6.0)
            if self.training:
                facts, x = hidden_at_random(facts, x)
            x = self.body(functional.relu(self.first(x) + self.of_facts(facts)[:, :, None, None]))
            tiles = self.tiles(x)
            smooth = functional.avg_pool2d(tiles, 3, 1, 1, count_include_pad=False)
            share = torch.log(torch.sigmoid(smooth).mean(dim=(2, 3)) + 1e-4)
            pooled = [x.mean(dim=(2, 3)), x.amax(dim=(2, 3)), tiles.mean(dim=(2, 3)), smooth.amax(dim=(2, 3)), share]
            mixed = functional.relu(self.mix(torch.cat([*pooled, facts], dim=1)))
            return tiles, self.whole(functional.dropout(mixed, 0.2, self.training))

    def hidden_at_random(facts: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Drop whole inputs at random, so that the network does not depend on one of them alone."""
        count = x.shape[0]
        facts = facts * (torch.rand(count, 1) > 0.15)
        drawn = torch.rand(count, 1, 1, 1)
        keep = torch.ones(count, x.shape[1], 1, 1)
        keep[:, CHANNELS:] *= drawn > 0.12
        keep[:, :CHANNELS] *= drawn < 0.94
        return facts, x * keep * (torch.rand(count, x.shape[1], 1, 1) > 0.05)

    return Head()


def measure_statistics(samples: Arrays, count: int = 1500) -> list[npt.NDArray[np.float32]]:
    """Return means and standard deviations over some samples, as build_head() takes them."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(samples["weight"]))[:count])
    planes = np.concatenate([samples["maps"][chosen], samples["cells"][chosen]], axis=1).astype(np.float32)
    facts = samples["facts"][chosen]
    return [
        planes.mean(axis=(0, 2, 3)),
        planes.std(axis=(0, 2, 3)) + 0.01,
        facts.mean(axis=0),
        facts.std(axis=0) + 0.01,
    ]


def fit(samples: Arrays, *, epochs: int, batch: int, rate: float, seed: int, threads: int, report: Report) -> nn.Module:
    """Train a network with weighted binary cross entropy of each class, by tile and for the whole; AdamW, one cycle.

    The grid of cells of a batch is mirrored at random; the values of each cell stay the same.

    Args:
        samples: Arrays as joined() returns them.
        epochs: Number of passes over the samples.
        batch: Samples of a batch.
        rate: Maximum learning rate.
        seed: Seed of weights and order.
        threads: Number of threads of torch.
        report: Receives a line of text for each epoch.
    """
    import torch
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    count = len(samples["weight"])
    batch = min(batch, count)
    steps = count // batch
    net = build_head(measure_statistics(samples))
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=2e-2)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps * epochs)

    def loss_of(logits: torch.Tensor, labels: npt.NDArray[np.uint8], weight: torch.Tensor) -> torch.Tensor:
        target = torch.from_numpy(np.ascontiguousarray(labels, np.int64))
        counted = (target != IGNORE).float() * weight.view(-1, *(1,) * (target.ndim - 1))
        losses = functional.binary_cross_entropy_with_logits(logits, target.clamp(max=1).float(), reduction="none")
        return (losses * counted).sum() / counted.sum().clamp(min=1.0)

    net.train()
    for epoch in range(epochs):
        losses = []
        order = random.permutation(count)
        for step in range(steps):
            chosen = np.sort(order[step * batch : (step + 1) * batch])
            turned = tuple(slice(None, None, int(random.choice((-1, 1)))) for _ in range(2))
            mirrored = [samples[name][chosen][..., turned[0], turned[1]] for name in ("maps", "cells")]
            tile_labels = samples["tiles"][chosen][..., turned[0], turned[1]]
            maps, cells, facts = (
                torch.from_numpy(np.ascontiguousarray(values, np.float32))
                for values in (*mirrored, samples["facts"][chosen])
            )
            weight = torch.from_numpy(np.asarray(samples["weight"][chosen], np.float32))
            with torch.autocast("cpu", dtype=torch.bfloat16):
                tiles, whole = net(maps, cells, facts)
            loss = loss_of(tiles.float(), tile_labels, weight)
            loss = loss + loss_of(whole.float(), samples["whole"][chosen], weight)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            cycle.step()
            losses.append(float(loss.detach()))
        report(f"epoch {epoch + 1} of {epochs}: loss {np.mean(losses):.3f}")
    return net.eval()


def combine_heads(comparison: nn.Module, heads: Sequence[nn.Module]) -> nn.Module:
    """Return a module from images, cells and facts to the mean output of the heads."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Complete(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.comparison = comparison
            self.heads = nn.ModuleList(heads)

        def forward(
            self, lq: torch.Tensor, gt: torch.Tensor, cells: torch.Tensor, facts: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            maps = self.comparison(lq, gt)
            pooled = torch.cat([functional.avg_pool2d(cells, 2), functional.max_pool2d(cells, 2)], dim=1)
            tiles, whole = zip(*(head(maps, pooled, facts) for head in self.heads), strict=True)
            return torch.stack(tiles).mean(dim=0), torch.stack(whole).mean(dim=0)

    return Complete().eval()


def export(net: nn.Module, inputs: dict[str, tuple[int, ...]], outputs: Sequence[str], out: Path) -> None:
    """Write an ONNX file for images of any size. Weights that float16 represents exactly are stored as float16.

    Args:
        net: The module.
        inputs: Name and shape of each input.
        outputs: Name of each output.
        out: The file; it appears complete or not at all.
    """
    import onnx
    import torch

    part = out.with_suffix(".part")
    axes = {
        name: {0: "count", 2: f"{name}_height", 3: f"{name}_width"} for name, shape in inputs.items() if len(shape) == 4
    }
    axes |= {name: {0: "count"} for name, shape in inputs.items() if len(shape) == 2}
    torch.onnx.export(
        net, tuple(torch.zeros(shape) for shape in inputs.values()), str(part), input_names=list(inputs),
        output_names=list(outputs), opset_version=17, dynamic_axes=axes, dynamo=False,
    )  # fmt: skip
    model = onnx.load(str(part))
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.dtype == np.float32 and values.size >= 256 and np.array_equal(half.astype(np.float32), values):
            name = tensor.name
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}_half"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    for number, cast in enumerate(casts):
        model.graph.node.insert(number, cast)
    onnx.checker.check_model(model)
    onnx.save(model, str(part))
    part.replace(out)
