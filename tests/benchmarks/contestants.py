"""The contestants and their interface: copy the pairs to their own format, iterate over them, resume after a stop.

Each peer's own module imports its library; it runs in a process of its own, which `worker.py` is.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import material
from .decoders import pillow

Batch = tuple[list[str], Any, Any]  # keys, lq, gt: N x height x width x 3, numpy's or torch's


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one measurement asks of a contestant."""

    folder: str  # of the material
    codec: str = "png"
    crop: int = 0  # pixels a side; 0: whole pairs
    workers: int = 0
    batch: int = 4
    url: str = ""  # of the material's folder over HTTP; "": the files themselves
    wanted: str = ""  # this degradation alone
    cache: str = ""  # an empty folder for what is fetched
    facts: dict[str, str] = dataclasses.field(default_factory=dict)  # found out by earlier jobs

    def dataset(self) -> str:
        """The dataset folder of ours, by path or by URL."""
        return f"{self.url or self.folder}/{self.codec}"

    def tars(self, degradation: str = "*") -> list[str]:
        return [f"{self.dataset()}/{name}" for name in material.shards(Path(self.folder), self.codec, degradation)]


class Contestant:
    """Passes over the pairs of a job. A peer without a way to go on begins again and drops what was seen."""

    name = ""
    needs: tuple[str, ...] = ()  # modules
    environment = ""  # the one that it needs; "": the one that the bench runs in
    codecs: tuple[str, ...] = material.CODECS
    remote = ""  # "http"; "copy": fetches whole files of its own into a folder; "": neither
    workers = True
    crops: tuple[int, ...] = (256, 512, 0)  # that are timed; who decodes whole images is as fast for 512 as for 256

    def __init__(self, job: Job) -> None:
        self.job = job
        self._loader: Any = None

    def close(self) -> None:
        """Ends its workers now: left to the collector of cycles, torch waits for each of them for 5 s."""
        self._loader = None

    @classmethod
    def write(cls, folder: Path, codec: str) -> None:
        """Makes its own copy of the pairs, where it cannot read ours."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """One pass: every pair once, shuffled anew for each number."""
        raise NotImplementedError

    def epochs(self, first: int, count: int) -> Iterator[Batch]:
        """So many passes, one after the other."""
        return itertools.chain.from_iterable(self.epoch(number) for number in range(first, first + count))

    def state(self, batches: int) -> Any:
        """What a checkpoint holds after so many batches of the running pass, which nothing was read ahead of."""
        return batches

    def resume(self, number: int, state: Any) -> Iterator[Batch]:
        """The rest of the pass, on a contestant just made."""
        return itertools.islice(self.epoch(number), state, None)


class Indexed(Contestant):
    """One that gives pair i: it goes on at the index where it was cut off."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._sampler = _Order(self.job.batch)

    def __len__(self) -> int:
        raise NotImplementedError

    def dataset(self) -> Any:
        """What a DataLoader takes; its `__getitems__` gives samples as `stack` takes them."""
        return self

    def epoch(self, number: int) -> Iterator[Batch]:
        return self.resume(number, 0)

    def epochs(self, first: int, count: int) -> Iterator[Batch]:
        """As one long pass: a set of many pairs has no beginning and end every moment, which its workers wait for."""
        return self._batches([place for number in range(first, first + count) for place in self._order(number)])

    def resume(self, number: int, state: Any) -> Iterator[Batch]:
        return self._batches(self._order(number)[state * self.job.batch :])

    def _order(self, number: int) -> list[int]:
        order = list(range(len(self)))
        random.Random(number).shuffle(order)
        return order

    def _batches(self, order: list[int]) -> Iterator[Batch]:
        self._sampler.order = order
        if not self.job.workers:
            return (stack(self.dataset().__getitems__(part)) for part in self._sampler)
        if self._loader is None:
            self._loader = torch_loader(self.job, self.dataset(), batch_sampler=self._sampler, collate_fn=stack_tensors)
        return iter(self._loader)


class _Order:
    """A batch sampler whose order is set before each pass."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.order: Sequence[int] = []

    def __iter__(self) -> Iterator[list[int]]:
        return iter([list(self.order[i : i + self.batch]) for i in range(0, len(self.order), self.batch)])

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch)


def torch_loader(job: Job, dataset: Any, **options: Any) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(dataset, num_workers=job.workers, persistent_workers=True, **options)


def crop_pair(job: Job, key: str, lq: Any, gt: Any) -> dict[str, Any]:
    """A sample as users of whole-image loaders make it: decode all, then the window, the same of both."""
    if job.crop:
        top, left = (random.randrange(side - job.crop + 1) for side in lq.shape[:2])
        lq, gt = material.cut(lq, gt, top, left, job.crop)
    return {"key": key, "lq": lq, "gt": gt}


def decode_pair(job: Job, key: str, lq: bytes, gt: bytes) -> dict[str, Any]:
    return crop_pair(job, key, pillow(lq), pillow(gt))


def stack(samples: Iterable[dict[str, Any]]) -> Batch:
    """The batch that a training step gets."""
    samples = list(samples)
    lq, gt = (np.stack([sample[name] for sample in samples]) for name in ("lq", "gt"))
    return [sample["key"] for sample in samples], lq, gt


def stack_tensors(samples: Iterable[dict[str, Any]]) -> Batch:
    """The same as tensors, which torch's own collation writes to where a worker's loader reads them."""
    import torch
    from torch.utils.data import default_collate

    samples = list(samples)
    lq, gt = (default_collate([torch.from_numpy(sample[name]) for sample in samples]) for name in ("lq", "gt"))
    return [sample["key"] for sample in samples], lq, gt


def batches_of(job: Job, samples: Iterator[dict[str, Any]]) -> Iterator[Batch]:
    while part := list(itertools.islice(samples, job.batch)):
        yield stack(part)


def stream(job: Job, dataset: Any) -> Any:
    """An iterable dataset's samples in batches: by torch's loader where there are workers."""
    if not job.workers:
        return _Plain(job, dataset)
    return torch_loader(job, dataset, batch_size=job.batch, collate_fn=stack_tensors)


class _Plain:
    def __init__(self, job: Job, dataset: Any) -> None:
        self.job, self.dataset = job, dataset

    def __iter__(self) -> Iterator[Batch]:
        return batches_of(self.job, iter(self.dataset))


PEERS = {
    "ours": "ours:Ours",
    "webdataset": "with_webdataset:Webdataset",
    "webdataset, fastest decoder": "with_webdataset:FastWebdataset",
    "wids": "with_webdataset:Wids",
    "datasets, tar": "with_datasets:Tar",
    "datasets, parquet": "with_datasets:Parquet",
    "datasets, map-style": "with_datasets:Arrow",
    "MosaicML streaming": "with_mosaic:Mosaic",
    "LitData": "with_litdata:LitData",
    "SPDL": "with_spdl:Spdl",
    "Grain": "with_grain:Grain",
    "DALI on the CPU": "with_dali:Dali",
    "webdataset, the tars of the class": "with_webdataset:WebdatasetOfClass",
    "pure bound": "ours:Bound",
}


def contestant(name: str) -> type[Contestant]:
    module, _, attribute = PEERS[name].partition(":")
    found: type[Contestant] = getattr(importlib.import_module(f".{module}", __package__), attribute)
    return found
