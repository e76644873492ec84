"""credits: what a table says of photographs, a folder's credits.csv or a list of URLs."""

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
from ggt_tools.files.names import NameIndex, clean_name, compared, shorten
from ggt_tools.files.texts import MARK_BYTES, decode_text, read_bytes, text_encoding

_log = logging.getLogger(__name__)
CREDITS = "credits.csv"
MAX_LIST_BYTES = 1 << 30  # of a list of URLs as CSV, which is read whole
MAX_LINE = 1 << 20  # characters of a line of a list


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """What credits.csv or a list says of one file; "" where it says nothing."""

    licence: str = ""
    author: str = ""
    url: str = ""
    source: str = ""
    source_name: str = ""
    degradation: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Credit))


def read_credits(folder: Path, tables: Iterable[Path], names: Collection[str]) -> dict[str, Credit]:
    """What the tables `credits.csv` below a folder say, by the names of photographs in it.

    A table has the columns `file` and any of Credit's. Raises ConfigError, with the line, where it says what cannot be.
    """
    parsed: dict[str, dict[str, Credit]] = {}
    for path in tables:
        try:
            data = read_bytes(path)
        except OSError as fault:
            raise ConfigError(f"{path}: cannot be read: {fault}; save it as CSV in UTF-8") from fault
        parsed[path.parent.relative_to(folder).as_posix()] = parse_credits(data, str(path))
    return find_credits(names, parsed, str(folder), lambda name: (folder / name).is_file())


def find_credits(
    names: Collection[str],
    tables: Mapping[str, Mapping[str, Credit]],
    place: str,
    is_there: Callable[[str], bool],
) -> dict[str, Credit]:
    """Credits by the name of the photograph that they mean; of two the one in the nearer folder counts.

    Args:
        names: of the photographs, with `/` between folders.
        tables: by the folder that each table lies in, credits by what it calls a file: a name within that folder, else
            within the whole.
        place: names the whole in messages.
        is_there: whether there is another file of a name.

    Raises:
        ConfigError: two lines of a table mean one photograph.
    """
    index = NameIndex(names)
    credits: dict[str, Credit] = {}
    for folder in sorted(tables, key=lambda folder: len(PurePosixPath(folder).parts)):
        inside = f"{clean_name(folder)}/" if clean_name(folder) else ""
        here = f"{place}/{inside}{CREDITS}"
        lines: dict[str, str] = {}
        absent: list[str] = []
        for file, credit in tables[folder].items():
            name = index.find(inside + file) or index.find(file)
            if name is None or not compared(name).startswith(compared(inside)):
                if not is_there(clean_name(inside + file)):
                    absent.append(file)
                continue
            if name in lines:
                raise ConfigError(f"{here}: {lines[name]!r} and {file!r} are one file; leave one line of it")
            lines[name] = file
            credits[name] = credit
        if absent:
            _log.warning("%s: %d of its files are not there: %s", here, len(absent), shorten(absent))
    return credits


def parse_credits(data: bytes, path: str) -> dict[str, Credit]:
    """The bytes of a credits.csv, by file name; `path` stands for it in messages."""
    credits: dict[str, Credit] = {}
    for where, row in _csv_rows(data, path, "file", ("file", "title", *COLUMNS)):
        file = row["file"]
        if not file:
            raise ConfigError(f"{where}: the column 'file' is empty; name the file there")
        if file in credits:
            raise ConfigError(f"{where}: {file!r} stands there twice; leave one line of it")
        credits[file] = to_credit(row, where)
    return credits


def _csv_rows(data: bytes, path: str, must: str, known: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        rows = csv.DictReader(io.StringIO(decode_text(data), newline=""), strict=True)
        _check_columns(rows.fieldnames or (), path, must, known)
        for row in rows:
            where = f"{path}: line {rows.line_num}"
            if None in row:
                raise ConfigError(f"{where}: has more fields than the first line; quote one with commas")
            yield where, {name: value or "" if name == "file" else (value or "").strip() for name, value in row.items()}
    except (UnicodeDecodeError, csv.Error) as fault:
        raise ConfigError(f"{path}: cannot be read: {fault}; save it as CSV in UTF-8") from fault


def _check_columns(names: Iterable[str], path: str, must: str, known: tuple[str, ...]) -> None:
    names = list(names)
    odd = [name for name in names if name not in known]
    if odd or must not in names:
        said = f"no column {odd[0]!r} is known" if odd else f"the column {must!r} is missing"
        how = "the first line names columns, with commas between, of " if path.endswith(".csv") else "columns are of "
        raise ConfigError(f"{path}: {said}; {how}{', '.join(known)}")


def to_credit(row: Mapping[str, str], where: str) -> Credit:
    """A row's facts. Raises ConfigError where they cannot be."""
    credit = Credit(**{name: row.get(name, "") for name in COLUMNS})
    if credit.degradation and credit.degradation not in DEGRADATIONS:
        raise ConfigError(f"{where}: degradation {credit.degradation!r} is none of {', '.join(DEGRADATIONS)}")
    if credit.source and credit.source not in SOURCES:
        raise ConfigError(f"{where}: source {credit.source!r} is none of {', '.join(SOURCES)}")
    return credit


def read_list(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row of a list of URLs (CSV, JSON lines, parquet), after where it stands. Raises ConfigError."""
    known = ("url", "file", "title", *(name for name in COLUMNS if name != "url"))
    try:
        if path.suffix.lower() == ".csv":
            yield from _csv_rows(read_bytes(path, max_bytes=MAX_LIST_BYTES), str(path), "url", known)
        elif path.suffix.lower() == ".jsonl":
            with path.open("rb") as file:
                encoding = text_encoding(file.read(MARK_BYTES))
            with path.open(encoding=encoding) as lines:
                for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE), ""), 1):
                    if len(line) == MAX_LINE:
                        raise ConfigError(
                            f"{path}: line {number}: has more than {MAX_LINE} characters. Check the file."
                        )
                    if line.strip():
                        yield _texts(json.loads(line), f"{path}: line {number}", str(path), known)
        else:
            import pyarrow.parquet as pq

            file = pq.ParquetFile(path)
            _check_columns(file.schema_arrow.names, str(path), "url", known)
            rows = itertools.chain.from_iterable(batch.to_pylist() for batch in file.iter_batches())
            for number, row in enumerate(rows, 1):
                yield _texts(row, f"{path}: row {number}", str(path), known)
    except (OSError, ValueError, RecursionError) as fault:  # pyarrow's and json's exceptions are ValueErrors
        raise ConfigError(f"{path}: cannot be read: {fault}; make the list again") from fault


def _texts(row: Any, where: str, path: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    if not isinstance(row, dict) or not all(value is None or isinstance(value, str) for value in row.values()):
        raise ConfigError(f'{where}: is no table of texts; write it as {{"url": "https://..."}}')
    _check_columns(row, where, "url", known)
    try:
        "".join(value for value in row.values() if value).encode()
    except UnicodeEncodeError as fault:
        raise ConfigError(f"{where}: has bytes that are no text; write it in UTF-8") from fault
    return where, {name: (value or "").strip() for name, value in row.items()}
