"""What a table states of photographs: the credits.csv of a folder, or a list of URLs."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ggt_format.schema import DEGRADATIONS, SOURCES
from ggt_tools.errors import ConfigError
from ggt_tools.files.names import NameIndex, clean_name, normalize_name, shorten
from ggt_tools.files.texts import MARK_BYTES, decode_text, read_bytes, text_encoding

_log = logging.getLogger(__name__)
CREDITS = "credits.csv"
MAX_LIST_BYTES = 1 << 30  # a list of URLs as CSV, which is read whole
MAX_LINE_LENGTH = 1 << 20  # characters of a line of a list


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What credits.csv or a list states of one file; "" where it states nothing."""

    licence: str = ""
    author: str = ""
    url: str = ""
    source: str = ""
    source_name: str = ""
    degradation: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Credit))


def read_credits(folder: Path, tables: Iterable[Path], names: Collection[str]) -> dict[str, Credit]:
    """Read the credits.csv files below a folder.

    Args:
        folder: The folder.
        tables: The files. A table has the columns `file` and any of the fields of Credit.
        names: Names of the photographs below the folder.

    Returns:
        Credits by the names of photographs.

    Raises:
        ConfigError: A table is wrong; the message names the line.
    """
    credits_by_folder: dict[str, dict[str, Credit]] = {}
    for path in tables:
        try:
            data = read_bytes(path)
        except OSError as error:
            raise ConfigError(f"{path}: the file cannot be read: {error}. Check its permissions.") from error
        parent = path.parent.relative_to(folder).as_posix()
        add_table(credits_by_folder, parent, parse_credits(data, str(path)), str(folder))
    return find_credits(names, credits_by_folder, str(folder), lambda name: (folder / name).is_file())


def add_table(tables: dict[str, dict[str, Credit]], folder: str, table: dict[str, Credit], label: str) -> None:
    """Add the table of a folder to those of a source.

    Raises:
        ConfigError: The folder has another table: `Credits.CSV` is found beside `credits.csv`.
    """
    if folder in tables:
        where = f"{label}: {folder}" if folder not in ("", ".") else label
        raise ConfigError(f"{where}: there are two tables of credits. Keep one {CREDITS}.")
    tables[folder] = table


def find_credits(
    names: Collection[str],
    tables: Mapping[str, Mapping[str, Credit]],
    root: str,
    is_other_file: Callable[[str], bool],
) -> dict[str, Credit]:
    """Find the photograph that each line of each table means. Of two lines the one in the nearer folder counts.

    Args:
        names: Names of the photographs, with `/` between folders.
        tables: For each folder with a table, the credits by the name that the table uses for a file: a name within
            that folder, or else within the root.
        root: Name of the folder or archive in messages.
        is_other_file: Returns whether there is a file of this name that is not a photograph.

    Raises:
        ConfigError: Two lines of a table mean the same photograph.
    """
    index = NameIndex(names)
    credits: dict[str, Credit] = {}
    for folder in sorted(tables, key=lambda folder: len(PurePosixPath(folder).parts)):
        prefix = f"{clean_name(folder)}/" if clean_name(folder) else ""
        table = f"{root}/{prefix}{CREDITS}"
        listed_as: dict[str, str] = {}
        absent: list[str] = []
        for listed, credit in tables[folder].items():
            name = index.find(prefix + listed) or index.find(listed)
            if name is None or not normalize_name(name).startswith(normalize_name(prefix)):
                if not is_other_file(clean_name(prefix + listed)):
                    absent.append(listed)
                continue
            if name in listed_as:
                raise ConfigError(
                    f"{table}: {listed_as[name]!r} and {listed!r} are the same file. Remove one of the lines."
                )
            listed_as[name] = listed
            credits[name] = credit
        if absent:
            _log.warning("%s: %d of the listed files do not exist: %s", table, len(absent), shorten(absent))
    return credits


