"""MosaicML streaming, in an environment of its own: its releases want other versions than `datasets` does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import material
from .contestants import Batch, Contestant, Job, decode_pair, stream

COLUMNS = {"key": "str", "lq": "bytes", "gt": "bytes"}


class Mosaic(Contestant):
    name = "MosaicML streaming"
    needs = ("streaming",)
    environment = "mosaic"
    crops = (256, 0)
    remote = "copy"

    @classmethod
    def write(cls, folder: Path, codec: str) -> None:
        from streaming import MDSWriter

        size = material.file_bytes(folder, codec)
        with MDSWriter(out=str(folder / f"{codec}-mosaic"), columns=COLUMNS, size_limit=size) as writer:
            for pair in material.stored(folder, codec):
                writer.write({"key": pair.key, "lq": pair.lq, "gt": pair.gt})

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        folder = f"{job.folder}/{job.codec}-mosaic"
        places = {"remote": folder, "local": job.cache} if job.cache else {"local": folder}
        self._pairs = _dataset(job, places)
        self._loader = stream(job, self._pairs)

    def epoch(self, number: int) -> Iterator[Batch]:
        return iter(self._loader)  # it counts its epochs itself

    def state(self, batches: int) -> Any:
        return self._pairs.state_dict(batches * self.job.batch, from_beginning=True)

    def resume(self, number: int, state: Any) -> Iterator[Batch]:
        self._pairs.load_state_dict(state)
        return self.epoch(number)


def _dataset(job: Job, places: dict[str, str]) -> Any:
    from streaming import StreamingDataset

    class Pairs(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, number: int) -> dict[str, Any]:
            return decode_pair(job, **super().__getitem__(number))

    return Pairs(**places, shuffle=True, shuffle_seed=0, batch_size=job.batch)
