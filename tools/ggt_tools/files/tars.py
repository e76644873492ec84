"""Read tars to their end, plain or compressed with gzip, xz or bzip2.

Python's `tarfile` treats the first header that it cannot read as the end of a tar. In its streaming mode it also treats
the first of several compressed streams as the whole file. Here a tar ends with a block of zeros, which only zeros or
another tar may follow, and a compressed stream is read to its own end, checksum included. Everything else is an error
that names the last member that was read completely. Nothing is unpacked to disk.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ggt_tools.errors import ConfigError
from ggt_tools.files.names import clean_name

TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
MAX_EXTENSION_BYTES = 1 << 20  # of the extension of a header: a long name, times
MAX_TAR_BYTES = 1 << 40  # that a compressed tar may unpack to
MAX_ZERO_BYTES = 1 << 30  # after the last member
STEP = 1 << 16
BLOCK = tarfile.BLOCKSIZE


class Tar:
    """Reads the members of a tar, one after another::

        tar = Tar(file, "photos.tar")
        for member in tar:
            data = tar.read(member)

    Args:
        file: The tar, plain or compressed.
        label: Name of the tar in messages.
        max_bytes: Size that it may unpack to.

    Raises:
        ConfigError: The file is not a tar.
    """

    def __init__(self, file: IO[bytes], label: str, *, max_bytes: int = MAX_TAR_BYTES) -> None:
        self._label = label
        self._tar: tarfile.TarFile | None = None
        self._complete = self._current = ""  # names of the last member that is complete for certain, and of the newest
        with self._translated():
            self._stream = _ForwardStream(file, label, max_bytes)
            self._tar = tarfile.TarFile(fileobj=self._stream, mode="r", tarinfo=_Header)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """Yield each member, also folders and links.

        Raises:
            ConfigError: The tar is damaged or ends early.
        """
        assert self._tar is not None
        while True:
            with self._translated():
                member = self._tar.next()
            self._complete = self._current
            if member is None:
                break
            self._current = member.name
            yield member
            self._tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every header in memory

    def read(self, member: tarfile.TarInfo) -> bytes:
        """Return the bytes of the member that was yielded last.

        Raises:
            ConfigError: The tar ends within it.
        """
        with self._translated():
            file = self._tar.extractfile(member) if self._tar else None
            data = file.read() if file else b""
            if len(data) != member.size:
                raise EOFError(f"the tar ends within {member.name!r}")
        return data

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:  # tarfile, zlib, lzma and bz2 each have exceptions of their own
            is_passed = self._tar is not None and self._stream.tell() >= self._tar.offset
            last = self._current if is_passed else self._complete
            extent = f"the last complete member is {last!r}" if last else "no member is complete"
            raise ConfigError(
                f"{self._label}: the file cannot be read as a tar: {error}; {extent}. Fetch it again."
            ) from error


@contextmanager
def open_tar(path: Path, *, max_bytes: int = MAX_TAR_BYTES) -> Iterator[Tar]:
    """Open a tar on this machine.

    Args:
        path: The tar.
        max_bytes: Size that it may unpack to.

    Raises:
        ConfigError: The file cannot be read, or is not a tar.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: the file cannot be read: {error.strerror}. Check the file.") from error
    with file:
        yield Tar(file, str(path), max_bytes=max_bytes)


def member_name(member: tarfile.TarInfo) -> str:
    """Return the name of a member without the `./` that `tar` puts in front when it packs the folder `.`."""
    return clean_name(member.name)


class _Header(tarfile.TarInfo):
    """A complete header. What `tarfile` treats as the end of a tar is an error here, except for a block of zeros."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        stream: _ForwardStream = tar.fileobj  # type: ignore[assignment]
        start = stream.tell()
        block = stream.read(BLOCK)
        while block and block.count(0) == len(block):
            if stream.tell() - start > MAX_ZERO_BYTES:
                raise tarfile.ReadError(f"it holds more than {MAX_ZERO_BYTES} bytes of zeros")
            block = stream.read(BLOCK)
        # if no block is left, the whole stream has been read, and its checksum was right
        zeros = stream.tell() - start - len(block)
        if not block and zeros >= BLOCK:
            raise tarfile.EOFHeaderError("end of file header")  # type: ignore[attr-defined]
        if len(block) < BLOCK and zeros < BLOCK:
            raise tarfile.ReadError("the blocks of zeros are missing that end a tar")
        try:
            header = cls.frombuf(block, tar.encoding or "utf-8", tar.errors or "surrogateescape")
        except tarfile.HeaderError as error:
            if zeros:
                raise tarfile.ReadError(f"the bytes after its end at byte {start} are not a tar") from error
            raise tarfile.ReadError(f"the header at byte {start} is damaged: {error}") from error
        header.offset = stream.tell() - BLOCK
        try:
            return header._proc_member(tar)  # type: ignore[return-value]  # it is of this class
        except tarfile.HeaderError as error:  # of an extension that is cut, since Python 3.13
            raise tarfile.ReadError(f"the header at byte {start} is damaged: {error}") from error

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isreg() and self.size > MAX_EXTENSION_BYTES:
            raise tarfile.ReadError(f"the extension of a header has {self.size} bytes, above {MAX_EXTENSION_BYTES}")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


class _ForwardStream:
    """The decompressed bytes of a tar, with the methods that `tarfile` needs: it reads, and seeks forward.

    Raises:
        ConfigError: There are more than `max_bytes`.
    """

    def __init__(self, file: IO[bytes], label: str, max_bytes: int) -> None:
        start = file.read(6)
        file.seek(0)
        self._label, self._max_bytes = label, max_bytes
        self._file: IO[bytes] | io.BufferedReader = file
        self._is_compressed = True
        if start.startswith(b"\x1f\x8b"):
            self._file = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        elif start.startswith(b"\xfd7zXZ\0"):
            self._file = io.BufferedReader(_ChainedStreams(file, lzma.LZMADecompressor), STEP)
        elif start.startswith(b"BZh"):
            self._file = io.BufferedReader(_ChainedStreams(file, bz2.BZ2Decompressor), STEP)
        else:
            self._is_compressed = False
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._move(self._position + len(data))
        return data

    def seek(self, position: int) -> int:
        if self._is_compressed:
            while self._position < position and self.read(min(position - self._position, STEP)):
                pass
        else:
            self._move(self._file.seek(position))
        return self._position

    def tell(self) -> int:
        return self._position

    def _move(self, position: int) -> None:
        self._position = position
        if position > self._max_bytes:
            raise ConfigError(f"{self._label}: the tar unpacks to more than {self._max_bytes} bytes. Split it.")


class _ChainedStreams(io.RawIOBase):
    """The decompressed bytes of several compressed streams that follow each other, as `gzip` reads its own.

    `lzma` and `bz2` would ignore a second stream whose beginning is damaged.
    """

    def __init__(
        self, file: IO[bytes], decompressor: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor]
    ) -> None:
        self._file, self._new = file, decompressor
        self._decompressor = decompressor()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            data = b""
            if self._decompressor.eof:
                # xz may pad a stream with zeros
                rest = self._decompressor.unused_data.lstrip(b"\0")
                while not rest and (more := self._file.read(STEP)):
                    rest = more.lstrip(b"\0")
                if not rest:
                    return 0
                self._decompressor, data = self._new(), rest
            elif self._decompressor.needs_input and not (data := self._file.read(STEP)):
                raise EOFError("its compressed stream ends early")
            if decompressed := self._decompressor.decompress(data, len(buffer)):
                buffer[: len(decompressed)] = decompressed
                return len(decompressed)
