"""demo: the whole way once, from the sample's photographs to a training batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt

import ggt100k  # its import registers load_dataset("ggt-100k")
from ggt_tools.imaging.contact_sheet import contact_sheet

TEST = "0.25"  # of a few dozen pairs: with the default the test split would be empty


def demo(folder: Path, run: Callable[..., None]) -> Iterator[str]:
    """Runs the verbs one after another by `run`, loads what came out, and yields what there is to say of it.

    Leaves in `folder`: workspace, the dataset folder ggt-100k, contact_sheet.png.
    """
    workspace, out = str(folder / "workspace"), str(folder / "ggt-100k")
    run("ingest", str(ggt100k.sample_folder()), workspace)
    run("restore", workspace, "--with", "classical")
    run("align", workspace)
    run("score", workspace)
    run("verdict", workspace)
    run("pack", workspace, out, "--test", TEST)
    run("validate", out)
    run("card", out)
    run("status", workspace)

    yield f'\n>>> load_dataset("ggt-100k", data_dir="{out}")'
    pairs = datasets.load_dataset("ggt-100k", data_dir=out)
    for split, rows in pairs.items():
        yield f"{split}: {len(rows)} pairs, columns {', '.join(rows.column_names)}"
    lq, gt = batch(pairs["train"], size=256, count=8, seed=0)
    yield f"one batch: lq {lq.shape} {lq.dtype}, gt {gt.shape} {gt.dtype}, the same windows of both"
    sheet = folder / "contact_sheet.png"
    contact_sheet([row for rows in pairs.values() for row in rows]).save(sheet)
    yield f"look at {sheet}, and at the release's card, {out}/README.md"


def batch(pairs: Any, *, size: int, count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """`count` windows of `size` pixels out of random pairs, the same of lq and gt: uint8, count x size x size x 3."""
    random = np.random.default_rng(seed)
    crops: tuple[list[npt.NDArray[np.uint8]], list[npt.NDArray[np.uint8]]] = ([], [])
    for at in random.integers(len(pairs), size=count):
        pair = pairs[int(at)]
        width, height = pair["lq"].size
        left, top = random.integers(width - size + 1), random.integers(height - size + 1)
        box = (int(left), int(top), int(left) + size, int(top) + size)
        for name, into in zip(("lq", "gt"), crops, strict=True):
            into.append(np.asarray(pair[name].crop(box)))
    return np.stack(crops[0]), np.stack(crops[1])
