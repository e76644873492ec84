"""The columns of a preview, and how a file of it is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ggt_format.cores import core_count
from ggt_format.index_file import open_index
from ggt_format.pairs import PairDataset
from ggt_format.roots import Root
from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ShardError
from ggt_tools.imaging.previews import make_preview
from ggt_tools.stages.card import HUB
from ggt_tools.stages.preview import Part, PreviewConfig
from ggt_tools.workspace.ledger import sync_folder

DIGEST = b"ggt100k.preview"  # in the metadata of each file: hash of the release and of the settings
BATCH = 16  # pairs that are decoded at once
ROW_GROUP = 200  # rows: 5 MB, so that a viewer which shows some rows reads little
SCORE = "score_"  # before the name of a metric, so that no metric hides a fact
TEXTS = ("source", "source_name", "licence", "author", "url", "restorer", "strategy", "prompt", "created")
NUMBERS = ("round", "width", "height")
PLACES = ("lq_offset", "lq_size", "gt_offset", "gt_size")  # of the images' bytes in the shard
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def preview_features(metrics: Sequence[str]) -> datasets.Features:
    """Return the columns of a preview, as `datasets` and the Hub's viewer type them."""
    text, number = datasets.Value("string"), datasets.Value("int32")
    return datasets.Features(
        {
            "key": text,
            "lq": datasets.Image(),
            "gt": datasets.Image(),
            "class": datasets.ClassLabel(names=list(DEGRADATIONS)),
            "degradations": datasets.List(text),
            **dict.fromkeys(TEXTS, text),
            **dict.fromkeys(NUMBERS, number),
            **{SCORE + name: datasets.Value("float32") for name in metrics},
            "shard_url": text,
            **dict.fromkeys(PLACES, datasets.Value("int64")),
        }
    )


def fact_table(root: Root, split: str, config: PreviewConfig) -> pa.Table:
    """Return the columns of a preview without its images: a row for each pair of a split, as the index has them."""
    index = open_index(root, split)
    classes = pc.index_in(index["degradation"], pa.array(DEGRADATIONS)).cast(pa.int64())
    scores = {
        SCORE + name: pc.struct_field(index["scores"], index["scores"].type.get_field_index(name))
        for name in root.metrics
    }
    prefix = f"{HUB}/{config.release_repo}/resolve/{config.tag}/"
    columns: dict[str, Any] = {
        "key": index["key"],
        "class": classes,
        "degradations": index["degradations"],
        **{name: index[name] for name in (*TEXTS, *NUMBERS)},
        **scores,
        "shard_url": pc.binary_join_element_wise(prefix, index["shard"], ""),
        **{name: index[name] for name in PLACES},
    }
    return pa.table(columns)


def is_finished(path: Path, part: Part, digest: str) -> bool:
    """Return whether an earlier run has written a file of a preview of this release with these settings."""
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return metadata.num_rows == part.stop - part.start and (metadata.metadata or {}).get(DIGEST) == digest.encode()


def write_part(
    root: Root, part: Part, path: Path, config: PreviewConfig, digest: str, progress: Callable[[int], object]
) -> None:
    """Write a file of a preview. It appears complete or not at all.

    Args:
        root: The release.
        part: Which rows.
        path: The file.
        config: What the preview is.
        digest: Hash of the release and of the settings, which the file holds in its metadata.
        progress: Called with the number of pairs that were done since the last call.

    Raises:
        ShardError: The release is damaged.
    """
    schema = preview_features(root.metrics).arrow_schema
    schema = schema.with_metadata({**(schema.metadata or {}), DIGEST: digest.encode()})
    facts = fact_table(root, part.split, config).slice(part.start, part.stop - part.start)
    keys = facts["key"].to_pylist()
    pairs = PairDataset(root.url, part.split, storage_options=root.storage_options)
    part_path = path.with_name(path.name + ".part")
    compression = {name: "zstd" for name in _leaves(schema)} | {"lq.bytes": "none", "gt.bytes": "none"}
    with (
        ThreadPoolExecutor(core_count()) as threads,
        part_path.open("wb") as file,
        pq.ParquetWriter(
            file,
            schema,
            compression=compression,
            write_page_index=True,
            use_content_defined_chunking=True,  # an unchanged pair has the same bytes in the next version's file
        ) as writer,
    ):
        for start in range(0, len(keys), ROW_GROUP):
            images: dict[str, list[dict[str, Any]]] = {"lq": [], "gt": []}
            stop = min(start + ROW_GROUP, len(keys))
            for first in range(start, stop, BATCH):
                numbers = range(part.start + first, part.start + min(first + BATCH, stop))
                items = pairs[numbers.start : numbers.stop]
                expected = keys[first : first + len(items)]
                if [item["key"] for item in items] != expected:
                    raise ShardError(
                        f"{root.url}: {part.split}: the index has changed while it was read. Run this again."
                    )
                for name, cells in images.items():
                    small = threads.map(lambda item, name=name: _small(item[name], config), items)
                    cells += [{"bytes": data, "path": None} for data in small]
                progress(len(items))
            table = facts.slice(start, stop - start)
            columns = {name: pa.array(cells, IMAGE) for name, cells in images.items()}
            columns |= {name: table[name] for name in table.column_names}
            writer.write_table(pa.table({name: columns[name] for name in schema.names}).cast(schema))
    part_path.replace(path)
    sync_folder(path.parent)


def _small(pixels: Any, config: PreviewConfig) -> bytes:
    return make_preview(pixels, long_side=config.long_side, codec=config.codec, quality=config.quality)


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the names of the columns as Parquet has them, down to the fields of structs and lists."""
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, schema):
        pass
    parquet = pq.ParquetFile(pa.BufferReader(buffer.getvalue())).schema
    return [parquet.column(number).path for number in range(len(parquet.names))]
