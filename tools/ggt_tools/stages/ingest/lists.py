"""Photographs that are elsewhere: a list of URLs, or a dataset on the Hub."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files.rows import RowFiles, load_rows, loading
from ggt_tools.providers.fetch import FetchConfig, fetch, without_secrets
from ggt_tools.stages.ingest.credits import COLUMNS, Credit, read_list, to_credit
from ggt_tools.stages.ingest.sources import Source, SourceFile, bad_name, map_in_order, no_licence

LISTS = (".csv", ".jsonl", ".parquet")
DOWNLOADS = 8  # simultaneous downloads

IsKnown = Callable[[str, Credit], bool]


def from_list(
    path: Path,
    config: FetchConfig,
    is_known: IsKnown,
    *,
    has_licence: bool,
    dry_run: bool = False,
    downloads: int = DOWNLOADS,
) -> Source:
    """Open a list of URLs: the files are fetched as they are asked for, in the list's order.

    Args:
        path: The list: CSV, JSON lines or parquet with the column `url`, and any of `file` (the file's name from here
            on; by default the URL without its query), `title` and the fields of Credit.
        config: Limits of a download.
        is_known: Called with the name and the credit of each file; files for which it returns True are left out.
        has_licence: Whether files have a licence although their row states none. If not, those are not fetched.
        dry_run: Fetch nothing.
        downloads: Number of simultaneous downloads.

    Raises:
        ConfigError: The list is wrong, and the message names the line; or it is empty.
    """
    rows: dict[str, tuple[str, Credit]] = {}
    for where, row in read_list(path):
        if not row["url"]:
            raise ConfigError(f"{where}: the column 'url' is empty. Add the file's URL.")
        name = row.get("file") or name_of_url(row["url"])
        if name in rows:
            raise ConfigError(f"{where}: {name!r} is listed twice. Remove one of the lines.")
        rows[name] = row["url"], to_credit(row | {"url": without_secrets(row["url"])}, where)
    if not rows:
        raise ConfigError(f"{path}: the list has no rows. Add a row with a url for each photograph.")

    def fetch_row(item: tuple[str, tuple[str, Credit]]) -> SourceFile:
        name, (url, credit) = item
        if (bad := bad_name(name)) is not None:
            return bad
        folder = PurePosixPath(name).parent.name if "://" not in name else ""
        file = SourceFile(name=name, folder=folder, credit=credit)
        if not credit.licence and not has_licence:
            return dataclasses.replace(file, fault=no_licence(name))
        if dry_run:
            return file
        try:
            return dataclasses.replace(file, data=fetch(url, name, config))
        except PairError as error:
            return dataclasses.replace(file, fault=error)

    new_rows = ((name, row) for name, row in rows.items() if not is_known(name, row[1]))
    return Source(files=map_in_order(fetch_row, new_rows, downloads), count=len(rows))


def name_of_url(url: str) -> str:
    """Return a URL as a name: without user and password, and with a digest of its query, which may hold a secret."""
    bare, _, query = url.partition("#")[0].partition("?")
    try:
        parts = urlsplit(bare)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError:
        bare = bare.rpartition("@")[2]
    return bare + (f"#{hashlib.sha256(query.encode(errors='replace')).hexdigest()[:12]}" if query else "")


def from_dataset(
    dataset: str, column: str, *, config: str | None = None, split: str = "train", revision: str | None = None
) -> Source:
    """Open the images of a Hugging Face dataset; they are streamed, and their bytes are taken as they are stored.

    The columns licence (or license), author, url and degradation are used if they exist and hold text; a degradation
    that is not a known class is ignored. Each photograph is named by the number of its row. A row may hold its image,
    or name a file of the dataset's own folder or repository; no other file is opened. A row whose image cannot be read
    is yielded with its fault (a PairError), not raised.

    Args:
        dataset: Name on the Hub, or a folder.
        column: Column of the images.
        config: Configuration of the dataset; None for its only one.
        split: Split of the dataset.
        revision: Branch, tag or commit; None for the main branch.

    Raises:
        ConfigError: There is no such dataset, split or image column.
    """
    with loading(dataset):
        rows = load_rows(dataset, config, split, revision)
        if column not in (columns := rows.images()):
            hint = f"Image columns are: {', '.join(columns)}" if columns else "There is no image column at all"
            raise ConfigError(f"{dataset}: {column!r} is not an image column. {hint}.")
    credit_columns = [name for name in rows.features if name != column and (name == "license" or name in COLUMNS)]
    label = f"{dataset}{f'@{revision}' if revision else ''}/{f'{config}/' if config else ''}{split}"
    is_local = Path(dataset).is_dir()
    row_files = RowFiles(folder=Path(dataset) if is_local else None, repo="" if is_local else dataset)
    files = _dataset_photos(rows.select([column, *credit_columns], dataset), column, label, row_files)
    return Source(files=files, count=rows.count)


def _dataset_photos(
    rows: Iterable[Mapping[str, Any]], column: str, label: str, row_files: RowFiles
) -> Iterator[SourceFile]:
    for number, row in enumerate(rows):
        texts = {name: value.strip() for name, value in row.items() if isinstance(value, str)}
        degradation = texts.get("degradation", "")
        credit = Credit(
            licence=texts.get("licence") or texts.get("license", ""),
            author=texts.get("author", ""),
            url=texts.get("url", ""),
            degradation=degradation if degradation in DEGRADATIONS else "",
        )
        file = SourceFile(name=f"{label}/{number}", credit=credit)
        try:
            yield dataclasses.replace(file, data=row_files.read(row[column], file.name))
        except PairError as error:
            yield dataclasses.replace(file, fault=error)
