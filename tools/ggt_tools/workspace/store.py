"""Files by name in a folder or under an fsspec URL (`s3://`, `hf://buckets/...`): whole, or not there."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ggt_format.files import PART, make_folder, write_whole
from ggt_tools.errors import ConfigError

# Where nothing is seen of a file before it is whole; elsewhere it gets its name when it is
OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oss", "hf", "memory"})


@dataclass(frozen=True, slots=True)
class Store:
    """`root`: a folder or a URL. Picklable: processes elsewhere read and write the same files."""

    root: str

    @property
    def absolute(self) -> Store:
        """The same, for who works in another folder."""
        return self if "://" in self.root else Store(str(Path(self.root).resolve()))

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        if (folder := self._folder) is not None:
            return (folder / name).read_bytes()
        system, path = self._remote(name)
        return bytes(system.cat_file(path))

    def write(self, name: str, data: bytes) -> None:
        if (folder := self._folder) is not None:
            path = folder / name
            make_folder(path.parent)
            write_whole(path, data)
            return
        system, place = self._remote(name)
        system.makedirs(place.rpartition("/")[0], exist_ok=True)  # stores of objects have no folders, and do nothing
        if OBJECTS.isdisjoint([system.protocol] if isinstance(system.protocol, str) else system.protocol):
            part = f"{place}.{uuid.uuid4().hex[:8]}{PART}"
            system.pipe_file(part, data)
            system.mv(part, place)
        else:
            system.pipe_file(place, data)

    def size(self, name: str) -> int:
        """In bytes. Raises FileNotFoundError."""
        if (folder := self._folder) is not None:
            return (folder / name).stat().st_size
        system, path = self._remote(name)
        return int(system.info(path)["size"])

    def has(self, name: str) -> bool:
        if (folder := self._folder) is not None:
            return (folder / name).exists()
        system, path = self._remote(name)
        return bool(system.exists(path))

    def names(self, folder: str) -> list[str]:
        """The files that lie in a folder, sorted, with its name before theirs."""
        if (root := self._folder) is not None:
            found = [path.name for path in (root / folder).glob("*") if path.is_file()]
            return sorted(f"{folder}/{name}" for name in found if not name.endswith(PART))
        system, place = self._remote(folder)
        system.invalidate_cache()
        try:
            listed = system.ls(place, detail=True)
        except FileNotFoundError:
            return []
        found = [each["name"].rpartition("/")[2] for each in listed if each["type"] == "file"]
        return sorted(f"{folder}/{name}" for name in found if not name.endswith(PART))

    def remove(self, name: str) -> None:
        """What is not there is no fault: two may clean up."""
        if (folder := self._folder) is not None:
            (folder / name).unlink(missing_ok=True)
            return
        system, path = self._remote(name)
        if system.exists(path):
            system.rm_file(path)

    @property
    def _folder(self) -> Path | None:
        if self.root.startswith(("file://", "local://")):
            from fsspec.implementations.local import LocalFileSystem

            return Path(LocalFileSystem._strip_protocol(self.root))
        return None if "://" in self.root else Path(self.root)

    def _remote(self, name: str) -> tuple[Any, str]:
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(f"{self.root.rstrip('/')}/{name}")
        except (ValueError, ImportError) as fault:  # an unknown protocol, or one whose package is not installed
            raise ConfigError(f"{self.root}: cannot be opened: {fault}") from fault
        return system, str(path)
