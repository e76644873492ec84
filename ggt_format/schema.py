"""Names, values and columns of format 1, which every reader and writer uses."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Image = npt.NDArray[np.uint8]  # RGB, (height, width, 3)

NAME = "ggt-100k"
REPO_ID = "ggt-100k/ggt-100k"  # maintainers set this to the repository of their organisation
FORMAT_VERSION = 1
SPLITS = ("train", "test")
PRIOR = "prior"  # beside the splits: outputs that could not be aligned and so are not ground truth
PREFERENCE = "preference"  # beside the splits: kept and rejected restorations of one photograph (preferences.py)
SOURCES = ("dataset", "internet", "captured")
CODECS = {"png": "png", "jpeg": "jpg"}  # codec in the manifest: extension of the image members
DEGRADATIONS = (
    *("mixed", "rain", "haze", "snow", "low_light", "old_photo"),
    *("raindrop", "underwater", "reflection", "shadow", "motion_blur", "defocus_blur"),  # in adopted datasets
)


MANIFEST = "index/manifest.json"
PREFERENCE_INDEX = f"index/{PREFERENCE}.parquet"
KEY = re.compile(r"[0-9a-f]{16}")
SHARD = re.compile(rf"data/(?:{'|'.join(DEGRADATIONS)})/(?:{'|'.join((*SPLITS, PRIOR))})-[0-9]{{5,9}}\.tar")
PREFERENCE_SHARD = re.compile(rf"data/(?:{'|'.join(DEGRADATIONS)})/{PREFERENCE}-[0-9]{{5,9}}\.tar")
VERSION = re.compile(r"\d+\.\d+\.\d+")
METRIC = re.compile(r"[a-z0-9_]+")


def pair_key(lq: npt.NDArray[np.uint8]) -> str:
    """Return the key of a pair: the first 16 hexadecimal digits of the SHA-256 of `lq` (uint8, height x width x 3)."""
    return hashlib.sha256(np.ascontiguousarray(lq).data).hexdigest()[:16]


def index_schema(metrics: Sequence[str]) -> pa.Schema:
    """Return the columns of `index/{split}.parquet`, which has one row for each pair.

    The facts come first, in the order of the pair's JSON member. The columns from `shard` on state where the bytes are.
    Offsets count from the start of the shard. `lq_bands` and `gt_bands` count from the start of the image: the start of
    each band (in a PNG its IDAT chunk, in a JPEG its coded data), and the end of the last one. They are empty for an
    image that is not banded.

    Args:
        metrics: Names of metrics. Each is a float32 field of `scores`, NaN where it was not measured.
    """
    texts = pa.list_(pa.string())
    facts = {
        "key": pa.string(),
        "degradation": pa.string(),
        "degradations": texts,  # all that were detected
        "source": pa.string(),
        "source_name": pa.string(),
        "licence": pa.string(),
        "author": pa.string(),
        "url": pa.string(),
        "restorer": pa.string(),
        "strategy": pa.string(),
        "prompt": pa.string(),
        "round": pa.int32(),
        "created": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "scores": pa.struct([pa.field(name, pa.float32()) for name in metrics]),  # NaN where not measured
        "evidence": texts,
    }
    location = {"shard": pa.string()}
    for member in ("json", "lq", "gt"):
        location |= {f"{member}_offset": pa.int64(), f"{member}_size": pa.int64()}
    location |= {"band_rows": pa.int32(), "lq_bands": pa.list_(pa.uint32()), "gt_bands": pa.list_(pa.uint32())}
    return pa.schema([pa.field(name, kind) for name, kind in (facts | location).items()])


def fact_columns(metrics: Sequence[str]) -> list[str]:
    """Return the columns of the index that are facts of the pair, which its JSON member has too."""
    names = [str(name) for name in index_schema(metrics).names]
    return names[: names.index("shard")]
