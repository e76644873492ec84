"""Estimates for a dataset of any size: shards and files, costs and days by provider, GPU hours."""

from __future__ import annotations

import math

import ggt100k
from ggt_tools.providers.prices import price
from ggt_tools.stages.pack import PackConfig

from .field import table

SIZES = (103_707, 10_000_000)
PAIR = {"png": 2.64e6, "jpeg": 0.83e6}  # bytes, measured on the sample's photographs
CANDIDATES = 1.3  # calls for a photograph that is kept, refusals and refinements among them: a guess, to be replaced
FILES, FOLDER, COMMIT = 100_000, 10_000, 100  # what the Hub asks for: of a repository, of a folder, of a commit
MODELS = ("gemini-3.1-flash-image-preview", "gpt-image-2")
RATES = (60, 500, 2000)  # requests a minute
# Seconds an image of 1080 x 800 on an NVIDIA V100, as pyiqa publishes them (its tests/Efficiency_benchmark.csv).
SECONDS = {
    "lpips": 0.0563,
    "dists": 0.0745,
    "topiq_fr": 0.0999,
    "musiq": 0.0506,
    "maniqa": 0.5366,
    "clipiqa+": 0.0400,
    "topiq_nr": 0.0626,
    "liqe": 0.0292,
}
PIXELS = 1024 * 1024 / (1080 * 800)
FULL = ("lpips", "dists", "topiq_fr")  # full-reference: look at a pair once; the others at both of its images


def estimate() -> list[str]:
    """Return the lines of all estimates, in Markdown."""
    return [*_storage(), "", *_cost(), "", *_days(), "", *_gpus()]


def _storage() -> list[str]:
    shard = PackConfig().shard_bytes
    rows = []
    for size in SIZES:
        for codec, each in PAIR.items():
            shards = math.ceil(size * each / shard) + len(ggt100k.DEGRADATIONS)
            folder = math.ceil(shards / 6)
            good = "within" if shards + 10 < FILES and folder < FOLDER else "past"
            rows.append([f"{size:,}", codec, f"{size * each / 1e12:.2f}", f"{shards:,}", f"{folder:,}",
                         f"{math.ceil(shards / COMMIT):,}", good])  # fmt: skip
    head = [
        "pairs",
        "codec",
        "TB",
        "shards",
        "files in a folder, of six classes",
        "commits of 100 files",
        "the Hub's limits",
    ]
    return [
        "## Shards and files (estimated)",
        "",
        f"Shards of {shard / 1e6:.0f} MB; 2.64 MB for each pair as banded PNG and 0.83 MB as JPEG, measured on the "
        f"sample. The Hub asks for fewer than {FILES:,} files in a repository and {FOLDER:,} in a folder. "
        "`pack --shard-bytes` makes larger and so fewer shards.",
        "",
        table(head, rows),
    ]


def _cost() -> list[str]:
    rows = []
    for model in MODELS:
        known = price(model)
        for size in SIZES:
            calls = size * CANDIDATES
            rows.append([model, f"{size:,}", f"{calls * known.call:,.0f}", f"{calls * known.call * known.batch:,.0f}"])
    return [
        "## What restoring costs (estimated)",
        "",
        f"{CANDIDATES} calls for each pair that is kept, at the maximum price of a call in "
        "`providers/prices.toml`. `--budget` uses the same prices.",
        "",
        table(["model", "pairs", "USD at most", "in batch jobs"], rows),
    ]


def _days() -> list[str]:
    rows = []
    for size in SIZES:
        rows.append([f"{size:,}", *(f"{size * CANDIDATES / rate / 1440:,.1f}" for rate in RATES)])
    return [
        "## How long it takes (estimated)",
        "",
        "The rate limit of the provider decides: one process with 64 calls in flight reaches 0.9 of the possible rate "
        "(`make bench`). Days, without pauses:",
        "",
        table(["pairs", *(f"{rate:,} requests a minute" for rate in RATES)], rows),
    ]


def _gpus() -> list[str]:
    rows, total = [], [0.0] * len(SIZES)
    for name, seconds in SECONDS.items():
        looks = 1 if name in FULL else 2
        hours = [size * CANDIDATES * looks * seconds * PIXELS / 3600 for size in SIZES]
        total = [before + more for before, more in zip(total, hours, strict=True)]
        rows.append([name, f"{seconds:.3f}", str(looks), *(f"{each:,.0f}" for each in hours)])
    rows.append(["all", "", "", *(f"{each:,.0f}" for each in total)])
    head = [
        "metric",
        "seconds, published",
        "runs for each candidate",
        *(f"GPU hours, {size:,} pairs" for size in SIZES),
    ]
    return [
        "## GPU hours of `--metrics default` (estimated)",
        "",
        "From the seconds that pyiqa publishes for an image of 1080 x 800 on an NVIDIA V100, in the ratio of the "
        "pixels, one image at a time. A newer GPU and batches take less time.",
        "",
        table(head, rows),
    ]
