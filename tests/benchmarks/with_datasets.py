"""datasets in its three ways: streaming tars, streaming Parquet with Image features, and Arrow files by index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import material
from .contestants import Batch, Contestant, Indexed, Job, batches_of, crop_pair, stack_tensors, torch_loader

SHUFFLE = 8  # pairs that are held to draw from


class Streaming(Contestant):
    needs = ("datasets",)
    crops = (256, 0)
    remote = "http"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._pairs: Any = self.open().shuffle(seed=0, buffer_size=SHUFFLE)
        self._loader = (
            torch_loader(job, self._pairs, batch_size=job.batch, collate_fn=self._stack) if job.workers else None
        )

    def open(self) -> Any:
        raise NotImplementedError

    def sample(self, row: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def _stack(self, rows: list[dict[str, Any]]) -> Batch:
        return stack_tensors(map(self.sample, rows))

    def epoch(self, number: int) -> Iterator[Batch]:
        self._pairs.set_epoch(number)
        return iter(self._loader) if self._loader is not None else batches_of(self.job, map(self.sample, self._pairs))

    def state(self, batches: int) -> Any:
        return self._pairs.state_dict()

    def resume(self, number: int, state: Any) -> Iterator[Batch]:
        self._pairs.load_state_dict(state)
        return self.epoch(number)


class Tar(Streaming):
    name = "datasets, tar"

    def open(self) -> Any:
        import datasets

        job = self.job
        pairs = datasets.load_dataset("webdataset", data_files={"train": job.tars()}, split="train", streaming=True)
        if job.wanted:
            pairs = pairs.filter(lambda json: json["degradation"] == job.wanted, input_columns=["json"])
        self._ending = "png" if "lq.png" in pairs.features else "jpg"
        return pairs

    def sample(self, row: dict[str, Any]) -> dict[str, Any]:
        lq, gt = (np.asarray(row[f"{name}.{self._ending}"]) for name in ("lq", "gt"))
        return crop_pair(self.job, row["__key__"].rpartition("/")[2], lq, gt)


def _columns(folder: Path, codec: str) -> dict[str, list[Any]]:
    pairs = list(material.stored(folder, codec))
    return {
        "key": [pair.key for pair in pairs],
        "degradation": [pair.degradation for pair in pairs],
        "lq": [{"path": None, "bytes": pair.lq} for pair in pairs],
        "gt": [{"path": None, "bytes": pair.gt} for pair in pairs],
    }


def _table(folder: Path, codec: str) -> Any:
    import datasets

    text = datasets.Value("string")
    features = datasets.Features(key=text, degradation=text, lq=datasets.Image(), gt=datasets.Image())
    return datasets.Dataset.from_dict(_columns(folder, codec), features=features)


def _sample(job: Job, row: dict[str, Any]) -> dict[str, Any]:
    return crop_pair(job, row["key"], np.asarray(row["lq"]), np.asarray(row["gt"]))


class Parquet(Streaming):
    """A file a class, which the statistics of its row groups name."""

    name = "datasets, parquet"

    @classmethod
    def write(cls, folder: Path, codec: str) -> None:
        pairs = _table(folder, codec)
        (folder / f"{codec}-parquet").mkdir()
        for name in material.CLASSES:
            rows = [row for row, degradation in enumerate(pairs["degradation"]) if degradation == name]
            pairs.select(rows).to_parquet(folder / f"{codec}-parquet" / f"{name}.parquet")

    def open(self) -> Any:
        import datasets

        datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0  # of 5 s at the end of each pass: nothing in a long one
        job = self.job
        files = [f"{job.url or job.folder}/{job.codec}-parquet/{name}.parquet" for name in material.CLASSES]
        filters = [("degradation", "==", job.wanted)] if job.wanted else None
        return datasets.load_dataset(
            "parquet", data_files={"train": files}, split="train", streaming=True, filters=filters
        )

    def sample(self, row: dict[str, Any]) -> dict[str, Any]:
        return _sample(self.job, row)


class Arrow(Indexed):
    name = "datasets, map-style"
    needs = ("datasets",)
    crops = (256, 0)

    @classmethod
    def write(cls, folder: Path, codec: str) -> None:
        _table(folder, codec).save_to_disk(folder / f"{codec}-arrow")

    def __init__(self, job: Job) -> None:
        import datasets

        super().__init__(job)
        self._pairs = datasets.load_from_disk(f"{job.folder}/{job.codec}-arrow")

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        return [_sample(self.job, row) for row in self._pairs.__getitems__(numbers)]
