"""rows: the rows of a dataset of images, streamed, and the bytes that they hold or name.

`datasets` decodes nothing here. A row holds its image, or names a file: one of the dataset's own repository or folder,
also inside a zip there. A row comes from outside, so no other file is opened.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import fsspec

from ggt_tools.errors import ConfigError, PairError
from ggt_tools.files import MAX_FILE_BYTES
from ggt_tools.files.folders import read_file
from ggt_tools.files.tars import TARS, Tar, member_name
from ggt_tools.files.zips import ImageZip

OPEN_ZIPS = 8
HUB = "hf://datasets/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The columns of a split, and its rows one by one, each once."""

    features: Mapping[str, Any]
    count: int  # 0 where only reading them would tell
    _rows: Any
    _tars: tuple[str, ...]  # of webdataset's

    def images(self) -> list[str]:
        """Return the names of the columns of images; where none is declared as such, of those that hold bytes."""
        import datasets

        def is_bytes(feature: Any) -> bool:
            return isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")

        declared = [name for name, feature in self.features.items() if isinstance(feature, datasets.Image)]
        return declared or [
            name
            for name, feature in self.features.items()
            if is_bytes(feature) or (isinstance(feature, Mapping) and is_bytes(feature.get("bytes")))
        ]

    def select(self, columns: Sequence[str], label: str) -> Iterator[Mapping[str, Any]]:
        """Give the rows with these columns, images as a mapping with `bytes` and `path`.

        Raises ConfigError, which names `label`, where the rows cannot be read to their end.
        """
        if self._tars:
            yield from _tar_rows(self._tars, columns)
            return
        with loading(label):
            # first decode, then select: the other way round files that lie beside a list come decoded all the same
            yield from self._rows.decode(False).select_columns(list(columns))


def load_rows(
    name: str,
    config: str | None,
    split: str,
    revision: str | None,
    *,
    files: str | Sequence[str] | None = None,
) -> Rows:
    """Open a split of a dataset of the Hub, a folder, or files of one kind (`name` is that kind then).

    Raises ConfigError, which names the dataset, where there is no such dataset or split.
    """
    import datasets

    given: dict[str, Any] = {} if files is None else {"data_files": {split: files}}
    builder = datasets.load_dataset_builder(name, config, revision=revision, **given)
    by_split = builder.config.data_files  # a builder of its own need not have any
    places = [str(place) for place in by_split.get(split, ())] if isinstance(by_split, Mapping) else []
    is_tars = bool(places) and all(place.lower().endswith(TARS) for place in places)
    try:
        rows = builder.as_streaming_dataset(split=split)
    except Exception:
        if is_tars:  # a damaged one says more of itself
            for place in places:
                _check_tar(place)
        raise
    features = rows.features or {}
    if not features:
        rows = rows._resolve_features()
        features = rows.features or {}
    is_tars = is_tars and "__url__" in features
    return Rows(features=features, count=rows_of(rows, split), _rows=rows, _tars=tuple(places) if is_tars else ())


@contextmanager
def loading(name: str) -> Iterator[None]:
    """What goes wrong while a dataset is read becomes a ConfigError that names it."""
    try:
        yield
    except (ConfigError, PairError):
        raise
    except Exception as fault:  # datasets and huggingface_hub raise many kinds
        said = " ".join(str(fault).split())[:300]
        raise ConfigError(f"{name}: cannot be loaded: {type(fault).__name__}: {said}") from fault


def rows_of(rows: Any, split: str) -> int:
    """How many rows a streamed dataset's split has; 0 where nobody knows."""
    return int(rows.info.splits[split].num_examples) if rows.info.splits and split in rows.info.splits else 0


