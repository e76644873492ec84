"""sources: where photographs come from. A folder, a tar, a list of URLs, a dataset of the Hub: each gives Found."""

from __future__ import annotations

import dataclasses
import hashlib
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ggt_format.schema import DEGRADATIONS
from ggt_tools.errors import ConfigError, PairError
from ggt_tools.ingest.credits import COLUMNS, CREDITS, Credit, parse_credits, read_credits, read_list, to_credit
from ggt_tools.ingest.fetch import FetchConfig, fetch, without_secrets

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif")
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz")
LISTS = (".csv", ".jsonl", ".parquet")
MEMBER_BYTES = 200_000_000  # of one file in a tar
EXTENSION_BYTES = 1 << 20  # of what stands before a file's header in a tar: its long name, its times
TAR_BYTES = 1 << 40  # of all that a compressed tar may unpack to
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


Skip = Callable[[str, Credit], bool]


def no_licence(name: str) -> PairError:
    return PairError("no_licence", f"{name}: no licence is known; add it to {CREDITS}, or give --licence")


# --- folders and tars -----------------------------------------------------------------------------------------------


def find_photos(folder: Path) -> list[Path]:
    """Every image file below a folder, in the order of their names. Raises ConfigError where there is none."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not files:
        raise ConfigError(f"{folder}: no photograph in it; ingest reads {', '.join(SUFFIXES)}")
    return files


def from_folder(folder: Path) -> Source:
    """The image files below a folder, with what its credits.csv says of them. Raises ConfigError where it has none."""
    files, credits = find_photos(folder), read_credits(folder)
    return Source(found=(_read(path, path.relative_to(folder).as_posix(), credits) for path in files), count=len(files))


def _read(path: Path, name: str, credits: Mapping[str, Credit]) -> Found:
    if (bad := _bad_name(name)) is not None:
        return bad
    found = Found(name=name, folder=path.parent.name, credit=credits.get(name, Credit()))
    try:
        return dataclasses.replace(found, data=path.read_bytes())
    except OSError as fault:
        said = PairError("unreadable", f"{name}: {fault.strerror}; mend that and ingest again")
        return dataclasses.replace(found, fault=said)


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


def from_tar(path: Path, *, member_bytes: int = MEMBER_BYTES, tar_bytes: int = TAR_BYTES) -> Source:
    """The image files of a tar, plain or packed with gzip or xz; nothing is written anywhere.

    Only regular files count. A credits.csv at its top is read first. Names that lead out of the tar are refused with
    `bad_name`, a second member of a name with `duplicate_name`, members above `member_bytes` with `too_large`.
    Raises ConfigError where it is no tar, ends early, unpacks to more than `tar_bytes`, or holds no image.
    """
    credits: dict[str, Credit] = {}
    count = 0
    with _open_tar(path) as tar:
        for member in _members(tar, path, tar_bytes):
            if member.name == CREDITS and member.isreg():
                if member.size > member_bytes:
                    raise ConfigError(f"{path}: {CREDITS} has more than {member_bytes} bytes; make it smaller")
                credits = parse_credits(_content(tar, member, path), f"{path}: {CREDITS}")
            count += _is_photo(member)
    if not count:
        raise ConfigError(f"{path}: no photograph in it; ingest reads {', '.join(SUFFIXES)}")
    return Source(found=_tar_photos(path, credits, member_bytes, tar_bytes), count=count)


def _tar_photos(path: Path, credits: Mapping[str, Credit], member_bytes: int, tar_bytes: int) -> Iterator[Found]:
    names: set[str] = set()
    with _open_tar(path) as tar:
        for member in _members(tar, path, tar_bytes):
            name = member.name.removeprefix("./")
            if not _is_photo(member):
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
                fault = PairError("too_large", f"{name}: has {member.size} bytes, above {member_bytes}; leave it out")
            names.add(name)
            yield dataclasses.replace(found, fault=fault, data=b"" if fault else _content(tar, member, path))


class _Header(tarfile.TarInfo):
    """A header whose extensions, names and the like, take no more memory than that: tarfile reads them whole."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isreg() and self.size > EXTENSION_BYTES:
            raise tarfile.ReadError(f"a header is extended by {self.size} bytes, above {EXTENSION_BYTES}")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


