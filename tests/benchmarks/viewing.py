"""How fast `view` opens, filters and shows the first picture of a release of 103,707 pairs.

The shards hold a few pairs of 1024 x 1024, and every row of a synthetic index points to one of them. The server runs in
this process; requests go over loopback, as a browser's do.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import ggt100k

from . import material
from .field import Options, table

ROWS = 103_707
ROW_GROUP = 1000
WORDS = (
    "the",
    "a",
    "rain",
    "snow",
    "haze",
    "street",
    "tree",
    "house",
    "sky",
    "remove",
    "keep",
    "every",
    "window",
    "of",
)
# what a user does, and the query that it becomes
STEPS = {
    "filter by class": "degradation=rain",
    "filter by class and score": "degradation=rain&metric=structure&low=0.5&high=",
    "sort by a score": "sort=-structure",
    "search prompts and authors": f"q={quote('every window')}",
    "all of these": f"degradation=rain&metric=structure&low=0.5&high=&sort=-structure&q={quote('every window')}",
    "scroll to the middle": f"start={ROWS // 2}",
}


def stretch_index(root: Path, rows: int, *, seed: int = 0, authors: Sequence[str] = ("Anna", "Bo")) -> None:
    """Give a release an index of many rows that point to its few pairs, with keys, scores and prompts of their own."""
    path = root / "index/train.parquet"
    few = pq.read_table(path)
    drawn = np.random.default_rng(seed)
    prompts = random.Random(seed)
    whole = few.take(pa.array(np.sort(np.resize(np.arange(few.num_rows), rows))))
    columns = {
        "key": pa.array([f"{number:016x}" for number in range(rows)]),
        "author": pa.array([authors[number % len(authors)] for number in range(rows)]),
        "prompt": pa.array([" ".join(prompts.choices(WORDS, k=20)) for _ in range(rows)]),
        "scores": pa.StructArray.from_arrays(
            [pa.array(drawn.normal(0.5, 0.2, rows).astype(np.float32)) for _ in few.schema.field("scores").type],
            fields=list(few.schema.field("scores").type),
        ),
    }
    for name, values in columns.items():
        whole = whole.set_column(few.schema.get_field_index(name), few.schema.field(name), values)
    pq.write_table(whole, path, compression="zstd", row_group_size=ROW_GROUP)
    manifest = json.loads((root / ggt100k.MANIFEST).read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest["splits"]["train"] |= {"pairs": rows, "index": {"bytes": path.stat().st_size, "sha256": digest}}
    (root / ggt100k.MANIFEST).write_text(json.dumps(manifest))


def bench(options: Options) -> str:
    """Measure, and return the tables."""
    rows = 2_000 if options.quick else ROWS
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        material.make(folder, 6 if options.quick else options.pairs, ["png"])
        stretch_index(folder / "png", rows)
        before = os.environ.get("HF_HOME")
        os.environ["HF_HOME"] = str(folder / "cache")
        try:
            opened = [measure_view(folder / "png") for _ in ("first time", "later")]
        finally:
            os.environ.pop("HF_HOME") if before is None else os.environ.update(HF_HOME=before)
    lines = [("open the release, and bind the port", *(f"{steps['open']:.2f}" for steps in opened))]
    lines += [(name, *(f"{steps[name]:.3f}" for steps in opened)) for name in opened[0] if name != "open"]
    return f"View: {rows:,} pairs\n\n" + table(("view, seconds", "first time", "index decoded before"), lines)


def measure_view(root: Path) -> dict[str, float]:
    """Open a release as `view` does, and return the seconds of each step."""
    from ggt_format import index_file
    from ggt_tools.viewing import View, ViewConfig

    index_file._COLUMNS.clear()  # as in a new process
    seconds = {}
    begun = time.perf_counter()
    with View(root, ViewConfig(port=0)) as view:
        seconds["open"] = time.perf_counter() - begun
        thread = threading.Thread(target=view.serve, daemon=True)
        thread.start()
        client = _Client(view.url)
        begun = time.perf_counter()
        page = client.get("/").decode()
        release = page.partition('data-id="')[2].partition('"')[0]
        client.get("/api/rows?")
        client.get(f"/thumbnail/{release}/train/0/whole.jpg")
        seconds["first picture, from the request of the page"] = time.perf_counter() - begun
        begun = time.perf_counter()
        for row in range(1, 21):
            client.get(f"/thumbnail/{release}/train/{row}/whole.jpg")
        seconds["20 more thumbnails, one by one"] = time.perf_counter() - begun
        begun = time.perf_counter()
        for row in range(21, 41):
            client.get(f"/thumbnail/{release}/train/{row}/detail.jpg")
        seconds["20 details, one by one"] = time.perf_counter() - begun
        for name, query in STEPS.items():
            begun = time.perf_counter()
            client.get(f"/api/rows?{query}")
            seconds[name] = time.perf_counter() - begun
        begun = time.perf_counter()
        client.get("/api/map?")
        seconds["map of 20,000 pairs"] = time.perf_counter() - begun
        client.close()
        view.stop()
        thread.join()
    return seconds


class _Client:
    """A browser's connection: it enters by the first URL, and sends the cookie from then on."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        self._connection.request("GET", f"/?{parts.query}")
        entrance = self._connection.getresponse()
        entrance.read()
        self._cookie = str(entrance.getheader("set-cookie")).partition(";")[0]

    def get(self, path: str) -> bytes:
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}: {data[:200].decode()}")
        return data

    def close(self) -> None:
        self._connection.close()
