"""webdataset as it ships, webdataset with the fastest decoder, and wids, which webdataset before 1.0 holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import material
from .contestants import Batch, Contestant, Indexed, Job, crop_pair, stream
from .decoders import decoder

SHUFFLE = 8  # pairs that are held to draw from


class Webdataset(Contestant):
    name = "webdataset"
    needs = ("webdataset",)
    remote = "http"
    by_name = False

    def __init__(self, job: Job) -> None:
        import webdataset

        super().__init__(job)
        tars = job.tars(job.wanted if self.by_name and job.wanted else "*")
        pairs = webdataset.WebDataset(tars, shardshuffle=len(tars), detshuffle=True, seed=0, empty_check=False).compose(
            webdataset.detshuffle(SHUFFLE, seed=0)
        )
        if job.wanted:
            pairs = pairs.select(lambda sample: json.loads(sample["json"])["degradation"] == job.wanted)
        self._pairs = self.decoded(pairs)
        self._loader = stream(job, self._pairs)

    def decoded(self, pairs: Any) -> Any:
        return pairs.decode("rgb8").map(self._cropped)

    def _cropped(self, sample: dict[str, Any]) -> dict[str, Any]:
        lq, gt = _images(sample, "")
        return crop_pair(self.job, sample["__key__"], lq, gt)

    def epoch(self, number: int) -> Iterator[Batch]:
        for stage in self._pairs.pipeline:
            if hasattr(stage, "epoch"):
                stage.epoch = number - 1  # they count passes, each for itself
        return iter(self._loader)


class FastWebdataset(Webdataset):
    name = "webdataset, fastest decoder"

    def decoded(self, pairs: Any) -> Any:
        self._decode = decoder(self.job.codec, self.job.facts[self.job.codec])
        return pairs.map(self._decoded)

    def _decoded(self, sample: dict[str, Any]) -> dict[str, Any]:
        lq, gt = map(self._decode, _images(sample, ""))
        return crop_pair(self.job, sample["__key__"], lq, gt)


class WebdatasetOfClass(Webdataset):
    """Given the tars of the class by their names: what the layout of ours lets a plain reader do."""

    name = "webdataset, the tars of the class"
    codecs = ()  # the row of one class alone
    by_name = True


class Wids(Indexed):
    name = "wids"
    needs = ("wids",)
    environment = "mosaic"
    crops = (256, 0)

    def __init__(self, job: Job) -> None:
        import wids

        super().__init__(job)
        counts: dict[str, int] = {}
        for pair in material.stored(Path(job.folder), job.codec):
            counts[pair.degradation] = counts.get(pair.degradation, 0) + 1
        shards = [{"url": tar, "nsamples": counts[Path(tar).parent.name]} for tar in job.tars()]
        self._pairs = wids.ShardListDataset(shards, keep=True, localname=str)

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitems__(self, numbers: list[int]) -> list[dict[str, Any]]:
        return [self._sample(self._pairs[number]) for number in numbers]

    def _sample(self, sample: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        lq, gt = (np.asarray(image) for image in _images(sample, "."))
        return crop_pair(self.job, Path(sample["__key__"]).name, lq, gt)


def _images(sample: dict[str, Any], dot: str) -> list[Any]:
    ending = "png" if f"{dot}lq.png" in sample else "jpg"
    return [sample[f"{dot}{name}.{ending}"] for name in ("lq", "gt")]
