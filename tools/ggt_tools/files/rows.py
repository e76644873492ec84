"""Stream the rows of a dataset of images, and read the image bytes that they hold or name.

`datasets` decodes nothing here. A row holds its image, or names a file of the dataset's own repository or folder, also
inside a zip there. Rows come from outside, so no other file is opened.
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
from ggt_tools.files.blobs import FileBlob
from ggt_tools.files.folders import read_file
from ggt_tools.files.tars import TARS, Tar, member_name
from ggt_tools.files.zips import ImageZip

OPEN_ZIPS = 8
HUB = "hf://datasets/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The columns and rows of a split.

    Attributes:
        features: Feature of `datasets` for each column.
        count: Number of rows; 0 where only reading them all would tell.
    """

    features: Mapping[str, Any]
    count: int
    _rows: Any
    _tars: tuple[str, ...]  # the tars of a WebDataset

    def images(self) -> list[str]:
        """Return the names of the image columns; if none is declared as such, of the columns that hold bytes."""
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
        """Yield each row once, with these columns; an image is a mapping with `bytes` and `path`.

        Args:
            columns: Names of columns.
            label: Name of the dataset, for messages.

        Raises:
            ConfigError: The rows cannot be read to their end.
        """
        if self._tars:
            yield from read_tar_rows(self._tars, columns)
            return
        with loading(label):
            # `decode` has to come first: after `select_columns` files beside a list would still be decoded
            yield from self._rows.decode(False).select_columns(list(columns))


def load_rows(
    name: str,
    config: str | None,
    split: str,
    revision: str | None,
    *,
    files: str | Sequence[str] | None = None,
) -> Rows:
    """Open a split of a dataset; call it within `loading`.

    Args:
        name: Dataset on the Hub, a folder, or the kind of `files`: `parquet` or `webdataset`.
        config: Configuration of the dataset; None for its only one.
        split: Name of the split.
        revision: Branch, tag or commit; None for the main branch.
        files: Files of one kind, instead of a dataset.
    """
    import datasets

    given: dict[str, Any] = {} if files is None else {"data_files": {split: files}}
    builder = datasets.load_dataset_builder(name, config, revision=revision, **given)
    data_files = builder.config.data_files  # builders of other projects may have none
    paths = [str(path) for path in data_files.get(split, ())] if isinstance(data_files, Mapping) else []
    is_tars = bool(paths) and all(path.lower().endswith(TARS) for path in paths)
    try:
        rows = builder.as_streaming_dataset(split=split)
    except Exception:
        if is_tars:  # reading a damaged tar gives a better message
            for path in paths:
                _check_tar(path)
        raise
    features = rows.features or {}
    if not features:
        rows = rows._resolve_features()
        features = rows.features or {}
    is_tars = is_tars and "__url__" in features
    return Rows(features=features, count=count_rows(rows, split), _rows=rows, _tars=tuple(paths) if is_tars else ())


@contextmanager
def loading(name: str) -> Iterator[None]:
    """Translate every error while a dataset is read into a ConfigError that names the dataset."""
    try:
        yield
    except (ConfigError, PairError):
        raise
    except Exception as error:  # datasets and huggingface_hub raise many kinds
        detail = " ".join(str(error).split())[:300]
        raise ConfigError(f"{name}: the dataset cannot be loaded: {type(error).__name__}: {detail}") from error


def count_rows(rows: Any, split: str) -> int:
    """Return the number of rows of a streamed split; 0 where the dataset does not state it."""
    return int(rows.info.splits[split].num_examples) if rows.info.splits and split in rows.info.splits else 0