def _open_tar(path: Path) -> tarfile.TarFile:
    try:
        # as a stream: a packed tar cannot be entered in the middle
        return tarfile.open(path, "r|*", tarinfo=_Header)
    except (OSError, tarfile.TarError, EOFError) as fault:
        raise ConfigError(f"{path}: cannot be read as a tar: {fault}; fetch it again") from fault


def _members(tar: tarfile.TarFile, path: Path, tar_bytes: int) -> Iterator[tarfile.TarInfo]:
    members = iter(tar)
    while True:
        try:
            member = next(members, None)
        except Exception as fault:  # tarfile, zlib and lzma each have exceptions of their own
            raise ConfigError(f"{path}: cannot be read as a tar: {fault}; fetch it again") from fault
        if member is None:
            return
        if member.offset_data + member.size > tar_bytes and member.isreg():
            raise ConfigError(f"{path}: unpacks to more than {tar_bytes} bytes; split it")
        yield member
        tar.members = []  # type: ignore[attr-defined]  # it keeps every header that it has passed


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    try:
        file = tar.extractfile(member)
        data = file.read() if file else b""
    except Exception as fault:  # as above
        raise ConfigError(f"{path}: {member.name!r} cannot be read: {fault}; fetch it again") from fault
    if len(data) != member.size:
        raise ConfigError(f"{path}: ends within {member.name!r}; fetch it again")
    return data


def _is_photo(member: tarfile.TarInfo) -> bool:
    return member.isreg() and PurePosixPath(member.name).suffix.lower() in SUFFIXES


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
    import datasets

    with loading(name):
        rows = datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
        features = rows.features or {}
        if not isinstance(features.get(column), datasets.Image):
            images = [each for each, kind in features.items() if isinstance(kind, datasets.Image)]
            known = (
                f"; images are in: {', '.join(images)}" if images else ", nor has it any other; name another dataset"
            )
            raise ConfigError(f"{name}: has no image column {column!r}{known}")
        told = [each for each in features if each == "license" or each in COLUMNS]
        rows = rows.select_columns([column, *told]).cast_column(column, datasets.Image(decode=False))
        count = rows_of(rows, split)
    label = f"{name}{f'@{revision}' if revision else ''}/{f'{config}/' if config else ''}{split}"
    home = Path(name).resolve() if Path(name).is_dir() else None
    return Source(found=_dataset_photos(rows, column, label, home), count=count)


@contextmanager
def loading(name: str) -> Iterator[None]:
    """What goes wrong while a dataset is opened becomes a ConfigError that names it."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as fault:  # datasets and huggingface_hub raise many kinds
        said = " ".join(str(fault).split())[:300]
        raise ConfigError(f"{name}: cannot be loaded: {type(fault).__name__}: {said}") from fault


def rows_of(rows: Any, split: str) -> int:
    """How many rows a streamed dataset's split has; 0 where nobody knows."""
    return int(rows.info.splits[split].num_examples) if rows.info.splits and split in rows.info.splits else 0


def _dataset_photos(rows: Iterable[Mapping[str, Any]], column: str, label: str, home: Path | None) -> Iterator[Found]:
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
        image = row[column] or {}
        try:
            data = image.get("bytes") or _of_folder(image["path"], home, found.name)
            yield dataclasses.replace(found, data=data)
        except PairError as fault:
            yield dataclasses.replace(found, fault=fault)
        except (KeyError, TypeError, OSError) as fault:
            said = PairError("unreadable", f"{found.name}: {type(fault).__name__}: its row has no image; leave it out")
            yield dataclasses.replace(found, fault=said)


def _of_folder(path: str, home: Path | None, name: str) -> bytes:
    """The file that a row names: it comes from outside, and is no way to any other file of this machine."""
    if path and (home is None or not (home / path).resolve().is_relative_to(home)):
        where = "the dataset is in no folder here" if home is None else f"that is not in {home}"
        said = (
            f"{name}: its row names {path!r}, and {where}; only files of the dataset's own folder are opened: put it "
        )
        raise PairError("unreadable", f"{said}there, or its bytes into the row")
    return ((home or Path()) / path).read_bytes()


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
