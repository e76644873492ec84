"""Read positions of a compressed file, forward and now and then backward, without unpacking it to disk.

A decompressor runs forward only. Here a few of them stay where the last reads ended, so that two or three sequences of
reads, such as those of LQ images and of GT images in one tar, each go forward on their own. gzip also keeps copies of
its decompressor at some positions, from which a read that goes backward continues.
"""

from __future__ import annotations

import bz2
import lzma
import threading
import zlib
from dataclasses import dataclass, field
from typing import Any, Protocol

from ggt_tools.errors import ConfigError
from ggt_tools.files.blobs import Blob, in_part

STEP = 1 << 18  # compressed bytes that are read at a time
CURSORS = 4
MAX_COPIES = 64  # of the decompressor of one file, each of about 50 kB
COPY_BYTES = 1 << 24  # decompressed bytes between two copies, at least
MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2"}


def compression_of(start: bytes) -> str:
    """Return the compression of a file that begins with these bytes; "" where it has none."""
    return next((name for magic, name in MAGIC.items() if start.startswith(magic)), "")


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


@dataclass(slots=True)
class _Cursor:
    """A decompressor and its position.

    Attributes:
        decompressor: The decompressor.
        read: Position in the compressed file up to which it has been given bytes.
        position: Position in the decompressed bytes up to which it has returned them.
        pending: Compressed bytes that it has not taken yet.
        used: When it was last used, as a count.
    """

    decompressor: Any
    read: int = 0
    position: int = 0
    pending: bytes = b""
    used: int = 0

    def copy(self) -> _Cursor:
        """Return a cursor of its own. It reads the pending bytes again: copies are kept, and these are many bytes."""
        return _Cursor(self.decompressor.copy(), self.read - len(self.pending), self.position)


@dataclass(slots=True)
class DecompressedBlob:
    """The decompressed bytes of a file. Several compressed streams may follow each other in it.

    Attributes:
        blob: The compressed file.
        compression: `gzip`, `xz` or `bzip2`.
        max_bytes: Size that it may unpack to.
    """

    blob: Blob
    compression: str
    max_bytes: int
    _size: int = -1  # not known until the end was reached
    _cursors: list[_Cursor] = field(default_factory=list)
    _copies: list[_Cursor] = field(default_factory=list)  # by position
    _copy_bytes: int = COPY_BYTES
    _uses: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def label(self) -> str:
        return self.blob.label

    @property
    def size(self) -> int:
        """The size if it is known, else the size that is allowed."""
        return self._size if self._size >= 0 else self.max_bytes

    @property
    def identity(self) -> str:
        return self.blob.identity

    def read_at(self, start: int, size: int) -> bytes:
        """Return decompressed bytes.

        Raises:
            ConfigError: The file is damaged, ends early or unpacks to more than `max_bytes`.
        """
        with self._lock:
            cursor = self._cursor_before(start)
            self._skip(cursor, start - cursor.position)
            pieces = []
            while size > 0 and (data := self._decompress(cursor, size)):
                pieces.append(data)
                size -= len(data)
        return b"".join(pieces)

    def advance(self, position: int) -> None:
        """Decompress up to a position, or to the end if that comes first: `size` is exact then."""
        with self._lock:
            if self._size >= 0 or any(cursor.position >= position for cursor in self._cursors):
                return
            cursor = self._cursor_before(position)
            self._skip(cursor, position - cursor.position)

    @property
    def compressed_position(self) -> int:
        """Position in the compressed file of the last read."""
        return max(self._cursors, key=lambda cursor: cursor.used).read if self._cursors else 0

    def _cursor_before(self, start: int) -> _Cursor:
        """Return the cursor or copy that is closest before a position, or a new one."""
        self._uses += 1
        before = [cursor for cursor in self._cursors if cursor.position <= start]
        best = max(before, key=lambda cursor: cursor.position, default=None)
        copies = [copy for copy in self._copies if copy.position <= start]
        if copies and (best is None or copies[-1].position > best.position):
            best = self._add(copies[-1].copy())
        elif best is None:
            best = self._add(_Cursor(self._new()))
        best.used = self._uses
        return best

    def _add(self, cursor: _Cursor) -> _Cursor:
        if len(self._cursors) >= CURSORS:
            self._cursors.remove(min(self._cursors, key=lambda cursor: cursor.used))
        self._cursors.append(cursor)
        return cursor

    def _skip(self, cursor: _Cursor, size: int) -> None:
        while size > 0 and (data := self._decompress(cursor, min(size, STEP))):
            size -= len(data)

    def _new(self) -> _Decompressor:
        if self.compression == "gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        return lzma.LZMADecompressor() if self.compression == "xz" else bz2.BZ2Decompressor()

    def _decompress(self, cursor: _Cursor, size: int) -> bytes:
        """Return at most `size` of the next bytes; b"" at the end."""
        while True:
            if cursor.decompressor.eof and not self._next_stream(cursor):
                self._size = cursor.position
                return b""
            needs_input = getattr(cursor.decompressor, "needs_input", True)  # that of gzip has no such attribute
            if needs_input and not cursor.pending:
                cursor.pending = self.blob.read_at(cursor.read, STEP)
                cursor.read += len(cursor.pending)
            given = cursor.pending
            try:
                data: bytes = cursor.decompressor.decompress(given, size)
            except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
                raise self._fault(cursor, str(error)) from error
            cursor.pending = self._left(cursor)
            if data:
                cursor.position += len(data)
                if cursor.position > self.max_bytes:
                    raise ConfigError(f"{self.label}: the tar unpacks to more than {self.max_bytes} bytes. Split it.")
                self._keep_copy(cursor)
                return data
            if needs_input and not given and not cursor.decompressor.eof:
                raise self._fault(cursor, "its compressed stream ends early")

    def _left(self, cursor: _Cursor) -> bytes:
        """Return the compressed bytes that a decompressor has not taken."""
        if self.compression == "gzip":
            return bytes(cursor.decompressor.unconsumed_tail)
        return b""  # the others keep them

    def _next_stream(self, cursor: _Cursor) -> bool:
        """Begin the stream that follows a complete one. Return whether there is one: zeros may pad the last."""
        rest: bytes = cursor.decompressor.unused_data.lstrip(b"\0")
        while not rest and (more := self.blob.read_at(cursor.read, STEP)):
            cursor.read += len(more)
            rest = more.lstrip(b"\0")
        if not rest:
            return False
        cursor.decompressor, cursor.pending = self._new(), rest
        return True

    def _keep_copy(self, cursor: _Cursor) -> None:
        last = self._copies[-1].position if self._copies else 0
        if self.compression != "gzip" or cursor.position < last + self._copy_bytes or cursor.decompressor.eof:
            return
        self._copies.append(cursor.copy())
        if len(self._copies) > MAX_COPIES:
            self._copies = self._copies[1::2]
            self._copy_bytes *= 2

    def _fault(self, cursor: _Cursor, problem: str) -> ConfigError:
        return ConfigError(
            f"{self.label}: the file cannot be decompressed: {problem}; {cursor.position} bytes are complete."
            f"{in_part(self.blob, cursor.read - 1)} Fetch it again."
        )
