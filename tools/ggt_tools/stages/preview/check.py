"""Compare a preview with its release."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from ggt_format.roots import Root
from ggt_tools.errors import ConfigError
from ggt_tools.imaging.previews import preview_size
from ggt_tools.records import Finding
from ggt_tools.stages.preview import RECORD, Part, PreviewConfig, begin_record, plan_parts, read_record
from ggt_tools.stages.preview.table import fact_table, preview_features

FIX = "Write the preview again: ggt100k push --preview"
DECIDED = ("repo", "release_repo", "tag", "long_side", "codec", "quality")  # fields of the config in the record


def check_preview(root: Root, folder: Path) -> Iterator[Finding]:
    """Yield everything in which a preview is not the one of a release. Nothing is repaired.

    The record must be complete and of this release, each file must have the recorded bytes, each row the key and the
    facts of the row of the index; each small image must decode to the size that its pair's images give.

    Args:
        root: The release.
        folder: Folder of the preview.
    """
    record = read_record(folder)
    try:
        config = PreviewConfig(**{name: record[name] for name in DECIDED})
        files = dict(record["files"])
        expected = begin_record(root, config) | {"written_with": record["written_with"]}
    except (KeyError, TypeError, ValueError, ConfigError) as fault:
        yield _finding(RECORD, "preview_incomplete", f"is missing, cannot be read, or is not complete ({fault!r})")
        return
    different = sorted(name for name, value in expected.items() if record.get(name) != value)
    if different:
        yield _finding(RECORD, "preview_of_another_release", f"differs from this release in {', '.join(different)}")
        return
    parts = plan_parts(root.manifest)
    for name in sorted(files.keys() ^ {part.name for part in parts}):
        yield _finding(name, "preview_differs", "is not a file of this preview, or the record does not name it")
    tables = {split: fact_table(root, split, config) for split in root.manifest["splits"]}
    for part in parts:
        if part.name in files:
            yield from _check_part(root, folder, part, files[part.name], tables[part.split], config)


def _check_part(
    root: Root, folder: Path, part: Part, about: Mapping[str, Any], facts: pa.Table, config: PreviewConfig
) -> Iterator[Finding]:
    try:
        data = (folder / part.name).read_bytes()
    except OSError as fault:
        yield _finding(part.name, "preview_incomplete", f"cannot be read: {fault.strerror or fault}")
        return
    if about.get("bytes") != len(data) or about.get("sha256") != hashlib.sha256(data).hexdigest():
        yield _finding(part.name, "preview_differs", "its bytes are not those that the record names")
        return
    table = pq.ParquetFile(pa.BufferReader(data)).read()
    if not table.schema.equals(preview_features(root.metrics).arrow_schema):
        yield _finding(part.name, "preview_differs", "its columns are not those of a preview")
        return
    expected = facts.slice(part.start, part.stop - part.start)
    if table.num_rows != expected.num_rows or table.num_rows != about.get("rows"):
        yield _finding(part.name, "preview_differs", f"has {table.num_rows} rows, and the index {expected.num_rows}")
        return
    for name in expected.column_names:
        rows = _different_rows(table[name], expected[name].cast(table.schema.field(name).type))
        if rows:
            key = str(expected["key"][rows[0]].as_py())
            yield _finding(
                part.name, "preview_differs", f"{name} of {len(rows)} rows is not what the index has", key=key
            )
    sizes = zip(expected["key"].to_pylist(), expected["width"].to_pylist(), expected["height"].to_pylist(), strict=True)
    for number, (key, width, height) in enumerate(sizes):
        for name in ("lq", "gt"):
            wanted = preview_size(width, height, config.long_side)
            size = _size(table[name][number].as_py())
            if size != wanted:
                detail = f"{name}.bytes is {size or 'not an image'}, and the preview of its image is {wanted}"
                yield _finding(part.name, "preview_image", detail, key=key)


def _different_rows(values: pa.ChunkedArray, expected: pa.ChunkedArray) -> list[int]:
    """Return the numbers of the rows that differ. NaN equals NaN."""
    if values.equals(expected):
        return []
    pairs = zip(values.to_pylist(), expected.to_pylist(), strict=True)
    return [number for number, (a, b) in enumerate(pairs) if not (a == b or (a != a and b != b))]


def _size(cell: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return width and height of a small image, after decoding it; None where it is not one."""
    try:
        with Image.open(io.BytesIO(cell["bytes"]), formats=("WEBP", "JPEG")) as image:
            image.load()
            return image.size
    except (OSError, ValueError, TypeError):
        return None


def _finding(file: str, reason: str, detail: str, *, key: str = "") -> Finding:
    return Finding(shard=file, key=key, offset=-1, reason=reason, detail=detail, fix=FIX)
