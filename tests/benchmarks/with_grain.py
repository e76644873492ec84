"""Grain over an ArrayRecord file, with Pillow, as it ships no decoder."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from . import material
from .contestants import Batch, Contestant, Job, decode_pair, stack


class Grain(Contestant):
    name = "Grain"
    needs = ("grain",)
    environment = "peers"
    crops = (256, 0)

    @classmethod
    def write(cls, folder: Path, codec: str) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter

        writer = ArrayRecordWriter(str(folder / f"{codec}.array_record"), "group_size:1")
        for pair in material.stored(folder, codec):
            writer.write(pickle.dumps((pair.key, pair.lq, pair.gt)))
        writer.close()

    def __init__(self, job: Job) -> None:
        import grain

        super().__init__(job)
        source = grain.sources.ArrayRecordDataSource(f"{job.folder}/{job.codec}.array_record")
        pairs = grain.MapDataset.source(source).seed(0).shuffle().repeat().map(partial(_decode, job))
        batches = pairs.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=job.batch))
        batches = batches.batch(job.batch, batch_fn=list)
        if job.workers:
            batches = batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=job.workers))
        self._count = -(-len(source) // job.batch)
        self._loader = iter(batches)  # it goes on from pass to pass, as its workers do

    def close(self) -> None:
        if self._loader is not None:
            self._loader.close()
        super().close()

    def epoch(self, number: int) -> Iterator[Batch]:
        return map(stack, itertools.islice(self._loader, self._count))


def _decode(job: Job, record: bytes) -> dict[str, Any]:
    return decode_pair(job, *pickle.loads(record))
