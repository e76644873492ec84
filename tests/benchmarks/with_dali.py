"""NVIDIA DALI on the CPU: its reader of the tars of webdataset, and its decoder, which decodes the window alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import material
from .contestants import Batch, Contestant, Job


class Dali(Contestant):
    name = "DALI on the CPU"
    needs = ("nvidia.dali",)
    environment = "dali"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._loader = _pipeline(job)
        self._count = len(material.facts(Path(job.folder), job.codec)["keys"]) // job.batch

    def epoch(self, number: int) -> Iterator[Batch]:
        for _ in range(self._count):
            texts, lq, gt = self._loader.run()
            keys = [json.loads(bytes(texts.at(row)))["key"] for row in range(len(texts))]
            yield keys, lq.as_array(), gt.as_array()


def _pipeline(job: Job) -> Any:
    from nvidia.dali import fn, pipeline_def, types

    ending = "png" if job.codec == "png" else "jpg"

    @pipeline_def(batch_size=job.batch, num_threads=max(job.workers, 1), device_id=None, seed=0)  # type: ignore[misc]
    def read() -> tuple[Any, Any, Any]:
        text, lq, gt = fn.readers.webdataset(
            paths=job.tars(), ext=["json", f"lq.{ending}", f"gt.{ending}"], missing_component_behavior="error"
        )
        if not job.crop:
            lq, gt = (fn.decoders.image(image, device="cpu", output_type=types.RGB) for image in (lq, gt))
            return text, lq, gt
        x, y = (fn.random.uniform(range=[0.0, 1.0]) for _ in range(2))
        lq, gt = (
            fn.decoders.image_crop(
                image, device="cpu", output_type=types.RGB, crop=[job.crop] * 2, crop_pos_x=x, crop_pos_y=y
            )
            for image in (lq, gt)
        )
        return text, lq, gt

    pipeline = read()
    pipeline.build()
    return pipeline
