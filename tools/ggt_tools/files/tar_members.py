"""List the members of a tar, and read them in any order. Nothing is unpacked to disk.

A plain tar is listed by its headers alone, so that 100,000 members take seconds, and read by positions. One that is
compressed with gzip, xz or bzip2 can only be read forward: see `decompress.py`.

The rules are those of `tars.py`: a tar ends with a block of zeros, which only zeros or another tar may follow.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from ggt_tools.errors import ConfigError
from ggt_tools.files.blobs import Blob, in_part
from ggt_tools.files.decompress import DecompressedBlob, compression_of
from ggt_tools.files.tars import BLOCK, MAX_EXTENSION_BYTES, MAX_TAR_BYTES, MAX_ZERO_BYTES

HEADER_WINDOW = 1 << 13  # bytes that are read at a header: many small members, or one large one
REMOTE_WINDOW = 1 << 18
REGULAR = (b"0", b"\0", b"7")
LINKS = (b"1", b"2")
EXTENSIONS = (b"x", b"g", b"L", b"K")


class TarEntry(NamedTuple):
    """A member of a tar: name as written, kind (`file`, `link` or `other`), position of its bytes, size."""

    name: str
    kind: str
    start: int
    size: int


def open_tar_blob(blob: Blob, *, max_bytes: int = MAX_TAR_BYTES) -> Blob:
    """Return the bytes of a tar, decompressed where it is compressed.

    Raises:
        ConfigError: The file cannot be read.
    """
    compression = compression_of(blob.read_at(0, 6))
    return DecompressedBlob(blob, compression, max_bytes=max_bytes) if compression else blob


def list_tar(blob: Blob, *, window: int = HEADER_WINDOW) -> Iterator[TarEntry]:
    """Yield the members of a plain or decompressed tar.

    Args:
        blob: What `open_tar_blob` returns.
        window: Bytes to read at a time.

    Raises:
        ConfigError: The tar is damaged or ends early. The message names the part of the archive where that is.
    """
    headers = _Headers(blob, window)
    last = ""
    while (block := headers.next_block()) is not None:
        try:
            name, size, kind = _parse(block)
        except ValueError as error:
            raise headers.fault(f"the header at byte {headers.position - BLOCK} is damaged: {error}", last) from error
        extension: dict[str, str] = {}
        while kind in EXTENSIONS:
            data = headers.take(size, last)
            if kind == b"x":
                extension |= _parse_pax(data)
            elif kind == b"L":
                extension["path"] = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
            block = headers.next_block()
            if block is None:
                raise headers.fault("it ends after the extension of a header", last)
            try:
                name, size, kind = _parse(block)
            except ValueError as error:
                position = headers.position - BLOCK
                raise headers.fault(f"the header at byte {position} is damaged: {error}", last) from error
        name = extension.get("path", name)
        stated = extension.get("size", "")
        size = int(stated) if stated.isdigit() else size
        is_sparse = any(key.startswith("GNU.sparse") for key in extension) or kind == b"S"
        is_file = kind in REGULAR and not is_sparse and not name.endswith("/")
        start = headers.position
        yield TarEntry(name, "file" if is_file else "link" if kind in LINKS else "other", start, size)
        if kind not in LINKS:  # a link may state the size of its target, but holds no bytes
            headers.skip(size, name, last)
        last = name


class _Headers:
    """Reads a tar block by block, and skips the bytes of members."""

    def __init__(self, blob: Blob, window: int) -> None:
        self.position = 0
        self._blob, self._window = blob, window
        self._start, self._data = 0, b""

    def next_block(self) -> bytes | None:
        """Return the next header; None at the end of the tar.

        Raises:
            ConfigError: The tar ends without a block of zeros.
        """
        zeros = 0
        while True:
            block = self._read(BLOCK)
            if len(block) == BLOCK and block.count(0) < BLOCK:
                return block
            if len(block) < BLOCK:
                if zeros:
                    return None
                raise self.fault("the blocks of zeros are missing that end a tar", "")
            zeros += BLOCK
            if zeros > MAX_ZERO_BYTES:
                raise self.fault(f"it holds more than {MAX_ZERO_BYTES} bytes of zeros", "")

    def take(self, size: int, last: str) -> bytes:
        """Return the bytes of an extension."""
        if size > MAX_EXTENSION_BYTES:
            raise self.fault(f"the extension of a header has {size} bytes, above {MAX_EXTENSION_BYTES}", last)
        data = self._read(size)
        if len(data) < size:
            raise self.fault("it ends within the extension of a header", last)
        self.position += -size % BLOCK
        return data

    def skip(self, size: int, name: str, last: str) -> None:
        end = self.position + size
        self.position = end + -size % BLOCK
        if isinstance(self._blob, DecompressedBlob):
            self._blob.advance(min(end, self._blob.max_bytes + 1))
        if end > self._blob.size:
            raise self.fault(f"it ends within {name!r}", last)

    def _read(self, size: int) -> bytes:
        begin = self.position - self._start
        if begin + size > len(self._data):
            # what was read already is kept: a decompressor does not go backward
            self._data = self._data[begin:]
            self._start = self.position
            self._data += self._blob.read_at(self.position + len(self._data), max(size, self._window))
            begin = 0
        data = self._data[begin : begin + size]
        self.position += len(data)
        return data

    def fault(self, problem: str, last: str) -> ConfigError:
        blob = self._blob
        where = in_part(blob, self.position - BLOCK)
        if isinstance(blob, DecompressedBlob):
            where = in_part(blob.blob, blob.compressed_position - 1)
        extent = f"the last complete member is {last!r}" if last else "no member is complete"
        return ConfigError(
            f"{blob.label}: the file cannot be read as a tar: {problem}; {extent}.{where} Fetch it again."
        )


def _parse(block: bytes) -> tuple[str, int, bytes]:
    """Return name, size and type of a header.

    Raises:
        ValueError: The header is damaged.
    """
    stated = _number(block[148:156])
    actual = sum(block) - sum(block[148:156]) + 8 * 32
    if stated != actual:
        raise ValueError("its checksum is wrong")
    name = block[:100].partition(b"\0")[0]
    if block[257:262] == b"ustar" and block[263:265] != b" \0":  # GNU keeps times where ustar has the prefix
        prefix = block[345:500].partition(b"\0")[0]
        name = prefix + b"/" + name if prefix else name
    size = _number(block[124:136])
    if size < 0:
        raise ValueError("its size is negative")
    return name.decode("utf-8", "surrogateescape"), size, block[156:157]


def _number(field: bytes) -> int:
    """Return a number of a header: in octal digits, or in base 256 where the first bit is set."""
    try:
        return int(tarfile.nti(field))  # type: ignore[attr-defined]
    except tarfile.HeaderError as error:
        raise ValueError("a number in it is damaged") from error


def _parse_pax(data: bytes) -> dict[str, str]:
    """Return the records of a PAX extension; none where it is damaged."""
    records = {}
    position = 0
    while position < len(data):
        digits, space, _ = data[position : position + 20].partition(b" ")
        if not space or not digits.isdigit() or int(digits) <= len(digits) + 1:
            break
        record = data[position + len(digits) + 1 : position + int(digits) - 1]
        key, equals, value = record.partition(b"=")
        if equals:
            records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        position += int(digits)
    return records
