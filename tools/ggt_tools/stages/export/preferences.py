"""The layout of preference pairs: a Parquet table with a kept and a rejected restoration in each row.

prompt, image, chosen, rejected            named as TRL names them; image is lq
key, degradation, licence, author, url     of the photograph
chosen_*, rejected_*                       restorer, votes and scores of either; reason and stage of the rejected one
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ggt_format.preferences import PreferencePairs, preference_metrics
from ggt_format.roots import Root
from ggt_format.schema import CODECS
from ggt_tools.stages.export.formats import FinishedSizes, replace_if_different

IMAGES = {"image": "lq", "chosen": "chosen", "rejected": "rejected"}  # column: field of an item of PreferencePairs
PHOTO = ("key", "degradation", "source_name", "licence", "author", "url")
CANDIDATE = ("candidate", "restorer", "votes_keep", "votes_reject", "preferred", "compared")


def open_preferences(root: Root, where: Any) -> PreferencePairs:
    """Open the preference pairs of a release.

    Raises:
        ConfigError: There are no preference shards, or no pair is selected.
    """
    return PreferencePairs(root.url, where=where, decode=False, storage_options=root.storage_options)


def write_preferences(
    pairs: PreferencePairs, out: Path, file_bytes: int, finished: FinishedSizes, progress: Callable[[int], object]
) -> None:
    """Write `data/preference-00000-of-00001.parquet` and so on, up to `file_bytes` bytes of images each."""
    schema = preference_export_schema(preference_metrics(pairs.root))
    parts = _parts(pairs, file_bytes)
    (out / "data").mkdir(parents=True, exist_ok=True)
    for number, numbers in enumerate(parts):
        path = out / "data" / f"preference-{number:05d}-of-{len(parts):05d}.parquet"
        size = path.stat().st_size if path.is_file() else -1
        if finished is None or size != finished.get(path.relative_to(out).as_posix()):
            part = path.with_name(path.name + ".part")
            with pq.ParquetWriter(part, schema, compression="none") as writer:  # images do not shrink
                for pair in numbers:
                    writer.write_table(pa.Table.from_pylist([_row(pairs, pair)], schema=schema))
            replace_if_different(part, path)
        progress(len(numbers))


def preference_export_schema(metrics: list[str]) -> pa.Schema:
    """Return the columns, with the metadata by which `datasets` knows the images."""
    import datasets

    text, number = datasets.Value("string"), datasets.Value("int32")
    sides = ("chosen", "rejected")
    columns = {"prompt": text, **dict.fromkeys(IMAGES, datasets.Image()), **dict.fromkeys(PHOTO, text)}
    for side in sides:
        columns |= {f"{side}_{name}": text if name in ("candidate", "restorer") else number for name in CANDIDATE}
    columns |= {"rejected_stage": text, "rejected_reason": text}
    if metrics:
        columns |= {f"{side}_scores": {name: datasets.Value("float32") for name in metrics} for side in sides}
    features = datasets.Features(columns)
    metadata = {"huggingface": json.dumps({"info": {"features": features.to_dict()}})}
    return features.arrow_schema.with_metadata(metadata)


def _row(pairs: PreferencePairs, number: int) -> dict[str, Any]:
    item, end = pairs[number], CODECS[pairs.root.manifest["codec"]]
    facts = item["facts"]
    row: dict[str, Any] = {"prompt": item["prompt"]}
    row |= {column: {"bytes": item[name], "path": f"{item['key']}.{column}.{end}"} for column, name in IMAGES.items()}
    row |= {name: facts["chosen"][name] for name in PHOTO}
    for side in ("chosen", "rejected"):
        row |= {f"{side}_{name}": facts[side][name] for name in (*CANDIDATE, "scores")}
    return row | {f"rejected_{name}": facts["rejected"][name] for name in ("stage", "reason")}


def _parts(pairs: PreferencePairs, file_bytes: int) -> list[list[int]]:
    """Return the numbers of the rows of each file, up to `file_bytes` bytes of images; every run cuts equally."""
    parts: list[list[int]] = []
    size = 0
    for number in range(len(pairs)):
        facts = pairs.facts(number)
        row_bytes = facts["chosen"]["lq_size"] + sum(row["image_size"] for row in facts.values())
        if not parts or size + row_bytes > file_bytes:
            parts.append([])
            size = 0
        parts[-1].append(number)
        size += row_bytes
    return parts


def credit_rows(pairs: PreferencePairs) -> list[dict[str, Any]]:
    """Return the facts of each photograph of the pairs, once, for the table of credits."""
    rows = {}
    for number in range(len(pairs)):
        row = pairs.facts(number)["chosen"]
        rows[row["key"]] = row
    return list(rows.values())
