"""The layouts: one writer each. It takes the pairs of a split and a folder, and skips the files that are right already.

`finished_sizes` are the sizes of the files that hold many pairs, by name, where an earlier run finished. Such a file is
then trusted if it has its size. Without them each file is compared with the release, byte by byte, and kept only if it
is equal.
"""

from __future__ import annotations

import filecmp
import json
import math
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt100k import features
from ggt_format.schema import PRIOR, index_schema
from ggt_format.shard import encode_json, member_header
from ggt_tools.errors import ConfigError
from ggt_tools.workspace.ledger import sync_folder, write_whole

LMDB_BATCH = 64  # pairs that lmdb commits at once
LMDB_PAGE = 4096  # bytes
LMDB_SPARE = 64 << 20  # bytes of address space besides what the images need
MULTI_PAIR_FILES = ("*.tar", "data/*.parquet", "*/*.lmdb/data.mdb")  # their sizes are recorded at the end
Progress = Callable[[int], object]  # called with a number of pairs
FinishedSizes = Mapping[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the index holds of a pair.

    Attributes:
        facts: Its facts by column; the key comes first.
        sizes: Sizes of the files of lq and gt in bytes.
        prompt: The text that an edit trainer learns with this pair; None for no text at all.
    """

    facts: Mapping[str, Any]
    sizes: tuple[int, int]
    prompt: str | None = None

    @property
    def key(self) -> str:
        return str(self.facts["key"])

    @property
    def shape(self) -> str:
        """The shape of both images, as BasicSR writes it."""
        return f"({self.facts['height']},{self.facts['width']},3)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The pairs of a split.

    Attributes:
        split: Its name.
        suffix: Suffix of the image files, without a dot.
        metrics: Names of the metrics that have a column.
        rows: One row a pair.
        read: Returns the files of lq and gt of a row, given its number; they have been checked.
    """

    split: str
    suffix: str
    metrics: tuple[str, ...]
    rows: Sequence[Row]
    read: Callable[[int], tuple[bytes, bytes]] = field(repr=False)

    def name(self, row: Row, ending: str = "") -> str:
        """Return the name of an image file of a pair, with an ending before the suffix."""
        return f"{row.key}{ending}.{self.suffix}"


Writer = Callable[[Source, Path, int, FinishedSizes, Progress], None]


def split_pattern(to: str, split: str) -> str:
    """Return the glob pattern of the files that a layout has of a split.

    `datasets` ignores folders that begin with two underscores unless they are named, and takes any other folder for
    train whose name contains no name of a split that it knows.
    """
    if to in ("parquet", "webdataset"):
        return {"parquet": "data/{}-*.parquet", "webdataset": "{}-*.tar"}[to].format(split)
    return f"__{split}/**" if to in ("diffusers", "imagefolder") and split == PRIOR else f"{split}/**"


def write_if_different(path: Path, data: bytes) -> None:
    """Write a file, unless it is there with these very bytes."""
    if _size(path) != len(data) or path.read_bytes() != data:
        write_whole(path, data)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _is_finished(path: Path, out: Path, finished_sizes: FinishedSizes) -> bool:
    return finished_sizes is not None and _size(path) == finished_sizes.get(path.relative_to(out).as_posix(), -2)


# --- one file an image ------------------------------------------------------------------------------------------------


def _write_basicsr(
    source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress
) -> None:
    del file_bytes
    write_images(source, [(out / source.split / side, "") for side in ("lq", "gt")], finished_sizes, progress)
    lines = [f"{source.name(row)} {row.shape}\n" for row in source.rows]
    write_if_different(out / f"meta_info_{source.split}.txt", "".join(lines).encode())


def _write_pairs(source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress) -> None:
    del file_bytes
    write_images(source, [(out / source.split, f"_{side}") for side in ("lq", "gt")], finished_sizes, progress)


def _write_imagefolder(
    source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress
) -> None:
    """Write the facts beside the names. A score that was not measured becomes null, since JSON has no NaN."""
    del file_bytes
    folder = out / split_pattern("imagefolder", source.split).partition("/")[0]
    write_images(source, [(folder / side, "") for side in ("lq", "gt")], finished_sizes, progress)
    lines = []
    for row in source.rows:
        name = source.name(row)
        facts = {key: value for key, value in row.facts.items() if key != "scores"}
        scores = {f"score_{m}": None if math.isnan(value) else value for m, value in row.facts["scores"].items()}
        lines.append(json.dumps({"lq_file_name": f"lq/{name}", "gt_file_name": f"gt/{name}"} | facts | scores))
    write_if_different(folder / "metadata.jsonl", ("\n".join(lines) + "\n").encode())


def write_images(
    source: Source, targets: Sequence[tuple[Path, str]], finished_sizes: FinishedSizes, progress: Progress
) -> None:
    """Write lq and gt of each pair as files; `targets` has their folders and the endings of their names."""
    for folder, _ in targets:
        folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(source.rows):
        paths = [folder / source.name(row, ending) for folder, ending in targets]
        if finished_sizes is None or [_size(path) for path in paths] != list(row.sizes):
            for path, data in zip(paths, source.read(number), strict=True):
                write_if_different(path, data)
        progress(1)


# --- lmdb -------------------------------------------------------------------------------------------------------------


def _write_lmdb(source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress) -> None:
    """Write two databases, by key without suffix. Each is built as NAME.part and gets its name when it is complete."""
    del file_bytes
    try:
        import lmdb
    except ImportError as fault:
        raise ConfigError("lmdb is not installed. Install it: pip install 'ggt100k[lmdb]'") from fault
    folders = [out / source.split / f"{side}.lmdb" for side in ("lq", "gt")]
    if all(_is_finished(folder / "data.mdb", out, finished_sizes) for folder in folders):
        progress(len(source.rows))
    else:
        for folder in folders:
            if (
                finished_sizes is not None
                and folder.is_dir()
                and not _is_finished(folder / "data.mdb", out, finished_sizes)
            ):
                shutil.rmtree(folder)  # it was complete before and is cut short: lmdb would read beyond its end
        _fill_databases(lmdb, source, folders, progress)
    for folder in folders:
        part = folder.with_name(f"{folder.name}.part")
        # the last number is the level of compression that BasicSR's own tool would have used
        lines = [f"{source.name(row)} {row.shape} 1\n" for row in source.rows]
        write_if_different((part if part.is_dir() else folder) / "meta_info.txt", "".join(lines).encode())
        if part.is_dir():
            part.rename(folder)
            sync_folder(folder.parent)


def _fill_databases(lmdb: Any, source: Source, folders: Sequence[Path], progress: Progress) -> None:
    databases = []
    for side, folder in enumerate(folders):
        part = folder if folder.is_dir() else folder.with_name(f"{folder.name}.part")
        part.mkdir(parents=True, exist_ok=True)
        # pages of the images and of the tree above them; a file only grows to what is written
        page_count = sum(-(-row.sizes[side] // LMDB_PAGE) + 2 for row in source.rows)
        databases.append(lmdb.open(str(part), map_size=page_count * LMDB_PAGE * 2 + LMDB_SPARE, sync=True))
    try:
        for start in range(0, len(source.rows), LMDB_BATCH):
            numbers = range(start, min(start + LMDB_BATCH, len(source.rows)))
            images = {source.rows[number].key.encode(): source.read(number) for number in numbers}
            for side, database in enumerate(databases):
                with database.begin() as reading:
                    different = [key for key in images if reading.get(key) != images[key][side]]
                if different:
                    with database.begin(write=True) as writing:
                        for key in different:
                            writing.put(key, images[key][side])
            progress(len(numbers))
    finally:
        for database in databases:
            database.close()


# --- files of many pairs ----------------------------------------------------------------------------------------------


def _write_parquet(
    source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress
) -> None:
    """Write image columns as `datasets` does, with the facts beside them; the schema names the image columns."""
    schema = _parquet_schema(source)
    parts = list(_parts(source, file_bytes))
    (out / "data").mkdir(parents=True, exist_ok=True)
    for part_number, numbers in enumerate(parts):
        path = out / "data" / f"{source.split}-{part_number:05d}-of-{len(parts):05d}.parquet"
        if not _is_finished(path, out, finished_sizes):
            part = path.with_name(path.name + ".part")
            with pq.ParquetWriter(part, schema, compression="none") as writer:  # images do not shrink
                for number in numbers:
                    row = source.rows[number]
                    lq, gt = ({"bytes": data, "path": source.name(row)} for data in source.read(number))
                    writer.write_table(pa.Table.from_pylist([dict(row.facts) | {"lq": lq, "gt": gt}], schema=schema))
            replace_if_different(part, path)
        progress(len(numbers))


def _parquet_schema(source: Source) -> pa.Schema:
    import datasets

    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    facts = index_schema(source.metrics)
    names = list(source.rows[0].facts)
    columns = {"key": pa.string(), "lq": image, "gt": image} | {name: facts.field(name).type for name in names[1:]}
    assert set(features(source.metrics)) == set(columns)
    typed = datasets.Features(
        {
            name: datasets.Image() if name in ("lq", "gt") else datasets.Features.from_arrow_schema(facts)[name]
            for name in columns
        }
    )
    return pa.schema(columns).with_metadata({"huggingface": json.dumps({"info": {"features": typed.to_dict()}})})


def _write_webdataset(
    source: Source, out: Path, file_bytes: int, finished_sizes: FinishedSizes, progress: Progress
) -> None:
    parts = list(_parts(source, file_bytes))
    for part_number, numbers in enumerate(parts):
        path = out / f"{source.split}-{part_number:05d}.tar"
        if not _is_finished(path, out, finished_sizes):
            part = path.with_name(path.name + ".part")
            with part.open("wb") as file:
                for number in numbers:
                    row = source.rows[number]
                    lq, gt = source.read(number)
                    for ending, data in (("json", encode_json(dict(row.facts))), ("lq", lq), ("gt", gt)):
                        suffix = ending if ending == "json" else f"{ending}.{source.suffix}"
                        file.write(member_header(f"{row.key}.{suffix}", len(data)))
                        file.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
                size = file.tell() + 2 * tarfile.BLOCKSIZE
                file.write(bytes(2 * tarfile.BLOCKSIZE - size % -tarfile.RECORDSIZE))
            replace_if_different(part, path)
        progress(len(numbers))


def _parts(source: Source, file_bytes: int) -> Iterator[list[int]]:
    """Yield the numbers of the rows of each file, up to `file_bytes` bytes of images; every run cuts equally."""
    numbers: list[int] = []
    size = 0
    for number, row in enumerate(source.rows):
        if numbers and size + sum(row.sizes) > file_bytes:
            yield numbers
            numbers, size = [], 0
        numbers.append(number)
        size += sum(row.sizes)
    if numbers:
        yield numbers


def replace_if_different(part: Path, path: Path) -> None:
    """Give a complete file its final name, unless the file there has these very bytes."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    if path.is_file() and filecmp.cmp(part, path, shallow=False):
        part.unlink()
    else:
        part.replace(path)
    sync_folder(path.parent)


RELEASE_FORMATS: dict[str, Writer] = {  # they hold the facts of the pairs or only their images, and no captions
    "basicsr": _write_basicsr,
    "imagefolder": _write_imagefolder,
    "lmdb": _write_lmdb,
    "pairs": _write_pairs,
    "parquet": _write_parquet,
    "webdataset": _write_webdataset,
}