def parse_credits(data: bytes, path: str) -> dict[str, Credit]:
    """Parse the bytes of a credits.csv. Return the credits by file name; `path` names the table in messages."""
    credits: dict[str, Credit] = {}
    for where, row in _csv_rows(data, path, "file", ("file", "title", *COLUMNS)):
        file = row["file"]
        if not file:
            raise ConfigError(f"{where}: the column 'file' is empty. Add the name of the file.")
        if file in credits:
            raise ConfigError(f"{where}: {file!r} is listed twice. Remove one of the lines.")
        credits[file] = to_credit(row, where)
    return credits


def _csv_rows(data: bytes, path: str, required: str, columns: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a CSV, each with its position for messages."""
    try:
        rows = csv.DictReader(io.StringIO(decode_text(data), newline=""), strict=True)
        _check_columns(rows.fieldnames or (), path, required, columns)
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if None in row:
                raise ConfigError(f"{where}: there are more fields than in the first line. Quote fields with commas.")
            yield where, {name: value or "" if name == "file" else (value or "").strip() for name, value in row.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: the file cannot be read: {error}. Save it as CSV in UTF-8.") from error


def _check_columns(names: Iterable[str], path: str, required: str, columns: tuple[str, ...]) -> None:
    names = list(names)
    unknown = [name for name in names if name not in columns]
    if unknown or required not in names:
        problem = f"the column {unknown[0]!r} is not known" if unknown else f"the column {required!r} is missing"
        hint = "The first line names columns, separated by commas, out of" if path.endswith(".csv") else "Columns are"
        raise ConfigError(f"{path}: {problem}. {hint}: {', '.join(columns)}.")


def to_credit(row: Mapping[str, str], where: str) -> Credit:
    """Return the credit that a row states.

    Raises:
        ConfigError: Its class or its kind of source is not known.
    """
    credit = Credit(**{name: row.get(name, "") for name in COLUMNS})
    if credit.degradation and credit.degradation not in DEGRADATIONS:
        raise ConfigError(
            f"{where}: the degradation {credit.degradation!r} is not known. Choose one of: {', '.join(DEGRADATIONS)}."
        )
    if credit.source and credit.source not in SOURCES:
        raise ConfigError(f"{where}: the source {credit.source!r} is not known. Choose one of: {', '.join(SOURCES)}.")
    return credit


def read_list(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each row of a list of URLs (CSV, JSON lines, parquet), with its position for messages.

    Raises:
        ConfigError: The list is wrong.
    """
    columns = ("url", "file", "title", *(name for name in COLUMNS if name != "url"))
    try:
        if path.suffix.lower() == ".csv":
            yield from _csv_rows(read_bytes(path, max_bytes=MAX_LIST_BYTES), str(path), "url", columns)
        elif path.suffix.lower() == ".jsonl":
            with path.open("rb") as file:
                encoding = text_encoding(file.read(MARK_BYTES))
            with path.open(encoding=encoding) as lines:
                for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE_LENGTH), ""), 1):
                    if len(line) == MAX_LINE_LENGTH:
                        raise ConfigError(
                            f"{path}: line {number}: has more than {MAX_LINE_LENGTH} characters. Check the file."
                        )
                    if line.strip():
                        yield _texts(json.loads(line), f"{path}: line {number}", str(path), columns)
        else:
            import pyarrow.parquet as pq

            file = pq.ParquetFile(path)
            _check_columns(file.schema_arrow.names, str(path), "url", columns)
            rows = itertools.chain.from_iterable(batch.to_pylist() for batch in file.iter_batches())
            for number, row in enumerate(rows, 1):
                yield _texts(row, f"{path}: row {number}", str(path), columns)
    except (OSError, ValueError, RecursionError) as error:  # the exceptions of pyarrow and json are ValueErrors
        raise ConfigError(f"{path}: the list cannot be read: {str(error).rstrip('.')}. Write it again.") from error


def _texts(row: Any, where: str, path: str, columns: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    if not isinstance(row, dict) or not all(value is None or isinstance(value, str) for value in row.values()):
        raise ConfigError(f'{where}: the row is not an object of texts. Write it as {{"url": "https://..."}}.')
    _check_columns(row, where, "url", columns)
    try:
        "".join(value for value in row.values() if value).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{where}: the row has bytes that are not text. Write it in UTF-8.") from error
    return where, {name: (value or "").strip() for name, value in row.items()}
