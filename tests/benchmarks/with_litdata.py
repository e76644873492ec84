"""LitData, with the type for images that it ships."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import material
from .contestants import Batch, Contestant, Job, crop_pair, stack_tensors


class LitData(Contestant):
    name = "LitData"
    needs = ("litdata",)
    remote = "copy"

    @classmethod
    def write(cls, folder: Path, codec: str) -> None:
        from litdata.streaming import Cache  # what `optimize` writes with, in this process
        from litdata.types import Image

        cache = Cache(str(folder / f"{codec}-litdata"), chunk_bytes=material.file_bytes(folder, codec))
        for number, pair in enumerate(material.stored(folder, codec)):
            cache[number] = {"key": pair.key, "lq": Image(bytes=pair.lq), "gt": Image(bytes=pair.gt)}
        cache.done()
        cache.merge()

    def __init__(self, job: Job) -> None:
        from litdata import StreamingDataLoader, StreamingDataset

        super().__init__(job)
        folder = f"{job.folder}/{job.codec}-litdata"
        place = {"input_dir": f"local:{folder}", "cache_dir": job.cache} if job.cache else {"input_dir": folder}
        self._pairs = StreamingDataset(**place, shuffle=True, drop_last=False)
        self._loader = StreamingDataLoader(
            self._pairs,
            batch_size=job.batch,
            num_workers=job.workers,
            collate_fn=self._stack,
            persistent_workers=bool(job.workers),
        )

    def _stack(self, samples: list[dict[str, Any]]) -> Batch:
        return stack_tensors(
            crop_pair(self.job, each["key"], *(each[name].permute(1, 2, 0).numpy() for name in ("lq", "gt")))
            for each in samples
        )

    def epoch(self, number: int) -> Iterator[Batch]:
        return iter(self._loader)  # it counts its epochs itself

    def state(self, batches: int) -> Any:
        return self._loader.state_dict()

    def resume(self, number: int, state: Any) -> Iterator[Batch]:
        self._loader.load_state_dict(state)
        return self.epoch(number)
