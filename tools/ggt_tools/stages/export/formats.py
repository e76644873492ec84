"""formats: one writer a layout. Each takes a split's pairs and a folder, and skips the files that are there.

`known`: the sizes of the files of many pairs, by name, where an earlier run came to its end: a file that has its size
is then believed. Without it what is there is held against the release, byte by byte, and only kept where it is right.
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

TOGETHER = 64  # pairs that lmdb commits at once
Tell = Callable[[int], object]
Known = Mapping[str, int] | None
MANY = ("*.tar", "data/*.parquet", "*/*.lmdb/data.mdb")  # files of many pairs, whose sizes are recorded at the end


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the index says of a pair: its facts, and how many bytes lq and gt have."""

    facts: Mapping[str, Any]
    sizes: tuple[int, int]

    @property
    def key(self) -> str:
        return str(self.facts["key"])

    @property
    def shape(self) -> str:
        """As BasicSR writes it."""
        return f"({self.facts['height']},{self.facts['width']},3)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A split's pairs. `read(n)` gives the files of lq and gt of row n, held against their checksums."""

    split: str
    suffix: str  # of the images, without its dot
    metrics: tuple[str, ...]
    rows: Sequence[Row]
    read: Callable[[int], tuple[bytes, bytes]] = field(repr=False)

    def name(self, row: Row, middle: str = "") -> str:
        return f"{row.key}{middle}.{self.suffix}"


def basicsr(source: Source, out: Path, file_bytes: int, known: Known, tell: Tell) -> None:
    _images(source, [(out / source.split / side, "") for side in ("lq", "gt")], known, tell)
    lines = [f"{source.name(row)} {row.shape}\n" for row in source.rows]
    put(out / f"meta_info_{source.split}.txt", "".join(lines).encode())


def pairs(source: Source, out: Path, file_bytes: int, known: Known, tell: Tell) -> None:
    _images(source, [(out / source.split, f"_{side}") for side in ("lq", "gt")], known, tell)


def imagefolder(source: Source, out: Path, file_bytes: int, known: Known, tell: Tell) -> None:
    """The facts stand beside the names; a score that was not measured is null there, since JSON has no NaN."""
    folder = out / split_files("imagefolder", source.split).partition("/")[0]
    _images(source, [(folder / side, "") for side in ("lq", "gt")], known, tell)
    lines = []
    for row in source.rows:
        name = source.name(row)
        facts = {key: value for key, value in row.facts.items() if key != "scores"}
        scores = {f"score_{m}": None if math.isnan(value) else value for m, value in row.facts["scores"].items()}
        lines.append(json.dumps({"lq_file_name": f"lq/{name}", "gt_file_name": f"gt/{name}"} | facts | scores))
    put(folder / "metadata.jsonl", ("\n".join(lines) + "\n").encode())


def split_files(to: str, split: str) -> str:
    """The pattern of the files that a layout has of a split. `datasets` leaves folders with two underscores alone where
    they are not named, and takes any other name that tells of no split it knows for train."""
    if to in ("parquet", "webdataset"):
        return {"parquet": "data/{}-*.parquet", "webdataset": "{}-*.tar"}[to].format(split)
    return f"__{split}/**" if (to, split) == ("imagefolder", PRIOR) else f"{split}/**"


def _images(source: Source, places: Sequence[tuple[Path, str]], known: Known, tell: Tell) -> None:
    """Both images of each pair as files, each in its folder with its ending before the suffix."""
    for folder, _ in places:
        folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(source.rows):
        paths = [folder / source.name(row, middle) for folder, middle in places]
        if known is None or [_size(path) for path in paths] != list(row.sizes):
            for path, data in zip(paths, source.read(number), strict=True):
                put(path, data)
        tell(1)


def put(path: Path, data: bytes) -> None:
    """Writes a file, unless it is there with these very bytes."""
    if _size(path) != len(data) or path.read_bytes() != data:
        write_whole(path, data)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _whole(path: Path, out: Path, known: Known) -> bool:
    return known is not None and _size(path) == known.get(path.relative_to(out).as_posix(), -2)


# --- lmdb -------------------------------------------------------------------------------------------------------------


def lmdb(source: Source, out: Path, file_bytes: int, known: Known, tell: Tell) -> None:
    """Two databases, by key without suffix. Each is built beside its place, and has its name once it is complete."""
    try:
        import lmdb as library
    except ImportError as fault:
        raise ConfigError("lmdb is not installed: pip install 'ggt100k[lmdb]'") from fault
    places = [out / source.split / f"{side}.lmdb" for side in ("lq", "gt")]
    if all(_whole(place / "data.mdb", out, known) for place in places):
        tell(len(source.rows))
    else:
        for place in places:
            if known is not None and place.is_dir() and not _whole(place / "data.mdb", out, known):
                shutil.rmtree(place)  # it was whole once: it is cut short, and lmdb would read beyond its end
        _fill(library, source, places, tell)
    for place in places:
        part = place.with_name(f"{place.name}.part")
        # the last number is the level of compression that BasicSR's own tool would have used
        lines = [f"{source.name(row)} {row.shape} 1\n" for row in source.rows]
        put((part if part.is_dir() else place) / "meta_info.txt", "".join(lines).encode())
        if part.is_dir():
            part.rename(place)
            sync_folder(place.parent)


