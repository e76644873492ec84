"""SPDL: a pipeline of threads over files. Its own decoder needs the libraries of FFmpeg, so Pillow decodes here."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import material
from .contestants import Batch, Contestant, decode_pair, stack


class Spdl(Contestant):
    name = "SPDL"
    needs = ("spdl.pipeline",)
    environment = "peers"
    crops = (256, 0)

    @classmethod
    def write(cls, folder: Path, codec: str) -> None:
        (folder / f"{codec}-files").mkdir()
        for pair in material.stored(folder, codec):
            for name, data in (("lq", pair.lq), ("gt", pair.gt)):
                (folder / f"{codec}-files" / f"{pair.key}.{name}").write_bytes(data)

    def epoch(self, number: int) -> Iterator[Batch]:
        return self.epochs(number, 1)

    def epochs(self, first: int, count: int) -> Iterator[Batch]:
        """As one long pass, since its threads start anew for each pipeline."""
        from spdl.pipeline import PipelineBuilder

        threads = max(self.job.workers, 1)
        builder = PipelineBuilder().add_source(self._keys(first, count))
        builder = builder.pipe(self._load, concurrency=threads).aggregate(self.job.batch).pipe(stack).add_sink(2)
        pipeline = builder.build(num_threads=threads)
        with pipeline.auto_stop():
            yield from pipeline.get_iterator(timeout=60)

    def _keys(self, first: int, count: int) -> list[str]:
        folder = Path(self.job.folder) / f"{self.job.codec}-files"
        keys = sorted(path.stem for path in folder.glob("*.lq"))
        order = []
        for number in range(first, first + count):
            random.Random(number).shuffle(keys)
            order += keys
        return order

    def _load(self, key: str) -> dict[str, Any]:
        folder = Path(self.job.folder) / f"{self.job.codec}-files"
        lq, gt = ((folder / f"{key}.{name}").read_bytes() for name in ("lq", "gt"))
        return decode_pair(self.job, key, lq, gt)
