"""The memory of an index of many rows: in the process that opens it, and in each further worker."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import random
import time
from pathlib import Path
from typing import Any

from . import material
from .field import OURS, Field, figure, table
from .processes import Process
from .progress import PROGRESS

ROWS = (103_707, 1_000_000)
ITEMS = 64  # that are read before memory is looked at
PROMPT = "Remove the rain and its veil; keep every object, face and letter where and as it is; number {} of the set. "


def report(field: Field) -> tuple[str, dict[int, dict[str, float]]]:
    """The table, and the figures by rows: all without what the same program takes for the material's few rows."""
    if not Path("/proc/self/smaps_rollup").is_file():
        field.notes["memory"] = "not measured: this system does not tell it"
        return "", {}
    rows = (2_000,) if field.options.quick else ROWS
    least = _ask(field, field.folder / "png")
    figures, lines = {}, []
    for count in rows:
        PROGRESS.say(f"an index of {count:,} rows")
        folder = field.folder / f"index-{count}"
        _make(field.folder / "png", folder, count)
        found = _ask(field, folder)
        figures[count] = taken = {name: value - least[name] for name, value in found.items()} | {
            name: found[name] for name in ("seconds", "pickled")
        }
        cells = (figure(taken[name] / 1e6) for name in ("shared", "private", "worker"))
        lines.append([f"{count:,}", *cells, f"{taken['pickled'] / 1e3:.0f} kB", figure(taken["seconds"])])
    head = ["rows of the index", "shared, MB", "private, MB", "a further worker, MB", "pickled", "seconds to open"]
    return table(head, lines), figures


def _ask(field: Field, folder: Path) -> dict[str, float]:
    process = Process(OURS, field.folder)
    try:
        return process.ask("memory", folder=str(folder))
    finally:
        process.close()


def measure(folder: Path) -> dict[str, float]:
    """Bytes by kind, in this process and in a worker that was spawned, after both have read some pairs."""
    import ggt100k

    start = time.perf_counter()
    pairs = ggt100k.PairDataset(folder, crop=256)
    seconds = time.perf_counter() - start
    _read(pairs)
    ours, theirs = multiprocessing.Pipe()
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(pairs, theirs))
    worker.start()
    try:
        if not ours.poll(120):
            raise TimeoutError("the worker read no pair")
        ours.recv()
        parent, child = _taken("self"), _taken(str(worker.pid))
        ours.send(None)
        worker.join(60)
    finally:
        worker.kill()
    pickled = len(pickle.dumps(pairs))
    return parent | {"worker": child["private"], "seconds": seconds, "pickled": pickled}


def _work(pairs: Any, pipe: Any) -> None:
    _read(pairs)
    pipe.send(None)
    pipe.recv()


def _read(pairs: Any) -> None:
    pairs.__getitems__(random.Random(0).choices(range(len(pairs)), k=ITEMS))


def _taken(process: str) -> dict[str, float]:
    """Bytes that a process shares with others, and those that it has alone."""
    found = {"shared": 0.0, "private": 0.0}
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        kind = name.partition("_")[0].lower()
        if kind in found and not name.endswith("Hugetlb"):
            found[kind] += 1024 * int(value.split()[0])
    return found


def _make(source: Path, folder: Path, count: int) -> None:
    """A dataset folder with so many rows in its index, whose images are those of `source` over and over."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    import ggt100k
    from ggt_tools.stages.pack import ROW_GROUP

    few = pq.read_table(source / "index/train.parquet")
    (folder / "index").mkdir(parents=True)
    (folder / "data").symlink_to(source / "data")
    classes = few["degradation"].to_pylist()
    path = folder / "index/train.parquet"
    begin = 0
    with pq.ParquetWriter(path, few.schema, compression="zstd") as writer:
        for number, name in enumerate(material.CLASSES):
            size = count * (number + 1) // len(material.CLASSES) - begin
            rows = np.flatnonzero([each == name for each in classes])
            part = few.take(pa.array(np.resize(rows, size)))
            each = range(begin, begin + size)
            for column, text in (("key", "{:016x}"), ("prompt", 3 * PROMPT), ("url", "https://example.org/{}")):
                made = pa.array([text.replace("{}", "{0}").format(i) for i in each], pa.string())
                part = part.set_column(part.schema.get_field_index(column), few.schema.field(column), made)
            writer.write_table(part, row_group_size=ROW_GROUP)
            begin += size
    manifest = json.loads((source / ggt100k.MANIFEST).read_text())
    data = path.read_bytes()
    about = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["splits"]["train"] |= {"pairs": count, "index": about}
    (folder / ggt100k.MANIFEST).write_text(json.dumps(manifest))
