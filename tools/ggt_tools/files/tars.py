"""tars: reads tars to their end, plain or compressed with gzip, xz or bzip2.

Python's `tarfile` takes the first header that it cannot read for the end of a tar, and of a compressed stream, in its
streaming mode, the first of several members for the whole. Here a tar ends with a block of zeros, which only zeros or
another tar follow, and a stream is read to its own end, checksum included. All else is an error that names the last
member that was whole. Nothing is written anywhere.
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
MAX_EXTENSION_BYTES = 1 << 20  # of what stands before a member's header: its long name, its times
MAX_TAR_BYTES = 1 << 40  # of all that a compressed tar may unpack to
MAX_ZERO_BYTES = 1 << 30  # behind the last member
STEP = 1 << 16
BLOCK = tarfile.BLOCKSIZE


class Tar:
    """The members of a tar, one after another.

    tar = Tar(file, "photos.tar")
    for member in tar:
        data = tar.read(member)
    """

    def __init__(self, file: IO[bytes], label: str, *, max_bytes: int = MAX_TAR_BYTES) -> None:
        """`label` names the tar in messages. Raises ConfigError where it is none."""
        self._label = label
        self._tar: tarfile.TarFile | None = None
        self._good = self._current = ""  # the names of the last member that is whole for certain, and of the newest
        with self._translated():
            self._stream = _ForwardStream(file, label, max_bytes)
            self._tar = tarfile.TarFile(fileobj=self._stream, mode="r", tarinfo=_Header)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        """Give each member, whatever it is. Raises ConfigError where the tar is damaged or ends early."""
        assert self._tar is not None
        while True:
            with self._translated():
                member = self._tar.next()
            self._good = self._current
            if member is None:
                break
            self._current = member.name
            yield member
            self._tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header that it has passed

    def read(self, member: tarfile.TarInfo) -> bytes:
        """Return the bytes of the member that came last. Raises ConfigError where the tar ends within it."""
        with self._translated():
            file = self._tar.extractfile(member) if self._tar else None
            data = file.read() if file else b""
            if len(data) != member.size:
                raise EOFError(f"it ends within {member.name!r}")
        return data

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ConfigError:
            raise
        except Exception as fault:  # tarfile, zlib, lzma and bz2 each have exceptions of their own
            is_passed = self._tar is not None and self._stream.tell() >= self._tar.offset
            last = self._current if is_passed else self._good
            where = f"the last good member is {last!r}" if last else "no member is whole"
            said = f"{self._label}: cannot be read as a tar: {fault}; {where}. Fetch it again."
            raise ConfigError(said) from fault


@contextmanager
def open_tar(path: Path, *, max_bytes: int = MAX_TAR_BYTES) -> Iterator[Tar]:
    """Open a tar of this machine. Raises ConfigError where it cannot be read or is none."""
    try:
        file = path.open("rb")
    except OSError as fault:
        raise ConfigError(f"{path}: cannot be read: {fault.strerror}. Check the file.") from fault
    with file:
        yield Tar(file, str(path), max_bytes=max_bytes)


def member_name(member: tarfile.TarInfo) -> str:
    """Return the name of a member without `./`, which `tar` puts in front where it packs the folder `.`."""
    return clean_name(member.name)


class _Header(tarfile.TarInfo):
    """A header that is whole: all that `tarfile` takes for the end of a tar, but for a block of zeros, is an error."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> _Header:
        stream: _ForwardStream = tar.fileobj  # type: ignore[assignment]
        start = stream.tell()
        block = stream.read(BLOCK)
        while block and block.count(0) == len(block):
            if stream.tell() - start > MAX_ZERO_BYTES:
                raise tarfile.ReadError(f"more than {MAX_ZERO_BYTES} bytes of zeros stand in it")
            block = stream.read(BLOCK)
        # all of the stream has been read where no block is left, and its checksum was right
        zeros = stream.tell() - start - len(block)
        if not block and zeros >= BLOCK:
            raise tarfile.EOFHeaderError("end of file header")  # type: ignore[attr-defined]
        if len(block) < BLOCK and zeros < BLOCK:
            raise tarfile.ReadError("it ends without the blocks of zeros that end a tar")
        try:
            header = cls.frombuf(block, tar.encoding or "utf-8", tar.errors or "surrogateescape")
        except tarfile.HeaderError as fault:
            if zeros:
                raise tarfile.ReadError(f"what follows its end at byte {start} is no tar") from fault
            raise tarfile.ReadError(f"the header at byte {start} is damaged: {fault}") from fault
        header.offset = stream.tell() - BLOCK
        try:
            return header._proc_member(tar)  # type: ignore[return-value]  # it is of this very class
        except tarfile.HeaderError as fault:  # of an extension that is cut, since Python 3.13
            raise tarfile.ReadError(f"the header at byte {start} is damaged: {fault}") from fault

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if not self.isreg() and self.size > MAX_EXTENSION_BYTES:
            raise tarfile.ReadError(f"a header is extended by {self.size} bytes, above {MAX_EXTENSION_BYTES}")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]


class _ForwardStream:
    """The bytes of a tar, unpacked, as far as `tarfile` needs a file: it reads, and seeks forward.

    Raises ConfigError where there are more than `max_bytes`.
    """

    def __init__(self, file: IO[bytes], label: str, max_bytes: int) -> None:
        start = file.read(6)
        file.seek(0)
        self._label, self._max_bytes = label, max_bytes
        self._file: IO[bytes] | io.BufferedReader = file
        self._packed = True
        if start.startswith(b"\x1f\x8b"):
            self._file = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]
        elif start.startswith(b"\xfd7zXZ\0"):
            self._file = io.BufferedReader(_Chained(file, lzma.LZMADecompressor), STEP)
        elif start.startswith(b"BZh"):
            self._file = io.BufferedReader(_Chained(file, bz2.BZ2Decompressor), STEP)
        else:
            self._packed = False
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._moved(self._position + len(data))
        return data

    def seek(self, position: int) -> int:
        if self._packed:
            while self._position < position and self.read(min(position - self._position, STEP)):
                pass
        else:
            self._moved(self._file.seek(position))
        return self._position

    def tell(self) -> int:
        return self._position

    def _moved(self, position: int) -> None:
        self._position = position
        if position > self._max_bytes:
            raise ConfigError(f"{self._label}: unpacks to more than {self._max_bytes} bytes. Split it.")


class _Chained(io.RawIOBase):
    """What several compressed streams, one behind another, unpack to; `gzip` does the same for its own kind.

    `lzma` and `bz2` would take a second stream whose beginning is damaged for bytes that do not count.
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
                raise EOFError("its compressed stream is cut off")
            if unpacked := self._decompressor.decompress(data, len(buffer)):
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)
