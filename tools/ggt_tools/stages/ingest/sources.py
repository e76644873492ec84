"""sources: where photographs come from. A folder, a tar, a list of URLs, a dataset of the Hub: each gives Found."""

from __future__ import annotations

import dataclasses
import hashlib
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

import ggt_tools.files.rows as dataset_rows
from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES, SUFFIXES
from ggt_tools.files.folders import ImageFiles, find_images, read_file
from ggt_tools.files.passing import APPLE_DOUBLE, PassedOver, folder_kind
from ggt_tools.files.tars import MAX_TAR_BYTES, TARS, Tar, member_name, open_tar
from ggt_tools.providers.fetch import FetchConfig, fetch, without_secrets
from ggt_tools.stages.ingest.credits import (
    COLUMNS,
    CREDITS,
    Credit,
    find_credits,
    parse_credits,
    read_credits,
    read_list,
    to_credit,
)

__all__ = ["SUFFIXES", "TARS"]
LISTS = (".csv", ".jsonl", ".parquet")
T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file that may be a photograph, or why there is none."""

    name: str  # what it is called from here on, unlike all others of its source
    folder: str = ""  # the name of the folder that it lies in
    data: bytes = b""
    fault: PairError | None = None
    credit: Credit = Credit()  # noqa: RUF009  it is frozen


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Photographs that come one by one, and how many there are; 0 where only reading them would tell."""

    found: Iterator[Found]
    count: int
    passed_over: PassedOver = dataclasses.field(default_factory=PassedOver)
    faults: tuple[str, ...] = ()  # folders that cannot be read, and why


Skip = Callable[[str, Credit], bool]


def no_licence(name: str) -> PairError:
    return PairError("no_licence", f"{name}: no licence is known; add it to {CREDITS}, or give --licence")


# --- folders and tars -----------------------------------------------------------------------------------------------


def find_photos(folder: Path) -> ImageFiles:
    """Every image file below a folder, in the order of their names. Raises ConfigError where there is none."""
    found = find_images(folder, besides=(CREDITS,))
    if not found.paths:
        raise _no_photograph(folder, found.passed_over)
    return found


def _no_photograph(place: Path, passed: PassedOver) -> ConfigError:
    others = f"; passed over: {passed}" if str(passed) else ""
    return ConfigError(f"{place}: no photograph in it; ingest reads {', '.join(SUFFIXES)}{others}")


def from_folder(folder: Path) -> Source:
    """The image files below a folder, with what each credits.csv in it says. Raises ConfigError where it has none."""
    found = find_photos(folder)
    names = {path.relative_to(folder).as_posix(): path for path in found.paths}
    credits = read_credits(folder, found.besides, names)
    return Source(
        found=(_read(path, name, credits) for name, path in names.items()),
        count=len(names),
        passed_over=found.passed_over,
        faults=found.faults,
    )


def _read(path: Path, name: str, credits: Mapping[str, Credit]) -> Found:
    if (bad := _bad_name(name)) is not None:
        return bad
    found = Found(name=name, folder=path.parent.name, credit=credits.get(name, Credit()))
    try:
        return dataclasses.replace(found, data=read_file(path, name))
    except PairError as fault:
        return dataclasses.replace(found, fault=fault)


