"""Pairs in the rows of a dataset: parquet, the tars of a WebDataset, or a dataset on the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ggt_tools.errors import ConfigError
from ggt_tools.files.rows import RowFiles, load_rows, loading
from ggt_tools.stages.adopt import ExternalPair
from ggt_tools.stages.adopt.layouts import Listing

# Usual names of the columns of LQ images, ground truths and true ground truths.
COLUMN_NAMES = {
    "lq": ("lq", "input", "degraded", "low", "source", "before", "conditioning_image", "lq_image", "input_image"),
    "gt": ("gt", "hq", "output", "restored", "target", "after", "image", "edited_image", "gt_image", "output_image"),
    "ref": ("ref", "reference", "true"),
}
READERS = {".parquet": "parquet", ".tar": "webdataset"}  # of `datasets`, by the suffix of the files


def list_by_dataset(
    dataset: str,
    columns: Sequence[str],
    *,
    config: str | None = None,
    split: str = "train",
    revision: str | None = None,
) -> Listing:
    """Pair two image columns of a dataset.

    Args:
        dataset: A parquet file, a tar of a WebDataset, a folder of either, or the name of a dataset on the Hub.
        columns: Columns of LQ image, ground truth and, optionally, true ground truth; empty to find them by their
            usual names.
        config: Configuration of a dataset on the Hub; None for its only one.
        split: Split of a dataset on the Hub.
        revision: Branch, tag or commit of a dataset on the Hub; None for the main branch.

    Raises:
        ConfigError: There is no such dataset or split, or the columns are not clear.
    """
    path = Path(dataset)
    reader, files = _find_files(path)
    with loading(dataset):
        rows = load_rows(reader or dataset, config, split, revision if files is None else None, files=files)
        # the columns of a WebDataset are named after file extensions: `lq.png` is also found as `lq`
        full_names = {name.rpartition(".")[0] if "." in name else name: name for name in rows.images()}
        chosen = [full_names.get(name, name) for name in find_columns(list(full_names), columns, dataset)]
    label = path.name if files is not None else dataset
    is_local = path.is_dir() or files is not None
    row_files = RowFiles(folder=path if path.is_dir() else None, repo="" if is_local else dataset, reason="no_image")
    selected = [*chosen, *(["__key__"] if "__key__" in rows.features else [])]
    return Listing(pairs=_pairs(rows.select(selected, dataset), chosen, label, row_files), count=rows.count)


def _find_files(path: Path) -> tuple[str, str | list[str] | None]:
    """Return the reader of `datasets` and the files of a path on this machine; "" and None where it names no files.

    Raises:
        ConfigError: The path is a file of another kind.
    """
    if path.is_file():
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise ConfigError(
                f"{path}: the file is neither .parquet nor .tar. Name one of these, a folder or a dataset."
            )
        return reader, str(path.resolve())
    if path.is_dir():
        for suffix, reader in READERS.items():
            if files := sorted(str(file.resolve()) for file in path.rglob(f"*{suffix}")):
                return reader, files
    return "", None


def _pairs(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], label: str, row_files: RowFiles
) -> Iterator[ExternalPair]:
    for number, row in enumerate(rows):
        key = row.get("__key__")
        name = f"{label}/{key if isinstance(key, str) and key.isprintable() else number}"
        lq, gt, *refs = (partial(row_files.read, row[column], f"{name}: {column}") for column in columns)
        pair = ExternalPair(name=name, output=f"{name}:{columns[1]}", lq=lq, gt=gt)
        if refs and row[columns[2]]:
            pair = replace(pair, ref=refs[0])
        elif refs:
            pair = replace(pair, lacks=f"{name}: {columns[2]}: the cell is empty")
        yield pair


def find_columns(names: Sequence[str], requested: Sequence[str], where: str) -> list[str]:
    """Return the columns of LQ image, ground truth and, if there is one, true ground truth.

    Args:
        names: Names of the image columns.
        requested: Columns that the user names, in this order; empty to find them by their usual names.
        where: Name of the dataset or list, for messages.

    Raises:
        ConfigError: A column that the user names does not exist, or the columns are not clear.
    """
    existing = ", ".join(names) or "none"
    if requested:
        if unknown := [name for name in requested if name not in names]:
            raise ConfigError(f"{where}: {unknown[0]!r} is not an image column. Image columns: {existing}.")
        if len(requested) not in (2, 3):
            raise ConfigError(f"--columns {','.join(requested)}: give two or three, for example lq,gt")
        return list(requested)
    by_side = {side: [name for name in names if name.lower() in usual] for side, usual in COLUMN_NAMES.items()}
    if len(by_side["lq"]) != 1 or len(by_side["gt"]) != 1 or len(by_side["ref"]) > 1:
        if not names:
            raise ConfigError(f"{where}: has no image columns. Choose another dataset or file.")
        raise ConfigError(
            f"{where}: cannot tell which of the columns {existing} hold the degraded and the restored images. "
            "Name them, degraded first: --columns lq,gt"
        )
    return [*by_side["lq"], *by_side["gt"], *by_side["ref"]]
