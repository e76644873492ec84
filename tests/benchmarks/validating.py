"""Validating: the time of `ggt100k validate` beside its lower bound, hashing the shards and decoding the images."""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ggt100k import decode_image, open_root
from ggt_format.cores import core_count
from ggt_tools.processes import Tell, in_processes
from ggt_tools.stages.validate import validate

from . import material
from .field import Options


def bench(options: Options) -> str:
    """A table in Markdown: pairs a second, alternating, on one core and on all."""
    pairs = options.pairs * (1 if options.quick else 3)  # a process takes a second or two to begin, in both
    lines = [
        f"Validating: {pairs} pairs of 1024 x 1024",
        "",
        "| codec, processes | hash and decode, pairs a second | validate, pairs a second | of that bound |",
        "| --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        material.make(folder, pairs)
        for codec in material.CODECS:
            root = str(folder / codec)
            for processes in sorted({1, core_count()}):
                bound, ours = [], []
                for _ in range(1 if options.quick else max(3, options.rounds)):
                    bound.append(_seconds(lambda: _bound(root, processes)))  # noqa: B023
                    ours.append(_seconds(lambda: _ours(root, processes)))  # noqa: B023
                ratio = statistics.median(b / o for b, o in zip(bound, ours, strict=True))
                rates = [pairs / statistics.median(taken) for taken in (bound, ours)]
                lines.append(f"| {codec}, {processes} | {rates[0]:.0f} | {rates[1]:.0f} | {ratio:.2f} |")
    return "\n".join([*lines, ""])


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ours(root: str, processes: int) -> None:
    findings = list(validate(root, processes=processes))
    assert not findings, findings[0]


def _bound(root: str, processes: int) -> None:
    """Nothing but SHA-256 of each shard and a decode of each image, in as many processes, begun in the same way."""
    place = open_root(root)
    shards = [f"{root}/{name}" for name in sorted(place.manifest["shards"])]
    assert sum(in_processes(hash_and_decode, shards, processes, lambda done: None)) == 2 * sum(
        about["pairs"] for about in place.manifest["splits"].values()
    )


def hash_and_decode(shard: str, tell: Tell) -> int:
    """How many images there were."""
    hashlib.sha256(Path(shard).read_bytes()).hexdigest()
    images = 0
    for pair in material.read_tar(Path(shard)):
        for data in (pair.lq, pair.gt):
            decode_image(data)
            images += 1
    return images
