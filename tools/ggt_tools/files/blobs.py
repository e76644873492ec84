"""Read byte ranges of files on this machine, on the Hub, or in parts, as if each were one file that is open.

A blob keeps no file open, so thousands of them can exist, and several threads may read one.
"""

from __future__ import annotations

import errno
import io
import os
import threading
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Protocol

from ggt_format.errors import ShardError
from ggt_format.ranges import read_with_retries
from ggt_tools.errors import ConfigError

WINDOW_BYTES = 1 << 16  # that `open_blob` reads ahead, by default


class Blob(Protocol):
    """Bytes that can be read in any order.

    Attributes:
        label: Name in messages.
        size: Number of bytes.
        identity: A text that differs where the bytes may differ, such as size and time of change; "" if unknown.
    """

    @property
    def label(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def identity(self) -> str: ...

    def read_at(self, start: int, size: int) -> bytes:
        """Return the bytes from `start` on: `size` of them, or fewer at the end.

        Raises:
            ConfigError: They cannot be read.
        """


class LocalBlob:
    """A file on this machine."""

    def __init__(self, path: Path) -> None:
        self.label = str(path)
        self._path = path
        try:
            status = path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        self.size = status.st_size
        self.identity = f"{path.name}:{status.st_size}:{status.st_mtime_ns}"

    def read_at(self, start: int, size: int) -> bytes:
        try:
            with io.FileIO(self._path) as file:
                file.seek(start)
                data = file.read(size)
                while len(data) < size and (more := file.read(size - len(data))):
                    data += more
        except OSError as error:
            raise self._unreadable(error) from error
        return data

    def _unreadable(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self.label}: the file cannot be read: {error.strerror}. Check the file.")


class RemoteBlob:
    """A file of a file system of fsspec, such as the Hub. A read that fails is tried again.

    Args:
        system: The file system.
        path: Path of the file in it.
        size: Size of the file.
        identity: As `Blob.identity`.
    """

    def __init__(self, system: Any, path: str, size: int, identity: str) -> None:
        self.label, self.size, self.identity = f"hf://{path}", size, identity
        self._system, self._path = system, path

    def read_at(self, start: int, size: int) -> bytes:
        stop = min(start + size, self.size)
        if stop <= start:
            return b""

        def read() -> bytes:
            with self._system.open(self._path, "rb", cache_type="none") as file:  # a cache would read megabytes more
                file.seek(start)
                data: bytes = file.read(stop - start)
            if len(data) != stop - start:
                raise EOFError(f"{len(data)} of {stop - start} bytes came")
            return data

        try:
            return read_with_retries(read, self.label)
        except (ShardError, FileNotFoundError) as error:
            raise ConfigError(f"{error} Run the same command later: it continues where it stopped.") from error


class FileBlob:
    """A file that is open already. It is read by one thread at a time."""

    def __init__(self, file: IO[bytes], label: str) -> None:
        self.label, self.identity = label, ""
        self._file, self._lock = file, threading.Lock()
        self.size = file.seek(0, os.SEEK_END)

    def read_at(self, start: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)


class JoinedBlob:
    """Parts of one file, one after another.

    Args:
        label: Name of the whole file in messages.
        parts: The parts, in order.
        patches: Bytes that replace those of the parts, by position in the whole.

    Attributes:
        starts: Position of each part in the whole.
    """

    def __init__(self, label: str, parts: Sequence[Blob], patches: Mapping[int, bytes] | None = None) -> None:
        self.label = label
        self._parts, self._patches = tuple(parts), dict(patches or {})
        ends = list(accumulate(part.size for part in parts))
        self.size = ends[-1]
        self.starts = [0, *ends[:-1]]
        identities = [part.identity for part in parts]
        self.identity = "|".join(identities) if all(identities) else ""

    def read_at(self, start: int, size: int) -> bytes:
        pieces = []
        position, stop = start, min(start + size, self.size)
        while position < stop:
            number = bisect_right(self.starts, position) - 1
            part, begin = self._parts[number], self.starts[number]
            data = part.read_at(position - begin, min(stop - begin, part.size) - (position - begin))
            if not data:
                break
            pieces.append(data)
            position += len(data)
        data = b"".join(pieces)
        for position, patch in self._patches.items():
            low, high = max(position, start), min(position + len(patch), start + len(data))
            if low < high:
                piece = patch[low - position : high - position]
                data = data[: low - start] + piece + data[high - start :]
        return data

    def patched(self, patches: Mapping[int, bytes]) -> JoinedBlob:
        """Return the same bytes with some replaced."""
        return JoinedBlob(self.label, self._parts, {**self._patches, **patches})

    def part_at(self, position: int) -> str:
        """Return the name of the part that holds a position, for messages."""
        return self._parts[max(0, bisect_right(self.starts, min(position, self.size - 1)) - 1)].label


def in_part(blob: Blob, position: int) -> str:
    """Return the sentence that names the part of an archive in which a fault was found; "" for a file in one part."""
    if not isinstance(blob, JoinedBlob):
        return ""
    return (
        f" It is in the part {blob.part_at(max(position, 0))}: a part may be missing, incomplete or under the name of "
        "another part."
    )


class BlobFile(io.RawIOBase):
    """A blob as a file for modules that want one: `zipfile`, `tarfile`, `gzip`."""

    def __init__(self, blob: Blob) -> None:
        self._blob, self._position = blob, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._blob.size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, f"negative position {base + offset}")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._blob.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def open_blob(blob: Blob, window_bytes: int = WINDOW_BYTES) -> IO[bytes]:
    """Return a blob as a file that reads `window_bytes` at a time."""
    return io.BufferedReader(BlobFile(blob), window_bytes)
