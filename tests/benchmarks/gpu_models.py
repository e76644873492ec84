"""Networks for the bench on a GPU: pyiqa's models, with random weights if real ones are missing, and a NAFNet."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from ggt_tools.metrics import iqa

CLIPS = {  # the sizes of OpenAI's models: of the embedding, the picture, and both transformers
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12),
    "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
}
RANDOM_OPTIONS: dict[str, dict[str, Any]] = {"clipiqa+": {"pretrained": False}}  # its prompts are loaded in its own way


def load_model(model: str, device: str, cache: Path) -> tuple[Any, str]:
    """Return a model of pyiqa, and "real" or "random" for its weights: the cost is the same.

    Args:
        model: Name in pyiqa.
        device: Device as torch names it.
        cache: An empty folder: nothing that random weights give may reach pyiqa's own cache.

    Raises:
        Exception: Whatever stops pyiqa from making the model.
    """
    import pyiqa

    has_weights = not iqa.explain_missing(model)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        if has_weights:
            return pyiqa.create_metric(model, device=device, **iqa.options_of(model)), "real"
        with random_weights(cache):
            options = {**iqa.options_of(model), **RANDOM_OPTIONS.get(model, {})}
            return pyiqa.create_metric(model, device=device, **options), "random"


@contextmanager
def random_weights(cache: Path) -> Iterator[None]:
    """Let pyiqa, timm, torchvision and CLIP make their networks without a file of weights."""
    import pyiqa.archs.clip_model as clip_model
    import timm
    import torch
    import torchvision.models._api as torchvision_api

    create = timm.create_model

    def nothing(*args: Any, **options: Any) -> dict[str, Any]:
        return {}

    def create_without(name: str, *args: Any, **options: Any) -> Any:
        return create(name, *args, **{**options, "pretrained": False})

    def random_clip(name: str, *args: Any, **options: Any) -> Any:
        return clip_model.CLIP(*CLIPS[name]).eval()

    changes: list[tuple[Any, str, Any]] = [
        (torch.nn.Module, "load_state_dict", nothing),
        (torchvision_api, "load_state_dict_from_url", nothing),
        (timm, "create_model", create_without),
    ]
    for name in ("clipiqa", "liqe", "lpips", "dists", "topiq", "musiq", "maniqa"):
        module = importlib.import_module(f"pyiqa.archs.{name}_arch")
        if hasattr(module, "load_pretrained_network"):
            changes.append((module, "load_pretrained_network", nothing))
        if getattr(module, "load", None) is clip_model.load:
            changes.append((module, "load", random_clip))
    before = [(place, name, getattr(place, name)) for place, name, _ in changes]
    # LIQE stores features of its texts where it is used first: it must not do so in the cache of the real weights
    sys.modules["pyiqa.archs.liqe_arch"].DEFAULT_CACHE_DIR = str(cache)  # type: ignore[attr-defined]
    try:
        for place, name, value in changes:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def nafnet(width: int, encoder: tuple[int, ...], middle: int) -> Any:
    """Return a network like NAFNet (Chen and others, ECCV 2022): a U of blocks without activation functions.

    Args:
        width: Channels at full size.
        encoder: Blocks at each size on the way down; the way up has one block at each.
        middle: Blocks at the smallest size.
    """
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.first = nn.Sequential(
                nn.GroupNorm(1, channels),
                nn.Conv2d(channels, 2 * channels, 1),
                nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
            )
            self.attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
            self.mix = nn.Conv2d(channels, channels, 1)
            self.second = nn.Sequential(nn.GroupNorm(1, channels), nn.Conv2d(channels, 2 * channels, 1))
            self.out = nn.Conv2d(channels, channels, 1)

        def forward(self, x: Any) -> Any:
            a, b = self.first(x).chunk(2, dim=1)
            gated = a * b
            x = x + self.mix(gated * self.attention(gated))
            a, b = self.second(x).chunk(2, dim=1)
            return x + self.out(a * b)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [width * 2**level for level in range(len(encoder))]
            self.intro, self.ending = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
            self.encoders = nn.ModuleList(
                nn.Sequential(*(Block(c) for _ in range(n))) for c, n in zip(widths, encoder, strict=True)
            )
            self.downs = nn.ModuleList(nn.Conv2d(c, 2 * c, 2, stride=2) for c in widths)
            self.middle = nn.Sequential(*(Block(2 * widths[-1]) for _ in range(middle)))
            self.ups = nn.ModuleList(
                nn.Sequential(nn.Conv2d(2 * c, 4 * c, 1), nn.PixelShuffle(2)) for c in reversed(widths)
            )
            self.decoders = nn.ModuleList(Block(c) for c in reversed(widths))

        def forward(self, lq: Any) -> Any:
            x, skips = self.intro(lq), []
            for encode, down in zip(self.encoders, self.downs, strict=True):
                x = encode(x)
                skips.append(x)
                x = down(x)
            x = self.middle(x)
            for up, decode, skip in zip(self.ups, self.decoders, reversed(skips), strict=True):
                x = decode(up(x) + skip)
            return lq + self.ending(x)

    torch.manual_seed(0)
    return Net()
