"""PairDataset, and its upper bound: only inflate the bands that are needed, from bytes in memory."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import material
from .contestants import Batch, Indexed, Job


class Ours(Indexed):
    name = "ours"
    needs = ("ggt100k",)
    remote = "http"

    def __init__(self, job: Job) -> None:
        import ggt100k

        super().__init__(job)
        self.pairs = ggt100k.PairDataset(
            job.dataset(),
            crop=job.crop or None,
            where={"degradation": [job.wanted]} if job.wanted else None,
            threads=None if job.url else 1,  # whoever reads files has one core and one thread
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def dataset(self) -> Any:
        return self.pairs

    def resume(self, number: int, state: Any) -> Iterator[Batch]:
        self.pairs.set_epoch(number)
        return super().resume(number, state)


class Bound(Indexed):
    """What no reader of PNG can beat: it makes no pixels of what it inflates, and its batches are empty."""

    name = "pure bound"
    needs = ("ggt100k",)
    codecs = ("png",)
    workers = False

    def __init__(self, job: Job) -> None:
        import ggt100k
        from ggt_format.png import END_OF_DEFLATE

        super().__init__(job)
        self.keys: list[str] = []
        self.bands: list[list[bytes]] = []  # of lq and gt by turns
        for pair in material.stored(Path(job.folder), job.codec):
            self.keys.append(pair.key)
            for data in (pair.lq, pair.gt):
                bands = ggt100k.read_bands(data)
                assert bands is not None
                self.rows, self.size = bands.rows, bands.rows * (1 + 3 * bands.width)
                offsets = zip(bands.offsets, bands.offsets[1:], strict=False)
                self.bands.append([data[start + 8 : stop - 4] + END_OF_DEFLATE for start, stop in offsets])
        self.inflate = fastest_inflate(self.bands[0], self.size)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        crop = self.job.crop or material.SIZE
        for number in numbers:
            top = random.randrange(material.SIZE - crop + 1)
            for bands in self.bands[2 * number : 2 * number + 2]:
                for band in bands[top // self.rows : -(-(top + crop) // self.rows)]:
                    self.inflate(band, self.size)
        return [{"key": self.keys[number], "lq": _NOTHING, "gt": _NOTHING} for number in numbers]


_NOTHING = np.empty(0, np.uint8)
Inflate = Callable[[bytes, int], Any]


def fastest_inflate(bands: list[bytes], size: int) -> Inflate:
    """Of the libraries that are installed."""
    best: tuple[float, Inflate] = (float("inf"), zlib.decompress)
    for run in _inflaters():
        start = time.perf_counter()
        for _ in range(5):
            for band in bands:
                run(band, size)
        best = min(best, (time.perf_counter() - start, run), key=lambda one: one[0])
    return best[1]


def _inflaters() -> Iterator[Inflate]:
    yield lambda data, size: zlib.decompress(data, -15, size)
    try:
        import deflate

        yield deflate.deflate_decompress
    except ImportError:
        pass
    try:
        from isal import isal_zlib

        yield lambda data, size: isal_zlib.decompress(data, -15, size)
    except ImportError:
        pass
    try:
        from zlib_ng import zlib_ng

        yield lambda data, size: zlib_ng.decompress(data, -15, size)
    except ImportError:
        pass