def read_tar_rows(paths: Sequence[str], columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the samples of a WebDataset's tars. `datasets` would not notice that a tar is damaged or ends early."""
    for path in paths:
        with _open(path) as file:
            key, row = "", dict[str, Any]()
            tar = Tar(file, path)
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


def _check_tar(path: str) -> None:
    with _open(path) as file:
        for _ in Tar(file, path):
            pass


@contextmanager
def _open(path: str) -> Iterator[IO[bytes]]:
    with loading(path), fsspec.open(path, "rb") as file:
        yield file


class RowFiles:
    """Reads the images of one dataset's rows.

    Args:
        folder: The dataset's own folder on this machine; None where it has none.
        repo: Its name on the Hub; "" where it has none.
        reason: Reason code of a row whose image cannot be read.
    """

    def __init__(self, *, folder: Path | None = None, repo: str = "", reason: str = "unreadable") -> None:
        self._folder = folder.resolve() if folder is not None else None
        self._repo = f"{HUB}{repo}".lower() if repo else ""
        self._reason = reason
        self._zip = functools.lru_cache(OPEN_ZIPS)(self._open_zip)

    def read(self, cell: Any, where: str) -> bytes:
        """Return the bytes that a row's cell holds, or those of the file that it names.

        Args:
            cell: The cell, as `datasets` gives it without decoding.
            where: Position of the cell, for messages.

        Raises:
            PairError: The reason of this object, `too_large`, or the reason of a member of a zip.
        """
        cell = cell if isinstance(cell, Mapping) else {"bytes": cell if isinstance(cell, bytes) else b""}
        data, path = cell.get("bytes"), cell.get("path")
        if (size := cell.get("size", 0) or len(data or b"")) > MAX_FILE_BYTES:
            raise PairError("too_large", f"{where}: the file has {size} bytes, above {MAX_FILE_BYTES}. Leave it out.")
        if data:
            return bytes(data)
        if not isinstance(path, str) or not path:
            raise PairError(self._reason, f"{where}: the row has no image. Leave it out.")
        inner, archived, outer = path.removeprefix("zip://").partition("::")
        try:
            if path.startswith("zip://") and archived:
                return self._read_member(outer, inner, where, path)
            if (local := self._local_path(path, where, path)) is not None:
                return read_file(local, where)
            with fsspec.open(path, "rb") as file:
                size = getattr(file, "size", None) or 0
                data = file.read(MAX_FILE_BYTES + 1) if size <= MAX_FILE_BYTES else b""
        except (PairError, ConfigError):
            raise
        except Exception as error:  # huggingface_hub and its client raise many kinds
            detail = " ".join(str(error).split())[:300]
            raise PairError(self._reason, f"{where}: {path!r} cannot be read: {detail}. Try again later.") from error
        if max(size, len(data)) > MAX_FILE_BYTES:
            raise PairError("too_large", f"{where}: the file has more than {MAX_FILE_BYTES} bytes. Leave it out.")
        return bytes(data)

    def _local_path(self, path: str, where: str, shown: str) -> Path | None:
        """Return the path of a file on this machine, or None for one on the Hub.

        Raises:
            PairError: The file is not one of the dataset's own.
        """
        if "://" in path and "::" not in path:
            is_own = self._repo and path.lower().startswith((f"{self._repo}@", f"{self._repo}/"))
            if is_own and ".." not in path.split("/"):
                return None
        elif self._folder is not None:
            local = (self._folder / path).resolve()
            if local.is_relative_to(self._folder) and "://" not in path:
                return local
        if self._folder is not None:
            problem = f"which is not in {self._folder}. Put the file there"
        elif self._repo:
            problem = "which is not in the dataset's repository. Put the file there"
        else:
            problem = "but may not name files of this machine. Name the folder of the dataset"
        raise PairError(self._reason, f"{where}: the row names {shown!r}, {problem}, or put the bytes into the row.")

    def _read_member(self, outer: str, inner: str, where: str, shown: str) -> bytes:
        self._local_path(outer, where, shown)
        try:
            archive = self._zip(outer)
        except ConfigError as error:
            raise PairError(self._reason, f"{where}: {error}") from error
        name = archive.find(inner)
        if name is None:
            if (refused := archive.refused.get(inner)) is not None:
                raise PairError(refused.reason, f"{where}: {refused}")
            raise PairError(self._reason, f"{where}: {outer} has no image {inner!r}. Leave it out.")
        try:
            return archive.read(name)
        except PairError as error:
            raise PairError(error.reason, f"{where}: {error}") from error

    def _open_zip(self, outer: str) -> ImageZip:
        local = self._local_path(outer, outer, outer)
        file: IO[bytes] = local.open("rb") if local is not None else fsspec.open(outer, "rb").open()
        return ImageZip(FileBlob(file, outer), outer)
