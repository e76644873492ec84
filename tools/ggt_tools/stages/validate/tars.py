"""Read a shard as a tar in one pass: its members in order, by its raw headers, more strictly than any reader."""

from __future__ import annotations

import dataclasses
import hashlib
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO

from ggt_format.shard import member_header
from ggt_tools.records import Finding
from ggt_tools.stages.validate.findings import DOWNLOAD_SHARD, finding

BLOCK = tarfile.BLOCKSIZE
READ_BYTES = 1 << 20  # that are read at a time
MAX_READ_BYTES = 1 << 26  # at a time: a header may claim more than the memory holds
ALL_BYTES = 1 << 62


class Reader:
    """Reads a file from its start to its end, and computes its SHA-256.

    Args:
        file: The file.
        quick: Skip what is not needed; there is no SHA-256 then.
    """

    def __init__(self, file: IO[bytes], quick: bool = False) -> None:
        self._file, self._digest, self.offset = file, hashlib.sha256(), 0
        self._seeks = quick and file.seekable()

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer where the file ends."""
        parts = []
        while size and (part := self._file.read(min(size, MAX_READ_BYTES))):
            self._digest.update(part)
            self.offset += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        """Skip the next `size` bytes."""
        if self._seeks:
            self._file.seek(size, 1)
            self.offset += size
        else:
            self.read(size)

    def read_rest(self) -> tuple[int, bool]:
        """Read to the end. Returns the number of bytes, and whether all are zero."""
        size, is_zero = 0, True
        while part := self.read(READ_BYTES):
            size += len(part)
            is_zero = is_zero and part.count(0) == len(part)
        return size, is_zero

    def sha256(self) -> str:
        """Return the SHA-256 of what was read."""
        return self._digest.hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A member of a tar.

    Attributes:
        name: Its name.
        start: Offset of its header.
        offset: Offset of its bytes.
        size: Number of its bytes.
        data: Its bytes, or the first of them, where not all were asked for.
    """

    name: str
    start: int
    offset: int
    size: int
    data: bytes


def all_bytes(name: str) -> int:
    """Return that all bytes of a member are to be read, whatever its name."""
    del name
    return ALL_BYTES


def walk(reader: Reader, shard: str, byte_count: Callable[[str], int] = all_bytes) -> Iterator[Member | Finding]:
    """Yield the members of a tar, and what is wrong with its structure.

    Args:
        reader: Reads the tar.
        shard: Its name, for the findings.
        byte_count: Returns how many bytes of a member to read, given its name.
    """
    while True:
        start = reader.offset
        header = reader.read(BLOCK)
        if len(header) < BLOCK or header.count(0) == BLOCK:
            break
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
            if info.size < 0:
                raise ValueError("a negative size")
        except (tarfile.HeaderError, ValueError, OverflowError) as wrong:
            yield finding(shard, "bad_header", f"there is no tar header: {wrong}", DOWNLOAD_SHARD, offset=start)
            return
        data = reader.read(min(info.size, byte_count(info.name)))
        reader.skip(info.size - len(data))
        padding = reader.read(-info.size % BLOCK)
        if reader.offset < start + BLOCK + info.size or len(padding) < -info.size % BLOCK:
            yield finding(shard, "truncated", f"ends within {info.name!r}", DOWNLOAD_SHARD, offset=start)
            return
        if not info.isreg() or info.type != tarfile.REGTYPE:
            detail = f"{info.name!r} is not a plain file but of type {info.type!r}"
            yield finding(shard, "not_a_file", detail, offset=start)
        elif header != member_header(info.name, info.size):
            detail = f"the header of {info.name!r} is not plain ustar with mode 644, no time, owner or group"
            yield finding(shard, "bad_header", detail, offset=start)
        if padding.count(0) < len(padding):
            detail = f"there are bytes after {info.name!r} where zeros should be"
            yield finding(shard, "bad_padding", detail, offset=start + BLOCK + info.size)
        if info.isreg():
            yield Member(info.name, start, start + BLOCK, info.size, data)
    size, is_zero = reader.read_rest()
    end = start + 2 * BLOCK
    end += -end % tarfile.RECORDSIZE
    if start + len(header) + size < end:
        yield finding(
            shard, "truncated", "ends without the blocks of zeros that end a tar", DOWNLOAD_SHARD, offset=start
        )
    elif start + len(header) + size > end or not is_zero:
        yield finding(shard, "trailing_bytes", "has bytes after the end of its tar", offset=start)


def group_pairs(
    items: Iterator[Member | Finding], suffixes: tuple[str, ...], findings: list[Finding]
) -> Iterator[tuple[str, str | list[Member]]]:
    """Yield each key with its three members in order, or with a text on what is wrong.

    Args:
        items: What `walk` yields.
        suffixes: Suffixes of the three members.
        findings: The findings in `items` are added to this list.
    """
    waiting: deque[Member] = deque()

    def fill() -> bool:
        for item in items:
            if isinstance(item, Member):
                waiting.append(item)
                return True
            findings.append(item)
        return False

    while True:
        while len(waiting) < 3 and fill():
            pass
        if not waiting:
            return
        key = waiting[0].name.partition(".")[0]
        expected = [f"{key}.{suffix}" for suffix in suffixes]
        if [member.name for member in list(waiting)[:3]] == expected:
            yield key, [waiting.popleft() for _ in range(3)]
            continue
        names = []
        while (waiting or fill()) and waiting[0].name.partition(".")[0] == key:
            names.append(waiting.popleft().name)
        yield key, f"its members are {', '.join(names)}, not {', '.join(expected)}"