def _tar_rows(places: Sequence[str], columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The samples of webdataset's tars. `datasets` would take one that ends early, or is damaged, for a whole one."""
    for place in places:
        with _opened(place) as file:
            key, row = "", dict[str, Any]()
            tar = Tar(file, place)
            for member in tar:
                name = member_name(member)
                folder, _, base = name.rpartition("/")
                stem, dot, field = base.partition(".")
                if not member.isreg() or not dot or base.startswith("."):
                    continue
                if (sample := f"{folder}/{stem}" if folder else stem) != key:
                    if row:
                        yield row
                    key, row = sample, dict.fromkeys(columns) | {"__key__": sample}
                if field.lower() in columns:
                    if member.size > MAX_FILE_BYTES:
                        cell: dict[str, Any] = {"size": member.size}
                    else:
                        cell = {"bytes": tar.read(member)}
                    row[field.lower()] = cell | {"path": name}
            if row:
                yield row


def _check_tar(place: str) -> None:
    with _opened(place) as file:
        for _ in Tar(file, place):
            pass


@contextmanager
def _opened(place: str) -> Iterator[IO[bytes]]:
    with loading(place), fsspec.open(place, "rb") as file:
        yield file


class RowFiles:
    """Gives the bytes of the images of one dataset's rows.

    folder: the dataset's own folder of this machine; None where it has none.
    repo: its name on the Hub; "" where it has none.
    reason: of a row whose image is not to be had.
    """

    def __init__(self, *, folder: Path | None = None, repo: str = "", reason: str = "unreadable") -> None:
        self._folder = folder.resolve() if folder is not None else None
        self._repo = f"{HUB}{repo}".lower() if repo else ""
        self._reason = reason
        self._zip = functools.lru_cache(OPEN_ZIPS)(self._opened_zip)

    def read(self, cell: Any, where: str) -> bytes:
        """Return the bytes that a row's cell holds, or those of the file that it names.

        Raises PairError: the reason of this object, `too_large`, or what is wrong with a member of a zip.
        """
        cell = cell if isinstance(cell, Mapping) else {"bytes": cell if isinstance(cell, bytes) else b""}
        data, path = cell.get("bytes"), cell.get("path")
        if (size := cell.get("size", 0) or len(data or b"")) > MAX_FILE_BYTES:
            raise PairError("too_large", f"{where}: has {size} bytes, above {MAX_FILE_BYTES}. Leave it out.")
        if data:
            return bytes(data)
        if not isinstance(path, str) or not path:
            raise PairError(self._reason, f"{where}: its row has no image. Leave it out.")
        inner, archived, outer = path.removeprefix("zip://").partition("::")
        try:
            if path.startswith("zip://") and archived:
                return self._member(outer, inner, where, path)
            if (local := self._allowed(path, where, path)) is not None:
                return read_file(local, where)
            with fsspec.open(path, "rb") as file:
                size = getattr(file, "size", None) or 0
                data = file.read(MAX_FILE_BYTES + 1) if size <= MAX_FILE_BYTES else b""
        except (PairError, ConfigError):
            raise
        except Exception as fault:  # huggingface_hub and its client raise many kinds
            said = " ".join(str(fault).split())[:300]
            raise PairError(self._reason, f"{where}: {path!r} cannot be read: {said}. Try it again later.") from fault
        if max(size, len(data)) > MAX_FILE_BYTES:
            raise PairError("too_large", f"{where}: has more than {MAX_FILE_BYTES} bytes. Leave it out.")
        return bytes(data)

    def _allowed(self, path: str, where: str, shown: str) -> Path | None:
        """The path of a file of this machine, None for one of the Hub; PairError where it is not the dataset's own."""
        if "://" in path and "::" not in path:
            own = self._repo and path.lower().startswith((f"{self._repo}@", f"{self._repo}/"))
            if own and ".." not in path.split("/"):
                return None
        elif self._folder is not None:
            local = (self._folder / path).resolve()
            if local.is_relative_to(self._folder) and "://" not in path:
                return local
        if self._folder is not None:
            place = f"which is not in {self._folder}. Put the file there"
        elif self._repo:
            place = "which is not in its own repository. Put the file there"
        else:
            place = "and no file of this machine is opened for it. Name the folder of the dataset"
        raise PairError(self._reason, f"{where}: its row names {shown!r}, {place}, or put the bytes into the row.")

    def _member(self, outer: str, inner: str, where: str, shown: str) -> bytes:
        self._allowed(outer, where, shown)
        try:
            archive = self._zip(outer)
        except ConfigError as fault:
            raise PairError(self._reason, f"{where}: {fault}") from fault
        name = archive.find(inner)
        if name is None:
            if (refused := archive.refused.get(inner)) is not None:
                raise PairError(refused.reason, f"{where}: {refused}")
            raise PairError(self._reason, f"{where}: {inner!r} is no image in {outer}. Leave it out.")
        try:
            return archive.read(name)
        except PairError as fault:
            raise PairError(fault.reason, f"{where}: {fault}") from fault

    def _opened_zip(self, outer: str) -> ImageZip:
        local = self._allowed(outer, outer, outer)
        file: IO[bytes] = local.open("rb") if local is not None else fsspec.open(outer, "rb").open()
        return ImageZip(file, outer)