def _fill(library: Any, source: Source, places: Sequence[Path], tell: Tell) -> None:
    bases = []
    for side, place in enumerate(places):
        part = place if place.is_dir() else place.with_name(f"{place.name}.part")
        part.mkdir(parents=True, exist_ok=True)
        # pages of 4 KiB and the tree above them; a file only grows to what is written
        room = sum(-(-row.sizes[side] // 4096) + 2 for row in source.rows) * 4096 * 2 + (64 << 20)
        bases.append(library.open(str(part), map_size=room, sync=True))
    try:
        for start in range(0, len(source.rows), TOGETHER):
            some = range(start, min(start + TOGETHER, len(source.rows)))
            read = {source.rows[number].key.encode(): source.read(number) for number in some}
            for side, base in enumerate(bases):
                with base.begin() as reading:
                    wrong = [key for key in read if reading.get(key) != read[key][side]]
                if wrong:
                    with base.begin(write=True) as writing:
                        for key in wrong:
                            writing.put(key, read[key][side])
            tell(len(some))
    finally:
        for base in bases:
            base.close()


# --- files of many pairs ----------------------------------------------------------------------------------------------


def parquet(source: Source, out: Path, file_bytes: int, known: Known, tell: Tell) -> None:
    """Image columns as datasets writes them, the facts beside them; the schema tells datasets what is an image."""
    import datasets

    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    facts = index_schema(source.metrics)
    names = list(source.rows[0].facts)
    columns = {"key": pa.string(), "lq": image, "gt": image} | {name: facts.field(name).type for name in names[1:]}
    known = features(source.metrics)
    told = datasets.Features(
        {
            name: datasets.Image() if name in ("lq", "gt") else datasets.Features.from_arrow_schema(facts)[name]
            for name in columns
        }
    )
    assert set(known) == set(columns)
    schema = pa.schema(columns).with_metadata({"huggingface": json.dumps({"info": {"features": told.to_dict()}})})
    parts = list(_parts(source, file_bytes))
    (out / "data").mkdir(parents=True, exist_ok=True)
    for at, numbers in enumerate(parts):
        path = out / "data" / f"{source.split}-{at:05d}-of-{len(parts):05d}.parquet"
        if not _whole(path, out, known):
            part = path.with_name(path.name + ".part")
            with pq.ParquetWriter(part, schema, compression="none") as writer:  # images do not shrink
                for number in numbers:
                    row = source.rows[number]
                    lq, gt = ({"bytes": data, "path": source.name(row)} for data in source.read(number))
                    writer.write_table(pa.Table.from_pylist([dict(row.facts) | {"lq": lq, "gt": gt}], schema=schema))
            _replace(part, path)
        tell(len(numbers))


def webdataset(source: Source, out: Path, file_bytes: int, known: Known, tell: Tell) -> None:
    parts = list(_parts(source, file_bytes))
    for at, numbers in enumerate(parts):
        path = out / f"{source.split}-{at:05d}.tar"
        if not _whole(path, out, known):
            part = path.with_name(path.name + ".part")
            with part.open("wb") as file:
                for number in numbers:
                    row = source.rows[number]
                    lq, gt = source.read(number)
                    for end, data in (("json", encode_json(dict(row.facts))), ("lq", lq), ("gt", gt)):
                        suffix = end if end == "json" else f"{end}.{source.suffix}"
                        file.write(member_header(f"{row.key}.{suffix}", len(data)))
                        file.write(data + bytes(-len(data) % tarfile.BLOCKSIZE))
                size = file.tell() + 2 * tarfile.BLOCKSIZE
                file.write(bytes(2 * tarfile.BLOCKSIZE - size % -tarfile.RECORDSIZE))
            _replace(part, path)
        tell(len(numbers))


def _parts(source: Source, file_bytes: int) -> Iterator[list[int]]:
    """The numbers of the rows of each file, up to so many bytes of images: the same in every run."""
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


def _replace(part: Path, path: Path) -> None:
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    if path.is_file() and filecmp.cmp(part, path, shallow=False):
        part.unlink()
    else:
        part.replace(path)
    sync_folder(path.parent)


FORMATS: dict[str, Callable[[Source, Path, int, Known, Tell], None]] = {
    "basicsr": basicsr,
    "imagefolder": imagefolder,
    "lmdb": lmdb,
    "pairs": pairs,
    "parquet": parquet,
    "webdataset": webdataset,
}