def _bad_name(name: str) -> Found | None:
    """A name that is no text cannot stand in the ledger, nor in a message."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = ascii(name)[1:-1]
        return Found(name=name, fault=PairError("bad_name", f"{name}: has bytes that are no text; rename it"))
    if not name.isprintable():
        name = ascii(name)[1:-1]
        return Found(name=name, fault=PairError("bad_name", f"{name}: has characters that are not seen; rename it"))
    return None


def from_tar(path: Path, *, member_bytes: int = MAX_FILE_BYTES, tar_bytes: int = MAX_TAR_BYTES) -> Source:
    """The image files of a tar, plain or compressed; nothing is written anywhere.

    Only regular files count. What each credits.csv in it says is read first. Names that lead out of the tar are refused
    with `bad_name`, a second member of a name with `duplicate_name`, members above `member_bytes` with `too_large`.
    Raises ConfigError where it is no tar, is damaged, ends early, unpacks to more than `tar_bytes`, or holds no image.
    """
    tables: dict[str, dict[str, Credit]] = {}
    names: list[str] = []
    others: set[str] = set()
    passed = PassedOver()
    with open_tar(path, max_bytes=tar_bytes) as tar:
        for member in tar:
            name = member_name(member)
            folder, _, base = name.rpartition("/")
            if _is_photo(member, name):
                names.append(name)
            elif base == CREDITS and member.isreg() and not _is_hidden(name):
                tables[folder] = _credits(tar, member, f"{path}: {name}", member_bytes)
            elif member.issym() or member.islnk():
                passed.add("link", name)
            elif member.isreg() and not passed.add_hidden(name):
                passed.add_file(name)
                others.add(name)
    if not names:
        raise _no_photograph(path, passed)
    credits = find_credits(names, tables, str(path), lambda name: name in others)
    found = _tar_photos(path, credits, member_bytes, tar_bytes)
    return Source(found=found, count=len(names), passed_over=passed)


def _credits(tar: Tar, member: tarfile.TarInfo, label: str, member_bytes: int) -> dict[str, Credit]:
    if member.size > member_bytes:
        raise ConfigError(f"{label} has more than {member_bytes} bytes; make it smaller")
    return parse_credits(tar.read(member), label)


def _tar_photos(path: Path, credits: Mapping[str, Credit], member_bytes: int, tar_bytes: int) -> Iterator[Found]:
    names: set[str] = set()
    with open_tar(path, max_bytes=tar_bytes) as tar:
        for member in tar:
            name = member_name(member)
            if not _is_photo(member, name):
                continue
            if (bad := _bad_name(name)) is not None:
                yield bad
                continue
            found = Found(name=name, folder=PurePosixPath(name).parent.name, credit=credits.get(name, Credit()))
            fault = None
            if name.startswith("/") or ".." in name.split("/") or "\\" in name or any(c < " " for c in name):
                fault = PairError("bad_name", f"{name}: leads out of the tar, or is no name; rename it")
            elif name in names:
                fault = PairError("duplicate_name", f"{name}: stands in the tar twice; rename one")
            elif member.size > member_bytes:
                fault = PairError("too_large", f"{name}: has {member.size} bytes, above {member_bytes}. Leave it out.")
            names.add(name)
            yield dataclasses.replace(found, fault=fault, data=b"" if fault else tar.read(member))


def _is_photo(member: tarfile.TarInfo, name: str) -> bool:
    return member.isreg() and PurePosixPath(name).suffix.lower() in SUFFIXES and not _is_hidden(name)


def _is_hidden(name: str) -> bool:
    *folders, file = name.split("/")
    return file.startswith(APPLE_DOUBLE) or any(map(folder_kind, folders))


# --- lists ----------------------------------------------------------------------------------------------------------


def from_list(
    path: Path, config: FetchConfig, skip: Skip, *, licensed: bool, dry: bool = False, at_once: int = 8
) -> Source:
    """The files that a list of URLs names, `at_once` downloads at a time, in the list's order.

    The list is CSV, JSON lines or parquet with the column `url`, and any of `file` (its name from here on, by default
    the URL without its query), `title` and Credit's. What `skip` says True of is not fetched, nor is what has no
    licence where `licensed` does not say that it has one all the same; with `dry` nothing is.
    Raises ConfigError, with the line, where the list says what cannot be.
    """
    rows: dict[str, tuple[str, Credit]] = {}
    count = 0
    for where, row in read_list(path):
        if not row["url"]:
            raise ConfigError(f"{where}: the column 'url' is empty; name the file's URL there")
        name = row.get("file") or url_name(row["url"])
        if name in rows:
            raise ConfigError(f"{where}: {name!r} stands there twice; leave one line of it")
        rows[name] = row["url"], to_credit(row | {"url": without_secrets(row["url"])}, where)
        count += 1

    def get(each: tuple[str, tuple[str, Credit]]) -> Found:
        name, (url, credit) = each
        if (bad := _bad_name(name)) is not None:
            return bad
        folder = PurePosixPath(name).parent.name if "://" not in name else ""
        found = Found(name=name, folder=folder, credit=credit)
        if not credit.licence and not licensed:
            return dataclasses.replace(found, fault=no_licence(name))
        if dry:
            return found
        try:
            return dataclasses.replace(found, data=fetch(url, name, config))
        except PairError as fault:
            return dataclasses.replace(found, fault=fault)

    wanted = ((name, row) for name, row in rows.items() if not skip(name, row[1]))
    return Source(found=in_order(get, wanted, at_once), count=count)


def url_name(url: str) -> str:
    """A URL as a name: without user and password, and with a digest for its query, which may hold a secret."""
    bare, _, query = url.partition("#")[0].partition("?")
    try:
        parts = urlsplit(bare)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError:
        bare = bare.rpartition("@")[2]
    return bare + (f"#{hashlib.sha256(query.encode(errors='replace')).hexdigest()[:12]}" if query else "")


# --- datasets of the Hub --------------------------------------------------------------------------------------------


def from_dataset(
    name: str, column: str, *, config: str | None = None, split: str = "train", revision: str | None = None
) -> Source:
    """The images of a Hugging Face dataset (an id or a folder), streamed; its bytes come to us as they are stored.

    The columns licence (or license), author, url and degradation are taken where there are such and hold text. A row
    is named after its number. A row may hold its image, or name a file of the dataset's own folder: no other is opened.
    Raises ConfigError where there is no such dataset, split or image column.
    """
    with dataset_rows.loading(name):
        rows = dataset_rows.load_rows(name, config, split, revision)
        if column not in (images := rows.images()):
            known = (
                f"; images are in: {', '.join(images)}" if images else ", nor has it any other; name another dataset"
            )
            raise ConfigError(f"{name}: has no image column {column!r}{known}")
    told = [each for each in rows.features if each != column and (each == "license" or each in COLUMNS)]
    label = f"{name}{f'@{revision}' if revision else ''}/{f'{config}/' if config else ''}{split}"
    is_here = Path(name).is_dir()
    opening = dataset_rows.RowFiles(folder=Path(name) if is_here else None, repo="" if is_here else name)
    found = _dataset_photos(rows.select([column, *told], name), column, label, opening)
    return Source(found=found, count=rows.count)


def _dataset_photos(
    rows: Iterable[Mapping[str, Any]], column: str, label: str, opening: dataset_rows.RowFiles
) -> Iterator[Found]:
    for number, row in enumerate(rows):
        texts = {each: value.strip() for each, value in row.items() if isinstance(value, str)}
        degradation = texts.get("degradation", "")
        credit = Credit(
            licence=texts.get("licence") or texts.get("license", ""),
            author=texts.get("author", ""),
            url=texts.get("url", ""),
            degradation=degradation if degradation in DEGRADATIONS else "",
        )
        found = Found(name=f"{label}/{number}", credit=credit)
        try:
            yield dataclasses.replace(found, data=opening.read(row[column], found.name))
        except PairError as fault:
            yield dataclasses.replace(found, fault=fault)


def in_order(do: Callable[[T], U], items: Iterable[T], at_once: int) -> Iterator[U]:
    """do(item) for each item, in their order, some at once in threads; no more are begun than are about to be asked."""
    pool = ThreadPoolExecutor(at_once, thread_name_prefix="ingest")
    ahead: deque[Future[U]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(do, item))
            if len(ahead) >= at_once:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
